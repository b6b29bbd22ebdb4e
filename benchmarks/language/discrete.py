"""Integers in programs: cells that live, slime moulds, spins, sorting, sums over rectangles."""

from typing import Any

import numpy as np
import taichi as ti

import diffsim as ds
from benchmarks.language.common import Port, block, given

N = 10


def cells(seed: int = 0) -> np.ndarray:
    """Draw cells that live, two of five."""
    return (np.random.default_rng(seed).uniform(size=(N, N)) < 0.4).astype(np.int32)


# ---- the game of life, with warmth that live cells give off ----


@ti.data_oriented
class Life:
    """Neighbours counted in one loop, the rule in the next; warmth spreads from what lives."""

    def __init__(self) -> None:
        self.alive = given(ti.field(int, shape=(N, N)), cells())
        self.count = ti.field(int, shape=(N, N))
        self.warmth = ti.field(float, shape=(N, N))
        self.glow = given(ti.field(float, ()), 0.3)

    @ti.func
    def get_alive(self, i, j):
        return self.alive[i, j] if 0 <= i < N and 0 <= j < N else 0

    @ti.func
    def get_count(self, i, j):
        return (
            self.get_alive(i - 1, j)
            + self.get_alive(i + 1, j)
            + self.get_alive(i, j - 1)
            + self.get_alive(i, j + 1)
            + self.get_alive(i - 1, j - 1)
            + self.get_alive(i + 1, j - 1)
            + self.get_alive(i - 1, j + 1)
            + self.get_alive(i + 1, j + 1)
        )

    @ti.func
    def calc_rule(self, a, c):
        if a == 0:
            for t in ti.static([3]):
                if c == t:
                    a = 1
        elif a == 1:
            if c != 2 and c != 3:
                a = 0
        return a

    @ti.kernel
    def run(self):
        for i, j in self.alive:
            self.count[i, j] = self.get_count(i, j)
        for i, j in self.alive:
            self.alive[i, j] = self.calc_rule(self.alive[i, j], self.count[i, j])

    @ti.kernel
    def warm(self):
        for i, j in self.warmth:
            self.warmth[i, j] = 0.9 * self.warmth[i, j] + self.glow[None] * self.alive[i, j]

    def step(self, t: Any) -> None:
        self.run()
        self.warm()


class LifePort(Life, Port):
    """The same kernels, differentiable in what is a number."""

    measured = ("warmth",)

    def __init__(self) -> None:
        self.alive = ds.State(ti.i32, N, N, init=cells())
        self.count = ds.Scratch(ti.i32, N, N)
        self.warmth = ds.State(ds.real, N, N)
        self.glow = ds.Param(np.array(0.3))


# ---- slime moulds: agents that sense a trail, and two phases of the trail ----

AGENTS = 12


@ti.data_oriented
class Slime:
    """Agents look at three places, turn to the strongest trail, move and leave some; the trail diffuses."""

    def __init__(self) -> None:
        self.grid = ti.field(float, shape=(2, N, N))
        self.position = given(ti.Vector.field(2, float, shape=AGENTS), N * block(AGENTS, 2, 0, 1))
        self.heading = given(ti.field(float, shape=AGENTS), 6 * block(AGENTS, 1, 0, 1, seed=1)[:, 0])
        self.evaporation = given(ti.field(float, ()), 0.97)

    @ti.func
    def sense(self, phase, pos, ang):
        p = pos + ti.Vector([ti.cos(ang), ti.sin(ang)]) * 2.0
        return self.grid[phase, p.cast(int) % N]

    @ti.kernel
    def move(self, phase: int):
        for i in self.position:
            pos, ang = self.position[i], self.heading[i]
            left = self.sense(phase, pos, ang - 0.4)
            mid = self.sense(phase, pos, ang)
            right = self.sense(phase, pos, ang + 0.4)
            if left < mid and mid < right:
                ang += 0.3
            elif left > mid and mid > right:
                ang -= 0.3
            pos += ti.Vector([ti.cos(ang), ti.sin(ang)]) * 0.8
            self.position[i] = pos
            self.heading[i] = ang
        for i in self.position:
            ipos = self.position[i].cast(int) % N
            self.grid[phase, ipos] += 1.0

    @ti.kernel
    def diffuse(self, phase: int):
        for i, j in ti.ndrange(N, N):
            a = 0.0
            for di in ti.static(range(-1, 2)):
                for dj in ti.static(range(-1, 2)):
                    a += self.grid[phase, (i + di) % N, (j + dj) % N]
            a *= self.evaporation[None] / 9.0
            self.grid[1 - phase, i, j] = a

    def step(self, t: Any) -> None:
        for k in range(2):
            self.move(k % 2)
            self.diffuse(k % 2)


