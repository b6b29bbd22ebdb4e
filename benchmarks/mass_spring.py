"""Time value and gradient of a mass-spring robot: plain Taichi, diffsim step by step and fused, C.

All of them run in one go, in interleaved rounds, on the same weights; before that their costs and gradients
are compared, in f64 too. `python -m benchmarks mass_spring --robot 1`
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from benchmarks.common import machine, print_machine, print_table, write_json
from benchmarks.compiled import compiler
from benchmarks.contenders import NAMES, Contender, Setup, gradient_error
from benchmarks.contest import LABELS, usable

# Rounding that the ground's impacts amplify over 682 steps, with room; a wrong gradient is off by far more.
TOLERANCE = {32: 2e-2, 64: 1e-7}
_BATCH_SECONDS = 0.1  # a call that is shorter is repeated within a round
MEASURES = ("value", "value_and_grad")


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks mass_spring", description=__doc__)
    parser.add_argument("--robot", default="1", help="a number, a name or a path (1)")
    parser.add_argument("--steps", type=int, default=682, help="time steps (682)")
    parser.add_argument("--rounds", type=int, default=7, help="rounds of timing (7)")
    parser.add_argument(
        "--precision", type=int, choices=(32, 64), default=32, help="bits of a real number (32)"
    )
    parser.add_argument("--arch", choices=("cpu", "cuda"), default="cpu", help="backend (cpu)")
    parser.add_argument("--threads", type=int, help="CPU threads (all)")
    parser.add_argument(
        "--no-cache", action="store_true", help="compile everything, also what Taichi has on disk"
    )
    parser.add_argument(
        "--jax", action="store_true", help="time a jitted JAX scan too, where jax is installed"
    )
    parser.add_argument(
        "--warp", action="store_true", help="time a Warp graph too, where warp-lang is installed"
    )
    parser.add_argument("--json", metavar="FILE", help="write the numbers to a file")
    options = parser.parse_args(words)
    for name in ("steps", "rounds", "threads"):
        value = getattr(options, name)
        if value is not None and value < 1:
            parser.error(f"--{name} must be at least 1, got {value}")
    return options


def setups(options: argparse.Namespace) -> list[Setup]:
    """Say what is compared: the same weights for all."""
    from benchmarks.mass_spring_problem import draw_weights
    from diffsim.kernels.mass_spring import load_robot

    robot = load_robot(options.robot)
    weights = draw_weights(len(robot.points), len(robot.springs))
    others = usable([kind for kind in ("jax", "warp") if getattr(options, kind)])
    kinds = (*NAMES, *others, *(["c"] if compiler() else []))
    cache = not options.no_cache
    common = (options.robot, options.steps, options.precision, options.arch, options.threads, cache, weights)
    return [Setup(kind, *common) for kind in kinds]


def compare(contenders: Sequence[Contender]) -> dict[str, Any]:
    """Compare costs and gradients with those of the first contender."""
    first, *others = contenders
    tolerance = TOLERANCE[first.setup.precision]
    found: dict[str, Any] = {"cost": first.cost, "tolerance": tolerance, "agree": True}
    for other in others:
        cost, gradient = abs(other.cost - first.cost), gradient_error(other.grads, first.grads)
        found[other.setup.kind] = {"cost_difference": cost, "gradient_error": gradient}
        # Written so that NaN does not agree.
        found["agree"] &= bool(cost <= tolerance and gradient <= tolerance)
    return found


def print_comparison(found: dict[str, Any], bits: int) -> None:
    """Print how well values and gradients agree."""
    parts = [
        f"{kind} {errors['cost_difference']:.1e} and {errors['gradient_error']:.1e}"
        for kind, errors in found.items()
        if isinstance(errors, dict)
    ]
    verdict = "agree" if found["agree"] else "DISAGREE"
    print(
        f"f{bits}: cost {found['cost']:.8f}; cost and gradient against plain: {', '.join(parts)}: "
        f"{verdict} (up to {found['tolerance']:.0e})"
    )


def measure(contenders: Sequence[Contender], rounds: int) -> dict[str, dict[str, list[float]]]:
    """Time all contenders round by round, so that what slows the machine down slows all of them down.

    Returns:
        Seconds of one call in each round, by contender and measure.
    """
    times: dict[str, dict[str, list[float]]] = {c.setup.kind: {m: [] for m in MEASURES} for c in contenders}
    calls = {
        (c.setup.kind, m): max(1, min(100, round(_BATCH_SECONDS / c.seconds(m, 1))))
        for c in contenders
        for m in MEASURES
    }
    for _ in range(rounds):
        for contender in contenders:
            kind = contender.setup.kind
            for name in MEASURES:
                times[kind][name].append(contender.seconds(name, calls[kind, name]))
    return times


def summary(contenders: Sequence[Contender], times: dict[str, dict[str, list[float]]]) -> dict[str, Any]:
    """Turn times into medians, and medians into ratios of the first contender's and of step mode's."""
    found: dict[str, Any] = {}
    for contender in contenders:
        kind = contender.setup.kind
        both = times[kind]["value_and_grad"]
        median = statistics.median(both)
        found[kind] = {
            "value_s": statistics.median(times[kind]["value"]),
            "value_and_grad_s": median,
            "value_and_grad_range_s": [min(both), max(both)],
            "build_s": contender.build,
            "compile_s": max(0.0, contender.first - median),
            "times": times[kind],
        }
    for numbers in found.values():
        for other in ("plain", "step"):
            mine, theirs = numbers["value_and_grad_s"], found[other]["value_and_grad_s"]
            numbers[f"faster_than_{other}"] = theirs / mine
    return found


def print_summary(found: dict[str, Any]) -> None:
    """Print the table."""
    head = ["", "build s", "compile s", "value ms", "value+grad ms", "(range)", "vs plain", "vs step"]
    rows = []
    for kind, n in found.items():
        low, high = (f"{1e3 * s:.2f}" for s in n["value_and_grad_range_s"])
        rows.append(
            [
                LABELS.get(kind, f"diffsim {kind}"),
                f"{n['build_s']:.2f}",
                f"{n['compile_s']:.2f}",
                f"{1e3 * n['value_s']:.2f}",
                f"{1e3 * n['value_and_grad_s']:.2f}",
                f"{low}-{high}",
                f"{n['faster_than_plain']:.1f}x",
                f"{n['faster_than_step']:.1f}x",
            ]
        )
    print_table(head, rows)


def main(words: Sequence[str] | None = None) -> int:
    """Run the benchmark; the exit status is 1 where values or gradients disagree."""
    options = parse(words)
    found = machine()
    print_machine(found)
    chosen = setups(options)
    checks: dict[str, Any] = {}
    if options.precision != 64:
        exact = [Contender(replace(setup, precision=64)) for setup in chosen]
        checks["f64"] = compare(exact)
        print_comparison(checks["f64"], 64)
        for contender in exact:
            contender.close()
    # With one thread, processor time is the same less what other programs take from the machine.
    clock = "processor" if options.threads == 1 and options.arch == "cpu" else "wall"
    contenders = [Contender(setup, clock=clock) for setup in chosen]
    checks[f"f{options.precision}"] = compare(contenders)
    print_comparison(checks[f"f{options.precision}"], options.precision)
    result = summary(contenders, measure(contenders, options.rounds))
    for contender in contenders:
        contender.close()
    cached = "all compiled anew" if options.no_cache else "with what Taichi's cache had"
    size = f"{options.steps} steps, f{options.precision}, {options.arch}"
    print(f"\nrobot {options.robot}, {size}, {clock} time, {cached}:")
    print_summary(result)
    data = {
        "machine": found,
        "options": vars(options),
        "clock": clock,
        "agreement": checks,
        "contenders": result,
    }
    write_json(options.json, data)
    return 0 if all(check["agree"] for check in checks.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
