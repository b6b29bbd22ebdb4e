"""What a compiler makes of a program: diffsim native and on Taichi, hand-written C, JAX, Warp, plain Taichi.

Value and gradient of seven programs, each contender in a process of its own with one thread, in turns, after
costs and gradients were compared; and the first call, with empty caches. `python -m benchmarks compilers`
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks import contest
from benchmarks.common import empty_caches, machine, print_machine, print_table, write_json
from benchmarks.compilers_rows import ROWS, Row, prepare, setup_of, small
from benchmarks.contenders import Contender

KINDS = (*contest.COMPILERS, "c", "jax", "warp", "plain")


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks compilers", description=__doc__)
    parser.add_argument(
        "--rows",
        nargs="+",
        choices=ROWS,
        default=[name for name in ROWS if name != "mpm3"],
        help="programs (all but mpm3)",
    )
    parser.add_argument(
        "--contenders", nargs="+", choices=KINDS, default=list(KINDS), help="who runs them (all)"
    )
    parser.add_argument("--rounds", type=int, default=7, help="of timing (7)")
    parser.add_argument("--precision", type=int, choices=(32, 64), default=32, help="bits of a number (32)")
    parser.add_argument(
        "--mode", choices=("auto", "fused", "step", "chunk"), default="auto", help="of diffsim (auto)"
    )
    parser.add_argument(
        "--warm",
        action="store_true",
        help="leave the caches as they are: first calls may find what they need",
    )
    parser.add_argument("--small", action="store_true", help="tiny sizes, to try the command")
    parser.add_argument("--json", metavar="FILE", help="write the numbers to a file")
    options = parser.parse_args(words)
    if options.rounds < 1:
        parser.error(f"--rounds must be at least 1, got {options.rounds}")
    return options


def run_row(row: Row, options: argparse.Namespace) -> dict[str, Any]:
    """Start a row's contenders, compare what they find, and time them."""
    contenders: list[Contender] = []
    try:
        for kind in row.kinds:
            if kind in options.contenders:
                setup = setup_of(row, kind, options.precision, options.mode)
                with contextlib.nullcontext() if options.warm else empty_caches():
                    contenders.append(Contender(setup, row.make, "processor", prepare))
        if not contenders:
            return {}
        agreement = contest.compare(contenders, row.tolerance[options.precision])
        times = contest.measure(contenders, options.rounds)
    finally:
        for contender in contenders:
            contender.close()
    found = judge(row, contest.summary(contenders, times))
    return {"agreement": agreement, "contenders": found, "worlds": row.worlds}


def judge(row: Row, found: dict[str, Any]) -> dict[str, Any]:
    """Add ratios to the first contender, and whether diffsim is as fast as it is held to be.

    Args:
        row: What was run.
        found: Build and compile seconds and times of each round, by contender.
    """
    first = next(iter(found))
    for kind, numbers in found.items():
        for name in contest.MEASURES:
            pairs = zip(numbers["times"][name], found[first]["times"][name], strict=True)
            numbers[f"{name}_ratio"] = statistics.median(mine / theirs for mine, theirs in pairs)
        if first == "native" and kind in row.bars:
            numbers["bar"] = row.bars[kind]
            numbers["held"] = numbers["value_and_grad_ratio"] >= row.bars[kind]
        if first == "native" and kind == "jax" and row.bars:
            numbers["first_call_held"] = found[first]["first_call_s"] <= numbers["first_call_s"]
    return found


def print_results(results: dict[str, dict[str, Any]]) -> None:
    """Print the table; times of many worlds are those of one of them."""
    rows = []
    for name, result in results.items():
        per = 1e3 / result.get("worlds", 1)
        for kind, n in result.get("contenders", {}).items():
            bar = f">= {n['bar']:.2f}: {'held' if n['held'] else 'MISSED'}" if "bar" in n else ""
            if n.get("first_call_held") is False:
                bar += " (first call: MISSED)"
            ratios = [n[f"{key}_ratio"] for key in contest.MEASURES]
            title = ROWS[name].title if kind == next(iter(result["contenders"])) else ""
            rows.append([title, *contest.row_cells(kind, n, per, ratios), bar])
    print_table([*contest.ROW_HEAD, "held to"], rows)


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
        print(f"\n{row.title}: {size}, {row.steps} steps", flush=True)
        results[name] = run_row(row, options)
    print(f"\nf{options.precision}, one thread each, processor time; ratios to the first of a row:")
    print_results(results)
    data = {"machine": found, "options": vars(options), "results": results}
    write_json(options.json, data)
    return 0 if all(result["agreement"]["agree"] for result in results.values() if result) else 1


if __name__ == "__main__":
    sys.exit(main())
