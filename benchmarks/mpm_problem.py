"""The elastic block that `mpm` simulates: numbers only, shared by all who simulate it.

MLS-MPM (Hu et al. 2018) with quadratic weights and a neo-Hookean solid, in a box:

    tau = MU (F F^T - I) + LAMBDA log(det F) I           (Kirchhoff stress)

The block is thrown with a velocity of its own at each particle; the cost is the mean squared distance of the
particles to `GOAL` after the last step, and the gradient is taken with respect to those velocities.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

DT = 1e-4  # [s]
MU, LAMBDA = 500.0, 300.0  # [Pa]
GRAVITY = -9.8  # [m/s^2]
BLOCK = (0.3, 0.7)  # [m] along both axes
RIM = 3  # cells at the walls of the box that nothing enters
GOAL = (0.6, 0.4)  # [m]
LEAST_MASS = 1e-12  # a cell with less is empty


def draw(particles: int, real: type = np.float32, seed: int = 0) -> tuple[NDArray[Any], NDArray[Any], float]:
    """Return positions (particles, 2) [m], velocities (particles, 2) [m/s] and the mass of a particle [kg].

    The particles sit near a square lattice, row by row; the block turns and falls.

    Args:
        particles: How many; a square number fills the block evenly.
        real: The type of a number.
        seed: What the random numbers start from.
    """
    rng = np.random.default_rng(seed)
    side = int(np.ceil(np.sqrt(particles)))
    spacing = (BLOCK[1] - BLOCK[0]) / side
    place = np.stack(np.divmod(np.arange(particles), side), axis=1)
    x = BLOCK[0] + spacing * (place + 0.5 + rng.uniform(-0.2, 0.2, size=(particles, 2)))
    away = x - 0.5
    v = np.stack([1.0 - 5.0 * away[:, 1], -2.0 + 5.0 * away[:, 0]], axis=1)
    return x.astype(real), v.astype(real), spacing**2
