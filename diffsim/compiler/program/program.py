"""Lowering a traced program as a whole: its stages, what must be zeroed, what is implied but not written."""

from __future__ import annotations

from diffsim.compiler.checks.alarms import Alarms, guarded
from diffsim.compiler.checks.diagnostics import raise_all
from diffsim.compiler.ir import (
    Accumulate,
    Block,
    Buffer,
    Load,
    Ref,
    Stage,
    Store,
    walk,
)
from diffsim.compiler.program.clearing import clear_stage, keep_stage, plan_clearing, stored_boxes
from diffsim.compiler.program.copying import copy_stage, fill_stage
from diffsim.compiler.program.coverage import partly_stored
from diffsim.compiler.program.groups import Lowering
from diffsim.compiler.program.keeping import keep_overwritten
from diffsim.compiler.program.lowered import Clearing, LoweredProgram
from diffsim.compiler.program.newest import with_times
from diffsim.compiler.reading.context import Buffers
from diffsim.errors import Diagnostic, TraceError
from diffsim.language.fields import State
from diffsim.language.trace import Program

__all__ = ["lower_program"]


def lower_program(program: Program, real: str, steps: int) -> LoweredProgram:
    """Lower every kernel call of a program and check its data accesses.

    Raises:
        TraceError: A kernel cannot be lowered, no cost is added to anywhere, or there is no State.
        GradientError: A value is overwritten after it was read.
    """
    buffers = Buffers(program.fields, real)
    buffers.add(program.simulator.cost, "cost")
    ended = buffers.add(program.simulator.done, "done")
    states = [f for f in program.fields.values() if isinstance(f, State)]
    history = max((s.history for s in states), default=1)
    alarms = Alarms()
    reset, step, running, terminal = _lowered_calls(program, Lowering(buffers, steps, alarms))
    initial = {state.key: _initial_buffer(state, buffers.by_field[id(state)]) for state in states}
    begin = _begin_stages(buffers, states, initial, reset, history)
    step, running, found = with_times(step, running, buffers, steps)
    raise_all(found)
    step = _kept(buffers, states, step, real)
    begin, step, running, terminal = _with_overwritten(buffers, steps, begin, step, running, terminal)
    begin, step, running, terminal = (
        [_guarded(stage, steps, alarms) for stage in stages] for stages in (begin, step, running, terminal)
    )
    lowered = LoweredProgram(
        program, buffers, initial, begin, step, running, terminal, history, alarms=alarms
    )
    lowered.carried = {buffer: _companion(buffer, "carry", "carry") for buffer in lowered.passing}
    lowered.kept = {buffer: _companion(buffer, "kept", "checkpoint") for buffer in lowered.states}
    for buffer in (b for b in buffers.by_field.values() if b.kind in ("state", "scratch")):
        lowered.whole[buffer] = _companion(buffer, "whole", f"whole {buffer.kind}")
    plan_clearing(lowered)
    if any(r.buffer is ended for s in begin + step + running + terminal for r in _refs(s.body)):
        lowered.ended, lowered.frozen = ended, _frozen_stages(lowered, real)
    else:
        del buffers.by_field[id(program.simulator.done)]
    _check_cost(lowered)
    return lowered


def _kept(buffers: Buffers, states: list[State], step: list[Stage], real: str) -> list[Stage]:
    """Return the stages of a step with those that hand on what it does not store, where that is meant."""
    first: list[Stage] = []
    last: list[Stage] = []
    written = _written(step)
    for state in states:
        target = buffers.by_field[id(state)]
        if target not in written:
            last.append(copy_stage(f"keep {state.key}", target, 0, target, 1, real))
        elif state.keep or target in buffers.handed_on:
            keeping = keep_stage(Clearing(target, 1, stored_boxes(target, 1, step)), real)
            first += [keeping] if keeping.body.ops else []
        elif state.keep is None and target not in buffers.acknowledged:
            buffers.warnings += partly_stored(target, step)
    return [*first, *step, *last]


