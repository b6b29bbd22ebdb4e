"""Thrown blocks against the projectile's closed form, muscles, gradients across contact, scenes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from simulator_checks import assert_gradient

import diffsim as ds
from diffsim.errors import ConfigError
from diffsim.kernels.elastic import Elastic, ElasticConfig, Scene, block, crawler, walker

COARSE: dict[str, Any] = {"cell": 1.0 / 12.0, "dt": 4e-3}
THROW = {2: (0.9, 0.4), 3: (0.9, -0.2, 0.4)}
STEPS = 10


# ---- a throw ----


@pytest.fixture(scope="module", params=[2, 3], ids=["2D", "3D"])
def throw(request: pytest.FixtureRequest, runtime: Any) -> ds.Rollout:
    """A block in the air, at the end of a time in which it does not reach the ground."""
    config = ElasticConfig(**COARSE)
    sim = Elastic(block(config, request.param))
    sim.throw.set([THROW[request.param]])
    return ds.Rollout(sim, steps=STEPS, mode="step")


def landing(sim: Elastic) -> Any:
    """Where symplectic Euler's projectile is at the last step."""
    c, dim = sim.config, sim.dim
    fall = np.zeros(dim)
    fall[-1] = c.gravity
    return (
        np.array(sim.start) + STEPS * c.dt * np.array(THROW[dim]) + STEPS * (STEPS + 1) / 2 * c.dt**2 * fall
    )


def test_cost_is_the_projectiles_miss(throw: ds.Rollout) -> None:
    off = landing(throw.sim) - np.array(throw.sim.goal)
    assert throw.value() == pytest.approx(off @ off, rel=1e-12)


def test_gradient_is_the_projectiles(throw: ds.Rollout) -> None:
    """d |x_n - goal|^2 / d throw = 2 (x_n - goal) n dt, though it turns and wobbles."""
    _, grads = throw.value_and_grad(wrt=[throw.sim.throw])
    wanted = 2.0 * (landing(throw.sim) - np.array(throw.sim.goal)) * STEPS * throw.sim.dt
    np.testing.assert_allclose(grads["throw"][0], wanted, rtol=0, atol=1e-13)


def test_it_turns_as_a_rigid_body_at_first(throw: ds.Rollout) -> None:
    """Velocities and their gradients are those of the spin; a free body keeps it."""
    sim = throw.sim
    found = throw.trajectories({"x": sim.x, "v": sim.v, "C": sim.C}, every=1)
    W = np.zeros((sim.dim, sim.dim))
    W[0, -1], W[-1, 0] = -sim.spin, sim.spin
    away = found["x"][0] - np.array(sim.start)
    np.testing.assert_allclose(found["v"][0], np.array(THROW[sim.dim]) + away @ W.T, rtol=0, atol=1e-14)
    np.testing.assert_allclose(found["C"][0], np.broadcast_to(W, found["C"][0].shape), rtol=0, atol=0)
    assert found["C"][-1][:, -1, 0].mean() == pytest.approx(sim.spin, rel=0.1)


def test_checkpoints_change_nothing(runtime: Any) -> None:
    """Windows of one step give the bits of a rollout that stores everything."""
    sim = Elastic(block(ElasticConfig(**COARSE)))
    sim.throw.set([THROW[2]])
    found = []
    for window in (6, 1):
        rollout = ds.Rollout(sim, steps=6, mode="step", window=window)
        found.append(rollout.value_and_grad(wrt=[sim.throw]))
        rollout.close()
    assert found[0][0] == found[1][0]
    np.testing.assert_array_equal(found[0][1]["throw"], found[1][1]["throw"])
    assert np.abs(found[0][1]["throw"]).min() > 0.0


# ---- muscles ----


@pytest.fixture(scope="module")
def standing(runtime: Any) -> ds.Rollout:
    """A crawler that stands on the ground, with weights that do nothing yet."""
    config = ElasticConfig(cell=1.0 / 20.0, dt=2e-3, gain=0.0)
    return ds.Rollout(Elastic(crawler(config)), steps=12, mode="step")


