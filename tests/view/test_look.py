"""Looking at a trajectory in one call: plots, films, strips, notebooks and windows."""

from __future__ import annotations

import base64
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import diffsim as ds
from diffsim.errors import ConfigError, StateError
from diffsim.view import still
from diffsim.view import window as windows
from diffsim.view.trajectory import Label, labelled
from diffsim.view.window import Player

TIMES = 0.5 * np.arange(9)
ROWS = np.cumsum(np.random.default_rng(0).normal(size=(9, 3, 2)), axis=0)
MOTION = ds.Trajectory(
    {"x": ROWS, "energy": ROWS[:, 0, 0]}, TIMES, units={"x": "m", "energy": "J"}, title="$a_1$"
)


def test_a_plot_has_a_panel_for_each_signal_with_its_unit(tmp_path: Path) -> None:
    many = labelled(np.arange(36.0).reshape(9, 4), Label("e", TIMES, "s", "J", (), 4))
    grid = ds.Trajectory(
        {"x": ROWS, "$e_1$": many, "u": np.ones((9, 5, 5)) * np.nan}, TIMES, units={"x": "m"}
    )
    figure = grid.plot(tmp_path / "a plöt.svg")
    assert "<svg" in (tmp_path / "a plöt.svg").read_text()
    first, worlds, empty = figure.axes
    assert [axes.get_ylabel() for axes in figure.axes] == ["x [m]", "$e_1$ [J]", "u"]
    assert empty.get_xlabel() == "t [s]"
    assert len(first.lines) == 6
    np.testing.assert_array_equal(first.lines[3].get_ydata(), ROWS[:, 1, 1])
    assert [t.get_text() for t in first.get_legend().get_texts()] == [
        "0 x",
        "0 y",
        "1 x",
        "1 y",
        "2 x",
        "2 y",
    ]
    assert len(worlds.lines) == 4
    assert len({line.get_color() for line in worlds.lines}) == 1, "worlds have one colour"
    assert len(empty.lines) == 12
    assert any("12 of 25 curves drawn; gaps" in text.get_text() for text in empty.texts)
    assert figure._repr_png_()[1:4] == b"PNG"  # type: ignore[attr-defined]
    assert len(MOTION.plot(names=["energy"]).axes) == 1


def test_films_have_the_pace_of_what_they_show(tmp_path: Path) -> None:
    paces = []
    for seconds in (1.0, 4.0, 90.0):
        path = tmp_path / "ä film.gif"
        ds.Trajectory({"x": ROWS}, np.linspace(0.0, seconds * 8 / 9, 9)).animate(path)
        with Image.open(path) as image:
            assert image.n_frames == 9
            image.seek(1)
            paces.append(9 * image.info["duration"] / 1e3)
    np.testing.assert_allclose(paces, [2.0, 4.0, 4.5], rtol=0.05)  # 2 frames a second at least
    ds.Trajectory({"x": ROWS}).animate(tmp_path / "steps.gif", fps=10)
    with Image.open(tmp_path / "steps.gif") as image:
        assert image.info["duration"] == 100


def test_a_strip_shows_the_frames_that_are_asked_for(tmp_path: Path) -> None:
    widths = []
    for frames in (1, 3, [0, 8]):
        still(MOTION, tmp_path / "a.png", frames=frames)
        with Image.open(tmp_path / "a.png") as image:
            widths.append(image.width)
    assert widths[0] < widths[2] < widths[1]
    for frames, message in ((2.5, "frames must be how many"), ([0.5], "stills must be frames from 0 to 8")):
        with pytest.raises(ConfigError, match=message):
            still(MOTION, tmp_path / "a.png", frames=frames)
    with pytest.raises(ConfigError, match="fps must be a positive number, got 'fast'"):
        MOTION.animate(tmp_path / "a.gif", fps="fast")


def test_a_clip_plays_in_notebooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if "ffmpeg" in name else found(name))
    clip = MOTION.between(0.0, 1.0).animate()
    shown = clip._repr_html_()
    assert shown.startswith('<img src="data:image/gif;base64,')
    assert base64.b64decode(shown.split("base64,")[1].split('"')[0]) == clip.data
    assert "$a_1$: 3 frames, t = 0.0 s to t = 1.0 s" in shown
    clip.save(tmp_path / "a.gif")
    assert (tmp_path / "a.gif").read_bytes() == clip.data
    with pytest.raises(ConfigError, match=r"must end in \.gif"):
        clip.save(tmp_path / "a.mp4")
    kernel = SimpleNamespace(get_ipython=lambda: type("Shell", (), {"kernel": 1})())  # Colab's
    monkeypatch.setitem(sys.modules, "IPython", kernel)
    assert MOTION.between(0.0, 0.5).show().suffix == ".gif"


def test_show_opens_a_window_or_says_what_to_do_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    with pytest.raises(StateError, match=r'neither; write a file with animate\("motion.gif"\)'):
        MOTION.show()
    monkeypatch.setenv("DISPLAY", ":77")
    played: list[Any] = []
    MOTION.show(window=lambda player, title: bool(played.append((player.frame(), title)) or True))
    ((picture, title),) = played
    assert title == "$a_1$"
    assert (picture[..., :3] < 100).any()
    monkeypatch.setattr(windows, "_BACKENDS", ("nothing_like_it",))
    with pytest.raises(StateError, match="something that opens windows"):
        MOTION.show(window=lambda player, title: False)


def test_a_player_keeps_time_and_obeys_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(windows, "time", SimpleNamespace(monotonic=lambda: clock.now))
    drawn: list[int] = []
    player = Player(5, lambda k: np.full((1, 1, 4), drawn.append(k) or k, dtype=np.uint8), fps=10.0)
    clock.now = 0.25
    assert player.number == player.frame()[0, 0, 0] == player.frame()[0, 0, 0] == 2
    assert drawn == [2], "a frame is drawn once"
    player.press(" ")
    clock.now = 9.0
    assert player.number == 2, "paused"
    player.press("left")
    player.press("left")
    player.press("left")
    assert player.number == 4, "before the first is the last"
    player.press("home")
    player.press(" ")
    clock.now = 9.61
    assert player.number == 1, "it begins anew after the last"


@pytest.mark.parametrize("name", ["a.avi", "no/such/folder.gif", "a"])
def test_paths_are_refused_before_any_work(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"must end in|there is no such folder"):
        MOTION.animate(tmp_path / name)
    with pytest.raises(ConfigError, match=r"must end in|there is no such folder"):
        MOTION.plot((tmp_path / name).with_suffix(".png" if "/" in name else ".doc"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("names", [["y"], "y"])
def test_plots_of_what_is_not_there_are_refused(names: Any) -> None:
    with pytest.raises(ConfigError, match="names must be of the trajectory's arrays, x, energy, got 'y'"):
        MOTION.plot(names=names)
    for arrays in ({}, {"x": ROWS[:0]}, {"x": ROWS * np.nan}):
        with pytest.raises(ConfigError, match=r"must have a number and a frame|must be finite somewhere"):
            ds.Trajectory(arrays).plot()
