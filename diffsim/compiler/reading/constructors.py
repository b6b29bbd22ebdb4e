"""Calls in kernels that make vectors and matrices or convert them to another scalar type."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable
from functools import reduce
from typing import Any

from diffsim import _taichi
from diffsim.compiler.builder import common_type
from diffsim.compiler.ir import Operand, is_float
from diffsim.compiler.reading import matrices
from diffsim.compiler.reading.context import Context
from diffsim.compiler.reading.values import Abstract, Matrix, Object, entries_of, like
from diffsim.language.types import ElementType, real

__all__ = [
    "Evaluate",
    "arguments_of",
    "assembled",
    "cast",
    "construct",
    "dtype_argument",
    "filled",
    "named_arguments",
    "named_dtype",
    "vector",
]

Evaluate = Callable[[Context, ast.expr], Abstract]


def arguments_of(ctx: Context, node: ast.Call, evaluate: Evaluate) -> list[Abstract]:
    """Evaluate the arguments of a call that are given by position."""
    arguments: list[Abstract] = []
    for argument in node.args:
        if isinstance(argument, ast.Starred):
            arguments += ctx.unpacked(evaluate(ctx, argument.value), argument)
        else:
            arguments.append(evaluate(ctx, argument))
    return arguments


def construct(ctx: Context, node: ast.Call, obj: Any, evaluate: Evaluate) -> Abstract:
    """Evaluate `ds.vec2(x, y)`, `ti.math.vec3(v, 1.0)`, `ti.types.matrix(2, 2, ti.f32)(...)`."""
    if isinstance(obj, ElementType):
        shape, dtype = obj.shape, ctx.builder.real
    else:
        shape = (obj.n,) if obj.ndim == 1 else (obj.n, obj.m)
        dtype = _taichi.dtype_name(obj.dtype) or ctx.builder.real
    entries: list[Operand] = []
    for argument in arguments_of(ctx, node, evaluate):
        entries += entries_of(ctx.runtime(argument, node))
    size = math.prod(shape)
    if len(entries) == 1:
        entries *= size
    if len(entries) != size:
        ctx.error(node, f"{ctx.text(node)} must get {size} components, got {len(entries)}", rule="SHAPE")
    scalars = tuple(ctx.builder.cast(e, dtype) for e in entries)
    return Matrix(scalars, shape) if shape else scalars[0]


def vector(ctx: Context, node: ast.Call, evaluate: Evaluate) -> Abstract:
    """Evaluate `ti.Vector([...], dt)` and `ti.Matrix([[...], ...], dt)`."""
    value = ctx.runtime(evaluate(ctx, node.args[0]), node)
    if not isinstance(value, Matrix) or not value.entries:
        ctx.error(node, f"{ctx.text(node)} must get a list of numbers or of rows", rule="SHAPE")
    if len(node.args) > 1 or node.keywords:
        return cast(ctx, node, value, dtype_argument(ctx, node, evaluate, 1))
    common = reduce(common_type, (e.dtype for e in value.entries))
    return Matrix(tuple(ctx.builder.cast(e, common) for e in value.entries), value.shape)


def filled(fill: Callable[[int, int], float]) -> Callable[[Context, ast.Call, Evaluate], Abstract]:
    """Return what evaluates `ti.Matrix.zero(dt, n, m)` and the like, from an entry's row and column."""

    def make(ctx: Context, node: ast.Call, evaluate: Evaluate) -> Abstract:
        identity = isinstance(node.func, ast.Attribute) and node.func.attr == "identity"
        given = named_arguments(ctx, node, evaluate, ("dt", "n"), () if identity else ("m",))
        dtype = named_dtype(ctx, node, given.pop("dt"))
        found = [a.value if isinstance(a, Object) else "" for a in given.values()]
        dims = tuple(n for n in found if isinstance(n, int) and n > 0)
        if not dims or len(dims) != len([n for n in found if n is not None]):
            ctx.error(
                node,
                f"{ctx.text(node)} must get a type and sizes known when the kernel compiles",
                rule="SHAPE",
            )
        shape = (dims[0], dims[0]) if identity else dims
        columns = shape[1] if len(shape) == 2 else 1
        entries = [fill(i, j) for i in range(shape[0]) for j in range(columns)]
        return Matrix(tuple(ctx.builder.cast(ctx.builder.const(float(x)), dtype) for x in entries), shape)

    return make