def height(rollout: ds.Rollout, command: float) -> float:
    """The mean height of the body after the muscles were told the same all the time."""
    rollout.sim.policy.b0.set(np.full(4, command))
    return float(rollout.trajectory(rollout.sim.x, every=12)[-1, :, 1].mean())


def test_muscles_that_pull_lower_the_body(standing: ds.Rollout) -> None:
    pushed, rest, pulled = (height(standing, command) for command in (-1.0, 0.0, 1.0))
    assert pushed > rest + 1e-4
    assert pulled < rest - 1e-4


def test_gradient_of_the_policy_across_contact(standing: ds.Rollout) -> None:
    sim = standing.sim
    sim.policy.w0.set(0.3 * np.random.default_rng(1).normal(size=(4, 4)))
    sim.policy.b0.set(np.zeros(4))
    assert_gradient(standing, wrt=[sim.policy], tolerance=5e-3)


def test_cost_is_minus_the_way(standing: ds.Rollout) -> None:
    sim = standing.sim
    x = standing.trajectory(sim.x, every=12)
    way = sim.share.numpy() @ (x[-1] - x[0])[:, 0]
    assert standing.value() == pytest.approx(-way, rel=1e-9, abs=1e-15)


# ---- scenes ----


@pytest.mark.parametrize(("scene", "dim", "muscles"), [(crawler, 2, 4), (walker, 3, 8)])
def test_bodies_stand_on_the_ground(scene: Any, dim: int, muscles: int) -> None:
    """Each muscle takes part, its fibres run upward, and the feet are just above the ground."""
    config = ElasticConfig(cell=1.0 / 20.0)
    made = scene(config)
    p = made.particles
    assert (made.dim, p.muscles) == (dim, muscles)
    assert np.all(np.bincount(p.muscle[p.muscle >= 0], minlength=muscles) > 0)
    np.testing.assert_array_equal(p.fibre[p.muscle >= 0][:, -1], 1.0)
    assert 0.0 < p.x[:, -1].min() < config.cell / 2
    assert np.all(p.x > made.room[0])
    assert np.all(p.x < made.room[1])


def test_the_room_lies_between_the_walls() -> None:
    """The ground is where the wall begins, whatever the room's corner."""
    scene = block()
    sim = Elastic(Scene("low", scene.particles, ((-0.2, 0.1), (1.0, 0.8)), goal=(0.5, 0.5)))
    cell = sim.config.cell
    np.testing.assert_allclose(np.add(sim.origin, (-0.2, 0.1)), 3 * cell)
    np.testing.assert_allclose((np.array(sim.mpm.grid) - 6) * cell, (1.2, 0.7), atol=cell)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"dt": 0.0}, "ElasticConfig.dt must be a number above 0"),
        ({"young": -1.0}, "ElasticConfig.young must be a number above 0"),
        ({"poisson": 0.5}, "ElasticConfig.poisson must be a number from 0.0 to 0.45"),
        ({"waves": 0}, "ElasticConfig.waves must be a whole number of at least 1"),
        ({"gravity": float("nan")}, "ElasticConfig.gravity must be a number"),
    ],
)
def test_config_refuses(changes: dict[str, Any], rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        ElasticConfig(**changes)


def test_a_step_that_sound_outruns_is_refused() -> None:
    config = ElasticConfig(dt=0.01)
    with pytest.raises(ConfigError, match=r"MPM dt must be at most 0\.00312 s, got 0\.01: sound runs at"):
        Elastic(block(config))


@pytest.mark.parametrize(
    ("room", "goal", "rule"),
    [
        (((0.0,), (1.0,)), None, "Scene.room must be two corners of 2 numbers"),
        (((0.0, 0.0), (1.0, 0.0)), None, "Scene.room must be two corners of 2 numbers"),
        (((0.0, 0.0), (1.0, 1.0)), (0.5,), "Scene.goal must be 2 numbers"),
    ],
)
def test_scene_refuses(room: Any, goal: Any, rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        Scene("bad", block().particles, room, goal=goal)


def test_block_needs_a_dimension() -> None:
    with pytest.raises(ConfigError, match="dim must be 2 or 3, got 4"):
        block(dim=4)
