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
    x, a = rng.uniform(size=shape) * [4.0, 1.0], rng.uniform(0.5, 1.0, size=shape)
    a[2, ..., 7, :] = 20.0  # longer than most, and the norm spans no decade
    edges = Lines("x", pairs="edges")
    scene = Scene((edges,), ground=0.0)
    motion = moved(x, components=(2,), worlds=worlds, stills={"edges": [[0, 1]]}, scene=scene)
    both = with_adjoints(motion, {"x": adjoint(a, components=(2,), worlds=worlds)})
    assert both.names == ("x", "d cost / d x", "down d cost / d x", "|d cost / d x|")
    lines, vectors, curve = both.scene.parts
    assert lines is edges
    assert both.scene.ground == 0.0
    assert list(both.stills) == ["edges"]
    assert isinstance(vectors, Vectors)
    assert (vectors.positions, curve.values) == ("x", "|d cost / d x|")
    way, usual = np.asarray(both[vectors.vectors]), np.quantile(np.linalg.norm(a, axis=-1), 0.95)
    few = np.linalg.norm(a, axis=-1) > 2.0 * usual
    np.testing.assert_allclose(way[~few], -a[~few] / usual)
    np.testing.assert_allclose(np.linalg.norm(way[few], axis=-1), 2.0)
    assert few.sum() == max(1, worlds)
    assert vectors.scale == pytest.approx(0.08 * np.ptp(x[..., 0]))
    assert vectors.label == "−d cost / d x, up to 28.3 [1/m]"
    np.testing.assert_array_equal(both["d cost / d x"], a)  # whole, whatever is drawn of it


def test_each_frame_has_its_own_scale_where_the_norm_spans_decades():
    x, a = np.random.default_rng(0).normal(size=(2, FRAMES, 6, 2))
    a *= 10.0 ** -np.arange(FRAMES)[:, None, None]
    a[-1] = 0.0  # no terminal cost reads it
    a[1, 2, 0] = np.nan
    both = with_adjoints(moved(x, components=(2,)), {"x": adjoint(a, components=(2,))})
    lengths = np.linalg.norm(both["down d cost / d x"], axis=-1)
    assert np.all(lengths[:-1].max(axis=1) > 0.9)
    assert np.all(lengths <= 2.0)
    assert lengths[1, 2] == 0.0
    *_, vectors, curve = both.scene.parts
    assert vectors.label == "−d cost / d x, by frame"
    level, norm = np.asarray(both[curve.values]), np.linalg.norm(a.reshape(FRAMES, -1), axis=1)
    np.testing.assert_allclose(level[[0, 2, 3]], np.log10(norm[[0, 2, 3]]))
    assert level[4] < level[3]
    maps = with_adjoints(moved(a[..., 0, None] + np.ones(4)), {"x": adjoint(a[..., 0, None] * np.ones(4))})
    colors = np.asarray(maps["d cost / d x, by frame"])
    assert 0.9 < np.abs(colors[3]).max() < 1.2


def test_few_points_have_longer_arrows_than_many():
    scales = []
    for n in (3, 50):
        grid = np.stack(np.meshgrid(np.linspace(0, 1, n), np.linspace(0, 1, n)), axis=-1).reshape(1, -1, 2)
        both = with_adjoints(
            moved(grid, components=(2,)), {"x": adjoint(np.ones_like(grid), components=(2,))}
        )
        scales.append(both.scene.parts[-2].scale)
    np.testing.assert_allclose(scales, [0.08, 2.5 / 50])


def test_grids_get_their_adjoint_beside_them():
    a = np.linspace(-3.0, 1.0, FRAMES * 12 * 9).reshape(FRAMES, 12, 9) + 4.0
    other, own = Points("p"), Grid("x", spacing=0.1, contours=5)
    both = with_adjoints(moved(np.ones_like(a), scene=Scene((own, other))), {"x": adjoint(a)})
    first, points, grid, curve = both.scene.parts
    assert (first, points) == (own, other)
    assert (grid.values, grid.spacing, grid.center, grid.contours) == ("d cost / d x", 0.1, 0.0, 0)
    np.testing.assert_allclose(grid.origin, [1.06 * 1.2, 0.0])
    low, high = grid.limits
    assert low == -high
    assert high == pytest.approx(1.2 * np.quantile(a, 0.95))
    np.testing.assert_allclose(both[curve.values], np.linalg.norm(a.reshape(FRAMES, -1), axis=1))
    target = Grid("y", origin=(9.0, 0.0), spacing=0.1)  # whose place it takes
    both = with_adjoints(moved(a, scene=Scene((own, target))), {"x": adjoint(a)})
    assert [part.values for part in both.scene.parts] == ["x", "d cost / d x", "|d cost / d x|"]
    assert both.scene.parts[1].origin == (9.0, 0.0)
    cloud, picture = Grid("x", origin=(1.0, 0.0, 0.0)), Grid("y", origin=(9.0, 0.0))  # in space, in the plane
    b = np.ones((FRAMES, 2, 3, 4))
    both = with_adjoints(moved(b, scene=Scene((picture, cloud))), {"x": adjoint(b)})
    assert both.scene.parts[:2] == (picture, cloud)
    np.testing.assert_allclose(both.scene.parts[2].origin, [1.0 + 1.06 * 2.0, 0.0, 0.0])


def test_numbers_along_an_axis_get_a_curve_over_the_same_places():
    a = np.linspace(-1.0, 1.0, FRAMES * 30).reshape(FRAMES, 30)
    own = Grid("x", origin=(2.0,), spacing=0.1)
    both = with_adjoints(moved(np.ones_like(a), scene=Scene((own,))), {"x": adjoint(a)})
    first, below, curve = both.scene.parts
    assert (first, below.values, below.origin, below.spacing) == (own, "d cost / d x", (2.0,), 0.1)
    assert curve.values == "|d cost / d x|"
    free = with_adjoints(moved(np.ones_like(a)), {"x": adjoint(a)})
    assert [type(part) for part in free.scene.parts] == [Grid, Grid, Curves]


def test_what_is_neither_is_drawn_as_curves():
    both = with_adjoints(moved(np.ones((FRAMES, 2))), {"x": adjoint(np.zeros((FRAMES, 2)))})
    assert [part.values for part in both.scene.parts] == ["x", "d cost / d x", "|d cost / d x|"]
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
