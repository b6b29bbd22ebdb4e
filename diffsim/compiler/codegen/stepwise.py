"""Printing mode `step`: one kernel per stage, whose loops run in parallel."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from diffsim.compiler.autodiff.simplify import order_is_free
from diffsim.compiler.codegen.ending import as_the_world_sees, limited
from diffsim.compiler.codegen.layout import Layout
from diffsim.compiler.codegen.motion import hoisted
from diffsim.compiler.codegen.printer import Lane, Slot, slot_of
from diffsim.compiler.codegen.sharing import Axis, dealt_nest, exclusive, tape_bytes
from diffsim.compiler.codegen.sinking import sunk
from diffsim.compiler.codegen.stages import StageSet
from diffsim.compiler.codegen.writer import PER_THREAD, KernelText, KernelWriter
from diffsim.compiler.ir import (
    Accumulate,
    Block,
    Buffer,
    Const,
    For,
    Op,
    Stage,
    blocks_of,
    walk,
)
from diffsim.compiler.program.clearing import clear_stage

__all__ = [
    "PHASES",
    "Threads",
    "begin_lane",
    "bounds_of",
    "groups_of",
    "nests_of",
    "parallel_stage",
    "parts_of",
    "step_kernels",
    "step_lane",
    "worth_sharing",
]

PHASES = ("begin", "step", "terminal", "begin_adj", "step_adj", "terminal_adj")

_PARALLEL_TAPE_BYTES = 64 << 20  # above it a stage with tapes runs its loops one by one
# nanoseconds: of one operation, of one sum that threads share, of waking the threads of a CPU
_OPERATION, _SUM, _WAKE = 0.25, 5.0, 80_000.0
# of machine code without Taichi: of waking, and of an element that each thread has of its own for sums
_NATIVE_WAKE, _OWN = 20_000.0, 1.0
_ENOUGH = 64  # worlds that keep the threads of a CPU busy
_NATIVE_ENOUGH = 4  # worlds for each thread, and rows, that do so without Taichi
_UNKNOWN_TRIPS = 16  # of a loop whose bounds are computed


@dataclass(frozen=True)
class Threads:
    """Those of the CPU that parallel loops may use.

    Attributes:
        count: How many; 0 for a GPU, which has its own.
        native: It is not Taichi that shares loops between them.
    """

    count: int
    native: bool = False

    @property
    def on_cpu(self) -> bool:
        """Tell whether there are any."""
        return self.count > 0

    @property
    def worlds(self) -> int:
        """Count the worlds that keep them busy."""
        return min(_ENOUGH, _NATIVE_ENOUGH * self.count) if self.native else _ENOUGH

    @property
    def rows(self) -> int:
        """Count the iterations that keep them busy."""
        return _NATIVE_ENOUGH * self.count if self.native else 2 * PER_THREAD * self.count


def step_kernels(
    stages: StageSet,
    layout: Layout,
    real: str,
    threads: Threads,
    phases: Sequence[str] = PHASES,
    native: bool = False,
) -> dict[str, list[KernelText]]:
    """Print one kernel per stage: `begin`, `step`, `terminal` and their adjoints, all `(t, s0)`.

    Args:
        stages: A program and its adjoints.
        layout: The axes of the buffers.
        real: The type of float literals.
        threads: Of the CPU.
        phases: Which phases to print; `again` is the step without its cost.
        native: As of `KernelWriter`.
    """

    def kernel(name: str, parts: list[Stage], lane: Lane) -> KernelText:
        w = KernelWriter(name, ("t", "s0"), layout, real, native)
        w.parts = parts_of(stages, layout)
        for part in parts:
            parallel_stage(w, part, lane, threads)
        w.line("pass")
        return w.finish()

    here, start = step_lane(layout.history), begin_lane(layout.history)
    return {
        phase: [
            kernel(f"{phase}{k}", group, start if phase.startswith("begin") else here)
            for k, group in enumerate(groups_of(stages, phase, real))
        ]
        for phase in phases
    }


def parts_of(stages: StageSet, layout: Layout) -> dict[Buffer, Buffer]:
    """Return where lanes add to costs instead; nothing where each world's cost has one thread."""
    return stages.lowered.cost_parts if layout.parts > 1 else {}


def groups_of(stages: StageSet, phase: str, real: str) -> list[list[Stage]]:
    """Return the stages of a phase in the order in which they run; those that zero come first, as one group.

    In that group is too what a step does to worlds that have ended.

    Args:
        stages: A program and its adjoints.
        phase: One of `PHASES`.
        real: The type of float literals.
    """
    lowered = stages.lowered
    zero = [clear_stage(c, real) for c in stages.clears()[phase]]
    parts, ended = stages.in_order()[phase], lowered.ended
    if ended is not None and not phase.startswith("begin"):
        runs = "running" if phase.startswith(("step", "again")) else "end"
        zero, parts = limited(zero, ended, runs), limited(parts, ended, runs)
        zero += limited(lowered.frozen, ended, "ended") if phase == "step" else []
    return ([zero] if zero else []) + [[part] for part in parts]


