"""Leaving out zeros that nobody needs: adjoints that are stored first, or zeroed again before they are read.

A step's adjoint finds zeros where it adds, since somebody has put them there: each step zeroes the adjoint of
the oldest State, which lies where that of the newest was, and each kernel zeroes the adjoint of what it has
stored once it has read it. Here the first sum that meets each place of a box is turned into a store, which
needs no zero; and a zero goes that is zeroed or stored again before anything reads it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from diffsim.compiler.autodiff import expanded
from diffsim.compiler.checks.touching import Access, Box, accesses_of, inside, joined, may_follow, volume
from diffsim.compiler.codegen.motion import hoisted
from diffsim.compiler.codegen.stages import StageSet
from diffsim.compiler.ir import Accumulate, Block, Buffer, Const, For, If, Load, Op, Stage, Store
from diffsim.compiler.program.lowered import Clearing

__all__ = ["lean_step"]

_MOST = 20_000  # pairs of accesses to one buffer that are compared

Boxes = dict[int, list[Box]]


def lean_step(stages: StageSet) -> tuple[list[Clearing], list[Stage]]:
    """Return what to zero before the adjoints of a step, and these, in the order in which they run."""
    clears = {clearing.buffer: clearing for clearing in stages.clears()["step_adj"]}
    run = [hoisted(expanded(stage), outermost=True) for stage in stages.in_order()["step_adj"]]
    accesses = accesses_of(run)
    newest = {state.adjoint for state in stages.lowered.passing}
    changes: dict[int, Op | None] = {}
    for buffer in dict.fromkeys(buffer for buffer, _, _ in accesses if _passes(buffer)):
        first = 1 - stages.lowered.history if buffer.kind == "state" else 0
        stored: Boxes = {}
        for component in range(buffer.components):
            touches = accesses.get((buffer, first, component), [])
            stored[component] = _store_first(touches, changes)
            again = None if buffer in clears else stored[component]
            if buffer in newest:
                touches, again = accesses.get((buffer, 1, component), []), None
            _drop_zeros(touches, again, changes)
        if buffer in clears:
            whole = {c: joined(boxes) for c, boxes in stored.items()}
            clears[buffer] = dataclasses.replace(clears[buffer], stored=_largest(whole))
    return list(clears.values()), [
        dataclasses.replace(stage, body=_changed(stage.body, changes)) for stage in run
    ]


def _passes(buffer: Buffer) -> bool:
    return buffer.is_adjoint and buffer.kind in ("state", "scratch") and buffer.place is None


def _store_first(touches: Sequence[Access], changes: dict[int, Op | None]) -> list[Box]:
    """Note which sums to turn into stores, since nothing touches their places before; return these."""
    found = []
    for access in touches if len(touches) ** 2 <= _MOST else ():
        op, box = access.op, access.box
        if box is None or isinstance(op, Load) or any(may_follow(other, access) for other in touches):
            continue
        if isinstance(op, Accumulate):
            changes[id(op)] = Store(op.ref, op.value, op.where)
        found.append(box)
    return found


def _drop_zeros(
    touches: Sequence[Access], again: Sequence[Box] | None, changes: dict[int, Op | None]
) -> None:
    """Note which stores of zeros to drop, since nothing looks at them before they are stored over.

    Args:
        touches: All accesses to one component.
        again: What the next step stores or zeroes before it reads it; None for all.
        changes: Where to note it.
    """
    readers = [access for access in touches if not isinstance(access.op, Store)]
    for access in touches if len(touches) ** 2 <= _MOST else ():
        op = access.op
        if not isinstance(op, Store) or not isinstance(op.value, Const) or op.value.value != 0.0:
            continue
        covered = again is None or any(inside(access.region, box) for box in again)
        if covered and not any(may_follow(access, reader) for reader in readers):
            changes[id(op)] = None


def _largest(boxes: Boxes) -> dict[int, Box]:
    return {c: max(found, key=volume) for c, found in boxes.items() if found}


def _changed(block: Block, changes: dict[int, Op | None]) -> Block:
    ops: list[Op] = []
    for op in block.ops:
        if id(op) in changes:
            new = changes[id(op)]
            ops += [] if new is None else [new]
        elif isinstance(op, For):
            ops.append(dataclasses.replace(op, body=_changed(op.body, changes)))
        elif isinstance(op, If):
            then, orelse = _changed(op.then, changes), _changed(op.orelse, changes)
            ops.append(dataclasses.replace(op, then=then, orelse=orelse))
        else:
            ops.append(op)
    return Block(ops, list(block.yields))
