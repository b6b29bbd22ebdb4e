"""Printing mode `fused`: whole segments of steps in one launch, worlds outside, time inside."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from diffsim.analysis.program import LoweredProgram, clear_stage
from diffsim.codegen.layout import Layout
from diffsim.codegen.printer import Lane
from diffsim.codegen.stages import StageSet, parameter_adjoints
from diffsim.codegen.writer import KernelText, KernelWriter
from diffsim.ir import Block, Buffer, Stage, Value, blocks_of, operands_of, walk

__all__ = ["fused_backward", "fused_forward"]


@contextmanager
def _lanes(w: KernelWriter) -> Iterator[Lane]:
    """Print the loop over lanes (groups of worlds); yield how it is called."""
    groups, worlds = w.layout.groups, w.layout.worlds
    if groups == 1:
        w.line("ti.loop_config(serialize=True)")
    elif not w.layout.world_last:  # else Taichi gives several lanes to one thread
        w.line("ti.loop_config(block_dim=1)")
    with w.inside(f"for g in range({groups}):"):
        group = "g" if groups > 1 else "0"
        yield Lane(world="g" if groups == worlds > 1 else "w" if worlds > 1 else "0", group=group, lane=group)


@contextmanager
def _worlds(w: KernelWriter, lane: Lane) -> Iterator[None]:
    groups, worlds = w.layout.groups, w.layout.worlds
    if lane.world != "w":
        yield
        return
    with w.inside(f"for w in range(g * {worlds} // {groups}, (g + 1) * {worlds} // {groups}):"):
        yield


@contextmanager
def _time(w: KernelWriter, heads: Sequence[str], stages: Sequence[Stage]) -> Iterator[None]:
    """Print the loops that name the step's slots `s0`, `s1`, ... as bare loop variables, and the time."""
    depth = w.indent
    for head in heads:
        w.line(head)
        w.indent += 1
    for k in range(1, w.layout.history + 1):
        w.line(f"for s{k} in range(s0 + {k}, s0 + {k + 1}):")
        w.indent += 1
    if _uses_t(stages):
        w.line("t = t0 + s0")
    yield
    w.indent = depth


def _uses_t(stages: Sequence[Stage]) -> bool:
    controls = any(
        getattr(op, "ref", None) is not None and op.ref.buffer.kind == "control"  # type: ignore[union-attr]
        for s in stages
        for op in walk(s.body)
    )
    return controls or any(s.t in _read_values(s.body) for s in stages)


def _read_values(block: Block) -> set[Value]:
    read = {o for op in walk(block) for o in operands_of(op) if isinstance(o, Value)}
    return read | {y for op in walk(block) for b in blocks_of(op) for y in b.yields if isinstance(y, Value)}


def _step_lane(lane: Lane, history: int) -> Lane:
    return Lane("t", lambda o: f"s{o + history - 1}", "s0", lane.world, lane.group, lane.lane)


def _begin_lane(lane: Lane, history: int) -> Lane:
    return Lane("t0", lambda o: str(o + history - 1), "0", lane.world, lane.group, lane.lane)


def fused_forward(lowered: LoweredProgram, layout: Layout, real: str) -> KernelText:
    """Print `forward(t0, n, last)`: steps `t0 .. t0 + n - 1` of every world in one launch."""
    w = KernelWriter("forward", ("t0", "n", "last"), layout, real)
    w.program = type(lowered.program.simulator).__name__
    clears = [clear_stage(b, time, real) for b, time in lowered.clear]
    stages = clears + lowered.step + lowered.running
    ending = [clear_stage(b, time, real) for b, time in lowered.clear_terminal] + lowered.terminal
    with _lanes(w) as lane, _worlds(w, lane):
        with w.inside("if t0 == 0:"):
            for cost in lowered.costs:
                w.line(f"{w.at(cost, 0, [lane.world])} = {w.zero_of(cost)}")
            for stage in lowered.begin:
                w.stage(stage, _begin_lane(lane, layout.history))
        with _time(w, ["for s0 in range(n):"], stages):
            for stage in stages:
                w.stage(stage, _step_lane(lane, layout.history))
        if ending:
            with w.inside("if last == 1:"), _time(w, ["for s0 in range(n, n + 1):"], ending):
                for stage in ending:
                    w.stage(stage, _step_lane(lane, layout.history))
    return w.finish()


