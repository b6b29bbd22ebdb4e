"""MLS-MPM against a NumPy twin, conservation laws, closed forms, and 2D against 3D."""

# No `from __future__ import annotations` here: Taichi reads kernel annotations as objects, not as text.
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import taichi as ti
from numpy.typing import NDArray
from simulator_checks import assert_gradient, assert_modes_agree

import diffsim as ds
from diffsim.errors import ConfigError
from diffsim.kernels.common.mpm import MPM
from diffsim.kernels.common.particles import Particles, join, lattice, liquid, solid

Array = NDArray[np.float64]

RIM = 3


class Cloud(ds.Simulator):
    """Particles whose muscles are told constant commands; the cost is a mean of squares of positions."""

    def __init__(self, particles: Particles, commands: Sequence[float] = (), **options: Any) -> None:
        self.mpm = MPM(particles, **options)
        self.x, self.v, self.C, self.n = self.mpm.x, self.mpm.v, self.mpm.C, particles.count
        self.told = ds.Param(np.array(commands)) if commands else None

    @ti.kernel
    def command(self, t: ti.i32):
        for k in range(self.told.shape[0]):
            self.mpm.actuation[t, k] = self.told[k]

    @ti.kernel
    def spread(self, t: ti.i32):
        for p in range(self.n):
            self.cost[None] += self.x[t, p].dot(self.x[t, p]) / self.n

    def step(self, t: int) -> None:
        if self.told is not None:
            self.command(t)
        self.mpm(t)

    def terminal_cost(self, t: int) -> None:
        self.spread(t)


def mixed(dim: int, low: float, side: float, speed: float = 1.0, count: int = 4) -> Particles:
    """Half a box of solid with two muscles, and half a box of liquid, all points moving as they like."""
    rng = np.random.default_rng(dim)
    spacing = side / count
    x = lattice([low] * dim, [low + side] * dim, spacing) + 0.2 * spacing * rng.uniform(
        -1, 1, (count**dim, dim)
    )
    v = speed * rng.normal(size=x.shape)
    left = x[:, 0] < low + side / 2
    muscle = np.where(x[left, 1] < low + side / 2, 0, 1)
    kinds = {"young": 40.0, "poisson": 0.2, "density": 2.0, "fibre": np.eye(dim)[-1], "strength": 10.0}
    return join(
        liquid(x[~left], spacing**dim, bulk=30.0, v=v[~left]),
        solid(x[left], spacing**dim, v=v[left], muscle=muscle, **kinds),  # type: ignore[arg-type]
    )


# ---- a twin of a step ----

COMMANDS = (0.5, -0.3)
WALLS = {2: [("slip", "sticky"), ("friction", "separate")], 3: [("friction", "slip"), "sticky", "separate"]}
OPTIONS: dict[str, Any] = {"dx": 0.1, "dt": 3e-3, "rim": RIM, "friction": 0.4, "viscosity": 0.2}


def weights(x: Array, dx: float) -> tuple[Array, Array]:
    """Lowest nodes (n, D) and quadratic B-splines (n, 3, D), as integrals of boxes give them."""
    base = np.floor(x / dx - 0.5).astype(int)
    f = x / dx - base
    return base, np.stack([(1.5 - f) ** 2 / 2, 0.75 - (f - 1) ** 2, (f - 0.5) ** 2 / 2], axis=1)


def stress(sim: Cloud, F: Array, J: Array, C: Array) -> Array:
    """Kirchhoff stresses of all points."""
    p, dim = sim.mpm.particles, sim.mpm.dim
    one, k = np.eye(dim), p.solids
    U, _, V = np.linalg.svd(F)
    volume = np.linalg.det(F)
    tau = 2 * p.mu[:k, None, None] * (F - U @ V) @ F.swapaxes(1, 2)
    tau += (p.la[:k] * volume * (volume - 1))[:, None, None] * one
    along = np.einsum("pij,pj->pi", F, p.fibre[:k])
    pull = (p.strength[:k] * np.array(COMMANDS)[p.muscle[:k]])[:, None, None]
    tau += pull * along[:, :, None] * along[:, None, :]
    shear = C[k:] + C[k:].swapaxes(1, 2) - 2 / dim * np.trace(C[k:], axis1=1, axis2=2)[:, None, None] * one
    pressure = p.la[k:] / 7.0 * (J**-7.0 - 1.0)
    wet = J[:, None, None] * (sim.mpm.viscosity * shear - pressure[:, None, None] * one)
    return np.concatenate([tau, wet])


