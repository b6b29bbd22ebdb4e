"""How well compile times are told before anything is compiled: what a plan expects against what it took.

`python -m benchmarks estimates` compiles each program in each mode by both compilers, forward and backward,
each in a process of its own with nothing cached, and prints the seconds that the plan's candidates expect,
those of processor time that compiling took, and their ratio.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.common import machine, print_machine, print_table, write_json

_STEPS = 16
_MODES = ("step", "fused")
_TASKS = (
    *("acrobot", "billiards", "cloth", "elastic", "elastic_walker", "electric", "lattice_boltzmann"),
    *("liquid", "mass_spring", "mass_spring_goals", "rigid_body", "smoke", "two_link_arm"),
    *("volume_renderer", "water_renderer", "wave"),
)


def programs() -> dict[str, Callable[[], Any]]:
    """Return what builds each program: those written here, then the small sizes of the tasks that ship."""
    from benchmarks.estimates_bodies import Network, Planets, Rigid, Unrolled
    from benchmarks.estimates_grids import Fdtd, Jacobi, Lattice, Mpm3
    from benchmarks.mpm_simulator import NeoHookeanMPM
    from benchmarks.textbook_mpm import TextbookMPM

    return {
        "FDTD": Fdtd,
        "LBM, one kernel": Lattice,
        "LBM, unrolled": lambda: Lattice(split=True),
        "MPM 2D, polar": TextbookMPM,
        "MPM 2D, neo-Hookean": lambda: NeoHookeanMPM(400, 32),
        "MPM 3D, neo-Hookean": Mpm3,
        "MPM 3D, polar": lambda: Mpm3(polar=True),
        "rigid bodies": Rigid,
        "rigid bodies, unrolled": lambda: Rigid(unrolled=True),
        "smoke, 10 sweeps": Jacobi,
        "smoke, 40 sweeps": lambda: Jacobi(sweeps=40),
        "network 256 x 256": Network,
        "network 16": lambda: Network((16,)),
        "unrolled 16": lambda: Unrolled(16),
        "unrolled 128": lambda: Unrolled(128),
        "Cholesky 4": lambda: Unrolled(4, across=True),
        "Cholesky 8": lambda: Unrolled(8, across=True),
        "planets": Planets,
        **{f"task {name}": _task(name) for name in _TASKS},
    }


def _task(name: str) -> Callable[[], Any]:
    def build() -> Any:
        from diffsim.tasks.registry import load_task

        kind = load_task(name)
        own = kind.Config.__dataclass_fields__
        return kind(kind.Config.read({k: v for k, v in kind.smoke.items() if k in own})).build()

    return build


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks estimates", description=__doc__)
    parser.add_argument("--compilers", default="native,taichi", help="native,taichi")
    parser.add_argument("--programs", nargs="*", metavar="NAME", help="programs whose names begin so (all)")
    parser.add_argument("--modes", default=",".join(_MODES), help="step,fused")
    parser.add_argument("--precision", type=int, default=32, choices=(32, 64), help="bits of a real (32)")
    parser.add_argument("--worlds", type=int, default=1, help="copies that run in parallel (1)")
    parser.add_argument("--limit", type=float, default=300.0, help="seconds that one may take (300)")
    parser.add_argument("--json", metavar="FILE", help="write the numbers to a file")
    parser.add_argument("--one", nargs=3, metavar=("COMPILER", "MODE", "NAME"), help=argparse.SUPPRESS)
    return parser.parse_args(words)


def one(compiler: str, mode: str, name: str, precision: int, worlds: int) -> dict[str, float]:
    """Compile one program in one mode; return what was expected and what it took [s]."""
    warnings.simplefilter("ignore")
    import diffsim as ds
    from diffsim.engine import launch, native
    from diffsim.engine.engine import Engine
    from diffsim.language.trace import trace
    from diffsim.plan.costs import Costs
    from diffsim.plan.planning import plan_program
    from diffsim.plan.request import Request

    class Clock:
        """Seconds of this process, which other processes disturb least."""

        perf_counter = staticmethod(time.process_time)

    launch.time = native.time = Clock  # type: ignore[attr-defined]
    info = ds.init("cpu", precision=precision, threads=2, cache=False, compiler=compiler, tune=False)
    program = trace(programs()[name]())
    request = Request(_STEPS, worlds, mode=mode).check()
    began = time.process_time()
    lowered, stages, plan = plan_program(program, info, request)
    planned = time.process_time() - began
    began = time.process_time()
    expected = Costs(stages, info, plan.layout, 1.0).compile_seconds(mode)
    estimating = time.process_time() - began
    engine = Engine(lowered, stages, plan, info, verify=False)
    engine.executor.gradient(0, 2, True)
    measured = engine.executor.cost_seconds
    return {"estimated": expected, "measured": measured, "planned": planned, "estimating": estimating}


def measure(options: argparse.Namespace, compiler: str, mode: str, name: str) -> dict[str, Any]:
    """Compile one program in a process of its own."""
    words = ["--one", compiler, mode, name, "--precision", str(options.precision)]
    command = [sys.executable, "-m", "benchmarks.estimates", *words, "--worlds", str(options.worlds)]
    row: dict[str, Any] = {"compiler": compiler, "mode": mode, "program": name}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=options.limit, check=False)
    except subprocess.TimeoutExpired:
        return row | {"failed": f"took more than {options.limit:g} s"}
    if done.returncode:
        return row | {"failed": (done.stderr.strip().splitlines() or ["no word"])[-1]}
    return row | json.loads(done.stdout.splitlines()[-1])


def ratio(row: dict[str, Any]) -> float:
    """Return what compiling took over what was expected."""
    return float(row["measured"] / row["estimated"])


def spread(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return how far estimates are off: the share within a factor of two, the median and worst ratios."""
    ratios = sorted(map(ratio, rows))
    return {
        "rows": len(ratios),
        "within_2": sum(abs(math.log2(r)) <= 1.0 for r in ratios) / len(ratios),
        "median": statistics.median(ratios),
        "least": ratios[0],
        "largest": ratios[-1],
        "estimating_share": sum(r["estimating"] for r in rows) / sum(r["planned"] for r in rows),
    }


def main(words: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    options = parse(words)
    if options.one:
        print(json.dumps(one(*options.one, options.precision, options.worlds)))
        return 0
    found = machine()
    print_machine(found)
    chosen = [n for n in programs() if not options.programs or n.startswith(tuple(options.programs))]
    results, summary = [], {}
    for compiler in options.compilers.split(","):
        rows = [measure(options, compiler, m, n) for n in chosen for m in options.modes.split(",")]
        results += rows
        good = [row for row in rows if "failed" not in row]
        print(f"\n{compiler}, {options.precision} bits, {options.worlds} world(s):")
        print_table(
            ["program", "mode", "estimated s", "measured s", "ratio"],
            [
                [r["program"], r["mode"], *(f"{x:.2f}" for x in (r["estimated"], r["measured"], ratio(r)))]
                for r in good
            ],
        )
        for row in rows:
            if "failed" in row:
                print(f"{row['program']}, {row['mode']}: {row['failed']}")
        if good:
            summary[compiler] = s = spread(good)
            print(
                f"{s['within_2']:.0%} of {s['rows']} within a factor of 2; ratios {s['least']:.2f} to "
                f"{s['largest']:.2f}, median {s['median']:.2f}; estimating takes "
                f"{s['estimating_share']:.0%} of planning"
            )
    write_json(options.json, {"machine": found, "rows": results, "summary": summary})
    return 0 if results and not any("failed" in row for row in results) else 1


if __name__ == "__main__":
    sys.exit(main())
