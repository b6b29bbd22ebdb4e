"""What many worlds cost on a processor of several cores: in one process, and in a pool of processes.

The bar is one robot's time in one thread, divided by what the cores really gain: as many independent
single-thread processes as there are threads, running the same robot at the same time, against one alone.
`python -m benchmarks worlds` runs 256 robots; a figure at the bar is 1.00.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import machine, print_machine, print_table, write_json

MEASURES = ("value", "value_and_grad")
_BATCH_SECONDS = 0.15  # calls that are shorter are repeated within a round

Arrays = dict[str, NDArray[Any]]
# by way and measure, wall and processor seconds of each round
Times = dict[str, dict[str, list[tuple[float, float]]]]


@dataclass(frozen=True)
class Setup:
    """What a process runs.

    Attributes:
        robot: A number, a name or a path.
        steps: Time steps.
        worlds: Robots.
        threads: CPU threads.
        memory: The byte budget.
        window: Steps in memory, None for what the plan takes.
        cores: Processor cores that the process may use, empty for all.
    """

    robot: str
    steps: int
    worlds: int
    threads: int
    memory: str
    window: int | None = None
    cores: tuple[int, ...] = ()


def _serve(pipe: Any, setup: Setup) -> None:
    """Build the rollout, then answer requests until there are none."""
    try:
        if setup.cores:
            os.sched_setaffinity(0, setup.cores)
        import diffsim as ds
        from diffsim.kernels.mass_spring import MassSpring

        ds.init("cpu", threads=setup.threads)
        sim = MassSpring(setup.robot)
        sizes = {"steps": setup.steps, "worlds": setup.worlds}
        rollout = ds.Rollout(sim, **sizes, memory=setup.memory, mode="fused", window=setup.window)
        calls: dict[str, Callable[[], Any]] = {
            "value": rollout.value,
            "value_and_grad": lambda: rollout.value_and_grad([sim.policy]),
        }
        began = time.perf_counter()
        cost, grads = calls["value_and_grad"]()
        calls["value"]()
        spent = time.perf_counter() - began
        params = {f"policy.{name}": getattr(sim.policy, name) for name in ("w0", "b0", "w1", "b1")}
        values = {key: param.numpy() for key, param in params.items()}
        pipe.send((np.mean(cost), grads, values, spent, str(rollout.plan)))
        while (request := pipe.recv()) is not None:
            name, count, given = request
            for key, value in given.items():
                params[key].set(value)
            wall, busy, result = time.perf_counter(), time.process_time(), None
            for _ in range(count):
                result = calls[name]()
            pipe.send((time.perf_counter() - wall, time.process_time() - busy, result if given else None))
        rollout.close()
    except EOFError:
        pass  # the parent is gone
    except Exception as error:  # noqa: BLE001  (the parent raises it)
        pipe.send(error)


class Worker:
    """A rollout in a process of its own, warm once it is `ready`.

    Args:
        setup: What it runs.

    Attributes:
        cost: The mean cost of its worlds.
        grads: The gradient, summed over them.
        params: The controller's weights.
        compile_s: Seconds that the first calls took.
        plan: The plan as text.
    """

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, setup), daemon=True)
        self._process.start()
        other.close()

    def ready(self) -> None:
        """Wait until it is warm."""
        self.cost, self.grads, self.params, self.compile_s, self.plan = self.answer()

    def ask(self, name: str, count: int, params: Arrays | None = None) -> None:
        """Have it run `value` or `value_and_grad` so many times, with these parameters if there are any."""
        self._pipe.send((name, count, params or {}))

    def answer(self) -> Any:
        """Wait for wall and processor seconds, and for the result if there were parameters."""
        try:
            answer = self._pipe.recv()
        except EOFError:
            self._process.join()
            raise RuntimeError(f"a worker died with status {self._process.exitcode}") from None
        if isinstance(answer, Exception):
            raise RuntimeError("a worker failed") from answer
        return answer

    def close(self) -> None:
        """End the process."""
        with contextlib.suppress(OSError):
            self._pipe.send(None)
        self._process.join(10)
        if self._process.is_alive():
            self._process.terminate()


def together(workers: Sequence[Worker], name: str, count: int) -> tuple[float, float]:
    """Run all at the same time; return the mean wall and processor seconds of a call in a worker."""
    for worker in workers:
        worker.ask(name, count)
    answers = [worker.answer() for worker in workers]
    return statistics.mean(a[0] for a in answers) / count, statistics.mean(a[1] for a in answers) / count


def pooled(workers: Sequence[Worker], name: str, count: int) -> tuple[float, float]:
    """Have a pool compute one call: send weights, run, add up what comes back.

    Returns:
        Wall seconds of a call, the exchange included, and the processor seconds of all workers.
    """
    params, busy = workers[0].params, 0.0
    began = time.perf_counter()
    for _ in range(count):
        for worker in workers:
            worker.ask(name, 1, params)
        answers = [worker.answer() for worker in workers]
        busy += sum(a[1] for a in answers)
        if name == "value_and_grad":
            grads = [a[2][1] for a in answers]
            _ = {key: sum(part[key] for part in grads) for key in grads[0]}
        np.concatenate([np.atleast_1d(a[2][0] if name == "value_and_grad" else a[2]) for a in answers])
    return (time.perf_counter() - began) / count, busy / count


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parser = argparse.ArgumentParser("python -m benchmarks worlds", description=__doc__)
    parser.add_argument("--robot", default="1", help="a number, a name or a path (1)")
    parser.add_argument("--steps", type=int, default=682, help="time steps (682)")
    parser.add_argument("--worlds", type=int, default=256, help="robots (256)")
    parser.add_argument(
        "--threads", type=int, default=cores, help=f"threads, and processes of the pool ({cores})"
    )
    parser.add_argument("--memory", default="1GiB", help="budget of all robots together (1GiB)")
    parser.add_argument("--window", type=int, help="steps in memory in one process (what the plan takes)")
    parser.add_argument("--repeat", type=int, default=15, help="rounds of timing, the fastest counts (15)")
    parser.add_argument("--json", metavar="FILE", help="write the numbers to a file")
    options = parser.parse_args(words)
    for name in ("steps", "threads", "repeat"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} must be at least 1, got {getattr(options, name)}")
    if options.worlds < options.threads:
        parser.error(f"--worlds must be at least --threads ({options.threads}), got {options.worlds}")
    return options


def start(options: argparse.Namespace) -> dict[str, list[Worker]]:
    """Start all processes: single robots (one of them is the yardstick), all in one process, the pool."""
    from diffsim.plan import parse_bytes

    count = options.threads
    shares = [options.worlds // count + (k < options.worlds % count) for k in range(count)]
    part = f"{parse_bytes(options.memory) // count}"
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []

    def setup(worlds: int, threads: int, memory: str, core: int | None, window: int | None = None) -> Setup:
        pinned = () if core is None or not cores else (cores[core % len(cores)],)
        return Setup(options.robot, options.steps, worlds, threads, memory, window, pinned)

    workers = {
        "one": [Worker(setup(1, 1, options.memory, k)) for k in range(count)],
        "process": [Worker(setup(options.worlds, count, options.memory, None, options.window))],
        "pool": [Worker(setup(shares[k], 1, part, k, options.window)) for k in range(count)],
    }
    for worker in [w for group in workers.values() for w in group]:
        worker.ready()
    return workers


def measure(workers: dict[str, list[Worker]], rounds: int) -> Times:
    """Time everything round by round.

    Returns:
        Wall and processor seconds of a call in each round, by what ran (`alone`, `together`, `process`,
        `pool`) and measure.
    """
    ways: dict[str, Callable[[str, int], tuple[float, float]]] = {
        "alone": lambda name, count: together(workers["one"][:1], name, count),
        "together": lambda name, count: together(workers["one"], name, count),
        "process": lambda name, count: together(workers["process"], name, count),
        "pool": lambda name, count: pooled(workers["pool"], name, count),
    }
    counts = {
        (way, name): max(1, min(200, round(_BATCH_SECONDS / run(name, 1)[0])))
        for way, run in ways.items()
        for name in MEASURES
    }
    times: Times = {way: {m: [] for m in MEASURES} for way in ways}
    for _ in range(rounds):
        for name in MEASURES:
            for way, run in ways.items():
                times[way][name].append(run(name, counts[way, name]))
    return times


def summary(times: Times, worlds: int, threads: int) -> dict[str, Any]:
    """Turn times into the cost of a robot against the bar, by measure; `backward` is what both lack of it.

    The least times count, wall and processor by themselves: whoever else uses the machine only adds to them.
    """
    found: dict[str, Any] = {}
    least = {
        way: {name: [min(part) for part in zip(*rows, strict=True)] for name, rows in by_name.items()}
        for way, by_name in times.items()
    }
    for by_name in least.values():
        by_name["backward"] = [
            b - a for a, b in zip(by_name["value"], by_name["value_and_grad"], strict=True)
        ]
    for name in ("value", "backward", "value_and_grad"):
        alone, beside = least["alone"][name], least["together"][name]
        scaling = threads * alone[0] / beside[0]
        row = {"one_s": alone[0], "one_beside_others_s": beside[0], "scaling": scaling}
        for way in ("process", "pool"):
            wall, busy = least[way][name]
            row[f"{way}_s"] = wall
            row[f"{way}_against_bar"] = wall / worlds * scaling / alone[0]
            # Processor time has no part in who else is on the machine, nor in threads that wait.
            row[f"{way}_processor_against_bar"] = busy / worlds / beside[1]
        found[name] = row
    return found


def print_summary(found: dict[str, Any], worlds: int) -> None:
    """Print the table and who wins."""
    head = [
        "",
        "one ms",
        "scaling",
        "bar us",
        "process us",
        "/ bar",
        "(processor)",
        "pool us",
        "/ bar",
        "(processor)",
    ]
    rows = []
    for name, n in found.items():
        row = [
            {"value": "forward", "value_and_grad": "both"}.get(name, name),
            f"{1e3 * n['one_s']:.3f}",
            f"{n['scaling']:.2f}",
            f"{1e6 * n['one_s'] / n['scaling']:.0f}",
        ]
        for way in ("process", "pool"):
            row += [
                f"{1e6 * n[f'{way}_s'] / worlds:.0f}",
                f"{n[f'{way}_against_bar']:.2f}",
                f"{n[f'{way}_processor_against_bar']:.2f}",
            ]
        rows.append(row)
    print_table(head, rows)
    both = found["value_and_grad"]
    faster, slower = sorted(("process", "pool"), key=lambda way: float(both[f"{way}_s"]))
    words = {"process": "one process", "pool": "the pool"}
    print(
        f"{words[faster]} wins: {both[f'{slower}_s'] / both[f'{faster}_s']:.2f}x as fast as {words[slower]}"
    )


def main(words: Sequence[str] | None = None) -> int:
    """Run the benchmark; the exit status is 1 where the ways disagree."""
    options = parse(words)
    found = machine()
    print_machine(found)
    workers = start(options)
    one, process = workers["one"][0], workers["process"][0]
    total = {key: sum(w.grads[key] for w in workers["pool"]) for key in one.grads}
    apart = max(
        float(np.linalg.norm(g / options.worlds - one.grads[key]) / np.linalg.norm(one.grads[key]))
        for grads in (process.grads, total)
        for key, g in grads.items()
    )
    agree = apart < 1e-2
    print(f"{process.plan}\n")
    print(f"gradients of all ways agree to {apart:.1e}" if agree else f"gradients DISAGREE by {apart:.1e}")
    result = summary(measure(workers, options.repeat), options.worlds, options.threads)
    for worker in [w for group in workers.values() for w in group]:
        worker.close()
    print(
        f"\nrobot {options.robot}, {options.steps} steps, {options.worlds} worlds, {options.threads} threads:"
    )
    print_summary(result, options.worlds)
    compiled = {way: group[0].compile_s for way, group in workers.items()}
    write_json(
        options.json,
        {
            "machine": found,
            "options": vars(options),
            "plan": process.plan,
            "gradient_difference": apart,
            "first_s": compiled,
            "results": result,
        },
    )
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
