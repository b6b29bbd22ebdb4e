"""Printing mode `fused`: whole segments of steps in one launch, worlds outside, time inside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace

from diffsim.compiler.codegen.ending import begin_running, end_of, otherwise, own_steps, while_running
from diffsim.compiler.codegen.layout import Layout
from diffsim.compiler.codegen.printer import Lane
from diffsim.compiler.codegen.stages import StageSet, adjoint_of, parameter_adjoints, passing_adjoints
from diffsim.compiler.codegen.writer import KernelText, KernelWriter
from diffsim.compiler.codegen.zeroing import lean_step
from diffsim.compiler.ir import Block, Buffer, Stage, Value, blocks_of, operands_of, walk
from diffsim.compiler.program.clearing import clear_stage
from diffsim.compiler.program.lowered import LoweredProgram

__all__ = ["fused_backward", "fused_forward", "fused_gradient"]


@contextmanager
def _lanes(w: KernelWriter) -> Iterator[Lane]:
    """Print the loop over lanes (groups of worlds); yield how it is called."""
    groups, worlds, block = w.layout.groups, w.layout.worlds, w.layout.block
    group = "g" if groups > 1 else "0"
    world = "g" if groups == worlds > 1 and block == 1 else "w" if worlds > 1 else "0"
    if block > 1:  # each world of a block adds to sums of its own
        group = f"g * {block} + {world} % {block}" if groups > 1 else f"{world} % {block}"
    lane = Lane(world=world, group=group, lane=group)
    if groups == 1 or w.layout.world_last:
        if groups == 1:
            w.line("ti.loop_config(serialize=True)")
        with w.inside(f"for g in range({groups}):"):
            yield lane
        return
    with w.spread("g", groups):
        yield lane


@contextmanager
def _worlds(w: KernelWriter, lane: Lane) -> Iterator[None]:
    groups, worlds = w.layout.groups, w.layout.worlds
    if lane.world != "w":
        yield
        return
    if w.layout.world_last:  # threads that are neighbours run worlds that are
        with w.inside(f"for k in range(({worlds} + {groups} - 1 - g) // {groups}):"):
            w.line(f"w = g + k * {groups}")
            yield
        return
    bounds = f"g * {worlds} // {groups}, (g + 1) * {worlds} // {groups}"
    blocks, block = w.layout.blocks, w.layout.block
    if block > 1 and groups == 1:
        bounds = f"0, {worlds}"
    elif block > 1:  # whole blocks
        bounds = (
            f"g * {blocks} // {groups} * {block}, ti.min((g + 1) * {blocks} // {groups} * {block}, {worlds})"
        )
    with w.inside(f"for w in range({bounds}):"):
        yield


@contextmanager
def _time(
    w: KernelWriter,
    heads: Sequence[str],
    stages: Sequence[Stage],
    t: str = "t0 + s0",
    always: bool = False,
    adjoints: bool = False,
) -> Iterator[None]:
    """Print the loop over time, the step's slots `s0`, `s1`, ..., those of adjoints, and the time."""
    depth = w.indent
    for head in heads:
        w.line(head)
        w.indent += 1
    for k in range(1, w.layout.history + 1):
        w.line(f"s{k} = s0 + {k}")
    if adjoints:
        for k in range(w.layout.ring):
            w.line(f"a{k} = {w.layout.ring_of(f's{k}')}")
    if always or _uses_t(stages):
        w.line(f"t = {t}")
    yield
    w.indent = depth


def _uses_t(stages: Sequence[Stage]) -> bool:
    return any(s.t in _read_values(s.body) for s in stages)


def _read_values(block: Block) -> set[Value]:
    read = {o for op in walk(block) for o in operands_of(op) if isinstance(o, Value)}
    return read | {y for op in walk(block) for b in blocks_of(op) for y in b.yields if isinstance(y, Value)}


def _step_lane(lane: Lane, history: int) -> Lane:
    return replace(
        lane,
        t="t",
        slot=lambda o: f"s{o + history - 1}",
        ring=lambda o: f"a{o + history - 1}",
        scratch="s0",
    )


def _begin_lane(lane: Lane, history: int) -> Lane:
    def slot(o: int) -> str:
        return str(o + history - 1)

    return replace(lane, t="t0", slot=slot, ring=slot, scratch="0", once=True)


def fused_forward(lowered: LoweredProgram, layout: Layout, real: str, native: bool = False) -> KernelText:
    """Print `forward(t0, n, last)`: steps `t0 .. t0 + n - 1` of every world in one launch.

    Args:
        lowered: A program.
        layout: The axes of the buffers.
        real: The type of float literals.
        native: As of `KernelWriter`.
    """
    w = _writer("forward", lowered, layout, real, native)
    with _lanes(w) as lane, _worlds(w, lane):
        _forward(w, lowered, lane)
    return w.finish()


def fused_backward(stages: StageSet, layout: Layout, real: str, native: bool = False) -> KernelText:
    """Print `backward(t0, n, last)`: the adjoints of those steps, last step first, in one launch."""
    w = _writer("backward", stages.lowered, layout, real, native)
    with _lanes(w) as lane:
        _zero_shared(w, stages.lowered, lane)
        with _worlds(w, lane):
            _backward(w, stages, lane)
    return w.finish()


def fused_gradient(stages: StageSet, layout: Layout, real: str, native: bool = False) -> KernelText:
    """Print `gradient(t0, n, last, what)`: those steps (what = 1), their adjoints (2), or both (3).

    Both are done world after world: the adjoints of a world find in the processor's cache what its steps have
    just left there. Being one kernel, it computes the same bits with and without adjoints.
    """
    w = _writer("gradient", stages.lowered, layout, real, native, "what")
    with _lanes(w) as lane:
        with w.inside("if what > 1:"):
            _zero_shared(w, stages.lowered, lane)
        with _worlds(w, lane):
            with w.inside("if what != 2:"):
                _forward(w, stages.lowered, lane)
            with w.inside("if what > 1:"):
                _backward(w, stages, lane)
    return w.finish()


