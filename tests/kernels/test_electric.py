"""The electric arena against Kepler's and Coulomb's closed forms, conservation laws and differences."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from simulator_checks import assert_gradient, assert_modes_agree, assert_same_when_checkpointed

import diffsim as ds
from diffsim.errors import ConfigError
from diffsim.kernels.electric import Electric, ElectricConfig, border_electrodes, draw_paths

Array = NDArray[np.float64]

COULOMB, MASS, RADIUS = 8.988e-3, 0.01, 0.3
FREE: dict[str, Any] = {"friction": 0.0, "wall": 0.0, "hidden": 0}


def run(sim: Electric, steps: int) -> dict[str, Array]:
    """Simulate: positions and velocities, shape (steps + 1, n, 2)."""
    rollout = ds.Rollout(sim, steps=steps, mode="fused")
    found = rollout.trajectories({"x": sim.x, "v": sim.v}, every=1)
    rollout.close()
    return found


# ---- closed forms ----


def kepler(steps: int, speed: float, periods: float) -> dict[str, Array]:
    """Let a charge go round one of the other sign, the velocity at the start `speed` times a circle's.

    `periods` counts those of the ellipse, whose major half axis is `RADIUS / (2 - speed^2)`.
    """
    axis = RADIUS / (2.0 - speed**2)
    period = 2.0 * math.pi * math.sqrt(axis**3 * MASS / COULOMB)
    sim = Electric(
        ElectricConfig(dt=periods * period / steps, softening=1e-9, **FREE),
        position=[[0.5 + RADIUS, 0.5]],
        velocity=[[0.0, speed * math.sqrt(COULOMB / (MASS * RADIUS))]],
        charge=-1.0,
        electrodes=[[0.5, 0.5]],
    )
    sim.bias.set(1.0)
    return run(sim, steps)


def test_circular_orbit_is_of_second_order(runtime: Any) -> None:
    """A quarter of the period brings the charge a quarter round; the error falls with dt squared."""
    errors = []
    for steps in (16, 32, 64):
        end = kepler(steps, 1.0, 0.25)["x"][-1, 0]
        errors.append(np.linalg.norm(end - [0.5, 0.5 + RADIUS]))
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    np.testing.assert_allclose(orders, 2.0, atol=0.05)
    assert errors[-1] < 1e-3 * RADIUS


def test_ellipse_closes_after_keplers_period(runtime: Any) -> None:
    """Of all laws that fall with distance, only that of the inverse square closes ellipses."""
    x = kepler(800, 0.8, 1.0)["x"][:, 0] - 0.5
    assert np.linalg.norm(x[-1] - x[0]) < 2e-3 * RADIUS
    near = RADIUS * 0.8**2 / (2.0 - 0.8**2)
    assert np.linalg.norm(x, axis=1).min() == pytest.approx(near, rel=1e-3)


def test_closest_approach_of_a_head_on_charge(runtime: Any) -> None:
    """It turns where its kinetic energy has become `coulomb q Q/r`, or the softened form of it."""
    softening, speed, start = 0.05, 1.5, 0.9
    sim = Electric(
        ElectricConfig(dt=2e-3, softening=softening, **FREE),
        position=[[start, 0.0]],
        velocity=[[-speed, 0.0]],
        electrodes=[[0.0, 0.0]],
    )
    sim.bias.set(1.0)
    level = 0.5 * MASS * speed**2 / COULOMB + 1.0 / math.hypot(start, softening)
    closest = math.sqrt(1.0 / level**2 - softening**2)
    assert run(sim, 700)["x"][:, 0, 0].min() == pytest.approx(closest, rel=1e-3)


def test_velocity_under_friction_is_exact(runtime: Any) -> None:
    """A far electrode makes a level field: `v = F/c (1 - exp(-c t/m))`, for any step."""
    far, force, friction, dt = 1e7, 0.02, 0.04, 0.1
    sim = Electric(
        ElectricConfig(dt=dt, **{**FREE, "friction": friction}),
        position=[[0.5, 0.5]],
        electrodes=[[0.5, far]],
    )
    sim.bias.set(-force * far**2 / COULOMB)
    v = run(sim, 40)["v"][:, 0]
    times = dt * np.arange(41)
    np.testing.assert_allclose(
        v[:, 1], force / friction * (1.0 - np.exp(-friction * times / MASS)), rtol=1e-6
    )
    np.testing.assert_allclose(v[:, 0], 0.0, atol=1e-12)


# ---- conservation ----

CLOUD = [[0.3, 0.4], [0.7, 0.5], [0.45, 0.8]]
CHARGES, MASSES = np.array([1.0, -0.7, 0.5]), np.array([0.01, 0.02, 0.005])


def cloud(dt: float, **changes: Any) -> Electric:
    """Three charges that push and pull each other."""
    rng = np.random.default_rng(3)
    config = ElectricConfig(dt=dt, **{**FREE, **changes})
    return Electric(config, CLOUD, 0.3 * rng.normal(size=(3, 2)), CHARGES, MASSES)


def test_charges_keep_their_momentum(runtime: Any) -> None:
    """Each pair's forces are opposite (Newton's third law), whatever the charges and masses."""
    v = run(cloud(5e-3), 300)["v"]
    momentum = (MASSES[:, None] * v).sum(axis=1)
    np.testing.assert_allclose(momentum, np.broadcast_to(momentum[0], momentum.shape), rtol=0, atol=1e-15)
    exchanged = MASSES[:, None] * (v - v[0])
    assert np.abs(exchanged).max() > 1e-3, "though each charge's own changes"


def energy(sim: Electric, found: dict[str, Array], bias: Array) -> Array:
    """Add up kinetic energy, that of all pairs and that of the walls' springs [J]."""
    c, x = sim.config, found["x"]
    total = 0.5 * (MASSES * (found["v"] ** 2).sum(axis=-1)).sum(axis=1)
    for i in range(3):
        for j in range(i):
            distance = np.sqrt(((x[:, i] - x[:, j]) ** 2).sum(axis=-1) + c.softening**2)
            total += c.coulomb * CHARGES[i] * CHARGES[j] / distance
        for place, amount in zip(border_electrodes(), bias, strict=True):
            distance = np.sqrt(((x[:, i] - place) ** 2).sum(axis=-1) + c.softening**2)
            total += c.coulomb * CHARGES[i] * amount / distance
    beyond = np.maximum(-x, 0.0) + np.maximum(x - c.side, 0.0)
    return total + 0.5 * c.wall * (beyond**2).sum(axis=(1, 2))


