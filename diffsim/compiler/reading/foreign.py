"""Taichi fields that the user made by hand: what kernels may read of them, and which cells a loop visits.

Kernels read such a field where it lies, as it is at each run: values that Python changes between runs take
effect. What a declared field has and this one cannot have here is refused: writes, gradients, loops over the
active cells of a sparse field, indices that do not begin at zero.
"""

from __future__ import annotations

import ast
from math import prod
from typing import Any, NoReturn

from diffsim import _taichi
from diffsim.compiler.ir import Buffer
from diffsim.compiler.reading.constructors import Evaluate
from diffsim.compiler.reading.context import Context
from diffsim.compiler.reading.values import Abstract

__all__ = ["SPARSE_FUNCTIONS", "foreign_axes", "foreign_place", "sparse_call"]

ti = _taichi.ti
SPARSE_FUNCTIONS = (
    ti.is_active,
    ti.activate,
    ti.deactivate,
    ti.append,
    ti.length,
    ti.rescale_index,
    ti.get_addr,
)


def foreign_place(ctx: Context, node: ast.Subscript, base: Any) -> tuple[Buffer, tuple[int, ...]]:
    """Return the read-only buffer of a Taichi field that the user made, and the shape of its elements.

    Raises:
        TraceError: The field is one that kernels cannot read rightly.
    """
    name = ctx.text(node.value)
    _check(ctx, node, name, base)
    shape: tuple[int, ...] = (base.n, base.m)[: base.ndim] if isinstance(base, ti.MatrixField) else ()
    dtype = _taichi.dtype_name(base.dtype)
    if dtype is None:
        ctx.error(node, f"{name} must hold plain numbers, got {base.dtype}", rule="PYTHON")
    if _taichi.outside_tables(base):
        ctx.error(
            node,
            f"{name} must be a dense field, got a sparse one made after more than a thousand others, which "
            "Taichi cannot read; copy it into a ds.Constant, or call ds.init() anew",
            rule="PYTHON",
        )
    return ctx.buffers.add_external(base, name, tuple(base.shape), prod(shape), dtype), shape


def foreign_axes(ctx: Context, node: ast.AST, name: str, base: Any) -> tuple[int, ...]:
    """Return the lengths of a loop over a Taichi field that the user made, one per axis.

    Raises:
        TraceError: Taichi would not visit all of its cells, or from zero on.
    """
    first = base
    while isinstance(first, ti.StructField):
        first = next(iter(first.field_dict.values()))
    sparse, shape = _facts(ctx, node, name, first)[0], tuple(first.shape)
    if sparse:
        ctx.error(
            node,
            f"a loop must visit every cell of a field, got `for ... in {name}`, a Taichi field under "
            f"{sparse}, of which Taichi visits the active cells only; loop over a list of their indices, "
            f"cells = ds.Constant(...), or over ti.ndrange{shape} for all cells",
            rule="CONTROL-FLOW",
        )
    _check_offset(ctx, node, name, first)
    return shape


def _check(ctx: Context, node: ast.AST, name: str, base: Any) -> None:
    if isinstance(base, ti.StructField):
        part = next(iter(base.field_dict))
        ctx.error(
            node,
            f"{name} must be read part by part, got an element of a field of structs; write "
            f"{name}.{part}[...], or declare a ds.Constant for each part",
            rule="PYTHON",
        )
    _check_offset(ctx, node, name, base)
    if _facts(ctx, node, name, base)[2]:
        ctx.error(
            node,
            f"{name} must be a declared field to have a gradient, got a Taichi field with needs_grad=True, "
            "whose gradient would stay zero; declare it as ds.Param(...), or make it without needs_grad",
            rule="PYTHON",
        )


def _check_offset(ctx: Context, node: ast.AST, name: str, base: Any) -> None:
    offset = _facts(ctx, node, name, base)[1]
    if any(offset):
        ctx.error(
            node,
            f"indices of {name} must begin at 0, got a Taichi field with offset={offset}; copy it into a "
            "ds.Constant, and subtract the offset from its indices",
            rule="INDEX",
        )


def _facts(ctx: Context, node: ast.AST, name: str, base: Any) -> tuple[str, tuple[int, ...], bool]:
    facts = _taichi.field_facts(base)
    if facts is None:
        ctx.error(
            node,
            f"{name} must have its place before a rollout is made, got a Taichi field without; give it a "
            "shape=, place it with ti.root, or declare it as ds.Constant(...)",
            rule="PYTHON",
        )
    return facts


def sparse_call(ctx: Context, node: ast.Call, evaluate: Evaluate) -> Abstract:
    """Refuse what asks for, or changes, the cells that a sparse field has.

    Raises:
        TraceError: Always.
    """
    _refuse_sparse(ctx, node)


def _refuse_sparse(ctx: Context, node: ast.Call) -> NoReturn:
    ctx.error(
        node,
        "kernels must not ask which cells of a Taichi field are active, or change that, got "
        f"{ctx.text(node)}; keep their indices, or a mask of zeros and ones, in a ds.Constant(...)",
        rule="FUNCTION",
    )
