"""Equations on grids that need no flow: waves, light, heat, patterns."""

from typing import Any

import numpy as np
import taichi as ti

import diffsim as ds
from benchmarks.language.common import Port, given

N = 12


def bump(n: int = N, x: float = 4.0, y: float = 6.0) -> np.ndarray:
    """Return a smooth bump."""
    i, j = np.meshgrid(np.arange(n), np.arange(n), indexing="ij")
    return np.exp(-((i - x) ** 2 + (j - y) ** 2) / 5.0)


# ---- shallow water waves: height and velocity in place ----


@ti.data_oriented
class Waves:
    """Height and its rate on an inner grid, with a touch that is a function of time."""

    def __init__(self) -> None:
        self.height = given(ti.field(float, shape=(N, N)), bump())
        self.velocity = ti.field(float, shape=(N, N))
        self.acceleration = ti.field(float, shape=(N, N))
        self.c = given(ti.field(float, ()), 30.0)

    @ti.func
    def laplacian(self, f: ti.template(), i, j):
        return -4 * f[i, j] + f[i + 1, j] + f[i - 1, j] + f[i, j + 1] + f[i, j - 1]

    @ti.kernel
    def touch(self, t: ti.i32):
        self.height[3, 4] += 0.1 * ti.sin(0.7 * t)

    @ti.kernel
    def accelerate(self):
        for i, j in ti.ndrange((1, N - 1), (1, N - 1)):
            self.acceleration[i, j] = self.c[None] * self.laplacian(self.height, i, j)
            self.acceleration[i, j] -= 0.5 * self.velocity[i, j]

    @ti.kernel
    def integrate(self):
        for i, j in self.height:
            self.velocity[i, j] += 0.05 * self.acceleration[i, j]
            self.height[i, j] += 0.05 * self.velocity[i, j]

    def step(self, t: Any) -> None:
        self.touch(t)
        self.accelerate()
        self.integrate()


class WavesPort(Waves, Port):
    """The same kernels, differentiable."""

    steps, measured = 8, ("height", "velocity")

    def __init__(self) -> None:
        self.height = ds.State(ds.real, N, N, init=bump())
        self.velocity = ds.State(ds.real, N, N)
        self.acceleration = ds.Scratch(ds.real, N, N)
        self.c = ds.Param(np.array(30.0))


# ---- FDTD: light in two dimensions, with a source and an absorbing frame ----


@ti.data_oriented
class Fdtd:
    """Transverse magnetic fields on Yee's grid, leapfrog in place, conductivity at the frame."""

    def __init__(self) -> None:
        self.Ez = given(ti.field(float, shape=(N, N)), bump())
        self.Hx = ti.field(float, shape=(N, N))
        self.Hy = ti.field(float, shape=(N, N))
        self.eps = given(ti.field(float, shape=(N, N)), 1 + bump(N, 8, 8))

    @ti.kernel
    def update_H(self):
        for i, j in self.Hx:
            if j < N - 1:
                self.Hx[i, j] -= 0.5 * (self.Ez[i, j + 1] - self.Ez[i, j])
            if i < N - 1:
                self.Hy[i, j] += 0.5 * (self.Ez[i + 1, j] - self.Ez[i, j])

    @ti.kernel
    def update_E(self, t: ti.i32):
        for i, j in self.Ez:
            if 0 < i < N - 1 and 0 < j < N - 1:
                curl = self.Hy[i, j] - self.Hy[i - 1, j] - self.Hx[i, j] + self.Hx[i, j - 1]
                self.Ez[i, j] += 0.5 / self.eps[i, j] * curl
            if i == 2 and j == 2:
                self.Ez[i, j] += ti.exp(-((t - 3.0) ** 2) / 4.0)
            edge = ti.min(i, j, N - 1 - i, N - 1 - j)
            if edge < 3:
                self.Ez[i, j] *= 1.0 - 0.1 * (3 - edge)

    def step(self, t: Any) -> None:
        self.update_H()
        self.update_E(t)


