"""Waves against the dispersion relation, closed forms, their energy, and fitted orders of convergence."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from simulator_checks import assert_gradient, assert_modes_agree, assert_same_when_checkpointed

import diffsim as ds
from diffsim.errors import ConfigError
from diffsim.kernels.common.stencils import BOUNDARIES
from diffsim.kernels.wave import PATTERNS, StabilityWarning, Wave, WaveConfig, bumps, pattern

Array = NDArray[np.float64]


def run(config: WaveConfig, height: Array, steps: int) -> Array:
    """Return the heights at all steps, shape (steps + 1, n, n)."""
    sim = Wave(config, height)
    rollout = ds.Rollout(sim, steps=steps, mode="step")
    found: Array = rollout.trajectory(sim.u)
    rollout.close()
    return found


def mode_shape(config: WaveConfig, p: int, q: int) -> Array:
    """Draw a standing mode with `p` and `q` half waves along the axes (whole ones where periodic)."""
    x = config.axis() / config.size
    if config.boundary == "fixed":
        return np.outer(np.sin(math.pi * p * x), np.sin(math.pi * q * x))
    if config.boundary == "reflecting":
        return np.outer(np.cos(math.pi * p * x), np.cos(math.pi * q * x))
    along = 2.0 * math.pi * (p * x[:, None] + q * x[None, :])
    return np.cos(along + 0.3)


def wave_numbers(config: WaveConfig, p: int, q: int) -> tuple[float, float]:
    base = math.pi * (2.0 if config.boundary == "periodic" else 1.0) / config.size
    return p * base, q * base


def discrete_frequency(config: WaveConfig, p: int, q: int) -> float:
    """Solve the scheme's dispersion relation for the angular frequency [rad/s]."""
    kx, ky = wave_numbers(config, p, q)
    square = math.sin(0.5 * kx * config.dx) ** 2 + math.sin(0.5 * ky * config.dx) ** 2
    return 2.0 / config.time_step * math.asin(config.courant_number * math.sqrt(square))


def energy(u: Array, config: WaveConfig) -> Array:
    """Return the discrete energy between steps: |du/dt|^2 / 2 + c^2 (grad u+, grad u) / 2, summed."""
    kinetic = 0.5 * ((u[1:] - u[:-1]) ** 2).sum(axis=(1, 2)) / config.time_step**2
    strain = np.zeros(len(u) - 1)
    for axis in (1, 2):
        slope = np.diff(u, axis=axis) if config.boundary != "periodic" else u - np.roll(u, 1, axis)
        strain += (slope[1:] * slope[:-1]).sum(axis=(1, 2))
    return kinetic + 0.5 * (config.speed / config.dx) ** 2 * strain


# ---- standing modes: the scheme's own frequency, and how it nears the continuous one ----


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_standing_mode_has_the_schemes_frequency(runtime: Any, boundary: str) -> None:
    config = WaveConfig(n=24, size=2.0, speed=3.0, damping=0.0, boundary=boundary, courant=0.6)
    shape = mode_shape(config, 2, 3)
    u = run(config, shape, 60)
    times = config.time_step * np.arange(61)
    clock = np.cos(discrete_frequency(config, 2, 3) * times)
    np.testing.assert_allclose(u, clock[:, None, None] * shape, rtol=0, atol=1e-12)


def exact_mode(config: WaveConfig, square: float, time: float) -> float:
    """Return the amplitude of a mode released from rest, with `square` its undamped frequency squared."""
    rate = 0.5 * config.damping
    w = math.sqrt(square - rate**2)
    return math.exp(-rate * time) * (math.cos(w * time) + rate / w * math.sin(w * time))


def amplitude_error(config: WaveConfig, time: float, semi_discrete: bool = False) -> float:
    """Return how far mode (2, 1) is from its exact amplitude at a time that is a whole number of steps."""
    steps = round(time / config.time_step)
    assert steps * config.time_step == pytest.approx(time, rel=1e-12)
    shape = mode_shape(config, 2, 1)
    u = run(config, shape, steps)[-1]
    kx, ky = wave_numbers(config, 2, 1)
    if semi_discrete:  # exact in time, differences in space
        kx, ky = (2.0 / config.dx * math.sin(0.5 * k * config.dx) for k in (kx, ky))
    found = float((u * shape).sum() / (shape * shape).sum())
    return abs(found - exact_mode(config, config.speed**2 * (kx**2 + ky**2), time))


