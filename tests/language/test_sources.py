"""Where the text of kernels comes from: each way to run a program works, or says in one line why not."""

import importlib
import linecache
import os
import select
import subprocess
import sys

import pytest

from diffsim.errors import TraceError
from diffsim.language.sources import source_of

PROGRAM = """
import diffsim as ds
import taichi as ti

_ = ds.init(arch="cpu", precision=64, threads=1)

class Pendulum(ds.Simulator):
    def __init__(self):
        self.angle = ds.State(ds.real, init=1.0)
        self.g = ds.Param(2.0)
    @ti.func
    def twice(self, x):
        return 2.0 * x
    @ti.kernel
    def swing(self, t: ti.i32):
        self.angle[t + 1] = self.twice(self.g[None] * self.angle[t])
    @ti.kernel
    def last(self, t: ti.i32):
        self.cost[None] += ti.abs(self.angle[t])  # compiled otherwise where a notebook imports ti
    def step(self, t):
        self.swing(t)
    def terminal_cost(self, t):
        self.last(t)

print("value", ds.Rollout(Pendulum(), steps=2).value())
"""
EXEC = f"text = {PROGRAM!r}\nexec(text)\n"
IN_IPYTHON = f"""
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
for first in ("", "%%time\\n"):
    shell.run_cell(first + {PROGRAM!r}, store_history=True)
"""


def run(arguments, **options):
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=120, check=False, **options
    )
    return done.stdout, done.stderr.splitlines()


@pytest.mark.cpu
@pytest.mark.parametrize("way", ["-c", "stdin as a file"])
def test_programs_that_python_keeps(way, tmp_path):
    program = tmp_path / "program.txt"
    program.write_text(PROGRAM)
    with program.open() as text:
        out, error = run([], stdin=text) if way == "stdin as a file" else run([way, PROGRAM])
    assert "value 16.0" in out.splitlines(), error


@pytest.mark.cpu
@pytest.mark.parametrize(
    ("arguments", "typed", "words"),
    [
        ([], PROGRAM, "got the standard input (a heredoc, a pipe"),
        (["-c", EXEC], None, "got text that exec() runs"),
    ],
    ids=["heredoc", "exec"],
)
def test_programs_that_python_forgets(arguments, typed, words):
    out, error = run(arguments, input=typed)
    assert "value" not in out
    assert error[-1].startswith(
        "diffsim.errors.TraceError: Pendulum.swing must have source text that can be read, " + words
    )
    assert error[-1].endswith("; save the program as a file and run that, or use a notebook or IPython")


@pytest.mark.cpu
@pytest.mark.skipif(os.name != "posix", reason="a shell without a terminal does not remember")
def test_a_shell_remembers():
    pytest.importorskip("readline")
    ours, theirs = os.openpty()
    environment = {**os.environ, "TERM": "dumb", "PYTHON_BASIC_REPL": "1"}
    command = [sys.executable, "-i", "-q"]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment):
        os.close(theirs)
        os.write(ours, f"{PROGRAM}\nexit()\n".encode())
        seen = b""
        while select.select([ours], [], [], 60.0)[0]:
            try:
                seen += os.read(ours, 65536)
            except OSError:  # the shell is gone
                break
    os.close(ours)
    assert b"value 16.0" in seen, seen.decode()


@pytest.mark.cpu
def test_notebooks_and_timed_cells():
    pytest.importorskip("IPython")
    out, error = run(["-c", IN_IPYTHON])
    assert out.splitlines().count("value 16.0") == 2, (out, error)


def test_other_text_of_the_same_name_is_not_taken(monkeypatch):
    text, other = "def f(x):\n    return 2.0 * x\n", "def f(x):\n    return 3.0 * x\n"
    names = {}
    exec(compile(text, "<string>", "exec"), names)
    monkeypatch.setitem(linecache.cache, "<string>", (len(other), None, other.splitlines(True), "<string>"))
    with pytest.raises(TraceError, match="f must have source text that can be read"):
        source_of(names["f"])
    monkeypatch.setitem(linecache.cache, "<string>", (len(text), None, text.splitlines(True), "<string>"))
    assert source_of(names["f"]) == (text.splitlines(True), 1, "<string>")
    monkeypatch.delitem(linecache.cache, "<string>")
    monkeypatch.setattr(sys, "orig_argv", ["python", "-Xdev", "-Bc" + text.rstrip()])
    assert source_of(names["f"]) == (text.splitlines(True), 1, "<string>")
    exec(compile(text, "nowhere.py", "exec"), names)
    with pytest.raises(TraceError, match=r"got no file 'nowhere.py'; save the program"):
        source_of(names["f"])


def test_a_file_that_was_edited_since_is_not_read(tmp_path, monkeypatch):
    module = tmp_path / "edited_later.py"
    module.write_text("def f(x):\n    return 2.0 * x\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    edited_later = importlib.import_module("edited_later")
    assert source_of(edited_later.f)[:2] == (["def f(x):\n", "    return 2.0 * x\n"], 1)
    module.write_text("def f(x):\n    return 3.0 * x * x\n")
    with pytest.raises(TraceError, match=r"f must have the text that it was made from, .*edited since"):
        source_of(edited_later.f)
    os.utime(module, (0, 0))  # as old as if tools had rewritten it: what inspect finds is believed
    assert source_of(edited_later.f)[0][1] == "    return 3.0 * x * x\n"
    importlib.invalidate_caches()
    assert source_of(importlib.reload(edited_later).f)[0][1] == "    return 3.0 * x * x\n"
