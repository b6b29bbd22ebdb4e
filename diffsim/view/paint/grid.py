"""Numbers on a grid: a map in the plane, slices or a surface of one level in space."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diffsim.errors import ConfigError
from diffsim.view.paint.level import level_surface
from diffsim.view.paint.painter import Painter
from diffsim.view.paint.scale import Scale, rgb_of
from diffsim.view.paint.shot import Reach, Shot

if TYPE_CHECKING:
    from diffsim.view.brush import Brush
    from diffsim.view.paint.space import Space

__all__ = ["GridPainter", "placed_grid"]

_MOST = 160  # samples along an axis of a surface, at most
_SMOOTH = 24  # samples along the shorter side from which on a map blends between them
_SLICE = 192  # samples along the sides of a slice to blend to
_EDGE = np.array([[0.25, 0.28, 0.32]])


def placed_grid(part: Any, dimension: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return where the first sample of a grid is, and how far apart samples are, both of shape (d,).

    Raises:
        ConfigError: `origin` or `spacing` is for another dimension, or `spacing` is not positive.
    """
    kind = type(part).__name__
    origin = np.zeros(dimension) if part.origin is None else np.asarray(part.origin, dtype=np.float64)
    spacing = np.asarray(part.spacing, dtype=np.float64)
    if origin.shape != (dimension,) or spacing.shape not in ((), (dimension,)):
        raise ConfigError(
            f"{kind}.origin and {kind}.spacing must have {dimension} numbers, one for each axis of the grid, "
            f"got {part.origin} and {part.spacing}; correct them"
        )
    if not (np.isfinite(spacing).all() and np.all(spacing > 0.0) and np.isfinite(origin).all()):
        raise ConfigError(f"{kind}.spacing must be positive, got {part.spacing}; leave it out for 1")
    return origin, np.broadcast_to(spacing, (dimension,))


