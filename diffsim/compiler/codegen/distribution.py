"""Splitting loops whose iterations add to places of one another, so that each part can be vectorised.

The adjoint of a stencil adds to `x[i, j - 1]`, `x[i, j]` and `x[i, j + 1]` in one iteration. What one vector
instruction has stored the next one then reads a number further, which the processor cannot forward from the
stores that are still under way: it waits for them each time. A loop for each distance (loop distribution;
Kennedy and McKinley 1990) meets no neighbour, and computes again the little that it adds. Rows that might be
the same one for all that is known, as `x[(i + 1) % n, j]` and `x[i, j]`, get loops of their own too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from diffsim.compiler.checks.indices import Indices, defined_in
from diffsim.compiler.codegen.places import is_straight
from diffsim.compiler.codegen.printer import slot_of
from diffsim.compiler.ir import (
    Accumulate,
    Block,
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
    operands_of,
    results_of,
)

__all__ = ["distributed"]

_LEAST = 16  # iterations of a loop
_MOST = 24  # operations that one part computes again
_CHEAP = frozenset("add sub mul div neg abs min max select lt le gt ge eq ne and or not inside stop".split())


def distributed(stage: Stage) -> Stage:
    """Return a copy of a stage in whose innermost loops no iteration adds to a place of another one.

    Sums come in another order then, and are equal to rounding. Loops stay as they are where what they add is
    dear to compute, or may change while they run.
    """
    return dataclasses.replace(stage, body=_block(stage.body, Indices(stage.body)))


def _block(block: Block, indices: Indices) -> Block:
    ops: list[Op] = []
    for op in block.ops:
        if isinstance(op, If):
            ops.append(
                dataclasses.replace(op, then=_block(op.then, indices), orelse=_block(op.orelse, indices))
            )
        elif isinstance(op, For):
            inner = dataclasses.replace(op, body=_block(op.body, indices))
            ops += _split(op, indices) if is_straight(op.body) else [inner]
        else:
            ops.append(op)
    return Block(ops, list(block.yields))


def _split(loop: For, indices: Indices) -> list[Op]:
    """Return the loops that add to neighbours, and the one that does the rest behind them."""
    if not isinstance(loop.start, Const) or not isinstance(loop.stop, Const):
        return [loop]
    if loop.stop.value - loop.start.value < _LEAST:
        return [loop]
    parts = [[op for op in ops if _movable(op, loop, indices)] for ops in _apart(loop, indices)[1:]]
    parts = [ops for ops in parts if ops]
    if not parts:
        return [loop]
    moved = {id(op) for ops in parts for op in ops}
    rest = [op for op in loop.body.ops if id(op) not in moved]
    kept = [op for op in rest if not isinstance(op, Let | Load)]
    body = Block(_needed(rest, kept, loop.body.yields), list(loop.body.yields))
    last = [dataclasses.replace(loop, body=body)] if kept or loop.params else []
    return [*(_part(loop, ops) for ops in parts), *last]


def _apart(loop: For, indices: Indices) -> list[list[Accumulate]]:
    """Share out what a loop adds along a row, so that no two sums of one part ever meet at a place.

    What is added where the loop's index points comes first.
    """
    inside = defined_in(loop)
    sums: list[tuple[int, Accumulate]] = []
    for op in loop.body.ops:
        if isinstance(op, Accumulate) and op.ref.indices:
            *others, (base, shift) = (indices.affine(i) for i in op.ref.indices)
            if base is loop.index and not any(other in inside for other, _ in others):
                sums.append((shift, op))
    parts: list[list[Accumulate]] = []
    for _, op in sorted(sums, key=lambda pair: pair[0] != 0):
        fits = (part for part in parts if not any(_may_meet(op, other, indices, inside) for other in part))
        part = next(fits, None)
        if part is None:
            parts.append([op])
        else:
            part.append(op)
    return parts


def _may_meet(a: Accumulate, b: Accumulate, indices: Indices, inside: set[Value]) -> bool:
    """Tell whether two sums may reach one place in different iterations."""
    if slot_of(a.ref) != slot_of(b.ref):
        return False
    same = all(
        indices.affine(i) == indices.affine(j) for i, j in zip(a.ref.indices, b.ref.indices, strict=True)
    )
    return not same and not indices.apart(a.ref, b.ref, inside)


def _movable(op: Accumulate, loop: For, indices: Indices) -> bool:
    """Tell whether a sum may come before all else that a loop does, and costs little to compute again."""
    needed = _needed(loop.body.ops, [op], [])
    if len(needed) - 1 > _MOST or any(isinstance(o, Let) and o.fn not in _CHEAP for o in needed):
        return False
    used = {o for inner in needed for o in operands_of(inner)}
    if not used.isdisjoint(loop.params) or any(isinstance(o, Load) and o.claim for o in needed):
        return False
    inside = defined_in(loop)
    for other in loop.body.ops:
        if not isinstance(other, Load | Store | Accumulate) or slot_of(other.ref) != slot_of(op.ref):
            continue
        if not isinstance(other, Accumulate) and not indices.apart(other.ref, op.ref, inside):
            return False
    return all(_unchanged(load, loop, indices, inside) for load in needed if isinstance(load, Load))


def _unchanged(load: Load, loop: For, indices: Indices, inside: set[Value]) -> bool:
    """Tell whether a load finds the same before the loop: only its own iteration writes there, later."""
    own = any(indices.affine(i)[0] is loop.index for i in load.ref.indices)
    behind = False
    for op in loop.body.ops:
        behind = behind or op is load
        if not isinstance(op, Store | Accumulate) or slot_of(op.ref) != slot_of(load.ref):
            continue
        at_home = own and behind and op.ref.indices == load.ref.indices
        if not at_home and not indices.apart(op.ref, load.ref, inside):
            return False
    return True


def _needed(ops: list[Op], roots: Iterable[Op], yields: Iterable[Operand]) -> list[Op]:
    """Return, in order, those of some straight operations that others of them need, or what they yield."""
    wanted, values = {id(op) for op in roots}, set(yields)
    found = []
    for op in reversed(ops):
        if id(op) in wanted or any(r in values for r in results_of(op)):
            found.append(op)
            values.update(operands_of(op))
    return found[::-1]


def _part(loop: For, sums: list[Accumulate]) -> For:
    """Return a loop of its own for some sums, with what they need under new names."""
    index = Value("i32")
    names: dict[Operand, Operand] = {loop.index: index}

    def new(operand: Operand) -> Operand:
        return names.get(operand, operand)

    def moved(ref: Ref) -> Ref:
        return dataclasses.replace(ref, indices=tuple(map(new, ref.indices)))

    ops: list[Op] = []
    for op in _needed(loop.body.ops, sums, []):
        if isinstance(op, Accumulate):
            ops.append(Accumulate(moved(op.ref), new(op.value), op.where))
            continue
        assert isinstance(op, Let | Load)  # noqa: S101  (only these have results)
        result = Value(op.result.dtype)
        if isinstance(op, Let):
            ops.append(dataclasses.replace(op, result=result, args=tuple(map(new, op.args))))
        else:
            ops.append(Load(result, moved(op.ref), op.where))
        names[op.result] = result
    return For(index, loop.start, loop.stop, Block(ops), where=loop.where)
