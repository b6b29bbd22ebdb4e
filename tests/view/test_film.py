"""Films: the animation and the strip of stills that any task is drawn as."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle
from PIL import Image

from diffsim.errors import ConfigError
from diffsim.view import KEY, Film, add_key, color_bar, compare_png, cost_png, film_gif, time_labels
from diffsim.view.film import film_file
from diffsim.view.reel import Reel, dress
from diffsim.view.style import new_figure


def square(axes: Any, frame: int) -> None:
    """Draw a dark square that moves right by a tenth per frame, on a fixed stage."""
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="x [m]", ylabel="y [m]")
    axes.fill_between([0.1 * frame, 0.1 * frame + 0.2], 0.4, 0.6, color="black", lw=0)


FILM = Film(square, time_labels(0.5 * np.arange(8)), caption="before")


def dark_center(image: Any) -> float:
    """Find where the dark square stands, as a share of the picture's width."""
    pixels = np.asarray(image.convert("L"), dtype=float)
    middle = pixels[int(0.5 * len(pixels)) - 8 : int(0.5 * len(pixels)) + 8]
    return float(np.flatnonzero((middle < 10).all(axis=0)).mean() / pixels.shape[1])


def test_a_gif_has_a_frame_for_each_label_and_they_move(tmp_path: Path) -> None:
    film_gif(tmp_path / "a.gif", FILM, "a square")
    with Image.open(tmp_path / "a.gif") as image:
        assert image.n_frames == 8
        assert image.info["duration"] == 50, "20 frames a second"
        centers = []
        for frame in range(8):
            image.seek(frame)
            centers.append(dark_center(image))
    steps = np.diff(centers)
    assert (steps > 0).all()
    np.testing.assert_allclose(steps, steps.mean(), atol=0.004)


def test_what_a_frame_draws_is_gone_in_the_next(tmp_path: Path) -> None:
    """Colour bars stand in axes of their own, which must not pile up."""

    def draw(axes: Any, frame: int) -> None:
        color_bar(axes, axes.imshow(np.eye(4) * frame, vmin=0, vmax=9), "weight [kg]")

    film_gif(tmp_path / "a.gif", Film(draw, ["a", "b", "c"], bar=True))
    figures = []
    film = Film(lambda axes, k: (draw(axes, k), figures.append(len(axes.figure.axes))), ["a"] * 3, bar=True)  # type: ignore[func-returns-value, arg-type]
    film_gif(tmp_path / "a.gif", film)
    assert len(set(figures)) == 1


def restless(axes: Any, frame: int) -> None:
    """Change, from frame to frame, each of the things that usually stand still."""
    axes.set(xlim=(0, 1 + (frame == 1)), ylim=(0, 1), ylabel="up" if frame != 2 else "up [m]")
    if frame == 3:
        axes.set_title("a heading")
        axes.set_axis_off()
    if frame == 4:
        axes.invert_yaxis()
        axes.legend(handles=axes.plot([0, 1], [0, 1], label="a line"), loc="upper left")
    if frame >= 5:
        shown = axes.imshow(np.eye(4), vmin=0, vmax=1 + (frame == 6), cmap="viridis" if frame < 7 else "gray")
        color_bar(axes, shown, "weight" if frame < 8 else "weight [kg]")
    axes.add_patch(Circle((0.1 * frame, 0.5), 0.2, zorder=1, clip_on=frame != 2))
    axes.plot([0, 0.3], [0, 0.1 * frame], zorder=9)
    axes.annotate("here", (0.5, 0.5), (5, 5), textcoords="offset points")


def shot(film: Film, frames: list[int]) -> list[Any]:
    figure = new_figure(3.0, 2.5, dpi=60)
    axes, clock = figure.add_axes((0.2, 0.2, 0.6, 0.6)), figure.text(0.2, 0.9, "")
    reel = Reel(figure, axes, clock)
    return [reel.frame(film.draw, k, film.labels[k]) for k in frames]


def test_what_stands_still_is_drawn_anew_when_it_changes() -> None:
    """In a row or alone, a frame is the same; and the same as Matplotlib draws it."""
    film = Film(restless, [f"frame {k}" for k in range(10)], bar=True)
    for k, frame in enumerate(shot(film, list(range(10)))):
        np.testing.assert_array_equal(frame, shot(film, [k])[0], err_msg=str(k))
        figure = new_figure(3.0, 2.5, dpi=60)
        axes = figure.add_axes((0.2, 0.2, 0.6, 0.6))
        figure.text(0.2, 0.9, film.labels[k])
        restless(axes, k)
        dress(axes)
        canvas: Any = figure.canvas
        canvas.draw()
        off = np.abs(np.asarray(canvas.buffer_rgba())[..., :3].astype(int) - frame[..., :3]).max(axis=-1)
        assert (off > 8).mean() < 1e-3, k


