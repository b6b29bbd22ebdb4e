"""Classes of a user's own on the command line: `diffsim train file.py:Sim`, and every way to get it wrong."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from diffsim.cli import app as cli
from diffsim.tasks.registry import load_task
from diffsim.tasks.runs import PICTURES, RunFolder

# other tests of the process leave Taichi fields behind, which a runtime of another precision ends
pytestmark = pytest.mark.filterwarnings("ignore:Taichi fields must be made after:RuntimeWarning")

SOURCE = """
import numpy as np
import taichi as ti
import diffsim as ds
from diffsim.tasks import Task


class Ball(ds.Simulator):
    def __init__(self, n=3, dt=0.1, *, at=(0.0, 0.5), kind="soft"):
        self.n, self.dt = n, dt
        self.x = ds.State(ds.vec2, n, init=np.tile(at, (n, 1)))
        self.heat = ds.State(ds.real, 4, 4)
        self.push = ds.Control(ds.vec2, n)
        self.goal = ds.Param([1.0, 2.0])

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(self.n):
            self.x[t + 1, i] = self.x[t, i] + self.dt * self.push[t, i]

    def step(self, t):
        self.move(t)

    @ti.kernel
    def far(self, t: ti.i32):
        for i in range(self.n):
            self.cost[None] += (self.x[t, i][0] - self.goal[0]) ** 2 + (self.x[t, i][1] - self.goal[1]) ** 2

    def terminal_cost(self, t):
        self.far(t)


class Free(Ball):
    def terminal_cost(self, t):
        pass


class Bare(ds.Simulator):
    def __init__(self):
        self.x = ds.State(ds.real, 1, init=[1.0])

    def step(self, t):
        self.move(t)

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(1):
            self.x[t + 1, i] = 0.5 * self.x[t, i]
            self.cost[None] += self.x[t, i] ** 2


class Needs(Ball):
    def __init__(self, cells, speed):
        super().__init__(cells)


class Fails(Ball):
    def __init__(self):
        self.n = 1 / 0


class Still(ds.Simulator):
    pass


class Plain:
    pass


class HalfTask(Task):
    name = "half"


class Nested:
    Inner = Ball


def make():
    return Ball(2)


def wrong():
    return 7


def stops():
    raise SystemExit(3)


class Unseen(Ball):
    def scene(self):
        return ds.scene.Points("place")


ready = Ball(4)
number = 3
"""
SCRIPT = """
import diffsim as ds
from ball_of_mine import Ball

