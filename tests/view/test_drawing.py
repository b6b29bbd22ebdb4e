"""What films are drawn with: labels, brush and GIFs show what Matplotlib and the frames show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.collections import LineCollection
from numpy.typing import NDArray
from PIL import Image

from diffsim.view.brush import Brush
from diffsim.view.gif import write_gif
from diffsim.view.label import Label
from diffsim.view.style import new_figure


def _shown(figure: Any) -> NDArray[np.uint8]:
    figure.canvas.draw()
    return np.array(figure.canvas.buffer_rgba())


@pytest.mark.parametrize("options", [{"family": "monospace"}, {"family": "monospace", "ha": "right"}, {}])
def test_a_label_is_what_matplotlib_writes(options: dict[str, Any]) -> None:
    figure = new_figure(5.0, 0.6, dpi=84)
    text = figure.text(0.5 if "ha" in options else 0.083, 0.4, "", fontsize=10, color="#1f2933", **options)
    empty = _shown(figure)
    label = Label(text)
    for words in ("t = 0.25 s   x = 0.24 m", "t = 1.25 s   x = -0.17 m", "", "größer → 1", "t = 0.25 s"):
        text.set_text(words)
        picture = empty.copy()
        label.put(picture)
        assert text.get_text() == words
        off = np.abs(_shown(figure).astype(int) - picture)
        assert off.max() <= 2, words  # rounding of shades


def test_a_label_that_moves_is_drawn_where_it_stands() -> None:
    figure = new_figure(3.0, 1.0, dpi=90)
    text = figure.text(0.1, 0.5, "here", family="monospace")
    label = Label(text)
    for place in ((0.1, 0.5), (0.6, 0.2)):
        text.set_visible(False)
        picture = _shown(figure)
        text.set(position=place, visible=True)
        label.put(picture)
        assert np.abs(_shown(figure).astype(int) - picture).max() <= 2


@pytest.mark.parametrize("dpi", [72, 90])
def test_a_brush_draws_what_artists_draw(dpi: int) -> None:
    """Slanted lines and discs: level ones snap to pixels only as artists."""
    ends = np.array([[[0.1, 0.15], [0.8, 0.9]], [[0.2, 0.7], [0.97, 0.3]]])

    def axes_of() -> Any:
        axes = new_figure(2.0, 2.0, dpi).add_axes((0.1, 0.1, 0.7, 0.8))
        axes.set(xlim=(0.0, 1.0), ylim=(0.0, 1.0))
        return axes

    axes = axes_of()
    axes.add_collection(LineCollection(list(ends), colors="#c8281e", linewidths=4.3, capstyle="round"))
    axes.plot(*ends[0].T, "o", color="#f2a900", mec="#1f2933", mew=1.0, ms=9.0, ls="", zorder=9)
    wanted = _shown(axes.figure)
    other = axes_of()
    _shown(other.figure)
    brush = Brush(other)
    brush.lines(ends, "#c8281e", 4.3)
    brush.dots(ends[0], 9.0, "#f2a900", "#1f2933")
    off = np.abs(wanted.astype(int) - brush.picture()).max(axis=2)
    assert (off > 40).mean() < 2e-3  # axes' lines lie over the artists
    assert (off > 8).mean() < 1e-2


def _film() -> list[NDArray[np.uint8]]:
    """Move a red square over a grey ramp; the third frame is the second."""
    ramp = np.repeat(np.arange(0, 240, 4, dtype=np.uint8)[None, :, None], 3, axis=2).repeat(40, axis=0)
    frames = [ramp.copy() for _ in range(5)]
    for k, column in enumerate((3, 10, 10, 17, 50)):
        frames[k][5:15, column : column + 8] = (200, 40, 30)
    return frames


@pytest.mark.parametrize("channels", [3, 4])
def test_a_gif_shows_its_frames(tmp_path: Path, channels: int) -> None:
    frames = _film()
    given = [np.dstack([f, np.full(f.shape[:2], 7, np.uint8)])[..., :channels] for f in frames]
    write_gif(tmp_path / "a.gif", given, fps=20.0, hold=0.5)
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.info["loop"] == 0
        times = []
        for k, frame in enumerate(frames[:2] + frames[3:]):
            gif.seek(k)
            np.testing.assert_array_equal(np.asarray(gif.convert("RGB")), frame)
            times.append(gif.info["duration"])
        assert gif.n_frames == 4
    assert times == [50, 100, 50, 500]  # a frame that shows nothing new lets the one before it stay


def test_a_gif_of_many_colours_is_close_and_keeps_those_asked_for(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = list(rng.integers(0, 256, (3, 60, 60, 3), dtype=np.uint8))
    asked = np.array([[27, 95, 193], [200, 40, 30]], dtype=np.uint8)
    for frame in frames:
        frame[0, :2] = asked
    write_gif(tmp_path / "a.gif", frames, fps=20.0, keep=asked)
    with Image.open(tmp_path / "a.gif") as gif:
        for k, frame in enumerate(frames):
            gif.seek(k)
            shown = np.asarray(gif.convert("RGB")).astype(int)
            np.testing.assert_array_equal(shown[0, :2], asked)
            assert np.abs(shown - frame).mean() < 25.0


def test_a_gif_keeps_a_color_bar_beside_a_field_of_pale_colours(tmp_path: Path) -> None:
    shades = colormaps["RdBu_r"](np.linspace(0.0, 1.0, 256), bytes=True)[:, :3]
    pale = 200 + np.random.default_rng(0).integers(0, 50, (256, 300, 3), dtype=np.uint8)
    frame = np.concatenate([pale, np.repeat(shades[:, None], 12, axis=1)], axis=1)
    write_gif(tmp_path / "a.gif", [frame], fps=20.0)
    with Image.open(tmp_path / "a.gif") as gif:
        off = np.abs(np.asarray(gif.convert("RGB")).astype(int) - frame)
    assert off[:, 300:].max() <= 32
    assert off[:, :300].mean() < 6.0
