"""Lowering calls as stages that know what they belong to: a method with an adjoint of its own, a loop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from diffsim.analysis.access import check_access
from diffsim.analysis.alarms import Alarms, guarded
from diffsim.analysis.clearing import clear_workspaces
from diffsim.analysis.context import Buffers
from diffsim.analysis.diagnostics import raise_all
from diffsim.analysis.lower import lower
from diffsim.errors import Diagnostic, GradientError, TraceError
from diffsim.ir import Group, Loop, Stage
from diffsim.trace import CallGroup, KernelCall, Repeat

__all__ = ["Lowering", "in_groups"]


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

    def stages(self, calls: Sequence[KernelCall], phase: str) -> list[Stage]:
        """Return the stages of calls, with those that zero Workspaces where a group begins.

        Args:
            calls: In the order in which they run.
            phase: What `lower` takes.
        """
        made: list[Stage] = []
        for call in calls:
            try:
                stage = lower(call, phase, self.buffers)
            except (TraceError, GradientError) as error:
                if not error.diagnostics:
                    raise
                self.found += error.diagnostics
                continue
            made.append(replace(stage, group=self._group(call.group), loop=self._loop(call.repeat)))
        return [stage for group, members in in_groups(made) for stage in self._cleared(group, members)]

    def _cleared(self, group: Group | None, members: list[Stage]) -> list[Stage]:
        if group is None:
            return members
        clears = clear_workspaces(members, self.buffers.real)
        return [*(replace(stage, group=group) for stage in clears), *members]

    def _group(self, call: CallGroup | None) -> Group | None:
        if call is not None and call not in self._groups:
            self._groups[call] = Group(call.name, lambda: self._adjoint(call))
        return None if call is None else self._groups[call]

    def _adjoint(self, call: CallGroup) -> list[Stage]:
        """Return the stages of an adjoint that a user gave.

        Raises:
            TraceError: A kernel of it cannot be lowered.
            GradientError: Iterations of one of its loops disturb each other.
        """
        one = Lowering(self.buffers, self.steps, self.alarms)
        one._groups, one._loops = self._groups, self._loops
        stages = one.stages(call.adjoint, "adjoint")
        raise_all(one.found)
        check_access(stages, self.steps, given=True)
        return [guarded(stage, self.steps, self.alarms, silent=True) for stage in stages]

    def _loop(self, call: Repeat | None) -> Loop | None:
        if call is not None and call not in self._loops:
            until = None if call.until is None else self.buffers.by_field.get(id(call.until))
            if call.until is not None and until is None:
                raise TraceError(
                    "repeat until must be a field of the simulator or of one of its parts, got one that no "
                    "attribute path from the simulator leads to; assign it to an attribute"
                )
            self._loops[call] = Loop(call.count, until)
        return None if call is None else self._loops[call]


def in_groups(stages: Sequence[Stage]) -> Iterator[tuple[Group | None, list[Stage]]]:
    """Yield stages group by group, in order; those between groups come together, with None."""
    for group, members in groupby(stages, key=lambda stage: stage.group):
        yield group, list(members)
