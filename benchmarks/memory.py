"""How the memory of a rollout grows with its horizon, under the smallest budget that recomputes little.

For each horizon, in a process of its own: the smallest budget whose plan needs at most `--factor` forward
steps per step of the gradient, the bytes of that plan, and the most that the process ever held; and the same
with everything stored, where that is possible. A slope of 1/2 in logarithms is the square root.
`python -m benchmarks memory --plot memory.png`
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.children import stream
from benchmarks.common import machine, peak_memory, print_machine, print_table, write_json

STEPS = (1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
_ROOT = 0.55  # the slope of a square root, with room for budgets that come in windows


def run_one(robot: str, steps: int, worlds: int, factor: float) -> Iterator[dict[str, Any]]:
    """Find the budget, run value and gradient, and yield what they took.

    Args:
        robot: A number, a name or a path.
        steps: The horizon.
        worlds: Robots.
        factor: The most forward steps per step; 1 stores everything.
    """
    import diffsim as ds
    from diffsim.kernels.mass_spring import MassSpring

    ds.init("cpu")
    sim = MassSpring(robot)

    def plan(budget: int | str) -> Any:
        return ds.plan(sim, steps=steps, worlds=worlds, memory=budget, mode="fused")

    everything = plan("64TiB").total_bytes
    low, high = plan("64TiB").smallest, everything
    while factor > 1.0 and high > 1.02 * low:  # budgets are compared in logarithms, to two percent
        middle = int(math.sqrt(low * high))
        low, high = (low, middle) if plan(middle).recomputation <= factor else (middle, high)
    before = peak_memory()
    rollout = ds.Rollout(sim, steps=steps, worlds=worlds, memory=high, mode="fused")
    rollout.value_and_grad([sim.policy])
    peak = peak_memory()
    began = time.perf_counter()
    rollout.value_and_grad([sim.policy])
    yield {
        "steps": steps,
        "budget": high,
        "plan_bytes": rollout.plan.total_bytes,
        "store_all_bytes": everything,
        "window": rollout.plan.window,
        "checkpoints": rollout.plan.checkpoints,
        "recomputation": rollout.plan.recomputation,
        "before_mib": before,
        "peak_mib": peak,
        "seconds": time.perf_counter() - began,
    }
    rollout.close()


def slope(steps: Sequence[int], sizes: Sequence[float]) -> float:
    """Return the slope of a straight line through the logarithms, by least squares."""
    x, y = [math.log(s) for s in steps], [math.log(max(size, 1e-9)) for size in sizes]
    mx, my = sum(x) / len(x), sum(y) / len(y)
    return sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True)) / sum((a - mx) ** 2 for a in x)


def draw(rows: Sequence[dict[str, Any]], title: str, path: str) -> None:
    """Plot memory over the horizon, logarithmic along both axes, with the square root for comparison."""
    import matplotlib.pyplot as plt

    mib = 2.0**20
    steps = [row["steps"] for row in rows]
    planned = [row["plan_bytes"] / mib for row in rows]
    root = [planned[-1] * math.sqrt(s / steps[-1]) for s in steps]
    everything = [row["store_all_bytes"] / mib for row in rows]
    measured = [row for row in rows if "store_all_peak_mib" in row]
    figure, axes = plt.subplots(figsize=(6.4, 4.6), layout="constrained")
    axes.loglog(steps, everything, "--", color="tab:orange", label="fields, everything stored")
    axes.loglog(
        [row["steps"] for row in measured],
        [row["store_all_peak_mib"] for row in measured],
        "s",
        color="tab:orange",
        label="process, everything stored",
    )
    axes.loglog(steps, [row["peak_mib"] for row in rows], "s-", color="tab:blue", label="process")
    axes.loglog(steps, planned, "o-", color="tab:cyan", label="fields")
    axes.loglog(steps, root, ":", color="black", label="slope 1/2")
    axes.set(xlabel="horizon [steps]", ylabel="memory at most [MiB]", title=title)
    axes.grid(True, which="major", alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=130)
    plt.close(figure)
    print(f"drawn: {path}")


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks memory", description=__doc__)
    parser.add_argument("--robot", default="1", help="a number, a name or a path (1)")
    parser.add_argument(
        "--steps", type=int, nargs="+", default=list(STEPS), help="horizons (1000 to 1000000)"
    )
    parser.add_argument("--worlds", type=int, default=4, help="robots (4)")
    parser.add_argument("--factor", type=float, default=2.0, help="forward steps per step allowed (2)")
    parser.add_argument("--most-stored", default="1GiB", help="store everything too, up to here (1GiB)")
    parser.add_argument("--plot", metavar="FILE", help="draw a picture")
    parser.add_argument("--json", metavar="FILE", help="write the numbers to a file")
    options = parser.parse_args(words)
    if len(options.steps) < 2 or min(options.steps) < 1:
        parser.error(f"--steps must be at least two positive horizons, got {options.steps}")
    if options.worlds < 1 or not options.factor > 1.0:
        parser.error(
            f"--worlds must be at least 1 and --factor above 1, got {options.worlds}, {options.factor}"
        )
    return options


def main(words: Sequence[str] | None = None) -> int:
    """Run the benchmark; the exit status is 1 where memory grows faster than the square root."""
    options = parse(words)
    found = machine()
    print_machine(found)
    from diffsim.plan import parse_bytes

    most_stored = parse_bytes(options.most_stored)
    rows: list[dict[str, Any]] = []
    for steps in sorted(options.steps):
        (row,) = stream(run_one, options.robot, steps, options.worlds, options.factor)
        if row["store_all_bytes"] <= most_stored:
            (stored,) = stream(run_one, options.robot, steps, options.worlds, 1.0)
            row["store_all_peak_mib"] = stored["peak_mib"]
        rows.append(row)
        print(f"{steps:,} steps: {row['peak_mib']:.0f} MiB at most, {row['seconds']:.2f} s", flush=True)
    print(f"\nrobot {options.robot}, {options.worlds} worlds, factor at most {options.factor:g}:")
    print_rows(rows)
    horizons = [row["steps"] for row in rows]
    slopes = {name: slope(horizons, [row[name] for row in rows]) for name in ("plan_bytes", "peak_mib")}
    fine = slopes["plan_bytes"] <= _ROOT and slopes["peak_mib"] <= _ROOT
    print(
        f"slopes in logarithms: fields {slopes['plan_bytes']:.2f}, process {slopes['peak_mib']:.2f}: "
        + ("square root or slower" if fine else "FASTER than the square root")
    )
    if options.plot:
        title = f"Robot {options.robot}, {options.worlds} worlds, recomputation up to {options.factor:g}"
        draw(rows, title, options.plot)
    write_json(options.json, {"machine": found, "options": vars(options), "slopes": slopes, "rows": rows})
    return 0 if fine else 1


def print_rows(rows: Sequence[dict[str, Any]]) -> None:
    """Print the table; memory in MiB."""
    head = ["steps", "window", "places", "factor", "fields", "all stored", "process", "(all stored)", "s"]
    table = [
        [
            f"{row['steps']:,}",
            f"{row['window']:,}",
            f"{row['checkpoints']:,}",
            f"{row['recomputation']:.2f}",
            f"{row['plan_bytes'] / 2**20:.2f}",
            f"{row['store_all_bytes'] / 2**20:,.0f}",
            f"{row['peak_mib']:.0f}",
            f"{row['store_all_peak_mib']:.0f}" if "store_all_peak_mib" in row else "",
            f"{row['seconds']:.2f}",
        ]
        for row in rows
    ]
    print_table(head, table)


if __name__ == "__main__":
    sys.exit(main())
