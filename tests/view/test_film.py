"""Films: the animation and the strip of stills that any task is drawn as."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from diffsim.errors import ConfigError
from diffsim.view import Film, color_bar, compare_png, film_gif, time_labels


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
