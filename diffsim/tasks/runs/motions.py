"""What a run's report needs of the simulator: motions, the health of gradients, and how it was run."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsim.errors import DiffsimError
from diffsim.tasks.runs.files import scratch_folder, write
from diffsim.tasks.runs.folder import RunFolder
from diffsim.tasks.runs.problem import Problem
from diffsim.tasks.runs.state import Arrays, Snapshot
from diffsim.view.adjoints import adjoint_name
from diffsim.view.trajectory import Trajectory

__all__ = [
    "ADJOINTS",
    "MOTIONS",
    "TOLD",
    "bounded",
    "fingerprint",
    "missing_motions",
    "read_told",
    "record_motions",
]

MOTIONS = ("before", "best", "last")
ADJOINTS = "adjoints"  # the best motion with d cost / d x
TOLD = "report.json"
_MOST = 16 << 20  # bytes of a motion; of more, what is seen alone is kept, then fewer frames
_PATIENCE = 10.0  # seconds that measuring a gradient's health may take
_POINTS = 2000  # of its curve


def fingerprint(params: Arrays) -> str:
    """Return what tells parameters from others, so that motions are recorded again only when they changed."""
    found = hashlib.sha256()
    for key in sorted(params):
        found.update(key.encode())
        found.update(np.ascontiguousarray(params[key]).tobytes())
    return found.hexdigest()[:16]


def missing_motions(path: Path, snapshot: Snapshot) -> list[str]:
    """List the motions that were not recorded with the parameters that the run has reached."""
    there = read_told(path).get("recorded", {})
    wanted = _wanted(snapshot)
    return [
        name
        for name in MOTIONS
        if not isinstance(there, Mapping)
        or there.get(name) != fingerprint(wanted[name])
        or not (path / f"{name}.npz").exists()
    ]


def read_told(path: Path) -> dict[str, Any]:
    """Read what a run's folder tells for its report; empty where that is missing or damaged."""
    try:
        found = json.loads((path / TOLD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def record_motions(folder: RunFolder, problem: Problem, snapshot: Snapshot, anew: bool = False) -> None:
    """Record what is missing, and write it with all that only the simulator knows into the run's folder.

    Args:
        folder: Where it is written.
        problem: The run's live half.
        snapshot: How far the run is.
        anew: Whether to record also what is there.

    Raises:
        StateError: A file can't be written.
    """
    wanted = _wanted(snapshot)
    missing = list(MOTIONS) if anew else missing_motions(folder.path, snapshot)
    told = read_told(folder.path)
    marks = dict(told.get("recorded", {})) if isinstance(told.get("recorded"), Mapping) else {}
    health = dict(told.get("health", {})) if isinstance(told.get("health"), Mapping) else {}
    warnings = [problem.warning] if problem.warning else list(told.get("warnings", []))
    with scratch_folder(folder.path) as scratch:
        for name in missing:
            problem.use(wanted[name])
            bounded(problem.motion()).save(scratch / f"{name}.npz")
            marks[name] = fingerprint(wanted[name])
            if name != "last" and _affordable(problem, snapshot):
                health[name] = _health(problem)
                if name == "best":
                    _record_gradient(problem, scratch)
    content = {
        "title": problem.task.title(),
        "cost_label": problem.task.cost_label,
        "recorded": marks,
        "health": health,
        "parameters": problem.described(),
        "warnings": warnings,
        "graphs": problem.graphs(),
    }
    write(folder.path / TOLD, (json.dumps(content, indent=1) + "\n").encode())


def _record_gradient(problem: Problem, folder: Path) -> None:
    """Record d cost / d x beside the motion, where the simulator has States that a cost depends on."""
    with suppress(DiffsimError):  # a gradient that is not finite is told of by its health
        found = problem.gradient()
        if any(name.startswith(adjoint_name("")) for name in found.names):
            bounded(_seen(found)).save(folder / f"{ADJOINTS}.npz")


def _wanted(snapshot: Snapshot) -> dict[str, Arrays]:
    return {"before": snapshot.first, "best": snapshot.best, "last": snapshot.last}


def bounded(trajectory: Trajectory) -> Trajectory:
    """Return a motion that is small enough for a file of a run: what is seen of it, or fewer frames."""
    size = sum(np.asarray(signal).nbytes for signal in trajectory.values())
    if size > _MOST and trajectory.scene is not None:
        trajectory = _seen(trajectory)
        size = sum(np.asarray(signal).nbytes for signal in trajectory.values())
    return trajectory.every(math.ceil(size / _MOST)) if size > _MOST else trajectory


def _seen(trajectory: Trajectory) -> Trajectory:
    """Keep what the scene shows."""
    from diffsim.view.named import names_in

    scene = trajectory.scene
    names = set() if scene is None else set(names_in(scene))
    signals = {name: signal for name, signal in trajectory.items() if name in names}
    return Trajectory(signals, stills=trajectory.stills, scene=scene, title=trajectory.title)


def _affordable(problem: Problem, snapshot: Snapshot) -> bool:
    """Tell whether measuring a gradient's health takes seconds: it is compiled once more, and run."""
    gradient = snapshot.timings.get("run", 0.0) / max(1, snapshot.iteration)
    return problem.compile_seconds < _PATIENCE and 4.0 * gradient < _PATIENCE


def _health(problem: Problem) -> dict[str, Any]:
    """Measure how the gradient with the present parameters fares on its way back through time."""
    try:
        health = problem.health()
    except DiffsimError as error:
        return {"at": [], "norms": [], "text": str(error)}
    rows = np.atleast_2d(health.adjoint_norms)
    row = rows[int(np.argmax([np.max(row[np.isfinite(row)], initial=0.0) for row in rows]))]
    at = _places(row)
    norms = [float(value) if np.isfinite(value) else None for value in row[at]]
    return {"at": at.tolist(), "norms": norms, "text": str(health)}


def _places(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the places of the lowest and the highest of each few numbers, where there are many."""
    if len(values) <= _POINTS:
        return np.arange(len(values))
    width = math.ceil(2 * len(values) / _POINTS)
    starts = range(0, len(values), width)
    pieces = [(start, np.nan_to_num(values[start : start + width])) for start in starts]
    ends = {start + int(f(piece)) for start, piece in pieces for f in (np.argmin, np.argmax)}
    return np.array(sorted(ends | {0, len(values) - 1}))
