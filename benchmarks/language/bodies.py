"""Bodies: planets, comets, vortices, chains, rigid boxes with contacts."""

from typing import Any

import numpy as np
import taichi as ti

import diffsim as ds
from benchmarks.language.common import Port, block, given

# ---- n bodies ----

STARS, DT = 8, 0.01


@ti.data_oriented
class NBody:
    """Gravity between all pairs, softened; forces zeroed, summed, and a step in place."""

    def __init__(self) -> None:
        self.pos = given(ti.Vector.field(3, float, STARS), block(STARS, 3, -1, 1))
        self.vel = given(ti.Vector.field(3, float, STARS), block(STARS, 3, -0.5, 0.5, seed=1))
        self.force = ti.Vector.field(3, float, STARS)
        self.mass = given(ti.field(float, STARS), np.linspace(1, 2, STARS))
        self.G = given(ti.field(float, ()), 0.5)

    @ti.kernel
    def compute_force(self):
        for i in self.pos:
            self.force[i] = ti.Vector([0.0, 0.0, 0.0])
        for i in range(STARS):
            p = self.pos[i]
            for j in range(i):
                diff = p - self.pos[j]
                r = diff.norm(1e-2)
                f = -self.G[None] * self.mass[i] * self.mass[j] * (1.0 / r) ** 3 * diff
                self.force[i] += f
                self.force[j] += -f

    @ti.kernel
    def update(self):
        dt = DT / 1.0
        for i in self.pos:
            self.vel[i] += dt * self.force[i] / self.mass[i]
            self.pos[i] += dt * self.vel[i]

    def step(self, t: Any) -> None:
        self.compute_force()
        self.update()


class NBodyPort(NBody, Port):
    """The same kernels, differentiable."""

    steps, measured = 6, ("pos", "vel")

    def __init__(self) -> None:
        self.pos = ds.State(ds.vec3, STARS, init=block(STARS, 3, -1, 1))
        self.vel = ds.State(ds.vec3, STARS, init=block(STARS, 3, -0.5, 0.5, seed=1))
        self.force = ds.Scratch(ds.vec3, STARS)
        self.mass, self.G = ds.Param(np.linspace(1, 2, STARS)), ds.Param(np.array(0.5))


# ---- comets: dust that a sun blows away, born and removed in a list ----

DUST = 20


@ti.data_oriented
class Comets:
    """Particles with tails: a pool with a count, born from the comet, dropped when far away."""

    def __init__(self) -> None:
        self.x = given(ti.Vector.field(2, float, DUST), self.start())
        self.v = given(ti.Vector.field(2, float, DUST), block(DUST, 2, -0.2, 0.2, seed=3))
        self.count = given(ti.field(int, ()), 10)
        self.comet = given(ti.Vector.field(2, float, ()), [0.8, 0.3])
        self.comet_v = given(ti.Vector.field(2, float, ()), [-0.3, 0.6])
        self.wind = given(ti.field(float, ()), 0.3)

    def start(self) -> np.ndarray:
        x = block(DUST, 2, 0.2, 0.9)
        x[10:] = 0
        return x

    @ti.kernel
    def fly(self):
        r = self.comet[None].norm()
        self.comet_v[None] += -0.02 * self.comet[None] / r**3
        self.comet[None] += 0.02 * self.comet_v[None]

    @ti.kernel
    def born(self):
        for k in range(2):
            slot = ti.atomic_add(self.count[None], 1)
            if slot < DUST:
                self.x[slot] = self.comet[None] + 0.01 * k
                self.v[slot] = 0.5 * self.comet_v[None]

    @ti.kernel
    def blow(self):
        self.count[None] = ti.min(self.count[None], DUST)
        for i in range(self.count[None]):
            r = self.x[i].norm(1e-3)
            self.v[i] += 0.02 * (self.wind[None] - 0.1) * self.x[i] / r**3
            self.x[i] += 0.02 * self.v[i]

    @ti.kernel
    def drop(self):
        ti.loop_config(serialize=True)
        for i in range(DUST):
            if i < self.count[None] and self.x[i].norm() > 1.12:
                self.count[None] -= 1
                self.x[i] = self.x[self.count[None]]
                self.v[i] = self.v[self.count[None]]

    def step(self, t: Any) -> None:
        self.fly()
        self.born()
        self.blow()
        self.drop()


class CometsPort(Comets, Port):
    """The same kernels, differentiable."""

    steps, measured = 5, ("x", "v")

    def __init__(self) -> None:
        self.x = ds.State(ds.vec2, DUST, init=self.start())
        self.v = ds.State(ds.vec2, DUST, init=block(DUST, 2, -0.2, 0.2, seed=3))
        self.count = ds.State(ti.i32, init=10)
        self.comet = ds.State(ds.vec2, init=[0.8, 0.3])
        self.comet_v = ds.State(ds.vec2, init=[-0.3, 0.6])
        self.wind = ds.Param(np.array(0.3))