def _writer(
    name: str, lowered: LoweredProgram, layout: Layout, real: str, native: bool, *more: str
) -> KernelWriter:
    w = KernelWriter(name, ("t0", "n", "last", *more), layout, real, native)
    w.program = type(lowered.program.simulator).__name__
    w.lanes = layout.block
    return w


def _forward(w: KernelWriter, lowered: LoweredProgram, lane: Lane) -> None:
    """Print the steps of one world."""
    history, real = w.layout.history, w.real
    clears = [clear_stage(c, real) for c in lowered.clear]
    stages = clears + lowered.step + lowered.running
    ending = [clear_stage(c, real) for c in lowered.clear_terminal] + lowered.terminal
    with w.inside("if t0 == 0:"):
        for cost in lowered.costs:
            w.line(f"{w.at(cost, 0, [lane.world])} = {w.zero_of(cost)}")
        begin_running(w, lowered.ended, lane.world)
        w.stages(lowered.begin, _begin_lane(lane, history))
    step = _step_lane(lane, history)
    with _time(w, ["for s0 in range(n):"], stages, always=lowered.ended is not None):
        with while_running(w, lowered.ended, step):
            w.stages(stages, step)
        if lowered.ended is not None:
            with otherwise(w):
                w.stages(lowered.frozen, step)
    if ending:
        with w.inside("if last == 1:"), _end(w, lowered, lane, ending) as end:
            w.stages(ending, end)


@contextmanager
def _end(
    w: KernelWriter, lowered: LoweredProgram, lane: Lane, stages: Sequence[Stage], adjoints: bool = False
) -> Iterator[Lane]:
    """Print what names the place behind a world's last step; yield how it is called."""
    ended, end = lowered.ended, _step_lane(lane, w.layout.history)
    n = own_steps(w, ended, lane.world)
    if ended is not None:
        end = replace(end, scratch="n")
    time = end_of(w, ended, lane.world)
    with _time(w, [f"for s0 in range({n}, {n} + 1):"], stages, time, adjoints=adjoints):
        yield end


def _zero_shared(w: KernelWriter, lowered: LoweredProgram, lane: Lane) -> None:
    block = w.layout.block
    with w.inside("if last == 1:"), w.inside(f"for w in range({block}):") if block > 1 else nullcontext():
        for buffer in parameter_adjoints(lowered):
            if not buffer.per_world:
                _zero_parameter(w, buffer, lane)
        w.line("pass")


def _backward(w: KernelWriter, stages: StageSet, lane: Lane) -> None:
    """Print the adjoints of one world's steps."""
    lowered, history = stages.lowered, w.layout.history
    order = stages.in_order()
    clears, adjoints = lean_step(stages)
    body = [clear_stage(c, w.real) for c in clears] + adjoints
    if not w.layout.held:
        body = [*(clear_stage(c, w.real) for c in lowered.clear), *stages.again, *body]
    ending = [clear_stage(c, w.real) for c in stages.clears()["terminal_adj"]] + order["terminal_adj"]
    own = own_steps(w, lowered.ended, lane.world)
    _seed_window(w, lowered, lane, own)
    with w.inside("if last == 1:"):
        for buffer in parameter_adjoints(lowered):
            if buffer.per_world:
                _zero_parameter(w, buffer, lane)
        for buffer in passing_adjoints(lowered):
            w.zero(buffer, [lane.world])
        with _end(w, lowered, lane, ending, adjoints=True) as end:
            w.stages(ending, end)
            w.line("pass")
    heads = [f"for r in range({own}):", f"for s0 in range({own} - 1 - r, {own} - r):"]
    if w.layout.block > 1 and own != "n":  # the same slots for all worlds of a block
        heads = ["for r in range(n):", "for s0 in range(n - 1 - r, n - r):", f"if s0 < {own}:"]
    with _time(w, heads, body, adjoints=True):
        w.stages(body, _step_lane(lane, history))
    _save_carry(w, lowered, lane)
    with w.inside("if t0 == 0:"):
        w.stages(order["begin_adj"], _begin_lane(lane, history))
        w.line("pass")


def _zero_parameter(w: KernelWriter, buffer: Buffer, lane: Lane) -> None:
    names = {"world": lane.world, "group": lane.group, "time": "z"}
    leading = [names[axis] for axis in w.layout.axes(buffer)]
    if "z" in leading:
        with w.inside(f"for z in range({w.layout.times(buffer)}):"):
            w.zero(buffer, leading)
    else:
        w.zero(buffer, leading)


def _seed_window(w: KernelWriter, lowered: LoweredProgram, lane: Lane, own: str) -> None:
    """Begin with the adjoints of the segment behind, after `own` steps, or with zeros at the end."""
    for state in lowered.passing:
        adjoint, carry = adjoint_of(state), lowered.carried[state]
        with w.inside(f"for z in range({w.layout.ring}):"):
            w.zero(adjoint, [lane.world, "z"])
        with w.inside("if last == 0:"), w.inside(f"for z in range({w.layout.history}):"):
            w.line(f"q = {w.layout.ring_of(f'{own} + z')}")
            w.copy(carry, [lane.world, "z"], adjoint, [lane.world, "q"])


def _save_carry(w: KernelWriter, lowered: LoweredProgram, lane: Lane) -> None:
    for state in lowered.passing:
        with w.inside(f"for z in range({w.layout.history}):"):
            w.copy(adjoint_of(state), [lane.world, "z"], lowered.carried[state], [lane.world, "z"])
