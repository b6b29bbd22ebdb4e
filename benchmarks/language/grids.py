"""Fluids on grids: stable fluids, smoke with ping-pong pairs, a lattice Boltzmann method, Euler equations."""

from typing import Any

import numpy as np
import taichi as ti

import diffsim as ds
from benchmarks.language.common import Port, given

RES, DT = 10, 0.03


def swirl(n: int) -> np.ndarray:
    """Return a velocity that turns around the middle of a grid, with some waves."""
    i, j = np.meshgrid(np.arange(n), np.arange(n), indexing="ij")
    r = np.stack([j - n / 2, n / 2 - i], axis=-1) * 0.3
    return r + np.stack([np.sin(1.3 * j), np.cos(0.9 * i)], axis=-1)


def blob(n: int) -> np.ndarray:
    """Return a bump beside the middle of a grid."""
    i, j = np.meshgrid(np.arange(n), np.arange(n), indexing="ij")
    return np.exp(-((i - n / 2.2) ** 2 + (j - n / 3) ** 2) / n)


# ---- stable fluids: pairs of fields that change places ----


class TexPair:
    """Two fields, one to read and one to write."""

    def __init__(self, cur, nxt):
        self.cur, self.nxt = cur, nxt

    def swap(self):
        self.cur, self.nxt = self.nxt, self.cur


@ti.data_oriented
class StableFluids:
    """Advection back along the flow, a Jacobi pressure solver with ping-pong, a projection in place."""

    def __init__(self) -> None:
        def vectors():
            return ti.Vector.field(2, float, shape=(RES, RES))

        def numbers():
            return ti.field(float, shape=(RES, RES))

        self.velocity = given(vectors(), swirl(RES))
        self.dye = given(numbers(), blob(RES))
        self.new_velocity, self.new_dye = vectors(), numbers()
        self.divs, self.pressure, self.new_pressure = numbers(), numbers(), numbers()
        self.force = given(ti.Vector.field(2, float, shape=()), [0.5, 0.2])

    @ti.func
    def sample(self, qf, u, v):
        I = ti.Vector([int(u), int(v)])
        I = ti.max(0, ti.min(RES - 1, I))
        return qf[I]

    @ti.func
    def lerp(self, vl, vr, frac):
        return vl + frac * (vr - vl)

    @ti.func
    def bilerp(self, vf, p):
        u, v = p
        s, t = u - 0.5, v - 0.5
        iu, iv = ti.floor(s), ti.floor(t)
        fu, fv = s - iu, t - iv
        a = self.sample(vf, iu, iv)
        b = self.sample(vf, iu + 1, iv)
        c = self.sample(vf, iu, iv + 1)
        d = self.sample(vf, iu + 1, iv + 1)
        return self.lerp(self.lerp(a, b, fu), self.lerp(c, d, fu), fv)

    @ti.func
    def backtrace(self, vf, p, dt):
        v1 = self.bilerp(vf, p)
        p1 = p - 0.5 * dt * v1
        v2 = self.bilerp(vf, p1)
        return p - dt * v2

    @ti.kernel
    def advect(self, vf: ti.template(), qf: ti.template(), new_qf: ti.template()):
        for i, j in vf:
            p = ti.Vector([i, j]) + 0.5
            p = self.backtrace(vf, p, DT)
            new_qf[i, j] = self.bilerp(qf, p) * 0.999

    @ti.kernel
    def impulse(self, vf: ti.template(), dyef: ti.template()):
        for i, j in vf:
            dx, dy = (i + 0.5 - 4), (j + 0.5 - 3)
            factor = ti.exp(-(dx * dx + dy * dy) / 4)
            vf[i, j] += self.force[None] * factor * DT
            dyef[i, j] += 0.1 * factor

    @ti.kernel
    def divergence(self, vf: ti.template()):
        for i, j in vf:
            vl = self.sample(vf, i - 1, j)
            vr = self.sample(vf, i + 1, j)
            vb = self.sample(vf, i, j - 1)
            vt = self.sample(vf, i, j + 1)
            vc = self.sample(vf, i, j)
            if i == 0:
                vl.x = -vc.x
            if i == RES - 1:
                vr.x = -vc.x
            if j == 0:
                vb.y = -vc.y
            if j == RES - 1:
                vt.y = -vc.y
            self.divs[i, j] = (vr.x - vl.x + vt.y - vb.y) * 0.5

    @ti.kernel
    def jacobi(self, pf: ti.template(), new_pf: ti.template()):
        for i, j in pf:
            pl = self.sample(pf, i - 1, j)
            pr = self.sample(pf, i + 1, j)
            pb = self.sample(pf, i, j - 1)
            pt = self.sample(pf, i, j + 1)
            new_pf[i, j] = (pl + pr + pb + pt - self.divs[i, j]) * 0.25

    @ti.kernel
    def subtract_gradient(self, vf: ti.template(), pf: ti.template()):
        for i, j in vf:
            pl = self.sample(pf, i - 1, j)
            pr = self.sample(pf, i + 1, j)
            pb = self.sample(pf, i, j - 1)
            pt = self.sample(pf, i, j + 1)
            vf[i, j] -= 0.5 * ti.Vector([pr - pl, pt - pb])

    @ti.kernel
    def copy(self, source: ti.template(), target: ti.template()):
        for I in ti.grouped(source):
            target[I] = source[I]

    def step(self, t: Any) -> None:
        self.advect(self.velocity, self.velocity, self.new_velocity)
        self.advect(self.velocity, self.dye, self.new_dye)
        self.copy(self.new_velocity, self.velocity)
        self.copy(self.new_dye, self.dye)
        self.impulse(self.velocity, self.dye)
        self.divergence(self.velocity)
        pressures = TexPair(self.pressure, self.new_pressure)
        for _ in range(6):
            self.jacobi(pressures.cur, pressures.nxt)
            pressures.swap()
        self.subtract_gradient(self.velocity, pressures.cur)