def test_ticks_are_drawn_once_in_a_film_that_keeps_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing them again in each frame was most of the time that a film took."""
    drawn: list[object] = []
    draw = Axis.draw
    monkeypatch.setattr(
        Axis, "draw", lambda axis, *rest, **more: (drawn.append(axis), draw(axis, *rest, **more))
    )
    frames = shot(FILM, list(range(8)))
    assert len({frame.tobytes() for frame in frames}) == 8
    assert len(drawn) == 2, "x and y, once"


def test_a_film_tells_how_far_it_is(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    film_gif(tmp_path / "a.gif", FILM, progress=lambda *numbers: told.append(numbers))
    assert told == [(k + 1, 8) for k in range(8)]


def test_stills_are_compared_in_rows(tmp_path: Path) -> None:
    after = dataclasses.replace(FILM, caption="after", stills=(0, 7))
    target = Film(square, ["wanted"], caption="target")
    compare_png(tmp_path / "one.png", [FILM], "squares")
    compare_png(tmp_path / "three.png", [FILM, after, target], "squares")
    with Image.open(tmp_path / "one.png") as one, Image.open(tmp_path / "three.png") as three:
        assert one.width == three.width
        assert three.height > 2.5 * one.height
    assert FILM.shown == [0, 2, 5, 7]
    assert after.shown == [0, 7]


def test_times_have_the_decimals_that_tell_them_apart() -> None:
    assert time_labels([0.0, 0.25, 0.5]) == ["t = 0.00 s", "t = 0.25 s", "t = 0.50 s"]
    assert time_labels([0.0, 0.025]) == ["t = 0.000 s", "t = 0.025 s"]
    assert time_labels(np.arange(4) / 3) == ["t = 0.00 s", "t = 0.33 s", "t = 0.67 s", "t = 1.00 s"]
    assert time_labels([0, 2, 4], "ms") == ["t = 0 ms", "t = 2 ms", "t = 4 ms"]
    assert time_labels([1.0]) == ["t = 1 s"]
    assert len(set(time_labels(np.arange(50) * 1e-4))) == 50


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": []}, "labels must name one frame or more, got none"),
        ({"fps": 0.0}, "fps must be a positive number, got 0.0"),
        ({"aspect": np.nan}, "aspect must be a positive number, got nan"),
        ({"stills": (0, 8)}, "stills must be frames from 0 to 7, got 8"),
    ],
)
def test_a_film_refuses(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(FILM, **changes)


def test_nobody_waits_for_hours_of_film(tmp_path: Path) -> None:
    long = dataclasses.replace(FILM, labels=["t"] * 20_001, stills=None)
    with pytest.raises(ConfigError, match=r"at most 20000 frames, got 20001; .*every=2"):
        film_file(tmp_path / "a.gif", long)
    assert list(tmp_path.iterdir()) == []


def test_nothing_to_compare(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="compare_png must get one film or more"):
        compare_png(tmp_path / "a.png", [])
    assert list(tmp_path.iterdir()) == []


def test_a_drawing_that_fails_leaves_no_file(tmp_path: Path) -> None:
    def fails(axes: Any, frame: int) -> None:
        raise ZeroDivisionError

    for write, what in ((film_gif, Film(fails, ["a"])), (compare_png, [Film(fails, ["a"])])):
        with pytest.raises(ZeroDivisionError):
            write(tmp_path / "a", what)  # type: ignore[operator]
    assert list(tmp_path.iterdir()) == []


def test_a_key_stands_above_what_is_shown() -> None:
    axes = new_figure(3.0, 3.3, dpi=60).add_axes((0.2, 0.2, 0.7, 0.7))
    image = axes.imshow(np.eye(4), extent=(0, 2, 0, 2), vmin=0.2, vmax=0.8)
    add_key(axes, [Line2D([], [], label="a line"), Line2D([], [], label="another")])
    color_bar(axes, image, "weight [kg]", extend="both")
    axes.figure.canvas.draw()
    key, top = axes.get_legend(), axes.transData.transform((0.0, 2.0))[1]
    assert key is not None
    assert key.get_window_extent().y0 > top
    assert axes.get_ylim()[1] == pytest.approx(2.0 * (1.0 + KEY))
    assert max(axes.get_yticks()) <= 2.0
    points = len(axes.child_axes[0].patches)
    assert points == 2, "a bar's ends are pointed where numbers go on beyond"


def test_heights_are_named_where_they_are_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[list[str]] = []

    def keep(figure: Any, path: Path, **how: Any) -> None:
        shown.append([axes.get_ylabel() for axes in figure.axes])

    monkeypatch.setattr(Figure, "savefig", keep)
    film = Film(lambda axes, k: axes.set(ylabel="y [m]" if k < 2 else "z [m]"), ["a"] * 4)
    compare_png(tmp_path / "a.png", [film, film])
    assert shown == [["y [m]", "", "z [m]", ""] * 2]


def test_a_curve_over_powers_of_ten_has_a_logarithmic_axis(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[tuple[str, str]] = []

    def keep(figure: Any, path: Path, **how: Any) -> None:
        axes = figure.axes[0]
        shown.append((axes.get_yscale(), axes.get_ylabel(), *(text.get_text() for text in axes.texts)))

    monkeypatch.setattr(Figure, "savefig", keep)
    long = "cost: mean squared distance of the density from the target"
    for costs, label in (([1.0, 0.5], "cost"), ([1.0, 0.01], long), ([1.0, -0.01], "cost")):
        cost_png(tmp_path / "a.png", costs, ylabel=label)
    assert shown == [("linear", "cost"), ("log", "cost", long), ("linear", "cost")]
