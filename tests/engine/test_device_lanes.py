"""Sums that a GPU's threads share: in few lanes or many the same number, and each time to the last bit."""

import numpy as np
import pytest
import taichi as ti

import diffsim as ds
from diffsim.plan import lanes

STEPS, N, MILLION = 2, 6144, 1_000_000


@pytest.fixture(scope="module")
def layout():
    return "device"


@pytest.fixture(scope="module")
def threads():
    return 4


class Crowd(ds.Simulator):
    """Points that all worlds push alike: sums over points, over worlds, over both, and a recorded loop."""

    def __init__(self, n):
        self.n = n
        self.x = ds.State(ds.real, n, init=np.sin(np.arange(n)))
        self.k = ds.Param(0.3)
        self.each = ds.Param(np.cos(np.arange(n)))
        self.table = ds.Param(np.linspace(0.1, 0.2, 3))
        self.u = ds.Control(ds.real)
        self.world = ds.Constant(np.array(0.0), per_world=True)
        self.few = ds.Constant(np.array(2))

    @ti.kernel
    def move(self, t: ti.i32):
        push = 0.1 * ti.sin(self.k[None])  # beside the loop: each iteration computes it again
        for i in range(self.n):
            a = self.x[t, i]
            for j in range(3):
                a = a + 0.1 * ti.sin(a * self.table[j])
            self.x[t + 1, i] = a + push * self.each[i] + self.u[t] * self.world[None]

    def step(self, t):
        self.move(t)

    @ti.kernel
    def spend(self, t: ti.i32):
        for i in range(self.n):
            self.cost[None] += self.x[t, i] ** 2 / self.n

    def running_cost(self, t):
        self.spend(t)

    @ti.kernel
    def gather(self, t: ti.i32):
        total = 0.0
        for i in range(self.n):
            total += self.x[t, i]
        self.cost[None] += total * total / self.n  # of the whole sum, which no iteration has

    @ti.kernel
    def weigh(self, t: ti.i32):
        few = self.few[None]  # bounds an inner loop, in which it can't be read
        for i in range(self.n):
            for j in range(few):
                self.cost[None] += self.table[j] * self.x[t, i] ** 2 / self.n

    @ti.kernel
    def sum_up(self, t: ti.i32):
        few = self.few[None]  # and one that isn't in any
        for j in range(few):
            self.cost[None] += self.k[None] * self.table[j]

    def terminal_cost(self, t):
        self.gather(t)
        self.weigh(t)
        self.sum_up(t)


def outcome(n, worlds):
    sim = Crowd(n)
    sim.u.set(np.linspace(0.5, 1.0, STEPS))
    sim.world.set(np.linspace(-1.0, 1.0, worlds) if worlds > 1 else 0.5)
    with ds.Rollout(sim, STEPS, worlds=worlds, mode="fused") as rollout:
        cost, grads = rollout.value_and_grad(["x", "k", "each", "table", "u"])
        assert rollout.plan.mode == "fused"
        return rollout.plan, {"cost": np.asarray(cost), **grads}


def test_few_lanes_sum_what_many_do(runtime, monkeypatch):
    """In mode `step` too, which `fused` is compared with: where they differ, the plan would say `step`."""
    plan, many = outcome(5, 7)
    assert (plan.layout.lanes, plan.layout.groups, plan.layout.parts) == (64, 7, 5)
    monkeypatch.setattr(lanes, "_MOST_GROUPS", 2)
    monkeypatch.setattr(lanes, "_FEWEST_GROUPS", 2)
    monkeypatch.setattr(lanes, "_MOST_LANES", 4)
    monkeypatch.setattr(lanes, "TAPE_BYTES", 64)
    fewer, few = outcome(5, 7)
    assert (fewer.layout.lanes, fewer.layout.groups, fewer.layout.parts) == (4, 2, 1)
    assert fewer.bytes["tapes"] <= 64 < plan.bytes["tapes"]
    for key, want in many.items():
        np.testing.assert_allclose(few[key], want, rtol=1e-12, atol=1e-14, err_msg=key)


@pytest.mark.parametrize("precision", [32], scope="module")
def test_every_run_has_the_same_bits(runtime):
    sim = Crowd(N)
    with ds.Rollout(sim, STEPS, mode="step") as rollout:
        cost, grads = rollout.value_and_grad()
        for _ in range(4):
            again, same = rollout.value_and_grad()
            assert again == cost
            for key, grad in grads.items():
                np.testing.assert_array_equal(same[key], grad, err_msg=key)


class Long(ds.Simulator):
    """A million numbers of 32 bits, whose sum a number of 32 bits would lose."""

    def __init__(self):
        self.x = ds.State(ds.real)

    @ti.kernel
    def rest(self, t: ti.i32):
        self.x[t + 1] = self.x[t]

    def step(self, t):
        self.rest(t)

    @ti.kernel
    def spend(self, t: ti.i32):
        for i in range(MILLION):
            self.cost[None] += ti.f32(1e-3) * ti.f32(i % 1024)

    def terminal_cost(self, t):
        self.spend(t)


@pytest.mark.parametrize("precision", [32], scope="module")
def test_a_long_sum_keeps_its_digits(runtime):
    terms = np.float32(1e-3) * (np.arange(MILLION) % 1024).astype(np.float32)
    assert abs(terms.cumsum(dtype=np.float32)[-1] / terms.sum(dtype=np.float64) - 1.0) > 1e-6
    with ds.Rollout(Long(), 1, mode="step") as rollout:
        assert rollout.plan.layout.parts == 2**14
        assert rollout.value() == pytest.approx(terms.sum(dtype=np.float64), rel=1e-12)
