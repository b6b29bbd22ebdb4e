"""Ctrl-C in the first second: the command line ends with one line, and no import is cut in two."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from diffsim import _interrupt

PRESS = """
import importlib.abc, signal, sys
class Press(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == {module!r}:
            sys.meta_path.remove(self)
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Press())
"""
COMMAND = """
sys.argv = ["diffsim", "train", "fake", "--iterations", "2", "--out", "run"]
from diffsim.cli import main
{then}
sys.exit(main())
"""
CREATED = """
from diffsim.tasks.runs.folder import RunFolder
create = RunFolder.create.__func__
def created(cls, *args):
    with create(cls, *args):
        signal.raise_signal(signal.SIGINT)
RunFolder.create = classmethod(created)
"""
COMPILING = """
from diffsim.tasks.runs import training
def work(*_):
    signal.raise_signal(signal.SIGINT)
training._work = work
"""
SCRIPT = "import diffsim as ds\nprint('went on')\n"


def run(program, folder):
    plugin = str(Path(__file__).parents[1] / "plugin")
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": plugin},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize(
    ("module", "then", "said", "left"),
    [
        ("numpy.linalg", "", "stopped\n", []),  # while diffsim is imported
        ("click", "", "stopped\n", []),  # while the command line is
        ("diffsim.tasks.runs", "", "stopped\n", []),  # in a command
        ("", CREATED, "stopped\n", ["config.toml"]),
        ("", COMPILING, "stopped; go on with: diffsim resume run\n", ["config.toml"]),
    ],
)
def test_the_command_line_ends_with_one_line(tmp_path, module, then, said, left):
    done = run(PRESS.format(module=module) + COMMAND.format(then=then), tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", said)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == left


def test_a_script_ends_when_the_import_is_whole(tmp_path):
    """NumPy would say that its initialization failed, Taichi that its import did."""
    done = run(PRESS.format(module="numpy.linalg") + SCRIPT, tmp_path)
    assert (done.returncode, done.stdout) == (-signal.SIGINT, "")
    assert done.stderr.endswith("KeyboardInterrupt\n")
    assert "diffsim/_interrupt.py" in done.stderr.replace(os.sep, "/")
    assert "ailed" not in done.stderr


def test_a_second_press_does_not_wait():
    passed = []

    def press_twice():
        with _interrupt.held():
            signal.raise_signal(signal.SIGINT)
            passed.append(1)
            signal.raise_signal(signal.SIGINT)
            passed.append(2)

    with pytest.raises(KeyboardInterrupt):
        press_twice()
    assert passed == [1]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_handlers_of_others_stay(monkeypatch):
    seen = []
    before = signal.signal(signal.SIGINT, lambda *_: seen.append(1))
    try:
        with _interrupt.held(), _interrupt.at_once():
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == [1]


@pytest.mark.parametrize(
    ("words", "name", "command"),
    [
        (["python", "-m", "diffsim", "list"], "-m", True),
        (["python", "-m", "pytest", "diffsim"], "pytest", False),
        (["python", "/x/bin/diffsim", "list"], "/x/bin/diffsim", True),
        (["python", "-c", "import diffsim"], "-c", False),
        (["python", "-m"], "-m", False),
        (["python", "-c", "spawn_main()", "--multiprocessing-fork"], "/x/bin/diffsim", False),
    ],
)
def test_who_is_the_command_line(monkeypatch, words, name, command):
    monkeypatch.setattr(sys, "orig_argv", words)
    monkeypatch.setattr(sys, "argv", [name])
    assert _interrupt.is_command() is command
