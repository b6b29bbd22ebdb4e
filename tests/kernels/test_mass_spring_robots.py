"""Robots as data: what ships, how it is chosen, and the one line that a bad file gets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from diffsim.errors import ConfigError
from diffsim.kernels.mass_spring.robots import Robot, load_robot, robot_names
from diffsim.tasks.registry import load_task

GOOD = """
description = "a box"
head = 2
points = [[0.2, 0.1], [0.25, 0.1], [0.2, 0.15], [0.25, 0.15]]
springs = [
    [0, 1, 0.05, 30000, 0.15],
    [1, 3, 0.05, 30000.0, 0],
    [0, 3, 0.07, 3e4, 0.0],
]
"""

# ---- what ships ----


@pytest.mark.parametrize(
    ("number", "points", "springs", "muscles"),
    [(0, 6, 11, 11), (1, 14, 30, 4), (2, 20, 46, 8), (3, 26, 61, 11), (4, 18, 41, 14)],
)
def test_shipped_robots(number: int, points: int, springs: int, muscles: int) -> None:
    robot = load_robot(number)
    assert robot.name == robot_names()[number]
    assert (robot.n_points, robot.n_springs, int((robot.actuation > 0).sum())) == (points, springs, muscles)
    assert robot.description


@pytest.mark.parametrize("number", range(5))
def test_shipped_robots_are_one_sound_body_on_the_ground(number: int) -> None:
    robot = load_robot(number)
    reached = {0}
    for _ in range(robot.n_points):
        reached |= {int(p) for edge in robot.springs if reached & set(edge.tolist()) for p in edge}
    assert len(reached) == robot.n_points, "every point hangs on the others"
    assert len({tuple(sorted(edge)) for edge in robot.springs.tolist()}) == robot.n_springs, "no spring twice"
    assert robot.points[:, 1].min() >= 0.1
    # Semi-implicit Euler with damping d per step is stable for dt^2 * largest eigenvalue < 2 (1 + d).
    dt, decay = 4e-3, np.exp(-15 * 4e-3)
    assert dt**2 * np.linalg.eigvalsh(_stiffness_matrix(robot)).max() < 0.85 * 2 * (1 + decay)


def _stiffness_matrix(robot: Robot) -> np.ndarray:
    """Linearise the springs about the first pose."""
    size = 2 * robot.n_points
    matrix = np.zeros((size, size))
    for (a, b), k in zip(robot.springs, robot.stiffness, strict=True):
        along = robot.points[a] - robot.points[b]
        along = along / np.linalg.norm(along)
        row = np.zeros(size)
        row[2 * a : 2 * a + 2], row[2 * b : 2 * b + 2] = along, -along
        matrix += k * np.outer(row, row)
    return matrix


def test_robot_a_has_the_published_numbers() -> None:
    robot = load_robot("a")
    assert robot.points[1].tolist() == [0.3, 0.13]
    assert robot.springs[7].tolist() == [1, 4]
    assert (robot.rest_length[7], robot.stiffness[7], robot.actuation[7]) == (0.07, 14000.0, 0.1)
    assert robot.head == 0


# ---- choosing one ----


@pytest.mark.parametrize("which", [1, "1", " 1 ", "b", "B", np.int64(1)])
def test_number_and_name_mean_the_same(which: int | str) -> None:
    assert load_robot(which).name == "b"


@pytest.mark.parametrize("as_text", [True, False])
def test_users_file(tmp_path: Path, as_text: bool) -> None:
    path = tmp_path / "box.toml"
    path.write_text(GOOD)
    robot = load_robot(str(path) if as_text else path)
    assert (robot.name, robot.head, robot.description) == ("box", 2, "a box")
    assert robot.springs.dtype == np.int32
    assert robot.springs.tolist() == [[0, 1], [1, 3], [0, 3]]
    assert robot.rest_length.tolist() == [0.05, 0.05, 0.07]
    assert robot.stiffness.tolist() == [30000.0] * 3
    assert robot.actuation.tolist() == [0.15, 0.0, 0.0]


def test_file_without_ending_in_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("walker").write_text(GOOD)
    Path("b").write_text(GOOD)
    assert load_robot("walker").name == "walker"
    assert load_robot("b").n_points == 14, "a shipped name wins"
    assert load_robot("./b").n_points == 4


@pytest.mark.parametrize("which", [-1, 5, "7", "-2", "z", "", "z" * 300, True, 1.0, None, [0]])
def test_no_such_robot(which: object) -> None:
    with pytest.raises(
        ConfigError, match=r"robot must be a number from 0 to 4, a name \(a, b, c, d, e\) or the path"
    ) as info:
        load_robot(which)  # type: ignore[arg-type]
    assert repr(which).strip("'") in str(info.value)


# ---- bad files ----

BAD = {
    "unknown key": ("mass = 2\n" + GOOD, "mass", "must be one of description, head, points, springs"),
    "no springs": ("head = 0\npoints = [[0, 1]]", "springs", "must be given"),
    "no points key": ("springs = [[0, 1, 1, 1, 0]]", "points", "must be given"),
    "no points": ("points = []\nsprings = [[0, 1, 1, 1, 0]]", "points", "one row or more"),
    "empty springs": ("points = [[0, 1]]\nsprings = []", "springs", "one row or more"),
    "points a number": ("points = 3\nsprings = [[0, 1, 1, 1, 0]]", "points", "one row or more"),
    "missing point": (GOOD.replace("[1, 3,", "[1, 4,"), "springs[1]", "points from 0 to 3, got point 4"),
    "negative point": (GOOD.replace("[1, 3,", "[-1, 3,"), "springs[1]", "got point -1"),
    "huge point": (GOOD.replace("[1, 3,", "[9223372036854775807, 3,"), "springs[1]", "points from 0 to 3"),
    "point not whole": (GOOD.replace("[1, 3,", "[1.0, 3,"), "springs[1]", "whole numbers"),
    "self-spring": (GOOD.replace("[1, 3,", "[3, 3,"), "springs[1]", "two different points"),
    "zero rest length": (GOOD.replace("0.07", "0.0"), "springs[2]", "positive rest length, got 0"),
    "negative rest length": (GOOD.replace("0.07", "-0.07"), "springs[2]", "positive rest length, got -0.07"),
    "coincident points": (
        GOOD.replace("[0.25, 0.15]", "[0.25, 0.1]"),
        "springs[1]",
        "points 1 and 3 both at",
    ),
    "nan point": (GOOD.replace("[0.2, 0.15]", "[0.2, nan]"), "points[2]", "must be finite"),
    "inf point": (GOOD.replace("[0.2, 0.15]", "[-inf, 0.15]"), "points[2]", "must be finite"),
    "nan rest length": (GOOD.replace("0.07", "nan"), "springs[2]", "positive rest length, got nan"),
    "inf rest length": (GOOD.replace("0.07", "inf"), "springs[2]", "positive rest length, got inf"),
    "nan stiffness": (GOOD.replace("3e4", "nan"), "springs[2]", "stiffness of 0 or more, got nan"),
    "inf stiffness": (GOOD.replace("3e4", "inf"), "springs[2]", "stiffness of 0 or more, got inf"),
    "negative stiffness": (GOOD.replace("3e4", "-3e4"), "springs[2]", "stiffness of 0 or more, got -30000"),
    "nan actuation": (GOOD.replace("0.0]", "nan]"), "springs[2]", "actuation from 0"),
    "actuation of 1": (GOOD.replace("0.0]", "1]"), "springs[2]", "actuation from 0"),
    "negative actuation": (GOOD.replace("0.0]", "-0.1]"), "springs[2]", "actuation from 0"),
    "nan end": (GOOD.replace("[1, 3,", "[nan, 3,"), "springs[1]", "whole numbers"),
    "three coordinates": (GOOD.replace("[0.2, 0.15]", "[0.2, 0.15, 0]"), "points[2]", "write 2 numbers"),
    "four columns": (GOOD.replace(", 3e4", ""), "springs[2]", "write 5 numbers"),
    "text for a number": (GOOD.replace("3e4", '"stiff"'), "springs[2]", "must hold numbers, got 'stiff'"),
    "bool for a number": (GOOD.replace("3e4", "true"), "springs[2]", "must hold numbers, got True"),
    "date for a number": (GOOD.replace("3e4", "2024-01-01"), "springs[2]", "must hold numbers"),
    "row is no list": (GOOD.replace("[0.2, 0.15]", "0.2"), "points[2]", "must be [x, y]"),
    "head too large": (GOOD.replace("head = 2", "head = 4"), "head", "from 0 to 3, got 4"),
    "head negative": (GOOD.replace("head = 2", "head = -1"), "head", "from 0 to 3, got -1"),
    "head not whole": (GOOD.replace("head = 2", "head = 2.0"), "head", "from 0 to 3, got 2.0"),
    "head a bool": (GOOD.replace("head = 2", "head = true"), "head", "from 0 to 3, got True"),
    "description a number": (GOOD.replace('"a box"', "1"), "description", "one line of text"),
    "not TOML": ("{json: 1}", "robot file", "must be TOML"),
    "cut off": (GOOD[:90], "robot file", "must be TOML"),
    "not text": ("\udcff\udcfe", "robot file", "must be TOML"),
    "empty": ("", "points", "must be given"),
    "integer too large": (GOOD.replace("30000.0", "1" + "0" * 400), "", "must hold numbers below 1e308"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_file_gets_one_line(tmp_path: Path, case: str) -> None:
    text, key, rule = BAD[case]
    path = tmp_path / "my robot.toml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigError) as info:
        load_robot(path)
    message = str(info.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: {key}"), message
    assert rule in message
    assert "; " in message, "a remedy follows the rule"


@pytest.mark.parametrize(("make", "rule"), [(False, "must exist"), (True, "got a directory")])
def test_no_file(tmp_path: Path, make: bool, rule: str) -> None:
    path = tmp_path / "robot.toml"
    if make:
        path.mkdir()
    with pytest.raises(ConfigError, match=rule) as info:
        load_robot(str(path))
    assert str(info.value).startswith(f"{path}: robot file")
    assert "\n" not in str(info.value)


# ---- made in Python ----


def _robot(**changes: object) -> Robot:
    given: dict[str, object] = {
        "name": "pair",
        "points": [[0, 1], [1, 1]],
        "springs": [[0, 1]],
        "rest_length": [1],
        "stiffness": [10],
        "actuation": [0.1],
    }
    return Robot(**{**given, **changes})  # type: ignore[arg-type]


def test_robot_copies_and_freezes() -> None:
    points = np.array([[0.0, 1.0], [1.0, 1.0]])
    robot = _robot(points=points)
    points[0, 0] = 7.0
    assert robot.points[0, 0] == 0.0
    with pytest.raises(ValueError, match="read-only"):
        robot.points[0, 0] = 1.0
    assert len(repr(robot)) < 80


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"points": [[0, 1, 2]]}, r"robot pair: points must have the shape \(n, 2\), got \(1, 3\)"),
        ({"springs": [[0, 2]]}, r"robot pair: springs\[0\] must join points from 0 to 1, got point 2"),
        ({"springs": [[0.5, 1]]}, r"robot pair: springs\[0\] must join two points by their whole numbers"),
        ({"springs": np.zeros((0, 2))}, "springs must have the shape"),
        ({"stiffness": [1, 2]}, r"stiffness must have the shape \(1,\), got \(2,\)"),
        ({"rest_length": ["long"]}, "rest_length must hold numbers"),
        ({"head": 2}, "head must be a point's number from 0 to 1, got 2"),
    ],
)
def test_robot_refuses(changes: dict[str, object], rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        _robot(**changes)


@pytest.mark.parametrize(("which", "called"), [("1", "1"), (" b ", "1"), ("E", "4"), ("./b.toml", "b")])
def test_pictures_call_a_robot_as_the_command_line_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: str, called: str
) -> None:
    """A shipped robot has a number; a user's file keeps its name, also where it is that of a shipped one."""
    monkeypatch.chdir(tmp_path)
    Path("b.toml").write_text(GOOD)
    for name in ("mass_spring", "mass_spring_goals"):
        kind = load_task(name)
        title = kind(kind.Config(robot=which)).title()
        assert title.split(":")[0] == f"robot {called}"


def test_a_robot_of_boxes_is_called_by_its_number_too() -> None:
    kind = load_task("rigid_body")
    titles = [kind(kind.Config(robot=which)).title() for which in ("0", "strider", "1")]
    assert [title.split(" of ")[0] for title in titles] == [
        "robot 0 (strider)",
        "robot 0 (strider)",
        "robot 1 (hound)",
    ]
