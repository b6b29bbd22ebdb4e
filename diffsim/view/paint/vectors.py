"""Arrows or streamlines: velocities, forces, gradients, at places or on a grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diffsim.errors import ConfigError
from diffsim.view.paint.grid import placed_grid
from diffsim.view.paint.painter import Painter, counted
from diffsim.view.paint.shot import Reach, Shot
from diffsim.view.stream import LENGTH, seeds, streamlines

if TYPE_CHECKING:
    from diffsim.view.brush import Brush
    from diffsim.view.paint.space import Space

__all__ = ["VectorsPainter"]

_ALONG = 26  # arrows along the longer side of a grid
_LINES, _DEEP = 22, 7  # streamlines along it in the plane, and in space
_TIP = 6.0  # [points] the head of a streamline
_MOST = 2000  # arrows at places
_FRAMES = 200  # that are looked through for how far arrows reach
_SHORT = 0.02  # of the longest one: shorter arrows are left out, of which only a dot would be seen


class VectorsPainter(Painter):
    """Draws `ds.scene.Vectors`."""

    place = "vectors"

    def __init__(self, part: Any, shot: Shot) -> None:
        super().__init__(part, shot)
        self._count, self.dimension = self._placed("vectors")
        size = self.shape("vectors")[:-1]
        if self.has("positions"):
            count, dimension = self._placed("positions")
            if (count, dimension) != (self._count, self.dimension):
                raise self.wrong(
                    "vectors",
                    f"have the shape of positions {part.positions!r}, {self.shape('positions')}",
                    "name one vector for each place",
                )
            self._which = _some(self._count, _MOST)
            if len(self._which) < self._count:
                self.notes.append(f"{counted(len(self._which))} of {counted(self._count)} arrows drawn")
        elif len(size) == self.dimension and part.lines:
            self._starts, self._which, self._gap = self._seeded(size)
        elif len(size) == self.dimension:
            self._starts, self._which, self._gap = self._on_grid(size)
        else:
            shape = "(nx, ny, 2)" if self.dimension == 2 else "(nx, ny, nz, 3)"
            raise self.wrong(
                "vectors", f"have shape {shape} where positions are not named", "name them, or pass a grid"
            )
        if part.lines and self.has("positions"):
            raise ConfigError(
                f"Vectors.lines must be left out where positions are named, got {part.positions!r}; "
                "streamlines need a grid"
            )
        self.check_values(self._count)
        self._scale = self._least = self._most = 0.0
        if part.scale is not None and not (np.isfinite(part.scale) and part.scale > 0.0):
            raise ConfigError(f"Vectors.scale must be positive, got {part.scale}; leave it out where unsure")

    @property
    def on_grid(self) -> bool:
        """Tell whether arrows stand on a grid."""
        return not self.has("positions")

    def _on_grid(self, size: tuple[int, ...]) -> tuple[NDArray[np.float64], NDArray[np.int64], float]:
        origin, spacing = placed_grid(self.part, len(size))
        along = _ALONG if len(size) == 2 else _ALONG // 3
        stride = max(1, -(-max(size) // along))
        axes = [np.arange((n - 1) % stride // 2, n, stride) for n in size]
        picked = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(size))
        which = np.asarray(np.ravel_multi_index(tuple(picked.T), size), dtype=np.int64)
        return origin + spacing * picked, which, float(stride * spacing.min())

    def _seeded(self, size: tuple[int, ...]) -> tuple[NDArray[np.float64], NDArray[np.int64], float]:
        """Return where streamlines begin, the samples that are nearest, and the gap between them."""
        self._origin, self._spacing = placed_grid(self.part, len(size))
        along = min(max(size), _LINES if len(size) == 2 else _DEEP)
        self._seeds = seeds(size, along)
        nearest = np.asarray(np.rint(self._seeds), dtype=np.int64)
        which = np.asarray(np.ravel_multi_index(tuple(nearest.T), size), dtype=np.int64)
        gap = max(1.0, (max(size) - 1) / max(1, along - 1)) * float(self._spacing.min())
        return self._origin + self._spacing * self._seeds, which, gap

    def reach(self) -> Reach | None:
        longest = self.shot.reach(self.name("vectors"), self.dimension or 1, length=True)
        if longest is None:
            return None
        if longest.missing:
            self.notes.append(self.lost(longest.missing))
        if not self.has("positions"):
            found = Reach(self._starts.min(axis=0), self._starts.max(axis=0))
            self._size(longest, (LENGTH if self.part.lines else 0.95) * self._gap)
            if not self.part.lines:
                return found.wider(0.5 * self._gap)
            last = np.array(self.shape("vectors")[:-1]) - 0.5
            return Reach(self._origin - 0.5 * self._spacing, self._origin + last * self._spacing)
        places = self.shot.reach(self.name("positions"), self.dimension or 1)
        if places is None:
            return None
        self._size(longest, 0.16 * (float((places.high - places.low).max()) or 1.0))
        return self._tips(places)

    def _size(self, longest: Reach, room: float) -> None:
        """Choose a scale at which the longest arrow has some length, where none is told."""
        most = float(longest.high[0])
        self._scale = self.part.scale or (room / most if most > 0.0 else 1.0)
        self._least, self._most = _SHORT * most, most

    def _tips(self, places: Reach) -> Reach:
        """Return what holds the places and the tips of arrows, in some hundred frames."""
        low, high = places.low.copy(), places.high.copy()
        for k in np.unique(np.linspace(0, self.shot.frames - 1, _FRAMES).astype(int)):
            starts, moved, _ = self._arrows(int(k))
            inside = ((starts >= places.low) & (starts <= places.high)).all(axis=1)
            tips = (starts + moved)[inside & np.isfinite(moved).all(axis=1)]
            if len(tips):
                low, high = np.minimum(low, tips.min(axis=0)), np.maximum(high, tips.max(axis=0))
        return Reach(low, high, places.missing)

    def settle(self, painters: Sequence[Any]) -> None:
        self._scale = min((other._scale for other in painters if other._scale > 0.0), default=0.0)
        self._least = max(other._least for other in painters)
        self._most = max(other._most for other in painters)

    def _arrows(self, k: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64] | None]:
        vectors = self.array("vectors", k).reshape(-1, self.dimension or 1)[self._which]
        lengths = np.linalg.norm(np.clip(vectors, -1e150, 1e150), axis=1)
        wild = lengths > self._most  # of a run that diverges
        moved = (
            self._scale * vectors * np.where(wild, self._most / np.where(wild, lengths, 1.0), 1.0)[:, None]
        )
        if self.has("positions"):
            starts = self.array("positions", k).reshape(-1, self.dimension or 1)[self._which]
        else:
            starts = self._starts - 0.5 * moved  # so that the middle stands at the sample
        values = None
        if self.has("values"):
            values = np.broadcast_to(self.values(k), (self._count,))[self._which]
        long = lengths > self._least
        return starts[long], moved[long], None if values is None else values[long]

    def _ways(self, k: int) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
        """Return streamlines, shape (n, points, d), and their values."""
        size = (*self.shape("vectors")[:-1], self.dimension or 1)
        pace = self._scale / self._spacing
        longest = LENGTH * self._gap / float(self._spacing.min())
        ways = streamlines(self.array("vectors", k).reshape(size), self._seeds, pace, longest)
        values = None
        if self.has("values"):
            values = np.broadcast_to(self.values(k), (self._count,))[self._which]
        length = np.linalg.norm(np.diff(ways, axis=1), axis=2).sum(axis=1)
        long = length > 2.0 * _SHORT * longest
        return self._origin + self._spacing * ways[long], None if values is None else values[long]

    def plane(self, brush: Brush, k: int) -> None:
        if self.part.lines:
            self._streams(brush, k)
            return
        starts, moved, values = self._arrows(k)
        if values is None:
            brush.arrows(starts, moved, (1.0, 1.0, 1.0, 0.75), 2.6)  # so that they are seen on dark maps
        brush.arrows(starts, moved, self.shades(values, len(starts)), 1.1)

    def _streams(self, brush: Brush, k: int) -> None:
        ways, values = self._ways(k)
        pieces, tips = _pieces(ways), _tips(ways, _TIP / brush.size_of(1.0))
        color = self.shades(values, len(ways))
        if values is None:
            brush.lines(pieces, (1.0, 1.0, 1.0, 0.6), 2.4)
            brush.lines(pieces, color, 1.1)
        else:
            brush.lines(pieces, self.shades(np.repeat(values, ways.shape[1] - 1), len(pieces)), 1.1)
        brush.faces(tips, color, edge_width=0.3)

    def space(self, space: Space, k: int) -> None:
        if self.part.lines:
            ways, values = self._ways(k)
            colors = self.rgb(values, len(ways))
            space.lines(_pieces(ways), 1.2, np.repeat(colors, ways.shape[1] - 1, axis=0))
            ends = ways[:, -1]
            space.arrows(ways[:, -6], ends - ways[:, -6], 1.2, colors)
            return
        starts, moved, values = self._arrows(k)
        space.arrows(starts, moved, 1.2, self.rgb(values, len(starts)))


def _some(count: int, most: int) -> NDArray[np.int64]:
    return np.arange(count) if count <= most else np.linspace(0, count - 1, most).astype(np.int64)


def _pieces(ways: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the pieces of lines, one line after the other, shape (m, 2, d)."""
    return np.stack([ways[:, :-1], ways[:, 1:]], axis=2).reshape(-1, 2, ways.shape[2])


def _tips(ways: NDArray[np.float64], size: float) -> NDArray[np.float64]:
    """Return heads at the ends of lines, shape (n, 3, 2)."""
    along = ways[:, -1] - ways[:, -3]
    length = np.linalg.norm(along, axis=1, keepdims=True)
    whole = np.linalg.norm(np.diff(ways, axis=1), axis=2).sum(axis=1)[:, None]
    along = along / np.maximum(length, 1e-300) * np.minimum(size, 0.5 * whole)
    across = 0.42 * along[:, ::-1] * [-1.0, 1.0]
    tip, neck = ways[:, -1] + 0.4 * along, ways[:, -1] - 0.6 * along
    return np.stack([tip, neck + across, neck - across], axis=1)
