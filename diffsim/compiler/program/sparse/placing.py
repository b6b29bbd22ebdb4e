"""Pointing the accesses of a stage to pools: by the table of a layout, or by the block that a loop is at."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from diffsim.compiler.autodiff import Names, called
from diffsim.compiler.builder import Builder
from diffsim.compiler.ir import (
    Accumulate,
    Block,
    Buffer,
    Call,
    Const,
    For,
    If,
    Let,
    Load,
    Op,
    Operand,
    Ref,
    Stage,
    Store,
    Value,
)
from diffsim.compiler.program.nests import Nest, nest_of
from diffsim.compiler.program.sparse.stages import fresh, when
from diffsim.compiler.program.topology import Topology, Version

__all__ = ["Here", "Moments", "Placer"]

# By version (the layout and the time of its blocks), where it is told how many blocks are active as a loop at
# a position of the stage begins; None for none yet.
Moments = Mapping[tuple[Topology, "int | None"], "Ref | None"]


@dataclasses.dataclass(frozen=True)
class Here:
    """The cell that a loop over active cells is at.

    Attributes:
        version: Whose blocks the loop goes over.
        cell: The indices of the loop.
        slot, block, number: Of the block, the block itself, and of the cell in there.
    """

    version: Version
    cell: tuple[Value, ...]
    slot: Operand
    block: Operand
    number: Operand


class Placer:
    """Makes copies of stages whose accesses go to pools.

    Args:
        topologies: By field and adjoint, the layouts of a program.
        activities: By the buffer that kernels read activity from.
        real: The working precision.
        adjoint: The stages are adjoints that the user wrote.
    """

    def __init__(
        self,
        topologies: Mapping[Buffer, Topology],
        activities: Mapping[Buffer, Topology],
        real: str,
        adjoint: bool = False,
    ) -> None:
        self.topologies, self.activities, self.adjoint = topologies, activities, adjoint
        self.b = Builder(real)
        self.names: Names = {}
        self.here: list[Here] = []
        self.moments: Moments = {}
        self.position = 0  # of what is copied, among the operations at the stage's top

    def stage(self, stage: Stage, moments: list[Moments] | None = None) -> Stage:
        """Return a stage with its accesses placed.

        Args:
            stage: What to copy; its pools still have the shapes that were declared, in its indices.
            moments: For each operation at its top, how many blocks are active there; None for as many as
                there are.
        """
        body = Block()
        with self.b.inside(body):
            for position, op in enumerate(stage.body.ops):
                self.position = position
                self.moments = moments[position] if moments is not None else {}
                self.op(op)
        body.yields = [called(y, self.names) for y in stage.body.yields]
        return dataclasses.replace(stage, body=body)

    def block(self, block: Block, loop: bool = False) -> Block:
        """Return a copy of a block."""
        new = Block()
        with self.b.inside(new, loop=loop):
            for op in block.ops:
                self.op(op)
        new.yields = [called(y, self.names) for y in block.yields]
        return new

    def op(self, op: Op) -> None:
        """Append the copy of an operation."""
        if isinstance(op, Let):
            self.b.append(dataclasses.replace(op, args=tuple(called(a, self.names) for a in op.args)))
        elif isinstance(op, Load):
            self.load(op)
        elif isinstance(op, Store | Accumulate):
            self.write(op)
        elif isinstance(op, For):
            nest = nest_of(op)
            if nest is not None:
                self.nest(nest)
                return
            inits = [called(i, self.names) for i in op.inits]
            start, stop = called(op.start, self.names), called(op.stop, self.names)
            body = self.block(op.body, loop=True)
            self.b.append(dataclasses.replace(op, start=start, stop=stop, inits=inits, body=body))
        elif isinstance(op, If):
            cond = called(op.cond, self.names)
            then, orelse = self.block(op.then), self.block(op.orelse)
            self.b.append(dataclasses.replace(op, cond=cond, then=then, orelse=orelse))
        else:
            self.call(op)

    def call(self, op: Call) -> None:
        """Append the copy of a call, whose body has no memory."""
        self.b.append(dataclasses.replace(op, args=[called(a, self.names) for a in op.args]))

    # ---- accesses ----

    def load(self, op: Load) -> None:
        """Append the copy of a read; whether a cell is active is what the table says."""
        topology = self.activities.get(op.ref.buffer)
        if topology is not None:
            self.names[op.result] = self.active(topology, op.ref)
            return
        kept = None if op.kept is None else self.ref(op.kept)
        self.b.append(dataclasses.replace(op, ref=self.ref(op.ref), kept=kept))

    def write(self, op: Store | Accumulate) -> None:
        """Append the copy of a write."""
        ref, value = self.ref(op.ref), called(op.value, self.names)
        new = dataclasses.replace(op, ref=ref, value=value)
        if self.adjoint and op.ref.buffer in self.topologies and not op.ref.buffer.is_adjoint:
            # an adjoint activates nothing: what it leaves in a Workspace stays where something is
            with when(self.b, self.b.op("gt", ref.indices[0], self.b.const(0))):
                self.b.append(new)
            return
        self.b.append(new)

    def ref(self, ref: Ref) -> Ref:
        """Return where a place is in memory."""
        indices = tuple(called(i, self.names) for i in ref.indices)
        topology = self.topologies.get(ref.buffer)
        if topology is None:
            return dataclasses.replace(ref, indices=indices)
        version = topology.version(ref.buffer, ref.time)
        cell, more = indices[: topology.dim], indices[topology.dim :]
        return dataclasses.replace(ref, indices=(*self.placed(version, cell), *more))

    def placed(self, version: Version, cell: tuple[Operand, ...]) -> tuple[Operand, Operand]:
        """Return the slot and the number that a cell has."""
        topology = version.topology
        here = self.at_hand(topology, cell)
        if here is not None:
            return self.slot(version, here), here.number
        block = topology.block_of(self.b, cell)
        return self.b.load(Ref(version.table, (block,))), topology.within(self.b, cell)

    def slot(self, version: Version, here: Here) -> Operand:
        """Return the slot of the block that a loop is at, in any version of its layout."""
        if here.version.time == version.time:
            return here.slot
        return self.b.load(Ref(version.table, (here.block,)))

    def at_hand(self, topology: Topology, cell: tuple[Operand, ...]) -> Here | None:
        """Return the loop that is at a cell; None where none is."""
        for here in reversed(self.here):
            if here.version.topology is topology and here.cell == cell:
                return here
        return None

    def active(self, topology: Topology, ref: Ref) -> Operand:
        """Return a number that is not zero where a cell is active."""
        version = topology.at(ref.time)
        indices = tuple(called(i, self.names) for i in ref.indices)
        slot = self.placed(version, indices)[0]
        key = (topology, ref.time)
        if key not in self.moments:
            return slot
        count = self.count(version)
        return self.b.op("select", self.b.op("le", slot, count), slot, self.b.const(0))

    def count(self, version: Version) -> Operand:
        """Return how many blocks are active."""
        ref = self.moments.get((version.topology, version.time), version.count)
        return self.b.const(0) if ref is None else fresh(self.b, ref)

    # ---- loops ----

    def nest(self, nest: Nest) -> None:
        """Append a loop over active blocks, and in it one over the cells of each."""
        topology, b = self.activities[nest.activity], self.b
        version, outer, inner = topology.at(nest.time), nest.loops[0], nest.loops[-1]
        inits = [called(i, self.names) for i in outer.inits]
        carried = [Value(p.dtype) for p in outer.params]
        slots = For(
            Value("i32"),
            Const(1, "i32"),
            Const(topology.capacity + 1, "i32"),
            Block(),
            inits,
            carried,
            parallel=outer.parallel,
            where=outer.where,
        )
        then = Block()
        with b.inside(slots.body, loop=True):
            cond = b.op("le", slots.index, self.count(version))
            with b.inside(then):
                then.yields = list(self._cells(nest, version, slots.index, carried, inner))
            slots.body.yields = list(b.branch(cond, then, Block(yields=list(carried))))
        b.append(slots)
        slots.results = list(outer.results)

    def _cells(
        self, nest: Nest, version: Version, slot: Value, carried: list[Value], inner: For
    ) -> list[Value]:
        """Append the loop over the cells of a block; return what it carries out."""
        topology, b = version.topology, self.b
        block = fresh(b, version.listed(slot))
        corner = topology.corner(b, block)
        cells = For(
            Value("i32"), Const(0, "i32"), Const(topology.cells, "i32"), Block(), list(carried),
            list(inner.params), parallel=inner.parallel, where=inner.where,
        )  # fmt: skip
        with b.inside(cells.body, loop=True):
            cell = topology.cell(b, corner, cells.index)
            self.names.update(zip(nest.cell, cell, strict=True))
            with self._being(Here(version, _values(cell), slot, block, cells.index)):
                if topology.whole:
                    for op in nest.branch.then.ops:
                        self.op(op)
                    cells.body.yields = [called(y, self.names) for y in nest.branch.then.yields]
                else:
                    inside = self._inside(topology, cell)
                    then = self.block(nest.branch.then)
                    rest = Block(yields=list(inner.params))
                    cells.body.yields = list(b.branch(inside, then, rest))
        return b.loop(cells)

    def _inside(self, topology: Topology, cell: tuple[Operand, ...]) -> Operand:
        """Return whether a cell of a block at the edge lies in the domain."""
        b, inside = self.b, self.b.const(True)
        found: Operand = inside
        for index, n in zip(cell, topology.shape, strict=True):
            if n % topology.layout.block:
                found = b.op("and", found, b.op("lt", index, b.const(n)))
        return found

    @contextmanager
    def _being(self, here: Here) -> Iterator[None]:
        self.here.append(here)
        try:
            yield
        finally:
            self.here.pop()


def _values(cell: tuple[Operand, ...]) -> tuple[Value, ...]:
    assert all(isinstance(index, Value) for index in cell)  # noqa: S101  (made of a loop's index)
    return cell  # type: ignore[return-value]
