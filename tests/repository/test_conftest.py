"""The rule that tests print nothing, held to its own word."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from budgets import budgets

TOTAL = 930  # processor seconds: eight and a half minutes on two cores, less what these don't share
HERE = Path(__file__).resolve().parents[1]

SUITE = """
import ctypes, os, subprocess, sys
import pytest

@pytest.fixture(scope="module")
def loud():
    print("said by a fixture")

def test_bad_print():
    print("x")

def test_bad_file_descriptor():
    os.write(2, b"x")

def test_bad_c_library():
    ctypes.CDLL(None).printf(b"x")

def test_bad_fixture(loud):
    pass

def test_bad_child():
    subprocess.run([sys.executable, "-c", "print(1)"], check=True)

def test_bad_leftover(capsys):
    print("x")

def test_good_silence():
    pass

def test_good_reader(capfd):
    print("x")
    assert capfd.readouterr().out == "x\\n"

@pytest.mark.output
def test_good_marked():
    print("x")

@pytest.mark.gpu
def test_skipped():
    raise AssertionError("a test marked gpu runs on a CPU")
"""


def test_stray_output_fails_a_test(tmp_path: Path) -> None:
    shutil.copy(HERE / "conftest.py", tmp_path / "conftest.py")
    shutil.copy(HERE.parent / "pyproject.toml", tmp_path / "pyproject.toml")
    (tmp_path / "tests").mkdir()  # where pyproject.toml says that helpers are
    shutil.copy(HERE / "budgets.py", tmp_path / "tests" / "budgets.py")
    (tmp_path / "test_suite.py").write_text(SUITE, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-rA", "-p", "no:cacheprovider", "test_suite.py"]
    environment = {"PATH": "", "HOME": str(tmp_path), "DIFFSIM_TEST_ARCH": "cpu"}  # Taichi dies without HOME
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    failed = set(re.findall(r"^FAILED \S+::(\w+)", done.stdout, re.M))
    passed = set(re.findall(r"^PASSED \S+::(\w+)", done.stdout, re.M))
    names = set(re.findall(r"^def (test_\w+)", SUITE, re.M))
    assert failed == {name for name in names if name.startswith("test_bad")}, done.stdout
    assert passed == {name for name in names if name.startswith("test_good")}, done.stdout
    dearest = done.stdout.partition("processor seconds")[2]
    assert re.search(r"^ +\d+\.\d  test_suite.py::test_", dearest, re.M), done.stdout
    assert re.search(r"^ +\d+\.\d of    0  in all$", dearest, re.M), done.stdout
    assert re.search(r"\d failed, \d passed.* in \S+s", done.stdout.splitlines()[-1]), done.stdout


def test_each_part_has_a_budget() -> None:
    parts = {f"tests/{path.parent.name}" for path in HERE.glob("*/test_*.py")}
    assert budgets().keys() == parts
    assert sum(budgets().values()) <= TOTAL
