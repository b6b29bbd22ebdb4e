"""Starting the runtime: again, anew, behind our back, without a home; and what outlives it."""

import contextlib
import gc
import io
import os
import subprocess
import sys
import warnings

import pytest
import taichi as ti

import diffsim as ds
from diffsim import files
from diffsim.errors import ConfigError, StateError


class Push(ds.Simulator):
    """x[t + 1] = x[t] + k; the cost is x[3] squared, 9 k^2, with slope 18 k."""

    def __init__(self):
        self.x = ds.State(ds.real, 1)
        self.k = ds.Param(2.0)

    @ti.kernel
    def push(self, t: ti.i32):
        for i in range(1):
            self.x[t + 1, i] = self.x[t, i] + self.k[None]

    @ti.kernel
    def square(self, t: ti.i32):
        for _ in range(1):
            self.cost[None] += self.x[t, 0] * self.x[t, 0]

    def step(self, t):
        self.push(t)

    def terminal_cost(self, t):
        self.square(t)


@pytest.fixture
def again(runtime, precision, threads, arch):
    """The settings that the runtime, on which nobody has fields, was started with."""
    settings = {"arch": arch, "precision": precision, "threads": threads if arch == "cpu" else None}
    gc.collect()
    with warnings.catch_warnings():  # kernels of other tests may hold fields
        warnings.filterwarnings("ignore", "Taichi fields must be made after", RuntimeWarning)
        ds.init(**settings, reset=True)
    return settings


@pytest.fixture
def rollout(again):
    with_cost = ds.Rollout(Push(), steps=3)
    yield with_cost
    with_cost.close()


# ---- again ----


def test_the_same_settings_again_change_nothing(runtime, again, rollout, monkeypatch):
    assert rollout.value() == 36.0
    mine = ti.field(ti.f64, shape=3)
    mine.fill(4.0)
    cores = {} if again["arch"] == "cuda" or again["threads"] == (os.cpu_count() or 1) else again
    for same in (
        again,
        {**again, "arch": "auto"},
        {**again, "seed": 0, "cache": True, "reset": False},
        cores,
    ):
        assert ds.init(**(same or again)) is ds.runtime.info()
    cost, gradients = rollout.value_and_grad()
    assert (cost, float(gradients["k"])) == (36.0, 36.0)
    assert mine[2] == 4.0


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"seed": 5}, r"got seed=5 instead of 0 and 1 live rollout\(s\)"),
        (
            {"precision": 32, "tune": True},
            "got precision=32 instead of 64, tune=True instead of False and 1",
        ),
        ({"cache": False}, r"cache=False instead of True and 1 .*rollout\.close\(\)\), or let reset=True"),
    ],
)
def test_other_settings_are_refused_while_rollouts_live(again, rollout, other, words):
    with pytest.raises(StateError, match=words):
        ds.init(**{**again, **other})
    assert rollout.value() == 36.0


@pytest.mark.parametrize("name", ["reset", "cache"])
def test_switches_are_true_or_false(name):
    with pytest.raises(ConfigError, match=f"{name} must be True or False, got 'yes'"):
        ds.init(**{name: "yes"})


def test_reset_closes_what_lives_and_keeps_values(again, rollout):
    run = ds.optim.SGD(lr=1.0 / 36.0).start(rollout)
    run.step()  # 2 - 36 / 36
    (leaf,) = rollout.leaves()
    values = leaf.values[0]
    before = ds.runtime.current_program()
    ds.init(**again, reset=True)
    assert ds.runtime.current_program() is not before
    assert rollout.closed
    assert rollout.sim.k.numpy() == pytest.approx(1.0)
    for use in (rollout.value, run.step, run.best, run.state, leaf.gradient):
        with pytest.raises(StateError, match="closed"):
            use()
    run.close()
    for use in (
        lambda: values[None],
        lambda: values.fill(1.0),
        lambda: values.to_numpy(),
        lambda: values.shape,
    ):
        with pytest.raises(StateError, match="a Taichi field must be used while its memory"):
            use()
    with ds.optim.SGD(lr=1.0 / 36.0).start(ds.Rollout(rollout.sim, steps=3)) as fresh:
        assert fresh.step().cost == pytest.approx(9.0)  # 9 k^2 at k = 1


