"""Tables of `gpu`, on the screen and as a short report beside the numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import print_table
from diffsim.files import replacing

LESS, MORE = 256, 4096
_ROBOTS = ("mode", "worlds", "compile s", "MiB", "window", "factor", "forward ms", "both ms", "us a robot")
_PROGRAMS = ("program", "who", "first s", "forward ms", "both ms", "gradient off by")

Rows = Sequence[dict[str, Any]]


def ratios(rows: Rows) -> dict[str, float]:
    """Return the time of many worlds over that of few, by mode and for the fastest mode of each."""
    times: dict[str, dict[int, float]] = {}
    for row in rows:
        if "both_s" in row:
            for mode in (row["mode"], "fastest"):
                known = times.setdefault(mode, {})
                known[row["worlds"]] = min(known.get(row["worlds"], row["both_s"]), row["both_s"])
    return {mode: known[MORE] / known[LESS] for mode, known in times.items() if {LESS, MORE} <= known.keys()}


def _robot(row: dict[str, Any]) -> list[str]:
    if "error" in row:
        return [row["mode"], f"{row['worlds']:,}", row["error"][:60], *[""] * 6]
    return [
        row["mode"] if row["ran"] == row["mode"] else f"{row['mode']} (ran {row['ran']})",
        f"{row['worlds']:,}",
        f"{row['compile_s']:.1f}",
        f"{row['bytes'] / 2**20:,.1f}",
        f"{row['window']:,}",
        f"{row['recomputation']:.2f}",
        f"{1e3 * row['value_s']:.2f}",
        f"{1e3 * row['both_s']:.2f}",
        f"{1e6 * row['both_s'] / row['worlds']:.1f}",
    ]


def _program(row: dict[str, Any]) -> list[str]:
    if "error" in row:
        return [row["program"], row["kind"], row["error"][:60], "", "", ""]
    return [
        row["program"],
        row["kind"],
        f"{row['first_s']:.1f}",
        f"{1e3 * row['value_s']:.2f}",
        f"{1e3 * row['value_and_grad_s']:.2f}",
        f"{row.get('gradient_error', 0.0):.1e}" + ("" if row["agree"] else " WRONG"),
    ]


def print_robots(rows: Rows) -> None:
    """Print the table of robots, and how many worlds compare with few."""
    print_table(_ROBOTS, [_robot(row) for row in rows])
    for mode, ratio in ratios(rows).items():
        print(f"{mode}: {MORE} robots take {ratio:.1f}x the time of {LESS}")


def print_programs(rows: Rows) -> None:
    """Print the table of the other programs; gradients are compared with the first of each."""
    print_table(_PROGRAMS, [_program(row) for row in rows])


def write_report(path: Path, data: dict[str, Any]) -> None:
    """Write what is known so far as a page of Markdown; a reader never sees half of it.

    Args:
        path: The file.
        data: What `gpu` found, by part.
    """
    found, options = data["machine"], data["options"]
    lines = [f"# diffsim on {options['arch']}", ""]
    lines += [", ".join(f"{key} {value}" for key, value in found.items() if value is not None), ""]
    if "tests" in data:
        tests = data["tests"]
        lines += ["## Tests", "", f"{tests['lines'][-1] if tests['lines'] else 'nothing was said'}", ""]
    if data.get("robots"):
        lines += [f"## Robot {options['robot']}, {options['steps']} steps", ""]
        lines += [*_markdown(_ROBOTS, data["robots"], _robot), ""]
        lines += [
            f"- {m}: {MORE} robots take {r:.1f}x the time of {LESS}"
            for m, r in ratios(data["robots"]).items()
        ]
    if data.get("programs"):
        lines += ["## Grids and particles", "", *_markdown(_PROGRAMS, data["programs"], _program), ""]
    with replacing(path) as temporary:
        temporary.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")


def _markdown(head: Sequence[str], rows: Rows, shown: Callable[[dict[str, Any]], list[str]]) -> list[str]:
    texts = [list(head), ["---"] * len(head), *(shown(row) for row in rows)]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in text) + " |" for text in texts]
