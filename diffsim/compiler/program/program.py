"""Lowering a traced program as a whole: its stages, what must be zeroed, what is implied but not written."""

from __future__ import annotations

from collections.abc import Mapping

from diffsim.compiler.checks.alarms import Alarms, guarded
from diffsim.compiler.checks.diagnostics import raise_all
from diffsim.compiler.checks.findings import told
from diffsim.compiler.checks.ranges import Times
from diffsim.compiler.ir import Accumulate, Buffer, Stage, accesses_in, walk
from diffsim.compiler.program.clearing import clear_stage, keep_stage, plan_clearing, stored_boxes
from diffsim.compiler.program.copying import copy_active, copy_stage, fill_stage
from diffsim.compiler.program.coverage import partly_stored
from diffsim.compiler.program.derived import past_of, stored_once, written
from diffsim.compiler.program.groups import Lowering
from diffsim.compiler.program.keeping import keep_overwritten
from diffsim.compiler.program.lowered import Clearing, LoweredProgram
from diffsim.compiler.program.newest import with_times
from diffsim.compiler.program.sparse import place_sparse
from diffsim.compiler.program.vanishing import jumps
from diffsim.compiler.reading.buffers import Buffers
from diffsim.errors import Diagnostic, TraceError
from diffsim.language.fields import State
from diffsim.language.trace import PHASES, Program

__all__ = ["lower_program"]


def lower_program(program: Program, real: str, steps: int, bare: bool = False) -> LoweredProgram:
    """Lower every kernel call of a program and check its data accesses.

    Args:
        program: The trace.
        real: The working precision, `f32` or `f64`.
        steps: The horizon.
        bare: Pass over surrogate adjoints.

    Raises:
        TraceError: A kernel cannot be lowered, no cost is added to anywhere, or there is no State.
        GradientError: A value is overwritten after it was read and cannot be kept, or iterations that run
            side by side disturb each other.
    """
    buffers = Buffers(program.fields, real, bare)
    buffers.add(program.simulator.cost, "cost")
    ended = buffers.add(program.simulator.done, "done")
    states = [f for f in program.fields.values() if isinstance(f, State)]
    alarms = Alarms()
    reset, step, running, terminal = _lowered_calls(program, Lowering(buffers, steps, alarms))
    initial = {state.key: _initial_buffer(state, buffers.by_field[id(state)]) for state in states}
    step, running, found = with_times(step, running, buffers, steps)
    raise_all(found)
    held = [buffers.by_field[id(state)] for state in states]
    pasts = {buffer: past_of(buffer, reset) for buffer in held}
    found = [fault for _, early in pasts.values() for fault in early]
    found += told(stored_once(held, reset, step, running + terminal))
    history = max((b.source.history for b in held if b.kind == "state"), default=1)
    begin = _begin_stages({b: own for b, (own, _) in pasts.items()}, initial, reset, history)
    step = _kept(buffers, states, step, real)
    may_end = any(
        op.ref.buffer is ended for s in begin + step + running + terminal for op in accesses_in(s.body)
    )
    times = {phase: Times.of(phase, steps, certain=not may_end) for phase in PHASES}
    begin, step, running, terminal = _with_overwritten(buffers, times, found, begin, step, running, terminal)
    begin, step, running, terminal = (
        [_guarded(stage, times[phase], alarms) for stage in stages]
        for phase, stages in zip(PHASES, (begin, step, running, terminal), strict=True)
    )
    lowered = LoweredProgram(
        program, buffers, initial, begin, step, running, terminal, history, alarms=alarms
    )
    for stage in begin + step + running + terminal:
        buffers.warnings += jumps(stage, buffers, step if stage in step else [])
    place_sparse(lowered, real)
    lowered.carried = {buffer: _companion(buffer, "carry", "carry") for buffer in lowered.passing}
    lowered.kept = {buffer: _companion(buffer, "kept", "checkpoint") for buffer in lowered.states}
    for buffer in (b for b in buffers.by_field.values() if b.kind in ("state", "scratch")):
        lowered.whole[buffer] = _companion(buffer, "whole", f"whole {buffer.kind}")
    plan_clearing(lowered)
    if may_end:
        lowered.ended, lowered.frozen = ended, _frozen_stages(lowered, real)
    else:
        del buffers.by_field[id(program.simulator.done)]
    _check_cost(lowered)
    return lowered


