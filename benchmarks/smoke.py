"""Two ways to free a fluid of divergence: a multigrid solver with an implicit adjoint, and unrolled sweeps.

Both run the same smoke, in a process of their own each: what divergence is left, how far cost and gradient
are from those of the exact projection (multigrid in f64, solved to rounding), the processor time of one value
and gradient, and the memory of the rollout. `python -m benchmarks smoke --sweeps 20 60 200`
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from benchmarks.children import stream
from benchmarks.common import machine, print_machine, print_table, write_json
from benchmarks.smoke_problem import DT, draw

_EXACT = {"tolerance": 1e-14, "iterations": 30}
_LOOSE = 0.05  # of the gradient's length: how far multigrid may be off in f32


def run_one(
    n: int, steps: int, rounds: int, precision: int, options: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Run value and gradient, and yield what they are and what they took.

    Args:
        n: Cells along an axis.
        steps: The horizon.
        rounds: How often to measure.
        precision: Bits of a number.
        options: What the config of the smoke gets besides.
    """
    import diffsim as ds
    from diffsim.kernels.smoke import Smoke, SmokeConfig, divergence

    ds.init("cpu", precision=precision, threads=1)
    config = SmokeConfig(n=n, dt=DT, advection="semi-lagrangian", **options)
    u, v, density, target = draw(n)
    sim = Smoke(config, (u, v), density, target)
    rollout = ds.Rollout(sim, steps=steps, mode="fused")
    began = time.process_time()
    cost, gradients = rollout.value_and_grad(wrt=[sim.u, sim.v])
    compiled = time.process_time() - began
    times = []
    for _ in range(rounds):
        began = time.process_time()
        rollout.value_and_grad(wrt=[sim.u, sim.v])
        times.append(time.process_time() - began)
    found = rollout.trajectories({"u": sim.u_free, "v": sim.v_free})
    left = max(
        float(np.abs(divergence(*both, config.dx)).max()) for both in zip(found["u"], found["v"], strict=True)
    )
    yield {
        "cost": float(cost),
        "gradient": np.concatenate([np.ravel(g) for g in gradients.values()]),
        "divergence": left,
        "seconds": float(np.median(times)),
        "range": [min(times), max(times)],
        "compile_seconds": compiled - float(np.median(times)),
        "bytes": rollout.plan.total_bytes,
    }
    rollout.close()


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks smoke", description=__doc__)
    parser.add_argument("--n", type=int, default=110, help="cells along an axis (110)")
    parser.add_argument("--steps", type=int, default=30, help="of a rollout (30)")
    parser.add_argument("--sweeps", type=int, nargs="+", default=[20, 60, 200], help="of Jacobi (20 60 200)")
    parser.add_argument("--rounds", type=int, default=5, help="how often to measure (5)")
    parser.add_argument("--json", metavar="FILE", help="write the numbers to a file")
    options = parser.parse_args(words)
    if min(options.n, options.steps, options.rounds, *options.sweeps) < 1 or options.n < 4:
        parser.error(
            f"--n must be at least 4, --steps, --sweeps and --rounds positive, got {options.n}, "
            f"{options.steps}, {options.sweeps}, {options.rounds}"
        )
    return options


def main(words: Sequence[str] | None = None) -> int:
    """Run the benchmark; the exit status is 1 where the implicit gradient is not the exact one."""
    options = parse(words)
    found = machine()
    print_machine(found)
    size = options.n, options.steps, options.rounds
    (exact,) = stream(run_one, *size, 64, _EXACT)
    contenders: dict[str, dict[str, Any]] = {"multigrid": {}}
    for sweeps in options.sweeps:
        contenders[f"jacobi, {sweeps} sweeps"] = {"pressure": "jacobi", "sweeps": sweeps}
    rows = []
    for name, given in contenders.items():
        (row,) = stream(run_one, *size, 32, given)
        gradient, wanted = row.pop("gradient"), exact["gradient"]
        row["gradient_error"] = float(np.linalg.norm(gradient - wanted) / np.linalg.norm(wanted))
        row["cost_error"] = abs(row["cost"] - exact["cost"]) / exact["cost"]
        rows.append({"name": name, **row})
    print(f"{options.n} x {options.n} cells, {options.steps} steps, f32, one thread, mode fused:")
    print_rows(rows)
    good = rows[0]["gradient_error"] <= _LOOSE
    if not good:
        print(f"the implicit gradient is off by {rows[0]['gradient_error']:.1e}", file=sys.stderr)
    write_json(options.json, {"machine": found, "options": vars(options), "rows": rows})
    return 0 if good else 1


def print_rows(rows: Sequence[dict[str, Any]]) -> None:
    """Print the table."""
    head = ["projection", "divergence [1/s]", "cost off", "gradient off", "value+grad [s]", "memory [MiB]"]
    table = [
        [
            row["name"],
            f"{row['divergence']:.1e}",
            f"{row['cost_error']:.1e}",
            f"{row['gradient_error']:.1e}",
            f"{row['seconds']:.3f} ({row['range'][0]:.3f} to {row['range'][1]:.3f})",
            f"{row['bytes'] / 2**20:.0f}",
        ]
        for row in rows
    ]
    print_table(head, table)


if __name__ == "__main__":
    sys.exit(main())
