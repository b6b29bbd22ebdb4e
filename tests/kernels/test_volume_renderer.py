"""The volume renderer against Beer and Lambert: closed forms, orders, conservation, symmetry, gradients."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from simulator_checks import assert_gradient, assert_modes_agree, assert_same_when_checkpointed

import diffsim as ds
from diffsim.errors import ConfigError
from diffsim.kernels.volume_renderer import (
    VolumeConfig,
    VolumeRenderer,
    cell_centres,
    hidden_cloud,
    photograph,
)

WHITE = {"low": (1.0, 1.0, 1.0), "high": (1.0, 1.0, 1.0)}
# One ray per picture, through the middle of the cube.
BEAM = VolumeConfig(n=1, size=2.0, views=8, pixels=1, samples=16, pinhole=False, elevations=(0.0, 0.0))
SMALL = VolumeConfig(n=6, views=4, pixels=5, samples=7)


def look(sim: VolumeRenderer) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return pictures and transmittances from all cameras."""
    rollout = ds.Rollout(sim, steps=sim.views)
    found = rollout.trajectories({"p": sim.picture, "t": sim.transmittance}, every=1)
    rollout.close()
    return found["p"][: sim.views], found["t"][: sim.views]


def even(config: VolumeConfig, density: float) -> VolumeRenderer:
    sim = VolumeRenderer(config)
    sim.set_density(density)
    return sim


# ---- closed forms ----


def test_slab(runtime: Any) -> None:
    """An even density lets exp(-sigma length) pass, whatever the samples; the length is that of the chord."""
    sigma = 0.8
    pictures, passed = look(even(BEAM, sigma))
    turn = 2 * np.pi * np.arange(BEAM.views) / BEAM.views
    chord = BEAM.size / np.maximum(np.abs(np.cos(turn)), np.abs(np.sin(turn)))
    np.testing.assert_allclose(passed[:, 0, 0], np.exp(-sigma * chord), rtol=1e-12)
    colour = 0.5 * (np.array(BEAM.low) + np.array(BEAM.high))  # half way up
    np.testing.assert_allclose(pictures[:, 0, 0], (1 - np.exp(-sigma * chord))[:, None] * colour, rtol=1e-12)


def test_order_in_the_marching_step(runtime: Any) -> None:
    """Light through an even density whose colour rises along the ray, integrated by hand: second order."""
    sigma, lift = 1.3, np.radians(25.0)
    length = BEAM.size / np.cos(lift)  # seen level by face 0, from below the upper edge
    first, last = (0.5 + s * np.tan(lift) / 2 for s in (1.0, -1.0))  # heights where the ray enters and leaves
    gone = np.exp(-sigma * length)
    mean = first * (1 - gone) + (last - first) * ((1 - gone) / (sigma * length) - gone)
    exact = (1 - gone) * np.array(BEAM.low) + mean * (np.array(BEAM.high) - np.array(BEAM.low))
    errors = []
    for samples in (4, 8, 16):
        config = dataclasses.replace(BEAM, views=1, samples=samples, elevations=(25.0, 25.0))
        errors.append(np.abs(look(even(config, sigma))[0][0, 0, 0] - exact).max())
    order = -np.polyfit(np.log([4, 8, 16]), np.log(errors), 1)[0]
    assert errors[-1] < 1e-3
    assert order == pytest.approx(2.0, abs=0.05)


def test_ball(runtime: Any) -> None:
    """The optical depth of a Gaussian ball depends on how far from its centre a ray passes."""
    config = VolumeConfig(n=40, views=3, pixels=9, samples=60, pinhole=False, elevations=(10.0, 40.0))
    peak, width = 5.0, 0.09
    sim = VolumeRenderer(config)
    sim.set_density(peak * np.exp(-0.5 * (cell_centres(config) ** 2).sum(axis=-1) / width**2))
    depth = -np.log(look(sim)[1])
    aside = config.width * ((np.arange(9) + 0.5) / 9 - 0.5)
    square = aside[:, None] ** 2 + aside**2
    exact = peak * width * np.sqrt(2 * np.pi) * np.exp(-0.5 * square / width**2)
    # Blending linearly between cells smooths the ball by a part of (cell / width)^2 = 0.08.
    np.testing.assert_allclose(depth, np.broadcast_to(exact, depth.shape), rtol=0, atol=0.02 * exact.max())


