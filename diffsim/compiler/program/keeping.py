"""Keeping what a step reads and writes over later, where its adjoint needs it: versions of places.

What is overwritten is kept in hidden Scratches, one of two ways, whichever takes fewer bytes. A *record*
holds what one read found, by the iterations of the loops around it. A *copy* holds a whole field as it was
before the loop nest that writes over it. The kernels themselves go on as they are written, in place; the
adjoint reads the hidden Scratch in their stead (`Load.kept`). What no adjoint needs is not kept.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from diffsim.compiler.autodiff import needed_loads
from diffsim.compiler.builder import Builder
from diffsim.compiler.checks.access import Overwrite, Survey, survey
from diffsim.compiler.checks.collecting import Access
from diffsim.compiler.checks.findings import Finding
from diffsim.compiler.checks.ranges import Times
from diffsim.compiler.ir import (
    Block,
    Buffer,
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
    is_float,
    walk,
)
from diffsim.compiler.program.copying import over_elements
from diffsim.compiler.program.nests import active_nest, nest_of
from diffsim.compiler.program.promotion import promoted
from diffsim.compiler.reading.buffers import Buffers
from diffsim.language.layouts import Sparse
from diffsim.language.types import ElementType

__all__ = ["keep_overwritten"]

_MOST = 2**31  # numbers of one record, which are counted in 32 bits


def keep_overwritten(
    stages: list[Stage], buffers: Buffers, times: Times, before: bool = False
) -> tuple[list[Stage], Survey]:
    """Return stages that keep what their adjoints need and others write over, and what is wrong with them.

    Args:
        stages: What runs in one step, in order.
        buffers: The program's memory; hidden Scratches are added.
        times: The steps that they run for, for bounds of indices that depend on `t`.
        before: They run before step 0.
    """
    seen = survey(stages, times)
    within = {
        (o.read.nest[0], (o.buffer, o.time, o.component))
        for o in seen.overwritten
        if o.within is not None and not o.read.given
    }
    if within:
        stages = [
            promoted(stage, {slot for k, slot in within if k == number}, times)
            for number, stage in enumerate(stages)
        ]
        seen = survey(stages, times)
    work = _Keeping(stages, buffers, "derived" if before else "scratch")
    for overwrite in seen.overwritten:
        work.take(overwrite)
    ahead = [f for f in seen.findings if f.rule == "READ-AHEAD" and f.buffer in buffers.handed_on]
    seen.findings = [f for f in seen.findings if f not in ahead] + work.refused  # x[t] is there to be read
    return work.done(), seen


class _Keeping:
    """Sorts out which reads to keep, and how."""

    def __init__(self, stages: list[Stage], buffers: Buffers, kind: str) -> None:
        self.stages, self.buffers, self.kind = stages, buffers, kind
        self.refused: list[Finding] = []
        self.records: dict[int, list[Overwrite]] = defaultdict(list)  # by stage
        self.copies: dict[tuple[Buffer, int | None, tuple[int, int]], list[Overwrite]] = defaultdict(list)
        self._needed: dict[int, set[int]] = {}

    def take(self, overwrite: Overwrite) -> None:
        """Note what to do about a read whose place is written later."""
        number = overwrite.read.nest[0]
        if isinstance(overwrite.read.op, Load) and overwrite.read.op.kept is not None:
            return  # it is kept already
        if overwrite.buffer.kind == "done" or overwrite.read.given:
            self.refused.append(overwrite.finding)
            return
        if number not in self._needed:
            self._needed[number] = needed_loads(self.stages[number], self.buffers.real)
        if id(overwrite.read.op) not in self._needed[number]:
            return
        if overwrite.within is None:
            assert overwrite.later is not None  # noqa: S101  (one of the two is there)
            self.copies[overwrite.buffer, overwrite.time, overwrite.later.nest].append(overwrite)
        elif _numbers(overwrite.read) < _MOST:
            self.records[number].append(overwrite)
        else:
            self.refused.append(overwrite.finding)

    def done(self) -> list[Stage]:
        """Return the stages with what keeps things."""
        for (buffer, time, nest), reads in list(self.copies.items()):
            components = sorted({o.component for o in reads})
            if sum(_numbers(o.read) for o in reads) <= math.prod(buffer.shape) * len(components):
                for overwrite in reads:
                    self.records[overwrite.read.nest[0]].append(overwrite)
                del self.copies[buffer, time, nest]
        before: dict[int, list[tuple[int, list[Op]]]] = defaultdict(list)
        kept: dict[int, Ref] = {}
        for (buffer, time, (number, _)), reads in self.copies.items():
            self._copy(buffer, time, reads, kept, before[number])
        stages = list(self.stages)
        for number, stage in enumerate(stages):
            records = self._records(stage, self.records[number])
            if records or before[number] or any(id(op) in kept for op in walk(stage.body)):
                notes = tuple(dict.fromkeys(self._notes(number)))
                changed = _changed(stage, kept, records, before[number])
                stages[number] = replace(changed, notes=(*stage.notes, *notes))
        return stages

    def _copy(
        self,
        buffer: Buffer,
        time: int | None,
        reads: Sequence[Overwrite],
        kept: dict[int, Ref],
        before: list[tuple[int, list[Op]]],
    ) -> None:
        """Make the copy of a field, and point the reads that it serves to it."""
        components = sorted({o.component for o in reads})
        hidden = self._hidden(buffer, buffer.shape, len(components), _sparse(buffer))
        hidden.arrangement = buffer.arrangement and buffer.arrangement.of(len(components))
        b = Builder(self.buffers.real)

        def copy(indices: tuple[Operand, ...]) -> None:
            for k, component in enumerate(components):
                b.store(Ref(hidden, indices, k, 0), b.load(Ref(buffer, indices, component, time)))

        layout = _sparse(buffer)
        if layout is None:
            over_elements(b, buffer.shape, copy, buffer.nesting)
        else:
            cell, body = active_nest(
                b, self.buffers.activity(layout, buffer.source), self._time(buffer, time)
            )
            with b.inside(body):
                copy(cell)
        before.append((min(o.later.top for o in reads if o.later is not None), b.block.ops))
        for o in reads:
            assert isinstance(o.read.op, Load)  # noqa: S101  (reads are loads)
            kept[id(o.read.op)] = Ref(hidden, o.read.op.ref.indices, components.index(o.component), 0)

    def _records(self, stage: Stage, reads: Iterable[Overwrite]) -> dict[int, tuple[Buffer, int, Access]]:
        """Make the records of a stage: reads in the same loops share one, as components of its elements."""
        groups: dict[tuple[object, ...], list[Overwrite]] = defaultdict(list)
        for o in reads:
            # in a branch that tells of a loop's bounds it may have fewer iterations than beside it
            groups[(o.buffer.dtype, o.read.trips, *map(id, o.read.loops))].append(o)
        found = {}
        for members in groups.values():
            unique = list({id(o.read.op): o for o in members}.values())
            read = unique[0].read
            hidden = self._hidden(unique[0].buffer, _shape(read), len(unique), _around(read))
            for k, o in enumerate(unique):
                found[id(o.read.op)] = (hidden, k, o.read)
        return found

    def _notes(self, number: int) -> Iterator[str]:
        """Say what is kept of what a stage reads."""
        copied = [o for reads in self.copies.values() for o in reads if o.read.nest[0] == number]
        for o in [*self.records[number], *copied]:
            write = o.within or o.later
            assert write is not None  # noqa: S101  (one of the two is there)
            if o.read.where is not None and write.where is not None:
                form = (
                    "copied as a whole" if o in copied else f"kept, {_numbers(o.read):.0f} number(s) a step"
                )
                yield (
                    f"line {o.read.where.line}: what is read of {o.buffer.source.key} is {form}, since line "
                    f"{write.where.line} writes over it"
                )

    def _time(self, buffer: Buffer, time: int | None) -> int | None:
        """Return the time of the blocks that a sparse field has at a time."""
        layout = _sparse(buffer)
        carried = layout is not None and buffer.kind != "state" and self.buffers.carries(layout)
        return 1 if carried else time

    def _hidden(
        self, of: Buffer, shape: tuple[int, ...], components: int, layout: Sparse | None = None
    ) -> Buffer:
        type_ = ElementType("kept", (components,) if components > 1 else (), not is_float(of.dtype))
        label = f"kept of {of.source.key}"
        return self.buffers.add_hidden(type_, shape, label, self.kind, gradient=False, layout=layout)


def _sparse(buffer: Buffer) -> Sparse | None:
    """Return the layout of a field with memory for active blocks only."""
    layout: Sparse | None = getattr(buffer.source, "sparse", None)
    return layout


def _around(read: Access) -> Sparse | None:
    """Return the layout over whose active cells the outermost loops around a read go; None for others."""
    nest = nest_of(read.loops[0]) if read.loops else None
    if nest is None or tuple(read.loops[: len(nest.loops)]) != nest.loops:
        return None
    layout: Sparse = nest.activity.source
    return layout if min(read.trips[: len(nest.loops)]) > 1 else None


def _numbers(read: Access) -> float:
    layout = _around(read)
    if layout is None:
        return math.prod(read.trips)
    dim = len(nest.loops) if (nest := nest_of(read.loops[0])) is not None else 0
    return layout.capacity * layout.cells(dim) * math.prod(read.trips[dim:])


def _shape(read: Access) -> tuple[int, ...]:
    """Return how many iterations the loops around a read have, those left out that run once."""
    return tuple(int(n) for n in read.trips if n > 1)


def _changed(
    stage: Stage,
    kept: dict[int, Ref],
    records: dict[int, tuple[Buffer, int, Access]],
    before: list[tuple[int, list[Op]]],
) -> Stage:
    """Return a stage with copies before some of its operations, and with records of its reads."""

    def block(old: Block) -> Block:
        ops: list[Op] = []
        for op in old.ops:
            if isinstance(op, Load) and id(op) in records:
                ops += _recorded(op, *records[id(op)])
            elif isinstance(op, Load) and id(op) in kept:
                ops.append(replace(op, kept=kept[id(op)]))
            elif isinstance(op, If):
                ops.append(replace(op, then=block(op.then), orelse=block(op.orelse)))
            elif isinstance(op, For):
                ops.append(replace(op, body=block(op.body)))
            else:
                ops.append(op)
        return Block(ops, list(old.yields))

    body = Block()
    for top, op in enumerate(stage.body.ops):
        body.ops += [new for place, ops in before if place == top for new in ops]
        body.ops += block(Block([op])).ops
    return replace(stage, body=body)


def _recorded(op: Load, hidden: Buffer, component: int, read: Access) -> list[Op]:
    """Return a read and what records what it found, by the iterations of the loops around it."""
    before: list[Op] = []
    indices: list[Operand] = []
    for loop, trips in zip(read.loops, read.trips, strict=True):
        if trips > 1:
            indices.append(_iteration(loop, before))
    place = Ref(hidden, tuple(indices), component, 0)
    return [*before, replace(op, kept=place), Store(place, op.result)]


def _iteration(loop: For, before: list[Op]) -> Operand:
    """Return the number of an iteration of a loop, counted from 0."""
    if isinstance(loop.start, Const) and loop.start.value == 0:
        return loop.index
    number = Value("i32")
    before.append(Let(number, "sub", (loop.index, loop.start)))
    return number
