"""Removing what an adjoint does not need: unused values, tapes that nobody reads, carried constants."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from diffsim.ir import (
    Accumulate,
    Block,
    Buffer,
    For,
    If,
    Let,
    Load,
    Op,
    Operand,
    Ref,
    Store,
    Value,
    blocks_of,
    operands_of,
    results_of,
    walk,
)

__all__ = ["simplify"]


def simplify(block: Block) -> None:
    """Simplify a block in place until nothing changes."""
    while _drop_invariant(block) or _drop_unused(block):
        pass
    for op in walk(block):
        if isinstance(op, For) and op.descending:
            op.descending = not _order_is_free(op)


def _drop_unused(block: Block) -> bool:
    uses: Counter[Value] = Counter()
    read_tapes: set[Buffer] = set()
    for op in walk(block):
        uses.update(o for o in operands_of(op) if isinstance(o, Value))
        for inner in blocks_of(op):
            uses.update(y for y in inner.yields if isinstance(y, Value))
        if isinstance(op, Load) and op.ref.buffer.kind == "tape":
            read_tapes.add(op.ref.buffer)
    return _sweep(block, uses, read_tapes)


def _sweep(block: Block, uses: Counter[Value], read_tapes: set[Buffer]) -> bool:
    changed = False
    kept: list[Op] = []
    for op in block.ops:
        for inner in blocks_of(op):
            changed |= _sweep(inner, uses, read_tapes)
        changed |= _drop_results(op, uses)
        if _needed(op, uses, read_tapes):
            kept.append(op)
        else:
            changed = True
    block.ops = kept
    return changed


def _needed(op: Op, uses: Counter[Value], read_tapes: set[Buffer]) -> bool:
    if isinstance(op, Let | Load):
        return uses[op.result] > 0
    if isinstance(op, Store) and op.ref.buffer.kind == "tape":
        return op.ref.buffer in read_tapes
    if isinstance(op, Store | Accumulate):
        return True
    return bool(results_of(op)) or any(inner.ops for inner in blocks_of(op))


def _drop_results(op: Op, uses: Counter[Value]) -> bool:
    """Drop results of branches that nobody uses, and carried values that only keep themselves alive."""
    if isinstance(op, If):
        keep = [k for k, r in enumerate(op.results) if uses[r] > 0]
        if len(keep) == len(op.results):
            return False
        op.results = [op.results[k] for k in keep]
        for inner in (op.then, op.orelse):
            inner.yields = [inner.yields[k] for k in keep]
        return True
    if isinstance(op, For):
        keep = [k for k, r in enumerate(op.results) if uses[r] > 0 or not _only_feeds_itself(op, k)]
        if len(keep) == len(op.results):
            return False
        op.body.yields = [op.body.yields[k] for k in keep]
        op.inits = [op.inits[k] for k in keep]
        op.params = [op.params[k] for k in keep]
        op.results = [op.results[k] for k in keep]
        return True
    return False


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
            _keep_carried(op, keep)
        elif isinstance(op, If):
            keep = [k for k in range(len(op.results)) if op.then.yields[k] != op.orelse.yields[k]]
            for k in set(range(len(op.results))) - set(keep):
                same[op.results[k]] = op.then.yields[k]
            op.results = [op.results[k] for k in keep]
            for inner in (op.then, op.orelse):
                inner.yields = [inner.yields[k] for k in keep]
    if not same:
        return False
    _substitute(block, same)
    return True


def _keep_carried(op: For, keep: list[int]) -> None:
    op.params = [op.params[k] for k in keep]
    op.inits = [op.inits[k] for k in keep]
    op.results = [op.results[k] for k in keep]
    op.body.yields = [op.body.yields[k] for k in keep]


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
        else:
            op.cond = new(op.cond)
        for inner in blocks_of(op):
            inner.yields = [new(y) for y in inner.yields]


def _order_is_free(op: For) -> bool:
    """Tell whether a backward loop may as well run upward, which vectorises better.

    It may when its carried values are plain sums and no iteration reads what another writes.
    """
    for k, (param, end) in enumerate(zip(op.params, op.body.yields, strict=True)):
        if not _is_sum(op, k, param, end):
            return False
    stored = {_slot(o.ref) for o in walk(op.body) if isinstance(o, Store)}
    added = {_slot(o.ref) for o in walk(op.body) if isinstance(o, Accumulate)}
    loaded = {_slot(o.ref) for o in walk(op.body) if isinstance(o, Load)}
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
