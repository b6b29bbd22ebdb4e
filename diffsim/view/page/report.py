"""The report of a run: what there is to show of it, and its page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffsim.view.page.bundle import page
from diffsim.view.page.motions import Motion, packed_stages
from diffsim.view.page.pack import exact
from diffsim.view.page.parameters import Parameter, packed_parameter
from diffsim.view.page.tables import color_tables

__all__ = ["ROOM", "Course", "Health", "Report", "packed_report", "report_page"]

ROOM = 3_600_000  # bytes of a page that motions may take; the rest takes a few hundred thousand
_POINTS = 2000  # of a curve


@dataclass(frozen=True, eq=False)
class Course:
    """How an optimisation went.

    Attributes:
        costs: Before each update, shape (iterations,) or (iterations, worlds).
        norms: The gradient's length, shape (iterations,).
        seconds: Wall time up to then, shape (iterations,).
        best: The iteration of the lowest cost and that cost; None before the first.
        label: What the cost is, with its unit.
    """

    costs: ArrayLike = ()
    norms: ArrayLike = ()
    seconds: ArrayLike = ()
    best: tuple[int, float] | None = None
    label: str = "cost"


@dataclass(frozen=True, eq=False)
class Health:
    """How a gradient fared on its way back through time.

    Attributes:
        name: Of which parameters: `before`, `best`.
        norms: The length of the adjoint of all States at each step, shape (steps + 1,), or
            (worlds, steps + 1).
        text: What to make of it.
        at: The steps of the norms; empty for 0, 1, 2, ...
    """

    name: str
    norms: ArrayLike
    text: str = ""
    at: ArrayLike = ()


@dataclass(frozen=True, eq=False)
class Report:
    """All that there is to show of a run.

    Attributes:
        name: Its folder's name.
        title: What was optimised.
        status: `finished`, `stopped`, `running` ...
        course: How the optimisation went.
        motions: What to look at side by side.
        gradient: The best motion with d cost / d x in its scene.
        parameters: What was optimised.
        health: Of gradients.
        plan: How it was run: `mode`, `memory` (bytes by purpose), `text` and so on.
        tables: Facts by heading: configuration, versions, timing.
        figures: The task's figures of merit by name, of motions by name.
        warnings: What looks bad, a line each.
        graphs: Pictures of the program as SVG text, with their captions.
    """

    name: str
    title: str = ""
    status: str = ""
    course: Course = field(default_factory=Course)
    motions: Sequence[Motion] = ()
    gradient: Motion | None = None
    parameters: Sequence[Parameter] = ()
    health: Sequence[Health] = ()
    plan: Mapping[str, Any] = field(default_factory=dict)
    tables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    figures: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    graphs: Sequence[tuple[str, str]] = ()


def report_page(report: Report) -> str:
    """Return the page of one run, as HTML."""
    stages = packed_stages(report.motions, ROOM if report.gradient is None else 2 * ROOM // 3)
    if report.gradient is not None:
        stages += packed_stages([report.gradient], ROOM // 3, "Where the cost comes from")
    data = {"runs": [packed_report(report)], "stages": stages, "colors": color_tables()}
    return page(f"{report.title or report.name}: report", "report", data)


def packed_report(report: Report) -> dict[str, Any]:
    """Pack all but the motions."""
    return {
        "name": report.name,
        "title": report.title,
        "status": report.status,
        "course": packed_course(report.course),
        "parameters": [packed_parameter(parameter) for parameter in report.parameters],
        "health": [
            {"name": health.name, "text": health.text, "norms": _norms(health)} for health in report.health
        ],
        "plan": dict(report.plan),
        "tables": {name: dict(table) for name, table in report.tables.items()},
        "figures": {name: dict(row) for name, row in report.figures.items()},
        "warnings": list(report.warnings),
        "graphs": [{"caption": caption, "svg": svg} for caption, svg in report.graphs],
    }


def packed_course(course: Course) -> dict[str, Any]:
    """Pack a course: of many iterations the lowest and highest cost of each few."""
    costs = np.asarray(course.costs, dtype=np.float64)
    table = costs[:, None] if costs.ndim == 1 else costs
    mean = table.mean(axis=1) if table.size else np.zeros(0)
    worlds = table.shape[1] if table.ndim == 2 else 1
    told: dict[str, Any] = {
        "label": course.label if worlds == 1 else f"{course.label}, mean of {worlds} worlds",
        "iterations": len(mean),
        "cost": _thinned(mean),
        "norm": _thinned(np.asarray(course.norms, dtype=np.float64)),
        "seconds": float(np.asarray(course.seconds)[-1]) if np.size(course.seconds) else 0.0,
        "best": None,
    }
    if len(mean) and np.isfinite(mean).any():
        told["best"] = {"iteration": int(np.nanargmin(mean)), "cost": float(np.nanmin(mean))}
        if course.best is not None and worlds == 1:
            told["best"] = {"iteration": int(course.best[0]), "cost": float(course.best[1])}
    if worlds > 1 and len(mean):
        told["band"] = {"low": _thinned(table.min(axis=1)), "high": _thinned(table.max(axis=1))}
    return told


def _norms(health: Health) -> dict[str, Any]:
    if np.size(health.at):
        return {"at": exact(health.at), "values": exact(np.asarray(health.norms, dtype=np.float64))}
    return _thinned(_fastest(health.norms))


def _fastest(norms: ArrayLike) -> NDArray[np.float64]:
    """Return the row of the world whose adjoints became the largest."""
    rows = np.atleast_2d(np.asarray(norms, dtype=np.float64))
    if not rows.size:
        return np.zeros(0)
    largest = [float(np.max(row[np.isfinite(row)], initial=0.0)) for row in rows]
    return np.asarray(rows[int(np.argmax(largest))])


def _thinned(values: NDArray[np.float64]) -> dict[str, Any]:
    """Pack a curve with the places of its samples: the lowest and highest of each few where it is long."""
    if len(values) <= _POINTS:
        return {"at": exact(np.arange(len(values))), "values": exact(values)}
    width = math.ceil(2 * len(values) / _POINTS)
    chosen = {0, len(values) - 1}
    for start in range(0, len(values), width):
        piece = values[start : start + width]
        chosen |= {start + int(np.argmin(piece)), start + int(np.argmax(piece))}
    at = np.array(sorted(chosen))
    return {"at": exact(at), "values": exact(values[at])}
