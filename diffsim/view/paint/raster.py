"""Balls, triangles and lines as pixels, the nearest in front: a small renderer in NumPy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Raster"]

Floats = NDArray[np.floating]
Tone = Callable[[NDArray[np.int64]], Iterable[Floats]]
Ball = tuple[NDArray[np.int64], Floats, Floats, Floats]

_FINE = 2  # pixels are drawn as so many by so many, and their mean shown
_AT_ONCE = 1_500_000  # pixels that are drawn at a time
_BALLS = 24  # different sizes of balls in pixels are drawn; others as the next of them
_EVEN = np.uint32(
    0x00FF00FF
)  # every other one of four colours in a number (little-endian, as all that run this)
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
        self._color = np.zeros(self._wide * self._high, dtype="<u4")  # RGBA in bytes: see-through black
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
            ball = self._ball(float(size))
            spot, rise = ball[0], ball[3]
            for part in np.array_split(which, max(1, len(which) * len(spot) // _AT_ONCE + 1)):
                middle = np.rint(centers[part] * _FINE - 0.5).astype(np.int64)
                reach = int(spot.max())
                whole = ((middle >= reach) & (middle < [self._wide - reach, self._high - reach])).all()
                start = middle[:, 1] * self._wide + middle[:, 0]
                index = start[:, None] + (spot[:, 1] * self._wide + spot[:, 0])
                far = (depth[part] * _FINE).astype(np.float32)[:, None] - rise.astype(np.float32)
                there = np.arange(0)
                if not whole:
                    x, y = (middle[:, None, axis] + spot[None, :, axis] for axis in (0, 1))
                    inside = (x >= 0) & (x < self._wide) & (y >= 0) & (y < self._high)
                    there, index, far = np.flatnonzero(inside), index[inside], far[inside]
                self._put(
                    index.reshape(-1), far.reshape(-1), _lit(colors[part], ball, None if whole else there)
                )

    def _ball(self, size: float) -> Ball:
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
        places = np.clip(corners * _FINE - 0.5, -1e6, 1e6)
        far = np.clip(depth * _FINE, -1e6, 1e6)
        planes = _slopes(places, np.concatenate([far[..., None], colors], axis=2))
        nearest, farthest = far.min(axis=1), far.max(axis=1)
        flat = colors[:, 0] if np.array_equal(colors[:, :1].repeat(3, axis=1), colors) else None
        for owner, row in _ragged(*_spans(places[..., 1], self._high)):
            tri = places[owner]
            left, right = _cut(tri[..., 0], tri[..., 1], row)
            first = np.clip(np.ceil(left - 1e-6), 0, self._wide).astype(np.int64)
            past = np.clip(np.floor(right + 1e-6) + 1, 0, self._wide).astype(np.int64)
            for span, x in _ragged(first, np.maximum(past - first, 0)):
                which, y = owner[span], row[span]
                one, along, up = (part[:, 0] for part in planes)
                deep = one[which] + along[which] * x + up[which] * y
                deep = np.clip(deep, nearest[which], farthest[which])

                tone = _picked(flat, which) if flat is not None else _blended(planes, which, x, y)
                self._put(y * self._wide + x, deep, tone)

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
                self._put(index, middle[spot, 2][inside], _picked(colors, owner[spot[inside]]))

    def sheet(
        self,
        corner: Floats,
        first: Floats,
        second: Floats,
        picture: NDArray[np.uint8],
    ) -> None:
        """Draw a flat picture that stands in space.

        Args:
            corner: One of its corners: its place and depth, shape (3,).
            first: From there along its first side, shape (3,).
            second: Along its second side, shape (3,).
            picture: RGBA, the first axis along its first side, shape (n, m, 4).
        """
        start, u, v = (_FINE * np.asarray(array, dtype=np.float64) for array in (corner, first, second))
        start[:2] -= 0.5
        area = u[0] * v[1] - v[0] * u[1]
        if abs(area) < 1e-6:
            return  # seen from its edge
        tips = np.stack([start, start + u, start + v, start + u + v])[:, :2]
        low = np.clip(np.floor(tips.min(axis=0)), 0, [self._wide, self._high]).astype(np.int64)
        high = np.clip(np.ceil(tips.max(axis=0)) + 1, 0, [self._wide, self._high]).astype(np.int64)
        x, y = np.arange(low[0], high[0]), np.arange(low[1], high[1])[:, None]
        right, up = (x - start[0]).astype(np.float32), (y - start[1]).astype(np.float32)
        a = right * np.float32(v[1] / area) - up * np.float32(v[0] / area)
        b = up * np.float32(u[0] / area) - right * np.float32(u[1] / area)
        inside = np.flatnonzero(((a >= 0.0) & (a <= 1.0) & (b >= 0.0) & (b <= 1.0)).ravel())
        a, b = a.ravel()[inside], b.ravel()[inside]
        n, m = picture.shape[:2]
        row, column = (a * np.float32(n)).astype(np.int64), (b * np.float32(m)).astype(np.int64)
        tone = picture.reshape(-1, 4)[np.minimum(row, n - 1) * m + np.minimum(column, m - 1)]
        far = np.float32(start[2]) + a * np.float32(u[2]) + b * np.float32(v[2])
        index = (y * self._wide + x).ravel()[inside]
        there = tone[:, 3] > 127
        shown = tone[there]
        self._put(
            index[there], far[there], lambda seen: (shown[seen, k] / np.float32(255.0) for k in range(3))
        )

    def _put(self, index: NDArray[np.int64], depth: Floats, tone: Tone) -> None:
        """Draw pixels where nothing nearer is; of several at one place the nearest stays.

        Args:
            index: Their places, shape (n,).
            depth: Shape (n,).
            tone: Returns red, green and blue of those with some numbers, from 0 to 1: few are seen.
        """
        near = depth.astype(np.float32, copy=False)
        np.minimum.at(self._depth, index, near)
        seen = np.flatnonzero(near == self._depth[index])
        place = index[seen]
        red, green, blue = (np.minimum(255.0 * part + 0.5, 255.0).astype(np.uint32) for part in tone(seen))
        self._color[place] = red | green << 8 | blue << 16 | np.uint32(0xFF000000)

    def picture(self) -> NDArray[np.uint8]:
        """Return what was drawn, the uppermost row first, shape (height, width, 4); see-through elsewhere."""
        fine = self._color.reshape(self._high, self._wide)
        low = _summed(fine & _EVEN)  # two colours each, with room for their sums
        high = _summed(fine >> 8 & _EVEN)
        half = np.uint32(_FINE**2 // 2 * 0x00010001)
        mean = (low + half) // _FINE**2 & _EVEN | ((high + half) // _FINE**2 & _EVEN) << 8
        rgba = np.ascontiguousarray(mean, dtype="<u4").view(np.uint8).reshape(*mean.shape, 4)
        count = (high >> 16) // 255
        edge = (count > 0) & (count < _FINE**2)  # partly seen-through: the mean of what is there
        many = count[edge][:, None]
        sums = np.stack([low[edge] & 0xFFFF, high[edge] & 0xFFFF, low[edge] >> 16], axis=1)
        rgba[edge, :3] = (sums + many // 2) // many
        rgba[edge, 3] = 255 * many[:, 0] // _FINE**2
        return np.ascontiguousarray(rgba[::-1])


def _summed(fine: Any) -> Any:
    """Add up the fine pixels that each pixel consists of."""
    parts = [fine[i::_FINE, j::_FINE] for i in range(_FINE) for j in range(_FINE)]
    return sum(parts[1:], parts[0])


def _picked(colors: Floats, which: NDArray[np.int64]) -> Tone:
    """Take the colours of some rows, (n, 3)."""
    planes = np.ascontiguousarray(np.asarray(colors, dtype=np.float32).T)
    return lambda seen: np.take(planes, which[seen], axis=1)


def _lit(colors: Floats, ball: Ball, there: NDArray[np.int64] | None) -> Tone:
    """Return the colours of balls: of all their pixels one after the other, or of those that are there."""
    planes = np.ascontiguousarray(np.asarray(colors, dtype=np.float32).T)
    shade, shine = (part.astype(np.float32) for part in ball[1:3])

    def tone(seen: NDArray[np.int64]) -> Iterator[Floats]:
        owner, at = np.divmod(seen if there is None else there[seen], len(shade))
        light, spark = shade[at], shine[at]
        return (plane[owner] * light + spark for plane in planes)

    return tone


def _blended(
    planes: tuple[Floats, Floats, Floats],
    which: NDArray[np.int64],
    x: NDArray[np.int64],
    y: NDArray[np.int64],
) -> Tone:
    """Return colours in triangles that change from corner to corner."""

    def tone(seen: NDArray[np.int64]) -> Iterator[Floats]:
        some = which[seen]
        for k in (1, 2, 3):
            one, along, up = (part[:, k][some] for part in planes)
            yield np.maximum(one + along * x[seen] + up * y[seen], 0.0)

    return tone


def _slopes(places: Floats, values: Floats) -> tuple[Floats, Floats, Floats]:
    """Return numbers in triangles as planes over them: at zero, along x and along y, each (n, m)."""
    (x0, y0), (x1, y1), (x2, y2) = (places[:, k].T for k in range(3))
    area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
    area = np.where(np.abs(area) < 1e-9, np.inf, area)[:, None]  # seen from the edge: one value
    to_b, to_c = values[:, 1] - values[:, 0], values[:, 2] - values[:, 0]
    along = (to_b * (y2 - y0)[:, None] - to_c * (y1 - y0)[:, None]) / area
    up = (to_c * (x1 - x0)[:, None] - to_b * (x2 - x0)[:, None]) / area
    return values[:, 0] - along * x0[:, None] - up * y0[:, None], along, up


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
