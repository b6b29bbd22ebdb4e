"""Lists of neighbours against all pairs: forces, gradients, and what they refuse."""

import numpy as np
import pytest
import taichi as ti

import diffsim as ds
from diffsim.errors import ConfigError, StateError

N, STEPS, CUTOFF, DT = 30, 6, 0.25, 0.02


class Cloud(ds.Simulator):
    """Particles that push each other apart, found in lists or among all."""

    def __init__(self, dim: int, listed: bool, skin: float = 0.0, capacity: int = 32):
        rng = np.random.default_rng(dim)
        vec = ds.vec2 if dim == 2 else ds.vec3
        self.x = ds.State(vec, N, init=rng.uniform(-0.1, 1.0, size=(N, dim)), per_world=True)
        self.v = ds.State(vec, N, init=0.5 * rng.normal(size=(N, dim)))
        self.k, self.listed = ds.Param(np.array(2.0)), listed
        if listed:  # some particles are outside of the box
            self.near = ds.neighbors(self.x, CUTOFF, low=0.0, high=[0.9] * dim, capacity=capacity, skin=skin)

    @ti.func
    def push(self, t, i, j):
        d = self.x[t, i] - self.x[t, j]
        return self.k[None] * ti.max(1.0 - d.norm_sqr() / CUTOFF**2, 0.0) ** 2 * d

    @ti.kernel
    def among_all(self, t: ti.i32):
        for i in range(N):
            f = 0.0 * self.v[t, i]
            for j in range(N):
                f += self.push(t, i, j)
            self.v[t + 1, i] = self.v[t, i] + f

    @ti.kernel
    def from_lists(self, t: ti.i32):
        for i in range(N):
            f = 0.0 * self.v[t, i]
            for k in range(self.near.count(t, i)):
                f += self.push(t, i, self.near.at(t, i, k))
            self.v[t + 1, i] = self.v[t, i] + f

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(N):
            self.x[t + 1, i] = self.x[t, i] + DT * self.v[t + 1, i]

    @ti.kernel
    def loss(self, t: ti.i32):
        for i in range(N):
            self.cost[None] += self.x[t, i].norm_sqr() * (i - 10.0)

    def step(self, t):
        if self.listed:
            self.near(t)
            self.from_lists(t)
        else:
            self.among_all(t)
        self.move(t)

    def terminal_cost(self, t):
        self.loss(t)


@pytest.mark.parametrize(
    ("dim", "skin", "options"),
    [
        (2, 0.0, {"mode": "step"}),
        (2, 0.1, {"window": 3}),
        (3, 0.1, {"mode": "chunk"}),
        (3, 0.0, {"worlds": 2}),
    ],
)
def test_lists_give_what_all_pairs_do(runtime, dim, skin, options):
    worlds = options.get("worlds", 1)
    wanted, sim = Cloud(dim, listed=False), Cloud(dim, listed=True, skin=skin)
    if worlds > 1:
        starts = np.stack([wanted.x.numpy(), wanted.x.numpy()[::-1] * 0.9])
        wanted.x.set(starts)
        sim.x.set(starts)
    cost, grads = ds.Rollout(wanted, steps=STEPS, worlds=worlds).value_and_grad(["k", "x"])
    rollout = ds.Rollout(sim, steps=STEPS, **options)
    found_cost, found = rollout.value_and_grad(["k", "x"])
    np.testing.assert_allclose(found_cost, cost, rtol=1e-12)
    for key, gradient in grads.items():
        assert np.abs(gradient).max() > 0.0
        np.testing.assert_allclose(found[key], gradient, rtol=1e-9, atol=1e-11, err_msg=key)
    counts = rollout.trajectory("near.counts")
    assert counts.dtype == np.int32
    if skin:
        made = rollout.trajectory("near.stale") > 0
        assert made[0]
        assert 1 < made.sum() < STEPS, "lists are used for some steps, not for ever"


def test_the_lists_themselves(runtime):
    sim = Cloud(2, listed=True)
    rollout = ds.Rollout(sim, steps=2)
    held = rollout.trajectories([sim.x, sim.near.counts, sim.near.lists])
    for x, counts, lists in zip(held["x"], held["near.counts"], held["near.lists"], strict=False):
        apart = np.linalg.norm(x[:, None] - x[None], axis=-1) + np.eye(N)
        for i in range(N):
            assert sorted(lists[i, : counts[i]]) == np.flatnonzero(apart[i] < CUTOFF).tolist()


def test_the_gradient_is_that_of_differences(runtime):
    report = ds.Rollout(Cloud(2, listed=True, skin=0.05), steps=STEPS).check_grad(["k", "x"], 2)
    assert report.passed, str(report)


def test_too_many_neighbours_are_told_of(runtime):
    sim = Cloud(2, listed=True, capacity=4)
    sim.x.set(np.stack([np.linspace(0.0, 9.0, 2 * N).reshape(N, 2), np.full((N, 2), 0.3)]))
    with pytest.raises(
        StateError, match=r"at step 0 of world 1; particle \d+ has 29 neighbours: raise capacity=4"
    ):
        ds.Rollout(sim, steps=3, worlds=2).value()


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"positions": ds.State(ds.real, 4)}, "positions must be a State or Scratch of ds.vec2 or ds.vec3"),
        ({"positions": ds.State(ds.ivec2, 4)}, "positions must be"),
        ({"positions": ds.State(ds.vec2, 2, 2)}, "positions must be"),
        ({"cutoff": 0.0}, "cutoff must be positive, got 0.0"),
        ({"cutoff": float("nan")}, "cutoff must be positive"),
        ({"skin": -1}, "skin must be zero or more"),
        ({"capacity": 0}, "capacity must be a positive integer"),
        ({"low": [0.0, 0.0, 0.0]}, "low must be a number or 2 of them"),
        ({"high": -1.0}, "high must lie above low"),
    ],
)
def test_what_is_refused(change, match):
    given = {"positions": ds.State(ds.vec2, 4), "cutoff": 0.1, "low": 0.0, "high": 1.0} | change
    with pytest.raises(ConfigError, match=match):
        ds.neighbors(**given)
