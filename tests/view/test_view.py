"""Pictures: that they are complete, small, right in what can be measured, and never half-written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import GifImagePlugin, Image

from diffsim import view
from diffsim.errors import ConfigError
from diffsim.view import cost_png, planar, robot_gif, robot_limits, robot_png
from diffsim.view.curves import _power
from diffsim.view.label import Label

SPRINGS = np.array([[0, 1], [1, 2], [2, 0]])


def _motion(frames: int = 6) -> NDArray[Any]:
    """Slide a triangle by 0.1 m a frame."""
    triangle = np.array([[0.0, 0.1], [0.2, 0.1], [0.1, 0.3]])
    return triangle + np.arange(frames)[:, None, None] * [0.1, 0.0]


def _options(frames: int = 6) -> dict[str, Any]:
    return {
        "head": 2,
        "goal": (0.9, 0.2),
        "ground": 0.1,
        "times": 0.05 * np.arange(frames),
        "title": "a triangle",
        "active": [True, True, False],
    }


def _frames(path: Path) -> list[NDArray[Any]]:
    with Image.open(path) as gif:
        images = []
        for k in range(gif.n_frames):
            gif.seek(k)
            images.append(np.asarray(gif.convert("RGB")).astype(int))
        return images


# ---- animation ----


def test_gif_has_all_frames_in_real_time(tmp_path: Path) -> None:
    path = tmp_path / "walk.gif"
    robot_gif(path, _motion(), SPRINGS, np.zeros((6, 3)), **_options())
    with Image.open(path) as gif:
        assert gif.n_frames == 6
        assert gif.info["duration"] == 50
        assert gif.info["loop"] == 0
        assert max(gif.size) < 1000
    assert [p.name for p in tmp_path.iterdir()] == ["walk.gif"]


def test_gif_shows_head_goal_ground_and_muscles(tmp_path: Path) -> None:
    path = tmp_path / "walk.gif"
    command = np.linspace(-1.0, 1.0, 6)[:, None] * np.array([1.0, -1.0, 1.0])
    robot_gif(path, _motion(), SPRINGS, command, **_options())
    frames = _frames(path)

    def places(image: NDArray[Any], color: tuple[int, int, int]) -> NDArray[Any]:
        return np.argwhere(abs(image - color).max(axis=2) <= 3)

    head = [places(image, (242, 169, 0)).mean(axis=0) for image in frames]
    steps = np.diff([x for _, x in head])
    assert np.allclose(steps, steps[0], atol=1.5), "the head moves evenly in a frame that stands still"
    assert steps[0] > 20
    for image in frames:
        assert len(places(image, (42, 157, 92))) > 50, "goal"
        assert len(places(image, (230, 223, 211))) > 1000, "ground"
        assert tuple(image[0, -1]) == (255, 255, 255), "the background is white"
    blue, red = (20, 61, 138), (224, 82, 45)
    below = slice(60, None)  # without the colour bar
    first, last = (places(frames[k][below], blue)[:, 1].mean() for k in (0, -1))
    assert last > first
    assert len(places(frames[0][below], red)) > 20
    assert len(places(frames[0][below], blue)) > 20


@pytest.mark.parametrize(("sign", "side"), [(1.0, "right"), (-1.0, "left")])
def test_gif_shows_how_far_the_head_has_come(tmp_path: Path, sign: float, side: str) -> None:
    """A bar in the ground from where the head started to where it is, on either side."""
    options = _options() | {"goal": None}
    positions = sign * _motion()[:, :, :1] + 0.0, _motion()[:, :, 1:]
    robot_gif(tmp_path / "walk.gif", np.concatenate(positions, axis=2), SPRINGS, way=True, **options)
    lengths, ends, heads = [], [], []
    for image in _frames(tmp_path / "walk.gif"):
        green = abs(image - (42, 157, 92)).max(axis=2) <= 3
        row = int(np.argmax(green.sum(axis=1)))  # the bar is the longest green there is
        bar = np.flatnonzero(green[row])
        lengths.append(len(bar) if len(bar) > 20 else 0)
        ends.append(bar[-1 if side == "right" else 0])
        heads.append(np.argwhere(abs(image - (242, 169, 0)).max(axis=2) <= 3)[:, 1].mean())
    assert lengths[0] == 0
    assert np.allclose(np.diff(lengths[1:]), sign * np.diff(heads[1:]), atol=3)
    np.testing.assert_allclose(ends[1:], heads[1:], atol=3)


def test_png_shows_how_far_the_head_has_come(tmp_path: Path) -> None:
    motions = {"before": _motion()[:1].repeat(6, axis=0), "after": _motion()}
    robot_png(tmp_path / "a.png", motions, SPRINGS, head=2, ground=0.1, way=True)
    image = np.asarray(Image.open(tmp_path / "a.png").convert("RGB")).astype(int)
    green = (abs(image - (42, 157, 92)).max(axis=2) <= 3).sum(axis=1)
    half = len(image) // 2
    assert green[:half].max() < 0.1 * image.shape[1] < 0.3 * image.shape[1] < green[half:].max()


def test_gif_without_anything_optional(tmp_path: Path) -> None:
    path = tmp_path / "bare.gif"
    robot_gif(path, _motion(1), SPRINGS)
    (image,) = _frames(path)
    assert (image < 128).any()


def test_gif_takes_actuation_of_one_frame_less(tmp_path: Path) -> None:
    robot_gif(tmp_path / "a.gif", _motion(), SPRINGS, np.zeros((5, 3)))
    robot_gif(tmp_path / "b.gif", _motion(), SPRINGS, np.zeros((6, 3)))
    assert (tmp_path / "a.gif").read_bytes() == (tmp_path / "b.gif").read_bytes()


def test_gif_ignores_commands_of_passive_springs(tmp_path: Path) -> None:
    wild = np.full((6, 3), 0.5)
    wild[:, 2] = np.nan
    robot_gif(tmp_path / "a.gif", _motion(), SPRINGS, wild, active=[True, True, False])


@pytest.mark.parametrize("shape", [(1e-4, 1.0), (1.0, 1e-4), (1.0, 3.0), (1e3, 1e3), (0.0, 0.0)])
def test_gif_of_extreme_proportions_stays_small(tmp_path: Path, shape: tuple[float, float]) -> None:
    path = tmp_path / "a.gif"
    robot_gif(path, _motion(2) * shape, SPRINGS, ground=0.0)
    with Image.open(path) as gif:
        assert gif.width <= 700
        assert gif.height <= 620


def test_gif_of_a_whole_walk_is_small(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = np.tile(rng.uniform(0.1, 0.35, (26, 2)), (86, 1, 1)) + np.linspace(0, 0.4, 86)[:, None, None] * [1, 0]
    edges = np.array([(a, (a + k) % 26) for a in range(26) for k in (1, 2)])
    path = tmp_path / "walk.gif"
    robot_gif(path, x, edges, np.sin(rng.uniform(0, 6, (86, 52))), 0, (0.9, 0.2), 0.1, np.arange(86) * 0.032)
    assert path.stat().st_size < 1_500_000


def test_gif_keeps_the_colours_that_mean_something(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Among thousands of blends a short bar's green is not one of the commonest colours."""
    kept: list[NDArray[np.uint8]] = []
    monkeypatch.setattr(planar, "write_film", lambda *args, keep: kept.append(keep))
    robot_gif(tmp_path / "walk.gif", _motion(2), SPRINGS)
    goal, head, shortest, longest = (42, 157, 92), (242, 169, 0), (20, 61, 138), (224, 82, 45)
    assert {goal, head, shortest, longest} <= {tuple(color) for color in kept[0].tolist()}
    assert len(kept[0]) <= 128


