"""The aquarium against hydrostatics, acoustics, conservation laws, symmetry and finite differences.

One small simulator of water serves all scenes without a swimmer, which are set into it: what takes time is
compiling.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from simulator_checks import assert_gradient

import diffsim as ds
from diffsim.errors import ConfigError
from diffsim.kernels.common.particles import join, lattice, liquid, solid
from diffsim.kernels.liquid import SCENES, Liquid, LiquidConfig, Scene, dam_break, swimmer, tank

Array = NDArray[np.float64]

DX = 0.005
WATER = LiquidConfig(width=32 * DX, height=36 * DX, cells=32)
DEPTH = 14 * DX  # 26 x 14 cells of water in the tank, 13 x 28 in the dam: as many particles
PERIOD = 4.0 * DEPTH / WATER.sound  # of the lowest sound wave between floor and surface
STEPS = round(PERIOD / WATER.dt)


@pytest.fixture(scope="module")
def water(runtime: Any) -> ds.Rollout:
    return ds.Rollout(Liquid(WATER, tank(WATER, DEPTH)), steps=STEPS, mode="fused")


def play(rollout: ds.Rollout, scene: Scene, speed: Array | float = 0.0) -> dict[str, Array]:
    """Set a scene of as much water into the simulator and run it."""
    mpm = rollout.sim.mpm
    cloud = scene.particles
    for field, values in ((mpm.x, cloud.x), (mpm.v, speed), (mpm.J, scene.J)):
        field.set(values)
    mpm.volume.set(cloud.volume)
    mpm.point_mass.set(cloud.mass)
    return rollout.trajectories({"x": mpm.x, "v": mpm.v, "J": mpm.J}, every=1)


def layers(x: Array, values: Array, surface: float) -> tuple[Array, Array]:
    """Average over layers of two cells, but the highest one: depths [m] and means."""
    layer = ((surface - x[:, 1]) / (2 * DX)).astype(int)
    inner = range(1, round(DEPTH / (2 * DX)))
    depth = np.array([(surface - x[layer == k, 1]).mean() for k in inner])
    return depth, np.array([values[layer == k].mean() for k in inner])


# ---- water at rest, and sound in it ----


def test_water_set_free_swings_about_hydrostatic_pressure(water: ds.Rollout) -> None:
    """Gravity sets in at once: sound runs up and down, and pressure is `rho g depth` on the average."""
    scene = tank(WATER, DEPTH, pressed=False)
    found = play(water, scene)
    pressure = WATER.pressure(found["J"])[:STEPS].mean(axis=0)
    surface = WATER.room[0][1] + DEPTH
    depth, mean = layers(scene.particles.x, pressure, surface)
    np.testing.assert_allclose(mean, WATER.density * WATER.gravity * depth, rtol=0.03)
    swings = np.array([layers(scene.particles.x, p, surface)[1] for p in WATER.pressure(found["J"])])
    np.testing.assert_allclose(swings.max(axis=0), 2.0 * mean, rtol=0.15, err_msg="it overshoots twofold")


def test_speed_of_sound(water: ds.Rollout) -> None:
    """Water stops sinking when sound has been at the surface and back, after half a period."""
    v = play(water, tank(WATER, DEPTH, pressed=False))["v"][:, :, 1].mean(axis=1)
    k = int(np.argmax(v[2:] > 0.0)) + 1  # the last step on which it sinks
    back = WATER.dt * (k + v[k] / (v[k] - v[k + 1]))
    assert 2.0 * DEPTH / back == pytest.approx(WATER.sound, rel=0.03)


def test_pressed_water_stays_at_rest(water: ds.Rollout) -> None:
    scene = tank(WATER, DEPTH)
    found = play(water, scene)
    fall = WATER.gravity * STEPS * WATER.dt
    assert np.abs(found["v"]).max() < 0.07 * fall, "the highest row moves a little"
    assert np.abs(found["x"] - found["x"][0]).max() < 0.1 * DX
    deepest = WATER.density * WATER.gravity * DEPTH
    surface = WATER.room[0][1] + DEPTH
    depth, pressure = layers(scene.particles.x, WATER.pressure(found["J"][-1]), surface)
    np.testing.assert_allclose(pressure, WATER.density * WATER.gravity * depth, atol=0.03 * deepest)


# ---- a dam breaks ----


@pytest.fixture(scope="module")
def broken(water: ds.Rollout) -> dict[str, Array]:
    return play(water, dam_break(WATER, 13 * DX, 28 * DX, middle=True))


def test_dam_in_the_middle_breaks_evenly(broken: dict[str, Array]) -> None:
    x = broken["x"].reshape(STEPS + 1, 26, 56, 2)
    np.testing.assert_allclose(x[:, ::-1, :, 0], WATER.width - x[..., 0], rtol=0, atol=1e-12)
    np.testing.assert_allclose(x[:, ::-1, :, 1], x[..., 1], rtol=0, atol=1e-12)
    assert np.ptp(x[-1, ..., 0]) > np.ptp(x[0, ..., 0]) + 2 * DX, "though it spreads"


def test_front_is_slower_than_free_fall_allows(broken: dict[str, Array]) -> None:
    """No front is faster than `2 sqrt(g height)` (Ritter 1892), nor than the speed gained by falling."""
    limit = 2.0 * np.sqrt(WATER.gravity * 28 * DX)
    assert 0.1 * limit < np.abs(broken["v"][..., 0]).max() < limit


def test_density_hardly_changes(broken: dict[str, Array]) -> None:
    """Volume changes by a few times `rho g height/bulk`: 2 % here."""
    expected = WATER.gravity * 28 * DX / WATER.sound**2
    inner = np.sort(broken["J"], axis=1)[:, 30:-30]
    assert np.abs(inner - 1.0).max() < 4.0 * expected
    assert abs(broken["J"].mean() - 1.0) < expected


def test_dam_gives_energy_away(broken: dict[str, Array]) -> None:
    """Without a motor the energy of motion, height and squeezing may only fall."""
    mass = WATER.density * WATER.spacing**2
    kinetic = 0.5 * mass * (broken["v"] ** 2).sum(axis=(1, 2))
    height = mass * WATER.gravity * broken["x"][..., 1].sum(axis=1)
    g, volume = WATER.stiffening, WATER.spacing**2
    squeezed = (broken["J"] ** (1.0 - g) - 1.0) / (g - 1.0) + broken["J"] - 1.0
    total = kinetic + height + volume * WATER.bulk / g * squeezed.sum(axis=1)
    released = height[0] - height[-1]
    assert released > 0.0
    assert np.all(total <= total[0] + 0.01 * released)
    assert kinetic[-1] > 0.3 * released


# ---- a swimmer ----

SMALL = LiquidConfig(width=0.1, height=0.1, cells=20, frequency=20.0)
SHORT = 16


def drop() -> Scene:
    """A swimmer of two muscles in a drop of water that falls freely, and turns."""
    body = lattice([0.04, 0.045], [0.06, 0.055], SMALL.spacing)
    flesh = solid(
        body, SMALL.spacing**2, young=SMALL.young, poisson=SMALL.poisson, density=SMALL.density,
        muscle=(body[:, 1] > 0.05).astype(int), fibre=(1.0, 0.0), strength=SMALL.muscle,
    )  # fmt: skip
    around = lattice([0.03, 0.035], [0.07, 0.065], SMALL.spacing)
    around = around[(np.abs(around - 0.05) > [0.01, 0.005]).any(axis=1)]
    water = liquid(around, SMALL.spacing**2, bulk=SMALL.bulk, density=SMALL.density)
    cloud = join(flesh, water)
    arm = cloud.x - 0.05
    cloud.v[:] = 2.0 * np.stack([-arm[:, 1], arm[:, 0]], axis=1) + [0.1, 0.0]
    return Scene(cloud, np.ones(len(around)))


def make() -> Liquid:
    return Liquid(SMALL, drop())


@pytest.fixture(scope="module")
def falling(runtime: Any) -> ds.Rollout:
    return ds.Rollout(make(), steps=SHORT, mode="step")


def test_muscles_change_no_momentum(falling: ds.Rollout) -> None:
    """What falls freely has the momentum `mass gravity time` in all, whatever its muscles do."""
    sim = falling.sim
    found = falling.trajectories({"x": sim.x, "v": sim.v, "actuation": sim.mpm.actuation}, every=1)
    mass = sim.mpm.particles.mass[:, None]
    momentum = (mass * found["v"]).sum(axis=1)
    times = SMALL.dt * np.arange(SHORT + 1)[:, None]
    expected = momentum[0] - mass.sum() * SMALL.gravity * times * [0.0, 1.0]
    np.testing.assert_allclose(momentum, expected, rtol=0, atol=1e-12 * np.abs(momentum).max())
    assert np.abs(found["actuation"]).max() > 0.05


def test_mass_on_the_grid_is_that_of_the_particles(falling: ds.Rollout) -> None:
    sim = falling.sim
    mass = falling.trajectory(sim.mpm.mass, every=1).sum(axis=(1, 2))
    np.testing.assert_allclose(mass, sim.mpm.particles.mass.sum(), rtol=1e-12)


def test_cost_is_the_way_of_the_body(falling: ds.Rollout) -> None:
    x = falling.trajectory(falling.sim.x, every=SHORT)[:, : falling.sim.mpm.n_solids, 0].mean(axis=1)
    assert falling.value() == pytest.approx(-(x[-1] - x[0]) / SMALL.width, rel=1e-9)
    assert x[-1] > x[0]


def test_gradient(falling: ds.Rollout) -> None:
    sim = falling.sim
    assert_gradient(falling, wrt=[sim.policy, sim.v], directions=2)


def gradient(**options: Any) -> tuple[Any, dict[str, Array]]:
    sim = make()
    rollout = ds.Rollout(sim, steps=SHORT, **options)
    found = rollout.value_and_grad(wrt=[sim.policy, sim.v])
    rollout.close()
    return found


def test_checkpoints_and_modes_change_nothing(falling: ds.Rollout) -> None:
    """The gradient in windows has the same bits, that of mode `fused` is the same to rounding.

    All modes of the particles' step itself are compared in `test_common_mpm`.
    """
    cost, grads = falling.value_and_grad(wrt=[falling.sim.policy, falling.sim.v])
    parts_cost, parts = gradient(mode="step", window=5)
    fused_cost, fused = gradient(mode="fused", window=5)
    assert parts_cost == cost
    assert fused_cost == pytest.approx(cost, rel=1e-9)
    for key, values in grads.items():
        most = np.abs(values).max()
        assert most > 0.0
        np.testing.assert_array_equal(parts[key], values, err_msg=key)
        np.testing.assert_allclose(fused[key], values, rtol=0, atol=1e-9 * most, err_msg=key)


# ---- scenes, refusals ----


@pytest.mark.parametrize("name", SCENES)
def test_scenes_lie_between_the_walls(name: str) -> None:
    config = LiquidConfig()
    cloud = SCENES[name](config).particles
    low, high = config.room
    assert np.all(cloud.x > low)
    assert np.all(cloud.x < high)


def test_swimmer_weighs_what_the_water_in_its_place_would() -> None:
    """In all there is as much mass as in a tank without it, to a few particles along its outline."""
    config = LiquidConfig()
    with_it, without = swimmer(config).particles, tank(config).particles
    assert with_it.mass.sum() == pytest.approx(without.mass.sum(), rel=0.01)
    assert with_it.muscles == 8
    sides = [with_it.x[with_it.muscle == k].mean(axis=0) for k in (0, 3, 4, 7)]
    assert sides[0][0] < sides[1][0]
    assert sides[0][1] < sides[2][1]
    assert sides[2][0] < sides[3][0]


def test_equation_of_state_is_inverted() -> None:
    pressure = np.array([0.0, 500.0, 2000.0])
    np.testing.assert_allclose(WATER.pressure(WATER.squeezed(pressure)), pressure, atol=1e-9)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: LiquidConfig(sound=0.0), r"LiquidConfig\.sound must be a number above 0"),
        (
            lambda: LiquidConfig(height=0.1612),
            r"LiquidConfig\.height must be a multiple of the cells' 0\.005 m",
        ),
        (lambda: tank(LiquidConfig(), 0.5), r"water must fit the room of 0\.29 x 0\.13 m"),
        (lambda: swimmer(LiquidConfig(), start=0.1), "swimmer must lie within the water, got a body"),
        (lambda: Liquid(LiquidConfig(dt=1e-3)), "dt must be at most"),
    ],
)
def test_refuses(build: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build()
