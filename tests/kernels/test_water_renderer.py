"""The picture of a pool against the laws of optics, and its gradient; a network that looks at it."""

# No `from __future__ import annotations`: Taichi reads the annotations of kernels.
import math
import sys
from typing import Any

import numpy as np
import pytest
import taichi as ti
from numpy.typing import NDArray
from simulator_checks import assert_gradient, assert_modes_agree, assert_same_when_checkpointed

import diffsim as ds
from diffsim.errors import ConfigError
from diffsim.kernels.water_renderer import (
    SHARPNESS,
    WaterClassifier,
    WaterRenderer,
    WaterRendererConfig,
    digit_floor,
    drops,
    evaluate_spline,
    fit_spline,
    refined,
    tiles,
)
from diffsim.kernels.water_renderer.optics import fresnel, reflect, refract

Array = NDArray[np.float64]

WATER = 1.333
CLEAR: dict[str, Any] = {"absorption": (0.0, 0.0, 0.0), "scatter": 0.0, "glare": 0.0, "sky": (0.0, 0.0, 0.0)}


# ---- the laws of optics ----


class Rays(ds.Simulator):
    """Sends rays in the plane y = 0 onto a level surface at many angles, into water and out of it."""

    def __init__(self, angles):
        self.count, self.index = len(angles), WATER
        self.ray = ds.Constant(np.stack([np.sin(angles), 0 * angles, -np.cos(angles)], axis=1), init=None)
        self.mirrored = ds.Scratch(ds.vec3, self.count)
        self.inside = ds.Scratch(ds.vec3, self.count)
        self.share = ds.Scratch(ds.vec2, self.count)

    @ti.kernel
    def send(self, t: ti.i32):
        for k in range(self.count):
            ray = ti.Vector([self.ray[k, 0], self.ray[k, 1], self.ray[k, 2]])
            normal = ti.Vector([0.0, 0.0, 1.0])
            self.mirrored[t, k] = reflect(ray, normal)
            self.inside[t, k] = refract(ray, normal, 1.0 / self.index)
            self.share[t, k] = ti.Vector([fresnel(-ray[2], 1.0 / self.index), fresnel(-ray[2], self.index)])

    def step(self, t):
        self.send(t)


def fresnel_by_angles(angle: Any) -> Any:
    """Return the reflected share of light that comes at an angle > 0, from the sine and tangent formulas."""
    behind = np.arcsin(np.sin(angle) / WATER)
    across = (np.sin(angle - behind) / np.sin(angle + behind)) ** 2
    within = (np.tan(angle - behind) / np.tan(angle + behind)) ** 2
    return 0.5 * (across + within)


def test_rays_follow_snell_and_fresnel(runtime: Any) -> None:
    angles = np.radians([0.0, 1.0, 20.0, 48.0, 50.0, math.degrees(math.atan(WATER)), 85.0, 89.999])
    sim = Rays(angles)
    rollout = ds.Rollout(sim, steps=1, mode="step")
    fields = {"mirrored": sim.mirrored, "inside": sim.inside, "share": sim.share}
    found = {name: array[0] for name, array in rollout.trajectories(fields).items()}
    np.testing.assert_allclose(
        found["mirrored"], np.stack([np.sin(angles), 0 * angles, np.cos(angles)], axis=1), atol=1e-14
    )
    behind = np.arcsin(np.sin(angles) / WATER)
    expected = np.stack([np.sin(behind), 0 * angles, -np.cos(behind)], axis=1)
    np.testing.assert_allclose(found["inside"], expected, rtol=0, atol=1e-14)
    share = found["share"]
    assert share[0] == pytest.approx(
        [((WATER - 1) / (WATER + 1)) ** 2] * 2, rel=1e-12
    )  # straight on, both ways
    np.testing.assert_allclose(share[1:, 0], fresnel_by_angles(angles[1:]), rtol=1e-9)
    assert share[-1, 0] > 0.99
    critical = math.asin(1.0 / WATER)  # 48.6 degrees: beyond it, no light leaves the water
    np.testing.assert_allclose(share[angles > critical, 1], 1.0, rtol=1e-12)
    assert (share[angles < critical, 1] < 1.0).all()


# ---- pictures ----


def photograph(config: WaterRendererConfig, u: Array, floor: Array) -> Array:
    """Return the picture through heights u [mm] at rest, shape (n, n, 3)."""
    sim = WaterRenderer(config, fit_spline(config, u, config.controls), floor, filmed=True)
    rollout = ds.Rollout(sim, steps=1, mode="step")
    found: Array = rollout.trajectory(sim.picture)[0]
    rollout.close()
    return found


