"""The parts of `sparse`: each runs its contenders, prints a table and returns its numbers."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.children import stream
from benchmarks.common import memory_now, peak_memory, print_table
from benchmarks.contenders import CLOCKS, Contender, Program, gradient_error
from benchmarks.sparse_problem import DT, DX, VELOCITY, block, box

_AGREE = 1e-3  # of costs and gradients in f32, relative
_PIECES = ("clear", "activate", "scatter", "visit", "gather")


def clock(threads: int) -> str:
    """Name what is read: with one thread, what other processes take does not count."""
    return "processor" if threads == 1 else "wall"


def run_layouts(particles: int, room: int, rounds: int, threads: int) -> Iterator[dict[str, Any]]:
    """Time the pieces of all layouts in turns [s]; yield medians by layout and piece."""
    import taichi as ti

    from benchmarks.plain_taichi import start_taichi
    from benchmarks.sparse_layouts import ACTIVATIONS, SNODES, TABLES, Grid

    start_taichi("cpu", 32, threads or None)
    grids = {name: Grid(particles, room, name) for name in SNODES}
    for name in TABLES:
        grids.update({f"{name}, {way}": Grid(particles, room, name, way) for way in ACTIVATIONS})
    times: dict[str, dict[str, list[float]]] = {name: {p: [] for p in _PIECES} for name in grids}
    read = CLOCKS[clock(threads)]
    for turn in range(1 + rounds):  # the first compiles
        for name, grid in grids.items():
            for piece in _PIECES:
                began = read()
                getattr(grid, piece)()
                ti.sync()
                if turn:
                    times[name][piece].append(read() - began)
    right = [np.allclose(grid.v.to_numpy(), VELOCITY, rtol=1e-4) for grid in grids.values()]
    medians = {name: {p: statistics.median(t) for p, t in row.items()} for name, row in times.items()}
    yield {"seconds": medians, "agree": all(right)}


def layouts(options: argparse.Namespace) -> dict[str, Any]:
    """Compare layouts by themselves."""
    (found,) = stream(run_layouts, options.particles, options.room, options.repeat, options.threads)
    rows = []
    for name, seconds in found["seconds"].items():
        taken = [*seconds.values(), sum(seconds.values())]
        rows.append([name, *(f"{1e3 * s:.2f}" for s in taken)])
    print_table(["ms a step", *_PIECES, "sum"], rows)
    return dict(found)


@dataclass(frozen=True)
class Setup:
    """What a contender of `forward` or `gradient` runs.

    Attributes:
        kind: A layout of plain Taichi; `diffsim dense`, `diffsim at rest` or `diffsim sparse`.
        particles: Points.
        room: Cells of the room of sparse grids along each axis.
        steps: The horizon.
        memory: Of a rollout of diffsim.
        threads: CPU threads, 0 for all.
        mode: Of diffsim.
    """

    kind: str
    particles: int
    room: int
    steps: int
    memory: str
    threads: int
    mode: str = "auto"

    @property
    def velocity(self) -> tuple[float, float, float]:
        """Of the block at first [m/s]."""
        return (0.0, *VELOCITY[1:]) if self.kind == "diffsim at rest" else VELOCITY

    @property
    def cells(self) -> tuple[int, int, int]:
        """Of the grid along each axis; a dense one is just around what the block sweeps."""
        if self.kind in ("dense", "diffsim dense", "diffsim at rest"):
            x, y, z = (v * DT * self.steps for v in self.velocity)
            return box(self.particles, (x, y, z))
        return (self.room,) * 3


def make_plain(setup: Setup) -> Program:
    """Build the program in plain Taichi, which knows no gradient."""
    from benchmarks.plain_taichi import start_taichi
    from benchmarks.plain_taichi_sparse import PlainSparseMPM

    start_taichi("cpu", 32, setup.threads or None)
    x, _ = block(setup.particles)
    program = PlainSparseMPM(x.astype(np.float32), setup.cells, setup.kind)

    def value() -> float:
        program.begin()
        for _ in range(setup.steps):
            program.step()
        x = program.x.to_numpy().astype(np.float64) / DX
        return float(np.mean(x**2 @ np.array([1.0, 0.5, 0.25])))

    return Program(value, lambda: (value(), {}))


def rollout_of(setup: Setup) -> Any:
    """Start diffsim and return its rollout."""
    import diffsim as ds
    from benchmarks.sparse_simulator import FlyingBlock

    ds.init("cpu", threads=setup.threads or None)
    layout = ds.sparse(block=4) if setup.kind == "diffsim sparse" else None
    sim = FlyingBlock(setup.particles, setup.cells, setup.velocity, layout)
    return ds.Rollout(sim, steps=setup.steps, memory=setup.memory, mode=setup.mode)


def make(setup: Setup) -> Program:
    """Build a contender."""
    if not setup.kind.startswith("diffsim"):
        return make_plain(setup)
    rollout = rollout_of(setup)
    return Program(rollout.value, lambda: (rollout.value(), {}))


def forward(options: argparse.Namespace) -> dict[str, Any]:
    """Compare a step forward."""
    from benchmarks.sparse_layouts import SNODES

    kinds = ("diffsim sparse", "diffsim dense", *SNODES, "dense")
    size = (options.particles, options.room, options.forward_steps, options.memory, options.threads)
    contenders = [Contender(Setup(kind, *size), make, clock(options.threads)) for kind in kinds]
    times: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(options.repeat):
        for contender in contenders:
            times[contender.setup.kind].append(contender.seconds("value", 1) / options.forward_steps)
    found: dict[str, Any] = {"agree": True, "clock": clock(options.threads), "contenders": {}}
    rows = []
    for contender in contenders:
        contender.close()
        kind, mine = contender.setup.kind, times[contender.setup.kind]
        ratio = statistics.median(a / b for a, b in zip(mine, times[kinds[0]], strict=True))
        off = abs(contender.cost / contenders[0].cost - 1.0)
        found["agree"] &= bool(off <= _AGREE)
        found["contenders"][kind] = {
            "step_s": statistics.median(mine),
            "ratio": ratio,
            "compile_s": contender.build + contender.first - options.forward_steps * statistics.median(mine),
            "cost": contender.cost,
            "times": mine,
        }
        row = found["contenders"][kind]
        label = kind if kind.startswith("diffsim") else f"plain Taichi, {kind}"
        rows.append(
            [label, f"{row['compile_s']:.1f}", f"{1e3 * row['step_s']:.1f}", f"{ratio:.2f}", f"{off:.0e}"]
        )
    print_table(["", "compile s", "ms a step", "/ sparse", "cost off"], rows)
    return found


def run_gradient(setup: Setup, rounds: int) -> Iterator[dict[str, Any]]:
    """Run value and gradient, and yield what they are, their seconds and the memory of the process."""
    before = peak_memory()
    began = time.perf_counter()
    rollout = rollout_of(setup)
    cost, grads = rollout.value_and_grad(["mpm.v"])
    first = time.perf_counter() - began
    times, read = [], CLOCKS[clock(setup.threads)]
    for _ in range(rounds):
        began = read()
        rollout.value_and_grad(["mpm.v"])
        times.append(read() - began)
    plan = rollout.plan
    yield {
        "cost": float(cost),
        "gradient": grads["mpm.v"],
        "first_s": first,
        "times": times,
        "step_s": statistics.median(times or [first]) / setup.steps,
        "before_mib": before,
        "peak_mib": peak_memory(),
        "plan_mib": plan.total_bytes / 2**20,
        "mode": plan.mode,
        "window": plan.window,
        "recomputation": plan.recomputation,
        "cells": setup.cells,
    }
    rollout.close()


def gradient(options: argparse.Namespace) -> dict[str, Any]:
    """Compare value and gradient on a sparse grid and on dense ones just around the block."""
    size = (options.particles, options.room)
    tail = (options.memory, options.threads)
    setups = {
        kind: Setup(kind, *size, options.steps, *tail)
        for kind in ("diffsim sparse", "diffsim dense", "diffsim at rest")
    }
    rows = {kind: _measured(setup, options.repeat) for kind, setup in setups.items()}
    sparse, dense = rows["diffsim sparse"], rows["diffsim dense"]
    off = gradient_error({"v": dense.pop("gradient")}, {"v": sparse.pop("gradient")})
    agree = off <= _AGREE and abs(dense["cost"] / sparse["cost"] - 1.0) <= _AGREE
    print(f"gradients differ by {off:.1e}")
    if options.long:
        long = Setup("diffsim sparse", *size, options.long, *tail)
        rows[f"diffsim sparse, {options.long} steps"] = _measured(long, 0)
    table = []
    for kind, row in rows.items():
        row.pop("gradient", None)
        row["ratio"] = row["step_s"] / sparse["step_s"]
        table.append(
            [
                kind,
                " x ".join(map(str, row["cells"])),
                f"{row['first_s']:.1f}",
                f"{1e3 * row['step_s']:.1f}",
                f"{row['ratio']:.2f}",
                f"{row['recomputation']:.2f}",
                f"{row['plan_mib']:.0f}",
                f"{row['peak_mib']:.0f}",
            ]
        )
    print_table(
        ["", "cells", "first s", "ms a step", "/ sparse", "recomputation", "plan MiB", "process MiB"], table
    )
    return {"agree": bool(agree), "gradient_error": off, "rows": rows}


def _measured(setup: Setup, rounds: int) -> dict[str, Any]:
    """Run a contender in a process of its own."""
    (found,) = stream(run_gradient, setup, rounds)
    return dict(found)


def run_steady(setup: Setup, runs: int) -> Iterator[float]:
    """Run forward again and again, and yield the memory of the process after each run [MiB]."""
    rollout = rollout_of(setup)
    for _ in range(runs):
        rollout.value()
        yield memory_now()
    rollout.close()


def steady(options: argparse.Namespace) -> dict[str, Any]:
    """Look at memory while a small block crosses the room ten times."""
    runs = 10
    steps = -(-options.steady_steps // runs)
    particles = min(options.particles, 2000)
    setup = Setup("diffsim sparse", particles, options.room, steps, options.memory, options.threads)
    sizes = list(stream(run_steady, setup, runs))
    growth = sizes[-1] / sizes[0] - 1.0
    print(
        f"{runs} times {steps} steps of {particles} points: {sizes[0]:.1f} MiB after the first, "
        f"{sizes[-1]:.1f} MiB at the end ({growth:+.1%})"
    )
    return {"mib": sizes, "growth": growth}


PARTS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "layouts": layouts,
    "forward": forward,
    "gradient": gradient,
    "steady": steady,
}