ds.init("cpu", precision=32, threads=1, seed=7)
sim = Ball(2)
rollout = ds.Rollout(sim, steps=3)
"""
BROKEN = {
    "syntax.py": "x = 1\ny = (\n",
    "missing.py": "import os\n\nimport no_such_package_here\n",
    "raises.py": "import os\n\n\ndef f():\n    return [][2]\n\n\nf()\n",
    "exits.py": "import sys\n\nsys.exit(3)\n",
    "empty.py": "",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a user's files."""
    made = tmp_path_factory.mktemp("own")
    (made / "ball_of_mine.py").write_text(SOURCE)
    (made / "script_of_mine.py").write_text(SCRIPT)
    (made / "folder.py").mkdir()
    for name, text in BROKEN.items():
        (made / name).write_text(text)
    return made


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    """Call the command line there: (status, out, err)."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def call(words: str) -> tuple[int, str, str]:
        status = cli.main(words.split())
        return status, *capfd.readouterr()

    return call


B, LONG = "ball_of_mine.py", "--steps 3 --quiet"
MISUSE = [
    # where it is
    (f"train nosuch.py:Ball {LONG}", "nosuch.py must be a Python file, got no such file; correct the path"),
    ("check folder.py:Ball", "folder.py must be a Python file, got a folder"),
    (
        f"train nosuch:Ball {LONG}",
        "nosuch must be a module, got none of that name from .*; correct it, go to",
    ),
    ("plan no.such:Ball", "no.such must be a module, got none of that name"),
    (
        "explain my-file:Ball",
        "NAME must be a task, or a class of yours in a file or module, got 'my-file:Ball'",
    ),
    ("check :Ball", "NAME must be .* got ':Ball'; write it as my_module:MySim or path/to/file.py:MySim"),
    # importing it
    (
        "check syntax.py:Ball",
        r"syntax.py must be importable, got SyntaxError at syntax.py:2: .*; correct that",
    ),
    (
        "check missing.py:Ball",
        "got ModuleNotFoundError at missing.py:3: No module named 'no_such_package_here'",
    ),
    ("check missing:Ball", "got ModuleNotFoundError at missing.py:3: No module named"),
    ("check raises.py:Ball", "got IndexError at raises.py:5: list index out of range; correct that line"),
    (
        "check exits.py:Ball",
        "got SystemExit at exits.py:3: 3; put what ends the process under: if __name__ ==",
    ),
    # what it is
    (f"train {B}", "must be followed by a name of it, got none; it has Ball, .*: write ball_of_mine.py:Ball"),
    ("train ball_of_mine:", "must be followed by a name of it, got none; it has Ball"),
    ("check empty.py", "empty.py has no class that is a ds.Simulator"),
    (f"train {B}:Bal {LONG}", r"must have Bal, got no such name; did you mean ball_of_mine.py:Ball\?"),
    (f"train {B}:Nested.Outer {LONG}", "must have Nested.Outer, got no such name; it has Ball"),
    (f"train {B}:Ball: {LONG}", "must be a task, or a class of yours"),
    (f"train {B}:Plain {LONG}", "got the class Plain; derive it from ds.Simulator"),
    (f"train {B}:number {LONG}", "must be a ds.Simulator class, a function .*, got 3; name another"),
    (f"train {B}:np {LONG}", "must be a ds.Simulator class, a function .*, got <module 'numpy'"),
    (f"train {B}:Still {LONG}", "must have a step, got Still without one; define step"),
    (
        f"train {B}:HalfTask {LONG}",
        "HalfTask must define build, summary, steps as tasks do, got none",
    ),
    # making it
    (
        f"train {B}:Needs {LONG}",
        "Needs must be made without arguments, got one that needs cells, speed; give",
    ),
    (f"train {B}:Needs {LONG} --set cells=3", "got one that needs speed; .* --set speed=VALUE"),
    (
        f"train {B}:Fails {LONG}",
        "must be made without an error, got ZeroDivisionError at ball_of_mine.py:59: div",
    ),
    (f"train {B}:wrong {LONG}", "wrong must return a ds.Simulator, got 7; return the simulator"),
    (f"train {B}:stops {LONG}", "stops must be made without an error, got SystemExit at ball_of_mine.py"),
    (f"train {B}:Ball {LONG} --set n", "--set must be NAME=VALUE, got 'n'; write for example cells=64"),
    (f"train {B}:Ball {LONG} --set 3=n", "--set must be NAME=VALUE, got '3=n'"),
    (f"train {B}:Ball {LONG} --set", "Option '--set' requires an argument"),
    (f"train {B}:Ball {LONG} --set n=1 --set n=2", "--set must name each argument once, got n twice"),
    (
        f"train {B}:Ball {LONG} --set kins=a",
        r"an argument of Ball, one of n, dt, at, kind, got 'kins'; did you",
    ),
    (
        f"train {B}:make {LONG} --set n=2",
        "--set must name an argument of make, left out, as it has no arguments",
    ),
    (f"train {B}:ready {LONG} --set n=2", "--set must name an argument of ready, left out"),
    (
        f"train {B}:Ball {LONG} --set n=big",
        "Ball must be made without an error, got .*; correct that line, or",
    ),
    # running it
    (f"train {B}:Ball", "--steps must be given, got nothing; write a whole number from 1 to 2147483646"),
    (f"plan {B}:Ball", "--steps must be given, got nothing"),
    (f"bench {B}:Ball", "--steps must be given, got nothing"),
    (f"train {B}:Ball --steps 0", "--steps must be a whole number from 1"),
    (f"train {B}:Ball {LONG} --lr 0", "--lr must be a number above 0"),
    (f"train {B}:Ball {LONG} --cells 3", "No such option.*--cells"),
    (
        f"train {B}:Ball {LONG} --wrt goall",
        "--wrt must name Params, .* of Ball, got 'goall'; it has x, heat, push",
    ),
    (f"train {B}:Unseen {LONG}", "scene must name fields of Unseen, got 'place'; it has x, heat, push"),
    (f"train {B}:Ball {LONG} --show push", "--show must be one of x, heat, got 'push'; leave it out"),
    (
        f"train {B}:Bare {LONG}",
        "Bare must have a Param or Control to optimise, got none; declare one, or write",
    ),
    (f"train {B}:Ball {LONG} --all", "NAME must be left out with --all, got ball_of_mine.py:Ball"),
    (f"train {B}:Ball surplus {LONG}", "unexpected extra argument"),
    (f"train {B}:Ball {LONG} --out {B}", "--out must be a folder, got ball_of_mine.py, which is a file"),
]


@pytest.mark.parametrize(("words", "message"), MISUSE, ids=[words for words, _ in MISUSE])
def test_misuse_is_one_line_and_writes_nothing(run, folder: Path, words: str, message: str) -> None:
    before = sorted(folder.rglob("*"))
    status, out, err = run(words)
    assert (status, out) == (2, ""), err
    assert re.fullmatch(r"error: .*\n", err)
    assert re.search(message, err), err
    assert sorted(folder.rglob("*")) == before


def test_what_has_no_cost_is_refused_before_anything_is_written(run, folder: Path) -> None:
    status, out, err = run(f"train {B}:Free {LONG} --out free")
    assert (status, out) == (1, "")
    assert err.startswith("error: Free must have a cost to differentiate, got none")
    assert not (folder / "free").exists()


def test_a_class_is_trained_resumed_and_drawn(run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = "--steps 6 --iterations 4 --lr 0.5 --wrt push --set n=2 --set at=(1,0) --out a --quiet --no-guard"
    assert run(f"train ball_of_mine:Ball {words}") == (0, "", "")
    assert set(PICTURES) <= {path.name for path in (folder / "a").iterdir()}
    with Image.open(folder / "a" / "after.gif") as picture:
        assert picture.n_frames == 7
    with np.load(folder / "a" / "params.npz") as params:
        assert {key.partition("/")[2] for key in params.files} == {"push"}
        assert params["best/push"].shape == (6, 2, 2)
    settings = RunFolder(folder / "a").settings
    assert settings.task == f"{(folder / B).resolve()}:Ball"
    assert settings.options == {"set": ["n=2", "at=(1,0)"], "wrt": ["push"]}
    monkeypatch.chdir("/")  # found again from anywhere
    status, out, err = run(f"resume {folder / 'a'} --iterations 6 --no-pictures")
    assert (status, err) == (0, "")
    assert "of 6" in out


def test_a_script_that_runs_something_is_checked_in_another_precision(run) -> None:
    words = "--steps 4 --directions 1 --wrt goal --show heat --no-guard"
    status, out, err = run(f"check script_of_mine.py:sim {words}")
    assert (status, err) == (0, "")
    assert "gradient with respect to goal" in out
    assert "right: the gradient agrees" in out
    assert sys.modules["script_of_mine"].rollout.closed


def test_plan_explain_and_help(run) -> None:
    assert "steps            50" in run(f"plan --steps 50 {B}:Ball")[1]
    for name in ("Ball --set n=1", "make", "ready", "Nested.Inner", "Ball --wrt cost"):  # COST is a rule
        assert "Ball.move (ball_of_mine.py:17), step" in run(f"explain {B}:{name}")[1]
    assert "--set TEXT" in run(f"train {B}:Ball --help")[1]
    assert run("list")[1].count("Ball") == 0


def test_the_same_file_is_imported_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert load_task(f"{B}:Ball") is load_task(f"./{B}:Ball") is load_task("ball_of_mine:Ball")
    taken = folder / "json.py"  # of a name that is taken
    taken.write_text("def make():\n    pass\n")
    kind = load_task("json.py:make")
    taken.unlink()
    assert kind.name == "make"
    assert isinstance(sys.modules["json"], ModuleType)
    assert sys.modules["json"].__file__ != str(taken)
