"""Fields written without the time: which slot `self.x[i]` of a State means, kernel by kernel.

Kernels of plain Taichi know no time: `x[i]` is what was stored there last. Here that is `x[t]` until a kernel
of the step writes the State, and `x[t + 1]` from then on. In the loop nest that writes it first, a read that
no write can come before is of `x[t]`; where each place is read and written by one iteration alone, that are
all reads, so that `x[i] += dt * v[i]` is the same program as `x[t + 1, i] = x[t, i] + dt * v[t + 1, i]`.
`moment.py` does the same for loops over active cells.
"""

from __future__ import annotations

from dataclasses import replace

from diffsim.compiler.checks.collecting import runs_once
from diffsim.compiler.checks.touching import Access, accesses_of, apart, may_follow, shifts
from diffsim.compiler.ir import NEWEST, Buffer, For, Load, Memory, Ref, Stage, accesses_in
from diffsim.compiler.program.moment import resolve_activity
from diffsim.compiler.program.promotion import promoted
from diffsim.compiler.reading.buffers import Buffers
from diffsim.errors import Diagnostic

__all__ = ["with_times"]


def with_times(
    step: list[Stage], running: list[Stage], buffers: Buffers, steps: int
) -> tuple[list[Stage], list[Stage], list[Diagnostic]]:
    """Return stages in which each access of a State has a time, and what is wrong with those without.

    States that are written without the time are handed on from step to step, as with `keep=True`.

    Args:
        step: The stages of a step.
        running: Those of the running cost.
        buffers: The program's memory.
        steps: The horizon, for bounds of indices that depend on `t`.
    """
    if not any(op.ref.time == NEWEST for stage in step + running for op in accesses_in(stage.body)):
        return step, running, []
    found: list[Diagnostic] = []
    written: set[Buffer] = set()
    done = []
    buffers.handed_on |= {
        op.ref.buffer
        for stage in step
        for op in accesses_in(stage.body)
        if not isinstance(op, Load) and op.ref.time == NEWEST
    }
    kept = buffers.kept_layouts()
    for stage in step:
        resolve_activity(stage.body, {b.source for b in written}, kept)
        done.append(_resolved(stage, written, found, steps))
        stores = [
            op for op in accesses_in(stage.body) if not isinstance(op, Load) and op.ref.time in (1, NEWEST)
        ]
        timeless = {op.ref.buffer: op for op in stores if op.ref.time == NEWEST}
        for buffer, op in timeless.items():
            if buffer.source.keep is False:
                found.append(
                    _told(op, "be declared without keep=False where it is written without the time", "it")
                )
        written |= {op.ref.buffer for op in stores}
    for stage in running:
        resolve_activity(stage.body, {b.source for b in written}, kept)
        for read in (op for op in accesses_in(stage.body) if op.ref.time == NEWEST):
            if read.ref.buffer in written:
                found.append(
                    _told(
                        read, "be read in running_cost at t (before the step) or t + 1 (behind it)", "neither"
                    )
                )
            read.ref = _at(read.ref, 0)
    return done, running, found


def _told(op: Memory, rule: str, got: str) -> Diagnostic:
    message = f"{op.ref.buffer.source.label} must {rule}, got {got}; write the time that is meant"
    return Diagnostic("TIME-INDEX", str(op.where), message)


def _resolved(stage: Stage, written: set[Buffer], found: list[Diagnostic], steps: int) -> Stage:
    """Return a stage in which accesses without a time have one; `written` were written before it."""
    mixed = {
        op.ref.buffer for op in accesses_in(stage.body) if op.ref.time == 1 and op.ref.buffer.kind == "state"
    }
    for op in accesses_in(stage.body):
        if op.ref.time == NEWEST and op.ref.buffer in mixed:
            found.append(
                _told(op, "be indexed in one way in a kernel that writes it, with t + 1 or without", "both")
            )
            mixed.discard(op.ref.buffer)
    slots = {_slot(op) for op in accesses_in(stage.body) if op.ref.time == NEWEST}
    changed = {
        _slot(op) for op in accesses_in(stage.body) if op.ref.time == NEWEST and not isinstance(op, Load)
    }
    stage = promoted(stage, changed, steps, whole=True)
    accesses = accesses_of([stage])
    times: dict[str, set[str]] = {}
    for buffer, _, component in slots:
        touches = accesses.get((buffer, NEWEST, component), [])
        writes = [access for access in touches if not isinstance(access.op, Load)]
        for access in touches:
            old = buffer not in written and _before(access, writes)
            access.op.ref = _at(access.op.ref, 0 if old else 1)
            verb = "read" if isinstance(access.op, Load) else "written"
            times.setdefault(f"{buffer.source.key} is {verb} at", set()).add("t" if old else "t + 1")
    notes = (f"without a time, {what} {' and '.join(sorted(at))}" for what, at in times.items())
    return replace(stage, notes=(*stage.notes, *notes))


def _slot(op: Memory) -> tuple[Buffer, int | None, int]:
    return op.ref.buffer, op.ref.time, op.ref.component


def _before(access: Access, writes: list[Access]) -> bool:
    """Tell whether an access is a read that no write of its kernel can come before.

    Where iterations run side by side, that is one which no other iteration writes.
    """
    return isinstance(access.op, Load) and not any(
        may_follow(write, access, again=True) or _crosses(write, access) for write in writes
    )


def _crosses(write: Access, read: Access) -> bool:
    """Tell whether one iteration of a parallel loop may write what another one reads."""
    if apart(write, read):
        return False
    for (here, op), (there, _) in zip(write.path, read.path, strict=False):
        if here != there:
            return False
        if isinstance(op, For) and op.parallel and not runs_once(op) and shifts(write, read, op.index) != {0}:
            return True
    return False


def _at(ref: Ref, time: int) -> Ref:
    return replace(ref, time=time)