def assembled(by_rows: bool) -> Callable[[Context, ast.Call, Evaluate], Abstract]:
    """Return what evaluates `ti.Matrix.rows([...])`, or `ti.Matrix.cols([...])`."""

    def make(ctx: Context, node: ast.Call, evaluate: Evaluate) -> Abstract:
        value = ctx.runtime(evaluate(ctx, node.args[0]), node)
        if not isinstance(value, Matrix) or len(value.shape) != 2:
            ctx.error(node, f"{ctx.text(node)} must get a list of vectors", rule="SHAPE")
        return value if by_rows else matrices.transpose(ctx.builder, value)

    return make


def dtype_argument(ctx: Context, node: ast.Call, evaluate: Evaluate, position: int) -> str:
    """Return the scalar type that a call names by keyword or at a position.

    Raises:
        TraceError: It names none.
    """
    named: list[ast.expr] = [k.value for k in node.keywords if k.arg in ("dt", "dtype")]
    given = named or node.args[position : position + 1]
    return named_dtype(ctx, node, evaluate(ctx, given[0]) if given else Object(None))


def named_dtype(ctx: Context, node: ast.Call, value: Abstract) -> str:
    """Return our name of the scalar type that an argument of a call is.

    Raises:
        TraceError: It is none.
    """
    if isinstance(value, Object) and value.value == real:
        return ctx.builder.real
    dtype = _taichi.dtype_name(value.value) if isinstance(value, Object) else None
    if dtype is None:
        ctx.error(
            node,
            f"{ctx.text(node)} must name a scalar type, as in ti.cast(x, ti.f32); known are ds.real and "
            f"{', '.join(_taichi.DTYPES)}",
            rule="SHAPE",
        )
    return dtype


def named_arguments(
    ctx: Context, node: ast.Call, evaluate: Evaluate, names: tuple[str, ...], more: tuple[str, ...] = ()
) -> dict[str, Abstract]:
    """Return the arguments of a call by name, however they were given.

    Args:
        ctx: The state of lowering.
        node: The call.
        evaluate: Evaluates an expression.
        names: The parameters, in order.
        more: Further ones that may be left out.

    Raises:
        TraceError: One is missing, or there are others.
    """
    every = (*names, *more)
    given = dict(zip(every, arguments := arguments_of(ctx, node, evaluate), strict=False))
    twice = {k.arg for k in node.keywords if k.arg in given}
    given |= {k.arg: evaluate(ctx, k.value) for k in node.keywords if k.arg}
    if len(arguments) > len(every) or twice or not set(names) <= set(given) <= set(every):
        wanted = ", ".join([*names, *(f"{name} (optional)" for name in more)])
        ctx.error(node, f"{ctx.text(node)} must get the argument(s) {wanted}, got others", rule="SHAPE")
    return given


def cast(ctx: Context, node: ast.Call, value: Abstract, dtype: str) -> Abstract:
    """Convert a number, vector or matrix to another scalar type."""
    if isinstance(value, Object) and isinstance(value.value, int | float):
        if dtype in ("i32", ctx.builder.real):
            return Object(float(value.value) if dtype.startswith("f") else int(value.value))
        return ctx.builder.const(value.value, dtype)
    value = ctx.runtime(value, node)
    if not is_float(dtype) and ctx.frame.source.allows(node, "CUT"):
        value = like(
            value, [ctx.builder.op("stop", e) if is_float(e.dtype) else e for e in entries_of(value)]
        )
    outer, ctx.builder.where = ctx.builder.where, ctx.at(node)
    value = like(value, [ctx.builder.cast(e, dtype) for e in entries_of(value)])
    ctx.builder.where = outer
    return value