class SlimePort(Slime, Port):
    """The same kernels, differentiable."""

    measured = ("grid",)

    def __init__(self) -> None:
        self.grid = ds.State(ds.real, 2, N, N)
        self.position = ds.State(ds.vec2, AGENTS, init=N * block(AGENTS, 2, 0, 1))
        self.heading = ds.State(ds.real, AGENTS, init=6 * block(AGENTS, 1, 0, 1, seed=1)[:, 0])
        self.evaporation = ds.Param(np.array(0.97))


# ---- Ising: Metropolis sweeps on a chequerboard, random numbers from a generator of integers ----


@ti.data_oriented
class Ising:
    """Spins flipped in place by a linear congruential generator per site; a mean that is a number."""

    def __init__(self) -> None:
        self.spin = given(ti.field(int, (N, N)), 2 * cells() - 1)
        self.seed = given(ti.field(int, (N, N)), np.arange(N * N).reshape(N, N) * 7919 % 65537)
        self.mean = ti.field(float, ())
        self.coupling = given(ti.field(float, ()), 0.4)

    @ti.func
    def random(self, i, j):
        self.seed[i, j] = (self.seed[i, j] * 75 + 74) % 65537
        return self.seed[i, j] / 65537.0

    @ti.kernel
    def sweep(self, colour: int):
        for i, j in self.spin:
            if (i + j) % 2 == colour:
                near = (
                    self.spin[(i + 1) % N, j]
                    + self.spin[(i - 1 + N) % N, j]
                    + self.spin[i, (j + 1) % N]
                    + self.spin[i, (j - 1 + N) % N]
                )
                delta = 2.0 * self.spin[i, j] * near
                draw = self.random(i, j)
                if delta <= 0 or draw < ti.exp(-self.coupling[None] * delta):
                    self.spin[i, j] *= -1

    @ti.kernel
    def average(self):
        self.mean[None] *= 0.9
        for i, j in self.spin:
            self.mean[None] += self.coupling[None] * self.spin[i, j] / (N * N)

    def step(self, t: Any) -> None:
        self.sweep(0)
        self.sweep(1)
        self.average()


class IsingPort(Ising, Port):
    """The same kernels, differentiable in what is a number."""

    measured = ("mean",)

    def __init__(self) -> None:
        self.spin = ds.State(ti.i32, N, N, init=2 * cells() - 1)
        self.seed = ds.State(ti.i32, N, N, init=np.arange(N * N).reshape(N, N) * 7919 % 65537)
        self.mean = ds.State(ds.real)
        self.coupling = ds.Param(np.array(0.4))


# ---- odd-even sort: neighbours change places, with what belongs to them ----