def stopped(v: Array, sim: Cloud) -> Array:
    """Velocities of all nodes (*grid, D) as the walls let them be."""
    axes = [(rule, rule) if isinstance(rule, str) else rule for rule in WALLS[sim.mpm.dim]]
    for d, pair in enumerate(axes):
        for side, rule in zip((1.0, -1.0), pair, strict=True):
            row = np.arange(v.shape[d])
            wall = row <= RIM if side > 0 else row >= v.shape[d] - RIM
            for node in np.ndindex(v.shape[:-1]):
                u = v[node]
                if not wall[node[d]]:
                    continue
                if rule == "sticky":
                    u[:] = 0.0
                elif rule == "slip":
                    u[d] = 0.0
                elif side * u[d] < 0:
                    push, u[d] = abs(u[d]), 0.0
                    slide = np.linalg.norm(u)
                    if rule == "friction" and slide > 0:
                        u *= max(1 - sim.mpm.friction * push / slide, 0.0)
    return v


def twin(sim: Cloud, steps: int) -> dict[str, Array]:
    """Step with NumPy, straight from the equations of the module."""
    m, p = sim.mpm, sim.mpm.particles
    dim, dx, dt = m.dim, m.dx, m.dt
    x, v, C = p.x, p.v, np.zeros((p.count, dim, dim))
    F, J = np.tile(np.eye(dim), (p.solids, 1, 1)), np.ones(p.count - p.solids)
    for _ in range(steps):
        F = F + dt * C[: p.solids] @ F
        J = J * (1 + dt * np.trace(C[p.solids :], axis1=1, axis2=2))
        volume = 4 * dt / dx**2 * p.volume[:, None, None]
        Q = p.mass[:, None, None] * C - volume * stress(sim, F, J, C)
        base, w = weights(x, dx)
        around = []
        for node in np.ndindex(*[3] * dim):
            share = np.prod([w[:, node[d], d] for d in range(dim)], axis=0)
            around.append((tuple((base + node).T), share[:, None], (base + node) * dx - x))
        mass, momentum = np.zeros(m.grid), np.zeros((*m.grid, dim))
        for place, share, way in around:
            np.add.at(mass, place, share[:, 0] * p.mass)
            np.add.at(momentum, place, share * (p.mass[:, None] * v + np.einsum("pij,pj->pi", Q, way)))
        speed = momentum / np.where(mass > 0, mass, 1)[..., None] + dt * np.array(GRAVITY[dim])
        speed = stopped(np.where(mass[..., None] > 0, speed, 0.0), sim)
        v = sum(share * speed[place] for place, share, _ in around)
        C = sum(
            4 / dx**2 * share[..., None] * speed[place][:, :, None] * way[:, None]
            for place, share, way in around
        )
        x = x + dt * v
    return {"x": x, "v": v, "C": C, "F": F, "J": J}


GRAVITY = {2: (1.0, -9.8), 3: (1.0, 0.5, -9.8)}


@pytest.fixture(scope="module", params=[2, 3], ids=["2D", "3D"])
def walled(request: pytest.FixtureRequest, runtime: Any) -> ds.Rollout:
    """A cloud that fills its room, so that it meets all walls, for three steps."""
    dim = request.param
    sim = Cloud(
        mixed(dim, 0.3, 0.4), COMMANDS, grid=[10] * dim, gravity=GRAVITY[dim], walls=WALLS[dim], **OPTIONS
    )
    return ds.Rollout(sim, steps=3, mode="step")


def test_steps_are_the_twins(walled: ds.Rollout) -> None:
    """Strains, transfers, gravity and every kind of wall."""
    sim = walled.sim
    wanted = twin(sim, 3)
    fields = {key: getattr(sim.mpm, key) for key in wanted}
    found = walled.trajectories(fields, every=3)
    for key, want in wanted.items():
        np.testing.assert_allclose(found[key][-1], want, rtol=0, atol=1e-12 * np.abs(want).max(), err_msg=key)
    free = sim.mpm.particles
    assert np.abs(found["v"][-1] - free.v).max() > 0.1


@pytest.mark.parametrize("walled", [2], indirect=True, ids=["2D"])
def test_gradient_at_the_walls(walled: ds.Rollout) -> None:
    """Few nodes are so near a kink that differences cross it."""
    assert_gradient(walled, wrt=[walled.sim.v, walled.sim.told], tolerance=5e-3)


# ---- free flight ----


@pytest.fixture(scope="module", params=[2, 3], ids=["2D", "3D"])
def free(request: pytest.FixtureRequest, runtime: Any) -> ds.Rollout:
    """The same cloud in the middle of a large room, for eight steps."""
    dim = request.param
    options = {**OPTIONS, "viscosity": 0.0}
    sim = Cloud(mixed(dim, 0.6, 0.4, 0.3), COMMANDS, grid=[16] * dim, gravity=GRAVITY[dim], **options)
    return ds.Rollout(sim, steps=8, mode="step")


