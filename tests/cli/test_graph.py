"""`diffsim graph`: text on the terminal, pictures in files, misuse in one line before anything is run."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from diffsim.cli import app as cli
from diffsim.rollout import Rollout

# other tests of the process leave Taichi fields behind, which a runtime of another precision ends
pytestmark = pytest.mark.filterwarnings("ignore:Taichi fields must be made after:RuntimeWarning")

OWN = """
import taichi as ti

import diffsim as ds


class Fall(ds.Simulator):
    def __init__(self):
        self.x = ds.State(ds.real, init=1.0)
        self.v = ds.State(ds.real)
        self.push = ds.Param([0.1])

    @ti.kernel
    def fall(self, t: ti.i32):
        self.v[t + 1] = self.v[t] + 0.1 * (self.push[0] - 9.8)
        self.x[t + 1] = self.x[t] + 0.1 * self.v[t + 1]

    def step(self, t):
        self.fall(t)

    @ti.kernel
    def height(self, t: ti.i32):
        self.cost[None] += self.x[t] ** 2

    def terminal_cost(self, t):
        self.height(t)
"""
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Run:
    """Call the command line in a folder with a simulator of the user's: (status, out, err)."""
    (tmp_path / "own é.py").write_text(OWN, encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> tuple[int, str, str]:
        status = cli.main(words)
        return status, *capfd.readouterr()

    return call


def test_a_step_a_kernel_and_the_horizon_are_written(run: Run, tmp_path: Path) -> None:
    own = "own é.py:Fall"
    status, out, err = run("graph", own, "--threads", "1")
    assert (status, err) == (0, "")
    assert out.startswith('---\ntitle: "Fall: one step"\n---\nflowchart TB\n')
    assert '"1  Fall.fall"' in out
    _, out, _ = run("graph", own, "--kernel", "fall", "--threads", "1")
    assert "Fall.fall: operations" in out
    _, out, _ = run("graph", own, "--time", "--steps", "70", "--threads", "1")
    assert "steps 0 – 69" in out
    target = tmp_path / "a b é.html"
    status, out, err = run("graph", own, "--health", "--steps", "5", "--threads", "1", "--out", str(target))
    assert (status, out, err) == (0, f"the graph is in {target}\n", "")
    assert "length of the adjoint" in target.read_text(encoding="utf-8")


MISUSE = [
    ("", "NAME must be one of .*, got nothing"),
    ("fall", "NAME must be one of .*got 'fall'"),
    ("wave --kernel x --time", "--kernel, --time and --health must come one at a time, got several"),
    ("wave --out x.jpg", "--out must end in .svg, .png, .dot, .mmd, .html, got 'x.jpg'"),
    ("wave --out none/x.svg", "--out must be a file in a folder that can be written to, got 'none': there"),
    ("wave --steps 0", "--steps must be a whole number from 1"),
]


@pytest.mark.parametrize(("words", "message"), MISUSE)
def test_misuse_is_one_line_before_anything_is_made(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: str, message: str
) -> None:
    monkeypatch.setattr(Rollout, "__init__", None)
    status, out, err = run("graph", *words.split())
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert re.search(message, err)
    assert [path.name for path in tmp_path.iterdir()] == ["own é.py"]


def test_a_kernel_that_is_not_there_is_named(run: Run) -> None:
    status, out, err = run("graph", "own é.py:Fall", "--kernel", "rise", "--threads", "1")
    assert (status, out) == (2, "")
    assert err.startswith("error: --kernel must be one of Fall.fall, Fall.height, got 'rise'")