class GridPainter(Painter):
    """Draws `ds.scene.Grid`."""

    place = "values"

    def __init__(self, part: Any, shot: Shot) -> None:
        super().__init__(part, shot)
        shape, parts = self.shape("values"), self._columns("values")
        self._size = shape[:-1] if parts > 1 or (part.rgb and shape[-1:] == (3,)) else shape
        if part.rgb and len(shape) != 3:
            raise self.wrong("values", "have shape (nx, ny, 3) as rgb is set", "leave out rgb for numbers")
        if len(self._size) not in (2, 3) or not int(np.prod(self._size)):
            raise self.wrong("values", "have shape (nx, ny) or (nx, ny, nz)", "take Curves for others")
        self.dimension = len(self._size)
        self._origin, self._spacing = placed_grid(part, self.dimension)
        self._cut = part.level is None  # whether slices are drawn in space

    @property
    def barred(self) -> bool:
        return self._cut and not self.part.rgb

    def _values(self, k: int) -> NDArray[np.float64]:
        return self.values(k).reshape(self._size)

    def reach(self) -> Reach | None:
        if self.scale is None and not self.part.rgb:
            return None  # nothing is finite
        return self._whole()

    def _whole(self) -> Reach:
        half = 0.5 * self._spacing
        last = self._origin + (np.array(self._size) - 1) * self._spacing
        return Reach(self._origin - half, last + half)

    def tones(self) -> Reach | None:
        found = super().tones()
        if found is not None and found.missing:
            whole = int(np.prod(self._size))
            self.notes.append(f"not finite, left out: {found.missing:,} of {whole:,} cells")
        level = self.part.level
        if found is not None and self.dimension == 3 and level is not None:
            self._cut = not found.low[0] < level <= found.high[0]
            if self._cut:  # or there would be an empty box
                name = self.part.label or self.part.values
                self.notes.append(f"{name}: nowhere at {level:g}, drawn as slices")
        return found

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Return left, right, lower and upper edge of all cells."""
        low = self._origin - 0.5 * self._spacing
        high = low + np.array(self._size) * self._spacing
        return float(low[0]), float(high[0]), float(low[1]), float(high[1])

    def plane(self, brush: Brush, k: int) -> None:
        if self.part.rgb:
            self._picture(brush, k)
            return
        values, scale = self._values(k), self.scale
        if scale is None:
            return
        if self.part.level is not None:
            self._filled(brush, values, float(self.part.level))
            return
        smooth = min(values.shape) >= _SMOOTH
        brush.grid(values, self.extent, scale.colormap(), scale.low, scale.high, smooth=smooth)
        if self.part.contours and min(values.shape) > 1:
            for level in np.linspace(scale.low, scale.high, self.part.contours + 2)[1:-1]:
                lines = _contour(values, float(level)) * self._spacing + self._origin
                brush.lines(lines, (0.1, 0.12, 0.15, 0.75), 0.7)

    def _picture(self, brush: Brush, k: int) -> None:
        colors = np.clip(np.nan_to_num(self.array("values", k)), 0.0, 1.0)
        pixels = np.rint(255.0 * colors).astype(np.uint8).transpose(1, 0, 2)[::-1]
        brush.image(pixels, self.extent, smooth=min(self._size) >= _SMOOTH)

    def _filled(self, brush: Brush, values: NDArray[np.float64], level: float) -> None:
        """Fill what is as high as a level or higher."""
        from matplotlib.colors import ListedColormap

        above = float(np.abs(values[np.isfinite(values)] - level).max(initial=0.0)) or 1.0
        tones = np.zeros((256, 4))
        tones[128:] = [*self._rgb(), 1.0]
        brush.grid(values, self.extent, ListedColormap(tones), level - above, level + above)

    def space(self, space: Space, k: int) -> None:
        values = self._values(k)
        if not self._cut:
            stride = max(1, -(-max(values.shape) // _MOST))
            some = values[::stride, ::stride, ::stride]
            corners, normals = level_surface(some, float(self.part.level))
            corners = corners * stride * self._spacing + self._origin
            normals = normals / self._spacing
            normals = normals / np.maximum(np.linalg.norm(normals, axis=2, keepdims=True), 1e-300)
            space.triangles(corners, np.broadcast_to(self._rgb(), (len(corners), 3)), normals)
            return
        for axis in range(3):
            self._slice(space, values, axis)

    def _rgb(self) -> NDArray[np.float64]:
        return rgb_of(self.color)

    def _slice(self, space: Space, values: NDArray[np.float64], axis: int) -> None:
        """Draw the slice through the middle across an axis, with its rim."""
        reach, scale = self._whole(), self.scale
        if scale is None:
            return
        n = values.shape[axis]
        plane = np.take(values, [(n - 1) // 2, n // 2], axis=axis).mean(axis=axis)
        others = [other for other in range(3) if other != axis]
        corner, sides = reach.low.copy(), np.zeros((2, 3))
        corner[axis] = 0.5 * (reach.low + reach.high)[axis]
        for side, other in zip(sides, others, strict=True):
            side[other] = (reach.high - reach.low)[other]

        space.sheet(corner, sides[0], sides[1], _colored(plane, scale))
        rim = corner + np.array([np.zeros(3), sides[0], sides.sum(axis=0), sides[1]])
        ends = np.stack([rim, np.roll(rim, -1, axis=0)], axis=1)
        space.lines(ends, 0.6, np.broadcast_to(_EDGE, (4, 3)), lift=0.5)


def _colored(plane: NDArray[np.float64], scale: Scale) -> NDArray[np.uint8]:
    """Return a slice as RGBA, blended between samples, see-through where it is not finite."""
    from PIL import Image

    there = np.isfinite(plane)
    if min(plane.shape) >= _SMOOTH:
        size = tuple(max(n, _SLICE) for n in plane.shape)
        way = Image.Resampling
        known = Image.fromarray(np.where(there, plane, scale.low).astype(np.float32))
        plane = np.asarray(known.resize(size[::-1], way.BILINEAR))
        there = np.asarray(Image.fromarray(there.astype(np.uint8)).resize(size[::-1], way.NEAREST)) > 0
    rgb = np.rint(255.0 * scale.rgb(plane))
    return np.concatenate([rgb, 255.0 * there[..., None]], axis=2).astype(np.uint8)


def _contour(values: NDArray[np.float64], level: float) -> NDArray[np.float64]:
    """Find the line of one value in samples, by marching triangles: pieces, shape (m, 2, 2)."""
    nx, ny = values.shape
    i, j = (g.ravel() for g in np.meshgrid(np.arange(nx - 1), np.arange(ny - 1), indexing="ij"))
    low, high = np.stack([i, j], axis=1), np.stack([i + 1, j + 1], axis=1)
    right, up = np.stack([i + 1, j], axis=1), np.stack([i, j + 1], axis=1)
    corners = np.concatenate([np.stack([low, right, high], axis=1), np.stack([low, high, up], axis=1)])
    height = values[corners[..., 0], corners[..., 1]] - level
    crossed = np.isfinite(height).all(axis=1) & ((height >= 0.0).any(axis=1) & ~(height >= 0.0).all(axis=1))
    corners, height = corners[crossed], height[crossed]
    order = np.argsort(-height, axis=1)
    corners = np.take_along_axis(corners, order[..., None], axis=1)
    height = np.take_along_axis(height, order, axis=1)
    alone = np.where((height >= 0.0).sum(axis=1) == 1, 0, 2)  # the corner on a side of its own
    rows = np.arange(len(corners))
    ends = []
    for other in ((alone + 1) % 3, (alone + 2) % 3):
        a, b = height[rows, alone], height[rows, other]
        share = (a / (a - b))[:, None]
        ends.append((1.0 - share) * corners[rows, alone] + share * corners[rows, other])
    return np.stack(ends, axis=1)
