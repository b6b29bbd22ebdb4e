"""The surface on which numbers on a grid have one value, by marching tetrahedra (Doi and Koide, 1991)."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["level_surface"]

# A cube is cut into six tetrahedra about its diagonal from corner (0, 0, 0) to (1, 1, 1): one for each order
# of the axes.
_CORNERS = np.array(list(itertools.product((0, 1), repeat=3)))
_TETRAHEDRA = np.array(
    [
        [0, 1 << (2 - order[0]), (1 << (2 - order[0])) + (1 << (2 - order[1])), 7]
        for order in itertools.permutations(range(3))
    ]
)


def level_surface(
    values: NDArray[np.floating], level: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Find the surface on which values between samples are at a level.

    Args:
        values: Shape (nx, ny, nz); cubes with a corner that is not finite are left out.
        level: The value.

    Returns:
        The corners of triangles in samples, shape (k, 3, 3), and the direction in which values fall there, of
        length 1, shape (k, 3, 3).
    """
    array = np.asarray(values, dtype=np.float64)
    if min(array.shape) < 2:
        return np.zeros((0, 3, 3)), np.zeros((0, 3, 3))
    slope = np.stack(list(np.gradient(array)), axis=-1)
    n = tuple(size - 1 for size in array.shape)
    at_corners: Any = [array[x : x + n[0], y : y + n[1], z : z + n[2]] for x, y, z in _CORNERS]
    inside: NDArray[np.bool_] = np.array([corner >= level for corner in at_corners])
    finite = np.all([np.isfinite(corner) for corner in at_corners], axis=0)
    cubes = np.argwhere(inside.any(axis=0) & ~inside.all(axis=0) & finite)
    places = (cubes[:, None, None, :] + _CORNERS[_TETRAHEDRA][None]).reshape(-1, 4, 3)
    index = tuple(places[..., axis] for axis in range(3))
    return _cut(places, array[index] - level, slope[index])


def _cut(
    places: NDArray[np.int64], height: NDArray[np.float64], slope: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cut tetrahedra, (m, 4, 3), where the height of their corners changes its sign."""
    order = np.argsort(-height, axis=1, kind="stable")  # those inside come first
    places = np.take_along_axis(places, order[..., None], axis=1)
    slope = np.take_along_axis(slope, order[..., None], axis=1)
    height = np.take_along_axis(height, order, axis=1)
    inside = (height >= 0.0).sum(axis=1)
    # the edges that a triangle's corners lie on, by how many corners are inside
    cuts = {1: [((0, 1), (0, 2), (0, 3))], 3: [((0, 3), (1, 3), (2, 3))]}
    cuts[2] = [((0, 2), (0, 3), (1, 3)), ((0, 2), (1, 3), (1, 2))]
    corners, falls = [np.zeros((0, 3, 3))], [np.zeros((0, 3, 3))]
    for count, triangles in cuts.items():
        which = np.flatnonzero(inside == count)
        for edges in triangles:
            a, b = (np.array([edge[side] for edge in edges]) for side in (0, 1))
            up, down = height[which][:, a], height[which][:, b]
            share = (up / np.maximum(up - down, 1e-300))[..., None]
            corners.append((1.0 - share) * places[which][:, a] + share * places[which][:, b])
            falls.append(-((1.0 - share) * slope[which][:, a] + share * slope[which][:, b]))
    fall = np.nan_to_num(np.concatenate(falls))
    length = np.linalg.norm(fall, axis=2, keepdims=True)
    return np.concatenate(corners), fall / np.maximum(length, 1e-300)