def test_slope_of_a_slab(runtime: Any) -> None:
    """The cost of one white ray is C^2, whose slope follows from C = 1 - exp(-sigma L)."""
    config = dataclasses.replace(BEAM, views=1, **WHITE)
    sim = even(config, 0.8)
    rollout = ds.Rollout(sim, steps=1)
    cost, grads = rollout.value_and_grad(wrt=[sim.raw])
    gone = np.exp(-0.8 * config.size)
    by_raw = 1 - np.exp(-0.8 / config.scale)  # the slope of softplus at the value that it has
    assert cost == pytest.approx((1 - gone) ** 2, rel=1e-12)
    slope = 2 * (1 - gone) * gone * config.size * by_raw * config.scale
    assert grads["raw"].sum() == pytest.approx(slope, rel=1e-12)


# ---- invariants ----


@pytest.mark.parametrize("pinhole", [True, False])
def test_nothing_is_lost(runtime: Any, pinhole: bool) -> None:
    """What is absorbed and what passes add up to 1: white in a white world can't be seen."""
    config = dataclasses.replace(SMALL, pinhole=pinhole, background=(1.0, 1.0, 1.0), **WHITE)
    sim = VolumeRenderer(config)
    sim.set_density(np.random.default_rng(0).uniform(0.0, 9.0, (6, 6, 6)))
    pictures, passed = look(sim)
    np.testing.assert_allclose(pictures, 1.0, rtol=1e-13)
    assert passed.min() < 0.3
    assert (passed >= 0.0).all()
    assert (passed <= 1.0).all()


def test_turning_the_cloud_turns_the_cameras(runtime: Any) -> None:
    """A quarter turn of the density is a quarter of the way around for the cameras."""
    config = dataclasses.replace(SMALL, views=8)
    density = np.random.default_rng(1).uniform(0.0, 9.0, (6, 6, 6))
    straight = photograph(config, density)
    turned = photograph(config, np.rot90(density, axes=(0, 1)))
    np.testing.assert_allclose(np.roll(straight, 2, axis=0), turned, rtol=0, atol=1e-12)
    assert np.abs(straight - turned).max() > 0.05


def test_far_pinhole_sees_parallel_rays(runtime: Any) -> None:
    density = hidden_cloud(SMALL)
    far = photograph(dataclasses.replace(SMALL, distance=1e5), density)
    parallel = photograph(dataclasses.replace(SMALL, pinhole=False), density)
    near = photograph(SMALL, density)
    assert np.abs(far - parallel).max() < 1e-3 * np.abs(near - parallel).max()


# ---- gradients ----


def small(steps_target: float = 0.3) -> VolumeRenderer:
    """Return a small scene in which every part of the cloud can be seen."""
    target = np.random.default_rng(2).uniform(0.0, steps_target, (SMALL.views, SMALL.pixels, SMALL.pixels, 3))
    sim = VolumeRenderer(SMALL, target)
    sim.set_density(np.random.default_rng(3).uniform(0.5, 6.0, (6, 6, 6)))
    return sim


def seen(sim: Any) -> list[Any]:
    return [sim.raw, sim.colours]


def test_gradient(runtime: Any) -> None:
    sim = small()
    assert_gradient(ds.Rollout(sim, steps=3), wrt=seen(sim))


def test_checkpoints_and_modes(runtime: Any) -> None:
    assert_same_when_checkpointed(small, 4, wrt=seen)
    assert_modes_agree(small, 4, wrt=seen)


# ---- what is set and what is refused ----


def test_set_density(runtime: Any) -> None:
    sim = VolumeRenderer(SMALL)
    wanted = np.random.default_rng(4).uniform(0.01, 50.0, (6, 6, 6))
    sim.set_density(wanted)
    density = ds.Rollout(sim, steps=1).trajectory(sim.density)
    np.testing.assert_allclose(density[-1], wanted, rtol=1e-12)


def test_refusals() -> None:
    with pytest.raises(ConfigError, match=r"VolumeConfig\.distance must be more than 0\.866"):
        VolumeConfig(distance=0.5)
    with pytest.raises(
        ConfigError, match=r"VolumeConfig\.samples must be a whole number of at least 1, got 0"
    ):
        VolumeConfig(samples=0)
    with pytest.raises(ConfigError, match=r"target must have shape \(4, 5, 5, 3\), got \(1, 5, 5, 3\)"):
        VolumeRenderer(SMALL, np.zeros((1, 5, 5, 3)))
