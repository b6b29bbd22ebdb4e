"""What a compiler makes of a program: diffsim's native one and Taichi's, hand-written C, JAX, plain Taichi.

Value and gradient of seven programs, each contender in a process of its own with one thread, in turns, after
costs and gradients were compared; and the first call, with empty caches. `python -m benchmarks compilers`
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks import contest
from benchmarks.common import machine, print_machine, print_table, write_json
from benchmarks.compilers_rows import ROWS, Row, prepare, setup_of, small
from benchmarks.contenders import Contender

KINDS = (*contest.COMPILERS, "c", "jax", "plain")
_CACHES = ("XDG_CACHE_HOME", "TI_OFFLINE_CACHE_FILE_PATH")  # where diffsim and Taichi keep what is compiled


@contextlib.contextmanager
def empty_caches() -> Iterator[None]:
    """Let processes that are started here find nothing compiled, and keep nothing for others."""
    before = {name: os.environ.get(name) for name in (*_CACHES, "JAX_COMPILATION_CACHE_DIR")}
    with tempfile.TemporaryDirectory() as folder:
        try:
            os.environ.update({name: os.path.join(folder, name.lower()) for name in _CACHES})
            os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)
            yield
        finally:
            for name, value in before.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks compilers", description=__doc__)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), help="programs (all)")
    parser.add_argument(
        "--contenders", nargs="+", choices=KINDS, default=list(KINDS), help="who runs them (all)"
    )
    parser.add_argument("--rounds", type=int, default=7, help="of timing (7)")
    parser.add_argument("--precision", type=int, choices=(32, 64), default=32, help="bits of a number (32)")
    parser.add_argument(
        "--mode", choices=("auto", "fused", *contest.MODES[:2]), default="auto", help="(auto)"
    )
    parser.add_argument("--small", action="store_true", help="tiny sizes, to try the command")
    parser.add_argument("--json", metavar="FILE", help="write the numbers to a file")
    options = parser.parse_args(words)
    if options.rounds < 1:
        parser.error(f"--rounds must be at least 1, got {options.rounds}")
    return options


def run_row(row: Row, options: argparse.Namespace) -> dict[str, Any]:
    """Start a row's contenders, compare what they find, and time them."""
    kinds = contest.usable([kind for kind in row.kinds if kind in options.contenders])
    contenders: list[Contender] = []
    try:
        for kind in kinds:
            setup = setup_of(row, kind, options.precision, options.mode)
            with empty_caches():
                contenders.append(Contender(setup, row.make, "processor", prepare))
        agreement = contest.compare(contenders, row.tolerance[options.precision])
        times = contest.measure(contenders, options.rounds)
    finally:
        for contender in contenders:
            contender.close()
    found = contest.summary(contenders, times)
    first = times[kinds[0]]
    for contender in contenders:
        kind, numbers = contender.setup.kind, found[contender.setup.kind]
        numbers["first_call_s"] = contender.build + contender.first
        for name in contest.MEASURES:
            pairs = zip(times[kind][name], first[name], strict=True)
            numbers[f"{name}_ratio"] = statistics.median(mine / theirs for mine, theirs in pairs)
        if kind in row.bars and kinds[0] == "native":
            numbers["bar"] = row.bars[kind]
            numbers["held"] = numbers["value_and_grad_ratio"] >= row.bars[kind]
        if kind == "jax":
            numbers["first_call_held"] = found[kinds[0]]["first_call_s"] <= numbers["first_call_s"]
    return {"agreement": agreement, "contenders": found, "yardstick": kinds[0], "worlds": row.worlds}


def print_results(results: dict[str, dict[str, Any]]) -> None:
    """Print the table; times of many worlds are those of one of them."""
    head = ["", "", "first s", "forward ms", "both ms", "least ms", "forward", "both", "held to"]
    rows = []
    for name, result in results.items():
        per = 1e3 / result["worlds"]
        for kind, n in result["contenders"].items():
            bar = f">= {n['bar']:.2f}: {'held' if n['held'] else 'MISSED'}" if "bar" in n else ""
            if n.get("first_call_held") is False:
                bar += " (first call: MISSED)"
            rows.append(
                [
                    ROWS[name].title if kind == result["yardstick"] else "",
                    contest.LABELS.get(kind, f"diffsim {kind}"),
                    f"{n['first_call_s']:.2f}",
                    *(f"{per * n[key]:.3g}" for key in ("value_s", "value_and_grad_s")),
                    f"{per * n['value_and_grad_least_s']:.3g}",
                    *(f"{n[f'{key}_ratio']:.2f}" for key in contest.MEASURES),
                    bar,
                ]
            )
    print_table(head, rows)


def main(words: Sequence[str] | None = None) -> int:
    """Run the benchmark; the exit status is 1 where costs or gradients differ."""
    options = parse(words)
    found = machine()
    print_machine(found)
    results = {}
    for name in dict.fromkeys(options.rows):
        row = small(ROWS[name]) if options.small else ROWS[name]
        size = ", ".join(f"{key} {value}" for key, value in row.sizes.items())
        print(f"\n{row.title}: {size}, {row.steps} steps", flush=True)
        results[name] = run_row(row, options)
    yardsticks = " or ".join(dict.fromkeys(result["yardstick"] for result in results.values()))
    print(
        f"\nf{options.precision}, one thread each, processor time; ratios to {yardsticks}, above 1 is slower:"
    )
    print_results(results)
    data = {"machine": found, "options": vars(options), "results": results}
    write_json(options.json, data)
    return 0 if all(result["agreement"]["agree"] for result in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
