"""What passes between the host and a device for one gradient: counted, so that it stays little."""

import numpy as np
import pytest
import taichi as ti

import diffsim as ds
from diffsim.engine.tally import Tally
from diffsim.errors import StateError

STEPS, N = 6, 5
MODES = {"step": {"mode": "step"}, "chunk": {"mode": "chunk", "chunk": 2}, "fused": {"mode": "fused"}}


@pytest.fixture(scope="module")
def layout():
    return "device"


class Robot(ds.Simulator):
    """A chain of points with a small controller: shared weights, sums over points, a moment to end."""

    def __init__(self):
        self.x = ds.State(ds.vec2, N, per_world=True)
        self.v = ds.State(ds.vec2, N)
        self.push = ds.Scratch(ds.real)
        self.weights = ds.Param(np.linspace(-0.3, 0.4, N))
        self.bias = ds.Param(0.1)
        self.u = ds.Control(ds.real)
        self.order = ds.Constant(np.arange(N)[::-1].copy())

    @ti.kernel
    def think(self, t: ti.i32):
        for i in range(N):
            self.push[t] += ti.tanh(self.weights[i] * self.x[t, i][0] + self.bias[None]) + self.u[t]

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(N):
            ahead = self.x[t, self.order[i]]
            pushed = ti.Vector([0.02 * self.push[t], 0.0])
            self.v[t + 1, i] = 0.9 * self.v[t, i] + 0.1 * (ahead - self.x[t, i]) + pushed
            self.x[t + 1, i] = self.x[t, i] + 0.1 * self.v[t + 1, i]

    def step(self, t):
        self.think(t)
        self.move(t)

    @ti.kernel
    def spend(self, t: ti.i32):
        for i in range(N):
            assert self.v[t, i][1] < 90.0
            self.cost[None] += self.x[t, i].norm_sqr()
            if self.x[t, i][0] > 50.0:
                self.done[None] = True

    def running_cost(self, t):
        self.spend(t)

    @ti.kernel
    def miss(self, t: ti.i32):
        for i in range(N):
            self.cost[None] += self.v[t, i].norm_sqr()

    def terminal_cost(self, t):
        self.miss(t)


def starts(worlds):
    return np.random.default_rng(3).normal(size=(worlds, N, 2))


@pytest.fixture(scope="module", params=MODES)
def run(request, runtime):
    """A robot in a mode, run once before anything is counted."""
    sim = Robot()
    sim.x.set(starts(3))
    with ds.Rollout(sim, STEPS, worlds=3, **MODES[request.param]) as rollout:
        yield request.param, sim, rollout, rollout.value_and_grad()


def test_launches_reads_and_bytes_of_a_gradient(run):
    mode, sim, rollout, first = run
    tally = rollout._engine.storage.tally
    tally.clear()
    rollout.value_and_grad()
    # costs and ends of three worlds and a flag; then gradients, a flag and the largest adjoint handed back
    entries = rollout.plan.layout.times(rollout._engine.lowered.buffers.by_field[id(sim.u)])
    read = 3 * 8 + 4 * 4 + 4 + 8 * (N + 1 + entries) + 2 * 8 + 4
    # what puts out alarms, sums lanes, looks at adjoints; what goes through time; what is around it
    launches = 3 + {"fused": 2, "chunk": 2 * 3 + 12, "step": STEPS * (4 + 4) + 12}[mode]
    assert tally == Tally(launches, reads=2, bytes_read=read)
    tally.clear()
    rollout.evaluate()
    assert (tally.reads, tally.bytes_read) == (2, 3 * 8 + 4 * 4 + 4 + 2 * 8 + 4)
    tally.clear()
    np.testing.assert_array_equal(rollout.value(), first[0])
    assert (tally.reads, tally.bytes_read) == (1, 3 * 8 + 4 * 4 + 4)
    tally.clear()
    sim.u.set(0.0)  # another version of the same values
    rollout.value()
    assert (tally.writes, tally.bytes_written) == (1, 8 * entries)


def test_what_goes_wrong_is_told_as_on_a_cpu(run):
    _, sim, rollout, first = run
    sim.v.set([[0.0, 100.0]] * N)
    with pytest.raises(StateError, match=r"must hold, got .* = 100.0 at step 0 of world 0"):
        rollout.value_and_grad()
    sim.v.set(0.0)
    sim.u.set(-np.inf)
    with pytest.raises(StateError, match=r"world 0 must be finite, .* x is first not finite at step 1"):
        rollout.value_and_grad()
    sim.u.set(0.0)
    again = rollout.value_and_grad()  # and nothing of it is left
    for got, want in zip([again[0], *again[1].values()], [first[0], *first[1].values()], strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12)
