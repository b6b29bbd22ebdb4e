"""Keeping a place of memory in a register while one block reads and writes it, again and again.

`v *= a`, then `if v < 0: v = 0` touches `v[i]` six times in one iteration. Read once, carried through the
branches as a value and stored once (scalar replacement; Callahan, Carr and Kennedy 1990), all values in
between are in single assignment, and at most the first one has to be kept for the adjoint.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator

from diffsim.compiler.autodiff import Copier, Names, called
from diffsim.compiler.checks.collecting import runs_once
from diffsim.compiler.checks.indices import Indices
from diffsim.compiler.checks.ranges import Ranges, Times
from diffsim.compiler.ir import (
    NEWEST,
    Accumulate,
    Block,
    Buffer,
    For,
    If,
    Let,
    Load,
    Location,
    Memory,
    Op,
    Operand,
    Ref,
    Stage,
    Store,
    Value,
    accesses_in,
    blocks_of,
    results_of,
    walk,
)
from diffsim.language.fields import State

__all__ = ["Slot", "promoted"]

Slot = tuple[Buffer, "int | None", int]


def promoted(stage: Stage, slots: Collection[Slot], times: Times | int, whole: bool = False) -> Stage:
    """Return a stage that reads and writes places once where it did more often, as far as that can be told.

    Args:
        stage: The stage; it is left as it is.
        slots: The buffers, times and components to look at.
        times: The steps that it runs for, or the horizon, for bounds of indices that depend on `t`.
        whole: Make one sum, or a store in a branch, a read and a store of its own too, so that the loop
            stores all places that it runs over.
    """
    for slot in sorted(slots, key=lambda s: (s[0].name, s[1] or 0, s[2])):
        pass_ = _Promotion(stage, slot, Ranges(stage.body, stage.t, times), whole)
        stage = dataclasses.replace(stage, body=pass_.visit(stage.body, (), {}))
    return stage


def _touches(op: Op, slot: Slot) -> list[Memory]:
    """Return the accesses of an operation, and of what is in it, to a slot."""
    every = accesses_in(Block([op]))
    return [o for o in every if (o.ref.buffer, o.ref.time, o.ref.component) == slot]


class _Promotion(Copier):
    """Goes through a stage for one slot."""

    def __init__(self, stage: Stage, slot: Slot, ranges: Ranges, whole: bool) -> None:
        self.slot, self.ranges, self.whole = slot, ranges, whole
        self.indices = Indices(stage.body)
        self.active: tuple[Ref, ...] = ()  # what was asked for whether it is active, around a block

    def visit(self, block: Block, loops: tuple[For, ...], names: Names) -> Block:
        """Return a block in which the outermost blocks that allow it touch their place once."""
        ref = self._place(block, loops)
        if ref is not None:
            return _Rewriting(self.slot, ref).whole(block, names)
        ops: list[Op] = []
        for op in block.ops:
            if isinstance(op, For) and _touches(op, self.slot):
                start, stop = called(op.start, names), called(op.stop, names)
                inits, body = [called(i, names) for i in op.inits], self.visit(op.body, (*loops, op), names)
                ops.append(dataclasses.replace(op, start=start, stop=stop, inits=inits, body=body))
            elif isinstance(op, If) and _touches(op, self.slot):
                outside, asked = self.active, _asked(op, block)
                self.active = (*outside, asked) if asked is not None else outside
                then = self.visit(op.then, loops, names)
                self.active = outside
                orelse = self.visit(op.orelse, loops, names)
                ops.append(dataclasses.replace(op, cond=called(op.cond, names), then=then, orelse=orelse))
            else:
                ops.append(self.copy(op, names))
        return Block(ops, [called(y, names) for y in block.yields])

    def _place(self, block: Block, loops: tuple[For, ...]) -> Ref | None:
        """Return the one place that a block touches, where it may be read before and stored behind it all."""
        touching = [op for op in block.ops if _touches(op, self.slot)]
        accesses = [access for op in touching for access in _touches(op, self.slot)]
        if not any(isinstance(access, Store | Accumulate) for access in accesses):
            return None
        if len(accesses) == 1 and (not self.whole or isinstance(touching[0], Store)):
            return None
        ref = accesses[0].ref
        if any(access.ref.indices != ref.indices for access in accesses):
            return None
        inner = [op for op in touching if blocks_of(op)]
        if any(isinstance(o, For) for op in inner for o in walk(Block([op])) if _touches(o, self.slot)):
            return None
        made = set(_defined(inner))
        if any(i in made for i in ref.indices) or not self._owned(ref, loops):
            return None
        if inner and not any(isinstance(op, Store | Accumulate) for op in touching) and self._activates(ref):
            return None
        return ref if not inner or self._inside(ref) else None

    def _activates(self, ref: Ref) -> bool:
        """Tell whether a store that is moved out of its branch may make a block of a sparse field active."""
        layout = getattr(ref.buffer.source, "sparse", None)
        return layout is not None and not any(
            asked.buffer.source is layout
            and ref.indices[: len(asked.indices)] == asked.indices
            and _same_blocks(ref, asked)
            for asked in self.active
        )

    def _owned(self, ref: Ref, loops: tuple[For, ...]) -> bool:
        """Tell whether no two iterations that run side by side touch the place."""
        affine = [self.indices.affine(i)[0] for i in ref.indices]
        return all(loop.index in affine for loop in loops if loop.parallel and not runs_once(loop))

    def _inside(self, ref: Ref) -> bool:
        """Tell whether the place certainly exists, whatever the branches around its accesses ask."""
        bounds = [self.ranges.of(i) for i in ref.indices]
        return all(low >= 0 and high < n for (low, high), n in zip(bounds, ref.buffer.shape, strict=True))


def _asked(branch: If, block: Block) -> Ref | None:
    """Return the cell of which a branch asks whether it is active; None where it asks something else."""
    made = {op.result: op for op in block.ops if isinstance(op, Let | Load)}
    truth = made.get(branch.cond) if isinstance(branch.cond, Value) else None
    if not isinstance(truth, Let) or truth.fn != "ne" or not isinstance(truth.args[0], Value):
        return None
    read = made.get(truth.args[0])
    return read.ref if isinstance(read, Load) and read.ref.buffer.kind == "activity" else None


def _same_blocks(ref: Ref, asked: Ref) -> bool:
    """Tell whether a place lies on the blocks that were asked for its cell."""
    if ref.buffer.kind == "state":
        return ref.time in (asked.time, NEWEST)  # what is written without the time keeps all blocks
    return asked.time == 1 or not isinstance(asked.buffer.field, State)


def _defined(ops: list[Op]) -> Iterator[Value]:
    for op in ops:
        for inner_block in blocks_of(op):
            for inner in walk(inner_block):
                yield from results_of(inner)


class _Rewriting(Copier):
    """Copies a block with one place in a register."""

    def __init__(self, slot: Slot, ref: Ref) -> None:
        self.slot, self.ref = slot, ref
        self.current: Operand | None = None
        self.written = False
        self.where: Location | None = None

    def whole(self, block: Block, names: Names) -> Block:
        """Return the block, the store of what the place is in the end behind it."""
        copied = self.block(block, names)
        if self.written:
            assert self.current is not None  # noqa: S101  (it was written)
            copied.ops.append(Store(self.ref, self.current, self.where))
        return copied

    def ops(self, block: Block, names: Names) -> list[Op]:
        ops: list[Op] = []
        for op in block.ops:
            accesses = _touches(op, self.slot)
            if not accesses:
                ops.append(self.copy(op, names))
            elif isinstance(op, If):
                ops += self._branch(op, accesses, names)
            else:
                ops += self._access(op, names)
        return ops

    def _access(self, op: Op, names: Names) -> list[Op]:
        if isinstance(op, Load):
            if self.current is not None:
                names[op.result] = self.current
                return []
            self.current = op.result
            return [self.copy(op, names)]
        assert isinstance(op, Store | Accumulate)  # noqa: S101  (loops are not rewritten)
        self.written, self.where = True, op.where
        value = called(op.value, names)
        if isinstance(op, Store):
            self.current = value
            return []
        ops, total = self._known(op.where, names), Value(self.ref.buffer.dtype)
        assert self.current is not None  # noqa: S101  (it was just read)
        ops.append(Let(total, "add", (self.current, value), op.where))
        self.current = total
        return ops

    def _known(self, where: Location | None, names: Names) -> list[Op]:
        """Return what reads the place, where it is not in the register yet."""
        if self.current is not None:
            return []
        result = Value(self.ref.buffer.dtype)
        self.current = result
        return [self.copy(Load(result, self.ref, where), names)]

    def _branch(self, op: If, accesses: list[Memory], names: Names) -> list[Op]:
        ops = self._known(accesses[0].where, names)
        before = self.current
        assert before is not None  # noqa: S101  (it was just read)
        new = self.copy(dataclasses.replace(op, then=Block(), orelse=Block()), names)
        assert isinstance(new, If)  # noqa: S101  (a copy is of the same kind)
        sides: list[tuple[Block, Operand]] = []
        for block in (op.then, op.orelse):
            self.current = before
            copied = self.block(block, names)
            sides.append((copied, self.current))
        (new.then, a), (new.orelse, b) = sides
        new.results = list(op.results)
        self.current = before
        if a is not before or b is not before:
            self.current = Value(self.ref.buffer.dtype)
            new.then.yields.append(a)
            new.orelse.yields.append(b)
            new.results.append(self.current)
        return [*ops, new]
