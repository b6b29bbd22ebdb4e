"""The chain of masses as one writes it with diffsim; the equations are in `chain_problem`."""

import numpy as np
import taichi as ti

import diffsim as ds
from benchmarks.chain_problem import DT, draw


class Chain(ds.Simulator):
    """Masses in a row between two walls, with a spring between neighbours.

    Args:
        masses: How many.
    """

    def __init__(self, masses=32):
        x, v, stiffness, target = draw(masses, np.float64)
        self.n, self.dt, self.share = masses, DT, 1.0 / masses
        self.x = ds.State(ds.real, masses, init=x)
        self.v = ds.State(ds.real, masses, init=v)
        self.stiffness = ds.Param(stiffness)
        self.target = ds.Constant(target)

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(self.n):
            left = 0.0
            if i > 0:
                left = self.x[t, i - 1]
            right = 0.0
            if i < self.n - 1:
                right = self.x[t, i + 1]
            here = self.x[t, i]
            force = self.stiffness[i + 1] * (right - here) - self.stiffness[i] * (here - left)
            self.v[t + 1, i] = self.v[t, i] + self.dt * force
            self.x[t + 1, i] = here + self.dt * self.v[t + 1, i]

    @ti.kernel
    def miss(self, t: ti.i32):
        for i in range(self.n):
            self.cost[None] += self.share * (self.x[t, i] - self.target[i]) ** 2

    def step(self, t):
        """Move the masses."""
        self.move(t)

    def terminal_cost(self, t):
        """Compare with the target."""
        self.miss(t)
