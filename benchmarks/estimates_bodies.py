"""Bodies, networks and long texts whose compile times are estimated and measured: what people write."""

from typing import Any

import numpy as np
import taichi as ti

import diffsim as ds

__all__ = ["Network", "Planets", "Rigid", "Unrolled"]


class Rigid(ds.Simulator):
    """Boxes with joints that fall on the ground, corner by corner, as the examples of DiffTaichi write it.

    Args:
        boxes: How many.
        unrolled: Boxes and corners are unrolled, not looped over.
    """

    def __init__(self, boxes: int = 6, unrolled: bool = False) -> None:
        self.n, self.dt, self.unrolled = boxes, 1e-3, unrolled
        self.x = ds.State(ds.vec2, boxes, init=np.stack([np.arange(boxes), np.ones(boxes)], axis=1))
        self.v, self.rot, self.omega = (
            ds.State(ds.vec2, boxes),
            ds.State(ds.real, boxes),
            ds.State(ds.real, boxes),
        )
        self.push, self.turn = ds.Scratch(ds.vec2, boxes), ds.Scratch(ds.real, boxes)
        self.half, self.stiffness = ds.Constant(np.full((boxes, 2), 0.3)), ds.Param(np.full(boxes, 40.0))
        self.wave = ds.Param(np.zeros((boxes, 4)))

    @ti.func
    def corner(self, t, i, a, b):
        c, s = ti.cos(self.rot[t, i]), ti.sin(self.rot[t, i])
        arm = ti.Vector([a * self.half[i, 0], b * self.half[i, 1]])
        arm = ti.Vector([c * arm[0] - s * arm[1], s * arm[0] + c * arm[1]])
        at = self.x[t, i] + arm
        v = self.v[t, i] + self.omega[t, i] * ti.Vector([-arm[1], arm[0]])
        return at, v, arm

    @ti.func
    def hit(self, t, i, a, b):
        at, v, arm = self.corner(t, i, a, b)
        if at[1] < 0.0 and v[1] < 0.0:
            across = arm[0]
            impulse = -(1.0 + 0.3) * v[1] / (1.0 + across * across * 12.0)
            friction = -ti.max(-0.7 * impulse, ti.min(0.7 * impulse, v[0] / (1.0 + arm[1] * arm[1] * 12.0)))
            j = ti.Vector([friction, impulse - 5.0 * at[1]])
            self.push[t, i] += j
            self.turn[t, i] += 12.0 * (arm[0] * j[1] - arm[1] * j[0])

    @ti.kernel
    def collide(self, t: ti.i32):
        if ti.static(self.unrolled):
            for i in ti.static(range(self.n)):
                for a in ti.static((-1, 1)):
                    for b in ti.static((-1, 1)):
                        self.hit(t, i, a, b)
        else:
            for i in range(self.n):
                for k in ti.static(range(4)):
                    self.hit(t, i, -1 + 2 * (k % 2), -1 + 2 * (k // 2))

    @ti.func
    def spring(self, t, i):
        k = i + 1
        p, vp, ap = self.corner(t, i, 1, 1)
        q, vq, aq = self.corner(t, k, -1, 1)
        drive = self.wave[i, 0]
        for m in ti.static(range(3)):
            drive += self.wave[i, m + 1] * ti.sin(6.0 * t * self.dt + 2.0 * m)
        d = q - p
        length = d.norm() + 1e-4
        j = self.dt * self.stiffness[i] * (length - 0.4 - 0.1 * ti.tanh(drive)) / length * d
        j += self.dt * 2.0 * (vq - vp)
        self.push[t, i] += j
        self.push[t, k] -= j
        self.turn[t, i] += 12.0 * (ap[0] * j[1] - ap[1] * j[0])
        self.turn[t, k] -= 12.0 * (aq[0] * j[1] - aq[1] * j[0])

    @ti.kernel
    def springs(self, t: ti.i32):
        if ti.static(self.unrolled):
            for i in ti.static(range(self.n - 1)):
                self.spring(t, i)
        else:
            for i in range(self.n - 1):
                self.spring(t, i)

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(self.n):
            self.v[t + 1, i] = 0.999 * self.v[t, i] + self.push[t, i] - self.dt * ti.Vector([0.0, 9.8])
            self.omega[t + 1, i] = 0.999 * self.omega[t, i] + self.turn[t, i]
            self.x[t + 1, i] = self.x[t, i] + self.dt * self.v[t + 1, i]
            self.rot[t + 1, i] = self.rot[t, i] + self.dt * self.omega[t + 1, i]

    def step(self, t: Any) -> None:
        self.collide(t)
        self.springs(t)
        self.move(t)

    @ti.kernel
    def measure(self, t: ti.i32):
        self.cost[None] -= self.x[t, 0][0]

    def terminal_cost(self, t: Any) -> None:
        self.measure(t)


class Network(ds.Simulator):
    """A point that a wide network steers.

    Args:
        hidden: Widths of its layers.
    """

    def __init__(self, hidden: tuple[int, ...] = (256, 256)) -> None:
        self.x, self.v = ds.State(ds.vec2, 4, init=np.ones((4, 2))), ds.State(ds.vec2, 4)
        self.seen, self.push = ds.Scratch(ds.real, 16), ds.Scratch(ds.real, 8)
        self.policy = ds.control.MLP(inputs=self.seen, outputs=self.push, hidden=hidden)

    @ti.kernel
    def look(self, t: ti.i32):
        for i in range(4):
            for k in ti.static(range(2)):
                self.seen[t, 4 * i + k] = self.x[t, i][k]
                self.seen[t, 4 * i + 2 + k] = self.v[t, i][k]

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(4):
            force = ti.Vector([self.push[t, 2 * i], self.push[t, 2 * i + 1]])
            self.v[t + 1, i] = 0.99 * self.v[t, i] + 0.1 * force
            self.x[t + 1, i] = self.x[t, i] + 0.1 * self.v[t + 1, i]

    def step(self, t: Any) -> None:
        self.look(t)
        self.policy(t)
        self.move(t)

    @ti.kernel
    def measure(self, t: ti.i32):
        for i in range(4):
            self.cost[None] += self.x[t, i].norm_sqr()

    def running_cost(self, t: Any) -> None:
        self.measure(t)


class Unrolled(ds.Simulator):
    """A recurrence of so many terms, unrolled.

    Args:
        terms: How many.
        across: Through a local vector of that length, each term of all before it; else through one number.
        n: How many run side by side.
    """

    def __init__(self, terms: int = 64, across: bool = False, n: int = 32) -> None:
        self.n, self.terms, self.across = n, terms, across
        self.x, self.a = ds.State(ds.real, n, init=0.3), ds.Param(np.full(n, 0.9))

    @ti.kernel
    def advance(self, t: ti.i32):
        for i in range(self.n):
            y = self.x[t, i]
            if ti.static(self.across):
                L = ti.Matrix.zero(float, self.terms, self.terms)
                for r in ti.static(range(self.terms)):
                    for c in ti.static(range(r + 1)):
                        s = 0.1 * y * self.a[i] + (2.0 if r == c else 0.0)
                        for k in ti.static(range(c)):
                            s -= L[r, k] * L[c, k]
                        L[r, c] = ti.sqrt(s) if r == c else s / L[c, c]
                y = L[self.terms - 1, self.terms - 1]
            else:
                for k in ti.static(range(self.terms)):
                    y = ti.sin(self.a[i] * y + 0.1 * k)
            self.x[t + 1, i] = y

    def step(self, t: Any) -> None:
        self.advance(t)

    @ti.kernel
    def measure(self, t: ti.i32):
        for i in range(self.n):
            self.cost[None] += self.x[t, i] ** 2

    def terminal_cost(self, t: Any) -> None:
        self.measure(t)


class Planets(ds.Simulator):
    """Bodies that attract each other, all pairs in a loop that carries the force.

    Args:
        n: How many.
    """

    def __init__(self, n: int = 24) -> None:
        rng = np.random.default_rng(0)
        self.n, self.mass = n, ds.Param(np.ones(n))
        self.x, self.v = ds.State(ds.vec3, n, init=rng.normal(size=(n, 3))), ds.State(ds.vec3, n)

    @ti.kernel
    def advance(self, t: ti.i32):
        for i in range(self.n):
            a = ti.Vector([0.0, 0.0, 0.0])
            for j in range(self.n):
                d = self.x[t, j] - self.x[t, i]
                r = ti.sqrt(d.dot(d) + 0.01)
                a += self.mass[j] * d / r**3
            self.v[t + 1, i] = self.v[t, i] + 0.01 * a
            self.x[t + 1, i] = self.x[t, i] + 0.01 * self.v[t + 1, i]

    def step(self, t: Any) -> None:
        self.advance(t)

    @ti.kernel
    def measure(self, t: ti.i32):
        for i in range(self.n):
            self.cost[None] += self.x[t, i].norm_sqr()

    def terminal_cost(self, t: Any) -> None:
        self.measure(t)