# ---- vortex rings: point vortices that carry tracers ----

TRACERS = 12


@ti.data_oriented
class VortexRings:
    """Four vortices by Runge and Kutta's third order, tracers advected behind them, both in place."""

    def __init__(self) -> None:
        self.vortex = given(ti.Vector.field(2, float, 4), [[0, 1], [0, -1], [0, 0.3], [0, -0.3]])
        self.new_vortex = ti.Vector.field(2, float, 4)
        self.vorticity = given(ti.field(float, 4), [1, -1, 1, -1])
        self.tracer = given(ti.Vector.field(2, float, TRACERS), block(TRACERS, 2, -1.5, 1.5))
        self.eps = 0.01

    @ti.func
    def single(self, p, i):
        r2 = (p - self.vortex[i]).norm_sqr()
        uv = ti.Vector([self.vortex[i].y - p.y, p.x - self.vortex[i].x])
        return uv * self.vorticity[i] / (r2 * 3.1415926) * 0.5 * (1.0 - ti.exp(-r2 / self.eps**2))

    @ti.func
    def velocity(self, p):
        v = ti.Vector([0.0, 0.0])
        for i in range(4):
            v += self.single(p, i)
        return v

    @ti.kernel
    def advect(self):
        for i in self.tracer:
            p = self.tracer[i]
            v1 = self.velocity(p)
            v2 = self.velocity(p + v1 * 0.1 * 0.5)
            v3 = self.velocity(p + v2 * 0.1 * 0.75)
            self.tracer[i] += (2 / 9 * v1 + 1 / 3 * v2 + 4 / 9 * v3) * 0.1

    @ti.kernel
    def integrate(self):
        for i in range(4):
            v = ti.Vector([0.0, 0.0])
            for j in range(4):
                if i != j:
                    v += self.single(self.vortex[i], j)
            self.new_vortex[i] = self.vortex[i] + 0.1 * v
        for i in range(4):
            self.vortex[i] = self.new_vortex[i]

    def step(self, t: Any) -> None:
        self.advect()
        self.integrate()


class VortexRingsPort(VortexRings, Port):
    """The same kernels, differentiable."""

    measured = ("tracer", "vortex")

    def __init__(self) -> None:
        self.vortex = ds.State(ds.vec2, 4, init=[[0, 1], [0, -1], [0, 0.3], [0, -0.3]])
        self.new_vortex = ds.Scratch(ds.vec2, 4)
        self.vorticity = ds.Param(np.array([1.0, -1.0, 1.0, -1.0]))
        self.tracer = ds.State(ds.vec2, TRACERS, init=block(TRACERS, 2, -1.5, 1.5))
        self.eps = 0.01


# ---- a chain of links: recurrences over a tree ----

LINKS = 5
PARENT = [-1, 0, 1, 1, 3]


@ti.data_oriented
class Chain:
    """Featherstone's articulated bodies in the plane: out along the tree, back along it, out again."""

    def __init__(self) -> None:
        self.angle = given(ti.field(float, LINKS), np.linspace(0.3, 1.0, LINKS))
        self.rate = ti.field(float, LINKS)
        self.parent = given(ti.field(int, LINKS), PARENT)
        self.turn = ti.field(float, LINKS)
        self.tip = ti.Vector.field(2, float, LINKS)
        self.load = ti.Vector.field(2, float, LINKS)
        self.torque = ti.field(float, LINKS)
        self.inertia = ti.field(float, LINKS)
        self.mass = given(ti.field(float, LINKS), np.linspace(1, 0.5, LINKS))

    @ti.kernel
    def outward(self):
        ti.loop_config(serialize=True)
        for i in range(LINKS):
            self.turn[i] = self.angle[i]
            self.tip[i] = ti.Vector([0.0, 0.0])
            if self.parent[i] >= 0:
                self.turn[i] += self.turn[self.parent[i]]
                self.tip[i] = self.tip[self.parent[i]]
            self.tip[i] += ti.Vector([ti.sin(self.turn[i]), -ti.cos(self.turn[i])])

    @ti.kernel
    def inward(self):
        for i in range(LINKS):
            self.load[i] = ti.Vector([0.0, -9.8 * self.mass[i]])
            self.inertia[i] = self.mass[i]
            self.torque[i] = 0.0
        ti.loop_config(serialize=True)
        for k in range(LINKS):
            i = LINKS - 1 - k
            arm = ti.Vector([ti.sin(self.turn[i]), -ti.cos(self.turn[i])])
            self.torque[i] += arm[0] * self.load[i][1] - arm[1] * self.load[i][0]
            if self.parent[i] >= 0:
                self.load[self.parent[i]] += self.load[i]
                self.torque[self.parent[i]] += self.torque[i]
                self.inertia[self.parent[i]] += self.inertia[i]

    @ti.kernel
    def integrate(self):
        for i in self.rate:
            self.rate[i] += 0.01 * self.torque[i] / self.inertia[i]
            self.rate[i] *= 0.999
            self.angle[i] += 0.01 * self.rate[i]

    def step(self, t: Any) -> None:
        self.outward()
        self.inward()
        self.integrate()


