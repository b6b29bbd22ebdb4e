"""A run's folder as a report: everything is read from files, nothing is simulated."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diffsim.errors import ConfigError
from diffsim.files import in_shell
from diffsim.tasks.runs.files import write
from diffsim.tasks.runs.folder import config_text
from diffsim.tasks.runs.motions import ADJOINTS, MOTIONS, read_told
from diffsim.tasks.runs.settings import parse_toml
from diffsim.tasks.runs.state import Snapshot
from diffsim.tasks.targets import called
from diffsim.view.page import Course, Health, Motion, Parameter, Report, comparison_page, report_page
from diffsim.view.trajectory import Trajectory

__all__ = [
    "PAGE",
    "compared",
    "read_report",
    "run_config",
    "write_comparison",
    "write_report",
]

PAGE = "report.html"
_TABLES = {"run": "Run", "optimizer": "Optimizer", "options": "Options"}


def write_report(path: Path) -> Path:
    """Write the report of a run's folder from what is in it; return its path.

    Raises:
        ConfigError: The folder holds no run, or a file in it is damaged.
        StateError: The page can't be written.
    """
    page = path / PAGE
    write(page, report_page(read_report(path)).encode())
    return page


def write_comparison(paths: Sequence[Path], out: Path) -> None:
    """Write the page that compares runs.

    Raises:
        ConfigError: A folder holds no run, or a file in it is damaged.
        StateError: The page can't be written.
    """
    write(out, compared(paths).encode())


def compared(paths: Sequence[Path]) -> str:
    """Return the page that compares runs.

    Raises:
        ConfigError: A folder holds no run, or a file in it is damaged.
    """
    return comparison_page(_apart([read_report(path, ("best",)) for path in paths]))


def _apart(reports: Sequence[Report]) -> list[Report]:
    """Give runs of one name numbers, and motions the names of their runs: the best of each is compared."""
    import dataclasses

    names = [report.name for report in reports]
    found = []
    for k, report in enumerate(reports):
        name = (
            report.name
            if names.count(report.name) == 1
            else f"{report.name} ({names[: k + 1].count(report.name)})"
        )
        best = [m for m in report.motions if m.name == "best"] or list(report.motions)[-1:]
        motions = [dataclasses.replace(m, name=name, caption=m.caption) for m in best]
        found.append(dataclasses.replace(report, name=name, motions=motions))
    return found


def read_report(path: Path, motions: Sequence[str] = MOTIONS) -> Report:
    """Read what there is to show of a run.

    Args:
        path: Its folder.
        motions: Which of `before`, `best` and `last`; those that are not there are left out.

    Raises:
        ConfigError: The folder holds no run, or a file in it is damaged.
    """
    config = run_config(path)
    snapshot = Snapshot.read(path)
    manifest, told = _manifest(path), read_told(path)
    history = snapshot.history if snapshot else None
    course = Course(label=str(told.get("cost_label", "cost")))
    if snapshot and history:
        course = Course(history.costs, history.grad_norms, history.seconds, snapshot.lowest(), course.label)
    plan = _table(manifest.get("plan"))
    return Report(
        name=path.resolve().name,
        title=str(told.get("title") or called(str(config.get("task", "")))),
        status=str(manifest.get("status", "not finished")),
        course=course,
        motions=[m for m in (_motion(path, name, snapshot) for name in motions) if m],
        gradient=_motion(path, ADJOINTS, snapshot) if len(motions) > 1 else None,
        parameters=_parameters(snapshot, _table(told.get("parameters"))) if snapshot else [],
        health=_health(_table(told.get("health"))),
        plan={key: plan[key] for key in ("text", "memory", "facts") if key in plan},
        tables=_facts(config, manifest),
        figures={name: _table(row) for name, row in _table(manifest.get("metrics")).items()},
        warnings=[str(line) for line in told.get("warnings", [])],
        graphs=[(caption, str(svg)) for caption, svg in _table(told.get("graphs")).items()],
    )


def run_config(path: Path) -> dict[str, Any]:
    """Read config.toml as it is: the task may be gone, and its run can still be looked at.

    Raises:
        ConfigError: The folder holds no run, or the file is damaged.
    """
    return parse_toml(config_text(path), str(path / "config.toml"))


def _manifest(path: Path) -> dict[str, Any]:
    try:
        return _table(json.loads((path / "manifest.json").read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}  # a run that goes on has none yet


def _table(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}


def _motion(path: Path, name: str, snapshot: Snapshot | None) -> Motion | None:
    file = path / f"{name}.npz"
    if not file.exists():
        return None
    if not zipfile.is_zipfile(file):
        if name == ADJOINTS:
            return None
        raise ConfigError(
            f"{file} must hold a motion, got a damaged file; diffsim report {in_shell(path)} records it anew"
        )
    lowest = snapshot.lowest() if snapshot else None
    captions = {
        "before": "training",
        "best": f"cost {lowest[1]:.4g}".replace("-", "−") if lowest else "",
        "last": "parameters",
        ADJOINTS: "",
    }
    return Motion("best" if name == ADJOINTS else name, captions[name], Trajectory.load(file))


def _parameters(snapshot: Snapshot, told: Mapping[str, Any]) -> list[Parameter]:
    found = []
    for key, first in snapshot.first.items():
        about = _table(told.get(key))
        bounds = about.get("bounds") or [None, None]
        found.append(
            Parameter(
                key,
                first,
                snapshot.best.get(key, first),
                unit=str(about.get("unit", "")),
                kind=str(about.get("kind", "Param")),
                bounds=(bounds[0], bounds[1]),
            )
        )
    return found


def _health(told: Mapping[str, Any]) -> list[Health]:
    found = []
    for name in ("before", "best"):
        row = _table(told.get(name))
        if row.get("norms") or row.get("text"):
            norms = np.array(row.get("norms", []), dtype=np.float64)
            found.append(Health(name, norms, str(row.get("text", "")), row.get("at", [])))
    return found


def _facts(config: Mapping[str, Any], manifest: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Gather the tables: what it was run with, on what, and what took how long."""
    facts = {"Run": {"task": config.get("task", "")}}
    for key, heading in _TABLES.items():
        facts.setdefault(heading, {}).update(_table(config.get(key)))
    data = {key: f"{len(str(value)):,} letters" for key, value in _table(config.get("data")).items()}
    if data:
        facts["Data"] = data
    facts["Seconds"] = {
        name: round(float(value), 3) for name, value in _table(manifest.get("seconds")).items()
    }
    versions = _table(manifest.get("versions"))
    machine = {key: manifest[key] for key in ("python", "platform", "written") if key in manifest}
    facts["Versions"] = versions | machine | _table(manifest.get("backend"))
    return facts
