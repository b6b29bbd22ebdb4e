"""Short streamlines of vectors on a grid: the ways that something small would take with them."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["LENGTH", "STEPS", "seeds", "streamlines"]

LENGTH = 3.0  # of the longest line, in gaps between seeds
STEPS = 6  # to either side of a seed


def seeds(shape: tuple[int, ...], along: int) -> NDArray[np.float64]:
    """Return places that lie evenly in a grid, every other row shifted by half a gap.

    Args:
        shape: How many samples each axis has.
        along: About how many places lie along the longest axis.

    Returns:
        In samples, shape (n, d).
    """
    gap = max(1.0, (max(shape) - 1) / max(1, along - 1))
    axes = []
    for count in shape:
        many = max(1, int((count - 1) / gap) + 1)
        axes.append(0.5 * (count - 1 - gap * (many - 1)) + gap * np.arange(many))
    places = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    rows = np.indices(places.shape[:-1])[1:].sum(axis=0) % 2
    places[..., 0] += gap * (0.5 * rows - 0.25)
    return np.clip(places.reshape(-1, len(shape)), 0.0, np.array(shape) - 1.0)


def streamlines(
    vectors: NDArray[Any], starts: NDArray[np.float64], pace: Any, longest: float
) -> NDArray[np.float64]:
    """Follow vectors from places to both sides, by the midpoint method.

    A line takes the same time everywhere, so that it is as long as the vectors are; it ends at the edge of
    the grid, and is NaN where a vector that it needs is not finite.

    Args:
        vectors: Shape (nx, ny, 2) or (nx, ny, nz, 3).
        starts: In samples, shape (n, d).
        pace: Samples that a line is long for one unit of its vector, for each axis or for all of them.
        longest: Length of a line at most, in samples.

    Returns:
        In samples, from the first place of each line to the last, shape (n, 13, d).
    """
    field = np.asarray(vectors, dtype=np.float64) * pace
    length = np.sqrt(np.square(np.clip(field, -1e150, 1e150)).sum(axis=-1))
    field = field * np.minimum(1.0, longest / np.maximum(length, 1e-300))[..., None]
    flat, shape = field.reshape(-1, field.shape[-1]), field.shape[:-1]
    step = 0.5 / STEPS
    ways = [starts]
    for sign in (-1.0, 1.0):
        place, way = starts, []
        for _ in range(STEPS):
            middle = place + 0.5 * sign * step * _between(flat, shape, place)
            place = np.clip(place + sign * step * _between(flat, shape, middle), 0.0, np.array(shape) - 1.0)
            way.append(place)
        ways = [*way[::-1], *ways] if sign < 0.0 else [*ways, *way]
    return np.stack(ways, axis=1)


def _between(flat: NDArray[np.float64], shape: tuple[int, ...], places: NDArray[np.float64]) -> Any:
    """Return vectors between samples, as the means of those around them by how near they are."""
    known = np.isfinite(places)
    inside = np.clip(np.where(known, places, 0.0), 0.0, np.array(shape) - 1.0)
    low = np.minimum(inside.astype(np.intp), np.maximum(np.array(shape) - 2, 0))
    share = inside - low
    strides = np.array([int(np.prod(shape[axis + 1 :])) for axis in range(len(shape))])
    found = np.zeros_like(inside)
    for corner in itertools.product((0, 1), repeat=len(shape)):
        at = np.minimum(low + corner, np.array(shape) - 1) @ strides
        weight = np.prod(np.where(corner, share, 1.0 - share), axis=1)[:, None]
        with np.errstate(invalid="ignore"):  # nothing times what is not finite
            found += np.where(weight > 0.0, weight * flat[at], 0.0)
    return np.where(known, found, np.nan)
