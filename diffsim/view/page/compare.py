"""Several runs in one page: their curves in one plot, their motions side by side, and what differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from diffsim.view.page.bundle import page
from diffsim.view.page.motions import packed_stages
from diffsim.view.page.report import ROOM, Report, packed_report
from diffsim.view.page.tables import color_tables

__all__ = ["comparison_page", "differences"]


def comparison_page(reports: Sequence[Report]) -> str:
    """Return the page that compares runs, as HTML.

    Args:
        reports: Of each run; the motions of one title share a scale.
    """
    names = " and ".join(report.name for report in reports)
    return page(f"{names}: comparison", "compare", packed_comparison(reports))


def packed_comparison(reports: Sequence[Report]) -> dict[str, Any]:
    """Pack what compares runs."""
    groups: dict[str, list[Any]] = {}
    for report in reports:
        groups.setdefault(report.title, []).extend(report.motions)
    room = ROOM // max(1, len(groups))
    stages = [s for title, motions in groups.items() for s in packed_stages(motions, room, title)]
    return {
        "runs": [packed_report(report) for report in reports],
        "stages": stages,
        "colors": color_tables(),
        "differences": differences([report.tables for report in reports]),
    }


def differences(tables: Sequence[Mapping[str, Mapping[str, Any]]]) -> dict[str, dict[str, list[Any]]]:
    """Return what is not the same in all runs: by heading and key one value for each run, None for none."""
    found: dict[str, dict[str, list[Any]]] = {}
    for heading in dict.fromkeys(heading for table in tables for heading in table):
        rows = [table.get(heading, {}) for table in tables]
        for key in dict.fromkeys(key for row in rows for key in row):
            values = [row.get(key) for row in rows]
            if any(value != values[0] for value in values[1:]):
                found.setdefault(heading, {})[key] = values
    return found
