"""Particles that carry what a grid needs, and cloth: two streams of electrons, APIC, a cloth of springs."""

from typing import Any

import numpy as np
import taichi as ti

import diffsim as ds
from benchmarks.language.common import Port, block, given

# ---- the two-stream instability: particles in cells, in one dimension ----

ELECTRONS, CELLS = 24, 12
LENGTH = float(CELLS)
DT = 0.1


def streams() -> tuple[np.ndarray, np.ndarray]:
    """Return places and velocities of two beams."""
    x = np.linspace(0, LENGTH, ELECTRONS, endpoint=False)
    return x + 0.2 * np.sin(x), np.where(np.arange(ELECTRONS) % 2, 1.0, -1.0) + 0.05 * np.cos(x)


@ti.data_oriented
class TwoStream:
    """Charge by linear weights, the field from running sums in a serial loop, a push in place, a period."""

    def __init__(self) -> None:
        self.x = given(ti.field(float, ELECTRONS), streams()[0])
        self.v = given(ti.field(float, ELECTRONS), streams()[1])
        self.rho = ti.field(float, CELLS)
        self.E = ti.field(float, CELLS)
        self.mean = ti.field(float, ())
        self.qm = given(ti.field(float, ()), -1.0)

    @ti.kernel
    def deposit(self):
        self.rho.fill(-ELECTRONS / CELLS)
        for p in self.x:
            cell = ti.floor(self.x[p], int)
            f = self.x[p] - cell
            self.rho[cell % CELLS] += 1 - f
            self.rho[(cell + 1) % CELLS] += f

    @ti.kernel
    def solve(self):
        self.E[0] = 0.0
        for _ in range(1):
            for i in range(1, CELLS):
                self.E[i] = self.E[i - 1] - 0.1 * self.rho[i - 1]
        self.mean[None] = 0.0
        for i in self.E:
            self.mean[None] += self.E[i] / CELLS
        for i in self.E:
            self.E[i] -= self.mean[None]

    @ti.kernel
    def push(self):
        for p in self.x:
            cell = ti.floor(self.x[p], int)
            f = self.x[p] - cell
            field = (1 - f) * self.E[cell % CELLS] + f * self.E[(cell + 1) % CELLS]
            self.v[p] += DT * self.qm[None] * field
            self.x[p] += DT * self.v[p]
            if self.x[p] >= LENGTH:
                self.x[p] -= LENGTH
            if self.x[p] < 0:
                self.x[p] += LENGTH

    def step(self, t: Any) -> None:
        self.deposit()
        self.solve()
        self.push()


class TwoStreamPort(TwoStream, Port):
    """The same kernels, differentiable."""

    steps, measured = 6, ("x", "v")

    def __init__(self) -> None:
        self.x = ds.State(ds.real, ELECTRONS, init=streams()[0])
        self.v = ds.State(ds.real, ELECTRONS, init=streams()[1])
        self.rho, self.E = ds.Scratch(ds.real, CELLS), ds.Scratch(ds.real, CELLS)
        self.mean = ds.Scratch(ds.real)
        self.qm = ds.Param(np.array(-1.0))


# ---- APIC in two dimensions: a staggered grid, cell types, a pressure that is solved in place ----

P, G = 30, 8


