"""Value and gradient of many robots on a CUDA GPU: worlds, modes, bytes; one command.

`python -m benchmarks gpu --json benchmarks/results/gpu.json`. Where there is no GPU it says so and ends well;
`--arch cpu --worlds 1 4` tries it small.
"""

from __future__ import annotations

import argparse
import functools
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.children import stream
from benchmarks.common import machine, print_machine, print_table, write_json

WORLDS = (1, 4, 16, 64, 256, 1024, 4096, 16384)
MODES = ("step", "chunk", "fused")
LESS, MORE, MOST = 256, 4096, 10.0  # so many times the worlds in under so many times the time


def run_mode(options: dict[str, Any], mode: str) -> Iterator[dict[str, Any]]:
    """Run one mode over all numbers of worlds, yielding each row as soon as it is there."""
    import diffsim as ds
    from diffsim.kernels.mass_spring import MassSpring

    ds.init(options["arch"], cache=False)
    for worlds in options["worlds"]:
        row: dict[str, Any] = {"mode": mode, "worlds": worlds}
        sim = MassSpring(options["robot"])
        try:
            began = time.perf_counter()
            rollout = ds.Rollout(
                sim, steps=options["steps"], worlds=worlds, memory=options["memory"], mode=mode
            )
            cost, _ = rollout.value_and_grad([sim.policy])
            rollout.value()
            row["first_s"] = time.perf_counter() - began
            row["compile_s"] = rollout.compile_seconds
            row["cost"] = float(cost if worlds == 1 else cost[0])
            limits = options["repeat"], options["seconds"]
            row["value_s"] = _least(rollout.value, *limits)
            row["both_s"] = _least(functools.partial(rollout.value_and_grad, [sim.policy]), *limits)
            row["bytes"], row["window"] = rollout.plan.total_bytes, rollout.plan.window
            row["recomputation"], row["ran"] = rollout.plan.recomputation, rollout.plan.mode
            rollout.close()
        except (ds.DiffsimError, RuntimeError, MemoryError) as error:
            row["error"] = str(error).splitlines()[0] if str(error) else type(error).__name__
        yield row


def _least(call: Any, repeat: int, limit: float) -> float:
    """Return the least wall time of some calls; each ends with numbers on the host, so the GPU is done."""
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < repeat and (not times or time.perf_counter() - began < limit):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return min(times)


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks gpu", description=__doc__)
    parser.add_argument("--robot", default="1", help="a number, a name or a path (1)")
    parser.add_argument("--steps", type=int, default=682, help="time steps (682)")
    parser.add_argument("--worlds", type=int, nargs="+", default=list(WORLDS), help="robots (1 to 16384)")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES), help=f"({' '.join(MODES)})")
    parser.add_argument("--memory", default="32GiB", help="budget (32GiB)")
    parser.add_argument("--repeat", type=int, default=20, help="calls of which the fastest counts (20)")
    parser.add_argument("--seconds", type=float, default=3.0, help="no further call after so long (3)")
    parser.add_argument("--arch", choices=("cuda", "cpu"), default="cuda", help="backend (cuda)")
    parser.add_argument("--json", metavar="FILE", help="write the numbers to a file, after every row")
    options = parser.parse_args(words)
    if options.steps < 1 or options.repeat < 1 or min(options.worlds) < 1:
        parser.error("--steps, --repeat and --worlds must be at least 1")
    return options


def gpu_name() -> str | None:
    """Name the GPU, as its driver's tool tells."""
    import shutil
    import subprocess

    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    done = subprocess.run([tool, "-L"], capture_output=True, text=True, check=False)
    return done.stdout.splitlines()[0].split(" (UUID")[0] if done.returncode == 0 and done.stdout else None


def has_gpu() -> bool:
    """Tell whether Taichi finds a CUDA GPU."""
    from diffsim import _taichi

    return bool(_taichi.has_arch("cuda"))


def print_rows(rows: Sequence[dict[str, Any]]) -> None:
    """Print the table: a line for each number of worlds and mode."""
    head = ["mode", "worlds", "compile s", "MiB", "window", "factor", "forward ms", "both ms", "us a robot"]
    table = []
    for row in rows:
        if "error" in row:
            table.append([row["mode"], f"{row['worlds']:,}", row["error"][:60], *[""] * 6])
            continue
        mode = row["mode"] if row["ran"] == row["mode"] else f"{row['mode']} (ran {row['ran']})"
        table.append(
            [
                mode,
                f"{row['worlds']:,}",
                f"{row['compile_s']:.1f}",
                f"{row['bytes'] / 2**20:,.1f}",
                f"{row['window']:,}",
                f"{row['recomputation']:.2f}",
                f"{1e3 * row['value_s']:.2f}",
                f"{1e3 * row['both_s']:.2f}",
                f"{1e6 * row['both_s'] / row['worlds']:.1f}",
            ]
        )
    print_table(head, table)


def ratios(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return the time of many worlds over that of few, by mode and for the fastest mode of each."""
    times: dict[str, dict[int, float]] = {}
    for row in rows:
        if "both_s" in row:
            for mode in (row["mode"], "fastest"):
                known = times.setdefault(mode, {})
                known[row["worlds"]] = min(known.get(row["worlds"], row["both_s"]), row["both_s"])
    return {mode: known[MORE] / known[LESS] for mode, known in times.items() if {LESS, MORE} <= known.keys()}


def main(words: Sequence[str] | None = None) -> int:
    """Run the benchmark; the exit status is 1 where many worlds take too long."""
    options = parse(words)
    found = machine()
    if options.arch == "cuda" and not has_gpu():
        print("skipped: this machine has no CUDA GPU; --arch cpu --worlds 1 4 tries the benchmark small")
        return 0
    if options.arch == "cuda":
        found["gpu"] = gpu_name()
    print_machine(found)
    rows: list[dict[str, Any]] = []
    data = {"machine": found, "options": vars(options), "rows": rows}
    for mode in options.modes:
        try:
            for row in stream(run_mode, vars(options), mode):
                rows.append(row)
                took = row.get("error") or f"{1e3 * row['both_s']:.2f} ms"
                print(f"{mode}, {row['worlds']:,} worlds: {took}", flush=True)
        except RuntimeError as error:
            print(f"{mode}: {error}", flush=True)
            rows.append({"mode": mode, "worlds": 0, "error": str(error)})
    print(f"\nrobot {options.robot}, {options.steps} steps, {options.arch}:")
    print_rows(rows)
    found_ratios = ratios(rows)
    for mode, ratio in found_ratios.items():
        print(f"{mode}: {MORE} robots take {ratio:.1f}x the time of {LESS}")
    write_json(options.json, {**data, "ratios": found_ratios})
    return 1 if found_ratios.get("fastest", 0.0) >= MOST or any("error" in row for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
