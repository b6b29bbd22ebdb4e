"""Train robots from several seeds: best costs, their median, and the time it takes.

`python -m benchmarks training` runs 100 iterations for seeds 0 to 4 on robots 1 and 2, as `diffsim train`
does by default: normalised gradient descent with momentum.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.common import machine, print_machine, print_table, write_json

BARS = {"1": -0.40, "2": -0.48}  # the median best cost that issue 2 asks for


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    from diffsim.demos.mass_spring import MassSpringTask

    lr, momentum = (float(MassSpringTask.optimizer[key]) for key in ("lr", "momentum"))
    parser = argparse.ArgumentParser("python -m benchmarks training", description=__doc__)
    parser.add_argument("--robots", nargs="+", default=["1", "2"], help="numbers, names or paths (1 2)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4], help="seeds (0 1 2 3 4)")
    parser.add_argument("--iterations", type=int, default=100, help="iterations (100)")
    parser.add_argument("--steps", type=int, default=682, help="time steps (682)")
    parser.add_argument("--lr", type=float, default=lr, help=f"length of a step ({lr})")
    parser.add_argument(
        "--momentum", type=float, default=momentum, help=f"share of the last step to keep ({momentum})"
    )
    parser.add_argument("--precision", type=int, choices=(32, 64), default=32, help="bits of a real number")
    parser.add_argument(
        "--mode", choices=("auto", "step", "fused"), default="auto", help="how to launch (auto)"
    )
    parser.add_argument("--arch", choices=("auto", "cpu", "cuda"), default="auto", help="backend (auto)")
    parser.add_argument("--threads", type=int, help="CPU threads (all)")
    parser.add_argument("--json", metavar="FILE", help="write the numbers to a file")
    return parser.parse_args(words)


def train(robot: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Train one robot from one seed."""
    import diffsim as ds
    from diffsim.kernels.mass_spring import MassSpring

    ds.init(options.arch, options.precision, seed, options.threads)
    began = time.perf_counter()
    sim = MassSpring(robot)
    rollout = ds.Rollout(sim, steps=options.steps, mode=options.mode)
    rule = ds.optim.SGD(lr=options.lr, momentum=options.momentum, normalize=True)
    try:
        with rule.start(rollout, [sim.policy]) as run:
            rollout.evaluate([sim.policy])
            compiled = time.perf_counter()
            costs = [float(run.step().cost) for _ in range(options.iterations)]
            ended = time.perf_counter()
            best, iteration = run.best_cost, run.best_iteration
    finally:
        rollout.close()
    return {
        "robot": robot,
        "seed": seed,
        "first_cost": costs[0],
        "best_cost": best,
        "best_iteration": iteration,
        "compile_s": compiled - began,
        "seconds": ended - compiled,
        "costs": costs,
    }


def main(words: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    options = parse(words)
    found = machine()
    print_machine(found)
    runs, medians = [], {}
    for robot in options.robots:
        mine = [train(robot, seed, options) for seed in options.seeds]
        runs += mine
        head = ["seed", "first cost", "best cost", "at", "compile s", f"{options.iterations} iterations s"]
        rows = [
            [
                str(run["seed"]),
                f"{run['first_cost']:.4f}",
                f"{run['best_cost']:.4f}",
                str(run["best_iteration"]),
                f"{run['compile_s']:.2f}",
                f"{run['seconds']:.2f}",
            ]
            for run in mine
        ]
        print(f"\nrobot {robot}:")
        print_table(head, rows)
        median = statistics.median(run["best_cost"] for run in mine)
        seconds = statistics.median(run["seconds"] for run in mine)
        medians[robot] = {"best_cost": median, "seconds": seconds}
        whole = (options.iterations, options.steps, options.seeds) == (100, 682, [0, 1, 2, 3, 4])
        bar = BARS.get(robot) if whole else None
        verdict = "" if bar is None else f" ({'reaches' if median <= bar else 'MISSES'} {bar:.2f})"
        print(f"median best cost {median:.4f}{verdict}, median time {seconds:.2f} s")
    write_json(options.json, {"machine": found, "options": vars(options), "medians": medians, "runs": runs})
    return 0


if __name__ == "__main__":
    sys.exit(main())
