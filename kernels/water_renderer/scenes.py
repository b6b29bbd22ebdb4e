"""Floors to look at and waves to look through, drawn with NumPy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from diffsim.kernels.wave import WaveConfig

__all__ = ["drops", "tiles"]

_LIGHT, _DARK, _JOINT = (0.50, 0.72, 0.76), (0.13, 0.46, 0.58), (0.80, 0.84, 0.84)


def tiles(n: int, count: int = 8, joint: float = 0.1) -> NDArray[np.float64]:
    """Draw the tiled floor of a pool.

    Args:
        n: pixels along each axis.
        count: tiles along each axis.
        joint: width of the joints, in tiles.

    Returns:
        Colours (red, green, blue) in 0 .. 1, shape (n, n, 3). Edges are as wide as a pixel.
    """
    places = (np.arange(n) + 0.5) / n * count
    tile = np.floor(places).astype(np.int64)
    from_joint = np.abs(places - np.rint(places))
    soft = count / n
    joints = np.clip((0.5 * joint - from_joint) / soft + 0.5, 0.0, 1.0)
    mask = np.maximum(joints[:, None], joints[None, :])[..., None]
    dark = ((tile[:, None] + tile[None, :]) % 2)[..., None]
    floor = np.where(dark == 1, np.array(_DARK), np.array(_LIGHT))
    return (1.0 - mask) * floor + mask * np.array(_JOINT)


def drops(config: WaveConfig, count: int = 4, height: float = 20.0, seed: int = 0) -> NDArray[np.float64]:
    """Draw the water's height where drops have just fallen in: round dents with a rim around each.

    A dent is `-(1 - r^2 / 2) exp(-r^2 / 2)`, `r` in widths: it holds as much water as the level surface. Its
    images beyond the walls give the water there what the boundary asks for.

    Args:
        config: the grid.
        count: how many.
        height: the largest depth of one [mm].
        seed: what the random numbers start from.

    Returns:
        Heights [mm], shape (n, n).
    """
    rng = np.random.default_rng(seed)
    x = config.axis() / config.size
    u = np.zeros((config.n, config.n))
    for _ in range(count):
        (a, b), width = rng.uniform(0.2, 0.8, size=2), rng.uniform(0.06, 0.09)
        depth = height * rng.uniform(0.5, 1.0)
        for p, sign_p in _images(a, config.boundary):
            for q, sign_q in _images(b, config.boundary):
                square = ((x[:, None] - p) ** 2 + (x[None, :] - q) ** 2) / width**2
                u -= sign_p * sign_q * depth * (1.0 - 0.5 * square) * np.exp(-0.5 * square)
    return u


def _images(place: float, boundary: str) -> list[tuple[float, float]]:
    """Return a place in 0 .. 1 and its images behind both walls, each with its sign."""
    if boundary == "periodic":
        return [(place + shift, 1.0) for shift in (0.0, -1.0, 1.0)]
    sign = -1.0 if boundary == "fixed" else 1.0
    return [(place, 1.0), (-place, sign), (2.0 - place, sign)]
