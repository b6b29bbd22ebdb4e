"""The yardstick of `mpm`: the elastic block in plain Taichi, as one writes it without diffsim.

All steps are in memory, grids too, a step is three launches, and `ti.ad.Tape` gives the gradient. It uses
nothing of diffsim.
"""

# No `from __future__ import annotations` here: Taichi reads kernel annotations as objects, not as text.
from typing import Any

import numpy as np
import taichi as ti
from numpy.typing import NDArray

from benchmarks.mpm_problem import DT, GOAL, GRAVITY, LAMBDA, LEAST_MASS, MU, RIM
from benchmarks.plain_taichi import PlainTaichi


@ti.data_oriented
class PlainMPM(PlainTaichi):
    """The program: fields, kernels, and the loop over time under a tape.

    Args:
        x: Where the particles are at first (n, 2); its type is the precision.
        v: Their velocities (n, 2).
        mass: That of a particle; its volume too.
        grid: Cells along each axis.
        steps: Time steps.
    """

    def __init__(self, x: NDArray[Any], v: NDArray[Any], mass: float, grid: int, steps: int) -> None:
        self.n, self.grid, self.steps, self.mass, self.volume = len(x), grid, steps, mass, mass
        self.dx, self.inv_dx, self.share = 1.0 / grid, float(grid), 1.0 / len(x)
        real = ti.f64 if x.dtype == np.float64 else ti.f32
        over, cells = (steps + 1, self.n), (steps, grid, grid)
        self.x = ti.Vector.field(2, real, shape=over, needs_grad=True)
        self.v = ti.Vector.field(2, real, shape=over, needs_grad=True)
        self.C = ti.Matrix.field(2, 2, real, shape=over, needs_grad=True)
        self.F = ti.Matrix.field(2, 2, real, shape=over, needs_grad=True)
        self.momentum = ti.Vector.field(2, real, shape=cells, needs_grad=True)
        self.weight = ti.field(real, shape=cells, needs_grad=True)
        self.speed = ti.Vector.field(2, real, shape=cells, needs_grad=True)
        self.loss = ti.field(real, shape=(), needs_grad=True)
        self.first_x = ti.Vector.field(2, real, shape=self.n)
        self.first_v = ti.Vector.field(2, real, shape=self.n, needs_grad=True)
        self.first_x.from_numpy(x)
        self.first_v.from_numpy(v)

    @ti.kernel
    def begin(self):
        """Put the particles where they start, and empty the grids."""
        for p in range(self.n):
            self.x[0, p] = self.first_x[p]
            self.v[0, p] = self.first_v[p]
            self.F[0, p] = ti.Matrix([[1.0, 0.0], [0.0, 1.0]])
        for t, i, j in self.weight:
            self.weight[t, i, j] = 0.0
            self.momentum[t, i, j] = ti.Vector([0.0, 0.0])

    @ti.kernel
    def p2g(self, t: ti.i32):
        """Scatter mass and momentum to the grid."""
        for p in range(self.n):
            base = ti.cast(self.x[t, p] * self.inv_dx - 0.5, ti.i32)
            fx = self.x[t, p] * self.inv_dx - ti.cast(base, float)
            w = [0.5 * (1.5 - fx) ** 2, 0.75 - (fx - 1.0) ** 2, 0.5 * (fx - 0.5) ** 2]
            one = ti.Matrix([[1.0, 0.0], [0.0, 1.0]])
            F = (one + DT * self.C[t, p]) @ self.F[t, p]
            self.F[t + 1, p] = F
            tau = MU * (F @ F.transpose() - one) + LAMBDA * ti.log(F.determinant()) * one
            affine = self.mass * self.C[t, p] - (DT * self.volume * 4.0 * self.inv_dx**2) * tau
            for i, j in ti.static(ti.ndrange(3, 3)):
                dpos = (ti.Vector([i, j]) - fx) * self.dx
                share = w[i][0] * w[j][1]
                self.momentum[t, base[0] + i, base[1] + j] += share * (
                    self.mass * self.v[t, p] + affine @ dpos
                )
                self.weight[t, base[0] + i, base[1] + j] += share * self.mass

    @ti.kernel
    def move_grid(self, t: ti.i32):
        """Turn momentum into velocity; walls stop what runs into them."""
        for i, j in ti.ndrange(self.grid, self.grid):
            if self.weight[t, i, j] > LEAST_MASS:
                v = self.momentum[t, i, j] / self.weight[t, i, j]
                v[1] += DT * GRAVITY
                if i < RIM and v[0] < 0.0:
                    v[0] = 0.0
                if i > self.grid - RIM and v[0] > 0.0:
                    v[0] = 0.0
                if j < RIM and v[1] < 0.0:
                    v[1] = 0.0
                if j > self.grid - RIM and v[1] > 0.0:
                    v[1] = 0.0
                self.speed[t, i, j] = v

    @ti.kernel
    def g2p(self, t: ti.i32):
        """Gather velocities, move the particles."""
        for p in range(self.n):
            base = ti.cast(self.x[t, p] * self.inv_dx - 0.5, ti.i32)
            fx = self.x[t, p] * self.inv_dx - ti.cast(base, float)
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
            self.x[t + 1, p] = self.x[t, p] + DT * v

    @ti.kernel
    def miss(self):
        """Take the mean squared distance to the goal."""
        for p in range(self.n):
            x = self.x[self.steps, p]
            self.loss[None] += self.share * ((x[0] - GOAL[0]) ** 2 + (x[1] - GOAL[1]) ** 2)

    def forward(self) -> None:
        """Run all steps and the cost."""
        self.begin()
        for t in range(self.steps):
            self.p2g(t)
            self.move_grid(t)
            self.g2p(t)
        self.miss()

    def gradients(self) -> dict[str, NDArray[Any]]:
        """Copy the adjoints of the first velocities."""
        return {"v": self.first_v.grad.to_numpy()}
