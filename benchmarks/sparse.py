"""An elastic block of 10^5 points that crosses a room of 512^3 cells, on sparse grids, dense ones and SNodes.

`layouts`: what a step does with a grid, by itself, in plain Taichi: its SNodes against tables of blocks.
`forward`: the whole step, plain Taichi on SNodes against diffsim on a sparse grid; ratios within a round.
`gradient`: value and gradient on a sparse grid against a dense grid just around the block; seconds, and the
most memory that each fresh process held; and a rollout ten times as long under the same budget.
`steady`: memory of a process that activates and clears again and again.
`python -m benchmarks sparse`
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks.common import machine, print_machine, write_json
from benchmarks.sparse_parts import PARTS


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks sparse", description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS), help="(all)")
    parser.add_argument("--particles", type=int, default=100_000, help="points of the block (100000)")
    parser.add_argument("--room", type=int, default=512, help="cells along each axis (512)")
    parser.add_argument("--steps", type=int, default=200, help="of value and gradient (200)")
    parser.add_argument("--long", type=int, default=2000, help="steps of the long rollout (2000); 0 for none")
    parser.add_argument("--forward-steps", type=int, default=20, help="of the comparison with SNodes (20)")
    parser.add_argument("--steady-steps", type=int, default=10_000, help="of the look at memory (10000)")
    parser.add_argument("--memory", default="600MiB", help="budget of a rollout (600MiB)")
    parser.add_argument("--repeat", type=int, default=5, help="rounds of timing (5)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of each (1); 0 for all")
    parser.add_argument("--json", metavar="FILE", help="write the numbers to a file")
    options = parser.parse_args(words)
    for name in ("particles", "steps", "forward_steps", "steady_steps", "repeat"):
        if getattr(options, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1, got {getattr(options, name)}")
    if min(options.long, options.threads) < 0 or options.room % 64 or options.room < 64:
        parser.error(
            f"--long and --threads must be at least 0, --room a multiple of 64, got {options.long}, "
            f"{options.threads}, {options.room}"
        )
    return options


def main(words: Sequence[str] | None = None) -> int:
    """Run the benchmark; the exit status is 1 where costs or gradients differ."""
    options = parse(words)
    found = machine()
    print_machine(found)
    results: dict[str, Any] = {}
    for part in options.parts:
        print(f"\n{part}:", flush=True)
        results[part] = PARTS[part](options)
    agree = all(result.get("agree", True) for result in results.values())
    if not agree:
        print("costs or gradients DIFFER", file=sys.stderr)
    write_json(options.json, {"machine": found, "options": vars(options), "results": results})
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
