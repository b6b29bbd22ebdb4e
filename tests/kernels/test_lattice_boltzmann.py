"""The lattice Boltzmann fluid against flows in closed form, its balances, and differences of its gradient."""

# No `from __future__ import annotations`: Taichi reads the annotations of kernels.
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import taichi as ti
from numpy.typing import NDArray
from simulator_checks import assert_gradient, assert_modes_agree, assert_same_when_checkpointed

import diffsim as ds
from diffsim.errors import ConfigError
from diffsim.kernels.lattice_boltzmann import (
    SOUND,
    LatticeBoltzmann,
    LatticeBoltzmannConfig,
    Wake,
    WakeConfig,
)

Array = NDArray[np.float64]


def run(sim: LatticeBoltzmann, steps: int, every: int = 1) -> tuple[Array, Array]:
    """Return velocities and densities less 1 over time; launched step by step, which compiles fastest."""
    rollout = ds.Rollout(sim, steps=steps, mode="step")
    try:
        found = rollout.trajectories({"velocity": sim.velocity, "density": sim.density}, every=every)
    finally:
        rollout.close()
    return found["velocity"], found["density"]


def blob(nx: int, ny: int, radius: float) -> Array:
    """Return the solid fraction of a soft disc in the middle, a little off the lattice."""
    x, y = np.meshgrid(np.arange(nx) + 0.5, np.arange(ny) + 0.5, indexing="ij")
    return 0.5 - 0.5 * np.tanh(np.hypot(x - 0.5 * nx - 0.1, y - 0.5 * ny + 0.2) - radius)  # type: ignore[no-any-return]


def fitted_order(sizes: list[int], errors: list[float]) -> float:
    """Return the slope of errors over cell sizes."""
    return -float(np.polyfit(np.log(sizes), np.log(errors), 1)[0])


# ---- flows in closed form ----


def poiseuille_error(ny: int, collision: str) -> float:
    """Drive a fluid between walls until it is steady; return its distance from the parabola."""
    viscosity, peak = 1.0 / 3.0, 0.01
    config = LatticeBoltzmannConfig(
        nx=4,
        ny=ny,
        viscosity=viscosity,
        collision=collision,
        x="periodic",
        force=(8.0 * viscosity * peak / ny**2, 0.0),
    )
    sim = LatticeBoltzmann(config)
    y = (np.arange(ny) + 0.5) / ny
    parabola = 4.0 * peak * y * (1.0 - y)
    start = np.zeros((4, ny, 2))
    start[..., 0] = parabola
    sim.f.set(sim.populations(start))
    steps = int(20.0 * ny**2 / (math.pi**2 * viscosity))  # the slowest transient falls to exp(-20)
    velocity, _ = run(sim, steps, every=steps - 1)
    return float(np.abs(velocity[-1, ..., 0] - parabola).max() / peak)


def test_poiseuille_of_one_rate_is_of_second_order(runtime: Any) -> None:
    """The fluid slips along a wall by (16 magic - 3) / (3 ny^2) of its peak; one rate here has magic 1."""
    sizes = [5, 8, 12]
    errors = [poiseuille_error(ny, "bgk") for ny in sizes]
    assert fitted_order(sizes, errors) == pytest.approx(2.0, abs=1e-3)
    np.testing.assert_allclose(errors, 13.0 / (3.0 * np.square(sizes)), rtol=1e-5)


def test_poiseuille_of_two_rates_is_the_parabola(runtime: Any) -> None:
    """At the magic product 3/16 walls lie midway between cells: the parabola is the solution to rounding."""
    assert poiseuille_error(7, "trt") < 1e-8


def test_a_lid_drags_a_linear_profile(runtime: Any) -> None:
    ny, lid = 6, 0.05
    sim = LatticeBoltzmann(LatticeBoltzmannConfig(nx=4, ny=ny, viscosity=0.3, x="periodic", lid=lid))
    velocity, _ = run(sim, 300, every=299)
    expected = lid * (np.arange(ny) + 0.5) / ny
    # Slowest transient: exp(-300 pi^2 nu / ny^2) = 2e-11.
    np.testing.assert_allclose(velocity[-1, ..., 0], np.tile(expected, (4, 1)), rtol=0, atol=1e-10)


@pytest.fixture(scope="module")
def vortex(runtime: Any) -> Any:
    """A periodic box of 32 cells, compiled once: vortices that decay and sound."""
    sim = LatticeBoltzmann(LatticeBoltzmannConfig(nx=32, ny=32, viscosity=0.03, x="periodic", y="periodic"))
    rollout = ds.Rollout(sim, steps=201, mode="step")
    yield rollout
    rollout.close()


def taylor_green(n: int, size: float, along: float, at: float, rate: float, t: float) -> tuple[Array, Array]:
    """Return velocity and pressure of decaying vortices on a stream of speed `along`."""
    x, y = np.meshgrid(np.arange(n) + 0.5, np.arange(n) + 0.5, indexing="ij")
    k, fade = 2.0 * np.pi / n, size * math.exp(-rate * t)
    x = x - along * t - at
    u = along + fade * np.sin(k * x) * np.cos(k * y)
    v = -fade * np.cos(k * x) * np.sin(k * y)
    pressure = 0.25 * fade**2 * (np.cos(2 * k * x) + np.cos(2 * k * y))
    return np.stack([u, v], axis=-1), pressure


