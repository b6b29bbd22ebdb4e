"""Numbers along one axis, as a curve over places that moves: rods, strings, Burgers' equation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diffsim.errors import ConfigError
from diffsim.view.paint.grid import GridPainter, placed_grid
from diffsim.view.paint.painter import Painter
from diffsim.view.paint.shot import Reach, Shot

if TYPE_CHECKING:
    from diffsim.view.brush import Brush
    from diffsim.view.paint.space import Space

__all__ = ["ProfilePainter", "grid_painter"]

_SAMPLES = 4000  # that are drawn
_DOTS = 48  # samples up to which each is marked


def grid_painter(part: Any, shot: Shot) -> Painter:
    """Return the painter of a grid: of one with a single axis it is another."""
    name = part.values
    if name in shot and not part.rgb:
        shape, parts = shot.shape(name), shot.components(name)
        if len(shape) == 1 + len(parts) and shape[0] > 1 and len(parts) < 2:
            return ProfilePainter(part, shot)
    return GridPainter(part, shot)


class ProfilePainter(Painter):
    """Draws a `ds.scene.Grid` of one axis in a panel."""

    place = "values"

    def __init__(self, part: Any, shot: Shot) -> None:
        super().__init__(part, shot)
        origin, spacing = placed_grid(part, 1)
        self.size = self.shape("values")[0]
        self.counted = part.origin is None and np.ndim(part.spacing) == 0 and part.spacing == 1.0
        self._stride = -(-self.size // _SAMPLES)
        self._x = (origin + spacing * np.arange(self.size)[:, None])[:: self._stride, 0]
        last = float((origin + spacing * (self.size - 1))[0])
        self.first, self.last = float(origin[0]), last
        self._range: Reach | None = None

    @property
    def called(self) -> str:
        """Return what its numbers are."""
        name = self.name("values")
        return self.part.label or (f"|{name}|" if self._columns("values") > 1 else name)

    @property
    def unit(self) -> str:
        """Return what its numbers are in."""
        return self.shot.unit(self.name("values"))

    @property
    def barred(self) -> bool:
        return False

    def reach(self) -> None:
        return None

    def tones(self) -> None:
        return None

    def range(self) -> Reach | None:
        """Return from where to where the numbers reach in all frames.

        Raises:
                    ConfigError: The limits of the part are not a low number and a higher one.
        """
        if self.part.limits is not None:
            low, high = (float(v) for v in self.part.limits)
            if not (high > low and np.isfinite([low, high]).all()):
                raise ConfigError(
                    f"Grid.limits must be two numbers, the lower one first, got {self.part.limits}; leave "
                    "them out for all that there is"
                )
            return Reach(np.array([low]), np.array([high]))
        if self._range is None:
            columns = self._columns("values")
            self._range = self.shot.reach(self.name("values"), columns, length=columns > 1)
            if self._range is not None and self._range.missing:
                self.notes.append(f"{self.called}: gaps where it is not finite")
        return self._range

    def line(self, k: int) -> NDArray[np.float64]:
        """Return the curve of a frame, shape (n, 2)."""
        return np.stack([self._x, self.values(k)[:: self._stride]], axis=1)

    def draw(self, brush: Brush, k: int, color: str, width: float) -> None:
        """Draw the curve of a frame."""
        line = self.line(k)
        brush.lines(np.stack([line[:-1], line[1:]], axis=1), color, width)
        if len(line) <= _DOTS:
            brush.dots(line, 2.2 * width, color)

    def plane(self, brush: Brush, k: int) -> None:
        return

    def space(self, space: Space, k: int) -> None:
        return
