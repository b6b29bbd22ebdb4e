"""Looking at what each kernel of a rollout in mode `step` reads and writes, while it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from diffsim.compiler.ir import Buffer
from diffsim.engine.engine import Engine

__all__ = ["KernelWatch", "Moment", "Spot"]

Spot: TypeAlias = tuple[Buffer, int]  # a buffer, and a time relative to the step


@dataclass(frozen=True)
class Moment:
    """When a kernel runs, and for which worlds.

    Attributes:
        phase, t, s: As `Watch.run` gets them.
        ends: The time of each world, where those that have ended have another; None where all have `t`.
        ran: Which worlds the kernel runs for; None for all.
    """

    phase: str
    t: int
    s: int
    ends: NDArray[Any] | None = None
    ran: NDArray[np.bool_] | None = None

    def time(self, world: int | None) -> int:
        """Return what `t` is for a world."""
        return self.t if self.ends is None or world is None else int(self.ends[world])


class KernelWatch:
    """Base of what looks at memory around the launches of kernels.

    Args:
        engine: What runs, in mode `step`.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine, self._layout = engine, engine.plan.layout
        self._recomputing = False

    def forward_done(self) -> None:
        """Look at adjoints alone from here on."""
        self._recomputing = True

    def _moment(self, phase: str, t: int, s: int) -> Moment:
        ended = self._engine.lowered.ended
        if ended is None or phase.startswith("begin"):
            return Moment(phase, t, s)
        first = np.array(self._engine.storage.arrays(ended)[0])  # that a world does not run
        if phase.startswith("step"):
            return Moment(phase, t, s, ran=first > t)
        return Moment(phase, t, s, np.minimum(first, t))

    def _look(self, spot: Spot, moment: Moment) -> list[NDArray[Any]]:
        """Return a buffer at a time relative to a step, one array (world, *space) per component."""
        buffer, time = spot
        world: Any = slice(None)
        place: Any = moment.s
        if buffer.kind == "state" and moment.ends is not None:  # a world's last States are where it left them
            world = np.arange(self._layout.worlds)
            place = np.maximum(moment.s - (moment.t - moment.ends), 0)
        slot = place + time + self._layout.history - 1 if buffer.kind == "state" else place
        own = {
            "world": world,
            "group": slice(self._layout.lanes) if self._layout.world_last else 0,
            "slot": slot,
            "ring": slot % self._layout.ring,
            "time": slice(None),  # the first index of what is read or written says which
        }
        axes, storage = self._layout.axes(buffer), self._engine.storage
        found = [array[tuple(own[axis] for axis in axes)] for array in storage.arrays(buffer)]
        if not self._layout.world_last:
            return found
        if "group" in axes:  # the lanes of a GPU add to copies, which are summed behind the pass
            return [array.sum(axis=axes.index("group")) for array in found]
        part = self._engine.lowered.cost_parts.get(buffer) if self._layout.parts > 1 else None
        return found if part is None else [found[0] + storage.arrays(part)[0].sum(axis=0)]
