"""Time programs with their fields laid out in one way and in another, in turns, in one process on one thread.

The kernels are the same, and so are the bits of what they compute; where elements lie decides how much memory
they pull through the processor's caches. `python -m benchmarks layouts`
"""

# No `from __future__ import annotations` here: Taichi reads kernel annotations as objects, not as text.
import argparse
import statistics
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import taichi as ti

import diffsim as ds
from benchmarks.common import machine, print_machine, print_table, write_json
from diffsim.language.layouts import Layout

STEPS = 10


class Points(ds.Simulator):
    """Points that are drawn to the origin, each on its own, one after the other in memory."""

    def __init__(self, layout: Layout | None, points: int) -> None:
        rng, self.n = np.random.default_rng(0), points
        self.x = ds.State(ds.vec3, points, init=rng.normal(size=(points, 3)), layout=layout)
        self.v = ds.State(ds.vec3, points, layout=layout)
        self.mass = ds.Scratch(ds.vec4, points // 2, layout=layout)
        self.cell = ds.Constant(rng.integers(0, points // 2, (points, 4)))
        self.pull = ds.Param(1.0)

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(self.n):
            self.v[t + 1, i] = 0.9 * self.v[t, i] - 0.01 * self.pull[None] * self.x[t, i]
            self.x[t + 1, i] = self.x[t, i] + 0.01 * self.v[t, i]

    @ti.kernel
    def size(self, t: ti.i32):
        for i in range(self.n):
            self.cost[None] += self.x[t, i].dot(self.x[t, i])

    def step(self, t):
        self.move(t)

    def terminal_cost(self, t):
        self.size(t)


class Cells(Points):
    """Points that add to four cells each and read these back, all of them anywhere in memory."""

    @ti.kernel
    def spread(self, t: ti.i32):
        for i in range(self.n):
            for k in ti.static(range(4)):
                x = self.x[t, i]
                self.mass[t, self.cell[i, k]] += ti.Vector([x[0], x[1], x[2], 1.0])

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(self.n):
            push = ti.Vector([0.0, 0.0, 0.0])
            for k in ti.static(range(4)):
                q = self.mass[t, self.cell[i, k]]
                push += self.pull[None] * ti.Vector([q[0], q[1], q[2]]) / (1.0 + q[3])
            self.v[t + 1, i] = 0.9 * self.v[t, i] + 0.01 * push
            self.x[t + 1, i] = self.x[t, i] + 0.01 * self.v[t, i]

    def step(self, t):
        self.spread(t)
        self.move(t)


class Columns(ds.Simulator):
    """Heat on a square, by loops whose inner one goes along the first axis."""

    def __init__(self, layout: Layout | None, n: int) -> None:
        self.n, first = n, np.random.default_rng(0).normal(size=(n, n))
        self.u = ds.State(ds.real, n, n, init=first, layout=layout, keep=True)
        self.rate = ds.Param(0.2)

    @ti.kernel
    def spread(self, t: ti.i32):
        for j, i in ti.ndrange((1, self.n - 1), (1, self.n - 1)):
            around = self.u[t, i - 1, j] + self.u[t, i + 1, j] + self.u[t, i, j - 1] + self.u[t, i, j + 1]
            self.u[t + 1, i, j] = self.u[t, i, j] + self.rate[None] * (around - 4.0 * self.u[t, i, j])

    @ti.kernel
    def size(self, t: ti.i32):
        for j, i in ti.ndrange(self.n, self.n):
            self.cost[None] += self.u[t, i, j] ** 2

    def step(self, t):
        self.spread(t)

    def terminal_cost(self, t):
        self.size(t)


TOGETHER, TURNED, PADDED = ds.dense(components="together"), ds.dense(order="ji"), ds.dense(pad=16)
ROWS: tuple[tuple[str, Any, int, Layout], ...] = (
    ("points in order", Points, 100_000, TOGETHER),
    ("points and cells anywhere", Cells, 3_000, TOGETHER),
    ("points and cells anywhere", Cells, 100_000, TOGETHER),
    ("points and cells anywhere", Cells, 400_000, TOGETHER),
    ("loops along the first axis", Columns, 512, TURNED),
    ("loops along the first axis", Columns, 512, PADDED),
    ("loops along the first axis", Columns, 500, PADDED),
)


def times_of(make: Any, size: int, layout: Any, repeats: int) -> dict[str, Any]:
    """Time value, and value and gradient, without a layout and with one, in turns.

    Returns:
        Medians [ms] of both, as `value` and `both`, and whether cost and gradients have the same bits.
    """
    rollouts = [ds.Rollout(make(one, size), steps=STEPS, mode="fused") for one in (None, layout)]
    first, second = [rollout.value_and_grad() for rollout in rollouts]
    same = first[0] == second[0] and all(np.array_equal(g, second[1][k]) for k, g in first[1].items())
    spent: dict[str, list[list[float]]] = {"value": [[], []], "both": [[], []]}
    for _ in range(repeats + 1):
        for k, rollout in enumerate(rollouts):
            for name, call in (("value", rollout.value), ("both", rollout.value_and_grad)):
                start = time.perf_counter()
                call()
                spent[name][k].append(1e3 * (time.perf_counter() - start))
    for rollout in rollouts:
        rollout.close()
    medians = {name: [statistics.median(one[1:]) for one in both] for name, both in spent.items()}
    return {**medians, "same bits": bool(same)}


def main(words: Sequence[str] | None = None) -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks layouts", description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--only", default="", help="rows whose names have this in them")
    parser.add_argument("--json", help="a file for the numbers")
    options = parser.parse_args(words)
    found = machine()
    print_machine(found)
    ds.init(threads=1)
    table, rows = [], []
    for name, make, size, layout in ROWS:
        if options.only in name:
            row = times_of(make, size, layout, options.repeats)
            rows.append({"name": name, "size": size, "layout": repr(layout), **row})
            cells = [f"{a:.2f} -> {b:.2f} ({a / b:.2f}x)" for a, b in (row["value"], row["both"])]
            table.append([f"{name}, {size:,}", repr(layout), *cells, "yes" if row["same bits"] else "no"])
    print_table(["program", "layout", "value [ms]", "value and gradient [ms]", "same bits"], table)
    write_json(options.json, {"machine": found, "rows": rows})


if __name__ == "__main__":
    main()
