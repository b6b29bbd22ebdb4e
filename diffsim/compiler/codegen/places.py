"""Loops whose iterations are independent: none touches what another one writes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

from diffsim.compiler.checks.indices import Indices, defined_in
from diffsim.compiler.codegen.printer import Slot, slot_of
from diffsim.compiler.ir import (
    Accumulate,
    Block,
    For,
    If,
    Let,
    Load,
    Op,
    Stage,
    Store,
)

__all__ = ["Memory", "is_straight", "marked", "meeting"]

Memory = Load | Store | Accumulate


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