BIAS = np.linspace(-0.8, 1.0, 8)


def energies(steps: int, duration: float, wall: float) -> tuple[dict[str, Array], Array]:
    """Simulate the cloud between charged electrodes; states, and the energy [J] at each step."""
    sim = cloud(duration / steps, wall=wall, softening=0.2)
    sim.bias.set(BIAS)
    found = run(sim, steps)
    return found, energy(sim, found, BIAS)


def test_energy_error_falls_with_the_square_of_the_step(runtime: Any) -> None:
    coarse, fine = (energies(steps, 1.0, wall=0.0)[1] for steps in (200, 400))
    errors = [np.abs(levels - levels[0]).max() for levels in (coarse, fine)]
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.15)
    assert errors[1] < 1e-2 * abs(fine[0])


def test_walls_give_back_the_energy_they_take(runtime: Any) -> None:
    found, levels = energies(1200, 3.0, wall=1.0)
    assert np.maximum(-found["x"], found["x"] - 1.0).max() > 0.01, "a wall was reached"
    kinetic = 0.5 * (MASSES * (found["v"] ** 2).sum(axis=-1)).sum(axis=1)
    assert np.abs(levels - levels[0]).max() < 1e-2 * np.ptp(kinetic)


# ---- target, controller, gradients ----


@pytest.fixture(scope="module")
def driven(runtime: Any) -> ds.Rollout:
    """Two worlds of two charges each, one of them led by the controller; the second world is watched."""
    sim = Electric(ElectricConfig(hidden=5), position=[[0.4, 0.5], [0.7, 0.3]], charge=[1.0, -0.6])
    rollout = ds.Rollout(sim, steps=40, worlds=2)
    sim.set_paths(draw_paths(1, 2))
    sim.weight.set([1.0, 0.0])
    return rollout


