"""`diffsim new`: a project that works as it is written, or one line that says why not."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from sweeps import FULL

from diffsim.cli import app as cli
from diffsim.tasks.registry import load_task


@pytest.fixture
def run(monkeypatch, tmp_path, capfd):
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> tuple[int, str, str]:
        status = cli.main(words)
        return status, *capfd.readouterr()

    return call


def program(*words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, words)], cwd=cwd, capture_output=True, text=True, timeout=120
    )


@pytest.mark.filterwarnings("ignore:Taichi fields must be made after:RuntimeWarning")  # of other tests
def test_a_project_works_as_it_is_written(run, tmp_path, monkeypatch):
    status, out, err = run("new", "a folder/späne/wind_mill")
    assert (status, err) == (0, "")
    project = tmp_path / "a folder/späne/wind_mill"
    assert {path.name for path in project.iterdir()} == {
        *("wind_mill.py", "wind_mill_task.py", "test_wind_mill.py", "pictures.py"),
        *("README.md", "pyproject.toml", ".gitignore"),
    }
    assert [path.name for path in project.parent.iterdir()] == ["wind_mill"]
    text = "".join(path.read_text(encoding="utf-8") for path in project.iterdir())
    assert not re.search("my_sim|MySim", text)
    assert "class WindMill(ds.Simulator)" in text

    for words in ("check --select=E,F,I,B,UP,SIM", "format --check"):
        tidy = program("-m", "ruff", *words.split(), "--isolated", "--line-length=110", cwd=project)
        assert tidy.returncode == 0, tidy.stdout

    tests = program("-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=project)
    assert tests.returncode == 0, tests.stdout
    assert "3 passed" in tests.stdout
    assert "warning" not in tests.stdout

    monkeypatch.chdir(project)
    for command in re.findall(r"diffsim (?:train|check|explain) (\S+:\w+)", out + text):
        assert load_task(command).name == "wind_mill"
    status, out, err = run(*"train wind_mill_task.py:WindMillTask --smoke --no-pictures --count 2".split())
    assert (status, err) == (0, "")
    assert "worst miss [m]" in out
    if FULL:
        drawn = program("pictures.py", cwd=project)
        assert (drawn.returncode, drawn.stderr) == (0, "")
        assert (project / "throws.gif").stat().st_size > 10_000


def test_an_empty_folder_is_filled(run, tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path / "mine")
    assert run("new", ".")[0] == 0
    assert (tmp_path / "mine" / "test_mine.py").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "my-sim",
            "the name of a project must be that of a Python module, got 'my-sim'; choose one as my_sim",
        ),
        ("MySim", "got 'MySim'"),
        ("2d", "got '2d'"),
        ("späne", "got 'späne'"),
        ("while", "got 'while'"),
        ("numpy", "the name of a project must be new, got 'numpy', and there is a module numpy"),
        ("random", "there is a module random"),
        ("pictures", "there is a module pictures"),
        ("wave", "there is a task of that name"),
        ("full", "full must be a new or empty folder, got files in it; choose another name"),
        ("file", "file must be a new folder, got a file"),
        ("file/inner", "inner must be a folder that can be made, got: (Not a directory|File exists)"),
        ("", "the name of a project must not be empty"),
        (".", "must be a new or empty folder, got files in it"),
    ],
)
def test_misuse_is_one_line_and_writes_nothing(run, tmp_path, name, words):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("two years of work")
    (tmp_path / "file").write_text("a file")
    before = sorted(tmp_path.rglob("*"))
    status, out, err = run("new", name)
    assert (status, out) == (2, "")
    assert re.fullmatch(f"error: .*{words}.*\n", err), err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is locked for root")
def test_an_unwritable_folder(run, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    status, _, err = run("new", "locked/mine")
    assert status == 2
    assert "must be a folder that can be made" in err