def _kept(buffers: Buffers, states: list[State], step: list[Stage], real: str) -> list[Stage]:
    """Return the stages of a step with those that hand on what it does not store, where that is meant."""
    first: list[Stage] = []
    last: list[Stage] = []
    moving = written(step)
    for state in states:
        target = buffers.by_field[id(state)]
        if target.kind == "derived":
            continue
        if state.sparse is not None:
            first += _kept_sparse(state, target, buffers, moving, real)
        elif target not in moving:
            last.append(copy_stage(f"keep {state.key}", target, 0, target, 1, real))
        elif state.keep or target in buffers.handed_on:
            keeping = keep_stage(Clearing(target, 1, stored_boxes(target, 1, step)), real)
            first += [keeping] if keeping.body.ops else []
        elif state.keep is None and target not in buffers.acknowledged:
            buffers.warnings += partly_stored(target, step) if state.sparse is None else []
    return [*first, *step, *last]


def _kept_sparse(
    state: State, target: Buffer, buffers: Buffers, moving: set[Buffer], real: str
) -> list[Stage]:
    """Return the stage that hands on the active cells of a State, where that is meant."""
    if target in moving and not state.keep and target not in buffers.handed_on:
        return []
    assert state.sparse is not None  # noqa: S101  (the caller looked)
    return [copy_active(f"keep {state.key}", target, buffers.activity(state.sparse, state), real)]


def _begin_stages(
    pasts: dict[Buffer, set[int]], initial: dict[str, Buffer], reset: list[Stage], history: int
) -> list[Stage]:
    """Return what runs before step 0.

    Args:
        pasts: By State, which times up to 0 `reset` writes; where it writes `x[0]`, the others hold that.
        initial: By key, the initial value of a State.
        reset: The stages of `reset`.
        history: How many times there are.
    """
    before, after = [], []
    for target, own in pasts.items():
        key, source = target.source.key, initial[target.source.key]
        if target.source.sparse is not None:
            continue  # its blocks come first
        if target.kind == "derived":
            before.append(copy_stage(f"initial {key}", source, None, target, None, target.dtype))
            continue
        late = [k for k in range(1, history) if 0 in own and -k not in own]
        first = [k for k in range(history) if k not in late]
        before.append(fill_stage(f"initial {key}", (source, None), target, first))
        if late:
            after.append(fill_stage(f"history {key}", (target, 0), target, late))
    return [*before, *reset, *after]


def _frozen_stages(lowered: LoweredProgram, real: str) -> list[Stage]:
    buffers = lowered.buffers.by_field.values()
    stay = [copy_stage(f"stay {b.name}", b, 0, b, 1, real) for b in lowered.states]
    return stay + [clear_stage(Clearing(b, 0), real) for b in buffers if b.kind == "scratch"]


def _guarded(stage: Stage, times: Times, alarms: Alarms) -> Stage:
    safe, given = guarded(stage, times, alarms), stage.adjoint
    if given is not None:
        adjoint = guarded(given(), times, alarms)
        safe.adjoint = lambda: adjoint
    return safe


def _lowered_calls(program: Program, lowering: Lowering) -> list[list[Stage]]:
    """Lower every call, and tell of all that is wrong in all of them at once."""
    groups = [lowering.stages(getattr(program, phase), phase) for phase in PHASES]
    raise_all(lowering.found)
    return groups


def _with_overwritten(
    buffers: Buffers,
    times: Mapping[str, Times],
    found: list[Diagnostic],
    begin: list[Stage],
    step: list[Stage],
    running: list[Stage],
    end: list[Stage],
) -> list[list[Stage]]:
    """Return the parts of a program with what keeps the values that are written over.

    Raises:
        GradientError: Accesses break a rule, or something cannot be kept; all parts are told of at once, and
            of what was found before.
    """
    parts = []
    for phase, stages in (("step", step + running), ("terminal_cost", end), ("reset", begin)):
        kept, seen = keep_overwritten(stages, buffers, times[phase], before=phase == "reset")
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
    made = Buffer(f"{state.name}_{suffix}", kind, state.dtype, state.shape, state.components)
    made.arrangement = state.arrangement  # so that copies go through memory in its order
    return made
