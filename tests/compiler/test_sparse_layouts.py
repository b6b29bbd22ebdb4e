"""Sparse layouts against dense ones: value and gradient, wherever both fit, and what goes wrong with them."""

# No `from __future__ import annotations` here: Taichi reads kernel annotations as objects, not as text.
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import taichi as ti
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays

import diffsim as ds
from diffsim.compiler.program.sparse import phases, stages
from diffsim.errors import CapacityError

SHAPE = (19, 14)  # no multiples of any block
N = 3
STEPS = 6


@ti.func
def spline(way, k):
    rest = 1.5 - ti.abs(way)
    return ti.select(k == 1, 0.75 - way * way, 0.5 * rest * rest)


class Cloud(ds.Simulator):
    """Points share momentum through a grid, and end their world far to the right."""

    def __init__(self, layout: Any = None, many: bool = False, ends: bool = False) -> None:
        self.x = ds.State(ds.vec2, N, init=np.full((N, 2), 6.0), per_world=many)
        self.v = ds.State(ds.vec2, N, per_world=many)
        self.drag = ds.Param(0.3)
        self.mass = ds.Scratch(ds.real, *SHAPE, layout=layout)
        self.momentum = ds.Scratch(ds.vec2, *SHAPE, layout=layout)
        self.ends = ends

    @ti.func
    def corner(self, x):
        base = ti.cast(ds.stop_gradient(x - 0.5), ti.i32)
        return base, x - ti.cast(base, ds.real)

    @ti.kernel
    def scatter(self, t: ti.i32):
        for p in range(N):
            base, offset = self.corner(self.x[t, p])
            for i, j in ti.ndrange(3, 3):
                weight = spline(i - offset[0], i) * spline(j - offset[1], j)
                self.mass[t, base + ti.Vector([i, j])] += weight
                self.momentum[t, base + ti.Vector([i, j])] += weight * self.v[t, p]

    @ti.kernel
    def crowd(self, t: ti.i32):
        for cell in ti.grouped(self.mass):
            self.cost[None] += self.mass[t, cell] ** 2 + 0.1 * cell[0] * self.momentum[t, cell][1] ** 2

    @ti.kernel
    def gather(self, t: ti.i32):
        for p in range(N):
            base, offset = self.corner(self.x[t, p])
            mean = ti.Vector([0.0, 0.0])
            for i, j in ti.ndrange(3, 3):
                weight = spline(i - offset[0], i) * spline(j - offset[1], j)
                mean += weight * self.momentum[t, base + ti.Vector([i, j])]
            self.v[t + 1, p] = self.v[t, p] + self.drag[None] * (mean - self.v[t, p])
            self.x[t + 1, p] = self.x[t, p] + 0.4 * self.v[t + 1, p]
            if ti.static(self.ends):
                if self.x[t + 1, p][0] > 8.0:
                    self.done[None] = True

    def step(self, t):
        self.scatter(t)
        self.crowd(t)
        self.gather(t)


def results(rollout: ds.Rollout, wrt: Any = ("x", "v", "drag")) -> dict[str, Any]:
    cost, grads = rollout.value_and_grad(wrt=list(wrt))
    return {"cost": np.asarray(cost), **grads}


def assert_alike(found: dict[str, Any], wanted: dict[str, Any], rtol: float = 1e-10) -> None:
    for key, array in wanted.items():
        np.testing.assert_allclose(
            found[key], array, rtol=rtol, atol=1e-12 * max(1.0, float(np.abs(array).max())), err_msg=key
        )


@pytest.fixture(scope="module")
def clouds(runtime):
    """The dense program, and sparse ones in all modes, with windows, checkpoints and tiers."""
    sims = [Cloud(), *(Cloud(ds.sparse(block=b, levels=k)) for b, k in ((4, 2), (2, 3), (8, 1), (4, 2)))]
    how: list[dict[str, Any]] = [
        {},
        {"mode": "fused"},
        {"mode": "step", "window": 2},
        {"mode": "fused", "window": 1, "host_memory": "1MiB"},
        {"mode": "chunk", "chunk": 2},
    ]
    return [ds.Rollout(sim, STEPS, **kwargs) for sim, kwargs in zip(sims, how, strict=True)]