def test_still_water_shows_the_floor(runtime: Any) -> None:
    config = WaterRendererConfig(n=16, controls=4)
    floor = np.random.default_rng(0).uniform(size=(16, 16, 3))
    seen = photograph(config, np.zeros((16, 16)), floor)
    np.testing.assert_allclose(seen, WaterRenderer(config).still(floor), rtol=0, atol=1e-12)


def test_a_slope_shifts_the_floor_by_snells_law(runtime: Any) -> None:
    """Through a tilted plane the floor seems moved by depth tan(tilt - arcsin(sin(tilt) / index))."""
    config = WaterRendererConfig(n=32, controls=12, depth=0.3, **CLEAR)
    x, tilt = config.axis(), math.radians(12.0)
    u = 1e3 * math.tan(tilt) * np.repeat(x[:, None] - 0.5, 32, axis=1)
    control = 1e3 * math.tan(tilt) * np.repeat(np.linspace(-0.5, 0.5, 12)[:, None], 12, axis=1)
    inside = slice(8, 24)  # where the walls' mirror images are out of reach
    np.testing.assert_allclose(evaluate_spline(config, control)[inside], u[inside], rtol=0, atol=1e-10)
    floor = np.repeat(np.repeat(x[:, None], 32, axis=1)[..., None], 3, axis=2)  # a ramp: it tells the place
    sim = WaterRenderer(config, control, floor, filmed=True)
    seen = ds.Rollout(sim, steps=1, mode="step").trajectory(sim.picture)[0, inside, inside, 0]
    deflection = tilt - math.asin(math.sin(tilt) / WATER)
    hit = x[:, None] + (config.depth + 1e-3 * u) * math.tan(deflection)
    expected = (1.0 - fresnel_by_angles(tilt)) * hit[inside, inside]
    np.testing.assert_allclose(seen, expected, rtol=0, atol=1e-12)


