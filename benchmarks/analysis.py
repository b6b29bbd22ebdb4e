"""What reading kernels costs: lowering, checks, guards and the derivation of adjoints, per kernel.

`python -m benchmarks analysis` reads the mass-spring robot with its controller and a material point method
whose kernels are large once the stencil is unrolled. Nothing of this happens while a rollout runs.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.common import machine, print_machine, print_table, write_json


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks analysis", description=__doc__)
    parser.add_argument("--repeat", type=int, default=5, help="times to read each program (5)")
    parser.add_argument("--json", metavar="FILE", help="write the numbers to a file")
    return parser.parse_args(words)


def median(repeat: int, run: Callable[[], Any]) -> float:
    """Return the median of the milliseconds of processor time that something takes."""
    times = []
    for _ in range(repeat):
        began = time.process_time()
        run()
        times.append(1e3 * (time.process_time() - began))
    return statistics.median(times)


def measure(simulator: Any, repeat: int) -> list[dict[str, Any]]:
    """Return one row per kernel, and one for the whole program."""
    from diffsim.compiler.autodiff import adjoint
    from diffsim.compiler.ir import walk
    from diffsim.compiler.program.program import lower_program
    from diffsim.compiler.reading.buffers import Buffers
    from diffsim.compiler.reading.lower import lower
    from diffsim.language.trace import trace
    from diffsim.plan.planning import adjoint_stages

    program = trace(simulator)
    steps = 100
    rows = []
    lowered = lower_program(program, "f64", steps)
    stages = {stage.name: stage for stage in lowered.step + lowered.running + lowered.terminal}
    for phase in ("step", "running_cost", "terminal_cost"):
        for call in getattr(program, phase):

            def read(call: Any = call, phase: str = phase) -> None:
                buffers = Buffers(program.fields, "f64")
                buffers.add(simulator.cost, "cost")
                lower(call, phase, buffers)

            stage = stages[call.name]
            row = {
                "kernel": call.name,
                "operations": len(list(walk(stage.body))),
                "read_ms": median(repeat, read),
                "adjoint_ms": median(repeat, lambda stage=stage: adjoint(stage, "f64", "x")),
            }
            row["total_ms"] = row["read_ms"] + row["adjoint_ms"]
            rows.append(row)

    def everything() -> None:
        adjoint_stages(lower_program(program, "f64", steps), "f64", steps, "")

    total = median(repeat, everything)
    count = len(rows)
    rows.append(
        {
            "kernel": f"all {count}, with checks and guards, per kernel",
            "operations": sum(row["operations"] for row in rows),
            "read_ms": 0.0,
            "adjoint_ms": 0.0,
            "total_ms": total / count,
        }
    )
    return rows


def main(words: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    options = parse(words)
    import diffsim as ds
    from benchmarks.textbook_mpm import TextbookMPM
    from diffsim.kernels.mass_spring import MassSpring

    found = machine()
    print_machine(found)
    ds.init("cpu", precision=64)
    results = {}
    for name, simulator in (("mass_spring robot 1", MassSpring(1)), ("textbook MPM 2D", TextbookMPM())):
        results[name] = measure(simulator, options.repeat)
        print(f"\n{name}:")
        print_table(
            ["kernel", "operations", "read ms", "adjoint ms", "total ms"],
            [
                [
                    row["kernel"],
                    str(row["operations"]),
                    *(f"{row[k]:.1f}" for k in ("read_ms", "adjoint_ms", "total_ms")),
                ]
                for row in results[name]
            ],
        )
    worst = max(row["total_ms"] for rows in results.values() for row in rows)
    print(f"\nthe slowest takes {worst:.1f} ms")
    write_json(options.json, {"machine": found, "results": results, "worst_ms": worst})
    return 0


if __name__ == "__main__":
    sys.exit(main())
