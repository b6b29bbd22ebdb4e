"""Lowering calls as stages that know what they belong to: a method with an adjoint of its own, a loop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from itertools import groupby

from diffsim.compiler.builder import Builder
from diffsim.compiler.checks.access import check_access
from diffsim.compiler.checks.alarms import Alarms, guarded
from diffsim.compiler.checks.diagnostics import raise_all
from diffsim.compiler.checks.ranges import Times
from diffsim.compiler.ir import Accumulate, Buffer, Group, Loop, Ref, Stage, Store, Value, in_groups, walk
from diffsim.compiler.program.clearing import clear_workspaces
from diffsim.compiler.program.energies import Setting, energy_stages
from diffsim.compiler.reading.buffers import Buffers
from diffsim.compiler.reading.lower import lower
from diffsim.errors import Diagnostic, GradientError, TraceError
from diffsim.language.fields import Workspace
from diffsim.language.trace import CallGroup, KernelCall, Repeat
from diffsim.language.types import real

__all__ = ["Lowering"]


class Lowering:
    """Lowers the calls of a program.

    Args:
        buffers: The program's memory.
        steps: The horizon, for bounds of indices that depend on `t`.
        alarms: Where alarms are added.

    Attributes:
        found: What was found wrong so far.
    """

    def __init__(self, buffers: Buffers, steps: int, alarms: Alarms) -> None:
        self.buffers, self.steps, self.alarms = buffers, steps, alarms
        self.found: list[Diagnostic] = []
        self._groups: dict[CallGroup, Group] = {}
        self._loops: dict[Repeat, Loop] = {}
        self._flags: dict[Loop, tuple[Buffer, Buffer]] = {}
        self._step: list[Stage] = []

    def stages(self, calls: Sequence[KernelCall], phase: str) -> list[Stage]:
        """Return the stages of calls, with those that zero Workspaces where a group begins.

        Args:
            calls: In the order in which they run.
            phase: What `lower` takes.
        """
        made: list[Stage] = []
        before = self._step if phase == "running_cost" else []
        for energy, members in groupby(calls, key=lambda call: call.energy):
            found = len(self.found)
            lowered = [pair for call in members for pair in self._lowered(call, phase)]
            if energy is None:
                for call, stage in lowered:
                    group, loop = self._group(call.group, phase), self._loop(call.repeat)
                    made.append(replace(stage, group=group, loop=loop))
            elif len(self.found) == found:
                setting = Setting(self.buffers, phase, [*before, *made], Times.of(phase, self.steps))
                with self._finding():
                    made += energy_stages([stage for _, stage in lowered], energy.gradient, setting)
        if phase == "step":
            self._step = made
        made = self._noted(made)
        return [stage for group, members in in_groups(made) for stage in self._cleared(group, members)]

    def _lowered(self, call: KernelCall, phase: str) -> list[tuple[KernelCall, Stage]]:
        """Return a call with its stage; nothing where it is refused."""
        with self._finding():
            return [(call, lower(call, phase, self.buffers))]
        return []

    @contextmanager
    def _finding(self) -> Iterator[None]:
        """Keep what is found wrong while active, and go on behind it."""
        try:
            yield
        except (TraceError, GradientError) as error:
            if not error.diagnostics:
                raise
            self.found += error.diagnostics

    def _noted(self, stages: list[Stage]) -> list[Stage]:
        """Add stages that note, between kernels, whether a loop is over: no kernel is cut short by itself."""
        found: list[Stage] = []
        for k, stage in enumerate(stages):
            pair = self._flags.get(stage.loop) if stage.loop is not None else None
            if pair is None:
                found.append(stage)
                continue
            note = replace(_note(*pair, self.buffers.real), group=stage.group)
            if k == 0 or stages[k - 1].loop is not stage.loop:
                found.append(note)  # it may be over before it begins
            found.append(stage)
            if any(
                isinstance(op, Store | Accumulate) and op.ref.buffer is pair[0] for op in walk(stage.body)
            ):
                found.append(replace(note, loop=stage.loop))
        return found

    def _cleared(self, group: Group | None, members: list[Stage]) -> list[Stage]:
        if group is None:
            return members
        clears = clear_workspaces(members, self.buffers)
        return [*(replace(stage, group=group) for stage in clears), *members]

    def _group(self, call: CallGroup | None, phase: str) -> Group | None:
        if call is not None and call not in self._groups:
            self._groups[call] = Group(call.name, cache(lambda: self._adjoint(call, phase)))
        return None if call is None else self._groups[call]

    def _adjoint(self, call: CallGroup, phase: str) -> list[Stage]:
        """Return the stages of an adjoint that a user gave for what runs in a phase.

        Raises:
            TraceError: A kernel of it cannot be lowered.
            GradientError: Iterations of one of its loops disturb each other.
        """
        one = Lowering(self.buffers, self.steps, self.alarms)
        one._groups, one._loops, one._flags = self._groups, self._loops, self._flags
        times = Times.of(phase, self.steps)
        stages = one.stages(call.adjoint, "reset adjoint" if phase.startswith("reset") else "adjoint")
        raise_all(one.found)
        check_access(stages, times)
        return [guarded(stage, times, self.alarms) for stage in stages]

    def _loop(self, call: Repeat | None) -> Loop | None:
        if call is not None and call not in self._loops:
            until = None if call.until is None else self.buffers.by_field.get(id(call.until))
            if call.until is not None and until is None:
                raise TraceError(
                    "repeat until must be a field of the simulator or of one of its parts, got one that no "
                    "attribute path from the simulator leads to; assign it to an attribute"
                )
            over = None if until is None else self._copy_of(until)
            self._loops[call] = loop = Loop(call.count, over)
            if until is not None and over is not None:
                self._flags[loop] = until, over
        return None if call is None else self._loops[call]

    def _copy_of(self, flag: Buffer) -> Buffer:
        """Make a Workspace that holds what a flag was when the last kernel was through."""
        hidden = Workspace(real)
        hidden.key = flag.source.key  # what messages call it
        return self.buffers.add(hidden, f"{hidden.key} noted")


def _note(flag: Buffer, over: Buffer, real_name: str) -> Stage:
    """Return the stage that copies a flag."""
    b = Builder(real_name)
    b.store(Ref(over, (), 0, None), b.load(Ref(flag, (), 0, None)))
    return Stage("note the end", Value("i32"), b.block)
