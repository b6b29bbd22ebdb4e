"""Balls, triangles and lines as pixels, the nearest in front: a small renderer in NumPy."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

__all__ = ["Raster"]

Floats = NDArray[np.floating]

_FINE = 2  # pixels are drawn as so many by so many, and their mean shown
_AT_ONCE = 1_500_000  # pixels that are drawn at a time
_BALLS = 24  # different sizes of balls in pixels are drawn; others as the next of them
_SPARK = 14.0  # how small the bright spot on a ball is


class Raster:
    """A picture that is drawn on, with the depth of each pixel.

    Places are pixels from the lower left corner; depths are pixels away from who looks.

    Args:
        width: [pixels].
        height: [pixels].
        light: From where light comes: right, up, and toward who looks.
    """

    def __init__(self, width: int, height: int, light: tuple[float, float, float] = (-0.4, 0.6, 0.7)) -> None:
        self._wide, self._high = max(1, width) * _FINE, max(1, height) * _FINE
        self._color = np.zeros((self._wide * self._high, 3), dtype=np.uint8)
        self._depth = np.full(self._wide * self._high, np.inf, dtype=np.float32)
        self.light = np.array(light) / np.linalg.norm(light)

    def balls(self, centers: Floats, depth: Floats, radii: Floats, colors: Floats) -> None:
        """Draw balls with light on them.

        Args:
            centers: Shape (n, 2).
            depth: Of their centres, shape (n,).
            radii: Shape (n,).
            colors: From 0 to 1, shape (n, 3).
        """
        sizes = np.maximum(np.asarray(radii) * _FINE, 0.75)
        if not len(sizes):
            return
        steps = np.unique(np.quantile(sizes, np.linspace(0.0, 1.0, _BALLS), method="nearest"))
        nearest = np.searchsorted(steps, sizes - 1e-9).clip(0, len(steps) - 1)
        for number, size in enumerate(steps):
            which = np.flatnonzero(nearest == number)
            spot, shade, shine, rise = self._ball(float(size))
            for part in np.array_split(which, max(1, len(which) * len(spot) // _AT_ONCE + 1)):
                middle = np.rint(centers[part] * _FINE - 0.5).astype(np.int64)
                x, y = (middle[:, None, axis] + spot[None, :, axis] for axis in (0, 1))
                inside = (x >= 0) & (x < self._wide) & (y >= 0) & (y < self._high)
                far = (depth[part, None] * _FINE - rise)[inside]
                tone = colors[part, None, :] * shade[:, None] + shine[:, None]
                self._put((y * self._wide + x)[inside], far, tone[inside])

    def _ball(self, size: float) -> tuple[NDArray[np.int64], Floats, Floats, Floats]:
        """Return the pixels of a ball about its middle: where, how light, how shiny, how far in front."""
        reach = int(np.ceil(size))
        across = np.arange(-reach, reach + 1)
        x, y = (grid.ravel() for grid in np.meshgrid(across, across))
        inside = x**2 + y**2 <= max(size, 0.5) ** 2
        x, y = x[inside], y[inside]
        rise = np.sqrt(np.maximum(size**2 - x**2 - y**2, 0.0))
        normal = np.stack([x, y, rise], axis=1) / max(size, 1e-9)
        facing = np.clip(normal @ self.light, 0.0, 1.0)
        shade = 0.5 + 0.56 * facing
        shine = 0.35 * facing**_SPARK if size > 4.0 else 0.0 * facing
        return np.stack([x, y], axis=1), shade, shine, rise

    def triangles(self, corners: Floats, depth: Floats, colors: Floats) -> None:
        """Fill triangles.

        Args:
            corners: Shape (n, 3, 2).
            depth: Of the corners, shape (n, 3).
            colors: Of the corners, from 0 to 1, shape (n, 3, 3).
        """
        places = np.concatenate([corners * _FINE - 0.5, depth[..., None] * _FINE], axis=2)
        places = np.clip(places, -1e6, 1e6)
        for owner, row in _ragged(*_spans(places[..., 1], self._high)):
            tri = places[owner]
            left, right = _cut(tri[..., 0], tri[..., 1], row)
            first = np.clip(np.ceil(left - 1e-6), 0, self._wide).astype(np.int64)
            past = np.clip(np.floor(right + 1e-6) + 1, 0, self._wide).astype(np.int64)
            for span, x in _ragged(first, np.maximum(past - first, 0)):
                self._fill(owner[span], x, row[span], places, colors)

    def _fill(
        self,
        owner: NDArray[np.int64],
        x: NDArray[np.int64],
        y: NDArray[np.int64],
        places: Floats,
        colors: Floats,
    ) -> None:
        a, b, c = (places[owner, k] for k in range(3))
        area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (c[:, 0] - a[:, 0]) * (b[:, 1] - a[:, 1])
        area = np.where(np.abs(area) < 1e-9, 1e-9, area)
        to_b = ((x - a[:, 0]) * (c[:, 1] - a[:, 1]) - (c[:, 0] - a[:, 0]) * (y - a[:, 1])) / area
        to_c = ((b[:, 0] - a[:, 0]) * (y - a[:, 1]) - (x - a[:, 0]) * (b[:, 1] - a[:, 1])) / area
        to_b, to_c = np.clip(to_b, 0.0, 1.0), np.clip(to_c, 0.0, 1.0)
        far = a[:, 2] + to_b * (b[:, 2] - a[:, 2]) + to_c * (c[:, 2] - a[:, 2])
        shares = np.stack([1.0 - to_b - to_c, to_b, to_c], axis=1)
        self._put(y * self._wide + x, far, np.einsum("nk,nkc->nc", shares, colors[owner]))

    def lines(self, ends: Floats, depth: Floats, width: float, colors: Floats) -> None:
        """Draw lines.

        Args:
            ends: Shape (n, 2, 2).
            depth: Of the ends, shape (n, 2).
            width: [pixels].
            colors: From 0 to 1, shape (n, 3).
        """
        places = np.concatenate([ends * _FINE - 0.5, depth[..., None] * _FINE], axis=2)
        places = np.clip(places, -1e5, 1e5)
        steep = np.abs(places[:, 1, 1] - places[:, 0, 1]) > np.abs(places[:, 1, 0] - places[:, 0, 0])
        places[steep, :, :2] = places[steep, :, 1::-1]  # the way of each line is along its longer side
        order = np.argsort(places[..., 0], axis=1)
        places = np.take_along_axis(places, order[..., None], axis=1)
        start, way = places[:, 0], places[:, 1] - places[:, 0]
        slope = way / np.maximum(way[:, :1], 1e-9)
        thick = width * _FINE * np.hypot(1.0, slope[:, 1])
        first = np.floor(start[:, 0] + 0.5).astype(np.int64)
        count = np.floor(places[:, 1, 0] + 0.5).astype(np.int64) - first + 1
        for owner, along in _ragged(first, count):
            middle = start[owner] + (along - start[owner, 0])[:, None] * slope[owner]
            low = np.ceil(middle[:, 1] - 0.5 * thick[owner]).astype(np.int64)
            high = np.floor(middle[:, 1] + 0.5 * thick[owner]).astype(np.int64)
            for spot, across in _ragged(low, np.maximum(high - low + 1, 1)):
                turned = steep[owner[spot]]
                x, y = np.where(turned, across, along[spot]), np.where(turned, along[spot], across)
                inside = (x >= 0) & (x < self._wide) & (y >= 0) & (y < self._high)
                index = (y * self._wide + x)[inside]
                self._put(index, middle[spot, 2][inside], colors[owner[spot]][inside])

    def sheet(
        self,
        corner: Floats,
        first: Floats,
        second: Floats,
        paint: Callable[[Floats, Floats], tuple[Floats, NDArray[np.bool_]]],
    ) -> None:
        """Draw a flat picture that stands in space.

        Args:
            corner: One of its corners: its place and depth, shape (3,).
            first: From there along its first side, shape (3,).
            second: Along its second side, shape (3,).
            paint: Returns colours (n, 3) and which of them there are, for shares of the sides from 0 to 1.
        """
        start, u, v = (_FINE * np.asarray(array, dtype=np.float64) for array in (corner, first, second))
        start[:2] -= 0.5
        area = u[0] * v[1] - v[0] * u[1]
        if abs(area) < 1e-6:
            return  # seen from its edge
        tips = np.stack([start, start + u, start + v, start + u + v])[:, :2]
        low = np.clip(np.floor(tips.min(axis=0)), 0, [self._wide, self._high]).astype(np.int64)
        high = np.clip(np.ceil(tips.max(axis=0)) + 1, 0, [self._wide, self._high]).astype(np.int64)
        x, y = (g.ravel() for g in np.meshgrid(np.arange(low[0], high[0]), np.arange(low[1], high[1])))
        a = ((x - start[0]) * v[1] - v[0] * (y - start[1])) / area
        b = (u[0] * (y - start[1]) - (x - start[0]) * u[1]) / area
        inside = (a >= 0.0) & (a <= 1.0) & (b >= 0.0) & (b <= 1.0)
        x, y, a, b = x[inside], y[inside], a[inside], b[inside]
        colors, there = paint(a, b)
        far = start[2] + a * u[2] + b * v[2]
        self._put((y * self._wide + x)[there], far[there], colors[there])

    def _put(self, index: NDArray[np.int64], depth: Floats, colors: Floats) -> None:
        """Draw pixels where nothing nearer is; of several at one place the nearest stays."""
        nearer = depth < self._depth[index]
        index, depth = index[nearer], depth[nearer]
        order = np.argsort(-depth, kind="stable")
        tone = np.rint(255.0 * np.clip(colors[nearer], 0.0, 1.0)).astype(np.uint8)
        self._color[index[order]] = tone[order]
        self._depth[index[order]] = depth[order]

    def picture(self) -> NDArray[np.uint8]:
        """Return what was drawn, the uppermost row first, shape (height, width, 4); see-through elsewhere."""
        there = np.isfinite(self._depth).astype(np.float32)
        planes = [*(self._color[:, k] * there for k in range(3)), there]
        small = [
            plane.reshape(self._high // _FINE, _FINE, self._wide // _FINE, _FINE).mean(axis=(1, 3))
            for plane in planes
        ]
        share = np.maximum(small[3], 1e-6)
        rgba = np.stack([*(plane / share for plane in small[:3]), 255.0 * small[3]], axis=-1)
        return np.ascontiguousarray(np.rint(rgba).astype(np.uint8)[::-1])


def _spans(y: Floats, high: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first row of each triangle, and how many it has."""
    first = np.clip(np.ceil(y.min(axis=1) - 1e-6), 0, high).astype(np.int64)
    past = np.clip(np.floor(y.max(axis=1) + 1e-6) + 1, 0, high).astype(np.int64)
    return first, np.maximum(past - first, 0)


