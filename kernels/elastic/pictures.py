"""What pictures of soft bodies show beside fields: the ground, and how many blocks a sparse grid has."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

import diffsim as ds
from diffsim.kernels.common.terrain import Terrain

__all__ = ["active_blocks", "ground"]

_FINE = 64  # pieces of the ground along its longer side
_EARTH = "#8d9a6b"

Array = NDArray[np.float64]


def ground(terrain: Terrain, low: Array, high: Array) -> ds.scene.Part:
    """Describe the ground between two corners of what is seen: a line in the plane, a surface in space."""
    see = ds.scene
    if len(low) == 2:
        along = np.linspace(low[0], high[0], 4 * _FINE)
        line = np.stack([along, terrain.at(along[:, None])], axis=-1)
        return see.Lines(line, color=_EARTH, width=2.5, label="ground")
    step = float((high - low)[:2].max()) / _FINE
    xs, ys = (np.arange(low[d], high[d] + 0.5 * step, step) for d in range(2))
    places = np.stack(np.meshgrid(xs, ys, indexing="ij"), axis=-1).reshape(-1, 2)
    points = np.column_stack([places, terrain.at(places)])
    rows, columns = np.meshgrid(np.arange(len(xs) - 1), np.arange(len(ys) - 1), indexing="ij")
    corner = (rows * len(ys) + columns).reshape(-1)
    lower = np.stack([corner, corner + 1, corner + len(ys)], axis=-1)
    upper = np.stack([corner + 1, corner + len(ys) + 1, corner + len(ys)], axis=-1)
    return see.Triangles(points, np.concatenate([lower, upper]), color=_EARTH, edges=False, label="ground")


def active_blocks(x: Array, dx: float, edge: int) -> Array:
    """Count the blocks that points write to, frame by frame, of a grid with a spacing.

    Args:
        x: Positions [m], shape (..., n, D).
        dx: A cell's size [m].
        edge: Cells along each edge of a block.

    Returns:
        Shape (...).
    """
    leading, dim = x.shape[:-2], x.shape[-1]
    corners = (x / dx - 0.5).astype(int)
    counts = []
    for cloud in corners.reshape(-1, *x.shape[-2:]):
        near = [(cloud + np.array(way)) // edge for way in itertools.product((0, 2), repeat=dim)]
        counts.append(len(np.unique(np.concatenate(near), axis=0)))
    return np.array(counts, np.float64).reshape(leading)
