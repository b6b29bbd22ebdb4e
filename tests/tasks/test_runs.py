"""Run folders: complete, atomic, resumed bit for bit, also after SIGKILL at any moment."""

from __future__ import annotations

import csv
import importlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffsim.engine.pool import the_pool
from diffsim.errors import ConfigError, StateError
from diffsim.progress import Progress
from diffsim.tasks import runs
from diffsim.tasks.runs import pictures, training
from diffsim.tasks.runs.files import scratch_folder, sweep, write

PLUGIN = Path(__file__).parents[1] / "plugin"
COMMAND = [sys.executable, "-m", "diffsim"]
PLAIN = {"config.toml", "history.csv", "params.npz", "state.npz", "manifest.json"}
FILES = {*PLAIN, "before.npz", "best.npz", "last.npz", "adjoints.npz", "report.json", *runs.PICTURES}


@pytest.fixture(autouse=True)
def _plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PLUGIN))
    importlib.import_module("diffsim_fake")


def settings(iterations: int = 8, **options: Any) -> runs.Settings:
    run = runs.RunOptions(steps=5, iterations=iterations, seed=3)
    optimizer = {"name": "sgd", "lr": 0.05, "momentum": 0.5}
    return runs.Settings("fake", run, optimizer, options, {"text": ""})


def numbers(folder: Path) -> tuple[list[list[str]], dict[str, bytes]]:
    """What must not depend on stops: history without its wall time, and the parameters."""
    with open(folder / "history.csv", newline="") as file:
        rows = [row[:3] for row in csv.reader(file)]
    with np.load(folder / "params.npz") as params:
        return rows, {key: params[key].tobytes() for key in params.files}


def environment() -> dict[str, str]:
    path = os.pathsep.join([str(PLUGIN), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path}


def start(*words: str, cwd: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *words],
        cwd=cwd,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)


# ---------------------------------------------------------------------------------------------- a whole run


