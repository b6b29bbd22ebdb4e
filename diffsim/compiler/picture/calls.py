"""The kernels of a program as a picture has them: what each reads and writes, and what gradients do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from diffsim.compiler.ir import (
    Accumulate,
    Buffer,
    Group,
    Let,
    Load,
    Stage,
    accesses_in,
    in_groups,
    walk,
)
from diffsim.compiler.picture.flow import Flow, Slot, flow_of, group_flow
from diffsim.compiler.program.lowered import LoweredProgram

__all__ = ["Call", "calls_of", "flows_of", "primals_of"]

_UNSEEN = ("alarm", "key", "tape")
_LONGEST = 8  # kernels of a round that is written out again and again


@dataclass(frozen=True)
class Call:
    """A kernel, or several with one adjoint.

    Attributes:
        name: What the user calls it.
        phase: `reset`, `step`, `running_cost` or `terminal_cost`.
        reads: The fields, in order.
        writes: The fields, each with `store`, `add` or both.
        flow: What gradients do.
        stages: What it is made of.
        group: Whose adjoint the user wrote for all of it.
        rounds: How often it is called, one round behind the other.
        handed: It only hands on what a step does not store.
    """

    name: str
    phase: str
    reads: tuple[Slot, ...]
    writes: dict[Slot, tuple[str, ...]]
    flow: Flow
    stages: tuple[Stage, ...] = field(default=(), compare=False)
    group: Group | None = None
    rounds: int = 1
    handed: bool = False

    @property
    def signature(self) -> object:
        """What another call has in common that does the same."""
        return self.name, self.reads, tuple(self.writes.items()), self.handed

    @property
    def operations(self) -> int:
        """How many operations it has."""
        return sum(1 for stage in self.stages for _ in walk(stage.body))

    @property
    def random(self) -> bool:
        """Whether it draws random numbers."""
        return any(
            isinstance(op, Let) and op.fn.startswith("philox") for s in self.stages for op in walk(s.body)
        )


def primals_of(lowered: LoweredProgram) -> dict[Buffer, Buffer]:
    """Return which field each adjoint is of."""
    known = [*lowered.buffers.all(), *lowered.initial.values()]
    return {b.adjoint: b for b in known if b.adjoint is not None}


def _phases(lowered: LoweredProgram) -> list[tuple[str, list[Stage]]]:
    return [
        ("reset", lowered.begin),
        ("step", lowered.step),
        ("running_cost", lowered.running),
        ("terminal_cost", lowered.terminal),
    ]


def flows_of(lowered: LoweredProgram) -> Iterator[Flow]:
    """Yield what gradients do in every stage, those that the library adds too."""
    primals = primals_of(lowered)
    for _, stages in _phases(lowered):
        for group, members in in_groups(stages):
            if group is not None:
                yield group_flow(group.adjoint(), primals)
            else:
                yield from (flow_of(stage, primals) for stage in members)


def calls_of(lowered: LoweredProgram) -> list[Call]:
    """Return what a picture of a program has, in the order in which it runs; rounds are drawn together."""
    primals = primals_of(lowered)
    found = []
    for phase, stages in _phases(lowered):
        calls = []
        for group, members in in_groups(stages):
            if group is not None:
                own = [stage for stage in members if stage.where is not None]
                calls.append(
                    _call(group.name, phase, members, own, group_flow(group.adjoint(), primals), group)
                )
                continue
            for stage in members:
                handed = _hands_on(stage)
                if stage.where is not None or handed:
                    flow = flow_of(stage, primals)
                    calls.append(replace(_call(stage.name, phase, [stage], [stage], flow), handed=handed))
        found += _folded(calls)
    return found


def _hands_on(stage: Stage) -> bool:
    """Tell whether the library made a stage to hand on what a step does not store of a State."""
    if stage.where is not None:
        return False
    touched = {(op.ref.buffer, op.ref.time) for op in accesses_in(stage.body)}
    buffers = {buffer for buffer, _ in touched}
    return len(buffers) == 1 and {time for _, time in touched} == {0, 1}


def _call(
    name: str,
    phase: str,
    members: Sequence[Stage],
    own: Sequence[Stage],
    flow: Flow,
    group: Group | None = None,
) -> Call:
    """Describe stages as one call; what it stored before it reads it is not read from outside."""
    reads: dict[Slot, None] = {}
    writes: dict[Slot, list[str]] = {}
    for stage in members:
        for op in accesses_in(stage.body):
            buffer = op.ref.buffer
            if buffer.kind in _UNSEEN or buffer.hidden or (group is not None and buffer.kind == "workspace"):
                continue
            slot = (buffer, op.ref.time)
            if isinstance(op, Load):
                # what an atomic finds is where it adds to
                if writes.get(slot, ["add"])[0] != "store" and not op.changed:
                    reads[slot] = None
            else:
                kinds = writes.setdefault(slot, [])
                kind = "add" if isinstance(op, Accumulate) else "store"
                if kind not in kinds:
                    kinds.append(kind)
    return Call(name, phase, tuple(reads), {s: tuple(k) for s, k in writes.items()}, flow, tuple(own), group)


def _folded(calls: list[Call]) -> list[Call]:
    """Return calls with rounds that follow one another drawn once: sweeps of a solver, written out."""
    found: list[Call] = []
    k = 0
    while k < len(calls):
        signatures = [call.signature for call in calls[k : k + 1 + _LONGEST * 256]]
        period, rounds = 1, 1
        for p in range(1, _LONGEST + 1):
            n = 1
            while signatures[n * p : (n + 1) * p] == signatures[:p]:
                n += 1
            if n > 1 and n * p > period * rounds:
                period, rounds = p, n
        found += [replace(call, rounds=rounds) for call in calls[k : k + period]]
        k += period * rounds
    return found
