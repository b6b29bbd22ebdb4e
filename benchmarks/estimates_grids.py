"""Grids and particles whose compile times are estimated and measured: what people write."""

from typing import Any

import numpy as np
import taichi as ti

import diffsim as ds

__all__ = ["Fdtd", "Jacobi", "Lattice", "Mpm3"]

_EX, _EY = np.array([0, 1, 0, -1, 0, 1, -1, -1, 1]), np.array([0, 0, 1, 0, -1, 1, 1, -1, -1])
_W = np.array([4 / 9, *[1 / 9] * 4, *[1 / 36] * 4])


class _Field(ds.Simulator):
    """What ends with the sum of squares of a State `u`."""

    def _cost(self, *shape: int) -> None:
        self.count = shape[0]

    @ti.kernel
    def measure(self, t: ti.i32):
        for i in range(self.count):
            self.cost[None] += self.u[t, i, 1] ** 2

    def terminal_cost(self, t: Any) -> None:
        self.measure(t)


class Fdtd(_Field):
    """Light in a plane: the magnetic field, then the electric one, by finite differences (Yee 1966).

    Args:
        n: Cells along each axis.
    """

    def __init__(self, n: int = 48) -> None:
        self.n = n
        self.count = n
        self.u, self.hx, self.hy = (ds.State(ds.real, n, n) for _ in range(3))
        self.eps = ds.Param(np.ones((n, n)))

    @ti.kernel
    def magnetic(self, t: ti.i32):
        for i, j in ti.ndrange(self.n - 1, self.n - 1):
            self.hx[t + 1, i, j] = self.hx[t, i, j] - 0.5 * (self.u[t, i, j + 1] - self.u[t, i, j])
            self.hy[t + 1, i, j] = self.hy[t, i, j] + 0.5 * (self.u[t, i + 1, j] - self.u[t, i, j])

    @ti.kernel
    def electric(self, t: ti.i32):
        for i, j in ti.ndrange((1, self.n), (1, self.n)):
            curl = self.hy[t + 1, i, j] - self.hy[t + 1, i - 1, j]
            curl -= self.hx[t + 1, i, j] - self.hx[t + 1, i, j - 1]
            pulse = ti.exp(-((0.1 * (t - 20)) ** 2)) if i == self.n // 2 and j == self.n // 2 else 0.0
            self.u[t + 1, i, j] = self.u[t, i, j] + 0.5 * curl / self.eps[i, j] + pulse

    def step(self, t: Any) -> None:
        self.magnetic(t)
        self.electric(t)


class Lattice(ds.Simulator):
    """Nine distributions that collide and stream in one kernel, with walls (lattice Boltzmann, BGK).

    Args:
        n: Cells along each axis.
        split: Collide and stream in kernels of their own.
    """

    def __init__(self, n: int = 32, split: bool = False) -> None:
        self.n, self.split = n, split
        self.f = ds.State(ds.real, n, n, 9, init=np.tile(_W, (n, n, 1)))
        self.g = ds.Scratch(ds.real, n, n, 9)
        self.ex, self.ey, self.w = ds.Constant(_EX), ds.Constant(_EY), ds.Constant(_W)
        self.omega, self.solid = ds.Param(1.2), ds.Param(np.zeros((n, n)))

    @ti.func
    def settled(self, t, i, j, k, rho, u, v):
        cu = _EX_T[k] * u + _EY_T[k] * v
        return _W_T[k] * rho * (1.0 + 3.0 * cu + 4.5 * cu * cu - 1.5 * (u * u + v * v))

    @ti.kernel
    def collide(self, t: ti.i32):
        for i, j in ti.ndrange(self.n, self.n):
            rho, u, v = 0.0, 0.0, 0.0
            for k in ti.static(range(9)):
                rho += self.f[t, i, j, k]
                u += _EX_T[k] * self.f[t, i, j, k]
                v += _EY_T[k] * self.f[t, i, j, k]
            u, v = u / rho, v / rho + 1e-4
            for k in ti.static(range(9)):
                relaxed = self.settled(t, i, j, k, rho, u, v) - self.f[t, i, j, k]
                self.g[t, i, j, k] = self.f[t, i, j, k] + self.omega[None] * relaxed

    @ti.kernel
    def stream(self, t: ti.i32):
        for i, j in ti.ndrange(self.n, self.n):
            for k in ti.static(range(9)):
                a, b = (i - _EX_T[k] + self.n) % self.n, (j - _EY_T[k] + self.n) % self.n
                back = self.g[t, i, j, _BACK[k]]
                self.f[t + 1, i, j, k] = self.g[t, a, b, k] + self.solid[i, j] * (back - self.g[t, a, b, k])

    @ti.kernel
    def both(self, t: ti.i32):
        for i, j, k in ti.ndrange(self.n, self.n, 9):
            a, b = (i - self.ex[k] + self.n) % self.n, (j - self.ey[k] + self.n) % self.n
            rho, u, v = 0.0, 0.0, 0.0
            for q in range(9):
                rho += self.f[t, a, b, q]
                u += self.ex[q] * self.f[t, a, b, q]
                v += self.ey[q] * self.f[t, a, b, q]
            u, v = u / rho, v / rho
            cu = self.ex[k] * u + self.ey[k] * v
            still = self.w[k] * rho * (1.0 + 3.0 * cu + 4.5 * cu * cu - 1.5 * (u * u + v * v))
            self.f[t + 1, i, j, k] = self.f[t, a, b, k] + self.omega[None] * (still - self.f[t, a, b, k])

    def step(self, t: Any) -> None:
        if self.split:
            self.collide(t)
            self.stream(t)
        else:
            self.both(t)

    @ti.kernel
    def measure(self, t: ti.i32):
        for i, k in ti.ndrange(self.n, 9):
            self.cost[None] += (self.f[t, i, 3, k] * k) ** 2

    def terminal_cost(self, t: Any) -> None:
        self.measure(t)


