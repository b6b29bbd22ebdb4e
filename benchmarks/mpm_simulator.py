"""The elastic block as one writes it with diffsim; the equations are in `mpm_problem`."""

import numpy as np
import taichi as ti

import diffsim as ds
from benchmarks.mpm_problem import DT, GOAL, GRAVITY, LAMBDA, LEAST_MASS, MU, RIM, draw


class NeoHookeanMPM(ds.Simulator):
    """An elastic block of particles in a box.

    Args:
        particles: How many.
        grid: Cells along each axis.
    """

    def __init__(self, particles=6400, grid=128):
        x, v, self.mass = draw(particles, np.float64)
        self.n, self.grid, self.inv_dx, self.dt = particles, grid, float(grid), DT
        self.dx, self.rim, self.mu, self.la, self.fall = 1.0 / grid, RIM, MU, LAMBDA, DT * GRAVITY
        self.volume, self.share, self.least = self.mass, 1.0 / particles, LEAST_MASS
        self.goal_x, self.goal_y = GOAL
        self.x = ds.State(ds.vec2, particles, init=x)
        self.v = ds.State(ds.vec2, particles, init=v)
        self.C = ds.State(ds.mat2, particles)
        self.F = ds.State(ds.mat2, particles, init=np.tile(np.eye(2), (particles, 1, 1)))
        self.momentum = ds.Scratch(ds.vec2, grid, grid)
        self.weight = ds.Scratch(ds.real, grid, grid)
        self.speed = ds.Scratch(ds.vec2, grid, grid)

    @ti.kernel
    def p2g(self, t: ti.i32):
        for p in range(self.n):
            base = ti.cast(self.x[t, p] * self.inv_dx - 0.5, ti.i32)
            fx = self.x[t, p] * self.inv_dx - ti.cast(base, ds.real)
            w = [0.5 * (1.5 - fx) ** 2, 0.75 - (fx - 1.0) ** 2, 0.5 * (fx - 0.5) ** 2]
            one = ti.Matrix([[1.0, 0.0], [0.0, 1.0]])
            F = (one + self.dt * self.C[t, p]) @ self.F[t, p]
            self.F[t + 1, p] = F
            tau = self.mu * (F @ F.transpose() - one) + self.la * ti.log(F.determinant()) * one
            affine = self.mass * self.C[t, p] - (self.dt * self.volume * 4.0 * self.inv_dx**2) * tau
            for i, j in ti.static(ti.ndrange(3, 3)):
                dpos = (ti.Vector([i, j]) - fx) * self.dx
                share = w[i][0] * w[j][1]
                self.momentum[t, base[0] + i, base[1] + j] += share * (
                    self.mass * self.v[t, p] + affine @ dpos
                )
                self.weight[t, base[0] + i, base[1] + j] += share * self.mass

    @ti.kernel
    def move_grid(self, t: ti.i32):
        for i, j in ti.ndrange(self.grid, self.grid):
            if self.weight[t, i, j] > self.least:
                v = self.momentum[t, i, j] / self.weight[t, i, j]
                v[1] += self.fall
                if i < self.rim and v[0] < 0.0:
                    v[0] = 0.0
                if i > self.grid - self.rim and v[0] > 0.0:
                    v[0] = 0.0
                if j < self.rim and v[1] < 0.0:
                    v[1] = 0.0
                if j > self.grid - self.rim and v[1] > 0.0:
                    v[1] = 0.0
                self.speed[t, i, j] = v

    @ti.kernel
    def g2p(self, t: ti.i32):
        for p in range(self.n):
            base = ti.cast(self.x[t, p] * self.inv_dx - 0.5, ti.i32)
            fx = self.x[t, p] * self.inv_dx - ti.cast(base, ds.real)
            w = [0.5 * (1.5 - fx) ** 2, 0.75 - (fx - 1.0) ** 2, 0.5 * (fx - 0.5) ** 2]
            v = ti.Vector([0.0, 0.0])
            C = ti.Matrix([[0.0, 0.0], [0.0, 0.0]])
            for i, j in ti.static(ti.ndrange(3, 3)):
                dpos = ti.Vector([i, j]) - fx
                g = self.speed[t, base[0] + i, base[1] + j]
                share = w[i][0] * w[j][1]
                v += share * g
                C += 4.0 * self.inv_dx * share * g.outer_product(dpos)
            self.v[t + 1, p] = v
            self.C[t + 1, p] = C
            self.x[t + 1, p] = self.x[t, p] + self.dt * v

    @ti.kernel
    def miss(self, t: ti.i32):
        for p in range(self.n):
            x = self.x[t, p]
            self.cost[None] += self.share * ((x[0] - self.goal_x) ** 2 + (x[1] - self.goal_y) ** 2)

    def step(self, t):
        """Scatter to the grid, move the grid, gather from it."""
        self.p2g(t)
        self.move_grid(t)
        self.g2p(t)

    def terminal_cost(self, t):
        """Take the mean squared distance to the goal."""
        self.miss(t)