def test_crests_gather_light(runtime: Any) -> None:
    """The floor's brightness is 1 / det(d hit / dx) to first order: what is left falls with the square."""
    config = WaterRendererConfig(n=64, controls=32, boundary="periodic", **CLEAR)
    x = config.axis()
    left = []
    for height in (1.0, 0.5):
        u = height * np.repeat(np.cos(2 * math.pi * 3 * x)[:, None], 64, axis=1)
        seen = photograph(config, u, np.ones((64, 64, 3)))[..., 0] / (1.0 - ((WATER - 1) / (WATER + 1)) ** 2)
        slope = -1e-3 * height * 6 * math.pi * np.sin(6 * math.pi * x)
        tilt = np.arctan(slope)
        hit = x + (config.depth + 1e-3 * u[:, 0]) * np.tan(tilt - np.arcsin(np.sin(tilt) / WATER))
        spacing = (np.roll(hit, -1) - np.roll(hit, 1)) % config.size / (2.0 * config.dx)
        left.append(np.abs(seen[:, 5] * spacing - 1.0).max())
        assert seen[0, 0] > 1.0 > seen[64 // 6, 0]  # a crest, a trough
        assert seen.mean() == pytest.approx(1.0, abs=0.1 * height**2)
    assert left[0] < 0.2
    assert math.log2(left[0] / left[1]) == pytest.approx(2.0, abs=0.5), left


def test_the_sun_is_seen_where_the_surface_mirrors_it(runtime: Any) -> None:
    config = WaterRendererConfig(
        n=32, controls=12, sun=(0.0, 0.3, 1.0), gloss=400.0, absorption=(9.0, 9.0, 9.0)
    )
    u = drops(config, count=1, height=40.0, seed=4)
    seen = photograph(config, u, np.zeros((32, 32, 3)))[..., 0]
    i, j = np.unravel_index(np.argmax(seen), seen.shape)
    half = math.tan(0.5 * math.atan(0.3))  # the slope that sends a vertical ray to the sun, against it
    smooth = evaluate_spline(config, fit_spline(config, u, 12))
    slope = 1e-3 * np.array([smooth[i + 1, j] - smooth[i - 1, j], smooth[i, j + 1] - smooth[i, j - 1]])
    np.testing.assert_allclose(0.5 * slope / config.dx, [0.0, -half], rtol=0, atol=0.04)


# ---- the spline ----


@pytest.mark.parametrize("boundary", ["fixed", "reflecting", "periodic"])
def test_spline_keeps_to_the_walls(boundary: str) -> None:
    config = WaterRendererConfig(n=200, boundary=boundary)
    control = np.random.default_rng(2).normal(size=(7, 7))
    u = evaluate_spline(config, control)
    np.testing.assert_allclose(
        evaluate_spline(config, fit_spline(config, u, refined(config, 7))), u, rtol=0, atol=1e-12
    )
    if boundary == "fixed":
        assert np.abs(u[[0, -1]]).max() < 1e-15
    else:
        np.testing.assert_allclose(evaluate_spline(config, np.ones((7, 7))), 1.0, rtol=0, atol=1e-12)
    if boundary == "reflecting":  # the slope at the walls, extrapolated from the first three points
        slope = -2.0 * u[0] + 3.0 * u[1] - u[2]
        assert np.abs(slope).max() < 0.02 * np.abs(np.diff(u, axis=0)).max()


# ---- gradients ----


def small() -> WaterRenderer:
    config = WaterRendererConfig(n=16, controls=5)
    height = 4.0 * np.random.default_rng(5).normal(size=(5, 5))
    return WaterRenderer(config, height, target=tiles(16, count=4))


def test_gradient_agrees_with_differences(runtime: Any) -> None:
    sim = small()
    assert_gradient(ds.Rollout(sim, steps=6), [sim.height])


def test_gradient_is_the_same_when_checkpointed(runtime: Any) -> None:
    assert_same_when_checkpointed(small, 9, lambda sim: [sim.height])


def test_modes_agree(runtime: Any) -> None:
    assert_modes_agree(small, 5, lambda sim: [sim.height])


# ---- the network that looks ----


def watched(digit: Array, label: int = 3, height: Any = None, filmed: bool = False) -> WaterClassifier:
    rng = np.random.default_rng(1)
    weights = [rng.normal(size=(64, 5)) / 8, rng.normal(size=5), rng.normal(size=(5, 10)) / 2, np.zeros(10)]
    config = WaterRendererConfig(n=16, controls=5)
    return WaterClassifier(config, digit, label, weights, height, filmed=filmed)


def test_network_sees_what_is_there(runtime: Any) -> None:
    """In still water its cells are the digit; the cost is that of the scores that NumPy computes."""
    digit = np.random.default_rng(3).uniform(size=(8, 8))
    sim = watched(digit)
    rollout = ds.Rollout(sim, steps=2, mode="step")
    np.testing.assert_allclose(sim.ink_of(sim.still(sim.floor.numpy())), digit, rtol=0, atol=1e-12)
    w0, b0, w1, b1 = (getattr(sim.network, name).numpy() for name in ("w0", "b0", "w1", "b1"))
    power = np.exp(SHARPNESS * np.tanh(np.tanh(digit.ravel() @ w0 + b0) @ w1 + b1))
    assert rollout.value() == pytest.approx(-math.log(1.0 - power[3] / power.sum()), rel=1e-10)
    sim.height.set(np.ones((5, 5)))
    flat = rollout.value() - -math.log(1.0 - power[3] / power.sum())
    assert flat == pytest.approx(sim.calm, rel=0.3)  # a millimetre more water is hardly seen


def test_gradient_of_the_networks_answer(runtime: Any) -> None:
    rng = np.random.default_rng(3)
    sim = watched(rng.uniform(size=(8, 8)), height=4.0 * rng.normal(size=(5, 5)))
    assert_gradient(ds.Rollout(sim, steps=4, mode="step"), [sim.height])


def test_network_is_trained_on_digits() -> None:
    pytest.importorskip("torch", reason="needs the extra torch")
    pytest.importorskip("sklearn", reason="needs the extra torch")
    from diffsim.demos.water_classifier import train_network

    network = train_network(epochs=60)
    assert network.accuracy > 0.85
    found = network.probabilities(network.digits)
    assert found.shape == (len(network.labels), 10)
    np.testing.assert_allclose(found.sum(axis=1), 1.0, rtol=1e-12)
    assert (found.argmax(axis=1) == network.labels).mean() == pytest.approx(network.accuracy)


def test_missing_extra_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from diffsim.demos.water_classifier import train_network
    from diffsim.errors import MissingExtraError

    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"^torch must be installed for .* 'diffsim\[torch\]'$"):
        train_network()


# ---- arguments ----


def test_arguments_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"WaterRendererConfig\.sun must be above the water, z > 0, got"):
        WaterRendererConfig(sun=(1.0, 0.0, 0.0))
    with pytest.raises(ConfigError, match=r"WaterRendererConfig\.index must be a number of at least 1"):
        WaterRendererConfig(index=0.9)
    with pytest.raises(ConfigError, match=r"digit_floor must get 8 x 8 stones .* and 20 pixels"):
        digit_floor(np.zeros((8, 8)), 20)
    with pytest.raises(ConfigError, match="label must be a class from 0 to 9, got 10"):
        watched(np.zeros((8, 8)), label=10)
