"""Loops whose length only the run tells: in several worlds at once, by both compilers, past their bound."""

import pathlib

import numpy as np
import pytest
import taichi as ti

import diffsim as ds
from diffsim.errors import StateError

N, WORLDS = 3, 11


@ti.func
def first_above(x, b):
    s = x
    for k in range(9):
        s = ti.sin(s) + 0.9 * b
        if s > 1.2:
            return s * b
    return 0.5 * s


class Rounds(ds.Simulator):
    """The length of each loop depends on the start of a world, and on what it computed."""

    def __init__(self):
        self.x = ds.State(ds.real, N, init=[0.53, 0.88, 0.24], per_world=True)
        self.b = ds.Param([0.7, 0.4, 0.8])
        self.f = ds.Scratch(ds.real, N)

    @ti.kernel
    def act(self, t: ti.i32):
        for i in range(N):
            s, n = self.x[t, i], 0
            while ds.at_most(s < 3.0, 20):
                s += self.b[i] * (1.0 + 0.1 * ti.sin(s)) * 0.4
                n += 1
                if n > 6:
                    break
            for _ in range(ti.cast(10.0 * ti.abs(ds.stop_gradient(self.x[t, i])), ti.i32)):
                s = 0.9 * s + 0.2 * self.b[i] * ti.cos(s)
            self.f[t, i] = s + first_above(self.x[t, i], self.b[i])

    @ti.kernel
    def total(self, t: ti.i32):
        for i in range(N):
            self.x[t + 1, i] = 0.9 * self.x[t, i] + 0.1 * self.f[t, i]
            self.cost[None] += (i + 1) * self.f[t, i] ** 2

    def step(self, t):
        self.act(t)
        self.total(t)