@ti.data_oriented
class Apic:
    """Particles to faces, gravity, walls, cells marked as liquid, Gauss-Seidel for the pressure, and back."""

    def __init__(self) -> None:
        self.pos = given(ti.Vector.field(2, float, P), G * block(P, 2, 0.25, 0.6))
        self.vel = given(ti.Vector.field(2, float, P), block(P, 2, -1, 1, seed=4))
        self.cx, self.cy = ti.Vector.field(2, float, P), ti.Vector.field(2, float, P)
        self.u, self.v = ti.field(float, (G + 1, G)), ti.field(float, (G, G + 1))
        self.u_weight, self.v_weight = ti.field(float, (G + 1, G)), ti.field(float, (G, G + 1))
        self.liquid = ti.field(int, (G, G))
        self.pressure, self.div = ti.field(float, (G, G)), ti.field(float, (G, G))
        self.gravity = given(ti.field(float, ()), -9.8)

    @ti.kernel
    def clear(self):
        self.u.fill(0.0)
        self.v.fill(0.0)
        self.u_weight.fill(0.0)
        self.v_weight.fill(0.0)
        self.liquid.fill(0)
        self.pressure.fill(0.0)

    @ti.func
    def scatter(self, f: ti.template(), w: ti.template(), at, value, c):
        base = ti.floor(at, int)
        for i, j in ti.static(ti.ndrange(2, 2)):
            node = base + ti.Vector([i, j])
            d = node - at
            weight = (1 - ti.abs(d[0])) * (1 - ti.abs(d[1]))
            f[node] += weight * (value + c.dot(d))
            w[node] += weight

    @ti.func
    def gather(self, f: ti.template(), at):
        base = ti.floor(at, int)
        value = 0.0
        slope = ti.Vector([0.0, 0.0])
        for i, j in ti.static(ti.ndrange(2, 2)):
            node = base + ti.Vector([i, j])
            d = node - at
            wx, wy = 1 - ti.abs(d[0]), 1 - ti.abs(d[1])
            value += wx * wy * f[node]
            slope += ti.Vector([(2 * i - 1) * wy, (2 * j - 1) * wx]) * f[node]
        return value, slope

    @ti.kernel
    def to_grid(self):
        for p in self.pos:
            self.scatter(
                self.u, self.u_weight, self.pos[p] - ti.Vector([0.0, 0.5]), self.vel[p][0], self.cx[p]
            )
            self.scatter(
                self.v, self.v_weight, self.pos[p] - ti.Vector([0.5, 0.0]), self.vel[p][1], self.cy[p]
            )
            self.liquid[int(self.pos[p])] = 1

    @ti.kernel
    def on_grid(self):
        for i, j in self.u:
            if self.u_weight[i, j] > 0:
                self.u[i, j] /= self.u_weight[i, j]
            if i == 0 or i == G:
                self.u[i, j] = 0
        for i, j in self.v:
            if self.v_weight[i, j] > 0:
                self.v[i, j] = self.v[i, j] / self.v_weight[i, j] + 0.02 * self.gravity[None]
            if j == 0 or j == G:
                self.v[i, j] = 0

    @ti.kernel
    def divergence(self):
        for i, j in self.div:
            self.div[i, j] = self.u[i + 1, j] - self.u[i, j] + self.v[i, j + 1] - self.v[i, j]

    @ti.kernel
    def relax(self):
        ti.loop_config(serialize=True)
        for i in range(1, G - 1):
            for j in range(1, G - 1):
                if self.liquid[i, j] == 1:
                    total = (
                        self.pressure[i - 1, j]
                        + self.pressure[i + 1, j]
                        + self.pressure[i, j - 1]
                        + self.pressure[i, j + 1]
                    )
                    self.pressure[i, j] = (total - self.div[i, j]) / 4

    @ti.kernel
    def project(self):
        for i, j in self.u:
            if 0 < i < G:
                self.u[i, j] -= self.pressure[i, j] - self.pressure[i - 1, j]
        for i, j in self.v:
            if 0 < j < G:
                self.v[i, j] -= self.pressure[i, j] - self.pressure[i, j - 1]

    @ti.kernel
    def to_particles(self):
        for p in self.pos:
            new_u, slope_u = self.gather(self.u, self.pos[p] - ti.Vector([0.0, 0.5]))
            new_v, slope_v = self.gather(self.v, self.pos[p] - ti.Vector([0.5, 0.0]))
            self.vel[p] = ti.Vector([new_u, new_v])
            self.cx[p], self.cy[p] = slope_u, slope_v
            self.pos[p] += 0.02 * self.vel[p]
            for k in ti.static(range(2)):
                self.pos[p][k] = ti.min(ti.max(self.pos[p][k], 1.01), G - 1.01)

    def step(self, t: Any) -> None:
        self.clear()
        self.to_grid()
        self.on_grid()
        self.divergence()
        for _ in range(3):
            self.relax()
        self.project()
        self.to_particles()


