"""The runs of a folder in a browser: a list, their reports, and comparisons."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from diffsim.errors import ConfigError
from diffsim.tasks.runs.reports import PAGE, compared, read_report, run_config
from diffsim.tasks.serving.server import HTML, JSON, Answer, Query
from diffsim.view.page import index_page, report_page, sparkline
from diffsim.view.page.pack import json_for_html

__all__ = ["Shelf"]

_DEPTH = 3  # folders below the one that is shown
_MOST = 4  # runs in a comparison
_FRESH = 20.0  # seconds without a save after which a run is not at work
_RUN, _COMPARE = "/run/", "/compare"


class Shelf:
    """Answers for a folder of runs, which are read anew when they changed.

    Args:
        folder: Where they are.

    Raises:
        ConfigError: There is no such folder.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise ConfigError(f"folder must exist, got {folder}; give the one that holds the runs, as runs/")
        self.folder = folder
        self._known: dict[str, tuple[tuple[float, ...], dict[str, Any]]] = {}

    def answer(self, path: str, query: Query) -> Answer | None:
        """Answer a browser; see `Server`."""
        if path == "/":
            return HTML, index_page(self.folder.resolve().name).encode()
        if path == "/runs.json":
            return JSON, json_for_html([self._row(name, run) for name, run in self.runs().items()]).encode()
        if path.startswith(_RUN):
            run = self.runs().get(path.removeprefix(_RUN))
            return None if run is None else (HTML, _report(run))
        if path == _COMPARE:
            return HTML, self._comparison(query.get("run", []))
        return None

    def runs(self) -> dict[str, Path]:
        """List the run folders by their paths inside the folder; what a page may ask for is one of these."""
        found: dict[str, Path] = {}
        for place, folders, files in os.walk(self.folder):
            inside = Path(place).relative_to(self.folder)
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            if "config.toml" in files:
                found["." if inside == Path() else inside.as_posix()] = Path(place)
                folders.clear()
            elif len(inside.parts) >= _DEPTH:
                folders.clear()
        return found

    def _row(self, name: str, run: Path) -> dict[str, Any]:
        """Describe a run for the list."""
        stamp = tuple(_changed(run / file) for file in ("config.toml", "history.csv", "manifest.json"))
        known = self._known.get(name)
        if known is None or known[0] != stamp:
            known = (stamp, _described(run))
            self._known[name] = known
        row = {"name": name, "changed": max(stamp), **known[1]}
        if row["status"] != "finished" and time.time() - stamp[1] < _FRESH:
            row["status"] = "training"
        return row

    def _comparison(self, names: list[str]) -> bytes:
        known = self.runs()
        chosen = [known[name] for name in names if name in known]
        if not 2 <= len(chosen) <= _MOST or len(chosen) != len(names):
            raise ConfigError(f"a comparison must be of 2 to {_MOST} runs, got {len(chosen)}; choose others")
        return compared(chosen).encode()


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _report(run: Path) -> bytes:
    """Return the report of a run: the one that was written, where nothing was saved since."""
    page = run / PAGE
    if _changed(page) >= _changed(run / "history.csv") > 0.0:
        return page.read_bytes()
    return report_page(read_report(run)).encode()


def _described(run: Path) -> dict[str, Any]:
    try:
        config = run_config(run)
        costs = _costs(run / "history.csv")
    except (ConfigError, OSError, ValueError, IndexError) as error:
        text = " ".join(str(error).split())
        return {"task": "", "status": "damaged", "note": text, "iterations": 0, "best": None, "costs": []}
    try:
        manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
        status = str(manifest["status"])
    except (OSError, ValueError, KeyError, TypeError):
        status = "not finished"
    finite = [cost for cost in costs if cost == cost]
    return {
        "task": str(config.get("task", "")),
        "status": status,
        "note": "",
        "iterations": len(costs),
        "total": config.get("run", {}).get("iterations"),
        "best": min(finite, default=None),
        "costs": sparkline(costs),
    }


def _costs(history: Path) -> list[float]:
    """Read the costs of a run; none where it has not come so far."""
    try:
        text = history.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    return [float(line.split(",")[1]) for line in text.splitlines()[1:]]