class StableFluidsPort(StableFluids, Port):
    """The same kernels, differentiable; the pressure begins each step where the last one left it."""

    measured = ("velocity", "dye")

    def __init__(self) -> None:
        self.velocity = ds.State(ds.vec2, RES, RES, init=swirl(RES))
        self.dye = ds.State(ds.real, RES, RES, init=blob(RES))
        self.new_velocity = ds.Scratch(ds.vec2, RES, RES)
        self.new_dye = ds.Scratch(ds.real, RES, RES)
        self.divs = ds.Scratch(ds.real, RES, RES)
        self.pressure = ds.State(ds.real, RES, RES)
        self.new_pressure = ds.Scratch(ds.real, RES, RES)
        self.force = ds.Param(ds.vec2, init=[0.5, 0.2])


# ---- smoke: buoyancy, vorticity confinement, a wrapped grid, Gauss-Seidel in red and black ----


@ti.data_oriented
class Smoke:
    """Smoke that rises by its heat; the pressure is relaxed in place, red cells, then black ones."""

    def __init__(self) -> None:
        self.u = given(ti.field(float, (RES, RES)), 0.2 * swirl(RES)[..., 0])
        self.v = given(ti.field(float, (RES, RES)), 0.2 * swirl(RES)[..., 1])
        self.smoke = given(ti.field(float, (RES, RES)), blob(RES))
        self.p = ti.field(float, (RES, RES))
        self.div = ti.field(float, (RES, RES))
        self.u_new = ti.field(float, (RES, RES))
        self.v_new = ti.field(float, (RES, RES))
        self.smoke_new = ti.field(float, (RES, RES))
        self.curl = ti.field(float, (RES, RES))
        self.buoyancy = given(ti.field(float, ()), 2.0)

    @ti.func
    def wrapped(self, f: ti.template(), x, y):
        x0, y0 = ti.floor(x, int), ti.floor(y, int)
        a, b = x - x0, y - y0
        i0, j0 = x0 % RES, y0 % RES
        i1, j1 = (x0 + 1) % RES, (y0 + 1) % RES
        low = (1 - a) * f[i0, j0] + a * f[i1, j0]
        return (1 - b) * low + b * ((1 - a) * f[i0, j1] + a * f[i1, j1])

    @ti.kernel
    def forces(self):
        for i, j in self.v:
            self.v[i, j] += DT * self.buoyancy[None] * self.smoke[i, j]

    @ti.kernel
    def confine(self):
        for i, j in self.curl:
            self.curl[i, j] = 0.5 * (
                self.v[(i + 1) % RES, j]
                - self.v[(i - 1) % RES, j]
                - self.u[i, (j + 1) % RES]
                + self.u[i, (j - 1) % RES]
            )
        for i, j in self.curl:
            gx = ti.abs(self.curl[(i + 1) % RES, j]) - ti.abs(self.curl[(i - 1) % RES, j])
            gy = ti.abs(self.curl[i, (j + 1) % RES]) - ti.abs(self.curl[i, (j - 1) % RES])
            size = ti.sqrt(gx * gx + gy * gy) + 1e-3
            self.u[i, j] += DT * 0.5 * gy / size * self.curl[i, j]
            self.v[i, j] -= DT * 0.5 * gx / size * self.curl[i, j]

    @ti.kernel
    def advect(self):
        for i, j in self.u:
            x, y = i - DT * 8 * self.u[i, j], j - DT * 8 * self.v[i, j]
            self.u_new[i, j] = self.wrapped(self.u, x, y)
            self.v_new[i, j] = self.wrapped(self.v, x, y)
            self.smoke_new[i, j] = self.wrapped(self.smoke, x, y)

    @ti.kernel
    def update(self):
        for i, j in self.u:
            self.u[i, j] = self.u_new[i, j]
            self.v[i, j] = self.v_new[i, j]
            self.smoke[i, j] = self.smoke_new[i, j]

    @ti.kernel
    def divergence(self):
        for i, j in self.div:
            self.div[i, j] = 0.5 * (
                self.u[(i + 1) % RES, j]
                - self.u[(i - 1) % RES, j]
                + self.v[i, (j + 1) % RES]
                - self.v[i, (j - 1) % RES]
            )

    @ti.kernel
    def relax(self, colour: ti.template()):
        for i, j in self.p:
            if (i + j) % 2 == colour:
                self.p[i, j] = 0.25 * (
                    self.p[(i + 1) % RES, j]
                    + self.p[(i - 1) % RES, j]
                    + self.p[i, (j + 1) % RES]
                    + self.p[i, (j - 1) % RES]
                    - self.div[i, j]
                )

    @ti.kernel
    def project(self):
        for i, j in self.u:
            self.u[i, j] -= 0.5 * (self.p[(i + 1) % RES, j] - self.p[(i - 1) % RES, j])
            self.v[i, j] -= 0.5 * (self.p[i, (j + 1) % RES] - self.p[i, (j - 1) % RES])

    def step(self, t: Any) -> None:
        self.forces()
        self.confine()
        self.advect()
        self.update()
        self.divergence()
        for _ in range(4):
            self.relax(0)
            self.relax(1)
        self.project()


class SmokePort(Smoke, Port):
    """The same kernels, differentiable."""

    measured = ("u", "v", "smoke")

    def __init__(self) -> None:
        self.u = ds.State(ds.real, RES, RES, init=0.2 * swirl(RES)[..., 0])
        self.v = ds.State(ds.real, RES, RES, init=0.2 * swirl(RES)[..., 1])
        self.smoke = ds.State(ds.real, RES, RES, init=blob(RES))
        self.p = ds.State(ds.real, RES, RES)
        self.div, self.curl = ds.Scratch(ds.real, RES, RES), ds.Scratch(ds.real, RES, RES)
        self.u_new, self.v_new = ds.Scratch(ds.real, RES, RES), ds.Scratch(ds.real, RES, RES)
        self.smoke_new = ds.Scratch(ds.real, RES, RES)
        self.buoyancy = ds.Param(np.array(2.0))
