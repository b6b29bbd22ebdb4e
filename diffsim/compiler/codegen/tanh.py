"""Writing tanh of f32 as arithmetic: the system's function takes longer than all that is around it.

It is a quotient of two polynomials in f64 (`diffsim.compiler.tanh`), within 0.55 ulp of the true value.
Taichi's compiler may add terms in any order, contract them and divide by a reciprocal: all terms are
positive, so the result in f32 does not show it. It may also take it that all values are numbers, so what is
none is told by its bits. tanh of f64 is left to the system.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from diffsim.compiler.ir import Block, Call, Const, For, If, Let, Location, Op, Operand, Stage, Value, walk
from diffsim.compiler.tanh import BELOW, END, OVER

__all__ = ["inlined"]


def inlined(stage: Stage) -> Stage:
    """Return a stage that computes tanh of f32 by arithmetic; it is the stage itself where there is none."""
    if not any(isinstance(op, Let) and _is_ours(op) for op in walk(stage.body)):
        return stage
    return dataclasses.replace(stage, body=_block(stage.body))


def _is_ours(op: Let) -> bool:
    return op.fn == "tanh" and op.result.dtype == "f32"


def _block(block: Block) -> Block:
    ops: list[Op] = []
    for op in block.ops:
        if isinstance(op, Let) and _is_ours(op):
            ops += _tanh(op)
        elif isinstance(op, For | Call):
            ops.append(dataclasses.replace(op, body=_block(op.body)))
        elif isinstance(op, If):
            ops.append(dataclasses.replace(op, then=_block(op.then), orelse=_block(op.orelse)))
        else:
            ops.append(op)
    return Block(ops, block.yields)


class _Arithmetic:
    """Operations in f64, one after the other."""

    def __init__(self, where: Location | None) -> None:
        self.where = where
        self.ops: list[Op] = []

    def let(self, fn: str, *args: Operand | float, dtype: str = "f64") -> Value:
        result = Value(dtype)
        given = tuple(a if isinstance(a, Value | Const) else Const(a, "f64") for a in args)
        self.ops.append(Let(result, fn, given, self.where))
        return result

    def polynomial(self, x: Value, coefficients: Sequence[float]) -> Value:
        """Append a polynomial, constant first (Horner)."""
        value: Value | float = coefficients[-1]
        for one in reversed(coefficients[:-1]):
            value = self.let("add", self.let("mul", value, x), one)
        assert isinstance(value, Value)  # noqa: S101  (there is more than one coefficient)
        return value


def _tanh(op: Let) -> list[Op]:
    x, a = op.args[0], _Arithmetic(op.where)
    wide = a.let("cast_f64", x)
    held = a.let("select", a.let("gt", wide, END, dtype="u1"), END, wide)
    held = a.let("select", a.let("lt", held, -END, dtype="u1"), -END, held)
    z = a.let("mul", held, held)
    quotient = a.let("div", a.let("mul", held, a.polynomial(z, OVER)), a.polynomial(z, BELOW))
    number = a.let("cast_f32", quotient, dtype="f32")
    nothing = a.let("isnan", x, dtype="u1")
    return [*a.ops, Let(op.result, "select", (nothing, x, number), op.where)]