def fitted_order(errors: list[float]) -> float:
    """Fit the power of errors whose step is halved each time."""
    return float(-np.polyfit(np.arange(len(errors)), np.log2(errors), 1)[0])


def test_second_order_in_time(runtime: Any) -> None:
    """Against the exact solution in time of the same differences in space, with strong damping."""
    steps = (0.02, 0.01, 0.005)
    errors = [
        amplitude_error(WaveConfig(n=17, damping=2.0, dt=dt), 0.9 * 2 / 3, semi_discrete=True) for dt in steps
    ]
    assert fitted_order(errors) == pytest.approx(2.0, abs=0.1), errors


def test_second_order_in_space(runtime: Any) -> None:
    """With a step so short that time adds 0.3 % of the coarsest grid's error."""
    errors = [amplitude_error(WaveConfig(n=n, damping=1.0, dt=0.0025), 0.6) for n in (9, 17, 33)]
    assert fitted_order(errors) == pytest.approx(2.0, abs=0.1), errors


def test_waves_travel_at_their_speed(runtime: Any) -> None:
    """A long wave's period on a fine grid is that of the continuous equation to 0.1 %."""
    config = WaveConfig(n=64, size=1.5, speed=2.0, damping=0.0, boundary="periodic")
    period = 2.0 * math.pi / (config.speed * np.hypot(*wave_numbers(config, 1, 1)))
    shape = mode_shape(config, 1, 1)
    u = run(config, shape, round(1.3 * period / config.time_step))
    amplitude = (u * shape).sum(axis=(1, 2))
    falls = np.flatnonzero((amplitude[:-1] > 0.0) & (amplitude[1:] <= 0.0))
    crossings = falls + amplitude[falls] / (amplitude[falls] - amplitude[falls + 1])
    assert len(crossings) == 2
    assert np.diff(crossings)[0] * config.time_step == pytest.approx(period, rel=1e-3)


# ---- energy ----


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_energy_is_kept_without_damping(runtime: Any, boundary: str) -> None:
    config = WaveConfig(n=20, damping=0.0, boundary=boundary)
    found = energy(run(config, bumps(config, seed=3), 200), config)
    assert found.min() > 0.0
    np.testing.assert_allclose(found, found[0], rtol=1e-12)


def test_energy_decays_with_damping(runtime: Any) -> None:
    """Energy falls in every step, and over many periods by exp(-damping t)."""
    config = WaveConfig(n=20, damping=0.8)
    found = energy(run(config, mode_shape(config, 3, 2), 300), config)
    assert (np.diff(found) < 0.0).all()
    times = config.time_step * np.arange(len(found))
    rate = -np.polyfit(times, np.log(found), 1)[0]
    assert rate == pytest.approx(config.damping, rel=0.01)


# ---- walls ----


