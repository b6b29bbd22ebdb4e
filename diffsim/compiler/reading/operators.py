"""Operators in kernels: computed now where both sides are known in Python, else turned into operations."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from diffsim import _taichi
from diffsim.compiler.builder import Builder, common_type
from diffsim.compiler.ir import Block, Load, Operand, walk
from diffsim.compiler.reading import matrices
from diffsim.compiler.reading.context import Context
from diffsim.compiler.reading.values import Abstract, Matrix, Object, Sequence, TimeIndex, entries_of

__all__ = ["BINARY", "COMPARE", "UNARY", "binary", "compare", "either", "listed", "unary"]

BINARY: dict[type[ast.operator], tuple[str, Callable[[Any, Any], Any]]] = {
    ast.Add: ("add", operator.add),
    ast.Sub: ("sub", operator.sub),
    ast.Mult: ("mul", operator.mul),
    ast.Div: ("div", operator.truediv),
    ast.FloorDiv: ("floordiv", operator.floordiv),
    ast.Mod: ("mod", operator.mod),
    ast.Pow: ("pow", operator.pow),
    ast.BitAnd: ("bit_and", operator.and_),
    ast.BitOr: ("bit_or", operator.or_),
    ast.BitXor: ("bit_xor", operator.xor),
    ast.LShift: ("shl", operator.lshift),
    ast.RShift: ("shr", operator.rshift),
    ast.MatMult: ("matmul", operator.matmul),
}
COMPARE: dict[type[ast.cmpop], tuple[str, Callable[[Any, Any], Any]]] = {
    ast.Lt: ("lt", operator.lt),
    ast.LtE: ("le", operator.le),
    ast.Gt: ("gt", operator.gt),
    ast.GtE: ("ge", operator.ge),
    ast.Eq: ("eq", operator.eq),
    ast.NotEq: ("ne", operator.ne),
    ast.Is: ("is", operator.is_),
    ast.IsNot: ("is not", operator.is_not),
    ast.In: ("in", lambda a, b: a in b),
    ast.NotIn: ("not in", lambda a, b: a not in b),
}
UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Not: operator.not_,
    ast.Invert: operator.invert,
}


def binary(ctx: Context, node: ast.AST, op: ast.operator, left: Abstract, right: Abstract) -> Abstract:
    """Apply an operator of two operands.

    Raises:
        TraceError: The operands do not fit the operator, or each other.
    """
    name, python = BINARY[type(op)]
    if isinstance(left, Object) and isinstance(right, Object) and not _vectors(left, right):
        try:
            return Object(python(left.value, right.value))
        except (TypeError, ArithmeticError, ValueError) as error:
            ctx.error(
                node,
                f"{ctx.text(node)} must be computable, got {type(error).__name__}: {error}",
                rule="PYTHON",
            )
    shifted = _shifted_time(name, left, right)
    if shifted is not None:
        return shifted
    x, y = ctx.runtime(left, node), ctx.runtime(right, node)
    try:
        if name == "matmul":
            if not isinstance(x, Matrix) or not isinstance(y, Matrix):
                raise ValueError("@ needs matrices or vectors")
            return matrices.matmul(ctx.builder, x, y)
        return _arithmetic(ctx, name, x, y)
    except ValueError as error:
        ctx.error(node, f"{ctx.text(node)} must combine values that fit: {error}", rule="SHAPE")


def listed(ctx: Context, node: ast.BinOp, left: Abstract, right: Abstract) -> Abstract | None:
    """Return what `[0.0] * 3` and `[a] + [b]` are: longer lists, as in Python and Taichi; None for numbers.

    A list of numbers that was made outside of the kernel is a vector, as it is everywhere else here.
    """
    parts = ((node.left, left), (node.right, right))
    written = [isinstance(n, ast.List | ast.Tuple) or isinstance(v, Sequence) for n, v in parts]
    if isinstance(node.op, ast.Add) and all(written):
        return Sequence((*ctx.unpacked(left, node.left), *ctx.unpacked(right, node.right)))
    if isinstance(node.op, ast.Mult) and any(written):
        items, count = (left, right) if written[0] else (right, left)
        if isinstance(count, Object) and type(count.value) is int:
            return Sequence(tuple(ctx.unpacked(items, node)) * count.value)
    return None


def _arithmetic(ctx: Context, name: str, x: Abstract, y: Abstract) -> Abstract:
    b = ctx.builder
    if name in ("mod", "floordiv") and any(e.dtype in ("f32", "f64") for v in (x, y) for e in entries_of(v)):
        quotient = matrices.elementwise(b, "floor", matrices.elementwise(b, "div", x, y))
        if name == "floordiv":
            return quotient
        return matrices.elementwise(b, "sub", x, matrices.elementwise(b, "mul", y, quotient))
    return matrices.elementwise(b, name, x, y)


def _shifted_time(name: str, left: Abstract, right: Abstract) -> TimeIndex | None:
    for time, other in ((left, right), (right, left)):
        if isinstance(time, TimeIndex) and isinstance(other, Object) and type(other.value) is int:
            if name == "add":
                return TimeIndex(time.offset + other.value)
            if name == "sub" and time is left:
                return TimeIndex(time.offset - other.value)
    return None


def unary(ctx: Context, node: ast.AST, op: ast.unaryop, value: Abstract) -> Abstract:
    """Apply an operator of one operand.

    Raises:
        TraceError: The operand does not fit the operator.
    """
    try:
        if isinstance(value, Object) and not _vectors(value):
            return Object(UNARY[type(op)](value.value))
        operand = ctx.runtime(value, node)
        if isinstance(op, ast.UAdd):
            return operand
        if isinstance(op, ast.Invert) and all(e.dtype == "u1" for e in entries_of(operand)):
            return matrices.elementwise(ctx.builder, "not", operand)  # as Taichi and NumPy have it
        if isinstance(op, ast.Invert):
            ones = ctx.builder.const(-1, entries_of(operand)[0].dtype)
            return matrices.elementwise(ctx.builder, "bit_xor", operand, ones)
        return matrices.elementwise(ctx.builder, "neg" if isinstance(op, ast.USub) else "not", operand)
    except (TypeError, ValueError) as error:
        ctx.error(node, f"{ctx.text(node)} must be computable, got {error}", rule="SHAPE")


def compare(ctx: Context, node: ast.AST, op: ast.cmpop, left: Abstract, right: Abstract) -> Abstract:
    """Apply one comparison.

    Raises:
        TraceError: It is one of identity or membership, between values that are not known yet.
    """
    name, python = COMPARE[type(op)]
    if isinstance(left, Object) and isinstance(right, Object):
        return Object(bool(python(left.value, right.value)))
    if name in ("is", "is not") and any(isinstance(v, Object) and v.value is None for v in (left, right)):
        return Object(name == "is not")  # what a kernel computes is never None
    if " " in name or name in ("is", "in"):
        ctx.error(
            node,
            f"`{name}` must compare what is known when the kernel compiles, got {ctx.text(node)}",
            rule="PYTHON",
        )
    return matrices.elementwise(ctx.builder, name, ctx.runtime(left, node), ctx.runtime(right, node))


def either(b: Builder, is_and: bool, first: Operand, second: Operand, block: Block) -> Operand:
    """Combine two numbers by `and` or `or`; `block` computes the second, which the first may guard."""
    conditions = first.dtype == second.dtype == "u1"
    if not any(isinstance(op, Load) for op in walk(block)):
        b.block.ops += block.ops
        if conditions:
            return b.op("and" if is_and else "or", first, second)
        return b.op("select", first, *((second, first) if is_and else (first, second)))
    common = common_type(first.dtype, second.dtype)
    known = Block(yields=[b.const(not is_and) if conditions else b.cast(first, common)])
    with b.inside(block):  # what the first part guards must not be read where it fails
        block.yields = [b.cast(second, common)]
    return b.branch(b.truth(first), *((block, known) if is_and else (known, block)))[0]


def _vectors(*values: Object) -> bool:
    return any(
        isinstance(v.value, list | tuple | np.ndarray) or _taichi.is_a(v.value, "Matrix") for v in values
    )