class ApicPort(Apic, Port):
    """The same kernels, differentiable."""

    measured = ("pos", "vel")

    def __init__(self) -> None:
        self.pos = ds.State(ds.vec2, P, init=G * block(P, 2, 0.25, 0.6))
        self.vel = ds.State(ds.vec2, P, init=block(P, 2, -1, 1, seed=4))
        self.cx, self.cy = ds.State(ds.vec2, P), ds.State(ds.vec2, P)
        self.u, self.v = ds.Scratch(ds.real, G + 1, G), ds.Scratch(ds.real, G, G + 1)
        self.u_weight, self.v_weight = ds.Scratch(ds.real, G + 1, G), ds.Scratch(ds.real, G, G + 1)
        self.liquid = ds.Scratch(ti.i32, G, G)
        self.pressure, self.div = ds.Scratch(ds.real, G, G), ds.Scratch(ds.real, G, G)
        self.gravity = ds.Param(np.array(-9.8))


# ---- cloth: springs to twelve neighbours, a ball ----

SIDE = 5


def sheet() -> np.ndarray:
    """Return a level sheet of points over a ball, slightly waved."""
    i, j = np.meshgrid(np.arange(SIDE), np.arange(SIDE), indexing="ij")
    return np.stack([i * 0.2 - 0.4, 0.55 + 0.03 * np.sin(i + 2.0 * j), j * 0.2 - 0.4], axis=-1)


OFFSETS = [(i, j) for i in range(-1, 2) for j in range(-1, 2) if (i, j) != (0, 0)]


@ti.data_oriented
class Cloth:
    """Springs by a static list of offsets, drag by an exponential, a ball that stops what enters it."""

    def __init__(self) -> None:
        self.x = given(ti.Vector.field(3, float, (SIDE, SIDE)), sheet())
        self.v = ti.Vector.field(3, float, (SIDE, SIDE))
        self.force = ti.Vector.field(3, float, (SIDE, SIDE))
        self.ball_center = given(ti.Vector.field(3, float, shape=(1,)), [[0.05, 0.0, 0.02]])
        self.spring_Y = given(ti.field(float, ()), 300.0)

    @ti.kernel
    def substep(self):
        for i in ti.grouped(self.x):
            self.v[i] += ti.Vector([0, -9.8, 0]) * 5e-3
        for i in ti.grouped(self.x):
            force = ti.Vector([0.0, 0.0, 0.0])
            for spring_offset in ti.static(OFFSETS):
                j = i + ti.Vector(spring_offset)
                if 0 <= j[0] < SIDE and 0 <= j[1] < SIDE:
                    x_ij = self.x[i] - self.x[j]
                    v_ij = self.v[i] - self.v[j]
                    d = x_ij.normalized()
                    current_dist = x_ij.norm()
                    original_dist = 0.2 * float(i - j).norm()
                    force += -self.spring_Y[None] * d * (current_dist / original_dist - 1)
                    force += -v_ij.dot(d) * d * 3.0 * 0.2
            self.force[i] = force
        for i in ti.grouped(self.x):
            self.v[i] += self.force[i] * 5e-3
            self.v[i] *= ti.exp(-1.0 * 5e-3)
            offset_to_center = self.x[i] - self.ball_center[0]
            if offset_to_center.norm() <= 0.56:
                normal = offset_to_center.normalized()
                self.v[i] -= ti.min(self.v[i].dot(normal), 0) * normal
            self.x[i] += 5e-3 * self.v[i]

    def step(self, t: Any) -> None:
        for _ in range(3):
            self.substep()


class ClothPort(Cloth, Port):
    """The same kernel, differentiable."""

    measured = ("x", "v")

    def __init__(self) -> None:
        self.x = ds.State(ds.vec3, SIDE, SIDE, init=sheet())
        self.v, self.force = ds.State(ds.vec3, SIDE, SIDE), ds.Scratch(ds.vec3, SIDE, SIDE)
        self.ball_center = ds.Param(ds.vec3, 1, init=[[0.05, 0.0, 0.02]])
        self.spring_Y = ds.Param(np.array(300.0))