@pytest.mark.parametrize(("boundary", "sign"), [("fixed", -1.0), ("reflecting", 1.0)])
def test_walls_reflect(runtime: Any, boundary: str, sign: float) -> None:
    """Half of a ridge runs to the wall at x = 0 and is back in its place, upside down if that is fixed.

    In the middle of the square nothing is known by then of the walls that the ridge ends at.
    """
    config = WaveConfig(n=101, damping=0.0, boundary=boundary)
    x = config.axis()
    ridge = np.exp(-0.5 * ((x - 0.2) / 0.04) ** 2)
    steps = round(0.4 / (config.speed * config.time_step))
    u = run(config, np.repeat(ridge[:, None], config.n, axis=1), steps)
    middle = u[-1][:, config.n // 2]
    near = x < 0.4
    np.testing.assert_allclose(middle[near], 0.5 * sign * ridge[near], rtol=0, atol=0.02)
    away = 0.5 * np.exp(-0.5 * ((x - 0.6) / 0.04) ** 2)  # the other half
    np.testing.assert_allclose(middle[~near], away[~near], rtol=0, atol=0.02)


def test_fixed_walls_stay_at_zero(runtime: Any) -> None:
    config = WaveConfig(n=12)
    u = run(config, np.ones((12, 12)), 20)
    for side in (u[:, 0], u[:, -1], u[:, :, 0], u[:, :, -1]):
        assert not side.any()
    assert np.abs(u[-1]).max() > 0.1


# ---- gradients ----


def small(boundary: str = "fixed") -> Wave:
    config = WaveConfig(n=14, damping=0.5, boundary=boundary)
    return Wave(config, bumps(config, seed=1), pattern(config, "ring", width=0.08))


@pytest.mark.parametrize("boundary", ["fixed", "reflecting"])
def test_gradient_agrees_with_differences(runtime: Any, boundary: str) -> None:
    sim = small(boundary)
    assert_gradient(ds.Rollout(sim, steps=12), [sim.height])


def test_gradient_is_the_same_when_checkpointed(runtime: Any) -> None:
    assert_same_when_checkpointed(small, 21, lambda sim: [sim.height])


@pytest.mark.compilers
def test_modes_agree(runtime: Any) -> None:
    assert_modes_agree(small, 9, lambda sim: [sim.height])


def test_gradient_of_a_mode(runtime: Any) -> None:
    """The map from first to last height is symmetric: a mode's gradient is 2 cos^2(w T) times the mode."""
    config = WaveConfig(n=16, damping=0.0)
    shape = mode_shape(config, 1, 2)
    sim = Wave(config, shape)
    cost, grads = ds.Rollout(sim, steps=25, mode="step").value_and_grad(wrt=[sim.height])
    share = math.cos(discrete_frequency(config, 1, 2) * 25 * config.time_step) ** 2
    assert cost == pytest.approx(share * (shape**2).sum(), rel=1e-12)
    np.testing.assert_allclose(grads["height"], 2.0 * share * shape, rtol=0, atol=1e-12)


# ---- the limit of the time step ----


def test_time_step_above_the_limit_is_warned_of() -> None:
    with pytest.warns(StabilityWarning, match=r"courant must be at most 0\.707107 .* got 0\.75: .* is 0\.75"):
        WaveConfig(courant=0.75)
    message = r"dt must be at most 0\.0235702 .* got 0\.03: .* is 0\.9, its limit 1 / sqrt\(2\) = 0\.7071"
    with pytest.warns(StabilityWarning, match=message) as caught:
        WaveConfig(n=31, dt=0.03)
    assert caught[0].filename == __file__
    WaveConfig(courant=1.0 / math.sqrt(2.0))  # at the limit: pytest makes a warning an error here


def test_the_limit_is_where_waves_begin_to_grow(runtime: Any) -> None:
    rng = np.random.default_rng(0)
    largest = []
    for courant in (0.70, 0.72):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", StabilityWarning)
            config = WaveConfig(n=16, damping=0.0, boundary="periodic", courant=courant)
        largest.append(np.abs(run(config, rng.normal(size=(16, 16)), 100)[-1]).max())
    assert largest[0] < 10.0
    assert largest[1] > 1e6


# ---- arguments ----


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n": 2}, "WaveConfig.n must be a whole number of at least 3, got 2"),
        ({"speed": 0.0}, "WaveConfig.speed must be a number above 0"),
        ({"damping": -0.1}, "WaveConfig.damping must be a number of at least 0"),
        ({"boundary": "open"}, "WaveConfig.boundary must be one of fixed, reflecting, periodic, got 'open'"),
        ({"courant": 0.5, "dt": 1e-3}, "WaveConfig.dt must be left out where courant is given, got 0.001"),
    ],
)
def test_config_refuses(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        WaveConfig(**changes)


def test_patterns_keep_away_from_the_walls() -> None:
    config = WaveConfig(n=64)
    for name in PATTERNS:
        u = pattern(config, name, height=2.0)
        assert 1.8 < u.max() <= 2.0
        assert max(u[0].max(), u[-1].max(), u[:, 0].max(), u[:, -1].max()) < 1e-3
    with pytest.raises(ConfigError, match="pattern name must be one of partial, ring, heart, got 'star'"):
        pattern(config, "star")
