"""Train, resume and draw: what turns settings into a run folder."""

from __future__ import annotations

import dataclasses
import platform
import time
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from diffsim.errors import ConfigError, DiffsimError
from diffsim.progress import Progress
from diffsim.tasks.runs import problem as problems
from diffsim.tasks.runs.files import scratch_folder
from diffsim.tasks.runs.folder import RunFolder, check_new
from diffsim.tasks.runs.settings import Settings
from diffsim.tasks.runs.state import History, Snapshot
from diffsim.tasks.runs.stop import StopSignal

__all__ = ["Outcome", "render", "resume", "train"]

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
        metrics: The task's figures of merit `before` and `after`; empty where nothing was drawn.
    """

    path: Path
    status: str
    iterations: int
    total: int
    best: tuple[int, float] | None
    timings: dict[str, float]
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)


def train(settings: Settings, path: Path, progress: Progress) -> Outcome:
    """Start a run in a new folder and carry it to its end.

    Args:
        settings: What to run.
        path: The folder to make; made when the settings have proven right.
        progress: Where to show how far it is.

    Raises:
        ConfigError: The settings or the folder are not allowed; nothing has been written then.
        DiffsimError: The simulator can't be traced, or left the finite numbers.
        KeyboardInterrupt: Ctrl-C outside the iterations.
    """
    check_new(path)
    with problems.Problem(settings) as problem:
        chosen = dataclasses.replace(settings.run, arch=problem.arch)
        with RunFolder.create(path, dataclasses.replace(settings, run=chosen)) as folder:
            return _carry_on(folder, problem, None, progress)


def resume(path: Path, progress: Progress) -> Outcome:
    """Carry a stopped or killed run to its end, with the numbers that it would have had without the stop.

    Raises:
        ConfigError: The folder holds no run, or a file in it is damaged.
        DiffsimError: The simulator can't be traced, or left the finite numbers.
        KeyboardInterrupt: Ctrl-C outside the iterations.
    """
    with RunFolder(path) as folder:
        snapshot = folder.load()
        total = folder.settings.run.iterations
        if snapshot is not None and snapshot.iteration >= total and folder.is_finished():
            folder.save_derived(snapshot)  # they cost nothing, and may have been lost or edited
            return _outcome(folder, snapshot, "complete")
        with problems.Problem(folder.settings, snapshot) as problem:
            return _carry_on(folder, problem, snapshot, progress)


def render(path: Path, progress: Progress) -> Outcome:
    """Draw the pictures of a run anew, from the parameters that it has reached.

    Raises:
        ConfigError: The folder holds no run, or a file in it is damaged or missing.
    """
    with RunFolder(path) as folder:
        snapshot = folder.load()
        if snapshot is None:
            raise ConfigError(
                f"run must have begun before it is drawn, got {path} at its start; diffsim resume {path}"
            )
        with problems.Problem(folder.settings, snapshot) as problem:
            metrics = _draw(folder, problem, snapshot, progress)
        status = "finished" if snapshot.iteration >= folder.settings.run.iterations else "stopped"
        return _outcome(folder, snapshot, status, metrics)


def _carry_on(
    folder: RunFolder, problem: problems.Problem, snapshot: Snapshot | None, progress: Progress
) -> Outcome:
    """Go from where the snapshot is to the end; tell how to go on when Ctrl-C comes between."""
    try:
        return _work(folder, problem, snapshot, progress)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"go on with: diffsim resume {folder.path}") from None


def _work(
    folder: RunFolder, problem: problems.Problem, snapshot: Snapshot | None, progress: Progress
) -> Outcome:
    """Iterate, save, and draw."""
    began = time.perf_counter()
    if snapshot is None or snapshot.iteration < folder.settings.run.iterations:
        progress.say("compiling ...")
        problem.begin(snapshot)
        if snapshot is None and problem.warning:  # a run that goes on has been warned
            progress.say(f"warning: {problem.warning}")
        if snapshot is None:
            first = problem.params()
            snapshot = Snapshot(
                folder.settings.digest(), first, first, first, {}, History(), {"compile": 0.0, "run": 0.0}
            )
        snapshot.mode, snapshot.chunk = problem.plan["mode"], problem.plan["chunk"]
        snapshot.timings["compile"] += time.perf_counter() - began
        stopped = _iterate(folder, problem, snapshot, progress)
        if stopped:
            folder.save_manifest(_manifest(folder, problem, snapshot, "stopped"))
            return _outcome(folder, snapshot, "stopped")
    began = time.perf_counter()
    metrics = _draw(folder, problem, snapshot, progress)
    snapshot.timings["pictures"] = time.perf_counter() - began
    folder.save(snapshot)
    folder.save_manifest(_manifest(folder, problem, snapshot, "finished") | {"metrics": metrics})
    return _outcome(folder, snapshot, "finished", metrics)


def _iterate(folder: RunFolder, problem: problems.Problem, snapshot: Snapshot, progress: Progress) -> bool:
    """Run the iterations that are left; return whether Ctrl-C stopped them."""
    total, history = folder.settings.run.iterations, snapshot.history
    start = time.perf_counter() - snapshot.timings["run"]  # as if the stops had not been
    due = time.perf_counter() + _SAVE_SECONDS
    with StopSignal() as stop, progress:
        progress.begin(total, len(history))
        problem.watch = progress.within
        while len(history) < total and not stop.stopped:
            try:
                cost, norm = problem.step()
            except DiffsimError:
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


def _draw(
    folder: RunFolder, problem: problems.Problem, snapshot: Snapshot, progress: Progress
) -> dict[str, dict[str, float]]:
    """Make the pictures of the first and the best parameters, and of the costs; measure both."""
    from diffsim.view import cost_png

    progress.say("drawing ...")
    best = snapshot.lowest()
    with scratch_folder(folder.path) as scratch:
        after = "not trained yet" if best is None else f"after training: best cost {best[1]:.4g}"
        metrics = problem.animate(
            {
                scratch / "before.gif": ("before training", snapshot.first),
                scratch / "after.gif": (after, snapshot.best),
            },
            scratch / "compare.png",
        )
        if best is not None:
            costs = [row if row.ndim else float(row) for row in snapshot.history.costs]
            cost_png(
                scratch / "cost.png",
                costs,
                snapshot.history.grad_norms,
                title=problem.task.title(),
                ylabel=problem.task.cost_label,
            )
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