def step_lane(history: int, k: int = 0) -> Lane:
    """Name the places of the step `k` steps behind the one that the kernel's `t` and `s0` stand for."""

    def slot(s: int) -> str:
        return f"s0 + {s}" if s else "s0"

    return Lane(f"(t + {k})" if k else "t", lambda o: slot(k + o + history - 1), slot(k))


def begin_lane(history: int) -> Lane:
    """Name the places of what runs before the first step."""
    return Lane("t", lambda o: str(o + history - 1), "0")


def parallel_stage(w: KernelWriter, stage: Stage, lane: Lane, threads: Threads) -> None:
    """Print each top-level loop as a loop that Taichi runs in parallel, worlds included.

    On a CPU worlds run in parallel where there are enough of them, with the loops inside; what is too little
    to wake other threads for runs on one.

    Args:
        w: Where to print.
        stage: What to print.
        lane: The places of its step.
        threads: Of the CPU.
    """
    w.comes_from(stage)
    worlds = w.layout.worlds
    stage = w.ready(stage) if threads.on_cpu else sunk(w.ready(stage))
    nests = nests_of(stage, threads.on_cpu)
    alone = threads.on_cpu and not worth_sharing(hoisted(stage, outermost=False).body, worlds, threads)
    w.name(stage.t, lane.t)
    if (
        alone
        or (threads.on_cpu and worlds >= threads.worlds)
        or not nests
        or (threads.on_cpu and not _tapes_fit(stage, nests, worlds))
    ):
        # printed as in fused mode, so that both round alike; but iterations are not done together here, so
        # that fused mode is compared with something that cannot be wrong in the same way
        _serial_worlds(w, hoisted(stage, outermost=True), lane, threads, serial=alone or worlds == 1)
        return
    for op in _shared(stage, worlds, threads):
        nest = _nest(op, threads.on_cpu)
        assert nest is not None  # noqa: S101  (checked above)
        w.plan_inlining(Block([op]))
        _parallel_nest(w, stage, nest, lane, threads)


def _shared(stage: Stage, worlds: int, threads: Threads) -> list[For]:
    """Return the top-level loops of a stage with what need not be done in each iteration moved out of it.

    On a CPU that may leave fewer loops to share than there were: rows instead of cells, if there are enough.
    """
    loops = []
    for mine, moved in zip(stage.body.ops, hoisted(stage, outermost=False).body.ops, strict=True):
        nest = _nest(moved, threads.on_cpu)
        assert isinstance(mine, For)  # noqa: S101  (nests were found)
        if nest and threads.on_cpu and worlds * _iterations(nest) >= threads.rows:
            assert isinstance(moved, For)  # noqa: S101  (it is what became of a loop)
            loops.append(moved)
        else:
            loops.append(_with_innermost(mine, stage, threads.on_cpu))
    return loops


def _with_innermost(loop: For, stage: Stage, on_cpu: bool) -> For:
    """Return a copy of a perfect nest in whose innermost body alone things are moved."""
    nest = _nest(loop, on_cpu)
    assert nest is not None  # noqa: S101  (nests were found)
    body = hoisted(Stage(stage.name, stage.t, nest[-1].body), outermost=True).body
    for one in reversed(nest):
        body = Block([replace(one, body=body)])
    copy = body.ops[0]
    assert isinstance(copy, For)  # noqa: S101  (it was made by the line above)
    return copy


def nests_of(stage: Stage, on_cpu: bool) -> list[list[For]]:
    """Return the perfect nests of parallel loops that a stage consists of; none where it is anything else.

    Args:
        stage: The stage.
        on_cpu: Loops that record run in order there; the threads of a GPU have tapes of their own.
    """
    found = [_nest(op, on_cpu) for op in stage.body.ops]
    return [nest for nest in found if nest] if all(found) else []


def _nest(op: Op, on_cpu: bool = True) -> list[For] | None:
    """Return the perfect nest of parallel loops of known bounds that an operation begins with, or None."""
    nest: list[For] = []
    while isinstance(op, For) and op.parallel and not op.params and _known_bounds(op):
        if op.descending and (on_cpu or not order_is_free(op, apart=True)):
            break
        nest.append(op)
        if len(op.body.ops) != 1:
            break
        op = op.body.ops[0]
    return nest or None


def _known_bounds(op: For) -> bool:
    return isinstance(op.start, Const) and isinstance(op.stop, Const)


def _trips(loop: For) -> int:
    assert isinstance(loop.start, Const) and isinstance(loop.stop, Const)  # noqa: S101, PT018  (see _known_bounds)
    return max(0, int(loop.stop.value) - int(loop.start.value))


def _iterations(nest: list[For]) -> int:
    return math.prod(_trips(loop) for loop in nest)