class FdtdPort(Fdtd, Port):
    """The same kernels, differentiable."""

    steps, measured = 8, ("Ez",)

    def __init__(self) -> None:
        self.Ez = ds.State(ds.real, N, N, init=bump())
        self.Hx, self.Hy = ds.State(ds.real, N, N), ds.State(ds.real, N, N)
        self.eps = ds.Param(1 + bump(N, 8, 8))


# ---- heat: alternating directions, each a tridiagonal solve ----


@ti.data_oriented
class HeatAdi:
    """Peaceman and Rachford's two half steps; Thomas's algorithm runs forward and back along each line."""

    def __init__(self) -> None:
        self.T = given(ti.field(float, (N, N)), bump())
        self.half = ti.field(float, (N, N))
        self.c = ti.field(float, (N, N))
        self.d = ti.field(float, (N, N))
        self.r = given(ti.field(float, ()), 0.8)

    @ti.kernel
    def rows(self):
        for j in range(1, N - 1):
            r = self.r[None]
            self.c[0, j], self.d[0, j] = 0.0, self.T[0, j]
            for i in range(1, N - 1):
                rhs = r * self.T[i, j - 1] + (1 - 2 * r) * self.T[i, j] + r * self.T[i, j + 1]
                m = 1 + 2 * r + r * self.c[i - 1, j]
                self.c[i, j] = -r / m
                self.d[i, j] = (rhs + r * self.d[i - 1, j]) / m
            self.half[N - 1, j] = self.T[N - 1, j]
            for k in range(1, N - 1):
                i = N - 1 - k
                self.half[i, j] = self.d[i, j] - self.c[i, j] * self.half[i + 1, j]
            self.half[0, j] = self.T[0, j]

    @ti.kernel
    def columns(self):
        for i in range(1, N - 1):
            r = self.r[None]
            self.c[i, 0], self.d[i, 0] = 0.0, self.T[i, 0]
            for j in range(1, N - 1):
                rhs = self.half[i, j] + r * (self.half[i - 1, j] - 2 * self.half[i, j] + self.half[i + 1, j])
                m = 1 + 2 * r + r * self.c[i, j - 1]
                self.c[i, j] = -r / m
                self.d[i, j] = (rhs + r * self.d[i, j - 1]) / m
            for k in range(1, N - 1):
                j = N - 1 - k
                self.T[i, j] = self.d[i, j] - self.c[i, j] * self.T[i, j + 1]

    def step(self, t: Any) -> None:
        self.rows()
        self.columns()


class HeatAdiPort(HeatAdi, Port):
    """The same kernels, differentiable."""

    measured = ("T",)

    def __init__(self) -> None:
        self.T = ds.State(ds.real, N, N, init=bump())
        self.half, self.c, self.d = (ds.Scratch(ds.real, N, N) for _ in range(3))
        self.r = ds.Param(np.array(0.8))


# ---- reaction and diffusion: two phases of one field ----


@ti.data_oriented
class GrayScott:
    """Two substances in a field of vectors with a leading phase, which changes place in each substep."""

    def __init__(self) -> None:
        self.uv = given(ti.Vector.field(2, float, shape=(2, N, N)), self.start())
        self.weights = given(ti.field(float, shape=4), [0.16, 0.08, 0.06, 0.062])

    def start(self) -> np.ndarray:
        both = np.zeros((2, N, N, 2))
        both[0, ..., 0], both[0, ..., 1] = 1 - 0.5 * bump(), 0.25 * bump()
        return both

    @ti.kernel
    def compute(self, phase: int):
        for i, j in ti.ndrange(N, N):
            cen = self.uv[phase, i, j]
            lapl = (
                self.uv[phase, (i + 1) % N, j]
                + self.uv[phase, i, (j + 1) % N]
                + self.uv[phase, (i - 1 + N) % N, j]
                + self.uv[phase, i, (j - 1 + N) % N]
                - 4.0 * cen
            )
            du = self.weights[0] * lapl[0] - cen[0] * cen[1] * cen[1] + self.weights[2] * (1 - cen[0])
            dv = self.weights[1] * lapl[1] + cen[0] * cen[1] * cen[1]
            dv -= (self.weights[2] + self.weights[3]) * cen[1]
            self.uv[1 - phase, i, j] = cen + 0.5 * ti.Vector([du, dv])

    def step(self, t: Any) -> None:
        for k in range(4):
            self.compute(k % 2)


