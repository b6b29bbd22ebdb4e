"""Numbers along a line, streamlines, and runs that leave all bounds: what is seen is what the data say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import diffsim as ds
from diffsim.view import films_of, still
from diffsim.view.calm import calm_frames
from diffsim.view.film import frame_drawer
from diffsim.view.page.motions import Motion, packed_stages
from diffsim.view.paint.panels import grouped
from diffsim.view.paint.scale import COLORS, rgb_of, scale_of
from diffsim.view.stream import seeds, streamlines

see = ds.scene
TIMES = 0.1 * np.arange(40)
BLUE, RED = "#0000ff", "#ff0000"


def drawn(trajectory: ds.Trajectory, parts: Any = None, frame: int = 0, **more: Any) -> tuple[Any, Any]:
    """Return a frame's pixels, and what they show where: the film's sheet."""
    film = films_of([trajectory], None if parts is None else ds.Scene(parts, **more))[0]
    return frame_drawer(film)(frame)[..., :3].astype(float), film.draw.__self__  # type: ignore[attr-defined]


def rows_of(picture: Any, color: str) -> Any:
    """Return in which row a colour is in each column where it is, from below."""
    near = np.abs(picture / 255.0 - rgb_of(color)).max(axis=2) < 0.1
    columns = np.flatnonzero(near.any(axis=0))
    return columns, np.array([len(picture) - 1 - np.flatnonzero(near[:, c]).mean() for c in columns])


def test_numbers_along_a_line_are_a_curve_that_moves_within_fixed_limits() -> None:
    wave = np.sin(np.linspace(0.0, np.pi, 101))[None] * np.cos(TIMES)[:, None]
    place: Any = {"origin": (2.0,), "spacing": 0.01}
    trajectory = ds.Trajectory({"u": wave}, TIMES, units={"u": "K"})
    heights = []
    for frame in (0, 12, 31):
        picture, sheet = drawn(trajectory, see.Grid("u", color=BLUE, **place), frame, unit="m")
        columns, rows = rows_of(picture, BLUE)
        middle = (columns - columns[0]) / (columns[-1] - columns[0])
        heights.append(rows[np.argmin(np.abs(middle - 0.5))] - rows[0])
        if frame:
            expected = heights[-1] * np.sin(np.pi * middle)
            assert np.abs(rows - rows[0] - expected).max() < 3.0, "a half sine"
    np.testing.assert_allclose(np.array(heights) / heights[0], np.cos(TIMES[[0, 12, 31]]), atol=0.02)
    (panel,) = sheet.panels
    assert panel.span == (2.0, 3.0)
    assert panel.named == ("x", "m")
    pale = np.abs(picture - 255.0 * (0.35 * rgb_of(BLUE) + 0.65)).max(axis=2) < 30
    assert pale.any(axis=0).mean() > 0.5, "the first frame behind it"


def test_curves_of_one_axis_and_unit_share_a_panel() -> None:
    axis, other = (0.0, 1.0), (0.0, 2.0)
    told = [
        (axis, "m", (0.0, 1.0)),
        (axis, "s", (0.0, 1.0)),
        (axis, "m", (0.0, 1e6)),
        (other, "m", (0.0, 1.0)),
    ]
    assert grouped(told) == [[0, 2], [1], [3]]
    assert grouped([(axis, "", (-1.0, 1.0)), (axis, "", (0.0, 50.0)), (axis, "", (0.0, 2.0))]) == [
        [0, 2],
        [1],
    ]


def test_a_plot_of_a_line_is_an_image_over_time() -> None:
    values = np.zeros((40, 20))
    values[30:, 15:], values[5, 3] = 1.0, np.nan
    axes = ds.Trajectory({"u": values}, TIMES).plot().axes
    (image,) = axes[0].images
    array = np.asarray(image.get_array())
    np.testing.assert_array_equal(array[15:, 30:, :3], np.broadcast_to(array[15, 30, :3], (5, 10, 3)))
    assert (array[15, 29] != array[15, 30]).any()
    assert array[3, 5, 3] == 0, "nothing where there is no number"
    assert axes[0].get_ylabel() == "index"


GROWING = {
    "explodes": (np.where(TIMES < 2.0, 1.0, 10.0 ** (12.0 * (TIMES - 2.0))), 20),
    "beyond f64": (np.where(TIMES < 2.0, 1.0, 10.0 ** np.minimum(300.0 * (TIMES - 2.0), 308.0)), 20),
    "slowly": (np.exp(0.2 * np.maximum(np.arange(400) - 100.0, 0.0)), None),
    "a spike": (np.where(np.arange(40) == 25, 1e6, 1.0), 25),
    "as a power of time": (TIMES**3, 40),
    "decays": (np.exp(-30.0 * TIMES), 40),
    "comes to rest": (1.0 / (1.0 + np.exp(-20.0 * (TIMES - 2.5))), 40),
    "begins late": (np.where(TIMES < 3.0, 0.0, np.sin(TIMES)), 40),
    "level": (np.full(40, 7.0), 40),
    "two": (np.array([1.0, 1e9]), 2),
}


@pytest.mark.parametrize("name", GROWING)
def test_limits_hold_all_but_what_leaves_all_bounds(name: str) -> None:
    sizes, until = GROWING[name]
    kept = calm_frames(-sizes[:, None], sizes[:, None])
    if until is None:
        until = int(np.argmin(kept))
        assert sizes[until] / 10.0 < 10.0 * np.quantile(sizes, 0.25)
    expected = np.arange(len(sizes)) < until if name != "a spike" else np.arange(len(sizes)) != until
    assert abs(int((kept != expected).sum())) <= 1, kept


def test_the_start_of_a_run_that_explodes_is_seen_and_the_rest_told_of() -> None:
    x = np.zeros((40, 3, 2)) + np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    calm = ds.Trajectory({"x": x, "e": np.ones(40)}, TIMES)
    x = x * GROWING["explodes"][0][:, None, None]
    wild = ds.Trajectory({"x": x, "e": GROWING["explodes"][0] ** 2}, TIMES)
    parts = [see.Points("x", color=BLUE, radius=0.1), see.Curves("e")]
    (picture, _), (other, sheet) = (drawn(t, parts, limits=None) for t in (calm, wild))
    blue = [np.argwhere(np.abs(p / 255.0 - rgb_of(BLUE)).max(axis=2) < 0.05) for p in (picture, other)]
    assert len(blue[1]) > 0.95 * len(blue[0])
    assert sheet.notes == ["beyond the picture: x from t = 2.1 s, e from t = 2.1 s"]
    last, _ = drawn(wild, parts, frame=39)
    assert rows_of(last[: len(last) // 2], BLUE)[0].size == 0, "gone"
    (stage,) = packed_stages([Motion("before", "", wild), Motion("best", "", calm)], 10**6)
    assert max(high for _, high in stage["limits"]) < 2.0
    assert stage["parts"][1]["limits"] == (1.0, 1.0)
    assert stage["notes"] == ["beyond the picture: x from t = 2.1 s (before), e from t = 2.1 s (before)"]
    huge = ds.Trajectory({"u": 1.7e308 * np.linspace(-1.0, 1.0, 800).reshape(40, 20)}, TIMES)
    assert drawn(huge)[0].std() > 0.0
    huge.plot()


def test_streamlines_go_round_in_a_vortex_and_along_a_wind() -> None:
    x, y = np.meshgrid(np.arange(33.0), np.arange(33.0), indexing="ij")
    starts = seeds((33, 33), 9)
    gaps = np.linalg.norm(starts[:, None] - starts[None], axis=2) + 1e9 * np.eye(len(starts))
    assert 2.9 < gaps.min(axis=1).min() <= gaps.min(axis=1).max() < 5.0, "evenly"
    inside = starts[np.linalg.norm(starts - 16.0, axis=1) < 12.0]
    ways = streamlines(np.stack([16.0 - y, x - 16.0], axis=2), inside, 1.0, 99.0)
    radii = np.linalg.norm(ways - 16.0, axis=2)
    assert np.abs(radii - radii[:, :1]).max() < 0.02
    angles = np.unwrap(np.arctan2(*(ways - 16.0).transpose(2, 0, 1)[::-1]), axis=1)
    np.testing.assert_allclose((angles[:, -1] - angles[:, 0])[radii[:, 0] > 1.0], 1.0, atol=0.01)
    wind = np.zeros((33, 33, 2)) + np.array([2.0, 1.0])
    wind[30:] = np.nan
    ways = streamlines(wind, np.array([[10.0, 10.0], [31.0, 10.0]]), 1.5, 2.0)
    np.testing.assert_allclose(ways[0, -1] - ways[0, 0], 2.0 * np.array([2.0, 1.0]) / np.sqrt(5.0))
    assert np.isnan(ways[1]).any()


def test_streamlines_are_drawn_where_they_go() -> None:
    wind = np.zeros((3, 21, 21, 2))
    wind[:, :, 8:13, 0] = -1.0  # to the left, in the middle
    part = see.Vectors("v", lines=True, color=RED)
    picture, _ = drawn(ds.Trajectory({"v": wind}), part)
    red = np.argwhere(np.abs(picture / 255.0 - rgb_of(RED)).max(axis=2) < 0.1)
    rows = red[:, 0] / len(picture)
    assert 0.3 < rows.min() < rows.max() < 0.7
    (stage,) = packed_stages([Motion("a", "", ds.Trajectory({"v": wind}, scene=ds.Scene([part])))], 10**6)
    (told,) = stage["parts"]
    assert told["lines"] == 7
    assert stage["motions"][0]["arrays"][told["channels"]["positions"]]["shape"][1] % 7 == 0


def test_a_level_that_nothing_reaches_shows_slices() -> None:
    values = np.zeros((3, 9, 9, 9)) + np.linspace(0.0, 1.0, 9)
    box: Any = {"camera": see.Camera(toward=(0.0, 0.0, -1.0))}
    flat, sheet = drawn(ds.Trajectory({"u": values}), see.Grid("u", level=2.0), **box)
    assert len(sheet.bars) == 1
    assert "u: nowhere at 2, drawn as slices" in sheet.notes
    middle = scale_of(0.0, 1.0, full=True).rgb(np.array([0.5]))[0]
    assert (np.abs(flat / 255.0 - middle).max(axis=2) < 0.05).sum() > 10_000
    surface, sheet = drawn(ds.Trajectory({"u": values}), see.Grid("u", level=0.5), **box)
    assert not sheet.bars
    assert (np.abs(surface / 255.0 - middle).max(axis=2) < 0.05).sum() == 0
    films = films_of(
        [ds.Trajectory({"u": a * values}) for a in (1.0, 3.0)], ds.Scene([see.Grid("u", level=2.0)])
    )
    assert [film.bar for film in films] == [True, False]


def test_a_row_of_stills_has_one_legend(tmp_path: Path) -> None:
    x = np.zeros((40, 2, 2)) + np.array([[0.0, 0.0], [1.0, 1.0]])
    parts = [see.Points("x", label="masses in a row", color=RED, only=[]), see.Points("x", color=COLORS[2])]
    still(ds.Trajectory({"x": x}, TIMES), tmp_path / "a.png", frames=3, scene=ds.Scene(parts))
    with Image.open(tmp_path / "a.png") as image:
        picture = np.asarray(image.convert("RGB")).astype(float)
    columns = np.flatnonzero((np.abs(picture / 255.0 - rgb_of(RED)).max(axis=2) < 0.1).any(axis=0))
    assert len(columns)
    assert columns.max() < picture.shape[1] / 3, "above the first still alone"