_EX_T, _EY_T, _W_T = tuple(map(int, _EX)), tuple(map(int, _EY)), tuple(map(float, _W))
_BACK = (0, 3, 4, 1, 2, 7, 8, 5, 6)


class Mpm3(ds.Simulator):
    """An elastic block in space (MLS-MPM, Hu et al. 2018), the stencil of 27 nodes unrolled.

    Args:
        particles: How many.
        grid: Cells along each axis.
        polar: Fixed corotated stress, by a polar decomposition; neo-Hookean without.
    """

    def __init__(self, particles: int = 200, grid: int = 16, polar: bool = False) -> None:
        rng = np.random.default_rng(0)
        self.n, self.grid, self.dx, self.dt, self.polar = particles, grid, 1.0 / grid, 1e-4, polar
        self.x = ds.State(ds.vec3, particles, init=rng.uniform(0.3, 0.7, size=(particles, 3)))
        self.v, self.C = ds.State(ds.vec3, particles), ds.State(ds.mat3, particles)
        self.F = ds.State(ds.mat3, particles, init=np.tile(np.eye(3), (particles, 1, 1)))
        self.act = ds.Control(ds.real, 1)
        self.momentum, self.out = ds.Scratch(ds.vec3, grid, grid, grid), ds.Scratch(ds.vec3, grid, grid, grid)
        self.mass = ds.Scratch(ds.real, grid, grid, grid)

    @ti.kernel
    def p2g(self, t: ti.i32):
        for p in range(self.n):
            base = ti.cast(self.x[t, p] / self.dx - 0.5, ti.i32)
            fx = self.x[t, p] / self.dx - ti.cast(base, ds.real)
            w = [0.5 * (1.5 - fx) ** 2, 0.75 - (fx - 1.0) ** 2, 0.5 * (fx - 0.5) ** 2]
            one = ti.Matrix([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
            F = (one + self.dt * self.C[t, p]) @ self.F[t, p]
            self.F[t + 1, p] = F
            J = F.determinant()
            tau = one * 0.0
            if ti.static(self.polar):
                R, _ = ti.polar_decompose(F)
                tau = 20.0 * (F - R) @ F.transpose() + 10.0 * J * (J - 1.0) * one
            else:
                tau = 20.0 * (F @ F.transpose() - one) + 10.0 * ti.log(J) * one
            affine = self.C[t, p] - 1e-3 * (1.0 + self.act[t, 0]) * tau
            for i, j, k in ti.static(ti.ndrange(3, 3, 3)):
                dpos = (ti.Vector([i, j, k]) - fx) * self.dx
                share = w[i][0] * w[j][1] * w[k][2]
                self.momentum[t, base + ti.Vector([i, j, k])] += share * (self.v[t, p] + affine @ dpos)
                self.mass[t, base + ti.Vector([i, j, k])] += share

    @ti.kernel
    def walls(self, t: ti.i32):
        for i, j, k in ti.ndrange(self.grid, self.grid, self.grid):
            if self.mass[t, i, j, k] > 1e-9:
                v = self.momentum[t, i, j, k] / self.mass[t, i, j, k]
                v[1] -= self.dt * 9.8
                if i < 3 and v[0] < 0:
                    v[0] = 0.0
                if i > self.grid - 3 and v[0] > 0:
                    v[0] = 0.0
                if j < 3 and v[1] < 0:
                    v *= 0.0
                if k < 3 and v[2] < 0:
                    v[2] = 0.0
                self.out[t, i, j, k] = v

    @ti.kernel
    def g2p(self, t: ti.i32):
        for p in range(self.n):
            base = ti.cast(self.x[t, p] / self.dx - 0.5, ti.i32)
            fx = self.x[t, p] / self.dx - ti.cast(base, ds.real)
            w = [0.5 * (1.5 - fx) ** 2, 0.75 - (fx - 1.0) ** 2, 0.5 * (fx - 0.5) ** 2]
            v = ti.Vector([0.0, 0.0, 0.0])
            C = ti.Matrix([[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
            for i, j, k in ti.static(ti.ndrange(3, 3, 3)):
                g = self.out[t, base + ti.Vector([i, j, k])]
                share = w[i][0] * w[j][1] * w[k][2]
                v += share * g
                C += 4.0 / self.dx * share * g.outer_product(ti.Vector([i, j, k]) - fx)
            self.v[t + 1, p], self.C[t + 1, p] = v, C
            self.x[t + 1, p] = self.x[t, p] + self.dt * v

    def step(self, t: Any) -> None:
        self.p2g(t)
        self.walls(t)
        self.g2p(t)

    @ti.kernel
    def measure(self, t: ti.i32):
        for p in range(self.n):
            self.cost[None] += self.x[t, p][1]

    def terminal_cost(self, t: Any) -> None:
        self.measure(t)


class Jacobi(ds.Simulator):
    """Smoke: advection and a number of Jacobi's sweeps, each a kernel of its own on arrays of its own.

    Args:
        n: Cells along each axis.
        sweeps: How many.
    """

    def __init__(self, n: int = 32, sweeps: int = 10) -> None:
        self.n, self.sweeps = n, sweeps
        rng = np.random.default_rng(0)
        self.v = ds.State(ds.vec2, n, n, init=rng.normal(size=(n, n, 2)))
        self.smoke = ds.State(ds.real, n, n, init=rng.uniform(size=(n, n)))
        self.moved, self.div = ds.Scratch(ds.vec2, n, n), ds.Scratch(ds.real, n, n)
        self.p = [ds.Scratch(ds.real, n, n) for _ in range(sweeps + 1)]
        for k, p in enumerate(self.p):
            setattr(self, f"p{k}", p)

    @ti.kernel
    def advect(self, t: ti.i32):
        for i, j in ti.ndrange(self.n, self.n):
            x = ti.max(0.0, ti.min(self.n - 1.001, i - 0.1 * self.v[t, i, j][0]))
            y = ti.max(0.0, ti.min(self.n - 1.001, j - 0.1 * self.v[t, i, j][1]))
            a, b = ti.cast(ti.floor(x), ti.i32), ti.cast(ti.floor(y), ti.i32)
            c, d = ti.min(a + 1, self.n - 1), ti.min(b + 1, self.n - 1)
            u, w = x - a, y - b
            self.moved[t, i, j] = (1 - u) * ((1 - w) * self.v[t, a, b] + w * self.v[t, a, d]) + u * (
                (1 - w) * self.v[t, c, b] + w * self.v[t, c, d]
            )
            self.smoke[t + 1, i, j] = (1 - u) * (
                (1 - w) * self.smoke[t, a, b] + w * self.smoke[t, a, d]
            ) + u * ((1 - w) * self.smoke[t, c, b] + w * self.smoke[t, c, d])

    @ti.kernel
    def diverge(self, t: ti.i32):
        for i, j in ti.ndrange(self.n, self.n):
            e, w = (i + 1) % self.n, (i + self.n - 1) % self.n
            n, s = (j + 1) % self.n, (j + self.n - 1) % self.n
            self.div[t, i, j] = 0.5 * (
                self.moved[t, e, j][0]
                - self.moved[t, w, j][0]
                + self.moved[t, i, n][1]
                - self.moved[t, i, s][1]
            )

    @ti.kernel
    def sweep(self, t: ti.i32, k: ti.template()):
        for i, j in ti.ndrange(self.n, self.n):
            e, w = (i + 1) % self.n, (i + self.n - 1) % self.n
            n, s = (j + 1) % self.n, (j + self.n - 1) % self.n
            p = self.p[k]
            around = p[t, e, j] + p[t, w, j] + p[t, i, n] + p[t, i, s]
            self.p[k + 1][t, i, j] = 0.25 * (around - self.div[t, i, j])

    @ti.kernel
    def project(self, t: ti.i32):
        for i, j in ti.ndrange(self.n, self.n):
            e, w = (i + 1) % self.n, (i + self.n - 1) % self.n
            n, s = (j + 1) % self.n, (j + self.n - 1) % self.n
            p = self.p[self.sweeps]
            gradient = ti.Vector([p[t, e, j] - p[t, w, j], p[t, i, n] - p[t, i, s]])
            self.v[t + 1, i, j] = self.moved[t, i, j] - 0.5 * gradient

    def step(self, t: Any) -> None:
        self.advect(t)
        self.diverge(t)
        for k in range(self.sweeps):
            self.sweep(t, k)
        self.project(t)

    @ti.kernel
    def measure(self, t: ti.i32):
        for i, j in ti.ndrange(self.n, self.n):
            self.cost[None] += (self.smoke[t, i, j] - 0.5) ** 2

    def terminal_cost(self, t: Any) -> None:
        self.measure(t)
