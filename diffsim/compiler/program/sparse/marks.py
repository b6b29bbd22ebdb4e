"""Which blocks a kernel will write: a stage made from its index computation alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from diffsim.compiler.autodiff import Renamer, called
from diffsim.compiler.autodiff.simplify import simplify
from diffsim.compiler.checks.diagnostics import refuse
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
    accesses_in,
    operands_of,
    walk,
)
from diffsim.compiler.program.nests import Nest
from diffsim.compiler.program.sparse.placing import Moments, Placer
from diffsim.compiler.program.sparse.stages import MARK, fresh, put, when
from diffsim.compiler.program.topology import RUN, Topology, Version
from diffsim.errors import Diagnostic

__all__ = ["Marker"]

_Key = tuple[Topology, "int | None"]


class Marker(Placer):
    """Makes stages that mark the blocks which others will write.

    Args:
        topologies: By field and adjoint, the layouts of a program.
        activities: By the buffer that kernels read activity from.
        real: The working precision.
    """

    def __init__(
        self, topologies: Mapping[Buffer, Topology], activities: Mapping[Buffer, Topology], real: str
    ) -> None:
        super().__init__(topologies, activities, real)
        self.marks: dict[Buffer, tuple[Version, bool]] = {}  # by a name of a mark: of what, and of a block
        self._batch = range(0)
        self._loops: list[tuple[int, Version, Nest]] = []  # by the place of what they are in, at the top
        self._written: set[tuple[int, Version]] = set()
        self._names: dict[tuple[_Key, bool], Buffer] = {}

    def stage_of(
        self, stage: Stage, moments: list[Moments], batch: range
    ) -> tuple[Stage | None, list[Version]]:
        """Return the stage that marks what a part of another one will write; None for nothing.

        Args:
            stage: The other one.
            moments: For each operation at its top, how many blocks are active there.
            batch: Which of these operations to look at.

        Returns:
            The stage, and of which blocks it marks some.
        """
        self._batch = batch
        self._loops.clear()
        self._written.clear()
        placed = self.stage(stage, moments)
        self._check_loops(stage)
        simplify(placed.body)
        _check_reads(stage, placed)
        body = _thinned(placed.body, {b: v.topology.layout.block for b, (v, _) in self.marks.items()})
        used = {op.ref.buffer for op in accesses_in(body) if isinstance(op, Store)}
        versions = list(dict.fromkeys(self.marks[b][0] for b in used))
        if not versions:
            return None, []
        name = f"mark blocks for {stage.name}"
        t = Value("i32")  # the stage may be printed beside the one it is made from
        body = Renamer().block(self._spelled_out(body), {stage.t: t})
        return Stage(name, t, body), versions

    def nest(self, nest: Nest) -> None:
        """Append a loop over active blocks, and note it."""
        self._loops.append((self.position, self.activities[nest.activity].at(nest.time), nest))
        super().nest(nest)

    def _check_loops(self, stage: Stage) -> None:
        """Refuse a loop over active cells inside of one that makes some of them active.

        Raises:
            TraceError: There is one.
        """
        for position, version, nest in self._loops:
            outer = stage.body.ops[position]
            if outer is not nest.loops[0] and (position, version) in self._written:
                refuse(
                    Diagnostic(
                        "SPARSE",
                        str(nest.loops[0].where or stage.where),
                        "a loop over active cells must not stand in another loop that makes some of them "
                        f"active, got one over {version.topology.name}; move it to the top of the kernel, or "
                        "into a kernel of its own",
                    )
                )

    def write(self, op: Store | Accumulate) -> None:
        """Append a mark where a write may activate something; nothing for other writes."""
        topology = self.topologies.get(op.ref.buffer)
        if self.position not in self._batch:
            return
        if topology is None or op.ref.buffer.is_adjoint or topology.fixed:
            return
        topology.first = topology.first or op.where
        version = topology.version(op.ref.buffer, op.ref.time)
        cell = tuple(called(i, self.names) for i in op.ref.indices[: topology.dim])
        here = self.at_hand(topology, cell)
        if here is None:
            self._mark(version, False, cell)
        elif here.version.time != version.time:
            self._mark(version, True, (here.block,))

    def _mark(self, version: Version, block: bool, indices: tuple[Operand, ...]) -> None:
        self._written.add((self.position, version))
        key = ((version.topology, version.time), block)
        if key not in self._names:
            shape = version.table.shape if block else version.topology.shape
            self._names[key] = Buffer("mark", "activity", "i32", shape)
            self.marks[self._names[key]] = version, block
        self.b.append(Store(Ref(self._names[key], indices), Const(1, "i32")))

    def _spelled_out(self, block: Block) -> Block:
        """Return a block whose marks are stores to tables."""
        new = Block()
        with self.b.inside(new):
            for op in block.ops:
                if isinstance(op, Store) and op.ref.buffer in self.marks:
                    self._spell(op)
                elif isinstance(op, For):
                    self.b.append(dataclasses.replace(op, body=self._spelled_out(op.body)))
                elif isinstance(op, If):
                    then, orelse = self._spelled_out(op.then), self._spelled_out(op.orelse)
                    self.b.append(dataclasses.replace(op, then=then, orelse=orelse))
                else:
                    self.b.append(op)
        new.yields = block.yields
        return new

    def _spell(self, op: Store) -> None:
        """Append a mark, where the block has neither a slot nor a mark, in all levels of the table."""
        b = self.b
        version, is_block = self.marks[op.ref.buffer]
        topology = version.topology
        block = op.ref.indices[0] if is_block else topology.block_of(b, op.ref.indices)
        place = Ref(version.table, (block,))
        with when(b, b.op("eq", fresh(b, place), b.const(0))):
            put(b, place, b.const(MARK))
            for flags in topology.flags:
                block = b.op("floordiv", block, b.const(RUN))
                put(b, Ref(flags, (block,)), b.const(MARK))


def _check_reads(stage: Stage, marks: Stage) -> None:
    """Refuse a kernel that computes from what it writes itself where it will write.

    Raises:
        TraceError: It does.
    """
    written = {(op.ref.buffer, op.ref.time) for op in accesses_in(stage.body) if not isinstance(op, Load)}
    for op in accesses_in(marks.body):
        if isinstance(op, Load) and (op.ref.buffer, op.ref.time) in written:
            where = op.where or stage.where
            refuse(
                Diagnostic(
                    "SPARSE",
                    str(where),
                    f"where {stage.name} writes sparse fields must not depend on what it writes itself, "
                    f"got a read of {op.ref.buffer.label}; compute that in a kernel of its own, before it",
                )
            )


# ---- fewer iterations that mark the same ----


def _thinned(block: Block, edges: Mapping[Buffer, int]) -> Block:
    """Return a block whose loops mark each block once where it is plain to see which iterations do.

    A loop whose marks do not depend on it is run once. One in which one index of a mark moves by at most 1
    from iteration to iteration, and no other, skips as many as a block's edge has cells, but not the last.
    """
    ops: list[Op] = []
    marked: set[Ref] = set()
    for op in block.ops:
        if isinstance(op, Store) and op.ref in marked:
            continue
        if isinstance(op, Store):
            marked.add(op.ref)
        if isinstance(op, For):
            op = dataclasses.replace(op, body=_thinned(op.body, edges))
            ops += _thin(op, edges)
        elif isinstance(op, If):
            then, orelse = _thinned(op.then, edges), _thinned(op.orelse, edges)
            ops.append(dataclasses.replace(op, then=then, orelse=orelse))
        else:
            ops.append(op)
    return Block(ops, list(block.yields))


def _thin(op: For, edges: Mapping[Buffer, int]) -> list[Op]:
    if op.params or not isinstance(op.start, Const) or not isinstance(op.stop, Const):
        return [op]
    first, trips = int(op.start.value), int(op.stop.value) - int(op.start.value)
    marks = [o for o in walk(op.body) if isinstance(o, Store)]
    slopes = _slopes(op)
    if trips < 2 or not marks or slopes is None:
        return [op]
    if any(m.ref.buffer not in edges for m in marks):
        return [op]
    along = [slopes.get(i, 0) for m in marks for i in m.ref.indices if isinstance(i, Value)]
    if any(slope is None for slope in along) or any(_oblique(m, slopes) for m in marks):
        return [op]
    count = step = 1
    if any(along):
        wide = [m for m in marks if any(slopes.get(i) for i in m.ref.indices if isinstance(i, Value))]
        step = min(edges[m.ref.buffer] for m in wide)
        count = 1 + -(-(trips - 1) // step)
    if count >= trips:
        return [op]
    return [_skipping(op, first, step, count, trips)]


def _oblique(mark: Store, slopes: Mapping[Value, int | None]) -> bool:
    """Tell whether a mark moves along several axes at once: it may pass through a block in one iteration."""
    return sum(bool(slopes.get(i)) for i in mark.ref.indices if isinstance(i, Value)) > 1


def _skipping(op: For, first: int, step: int, count: int, trips: int) -> For:
    """Return a loop over every `step`-th iteration of another one, and its last."""
    number, far, near = Value("i32"), Value("i32"), Value("i32")
    lets: list[Op] = [
        Let(far, "mul", (number, Const(step, "i32"))),
        Let(near, "min", (far, Const(trips - 1, "i32"))),
        Let(op.index, "add", (near, Const(first, "i32"))),
    ]
    body = Block([*lets, *op.body.ops], list(op.body.yields))
    return dataclasses.replace(op, index=number, start=Const(0, "i32"), stop=Const(count, "i32"), body=body)


def _slopes(op: For) -> dict[Value, int | None] | None:
    """Return how values in a loop follow its index: 1 or -1 for moving by 0 or that, None for unknown.

    Values that are left out do not depend on it. None for a loop where something else than marks depends on
    it: a branch, another loop, what is read.
    """
    slopes: dict[Value, int | None] = {op.index: 1}

    def of(operand: Operand) -> int | None:
        return slopes.get(operand, 0) if isinstance(operand, Value) else 0

    for inner in walk(op.body):
        if isinstance(inner, Let):
            slopes_of = [of(a) for a in inner.args]
            if any(slope != 0 for slope in slopes_of):
                slopes[inner.result] = _slope(inner.fn, slopes_of)
        elif isinstance(inner, Load):
            if any(of(i) != 0 for i in inner.ref.indices):
                slopes[inner.result] = None
        elif isinstance(inner, If | For | Call):
            if any(of(o) != 0 for o in operands_of(inner)):
                return None
            if (isinstance(inner, For) and inner.params) or not isinstance(inner, For):
                return None
    return slopes


def _slope(fn: str, slopes: list[int | None]) -> int | None:
    if fn == "cast_i32":
        return slopes[0]
    if fn not in ("add", "sub", "min", "max") or len(slopes) != 2 or None in slopes:
        return None
    a, b = slopes
    if a and b:
        return None
    if fn == "sub" and b:
        return -b
    return a or b
