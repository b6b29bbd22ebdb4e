"""Building operations again, on what their operands are called in another block."""

from __future__ import annotations

from collections.abc import Mapping

from diffsim.compiler.builder import Builder
from diffsim.compiler.ir import Const, Let, Operand, Ref, Value

__all__ = ["again", "renamed", "renamed_ref"]


def renamed(values: Mapping[Value, Operand], operand: Operand) -> Operand:
    """Return what an operand is called in the new block."""
    return operand if isinstance(operand, Const) else values[operand]


def renamed_ref(values: Mapping[Value, Operand], ref: Ref) -> Ref:
    """Return a place with its indices called as in the new block."""
    return Ref(ref.buffer, tuple(renamed(values, i) for i in ref.indices), ref.component, ref.time)


def again(b: Builder, op: Let, args: list[Operand], twice: bool = False) -> Operand:
    """Build the same operation on other operands; `replay` gives what it holds for this case.

    Args:
        b: Where it goes.
        op: The operation.
        args: Its operands.
        twice: It is differentiated again, so that a `replay` stays one.
    """
    if op.fn == "replay" and not twice:
        return b.cast(args[1], op.result.dtype)
    if op.fn.startswith("cast_"):
        return b.cast(args[0], op.fn[5:])
    return b.op("pow" if op.fn == "powi" else op.fn, *args)
