"""What is computed before step 0: States that no step writes, stored once for all steps, and the past."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from diffsim.compiler.checks.findings import Finding
from diffsim.compiler.ir import Buffer, Load, Memory, Stage, accesses_in
from diffsim.errors import Diagnostic

__all__ = ["past_of", "stored_once", "written"]


def written(stages: Iterable[Stage]) -> set[Buffer]:
    """Return what stages write."""
    return {op.ref.buffer for op in _memory(stages) if not isinstance(op, Load)}


def stored_once(
    states: Iterable[Buffer], before: Sequence[Stage], step: Sequence[Stage], later: Sequence[Stage]
) -> list[Finding]:
    """Take the time from States that no step writes, and return where one is read before it could be written.

    Their value is the same at all times (unless `reset` gives them another past), so that all accesses are to
    one place: no step hands it on, no checkpoint holds it, and adjoints of all steps add up where those of
    `reset` find them.

    Args:
        states: The memory of all States.
        before: The stages of `reset`.
        step: Those of a step.
        later: Those of the costs.
    """
    moving = written(step) | {op.ref.buffer for op in _memory(before) if _of_past(op)}
    still = {state for state in states if state not in moving}
    for state in still:
        state.kind = "derived"
        if state.adjoint is not None:
            state.adjoint.kind = "derived"
    ahead = [
        Finding("READ-AHEAD", op.ref.buffer, 1, op.ref.component, op.where)
        for op in _memory(step)
        if op.ref.buffer in still and op.ref.time == 1 and op.where is not None
    ]
    for op in _memory([*before, *step, *later]):
        if op.ref.buffer in still:
            op.ref = replace(op.ref, time=None)
    return ahead


def past_of(state: Buffer, reset: Sequence[Stage]) -> tuple[set[int], list[Diagnostic]]:
    """Return which times before step 0 `reset` settles itself, and reads of others that come too early.

    Where it writes `x[0]`, those that it does not write are what `x[0]` is when it is through.
    """
    ops = [op for op in _memory(reset) if op.ref.buffer is state]
    own = {op.ref.time or 0 for op in ops if not isinstance(op, Load)}
    early = [
        Diagnostic(
            "TIME-INDEX",
            str(op.where),
            f"{state.label} must be read at 0 in reset, which writes it there, got a read of the one before, "
            "which is what x[0] is when reset is through; write that time in reset too, before it is read",
        )
        for op in ops
        if isinstance(op, Load) and 0 in own and (op.ref.time or 0) not in own
    ]
    return own, list(dict.fromkeys(early))


def _of_past(op: Memory) -> bool:
    return not isinstance(op, Load) and (op.ref.time or 0) < 0


def _memory(stages: Iterable[Stage]) -> Iterator[Memory]:
    return (op for stage in stages for op in accesses_in(stage.body))
