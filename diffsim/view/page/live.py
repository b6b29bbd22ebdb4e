"""Pages that ask for what they show: a run while it trains, and the runs of a folder."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from diffsim.view.page.bundle import page
from diffsim.view.page.report import Course, packed_course
from diffsim.view.page.tables import color_tables

__all__ = ["index_page", "live_page", "packed_live", "sparkline"]

_POINTS = 60  # of a sparkline


def live_page(name: str, title: str) -> str:
    """Return the page of a run that trains, which asks for `state.json` and `stage.json`."""
    return page(f"{title or name}: live", "live", {"name": name, "title": title, "colors": color_tables()})


def index_page(folder: str) -> str:
    """Return the page of a folder of runs, which asks for `runs.json`."""
    return page(f"{folder}: runs", "shelf", {"folder": folder, "colors": color_tables()})


def packed_live(course: Course) -> dict[str, Any]:
    """Pack how far a run is."""
    return {"course": packed_course(course)}


def sparkline(costs: ArrayLike) -> list[float | None]:
    """Thin costs to a few numbers, None where one is not finite."""
    values: list[float] = np.asarray(costs, dtype=np.float64).tolist()
    count = min(len(values), _POINTS)
    chosen = [round(k) for k in np.linspace(0, len(values) - 1, count)] if count else []
    return [values[k] if np.isfinite(values[k]) else None for k in chosen]