def test_same_arrays_give_the_same_file(tmp_path: Path) -> None:
    for name in ("a.gif", "b.gif"):
        robot_gif(tmp_path / name, _motion(), SPRINGS, np.zeros((6, 3)), **_options())
    assert (tmp_path / "a.gif").read_bytes() == (tmp_path / "b.gif").read_bytes()


def test_points_that_are_not_finite_are_left_out_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = _motion()
    lost[3, 1, 0], lost[4, :2], lost[5] = np.nan, np.inf, np.nan
    said: list[str] = []
    put = Label.put
    monkeypatch.setattr(
        Label, "put", lambda label, picture: (said.append(label._text.get_text()), put(label, picture))
    )
    robot_gif(tmp_path / "a.gif", lost, SPRINGS, np.zeros((6, 3)), way=True, **_options())
    robot_png(tmp_path / "a.png", {"lost": lost}, SPRINGS, way=True, **_options())
    clocks = [text for text in said if text.startswith("t =")]
    counts = [text.partition("m   ")[2].partition(" ")[0] for text in clocks[:5]]
    assert counts == ["", "", "", "1", "2"]
    assert clocks[5] == "t = 0.25 s   3 points not finite"
    left = robot_limits(lost)[0]
    assert left == pytest.approx(robot_limits(lost[:4])[0], abs=0.05)
    frames = _frames(tmp_path / "a.gif")
    heads = [(abs(image - (242, 169, 0)).max(axis=2) <= 3).sum() for image in frames]
    assert min(heads[:5]) > 20, "the head is drawn while it has a place"
    assert heads[5] == 0


# ---- still ----


def test_titles_are_plain_text(tmp_path: Path) -> None:
    robot_gif(tmp_path / "a.gif", _motion(1), SPRINGS, title=r"robot $\frac")
    robot_png(tmp_path / "a.png", {r"$\sqrt": _motion(2)}, SPRINGS, title=r"robot $x^$")
    cost_png(tmp_path / "b.png", [1.0, 2.0], title=r"robot $x^$")


