"""Folders of checkpoints: gone at the next start when their owner was killed, left alone while it lives."""

import os
import signal
import subprocess
import sys

import pytest
import taichi as ti

import diffsim as ds
from diffsim.engine.spill import SpillFolder, remove_orphans
from diffsim.files import LockFile


class Push(ds.Simulator):
    def __init__(self):
        self.x = ds.State(ds.real, 8)
        self.k = ds.Param(2.0)

    @ti.kernel
    def push(self, t: ti.i32):
        for i in range(8):
            self.x[t + 1, i] = self.x[t, i] * self.k[None]

    def step(self, t):
        self.push(t)


KILLED = """
import os, signal
import diffsim as ds, taichi as ti
class Pull(ds.Simulator):
    def __init__(self):
        self.x = ds.State(ds.real, 8)
        self.k = ds.Param(2.0)
    @ti.kernel
    def push(self, t: ti.i32):
        for i in range(8):
            self.x[t + 1, i] = self.x[t, i] * self.k[None]
    @ti.kernel
    def add(self, t: ti.i32):
        for i in range(8):
            self.cost[None] += self.x[t, i]
    def step(self, t):
        self.push(t)
    def terminal_cost(self, t):
        self.add(t)
def die(done, total, phase):
    if phase == "backward":
        os.kill(os.getpid(), signal.SIGKILL)
ds.init(arch="cpu", precision=64, threads=1)
sim = Pull()
smallest = ds.plan(sim, 200, window=1, mode="step", spill=".").smallest
rollout = ds.Rollout(sim, 200, memory=smallest, window=1, mode="step", spill=".", progress=die)
rollout.value_and_grad()
"""

LIVING = """
import sys
from diffsim.engine.spill import SpillFolder
folder = SpillFolder(".")
open(folder.file("checkpoint-0"), "wb").close()
print(folder.path, flush=True)
sys.stdin.read()
"""


@pytest.mark.cpu
def test_what_a_killed_process_left_goes_at_the_next_start(runtime, tmp_path):
    (tmp_path / "killed.py").write_text(KILLED)
    spill = tmp_path / "spill"
    spill.mkdir()
    killed = [sys.executable, "-W", "ignore", tmp_path / "killed.py"]
    done = subprocess.run(killed, cwd=spill, env={**os.environ, "DIFFSIM_TUNE": "0"}, timeout=300)
    assert done.returncode == -signal.SIGKILL
    (orphan,) = spill.iterdir()
    assert any(path.name.startswith("checkpoint-") for path in orphan.iterdir())
    ds.Rollout(Push(), 4, spill=spill).close()
    assert not any(spill.iterdir())


def test_folders_of_the_living_and_of_others_stay(tmp_path):
    kept = {
        "diffsim-results10": ["lock", "checkpoint-0"],  # too long a name to be ours
        "diffsim-notmine0": ["lock", "checkpoint-0", "thesis.tex"],
        "diffsim-unlocked": ["checkpoint-0"],
        "diffsim-justmade": [],
        "other": ["lock"],
    }
    for folder, names in kept.items():
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).touch()
    for folder in ("diffsim-orphaned", "diffsim-emptyold"):
        (tmp_path / folder).mkdir()
    (tmp_path / "diffsim-orphaned" / "lock").touch()
    (tmp_path / "diffsim-orphaned" / "checkpoint-12").touch()
    os.utime(tmp_path / "diffsim-emptyold", (1.0, 1.0))
    mine = SpillFolder(str(tmp_path))
    with subprocess.Popen(
        [sys.executable, "-c", LIVING],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as living:
        assert living.stdout is not None
        theirs = os.path.basename(living.stdout.readline().strip())
        remove_orphans(str(tmp_path))
        names = {*kept, os.path.basename(mine.path), theirs}
        assert {path.name for path in tmp_path.iterdir()} == names
        living.kill()
        living.wait()
    remove_orphans(str(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == names - {theirs}
    mine.remove()
    remove_orphans(str(tmp_path / "none"))
    assert {path.name for path in tmp_path.iterdir()} == set(kept)


def test_a_folder_taken_for_an_orphan_while_it_is_made_is_made_again(tmp_path, monkeypatch):
    class Contested(LockFile):
        tries = 0

        def __init__(self, path):
            Contested.tries += 1
            if Contested.tries == 1:
                raise BlockingIOError
            super().__init__(path)

    monkeypatch.setattr("diffsim.engine.spill.LockFile", Contested)
    folder = SpillFolder(str(tmp_path))
    assert [str(path) for path in tmp_path.iterdir()] == [folder.path]
    folder.remove()
    assert not any(tmp_path.iterdir())


def test_without_locks_nothing_is_removed(tmp_path, monkeypatch):
    """A file system that knows no locks can't tell whose owner lives."""

    def unsupported(*_, **__):
        raise NotImplementedError

    monkeypatch.setattr("filelock.FileLock.acquire", unsupported)
    folder = SpillFolder(str(tmp_path))
    open(folder.file("lock"), "wb").close()
    remove_orphans(str(tmp_path))
    assert os.path.isdir(folder.path)
    folder.remove()
    assert not any(tmp_path.iterdir())


def test_the_lock_goes_last(tmp_path, monkeypatch):
    """A folder of checkpoints without one would stay for ever, were its owner killed in between."""
    left = []
    release = LockFile.release
    monkeypatch.setattr(
        LockFile, "release", lambda lock: (left.extend(os.listdir(folder.path)), release(lock))
    )
    folder = SpillFolder(str(tmp_path))
    for k in range(3):
        open(folder.file(f"checkpoint-{k}"), "wb").close()
    folder.remove()
    assert left == ["lock"]
    assert not any(tmp_path.iterdir())
