"""Train, resume and draw: what turns settings into a run folder."""

from __future__ import annotations

import contextlib
import dataclasses
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from diffsim.errors import ConfigError, DiffsimError
from diffsim.files import in_shell
from diffsim.progress import Progress
from diffsim.tasks.runs import motions, pictures, reports
from diffsim.tasks.runs import problem as problems
from diffsim.tasks.runs.folder import RunFolder, check_new
from diffsim.tasks.runs.settings import Settings
from diffsim.tasks.runs.state import History, Snapshot
from diffsim.tasks.runs.stop import StopSignal
from diffsim.tasks.runs.watching import Watcher

__all__ = ["Outcome", "render", "report", "resume", "train"]

_SAVE_SECONDS = 1.0  # between two saves; what a killed run has to do again
_SAVE_SHARE = 0.02  # of the time may go into saving, however large the state


@dataclass(frozen=True)
class Outcome:
    """How a run stands when a command ends.

    Attributes:
        path: The run folder.
        status: `finished`, `stopped` (by Ctrl-C) or `complete` (it was finished before).
        iterations: Iterations done.
        total: Iterations asked for.
        best: Iteration and cost of the best parameters, None before the first iteration.
        timings: Seconds by name: `compile`, `run`, `pictures`.
        metrics: The task's figures of merit `before` and `after`; empty where nothing was left to do.
    """

    path: Path
    status: str
    iterations: int
    total: int
    best: tuple[int, float] | None
    timings: dict[str, float]
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)


def train(
    settings: Settings, path: Path, progress: Progress, draw: bool = True, watcher: Watcher | None = None
) -> Outcome:
    """Start a run in a new folder and carry it to its end.

    Args:
        settings: What to run.
        path: The folder to make; made when the settings have proven right.
        progress: Where to show how far it is.
        draw: Whether to make pictures at the end; `render` makes them at any time.
        watcher: Who looks on meanwhile.

    Raises:
        ConfigError: The settings or the folder are not allowed; nothing has been written then.
        DiffsimError: The simulator can't be traced, or left the finite numbers.
        KeyboardInterrupt: Ctrl-C outside the iterations.
    """
    check_new(path)
    with problems.Problem(settings) as problem:
        chosen = dataclasses.replace(settings.run, arch=problem.arch)
        with RunFolder.create(path, dataclasses.replace(settings, run=chosen)) as folder:
            return _carry_on(folder, problem, None, progress, draw, watcher or Watcher())


def resume(
    path: Path,
    progress: Progress,
    iterations: int | None = None,
    draw: bool = True,
    watcher: Watcher | None = None,
) -> Outcome:
    """Carry a stopped or killed run to its end, with the numbers that it would have had without the stop.

    Args:
        path: The folder.
        progress: Where to show how far it is.
        iterations: How many there should be in all, from now on; a finished run goes on for what is missing.
            None for as many as before.
        draw: Whether to make the pictures that are missing at the end.
        watcher: Who looks on meanwhile.

    Raises:
        ConfigError: The folder holds no run, or a file in it is damaged; or more iterations than asked for
            were done before.
        DiffsimError: The simulator can't be traced, or left the finite numbers.
        KeyboardInterrupt: Ctrl-C outside the iterations.
    """
    with RunFolder(path) as folder:
        snapshot = folder.load()
        if iterations is not None:
            folder.ask_for(iterations, 0 if snapshot is None else snapshot.iteration)
        total = folder.settings.run.iterations
        if snapshot is not None and snapshot.iteration >= total and folder.is_finished(draw):
            folder.save_derived(snapshot)  # they cost nothing, and may have been lost or edited
            return _outcome(folder, snapshot, "complete")
        with problems.Problem(folder.settings, snapshot) as problem:
            return _carry_on(folder, problem, snapshot, progress, draw, watcher or Watcher())


