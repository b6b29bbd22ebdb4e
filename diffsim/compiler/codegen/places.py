"""Telling places in memory apart by what their indices have in common: `x[k + 1, j]` is never `x[k, i]`."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator

from diffsim.compiler.codegen.printer import Slot, slot_of
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
    results_of,
    walk,
)

__all__ = ["Indices", "Memory", "defined_in", "is_straight", "marked", "meeting"]

Affine = tuple["Value | None", int]
Memory = Load | Store | Accumulate


class Indices:
    """The indices of a block, each as a value plus a number.

    Args:
        block: All that computes them.
    """

    def __init__(self, block: Block) -> None:
        self._lets = {op.result: op for op in walk(block) if isinstance(op, Let)}

    def affine(self, operand: Operand) -> Affine:
        """Return the value that an index is a constant apart from, None for a number, and that constant."""
        offset = 0
        while isinstance(operand, Value):
            let = self._lets.get(operand)
            if let is None or let.fn not in ("add", "sub") or let.result.dtype != "i32":
                return operand, offset
            a, b = let.args
            if let.fn == "add" and isinstance(a, Const):
                a, b = b, a
            if not isinstance(b, Const):
                return operand, offset
            operand, offset = a, offset + (int(b.value) if let.fn == "add" else -int(b.value))
        return None, offset + int(operand.value)

    def apart(self, a: Ref, b: Ref, varying: Collection[Value] = ()) -> bool:
        """Tell whether two places of one buffer and component are never the same.

        Args:
            a: The one place.
            b: The other.
            varying: Values that may differ between the moments at which they are looked at.
        """
        pairs = ((self.affine(i), self.affine(j)) for i, j in zip(a.indices, b.indices, strict=True))
        return any(x[0] is y[0] and x[1] != y[1] and x[0] not in varying for x, y in pairs)


def defined_in(loop: For) -> set[Value]:
    """Return the values that a loop makes anew in each iteration, its index included."""
    found = {loop.index, *loop.params}
    for op in walk(loop.body):
        found.update(results_of(op))
        if isinstance(op, For):
            found |= {op.index, *op.params}
    return found


def is_straight(block: Block) -> bool:
    """Tell whether a block only computes, reads and writes: no loop in it, no branch, no call."""
    return all(isinstance(op, Let | Memory) for op in block.ops)


def meeting(ops: Iterable[Op]) -> Iterator[tuple[Store | Accumulate, Memory]]:
    """Yield each write with each access of the same buffer, time and component, itself among them."""
    accesses: dict[Slot, list[Memory]] = {}
    for op in ops:
        if isinstance(op, Memory):
            accesses.setdefault(slot_of(op.ref), []).append(op)
    for found in accesses.values():
        yield from ((a, b) for a in found if isinstance(a, Store | Accumulate) for b in found)


def marked(stage: Stage) -> Stage:
    """Return a copy of a stage whose innermost loops say where their iterations are independent."""
    indices = Indices(stage.body)

    def block(old: Block) -> Block:
        return Block([op_of(op) for op in old.ops], list(old.yields))

    def op_of(op: Op) -> Op:
        if isinstance(op, If):
            return dataclasses.replace(op, then=block(op.then), orelse=block(op.orelse))
        if not isinstance(op, For):
            return op
        if is_straight(op.body):
            return dataclasses.replace(op, independent=_is_independent(op, indices))
        return dataclasses.replace(op, body=block(op.body))

    return dataclasses.replace(stage, body=block(stage.body))


def _is_independent(loop: For, indices: Indices) -> bool:
    """Tell whether no iteration of a straight loop touches what another one writes, carried values aside."""
    inside = defined_in(loop)
    claims = any(isinstance(op, Load) and op.claim for op in loop.body.ops)
    return not claims and all(
        (a.ref.indices == b.ref.indices and any(indices.affine(i)[0] is loop.index for i in a.ref.indices))
        or indices.apart(a.ref, b.ref, inside)
        for a, b in meeting(loop.body.ops)
    )