def test_a_run_leaves_all_its_files_and_no_others(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "run"
    outcome = runs.train(settings(), out, Progress())
    assert (outcome.status, outcome.iterations, outcome.path) == ("finished", 8, out)
    assert {path.name for path in out.iterdir()} == FILES
    assert {path.name for path in out.parent.iterdir()} == {"run"}
    rows, params = numbers(out)
    assert rows[0] == ["iteration", "cost", "gradient_norm"]
    assert [row[0] for row in rows[1:]] == [str(k) for k in range(8)]
    assert set(params) == {"best/policy.w0", "last/policy.w0"}
    costs = [float(row[1]) for row in rows[1:]]
    assert outcome.best == (int(np.argmin(costs)), min(costs))
    manifest = json.loads((out / "manifest.json").read_text())
    assert (manifest["status"], manifest["iterations"], manifest["seed"]) == ("finished", 8, 3)
    assert {"compile", "run", "pictures"} <= set(manifest["seconds"])
    assert {"versions", "backend", "plan", "best"} <= set(manifest)


def test_config_toml_is_complete_and_says_what_was_resolved(tmp_path: Path) -> None:
    given = settings(shape="square")
    runs.train(given, tmp_path / "run", Progress())
    text = (tmp_path / "run" / "config.toml").read_text()
    read = runs.Settings.from_toml(text, "config.toml")
    assert read.run.arch == "cpu"  # not `auto`: a run goes on where it began
    assert (read.task, read.optimizer, read.options) == (given.task, given.optimizer, given.options)
    assert runs.Settings.from_toml(read.to_toml(), "config.toml") == read


def test_a_bad_gradient_is_told_once_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    progress = Progress()
    monkeypatch.setattr(progress, "say", said.append)
    runs.train(settings(), tmp_path / "good", progress)
    assert not any(line.startswith("warning") for line in said)
    monkeypatch.setattr(importlib.import_module("diffsim_fake").FakeProblem, "warning", "gradients explode")
    runs.train(settings(), tmp_path / "run", progress)
    assert [line for line in said if line.startswith("warning")] == ["warning: gradients explode"]
    config = tmp_path / "run" / "config.toml"
    config.write_text(config.read_text().replace("iterations = 8", "iterations = 9"))
    runs.resume(tmp_path / "run", progress)
    assert len([line for line in said if line.startswith("warning")]) == 1


class Told(Progress):
    """Keep what a run tells, as lines; figures of merit are wanted with every `every`-th iteration."""

    def __init__(self, every: int = 3) -> None:
        self.every, self.lines, self.note = every, [], ""  # type: ignore[var-annotated]

    def due(self, done: int) -> bool:
        return done % self.every == 0

    def measured(self, text: str) -> None:
        self.note = text

    def update(self, done: int, cost: float, best: float, grad_norm: float) -> None:
        if self.note:
            self.lines.append(f"{done}: {cost:.4g} is {self.note}")
        self.note = ""

    def compiling(self, number: int, known: int, name: str) -> None:
        self.lines.append(f"compiling {number} of {known}: {name}")

    def drawing(self, name: str, done: int, total: int) -> None:
        self.lines.append(f"drawing {name} {done} of {total}")

    def say(self, text: str) -> None:
        self.lines.append(text)


def test_a_figure_of_merit_stands_beside_the_cost_it_belongs_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fake's cost is its figure: a figure of other parameters would be another number."""
    monkeypatch.setattr("diffsim.tasks.runs.pictures._SHARE", 1.0)
    told = Told()
    runs.train(settings(9), tmp_path / "told", told)
    runs.train(settings(9), tmp_path / "quiet", Progress())
    with open(tmp_path / "told" / "history.csv", newline="") as file:
        costs = [float(row["cost"]) for row in csv.DictReader(file)]
    assert f"at the start: squared length {costs[0]:.4g} m" in told.lines
    shown = [line for line in told.lines if " is squared" in line]
    assert shown == [
        f"{k}: {c:.4g} is squared length {c:.4g} m" for k, c in enumerate(costs, 1) if k % 3 == 0
    ]
    assert numbers(tmp_path / "told") == numbers(tmp_path / "quiet"), "looking changes nothing"


def test_figures_of_merit_take_a_small_share_of_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = importlib.import_module("diffsim_fake").FakeProblem
    looks, figures = [], fake.figures
    monkeypatch.setattr(
        fake, "figures", lambda *given: (looks.append(1), time.sleep(0.02), figures(*given))[-1]
    )
    runs.train(settings(60, delay=0.001), tmp_path / "run", Told(1))
    assert len(looks) <= 6, "one at the start, two for the pictures, and the next needs 0.2 s between"


def test_what_compares_comes_before_the_films(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = importlib.import_module("diffsim_fake").FakeTask
    there: list[set[str]] = []
    animate = fake.animate
    monkeypatch.setattr(fake, "compare", lambda self, recordings, path: path.touch())
    monkeypatch.setattr(
        fake,
        "animate",
        lambda self, recordings: (there.append({p.name for p in out.iterdir()}), animate(self, recordings)),
    )
    out, told = tmp_path / "run", Told()
    runs.train(settings(2), out, told)
    assert {"compare.png", "cost.png"} <= there[0], "whole and in place before the first film begins"
    assert told.lines[0] == "compiling ..."
    assert told.lines[1] == "compiling 1 of 2: Bowl.slide"
    assert told.lines[-6:] == [
        "drawing ...",
        f"wrote {out / 'compare.png'} and cost.png",
        "drawing before.gif 1 of 1",
        "drawing after.gif 1 of 1",
        f"wrote {out / 'before.gif'} and after.gif",
        f"wrote {out / 'report.html'}",
    ]


def test_what_draws_is_imported_while_kernels_compile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where that fails, the run goes on; its seconds are those of pictures."""
    calls: list[int] = []

    def get_ready() -> None:
        calls.append(1)
        time.sleep(0.2)
        raise ImportError("no such module")

    monkeypatch.setattr("diffsim.view.style.get_ready", get_ready)
    monkeypatch.setattr("diffsim.tasks.runs.pictures.draw", lambda *args: calls.append(2))
    the_pool().release()
    outcome = runs.train(settings(), tmp_path / "drawn", Progress())
    assert calls[-2:] == [1, 2]
    assert outcome.timings["pictures"] >= 0.2 * calls.count(1)
    calls.clear()
    the_pool().release()
    runs.train(settings(), tmp_path / "bare", Progress(), draw=False)
    assert not calls


def test_a_run_without_pictures_can_be_drawn_later(tmp_path: Path) -> None:
    out, told = tmp_path / "run", Told()
    outcome = runs.train(settings(), out, told, draw=False)
    assert outcome.status == "finished"
    assert set(outcome.metrics) == {"before", "after"}
    assert {path.name for path in out.iterdir()} == PLAIN
    assert not any("draw" in line or "wrote" in line for line in told.lines)
    assert runs.resume(out, Progress(), draw=False).status == "complete"
    runs.render(out, Progress())
    assert {path.name for path in out.iterdir()} == FILES


def test_the_seconds_column_rises(tmp_path: Path) -> None:
    runs.train(settings(), tmp_path / "run", Progress())
    with open(tmp_path / "run" / "history.csv", newline="") as file:
        seconds = [float(row["seconds"]) for row in csv.DictReader(file)]
    assert seconds == sorted(seconds)
    assert seconds[0] > 0


def test_costs_of_several_worlds_are_summed_in_the_table() -> None:
    history = runs.History()
    history.append(np.array([1.0, 2.0]), 0.5, 0.1)
    history.append(np.array([1.0, 0.5]), 0.5, 0.2)
    assert history.best() == (1, 1.5)
    assert history.to_csv().decode().splitlines()[1] == "0,3.0,0.5,0.100000"


def test_the_best_of_worlds_is_what_their_best_parameters_cost() -> None:
    history = runs.History()
    for costs in ([1.0, 2.0], [1.5, 0.5], [3.0, 3.0]):
        history.append(np.array(costs), 0.5, 0.1)
    together = {"best_cost": np.array(2.0), "best_iteration": np.array(1)}
    apart = {"best_cost": np.array([1.0, 0.5]), "best_iteration": np.array([0, 1])}
    for optimizer, want in ((together, (1, 2.0)), (apart, (1, 1.5)), ({}, (1, 2.0))):
        assert runs.Snapshot("", {}, {}, {}, optimizer, history, {}).lowest() == want
    assert runs.Snapshot("", {}, {}, {}, apart, runs.History(), {}).lowest() is None


# ------------------------------------------------------------------------------------------------- resuming


def stop_after(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Press Ctrl-C once, in iteration `count`."""

    class Presses(Progress):
        def update(self, done: int, cost: float, best: float, grad_norm: float) -> None:
            if done == count:
                signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(sys.modules[__name__], "Pressing", Presses, raising=False)


@pytest.mark.parametrize("count", [1, 4, 7])
def test_a_stopped_run_goes_on_bit_for_bit(
    tmp_path: Path, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs.train(settings(), tmp_path / "whole", Progress())
    stop_after(count, monkeypatch)
    outcome = runs.train(settings(), tmp_path / "cut", Pressing())  # type: ignore[name-defined] # noqa: F821
    assert (outcome.status, outcome.iterations) == ("stopped", count)
    assert json.loads((tmp_path / "cut" / "manifest.json").read_text())["status"] == "stopped"
    assert "stopped" in (tmp_path / "cut" / "report.html").read_text(encoding="utf-8")
    outcome = runs.resume(tmp_path / "cut", Progress())
    assert (outcome.status, outcome.iterations) == ("finished", 8)
    assert numbers(tmp_path / "cut") == numbers(tmp_path / "whole")
    with np.load(tmp_path / "cut" / "state.npz") as cut, np.load(tmp_path / "whole" / "state.npz") as whole:
        names = [name for name in cut.files if not name.startswith(("timings", "history.seconds"))]
        for name in names:
            np.testing.assert_array_equal(cut[name], whole[name])


def test_a_second_ctrl_c_stops_at_once_and_keeps_the_last_save(tmp_path: Path) -> None:
    class Impatient(Progress):
        def update(self, done: int, cost: float, best: float, grad_norm: float) -> None:
            if done == 3:
                signal.raise_signal(signal.SIGINT)
                signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        runs.train(settings(), tmp_path / "run", Impatient())
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert runs.resume(tmp_path / "run", Progress()).status == "finished"


def test_a_finished_run_has_nothing_to_do_and_mends_what_follows_from_its_state(tmp_path: Path) -> None:
    runs.train(settings(), tmp_path / "run", Progress())
    before = numbers(tmp_path / "run")
    (tmp_path / "run" / "history.csv").write_text("rubbish")
    (tmp_path / "run" / "params.npz").unlink()
    assert runs.resume(tmp_path / "run", Progress()).status == "complete"
    assert numbers(tmp_path / "run") == before


@pytest.mark.parametrize("name", [*runs.PICTURES, "manifest.json"])
def test_a_run_killed_before_its_last_files_is_completed(tmp_path: Path, name: str) -> None:
    runs.train(settings(), tmp_path / "run", Progress())
    (tmp_path / "run" / name).unlink()
    (tmp_path / "run" / ".tmp-state.npz").write_text("half")
    assert runs.resume(tmp_path / "run", Progress()).status == "finished"
    assert {path.name for path in (tmp_path / "run").iterdir()} == FILES


def test_more_iterations_can_be_asked_for_later(tmp_path: Path) -> None:
    runs.train(settings(12), tmp_path / "long", Progress())
    runs.train(settings(8), tmp_path / "run", Progress())
    config = tmp_path / "run" / "config.toml"
    config.write_text(config.read_text().replace("iterations = 8", "iterations = 12"))
    assert runs.resume(tmp_path / "run", Progress()).iterations == 12
    assert numbers(tmp_path / "run") == numbers(tmp_path / "long")


@pytest.mark.parametrize("before", [8, 12])
def test_a_run_goes_on_to_as_many_iterations_as_are_asked_for(tmp_path: Path, before: int) -> None:
    """Counted in all, of a stopped run and of a finished one; and the next `resume` knows of it."""
    runs.train(settings(12), tmp_path / "long", Progress())
    runs.train(settings(8), tmp_path / "run", Progress())
    config = tmp_path / "run" / "config.toml"
    config.write_text(config.read_text().replace("iterations = 8", f"iterations = {before}"))
    outcome = runs.resume(tmp_path / "run", Progress(), iterations=12)
    assert (outcome.status, outcome.iterations, outcome.total) == ("finished", 12, 12)
    assert numbers(tmp_path / "run") == numbers(tmp_path / "long")
    assert config.read_text() == (tmp_path / "long" / "config.toml").read_text()
    assert runs.resume(tmp_path / "run", Progress(), iterations=12).status == "complete"
    with pytest.raises(ConfigError, match=r"--iterations must be at least the 12 that are done in .*, got 9"):
        runs.resume(tmp_path / "run", Progress(), iterations=9)
    assert config.read_text() == (tmp_path / "long" / "config.toml").read_text()


def test_what_was_done_is_saved_when_an_iteration_fails(tmp_path: Path) -> None:
    with pytest.raises(StateError, match=r"cost must be finite"):
        runs.train(settings(fail_at=5), tmp_path / "run", Progress())
    assert len(numbers(tmp_path / "run")[0]) == 1 + 5


def test_what_was_done_is_saved_when_a_figure_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Watched(Progress):
        def due(self, done: int) -> bool:
            return done == 6

    monkeypatch.setattr(pictures.Gauge, "look", lambda gauge: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        runs.train(settings(), tmp_path / "run", Watched())
    assert len(numbers(tmp_path / "run")[0]) == 1 + 5


def test_render_draws_again(tmp_path: Path) -> None:
    runs.train(settings(), tmp_path / "run", Progress())
    for name in runs.PICTURES:
        (tmp_path / "run" / name).unlink()
    runs.render(tmp_path / "run", Progress())
    assert {path.name for path in (tmp_path / "run").iterdir()} == FILES
    assert "best cost" in (tmp_path / "run" / "after.gif").read_text()


# ------------------------------------------------------------------------------------------ damaged folders


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, to be copied before it is damaged."""
    sys.path.insert(0, str(PLUGIN))
    try:
        importlib.import_module("diffsim_fake")
        out = tmp_path_factory.mktemp("runs") / "run"
        runs.train(settings(), out, Progress())
    finally:
        sys.path.remove(str(PLUGIN))
    return out


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0xFF
    path.write_bytes(bytes(content))


def replace(old: str, new: str) -> Callable[[Path], None]:
    def act(path: Path) -> None:
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return act


DAMAGE: list[tuple[str, Callable[[Path], Any], str]] = [
    ("state.npz", cut, "state.npz must be a whole state of a run, got a damaged file"),
    ("state.npz", flip, "state.npz must be a whole state of a run, got a damaged file"),
    ("state.npz", lambda path: path.write_bytes(b""), "damaged file"),
    ("state.npz", lambda path: path.write_bytes(b"PK\x03\x04"), "damaged file"),
    ("state.npz", lambda path: np.savez(path, format=1), "damaged file"),
    ("state.npz", lambda path: np.savez(path, format=9), "state.npz: format must be 1, got 9"),
    ("state.npz", Path.unlink, "state.npz must be there, got none"),
    ("config.toml", Path.unlink, "run folder must hold config.toml"),
    ("config.toml", lambda path: path.write_text("a = = 1"), "config.toml: file must be TOML"),
    ("config.toml", lambda path: path.write_bytes(b"\xff\xfe"), "config.toml must be readable text"),
    ("config.toml", lambda path: path.write_text("format = 2"), "config.toml: format must be 1, got 2"),
    ("config.toml", lambda path: path.write_text("format = 1"), "config.toml: run.steps must be given"),
    (
        "config.toml",
        replace("steps = 5", "steps = 0"),
        "run.steps must be a whole number from 1 to 2147483646, got 0",
    ),
    ("config.toml", replace("steps = 5", "steps = 6"), "config.toml must be what the run was started with"),
    ("config.toml", replace("seed = 3", "sed = 3"), "run.sed must be one of"),
    ("config.toml", replace("lr = 0.05", "lr = -1"), "optimizer.lr must be a number above 0"),
    ("config.toml", replace('"sgd"', '"sdg"'), "optimizer.name must be one of sgd, adam, got 'sdg'"),
    ("config.toml", replace("momentum", "momentun"), "optimizer.momentun must be left out"),
    (
        "config.toml",
        replace("[options]", "[optoins]"),
        r"config.toml: key must be one of .*did you mean options\?",
    ),
    ("config.toml", replace("[run]", "run = 3\n[x]"), "must be"),
]


@pytest.mark.parametrize(("name", "damage", "words"), DAMAGE)
def test_a_damaged_folder_is_an_error_of_one_line(
    finished: Path, tmp_path: Path, name: str, damage: Callable[[Path], Any], words: str
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    damage(folder / name)
    content = {path.name: path.read_bytes() for path in folder.iterdir()}
    for act in (runs.resume, runs.render):
        with pytest.raises(ConfigError, match=words) as caught:
            act(folder, Progress())
        assert "\n" not in str(caught.value)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == content


def test_an_unknown_task_in_a_folder_is_named(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "run" / "state.npz").unlink()
    (tmp_path / "run" / "history.csv").unlink()
    replace('task = "fake"', 'task = "fakir"')(tmp_path / "run" / "config.toml")
    with pytest.raises(ConfigError, match=r"task must be one of .*got 'fakir'"):
        runs.resume(tmp_path / "run", Progress())


def test_a_folder_is_used_by_one_process_at_a_time(finished: Path) -> None:
    with runs.RunFolder(finished), pytest.raises(ConfigError, match=r"run folder must not be in use"):
        runs.RunFolder(finished)
    runs.RunFolder(finished).close()


def test_a_new_folder_is_never_an_old_one(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / ".tmp-config.toml").touch()  # a run killed in its first millisecond
    (tmp_path / "empty" / ".lock").touch()
    (tmp_path / "file").touch()
    with pytest.raises(
        ConfigError, match=r"--out must be a new or empty folder, got .*files; choose another"
    ):
        runs.check_new(tmp_path / "full")
    (tmp_path / "full" / "config.toml").touch()
    with pytest.raises(
        ConfigError, match=r"got .*, which holds a run; go on with it \(diffsim resume .*full"
    ):
        runs.check_new(tmp_path / "full")
    with pytest.raises(ConfigError, match=r"--out must be a folder, got .*which is a file"):
        runs.check_new(tmp_path / "file")
    with pytest.raises(ConfigError, match=r"--out must be inside a folder, got .*, inside a file"):
        runs.RunFolder.create(tmp_path / "file" / "run", settings())
    runs.RunFolder.create(tmp_path / "empty", settings()).close()
    assert {path.name for path in (tmp_path / "empty").iterdir()} == {"config.toml"}


def test_a_place_without_permission_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(**_: Any) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("diffsim.tasks.runs.folder.tempfile.mkdtemp", closed)
    with pytest.raises(
        ConfigError, match=r"--out must be a folder that can be made, got .*Permission denied"
    ):
        runs.train(settings(), tmp_path / "run", Progress())
    assert list(tmp_path.iterdir()) == []


# -------------------------------------------------------------------------------------------- atomic writes


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a", b"old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StateError, match=r"a must be writable, got: No space left on device"):
        write(tmp_path / "a", b"new")
    with pytest.raises(StateError, match=r"must be writable"), scratch_folder(tmp_path) as scratch:
        (scratch / "a").write_bytes(b"new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"old")]


def test_a_scratch_folder_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), scratch_folder(tmp_path) as scratch:
        (scratch / "a").write_bytes(b"half" * (1 // 0))
    assert list(tmp_path.iterdir()) == []


def test_leftovers_are_swept(tmp_path: Path) -> None:
    (tmp_path / ".tmp-work").mkdir()
    (tmp_path / ".tmp-work" / "a").touch()
    (tmp_path / ".tmp-state.npz").touch()
    (tmp_path / "kept").touch()
    sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_saving_does_not_take_the_time_of_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """200 iterations of a millisecond save once or twice, not 200 times."""
    saves = []
    save = runs.RunFolder.save
    monkeypatch.setattr(
        runs.RunFolder, "save", lambda self, snapshot: (saves.append(1), save(self, snapshot))
    )
    monkeypatch.setattr(training, "_draw", lambda *_: None)
    runs.train(settings(200, delay=0.001), tmp_path / "run", Progress())
    assert len(saves) <= 5


# ----------------------------------------------------------------------------------------- killed processes


class Killed(BaseException):
    """Stands for SIGKILL in tests that choose the moment."""


def test_killed_between_any_two_files_and_resumed_is_as_undisturbed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut before and after each single replacement of a file, with a save in every iteration."""
    monkeypatch.setattr(training, "_SAVE_SECONDS", 0.0)
    monkeypatch.setattr(training, "_SAVE_SHARE", 1e9)
    monkeypatch.setattr("diffsim.view.cost_png", lambda path, *_, **__: path.touch())
    runs.train(settings(4), tmp_path / "whole", Progress())
    move, count = os.replace, 0
    moments = iter(range(1000))
    while True:
        count, moment, out = 0, next(moments), tmp_path / "cut"

        def replace_or_die(source: Any, target: Any, moment: int = moment) -> None:
            nonlocal count
            count += 1
            if count == moment // 2 + 1 and moment % 2 == 0:
                raise Killed
            move(source, target)
            if count == moment // 2 + 1:
                raise Killed

        monkeypatch.setattr(os, "replace", replace_or_die)
        try:
            runs.train(settings(4), out, Progress())
            break
        except Killed:
            monkeypatch.setattr(os, "replace", move)
            if out.exists():
                runs.resume(out, Progress())
                assert numbers(out) == numbers(tmp_path / "whole"), moment
                assert {path.name for path in out.iterdir()} == FILES
                shutil.rmtree(out)
    assert moment > 2 * (4 + 1) * 3  # three files a save, and the rest


def test_killed_at_any_moment_and_resumed_is_as_undisturbed(tmp_path: Path) -> None:
    """SIGKILL at random times, in compiling, iterating, saving and drawing alike, again and again."""
    words = ["--iterations", "50", "--delay", "0.04", "--steps", "5", "--seed", "3", "--quiet"]
    whole = subprocess.run(
        [*COMMAND, "train", "fake", "--out", "whole", *words], cwd=tmp_path, env=environment(), check=True
    )
    assert whole.returncode == 0
    chance, kills = random.Random(0), 0
    process = start("train", "fake", "--out", "cut", *words, cwd=tmp_path)
    wait_for((tmp_path / "cut" / "config.toml").exists, process)
    while True:
        time.sleep(chance.uniform(0.0, 2.0))
        process.kill()
        _, errors = process.communicate()
        if process.returncode == 0:
            break
        assert errors == ""
        kills += 1
        process = start("resume", "cut", "--quiet", cwd=tmp_path)
        if kills == 4:
            process.wait(60)
            assert process.communicate() == ("", "")
            assert process.returncode == 0
            break
    assert kills > 0
    assert numbers(tmp_path / "cut") == numbers(tmp_path / "whole")
    assert {path.name for path in (tmp_path / "cut").iterdir()} == FILES


def test_ctrl_c_saves_and_exits_with_130(tmp_path: Path) -> None:
    process = start("train", "fake", "--out", "run", "--delay", "0.02", "--iterations", "2000", cwd=tmp_path)
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("iteration"):
            break
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, "")
    assert rest.splitlines()[-1] == "go on with: diffsim resume run"
    done = len(numbers(tmp_path / "run")[0]) - 1
    assert f"stopped after {done} of 2000 iterations" in rest
    assert done > 0