def fused_backward(stages: StageSet, layout: Layout, real: str) -> KernelText:
    """Print `backward(t0, n, last)`: the adjoints of those steps, last step first, in one launch."""
    lowered = stages.lowered
    w = KernelWriter("backward", ("t0", "n", "last"), layout, real)
    w.program = type(lowered.program.simulator).__name__
    clears = [clear_stage(b, time, real) for b, time in lowered.clear_adjoint]
    order = stages.in_order()
    body, ending = clears + order["step_adj"], clears + order["terminal_adj"]
    with _lanes(w) as lane:
        with w.inside("if last == 1:"):
            for buffer in parameter_adjoints(lowered):
                if not buffer.per_world:
                    _zero_parameter(w, buffer, lane)
            w.line("pass")
        with _worlds(w, lane):
            _seed_window(w, lowered, lane)
            with w.inside("if last == 1:"):
                for buffer in parameter_adjoints(lowered):
                    if buffer.per_world:
                        _zero_parameter(w, buffer, lane)
                with _time(w, ["for s0 in range(n, n + 1):"], ending):
                    for stage in ending:
                        w.stage(stage, _step_lane(lane, layout.history))
                    w.line("pass")
            with _time(w, ["for r in range(n):", "for s0 in range(n - 1 - r, n - r):"], body):
                for stage in body:
                    w.stage(stage, _step_lane(lane, layout.history))
            _save_carry(w, lowered, lane)
            with w.inside("if t0 == 0:"):
                for stage in order["begin_adj"]:
                    w.stage(stage, _begin_lane(lane, layout.history))
                w.line("pass")
    return w.finish()


def _zero_parameter(w: KernelWriter, buffer: Buffer, lane: Lane) -> None:
    names = {"world": lane.world, "group": lane.group, "time": "z"}
    leading = [names[axis] for axis in w.layout.axes(buffer)]
    if "z" in leading:
        with w.inside(f"for z in range({w.layout.steps}):"):
            w.zero(buffer, leading)
    else:
        w.zero(buffer, leading)


def _seed_window(w: KernelWriter, lowered: LoweredProgram, lane: Lane) -> None:
    """Zero the adjoints of a window, and put those of the segment behind it at its end."""
    history = w.layout.history
    for state in lowered.states:
        assert state.adjoint is not None  # noqa: S101  (States are differentiable)
        adjoint, carry = state.adjoint, lowered.carried[state]
        with w.inside(f"for z in range(n + {history}):"):
            w.zero(adjoint, [lane.world, "z"])
        with w.inside("if last == 0:"), w.inside(f"for z in range({history}):"):
            _copy(w, carry, [lane.world, "z"], adjoint, [lane.world, "n + z"])


def _save_carry(w: KernelWriter, lowered: LoweredProgram, lane: Lane) -> None:
    for state in lowered.states:
        assert state.adjoint is not None  # noqa: S101  (States are differentiable)
        with w.inside(f"for z in range({w.layout.history}):"):
            _copy(w, state.adjoint, [lane.world, "z"], lowered.carried[state], [lane.world, "z"])


def _copy(
    w: KernelWriter, source: Buffer, source_at: Sequence[str], target: Buffer, target_at: Sequence[str]
) -> None:
    def lines(place: Callable[..., str]) -> list[str]:
        return [
            f"{place(c, target_at, target)} = {place(c, source_at, source)}" for c in range(source.components)
        ]

    w.elements(source, lines)
