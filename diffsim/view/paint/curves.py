"""Signals over time, below what is in space, with a mark that moves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diffsim.view.calm import beyond, calm_limits
from diffsim.view.paint.painter import Painter, counted
from diffsim.view.paint.scale import COLORS
from diffsim.view.paint.shot import Reach, Shot
from diffsim.view.paint.ticks import Ticks, named

if TYPE_CHECKING:
    from diffsim.view.brush import Brush
    from diffsim.view.paint.space import Space

__all__ = ["MOST_CURVES", "CurvesPainter"]

MOST_CURVES = 8  # one for each colour
_SAMPLES = 4000  # of a curve


class CurvesPainter(Painter):
    """Draws `ds.scene.Curves` in a panel of its own."""

    place = "values"

    def __init__(self, part: Any, shot: Shot) -> None:
        super().__init__(part, shot)
        name = self.name("values")
        size = int(np.prod(self.shape("values")))
        if not size:
            raise self.wrong("values", "have a number", "name another array")
        shown = min(size, MOST_CURVES)
        self.which = np.arange(shown)
        if size > shown:
            self.notes.append(f"{shown} of {counted(size)} curves of {name} drawn")
            self.which = np.linspace(0, size - 1, shown).round().astype(int)
        self.names = self._names(size)
        times, values = shot.time_of(name), shot.until(name, shot.frames - 1)
        if not shot.moves(name):  # as it is from the first frame to the last
            times, values = shot.times[[0, -1]], np.repeat(values, 2, axis=0)
        stride = max(1, len(values) // _SAMPLES)
        self._values = values.reshape(len(values), -1)[::stride, self.which]
        self._times = times[: len(values) : stride]

    def labelled(self, found: Ticks | None = None) -> str:
        """Return what the upright axis is called."""
        name = self.name("values")
        return named(self.part.label or name, self.shot.unit(name), found)

    def _names(self, size: int) -> list[str]:
        given = [str(name) for name in self.part.names]
        if size == 1 and not given:
            return []
        return [given[n] if n < len(given) else str(n) for n in self.which]

    def reach(self) -> None:
        return None

    def tones(self) -> None:
        return None

    def range(self) -> Reach | None:
        """Return from where to where the drawn values reach."""
        finite = np.isfinite(self._values)
        if not finite.all():
            self.notes.append(f"{self.part.values}: gaps where it is not finite")
        found = calm_limits(
            np.where(finite, self._values, np.inf).min(axis=1, keepdims=True),
            np.where(finite, self._values, -np.inf).max(axis=1, keepdims=True),
        )
        if found is None:
            return None
        low, high, frame = found
        if frame is not None:
            name = self.name("values")
            self.shot.beyond[name] = beyond(name, self._times, frame, self.shot.time_unit)
        return Reach(low, high)

    def colors(self) -> list[str]:
        """Return a colour for each curve."""
        return [self.part.color] if self.part.color and len(self.which) == 1 else list(COLORS)

    def all_of_it(self) -> list[tuple[NDArray[np.float64], str]]:
        """Return the curves as lines, (m, 2, 2), with their colours."""
        points = np.stack([np.broadcast_to(self._times[:, None], self._values.shape), self._values], axis=2)
        colors = self.colors()
        return [
            (np.stack([points[:-1, n], points[1:, n]], axis=1), colors[n % len(colors)])
            for n in range(points.shape[1])
        ]

    def until(self, brush: Brush, time: float, width: float = 1.6) -> None:
        """Draw the curves until a time, with a dot at their ends."""
        for n, (lines, color) in enumerate(self.all_of_it()):
            past = lines[lines[:, 1, 0] <= time * (1 + 1e-12) + 1e-300]
            brush.lines(past, color, width)
            tip = past[-1, 1] if len(past) else np.array([self._times[0], self._values[0, n]])
            brush.dots(tip[None], 5.0, color, "white", 0.8)

    def plane(self, brush: Brush, k: int) -> None:
        return

    def space(self, space: Space, k: int) -> None:
        return
