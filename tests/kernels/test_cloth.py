"""The cloth against its energies, closed forms of strips, beams and chains, and conservation laws."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from simulator_checks import assert_gradient, assert_modes_agree, assert_same_when_checkpointed

import diffsim as ds
from diffsim.errors import ConfigError
from diffsim.kernels.cloth import Cloth, ClothConfig, Mesh, grid_mesh, highest_rate, load_obj, save_obj

Array = NDArray[np.float64]
CHAIN = 2.4048  # where the Bessel function J0 is 0
STILL: dict[str, Any] = {"gravity": (0.0, 0.0, 0.0), "air": 0.0, "damping": 0.0}


def crumpled(mesh: Mesh, amount: float = 0.08, seed: int = 0) -> Array:
    """Return vertices away from rest, in all directions."""
    return mesh.vertices + amount * np.random.default_rng(seed).normal(size=mesh.vertices.shape)


def energy(mesh: Mesh, c: ClothConfig, x: Array) -> float:
    """Add the membrane's and the hinges' energies up, straight from their definition."""
    tri, corners = x[mesh.triangles], mesh.vertices[mesh.triangles]
    total = 0.0
    for now, rest in zip(tri, corners, strict=True):
        sides = rest[1:] - rest[0]
        frame, _ = np.linalg.qr(sides.T)
        gradient = (now[1:] - now[0]).T @ np.linalg.inv((sides @ frame).T)
        strain = 0.5 * (gradient.T @ gradient - np.eye(2))
        lame, shear = c.stretch * c.poisson / (1 - c.poisson**2), c.stretch / (2 * (1 + c.poisson))
        area = 0.5 * np.linalg.norm(np.cross(*sides))
        total += area * (0.5 * lame * np.trace(strain) ** 2 + shear * (strain**2).sum())
    angles, weights = mesh.folds()
    for (a, b, c_, d), rest, weight in zip(mesh.hinges, angles, weights, strict=True):
        e = x[b] - x[a]
        one, other = np.cross(e, x[c_] - x[a]), np.cross(x[d] - x[a], e)
        cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
        angle = math.copysign(math.acos(min(1.0, cosine)), np.cross(one, other) @ e)
        total += 0.5 * c.bend * weight * (angle - rest) ** 2
    return total


def forces(sim: Cloth, *states: tuple[Array, Any]) -> list[Array]:
    """Return what acts on vertices [N] at each pair of places and velocities."""
    rollout = ds.Rollout(sim, steps=1)
    found = []
    for x, v in states:
        sim.x.set(x)
        sim.v.set(v)
        found.append(np.asarray(rollout.trajectory(sim.force)[0], dtype=np.float64))
    rollout.close()
    return found


# ---- forces ----


def test_forces_are_slopes_of_the_energy(runtime: Any) -> None:
    """Also with a rest shape that is not flat."""
    flat = grid_mesh(4, 3, 0.6, 0.5)
    mesh = Mesh(crumpled(flat, 0.04, 1), flat.triangles)
    c = ClothConfig(stretch=50.0, bend=0.3, **STILL)
    x = crumpled(flat)
    (found,) = forces(Cloth(mesh, c), (x, 0.0))
    rng, h = np.random.default_rng(2), 1e-5
    for _ in range(5):
        along = rng.normal(size=x.shape)
        slope = (energy(mesh, c, x + h * along) - energy(mesh, c, x - h * along)) / (2 * h)
        assert (found * along).sum() == pytest.approx(-slope, rel=1e-7)


def test_inner_forces(runtime: Any) -> None:
    """No net force and no net torque; none at all on what turns and moves rigidly. Damping included."""
    mesh = grid_mesh(4, 4)
    x = crumpled(mesh)
    v = np.random.default_rng(3).normal(size=x.shape)
    turn, _ = np.linalg.qr(np.random.default_rng(4).normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    moved = mesh.vertices @ turn.T + np.array([0.3, -0.2, 0.9])
    spin = np.cross([1.0, -2.0, 0.5], moved) + np.array([2.0, 0.0, -1.0])
    sim = Cloth(mesh, ClothConfig(dt=1e-4, bend=0.1, damping=1e-3, air=0.0))
    found, rigid = forces(sim, (x, v), (moved, spin))
    size = np.abs(found).max()
    np.testing.assert_allclose(found.sum(axis=0), 0.0, atol=1e-13 * size * len(x))
    np.testing.assert_allclose(np.cross(x, found).sum(axis=0), 0.0, atol=1e-13 * size * len(x))
    assert size > 1.0
    np.testing.assert_allclose(rigid, 0.0, atol=1e-12)


def test_wind_on_a_plate(runtime: Any) -> None:
    """Air that meets a flat cloth squarely presses with half its density, times area and speed squared."""
    mesh = grid_mesh(3, 3, 0.5, 0.4)
    c = ClothConfig(wind=(0.0, 0.0, 3.0), air=1.2, bend=0.0, gravity=(0.0, 0.0, 0.0))
    x = mesh.vertices
    still, carried, faster = forces(
        Cloth(mesh, c), (x, 0.0), (x, x * 0.0 + [1.0, 2.0, 3.0]), (x, x * 0.0 + [0.0, 0.0, 4.0])
    )
    np.testing.assert_allclose(still.sum(axis=0), [0.0, 0.0, 0.5 * 1.2 * 0.2 * 9.0], atol=1e-12)
    np.testing.assert_allclose(carried, 0.0, atol=1e-12)
    np.testing.assert_allclose(faster.sum(axis=0), [0.0, 0.0, -0.5 * 1.2 * 0.2], atol=1e-12)


def test_cylinder(runtime: Any) -> None:
    """A grid rolled up along its lines holds bend curvature^2 / 2 per area; flat it holds nothing."""
    mesh, c = grid_mesh(41, 3, 2.0, 0.1), ClothConfig(bend=0.2, stretch=1e-12)
    angle = mesh.vertices[:, 0] / 1.5
    rolled = np.stack([1.5 * np.sin(angle), mesh.vertices[:, 1], 1.5 * (1 - np.cos(angle))], axis=-1)
    inner = (2.0 - 0.05) * 0.1  # the outermost edges have no hinge: half a cell at both ends does not bend
    assert energy(mesh, c, rolled) == pytest.approx(0.5 * 0.2 / 1.5**2 * inner, rel=1e-3)
    assert energy(mesh, c, mesh.vertices) < 1e-20


# ---- motion ----


def run(sim: Cloth, steps: int, every: int) -> tuple[Array, Array]:
    rollout = ds.Rollout(sim, steps=steps, mode="fused")
    found = rollout.trajectories({"x": sim.x, "v": sim.v}, every=every)
    rollout.close()
    return found["x"], found["v"]


def test_free_cloth_keeps_momentum_and_energy(runtime: Any) -> None:
    """Without damping the energy of a symplectic scheme swings about its start, less with shorter steps."""
    mesh = grid_mesh(4, 4, 0.5, 0.5)
    drift = []
    for dt in (4e-4, 2e-4):
        c = ClothConfig(dt=dt, stretch=20.0, bend=2e-3, **STILL)
        sim = Cloth(mesh, c, start=crumpled(mesh, 0.01))
        x, v = run(sim, round(0.4 / dt), round(0.02 / dt))
        mass = c.mass * mesh.shares[:, None]
        total = [energy(mesh, c, p) + 0.5 * (mass * q**2).sum() for p, q in zip(x, v, strict=True)]
        kinetic = max(0.5 * (mass * q**2).sum() for q in v)
        assert kinetic > 0.3 * total[0], "the cloth does move"
        drift.append(np.abs(np.array(total) / total[0] - 1.0).max())
        np.testing.assert_allclose((mass * v).sum(axis=1), 0.0, atol=1e-13)
        spin = np.cross(x, mass * v).sum(axis=1)
        np.testing.assert_allclose(spin, 0.0, atol=1e-13)
    assert drift[0] < 0.05
    assert drift[1] < 0.65 * drift[0]


def hanging(columns: int, rows: int, c: ClothConfig, swing: float = 0.0) -> Cloth:
    """Return a strip that hangs down 1 m from its upper edge, pushed aside in the first mode of a chain."""
    flat = grid_mesh(columns, rows, 0.5 * (columns - 1) / (rows - 1), 1.0)
    height = flat.vertices[:, 1] + 0.5  # above the lower edge
    angles = np.linspace(0.0, np.pi, 200)
    mode = np.cos(CHAIN * np.sqrt(height)[:, None] * np.sin(angles)).mean(axis=1)  # J0
    start = np.stack([flat.vertices[:, 0], swing * mode, height - 1.0], axis=-1)
    return Cloth(flat, c, np.flatnonzero(height > 1 - 1e-9), start)


def test_strip_under_its_own_weight(runtime: Any) -> None:
    """At rest it is longer by mass g length^2 / (2 stretch): 1 % here, and squares of that more."""
    c = ClothConfig(dt=4e-4, stretch=98.0, poisson=0.0, bend=0.0, damping=5e-3, air=0.0)
    sim = hanging(3, 9, c)
    x, v = run(sim, 10000, 10000)
    longer = -1.0 - x[-1, :3, 2].mean()
    assert np.abs(v[-1]).max() < 1e-5
    assert longer == pytest.approx(0.01, rel=0.02)


def test_hanging_chain(runtime: Any) -> None:
    """A limp strip swings as a hanging chain does, with `CHAIN / 2 sqrt(g / length)`."""
    c = ClothConfig(dt=5e-4, stretch=500.0, poisson=0.0, bend=0.0, damping=1e-4, air=0.0)
    x, _ = run(hanging(2, 11, c, swing=0.02), 3000, 10)
    side = x[:, 0, 1]  # of the lower edge, from one crossing of the middle to the next
    cross = np.flatnonzero(side[:-1] * side[1:] <= 0)
    assert 0.005 * (cross[1] - cross[0]) == pytest.approx(math.pi / (0.5 * CHAIN * math.sqrt(9.8)), rel=0.02)


def test_cantilever(runtime: Any) -> None:
    """A strip, clamped at one end and let go, sinks to twice its static sag in half a period.

    That sag is `load length^4 / (8 B)`, the first mode's frequency `3.516 sqrt(B / (mass length^4))`; higher
    modes leave 1.95 of the 2. The clamp holds two columns; the strip begins to bend half way between them. In
    a strip that is one cell wide the diagonals fold too: an angle is shared by a spring of weight 1 and, at
    45 degrees, one of weight 2, so that B is 4/5 of `bend`.
    """
    free, cells = 0.4, 12
    cell = free / cells
    mesh = grid_mesh(cells + 2, 2, free + cell, cell)
    constants = {**STILL, "gravity": (0.0, 0.0, -0.02), "poisson": 0.0}
    c = ClothConfig(dt=4e-4, stretch=20.0, bend=2e-3, **constants)
    length = free + 0.5 * cell
    rigidity = 0.8 * c.bend
    sag = 0.02 * c.mass * length**4 / (8 * rigidity)
    half = math.pi / (3.516 * math.sqrt(rigidity / c.mass) / length**2)
    steps = round(half / c.dt)
    held = np.flatnonzero(mesh.vertices[:, 0] < mesh.vertices[0, 0] + 1.5 * cell)
    x, _ = run(Cloth(mesh, c, held), steps, steps)
    assert -x[-1, [cells + 1, -1], 2].mean() == pytest.approx(1.95 * sag, rel=0.05)


def test_sphere(runtime: Any) -> None:
    """A cloth that falls on a sphere stays outside, touches it, and is held by friction."""
    mesh = grid_mesh(7, 7, 0.6, 0.6)
    lowest = []
    for friction in (0.0, 0.8):
        ball: dict[str, Any] = {"sphere": (0.05, 0.0, -0.3), "radius": 0.25, "friction": friction}
        c = ClothConfig(dt=1e-3, stretch=30.0, bend=0.0, air=0.0, **ball)
        x, _ = run(Cloth(mesh, c), 500, 10)
        away = np.linalg.norm(x - np.array(c.sphere), axis=-1)
        assert away.min() > c.radius - 1e-6
        assert (away[-1] < c.radius + 1e-3).sum() >= 5
        lowest.append(x[-1, :, 0].mean())
    assert lowest[0] < lowest[1] - 1e-3, "without friction it slides off sooner"


# ---- gradients ----

GUSTY: dict[str, Any] = {"wind": (0.5, 2.0, 0.3), "gust": 0.5, "dt": 1e-3, "bend": 2e-3}


def small(**constants: Any) -> Cloth:
    mesh = grid_mesh(4, 3, 0.3, 0.2)
    recording = np.random.default_rng(5).normal(size=(3, 12, 3))
    return Cloth(
        mesh, ClothConfig(**{**GUSTY, **constants}), [8, 11], crumpled(mesh, 0.01), recording, every=4
    )


def still() -> Cloth:
    """Return the small cloth in no wind, for tests that compile it many times."""
    return small(air=0.0)


def seen(sim: Any) -> list[Any]:
    return [sim.logs, sim.wind, sim.x, sim.v]


def moving(sim: Any) -> list[Any]:
    return [sim.logs, sim.x, sim.v]


def test_gradient(runtime: Any) -> None:
    sim = small()
    assert_gradient(ds.Rollout(sim, steps=12), wrt=seen(sim))


def test_gradient_across_contact(runtime: Any) -> None:
    out = np.array([0.1, 0.1, 0.99])
    place = crumpled(grid_mesh(4, 3, 0.3, 0.2), 0.01)[6]
    sim = small(sphere=tuple(place - 0.053 * out), radius=0.05, air=0.0, bend=0.0)  # 3 mm below vertex 6
    sim.v.set(np.broadcast_to([0.0, 0.0, -0.5], (12, 3)))
    rollout = ds.Rollout(sim, steps=12)
    away = np.linalg.norm(rollout.trajectory(sim.x, every=1)[:, 6] - np.array(sim.sphere), axis=-1)
    assert away.min() > sim.radius - 1e-9
    assert away.min() < sim.radius + 5.1e-4, "it meets the sphere, or the way of a step before it"
    assert_gradient(rollout, wrt=[sim.x, sim.v], tolerance=5e-3)


def test_checkpoints_and_modes(runtime: Any) -> None:
    assert_same_when_checkpointed(still, 8, wrt=moving)
    assert_modes_agree(still, 8, wrt=moving)


# ---- meshes ----


def test_grid() -> None:
    mesh = grid_mesh(5, 4, 2.0, 1.0)
    assert len(mesh.vertices) - len(mesh.edges) + len(mesh.triangles) == 1  # Euler's formula of a disc
    assert mesh.areas.sum() == pytest.approx(2.0)
    assert mesh.shares.sum() == pytest.approx(2.0)
    assert len(mesh.hinges) == len(mesh.edges) - 2 * (4 + 3)
    assert mesh.nearest([[9.0, 9.0, 0.0]]).tolist() == [19]


def test_obj_comes_back(tmp_path: Path) -> None:
    mesh = Mesh(crumpled(grid_mesh(3, 3)), grid_mesh(3, 3).triangles)
    save_obj(tmp_path / "cloth.obj", mesh, "a test")
    again = load_obj(tmp_path / "cloth.obj")
    np.testing.assert_allclose(again.vertices, mesh.vertices, atol=1e-6)
    np.testing.assert_array_equal(again.triangles, mesh.triangles)


def test_obj_forms(tmp_path: Path) -> None:
    """Corners with slashes, indices from the end, faces of four corners, comments and other lines."""
    file = tmp_path / "square.obj"
    file.write_text(
        "# one\nv 0 0 0\nv 1 0 0 1.0\nv 1 1 0\nv 0 1 0 # last\nvn 0 0 1\nusemtl red\nf 1/1/1 2//1 3 -1\n"
    )
    np.testing.assert_array_equal(load_obj(file).triangles, [[0, 1, 2], [0, 2, 3]])


def test_shipped_mesh() -> None:
    mesh = load_obj("tablecloth")
    assert mesh.areas.sum() == pytest.approx(math.pi * 0.5**2, rel=0.03)
    assert not mesh.vertices[:, 2].any()


CORNERS = "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 1 1 0\n"
BROKEN = {
    "v 0 0\n": r"bad\.obj:1: a vertex must be three numbers, got '0 0'",
    "v 0 0 0\nf 1 2 3\n": r"bad\.obj:2: a face must be three or more of the 1 vertices .*, got '1 2 3'",
    CORNERS + "f 1 2 x\n": r"bad\.obj:5: a face must be .* got '1 2 x'",
    CORNERS: r"bad\.obj must have a face",
    CORNERS
    + "v 2 0 0\nf 1 2 5\nf 1 3 4": r"bad\.obj: Mesh\.triangles must have an area, got none for triangle 0",
    CORNERS + "f 1 2 3\nf 2 3 4\n": r"bad\.obj: .* must turn the same way .* edge 1, 2",
    CORNERS + "f 1 2 3\n": r"bad\.obj: .* got vertex 3 alone",
}


@pytest.mark.parametrize("text", list(BROKEN))
def test_broken_obj(text: str, tmp_path: Path) -> None:
    (tmp_path / "bad.obj").write_text(text)
    with pytest.raises(ConfigError, match=BROKEN[text]):
        load_obj(tmp_path / "bad.obj")


def test_refusals(tmp_path: Path) -> None:
    mesh = grid_mesh(3, 3)
    with pytest.raises(ConfigError, match=r"mesh must be an OBJ file that can be read, got 'nowhere\.obj'"):
        load_obj("nowhere.obj")
    with pytest.raises(ConfigError, match=r"ClothConfig\.dt must be below .* s for this mesh, got 0\.1"):
        Cloth(mesh, ClothConfig(dt=0.1))
    with pytest.raises(ConfigError, match=r"ClothConfig\.bend must be a number of at least 0\.?0?, got -1"):
        ClothConfig(bend=-1.0)
    with pytest.raises(ConfigError, match=r"pins must be vertices from 0 to 8, got \[9\]"):
        Cloth(mesh, pins=[9])
    with pytest.raises(ConfigError, match=r"recording must have shape \(frames, 9, 3\), got \(2, 4, 3\)"):
        Cloth(mesh, recording=np.zeros((2, 4, 3)))
    with pytest.raises(ConfigError, match=r"every must be a whole number of at least 1, got 0"):
        Cloth(mesh, every=0)


def test_a_rollout_may_end_before_the_recordings_first_frame(runtime: Any) -> None:
    mesh = grid_mesh(3, 3)
    assert ds.plan(Cloth(mesh, recording=np.zeros((2, 9, 3)), every=4), steps=3).steps == 3


def test_the_limit_of_the_step(runtime: Any) -> None:
    """Just below the bound small motion stays small; at one and a half of it, it does not."""
    mesh = grid_mesh(4, 4, 0.5, 0.5)
    c = ClothConfig(stretch=30.0, bend=1e-3, **STILL)
    limit = 2.0 / highest_rate(mesh, c)
    grown = []
    for dt in (0.95 * limit, 2.0 * limit):
        sim = Cloth(mesh, c, start=crumpled(mesh, 1e-6))
        sim.dt = dt
        x, _ = run(sim, 60, 60)
        grown.append(np.abs(x[-1] - mesh.vertices).max())
    assert grown[0] < 1e-4
    assert grown[1] > 1e-2 or not np.isfinite(grown[1])