def test_momentum_is_kept(free: ds.Rollout) -> None:
    """Linear momentum changes by weight alone; angular momentum about the centre of mass not at all."""
    sim, m = free.sim, free.sim.mpm.particles.mass
    found = free.trajectories({"x": sim.x, "v": sim.v, "C": sim.C}, every=1)
    fall = m.sum() * sim.mpm.dt * np.array(GRAVITY[sim.mpm.dim])
    momentum = np.einsum("p,fpd->fd", m, found["v"])
    wanted = momentum[0] + np.arange(9)[:, None] * fall
    np.testing.assert_allclose(momentum, wanted, rtol=0, atol=1e-13)
    center = np.einsum("p,fpd->fd", m / m.sum(), found["x"])[:, None]
    mean = np.einsum("p,fpd->fd", m / m.sum(), found["v"])[:, None]
    orbit = np.einsum("p,fpi,fpj->fij", m, found["x"] - center, found["v"] - mean)
    affine = sim.mpm.dx**2 / 4 * np.einsum("p,fpij->fji", m, found["C"])
    total = orbit + affine
    spin = total - total.swapaxes(1, 2)
    np.testing.assert_allclose(spin, np.broadcast_to(spin[0], spin.shape), rtol=0, atol=1e-13)
    alone = orbit - orbit.swapaxes(1, 2)
    assert np.abs(alone - alone[0]).max() > 1e-6, "without what C carries it is not kept"


def test_the_center_flies_like_a_projectile(free: ds.Rollout) -> None:
    """Symplectic Euler's parabola, whatever happens inside."""
    sim, m = free.sim, free.sim.mpm.particles.mass
    share, dt = m / m.sum(), sim.mpm.dt
    center = np.einsum("p,fpd->fd", share, free.trajectory(sim.x, every=1))
    k = np.arange(9)[:, None]
    gravity = np.array(GRAVITY[sim.mpm.dim])
    wanted = center[0] + k * dt * (share @ sim.mpm.particles.v) + k * (k + 1) / 2 * dt**2 * gravity
    np.testing.assert_allclose(center, wanted, rtol=0, atol=1e-13)


def test_gradient_in_free_flight(free: ds.Rollout) -> None:
    assert_gradient(free, wrt=[free.sim.x, free.sim.v, free.sim.told])


def test_modes_agree(runtime: Any) -> None:
    particles = mixed(2, 0.4, 0.2, 0.3, count=3)

    def make() -> Cloud:
        return Cloud(particles, COMMANDS, grid=[10, 10], gravity=GRAVITY[2], **OPTIONS)

    assert_modes_agree(make, 2, wrt=lambda sim: [sim.v, sim.told])


# ---- waves and energy ----


def test_a_bar_rings_at_the_speed_of_sound(runtime: Any) -> None:
    """A free bar stretched along its first mode swings with the period 2 L / c, and gains no energy."""
    length, cell, young, density = 1.6, 0.1, 4.0, 1.0
    sound = np.sqrt(young / density)
    x = lattice((0.6, 0.5), (0.6 + length, 0.8), cell / 2)
    mode = np.cos(np.pi * (x[:, 0] - 0.6) / length)
    bar = solid(
        x, cell**2 / 4, young=young, poisson=0.0, density=density, v=np.outer(0.02 * mode, (1.0, 0.0))
    )
    period = 2.0 * length / sound
    steps = 160
    sim = Cloud(bar, grid=(28, 13), dx=cell, dt=1.1 * period / steps, gravity=(0.0, 0.0))
    rollout = ds.Rollout(sim, steps=steps, mode="step")
    found = rollout.trajectories({"v": sim.v, "C": sim.C, "F": sim.mpm.F}, every=1)
    swing = found["v"][:, :, 0] @ mode
    crossings = np.nonzero(np.diff(np.sign(swing)))[0]
    assert len(crossings) == 2
    k = crossings[1]
    quarter3 = (k + swing[k] / (swing[k] - swing[k + 1])) * sim.mpm.dt
    assert quarter3 == pytest.approx(0.75 * period, rel=0.03)
    mass, mu = bar.mass[0], young / 2
    kinetic = 0.5 * mass * ((found["v"] ** 2).sum((1, 2)) + cell**2 / 4 * (found["C"] ** 2).sum((1, 2, 3)))
    elastic = bar.volume[0] * mu * ((np.linalg.svd(found["F"], compute_uv=False) - 1.0) ** 2).sum((1, 2))
    energy = (kinetic + elastic) / (kinetic + elastic)[0]
    assert elastic.max() > 0.8 * kinetic[0]
    # Velocities and strains are half a step apart: the sum swings a little; the transfers take a little.
    assert energy.min() > 0.95
    assert energy.max() < 1.02


