"""Adjoints read what memory still holds of dear functions, and only that."""

import numpy as np
import pytest
import taichi as ti

import diffsim as ds
from diffsim.compiler.autodiff.stored import kept_results
from diffsim.compiler.ir import Let, walk
from diffsim.compiler.program.program import lower_program
from diffsim.language.trace import trace
from diffsim.plan.planning import adjoint_stages

N = 5


class Kept(ds.Simulator):
    """Functions whose results are kept, stored over, added to, stored again and again, or not always."""

    def __init__(self):
        self.x = ds.State(ds.real, N, init=np.linspace(-0.4, 0.7, N))
        self.bent = ds.Scratch(ds.real, N)
        self.over = ds.Scratch(ds.real, N)
        self.added = ds.Scratch(ds.real, N)
        self.again = ds.Scratch(ds.real, N)
        self.some = ds.Scratch(ds.real, N)
        self.k = ds.Param(np.linspace(0.5, 1.5, N))

    @ti.kernel
    def bend(self, t: ti.i32):
        for i in range(N):
            self.bent[t, i] = ti.tanh(self.k[i] * self.x[t, i])

    @ti.kernel
    def store(self, t: ti.i32):
        for i in range(N):
            self.over[t, i] = ti.exp(self.x[t, i])

    @ti.kernel
    def store_over(self, t: ti.i32):
        for i in range(N):
            self.over[t, i] = ti.exp(self.k[i])

    @ti.kernel
    def begin_sum(self, t: ti.i32):
        for i in range(N):
            self.added[t, i] = ti.tanh(self.x[t, i])

    @ti.kernel
    def add(self, t: ti.i32):
        for i in range(N):
            self.added[t, i] += self.bent[t, i]

    @ti.kernel
    def repeat(self, t: ti.i32):
        for i in range(N):
            for k in range(3):
                self.again[t, i] = ti.atan2(self.x[t, i] + k, self.k[i])

    @ti.kernel
    def choose(self, t: ti.i32):
        for i in range(N):
            swung = ti.cos(self.x[t, i])
            if i > 1:
                self.some[t, i] = swung

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(N):
            total = self.over[t, i] * self.added[t, i] + self.again[t, i] * self.some[t, i]
            self.x[t + 1, i] = ti.tanh(0.2 * self.k[i] * total)

    def step(self, t):
        self.bend(t)
        self.store(t)
        self.store_over(t)
        self.begin_sum(t)
        self.add(t)
        self.repeat(t)
        self.choose(t)
        self.move(t)

    @ti.kernel
    def pay(self, t: ti.i32):
        for i in range(N):
            self.cost[None] += self.x[t, i] ** 2

    def terminal_cost(self, t):
        self.pay(t)


@pytest.fixture(scope="module")
def simulator(runtime):
    return Kept()


def test_only_what_memory_holds_then_is_read(simulator):
    lowered = lower_program(trace(simulator), "f64", 4)
    kept = kept_results(lowered.step + lowered.running)
    functions = {id(op): op.fn for s in lowered.step for op in walk(s.body) if isinstance(op, Let)}
    fields = sorted((functions[op], ref.buffer.source is simulator.x) for op, ref in kept.items())
    # the exponential that is stored last, and both tanh: of the sum in memory nothing is left but the sum
    assert fields == [("exp", False), ("tanh", False), ("tanh", True)]
    adjoint = adjoint_stages(lowered, "f64", 4, "").step_adj
    again = [op.fn for s in adjoint for op in walk(s.body) if isinstance(op, Let)]
    assert again.count("tanh") == 1


def test_gradients_are_right(simulator):
    rollout = ds.Rollout(simulator, steps=4, mode="fused", window=2)
    report = rollout.check_grad([simulator.x, simulator.k], components=2 * N)
    assert report.passed, report
    _, found = rollout.value_and_grad([simulator.x, simulator.k])
    rollout.close()
    x, k, slope = simulator.x.numpy(), simulator.k.numpy(), np.zeros(N)
    for _ in range(4):  # the derivative of each element along its own k, by hand
        bent, total = np.tanh(k * x), np.exp(k) * (np.tanh(x) + np.tanh(k * x))
        angle, some = np.arctan2(x + 2, k), np.where(np.arange(N) > 1, np.cos(x), 0.0)
        d_bent = (1 - bent**2) * (x + k * slope)
        d_total = total + np.exp(k) * ((1 - np.tanh(x) ** 2) * slope + d_bent)
        d_angle = (k * slope - (x + 2)) / ((x + 2) ** 2 + k**2)
        d_some = np.where(np.arange(N) > 1, -np.sin(x) * slope, 0.0)
        total, d_total = total + angle * some, d_total + d_angle * some + angle * d_some
        out = np.tanh(0.2 * k * total)
        slope = (1 - out**2) * 0.2 * (total + k * d_total)
        x = out
    np.testing.assert_allclose(found["k"], 2 * x * slope, rtol=1e-10)
