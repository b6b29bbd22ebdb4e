"""Loops shared by threads: sums that meet must not get lost. Threads of the user's: what they can do."""

import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import taichi as ti

import diffsim as ds
from diffsim._taichi import trees
from diffsim.compiler.codegen import stepwise
from diffsim.engine.pool import the_pool
from diffsim.errors import StateError

N = 4000


@pytest.fixture(scope="module")
def threads():
    return 2


class Stencil(ds.Simulator):
    """Each element is added to by its own iteration and by a neighbour's, in one parallel loop."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.x = ds.State(ds.real, N, init=rng.normal(size=N))
        self.k = ds.Param(rng.normal(size=N))
        self.f = ds.Scratch(ds.real, N)
        self.next = ds.Constant((np.arange(N) + N // 2) % N)

    @ti.kernel
    def force(self, t: ti.i32):
        for i in range(N):
            pull = self.k[i] * (self.x[t, self.next[i]] - self.x[t, i])
            self.f[t, i] += pull
            self.f[t, self.next[i]] -= pull

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(N):
            self.x[t + 1, i] = self.x[t, i] + 0.1 * self.f[t, i]

    def step(self, t):
        self.force(t)
        self.move(t)

    @ti.kernel
    def square(self, t: ti.i32):
        for i in range(N):
            self.cost[None] += self.x[t, i] ** 2

    def terminal_cost(self, t):
        self.square(t)


@pytest.mark.compilers
def test_parallel_sums_meet(runtime, monkeypatch):
    monkeypatch.setattr(stepwise, "worth_sharing", lambda *args: True)  # one thread would be faster
    sim = Stencil()
    k, ids, x = sim.k.numpy(), sim.next.numpy(), sim.x.numpy()
    for _ in range(3):
        pull = k * (x[ids] - x)
        f = pull.copy()
        np.subtract.at(f, ids, pull)
        x = x + 0.1 * f
    step, fused = (ds.Rollout(sim, steps=3, mode=mode) for mode in ("step", "fused"))
    want, reference = fused.value_and_grad(["k", "x"])
    assert want == pytest.approx(np.sum(x**2), rel=1e-12)
    results = [step.value_and_grad(["k", "x"]) for _ in range(10)]  # a race shows only sometimes
    for cost, grads in results:
        assert cost == pytest.approx(want, rel=1e-12)
        for key in reference:
            np.testing.assert_allclose(grads[key], reference[key], rtol=1e-9, atol=1e-12)
    if runtime.native:
        cost, grads = results[0]
        assert {cost for cost, _ in results} == {cost}
        for _, others in results:
            for key in grads:
                np.testing.assert_array_equal(grads[key], others[key])


@pytest.mark.parametrize("mode", ["step", "fused"])
def test_two_rollouts_at_once(runtime, monkeypatch, mode):
    monkeypatch.setattr(stepwise, "worth_sharing", lambda *args: True)
    if not runtime.native:
        pytest.skip("a kernel of Taichi's may be launched by one thread at a time")
    sims = [Stencil(), Stencil()]
    sims[1].k.set(2.0 * sims[1].k.numpy())
    rollouts = [ds.Rollout(sim, steps=3, worlds=2, mode=mode) for sim in sims]
    want = [rollout.value_and_grad(["k"]) for rollout in rollouts]
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(rollout.value_and_grad, ["k"]) for rollout in rollouts]
        for job, (cost, grads) in zip(jobs, want, strict=True):
            np.testing.assert_array_equal(job.result()[0], cost)
            np.testing.assert_array_equal(job.result()[1]["k"], grads["k"])


class Alarming(ds.Simulator):
    """Many elements break a rule in the same loop, each with numbers of its own."""

    def __init__(self):
        self.x = ds.State(ds.real, N, init=np.arange(N))

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(N):
            assert self.x[t, i] < 100 * (t + 1), f"element {i} has twice {2 * i}"
            self.x[t + 1, i] = self.x[t, i] + 1

    def step(self, t):
        self.move(t)

    @ti.kernel
    def total(self, t: ti.i32):
        for i in range(N):
            self.cost[None] += self.x[t, i]

    def terminal_cost(self, t):
        self.total(t)


def test_alarms_of_several_threads(runtime, monkeypatch):
    monkeypatch.setattr(stepwise, "worth_sharing", lambda *args: True)
    rollout = ds.Rollout(Alarming(), steps=2, mode="step")
    for _ in range(5):
        with pytest.raises(StateError, match="at step 0") as caught:
            rollout.value()
        element, double = re.search(r"element (\d+) has twice (\d+)", str(caught.value)).groups()
        assert int(double) == 2 * int(element) >= 200


def test_worlds_in_lanes(runtime):
    sim = Stencil()
    one = ds.Rollout(sim, steps=2, mode="fused").value_and_grad(["k"])
    many = ds.Rollout(sim, steps=2, worlds=11, mode="fused")
    assert many.plan.layout.groups == 2  # one for each thread
    cost, grads = many.value_and_grad(["k"])
    np.testing.assert_allclose(cost, [one[0]] * 11, rtol=1e-12)
    np.testing.assert_allclose(grads["k"], 11 * one[1]["k"], rtol=1e-9, atol=1e-12)


def elsewhere(work):
    """Do it in another thread."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


def test_another_thread_makes_arrays(runtime):
    """Of NumPy, on which machine code runs: begun, gone on with and closed wherever."""
    if not runtime.native:
        pytest.skip("Taichi's fields are made in one thread: see below")
    the_pool().release()
    rollout = ds.Rollout(Stencil(), steps=2, mode="step")
    want, grads = elsewhere(lambda: rollout.value_and_grad(["k"]))
    assert rollout.value() == pytest.approx(want, rel=1e-12)
    elsewhere(rollout.close)
    elsewhere(the_pool().release)
    assert the_pool().idle_bytes == 0
    again = ds.Rollout(Stencil(), steps=2, mode="fused").value_and_grad(["k"])
    assert again[0] == pytest.approx(want, rel=1e-12)
    np.testing.assert_allclose(grads["k"], again[1]["k"], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("compiler", ["taichi"], indirect=True)
def test_another_thread_runs_and_lets_go_but_makes_no_fields(runtime):
    """Where Taichi alone ends with an assertion of its own, amid the work."""
    the_pool().release()
    rollout = ds.Rollout(Stencil(), steps=2, mode="step")
    if runtime.native:  # which asks nobody for memory but the system
        assert elsewhere(rollout.value) == rollout.value()
        return
    with pytest.raises(StateError, match="must be made in the thread that called diffsim"):
        elsewhere(rollout.value)
    want = rollout.value()
    assert elsewhere(rollout.value) == pytest.approx(want, rel=1e-12)
    elsewhere(rollout.close)
    elsewhere(the_pool().release)
    assert the_pool().idle_bytes == 0
    assert trees._trees.waiting
    assert ds.Rollout(Stencil(), steps=2, mode="step").value() == pytest.approx(want, rel=1e-12)
    assert not trees._trees.waiting
