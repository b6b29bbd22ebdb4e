"""One program on every backend that this machine has: value and gradient, side by side in one run.

`native`, `taichi` and `forge` are compilers on the CPU, `tape` is Taichi's own reverse mode under the same
windows, `vulkan` and `cuda` are GPUs (Mesa's driver computes on the CPU). `vulkan:step` names the mode too.
Each contender has a process of its own; costs and gradients are compared before anything is timed.
`python -m benchmarks backends`
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks import contest
from benchmarks.common import machine, print_machine, print_table, write_json
from benchmarks.compilers_rows import ROWS, Row, prepare, small
from benchmarks.contenders import Contender

CHOSEN = ("robot", "wave", "mpm", "worlds16")
PEERS = ("jax", "warp", "plain")


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks backends", description=__doc__)
    parser.add_argument(
        "--rows", nargs="+", choices=ROWS, default=list(CHOSEN), help=f"programs ({' '.join(CHOSEN)})"
    )
    parser.add_argument(
        "--contenders",
        nargs="+",
        default=[*(way for way in contest.WAYS if way != "cpu"), "jax", "warp"],
        help=f"{', '.join(contest.WAYS)}, each with :MODE if one is meant, {', '.join(PEERS)}; the first "
        "of them is what ratios are to",
    )
    parser.add_argument("--rounds", type=int, default=5, help="of timing (5)")
    parser.add_argument("--precision", type=int, choices=(32, 64), default=32, help="bits of a number (32)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of each (1); 0 for all")
    parser.add_argument("--steps", type=int, help="fewer time steps, for slow drivers")
    parser.add_argument("--small", action="store_true", help="tiny sizes, to try the command")
    parser.add_argument("--json", metavar="FILE", help="write the numbers to a file")
    options = parser.parse_args(words)
    for kind in options.contenders:
        if kind not in PEERS and contest.way_of(kind) is None:
            parser.error(f"--contenders must be of {', '.join([*contest.WAYS, *PEERS])}, got {kind}")
    for name in ("rounds", "steps"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            parser.error(f"--{name} must be at least 1, got {getattr(options, name)}")
    return options


def setup_of(row: Row, kind: str, options: argparse.Namespace) -> contest.Setup:
    """Return what a contender of a row runs."""
    steps = min(row.steps, options.steps or row.steps)
    return contest.Setup(kind, row.sizes, steps, options.precision, threads=options.threads or None)


def run_row(row: Row, options: argparse.Namespace) -> dict[str, Any]:
    """Start who can run a program, compare what they find, and time them in turns."""
    contenders: list[Contender] = []
    missing: dict[str, str] = {}
    try:
        for kind in dict.fromkeys(options.contenders):
            if kind in PEERS and kind not in row.kinds:
                continue
            try:
                contenders.append(Contender(setup_of(row, kind, options), row.make, "wall", prepare))
            except RuntimeError as error:
                missing[kind] = contest.reason(error)
                print(f"left out: {kind}: {missing[kind]}", flush=True)
        if not contenders:
            return {"missing": missing}
        agreement = contest.compare(contenders, row.tolerance[options.precision])
        found = contest.summary(contenders, contest.measure(contenders, options.rounds))
    finally:
        for contender in contenders:
            contender.close()
    return {"agreement": agreement, "contenders": found, "missing": missing, "worlds": row.worlds}


def print_results(results: dict[str, dict[str, Any]]) -> None:
    """Print the table: how long each takes, and how many times as long as the first of its row."""
    rows = []
    for name, result in results.items():
        found = result.get("contenders", {})
        for kind, n in found.items():
            ratios = [1.0 / n[f"{key}_faster"] for key in contest.MEASURES]
            title = ROWS[name].title if kind == next(iter(found)) else ""
            rows.append([title, *contest.row_cells(kind, n, 1e3, ratios)])
    print_table(contest.ROW_HEAD, rows)


def main(words: Sequence[str] | None = None) -> int:
    """Run the benchmark; the exit status is 1 where costs or gradients differ."""
    options = parse(words)
    found = machine()
    print_machine(found)
    options.contenders = contest.usable(options.contenders)
    results = {}
    for name in dict.fromkeys(options.rows):
        row = small(ROWS[name]) if options.small else ROWS[name]
        size = ", ".join(f"{key} {value}" for key, value in row.sizes.items())
        print(f"\n{row.title}: {size}, {min(row.steps, options.steps or row.steps)} steps", flush=True)
        results[name] = run_row(row, options)
    threads = options.threads or "all"
    print(f"\nf{options.precision}, threads {threads}, wall time; ratios to the first of a row:")
    print_results(results)
    write_json(options.json, {"machine": found, "options": vars(options), "results": results})
    differ = [r for r in results.values() if "agreement" in r and not r["agreement"]["agree"]]
    return 1 if differ or not any("contenders" in r for r in results.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
