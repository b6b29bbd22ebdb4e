"""Pictures of smoke, drawn with NumPy: shapes with soft edges, in any size."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsim.errors import ConfigError
from diffsim.kernels.smoke.simulator import SmokeConfig

__all__ = ["SHAPES", "picture"]

_SIDES = 96  # of a polygon that stands for a circle


def picture(
    config: SmokeConfig,
    shape: str,
    area: float = 0.12,
    center: tuple[float, float] = (0.5, 0.5),
    edge: float = 0.03,
) -> NDArray[np.float64]:
    """Draw a shape of smoke: density 1 inside, 0 outside, and a smooth edge in between.

    Args:
        config: The grid.
        shape: One of `SHAPES`.
        area: How much of the box the shape takes. A fluid that cannot be compressed keeps it.
        center: Of its mass, in sides of the box.
        edge: Width of the edge, in sides of the box.

    Returns:
        Shape (n, n).

    Raises:
        ConfigError: The shape is not known.
    """
    if shape not in SHAPES:
        raise ConfigError(f"shape must be one of {', '.join(SHAPES)}, got {shape!r}; take one of them")
    corners = SHAPES[shape]()
    doubled, middle = _moments(corners)
    corners = (corners - middle) * np.sqrt(2.0 * area / doubled) + np.asarray(center)
    x, y = config.centers()
    distance = _distance(np.stack([x, y], axis=-1) / config.size, corners)
    ramp = np.clip(0.5 - distance / edge, 0.0, 1.0)
    density: NDArray[np.float64] = ramp * ramp * (3.0 - 2.0 * ramp)
    return density


def _moments(corners: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    """Return twice the area of a polygon, and the centre of its mass."""
    following = np.roll(corners, -1, axis=0)
    cross = corners[:, 0] * following[:, 1] - following[:, 0] * corners[:, 1]
    doubled = float(cross.sum())
    return doubled, ((corners + following) * cross[:, None]).sum(axis=0) / (3.0 * doubled)


def _distance(at: NDArray[np.float64], corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the distance of places (..., 2) from the border of a polygon, negative inside."""
    nearest = np.full(at.shape[:-1], np.inf)
    inside = np.zeros(at.shape[:-1], dtype=bool)
    for here, there in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        along, off = there - here, at - here
        part = np.clip(off @ along / (along @ along), 0.0, 1.0)
        nearest = np.minimum(nearest, np.linalg.norm(off - part[..., None] * along, axis=-1))
        crossed = (here[1] > at[..., 1]) != (there[1] > at[..., 1])
        with np.errstate(divide="ignore", invalid="ignore"):
            inside ^= crossed & (off[..., 0] < along[0] * off[..., 1] / along[1])
    return np.where(inside, -nearest, nearest)


def _round(angles: NDArray[Any], radii: NDArray[Any] | float) -> NDArray[np.float64]:
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=-1)


def _disc() -> NDArray[np.float64]:
    return _round(np.linspace(0.0, 2.0 * np.pi, _SIDES, endpoint=False), 1.0)


def _star() -> NDArray[np.float64]:
    angles = 0.5 * np.pi + np.arange(10) * np.pi / 5.0
    return _round(angles, np.where(np.arange(10) % 2 == 0, 1.0, 0.48))


def _heart() -> NDArray[np.float64]:
    s = np.linspace(0.0, 2.0 * np.pi, _SIDES, endpoint=False)
    x = np.sin(s) ** 3
    y = (13.0 * np.cos(s) - 5.0 * np.cos(2 * s) - 2.0 * np.cos(3 * s) - np.cos(4 * s)) / 16.0
    return np.stack([-x, y], axis=-1)  # counter-clockwise, as all of them


def _moon() -> NDArray[np.float64]:
    """Draw what a disc leaves of another one, open to the right."""
    reach = 0.3 * np.pi
    outer = _round(np.linspace(reach, 2.0 * np.pi - reach, _SIDES // 2), 1.0)
    horn = outer[-1]
    center = np.array([0.55, 0.0])
    start = np.arctan2(horn[1], horn[0] - center[0])
    inner = center + _round(
        np.linspace(start + 2.0 * np.pi, -start, _SIDES // 2), float(np.linalg.norm(horn - center))
    )
    return np.concatenate([outer, inner[1:-1]])


SHAPES = {"disc": _disc, "star": _star, "heart": _heart, "moon": _moon}
