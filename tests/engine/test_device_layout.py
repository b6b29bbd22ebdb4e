"""The memory, copies and rules of a GPU on the CPU: what they compute, and that nothing of the CPU's is left.

Tests of other modules run with both layouts where they are marked `layouts` (tests/conftest.py).
"""

import re
import runpy
from pathlib import Path

import numpy as np
import pytest
import taichi as ti
from chunk_programs import KEYS, Chain, assert_near

import diffsim as ds
from diffsim import _backends
from diffsim.errors import ConfigError

STEPS, DT = 6, 0.1
MODES = {"step": {"mode": "step"}, "chunk": {"mode": "chunk", "chunk": 2}, "fused": {"mode": "fused"}}
START = {"x": 0.7, "k": 1.3, "q": 0.4, "u": np.linspace(-1.0, 1.0, STEPS), "c": 0.9, "end": 4}


@pytest.fixture(scope="module")
def layout():
    return "device"


class Numbers(ds.Simulator):
    """A number of each kind of field: carried, within a step, learned, per step, given, and when to end."""

    def __init__(self, per_world=False):
        self.x = ds.State(ds.real, per_world=per_world)
        self.f = ds.Scratch(ds.real)
        self.k = ds.Param(0.0)
        self.q = ds.Param(0.0, per_world=per_world)
        self.u = ds.Control(ds.real)
        self.c = ds.Constant(0.0)
        self.end = ds.Constant(np.array(0), per_world=per_world)

    @ti.kernel
    def move(self, t: ti.i32):
        self.f[t] = self.u[t] * self.k[None] - self.c[None] * self.q[None] * self.x[t] ** 2
        self.x[t + 1] = self.x[t] + DT * self.f[t]

    def step(self, t):
        self.move(t)

    @ti.kernel
    def spend(self, t: ti.i32):
        self.cost[None] += self.f[t] ** 2
        if t + 1 == self.end[None]:
            self.done[None] = True

    def running_cost(self, t):
        self.spend(t)

    @ti.kernel
    def miss(self, t: ti.i32):
        self.cost[None] += self.x[t] ** 3

    def terminal_cost(self, t):
        self.miss(t)


def reference(v):
    """Return the cost and the path in NumPy; complex numbers pass."""
    x, cost, path = v["x"], 0.0, [v["x"]]
    for t in range(v["end"]):
        f = v["u"][t] * v["k"] - v["c"] * v["q"] * x**2
        x = x + DT * f
        cost = cost + f**2
        path.append(x)
    return cost + x**3, path + [x] * (STEPS - v["end"])


def slopes(v, key):
    """Return the derivative of the cost by complex steps, exact to rounding."""
    found = np.zeros(np.shape(v[key]))
    for index in np.ndindex(found.shape):
        moved = np.array(v[key], dtype=complex)
        moved[index] += 1e-30j
        found[index] = reference({**v, key: moved})[0].imag / 1e-30
    return found


def worlds_of(worlds):
    """Return what each world has: x, q and the end differ."""
    return [{**START, "x": 0.7 - 0.2 * w, "q": 0.4 + 0.3 * w, "end": 4 + w % 3} for w in range(worlds)]


def given(sim, worlds):
    for key in START:
        field = getattr(sim, key)
        field.set(np.array([v[key] for v in worlds]) if field.per_world else worlds[0][key])


@pytest.mark.parametrize("worlds", [1, 3])
@pytest.mark.parametrize("mode", MODES)
def test_numbers_of_every_kind(runtime, mode, worlds):
    assert runtime.arch == "cuda" or runtime.device_layout
    each = worlds_of(worlds)
    sim = Numbers(per_world=worlds > 1)
    given(sim, each)
    with ds.Rollout(sim, STEPS, worlds=worlds, **MODES[mode]) as rollout:
        assert rollout.plan.layout.world_last
        assert not rollout._engine.storage.on_cpu
        cost, grads = rollout.value_and_grad(["x", "k", "q", "u"])
        want = [reference(v) for v in each]
        np.testing.assert_allclose(cost, [c for c, _ in want] if worlds > 1 else want[0][0], rtol=1e-12)
        for key, grad in grads.items():
            own = np.array([slopes(v, key) for v in each])
            own = own if getattr(sim, key).per_world else own.sum(axis=0)
            np.testing.assert_allclose(grad, own, rtol=1e-11, atol=1e-13, err_msg=key)
        path = np.array([p for _, p in want]).T
        got = rollout.trajectories({"x": sim.x, "u": sim.u})
        np.testing.assert_allclose(got["x"], path if worlds > 1 else path[:, 0], rtol=1e-12)
        np.testing.assert_array_equal(got["u"].T, np.broadcast_to(START["u"], got["u"].T.shape))
        np.testing.assert_array_equal(rollout.lengths, [v["end"] for v in each][: worlds or 1])
        leaves = {leaf.key: leaf for leaf in rollout.leaves(["k", "q", "x"])}
        rollout.touch(leaves.values())  # only the device knows them now
        for key in ("k", "q", "x"):
            wanted = [v[key] for v in each] if getattr(sim, key).per_world else START[key]
            np.testing.assert_array_equal(getattr(sim, key).numpy(), wanted)


