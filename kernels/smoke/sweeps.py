"""Making a staggered velocity almost free of divergence: so many sweeps of Jacobi's, differentiated."""

# No `from __future__ import annotations` here: Taichi reads kernel annotations as objects, not as text.
from typing import Any

import numpy as np
import taichi as ti

import diffsim as ds

__all__ = ["JacobiProjection"]

_DAMPING = 0.9  # without it pressures that alternate from cell to cell would do so for ever


class JacobiProjection(ds.Part):
    """Project velocities between faces as `Projection` does, with damped sweeps of Jacobi's iteration.

    What a sweep computes is kept: memory and time grow with their number, while a sweep takes the error of
    the lowest wave numbers down by `1 - O(1 / n^2)` only. For comparison.

    Args:
        u, v: Fields to project, States or Scratches of shapes (n + 1, n) and (n, n + 1) [m/s], read at `t`.
        u_free, v_free: Scratches of these shapes, written at `t`.
        sweeps: How many.

    Differentiability: with respect to `u` and `v`, of what is computed, solved or not.
    """

    def __init__(self, u: Any, v: Any, u_free: Any, v_free: Any, sweeps: int) -> None:
        self.n = n = v.shape[0]
        self.u, self.v, self.u_free, self.v_free = u, v, u_free, v_free
        self.sweeps = sweeps
        joined = np.ones(n + 1)
        joined[[0, -1]] = 0.0  # nothing goes through walls
        self.joined = ds.Constant(joined)
        self.divergence = ds.Scratch(ds.real, n, n, unit="m/s")
        self.pressure = ds.Scratch(
            ds.real, sweeps + 1, n + 2, n + 2, unit="m/s"
        )  # times dt / dx and over the mass density

    def __call__(self, t: Any) -> None:
        """Call the kernels that project the velocities of step `t`."""
        self.find_divergence(t)
        self.sweep(t)
        self.correct(t)

    @ti.kernel
    def find_divergence(self, t: ti.i32):
        """Take the divergence of each cell, undivided."""
        for i, j in ti.ndrange(self.n, self.n):
            across = self.joined[i + 1] * self.u[t, i + 1, j] - self.joined[i] * self.u[t, i, j]
            along = self.joined[j + 1] * self.v[t, i, j + 1] - self.joined[j] * self.v[t, i, j]
            self.divergence[t, i, j] = across + along

    @ti.kernel
    def sweep(self, t: ti.i32):
        """Make all sweeps, each of which reads what the one before has stored."""
        for _ in range(1):
            for k in range(self.sweeps):
                for i, j in ti.ndrange(self.n, self.n):
                    left, right = self.joined[i], self.joined[i + 1]
                    below, above = self.joined[j], self.joined[j + 1]
                    across = left * self.pressure[t, k, i, j + 1] + right * self.pressure[t, k, i + 2, j + 1]
                    along = below * self.pressure[t, k, i + 1, j] + above * self.pressure[t, k, i + 1, j + 2]
                    around = left + right + below + above
                    mean = (across + along - self.divergence[t, i, j]) / around
                    here = self.pressure[t, k, i + 1, j + 1]
                    self.pressure[t, k + 1, i + 1, j + 1] = here + _DAMPING * (mean - here)

    @ti.kernel
    def correct(self, t: ti.i32):
        """Subtract the gradient of the pressure; nothing goes through walls."""
        for i, j in ti.ndrange((1, self.n), self.n):
            ahead = self.pressure[t, self.sweeps, i + 1, j + 1] - self.pressure[t, self.sweeps, i, j + 1]
            self.u_free[t, i, j] = self.u[t, i, j] - ahead
        for i, j in ti.ndrange(self.n, (1, self.n)):
            ahead = self.pressure[t, self.sweeps, i + 1, j + 1] - self.pressure[t, self.sweeps, i + 1, j]
            self.v_free[t, i, j] = self.v[t, i, j] - ahead
