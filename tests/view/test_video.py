"""Films as files: what their names ask for, videos read back by ffmpeg, refusals before any work."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from diffsim.errors import ConfigError, MissingExtraError
from diffsim.view import Film, compare_png, cost_png, film_file, film_gif, film_video, robot_gif, robot_png
from diffsim.view import video as videos
from diffsim.view.finite import count_missing, missing_labels
from diffsim.view.gif import write_gif
from diffsim.view.video import encoder, write_video

SIZE = (51, 73)  # height and width, both odd


def moving(reused: bool = False) -> Iterator[NDArray[np.uint8]]:
    """Move a blue square to the right, 6 pixels a frame, over red and white."""
    frame = np.zeros((*SIZE, 4), dtype=np.uint8)
    for k in range(8):
        frame = frame if reused else np.zeros_like(frame)
        frame[...], frame[30:] = 255, (200, 40, 30, 255)
        frame[10:26, 6 * k : 6 * k + 16] = (27, 95, 193, 9)
        yield frame


def read_back(path: Path) -> tuple[str, NDArray[Any]]:
    """Return what ffmpeg says of a video, and its frames."""
    said = subprocess.run([encoder(), "-i", path], capture_output=True, text=True, check=False).stderr
    found = re.search(r"Video:.* (\d+)x(\d+)", said)
    assert found, said
    width, height = int(found[1]), int(found[2])
    words = ["-v", "error", "-i", path, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    raw = subprocess.run([encoder(), *words], capture_output=True, check=True).stdout
    return said, np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3)


@pytest.mark.parametrize("ending", [".mp4", ".webm"])
def test_a_video_shows_its_frames(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"größer als α {ending}"
    write_video(path, moving(reused=True), fps=20.0, hold=0.3)
    said, shown = read_back(path)
    assert "yuv420p" in said
    assert "bt709" in said
    assert " 20 fps" in said
    assert shown.shape == (8 + 5, 52, 74, 3), "even sizes, and the last frame stays 0.3 s"
    wanted = np.stack([frame[..., :3] for frame in moving()])
    off = np.abs(shown[:8, :51, :73].astype(int) - wanted).max(axis=-1)
    assert np.median(off) <= 3
    assert off.mean() < 6.0  # at edges, where colours have half the resolution
    for k, frame in enumerate(shown[:8]):
        place = np.argwhere(np.abs(frame - np.array([27, 95, 193])).max(axis=-1) < 40).mean(axis=0)
        np.testing.assert_allclose(place, (17.5, 6 * k + 7.5), atol=1.0)
    np.testing.assert_allclose(shown[8:].astype(int), np.broadcast_to(shown[7], shown[8:].shape), atol=16)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_video_can_be_played_before_it_is_whole(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", moving(), fps=20.0)
    data = (tmp_path / "a.mp4").read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")


def test_a_gif_takes_frames_one_by_one(tmp_path: Path) -> None:
    """A frame may be written over once the next one is asked for."""
    for name, reused in (("a.gif", True), ("b.gif", False)):
        write_gif(tmp_path / name, moving(reused), fps=20.0)
    assert (tmp_path / "a.gif").read_bytes() == (tmp_path / "b.gif").read_bytes()


DRAWN: list[int] = []


def square(axes: Any, frame: int) -> None:
    DRAWN.append(frame)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="x [m]", ylabel="y [m]")
    axes.fill_between([0.1 * frame, 0.1 * frame + 0.2], 0.4, 0.6, color="black", lw=0)


FILM = Film(square, ["t = 0 s", "t = 1 s", "t = 2 s"], fps=10.0)


def test_a_films_name_tells_what_it_becomes(tmp_path: Path) -> None:
    film_file(tmp_path / "my film.gif", FILM, "α")
    with Image.open(tmp_path / "my film.gif") as image:
        assert image.n_frames == 3
        gif = image.size
    film_file(tmp_path / "A.MP4", FILM, "α")
    film_video(tmp_path / "b.webm", FILM, "α")
    for name in ("A.MP4", "b.webm"):
        _, shown = read_back(tmp_path / name)
        assert len(shown) == 3 + 9
        assert shown.shape[2] > 1.4 * gif[0], "sharper than a GIF"
        dark = [np.flatnonzero((frame[len(frame) // 2] < 60).all(axis=-1)).mean() for frame in shown[:3]]
        assert dark[0] < dark[1] - 30 < dark[2] - 60
    robot_gif(tmp_path / "robot.mp4", np.tile([[0.0, 0.0], [1.0, 1.0]], (2, 1, 1)), [[0, 1]])
    assert len(read_back(tmp_path / "robot.mp4")[1]) >= 2


@pytest.mark.parametrize("name", ["a.avi", "a", "a.gif.png", ".mp4"])
def test_other_endings_are_refused(tmp_path: Path, name: str) -> None:
    DRAWN.clear()
    with pytest.raises(ConfigError, match=r"path must end in \.gif, \.mp4 or \.webm, got .*; the"):
        film_file(tmp_path / name, FILM)
    with pytest.raises(ConfigError, match=r"path must end in \.mp4 or \.webm"):
        film_video(tmp_path / "a.gif", FILM)
    assert DRAWN == []
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_to_is_told_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.gif").mkdir()
    DRAWN.clear()
    points, springs = np.zeros((2, 2, 2)), [[0, 1]]
    for place, why in (
        ("file/a.gif", "there is no such folder"),
        ("none/a.gif", "there is no such folder"),
        ("folder.gif", "that is a folder"),
    ):
        path = tmp_path / place
        for write, *what in (
            (film_file, FILM),
            (film_gif, FILM),
            (compare_png, [FILM]),
            (robot_gif, points, springs),
            (robot_png, {"a": points}, springs),
            (cost_png, [1.0]),
        ):
            with pytest.raises(ConfigError, match=f"must be a file in a folder that .* {why}"):
                write(path, *what)  # type: ignore[operator]
    assert DRAWN == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder.gif"]


def test_the_extra_is_named_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    DRAWN.clear()
    with pytest.raises(MissingExtraError, match=r"pip install 'diffsim\[video\]'"):
        film_file(tmp_path / "a.mp4", FILM)
    film_file(tmp_path / "a.gif", Film(square, ["t"]))
    assert DRAWN == [0]


def test_what_ffmpeg_says_is_told_and_the_old_file_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"old")
    monkeypatch.setitem(videos.CODECS, ".mp4", "-c:v nothing_such")
    with pytest.raises(OSError, match=r"the video could not be written: .*nothing_such"):
        write_video(path, moving(), fps=20.0)
    monkeypatch.undo()

    def fails(axes: Any, frame: int) -> None:
        if frame == 2:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        film_file(path, Film(fails, ["a"] * 3))
    sizes = (np.zeros((8, 8 + k, 3), np.uint8) for k in range(2))
    with pytest.raises(ConfigError, match="frames must have the size of the first"):
        write_video(path, sizes, fps=20.0)
    for write in (write_video, write_gif):
        with pytest.raises(ConfigError, match="frames must hold one picture or more, got none"):
            write(path, iter(()), fps=20.0)
    with pytest.raises(ConfigError, match="frames must have the size of the first"):
        write_gif(path, (np.zeros((8, 8 + k, 3), np.uint8) for k in range(2)), fps=20.0)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


def test_what_is_not_finite_is_counted() -> None:
    x = np.zeros((3, 4, 2))
    x[1, 2, 0], x[2, :2] = np.nan, np.inf
    assert count_missing(x).tolist() == [0, 1, 2]
    labels = missing_labels(["a", "b", ""], x, "particles")
    assert labels == ["a", "b   1 particle not finite", "2 particles not finite"]
    with pytest.raises(ConfigError, match="positions must be finite, got nan or inf in all frames"):
        missing_labels(["a"], np.full((1, 4, 2), np.nan))
    for shape in ((0, 4, 2), (3, 0, 2), (3,)):
        with pytest.raises(ConfigError, match="positions must hold one frame of one point or more"):
            count_missing(np.zeros(shape))
