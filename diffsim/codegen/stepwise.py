"""Printing mode `step`: one kernel per stage, whose loops run in parallel."""

from __future__ import annotations

import math
from collections.abc import Sequence

from diffsim.analysis.program import clear_stage
from diffsim.autodiff import expanded
from diffsim.codegen.layout import Layout
from diffsim.codegen.motion import hoisted
from diffsim.codegen.printer import Lane, Slot, slot_of
from diffsim.codegen.stages import StageSet, tapes_of
from diffsim.codegen.writer import KernelText, KernelWriter
from diffsim.ir import Accumulate, Block, Buffer, Const, For, Load, Op, Stage, Store, Value, walk

__all__ = ["step_kernels"]

_PARALLEL_TAPE_BYTES = 64 << 20  # above it a stage with tapes runs its loops one by one
_SERIAL_WORK = 128  # iterations below which waking the thread pool costs more than the loop


def step_kernels(stages: StageSet, layout: Layout, real: str, on_cpu: bool) -> dict[str, list[KernelText]]:
    """Print one kernel per stage: `begin`, `step`, `terminal` and their adjoints, all `(t, s0)`."""
    lowered = stages.lowered
    history = layout.history

    def kernel(name: str, parts: list[Stage], lane: Lane) -> KernelText:
        w = KernelWriter(name, ("t", "s0"), layout, real)
        for part in parts:
            w.comes_from(part)
            _parallel_stage(w, part, lane, on_cpu)
        w.line("pass")
        return w.finish()

    def many(
        prefix: str, clears: list[tuple[Buffer, int]], parts: list[Stage], lane: Lane
    ) -> list[KernelText]:
        zero = [clear_stage(b, time, real) for b, time in clears]
        groups = ([[*zero]] if zero else []) + [[p] for p in parts]
        return [kernel(f"{prefix}{k}", group, lane) for k, group in enumerate(groups)]

    here = Lane("t", lambda o: f"s0 + {o + history - 1}" if o + history - 1 else "s0", "s0")
    start = Lane("t", lambda o: str(o + history - 1), "0")
    clears = {
        "step": lowered.clear,
        "terminal": lowered.clear_terminal,
        "step_adj": lowered.clear_adjoint,
        "terminal_adj": lowered.clear_adjoint,
    }
    return {
        phase: many(phase, clears.get(phase, []), parts, start if phase.startswith("begin") else here)
        for phase, parts in stages.in_order().items()
    }


def _parallel_stage(w: KernelWriter, stage: Stage, lane: Lane, on_cpu: bool) -> None:
    """Print each top-level loop as a loop that Taichi runs in parallel, worlds included."""
    worlds = w.layout.worlds
    stage = expanded(stage)
    nests = [_nest(op) for op in stage.body.ops]
    small = on_cpu and worlds == 1 and all(nest and _work(nest) <= _SERIAL_WORK for nest in nests)
    # loops that no threads share are printed as in fused mode, so that both round alike
    stage = hoisted(stage, outermost=small)
    nests = [_nest(op) for op in stage.body.ops]
    w.name(stage.t, lane.t)
    w.plan_inlining(stage.body)
    if small or not all(nests) or not _tapes_fit(stage, nests, worlds):
        _serial_worlds(w, stage, lane, on_cpu)
        return
    for nest in nests:
        assert nest is not None  # noqa: S101  (checked above)
        _parallel_nest(w, stage, nest, lane, on_cpu)


def _nest(op: Op) -> list[For] | None:
    """Return the perfect nest of parallel loops of known bounds that an operation begins with, or None."""
    nest: list[For] = []
    while isinstance(op, For) and op.parallel and not op.params and _known_bounds(op) and not op.descending:
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


def _work(nest: list[For]) -> int:
    return math.prod(_trips(loop) for loop in nest)


def _tapes_fit(stage: Stage, nests: Sequence[list[For] | None], worlds: int) -> bool:
    lanes = worlds * max((_work(nest) for nest in nests if nest), default=1)
    return sum(8 * lanes * b.shape[0] for b in tapes_of(stage)) <= _PARALLEL_TAPE_BYTES


def _parallel_nest(w: KernelWriter, stage: Stage, nest: list[For], lane: Lane, on_cpu: bool) -> None:
    worlds = w.layout.worlds
    names = [w.fresh("i") for _ in nest]
    for loop, name in zip(nest, names, strict=True):
        w.name(loop.index, name)
    work = worlds * _work(nest)
    serial = on_cpu and work <= _SERIAL_WORK
    if serial:
        w.line("ti.loop_config(serialize=True)")
    bounds = [(int(f.start.value), int(f.stop.value)) for f in nest]  # type: ignore[union-attr]
    targets = (["w"] if worlds > 1 else []) + names
    if len(targets) == 1:
        head = f"for {targets[0]} in range({bounds[0][0]}, {bounds[0][1]}):"
    else:
        axes = ([str(worlds)] if worlds > 1 else []) + [str(b) for b in bounds]
        head = f"for {', '.join(targets)} in ti.ndrange({', '.join(axes)}):"
    flat = "w" if worlds > 1 else "0"
    for name, (low, high) in zip(names, bounds, strict=True):
        flat = f"({flat}) * {high - low} + {name} - {low}"
    w.need_tapes(stage, work)
    inner = Lane(
        lane.t,
        lane.slot,
        lane.scratch,
        "w" if worlds > 1 else "0",
        "0",
        flat,
        _exclusive(nest[-1].body, [loop.index for loop in nest], w.layout),
        atomic=not serial,
    )
    with w.inside(head):
        w.operations(nest[-1].body.ops, inner)
        w.line("pass")


def _exclusive(body: Block, indices: list[Value], layout: Layout) -> frozenset[Slot]:
    """Return the places that each iteration has to itself: all accesses use the loop's own indices."""
    found: dict[Slot, set[tuple[int, ...] | None]] = {}
    for op in walk(body):
        if isinstance(op, Load | Store | Accumulate):
            own = layout.worlds == 1 or "world" in layout.axes(op.ref.buffer)
            axes = tuple(op.ref.indices.index(i) for i in indices if i in op.ref.indices)
            found.setdefault(slot_of(op.ref), set()).add(axes if own and len(axes) == len(indices) else None)
    return frozenset(slot for slot, axes in found.items() if len(axes) == 1 and None not in axes)


def _serial_worlds(w: KernelWriter, stage: Stage, lane: Lane, on_cpu: bool) -> None:
    """Print a stage whose top level is more than independent loops: worlds in parallel, the rest in order."""
    worlds = w.layout.worlds
    serial = worlds == 1 or (on_cpu and worlds <= 2)
    if serial:
        w.line("ti.loop_config(serialize=True)")
    w.need_tapes(stage, worlds)
    name = "w" if worlds > 1 else "0"
    inner = Lane(
        lane.t,
        lane.slot,
        lane.scratch,
        name,
        "0",
        name,
        _exclusive(stage.body, [], w.layout),
        atomic=not serial,
    )
    with w.inside(f"for w in range({worlds}):"):
        w.operations(stage.body.ops, inner)
        w.line("pass")
