"""Painters: what is drawn of a trajectory stands where its numbers say, in the colours that they say."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import diffsim as ds
from diffsim.errors import ConfigError
from diffsim.view import default_scene, films_of
from diffsim.view.film import frame_drawer
from diffsim.view.paint.boxes import quaternion_matrices
from diffsim.view.paint.level import level_surface
from diffsim.view.paint.scale import COLORS, rgb_of, scale_of
from diffsim.view.paint.sheet import Sheet
from diffsim.view.paint.ticks import named, ticks
from diffsim.view.trajectory import Label, labelled

see = ds.scene
TIMES = 0.1 * np.arange(3)
BLUE, RED = "#0000ff", "#ff0000"


class Drawn:
    """A frame of a film as pixels, and where places of the plane or space are in it."""

    def __init__(self, trajectory: ds.Trajectory, parts: Any = None, frame: int = 0, **scene: Any) -> None:
        film = films_of([trajectory], None if parts is None else ds.Scene(parts, **scene))[0]
        self.sheet: Sheet = film.draw.__self__  # type: ignore[attr-defined]
        self.film, seen = film, []

        def draw(axes: Any, k: int) -> None:
            seen.append(axes)
            film.draw(axes, k)

        self.picture = frame_drawer(dataclasses.replace(film, draw=draw))(frame)[..., :3].astype(float)
        self.box = seen[0].bbox.bounds

    def at(self, *place: float, view: int = 0) -> tuple[int, int]:
        """Return the row and column of a place."""
        left, bottom, wide, high = self.box
        x, y, w, h = self.sheet._spots[view]
        stage = self.sheet.views[view].stage
        low, right, under, top = stage.limits(h * high / (w * wide))
        across, up = stage.seen(np.array(place))
        column = left + wide * (x + w * (across - low) / (right - low))
        row = bottom + high * (y + h * (up - under) / (top - under))
        return len(self.picture) - 1 - int(row), int(column)

    def color(self, *place: float, view: int = 0) -> Any:
        """Return the colour at a place, from 0 to 1."""
        return self.picture[self.at(*place, view=view)] / 255.0

    def count(self, color: str) -> int:
        """Count the pixels of a colour."""
        return int((np.abs(self.picture / 255.0 - rgb_of(color)).max(axis=2) < 0.02).sum())


def over(array: Any) -> Any:
    """Return an array that stands still for three frames."""
    return np.repeat(np.asarray(array, dtype=float)[None], 3, axis=0)


def test_discs_stand_where_points_are_with_their_radius_and_color() -> None:
    x = over([[0.0, 0.0], [1.0, 0.5], [2.0, 0.0]])
    x[2, 0] = [0.0, 0.5]
    points = see.Points("x", radius=0.1, values=np.array([0.0, 0.5, 1.0]), limits=(0.0, 1.0))
    trajectory = ds.Trajectory({"x": x}, TIMES, units={"x": "m"})
    seen = Drawn(trajectory, points)
    expected = scale_of(0.0, 1.0).rgb(np.array([0.0, 0.5, 1.0]))
    for place, color in zip(x[0], expected, strict=True):
        np.testing.assert_allclose(seen.color(*place), color, atol=0.04)  # 32 shades
        np.testing.assert_allclose(seen.color(place[0] + 0.07, place[1]), color, atol=0.04)
        assert (seen.color(place[0] + 0.13, place[1]) == 1.0).all()
    assert (seen.color(0.5, 0.25) == 1.0).all()
    later = Drawn(trajectory, points, frame=2)
    assert (later.color(0.0, 0.0) == 1.0).all(), "it is gone from where it was"
    np.testing.assert_allclose(later.color(0.0, 0.5), expected[0], atol=0.04)


def test_lines_triangles_and_boxes_fill_what_is_theirs() -> None:
    x = over([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    trajectory = ds.Trajectory({"x": x, "c": over([[2.0, 0.5]]), "a": over([np.pi / 4])}, TIMES)
    parts = [
        see.Triangles("x", np.array([[0, 1, 2]]), edges=False, color=BLUE),
        see.Lines("x", np.array([[1, 3]]), color=RED, width=4.0),
        see.Boxes("c", np.array([1.0, 1.0]), angles="a", color=BLUE),
    ]
    seen = Drawn(trajectory, parts, ground=-0.2)
    assert seen.color(0.3, 0.3)[2] > 0.9 > seen.color(0.3, 0.3)[0], "inside"
    assert (seen.color(0.7, 0.7) == 1.0).all(), "beyond the longest side"
    np.testing.assert_allclose(seen.color(1.0, 0.7), rgb_of(RED), atol=0.01)
    assert (seen.color(0.9, 0.7) == 1.0).all()
    turned = 2.0 + 0.65, 0.5
    assert seen.color(*turned)[0] < 0.9, "a corner of the turned box is there"
    assert (seen.color(2.45, 0.95) == 1.0).all(), "and not where it was"
    assert (seen.color(0.5, -0.1) == 1.0).all()
    assert (seen.color(0.5, -0.22) < 1.0).all(), "ground"


def test_maps_have_x_to_the_right_and_white_about_zero() -> None:
    values = np.zeros((4, 6))
    values[3, 0], values[0, 5] = 1.0, -1.0
    values[1, 1] = np.nan
    seen = Drawn(ds.Trajectory({"u": over(values)}, TIMES))
    low, middle, high = scale_of(-1.0, 1.0).rgb(np.array([-1.0, 0.0, 1.0]))
    np.testing.assert_allclose(seen.color(3, 0), high, atol=0.02)
    np.testing.assert_allclose(seen.color(0, 5), low, atol=0.02)
    np.testing.assert_allclose(seen.color(2, 3), middle, atol=0.02)
    assert high[0] - high[2] > 0.3 < low[2] - low[0], "orange above, blue below"
    assert (seen.color(1, 1) == 1.0).all()
    assert "1 of 24 cells" in seen.sheet.notes[0]
    colors = np.zeros((2, 2, 3))
    colors[1, 0] = [1.0, 0.0, 0.0]
    seen = Drawn(ds.Trajectory({"p": over(colors)}, TIMES), see.Grid("p", rgb=True))
    np.testing.assert_allclose(seen.color(1.2, -0.2), [1.0, 0.0, 0.0])
    filled = Drawn(ds.Trajectory({"u": over(values)}, TIMES), see.Grid("u", level=0.5, color=BLUE))
    np.testing.assert_allclose(filled.color(3, 0), rgb_of(BLUE), atol=0.02)
    assert (filled.color(2, 3) == 1.0).all()


def test_contours_run_where_values_are_at_their_level() -> None:
    slope = np.tile(np.linspace(0.0, 1.0, 41)[:, None], (1, 41))
    plain, lined = (
        Drawn(ds.Trajectory({"u": over(slope)}, TIMES), see.Grid("u", contours=n)) for n in (0, 1)
    )
    changed = np.abs(plain.picture - lined.picture).sum(axis=2) > 30
    columns = np.flatnonzero(changed.any(axis=0))
    assert abs(columns.mean() - lined.at(20, 20)[1]) < 1.5
    assert len(columns) < 5


def test_arrows_point_along_their_vectors() -> None:
    x, v = over([[0.0, 0.0], [0.0, 1.0]]), over([[1.0, 0.0], [-0.5, 0.0]])
    parts = see.Vectors("v", positions="x", scale=0.8, color=BLUE)
    seen = Drawn(ds.Trajectory({"x": x, "v": v}, TIMES), parts)
    ink = (seen.picture[..., 0] < 160) & (seen.picture[..., 2] > 200)
    for y, start, end in ((0.0, 0.0, 0.8), (1.0, 0.0, -0.4)):
        row, first = seen.at(start, y)
        last = seen.at(end, y)[1]
        columns = np.flatnonzero(ink[row - 12 : row + 13].any(axis=0))
        np.testing.assert_allclose((columns.min(), columns.max()), sorted((first, last)), atol=4)
        thickest = int(np.argmax(ink[row - 12 : row + 13].sum(axis=0)))
        assert abs(thickest - last) < abs(thickest - first), "the head is at the tip"


@pytest.mark.parametrize("nearer", [1.0, -1.0])
def test_in_space_what_is_near_hides_what_is_far(nearer: float) -> None:
    camera = see.Camera(toward=(0.0, 0.0, -1.0))
    x = over([[0.0, 0.0, nearer], [0.0, 0.0, -nearer], [1.0, 1.0, 0.0]])
    trajectory = ds.Trajectory({"x": x}, TIMES)
    parts = [
        see.Points("x", only=[n], radius=r, color=color)
        for n, r, color in ((0, 0.2, RED), (1, 0.3, BLUE), (2, 0.1, "#00ff00"))
    ]
    seen = Drawn(trajectory, parts, camera=camera)
    front = int(np.argmax(seen.color(0.0, 0.0, 0.0)))
    assert front == (0 if nearer > 0.0 else 2)
    assert int(np.argmax(seen.color(0.25, 0.0, 0.0))) == 2, "the larger one reaches further"
    assert int(np.argmax(seen.color(1.0, 1.0, 0.0))) == 1
    lines = see.Lines("x", np.array([[0, 1], [0, 2]]), color="#000000", width=3.0)
    edge = Drawn(trajectory, [*parts, lines], camera=camera)
    assert edge.color(0.6, 0.6, 0.0).max() < 0.2, "a rod between"


def test_boxes_in_space_are_turned_and_lit_by_side() -> None:
    third, along = np.pi / 6, np.array([np.cos(np.pi / 6), np.sin(np.pi / 6), 0.0])
    turn = [[np.cos(third / 2), 0.0, 0.0, np.sin(third / 2)]]
    trajectory = ds.Trajectory({"c": over([[0.0, 0.0, 0.0]]), "q": over(turn)}, TIMES)
    sizes, camera = np.array([2.0, 0.3, 0.3]), see.Camera(toward=(0.0, 0.0, -1.0))
    for rotations in (
        "q",
        np.array([[along, [-along[1], along[0], 0.0], [0.0, 0.0, 1.0]]]).transpose(0, 2, 1),
    ):
        seen = Drawn(trajectory, see.Boxes("c", sizes, rotations=rotations, color=BLUE), camera=camera)
        assert seen.color(*(0.9 * along))[0] < 0.5, "turned to the left about z"
        assert seen.color(*(0.9 * along * [1.0, -1.0, 1.0]))[0] > 0.9
    plain = Drawn(trajectory, see.Boxes("c", sizes, color=BLUE), camera=camera)
    assert plain.color(0.8, 0.0, 0.0)[0] < 0.5
    corner = Drawn(trajectory, see.Boxes("c", sizes, color=BLUE))
    shades = {
        tuple(np.round(corner.color(*place), 2)) for place in ((1, 0, 0), (0.4, 0.15, 0), (0.4, 0, 0.15))
    }
    assert len(shades) == 3, "three sides, three shades"


def test_quaternions_turn_as_their_products_do() -> None:
    def product(a: Any, b: Any) -> Any:
        vector = a[0] * b[1:] + b[0] * a[1:] + np.cross(a[1:], b[1:])
        return np.concatenate([[a[0] * b[0] - a[1:] @ b[1:]], vector])

    turns = np.random.default_rng(0).normal(size=(4, 4))
    for q, matrix in zip(turns, quaternion_matrices(turns), strict=True):
        back = np.array([1.0, -1.0, -1.0, -1.0]) * q / (q @ q)
        for axis in np.eye(3):
            turned = product(product(q, np.array([0.0, *axis])), back)
            np.testing.assert_allclose(matrix @ axis, turned[1:], atol=1e-12)


def test_slices_and_surfaces_show_a_ball_in_the_middle() -> None:
    axis = np.linspace(-1.0, 1.0, 25)
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    distance = np.sqrt(x**2 + y**2 + z**2)
    triangles, normals = level_surface(-distance, -0.5)
    radii = np.linalg.norm(triangles / 12.0 - 1.0, axis=2)
    np.testing.assert_allclose(radii, 0.5, atol=0.01)
    outward = (triangles / 12.0 - 1.0) / radii[..., None]
    assert (np.einsum("ijk,ijk->ij", outward, normals) > 0.97).all()
    edges = np.sort(np.round(triangles, 9).reshape(-1, 3).view("f8,f8,f8").reshape(-1, 3), axis=1)
    sides = np.concatenate([edges[:, [0, 1]], edges[:, [1, 2]], edges[:, [0, 2]]])
    counts = np.unique(sides, axis=0, return_counts=True)[1]
    assert (counts % 2 == 0).all(), "it is closed: each edge joins two triangles"
    area = 0.5 * np.linalg.norm(
        np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]), axis=1
    )
    assert abs(area.sum() / 144.0 / (np.pi) - 1.0) < 0.02
    camera = see.Camera(toward=(0.0, 0.0, -1.0))
    trajectory = ds.Trajectory({"u": over(-distance)}, TIMES)
    place: Any = {"origin": (-1.0, -1.0, -1.0), "spacing": 1.0 / 12.0}
    seen = Drawn(trajectory, see.Grid("u", level=-0.5, color=BLUE, **place), camera=camera)
    assert seen.color(0.0, 0.0, 0.0)[0] < 0.4
    assert seen.color(0.6, 0.0, 0.0)[0] > 0.9
    cut = Drawn(trajectory, see.Grid("u", **place), camera=camera)
    scale = scale_of(float(-distance.max()), 0.0, full=True)
    for spot in ((0.1, 0.1, 0.0), (0.5, 0.3, 0.0), (-0.8, 0.8, 0.0)):
        expected = scale.rgb(np.array([-np.linalg.norm(spot)]))[0]
        np.testing.assert_allclose(cut.color(*spot), expected, atol=0.06)


def test_curves_have_a_mark_that_moves_with_time() -> None:
    trajectory = ds.Trajectory({"e": np.linspace(0.0, 1.0, 11)}, 0.1 * np.arange(11), units={"e": "J"})
    columns, highest = [], []
    for frame in (3, 5, 8):
        seen = Drawn(trajectory, frame=frame)
        left, bottom, wide, high = (round(v) for v in seen.box)
        rows = slice(len(seen.picture) - bottom - high + 4, len(seen.picture) - bottom - 4)
        inside = seen.picture[rows, left : left + wide]
        columns.append((int(np.argmin(inside[:, 4:-4].mean(axis=(0, 2)))) + 4) / wide)
        bright = np.abs(inside - 255.0 * rgb_of(COLORS[0])).max(axis=2) < 9
        highest.append(1.0 - np.flatnonzero(bright.any(axis=1)).min() / len(bright))
    np.testing.assert_allclose(columns, [0.3, 0.5, 0.8], atol=0.01)
    level = Drawn(trajectory, see.Curves(np.array(2.0)), frame=10)
    row = round(len(level.picture) - level.box[1] - 0.5 * level.box[3])
    blue = level.picture[row - 2 : row + 2, :, 2] - level.picture[row - 2 : row + 2, :, 0] > 60
    assert blue.any(axis=0).sum() > 0.9 * level.box[2], "what does not change is a level line"
    np.testing.assert_allclose(highest, [0.325, 0.5, 0.765], atol=0.03, err_msg="drawn until now")


def test_what_is_not_drawn_is_told() -> None:
    x = np.zeros((2, 30_000, 2)) + np.arange(30_000.0)[:, None]
    x[1, 5] = np.nan
    worlds = labelled(
        np.random.default_rng(0).normal(size=(2, 9, 3, 2)), Label("x", np.arange(2.0), "s", "m", (2,), 9)
    )
    notes = [
        *Drawn(ds.Trajectory({"x": x})).sheet.notes,
        *Drawn(ds.Trajectory({"x": worlds})).sheet.notes,
        *Drawn(ds.Trajectory({"q": np.zeros((2, 99))}), see.Curves("q")).sheet.notes,
    ]
    assert "20,000 of 30,000 points drawn" in notes
    assert "not finite, left out: 1 of 30,000 points" in notes
    assert "6 of 9 worlds drawn" in notes
    assert any("8 of 99 curves of q drawn" in note for note in notes)


def test_worlds_share_one_scale_side_by_side() -> None:
    x = np.zeros((2, 3, 1, 2))
    x[:, 1, 0], x[:, 2, 0] = [4.0, 0.0], [0.0, 4.0]
    signal = labelled(x, Label("x", np.arange(2.0), "s", "m", (2,), 3))
    seen = Drawn(ds.Trajectory({"x": signal}), see.Points("x", radius=0.3, color=BLUE))
    for world in range(3):
        np.testing.assert_allclose(seen.color(*x[0, world, 0], view=world), rgb_of(BLUE), atol=0.01)
        other = x[0, (world + 1) % 3, 0]
        assert (seen.color(*other, view=world) == 1.0).all()


def kinds(arrays: dict[str, Any], **options: Any) -> list[tuple[str, str | None]]:
    """Return what is drawn by default: kinds of parts with what they draw."""
    parts = default_scene(ds.Trajectory(arrays, TIMES, **options)).parts
    return [
        (type(p).__name__, getattr(p, "positions", None) or getattr(p, "vectors", None) or p.values)
        for p in parts
    ]


def test_the_default_is_chosen_by_shapes_names_and_units() -> None:
    rows, flat = over(np.ones((5, 3))), over(np.ones(()))
    assert kinds({"v": rows, "x": rows, "energy": flat}) == [("Points", "x"), ("Curves", "energy")]
    assert default_scene(ds.Trajectory({"v": rows, "x": rows}, TIMES)).parts[0].values == "v"
    assert kinds({"a": over(np.ones((5, 2))), "b": over(np.ones((8, 8)))})[0] == ("Points", "a")
    field = over(np.ones((8, 8, 2)))
    assert kinds({"flow": field, "u": over(np.ones((8, 8)))}) == [("Grid", "u"), ("Vectors", "flow")]
    assert kinds({"flow": field}) == [("Vectors", "flow")]
    assert kinds({"T": over(np.ones((4, 4, 4)))}) == [("Grid", "T")]
    assert kinds({"angle": flat, "speed": flat}) == [("Curves", "angle"), ("Curves", "speed")]
    assert kinds({"q": over(np.ones(12))}) == [("Curves", "q")]
    rods = {name: over(np.ones(40)) for name in "uabcw"}
    told = kinds(rods, units={"u": "m", "w": "m"})
    assert told == [("Grid", "u"), ("Grid", "w"), ("Grid", "a"), ("Grid", "b")], "one panel, and two more"


FITS = ds.Trajectory({"x": over(np.ones((4, 2))), "v": over(np.ones((3, 2))), "e": over(1.0)}, TIMES)
SHORT = "Vectors.vectors must have the shape of positions 'x', (4, 2), got 'v' of shape (3, 2)"
REFUSED: list[tuple[Callable[[], Any], str]] = [
    (lambda: see.Points("y"), "Points.positions must name an array of the trajectory, got 'y'; it has x, v"),
    (lambda: see.Points("e"), "Points.positions must have shape (n, 2) or (n, 3), got 'e' of shape ()"),
    (lambda: see.Points("x", values="v"), "'x' of shape (4, 2), got 'v' of shape (3, 2)"),
    (lambda: see.Points("x", radius=np.ones(3)), "Points.radius must have shape (4,)"),
    (lambda: see.Points("x", only=[4]), "Points.only must hold numbers from 0 to 3, got 4"),
    (lambda: see.Points("x", color="sky"), "Points.color must be a colour"),
    (lambda: see.Lines("x", np.array([[0, 4]])), "Lines.pairs must hold whole numbers from 0 to 3"),
    (lambda: see.Triangles("x", np.array([0, 1, 2])), "Triangles.faces must have shape (m, 3)"),
    (lambda: see.Boxes("x", np.ones((3, 2))), "Boxes.sizes must have shape (4, 2) or (2,)"),
    (lambda: see.Boxes("x", np.ones(2), rotations=np.ones((4, 4))), "Boxes.rotations must have"),
    (lambda: see.Grid("e"), "Grid.values must have shape (nx, ny) or"),
    (lambda: see.Grid(np.ones((3, 3)), spacing=0.0), "Grid.spacing must be positive, got 0.0"),
    (lambda: see.Vectors("v", positions="x"), SHORT),
    (lambda: see.Text("{z:.2f}"), "Text.text must fit the arrays x, v, e"),
    (lambda: see.Curves(np.ones(0)), "Curves.values must have a number"),
    (list, "a scene must have a part that is drawn"),
    (lambda: ds.Scene([see.Points("x")], limits=((1, 0), (0, 1))), "limits must be a pair for each axis"),
    (lambda: ds.Scene([see.Points(np.ones((2, 3)))], see.Camera(up=(0.6, 0.45, 0.65))), "camera must"),
]


@pytest.mark.parametrize(("made", "words"), REFUSED, ids=[words[:30] for _, words in REFUSED])
def test_what_does_not_fit_is_refused_by_name(made: Callable[[], Any], words: str) -> None:
    scene = made()
    with pytest.raises(ConfigError, match=re.escape(words)):
        films_of([FITS], scene if isinstance(scene, ds.Scene) else ds.Scene(scene))


@pytest.mark.parametrize(
    "arrays",
    [{}, {"x": np.ones((0, 3, 2))}, {"x": np.full((3, 4, 2), np.nan)}, {"u": np.full((3, 4, 4), np.inf)}],
)
def test_nothing_to_draw_is_refused(arrays: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"must have a frame|must be finite somewhere"):
        films_of([ds.Trajectory(arrays)])


@pytest.mark.parametrize(
    ("low", "high", "texts", "label"),
    [
        (0.0, 1.0, ("0.0", "0.2", "0.4", "0.6", "0.8", "1.0"), "x [m]"),
        (-2e-9, 2e-9, ("−2", "−1", "0", "1", "2"), "x [10⁻⁹ m]"),
        (0.0, 3e12, ("0.0", "0.5", "1.0", "1.5", "2.0", "2.5", "3.0"), "x [10¹² m]"),
        (1e6 - 0.001, 1e6 + 0.001, ("−1.0", "−0.5", "0.0", "0.5", "1.0"), "x − 1000000 [10⁻³ m]"),
    ],
)
def test_numbers_along_axes_are_few_and_short(low: float, high: float, texts: Any, label: str) -> None:
    found = ticks(low, high)
    assert found.texts == texts or (len(found.texts) in range(3, 8) and max(map(len, found.texts)) < 7)
    assert named("x", "m", found) == label or found.power == 0
    exact = found.offset + np.array([float(t.replace("−", "-")) for t in found.texts]) * 10.0**found.power
    np.testing.assert_allclose(exact, found.places, atol=1e-6 * (high - low), rtol=1e-15)
