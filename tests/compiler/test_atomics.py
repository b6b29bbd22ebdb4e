"""Atomics on fields of real numbers: what they return, who wins, and the gradients of both."""

import numpy as np
import pytest
import taichi as ti

import diffsim as ds

N, GROUPS, STEPS, K = 7, 3, 4, 0.8
RNG = np.random.default_rng(8)
START = RNG.uniform(-1.0, 1.0, size=(2, N))
GROUP = np.array([0, 1, 0, 2, 1, 0, 1])


class Crowd(ds.Simulator):
    """Numbers that meet in groups: the largest, the least, running sums and products, and a list."""

    def __init__(self):
        self.x = ds.State(ds.real, N, init=START[0], per_world=True)
        self.best = ds.State(ds.real, GROUPS, keep=True)  # of all steps so far, from zero on
        self.high, self.least = ds.Scratch(ds.real, GROUPS), ds.Scratch(ds.real, GROUPS)
        self.total, self.product = ds.Scratch(ds.vec2), ds.Scratch(ds.real, GROUPS)
        self.before, self.packed = ds.Scratch(ds.real, N), ds.Scratch(ds.real, N)
        self.length = ds.Scratch(ds.i32)
        self.group = ds.Constant(GROUP)
        self.k = ds.Param(np.array(K))

    @ti.kernel
    def meet(self, t: ti.i32):
        for g in range(GROUPS):
            self.least[t, g] = 0.4 * self.k[None]  # which the least of a group may stay
            self.product[t, g] = 1.0 + 0.1 * self.k[None]
        for i in range(N):
            a, g = self.x[t, i] * self.k[None], self.group[i]
            ti.atomic_max(self.high[t, g], ti.sin(a))
            ti.atomic_min(self.least[t, g], a * a)
            ti.atomic_mul(self.product[t, g], 1.0 + 0.3 * a)
            ti.atomic_max(self.best[t + 1, g], a + 0.1 * i)
        for g in range(GROUPS):
            self.high[t, g] += 0.2 * self.least[t, g]  # in between, which moves what follows
        for i in range(N):
            ti.atomic_max(self.high[t, self.group[i]], 0.5 * self.x[t, i] ** 2 * self.k[None])

    @ti.kernel
    def line_up(self, t: ti.i32):
        for i in range(N):
            old = ti.atomic_add(self.total[t], ti.Vector([self.x[t, i] * self.k[None], 0.5]))
            self.before[t, i] = old[0] * self.x[t, i] + old[1] * self.k[None]
            if self.x[t, i] > -0.5:
                k = ti.atomic_add(self.length[t], 1)
                self.packed[t, k] = ti.tanh(self.x[t, i] * self.k[None])
            left = ti.atomic_sub(self.total[t].y, 0.1 * self.x[t, i])
            self.before[t, i] += 0.2 * left * left

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(N):
            g = self.group[i]
            pull = self.high[t, g] - self.least[t, g] + 0.1 * self.product[t, g]
            for q in range(ds.at_most(self.length[t], N)):
                pull += 0.1 * self.packed[t, q] * self.x[t, i] / (1 + q)
            self.x[t + 1, i] = self.x[t, i] + 0.1 * pull + 0.05 * self.before[t, i]

    @ti.kernel
    def loss(self, t: ti.i32):
        for i in range(N):
            self.cost[None] += (i - 2.5) * self.x[t, i] ** 2 * (1.0 + self.best[t, i % GROUPS])

    def step(self, t):
        self.meet(t)
        self.line_up(t)
        self.move(t)

    def terminal_cost(self, t):
        self.loss(t)


def plain(start, k=K):
    x, best = start.copy(), np.zeros(GROUPS)
    for _ in range(STEPS):
        high, least, product = np.zeros(GROUPS), np.full(GROUPS, 0.4 * k), np.full(GROUPS, 1.0 + 0.1 * k)
        np.maximum.at(high, GROUP, np.sin(x * k))
        np.minimum.at(least, GROUP, (x * k) ** 2)
        np.multiply.at(product, GROUP, 1.0 + 0.3 * x * k)
        np.maximum.at(best, GROUP, x * k + 0.1 * np.arange(N))
        high += 0.2 * least
        np.maximum.at(high, GROUP, 0.5 * x**2 * k)
        sums = np.concatenate([[0.0], np.cumsum(x * k)])[:-1]
        seconds = 0.5 * np.arange(N) - 0.1 * np.concatenate([[0.0], np.cumsum(x)])[:-1]
        before = sums * x + seconds * k + 0.2 * (seconds + 0.5) ** 2
        packed = np.tanh(x[x > -0.5] * k)
        pull = (high - least + 0.1 * product)[GROUP] + 0.1 * x * np.sum(packed / (1 + np.arange(len(packed))))
        x = x + 0.1 * pull + 0.05 * before
    return np.sum((np.arange(N) - 2.5) * x**2 * (1.0 + best[np.arange(N) % GROUPS]))


def slope(start):
    return (plain(start, K + 1e-6) - plain(start, K - 1e-6)) / 2e-6


def assert_right(**options):
    """Compare cost and gradients of both worlds with those of plain Python."""
    sim = Crowd()
    sim.x.set(START)
    cost, grads = ds.Rollout(sim, steps=STEPS, worlds=2, **options).value_and_grad(["k", "x"])
    np.testing.assert_allclose(cost, [plain(s) for s in START], rtol=1e-12)
    assert grads["k"] == pytest.approx(sum(map(slope, START)), rel=1e-7)
    for found, start in zip(grads["x"], START, strict=True):
        want = [(plain(start + h) - plain(start - h)) / 2e-6 for h in 1e-6 * np.eye(N)]
        np.testing.assert_allclose(found, want, rtol=1e-6, atol=1e-9)


@pytest.mark.compilers
def test_atomics_are_those_of_plain_python(runtime):
    assert_right(mode="fused")


@pytest.mark.parametrize(("mode", "window"), [("step", None), ("chunk", 2), ("fused", 3)])
def test_in_all_modes(runtime, mode, window):
    assert_right(mode=mode, window=window)


def test_forward_mode_and_differences(runtime):
    report = ds.Rollout(Crowd(), steps=STEPS).check_grad(["k", "x"], 3)
    assert report.passed, str(report)


class Tie(ds.Simulator):
    """Equal numbers: exactly one of them gets the gradient of the largest, the last one that came."""

    def __init__(self):
        self.x = ds.State(ds.real, 4, init=[2.0, 2.0, 1.0, 0.0])
        self.top, self.floor = ds.Scratch(ds.real), ds.Scratch(ds.real)

    @ti.kernel
    def find(self, t: ti.i32):
        for i in range(4):
            ti.atomic_max(self.top[t], self.x[t, i])
            ti.atomic_min(self.floor[t], self.x[t, i])  # from 0 on, which the last one equals

    @ti.kernel
    def add(self, t: ti.i32):
        self.cost[None] += self.top[t] + 10.0 * self.floor[t]

    def step(self, t):
        self.find(t)
        self.add(t)


@pytest.mark.parametrize("mode", ["step", "fused"])
def test_the_last_of_equals_wins(runtime, mode):
    cost, grads = ds.Rollout(Tie(), steps=1, mode=mode).value_and_grad(["x"])
    assert cost == 2.0
    np.testing.assert_array_equal(grads["x"], [0.0, 1.0, 0.0, 10.0])