def test_target_velocity_is_the_slope_of_its_path(driven: ds.Rollout) -> None:
    goal = driven.trajectory(driven.sim.goal, every=1)
    slope = (goal[2:, :, 0] - goal[:-2, :, 0]) / (2.0 * driven.sim.config.dt)
    np.testing.assert_allclose(goal[1:-1, :, 1], slope, rtol=0, atol=1e-3)
    assert np.abs(goal[:, 0, 0] - goal[:, 1, 0]).max() > 0.05, "each world has its own path"
    assert np.abs(goal[:, :, 0] - 0.5).max() <= 0.45


def test_watched_world_does_not_count(driven: ds.Rollout) -> None:
    costs, grads = driven.value_and_grad(wrt=[driven.sim.policy])
    assert costs[0] > 0.0
    assert costs[1] == 0.0
    driven.sim.weight.set([0.0, 0.0])
    _, silent = driven.value_and_grad(wrt=[driven.sim.policy])
    driven.sim.weight.set([1.0, 0.0])
    assert np.abs(grads["policy.w0"]).max() > 0.0
    assert all(np.abs(value).max() == 0.0 for value in silent.values())


def test_cost_is_the_integral_of_the_squared_distance(driven: ds.Rollout) -> None:
    sim = driven.sim
    found = driven.trajectories({"x": sim.x, "goal": sim.goal}, every=1)
    squares = ((found["x"][:40, 0, 0] - found["goal"][:, 0, 0]) ** 2).sum(axis=-1)
    assert driven.value()[0] == pytest.approx(sim.config.dt * squares.sum(), rel=1e-12)


def test_electrodes_keep_to_their_limit(driven: ds.Rollout) -> None:
    w1 = driven.sim.policy.w1
    kept = w1.numpy().copy()
    w1.set(1e3 * kept)
    most = np.abs(driven.trajectory(driven.sim.electrode, every=1)).max()
    w1.set(kept)
    assert most == pytest.approx(driven.sim.config.electrode_limit)


def test_gradient(driven: ds.Rollout) -> None:
    sim = driven.sim
    assert_gradient(driven, wrt=[sim.policy, sim.charge, sim.bias, sim.electrodes, sim.x, sim.v])


def make() -> Electric:
    return Electric(ElectricConfig(hidden=4), position=[[0.4, 0.5], [0.7, 0.3]])


def test_checkpoints_change_nothing(runtime: Any) -> None:
    assert_same_when_checkpointed(make, 24)


def test_modes_agree(runtime: Any) -> None:
    assert_modes_agree(make, 2)


def test_paths_do_not_depend_on_their_number() -> None:
    few, many = draw_paths(4, 2), draw_paths(4, 5)
    np.testing.assert_array_equal(few.rate, many.rate[:2])
    np.testing.assert_array_equal(draw_paths(4).phase, many.phase[0])
    assert np.abs(many.phase[3] - many.phase[4]).max() > 0.1


# ---- refusals ----


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ElectricConfig(softening=0.0), r"ElectricConfig\.softening must be a number above 0"),
        (lambda: ElectricConfig(friction=-1.0), r"ElectricConfig\.friction must be a number of at least 0"),
        (lambda: Electric(mass=0.0), "mass must be positive, got 0.0"),
        (lambda: Electric(position=[0.5, 0.5]), r"position must be finite points of shape \(n, 2\), got"),
        (lambda: Electric(ElectricConfig(wall=1e4)), r"ElectricConfig\.dt must be below 0\.002 s, got 0\.01"),
    ],
)
def test_refuses(build: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build()