def test_png_of_two_motions(tmp_path: Path) -> None:
    path = tmp_path / "hero.png"
    motions = {"before": _motion(6) * [0.2, 1.0], "after": _motion(6)}
    robot_png(path, motions, SPRINGS, {"after": np.zeros((6, 3))}, **_options())
    with Image.open(path) as image:
        assert image.size[0] == 1170
        assert image.format == "PNG"


def test_limits_show_everything() -> None:
    left, right, bottom, top = robot_limits(_motion(), goal=(0.9, 0.2), ground=0.0)
    assert left < 0.0 < 0.9 < right
    assert bottom < 0.0
    assert top > 0.3


# ---- curves ----


def test_cost_png(tmp_path: Path) -> None:
    costs = -np.linspace(0.1, 0.4, 30)
    cost_png(tmp_path / "a.png", costs, np.ones(30), title="robot 1")
    cost_png(tmp_path / "b.png", np.stack([costs, 2 * costs], axis=1))
    cost_png(tmp_path / "c.png", [1.0], [0.0])
    for name in "abc":
        with Image.open(tmp_path / f"{name}.png") as image:
            assert image.size[0] == 792


# ---- refusals ----


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"positions": np.full((6, 3, 2), np.nan)}, "positions must be finite, got nan or inf in all frames"),
        ({"positions": np.zeros((4, 3))}, r"positions must have the shape \(frames, n, 2\), got \(4, 3\)"),
        ({"positions": np.zeros((0, 3, 2))}, "positions must have the shape"),
        ({"springs": [[0, 3]]}, "springs must .* join points from 0 to 2"),
        ({"springs": np.zeros((0, 2), int)}, "springs must"),
        (
            {"actuation": np.zeros((6, 2))},
            r"actuation must have the shape \(6, 3\) or \(5, 3\), got \(6, 2\)",
        ),
        ({"actuation": np.full((6, 3), np.nan)}, "actuation must be finite, got nan or inf alone"),
        ({"head": 3}, "head must be a point's number from 0 to 2, got 3"),
        ({"times": [0.0, 1.0]}, "times must be 6 finite values"),
        ({"active": [True]}, r"active must have the shape \(3,\)"),
        ({"fps": 0.0}, "fps must be positive, got 0.0"),
        ({"limits": (1.0, 0.0, 0.0, 1.0)}, "limits must be"),
        ({"goal": (np.nan, 0.0)}, "goal must be two finite numbers"),
        ({"ground": np.inf}, "ground must be finite"),
    ],
)
def test_gif_refuses_and_writes_nothing(tmp_path: Path, change: dict[str, Any], rule: str) -> None:
    given = {"positions": _motion(), "springs": SPRINGS, "actuation": np.zeros((6, 3)), **change}
    with pytest.raises(ConfigError, match=rule):
        robot_gif(tmp_path / "a.gif", **given)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("costs", "norms", "rule"),
    [
        ([], None, "costs must have the shape"),
        ([1.0, np.nan], None, r"costs must be finite, got \[nan\] in iteration 1"),
        ([1.0, 2.0], [1.0], "grad_norms must have one value per iteration"),
    ],
)
def test_cost_png_refuses(tmp_path: Path, costs: list[float], norms: list[float] | None, rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        cost_png(tmp_path / "a.png", costs, norms)
    assert list(tmp_path.iterdir()) == []


def test_png_refuses_no_motion(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="one motion and two poses"):
        robot_png(tmp_path / "a.png", {}, SPRINGS)


def test_failure_keeps_the_old_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.gif"
    path.write_bytes(b"old")

    def fail(*args: object, **kwargs: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(GifImagePlugin, "getdata", fail)
    with pytest.raises(OSError, match="disk full"):
        robot_gif(path, _motion(), SPRINGS)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.gif"]


def test_import_is_light() -> None:
    late = "matplotlib", "PIL", "h5py", "diffsim.view.film", "diffsim.view.paint", "diffsim.view.graph"
    code = f"import diffsim, sys; sys.exit(any(m in sys.modules for m in {late}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_names_are_imported_when_they_are_asked_for() -> None:
    assert all(getattr(view, name) is vars(view)[name] for name in view.__all__)
    assert sorted(view.__all__) == sorted(view._MODULES) == sorted(dir(view))
    with pytest.raises(AttributeError, match=r"module 'diffsim\.view' has no attribute 'nothing'"):
        _ = view.nothing


def test_powers_of_ten_are_written_as_such() -> None:
    assert [_power(x) for x in (1.0, 1e-12, 1e15, 0.5, 0.0)] == ["10⁰", "10⁻¹²", "10¹⁵", "0.5", "0"]
