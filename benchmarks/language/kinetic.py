"""Conservation laws on grids: a lattice Boltzmann method, the Euler equations with shocks."""

from typing import Any

import numpy as np
import taichi as ti

import diffsim as ds
from benchmarks.language.common import Port, given

NX, NY = 12, 8
TAU = 0.6
E9 = [[0, 0], [1, 0], [0, 1], [-1, 0], [0, -1], [1, 1], [-1, 1], [-1, -1], [1, -1]]
W9 = [4 / 9, *[1 / 9] * 4, *[1 / 36] * 4]


def at_rest() -> np.ndarray:
    """Return distributions of a fluid at rest, with a bump in its density."""
    i, j = np.meshgrid(np.arange(NX), np.arange(NY), indexing="ij")
    rho = 1 + 0.1 * np.exp(-((i - 5) ** 2 + (j - 4) ** 2) / 4)
    return rho[..., None] * np.array(W9)


def cylinder() -> np.ndarray:
    """Mark the cells of an obstacle."""
    i, j = np.meshgrid(np.arange(NX), np.arange(NY), indexing="ij")
    return ((i - 3) ** 2 + (j - 4) ** 2 <= 2).astype(np.int32)


@ti.data_oriented
class LatticeBoltzmann:
    """D2Q9 about a cylinder: collide and stream, moments, boundaries by extrapolation, all in place."""

    def __init__(self) -> None:
        self.rho = given(ti.field(float, shape=(NX, NY)), at_rest().sum(-1))
        self.vel = ti.Vector.field(2, float, shape=(NX, NY))
        self.mask = given(ti.field(int, shape=(NX, NY)), cylinder())
        self.f_old = given(ti.Vector.field(9, float, shape=(NX, NY)), at_rest())
        self.f_new = ti.Vector.field(9, float, shape=(NX, NY))
        self.w = given(ti.field(float, shape=9), W9)
        self.e = given(ti.field(int, shape=(9, 2)), E9)
        self.bc_value = given(ti.field(float, shape=(4, 2)), [[0.1, 0.0], [0, 0], [0, 0], [0, 0]])

    @ti.func
    def f_eq(self, i, j):
        eu = ti.Vector([0.0] * 9)
        for k in ti.static(range(9)):
            eu[k] = E9[k][0] * self.vel[i, j][0] + E9[k][1] * self.vel[i, j][1]
        uv = self.vel[i, j].norm_sqr()
        r = ti.Vector([0.0] * 9)
        for k in ti.static(range(9)):
            r[k] = self.w[k] * self.rho[i, j] * (1 + 3 * eu[k] + 4.5 * eu[k] ** 2 - 1.5 * uv)
        return r

    @ti.kernel
    def collide_and_stream(self):
        for i, j in ti.ndrange((1, NX - 1), (1, NY - 1)):
            for k in ti.static(range(9)):
                ip = i - self.e[k, 0]
                jp = j - self.e[k, 1]
                feq = self.f_eq(ip, jp)
                self.f_new[i, j][k] = (1 - 1 / TAU) * self.f_old[ip, jp][k] + feq[k] / TAU

    @ti.kernel
    def update_macro_var(self):
        for i, j in ti.ndrange((1, NX - 1), (1, NY - 1)):
            self.rho[i, j] = 0
            self.vel[i, j] = ti.Vector([0.0, 0.0])
            for k in ti.static(range(9)):
                self.f_old[i, j][k] = self.f_new[i, j][k]
                self.rho[i, j] += self.f_new[i, j][k]
                self.vel[i, j] += ti.Vector([self.e[k, 0], self.e[k, 1]]) * self.f_new[i, j][k]
            self.vel[i, j] /= self.rho[i, j]

    @ti.func
    def apply_bc_core(self, outer: ti.template(), dr: ti.template(), ibc, jbc, inb, jnb):
        if ti.static(outer):
            if ti.static(dr < 2):
                self.vel[ibc, jbc] = ti.Vector([self.bc_value[dr, 0], self.bc_value[dr, 1]])
            else:
                self.vel[ibc, jbc] = self.vel[inb, jnb]
        self.rho[ibc, jbc] = self.rho[inb, jnb]
        self.f_old[ibc, jbc] = self.f_eq(ibc, jbc) - self.f_eq(inb, jnb) + self.f_old[inb, jnb]

    @ti.kernel
    def apply_bc(self):
        for j in range(1, NY - 1):  # left and right
            self.apply_bc_core(1, 0, 0, j, 1, j)
            self.apply_bc_core(1, 2, NX - 1, j, NX - 2, j)
        for i in range(NX):  # bottom and top
            self.apply_bc_core(1, 1, i, 0, i, 1)
            self.apply_bc_core(1, 3, i, NY - 1, i, NY - 2)
        for i, j in ti.ndrange(NX, NY):
            if self.mask[i, j] == 1:
                self.vel[i, j] = 0.0, 0.0

    def step(self, t: Any) -> None:
        self.collide_and_stream()
        self.update_macro_var()
        self.apply_bc()


