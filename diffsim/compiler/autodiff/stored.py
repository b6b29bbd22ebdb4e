"""Results that memory still holds when adjoints run: reading them costs less than computing them again."""

from __future__ import annotations

from collections.abc import Sequence

from diffsim.compiler.checks.touching import accesses_of, may_follow
from diffsim.compiler.ir import Block, Let, Load, Operand, Ref, Stage, Store, blocks_of, walk

__all__ = ["Kept", "kept_results"]

Kept = dict[int, Ref]

_DEAR = frozenset("tanh exp log sin cos tan asin acos atan2 pow".split())
_HELD = ("state", "scratch")  # what every window keeps, step by step


def kept_results(stages: Sequence[Stage]) -> Kept:
    """Return, by the identity of operations that are dear to compute, where their results are found later.

    That is a place that a kernel stores one of them in, as it is, and that nothing of the step writes again.

    Args:
        stages: All that runs in a step, in order; or behind the last one.
    """
    inner = (block for stage in stages for op in walk(stage.body) for block in blocks_of(op))
    stores = [pair for block in [*(s.body for s in stages), *inner] for pair in _stores(block)]
    if not stores:
        return {}
    accesses = accesses_of(stages)
    found: Kept = {}
    for let, store in stores:
        ref = store.ref
        writes = [a for a in accesses[ref.buffer, ref.time or 0, ref.component] if not isinstance(a.op, Load)]
        own = next(access for access in writes if access.op is store)
        if not any(may_follow(own, other, again=True) for other in writes):
            found.setdefault(id(let), ref)
    return found


def _stores(block: Block) -> list[tuple[Let, Store]]:
    """Return what a block computes at some cost and stores as it is."""
    dear: dict[Operand, Let] = {op.result: op for op in block.ops if isinstance(op, Let) and op.fn in _DEAR}
    return [
        (dear[op.value], op)
        for op in block.ops
        if isinstance(op, Store)
        and op.value in dear
        and op.ref.buffer.kind in _HELD
        and op.ref.buffer.dtype == op.value.dtype
    ]