def render(path: Path, progress: Progress, adjoints: bool = False) -> Outcome:
    """Draw the pictures of a run anew, from the parameters that it has reached.

    Args:
        path: The folder.
        progress: Where to show how far it is.
        adjoints: Draw d cost / d x beside the motion instead, as `adjoints.gif`.

    Raises:
        ConfigError: The folder holds no run, or a file in it is damaged or missing.
    """
    with RunFolder(path) as folder:
        snapshot = folder.load()
        if snapshot is None:
            raise ConfigError(
                f"run must have begun before it is drawn, got {path} at its start; "
                f"diffsim resume {in_shell(path)}"
            )
        with problems.Problem(folder.settings, snapshot) as problem:
            metrics = {}
            if adjoints:
                pictures.draw_adjoints(folder, problem, snapshot, progress)
            else:
                metrics = _draw(folder, problem, snapshot, progress, True, anew=True)
        if not adjoints:
            reports.write_report(path)
        status = "finished" if snapshot.iteration >= folder.settings.run.iterations else "stopped"
        return _outcome(folder, snapshot, status, metrics)


def report(path: Path, progress: Progress) -> Path:
    """Write the report of a run anew, from its folder; only motions that are missing are recorded.

    Args:
        path: The folder.
        progress: Where to show how far it is.

    Returns:
        The page.

    Raises:
        ConfigError: The folder holds no run, or a file in it is damaged.
        DiffsimError: The simulator can't be run, where a motion is missing.
    """
    reports.run_config(path)
    snapshot = Snapshot.read(path)
    if snapshot is None:
        raise ConfigError(
            f"run must have begun before it is reported, got {path} at its start; "
            f"diffsim resume {in_shell(path)}"
        )
    if motions.missing_motions(path, snapshot):
        with RunFolder(path) as folder:
            snapshot = folder.load() or snapshot
            progress.say("recording ...")
            with problems.Problem(folder.settings, snapshot) as problem:
                motions.record_motions(folder, problem, snapshot)
    return reports.write_report(path)


def _carry_on(
    folder: RunFolder,
    problem: problems.Problem,
    snapshot: Snapshot | None,
    progress: Progress,
    draw: bool,
    watcher: Watcher,
) -> Outcome:
    """Go from where the snapshot is to the end; tell how to go on when Ctrl-C comes between."""
    try:
        with progress, watcher:
            outcome = _work(folder, problem, snapshot, progress, draw, watcher)
            watcher.end(outcome.status, folder.path / reports.PAGE if draw else None)
            return outcome
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"go on with: diffsim resume {in_shell(folder.path)}") from None


def _work(
    folder: RunFolder,
    problem: problems.Problem,
    snapshot: Snapshot | None,
    progress: Progress,
    draw: bool,
    watcher: Watcher,
) -> Outcome:
    """Iterate, save, and draw."""
    began, meanwhile = time.perf_counter(), _Meanwhile(progress.compiling)
    if snapshot is None or snapshot.iteration < folder.settings.run.iterations:
        progress.say("compiling ...")
        problem.begin(snapshot, meanwhile if draw else progress.compiling)
        progress.end()
        if snapshot is None and problem.warning:  # a run that goes on has been warned
            progress.say(f"warning: {problem.warning}")
        if snapshot is None:
            first = problem.params()
            snapshot = Snapshot(
                folder.settings.digest(), first, first, first, {}, History(), {"compile": 0.0, "run": 0.0}
            )
        snapshot.mode, snapshot.chunk = problem.plan["mode"], problem.plan["chunk"]
        gauge = pictures.Gauge(problem)
        if not len(snapshot.history) and progress.due(0):
            figure = gauge.look()
            if figure:
                progress.say(f"at the start: {figure}")
        snapshot.timings["compile"] += time.perf_counter() - began - meanwhile.seconds
        watcher.begin(folder, problem, snapshot)
        stopped = _iterate(folder, problem, snapshot, progress, gauge, watcher)
        if stopped:
            folder.save_manifest(_manifest(folder, problem, snapshot, "stopped"))
            if draw:  # curves and parameters; motions come with the pictures, when the run is carried on
                reports.write_report(folder.path)
            return _outcome(folder, snapshot, "stopped")
    began = time.perf_counter()
    problem.watch = None
    watcher.draw()
    metrics = _draw(folder, problem, snapshot, progress, draw)
    snapshot.timings["pictures"] = time.perf_counter() - began + meanwhile.seconds
    folder.save(snapshot)
    folder.save_manifest(_manifest(folder, problem, snapshot, "finished") | {"metrics": metrics})
    if draw:
        progress.say(f"wrote {reports.write_report(folder.path)}")
    return _outcome(folder, snapshot, "finished", metrics)


