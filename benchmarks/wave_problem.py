"""The wave equation that `wave` solves: numbers only, shared by all who solve it.

The height u of a square membrane with a fixed rim, second order in time, five points in space:

    u[t + 1] = u[t] + KEPT * (u[t] - u[t - 1]) + SPEED * (u's four neighbours - 4 u)[t]

at rest at first (u[-1] = u[0]); the cost is the mean squared distance to a target after the last step.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

SPEED = 0.2  # (c dt / dx)^2
KEPT = 0.999  # what damping leaves of the velocity in a step


def draw(grid: int, real: type = np.float32, seed: int = 0) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return an initial height and a target: a few smooth bumps each, zero at the rim.

    Args:
        grid: Points along each axis.
        real: The type of a number.
        seed: What the random numbers start from.
    """
    rng = np.random.default_rng(seed)
    at = np.linspace(0.0, 1.0, grid)
    found = []
    for _ in range(2):
        u = np.zeros((grid, grid))
        for _ in range(6):
            x, y = rng.uniform(0.2, 0.8, size=2)
            width, height = rng.uniform(0.04, 0.1), rng.uniform(-1.0, 1.0)
            u += height * np.exp(-((at[:, None] - x) ** 2 + (at[None, :] - y) ** 2) / (2.0 * width**2))
        u[[0, -1], :] = 0.0
        u[:, [0, -1]] = 0.0
        found.append(u.astype(real))
    return found[0], found[1]