# from one corner of the domain to the other: in six steps points cross blocks, meet, leave and come back
places = arrays(np.float64, (N, 2), elements=st.floats(0.0, 1.0))
speeds = arrays(np.float64, (N, 2), elements=st.floats(-1.0, 1.0))


@settings(max_examples=25)
@given(places, speeds)
def test_points_are_moved_as_on_a_dense_grid(clouds, places, speeds):
    low, high = np.full(2, 3.5), np.array(SHAPE) - 4.5
    for rollout in clouds:
        rollout.sim.x.set(low + places * (high - low))
        rollout.sim.v.set(speeds)
    wanted = results(clouds[0])
    for rollout in clouds[1:]:
        assert_alike(results(rollout), wanted)


def test_worlds_have_blocks_of_their_own_and_end_by_themselves(runtime):
    rng = np.random.default_rng(3)
    x, v = rng.uniform(4.0, 9.0, (9, N, 2)), rng.normal(size=(9, N, 2))
    found = []
    for layout, kwargs in (
        (None, {}),
        (ds.sparse(block=4), {"mode": "fused", "window": 4}),
        (ds.sparse(block=2), {"mode": "step"}),
    ):
        sim = Cloud(layout, many=True, ends=True)
        rollout = ds.Rollout(sim, STEPS, worlds=9, **kwargs)
        sim.x.set(x)
        sim.v.set(v)
        found.append((results(rollout), rollout.lengths))
    for other, lengths in found[1:]:
        assert_alike(other, found[0][0])
        np.testing.assert_array_equal(lengths, found[0][1])
    assert 0 < found[0][1].min() < STEPS
    counts = rollout.occupancy()["blocks of mass"]
    assert counts.shape == (STEPS, 9)
    assert len(np.unique(counts[0])) > 1


@pytest.mark.parametrize("offset", [-1e-7, 0.0, 1e-7])
def test_a_block_that_becomes_active_changes_neither_value_nor_gradient(clouds, offset):
    """At x = 6.5 the last of a point's three nodes is 8, the first of a block, with weight zero."""
    rollout = clouds[1]
    start = np.array([[6.5 + offset, 6.2], [11.5, 10.5], [6.3, 5.5]])
    rollout.sim.v.set(np.zeros((N, 2)))

    def value(shift: float) -> float:
        rollout.sim.x.set(start + np.array([[shift, 0.0], [0.0, 0.0], [0.0, 0.0]]))
        return float(rollout.value())

    blocks = []
    for shift in (-1e-3, 1e-3):
        value(shift)
        blocks.append(int(rollout.occupancy()["blocks of mass"][0]))
    assert blocks[0] < blocks[1]
    h = 1e-6  # the second derivative jumps, so that differences are off by h
    slope = (value(h) - value(-h)) / (2.0 * h)
    rollout.sim.x.set(start)
    assert results(rollout)["x"][0, 0] == pytest.approx(slope, rel=1e-5, abs=1e-7)
    sides = [(value(s * h) - value(0.0)) / (s * h) for s in (1.0, -1.0)]
    assert sides[0] == pytest.approx(sides[1], rel=1e-3, abs=1e-4)


