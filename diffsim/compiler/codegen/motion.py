"""Moving memory traffic out of inner loops: what a loop reads again and again, and sums it adds to one place.

The compiler behind Taichi cannot do this itself, since all fields share one allocation and might overlap for
all it knows. Here different buffers, and different times of one buffer, are known to be apart.
"""

from __future__ import annotations

import dataclasses

from diffsim.compiler.checks.indices import defined_in
from diffsim.compiler.ir import (
    Accumulate,
    Block,
    Buffer,
    Const,
    For,
    If,
    Let,
    Load,
    Op,
    Operand,
    Ref,
    Stage,
    Store,
    Value,
    results_of,
    walk,
)

__all__ = ["hoisted"]

Slot = tuple[Buffer, "int | None"]


def hoisted(stage: Stage, outermost: bool) -> Stage:
    """Return a copy of a stage with invariant loads before its loops and sums to one place behind them.

    Args:
        stage: The stage; it is left as it is.
        outermost: Treat the outermost loops too. They must stay independent where they run in parallel.
    """
    return dataclasses.replace(stage, body=_block(stage.body, outermost))


def _block(block: Block, here: bool) -> Block:
    ops: list[Op] = []
    for op in block.ops:
        if isinstance(op, For):
            ops += _loop(op, here)
        elif isinstance(op, If):
            ops.append(dataclasses.replace(op, then=_block(op.then, True), orelse=_block(op.orelse, True)))
        else:
            ops.append(op)
    return Block(ops, list(block.yields))


def _loop(op: For, here: bool) -> list[Op]:
    loop = dataclasses.replace(op, body=_block(op.body, True))
    for name in ("inits", "params", "results"):
        setattr(loop, name, list(getattr(op, name)))
    if not here or not _runs(loop):
        return [loop]
    inside = defined_in(loop)
    before = _invariant(loop, inside)
    after = _sums(loop, inside - {v for b in before for v in results_of(b)})
    return [*before, loop, *after]


def _runs(op: For) -> bool:
    """Tell whether a loop certainly runs, so that what is moved out of it would have happened."""
    return isinstance(op.start, Const) and isinstance(op.stop, Const) and op.stop.value > op.start.value


def _slot(ref: Ref) -> Slot:
    return ref.buffer, ref.time


def _invariant(loop: For, inside: set[Value]) -> list[Op]:
    """Take loads (and what their indices need) out of a loop that does not change what they read."""
    written = {_slot(o.ref) for o in walk(loop.body) if isinstance(o, Store | Accumulate)}
    moved: list[Op] = []
    kept: list[Op] = []
    loose = set(inside)

    def fixed(operands: tuple[Operand, ...]) -> bool:
        return not any(isinstance(o, Value) and o in loose for o in operands)

    for op in loop.body.ops:
        movable = (isinstance(op, Load) and _slot(op.ref) not in written and fixed(op.ref.indices)) or (
            isinstance(op, Let) and fixed(op.args)
        )
        (moved if movable else kept).append(op)
        if movable:
            loose -= set(results_of(op))
    loop.body.ops = kept
    return moved


def _sums(loop: For, inside: set[Value]) -> list[Op]:
    """Carry sums that go to one place in registers, and add them to memory once, behind the loop."""
    after: list[Op] = []
    kept: list[Op] = []
    for op in loop.body.ops:
        alone = isinstance(op, Accumulate) and _only_components(loop, op)
        if (
            isinstance(op, Accumulate)
            and alone
            and not any(i in inside for i in op.ref.indices if isinstance(i, Value))
        ):
            dtype = op.ref.buffer.dtype
            param, end, result = Value(dtype), Value(dtype), Value(dtype)
            kept.append(Let(end, "add", (param, op.value)))
            loop.inits.append(Const(0.0, dtype))
            loop.params.append(param)
            loop.body.yields.append(end)
            loop.results.append(result)
            after.append(Accumulate(op.ref, result, op.where))
        else:
            kept.append(op)
    loop.body.ops = kept
    return after


def _only_components(loop: For, op: Accumulate) -> bool:
    """Tell whether a loop touches a place by this one operation only, other components aside."""
    for other in walk(loop.body):
        if (
            other is op
            or not isinstance(other, Load | Store | Accumulate)
            or _slot(other.ref) != _slot(op.ref)
        ):
            continue
        if other.ref.component == op.ref.component:
            return False
    return True
