"""Train every task as `diffsim train NAME` does by default, from three seeds, and hold it to its bar.

`python -m benchmarks learning` takes an hour or two; `python -m benchmarks learning wave cloth` takes these
two tasks alone.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common import machine, print_machine, print_table, write_json


@dataclass(frozen=True)
class Bar:
    """What the median over seeds must reach.

    Args:
        metric: The beginning of the name of a figure that the task measures.
        bound: The number.
        below: Whether the figure must be below it; else above.
        relative: Whether it is the share that is left of the figure before training.
    """

    metric: str
    bound: float
    below: bool = True
    relative: bool = False

    def reached(self, value: float) -> bool:
        """Tell whether a value is on the right side."""
        return value <= self.bound if self.below else value >= self.bound

    def __str__(self) -> str:
        return f"{'<=' if self.below else '>='} {self.bound:g}"


BARS: dict[str, Bar] = {}


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks learning", description=__doc__)
    parser.add_argument("tasks", nargs="*", help="tasks (all that have a bar)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="seeds (0 1 2)")
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side (2)")
    parser.add_argument("--keep", metavar="FOLDER", help="keep the run folders in this new folder")
    parser.add_argument("--json", metavar="FILE", help="write the numbers to a file")
    options = parser.parse_args(words)
    for name in options.tasks:
        if name not in BARS:
            parser.error(f"task must be one of {', '.join(BARS)}, got {name}")
    return options


def figure(folder: Path, bar: Bar) -> tuple[str, float, float]:
    """Read the figure that a bar is about from a run folder: its name, before and after training."""
    metrics = json.loads((folder / "manifest.json").read_text())["metrics"]
    name = next(name for name in metrics["after"] if name.startswith(bar.metric))
    return name, metrics["before"][name], metrics["after"][name]


def measure(names: Sequence[str], options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Train each task from each seed and collect its figures."""
    from diffsim.options import options_of
    from diffsim.runs import RunOptions
    from diffsim.survey import survey, train_task

    unset = {info.name: None for info in options_of(RunOptions)} | {"smoke": False}
    asked = [(name, seed) for name in names for seed in options.seeds]
    places = [folder / f"{name}-{seed}" for name, seed in asked]
    requests = [
        (name, unset | {"seed": seed, "threads": 1, "out": str(place)})
        for (name, seed), place in zip(asked, places, strict=True)
    ]
    runs = []
    for row, (name, seed), place in zip(
        survey(train_task, requests, options.jobs), asked, places, strict=True
    ):
        found: dict[str, Any] = {"task": name, "seed": seed, "passed": row.passed, "seconds": row.seconds}
        if row.passed:
            metric, before, after = figure(place, BARS[name])
            found |= {"metric": metric, "before": before, "after": after}
        else:
            found["why"] = " ".join(row.notes)
        print(f"{name} seed {seed}: {found.get('after', found.get('why'))}", file=sys.stderr, flush=True)
        runs.append(found)
    return runs


def summary(name: str, runs: Sequence[dict[str, Any]]) -> list[str]:
    """Make the row of one task."""
    bar, mine = BARS[name], [run for run in runs if run["task"] == name]
    seconds = f"{statistics.median(run['seconds'] for run in mine):.0f}"
    if not all(run["passed"] for run in mine):
        return [name, "", "", "", str(bar), "FAILED", seconds]
    values = [run["after"] / run["before"] if bar.relative else run["after"] for run in mine]
    median = statistics.median(values)
    metric = mine[0]["metric"] + (" / first" if bar.relative else "")
    verdict = "reached" if bar.reached(median) else "MISSED"
    each = " ".join(f"{value:.3g}" for value in values)
    return [name, metric, each, f"{median:.3g}", str(bar), verdict, seconds]


def main(words: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    options = parse(words)
    found = machine()
    print_machine(found)
    names = options.tasks or list(BARS)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(options.keep or scratch)
        runs = measure(names, options, folder)
    print_table(
        ["task", "figure", "by seed", "median", "bar", "", "seconds"], [summary(name, runs) for name in names]
    )
    write_json(options.json, {"machine": found, "options": vars(options), "runs": runs})
    return 0


if __name__ == "__main__":
    sys.exit(main())