@pytest.fixture(scope="module")
def stored(runtime):
    """A chain of points, and its value and gradients with every step in memory."""
    sim = Chain(3)
    with ds.Rollout(sim, 11, mode="fused") as rollout:
        return sim, rollout.value_and_grad(KEYS), rollout.trajectory(sim.x)


@pytest.mark.parametrize("schedule", ["multistage", "mixed"])
@pytest.mark.parametrize("tier", ["device", "host", "disk"])
def test_checkpoints_in_every_tier(stored, tmp_path, tier, schedule):
    sim, expected, path = stored
    chosen = {"mode": "fused", "window": 2, "schedule": schedule}
    if tier != "device":
        plan = ds.plan(sim, 11, **chosen)
        one = ds.plan(sim, 11, window=2, schedule="multistage")
        room = one.bytes["checkpoints"] // one.tiers["device"]  # what States need on their way out
        chosen["memory"] = plan.total_bytes - plan.bytes["checkpoints"] + room
        chosen |= {"host_memory": "1MiB"} if tier == "host" else {"spill": tmp_path}
    with ds.Rollout(sim, 11, **chosen) as rollout:
        assert [name for name, count in rollout.plan.tiers.items() if count] == [tier]
        assert rollout.plan.schedule.kind == schedule
        assert_near(rollout.value_and_grad(KEYS), expected)
        np.testing.assert_array_equal(rollout.trajectory(sim.x, every=3), path[::3])


def test_fields_for_staging_are_in_the_plan(stored):
    """Also where a mixed schedule has too few places for windows, and keeps States in some."""
    sim, expected, _ = stored
    plan = ds.plan(sim, 11, window=2, schedule="mixed")
    window = plan.bytes["checkpoints"] // plan.tiers["device"]
    one = ds.plan(sim, 11, window=2, schedule="multistage")
    room = one.bytes["checkpoints"] // one.tiers["device"]
    memory = plan.total_bytes - plan.bytes["checkpoints"] + room
    chosen = {"window": 2, "schedule": "mixed", "memory": memory, "host_memory": 2 * window}
    with ds.Rollout(sim, 11, mode="fused", **chosen) as rollout:
        assert rollout.plan.tiers["host"] == 2
        assert rollout.plan.bytes["staging"] == room
        assert_near(rollout.value_and_grad(KEYS), expected)


def test_the_readme_begins_to_learn(runtime, tmp_path):
    """Its pendulum has nothing but numbers; a few iterations of the optimiser go the way that NumPy's go."""
    text = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    program = re.search(r"```python\n(import diffsim.*?)\nds\.init", text, re.S)
    (tmp_path / "pendulum.py").write_text(program[1], encoding="utf-8")
    sim = runpy.run_path(str(tmp_path / "pendulum.py"))["Pendulum"]()
    sim.torque.set(0.01)
    with ds.Rollout(sim, steps=5) as rollout:
        cost, grads = rollout.value_and_grad()
        result = ds.minimize(rollout, optimizer=ds.optim.SGD(lr=0.05), iterations=3)
        assert result.costs[2] < result.costs[1] < result.costs[0] == cost
        assert rollout.leaves()[0].numpy().shape == (5,)
        sim.torque.set(0.01 - 0.05 * grads["torque"])
        assert rollout.value() == pytest.approx(result.costs[1], rel=1e-12)


def test_what_a_gpu_cannot_have_is_said(runtime, monkeypatch):
    assert "DIFFSIM_LAYOUT" in _backends.why_unguarded("x64", True)
    assert not runtime.native
    monkeypatch.setenv("DIFFSIM_LAYOUT", "device")
    with pytest.raises(ConfigError, match="got 'native' where a GPU's kernels are Taichi's"):
        ds.init(compiler="native")
    monkeypatch.setenv("DIFFSIM_LAYOUT", "sideways")
    with pytest.raises(ConfigError, match="DIFFSIM_LAYOUT must be host or device, got 'sideways'"):
        ds.init()
