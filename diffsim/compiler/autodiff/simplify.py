"""Simplifying adjoints: what is not used goes, values that never change are not carried, loops run upward."""

from __future__ import annotations

from collections.abc import Iterable

from diffsim.compiler.autodiff.liveness import drop_unused, keep_carried, keep_results
from diffsim.compiler.ir import (
    Accumulate,
    Block,
    Buffer,
    For,
    If,
    Let,
    Load,
    Operand,
    Ref,
    Store,
    Value,
    blocks_of,
    operands_of,
    walk,
)

__all__ = ["order_is_free", "simplify"]


def simplify(block: Block) -> None:
    """Simplify a block in place until nothing changes."""
    drop_unused(block)
    while _drop_invariant(block):
        drop_unused(block)
    for op in walk(block):
        if isinstance(op, For) and op.descending:
            op.descending = not order_is_free(op)


def _only_feeds_itself(op: For, k: int) -> bool:
    """Tell whether a carried value is used for nothing but its own next value."""
    tainted: set[Value] = {op.params[k]}
    before = 0
    while len(tainted) > before:
        before = len(tainted)
        for inner in walk(op.body):
            if isinstance(inner, Let) and not tainted.isdisjoint(_values(inner.args)):
                tainted.add(inner.result)
    for inner in walk(op.body):
        if not isinstance(inner, Let) and not tainted.isdisjoint(_values(operands_of(inner))):
            return False
        if any(not tainted.isdisjoint(_values(nested.yields)) for nested in blocks_of(inner)):
            return False
    return tainted.isdisjoint(_values(y for j, y in enumerate(op.body.yields) if j != k))


def _values(operands: Iterable[Operand]) -> set[Value]:
    return {o for o in operands if isinstance(o, Value)}


def _drop_invariant(block: Block) -> bool:
    """Replace carried values that never change, and branch results that are the same in both blocks."""
    same: dict[Value, Operand] = {}
    for op in walk(block):
        if isinstance(op, For):
            keep = []
            for k, param in enumerate(op.params):
                end = op.body.yields[k]
                if end is param or end == op.inits[k]:
                    same[param] = same[op.results[k]] = op.inits[k]
                else:
                    keep.append(k)
            keep_carried(op, keep)
        elif isinstance(op, If):
            keep = [k for k in range(len(op.results)) if op.then.yields[k] != op.orelse.yields[k]]
            for k in set(range(len(op.results))) - set(keep):
                same[op.results[k]] = op.then.yields[k]
            keep_results(op, keep)
    if not same:
        return False
    _substitute(block, same)
    return True


def _substitute(block: Block, same: dict[Value, Operand]) -> None:
    def new(operand: Operand) -> Operand:
        while isinstance(operand, Value) and operand in same:
            operand = same[operand]
        return operand

    def new_ref(ref: Ref) -> Ref:
        return Ref(ref.buffer, tuple(new(i) for i in ref.indices), ref.component, ref.time)

    block.yields = [new(y) for y in block.yields]
    for op in walk(block):
        if isinstance(op, Let):
            op.args = tuple(new(a) for a in op.args)
        elif isinstance(op, Load):
            op.ref = new_ref(op.ref)
        elif isinstance(op, Store | Accumulate):
            op.ref, op.value = new_ref(op.ref), new(op.value)
        elif isinstance(op, For):
            op.start, op.stop = new(op.start), new(op.stop)
            op.inits = [new(i) for i in op.inits]
        elif isinstance(op, If):
            op.cond = new(op.cond)
        else:
            op.args = [new(a) for a in op.args]
        for inner in blocks_of(op):
            inner.yields = [new(y) for y in inner.yields]


def order_is_free(op: For, apart: bool = False) -> bool:
    """Tell whether a backward loop may as well run upward, which vectorises better, or in parallel.

    It may when its carried values are plain sums and no iteration reads what another writes.

    Args:
        op: The loop.
        apart: Iterations that meet record in tapes of their own.
    """
    for k, (param, end) in enumerate(zip(op.params, op.body.yields, strict=True)):
        if not _is_sum(op, k, param, end):
            return False
    stored = {_slot(o.ref) for o in walk(op.body) if isinstance(o, Store)}
    added = {_slot(o.ref) for o in walk(op.body) if isinstance(o, Accumulate)}
    loaded = {_slot(o.ref) for o in walk(op.body) if isinstance(o, Load)}
    if apart:
        stored = {slot for slot in stored if slot[0].kind != "tape"}
    shared = {s for s in stored & (loaded | added) | added & loaded if not _same_element_each_time(op, s)}
    return not shared


def _slot(ref: Ref) -> tuple[Buffer, int | None]:
    return ref.buffer, ref.time


def _is_sum(op: For, k: int, param: Value, end: Operand) -> bool:
    chain = end
    lets = {o.result: o for o in op.body.ops if isinstance(o, Let)}
    while chain is not param:
        let = lets.get(chain) if isinstance(chain, Value) else None
        if let is None or let.fn != "add":
            return False
        chain = let.args[0]
    return _only_feeds_itself(op, k)


def _same_element_each_time(op: For, slot: tuple[Buffer, int | None]) -> bool:
    """Tell whether a loop touches, in each iteration, only the elements that its own index names."""
    places = [
        o.ref for o in walk(op.body) if isinstance(o, Load | Store | Accumulate) and _slot(o.ref) == slot
    ]
    axes = {tuple(k for k, i in enumerate(ref.indices) if i is op.index) for ref in places}
    return len(axes) == 1 and axes != {()}