def _written(stages: list[Stage]) -> set[Buffer]:
    return {op.ref.buffer for s in stages for op in walk(s.body) if isinstance(op, Store | Accumulate)}


def _begin_stages(
    buffers: Buffers, states: list[State], initial: dict[str, Buffer], reset: list[Stage], history: int
) -> list[Stage]:
    """Return what runs before step 0: what `reset` leaves at time 0 is what the times before it hold."""
    before, after = [], []
    rewritten = _written(reset)
    for state in states:
        source, target = initial[state.key], buffers.by_field[id(state)]
        late = history > 1 and target in rewritten
        before.append(
            fill_stage(f"initial {state.key}", (source, None), target, range(1 if late else history))
        )
        if late:
            after.append(fill_stage(f"history {state.key}", (target, 0), target, range(1, history)))
    return [*before, *reset, *after]


def _frozen_stages(lowered: LoweredProgram, real: str) -> list[Stage]:
    buffers = lowered.buffers.by_field.values()
    stay = [copy_stage(f"stay {b.name}", b, 0, b, 1, real) for b in lowered.states]
    return stay + [clear_stage(Clearing(b, 0), real) for b in buffers if b.kind == "scratch"]


def _guarded(stage: Stage, steps: int, alarms: Alarms) -> Stage:
    safe, given = guarded(stage, steps, alarms), stage.adjoint
    if given is not None:
        adjoint = guarded(given(), steps, alarms)
        safe.adjoint = lambda: adjoint
    return safe


def _lowered_calls(program: Program, lowering: Lowering) -> list[list[Stage]]:
    """Lower every call, and tell of all that is wrong in all of them at once."""
    phases = ("reset", "step", "running_cost", "terminal_cost")
    groups = [lowering.stages(getattr(program, phase), phase) for phase in phases]
    raise_all(lowering.found)
    return groups


def _with_overwritten(
    buffers: Buffers,
    steps: int,
    begin: list[Stage],
    step: list[Stage],
    running: list[Stage],
    end: list[Stage],
) -> list[list[Stage]]:
    """Return the parts of a program with what keeps the values that are written over.

    Raises:
        GradientError: Accesses break a rule, or something cannot be kept; all parts are told of at once.
    """
    parts, found = [], []
    for stages in (step + running, end, begin):
        kept, seen = keep_overwritten(stages, buffers, steps)
        parts.append(kept)
        found += seen.diagnostics()
    raise_all(found)
    both, end, begin = parts
    return [begin, both[: len(step)], both[len(step) :], end]


def _check_cost(lowered: LoweredProgram) -> None:
    stages = lowered.step + lowered.running + lowered.terminal
    adds = [
        op
        for s in stages
        for op in walk(s.body)
        if isinstance(op, Accumulate) and op.ref.buffer.kind == "cost"
    ]
    stores = lowered.buffers.cost_stores
    if stores and len(adds) > 1:
        message = (
            f"the cost must be stored only where nothing else adds to it, got {len(adds)} sums and stores in "
            "the program; write self.cost[None] += ..."
        )
        raise_all([Diagnostic("COST", str(stores[0]), message)])
    has_methods = lowered.program.running_cost or lowered.program.terminal_cost
    if has_methods and not adds:
        name = type(lowered.program.simulator).__name__
        raise TraceError(
            f"{name}'s cost kernels must add to self.cost[None], got none "
            "that does; write self.cost[None] += ..."
        )


def _initial_buffer(state: State, target: Buffer) -> Buffer:
    like = (target.dtype, state.shape, state.type.components, state)
    buffer = Buffer(target.name + "_initial", "param", *like)
    if state.differentiable:
        buffer.adjoint = Buffer(buffer.name + "_adj", "param", *like)
        buffer.adjoint.is_adjoint = True
    return buffer


def _companion(state: Buffer, suffix: str, kind: str) -> Buffer:
    return Buffer(f"{state.name}_{suffix}", kind, state.dtype, state.shape, state.components)


def _refs(block: Block) -> list[Ref]:
    return [op.ref for op in walk(block) if isinstance(op, Load | Store | Accumulate)]
