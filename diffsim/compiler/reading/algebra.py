"""Taichi's own linear algebra in kernels, given the adjoints of `diffsim.math`."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

from diffsim import _taichi
from diffsim.compiler.ir import Operand, Value
from diffsim.compiler.reading import matrices
from diffsim.compiler.reading.constructors import Evaluate, arguments_of
from diffsim.compiler.reading.context import Context
from diffsim.compiler.reading.values import Abstract, Matrix, Object, entries_of
from diffsim.math import eigen, linear, precision, svd, vector

__all__ = ["DECOMPOSITIONS", "METHODS", "decomposition", "replayed", "working_epsilon"]

ti = _taichi.ti

DECOMPOSITIONS: dict[int, dict[int, Any]] = {  # by the size of the matrix, as Taichi has them
    id(ti.svd): {2: svd.oriented_svd2, 3: svd.svd3},
    id(ti.polar_decompose): {2: svd.oriented_polar2, 3: svd.polar3},
    id(ti.sym_eig): {2: eigen.descending_eigh2, 3: eigen.eigh3},
    id(ti.eig): {2: eigen.eig2},
    id(ti.solve): {2: linear.solve, 3: linear.solve},
}


_BASES = {id(ti.svd): (0, 2), id(ti.sym_eig): (1,)}  # which results are singular vectors or eigenvectors


def decomposition(ctx: Context, node: ast.Call, evaluate: Evaluate, key: int) -> Abstract:
    """Evaluate `ti.svd(A)` and the like; a scalar type that they are told must be the working precision.

    Raises:
        TraceError: The matrix has a size, or the type is one, that there is no function for.
    """
    sizes = DECOMPOSITIONS[key]
    arguments = arguments_of(ctx, node, evaluate) + [evaluate(ctx, k.value) for k in node.keywords]
    wanted = 2 if key == id(ti.solve) else 1
    given, dtype = arguments[:wanted], [a.value for a in arguments[wanted:] if isinstance(a, Object)]
    matrix = ctx.runtime(given[0], node) if given else Object(None)
    if len(given) != wanted or not isinstance(matrix, Matrix) or len(set(matrix.shape)) != 1:
        ctx.error(node, f"{ctx.text(node)} must get a square matrix", rule="SHAPE")
    if len(matrix.shape) != 2 or matrix.shape[0] not in sizes:
        known = " or ".join(f"{n} x {n}" for n in sizes)
        ctx.error(node, f"{ctx.text(node)} must get a matrix of {known}, got {matrix.shape}", rule="SHAPE")
    if any(d is not None and _taichi.dtype_name(d) != ctx.builder.real for d in dtype):
        ctx.error(
            node,
            f"{ctx.text(node)} must compute in the working precision, {ctx.builder.real}; leave the type out",
            rule="SHAPE",
        )
    result = _called(ctx, node, sizes[matrix.shape[0]], [matrix, *given[1:]])
    for k in _BASES.get(key, ()):
        basis = ctx.unpacked(result, node)[k]
        ctx.bases.update(e for e in entries_of(basis) if isinstance(e, Value))
    return result


def _called(ctx: Context, node: ast.Call, function: Any, arguments: list[Abstract]) -> Abstract:
    known = _taichi.taichi_function(function)
    assert known is not None  # noqa: S101  (the tables of this module hold Taichi functions)
    return ctx.call(ctx, node, *known, arguments, {}, {})


# ---- methods of vectors and matrices ----


def _norm(ctx: Context, node: ast.Call, v: Matrix, eps: Operand | None = None) -> Abstract:
    return _called(ctx, node, vector.norm, [v, ctx.builder.const(0.0) if eps is None else eps])


def _normalized(ctx: Context, node: ast.Call, v: Matrix, eps: Operand | None = None) -> Abstract:
    b, length = ctx.builder, ctx.number(_norm(ctx, node, v), node)
    length = length if eps is None else b.op("add", length, eps)
    return matrices.elementwise(b, "mul", v, b.op("div", b.const(1.0, length.dtype), length))


def _norm_inv(ctx: Context, node: ast.Call, v: Matrix, eps: Operand | None = None) -> Abstract:
    length = ctx.number(_norm(ctx, node, v, eps), node)
    return ctx.builder.op("div", ctx.builder.const(1.0, length.dtype), length)


def _inverse(ctx: Context, node: ast.Call, A: Matrix) -> Abstract:
    return _called(ctx, node, linear.inverse, [A])


METHODS: dict[str, Callable[..., Abstract]] = {
    "norm": _norm,
    "normalized": _normalized,
    "norm_inv": _norm_inv,
    "inverse": _inverse,
}


# ---- what the functions of diffsim.math ask for ----


def working_epsilon(ctx: Context, node: ast.Call, evaluate: Evaluate) -> Abstract:
    """Evaluate `epsilon()`: the rounding error of the working precision."""
    return Object(precision.EPSILONS[ctx.builder.real])


def replayed(ctx: Context, node: ast.Call, evaluate: Evaluate) -> Abstract:
    """Evaluate `replayed(x, y)`: `x`, and `y` in a backward pass."""
    x, y = (ctx.runtime(a, node) for a in arguments_of(ctx, node, evaluate))
    return matrices.elementwise(ctx.builder, "replay", x, y)
