"""Springs, rods and wires."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diffsim.view.paint.painter import Painter
from diffsim.view.paint.shot import Shot

if TYPE_CHECKING:
    from diffsim.view.brush import Brush
    from diffsim.view.paint.space import Space

__all__ = ["LinesPainter"]


class LinesPainter(Painter):
    """Draws `ds.scene.Lines`."""

    def __init__(self, part: Any, shot: Shot) -> None:
        super().__init__(part, shot)
        self._count, self.dimension = self._placed("positions")
        if self.has("pairs"):
            self._pairs = self._numbers("pairs", 2, self._count)
        else:
            ends = np.arange(self._count + (1 if part.closed else 0)) % max(1, self._count)
            self._pairs = np.stack([ends[:-1], ends[1:]], axis=1)
        self.check_values(len(self._pairs), self._count)

    def _values(self, k: int) -> NDArray[np.float64] | None:
        """Return a value for each line: its own, or the mean of its ends'."""
        if not self.has("values"):
            return None
        values = self.values(k)
        if len(values) == self._count and len(values) != len(self._pairs):
            return np.asarray(values[self._pairs].mean(axis=1))
        return values

    def plane(self, brush: Brush, k: int) -> None:
        shown = self.shades(self._values(k), len(self._pairs))
        brush.lines(self.places(k)[self._pairs], shown, self.part.width)

    def space(self, space: Space, k: int) -> None:
        shown = self.rgb(self._values(k), len(self._pairs))
        space.lines(self.places(k)[self._pairs], self.part.width, shown)
