"""What the stages of a step make of some of its fields."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

from diffsim.compiler.autodiff.activity import active_values
from diffsim.compiler.ir import NEWEST, Buffer, Load, Stage, accesses_in

__all__ = ["Dependence", "Slot"]

Slot = tuple[Buffer, "int | None"]


class Dependence:
    """What stages make of some fields.

    Args:
        stages: In the order in which they run.
        sources: The fields, with the times that are meant behind all stages.
    """

    def __init__(self, stages: Sequence[Stage], sources: Iterable[Slot]) -> None:
        self._times = _Times(stages)
        self._end = len(stages)
        self._made: set[Slot] = {s for source in sources for s in self._times.read(self._end, *source)}
        for number, stage in enumerate(stages):
            active = active_values(stage.body, partial(self.reaches, stage=number))
            for op in accesses_in(stage.body):
                if not isinstance(op, Load) and op.value in active:
                    self._made.add(self._times.written(op.ref.buffer, op.ref.time))

    def reaches(self, op: Load, stage: int | None = None) -> bool:
        """Tell whether what is read may be made of the sources.

        Args:
            op: The read.
            stage: Where it is; behind all of them unless told.
        """
        place = self._end if stage is None else stage
        return not self._made.isdisjoint(self._times.read(place, op.ref.buffer, op.ref.time))


class _Times:
    """Which time an access of a State without one may mean, stage by stage.

    Args:
        stages: In the order in which they run.
    """

    def __init__(self, stages: Sequence[Stage]) -> None:
        self._before: list[set[Buffer]] = [set()]
        for stage in stages:
            stores = {op.ref.buffer for op in accesses_in(stage.body) if not isinstance(op, Load)}
            self._before.append(self._before[-1] | stores)

    def read(self, stage: int, buffer: Buffer, time: int | None) -> set[Slot]:
        """Return the slots that a read of a stage may mean."""
        if time != NEWEST:
            return {(buffer, time)}
        if buffer in self._before[stage]:
            return {(buffer, 1)}
        written_here = stage + 1 < len(self._before) and buffer in self._before[stage + 1]
        return {(buffer, 0), (buffer, 1)} if written_here else {(buffer, 0)}

    def written(self, buffer: Buffer, time: int | None) -> Slot:
        """Return the slot that a write means."""
        return buffer, 1 if time == NEWEST else time
