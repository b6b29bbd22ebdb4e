"""Infinite slopes on sides that are not taken count as nothing; a factor that is 0 hides nothing."""

import math

import numpy as np
import pytest
import taichi as ti

import diffsim as ds
from diffsim.compiler.autodiff import reverse

ROWS = 18


@ti.func
def one_over(x):
    return 1.0 / x


@ds.adjoint_of(one_over)
@ti.func
def one_over_adjoint(x, y, y_adj):
    return -y * y * y_adj


class Sides(ds.Simulator):
    """Row k of `f` is a choice between a function that is singular at 0 or 1, and something else."""

    def __init__(self):
        self.x = ds.Param(ds.real, ROWS)
        self.a = ds.Param(ds.real, ROWS, init=0.7)
        self.f = ds.Scratch(ds.real, ROWS)

    @ti.kernel
    def choose(self, t: ti.i32):
        for i in range(1):
            x = self.x[0]
            self.f[t, 0] = ti.select(x > 0.0, ti.log(x), 2.0 * x)
            x1 = self.x[1]
            self.f[t, 1] = ti.min(1.0 / x1, 5.0)
            x2 = self.x[2]
            self.f[t, 2] = ti.max(ti.log(x2), x2)
            x3 = self.x[3]
            self.f[t, 3] = ti.select(x3 > 0.0, ti.sqrt(x3) * self.a[3], self.a[3])
            x4 = self.x[4]
            self.f[t, 4] = ti.select(x4 < 1.0, ti.acos(x4), x4)
            x5 = self.x[5]
            self.f[t, 5] = ti.select(x5 < 1.0, ti.asin(x5), x5)
            x6 = self.x[6]
            self.f[t, 6] = ti.select(x6 > 0.0, ti.pow(x6, 0.3), 0.5 * x6)
            x7 = self.x[7]
            self.f[t, 7] = ti.select(x7 > 0.0, ti.rsqrt(x7), x7)
            x8 = self.x[8]
            self.f[t, 8] = ti.select(x8 > 0.0, ti.exp(-1.0 / x8), 0.25 * x8)
            x9 = self.x[9]
            self.f[t, 9] = ti.select(x9 > 0.0, self.a[9] / x9 * self.a[8], x9)  # an infinite factor
            x10 = self.x[10]
            self.f[t, 10] = ti.select(x10 > 0.0, ti.sin(1.0 / x10), x10)
            x11 = self.x[11]
            self.f[t, 11] = ti.select(x11 > 0.0, x11 ** (-2), x11)
            x12 = self.x[12]
            self.f[t, 12] = ti.select(x12 > 0.0, one_over(x12), 3.0 * x12)

    @ti.kernel
    def branch(self, t: ti.i32):
        for i in range(1):
            x = self.x[13]
            inverse = 1.0 / x  # known outside, used on one way only
            y = x
            if x > 0.0:
                y = inverse * self.a[13]
            self.f[t, 13] = y
            s = 0.0
            for k in range(3):  # a carried sum that is not chosen
                s += ti.log(self.x[14]) * k
            self.f[t, 14] = ti.select(self.x[14] > 0.0, s, self.x[14])
            x15 = self.x[15]
            self.f[t, 15] = ti.sqrt(x15) if x15 > 0.0 else 4.0 * x15
            x16 = self.x[16]
            root = ti.sqrt(x16)
            if x16 > 0.0:
                if self.a[16] > 0.0:
                    y += 0.0 * root
            self.f[t, 16] = x16
            v = ti.Vector([ti.log(self.x[17]), self.x[17]])
            which = 1
            self.f[t, 17] = v[which + i]

    @ti.kernel
    def add(self, t: ti.i32):
        for i in range(ROWS):
            self.cost[None] += self.f[t, i]

    def step(self, t):
        self.choose(t)
        self.branch(t)

    def running_cost(self, t):
        self.add(t)


SINGULAR = np.array([0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], dtype=float)
SLOPES = np.array([2, 0, 1, 0, 1, 1, 0.5, 1, 0.25, 1, 1, 1, 3, 1, 1, 4, 1, 1], dtype=float)


@pytest.fixture(scope="module")
def rollout(runtime):
    made = ds.Rollout(Sides(), 1)
    yield made
    made.close()


def test_slopes_of_sides_that_are_not_taken(rollout):
    rollout.sim.x.set(SINGULAR)
    _, grads = rollout.value_and_grad(["x", "a"])
    np.testing.assert_array_equal(grads["x"], SLOPES)
    wanted = np.zeros(ROWS)
    wanted[3] = 1.0
    np.testing.assert_array_equal(grads["a"], wanted)


def test_slopes_of_sides_that_are_taken(rollout):
    x = np.full(ROWS, 0.4)
    rollout.sim.x.set(x)
    _, grads = rollout.value_and_grad(["x", "a"])
    a = 0.7
    e = math.exp(-1 / 0.4)
    wanted = [2.5, -1 / 0.16, 1.0, 0.5 * a / math.sqrt(0.4), -1 / math.sqrt(0.84), 1 / math.sqrt(0.84)]
    wanted[1] = -1 / 0.16  # 1 / 0.4 = 2.5 is below 5
    wanted += [0.3 * 0.4**-0.7, -0.5 * 0.4**-1.5, e / 0.16, -a * a / 0.16, -math.cos(2.5) / 0.16]
    wanted += [-2 * 0.4**-3, -1 / 0.16, -a / 0.16, 3 / 0.4, 0.5 / math.sqrt(0.4), 1.0, 1.0]
    np.testing.assert_allclose(grads["x"], wanted, rtol=1e-13)


def test_without_masks_the_sides_are_not_numbers(runtime, monkeypatch):
    monkeypatch.setattr(reverse, "hazards", lambda block: set())
    rollout = ds.Rollout(Sides(), 1)
    rollout.sim.x.set(SINGULAR)
    with pytest.raises(ds.GradientError, match=r"got nan at index \[0\]"):
        rollout.value_and_grad(["x"])
    rollout.close()


class Roots(ds.Simulator):
    """The product of two roots, whose slope at 0 is 1 although each factor is 0 there."""

    def __init__(self):
        self.x = ds.Param(ds.real, init=0.0)

    @ti.kernel
    def go(self, t: ti.i32):
        for i in range(1):
            self.cost[None] += ti.sqrt(self.x[None]) * ti.sqrt(self.x[None] * 1.0)

    def step(self, t):
        self.go(t)


def test_a_factor_that_happens_to_be_zero_hides_nothing(runtime):
    rollout = ds.Rollout(Roots(), 1)
    with pytest.raises(ds.GradientError, match="gradient of x must be finite, got nan"):
        rollout.value_and_grad(["x"])
    rollout.close()
