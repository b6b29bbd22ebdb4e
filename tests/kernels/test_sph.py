"""Water of smoothed particles against sums over all pairs, hydrostatics, conservation and differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import diffsim as ds
from diffsim.errors import ConfigError
from diffsim.kernels.sph import SPH, SPHConfig, block

Array = NDArray[np.float64]

SMALL = SPHConfig(spacing=0.05, dt=1e-3, width=0.5, sound=15.0, viscosity=0.02)


def shaken(config: SPHConfig, width: float = 0.3) -> Array:
    """Return a block whose particles are off their lattice, where no pressure is just cut at zero."""
    x = block(config, width, 0.2, left=0.5 * (config.width - width))
    return x + np.random.default_rng(2).normal(size=x.shape) * 0.05 * config.spacing


def forces(config: SPHConfig, x: Array, v: Array) -> tuple[Array, Array]:
    """Sum over all pairs: densities, and accelerations but for gravity and walls."""
    h, m = config.smoothing, config.mass
    alpha = 7.0 / (4.0 * np.pi * h**2)
    d, w = x[:, None] - x[None], v[:, None] - v[None]
    squares = (d**2).sum(axis=-1)
    fallen = np.maximum(1.0 - 0.5 * np.sqrt(squares) / h, 0.0)
    rho = m * alpha * (fallen**4 * (5.0 - 4.0 * fallen)).sum(axis=1)
    bulk = config.density * config.sound**2 / config.stiffening
    p = np.maximum(bulk * ((rho / config.density) ** config.stiffening - 1.0), 0.0) / rho**2
    drag = (w * d).sum(axis=-1) / (squares + 0.01 * h**2)
    amount = p[:, None] + p[None] - 8.0 * config.viscosity * drag / (rho[:, None] + rho[None])
    a = m * 5.0 * alpha / h**2 * ((amount * fallen**3)[..., None] * d).sum(axis=1)
    return rho, a


def test_a_step_is_the_sum_over_all_pairs(runtime: Any) -> None:
    config = SPHConfig(spacing=0.05, dt=1e-3, sound=15.0, viscosity=0.02)
    x = shaken(config) + np.array([0.0, 0.2])  # far from floor and walls
    v = np.random.default_rng(3).normal(size=x.shape)
    sim = SPH(config, x)
    sim.v.set(v)
    sim.push.set(np.array([[0.7, -0.2]]))
    held = ds.Rollout(sim, steps=1).trajectories(["rho", "v", "x"])
    rho, a = forces(config, x, v)
    np.testing.assert_allclose(held["rho"][0], rho, rtol=1e-11)
    np.testing.assert_allclose(held["v"][1], v + config.dt * (a - [0.7, 9.8 - 0.2]), rtol=1e-9)
    np.testing.assert_allclose(held["x"][1], x + config.dt * held["v"][1], rtol=1e-12)


def test_pairs_change_no_momentum(runtime: Any) -> None:
    config = SPHConfig(spacing=0.05, dt=1e-3, gravity=0.0, sound=15.0, viscosity=0.02, skin=0.5)
    x = shaken(config) + np.array([0.0, 0.2])
    sim = SPH(config, x)
    sim.v.set(np.random.default_rng(3).normal(size=x.shape))
    v = ds.Rollout(sim, steps=40).trajectory("v")
    np.testing.assert_allclose(v.sum(axis=1), np.broadcast_to(v[0].sum(axis=0), (41, 2)), atol=1e-11)
    assert (v[-1] ** 2).sum() < (v[0] ** 2).sum()  # viscosity


def test_water_at_rest_has_the_pressure_of_its_depth(runtime: Any) -> None:
    """Between floor and surface, where kernels are whole; `dp/dy = -rho g`."""
    config = SPHConfig(spacing=0.025, dt=5e-4, width=0.25, sound=15.0, viscosity=0.02)
    x = block(config, config.width, 0.3)
    held = ds.Rollout(SPH(config, x), steps=2400, mode="fused").trajectories(["x", "pressure"], every=10)
    y, p = held["x"][120:240, :, 1].mean(axis=0), held["pressure"][120:].mean(axis=0)
    inner = (y > 0.05) & (y < 0.2)
    slope = np.polyfit(y[inner], p[inner], 1)[0]
    assert slope == pytest.approx(-config.density * config.gravity, rel=0.1)
    assert held["x"][-1].min() > 0.0


def test_the_gradient_is_that_of_differences_and_modes(runtime: Any) -> None:
    report = ds.Rollout(SPH(SMALL, shaken(SMALL)), steps=15).check_grad(["push", "x", "v"], 3)
    assert report.passed, str(report)


def test_what_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"SPHConfig.dt must be at most 0.00\d+, for this spacing and sound"
    ):
        SPHConfig(dt=0.1)
    with pytest.raises(ConfigError, match=r"x must have shape \(n, 2\), got \(3,\)"):
        SPH(SMALL, [0.0, 1.0, 2.0])