@ti.data_oriented
class OddEvenSort:
    """Keys that drift are brought into order again in each step, and carry a payload and an index."""

    def __init__(self) -> None:
        self.keys = given(ti.field(float, N), block(N, 1, 0, 1)[:, 0])
        self.order = given(ti.field(int, N), np.arange(N))
        self.payload = given(ti.field(float, N), np.linspace(1, 2, N))
        self.drift = given(ti.field(float, N), block(N, 1, -1, 1, seed=1)[:, 0])

    @ti.kernel
    def move(self):
        for i in self.keys:
            self.keys[i] += 0.3 * self.drift[self.order[i]]
            self.payload[i] *= 1 + 0.1 * self.keys[i]

    @ti.kernel
    def exchange(self, odd: int):
        for k in range(N // 2):
            i = 2 * k + odd
            if i + 1 < N and self.keys[i] > self.keys[i + 1]:
                tmp = self.keys[i]
                self.keys[i] = self.keys[i + 1]
                self.keys[i + 1] = tmp
                self.order[i], self.order[i + 1] = self.order[i + 1], self.order[i]
                self.payload[i], self.payload[i + 1] = self.payload[i + 1], self.payload[i]

    def step(self, t: Any) -> None:
        self.move()
        for r in range(N):
            self.exchange(r % 2)


class OddEvenSortPort(OddEvenSort, Port):
    """The same kernels, differentiable."""

    steps, measured = 3, ("keys", "payload")

    def __init__(self) -> None:
        self.keys = ds.State(ds.real, N, init=block(N, 1, 0, 1)[:, 0])
        self.order = ds.State(ti.i32, N, init=np.arange(N))
        self.payload = ds.State(ds.real, N, init=np.linspace(1, 2, N))
        self.drift = ds.Param(block(N, 1, -1, 1, seed=1)[:, 0])


# ---- an integral image, and a scan by doubling ----

LONG = 16


@ti.data_oriented
class PrefixSums:
    """Sums over rectangles from a table built in serial loops in place; a scan in log steps, in place."""

    def __init__(self) -> None:
        self.image = given(ti.field(float, (N, N)), block(N, N, 0, 1))
        self.table = ti.field(float, (N, N))
        self.line = given(ti.field(float, LONG), block(LONG, 1, 0, 0.1)[:, 0])
        self.other = ti.field(float, LONG)
        self.gain = given(ti.field(float, ()), 0.5)

    @ti.kernel
    def integral(self):
        for i, j in self.image:
            self.table[i, j] = self.image[i, j]
        for i in range(N):
            for j in range(1, N):
                self.table[i, j] += self.table[i, j - 1]
        for j in range(N):
            for i in range(1, N):
                self.table[i, j] += self.table[i - 1, j]

    @ti.kernel
    def box_blur(self):
        for i, j in self.image:
            i0, i1 = ti.max(i - 2, 0), ti.min(i + 1, N - 1)
            j0, j1 = ti.max(j - 2, 0), ti.min(j + 1, N - 1)
            total = self.table[i1, j1] - self.table[i0, j1] - self.table[i1, j0] + self.table[i0, j0]
            area = (i1 - i0) * (j1 - j0)
            self.image[i, j] += self.gain[None] * (total / area - self.image[i, j])

    @ti.kernel
    def scan(self, stride: int):
        for i in self.line:
            self.other[i] = self.line[i]
            if i >= stride:
                self.other[i] += self.line[i - stride]
        for i in self.line:
            self.line[i] = self.other[i]

    @ti.kernel
    def shrink(self):
        for i in self.line:
            self.line[i] = ti.sin(self.line[i])

    def step(self, t: Any) -> None:
        self.integral()
        self.box_blur()
        stride = 1
        while stride < LONG:
            self.scan(stride)
            stride *= 2
        self.shrink()


class PrefixSumsPort(PrefixSums, Port):
    """The same kernels, differentiable."""

    steps, measured = 3, ("image", "line")

    def __init__(self) -> None:
        self.image = ds.State(ds.real, N, N, init=block(N, N, 0, 1))
        self.table = ds.Scratch(ds.real, N, N)
        self.line = ds.State(ds.real, LONG, init=block(LONG, 1, 0, 0.1)[:, 0])
        self.other = ds.Scratch(ds.real, LONG)
        self.gain = ds.Param(np.array(0.5))