@pytest.mark.compilers
def test_worlds_are_as_alone(runtime):
    starts = np.random.default_rng(4).normal(size=(WORLDS, N))
    sim, found = Rounds(), []
    alone = ds.Rollout(sim, steps=2, mode="step")
    for start in starts:
        sim.x.set(start)
        found.append(alone.value_and_grad(wrt=[sim.x, sim.b]))
    alone.close()
    together = ds.Rollout(sim, steps=2, worlds=WORLDS, mode="fused")
    sim.x.set(starts)
    costs, gradients = together.value_and_grad(wrt=[sim.x, sim.b])
    np.testing.assert_allclose(costs, [cost for cost, _ in found], rtol=1e-12)
    np.testing.assert_allclose(gradients["x"], [g["x"] for _, g in found], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(gradients["b"], sum(g["b"] for _, g in found), rtol=1e-10)
    together.close()


def test_modes_differences_and_directions_agree(runtime):
    sim = Rounds()
    results = []
    for mode in ("chunk", "step", "fused"):
        rollout = ds.Rollout(sim, steps=2, mode=mode)
        results.append(rollout.value_and_grad(wrt=[sim.x, sim.b]))
    report = rollout.check_grad(wrt=[sim.x, sim.b])
    assert report.passed, report
    for cost, gradients in results[1:]:
        assert cost == pytest.approx(results[0][0], rel=1e-13)
        for key, gradient in gradients.items():
            np.testing.assert_allclose(gradient, results[0][1][key], rtol=1e-11)


class Endless(ds.Simulator):
    """What goes past its bound, each where `which` says so."""

    def __init__(self):
        self.x = ds.State(ds.real, init=1.0)
        self.which = ds.Param([0.0], per_world=True)

    @ti.kernel
    def act(self, t: ti.i32):
        s, n = self.x[t], 0
        far = ti.cast(ds.stop_gradient(self.which[0]), ti.i32)
        while ds.at_most(n < far, 64):  # named
            n += 1
        while s < 2.0 or far == 8:  # not named
            s += 0.5
        for _ in range(far * 200):  # its values are kept
            s = ti.sin(s)
        self.x[t + 1] = s

    @ti.kernel
    def total(self, t: ti.i32):
        self.cost[None] += self.x[t]

    def step(self, t):
        self.act(t)

    def terminal_cost(self, t):
        self.total(t)


@pytest.mark.parametrize("mode", ["fused", "step"])
def test_past_the_bound(runtime, mode):
    sim = Endless()
    rollout = ds.Rollout(sim, steps=2, worlds=3, mode=mode)
    lines = pathlib.Path(__file__).read_text().splitlines()
    for value, words, comment in (
        (3000.0, "a while loop must end after 64 iterations, got 65 at step 0 of world 1; raise", "# named"),
        (8.0, "a while loop must end after 1024 iterations, got 1025 at step 0 of world 1; name", "# not"),
        (6.0, "values a gradient needs must take up to 1024 iterations, got 1200 at step 1", "# its values"),
    ):
        sim.which.set(np.array([[0.0], [value], [1.0]]))
        if value == 6.0:
            rollout.value()  # for which there is nothing to keep
        with pytest.raises(StateError, match=words) as caught:
            rollout.value_and_grad()
        line = next(k for k, text in enumerate(lines, 1) if comment in text)
        assert f"test_whiles.py:{line}:" in str(caught.value)
    sim.which.set(np.array([[0.0], [5.0], [1.0]]))
    assert np.all(np.isfinite(rollout.value_and_grad()[0]))
    rollout.close()


class Chosen(ds.Simulator):
    """Indices beside a small vector: the loop is not unrolled, and the run says where."""

    def __init__(self):
        self.x = ds.State(ds.real, 3, init=[1.0, 2.0, 3.0], keep=True)
        self.on = ds.Param([0.0, 1.0, 1.0])

    @ti.kernel
    def act(self, t: ti.i32):
        v = ti.Vector([self.x[t, 0], self.x[t, 1], self.x[t, 2]])
        s = 0.0
        for k in range(3):
            if self.on[k] > 0.5:
                s += v[k] * v[k - 1]
        self.x[t + 1, 0] = s

    @ti.kernel
    def total(self, t: ti.i32):
        self.cost[None] += self.x[t, 0]

    def step(self, t):
        self.act(t)

    def terminal_cost(self, t):
        self.total(t)


def test_an_index_that_may_leave_its_vector_is_looked_at_while_it_runs(runtime):
    sim = Chosen()
    rollout = ds.Rollout(sim, steps=1)
    assert rollout.value() == 2.0 * 1.0 + 3.0 * 2.0
    sim.on.set([1.0, 1.0, 1.0])
    with pytest.raises(StateError, match=r"indices of a local vector must lie in 0 .. 2, got -1 at step 0"):
        rollout.value()
    rollout.close()


class Counting(ds.Simulator):
    """Whiles whose counters bound them: what they write over is kept for as many iterations."""

    def __init__(self):
        self.x, self.m = ds.State(ds.real, 5, init=np.arange(5.0) / 3.0), 7

    @ti.kernel
    def move(self):
        for i in self.x:
            a = 0
            while a < 4 and i > 1:
                a += 1
                b = 1
                while b <= self.m and i % 2 == 0:
                    b += 2
                    for _ in range(5):
                        self.x[i] = ti.sin(self.x[i]) * self.x[i] + 0.3
            c = 0
            while c < 3:  # raised in two places: as long as any
                self.x[i] = ti.sin(self.x[i]) + 0.1 * c
                if self.x[i] > 0.8:
                    c += 1
                c += 1

    def step(self, t):
        self.move()

    @ti.kernel
    def pay(self):
        for i in self.x:
            self.cost[None] += self.x[i] * (i + 1.0)

    def terminal_cost(self, t):
        self.pay()


def test_counters_bound_whiles(runtime):
    sim = Counting()
    rollout = ds.Rollout(sim, steps=2)
    x = sim.x.numpy()
    for i in [*range(5)] * 2:
        for _ in range(4 * 4 * 5 if i > 1 and i % 2 == 0 else 0):
            x[i] = np.sin(x[i]) * x[i] + 0.3
        c = 0
        while c < 3:
            x[i] = np.sin(x[i]) + 0.1 * c
            c += 2 if x[i] > 0.8 else 1
    np.testing.assert_allclose(rollout.value(), (x * (np.arange(5) + 1.0)).sum(), rtol=1e-13)
    assert rollout.check_grad(["x"]).passed
    notes = [
        note for kernel in rollout.explain().kernels for note in kernel.notes if "while is a loop" in note
    ]
    assert [int(note.split(" up to ")[1].split()[0]) for note in notes] == [4, 4, 1024]
    assert rollout.plan.total_bytes < 1 << 20