def test_a_running_rollout_cannot_be_reset(again, rollout):
    seen = []

    def meddle(*_):
        try:
            ds.init(**again, reset=True)
        except StateError as error:
            seen.append(str(error))

    busy = ds.Rollout(rollout.sim, steps=3, window=1, mode="step", progress=meddle)
    assert busy.value() == 36.0
    assert "the rollout must be left alone while it runs" in seen[0]


def test_reset_where_nothing_lives_starts_anew(again):
    before = ds.runtime.current_program()
    ds.init(**again, reset=True)
    assert ds.runtime.current_program() is not before


# ---- behind our back ----


def test_after_a_start_behind_our_back_the_same_settings_start_anew(again, rollout):
    rollout.value_and_grad()
    run = ds.optim.SGD(lr=1.0 / 36.0).start(rollout)
    run.step()
    (leaf,) = rollout.leaves()
    with contextlib.redirect_stdout(io.StringIO()):
        ti.init(arch=getattr(ti, again["arch"]), log_level=ti.ERROR)
    with pytest.raises(StateError, match="must live on the running Taichi program"):
        leaf.gradient()
    with pytest.raises(StateError, match=r"Param k \(a run left its values there\) must be read"):
        rollout.sim.k.numpy()
    for use in (rollout.value, run.step, run.best, run.state):
        with pytest.raises(StateError, match="must live on the running Taichi program"):
            use()
    foreign = ds.runtime.current_program()
    ds.init(**again)
    assert ds.runtime.current_program() is not foreign
    rollout.sim.k.set(2.0)
    assert ds.Rollout(rollout.sim, steps=3).value() == 36.0
    ds.init(**again, seed=1)  # a rollout of the program that is gone does not count as alive
    ds.init(**again)


# ---- fields made before ----


def test_fields_made_before_are_named_and_refuse_to_be_used(again):
    line = sys._getframe().f_lineno
    scalar = ti.field(ti.f64, shape=3)
    vector = ti.Vector.field(2, ti.f64, shape=3, needs_grad=True)
    struct = ti.Struct.field({"a": ti.f64}, shape=3)
    kinds = [scalar, vector, struct, ti.ndarray(ti.f64, 3)]

    @ti.kernel
    def read() -> ti.f64:
        return scalar[0]

    scalar.fill(4.0)
    assert read() == 4.0
    with pytest.warns(RuntimeWarning) as caught:
        ds.init(**again, reset=True)
    (warning,) = caught
    for k in (1, 2, 3):
        assert f"test_runtime.py:{line + k}" in str(warning.message)
    assert "and 1 more); they are gone" in str(warning.message)
    assert warning.filename == __file__
    other = ti.field(ti.f64, shape=3)
    other.fill(2.0)
    for thing in kinds:
        for use in ("thing[0]", "thing.to_numpy()", "thing.fill(0.0)", "thing.shape", "thing.grad"):
            with pytest.raises(StateError, match="got one of a runtime that has ended"):
                eval(use, {"thing": thing})
        with pytest.raises(StateError, match="got one of a runtime that has ended"):
            thing[0] = 1.0
    with pytest.raises(Exception, match="has ended since"):
        read()
    assert repr(scalar) == "<a Taichi field of a runtime that has ended>"
    assert other.to_numpy().tolist() == [2.0, 2.0, 2.0]


def test_fields_that_nobody_holds_are_not_told_of(again):
    """Taichi's own kernels keep every field that they were called with."""
    mine = ti.field(ti.f64, shape=3)
    mine.fill(2.0)
    mine.to_numpy()
    del mine
    ds.init(**again, reset=True)


def run(program, folder, name="program.py", **environment):
    """Run a program in a process that has nothing of ours but PATH and what is given."""
    (folder / name).write_text(program)
    known = {"PATH": os.environ["PATH"], "HOME": str(folder), **environment}
    return subprocess.run(
        [sys.executable, folder / name],
        cwd=folder,
        env={key: value for key, value in known.items() if value is not None},
        capture_output=True,
        text=True,
        timeout=300,
    )


