"""Scratches that are computed again on the way back: the same bits, chosen by bytes and steps."""

# No `from __future__ import annotations` here: Taichi reads kernel annotations as objects, not as text.
from typing import Any

import numpy as np
import pytest
import taichi as ti

import diffsim as ds
from diffsim.compiler.codegen import stages
from diffsim.errors import ConfigError

N = 6


class Many(ds.Simulator):
    """All that a step can have: places written over, a method with its own adjoint, costs, ends, chance."""

    def __init__(self, layout: Any = None) -> None:
        self.x = ds.State(ds.real, N, init=np.linspace(0.1, 0.9, N))
        self.k = ds.Param(ds.real, N, init=np.linspace(0.5, 1.0, N))
        self.f = ds.Scratch(ds.real, N)
        self.g = ds.Scratch(ds.real, N)
        self.total = ds.Scratch(ds.real)
        self.grid = ds.Scratch(ds.real, 64, layout=layout)
        self.work = ds.Workspace(ds.real, N)

    @ti.kernel
    def push(self, t: ti.i32):
        for i in range(N):
            self.f[t, i] += ti.sin(self.k[i] * self.x[i]) + 0.01 * ds.randn(t, i)
            self.x[i] += 0.1 * self.f[t, i]  # written over what was read
            self.x[i] *= 1.0 - 0.05 * self.x[i]

    @ti.kernel
    def deposit(self, t: ti.i32):
        for i in range(N):
            cell = ti.cast(ds.stop_gradient(20.0 * ti.abs(self.x[t, i])), ti.i32)
            self.grid[t, cell % 64] += self.f[t, i] ** 2

    @ti.kernel
    def weigh(self, t: ti.i32):
        for c in self.grid:
            self.total[t] += self.grid[t, c] ** 2
        for i in range(N):
            self.cost[None] += 0.01 * self.total[t] * self.k[i] + self.g[t, i]
            if self.x[t + 1, i] > 1.15:
                self.done[None] = True

    @ti.kernel
    def square(self, t: ti.i32):
        for i in range(N):
            self.work[i] = self.f[t, i]
        for i in range(N):
            self.g[t, i] = self.work[i] * self.work[i]

    @ti.kernel
    def square_adjoint(self, t: ti.i32):
        for i in range(N):
            self.work[i] = self.g.grad[t, i]
        for i in range(N):
            self.f.grad[t, i] += 2.0 * self.f[t, i] * self.work[i]

    @ti.kernel
    def end(self, t: ti.i32):
        for i in range(N):
            self.f[t, i] = self.x[t, i] ** 2
        for i in range(N):
            self.cost[None] += self.f[t, i] * self.k[i]

    def squared(self, t):
        self.square(t)

    @ds.adjoint_of(squared)
    def squared_adjoint(self, t):
        self.square_adjoint(t)

    def step(self, t):
        self.push(t)
        self.deposit(t)
        self.squared(t)

    def running_cost(self, t):
        self.weigh(t)

    def terminal_cost(self, t):
        self.end(t)


def found(sim: Many, steps: int = 11, **how: Any) -> tuple[Any, dict[str, Any], ds.Rollout]:
    rollout = ds.Rollout(sim, steps, **how)
    cost, grads = rollout.value_and_grad(wrt=[sim.x, sim.k])
    return cost, grads, rollout


@pytest.mark.parametrize("mode", ["fused", "step"])
@pytest.mark.parametrize("grid", [None, ds.sparse(block=4)], ids=["dense", "sparse"])
def test_scratches_that_are_computed_again_give_the_same_bits(runtime, mode, grid):
    sim = Many(grid)
    cost, grads, held = found(sim, mode=mode, scratch="held")
    for how in ({}, {"window": 3}, {"window": 2, "schedule": "two-level", "host_memory": "1MiB"}):
        other, gradients, rollout = found(sim, mode=mode, scratch="recomputed", **how)
        assert other == cost
        for key, array in grads.items():
            np.testing.assert_array_equal(gradients[key], array, err_msg=f"{key} {how}")
        assert rollout.plan.bytes["scratch"] < held.plan.bytes["scratch"]
        assert "recomputed, as asked for" in str(rollout.plan)
    assert np.all(rollout.trajectory("f") == held.trajectory("f"))
    assert found(sim, mode=mode, scratch="recomputed")[0] == cost  # behind a look at them
    assert rollout.check_grad(directions=1, modes=False, forward=False).passed


