"""The smoke that `smoke` and `compilers` simulate: what all of them start from, and the numbers they share.

The scheme is that of `diffsim.kernels.smoke.Smoke` with damped sweeps of Jacobi's iteration: a step frees the
velocity (u, v) on the faces of cells of divergence, then carries velocity and smoke along (semi-Lagrangian,
midpoint rule, bilinear interpolation):

    p <- p + RELAX (mean of p beside it, less the divergence, - p)      (the pressure, from zero)
    w_free = w - grad p,   w[t + 1] = w_free at where it comes from,   d[t + 1] = d[t] there

The cost is the mean squared distance of the smoke to a picture after the last step, and the gradient is taken
with respect to the first velocities.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

DT = 0.1  # [s]
RELAX = 0.9


def draw(n: int, real: type = np.float64, seed: int = 0) -> tuple[NDArray[Any], ...]:
    """Return velocities u (n + 1, n) and v (n, n + 1) [m/s], smoke (n, n) and the picture (n, n).

    Args:
        n: Cells along an axis, of a box with sides of 1 m.
        real: The type of a number.
        seed: What the random numbers start from.
    """
    from diffsim.kernels.smoke import SmokeConfig, picture, swirl

    config = SmokeConfig(n=n)
    edge = np.arange(n + 1) / n
    stream_function = 0.02 * np.outer(np.sin(np.pi * edge), np.sin(2.0 * np.pi * edge))
    u, v = swirl(stream_function, config.dx)
    rng = np.random.default_rng(seed)  # gusts that are no flow yet: what a projection is for
    u, v = u + 0.02 * rng.normal(size=u.shape), v + 0.02 * rng.normal(size=v.shape)
    drawn = u, v, picture(config, "disc"), picture(config, "star")
    return tuple(array.astype(real) for array in drawn)
