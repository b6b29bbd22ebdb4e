"""The smoke in plain Taichi, as one writes it without diffsim, for `compilers`.

All steps and sweeps are in memory, a step is one launch per kernel and sweep, and `ti.ad.Tape` gives the
gradient. It uses nothing of diffsim.
"""

# No `from __future__ import annotations` here: Taichi reads kernel annotations as objects, not as text.
from typing import Any

import numpy as np
import taichi as ti
from numpy.typing import NDArray

from benchmarks.plain_taichi import PlainTaichi
from benchmarks.smoke_problem import DT, RELAX


@ti.data_oriented
class PlainSmoke(PlainTaichi):
    """The program: fields, kernels, and the loop over time under a tape.

    Args:
        u: First velocities along x (n + 1, n); their type is the precision.
        v: First velocities along y (n, n + 1).
        density: The first smoke (n, n).
        target: The picture (n, n).
        sweeps: Of Jacobi's iteration.
        steps: Time steps.
    """

    def __init__(
        self,
        u: NDArray[Any],
        v: NDArray[Any],
        density: NDArray[Any],
        target: NDArray[Any],
        sweeps: int,
        steps: int,
    ) -> None:
        self.n, self.steps, self.sweeps = len(density), steps, sweeps
        n, self.stride, self.share = self.n, DT * self.n, 1.0 / self.n**2
        real = ti.f64 if u.dtype == np.float64 else ti.f32

        def fields(count: int, *shape: int) -> Any:
            return ti.field(real, shape=(count, *shape), needs_grad=True)

        self.u, self.v, self.d = (fields(steps + 1, *array.shape) for array in (u, v, density))
        self.u_free, self.v_free = (fields(steps, *array.shape) for array in (u, v))
        self.divergence = fields(steps, n, n)
        self.pressure = fields(steps, sweeps + 1, n + 2, n + 2)
        self.first_u, self.first_v = (ti.field(real, a.shape, needs_grad=True) for a in (u, v))
        self.first_d, self.target = ti.field(real, (n, n)), ti.field(real, (n, n))
        self.loss = ti.field(real, shape=(), needs_grad=True)
        self.first_u.from_numpy(u)
        self.first_v.from_numpy(v)
        self.first_d.from_numpy(density)
        self.target.from_numpy(target)

    @ti.kernel
    def begin(self):
        """Put velocity and smoke where they start."""
        for i, j in self.first_u:
            self.u[0, i, j] = self.first_u[i, j]
        for i, j in self.first_v:
            self.v[0, i, j] = self.first_v[i, j]
        for i, j in self.first_d:
            self.d[0, i, j] = self.first_d[i, j]

    @ti.kernel
    def diverge(self, t: ti.i32):
        """Take the divergence of each cell; nothing goes through walls."""
        for i, j in ti.ndrange(self.n, self.n):
            total = 0.0
            if i > 0:
                total -= self.u[t, i, j]
            if i < self.n - 1:
                total += self.u[t, i + 1, j]
            if j > 0:
                total -= self.v[t, i, j]
            if j < self.n - 1:
                total += self.v[t, i, j + 1]
            self.divergence[t, i, j] = total

    @ti.kernel
    def sweep(self, t: ti.i32, k: ti.i32):
        """Make one sweep; there is no pressure beyond the walls, nor does any cell join it."""
        for i, j in ti.ndrange(self.n, self.n):
            beside = self.pressure[t, k, i, j + 1] + self.pressure[t, k, i + 2, j + 1]
            beside += self.pressure[t, k, i + 1, j] + self.pressure[t, k, i + 1, j + 2]
            around = 4.0
            if i == 0 or i == self.n - 1:
                around -= 1.0
            if j == 0 or j == self.n - 1:
                around -= 1.0
            here = self.pressure[t, k, i + 1, j + 1]
            mean = (beside - self.divergence[t, i, j]) / around
            self.pressure[t, k + 1, i + 1, j + 1] = here + RELAX * (mean - here)

    @ti.kernel
    def correct(self, t: ti.i32):
        """Subtract the gradient of the pressure."""
        for i, j in ti.ndrange((1, self.n), self.n):
            ahead = self.pressure[t, self.sweeps, i + 1, j + 1] - self.pressure[t, self.sweeps, i, j + 1]
            self.u_free[t, i, j] = self.u[t, i, j] - ahead
        for i, j in ti.ndrange(self.n, (1, self.n)):
            ahead = self.pressure[t, self.sweeps, i + 1, j + 1] - self.pressure[t, self.sweeps, i + 1, j]
            self.v_free[t, i, j] = self.v[t, i, j] - ahead

    @ti.func
    def sample(self, field: ti.template(), t, x, y):
        """Interpolate between the points of a field, at a place in spacings from the first of them."""
        rows, columns = ti.static(field.shape[1]), ti.static(field.shape[2])
        x = ti.min(ti.max(x, 0.0), rows - 1.0)
        y = ti.min(ti.max(y, 0.0), columns - 1.0)
        i = ti.max(ti.min(ti.cast(ti.floor(x), ti.i32), rows - 2), 0)
        j = ti.max(ti.min(ti.cast(ti.floor(y), ti.i32), columns - 2), 0)
        a, b = x - i, y - j
        below = (1.0 - a) * field[t, i, j] + a * field[t, i + 1, j]
        above = (1.0 - a) * field[t, i, j + 1] + a * field[t, i + 1, j + 1]
        return (1.0 - b) * below + b * above

    @ti.func
    def source(self, t, x, y, u, v):
        """Return where flow carries from to a place (midpoint rule), of which the velocity is known there."""
        back, aside = x - 0.5 * self.stride * u, y - 0.5 * self.stride * v
        from_x = x - self.stride * self.sample(self.u_free, t, back, aside - 0.5)
        from_y = y - self.stride * self.sample(self.v_free, t, back - 0.5, aside)
        return from_x, from_y

    @ti.kernel
    def carry_u(self, t: ti.i32):
        """Carry the velocity along x."""
        for i, j in ti.ndrange(self.n + 1, self.n):
            left, right = ti.max(i - 1, 0), ti.min(i, self.n - 1)
            v = self.v_free[t, left, j] + self.v_free[t, left, j + 1]
            v = 0.25 * (v + self.v_free[t, right, j] + self.v_free[t, right, j + 1])
            x, y = self.source(t, ti.cast(i, float), j + 0.5, self.u_free[t, i, j], v)
            self.u[t + 1, i, j] = self.sample(self.u_free, t, x, y - 0.5)

    @ti.kernel
    def carry_v(self, t: ti.i32):
        """Carry the velocity along y."""
        for i, j in ti.ndrange(self.n, self.n + 1):
            below, above = ti.max(j - 1, 0), ti.min(j, self.n - 1)
            u = self.u_free[t, i, below] + self.u_free[t, i + 1, below]
            u = 0.25 * (u + self.u_free[t, i, above] + self.u_free[t, i + 1, above])
            x, y = self.source(t, i + 0.5, ti.cast(j, float), u, self.v_free[t, i, j])
            self.v[t + 1, i, j] = self.sample(self.v_free, t, x - 0.5, y)

    @ti.kernel
    def carry_d(self, t: ti.i32):
        """Carry the smoke."""
        for i, j in ti.ndrange(self.n, self.n):
            u = 0.5 * (self.u_free[t, i, j] + self.u_free[t, i + 1, j])
            v = 0.5 * (self.v_free[t, i, j] + self.v_free[t, i, j + 1])
            x, y = self.source(t, i + 0.5, j + 0.5, u, v)
            self.d[t + 1, i, j] = self.sample(self.d, t, x - 0.5, y - 0.5)

    @ti.kernel
    def compare(self):
        """Take the mean squared distance to the picture."""
        for i, j in self.target:
            self.loss[None] += self.share * (self.d[self.steps, i, j] - self.target[i, j]) ** 2

    def forward(self) -> None:
        """Run all steps and the cost."""
        self.begin()
        for t in range(self.steps):
            self.diverge(t)
            for k in range(self.sweeps):
                self.sweep(t, k)
            self.correct(t)
            self.carry_u(t)
            self.carry_v(t)
            self.carry_d(t)
        self.compare()

    def gradients(self) -> dict[str, NDArray[Any]]:
        """Copy the adjoints of the first velocities."""
        return {"u": self.first_u.grad.to_numpy(), "v": self.first_v.grad.to_numpy()}
