"""The stages of a program with their adjoints, and the memory that only those need."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TypeVar

from diffsim.compiler.ir import (
    Accumulate,
    Block,
    Buffer,
    For,
    If,
    Load,
    Loop,
    Op,
    Stage,
    Store,
    accesses_in,
    walk,
)
from diffsim.compiler.program.lowered import Clearing, LoweredProgram

__all__ = [
    "StageSet",
    "adjoint_of",
    "all_adjoints",
    "in_loops",
    "launched",
    "parameter_adjoints",
    "passing_adjoints",
    "tapes_of",
    "without_cost",
]

Item = TypeVar("Item")


@dataclass
class StageSet:
    """The stages of a program and their adjoints.

    Attributes:
        lowered: The forward stages.
        begin_adj, step_adj, running_adj, terminal_adj: Their adjoints, in the order of the forward stages; a
            group of those has one adjoint of any number of stages.
    """

    lowered: LoweredProgram
    begin_adj: list[Stage]
    step_adj: list[Stage]
    running_adj: list[Stage]
    terminal_adj: list[Stage]

    @property
    def again(self) -> list[Stage]:
        """The stages of a step without what it adds to the cost, to run it once more for its Scratches."""
        return [without_cost(stage) for stage in self.lowered.step + self.lowered.running]

    def clears(self) -> dict[str, list[Clearing]]:
        """Return what each phase zeroes before its stages, in this order.

        The adjoint of the oldest State that a step touches is at the place of the newest one of the step
        behind it, which has been used up.
        """
        lowered = self.lowered
        oldest = []
        if self.step_adj:
            # of sparse States the stages that zero blocks do that
            passing = [state for state in lowered.passing if state.place is None]
            oldest = [Clearing(adjoint_of(state), 1 - lowered.history) for state in passing]
        return {
            "begin": [],
            "step": lowered.clear,
            "again": lowered.clear,
            "terminal": lowered.clear_terminal,
            "begin_adj": [],
            "step_adj": oldest + lowered.clear_adjoint,
            "terminal_adj": lowered.clear_adjoint,
        }

    def in_order(self) -> dict[str, list[Stage]]:
        """Return the stages of each phase in the order in which they run; adjoints run last to first."""
        return {
            "begin": self.lowered.begin,
            "step": self.lowered.step + self.lowered.running,
            "again": self.again,
            "terminal": self.lowered.terminal,
            "begin_adj": self.begin_adj[::-1],
            "step_adj": self.running_adj[::-1] + self.step_adj[::-1],
            "terminal_adj": self.terminal_adj[::-1],
        }


def without_cost(stage: Stage) -> Stage:
    """Return a stage that does the same, but adds nothing to the cost."""
    if not any(op.ref.buffer.kind == "cost" for op in accesses_in(stage.body)):
        return stage
    return replace(stage, body=_without_cost(stage.body))


def _without_cost(block: Block) -> Block:
    ops: list[Op] = []
    for op in block.ops:
        if isinstance(op, Store | Accumulate) and op.ref.buffer.kind == "cost":
            continue
        if isinstance(op, For):
            op = replace(op, body=_without_cost(op.body))
        elif isinstance(op, If):
            op = replace(op, then=_without_cost(op.then), orelse=_without_cost(op.orelse))
        ops.append(op)
    return Block(ops, list(block.yields))


def all_adjoints(stages: StageSet) -> list[Stage]:
    """Return the adjoint stages of a program."""
    return stages.begin_adj + stages.step_adj + stages.running_adj + stages.terminal_adj


def in_loops(stages: Sequence[Stage]) -> Iterator[tuple[Loop | None, list[int]]]:
    """Yield the positions of stages loop by loop, in order; those between loops come together, with None."""
    for loop, positions in groupby(range(len(stages)), key=lambda k: stages[k].loop):
        yield loop, list(positions)


def launched(stages: Sequence[Stage], items: Sequence[Item]) -> list[Item]:
    """Return what belongs to each stage in the order in which stages are launched one by one: loops unrolled.

    Args:
        stages: In order, each loop once.
        items: One for each stage.
    """
    return [
        items[k]
        for loop, positions in in_loops(stages)
        for _ in range(1 if loop is None else loop.count)
        for k in positions
    ]


def tapes_of(stage: Stage) -> set[Buffer]:
    """Return the tapes that a stage uses."""
    return {
        op.ref.buffer
        for op in walk(stage.body)
        if isinstance(op, Load | Store) and op.ref.buffer.kind == "tape"
    }


def adjoint_of(state: Buffer) -> Buffer:
    """Return the buffer of the adjoint of a State of real numbers, in a program that runs backward."""
    assert state.adjoint is not None  # noqa: S101  (the callers go through those that have one)
    return state.adjoint


def parameter_adjoints(lowered: LoweredProgram) -> list[Buffer]:
    """Return the adjoint buffers of Params, Controls and initial values."""
    buffers = [b for b in lowered.buffers.by_field.values() if b.kind in ("param", "control")]
    return [b.adjoint for b in [*buffers, *lowered.initial.values()] if b.adjoint is not None]


def passing_adjoints(lowered: LoweredProgram) -> list[Buffer]:
    """Return the adjoint buffers that no step zeroes: it leaves zeros, unless broken off, or adds up."""
    zeroed = {clearing.buffer for clearing in lowered.clear_adjoint}
    passing = ("scratch", "derived")
    adjoints = [b.adjoint for b in lowered.buffers.by_field.values() if b.kind in passing]
    return [a for a in adjoints if a is not None and a not in zeroed]
