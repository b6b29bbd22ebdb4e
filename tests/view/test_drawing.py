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

from diffsim.errors import ConfigError
from diffsim.view import gif as gifs
from diffsim.view.brush import Brush, brushwork
from diffsim.view.gif import write_gif
from diffsim.view.label import Label
from diffsim.view.shades import Shades
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


def _stage() -> Any:
    """Axes from 0 to 1 that cover all of a picture of 100 x 100 pixels."""
    axes = new_figure(1.0, 1.0, 100).add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set(xlim=(0.0, 1.0), ylim=(0.0, 1.0))
    axes.set_axis_off()
    return axes


def _colors_at(axes: Any, places: Any) -> Any:
    """Return the colours shown at places in the axes' units."""
    picture = _shown(axes.figure)
    columns, rows = (100.0 * np.asarray(places)).astype(int).T
    return picture[99 - rows, columns, :3].astype(int)


def test_a_brush_gives_each_thing_its_colour_and_leaves_out_what_has_no_place() -> None:
    x = np.stack(np.meshgrid(np.arange(0.05, 1.0, 0.1), np.arange(0.05, 1.0, 0.1)), axis=-1).reshape(-1, 2)
    values = np.random.default_rng(0).uniform(0.0, 1.0, len(x))
    values[7] = np.nan
    lost = x.copy()
    lost[[3, 50]] = np.nan, np.inf
    shades = Shades.of(values, "viridis", 0.0, 1.0)
    wanted = np.rint(255.0 * colormaps["viridis"]((np.floor(32.0 * values) + 0.5) / 32.0)[:, :3])
    wanted[7] = 0x9A, 0xA5, 0xB1
    wanted[[3, 50]] = 255
    bar = np.array([[-0.03, 0.0], [0.03, 0.0]])
    box = 0.04 * np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    smooth = np.repeat(shades.colors[shades.numbers][:, None], 3, axis=1)
    for work in (
        lambda brush: brush.dots(lost, 4.0, shades),
        lambda brush: brush.lines(lost[:, None] + bar, shades, 3.0),
        lambda brush: brush.faces(lost[:, None] + box, shades),
        lambda brush: brush.faces(lost[:, None] + box[:3] + [-0.02, 0.01], shades, edge_width=0.0),
        lambda brush: brush.smooth_faces(
            lost[:, None] + 2.0 * bar[[0, 1, 1]] + [[0, -0.05], [0, -0.05], [-0.06, 0.05]], smooth
        ),
        lambda brush: brush.arrows(lost - [0.04, 0.0], np.full_like(lost, 0.08) * [1.0, 0.0], shades, 3.0),
        lambda brush: brush.dots(lost, 4.0, Shades.rgba(smooth[:, 0], bits=8)),
    ):
        axes = _stage()
        brushwork(axes, work)
        np.testing.assert_allclose(_colors_at(axes, x), wanted, atol=2)


def test_a_brush_draws_maps_the_right_way_round() -> None:
    values = np.array([[0.0, 0.2], [0.4, 0.6], [0.8, np.nan]])  # (x, y)
    places = [(0.15, 0.3), (0.15, 0.7), (0.5, 0.3), (0.5, 0.7), (0.85, 0.3), (0.85, 0.7), (0.02, 0.5)]
    axes = _stage()
    brushwork(axes, lambda brush: brush.grid(values, (0.05, 0.95, 0.1, 0.9), "gray", 0.0, 1.0, smooth=False))
    shown = _colors_at(axes, places)[:, 0]
    np.testing.assert_allclose(shown, [0, 51, 102, 153, 204, 255, 255], atol=2)
    picture = np.arange(24, dtype=np.uint8).reshape(4, 2, 3) * 10
    for flip in (False, True):
        axes = _stage()
        if flip:
            axes.invert_yaxis()
        brushwork(axes, lambda brush: brush.image(picture, (0.0, 1.0, 0.0, 1.0)))
        shown = _colors_at(axes, [(0.2, 0.9), (0.8, 0.9), (0.2, 0.1)])
        corners = picture[[0, 0, 3], [0, 1, 0]] if not flip else picture[[3, 3, 0], [0, 1, 0]]
        np.testing.assert_array_equal(shown, corners)
    axes = _stage()
    brushwork(axes, lambda brush: brush.grid(np.full((3, 3), np.nan), (0, 1, 0, 1)))
    brushwork(axes, lambda brush: brush.dots([[1e300, 0.5], [np.nan, 1.0]], brush.size_of(0.2), "red"))
    brushwork(axes, lambda brush: brush.faces(np.zeros((0, 3, 2)), Shades.of([])))
    assert (_shown(axes.figure)[..., :3] == 255).all()
    brushwork(axes, lambda brush: brush.dots([[0.5, 0.5]], brush.size_of(0.2), "red"))
    wide = (_shown(axes.figure)[50, :, 1] < 128).sum()
    assert wide == pytest.approx(20, abs=1)


def test_shades_refuse() -> None:
    with pytest.raises(ConfigError, match="levels must be from 1 to 256, got 0"):
        Shades.of([1.0], levels=0)
    shades = Shades.of(np.full(3, np.nan))
    assert [which.tolist() for which, _ in shades.groups()] == [[0, 1, 2]]


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


def _maps() -> list[NDArray[np.uint8]]:
    """Show in each frame a map of thousands of colours that the others have not, on a pale ground."""
    across, down = np.meshgrid(np.linspace(0.0, 1.0, 80), np.linspace(0.0, 1.0, 60))
    frames = []
    for k in range(6):
        frame = np.full((90, 110, 3), (230, 223, 211), dtype=np.uint8)
        planes = np.stack([across, down, 0.5 * (across + down)], axis=-1)[..., np.roll(np.arange(3), k)]
        frame[10:70, 10 + k : 90 + k] = 30 * k + 100 * planes
        frames.append(frame)
    return frames


def _off(path: Path, frames: list[NDArray[np.uint8]]) -> NDArray[np.float64]:
    """Return of each frame the root of the mean squared distance of colours shown from those given."""
    with Image.open(path) as gif:
        off = []
        for k, frame in enumerate(frames):
            gif.seek(k)
            shown = np.asarray(gif.convert("RGB")).astype(float)
            np.testing.assert_array_equal(shown[75:], frame[75:], err_msg="the ground is as drawn")
            off.append(np.sqrt(((shown - frame) ** 2).sum(axis=-1).mean()))
    return np.array(off)


def test_maps_of_many_colours_get_palettes_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = _maps()
    write_gif(tmp_path / "own.gif", frames, fps=20.0)
    monkeypatch.setattr(gifs, "_CLOSE", 1e9)
    write_gif(tmp_path / "one.gif", frames, fps=20.0)
    own, one = (_off(tmp_path / name, frames) for name in ("own.gif", "one.gif"))
    assert own.max() < 3.0
    assert own.mean() < 0.6 * one.mean()


def test_one_palette_is_kept_where_it_is_exact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own: list[bool] = []
    encoded = gifs._Part.encoded
    monkeypatch.setattr(
        gifs._Part, "encoded", lambda part: (own.append(part.palette is not None), encoded(part))[1]
    )
    write_gif(tmp_path / "a.gif", _film(), fps=20.0)
    assert own == [False] * 4
    write_gif(tmp_path / "a.gif", _maps(), fps=20.0)
    assert any(own[4:])
