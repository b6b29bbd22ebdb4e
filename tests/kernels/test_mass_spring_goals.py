"""A mass-spring robot whose goal is told to its controller: the goal's place in inputs, cost and worlds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from simulator_checks import assert_gradient, assert_modes_agree, assert_same_when_checkpointed

import diffsim as ds
from diffsim.kernels.mass_spring import GoalMassSpring, MassSpring, MassSpringConfig

STEPS = 32
CONFIG = MassSpringConfig(hidden=4, sines=3)
GOALS = np.array([[-0.4, 0.2], [0.8, 0.2]])


@pytest.fixture(scope="module")
def rollout(runtime: Any) -> ds.Rollout:
    sim = GoalMassSpring("a", CONFIG)
    made = ds.Rollout(sim, steps=STEPS, worlds=2)
    sim.goal.set(GOALS)
    return made


def test_controller_sees_the_way_to_its_worlds_goal(rollout: ds.Rollout) -> None:
    sim = rollout.sim
    found = rollout.trajectories({"x": sim.x, "observation": sim.observation}, every=1)
    way = GOALS - found["x"][:STEPS].mean(axis=2)
    np.testing.assert_allclose(found["observation"][:STEPS, :, -2:], way, rtol=0, atol=1e-14)
    assert np.abs(found["x"][-1, 0] - found["x"][-1, 1]).max() > 1e-6, "and moves by it"


def test_cost_is_the_distance_along_the_ground(rollout: ds.Rollout) -> None:
    ends = rollout.trajectory(rollout.sim.x, every=STEPS)[-1]
    distance = np.abs(GOALS[:, 0] - ends[..., 0].mean(axis=1))
    np.testing.assert_allclose(rollout.value(), distance, rtol=1e-12)


def test_moves_as_a_robot_with_that_goal(rollout: ds.Rollout) -> None:
    """Each world is the robot of `MassSpring` with the goal in its configuration."""
    sim = rollout.sim
    both = rollout.trajectory(sim.x, every=STEPS)[-1]
    for world, goal in enumerate(GOALS):
        alone = MassSpring("a", MassSpringConfig(hidden=4, sines=3, goal=tuple(goal)))
        for name in ("w0", "b0", "w1", "b1"):
            getattr(alone.policy, name).set(getattr(sim.policy, name).numpy())
        x = ds.Rollout(alone, steps=STEPS).trajectory(alone.x, every=STEPS)[-1]
        np.testing.assert_allclose(x, both[world], rtol=0, atol=1e-12)


def test_gradient(rollout: ds.Rollout) -> None:
    """Feet begin on the ground and meet it again on the way: a kink may lie between the differences."""
    assert_gradient(rollout, wrt=[rollout.sim.policy], tolerance=5e-3)


def make() -> GoalMassSpring:
    return GoalMassSpring("a", MassSpringConfig(hidden=2, sines=2, goal=(-0.3, 0.2)))


def test_checkpoints_and_modes(runtime: Any) -> None:
    assert_same_when_checkpointed(make, 12, wrt=lambda sim: [sim.policy])
    assert_modes_agree(make, 6, wrt=lambda sim: [sim.policy])