class GrayScottPort(GrayScott, Port):
    """The same kernel, differentiable."""

    measured = ("uv",)

    def __init__(self) -> None:
        self.uv = ds.State(ds.vec2, 2, N, N, init=self.start())
        self.weights = ds.Param(np.array([0.16, 0.08, 0.06, 0.062]))


# ---- multigrid: V-cycles, Gauss-Seidel in place on each level ----

LEVELS = 3
FINE = 8


@ti.data_oriented
class Multigrid:
    """Poisson's equation, warm from the last step: smooth, restrict, prolongate, on lists of fields."""

    def __init__(self) -> None:
        sizes = [FINE >> level for level in range(LEVELS)]
        self.b = given(ti.field(float, (FINE, FINE)), bump(FINE))
        self.r = [ti.field(float, (n, n)) for n in sizes]
        self.z = [ti.field(float, (n, n)) for n in sizes]
        self.q = ti.field(float, (FINE, FINE))
        self.omega = given(ti.field(float, ()), 0.9)

    @ti.func
    def around(self, x: ti.template(), i, j, n: ti.template()):
        total = 0.0
        if i > 0:
            total += x[i - 1, j]
        if i < n - 1:
            total += x[i + 1, j]
        if j > 0:
            total += x[i, j - 1]
        if j < n - 1:
            total += x[i, j + 1]
        return total

    @ti.kernel
    def residual(self):
        for i, j in self.q:
            self.r[0][i, j] = self.b[i, j] - (4.5 * self.q[i, j] - self.around(self.q, i, j, FINE))
            self.z[0][i, j] = 0.0

    @ti.kernel
    def smooth(self, level: ti.template(), phase: ti.template()):
        n = ti.static(FINE >> level)
        for i, j in ti.ndrange(n, n):
            if (i + j) & 1 == phase:
                new = (self.r[level][i, j] + self.around(self.z[level], i, j, n)) / 4.5
                self.z[level][i, j] += self.omega[None] * (new - self.z[level][i, j])

    @ti.kernel
    def restrict(self, level: ti.template()):
        n = ti.static(FINE >> level)
        for i, j in self.r[level + 1]:
            self.r[level + 1][i, j] = 0.0
            self.z[level + 1][i, j] = 0.0
        for i, j in ti.ndrange(n, n):
            res = self.r[level][i, j] - (4.5 * self.z[level][i, j] - self.around(self.z[level], i, j, n))
            self.r[level + 1][i // 2, j // 2] += res * 0.5

    @ti.kernel
    def prolongate(self, level: ti.template()):
        for I in ti.grouped(self.z[level]):
            self.z[level][I] += self.z[level + 1][I // 2]

    @ti.kernel
    def correct(self):
        for I in ti.grouped(self.q):
            self.q[I] += self.z[0][I]

    @ti.kernel
    def load(self):
        for i, j in self.b:
            self.b[i, j] = 0.9 * self.b[i, j] + 0.05 * ti.sin(self.q[i, j])

    def step(self, t: Any) -> None:
        self.residual()
        for level in range(LEVELS - 1):
            self.smooth(level, 0)
            self.smooth(level, 1)
            self.restrict(level)
        for _ in range(2):
            self.smooth(LEVELS - 1, 0)
            self.smooth(LEVELS - 1, 1)
        for level in reversed(range(LEVELS - 1)):
            self.prolongate(level)
            self.smooth(level, 1)
            self.smooth(level, 0)
        self.correct()
        self.load()


class MultigridPort(Multigrid, Port):
    """The same kernels, differentiable through the cycles."""

    steps, measured = 3, ("q", "b")

    def __init__(self) -> None:
        sizes = [FINE >> level for level in range(LEVELS)]
        self.b = ds.State(ds.real, FINE, FINE, init=bump(FINE))
        self.r = [ds.Scratch(ds.real, n, n) for n in sizes]
        self.z = [ds.Scratch(ds.real, n, n) for n in sizes]
        self.q = ds.State(ds.real, FINE, FINE)
        self.omega = ds.Param(np.array(0.9))