class LatticeBoltzmannPort(LatticeBoltzmann, Port):
    """The same kernels, differentiable."""

    measured = ("rho", "vel")

    def __init__(self) -> None:
        self.rho = ds.State(ds.real, NX, NY, init=at_rest().sum(-1))
        self.vel = ds.State(ds.vec2, NX, NY)
        self.mask = ds.Constant(cylinder())
        self.f_old = ds.State(ds.vec(9), NX, NY, init=at_rest())
        self.f_new = ds.Scratch(ds.vec(9), NX, NY)
        self.w, self.e = ds.Constant(np.array(W9)), ds.Constant(np.array(E9))
        self.bc_value = ds.Param(np.array([[0.1, 0.0], [0, 0], [0, 0], [0, 0]]))


# ---- the Euler equations ----

M, GAMMA, CFL = 12, 1.4, 0.3


def explosion() -> np.ndarray:
    """Return density, momenta and energy of a gas with a hot square beside the middle."""
    i, j = np.meshgrid(np.arange(M), np.arange(M), indexing="ij")
    rho = np.where((i > 3) & (i < 7) & (j > 4) & (j < 8), 1.0, 0.3) + 0.02 * np.sin(i + 2 * j)
    zero = np.zeros_like(rho)
    return np.stack([rho, 0.1 * rho, zero, rho**1.4 / (GAMMA - 1) + 0.005 * rho], axis=-1)


@ti.data_oriented
class Euler:
    """A finite volume method: fluxes of Rusanov, a time step from an atomic maximum, Q in place."""

    def __init__(self) -> None:
        self.Q = given(ti.Vector.field(4, float, shape=(M, M)), explosion())
        self.F_x = ti.Vector.field(4, float, shape=(M, M))
        self.F_y = ti.Vector.field(4, float, shape=(M, M))
        self.fastest = ti.field(float, shape=())
        self.friction = given(ti.field(float, ()), 0.05)

    @ti.func
    def q_to_w(self, q):
        u, v = q[1] / q[0], q[2] / q[0]
        return ti.Vector([q[0], u, v, (GAMMA - 1) * (q[3] - 0.5 * q[0] * (u * u + v * v))])

    @ti.func
    def flux(self, q, axis: ti.template()):
        w = self.q_to_w(q)
        vn = w[1 + axis]
        f = q * vn
        f[1 + axis] += w[3]
        f[3] += w[3] * vn
        return f

    @ti.func
    def speed(self, q, axis: ti.template()):
        w = self.q_to_w(q)
        return ti.abs(w[1 + axis]) + ti.sqrt(GAMMA * w[3] / w[0])

    @ti.kernel
    def boundary(self):
        for i, j in self.Q:
            if i == 0 and 0 < j < M - 1:
                self.Q[i, j] = self.Q[i + 1, j]
            if i == M - 1 and 0 < j < M - 1:
                self.Q[i, j] = self.Q[i - 1, j]
            if j == 0 and 0 < i < M - 1:
                self.Q[i, j] = self.Q[i, j + 1]
                self.Q[i, j][2] = -self.Q[i, j + 1][2]
            if j == M - 1 and 0 < i < M - 1:
                self.Q[i, j] = self.Q[i, j - 1]
                self.Q[i, j][2] = -self.Q[i, j - 1][2]

    @ti.kernel
    def time_step(self):
        self.fastest[None] = 1e-5
        for i, j in self.Q:
            ti.atomic_max(self.fastest[None], self.speed(self.Q[i, j], 0))
            ti.atomic_max(self.fastest[None], self.speed(self.Q[i, j], 1))

    @ti.kernel
    def fluxes(self):
        for i, j in self.Q:
            if i > 0:
                a, b = self.Q[i - 1, j], self.Q[i, j]
                s = ti.max(self.speed(a, 0), self.speed(b, 0))
                self.F_x[i, j] = 0.5 * (self.flux(a, 0) + self.flux(b, 0)) - 0.5 * s * (b - a)
            if j > 0:
                a, b = self.Q[i, j - 1], self.Q[i, j]
                s = ti.max(self.speed(a, 1), self.speed(b, 1))
                self.F_y[i, j] = 0.5 * (self.flux(a, 1) + self.flux(b, 1)) - 0.5 * s * (b - a)

    @ti.kernel
    def advance(self):
        for i, j in self.Q:
            if 0 < i < M - 1 and 0 < j < M - 1:
                r = CFL / self.fastest[None]
                self.Q[i, j] += r * (
                    self.F_x[i, j] - self.F_x[i + 1, j] + self.F_y[i, j] - self.F_y[i, j + 1]
                )
                for k in ti.static(range(1, 3)):
                    self.Q[i, j][k] *= 1 - self.friction[None] * r
                if self.Q[i, j][0] < 1e-3:
                    self.Q[i, j][0] = 1e-3

    def step(self, t: Any) -> None:
        self.boundary()
        self.time_step()
        self.fluxes()
        self.advance()


class EulerPort(Euler, Port):
    """The same kernels, differentiable."""

    measured = ("Q",)

    def __init__(self) -> None:
        self.Q = ds.State(ds.vec(4), M, M, init=explosion())
        self.F_x, self.F_y = ds.Scratch(ds.vec(4), M, M), ds.Scratch(ds.vec(4), M, M)
        self.fastest = ds.Scratch(ds.real)
        self.friction = ds.Param(np.array(0.05))
