"""What one waits for: a fresh process's first gradient, and the demo, with empty caches and with full ones.

The clock of a gradient starts when diffsim and the simulator are imported; that of the demo, which is what
`make demo` runs once all is installed, with its process. `python -m benchmarks first`
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.children import stream
from benchmarks.common import empty_caches, machine, print_machine, print_table, write_json

_SAME = 1e-4  # relative: how far costs and gradients with full caches may be off in f32, on many threads


def pendulum() -> Iterator[dict[str, Any]]:
    """Yield what the first gradient of the README's pendulum is and takes."""
    import diffsim as ds
    from benchmarks.pendulum_simulator import Pendulum

    def begin() -> Any:
        ds.init(precision=64)
        sim = Pendulum()
        sim.torque.set(0.01)
        return ds.Rollout(sim, steps=200)

    yield _timed(begin)


def mpm() -> Iterator[dict[str, Any]]:
    """Yield what the first gradient of the particles of `mpm` is and takes."""
    import diffsim as ds
    from benchmarks.mpm_simulator import NeoHookeanMPM

    def begin() -> Any:
        ds.init("cpu")
        return ds.Rollout(NeoHookeanMPM(), steps=64)

    yield _timed(begin)


def _timed(begin: Callable[[], Any]) -> dict[str, Any]:
    """Start the clock, make a rollout and take its gradient."""
    wall, busy = time.perf_counter(), time.process_time()
    rollout = begin()
    cost, grads = rollout.value_and_grad()
    spent = {"seconds": time.perf_counter() - wall, "processor_seconds": time.process_time() - busy}
    found = [np.ravel(cost), *(np.ravel(array) for array in grads.values())]
    rollout.close()
    return {**spent, "answer": np.concatenate(found).astype(np.float64)}


def demo() -> Iterator[dict[str, Any]]:
    """Yield how long the demo takes."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-m", "diffsim", *"train mass_spring --robot 1 --out".split()]
        wall, before = time.perf_counter(), os.times()
        subprocess.run([*words, f"{folder}/robot1"], check=True, stdout=subprocess.DEVNULL)
        seconds, after = time.perf_counter() - wall, os.times()
        busy = after.children_user + after.children_system - before.children_user - before.children_system
        yield {"seconds": seconds, "processor_seconds": busy}


@dataclass(frozen=True)
class Program:
    """Something that is waited for.

    Attributes:
        run: Yields what it takes once.
        bars: Seconds that it may take with empty and with full caches, None where nothing is asked.
    """

    run: Callable[[], Iterator[dict[str, Any]]]
    bars: tuple[float | None, float | None]


PROGRAMS = {
    "pendulum": Program(pendulum, (0.3, None)),
    "mpm": Program(mpm, (3.0, 0.5)),
    "demo": Program(demo, (3.0, None)),
}


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks first", description=__doc__)
    parser.add_argument("--programs", nargs="+", choices=PROGRAMS, default=list(PROGRAMS), help="which (all)")
    parser.add_argument("--rounds", type=int, default=3, help="each with empty caches, then full ones (3)")
    parser.add_argument("--json", metavar="FILE", help="write the numbers to a file")
    options = parser.parse_args(words)
    if options.rounds < 1:
        parser.error(f"--rounds must be at least 1, got {options.rounds}")
    return options


def measure(program: Program, rounds: int) -> dict[str, Any]:
    """Run a program with empty and then with full caches, so many times."""
    runs: dict[str, list[dict[str, Any]]] = {"cold": [], "warm": []}
    for _ in range(rounds):
        with empty_caches():
            for found in runs.values():
                found += stream(program.run)
    everything = [run for found in runs.values() for run in found]
    answers = [run.pop("answer") for run in everything if "answer" in run]
    off = [float(np.linalg.norm(a - answers[0]) / np.linalg.norm(answers[0])) for a in answers]
    return {
        **{
            f"{state}_{key}": statistics.median(run[key] for run in found)
            for state, found in runs.items()
            for key in found[0]
        },
        "difference": max(off, default=0.0),
        "agree": all(value <= _SAME for value in off),  # NaN does not agree
        "runs": runs,
    }


def print_results(results: dict[str, dict[str, Any]]) -> None:
    """Print the table."""
    rows = []
    for name, found in results.items():
        row = [name]
        for state, bar in zip(("cold", "warm"), PROGRAMS[name].bars, strict=True):
            seconds, busy = found[f"{state}_seconds"], found[f"{state}_processor_seconds"]
            held = "" if bar is None else f"<= {bar}: {'held' if seconds <= bar else 'MISSED'}"
            row += [f"{seconds:.2f}", f"{busy:.2f}", held]
        rows.append(row)
    print_table(["", "cold s", "(processor)", "held to", "warm s", "(processor)", "held to"], rows)


def main(words: Sequence[str] | None = None) -> int:
    """Run the benchmark; the exit status is 1 where full caches give another answer."""
    options = parse(words)
    found = machine()
    print_machine(found)
    results = {name: measure(PROGRAMS[name], options.rounds) for name in dict.fromkeys(options.programs)}
    print_results(results)
    for name, result in results.items():
        if not result["agree"]:
            print(f"{name}: answers DISAGREE by {result['difference']:.1e}")
    write_json(options.json, {"machine": found, "options": vars(options), "results": results})
    return 0 if all(result["agree"] for result in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
