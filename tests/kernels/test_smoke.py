"""Smoke against the algebra of projections, closed forms, steady flows, fitted orders, and its gradients."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from simulator_checks import assert_gradient, assert_modes_agree, assert_same_when_checkpointed

import diffsim as ds
from diffsim.errors import ConfigError
from diffsim.kernels.smoke import SHAPES, Smoke, SmokeConfig, divergence, picture, swirl

Array = NDArray[np.float64]
Velocity = tuple[Array, Array]
EXACT: dict[str, Any] = {"tolerance": 1e-14, "iterations": 25}


def random_velocity(n: int, seed: int = 0) -> Velocity:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n + 1, n)), rng.normal(size=(n, n + 1))


def gradient_field(phi: Array) -> Velocity:
    """Return the undivided gradient of numbers in cells, zero through walls."""
    u, v = np.zeros((len(phi) + 1, len(phi))), np.zeros((len(phi), len(phi) + 1))
    u[1:-1], v[:, 1:-1] = np.diff(phi, axis=0), np.diff(phi, axis=1)
    return u, v


def inner(a: Velocity, b: Velocity) -> float:
    return float(sum(np.sum(x * y) for x, y in zip(a, b, strict=True)))


def vortex(config: SmokeConfig) -> tuple[Array, Array]:
    """Return the stream function of a steady vortex that fills the box, at corners and at centres [m^2/s]."""
    corners = np.sin(math.pi * np.arange(config.n + 1) / config.n)
    x, y = config.centers()
    return 0.1 * np.outer(corners, corners), 0.1 * np.sin(math.pi * x) * np.sin(math.pi * y)


# ---- projection ----


class Projecting:
    """One compiled step whose projection is applied to any velocity."""

    def __init__(self, n: int, **options: Any) -> None:
        self.sim = Smoke(SmokeConfig(n=n, advection="semi-lagrangian", **options))
        self.rollout = ds.Rollout(self.sim, steps=1, mode="step")

    def __call__(self, velocity: Velocity) -> Velocity:
        self.sim.u.set(velocity[0])
        self.sim.v.set(velocity[1])
        found = self.rollout.trajectories({"u": self.sim.u_free, "v": self.sim.v_free})
        return found["u"][0], found["v"][0]


N = 21  # its grids have 21, 11 and 6 cells along an axis: two of them end with a narrow one


@pytest.fixture(scope="module")
def project(runtime: Any) -> Projecting:
    return Projecting(N, **EXACT)


def test_a_projected_velocity_has_no_divergence(project: Projecting) -> None:
    u, v = project(random_velocity(N))
    assert np.abs(divergence(u, v, 1.0)).max() < 1e-13
    for wall in (u[0], u[-1], v[:, 0], v[:, -1]):
        np.testing.assert_array_equal(wall, 0.0)
    assert np.abs(u).max() > 0.5


def test_projecting_twice_is_projecting_once(project: Projecting) -> None:
    once = project(random_velocity(N, 1))
    for a, b in zip(project(once), once, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-13)


def test_a_projection_is_symmetric(project: Projecting) -> None:
    """What makes the adjoint of a projection a projection."""
    a, b = random_velocity(N, 2), random_velocity(N, 3)
    assert inner(project(a), b) == pytest.approx(inner(a, project(b)), rel=1e-12)


def test_gradients_vanish_and_swirls_stay(project: Projecting) -> None:
    rng = np.random.default_rng(4)
    pressure = gradient_field(rng.normal(size=(N, N)))
    flow = swirl(np.pad(rng.normal(size=(N - 1, N - 1)), 1), 1.0)
    for part in project(pressure):
        np.testing.assert_allclose(part, 0.0, atol=1e-12)
    mixed = project((pressure[0] + flow[0], pressure[1] + flow[1]))
    for found, wanted in zip(mixed, flow, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12)


def test_a_cosine_mode_has_the_pressure_of_the_discrete_laplacian(project: Projecting) -> None:
    """`u = sin(p pi x) cos(q pi y)` needs `c cos(p pi x) cos(q pi y)`, with a known eigenvalue."""
    p, q = 3, 2
    face, middle = np.arange(N + 1) / N, (np.arange(N) + 0.5) / N
    along = np.outer(np.sin(p * math.pi * face), np.cos(q * math.pi * middle))
    u, v = project((along, np.zeros((N, N + 1))))
    s, r = math.sin(0.5 * p * math.pi / N), math.sin(0.5 * q * math.pi / N)
    across = np.outer(np.cos(p * math.pi * middle), np.sin(q * math.pi * face))
    np.testing.assert_allclose(u, r * r / (s * s + r * r) * along, rtol=0, atol=1e-13)
    np.testing.assert_allclose(v, -r * s / (s * s + r * r) * across, rtol=0, atol=1e-13)


def test_no_velocity_is_left_alone(project: Projecting) -> None:
    for part in project((np.zeros((N + 1, N)), np.zeros((N, N + 1)))):
        np.testing.assert_array_equal(part, 0.0)


def test_sweeps_leave_divergence(runtime: Any) -> None:
    """The reason for the other solver: 60 sweeps take a quarter of a smooth divergence away.

    By the slowest mode's factor, but for the walls, beside which a mean is over three neighbours, not four.
    """
    crude = Projecting(N, pressure="jacobi", sweeps=60)
    x = (np.arange(N) + 0.5) / N
    velocity = gradient_field(np.outer(np.cos(math.pi * x), np.ones(N)))
    before, after = (np.abs(divergence(*w, 1.0)).max() for w in (velocity, crude(velocity)))
    predicted = (1.0 - 0.9 * 0.5 * (1.0 - math.cos(math.pi / N))) ** 60
    assert after / before == pytest.approx(predicted, rel=0.05)


# ---- flow ----


def steady_errors(advection: str, n: int) -> tuple[float, float]:
    """Return how far a vortex that should be steady has changed after 1 s, and the density along with it."""
    config = SmokeConfig(n=n, advection=advection, dt=1.6 / n, tolerance=1e-10)
    corners, centers = vortex(config)
    velocity = swirl(corners, config.dx)
    sim = Smoke(config, velocity, centers)
    rollout = ds.Rollout(sim, steps=round(n / 1.6), mode="step")
    found = rollout.trajectories({"u": sim.u_free, "d": sim.density})
    rollout.close()
    change = np.sqrt(np.mean((found["u"][-1] - velocity[0]) ** 2) / np.mean(velocity[0] ** 2))
    blur = np.sqrt(np.mean((found["d"][-1] - centers) ** 2) / np.mean(centers**2))
    return float(change), float(blur)


@pytest.fixture(scope="module")
def errors(runtime: Any) -> dict[str, list[Array]]:
    """By scheme, the errors on a coarse and on a fine grid, with the same Courant number."""
    schemes = "semi-lagrangian", "maccormack"
    return {scheme: [np.array(steady_errors(scheme, n)) for n in (16, 32)] for scheme in schemes}


def test_a_steady_vortex_stays_to_first_order(errors: dict[str, list[Array]]) -> None:
    """Any function of the stream function is steady too: the density is the stream function itself."""
    coarse, fine = errors["semi-lagrangian"]
    assert np.all(fine < 0.05)
    assert np.all(np.log2(coarse / fine) > 0.8)


def test_maccormack_is_of_higher_order(errors: dict[str, list[Array]]) -> None:
    """Of second order but where the limiter cuts a maximum; velocities are of first order in time either way.

    They are since pressure follows advection in each step, instead of acting along with it.
    """
    coarse, fine = errors["maccormack"]
    assert np.log2(coarse / fine)[1] > 1.4
    assert np.log2(coarse / fine)[0] > 0.8
    assert np.all(fine < 0.4 * errors["semi-lagrangian"][1])


class Box:
    """Smoke that lifts the air, compiled once, from any start."""

    def __init__(self) -> None:
        self.config = SmokeConfig(n=16, buoyancy=1.0, tolerance=1e-12)
        self.sim = Smoke(self.config)
        self.rollout = ds.Rollout(self.sim, steps=8, mode="step")

    def __call__(self, velocity: Velocity, density: Array) -> dict[str, Array]:
        sim = self.sim
        for field, values in zip((sim.u, sim.v, sim.density), (*velocity, density), strict=True):
            field.set(values)
        return self.rollout.trajectories({"u": sim.u_free, "v": sim.v_free, "d": sim.density})


REST = np.zeros((17, 16)), np.zeros((16, 17))


@pytest.fixture(scope="module")
def box(runtime: Any) -> Box:
    return Box()


def test_density_stays_within_its_bounds_and_even_density_stays(box: Box) -> None:
    u, v = random_velocity(16, 5)
    puff = picture(box.config, "disc")
    found = box((0.3 * u, 0.3 * v), puff)
    assert found["d"].min() >= 0.0
    assert found["d"].max() <= 1.0 + 1e-15
    assert np.abs(found["d"][-1] - puff).max() > 0.3
    even = box((0.3 * u, 0.3 * v), np.ones((16, 16)))
    np.testing.assert_allclose(even["d"], 1.0, rtol=1e-14)


def test_layers_rest(box: Box) -> None:
    """Lift that depends on height alone is balanced by pressure."""
    layers = np.broadcast_to(np.linspace(0.0, 1.0, 16) ** 2, (16, 16))
    still = box(REST, np.array(layers))
    assert np.abs(still["u"]).max() + np.abs(still["v"]).max() < 1e-12


def test_a_puff_rises_and_gains_no_sideways_momentum(box: Box) -> None:
    found = box(REST, picture(box.config, "disc", center=(0.5, 0.4)))
    _, y = box.config.centers()
    heights = [float((d * y).sum() / d.sum()) for d in found["d"]]
    assert np.all(np.diff(heights[1:]) > 0.0)
    assert abs(found["u"].sum(axis=(1, 2))).max() < 1e-10
    np.testing.assert_allclose(found["d"][-1], found["d"][-1][::-1], rtol=0, atol=1e-10)


# ---- gradients ----


def make(n: int = 8, **options: Any) -> Smoke:
    config = SmokeConfig(n=n, dt=0.1, buoyancy=0.3, **options)
    velocity = random_velocity(n, 6)
    # nowhere even: there all limits of a place are one number, and the limiter has a kink
    puff = picture(config, "disc", edge=0.4) + 0.2 * np.random.default_rng(7).uniform(size=(n, n))
    moon = picture(config, "moon", center=(0.6, 0.5), edge=0.4)
    return Smoke(config, (0.2 * velocity[0], 0.2 * velocity[1]), puff, moon)


def wanted(sim: Smoke) -> list[Any]:
    return [sim.u, sim.v, sim.density]


@pytest.fixture(scope="module")
def carried(runtime: Any) -> ds.Rollout:
    return ds.Rollout(make(n=9, advection="semi-lagrangian", **EXACT), steps=3, mode="step")


def test_gradients_against_differences(carried: ds.Rollout) -> None:
    assert_gradient(carried, wanted(carried.sim))


def test_gradients_of_maccormack_against_differences(runtime: Any) -> None:
    sim = make(n=8, advection="maccormack", **EXACT)
    rollout = ds.Rollout(sim, steps=3, mode="step")
    assert_gradient(rollout, wanted(sim), directions=2)
    rollout.close()


def test_the_implicit_adjoint_is_that_of_sweeps_that_converge(carried: ds.Rollout) -> None:
    cost, implicit = carried.value_and_grad(wrt=wanted(carried.sim))
    sim = make(n=9, advection="semi-lagrangian", pressure="jacobi", sweeps=900)
    rollout = ds.Rollout(sim, steps=3, mode="step")
    other, unrolled = rollout.value_and_grad(wrt=wanted(sim))
    rollout.close()
    assert cost == pytest.approx(other, rel=1e-11)
    for key, gradient in implicit.items():
        np.testing.assert_allclose(gradient, unrolled[key], rtol=0, atol=1e-10 * np.abs(gradient).max())


def test_gradients_of_velocities_are_flows(carried: ds.Rollout) -> None:
    """A gradient is projected as velocities are: to walk along it needs no projection."""
    _, grads = carried.value_and_grad(wrt=wanted(carried.sim))
    assert np.abs(divergence(grads["u"], grads["v"], 1.0)).max() < 1e-12 * np.abs(grads["u"]).max()


def few() -> Smoke:
    """Make smoke whose solver stops early: mode `chunk` writes each round out, and is to compile soon."""
    return make(advection="semi-lagrangian", iterations=2)


def test_checkpoints_give_the_same_bits(runtime: Any) -> None:
    assert_same_when_checkpointed(few, 2, wanted, window=1)


def test_modes_agree(runtime: Any) -> None:
    assert_modes_agree(few, 2, wanted)


# ---- in 32 bits ----


@pytest.mark.parametrize("precision", [32], scope="module")
def test_single_precision_leaves_no_more_divergence_than_rounding(runtime: Any, precision: int) -> None:
    """With the default config, for velocities up to 0.2 m/s: it ends at 3e-7 of these per spacing."""
    u, v = random_velocity(110)
    fastest = max(np.abs(u).max(), np.abs(v).max())
    left = divergence(*Projecting(110)((0.2 / fastest * u, 0.2 / fastest * v)), dx=1.0 / 110)
    assert np.abs(left).max() < 1e-5


# ---- scenes, and what is refused ----


@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_pictures_have_the_area_and_the_centre_that_are_asked_for(shape: str) -> None:
    config = SmokeConfig(n=110)
    drawn = picture(config, shape, area=0.1, center=(0.45, 0.55))
    assert drawn.min() >= 0.0
    assert drawn.max() <= 1.0
    assert drawn.mean() == pytest.approx(0.1, rel=0.02)
    for place, wanted_place in zip(config.centers(), (0.45, 0.55), strict=True):
        assert (drawn * place).sum() / drawn.sum() == pytest.approx(wanted_place, abs=0.005)


def test_what_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"SmokeConfig.n must be .*got 2"):
        SmokeConfig(n=2)
    with pytest.raises(ConfigError, match=r"SmokeConfig.pressure must be .*got 'magic'"):
        SmokeConfig(pressure="magic")
    with pytest.raises(ConfigError, match=r"density must have shape \(8, 8\), got \(7, 8\)"):
        Smoke(SmokeConfig(n=8), density=np.zeros((7, 8)))
    with pytest.raises(ConfigError, match=r"shape must be one of disc, .*got 'cube'"):
        picture(SmokeConfig(n=8), "cube")
