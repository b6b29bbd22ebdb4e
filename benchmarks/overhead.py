"""What windows and checkpoints cost against storing everything: in one process, one thread, in turns.

Figures for a robot and for the wave equation:

- `forward, T/4`: the cost alone, in windows of a quarter of the horizon, each of which is carried over to
  the next. Nothing is recomputed, so windows are not needed: at most 3 % more.
- `both, T/4, less replay`: value and gradient in windows of a quarter, less the time of the forward steps
  that are run again: what windows and checkpoints cost by themselves. At most 3 % more, too.
- `both, T/16`: value and gradient in windows of a sixteenth, with a checkpoint before each: every step is run
  again once, but for those of the last window. At most 1.6 times the time of storing everything.
- `both, T/4, kept`: value and gradient in windows of a quarter, of which all values are kept and brought back
  (schedule `mixed`), so that nothing is run again: what such copies cost. It has no bar.

`python -m benchmarks overhead`
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from benchmarks.children import stream
from benchmarks.common import machine, print_machine, print_table, write_json

BARS = {"forward, T/4": 1.03, "both, T/4, less replay": 1.03, "both, T/16": 1.6, "both, T/4, kept": None}
# how each rollout is planned: the parts that the horizon is cut into, and the schedule
PLANS = {"T": (1, "auto"), "T/4": (4, "multistage"), "T/16": (16, "multistage"), "T/4, kept": (4, "mixed")}
PROGRAMS = ("robot", "wave")
_BATCH_SECONDS = 0.05


def run_program(options: dict[str, Any], name: str) -> Iterator[dict[str, Any]]:
    """Time one program in all windows, in turns, and yield the processor times of every round."""
    import diffsim as ds

    ds.init("cpu", threads=1)
    steps = options["steps"] if name == "robot" else options["wave_steps"]
    rollouts, plans, calls = [], {}, {}
    reference = None
    for label, (part, schedule) in PLANS.items():
        sim, wrt = _simulator(options, name)
        # So many checkpoints that each window has its own: nothing is run more than twice.
        rollout = ds.Rollout(
            sim, steps=steps, memory="4GiB", mode="fused", window=-(-steps // part), schedule=schedule
        )
        rollouts.append(rollout)
        plans[label] = {
            "window": rollout.plan.window,
            "recomputation": rollout.plan.recomputation,
            "bytes": rollout.plan.total_bytes,
        }
        cost, grads = rollout.value_and_grad(wrt(sim))
        found = (cost, np.concatenate([np.ravel(g) for g in grads.values()]))
        reference = reference or found
        if found[0] != reference[0] or not np.array_equal(found[1], reference[1]):
            raise RuntimeError(f"costs and gradients of {name} must be the same bits in windows of {label}")
        calls[f"value {label}"] = rollout.value
        calls[f"both {label}"] = _both(rollout, wrt(sim))
    times = _in_turns(calls, options["repeat"])
    yield {"plans": plans, "steps": steps, "times": times}
    for rollout in rollouts:
        rollout.close()


def _simulator(options: dict[str, Any], name: str) -> tuple[Any, Callable[[Any], Any]]:
    """Make the simulator, and say what the gradient is taken of."""
    if name == "robot":
        from diffsim.kernels.mass_spring import MassSpring

        return MassSpring(options["robot"]), lambda sim: [sim.policy]
    from benchmarks.wave_simulator import Wave

    return Wave(options["grid"]), lambda sim: [sim.u]


def _both(rollout: Any, wrt: Any) -> Callable[[], Any]:
    return lambda: rollout.value_and_grad(wrt)


def _in_turns(calls: dict[Any, Callable[[], Any]], rounds: int) -> dict[Any, list[float]]:
    """Return the processor seconds of one call in each round."""
    counts = {}
    for key, call in calls.items():
        began = time.process_time()
        call()
        counts[key] = max(1, round(_BATCH_SECONDS / max(time.process_time() - began, 1e-6)))
    times: dict[Any, list[float]] = {key: [] for key in calls}
    for _ in range(rounds):
        for key, call in calls.items():
            began = time.process_time()
            for _ in range(counts[key]):
                call()
            times[key].append((time.process_time() - began) / counts[key])
    return times


def judge(found: dict[str, Any]) -> dict[str, dict[str, float | None]]:
    """Return each figure as the median of the rounds' ratios, and as the ratio of the least times."""
    times = {key: np.asarray(values) for key, values in found["times"].items()}
    again = found["plans"]["T/4"]["recomputation"] - 1.0

    def figures(t: dict[str, Any]) -> dict[str, Any]:
        return {
            "forward, T/4": t["value T/4"] / t["value T"],
            "both, T/4, less replay": (t["both T/4"] - again * t["value T"]) / t["both T"],
            "both, T/16": t["both T/16"] / t["both T"],
            "both, T/4, kept": t["both T/4, kept"] / t["both T"],
        }

    typical, least = figures(times), figures({key: values.min() for key, values in times.items()})
    return {
        name: {"median": statistics.median(typical[name].tolist()), "least": float(least[name]), "bar": bar}
        for name, bar in BARS.items()
    }


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks overhead", description=__doc__)
    parser.add_argument("--robot", default="1", help="a number, a name or a path (1)")
    parser.add_argument("--steps", type=int, default=682, help="time steps of the robot (682)")
    parser.add_argument("--grid", type=int, default=256, help="points of the wave along each axis (256)")
    parser.add_argument("--wave-steps", type=int, default=256, help="time steps of the wave (256)")
    parser.add_argument("--programs", nargs="+", choices=PROGRAMS, default=list(PROGRAMS), help="(both)")
    parser.add_argument("--repeat", type=int, default=30, help="rounds of timing (30)")
    parser.add_argument("--json", metavar="FILE", help="write the numbers to a file")
    options = parser.parse_args(words)
    for name in ("steps", "wave_steps"):
        if getattr(options, name) < 16:
            parser.error(f"--{name.replace('_', '-')} must be at least 16, got {getattr(options, name)}")
    if options.repeat < 1 or options.grid < 3:
        parser.error(f"--repeat must be at least 1 and --grid 3, got {options.repeat} and {options.grid}")
    return options


def main(words: Sequence[str] | None = None) -> int:
    """Run the benchmark; it says where a figure is above its bar, but timing fails nothing."""
    options = parse(words)
    found = machine()
    print_machine(found)
    results: dict[str, Any] = {}
    rows = []
    for name in options.programs:
        (measured,) = stream(run_program, vars(options), name)
        figures = judge(measured)
        results[name] = {**measured, "figures": figures}
        for what, numbers in figures.items():
            plan = measured["plans"][
                "T/4" if what == "forward, T/4" else what[6:].removesuffix(", less replay")
            ]
            bar, best = numbers["bar"], min(numbers["median"], numbers["least"])
            verdict = "" if bar is None else "fine" if best <= bar else "MISSED"
            rows.append(
                [
                    name,
                    what,
                    f"{plan['window']}",
                    f"{plan['recomputation']:.2f}",
                    f"{numbers['median']:.3f}",
                    f"{numbers['least']:.3f}",
                    "" if bar is None else f"{bar:.2f}",
                    verdict,
                ]
            )
    print()
    print_table(["", "against storing everything", "window", "factor", "median", "least", "bar", ""], rows)
    write_json(options.json, {"machine": found, "options": vars(options), "results": results})
    return 0


if __name__ == "__main__":
    sys.exit(main())
