"""The chain of masses that `compilers` runs for a million steps: numbers only, shared by all who run it.

Masses of 1 kg in a row between two walls, a spring between neighbours; x[i] is how far mass i is from where
it rests, x[-1] = x[n] = 0 are the walls, spring i pulls the masses i - 1 and i together (symplectic Euler):

    v[t + 1, i] = v[t, i] + DT * (k[i + 1] * (x[i + 1] - x[i]) - k[i] * (x[i] - x[i - 1]))[t]
    x[t + 1, i] = x[t, i] + DT * v[t + 1, i]

The cost is the mean squared distance to a target after the last step, and the gradient is taken with respect
to the first positions, the first velocities and the stiffnesses.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

DT = 0.01  # [s]


def draw(masses: int, real: type = np.float32, seed: int = 0) -> tuple[NDArray[Any], ...]:
    """Return first positions [m], first velocities [m/s], stiffnesses (masses + 1,) [N/m] and the target [m].

    Args:
        masses: How many.
        real: The type of a number.
        seed: What the random numbers start from.
    """
    rng = np.random.default_rng(seed)
    drawn = (
        rng.normal(size=masses),
        rng.normal(size=masses),
        rng.uniform(0.8, 1.2, size=masses + 1),
        rng.normal(size=masses),
    )
    return tuple(array.astype(real) for array in drawn)
