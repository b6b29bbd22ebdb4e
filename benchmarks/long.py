"""Value and gradient of a long rollout under a small memory budget: seconds, and the memory of the process.

`python -m benchmarks long` runs 1,000,000 steps under 64 MiB, which may take 120 s, compiling included, in a
process of at most 400 MiB; and it plans as many under 1 GiB, with a recomputation of at most 2. It runs in a
process of its own, because the largest memory that a process has held can't be taken back.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from benchmarks.common import machine, peak_memory, print_machine, write_json


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks long", description=__doc__)
    parser.add_argument("--robot", default="a", help="a number, a name or a path (a)")
    parser.add_argument(
        "--scale",
        type=float,
        default=0.35,
        help="factor on the controller's first weights (0.35): the gradient of a wild walk overflows in time",
    )
    parser.add_argument("--steps", type=int, default=1_000_000, help="time steps (1000000)")
    parser.add_argument("--plan-steps", type=int, default=1_000_000, help="time steps of the plan (1000000)")
    parser.add_argument("--memory", default="64MiB", help="memory for the rollout (64MiB)")
    parser.add_argument("--plan-memory", default="1GiB", help="memory of the plan (1GiB)")
    parser.add_argument("--repeat", type=int, default=1, help="times to run after the first (1)")
    parser.add_argument("--arch", choices=("auto", "cpu", "cuda"), default="auto", help="backend (auto)")
    parser.add_argument("--threads", type=int, help="CPU threads (all)")
    parser.add_argument("--json", metavar="FILE", help="write the numbers to a file")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    options = parse(words)
    import numpy as np

    import diffsim as ds
    from diffsim.kernels.mass_spring import MassSpring

    found = machine()
    print_machine(found)
    ds.init(options.arch, threads=options.threads)
    sim = MassSpring(options.robot)
    for weights in (sim.policy.w0, sim.policy.w1):
        weights.set(options.scale * weights.numpy())
    began = time.perf_counter()
    ample = ds.plan(sim, steps=options.plan_steps, memory=options.plan_memory)
    plan_s = time.perf_counter() - began
    print(f"\nplan of {options.plan_steps:,} steps in {1e3 * plan_s:.0f} ms:\n{ample}")
    before = peak_memory()
    began = time.perf_counter()
    rollout = ds.Rollout(sim, steps=options.steps, memory=options.memory)
    print(f"\nplan of {options.steps:,} steps:\n{rollout.plan}")
    seconds = []
    for _ in range(1 + max(0, options.repeat)):
        cost, grads = rollout.value_and_grad([sim.policy])
        seconds.append(time.perf_counter() - began)
        began = time.perf_counter()
    norm = float(np.sqrt(sum(np.sum(np.square(g, dtype=np.float64)) for g in grads.values())))
    peak = peak_memory()
    later = ", ".join(f"{s:.2f}" for s in seconds[1:]) or "not measured"
    print(f"\ncost {cost:.6f}, gradient length {norm:.3e}")
    print(f"value and gradient: first (with compiling) {seconds[0]:.2f} s, then {later} s")
    print(f"process: {before:.0f} MiB before, {peak:.0f} MiB at most; budget {options.memory}")
    write_json(
        options.json,
        {
            "machine": found,
            "options": vars(options),
            "plan": str(ample),
            "plan_recomputation": ample.recomputation,
            "recomputation": rollout.plan.recomputation,
            "plan_s": plan_s,
            "cost": cost,
            "gradient_norm": norm,
            "first_s": seconds[0],
            "seconds": seconds[1:],
            "memory_before_mib": before,
            "memory_peak_mib": peak,
        },
    )
    rollout.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
