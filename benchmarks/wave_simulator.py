"""The wave equation as one writes it with diffsim; the equation is in `wave_problem`."""

import numpy as np
import taichi as ti

import diffsim as ds
from benchmarks.wave_problem import KEPT, SPEED, draw


class Wave(ds.Simulator):
    """A square membrane with a fixed rim.

    Args:
        grid: Points along each axis.
    """

    def __init__(self, grid=256):
        initial, target = draw(grid, np.float64)
        self.n, self.share = grid, 1.0 / grid**2
        self.speed, self.kept = SPEED, KEPT
        self.u = ds.State(ds.real, (grid, grid), init=initial, history=2, keep=False)
        self.target = ds.Constant(target)

    @ti.kernel
    def move(self, t: ti.i32):
        for i, j in ti.ndrange((1, self.n - 1), (1, self.n - 1)):
            here = self.u[t, i, j]
            around = self.u[t, i - 1, j] + self.u[t, i + 1, j] + self.u[t, i, j - 1] + self.u[t, i, j + 1]
            self.u[t + 1, i, j] = (
                here + self.kept * (here - self.u[t - 1, i, j]) + self.speed * (around - 4.0 * here)
            )

    @ti.kernel
    def misfit(self, t: ti.i32):
        for i, j in ti.ndrange(self.n, self.n):
            self.cost[None] += self.share * (self.u[t, i, j] - self.target[i, j]) ** 2

    def step(self, t):
        """Move the membrane."""
        self.move(t)

    def terminal_cost(self, t):
        """Compare with the target."""
        self.misfit(t)