def worth_sharing(block: Block, worlds: int, threads: Threads) -> bool:
    """Tell whether the threads of a CPU run a block faster than one does, to which sums cost no more.

    Args:
        block: What one world runs.
        worlds: How many run it.
        threads: Of the CPU.
    """
    operations, sums = _count(block)
    alone = worlds * operations * _OPERATION
    if threads.native:
        return _NATIVE_WAKE + alone / threads.count + _own_elements(block) * _OWN < alone
    return _WAKE + (alone + worlds * sums * _SUM) / threads.count < alone


def _own_elements(block: Block) -> int:
    """Count the elements to which iterations add that other threads may add to at the same time."""
    targets: dict[Slot, int] = {}
    for outer in block.ops:
        for op in walk(Block([outer])):
            own = isinstance(outer, For) and isinstance(op, Accumulate) and outer.index in op.ref.indices
            if isinstance(op, Accumulate) and not own:
                targets[slot_of(op.ref)] = math.prod(op.ref.buffer.shape)
    return sum(targets.values())


def _count(block: Block) -> tuple[int, int]:
    """Estimate how many operations a block runs, and how many of them add to memory."""
    operations = sums = 0
    for op in block.ops:
        trips = (_trips(op) if _known_bounds(op) else _UNKNOWN_TRIPS) if isinstance(op, For) else 1
        inside = [_count(inner) for inner in blocks_of(op)]
        operations += 1 + trips * sum(n for n, _ in inside)
        sums += isinstance(op, Accumulate) + trips * sum(n for _, n in inside)
    return operations, sums


def _tapes_fit(stage: Stage, nests: Sequence[list[For]], worlds: int) -> bool:
    lanes = worlds * max((_iterations(nest) for nest in nests), default=1)
    return lanes * tape_bytes(stage) <= _PARALLEL_TAPE_BYTES


def _parallel_nest(w: KernelWriter, stage: Stage, nest: list[For], lane: Lane, threads: Threads) -> None:
    axes = {loop.index: Axis(w.fresh("i"), *bounds_of(loop)) for loop in nest}
    for index, axis in axes.items():
        w.name(index, axis.name)
    if not threads.on_cpu:
        dealt_nest(w, stage, nest[-1].body, axes, lane)
        return
    worlds = w.layout.worlds
    serial = not worth_sharing(Block([nest[0]]), worlds, threads)
    if serial:
        w.line("ti.loop_config(serialize=True)")
    names, bounds = [axis.name for axis in axes.values()], [(a.low, a.high) for a in axes.values()]
    targets = (["w"] if worlds > 1 else []) + names
    if len(targets) == 1:
        head = f"for {targets[0]} in range({bounds[0][0]}, {bounds[0][1]}):"
    else:
        ranges = ([str(worlds)] if worlds > 1 else []) + [str(b) for b in bounds]
        head = f"for {', '.join(targets)} in ti.ndrange({', '.join(ranges)}):"
    flat = "w" if worlds > 1 else "0"
    for name, (low, high) in zip(names, bounds, strict=True):
        flat = f"({flat}) * {high - low} + {name} - {low}"
    w.need_tapes(stage, worlds * _iterations(nest))
    inner = Lane(
        lane.t,
        lane.slot,
        lane.scratch,
        "w" if worlds > 1 else "0",
        lane=flat,
        exclusive=exclusive(nest[-1].body, list(axes), w.layout),
        atomic=not serial,
    )
    with w.inside(head):
        with as_the_world_sees(w, stage, inner) as inner:
            w.operations(nest[-1].body.ops, inner)
        w.line("pass")


def bounds_of(loop: For) -> tuple[int, int]:
    """Return the first index of a loop of known bounds, and the one behind its last."""
    assert isinstance(loop.start, Const) and isinstance(loop.stop, Const)  # noqa: S101, PT018  (see _known_bounds)
    return int(loop.start.value), int(loop.stop.value)


def _serial_worlds(w: KernelWriter, stage: Stage, lane: Lane, threads: Threads, serial: bool) -> None:
    """Print a stage whose top level is more than independent loops: worlds in parallel, the rest in order."""
    worlds = w.layout.worlds
    w.plan_inlining(stage.body)
    if not threads.on_cpu and worlds > 1:
        dealt_nest(w, stage, stage.body, {}, lane)
        return
    if serial:
        w.line("ti.loop_config(serialize=True)")
    w.need_tapes(stage, worlds)
    name = "w" if worlds > 1 else "0"
    inner = Lane(
        lane.t,
        lane.slot,
        lane.scratch,
        name,
        lane=name,
        exclusive=exclusive(stage.body, [], w.layout),
        atomic=not serial,
    )
    with _worlds(w, spread=threads.on_cpu and not serial):
        with as_the_world_sees(w, stage, inner) as inner:
            w.operations(stage.body.ops, inner)
        w.line("pass")


@contextmanager
def _worlds(w: KernelWriter, spread: bool) -> Iterator[None]:
    """Print a loop over worlds; where it is spread, each world is an item for a thread of its own."""
    worlds = w.layout.worlds
    if not spread:
        with w.inside(f"for w in range({worlds}):"):
            yield
        return
    with w.spread("w", worlds):
        yield
