"""The mass-spring simulator against a NumPy twin, physical invariants and closed forms."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import diffsim as ds
from diffsim.errors import ConfigError
from diffsim.kernels.mass_spring import MassSpring, MassSpringConfig, Robot, load_robot

Array = NDArray[np.float64]
Weights = tuple[Array, Array, Array, Array]

STEPS = 60
AT_REST = 1e-4  # slower falls don't count as hits, in the simulator too


# ---- the twin ----


def twin(
    robot: Robot, config: MassSpringConfig, weights: Weights, steps: int, x: Array, v: Array
) -> tuple[Array, Array]:
    """Simulate with NumPy, straight from the equations: positions (steps + 1, n, 2), commands (steps, m)."""
    w0, b0, w1, b1 = weights
    a, b = robot.springs.T
    waves = 2 * np.pi * np.arange(config.sines) / config.sines
    positions, commands = [x], []
    for t in range(steps):
        center = x.mean(axis=0)
        seen = config.observation_scale * np.hstack([x - center, v])
        inputs = np.concatenate(
            [np.sin(config.omega * t * config.dt + waves), seen.ravel(), np.array(config.goal) - center]
        )
        command = np.tanh(np.tanh(inputs @ w0 + b0) @ w1 + b1)
        span = x[a] - x[b]
        length = np.hypot(*span.T)
        target = robot.rest_length * (1 + robot.actuation * command)
        push = (config.dt * robot.stiffness * (length - target) / length)[:, None] * span
        impulse = np.zeros_like(x)
        np.subtract.at(impulse, a, push)
        np.add.at(impulse, b, push)
        v = math.exp(-config.damping * config.dt) * v + impulse + [0.0, config.dt * config.gravity]
        x, v = _contact(x, v, config)
        positions.append(x)
        commands.append(command)
    return np.array(positions), np.array(commands)


def _contact(x: Array, v: Array, config: MassSpringConfig) -> tuple[Array, Array]:
    """Move freely, but stop what hits the ground."""
    if not config.time_of_impact:
        v = np.where(((x[:, 1] < config.ground) & (v[:, 1] < 0))[:, None], 0.0, v)
        return x + config.dt * v, v
    hits = (x[:, 1] + config.dt * v[:, 1] < config.ground) & (v[:, 1] < -AT_REST)
    flight = np.where(hits, (config.ground - x[:, 1]) / np.where(hits, v[:, 1], -1.0), config.dt)
    return x + flight[:, None] * v, np.where(hits[:, None], 0.0, v)


def twin_weights(sim: MassSpring) -> Weights:
    policy: Any = sim.policy
    return policy.w0.numpy(), policy.b0.numpy(), policy.w1.numpy(), policy.b1.numpy()


CASES = [(0, True), (1, True), (4, True), (1, False)]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0]}-{'toi' if case[1] else 'naive'}")
def rollout(request: pytest.FixtureRequest, runtime: Any) -> ds.Rollout:
    number, time_of_impact = request.param
    return ds.Rollout(MassSpring(number, MassSpringConfig(time_of_impact=time_of_impact)), steps=STEPS)


def test_trajectory_is_the_twins(rollout: ds.Rollout) -> None:
    sim = rollout.sim
    x, commands = twin(
        sim.robot, sim.config, twin_weights(sim), STEPS, sim.robot.points, np.zeros_like(sim.robot.points)
    )
    seen = rollout.trajectories({"x": sim.x, "actuation": sim.actuation}, every=1)
    np.testing.assert_allclose(seen["x"], x, rtol=0, atol=1e-12)
    np.testing.assert_allclose(seen["actuation"][:STEPS], commands, rtol=0, atol=1e-11)
    assert rollout.value() == pytest.approx(-x[-1, sim.robot.head, 0], rel=1e-12)


def test_gradient_is_the_twins(rollout: ds.Rollout) -> None:
    """Central differences of the twin along random directions; first positions are on a kink."""
    sim = rollout.sim
    _, grads = rollout.value_and_grad(wrt=[sim.policy, sim.v])
    weights = dict(zip(("w0", "b0", "w1", "b1"), twin_weights(sim), strict=True))
    rng = np.random.default_rng(7)
    for _ in range(3):
        along = {f"policy.{key}": rng.normal(size=w.shape) for key, w in weights.items()}
        along["v"] = 0.1 * rng.normal(size=sim.robot.points.shape)

        def cost(s: float, along: dict[str, Array] = along) -> float:
            moved = tuple(w + s * along[f"policy.{key}"] for key, w in weights.items())
            x, _ = twin(sim.robot, sim.config, moved, STEPS, sim.robot.points, s * along["v"])  # type: ignore[arg-type]
            return -float(x[-1, sim.robot.head, 0])

        h = 1e-6
        slope = (cost(h) - cost(-h)) / (2 * h)
        assert sum((grads[key] * d).sum() for key, d in along.items()) == pytest.approx(slope, rel=1e-6)


def test_stiffness_has_a_gradient(rollout: ds.Rollout) -> None:
    _, grads = rollout.value_and_grad(wrt=[rollout.sim.stiffness])
    assert grads["stiffness"].shape == (rollout.sim.n_springs,)
    assert np.abs(grads["stiffness"]).max() > 0


def test_time_of_impact_keeps_points_above_the_ground(rollout: ds.Rollout) -> None:
    config = rollout.sim.config
    deepest = rollout.trajectory(rollout.sim.x, every=1)[..., 1].min() - config.ground
    if config.time_of_impact:
        assert deepest > -1e-5
    else:
        assert deepest < -1e-4, "without it they sink in by up to a step's way"


# ---- invariants ----


def test_free_flight_keeps_the_center_of_mass(runtime: Any) -> None:
    """Springs and muscles are inner forces: without gravity, ground and damping the centroid stays."""
    config = MassSpringConfig(gravity=0.0, damping=0.0, ground=-10.0)
    sim = MassSpring("e", config)
    x = ds.Rollout(sim, steps=STEPS).trajectory(sim.x, every=10)
    center = x.mean(axis=1)
    np.testing.assert_allclose(center, np.broadcast_to(center[0], center.shape), rtol=0, atol=1e-13)
    assert np.abs(x - x[0]).max() > 1e-3, "though it moves"


# ---- a closed form: two points thrown level, which slide to a halt where they land ----

THROW, HEIGHT, GRAVITY, DT = 0.7, 0.25, -4.8, 4e-3


def _landing() -> tuple[int, float, float]:
    """Find the step, the speed and the time within the step at which the points land."""
    height, speed, k = HEIGHT, 0.0, 0
    while True:
        speed += DT * GRAVITY
        if height + DT * speed < 0.0:
            return k, speed, -height / speed
        height += DT * speed
        k += 1


@pytest.mark.compilers
@pytest.mark.parametrize("time_of_impact", [True, False])
def test_gradient_of_the_landing_place(runtime: Any, time_of_impact: bool) -> None:
    """Dropped from higher, they fly longer: dx/dy = throw / |fall|. Without time of impact it is lost."""
    config = MassSpringConfig(
        gravity=GRAVITY, damping=0.0, dt=DT, ground=0.1, time_of_impact=time_of_impact, hidden=1, sines=1
    )
    y = config.ground + HEIGHT
    pair = Robot("pair", [[0.5, y], [0.25, y]], [[0, 1]], [0.25], [10.0], [0.0])  # type: ignore[arg-type]
    sim = MassSpring(pair, config)
    rollout = ds.Rollout(sim, steps=120)
    sim.v.set(np.array([[THROW, 0.0], [THROW, 0.0]]))
    cost, grads = rollout.value_and_grad(wrt=[sim.x, sim.v])
    k, speed, rest = _landing()
    # Both points share the head's fate: moving both is the derivative of the throw.
    by_height, by_throw = -grads["x"][:, 1].sum(), -grads["v"][:, 0].sum()
    if time_of_impact:
        assert -cost == pytest.approx(0.5 + THROW * (k * DT + rest), rel=1e-12)
        assert by_throw == pytest.approx(k * DT + rest, rel=1e-9)
        assert by_height == pytest.approx(THROW / -speed, rel=1e-9)
        exact = THROW / math.sqrt(2 * -GRAVITY * HEIGHT)  # of the continuous motion
        assert by_height == pytest.approx(exact, rel=0.02)
    else:
        assert -cost == pytest.approx(0.5 + THROW * (k + 1) * DT, rel=1e-12)
        assert by_throw == pytest.approx((k + 1) * DT, rel=1e-9)
        assert by_height == pytest.approx(0.0, abs=1e-12)


# ---- arguments ----


def test_robot_may_be_given_in_any_way() -> None:
    robot = load_robot("c")
    assert MassSpring(robot).robot is robot
    assert MassSpring("c").robot.name == MassSpring(2).robot.name == "c"
    with pytest.raises(ConfigError, match="robot must be a number from 0 to 4"):
        MassSpring("nobody")


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"dt": 0.0}, "dt must be a number above 0.0, got 0.0"),
        ({"dt": math.nan}, "dt must be a number above 0.0, got nan"),
        ({"dt": "fast"}, "dt must be a number above 0.0, got 'fast'"),
        ({"gravity": math.inf}, "gravity must be a number, got inf"),
        ({"damping": -1.0}, "damping must be a number of at least 0.0, got -1.0"),
        ({"goal": (1.0,)}, r"goal must be 2 values, each a number, got \(1.0,\)"),
        ({"goal": (1.0, math.nan)}, r"goal must be 2 values, each a number, got \(1.0, nan\)"),
        ({"gains": 2.0}, "gains must be 2 values"),
        ({"hidden": 0}, "hidden must be a whole number of at least 1, got 0"),
        ({"sines": 2.5}, "sines must be a whole number of at least 1, got 2.5"),
        ({"time_of_impact": 1}, "time_of_impact must be true or false, got 1"),
    ],
)
def test_config_refuses(changes: dict[str, Any], rule: str) -> None:
    with pytest.raises(ConfigError, match=rf"^MassSpringConfig\.{rule}"):
        MassSpringConfig(**changes)


def test_config_stores_plain_numbers() -> None:
    config = MassSpringConfig(dt=np.float32(0.5), goal=[1, 2], hidden=np.int64(4))  # type: ignore[arg-type]
    assert (type(config.dt), config.dt) == (float, 0.5)
    assert config.goal == (1.0, 2.0)
    assert type(config.hidden) is int
