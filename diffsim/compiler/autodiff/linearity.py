"""Telling whether an adjoint that a user gave is linear in what comes back, as that of any derivative is."""

from __future__ import annotations

from diffsim.compiler.builder import Builder
from diffsim.compiler.ir import Block, Call, If, Let, Operand, Value

__all__ = ["is_linear"]

_SUMS = ("add", "sub", "neg", "stop")


def is_linear(call: Call, real: str) -> bool:
    """Tell whether the adjoint of a call is linear, for certain: a clipped one, for example, is not.

    Args:
        call: A call with an adjoint.
        real: The working precision, `f32` or `f64`.
    """
    builder = Builder(real)
    args, results, incoming = (
        [Value(v.dtype) for v in values] for values in (call.args, call.results, call.results)
    )
    shares = call.adjoint(builder, args, results, incoming)
    linear = set(incoming)
    return _spread(builder.block, linear) and all(_vanishes_or(s, linear) for s in shares if s is not None)


def _spread(block: Block, linear: set[Value]) -> bool:
    """Find the values that come from the incoming ones; tell whether all of them are linear in those."""
    for op in block.ops:
        if isinstance(op, Let):
            if any(a in linear for a in op.args if isinstance(a, Value)):
                if not _keeps(op, linear):
                    return False
                linear.add(op.result)
        elif isinstance(op, If):
            if op.cond in linear or not all(_spread(b, linear) for b in (op.then, op.orelse)):
                return False
            for result, *sides in zip(op.results, op.then.yields, op.orelse.yields, strict=True):
                if any(s in linear for s in sides if isinstance(s, Value)):
                    if not all(_vanishes_or(s, linear) for s in sides):
                        return False
                    linear.add(result)
        else:  # a loop, or another call: nothing is known
            return False
    return True


def _keeps(op: Let, linear: set[Value]) -> bool:
    """Tell whether an operation of linear values, and of others, is linear again."""
    inside = [isinstance(a, Value) and a in linear for a in op.args]
    if op.fn in _SUMS or op.fn.startswith("cast_f"):
        return all(_vanishes_or(a, linear) for a in op.args)
    if op.fn == "mul":
        return inside.count(True) == 1
    if op.fn == "div":
        return inside == [True, False]
    return op.fn == "select" and not inside[0] and all(_vanishes_or(a, linear) for a in op.args[1:])


def _vanishes_or(operand: Operand, linear: set[Value]) -> bool:
    return operand in linear if isinstance(operand, Value) else operand.value == 0
