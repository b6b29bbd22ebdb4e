"""Whether a block's becoming active changes anything: what loops over active cells do should vanish at zero.

A cell that is not active reads as zero. Where the body of a loop over active cells has no effect at a cell
where all that lies on the same blocks is zero, the loop over active cells is that over all cells, value and
gradient. Else both jump when a block appears: a sum of ones counts cells, a gathering stencil stores values
in blocks that touch others and none in those that do not.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from diffsim.compiler.interpret import FUNCTIONS
from diffsim.compiler.ir import (
    Accumulate,
    Block,
    Buffer,
    Const,
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
)
from diffsim.compiler.reading.buffers import Buffers
from diffsim.errors import Diagnostic
from diffsim.language.layouts import Sparse

__all__ = ["jumps"]

_ZERO_WITH = ("mul", "bit_and", "and")  # zero where one argument is


def jumps(stage: Stage, buffers: Buffers, step: Sequence[Stage]) -> list[Diagnostic]:
    """Return a warning for each statement of a stage whose effect jumps when a block becomes active.

    Args:
        stage: As it was read, before its fields lie in pools.
        buffers: The program's memory.
        step: The stages of a step, if it is one of them.
    """
    found: list[Location | None] = []
    reads = {op.result: op.ref for op in _loads(stage.body) if op.ref.buffer.kind == "activity"}
    reads = {value: ref for value, ref in reads.items() if value not in buffers.known_to_jump}
    if not reads:
        return []
    for branch, cell in _branches(stage.body, reads):
        found += [op.where for op in _writes(branch.orelse)]
        inside = _Inside(cell, buffers, _left_alone(branch.then, cell, buffers, step))
        found += [op.where for op in inside.effects(branch.then)]
    told = [where or stage.where for where in found]  # what the library adds itself has no place
    return [_warning(where) for where in dict.fromkeys(told) if where is not None]


def _warning(where: Location) -> Diagnostic:
    message = (
        "what a loop over active cells does should vanish where all fields of the layout are zero, got an "
        "effect in a cell that a block brings along, which jumps when the block becomes active; write where "
        "something is (`if self.mass[t, cell] > 0.0`), scatter from the cells that hold something, or say "
        "on the loop's line that it is meant: # diffsim: allow ACTIVITY"
    )
    return Diagnostic("ACTIVITY", str(where), message)


def _loads(block: Block) -> Iterator[Load]:
    return (op for op in accesses_in(block) if isinstance(op, Load))


def _branches(block: Block, reads: dict[Value, Ref]) -> Iterator[tuple[If, Ref]]:
    """Yield the branches that are taken where a cell is active, with what is read to know it."""
    truths = dict(reads)
    for op in block.ops:
        if isinstance(op, Let) and op.fn == "ne" and op.args[0] in truths:
            truths[op.result] = truths[op.args[0]]  # type: ignore[index]
        if isinstance(op, If) and isinstance(op.cond, Value) and op.cond in truths:
            yield op, truths[op.cond]
        for inner in blocks_of(op):
            yield from _branches(inner, truths)


def _writes(block: Block) -> list[Memory]:
    return [op for op in accesses_in(block) if not isinstance(op, Load) and op.ref.buffer.kind != "alarm"]


def _left_alone(body: Block, cell: Ref, buffers: Buffers, step: Sequence[Stage]) -> set[Buffer]:
    """Return what a step leaves zero in cells that are not active: storing zero there has no effect.

    Only a loop's body writes it, each cell its own, and a step begins with zeros there.

    Args:
        body: Of the loop.
        cell: That it is at.
        buffers: The program's memory.
        step: The stages of the step that it is in.
    """
    inside = {id(op) for op in _writes(body) if op.ref.indices[: len(cell.indices)] == cell.indices}
    others = [op for s in step for op in _writes(s.body) if op.where is not None and id(op) not in inside]
    found = {op.ref.buffer for op in _writes(body)} - {op.ref.buffer for op in others}

    def begins_with_zero(buffer: Buffer) -> bool:
        if buffer.kind != "state":
            return buffer.kind == "scratch"
        kept = buffer.source.keep or buffer in buffers.handed_on
        return not kept or buffer.source.layout is cell.buffer.source

    return {buffer for buffer in found if begins_with_zero(buffer)} if step else set()


class _Inside:
    """Runs the body of a loop over active cells at a cell where all is zero, as far as it can be known."""

    def __init__(self, cell: Ref, buffers: Buffers, alone: set[Buffer]) -> None:
        self.cell, self.buffers, self.alone = cell, buffers, alone
        self.layout: Sparse = cell.buffer.source
        self.carried = buffers.carries(self.layout)
        self.kept = self.layout in buffers.kept_layouts()
        self.known: dict[Value, Any] = {}
        self.found: list[Memory] = []

    def effects(self, block: Block) -> list[Memory]:
        """Return the writes of a block that change something."""
        self._block(block)
        return self.found

    def _get(self, operand: Operand) -> Any:
        return operand.value if isinstance(operand, Const) else self.known.get(operand)

    def _block(self, block: Block) -> None:
        for op in block.ops:
            self._op(op)

    def _op(self, op: Op) -> None:
        if isinstance(op, Let):
            self._let(op)
        elif isinstance(op, Load):
            if self._is_zero(op.ref):
                self.known[op.result] = 0.0
        elif isinstance(op, Accumulate):
            if self._get(op.value) != 0:
                self._note(op)
        elif isinstance(op, Store):
            if self._get(op.value) != 0 or not (op.ref.buffer in self.alone or self._is_zero(op.ref)):
                self._note(op)
        elif isinstance(op, If):
            self._branch(op)
        elif isinstance(op, For):
            self._loop(op)
        else:
            self._block(op.body)

    def _note(self, op: Memory) -> None:
        if op.ref.buffer.kind != "alarm" and not op.ref.buffer.hidden:
            self.found.append(op)

    def _is_zero(self, ref: Ref) -> bool:
        """Tell whether a place is the cell's own in a field of the layout, on the blocks of the loop."""
        buffer = ref.buffer
        if getattr(buffer.source, "layout", None) is not self.layout or buffer.is_adjoint:
            return False
        time = ref.time if buffer.kind == "state" else int(self.carried)
        same = time == self.cell.time or buffer.kind == "constant"
        same = same or (self.kept and time == 0 and self.cell.time == 1)  # not even active at t
        return same and ref.indices[: len(self.cell.indices)] == self.cell.indices

    def _let(self, op: Let) -> None:
        args = [self._get(a) for a in op.args]
        if op.fn in _ZERO_WITH and any(a is not None and a == 0 for a in args):
            self.known[op.result] = 0
            return
        if op.fn == "div" and args[0] is not None and args[0] == 0 and args[1] is None:
            self.known[op.result] = 0
            return
        if op.fn == "select" and args[0] is not None:
            args = [True, *args[1:]] if args[0] else [True, args[2], args[2]]
            if args[1] is not None:
                self.known[op.result] = args[1]
            return
        if any(a is None for a in args) or (op.fn not in FUNCTIONS and not op.fn.startswith("cast_")):
            return
        with np.errstate(all="ignore"):
            value = args[0] if op.fn.startswith("cast_") else FUNCTIONS[op.fn](*map(np.float64, args))
        if np.isfinite(value):
            self.known[op.result] = value

    def _branch(self, op: If) -> None:
        cond = self._get(op.cond)
        taken = [op.then, op.orelse] if cond is None else [op.then if cond else op.orelse]
        for block in taken:
            self._block(block)
        for k, result in enumerate(op.results):
            values = [self._get(block.yields[k]) for block in taken]
            if all(v is not None and v == values[0] for v in values):
                self.known[result] = values[0]

    def _loop(self, op: For) -> None:
        """Run the body once with what is carried as it begins, and again with nothing known if it changes."""
        start = [self._get(i) for i in op.inits]
        self.known.update({p: v for p, v in zip(op.params, start, strict=True) if v is not None})
        before = len(self.found)
        self._block(op.body)
        ends = [self._get(y) for y in op.body.yields]
        if ends != start:
            del self.found[before:]
            for value in itertools.chain(op.params, *(results_of(o) for o in op.body.ops)):
                self.known.pop(value, None)
            self._block(op.body)
            start = [None] * len(start)
        self.known.update({r: v for r, v in zip(op.results, start, strict=True) if v is not None})
