"""The pictures of a run, the quickest first, and its figures of merit."""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from diffsim.errors import ConfigError
from diffsim.progress import Progress
from diffsim.tasks.runs.files import scratch_folder
from diffsim.tasks.runs.folder import RunFolder
from diffsim.tasks.runs.problem import Problem
from diffsim.tasks.runs.state import Snapshot
from diffsim.tasks.task import Recording
from diffsim.view.adjoints import adjoint_name

__all__ = ["Gauge", "draw", "draw_adjoints", "figure_text", "measure"]

_SHARE = 0.1  # of the time of training may go into measuring
Figures = dict[str, dict[str, float]]


def figure_text(name: str, value: float) -> str:
    """Write a figure of merit with its unit behind the number: `way 0.41 m` for `way [m]`."""
    words, bracket, unit = name.removesuffix("]").rpartition(" [")
    return f"{words} {value:.4g} {unit}" if bracket and name.endswith("]") else f"{name} {value:.4g}"


class Gauge:
    """Measures a task's first figure of merit now and then, for a small share of the time at most.

    Args:
        problem: What is trained.
    """

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._due = 0.0

    def look(self) -> str:
        """Measure with the parameters as they are, where it is time to; the text is empty where it is not."""
        began = time.perf_counter()
        if began < self._due:
            return ""
        compiled = self._problem.compile_seconds
        figures = self._problem.figures()
        now = time.perf_counter()
        spent = now - began - (self._problem.compile_seconds - compiled)
        self._due = now + spent * (1.0 / _SHARE - 1.0)
        return next((figure_text(name, value) for name, value in figures.items()), "")


def measure(problem: Problem, snapshot: Snapshot) -> tuple[list[Recording], Figures]:
    """Run the rollout with the first and with the best parameters.

    Args:
        problem: The run's live half; it keeps the best parameters.
        snapshot: How far the run is.

    Returns:
        The recordings, whose paths are only names; and the task's figures of merit, `before` and `after`.
    """
    best = snapshot.lowest()
    after = "not trained yet" if best is None else f"after training: best cost {best[1]:.4g}"
    recordings = [
        problem.record(Path("before.gif"), "before training", snapshot.first),
        problem.record(Path("after.gif"), after, snapshot.best),
    ]
    return recordings, {r.path.stem: problem.figures(r.arrays) for r in recordings}


def draw(
    folder: RunFolder,
    problem: Problem,
    snapshot: Snapshot,
    recordings: Sequence[Recording],
    progress: Progress,
) -> None:
    """Make the pictures: what compares before and after and the costs first, then the films.

    Args:
        folder: Where they go, each when it is whole.
        problem: The run's live half.
        snapshot: How far the run is.
        recordings: What `measure` returned.
        progress: Where to show how far it is.
    """
    with scratch_folder(folder.path) as scratch:
        inside = [replace(r, path=scratch / r.path.name) for r in recordings]
        problem.task.compare(inside, scratch / "compare.png")
        _draw_costs(scratch / "cost.png", problem, snapshot)
        names = _names(scratch)
    _say(folder, names, progress)
    with scratch_folder(folder.path) as scratch:
        told = [replace(r, progress=functools.partial(progress.drawing, r.path.name)) for r in inside]
        problem.task.animate(told)
        names = _names(scratch)
    progress.end()
    _say(folder, names, progress)


def draw_adjoints(folder: RunFolder, problem: Problem, snapshot: Snapshot, progress: Progress) -> None:
    """Make `adjoints.gif`: the motion of the best parameters with d cost / d x, and its length over time.

    Args:
        folder: Where it goes when it is whole.
        problem: The run's live half; it keeps the best parameters.
        snapshot: How far the run is.
        progress: Where to show how far it is.

    Raises:
        ConfigError: The simulator has no State of real numbers.
    """
    from diffsim.view import film_gif
    from diffsim.view.paint import films_of

    problem.use(snapshot.best)
    found = problem.task.gradient(problem.rollout)
    if not any(name.startswith(adjoint_name("")) for name in found.names):
        raise ConfigError(
            f"{problem.task.name} must have a State of real numbers to show its gradient, got none; "
            "value_and_grad gives that of its Params and Controls"
        )
    best = snapshot.lowest()
    caption = "not trained yet" if best is None else f"best cost {best[1]:.4g}"
    [film] = films_of([found], captions=[caption])
    told = functools.partial(progress.drawing, "adjoints.gif")
    with scratch_folder(folder.path) as scratch:
        film_gif(scratch / "adjoints.gif", film, problem.task.title(), progress=told)
    progress.end()
    _say(folder, ["adjoints.gif"], progress)


def _draw_costs(path: Path, problem: Problem, snapshot: Snapshot) -> None:
    """Plot the history, where there is one."""
    from diffsim.view import cost_png

    history, task = snapshot.history, problem.task
    if not len(history):
        return
    costs: list[Any] = [row if row.ndim else float(row) for row in history.costs]
    cost_png(path, costs, history.grad_norms, title=task.title(), ylabel=task.cost_label)


def _say(folder: RunFolder, names: Sequence[str], progress: Progress) -> None:
    if names:
        progress.say(f"wrote {folder.path / names[0]}" + "".join(f" and {name}" for name in names[1:]))


def _names(folder: Path) -> list[str]:
    """List the pictures in a folder, those of before in front of those of after."""
    return sorted((path.name for path in folder.iterdir()), key=lambda name: (name == "after.gif", name))