FOREIGN = """
import taichi as ti
ti.init(arch=ti.cpu, log_level=ti.ERROR)
{field}
import diffsim as ds
ds.init(arch="cpu")
{after}
"""


@pytest.mark.cpu
@pytest.mark.parametrize(
    ("field", "after", "said"),
    [
        ("pass", "pass", ""),
        ("x = ti.field(ti.f32, 3)", "x[0]", "got fields made before it (game.py:4); they are gone"),
    ],
)
def test_taichi_started_before(tmp_path, field, after, said):
    """Without the error, reading the field would end the process."""
    done = run(FOREIGN.format(field=field, after=after), tmp_path, name="game.py")
    assert done.returncode == (1 if said else 0), done.stderr
    assert said in done.stderr
    assert (done.stderr == "") == (said == "")
    for words in ("RuntimeWarning", "StateError: a Taichi field must be used while"):
        assert done.stderr.count(words) == (1 if said else 0)


# ---- homes and caches ----

STARTS = """
import os
import diffsim as ds
ds.init(arch="cpu")
print(ds.init(arch="cpu", precision=64).cache)  # started twice, said once
if os.environ["HOME"] == "/proc/x":
    import matplotlib, taichi  # the one says as much in two lines of its own, the other ends the process
    taichi.field(taichi.f32, 3).fill(1.0)
"""
COMPILES = (
    STARTS
    + """
import taichi as ti
x = ti.field(ti.f32, 3)
@ti.kernel
def put():
    for i in range(3):
        x[i] = 2.0
put()
assert x[1] == 2.0
"""
)


@pytest.mark.cpu
@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({}, None),
        ({"HOME": None}, "HOME must name a folder, got none; compiled kernels are kept in "),
        ({"HOME": "/proc/x"}, "got /proc/x/.cache/taichi/ticache (No such file or directory); each process"),
        ({"HOME": None, "XDG_CACHE_HOME": "/dev/null/x"}, "got /dev/null/x/taichi/ticache (Not a directory)"),
        ({"HOME": "here"}, "got here/.cache/taichi/ticache (not an absolute path)"),
        ({"TI_OFFLINE_CACHE_FILE_PATH": "/proc/x"}, "got /proc/x (No such file or directory)"),
    ],
)
def test_any_home_will_do_with_at_most_one_line(tmp_path, environment, words):
    done = run(STARTS, tmp_path, **environment)
    kept = words is None or "none" in words
    assert (done.returncode, done.stdout) == (0, f"{kept}\n"), done
    assert done.stderr.count("\n") == (0 if words is None else 1)
    assert (words or "") in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"program.py"} | (
        set() if environment else {".cache"}
    )


def test_a_folder_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").touch()
    assert files.why_not_writable(tmp_path / "new" / "folder") == ""
    assert list((tmp_path / "new" / "folder").iterdir()) == []
    assert files.why_not_writable(tmp_path / "file") == "File exists"
    assert files.why_not_writable("/proc") != ""


def test_the_lock_of_a_killed_process_goes(tmp_path):
    """Taichi would keep no kernel any more, and say nothing."""
    old, new = tmp_path / "old", tmp_path / "new"
    for path in (old, new):
        path.touch()
    os.utime(old, (1.0, 1.0))
    for path in (old, new, tmp_path / "none"):
        files.remove_stale(str(path), 600.0)
    assert list(tmp_path.iterdir()) == [new]
    cache = tmp_path / "cache"
    (cache / "taichi" / "ticache").mkdir(parents=True)
    lock = cache / "taichi" / "ticache" / "ticache.lock"
    lock.touch()
    os.utime(lock, (1.0, 1.0))
    assert run(COMPILES, tmp_path, XDG_CACHE_HOME=str(cache)).returncode == 0
    assert list(lock.parent.glob("*.tic"))
    assert not lock.exists()