class _Meanwhile:
    """Imports what pictures are drawn with while the guard's process compiles the first kernels.

    Args:
        told: What else to call before each kernel is compiled.

    Attributes:
        seconds: What importing took.
    """

    def __init__(self, told: Callable[[int, int, str], object]) -> None:
        self._told = told
        self.seconds = 0.0

    def __call__(self, done: int, total: int, name: str) -> None:
        from diffsim.view.style import get_ready

        self._told(done, total, name)
        began = time.perf_counter()
        with contextlib.suppress(ImportError):  # told when a picture is drawn: the parameters are worth more
            get_ready()
        self.seconds += time.perf_counter() - began


def _iterate(
    folder: RunFolder,
    problem: problems.Problem,
    snapshot: Snapshot,
    progress: Progress,
    gauge: pictures.Gauge,
    watcher: Watcher,
) -> bool:
    """Run the iterations that are left; return whether Ctrl-C stopped them."""
    total, history = folder.settings.run.iterations, snapshot.history
    start = time.perf_counter() - snapshot.timings["run"]  # as if the stops had not been
    due = time.perf_counter() + _SAVE_SECONDS
    with StopSignal() as stop, progress:
        progress.begin(total, len(history))
        problem.watch = progress.within
        while len(history) < total and not stop.stopped:
            try:
                if progress.due(len(history) + 1):  # the figure is of the parameters that the cost is of
                    start += _tell_figure(progress, gauge)
                start += watcher.look()
                cost, norm = problem.step()
            except Exception:  # also one of the task's figure of merit
                _save(folder, problem, snapshot)  # what was done before it went wrong
                raise
            now = time.perf_counter()
            history.append(cost, norm, now - start)
            snapshot.timings["run"] = now - start
            objective = float(history.costs[-1].sum())
            progress.update(len(history), objective, problem.lowest, norm)
            if now >= due:
                _save(folder, problem, snapshot)
                spent = time.perf_counter() - now
                due = now + spent + max(_SAVE_SECONDS, spent / _SAVE_SHARE)
        _save(folder, problem, snapshot)
    return stop.stopped


def _save(folder: RunFolder, problem: problems.Problem, snapshot: Snapshot) -> None:
    """Bring the snapshot up to date and write it."""
    snapshot.last, snapshot.best, snapshot.optimizer = problem.params(), problem.best(), problem.state()
    folder.save(snapshot)


def _tell_figure(progress: Progress, gauge: pictures.Gauge) -> float:
    """Show a figure of merit beside the next cost, where it is time to; return the seconds that took."""
    began = time.perf_counter()
    figure = gauge.look()
    if figure:
        progress.measured(figure)
    return time.perf_counter() - began


def _draw(
    folder: RunFolder,
    problem: problems.Problem,
    snapshot: Snapshot,
    progress: Progress,
    draw: bool,
    anew: bool = False,
) -> dict[str, dict[str, float]]:
    """Measure the first and the best parameters, and make their pictures where they are wanted."""
    if draw:
        progress.say("drawing ...")
    recordings, metrics = pictures.measure(problem, snapshot)
    if draw:
        pictures.draw(folder, problem, snapshot, recordings, progress)
        try:
            motions.record_motions(folder, problem, snapshot, anew)
        except DiffsimError as error:  # what was trained is worth more than a part of its report
            progress.say(f"warning: no motion was recorded for the report: {error}")
    return metrics


def _outcome(
    folder: RunFolder,
    snapshot: Snapshot,
    status: str,
    metrics: dict[str, dict[str, float]] | None = None,
) -> Outcome:
    total = folder.settings.run.iterations
    best = snapshot.lowest()
    return Outcome(
        folder.path, status, snapshot.iteration, total, best, dict(snapshot.timings), metrics or {}
    )


def _manifest(
    folder: RunFolder, problem: problems.Problem, snapshot: Snapshot, status: str
) -> dict[str, Any]:
    """Describe the run, and what it ran on."""
    best = snapshot.lowest()
    return {
        "status": status,
        "task": folder.settings.task,
        "iterations": snapshot.iteration,
        "best": None if best is None else {"iteration": best[0], "cost": best[1]},
        "seed": folder.settings.run.seed,
        "versions": {name: _version(name) for name in ("diffsim", "taichi", "numpy")},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "backend": problem.backend,
        "plan": problem.plan,
        "seconds": {name: round(value, 6) for name, value in snapshot.timings.items()},
        "written": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