class ChainPort(Chain, Port):
    """The same kernels, differentiable."""

    steps, measured = 8, ("angle", "rate")

    def __init__(self) -> None:
        self.angle = ds.State(ds.real, LINKS, init=np.linspace(0.3, 1.0, LINKS))
        self.rate = ds.State(ds.real, LINKS)
        self.parent = ds.Constant(np.array(PARENT))
        self.turn, self.torque = ds.Scratch(ds.real, LINKS), ds.Scratch(ds.real, LINKS)
        self.tip, self.load = ds.Scratch(ds.vec2, LINKS), ds.Scratch(ds.vec2, LINKS)
        self.inertia = ds.Scratch(ds.real, LINKS)
        self.mass = ds.Param(np.linspace(1, 0.5, LINKS))


# ---- rigid boxes: impulses at corners, applied one contact after the other ----

BOXES = 3


@ti.data_oriented
class RigidBodies:
    """Boxes that spin and fall on the ground: friction and restitution by impulses, one corner at a time."""

    def __init__(self) -> None:
        self.x = given(ti.Vector.field(2, float, BOXES), [[0.2, 0.12], [0.5, 0.16], [0.8, 0.3]])
        self.v = given(ti.Vector.field(2, float, BOXES), [[0.3, -0.6], [-0.2, -0.5], [0.0, -0.4]])
        self.rotation = given(ti.field(float, BOXES), [0.3, -0.5, 0.9])
        self.omega = given(ti.field(float, BOXES), [0.5, -1.0, 0.2])
        self.halfsize = given(ti.Vector.field(2, float, BOXES), [[0.1, 0.06], [0.08, 0.1], [0.05, 0.05]])
        self.mu = given(ti.field(float, ()), 0.3)

    @ti.func
    def rotation_matrix(self, r):
        return ti.Matrix([[ti.cos(r), -ti.sin(r)], [ti.sin(r), ti.cos(r)]])

    @ti.func
    def cross(self, a, b):
        return a[0] * b[1] - a[1] * b[0]

    @ti.func
    def to_world(self, i, rela_x):
        rot = self.rotation_matrix(self.rotation[i])
        rela_pos = rot @ rela_x
        rela_v = self.omega[i] * ti.Vector([-rela_pos[1], rela_pos[0]])
        return self.x[i] + rela_pos, self.v[i] + rela_v, rela_pos

    @ti.kernel
    def collide(self):
        for i in range(BOXES):
            for k in ti.static(range(4)):
                offset = ti.Vector([k % 2 * 2 - 1, k // 2 % 2 * 2 - 1]) * self.halfsize[i]
                pos, vel, rela = self.to_world(i, offset)
                if pos[1] < 0.05 and vel[1] < 0:
                    inv_m = 1.0 / (4 * self.halfsize[i][0] * self.halfsize[i][1])
                    inv_i = inv_m * 3 / self.halfsize[i].norm_sqr()
                    rn = self.cross(rela, ti.Vector([0.0, 1.0]))
                    rt = self.cross(rela, ti.Vector([1.0, 0.0]))
                    jn = -1.2 * vel[1] / (inv_m + inv_i * rn * rn)
                    jt = -vel[0] / (inv_m + inv_i * rt * rt)
                    jt = ti.min(self.mu[None] * jn, ti.max(-self.mu[None] * jn, jt))
                    impulse = ti.Vector([jt, jn])
                    self.v[i] += impulse * inv_m
                    self.omega[i] += self.cross(rela, impulse) * inv_i

    @ti.kernel
    def advance(self):
        for i in range(BOXES):
            self.v[i] += 0.01 * ti.Vector([0.0, -3.0])
            self.x[i] += 0.01 * self.v[i]
            self.rotation[i] += 0.01 * self.omega[i]

    def step(self, t: Any) -> None:
        self.collide()
        self.advance()


class RigidBodiesPort(RigidBodies, Port):
    """The same kernels, differentiable."""

    steps, measured = 8, ("x", "v", "rotation")

    def __init__(self) -> None:
        self.x = ds.State(ds.vec2, BOXES, init=[[0.2, 0.12], [0.5, 0.16], [0.8, 0.3]])
        self.v = ds.State(ds.vec2, BOXES, init=[[0.3, -0.6], [-0.2, -0.5], [0.0, -0.4]])
        self.rotation = ds.State(ds.real, BOXES, init=[0.3, -0.5, 0.9])
        self.omega = ds.State(ds.real, BOXES, init=[0.5, -1.0, 0.2])
        self.halfsize = ds.Param(ds.vec2, BOXES, init=[[0.1, 0.06], [0.08, 0.1], [0.05, 0.05]])
        self.mu = ds.Param(np.array(0.3))