@pytest.mark.parametrize("along", [0.0, 0.05])
def test_vortices_decay_at_the_rate_of_the_viscosity(vortex: ds.Rollout, along: float) -> None:
    """At rest and on a stream: who moves with it sees the same flow, but for an error of order Mach^2."""
    sim: Any = vortex.sim
    n, size = 32, 0.02
    rate = 2.0 * sim.config.viscosity * (2.0 * np.pi / n) ** 2
    start, pressure = taylor_green(n, size, along, 0.3, rate, 0.0)
    sim.f.set(sim.populations(start, 1.0 + 3.0 * pressure))
    velocity = vortex.trajectory(sim.velocity, every=20)
    share = []
    for t in (20, 200):  # what is measured in a step has streamed once more
        expected, _ = taylor_green(n, size, along, 0.3, rate, t + 1)
        moving, wanted = velocity[t // 20] - velocity[t // 20].mean((0, 1)), expected - expected.mean((0, 1))
        share.append(float((moving * wanted).sum() / (wanted**2).sum()))
    # The start is an equilibrium, without stresses: they cost 1 % of the amplitude in the first steps.
    assert np.abs(moving - wanted).max() < 0.025 * np.abs(wanted).max()
    found = rate - math.log(share[1] / share[0]) / 180
    assert found == pytest.approx(rate, rel=0.003 if along == 0.0 else 0.008)


def test_sound_travels_at_its_speed(vortex: ds.Rollout) -> None:
    """A standing wave: its amplitude is a cosine of k c t, damped; the first two zeros tell c."""
    sim: Any = vortex.sim
    k = 2.0 * np.pi / 32
    wave = np.cos(k * (np.arange(32) + 0.5))
    sim.f.set(sim.populations((0.0, 0.0), 1.0 + 1e-4 * wave[:, None]))
    density = vortex.trajectory(sim.density, every=1)
    height = np.einsum("tij,i->t", density, wave)
    before = np.flatnonzero(np.diff(np.sign(height)))[:2]
    zeros = before + height[before] / (height[before] - height[before + 1])
    assert math.pi / (k * (zeros[1] - zeros[0])) == pytest.approx(SOUND, rel=0.005)


# ---- balances ----


def test_mass_stays_in_a_closed_box(runtime: Any) -> None:
    config = LatticeBoltzmannConfig(nx=12, ny=10, x="walls", lid=0.1, force=(1e-4, -2e-4))
    velocity, density = run(LatticeBoltzmann(config, solid=blob(12, 10, 2.5)), 120)
    assert np.abs(velocity[-1]).max() > 0.01
    assert np.abs(density.sum((1, 2))).max() < 1e-12


def test_momentum_changes_by_the_forces(runtime: Any) -> None:
    """In a periodic box with a body: by the force on the fluid, less what the solid takes, to rounding."""
    solid, force = blob(12, 10, 2.5), np.array([1e-3, -5e-4])
    config = LatticeBoltzmannConfig(nx=12, ny=10, x="periodic", y="periodic", force=tuple(force))
    sim = LatticeBoltzmann(config, solid=solid)
    start = np.random.default_rng(3).uniform(-0.05, 0.05, (12, 10, 2))
    sim.f.set(sim.populations(start))
    velocity, density = run(sim, 30)
    momentum = (1.0 + density)[..., None] * velocity
    total = (momentum - 0.5 * (1.0 + density)[..., None] * force).sum((1, 2))
    push = force * (1.0 + density).sum((1, 2))[:, None]
    drag = sim.drag(velocity, density, solid)
    np.testing.assert_allclose(np.diff(total, axis=0), (push - drag)[:-1], rtol=0, atol=1e-13)
    assert np.abs(drag).max() > 1e-3


def test_a_channel_lets_out_what_it_takes_in(runtime: Any) -> None:
    """A developed inflow stays a parabola, its flux leaves, and the pressure falls as the viscosity asks."""
    nx, ny, peak, viscosity = 40, 12, 0.05, 0.1
    y = (np.arange(ny) + 0.5) / ny
    inflow = 4.0 * peak * y * (1.0 - y)
    sim = LatticeBoltzmann(LatticeBoltzmannConfig(nx=nx, ny=ny, viscosity=viscosity), inflow=inflow)
    velocity, density = run(sim, 1500, every=1499)
    flux = ((1.0 + density[-1]) * velocity[-1, ..., 0]).sum(1)
    np.testing.assert_allclose(flux, inflow.sum(), rtol=1e-3)
    momentum = (1.0 + density[-1, 20]) * velocity[-1, 20, :, 0]
    np.testing.assert_allclose(momentum, inflow, rtol=0, atol=0.01 * peak)
    assert np.abs(density[-1, -1]).max() < 0.02
    fall = np.gradient(density[-1].mean(1) / 3.0)[10:30].mean()
    assert fall == pytest.approx(-8.0 * viscosity * peak / ny**2, rel=0.03)


# ---- gradients ----


class Watched(LatticeBoltzmann):
    """A flow with a cost that every cell and both moments enter."""

    @ti.kernel
    def look(self, t: ti.i32):
        for i, j in ti.ndrange(self.nx, self.ny):
            u = self.velocity[t, i, j]
            weight = 1.0 + 0.1 * i - 0.05 * j
            self.cost[None] += weight * (10.0 * u[0] * u[0] + 3.0 * u[1] + 20.0 * self.density[t, i, j] ** 2)

    def running_cost(self, t: Any) -> None:
        """Look at all cells."""
        self.look(t)


def watched(**options: Any) -> Watched:
    """Make a small flow with everything in it at random."""
    config = LatticeBoltzmannConfig(nx=5, ny=6, viscosity=0.05, **options)
    rng = np.random.default_rng(1)
    sim = Watched(config, solid=0.3 + 0.5 * rng.random((5, 6)), inflow=0.1 * rng.random(6))
    sim.f.set(sim.populations(rng.uniform(-0.05, 0.05, (5, 6, 2)), rng.uniform(0.95, 1.05, (5, 6))))
    return sim


FLOWS: dict[str, dict[str, Any]] = {
    "channel": {"lid": 0.02},
    "forced": {"x": "walls", "y": "periodic", "collision": "bgk", "force": (2e-3, -1e-3)},
}


@pytest.mark.parametrize("flow", FLOWS)
def test_gradient(runtime: Any, flow: str) -> None:
    sim = watched(**FLOWS[flow])
    rollout = ds.Rollout(sim, steps=6, mode="step")
    assert_gradient(rollout, [sim.solid, sim.f] + [sim.inflow] * (flow == "channel"))
    rollout.close()


def small_wake() -> Wake:
    """Make a body in a small channel, off its symmetric place."""
    sim = Wake(WakeConfig(nx=20, ny=14, radius=2.5, center=(7.0, 7.0), viscosity=0.05))
    sim.body.shape.set(np.array([0.1, -0.15, 0.05, 0.1, -0.1, 0.05, 0.08]))
    sim.profile.set(np.array([1.0, 0.2, -0.1]))
    return sim


def sought(sim: Wake) -> list[Any]:
    return [sim.body.shape, sim.profile]


def test_gradient_of_the_wake(runtime: Any) -> None:
    sim = small_wake()
    rollout = ds.Rollout(sim, steps=16, mode="fused")
    assert_gradient(rollout, sought(sim))
    rollout.close()


def test_wake_is_the_same_when_checkpointed(runtime: Any) -> None:
    assert_same_when_checkpointed(small_wake, 12, sought)


def test_modes_agree(runtime: Any) -> None:
    assert_modes_agree(small_wake, 6, sought)


def test_the_bodys_outline_is_where_it_is_half_solid(runtime: Any) -> None:
    sim = small_wake()
    rollout = ds.Rollout(sim, steps=1, mode="step")
    solid = rollout.trajectory(sim.solid)[0]
    inflow = rollout.trajectory(sim.inflow)[0]
    rollout.close()
    np.testing.assert_allclose(inflow, sim.profile_of(sim.profile.numpy()), rtol=1e-12)
    outline = sim.body.outline(sim.body.shape.numpy())
    x, y = outline[:-1].T
    area = 0.5 * abs(float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))))
    # A rim that is soft on both sides alike adds pi width^2 / 7 to the area of a circle.
    assert solid.sum() == pytest.approx(area + math.pi * sim.body.width**2 / 7.0, rel=0.02)
    centroid = np.einsum("ij,ijk->k", solid, np.stack(np.indices(solid.shape), axis=-1) + 0.5) / solid.sum()
    np.testing.assert_allclose(centroid, outline[:-1].mean(0), atol=0.25)


# ---- refusals ----

REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "viscosity": (lambda: LatticeBoltzmannConfig(viscosity=0.0), "LatticeBoltzmannConfig.viscosity must be"),
    "lid": (lambda: LatticeBoltzmannConfig(y="periodic", lid=0.1), "lid must be 0 without walls, got 0.1"),
    "speed": (lambda: LatticeBoltzmannConfig(speed=0.5), "speed must be a number"),
    "solid": (lambda: LatticeBoltzmann(solid=1.5), "solid must be 0 to 1, got 1.5"),
    "shape": (lambda: LatticeBoltzmann(inflow=[0.1, 0.1]), "inflow must have shape"),
    "fast": (lambda: LatticeBoltzmann(inflow=0.4), "inflow must be -0.25 to 0.25, got 0.4"),
    "probes": (lambda: Wake(probes=[[200, 3]]), "probes must be pairs of cells"),
    "outside": (lambda: WakeConfig(center=(4.0, 32.0)), "center must be a radius or more"),
    "periodic": (lambda: WakeConfig(x="periodic"), "must be 'channel'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusal(case: str) -> None:
    make, message = REFUSED[case]
    with pytest.raises(ConfigError, match=message):
        make()
