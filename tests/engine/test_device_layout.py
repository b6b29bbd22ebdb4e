"""The memory, copies and rules of a GPU on the CPU, beside what every backend must get right (test_core.py).

Tests of other modules run with both layouts where they are marked `layouts` (tests/conftest.py).
"""

import re
import runpy
from pathlib import Path

import pytest
from chunk_programs import KEYS, Chain, assert_near

import diffsim as ds
from diffsim import _backends
from diffsim.errors import ConfigError


@pytest.fixture(scope="module")
def layout():
    return "device"


@pytest.fixture(scope="module")
def stored(runtime):
    """A chain of points, and its value and gradients with every step in memory."""
    sim = Chain(3)
    with ds.Rollout(sim, 11, mode="step") as rollout:
        return sim, rollout.value_and_grad(KEYS), rollout.trajectory(sim.x)


def test_fields_for_staging_are_in_the_plan(stored):
    """Also where a mixed schedule has too few places for windows, and keeps States in some."""
    sim, expected, _ = stored
    plan = ds.plan(sim, 11, window=2, schedule="mixed")
    window = plan.bytes["checkpoints"] // plan.tiers["device"]
    one = ds.plan(sim, 11, window=2, schedule="multistage")
    room = one.bytes["checkpoints"] // one.tiers["device"]
    memory = plan.total_bytes - plan.bytes["checkpoints"] + room
    chosen = {"window": 2, "schedule": "mixed", "memory": memory, "host_memory": 2 * window}
    with ds.Rollout(sim, 11, mode="step", **chosen) as rollout:
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
