"""Many worlds in every mode: each is what a rollout of one world computes."""

import dataclasses

import numpy as np
import pytest
from chunk_programs import KEYS, Chain, assert_near

import diffsim as ds
from diffsim.compiler.codegen.stepwise import Threads
from diffsim.engine.checkpoints import _paired
from diffsim.engine.executors import Executor
from diffsim.plan import Schedule, operations
from diffsim.plan.sizes import Sizes

STEPS, N, MOST = 5, 5, 7
OPTIONS = {"step": {"mode": "step"}, "chunk": {"mode": "chunk", "chunk": 2}, "fused": {"mode": "fused"}}
SHAPES = {"k": (N,), "u": (STEPS, 2), "mass": (N,), "x": (N, 2)}


@pytest.fixture(scope="module")
def values():
    """What each world has of its own, by field."""
    rng = np.random.default_rng(3)
    return {key: rng.uniform(0.5, 1.5, size=(MOST, *shape)) for key, shape in SHAPES.items()}


@pytest.fixture(scope="module")
def one_by_one(runtime, values):
    """Cost and gradients of each world by itself."""
    sim = Chain(N)
    rollout, found = ds.Rollout(sim, STEPS, mode="step"), []
    for w in range(MOST):
        for key, array in values.items():
            getattr(sim, key).set(array[w])
        found.append(rollout.value_and_grad(KEYS))
    rollout.close()
    return found


def together(one_by_one, worlds):
    """Return what many worlds should give: gradients of what they share are summed."""
    grads = {key: np.stack([g[key] for _, g in one_by_one[:worlds]]) for key in KEYS}
    grads["damping"] = grads["damping"].sum(axis=0)
    cost = np.array([cost for cost, _ in one_by_one[:worlds]])
    return (cost, grads) if worlds > 1 else one_by_one[0]


def many(values, worlds, **options):
    sim = Chain(N, per_world=worlds > 1)
    rollout = ds.Rollout(sim, STEPS, worlds=worlds, **options)
    rollout._engine._verified = 2  # compared with single worlds by these tests themselves
    for key, array in values.items():
        getattr(sim, key).set(array[:worlds] if worlds > 1 else array[0])
    found = rollout.value_and_grad(KEYS)
    path = rollout.trajectory(sim.x)
    rollout.close()
    return found, path


@pytest.mark.parametrize("worlds", [1, 2, 7])
@pytest.mark.parametrize("mode", OPTIONS)
def test_worlds_are_single_rollouts(one_by_one, values, mode, worlds):
    found, path = many(values, worlds, **OPTIONS[mode])
    assert_near(found, together(one_by_one, worlds))
    if worlds > 1:
        np.testing.assert_array_equal(path[0], values["x"][:worlds])


@pytest.mark.parametrize("mode", OPTIONS)
def test_the_world_axis_may_be_the_fastest(one_by_one, values, mode, monkeypatch):
    """The layout and the kernels of a GPU, on whatever runs the tests."""
    monkeypatch.setattr(Executor, "_threads", Threads(0))
    world_first = Sizes.layout
    monkeypatch.setattr(
        Sizes, "layout", lambda *args, **kw: dataclasses.replace(world_first(*args, **kw), world_last=True)
    )
    found, path = many(values, 3, window=2, **OPTIONS[mode])
    assert_near(found, together(one_by_one, 3))
    np.testing.assert_array_equal(path[0], values["x"][:3])


@pytest.mark.parametrize("threads", [2], scope="module")
@pytest.mark.parametrize("mode", OPTIONS)
def test_worlds_in_threads(one_by_one_of_large, mode):
    values, want = one_by_one_of_large
    sim = Chain(40, per_world=True)
    rollout = ds.Rollout(sim, STEPS, worlds=70, **OPTIONS[mode])
    sim.k.set(values)
    found = rollout.value_and_grad(KEYS)
    rollout.close()
    np.testing.assert_allclose(found[0], want[0], rtol=1e-12)
    np.testing.assert_allclose(found[1]["k"], want[1], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found[1]["damping"], want[2], rtol=1e-9)


@pytest.fixture(scope="module")
def one_by_one_of_large(runtime):
    """Stiffnesses of 70 worlds, with the cost and gradient of each by itself."""
    values = np.random.default_rng(4).uniform(0.5, 1.0, size=(70, 40))
    sim = Chain(40)
    rollout, found = ds.Rollout(sim, STEPS, mode="step"), []
    for row in values:
        sim.k.set(row)
        found.append(rollout.value_and_grad(KEYS))
    rollout.close()
    damping = sum(grads["damping"] for _, grads in found)
    return values, (np.array([c for c, _ in found]), np.stack([g["k"] for _, g in found]), damping)


@pytest.mark.cpu
@pytest.mark.parametrize("window", [None, 2])
def test_a_lane_of_several_worlds_runs_each_of_them_forward_and_back_at_once(one_by_one, values, window):
    sim = Chain(N, per_world=True)
    rollout = ds.Rollout(sim, STEPS, worlds=3, mode="fused", window=window)
    for key, array in values.items():
        getattr(sim, key).set(array[:3])
    cost, grads = rollout.value_and_grad(KEYS)
    executor = rollout._engine.executor
    assert executor.together
    assert set(executor._made) == {"gradient"}  # one kernel: the same bits in every window
    assert_near((cost, grads), together(one_by_one, 3))
    np.testing.assert_array_equal(rollout.value(), cost)
    rollout.close()


def test_what_is_run_at_once_is_told_as_two():
    plain = list(operations(Schedule("multistage", 5, device=1)))
    paired = list(_paired(plain))
    split = []
    for op in paired:  # the same with `gradient` and `adjoints` taken apart again
        if op.what == "gradient":
            split.append(op._replace(what="forward"))
        elif op.what == "adjoints":
            split.append(op._replace(what="backward"))
        else:
            split.append(op)
    assert split == plain
    assert [op.k for op in paired if op.what == "gradient"] == [4, 3, 2, 1, 0]  # every segment's last run
    mixed = list(_paired(operations(Schedule("mixed", 3, device=2))))
    assert [op.what for op in mixed if op.k == 0][-1] == "backward"  # its values were kept: nothing to run