def _cut(x: Floats, y: Floats, row: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Return from where to where rows lie in their triangles."""
    left, right = np.full(len(row), np.inf), np.full(len(row), -np.inf)
    for a, b in ((0, 1), (1, 2), (2, 0)):
        rise = y[:, b] - y[:, a]
        level = np.abs(rise) < 1e-9
        share = (row - y[:, a]) / np.where(level, 1.0, rise)
        meets = ~level & (share >= -1e-6) & (share <= 1.0 + 1e-6)
        place = x[:, a] + share * (x[:, b] - x[:, a])
        left = np.where(meets, np.minimum(left, place), left)
        right = np.where(meets, np.maximum(right, place), right)
    none = ~np.isfinite(left)
    return np.where(none, 0.0, left), np.where(none, -1.0, right)


def _ragged(
    first: NDArray[np.int64], counts: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Go over whole numbers from `first`, `counts` of them for each: whose they are, and the numbers."""
    ends = np.cumsum(counts)
    start = 0
    while start < len(counts):
        done = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + _AT_ONCE, side="right")))
        some = counts[start:stop]
        owner = np.repeat(np.arange(start, stop), some)
        within = np.arange(len(owner)) - np.repeat(ends[start:stop] - some - done, some)
        yield owner, first[owner] + within
        start = stop
