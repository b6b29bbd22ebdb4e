"""Particles: discs in the plane, balls in space, and the ways they came."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diffsim.errors import ConfigError
from diffsim.view.paint.painter import MOST, Painter, counted
from diffsim.view.paint.scale import light_color
from diffsim.view.paint.shot import Reach, Shot
from diffsim.view.style import QUIET

if TYPE_CHECKING:
    from diffsim.view.brush import Brush
    from diffsim.view.paint.space import Space

__all__ = ["PointsPainter"]

_SIZES = 24  # of discs that are drawn; others as the next of them
_TRAILS = 400  # points whose ways are drawn, at most


class PointsPainter(Painter):
    """Draws `ds.scene.Points`."""

    def __init__(self, part: Any, shot: Shot) -> None:
        super().__init__(part, shot)
        self._count, self.dimension = self._placed("positions")
        self._which = self._chosen()
        some = self._count if part.only is None else np.size(part.only)
        if self.has("radius"):
            self.check_each("radius", self._count, some)
        self.check_values(self._count, some)
        self._size = 0.0  # radius where none is told, in the unit of space

    def _chosen(self) -> NDArray[np.int64]:
        chosen = np.arange(self._count)
        if self.part.only is not None:
            chosen = np.asarray(self.part.only).reshape(-1).astype(np.int64)
            if len(chosen) and (chosen.min() < 0 or chosen.max() >= self._count):
                raise ConfigError(
                    f"Points.only must hold numbers from 0 to {self._count - 1}, got {chosen.min()} to "
                    f"{chosen.max()}; {self.part.positions!r} has {self._count} rows"
                )
        self._rows = np.arange(len(chosen))
        if len(chosen) > MOST:
            self.notes.append(f"{counted(MOST)} of {counted(len(chosen))} points drawn")
            self._rows = np.linspace(0, len(chosen) - 1, MOST).astype(np.int64)
        return np.asarray(chosen[self._rows])

    def _each(self, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the numbers of the points that are drawn, of those of all or of the chosen ones."""
        if numbers.size == 1:
            return np.broadcast_to(numbers.reshape(-1), (len(self._which),))
        return np.asarray(numbers.reshape(-1)[self._which if numbers.size == self._count else self._rows])

    def reach(self) -> Reach | None:
        found = super().reach()
        if found is None:
            return None
        if self.has("radius"):
            radius = self.shot.reach(self.name("radius"), 1)
            return found if radius is None else found.wider(float(radius.high[0]))
        span = float((found.high - found.low).max())
        few = max(1, len(self._which)) ** (-1.0 / found.low.size)
        self._size = (span or 1.0) * min(0.02, 0.22 * few)
        return found.wider(self._size if span > 0.0 else 12.0 * self._size)

    def settle(self, painters: Sequence[Any]) -> None:
        self._size = max(painter._size for painter in painters)

    def _radii(self, k: int) -> NDArray[np.float64]:
        if self.has("radius"):
            return self._each(self.array("radius", k))
        return np.full(len(self._which), self._size)

    def _values(self, k: int) -> NDArray[np.float64] | None:
        if not self.has("values"):
            return None
        return self._each(self.values(k))

    def _trail(self, k: int) -> NDArray[np.float64]:
        """Return the ways until now as lines, shape (m, 2, dimension)."""
        ways = self.shot.until(self.name("positions"), k).reshape(-1, self._count, self.dimension or 1)
        ways = ways[:, self._which[:_TRAILS]]
        return np.stack([ways[:-1], ways[1:]], axis=2).reshape(-1, 2, self.dimension or 1)

    def plane(self, brush: Brush, k: int) -> None:
        if not len(self._which):
            return
        if self.part.trail:
            brush.lines(self._trail(k), _pale(self.color), 0.9)
        places, radii, values = self.places(k)[self._which], self._radii(k), self._values(k)
        diameters = np.maximum(2.0 * radii * brush.size_of(1.0), 1.2)
        steps = np.unique(np.quantile(diameters, np.linspace(0.0, 1.0, _SIZES), method="nearest"))
        nearest = np.searchsorted(steps, diameters - 1e-9).clip(0, len(steps) - 1)
        for number, size in enumerate(steps):
            some = np.flatnonzero(nearest == number)
            face = self.shades(None if values is None else values[some], len(some))
            rim = (QUIET if light_color(self.color) else "white") if size > 5.0 else None
            brush.dots(places[some], float(size), face, rim, 0.4)

    def space(self, space: Space, k: int) -> None:
        if self.part.trail:
            lines = self._trail(k)
            space.lines(lines, 0.9, np.broadcast_to(_pale_rgb(self.color), (len(lines), 3)), lift=0.0)
        places, values = self.places(k)[self._which], self._values(k)
        space.balls(places, self._radii(k), self.rgb(values, len(places)))

    def shadows(self, k: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return what throws shadows: places (n, 3) and radii (n,)."""
        return self.places(k)[self._which], self._radii(k)


def _pale_rgb(color: str) -> NDArray[np.float64]:
    from diffsim.view.paint.scale import rgb_of

    return 0.45 * rgb_of(color) + 0.55


def _pale(color: str) -> Any:
    return tuple(_pale_rgb(color))
