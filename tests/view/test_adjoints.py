"""Adjoints beside a motion: what the scene gets, from arrays alone."""

import dataclasses

import numpy as np
import pytest

from diffsim.view.adjoints import adjoint_name, adjoint_unit, norms, with_adjoints
from diffsim.view.scene import Curves, Grid, Lines, Points, Scene, Vectors
from diffsim.view.trajectory import Label, Trajectory, labelled

FRAMES = 5


def adjoint(array, name="x", components=(), worlds=0, unit="1/m"):
    label = Label(adjoint_name(name), np.arange(float(len(array))), "s", unit, components, worlds)
    return labelled(np.asarray(array, dtype=float), label)


def moved(array, name="x", components=(), worlds=0, **more):
    label = Label(name, np.arange(float(len(array))), "s", "m", components, worlds)
    return Trajectory({name: labelled(np.asarray(array, dtype=float), label)}, **more)


@pytest.mark.parametrize("worlds", [0, 3])
def test_points_get_arrows_downhill_with_few_much_longer_than_most(worlds):
    rng = np.random.default_rng(0)
    shape = (FRAMES, *([worlds] if worlds else []), 40, 2)
    x, a = rng.uniform(size=shape) * [4.0, 1.0], rng.normal(size=shape)
    a[2, ..., 7, :] *= 1e6  # one that would hide all others
    a[3, ..., 8, 0] = np.nan
    edges = Lines("x", pairs="edges")
    motion = moved(
        x, components=(2,), worlds=worlds, stills={"edges": [[0, 1]]}, scene=Scene((edges,), ground=0.0)
    )
    both = with_adjoints(motion, {"x": adjoint(a, components=(2,), worlds=worlds)})
    assert both.names == ("x", "d cost / d x", "down d cost / d x", "log10 |d cost / d x|")
    lines, vectors, curve = both.scene.parts
    assert lines is edges
    assert both.scene.ground == 0.0
    assert list(both.stills) == ["edges"]
    assert isinstance(vectors, Vectors)
    assert (vectors.positions, curve.values) == ("x", "log10 |d cost / d x|")
    way = np.asarray(both[vectors.vectors])
    assert way.shape == shape
    lengths, drawn = np.linalg.norm(a, axis=-1), np.linalg.norm(way, axis=-1)
    usual = np.nanquantile(lengths, 0.98)
    small = lengths < 1.5 * usual
    np.testing.assert_allclose(way[small], -a[small])
    np.testing.assert_allclose(drawn[lengths > 100.0], 2.0 * usual, rtol=0.2)
    assert np.all(drawn[~np.isfinite(lengths)] == 0.0)
    assert vectors.scale * usual == pytest.approx(0.08 * np.ptp(x[..., 0]), rel=1e-2)
    assert f"longest {np.nanmax(lengths):.2g} [1/m]" in vectors.label
    kept = np.asarray(both["d cost / d x"])
    np.testing.assert_array_equal(kept, a)  # whole, whatever is drawn of it
    assert both.world(0).worlds == 0


def test_grids_are_coloured_about_zero():
    a = np.linspace(-3.0, 1.0, FRAMES * 12 * 9).reshape(FRAMES, 12, 9)
    other = Points("p")
    scene = Scene((other, Grid("x", spacing=0.1, contours=5)))
    both = with_adjoints(moved(np.ones_like(a), scene=scene), {"x": adjoint(a)})
    grid, points, curve = both.scene.parts
    assert points is other
    assert (grid.values, grid.spacing, grid.center, grid.contours) == ("d cost / d x", 0.1, 0.0, 0)
    low, high = grid.limits
    assert low == -high
    assert 2.8 < high <= 3.0
    assert curve.values == "|d cost / d x|"  # which spans no decades here
    np.testing.assert_allclose(both[curve.values], np.linalg.norm(a.reshape(FRAMES, -1), axis=1))


def test_what_is_neither_is_drawn_as_curves():
    both = with_adjoints(moved(np.ones((FRAMES, 2))), {"x": adjoint(np.zeros((FRAMES, 2)))})
    assert [part.values for part in both.scene.parts] == ["d cost / d x", "|d cost / d x|"]
    assert all(isinstance(part, Curves) for part in both.scene.parts)
    assert with_adjoints(moved(np.ones((FRAMES, 2))), {}).scene is None


def test_what_is_drawn_is_what_the_scene_shows_or_looks_like_places():
    x, a = np.random.default_rng(0).normal(size=(2, FRAMES, 6, 2))
    arrays = {name: moved(x, name, (2,))[name] for name in ("v", "x")}
    given = {name: adjoint(a, name, (2,)) for name in ("v", "x")}
    assert "down d cost / d x" in with_adjoints(Trajectory(arrays), given)
    shows = Trajectory(arrays, scene=Scene((Points("v"),)))
    assert "down d cost / d v" in with_adjoints(shows, given)


def test_norms_keep_their_range():
    sizes = np.array([1e-200, 1.0, 1e200, np.inf, 0.0])
    level = norms(adjoint(sizes[:, None, None] * np.array([[3.0], [4.0]]), components=(1,)))
    np.testing.assert_allclose(level[:3], 5.0 * sizes[:3])
    assert not np.isfinite(level[3])
    assert level[4] == 0.0
    assert (level.name, level.unit) == ("|d cost / d x|", "1/m")
    assert norms(adjoint(np.ones((FRAMES, 3, 4)), worlds=3)).shape == (FRAMES, 3)
    assert [adjoint_unit(u) for u in ("", "m", "m/s", "rad s")] == ["", "1/m", "1/(m/s)", "1/(rad s)"]


def test_a_saved_one_is_the_same(tmp_path):
    x, a = np.random.default_rng(0).normal(size=(2, FRAMES, 6, 2))
    both = with_adjoints(moved(x, components=(2,)), {"x": adjoint(a, components=(2,))})
    both.save(tmp_path / "x.npz")
    again = Trajectory.load(tmp_path / "x.npz")
    assert again.names == both.names
    assert [dataclasses.asdict(p) for p in again.scene.parts] == [
        dataclasses.asdict(p) for p in both.scene.parts
    ]
