"""Saying what was made of each kernel: how its gradient comes about, and what that takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from diffsim.compiler.codegen.stages import StageSet, tapes_of
from diffsim.compiler.codegen.vector_notes import vector_notes
from diffsim.compiler.ir import (
    Block,
    Buffer,
    Call,
    Const,
    For,
    If,
    Let,
    Load,
    Location,
    Stage,
    Store,
    accesses_in,
    passes_gradients,
    walk,
)
from diffsim.compiler.program.lowered import LoweredProgram
from diffsim.view.cards import card, details, list_of, paragraph
from diffsim.view.cards import rows as pairs

__all__ = ["Explanation", "KernelStory", "explain"]


@dataclass(frozen=True)
class KernelStory:
    """What was made of one kernel.

    Attributes:
        name: The kernel, with the class of its owner.
        where: Its definition.
        phase: `reset`, `step`, `running_cost` or `terminal_cost`.
        reads, writes: Labels of the fields.
        operations: How many the kernel has after inlining and unrolling, and its adjoint.
        notes: What was rewritten, recorded, guarded or given, and which innermost loops can be vectorised,
            each with its place and the reason.
    """

    name: str
    where: str
    phase: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    operations: tuple[int, int]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        forward, backward = self.operations
        rows = [f"{self.name} ({self.where}), {self.phase}"]
        rows += [
            f"    reads {', '.join(self.reads) or 'nothing'}; writes {', '.join(self.writes) or 'nothing'}"
        ]
        rows += [f"    {forward} operations, {backward} in the adjoint"]
        return "\n".join([*rows, *(f"    - {note}" for note in self.notes)])

    def _html(self) -> str:
        forward, backward = self.operations
        touched = [("reads", self.reads), ("writes", self.writes)]
        told = [(word, ", ".join(names) or "nothing") for word, names in touched]
        title = f"{self.name}, {self.phase}: {forward} operations, {backward} in the adjoint"
        return details(title, paragraph(self.where, quiet=True), pairs(told), list_of(self.notes))


@dataclass(frozen=True)
class Explanation:
    """What was made of every kernel of a program, in the order in which they run; print it.

    Attributes:
        kernels: One story each.
    """

    kernels: tuple[KernelStory, ...]

    def __str__(self) -> str:
        return "\n\n".join(map(str, self.kernels))

    def _repr_html_(self) -> str:
        return card("What was made of each kernel", *(kernel._html() for kernel in self.kernels))


def explain(
    lowered: LoweredProgram, stages: StageSet, left: Mapping[str, str] = MappingProxyType({})
) -> Explanation:
    """Return what was made of each kernel that the user wrote.

    Args:
        lowered: The program.
        stages: Its kernels with their adjoints.
        left: The kernels, with their places, that were left to Taichi, and why.
    """
    groups = [
        ("reset", lowered.begin, stages.begin_adj),
        ("step", lowered.step, stages.step_adj),
        ("running_cost", lowered.running, stages.running_adj),
        ("terminal_cost", lowered.terminal, stages.terminal_adj),
    ]
    return Explanation(
        tuple(
            _story(phase, stage, adjoint, lowered, left)
            for phase, forward, backward in groups
            for stage, adjoint in _paired(forward, backward)
            if stage.where is not None
        )
    )


def _paired(forward: list[Stage], backward: list[Stage]) -> Iterator[tuple[Stage, Stage]]:
    """Yield stages with their adjoints; those of a group, which has one as a whole, with an empty one."""
    alone = iter([stage for stage in backward if stage.group is None])
    for stage in forward:
        yield stage, Stage(stage.name, stage.t, Block()) if stage.group is not None else next(alone)


def _story(
    phase: str, stage: Stage, adjoint: Stage, lowered: LoweredProgram, left: Mapping[str, str]
) -> KernelStory:
    reads: dict[str, None] = {}
    writes: dict[str, None] = {}
    for op in accesses_in(stage.body):
        if op.ref.buffer.kind != "alarm" and not op.ref.buffer.hidden:
            (reads if isinstance(op, Load) else writes)[op.ref.buffer.label] = None
    counts = (len(list(walk(stage.body))), len(list(walk(adjoint.body))))
    notes = [
        *_origin(stage),
        *stage.notes,
        *_loops(stage, adjoint),
        *_branches(stage),
        *vector_notes(stage, adjoint),
        *_guards(stage, lowered),
    ]
    reason = left.get(f"{stage.name} ({stage.where})")
    if reason is not None:
        notes.append(f"left to Taichi, since machine code is not made of {reason}")
    where = f"{stage.where.file}:{stage.where.line}" if stage.where is not None else ""
    return KernelStory(stage.name, where, phase, tuple(reads), tuple(writes), counts, tuple(notes))


def _origin(stage: Stage) -> list[str]:
    if stage.group is not None:
        notes = [f"it belongs to {stage.group.name}, whose adjoint was given with adjoint_of as a whole"]
        if stage.loop is not None:
            until = stage.loop.until
            early = "" if until is None else f", until {until.label} is set"
            notes.append(f"it is run {stage.loop.count} times{early}")
        return notes
    if stage.adjoint is not None:
        return ["its adjoint is the one that was given with adjoint_of"]
    if not passes_gradients(stage):
        return ["it only writes what has no gradient, integers for example: it has no adjoint"]
    notes = ["its adjoint is derived from its syntax tree: values are computed again, then visited backward"]
    given = Counter((op.name.lstrip("_"), op.primitive) for op in walk(stage.body) if isinstance(op, Call))
    notes += [
        f"{name} {'has the gradient of diffsim.math' if ours else 'keeps the adjoint that was given for it'}"
        + (f" ({n} calls)" if n > 1 else "")
        for (name, ours), n in given.items()
    ]
    cuts = [op.where for op in walk(stage.body) if isinstance(op, Let) and op.fn == "stop"]
    return notes + [f"{_at(where)}: no gradient flows through stop_gradient" for where in dict.fromkeys(cuts)]


def _loops(stage: Stage, adjoint: Stage) -> list[str]:
    notes = []
    tapes: dict[int, list[Buffer]] = {}
    for tape in tapes_of(adjoint):
        tapes.setdefault(id(tape.source), []).append(tape)
    for op in walk(adjoint.body):
        if isinstance(op, For) and id(op) in tapes:
            kept = tapes[id(op)]
            notes.append(
                f"{_at(op.where)}: the loop carries values; {len(kept)} of them are recorded on tapes of "
                f"{kept[0].shape[0]} iterations while it is computed again, and read while it runs backward"
            )
    carried = [op for op in walk(stage.body) if isinstance(op, For) and op.params]
    free = len(carried) - len(notes)
    if free > 0:
        notes.append(f"{free} loop(s) carry sums only, or values that the adjoint does not need: no tape")
    serial = [op for op in stage.body.ops if isinstance(op, For) and (op.params or not op.parallel)]
    notes += [f"{_at(op.where)}: the iterations run in order" for op in serial]
    return notes


def _branches(stage: Stage) -> list[str]:
    branches = sum(isinstance(op, If) and bool(op.results) for op in walk(stage.body))
    selects = sum(isinstance(op, Let) and op.fn == "select" for op in walk(stage.body))
    if not branches and not selects:
        return []
    return [f"{branches} branch(es) and {selects} select(s): the gradient follows the side that is taken"]


def _guards(stage: Stage, lowered: LoweredProgram) -> list[str]:
    """Tell of what the kernel looks at while it runs, since it could not be proven."""
    rows = {
        int(op.ref.indices[0].value)
        for op in walk(stage.body)
        if isinstance(op, Store) and op.ref.buffer.kind == "alarm" and isinstance(op.ref.indices[0], Const)
    }
    alarms = [lowered.alarms.all[row] for row in sorted(rows)]
    notes = [f"{_at(a.where)}: looked at while it runs: {a.rule.removesuffix(', got')}" for a in alarms]
    return list(dict.fromkeys(notes))


def _at(where: Location | None) -> str:
    return f"line {where.line}" if where is not None else "the library"
