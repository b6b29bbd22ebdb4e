"""Printing what becomes of a world that has ended: its steps are skipped, its States stay as they are.

A world that ends with step `t` runs `t + 1` steps. Its last States stay in the slots where that step left
them until its window is over; then they, with their history, are at the beginning of each window. Whatever
comes behind the steps of a window (the terminal cost, the next window, adjoints from there) finds them by the
number of steps that the world itself ran in the window, `m`, where others count the `n` steps of all.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace

from diffsim.compiler.codegen.printer import Lane
from diffsim.compiler.codegen.writer import KernelWriter
from diffsim.compiler.ir import Buffer, Stage

__all__ = [
    "NEVER",
    "as_the_world_sees",
    "begin_running",
    "end_of",
    "limited",
    "otherwise",
    "own_steps",
    "while_running",
]

NEVER = 2**31 - 1  # the step with which a world ends that does not


def begin_running(w: KernelWriter, ended: Buffer | None, world: str) -> None:
    """Print that a world has not ended, at the start of a run."""
    if ended is not None:
        w.line(f"{w.at(ended, 0, [world])} = {NEVER}")


@contextmanager
def while_running(w: KernelWriter, ended: Buffer | None, lane: Lane) -> Iterator[None]:
    """Print what is printed while active for worlds that run the lane's step only."""
    with nullcontext() if ended is None else w.inside(f"if {lane.t} < {w.at(ended, 0, [lane.world])}:"):
        yield


@contextmanager
def otherwise(w: KernelWriter) -> Iterator[None]:
    """Print what is printed while active for the other worlds, behind `while_running`."""
    with w.inside("else:"):
        yield
        w.line("pass")


def own_steps(w: KernelWriter, ended: Buffer | None, world: str) -> str:
    """Print how many of the `n` steps from `t0` on a world runs by itself; return how that is called."""
    if ended is None:
        return "n"
    w.line(f"m = ti.max(ti.min({w.at(ended, 0, [world])} - t0, n), 0)")
    return "m"


def end_of(w: KernelWriter, ended: Buffer | None, world: str) -> str:
    """Return the time of a world behind the `n` steps from `t0` on: for one that has ended, its last."""
    return "t0 + s0" if ended is None else f"ti.min({w.at(ended, 0, [world])}, t0 + n)"


# ---- one kernel per stage ----


def limited(stages: list[Stage], ended: Buffer | None, runs: str) -> list[Stage]:
    """Return stages that tell which worlds they are for.

    Args:
        stages: What to copy.
        ended: Where it is noted when each world ends; None where none does.
        runs: `running` for worlds that run the step, `ended` for the others, `end` for all, each at its end.
    """
    return stages if ended is None else [replace(stage, ended=ended, runs=runs) for stage in stages]


@contextmanager
def as_the_world_sees(w: KernelWriter, stage: Stage, lane: Lane) -> Iterator[Lane]:
    """Print, in the loop over worlds, what limits a stage to some of them; yield how places are named.

    Where the stage is in a loop that may end early, worlds for which it has ended are left out too.
    """
    w.name(stage.t, lane.t)
    with w.unless_done(stage, lane):
        if stage.ended is None:
            yield lane
            return
        with _of_its_world(w, stage, stage.ended, lane) as inner:
            yield inner


@contextmanager
def _of_its_world(w: KernelWriter, stage: Stage, ended: Buffer, lane: Lane) -> Iterator[Lane]:
    at = w.at(ended, 0, [lane.world])
    if stage.runs != "end":
        with w.inside(f"if {lane.t} {'<' if stage.runs == 'running' else '>='} {at}:"):
            yield lane
            w.line("pass")
        return
    w.line(f"m_t = ti.min({lane.t}, {at})")
    w.line(f"m = ti.max({lane.scratch} - ({lane.t} - m_t), 0)")
    w.name(stage.t, "m_t")
    yield replace(lane, t="m_t", slot=lambda offset: _plus("m", offset + w.layout.history - 1))


def _plus(name: str, offset: int) -> str:
    return f"{name} + {offset}" if offset else name
