"""Smooth heights from few numbers: uniform cubic B-splines that keep to what the walls ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from diffsim.kernels.wave import WaveConfig

__all__ = ["ORDER", "evaluate_spline", "fit_spline", "refined", "spline"]

ORDER = 4  # control points that a place depends on, along an axis


def spline(config: WaveConfig, controls: int) -> tuple[NDArray[np.integer], NDArray[np.float64]]:
    """Return how the grid's points along an axis depend on control points at equal distances.

    The first control point is on one wall and the last on the other. Beyond the walls are their images:
    mirrored for "reflecting" (the slope is zero at the walls), mirrored with the other sign for "fixed" (the
    height is), those of the other side for "periodic", where no point is on the far wall.

    Args:
        config: the grid.
        controls: control points along the axis, 4 or more.

    Returns:
        The four control points that each grid point depends on, shape (n, 4), and their weights, (n, 4).

    Reference: de Boor, A Practical Guide to Splines, 1978.
    """
    wrapped = config.boundary == "periodic"
    intervals = controls if wrapped else controls - 1
    place = config.axis() / config.size * intervals
    low = np.minimum(place.astype(np.int32), intervals - 1)
    s = place - low
    weights = [(1 - s) ** 3, 3 * s**3 - 6 * s**2 + 4, -3 * s**3 + 3 * s**2 + 3 * s + 1, s**3]
    index = low[:, None] + np.arange(-1, ORDER - 1)
    if wrapped:
        return index % controls, np.stack(weights, axis=1) / 6.0
    image = intervals - np.abs(intervals - np.abs(index))
    sign = np.where(index == image, 1.0, -1.0) * (image % intervals != 0)
    return image, np.stack(weights, axis=1) / 6.0 * (sign if config.boundary == "fixed" else 1.0)


def refined(config: WaveConfig, controls: int) -> int:
    """Return the number of control points at half the distance: they can be any of the coarser splines."""
    return 2 * controls - (config.boundary != "periodic")


def fit_spline(config: WaveConfig, u: ArrayLike, controls: int) -> NDArray[np.float64]:
    """Return the control points whose spline is nearest to given heights, by least squares.

    Args:
        config: the grid.
        u: heights of its points, shape (n, n).
        controls: control points along each axis, fewer than n.

    Returns:
        Shape (controls, controls).
    """
    inverse = np.linalg.pinv(_matrix(config, controls))
    return inverse @ np.asarray(u, dtype=np.float64) @ inverse.T


def evaluate_spline(config: WaveConfig, control: ArrayLike) -> NDArray[np.float64]:
    """Return the heights of the grid's points, shape (n, n), for control points (controls, controls)."""
    points = np.asarray(control, dtype=np.float64)
    matrix = _matrix(config, len(points))
    return matrix @ points @ matrix.T


def _matrix(config: WaveConfig, controls: int) -> NDArray[np.float64]:
    """Write the weights as a matrix, shape (n, controls)."""
    index, weights = spline(config, controls)
    matrix = np.zeros((config.n, controls))
    np.add.at(matrix, (np.arange(config.n)[:, None], index), weights)
    return matrix
