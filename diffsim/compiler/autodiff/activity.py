"""Which values carry a gradient, and what a block uses from outside."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from diffsim.compiler.autodiff.rules import differentiable
from diffsim.compiler.ir import (
    Accumulate,
    Block,
    Call,
    For,
    If,
    Let,
    Load,
    Op,
    Operand,
    Store,
    Value,
    blocks_of,
    is_float,
    operands_of,
    results_of,
    walk,
)

__all__ = ["active_values", "free_values", "touches"]


def _has_adjoint(op: Load) -> bool:
    return op.ref.buffer.adjoint is not None


def active_values(
    block: Block, begins: Callable[[Load], bool] = _has_adjoint, given: Iterable[Value] = ()
) -> set[Value]:
    """Return the values that depend on something that gradients flow to, by iteration to a fixed point.

    Args:
        block: Where they are computed.
        begins: Whether gradients flow to what a load reads.
        given: Values from outside that they flow to.
    """
    active = set(given)
    while True:
        before = len(active)
        _spread(block, active, begins)
        if len(active) == before:
            return active


def _spread(block: Block, active: set[Value], begins: Callable[[Load], bool]) -> None:
    def mark(value: Value, sources: list[Operand]) -> None:
        if is_float(value.dtype) and any(s in active for s in sources if isinstance(s, Value)):
            active.add(value)

    for op in block.ops:
        if isinstance(op, Load):
            if is_float(op.result.dtype) and begins(op):
                active.add(op.result)
        elif isinstance(op, Let):
            if differentiable(op.fn, op.result.dtype):
                mark(op.result, list(op.args))
        elif isinstance(op, Call):
            for result in op.results:
                mark(result, op.args)
        elif isinstance(op, For):
            for param, init, end in zip(op.params, op.inits, op.body.yields, strict=True):
                mark(param, [init, end])
            _spread(op.body, active, begins)
            for result, init, end in zip(op.results, op.inits, op.body.yields, strict=True):
                mark(result, [init, end])
        elif isinstance(op, If):
            _spread(op.then, active, begins)
            _spread(op.orelse, active, begins)
            for result, a, b in zip(op.results, op.then.yields, op.orelse.yields, strict=True):
                mark(result, [a, b])


def free_values(op: Op) -> list[Value]:
    """Return the values that the blocks of an operation use from outside, each once, in order of use."""
    defined: set[Value] = set()
    used: dict[Value, None] = {}
    for block in blocks_of(op):
        defined.update(_names_of(op))
        for inner in walk(block):
            defined.update([*results_of(inner), *_names_of(inner)])
        for inner in walk(block):
            for operand in operands_of(inner):
                if isinstance(operand, Value):
                    used[operand] = None
            for nested in blocks_of(inner):
                used.update({y: None for y in nested.yields if isinstance(y, Value)})
        used.update({y: None for y in block.yields if isinstance(y, Value)})
    return [v for v in used if v not in defined]


def _names_of(op: Op) -> list[Value]:
    """Return what the blocks of an operation call what they are given."""
    if isinstance(op, For):
        return [op.index, *op.params]
    return op.params if isinstance(op, Call) else []


def touches(op: Op) -> bool:
    """Tell whether an operation's blocks write to memory."""
    return any(isinstance(inner, Store | Accumulate) for block in blocks_of(op) for inner in walk(block))
