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


BARS: dict[str, tuple[Bar, ...]] = {
    "acrobot": (Bar("angle of the upper rod", 5.0), Bar("angle of the lower rod", 5.0)),
    "billiards": (Bar("distance to the pocket [ball radii]", 1.0),),
    "cloth": (Bar("worst error", 5.0),),
    "elastic": (Bar("distance to the target [domain]", 0.01),),
    "elastic_crawler": (Bar("distance travelled [domain]", 0.3, below=False),),
    "elastic_hills": (Bar("distance to the target", 0.1),),
    "elastic_walker": (Bar("distance travelled [domain]", 0.0, below=False),),
    "electric": (Bar("mean distance, path never seen", 10.0),),
    "front": (Bar("reserve taken at the end", 5.0), Bar("bait", 2000.0)),
    "lattice_boltzmann": (Bar("body: area not in common", 10.0), Bar("inflow: error", 5.0)),
    "liquid": (Bar("distance swum [widths", 0.1, below=False),),
    "mass_spring": (Bar("way of the head", 0.15, below=False),),
    "mass_spring_goals": (
        Bar("way to a goal on the left", 0.05, below=False),
        Bar("way to a goal on the right", 0.05, below=False),
    ),
    "rigid_body": (Bar("way of the body", 0.25, below=False),),
    "rigid_body_articulated": (Bar("angle from upright", 5.0), Bar("speed at the end", 0.5)),
    "smoke": (Bar("mean squared error", 10.0), Bar("largest divergence", 1e-5)),
    "sph": (Bar("distance from the target", 5.0),),
    "two_link_arm": (Bar("mean distance from the path", 20.0),),
    "volume_renderer": (Bar("density: error", 10.0),),
    "water_classifier": (Bar("probability of the true", 50.0),),
    "water_renderer": (Bar("error of the picture", 10.0),),
    "wave": (Bar("distance to the target", 0.05**0.5, relative=True),),
}


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


def measure(names: Sequence[str], options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Train each task from each seed and collect its figures."""
    from diffsim.cli.survey import survey, train_task
    from diffsim.options import options_of
    from diffsim.tasks.runs import RunOptions

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
            found["metrics"] = json.loads((place / "manifest.json").read_text())["metrics"]
        else:
            found["why"] = " ".join(row.notes)
        said = found.get("why") or "; ".join(row.notes)
        print(f"{name}, seed {seed}: {said}", file=sys.stderr, flush=True)
        runs.append(found)
    return runs


def summary(name: str, runs: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Make the rows of one task, one for each of its bars."""
    mine = [run for run in runs if run["task"] == name]
    seconds = f"{statistics.median(run['seconds'] for run in mine):.0f}"
    if not all(run["passed"] for run in mine):
        outcome = "FAILED" if any(run["passed"] is False for run in mine) else "skipped"
        return [[name, "", "", "", "", outcome, seconds]]
    return [[name, *judged(bar, [run["metrics"] for run in mine]), seconds] for bar in BARS[name]]


def judged(bar: Bar, metrics: Sequence[dict[str, dict[str, float]]]) -> list[str]:
    """Hold the median over runs to a bar: the figure, its values, their median, the bar and the verdict."""
    name = next(name for name in metrics[0]["after"] if name.startswith(bar.metric))
    values = [m["after"][name] / (m["before"][name] if bar.relative else 1.0) for m in metrics]
    median = statistics.median(values)
    each = " ".join(f"{value:.3g}" for value in values)
    verdict = "reached" if bar.reached(median) else "MISSED"
    return [name + (" / first" if bar.relative else ""), each, f"{median:.3g}", str(bar), verdict]


def main(words: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    options = parse(words)
    found = machine()
    print_machine(found)
    names = options.tasks or list(BARS)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(options.keep or scratch)
        runs = measure(names, options, folder)
    rows = [row for name in names for row in summary(name, runs)]
    print_table(["task", "figure", "by seed", "median", "bar", "", "seconds"], rows)
    write_json(options.json, {"machine": found, "options": vars(options), "runs": runs})
    return 0


if __name__ == "__main__":
    sys.exit(main())
