"""Methods of vectors, matrices and structs in kernels, bound (`v.norm()`) and not (`ti.Vector.norm(v)`)."""

from __future__ import annotations

import ast
from collections.abc import Callable

from diffsim import _taichi
from diffsim.compiler.ir import Const, Value
from diffsim.compiler.reading import algebra, matrices
from diffsim.compiler.reading.constructors import Evaluate, arguments_of, cast, dtype_argument
from diffsim.compiler.reading.context import Context
from diffsim.compiler.reading.records import method_of
from diffsim.compiler.reading.values import Abstract, Matrix, Object, Record

__all__ = ["UNBOUND", "method_call", "unbound"]

ti = _taichi.ti

UNBOUND = {
    id(getattr(owner, name)): name
    for owner in (ti.Vector, ti.Matrix)
    for name in (*matrices.METHODS, "cast", "get_shape")
    if hasattr(owner, name)
}


def method_call(ctx: Context, node: ast.Call, evaluate: Evaluate) -> Abstract | None:
    """Evaluate `v.norm()` and the like; None where the base is not a vector, a number or a struct.

    Raises:
        TraceError: It has no such method, or the arguments do not fit.
    """
    assert isinstance(node.func, ast.Attribute)  # noqa: S101  (the caller checked)
    base = evaluate(ctx, node.func.value)
    if isinstance(base, Object) and _taichi.is_a(base.value, "Matrix"):
        base = ctx.runtime(base, node)
    name = node.func.attr
    if isinstance(base, Value | Const) and name == "cast":
        return cast(ctx, node, base, dtype_argument(ctx, node, evaluate, 0))
    if isinstance(base, Record):
        return _struct_method(ctx, node, evaluate, base, name)
    if not isinstance(base, Matrix):
        return None
    if name == "cast":
        return cast(ctx, node, base, dtype_argument(ctx, node, evaluate, 0))
    return _applied(ctx, node, base, name, arguments_of(ctx, node, evaluate), evaluate)


def unbound(name: str) -> Callable[[Context, ast.Call, Evaluate], Abstract]:
    """Return what evaluates `ti.Vector.name(v, ...)`."""

    def call(ctx: Context, node: ast.Call, evaluate: Evaluate) -> Abstract:
        if name == "cast":
            return cast(ctx, node, evaluate(ctx, node.args[0]), dtype_argument(ctx, node, evaluate, 1))
        base, *arguments = arguments_of(ctx, node, evaluate)
        vector = ctx.runtime(base, node)
        if not isinstance(vector, Matrix):
            ctx.error(
                node, f"{ctx.text(node)} must get a vector or a matrix first, got a number", rule="SHAPE"
            )
        return _applied(ctx, node, vector, name, arguments, evaluate)

    return call


def _applied(
    ctx: Context, node: ast.Call, base: Matrix, name: str, given: list[Abstract], evaluate: Evaluate
) -> Abstract:
    if name == "get_shape":
        return Object(base.shape)
    method = matrices.METHODS.get(name)
    if method is None:
        ctx.error(
            node,
            f"vectors have no method {name!r} that can be differentiated; known are "
            f"{', '.join(sorted(matrices.METHODS))}",
            rule="FUNCTION",
        )
    arguments = [ctx.runtime(a, node) for a in given]
    arguments += [ctx.runtime(evaluate(ctx, k.value), node) for k in node.keywords]
    try:
        if name in algebra.METHODS and not ctx.given:
            return algebra.METHODS[name](ctx, node, base, *arguments)
        return method(ctx.builder, base, *arguments)
    except (ValueError, TypeError) as error:
        ctx.error(node, f"{ctx.text(node)} must get arguments that fit: {error}", rule="SHAPE")


def _struct_method(ctx: Context, node: ast.Call, evaluate: Evaluate, base: Record, name: str) -> Abstract:
    function = method_of(base, name)
    if function is None:
        ctx.error(node, f"a struct must have the method {name}, got {ctx.text(node)}", rule="FUNCTION")
    keywords = {k.arg: evaluate(ctx, k.value) for k in node.keywords if k.arg}
    return ctx.call(ctx, node, function, None, [base, *arguments_of(ctx, node, evaluate)], keywords, {})