@pytest.mark.parametrize("mode", ["fused", "step"])
def test_worlds_compute_their_own_again_and_end_early(runtime, mode):
    sims, done = (Many(), Many()), []
    results = [
        found(sim, 30, worlds=5, window=7, mode=mode, scratch=scratch, progress=lambda *at: done.append(at))
        for sim, scratch in zip(sims, ("held", "recomputed"), strict=True)
    ]
    assert results[0][2].lengths.max() < 30  # after the first windows no world runs any more
    assert done[-1][0] == done[-1][1]
    np.testing.assert_array_equal(results[0][0], results[1][0])
    for key, array in results[0][1].items():
        np.testing.assert_allclose(results[1][1][key], array, rtol=1e-13)
    np.testing.assert_array_equal(results[0][2].lengths, results[1][2].lengths)


def test_a_step_that_is_not_run_again_is_seen(runtime, monkeypatch):
    sim = Many()
    grads = found(sim, mode="fused", scratch="held")[1]
    monkeypatch.setattr(stages.StageSet, "again", property(lambda self: []))
    gradients = found(sim, mode="fused", scratch="recomputed", window=4)[1]
    assert not np.allclose(gradients["k"], grads["k"])


class Grid(ds.Simulator):
    """A State of few numbers beside a large Scratch."""

    def __init__(self) -> None:
        self.x = ds.State(ds.real, 8)
        self.k = ds.Param(1.0)
        self.wide = ds.Scratch(ds.real, 1000)

    @ti.kernel
    def spread(self, t: ti.i32):
        for i in range(1000):
            self.wide[t, i] = self.k[None] * self.x[t, i % 8]

    @ti.kernel
    def gather(self, t: ti.i32):
        for i in range(8):
            self.x[t + 1, i] = 0.1 * self.wide[t, i] + 1.0

    @ti.kernel
    def end(self, t: ti.i32):
        self.cost[None] += self.x[t, 0]

    def step(self, t):
        self.spread(t)
        self.gather(t)

    def terminal_cost(self, t):
        self.end(t)


def test_the_planner_weighs_bytes_against_steps(runtime):
    def planned(memory: str, **how: Any) -> ds.Plan:
        return ds.plan(Grid(), 1000, memory=memory, **how)

    roomy, tight = planned("64MiB"), planned("100KiB")
    assert roomy.layout.held
    assert roomy.scratch == "held: all of them fit"
    assert not tight.layout.held
    assert tight.segments == 1
    assert tight.recomputation == 2.0
    assert planned("100KiB", scratch="held").segments > 8
    assert "less for each step of a window" in str(tight)
    [*_, everything] = tight.larger
    assert planned(f"{everything[0]}").layout.held
    assert everything[1] == planned(f"{everything[0]}").recomputation == 1.0
    middle = planned("4MiB")
    assert middle.layout.held
    assert middle.recomputation < 1.9
    assert planned("100KiB", mode="chunk").layout.held


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"scratch": "kept"}, "scratch must be one of auto, held, recomputed, got 'kept'"),
        ({"scratch": "recomputed", "mode": "chunk"}, "scratch must be 'held' in mode 'chunk'"),
        ({"scratch": "recomputed", "schedule": "mixed"}, "scratch must be 'held' in a mixed schedule"),
    ],
)
def test_what_cannot_be_is_refused(runtime, how, words):
    with pytest.raises(ConfigError, match=words):
        ds.plan(Grid(), 10, **how)