def test_planted_faults_are_seen(runtime, monkeypatch):
    def broken(name: str, module: Any, fault: Any) -> dict[str, Any]:
        with monkeypatch.context() as patched:
            patched.setattr(module, name, fault)
            sim = Cloud(ds.sparse(block=4))
            sim.v.set(np.ones((N, 2)))
            return results(ds.Rollout(sim, STEPS, mode="step"))

    dense = Cloud()
    dense.v.set(np.ones((N, 2)))
    wanted = results(ds.Rollout(dense, STEPS))
    none = stages.zero_first
    faults = {
        "zero_stage": lambda version, fields, before, real: none(version, fields, real),
        "zero_first": lambda version, fields, real: none(version, [], real),
    }
    with pytest.raises(AssertionError):
        assert_alike(broken("zero_stage", phases, faults["zero_stage"]), wanted)
    assert_alike(broken("zero_first", phases, faults["zero_first"]), wanted)  # reads of what is not there


def test_too_few_blocks_are_told_and_mended(runtime):
    """World 2 spreads from step 3 on: the error says so, and nothing is spoiled."""
    layout = ds.sparse(block=2, capacity=8)
    sim = Cloud(layout, many=True)
    rollout = ds.Rollout(sim, STEPS, worlds=3, mode="fused")
    x = np.full((3, N, 2), 6.4)
    v = np.zeros((3, N, 2))
    v[2] = [[1.5, 0.0], [-1.4, 1.2], [0.0, -1.4]]
    sim.x.set(x)
    sim.v.set(v)
    sim.drag.set(0.0)
    with pytest.raises(
        CapacityError, match=r"must be at most 8, got \d+ at step [2-5] of world 2; raise"
    ) as told:
        rollout.value_and_grad()
    assert told.value.needed > 8
    assert told.value.layout is layout
    sim.v.set(0.0 * v)  # what fits is right, in the same memory
    other = Cloud(None, many=True)
    dense = ds.Rollout(other, STEPS, worlds=3)
    for field, values in (("x", x), ("v", 0.0 * v), ("drag", 0.0)):
        getattr(other, field).set(values)
    assert_alike(results(rollout), results(dense))
    layout.capacity = told.value.needed + 20
    sim.v.set(v)
    other.v.set(v)
    assert_alike(results(rollout), results(dense))


def test_capacities_grow_by_themselves(runtime):
    layout = ds.sparse(block=2)
    layout._capacity = 1
    sim = Cloud(layout)
    sim.v.set([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]])
    rollout = ds.Rollout(sim, STEPS)
    frames = rollout.trajectory(sim.mass)
    assert layout.capacity > 1
    dense = Cloud()
    dense.v.set(sim.v.numpy())
    np.testing.assert_allclose(frames, ds.Rollout(dense, STEPS).trajectory("mass"), atol=1e-15)
    cells = rollout.cells(sim.mass, every=2)
    np.testing.assert_allclose(cells[1].dense(SHAPE), frames[2], atol=0.0)
    [room] = rollout.plan.rooms
    assert room.most == rollout.occupancy()["blocks of mass"].max() <= room.capacity


class Oblique(ds.Simulator):
    """Loops whose writes move along both axes: they pass through some blocks in one iteration only."""

    def __init__(self, layout=None):
        self.s = ds.Scratch(ds.real, 16, 16, layout=layout)
        self.a = ds.Param(0.5)

    @ti.kernel
    def go(self, t: ti.i32):
        for i in range(9):
            self.s[t, i, i + 2] += self.a[None] * (1.0 + i)
        for i in range(9):
            self.s[t, i, 9 - i] += self.a[None]

    @ti.kernel
    def pay(self, t: ti.i32):
        for i, j in self.s:
            self.cost[None] += self.s[t, i, j] ** 2

    def step(self, t):
        self.go(t)
        self.pay(t)


def test_oblique_writes_activate_all_blocks_they_pass_through(runtime):
    wanted, exact = ds.Rollout(Oblique(), 1).value_and_grad(wrt=["a"])
    for block in (2, 4):
        cost, grads = ds.Rollout(Oblique(ds.sparse(block=block)), 1).value_and_grad(wrt=["a"])
        assert cost == pytest.approx(wanted, rel=1e-12)
        assert grads["a"] == pytest.approx(exact["a"], rel=1e-12)
