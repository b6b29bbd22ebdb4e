"""Palettes: which few colours stand for many."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diffsim.view.spool import Bytes, Packed, packed, unpacked

__all__ = ["COLORS", "Palette"]

COLORS = 255  # one of the format's 256 indices stands for what is as before
_EXACT = 64  # so many of the commonest colours are kept as they are
_ROUNDS = 4  # in which centres move to the middle of what is nearest to them
_BLOCK = 256  # colours whose distances are computed at once: in a cache, and by this thread alone
_CELLS = 4096  # colours that centres are found from, at most


@dataclass(frozen=True, eq=False)
class Palette:
    """Up to 255 colours, and which of them stands for each of many.

    Attributes:
        colors: Shape (m, 3).
        index: For each colour asked for the one that stands for it, shape (n,).
        error: The square of how far that is, shape (n,).
    """

    colors: Bytes
    index: Bytes
    error: NDArray[np.float32]

    @classmethod
    def of(cls, seen: Packed, counts: NDArray[np.int64], keep: Bytes) -> Palette:
        """Choose colours for a picture.

        The commonest ones are kept exactly, so that flat areas look as drawn. The others are the middles of
        clusters, which begin far apart, so that what has few pixels, such as a colour bar, keeps its colours.

        Args:
            seen: The colours of the picture, all different, shape (n,).
            counts: The pixels of each, shape (n,).
            keep: Colours that must be among those chosen, shape (at most 128, 3).
        """
        most = min(len(seen), COLORS - len(keep), max(_EXACT, COLORS - len(seen)))
        if len(seen) + len(keep) <= COLORS:
            exact = np.arange(len(seen))
        else:
            exact = np.argpartition(-counts, most - 1)[: min(most, _EXACT)]
        fixed = np.concatenate([keep, unpacked(seen[exact])])
        others = np.delete(np.arange(len(seen)), exact)
        palette = fixed
        if len(others):
            weight = counts[others].astype(np.float32)
            free = _middles(unpacked(seen[others]), weight, fixed, COLORS - len(fixed))
            palette = np.concatenate([fixed, free])
        return cls.near(unpacked(seen), palette)

    @classmethod
    def near(cls, seen: Bytes, colors: Bytes) -> Palette:
        """Make a palette of colours that are chosen already.

        Args:
            seen: The colours of the picture, shape (n, 3).
            colors: Those chosen, shape (at most 255, 3).
        """
        return cls(colors, *_nearest(seen.astype(np.float32), colors.astype(np.float32)))

    def packed(self) -> Packed:
        """Return the colours as numbers."""
        return packed(self.colors)


def _middles(colors: Bytes, weight: NDArray[np.float32], fixed: Bytes, room: int) -> Bytes:
    """Find up to `room` colours that stand for many, beside some that are fixed."""
    from PIL import Image

    points, weight = _cells(colors, weight)
    sample = np.clip(np.rint(points), 0, 255).astype(np.uint8)
    blend = Image.fromarray(sample[None]).quantize(colors=room, method=Image.Quantize.MAXCOVERAGE)
    found = np.array(blend.getpalette(), dtype=np.float32).reshape(-1, 3)[:room]
    first = len(fixed)
    centers = np.concatenate([fixed.astype(np.float32), found])
    for _ in range(_ROUNDS):
        index, _ = _nearest(points, centers)
        mass = np.bincount(index, weight, minlength=len(centers))[first:]
        sums = [np.bincount(index, weight * points[:, k], minlength=len(centers))[first:] for k in range(3)]
        met = mass > 0.0
        centers[first:][met] = np.stack(sums, axis=1)[met] / mass[met, None]
    return np.unique(np.clip(np.rint(centers[first:]), 0, 255).astype(np.uint8), axis=0)


def _cells(colors: Bytes, weight: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Join colours that are close where there are too many: their middles and weights."""
    points = colors.astype(np.float32)
    bits = 6
    while len(points) > _CELLS and bits > 3:
        cell = (colors >> (8 - bits)).astype(np.int64) @ np.array([1, 1 << bits, 1 << 2 * bits])
        size = 1 << 3 * bits
        mass = np.bincount(cell, weight, minlength=size)
        met = np.flatnonzero(mass)
        if len(met) <= _CELLS or bits == 4:
            sums = [np.bincount(cell, weight * colors[:, k], minlength=size)[met] for k in range(3)]
            return (np.stack(sums, axis=1) / mass[met, None]).astype(np.float32), mass[met].astype(np.float32)
        bits -= 1
    return points, weight


def _nearest(
    points: NDArray[np.float32], centers: NDArray[np.float32]
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Find the centre that is nearest to each point, and the square of how far it is."""
    square = (centers**2).sum(axis=1)
    index = np.empty(len(points), dtype=np.uint8)
    twice = np.ascontiguousarray(-2.0 * centers.T)
    for first in range(0, len(points), _BLOCK):
        near = points[first : first + _BLOCK] @ twice  # |a - b|² without its constant |a|²
        near += square
        index[first : first + _BLOCK] = near.argmin(axis=1)
    return index, ((points - centers[index]) ** 2).sum(axis=1)