def test_plane_strain_is_space_between_smooth_walls(runtime: Any) -> None:
    """A sheet that fills the room between two slip walls moves as the same body in the plane."""
    dx, spacing = 0.1, 0.05
    rng = np.random.default_rng(3)
    plane = lattice((0.5, 0.5), (0.8, 0.8), spacing)
    v = rng.normal(size=plane.shape)
    kinds = {"young": 40.0, "poisson": 0.3}
    flat = Cloud(solid(plane, spacing**2, v=v, **kinds), grid=(13, 13), dx=dx, dt=4e-3, gravity=(0.0, -9.8))
    depths = 0.3 + spacing * (np.arange(4) + 0.5)
    thick = np.concatenate([np.insert(plane, 1, y, axis=1) for y in depths])
    sheet = Cloud(
        solid(thick, spacing**3, v=np.tile(np.insert(v, 1, 0.0, axis=1), (4, 1)), **kinds),
        grid=(13, 8, 13),
        dx=dx,
        dt=4e-3,
        gravity=(0.0, 0.0, -9.8),
        walls=["separate", "slip", "separate"],
    )
    wanted = ds.Rollout(flat, steps=10, mode="step").trajectory(flat.x, every=10)[-1]
    found = ds.Rollout(sheet, steps=10, mode="step").trajectory(sheet.x, every=10)[-1].reshape(4, -1, 3)
    for layer, y in zip(found, depths, strict=True):
        np.testing.assert_allclose(layer[:, [0, 2]], wanted, rtol=0, atol=1e-12)
        np.testing.assert_allclose(layer[:, 1], y, rtol=0, atol=1e-12)
    assert np.abs(wanted - plane).max() > 0.01


# ---- arguments ----


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"dt": 0.0}, "MPM dt must be a number above 0, got 0.0"),
        ({"dt": 0.1}, r"MPM dt must be at most 0\.0153 s, got 0\.1: sound runs at 6\.55 m/s"),
        ({"dx": -1.0}, "MPM dx must be a number above 0, got -1.0"),
        ({"friction": -0.1}, "MPM friction must be a number of at least 0, got -0.1"),
        ({"rim": 1}, "MPM rim must be at least 2 cells, got 1"),
        ({"grid": (16,)}, "MPM grid must be 2 whole numbers of at least 8, got \\(16,\\)"),
        ({"gravity": (0.0, 0.0, 1.0)}, "MPM gravity must be 2 numbers"),
        ({"walls": "rough"}, "MPM walls must be one of separate, slip, sticky, friction"),
        ({"walls": ["slip"]}, "MPM walls must be one of"),
    ],
)
def test_mpm_refuses(changes: dict[str, Any], rule: str) -> None:
    body = solid([[0.8, 0.8]], 0.01, young=40.0, poisson=0.2 / 1.2)
    given = {"grid": (16, 16), "dx": 0.1, "dt": 1e-3, "gravity": (0.0, -9.8), **changes}
    with pytest.raises(ConfigError, match=rule):
        MPM(body, **given)


@pytest.mark.parametrize(
    ("call", "rule"),
    [
        (lambda: lattice((0.0, 1.0), (1.0, 1.0), 0.1), "a box must have 2 or 3 sides above 0"),
        (lambda: lattice((0.0, 0.0), (1.0, 1.0), 0.0), "spacing must be a number above 0, got 0.0"),
        (lambda: liquid([[0.0, 0.0]], 1.0, bulk=0.0), "bulk must be a number above 0, got 0.0"),
        (lambda: liquid([[0.0, 0.0]], -1.0, bulk=1.0), "volume must be above 0, got -1.0"),
        (lambda: liquid([[0.0]], 1.0, bulk=1.0), "x must have shape"),
        (lambda: liquid([[0.0, 0.0]], 1.0, bulk=1.0, density=0.0), "density must be a number above 0"),
        (lambda: liquid([[0.0, 0.0]], 1.0, bulk=1.0, v=(1.0, 2.0, 3.0)), "v must have shape \\(1, 2\\)"),
        (lambda: join(), "clouds to join must be some"),
    ],
)
def test_particles_refuse(call: Any, rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        call()


def test_joined_clouds_have_solids_first() -> None:
    wet = liquid([[0.1, 0.1], [0.2, 0.2]], 1.0, bulk=3.0)
    dry = solid([[0.3, 0.3], [0.4, 0.4]], 1.0, young=2.0, poisson=0.0, muscle=[1, -1], fibre=(0.0, 2.0))
    both = join(wet, dry)
    assert (both.count, both.solids, both.muscles, both.dim) == (4, 2, 2, 2)
    np.testing.assert_array_equal(both.x[:, 0], [0.3, 0.4, 0.1, 0.2])
    np.testing.assert_array_equal(both.fibre[:2], [[0.0, 1.0], [0.0, 1.0]])
