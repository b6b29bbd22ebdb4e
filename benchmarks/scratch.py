"""Time gradients whose Scratches are held for whole windows, and computed again on the way back, in turns.

An elastic block in the plane on the grid of its room, whose Scratches are most of a step's memory, under byte
budgets that leave less and less room. `python -m benchmarks scratch`
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

import diffsim as ds
from benchmarks.common import machine, print_machine, print_table, write_json
from diffsim.errors import ConfigError

BUDGETS = ("64MiB", "16MiB", "4MiB", "2MiB", "1MiB")


def measured(sim: ds.Simulator, steps: int, memory: str, repeats: int) -> dict[str, dict[str, Any]]:
    """Time one budget, each way in turns.

    Returns:
        By `held`, `recomputed` and `auto`: seconds, steps, segments; nothing where the budget is too small.
    """
    rollouts = {}
    for scratch in ("held", "recomputed", "auto"):
        try:
            rollouts[scratch] = ds.Rollout(sim, steps, memory=memory, mode="fused", scratch=scratch)
        except ConfigError:
            continue
    spent: dict[str, list[float]] = {name: [] for name in rollouts}
    found: dict[str, Any] = {}
    for _ in range(repeats + 1):
        for name, rollout in rollouts.items():
            start = time.perf_counter()
            found[name] = rollout.value_and_grad()
            spent[name].append(time.perf_counter() - start)
    first = next(iter(found.values()))
    rows = {}
    for name, rollout in rollouts.items():
        plan = rollout.plan
        same = found[name][0] == first[0] and all(
            np.array_equal(g, first[1][k]) for k, g in found[name][1].items()
        )
        rows[name] = {
            "seconds": statistics.median(spent[name][1:]),
            "recomputation": plan.recomputation,
            "segments": plan.segments,
            "window": plan.window,
            "held": plan.layout.held,
            "same bits": bool(same),
        }
        rollout.close()
    return rows


def main(words: Sequence[str] | None = None) -> int:
    """Print a table; the exit status is 1 where bits differ."""
    from diffsim.kernels.elastic import Elastic, block

    parser = argparse.ArgumentParser(prog="python -m benchmarks scratch", description=__doc__)
    parser.add_argument("--steps", type=int, default=500, help="of the rollout (500)")
    parser.add_argument("--repeat", type=int, default=5, help="rounds of timing (5)")
    parser.add_argument("--budgets", nargs="+", default=list(BUDGETS), help=f"({' '.join(BUDGETS)})")
    parser.add_argument("--json", metavar="FILE", help="write the numbers to a file")
    options = parser.parse_args(words)
    found = machine()
    print_machine(found)
    ds.init(arch="cpu", threads=1)
    sim = Elastic(block())
    results = {b: measured(sim, options.steps, b, options.repeat) for b in options.budgets}
    table = []
    for budget, rows in results.items():
        base = rows.get("held", {}).get("seconds")
        for name, row in rows.items():
            told = f"{row['seconds'] / base:.2f}" if base else ""
            chosen = "held" if row["held"] else "recomputed"
            table.append(
                [
                    budget, name, chosen, f"{row['window']}", f"{row['segments']}",
                    f"{row['recomputation']:.2f}", f"{1e3 * row['seconds']:.0f}", told,
                ]
            )  # fmt: skip
    head = ["memory", "scratch", "is", "window", "segments", "forward steps", "ms", "/ held"]
    print_table(head, table)
    write_json(options.json, {"machine": found, "options": vars(options), "results": results})
    return 0 if all(row["same bits"] for rows in results.values() for row in rows.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
