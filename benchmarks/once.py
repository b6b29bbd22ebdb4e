"""A matrix that is computed once per rollout, in `reset`, beside the same matrix as a Param: bytes and time.

`x[t + 1] = x[t] + h tanh(K x[t])` with a K of `--size` x `--size`, from two vectors of Params and kept in a
State that no step writes: `made` reads it with the time, `timeless` without. It is stored once, so that bytes
do not grow with the steps, and the gradient takes about as long as that of `param`.

`python -m benchmarks once`
"""

import argparse
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import taichi as ti

import diffsim as ds
from benchmarks.children import stream
from benchmarks.common import machine, print_machine, print_table, write_json

WAYS = ("param", "made", "timeless")


class Relaxing(ds.Simulator):
    """Neurons that all hear all others.

    Args:
        size: How many.
        way: Where their weights are: one of `WAYS`.
    """

    def __init__(self, size: int, way: str) -> None:
        self.n, self.way = size, way
        rng = np.random.default_rng(0)
        self.a, self.b = ds.Param(rng.normal(size=size)), ds.Param(rng.normal(size=size))
        self.x = ds.State(ds.real, size, init=rng.normal(size=size))
        if way == "param":
            self.K = ds.Param(np.sin(np.outer(self.a.numpy(), self.b.numpy())) / size)
        else:
            self.K = ds.State(ds.real, size, size)

    @ti.kernel
    def make(self, t: ti.i32):
        """Compute the weights from Params."""
        for i, j in ti.ndrange(self.n, self.n):
            self.K[t, i, j] = ti.sin(self.a[i] * self.b[j]) / self.n

    def reset(self) -> None:
        """Make the weights where they are no Param."""
        if self.way != "param":
            self.make(0)

    @ti.kernel
    def relax(self, t: ti.i32):
        """Move each neuron by what it hears."""
        for i in range(self.n):
            heard = 0.0
            for j in range(self.n):
                if ti.static(self.way == "made"):
                    heard += self.K[t, i, j] * self.x[t, j]
                else:
                    heard += self.K[i, j] * self.x[t, j]
            self.x[t + 1, i] = self.x[t, i] + 0.01 * ti.tanh(heard)

    def step(self, t: Any) -> None:
        """Let all hear all others."""
        self.relax(t)

    @ti.kernel
    def pay(self, t: ti.i32):
        """Sum the squares."""
        for i in range(self.n):
            self.cost[None] += self.x[t, i] ** 2

    def terminal_cost(self, t: Any) -> None:
        """Pay for what is left."""
        self.pay(t)


def run_once(options: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Time the gradient of each way, in turns, and yield bytes and processor times."""
    ds.init("cpu", threads=1)
    ways = {way: Relaxing(options["size"], way) for way in WAYS}
    rollouts = {w: ds.Rollout(sim, steps=options["steps"], mode="fused") for w, sim in ways.items()}
    costs = [rollout.value_and_grad()[0] for rollout in rollouts.values()]
    if not np.allclose(costs, costs[0], rtol=1e-4):
        raise RuntimeError(f"costs must be the same, got {costs}")
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(options["repeat"]):
        for way, rollout in rollouts.items():
            began = time.process_time()
            rollout.value_and_grad()
            times[way].append(time.process_time() - began)
    yield {"bytes": {way: r.plan.total_bytes for way, r in rollouts.items()}, "times": times}
    for rollout in rollouts.values():
        rollout.close()


def main(words: Sequence[str] | None = None) -> int:
    """Run the benchmark; timing fails nothing."""
    parser = argparse.ArgumentParser("python -m benchmarks once", description=__doc__)
    parser.add_argument("--size", type=int, default=100, help="rows of the matrix (100)")
    parser.add_argument("--steps", type=int, default=800, help="time steps (800)")
    parser.add_argument("--repeat", type=int, default=20, help="rounds of timing (20)")
    parser.add_argument("--json", metavar="FILE", help="write the numbers to a file")
    options = parser.parse_args(words)
    if min(options.size, options.steps, options.repeat) < 1:
        parser.error("--size, --steps and --repeat must be at least 1")
    found = machine()
    print_machine(found)
    (measured,) = stream(run_once, vars(options))
    rows = []
    for way in WAYS:
        times, yardstick = measured["times"][way], measured["times"]["param"]
        ratio = statistics.median(a / b for a, b in zip(times, yardstick, strict=True))
        memory = measured["bytes"][way] / 2**20
        rows.append([way, f"{memory:.2f} MiB", f"{statistics.median(times) * 1e3:.1f} ms", f"{ratio:.2f}"])
    print()
    print_table(["", "memory", "gradient", "vs param"], rows)
    write_json(options.json, {"machine": found, "options": vars(options), "results": measured})
    return 0


if __name__ == "__main__":
    sys.exit(main())
