"""Subscripts and components: which scalars in memory or in a local variable an expression means."""

from __future__ import annotations

import ast
from collections.abc import Callable
from math import prod
from typing import Any

from diffsim.compiler.ir import NEWEST, Buffer, Const, Operand, is_float
from diffsim.compiler.reading.context import Context
from diffsim.compiler.reading.ending import has_ended
from diffsim.compiler.reading.foreign import foreign_place
from diffsim.compiler.reading.hints import count_remedy, time_remedy
from diffsim.compiler.reading.quoting import indexed
from diffsim.compiler.reading.sparse import refuse_in_reset
from diffsim.compiler.reading.values import (
    Abstract,
    AdjointOf,
    FieldPlace,
    Matrix,
    Object,
    Sequence,
    TimeIndex,
)
from diffsim.language.fields import Field

__all__ = ["components_of", "field_place", "load", "pick"]

_CHOICES = 10_000  # of a kernel; each is an operation, and several of its adjoint
SWIZZLES = tuple({c: i for i, c in enumerate(names)} for names in ("xyzw", "rgba", "stpq"))
_LARGEST_ROW = 16  # numbers that are read as one vector or matrix
Evaluate = Callable[[Context, ast.expr], Abstract]


def field_place(ctx: Context, node: ast.Subscript, base: Any, evaluate: Evaluate) -> FieldPlace:
    """Resolve `field[...]` to an element of memory, checking the number, kind and time of its indices.

    Raises:
        TraceError: The indices do not fit the declaration.
    """
    indices = _index_list(ctx, node, evaluate)
    adjoint = isinstance(base, AdjointOf)
    base = base.field if isinstance(base, AdjointOf) else base
    if isinstance(base, Field):
        buffer = ctx.buffers.by_field.get(id(base))
        if buffer is None:
            ctx.error(
                node,
                f"{ctx.text(node.value)} must be a field of the simulator or of one of its parts, got one "
                "that no attribute path from the simulator leads to; assign it to an attribute in __init__",
                rule="PYTHON",
            )
        if buffer.kind == "workspace" and not ctx.grouped:
            ctx.error(
                node,
                f"{base.label} must be used only by kernels that a method with an adjoint of its own calls, "
                f"got {ctx.text(node)} in a kernel that is differentiated; declare a Scratch, or decorate an "
                "adjoint of that method with @ds.adjoint_of(...)",
                rule="WORKSPACE",
            )
        shape = base.type.shape
        if buffer.kind == "scratch" and ctx.in_reset:
            if base.sparse is not None:
                refuse_in_reset(ctx, node, base)
            buffer = ctx.buffers.before_steps(base)
        buffer = _adjoint_buffer(ctx, node, buffer) if adjoint else buffer
    else:
        buffer, shape = foreign_place(ctx, node, base)
    time, step, timed = None, [], buffer.timed or buffer.kind == "derived"
    first = indices[0] if indices else None
    if timed and _names_no_time(ctx, base, indices, buffer):
        time = _newest(ctx, node, base, adjoint)
    elif timed:
        if not indices:
            ctx.error(
                node,
                f"{ctx.text(node.value)} must be indexed with the time first, got {ctx.text(node)}; write "
                + indexed(ctx.text(node.value), len(buffer.shape), "t"),
                rule="TIME-INDEX",
            )
        step = [ctx.integer(indices.pop(0), node)] if buffer.kind == "control" else []
        time = None if step else _time_of(ctx, node, base, indices)
    first = first if time is None else None
    time = time if buffer.timed else None  # what is computed before step 0 is the same at all times
    scalars = [ctx.integer(index, node) for index in indices]
    last = () if timed else _rows(buffer, shape, len(scalars))
    if len(scalars) + len(last) != len(buffer.shape):
        axes = f"{len(buffer.shape)} index(es)" + (" after t" if timed else "")
        axes = "None" if not buffer.shape and not timed else axes
        label = base.label if isinstance(base, Field) else buffer.label
        ctx.error(
            node,
            f"{label} of shape {buffer.shape} must be indexed with {axes}, got {ctx.text(node)}; "
            + count_remedy(node, base, timed, first),
            rule="INDEX",
        )
    _check_inside(ctx, node, scalars, buffer.shape)
    meant = last or shape
    return FieldPlace(buffer, (*step, *scalars), time, meant, tuple(range(prod(meant))), last)


def _check_inside(ctx: Context, node: ast.Subscript, scalars: list[Operand], shape: tuple[int, ...]) -> None:
    """Refuse a literal index outside of its axis.

    Raises:
        TraceError: There is one.
    """
    for index, n in zip(scalars, shape, strict=False):
        if isinstance(index, Const) and not 0 <= index.value < n:
            ctx.error(
                node, f"index must lie in 0 .. {n - 1}, got {index.value} in {ctx.text(node)}", rule="INDEX"
            )


def _rows(buffer: Buffer, shape: tuple[int, ...], count: int) -> tuple[int, ...]:
    """Return the last axes of a field of numbers with too few indices, where they make a small vector.

    `triangles[i]` of a Constant of shape (m, 3) is a vector of three integers, as a row is in NumPy.
    """
    last = buffer.shape[count:]
    readable = buffer.kind in ("constant", "param", "external") and not shape
    return last if readable and 0 < len(last) <= 2 and prod(last) <= _LARGEST_ROW else ()


def _adjoint_buffer(ctx: Context, node: ast.Subscript, buffer: Buffer) -> Buffer:
    if not ctx.in_adjoint:
        ctx.error(
            node,
            f"{ctx.text(node.value)} must stay in adjoints of one's own, got a kernel that is "
            "differentiated; rollout.value_and_grad() returns gradients, and a kernel that computes adjoints "
            "itself is decorated with @ds.adjoint_of(...)",
            rule="ADJOINT",
        )
    if buffer.adjoint is None:
        ctx.error(
            node,
            f"{buffer.label} must be differentiable to have an adjoint, got {ctx.text(node)}",
            rule="ADJOINT",
        )
    return buffer.adjoint


def _index_list(ctx: Context, node: ast.Subscript, evaluate: Evaluate) -> list[Abstract]:
    index = evaluate(ctx, node.slice)
    items = list(index.items) if isinstance(index, Sequence) else [index]
    flat: list[Abstract] = []
    for item in items:
        if isinstance(item, Object) and item.value is None:
            continue
        if isinstance(item, Object) and isinstance(item.value, tuple | list):
            flat += [Object(x) for x in item.value]
        elif isinstance(item, Matrix):
            flat += item.entries
        else:
            flat.append(item)
    return flat


def _names_no_time(ctx: Context, declared: Field, indices: list[Abstract], buffer: Buffer) -> bool:
    """Tell whether a State or Scratch is indexed as a field of Taichi's own is, by its axes alone."""
    if declared.kind not in ("state", "scratch") or len(indices) != len(buffer.shape):
        return False
    return not any(isinstance(index, TimeIndex) for index in indices[:1])


def _newest(ctx: Context, node: ast.Subscript, declared: Field, adjoint: bool) -> int:
    """Return the time of an access that names none: the step's own, or what was written last."""
    if declared.kind == "scratch" or ctx.in_reset or ctx.phase == "terminal_cost":
        _check_time(ctx, node, declared, 0)
        return 0
    if adjoint or ctx.in_adjoint:
        ctx.error(
            node,
            f"{declared.label} must be indexed with the time in an adjoint of one's own, got "
            f"{ctx.text(node)}, which may mean t or t + 1; write "
            + indexed(ctx.text(node.value), len(declared.shape), "t"),
            rule="TIME-INDEX",
        )
    return NEWEST


def _time_of(ctx: Context, node: ast.Subscript, declared: Field, indices: list[Abstract]) -> int:
    """Take the time from the indices of a field."""
    index = indices.pop(0)
    if ctx.in_reset and isinstance(index, Object) and isinstance(index.value, int):
        offset = int(index.value)
    elif isinstance(index, TimeIndex):
        offset = index.offset
    else:
        rule = "0 in reset" if ctx.in_reset else "t, t + 1 or t - 1"
        ctx.error(
            node,
            f"the first index of {declared.label} must be {rule}, got {ctx.text(node)}; "
            + time_remedy(ctx, node, declared, index, len(indices)),
            rule="TIME-INDEX",
        )
    _check_time(ctx, node, declared, offset)
    return offset


def _check_in_reset(ctx: Context, node: ast.Subscript, declared: Field, offset: int) -> None:
    if offset > 0 or (offset and declared.kind == "scratch"):
        ctx.error(
            node,
            f"the first index of {declared.label} must be 0 in reset, got {ctx.text(node)}; write "
            + indexed(ctx.text(node.value), len(declared.shape), "0"),
            rule="TIME-INDEX",
        )


def _check_time(ctx: Context, node: ast.Subscript, declared: Field, offset: int) -> None:
    if ctx.in_reset:
        _check_in_reset(ctx, node, declared, offset)
    if declared.kind != "state":
        if offset != 0:
            ctx.error(
                node,
                f"{declared.label} must be indexed at t, got {ctx.text(node)}; "
                "it lives within one step: make it a State",
                rule="TIME-INDEX",
            )
        return
    oldest = 1 - getattr(declared, "history", 1)
    newest = 1 if ctx.phase in ("step", "running_cost", "adjoint") else 0
    if offset < oldest:
        ctx.error(
            node,
            f"{declared.label} must be read no further back than t - {-oldest}, got {ctx.text(node)}; "
            f"declare it with history={1 - offset}"
            if oldest
            else f"{declared.label} must not be read before t, got {ctx.text(node)}; "
            f"declare it with history={1 - offset}",
            rule="TIME-INDEX",
        )
    if offset > newest:
        ctx.error(
            node,
            f"{declared.label} must not be used after t + {newest} in {ctx.phase}, got {ctx.text(node)}",
            rule="TIME-INDEX",
        )


def load(ctx: Context, place: FieldPlace, node: ast.AST) -> Abstract:
    """Read a place."""
    buffer = place.buffer
    if buffer.kind == "cost" and buffer.is_adjoint:
        return ctx.builder.const(1.0, buffer.dtype)
    if buffer.kind == "cost":
        ctx.error(
            node,
            "the cost must only be added to (self.cost[None] += ...), got "
            "a read; keep partial sums in a Scratch",
            rule="COST",
        )
    if buffer.kind == "done":
        return has_ended(ctx, buffer, node)
    ctx.builder.where = ctx.at(node)
    entries = tuple(ctx.builder.load(ref) for ref in place.refs)
    return Matrix(entries, place.shape) if place.shape else entries[0]


# ---- components ----


def components_of(shape: tuple[int, ...], name: str) -> tuple[int, ...] | None:
    """Return the components that `.x`, `.xy`, `.rgb` ... mean for a vector, or None for another name."""
    for table in SWIZZLES:
        if len(shape) == 1 and name and all(c in table and table[c] < shape[0] for c in name):
            return tuple(table[c] for c in name)
    return None


def pick(
    ctx: Context, node: ast.Subscript, shape: tuple[int, ...], index: Abstract
) -> tuple[tuple[int, ...], list[Any]]:
    """Resolve `v[i]`, `m[i, j]` or `v[a:b]`: return the shape picked and the position of each component.

    A position is an int, or the operand of a dynamic index, which then stands alone.
    """
    items: tuple[Abstract, ...] = index.items if isinstance(index, Sequence) else (index,)
    if isinstance(index, Object) and isinstance(index.value, tuple):
        items = tuple(Object(item) for item in index.value)
    if len(items) == 1 and len(shape) == 2 and shape[1] == 1:
        items = (items[0], Object(0))
    if len(items) == 1 and len(shape) == 2:
        items = (items[0], Object(slice(None)))
    if len(items) != len(shape):
        ctx.error(
            node,
            f"a value of shape {shape} must have {len(shape)} indices, got {ctx.text(node)}",
            rule="INDEX",
        )
    if not all(isinstance(item, Object | Const) for item in items):
        _choose(ctx, node, prod(shape))
        linear: Operand = ctx.builder.const(0)
        ctx.builder.where = ctx.at(node)
        for item, n in zip(items, shape, strict=True):
            index = ctx.builder.op("inside", ctx.number(item, node), ctx.builder.const(n))
            linear = ctx.builder.op("add", ctx.builder.op("mul", linear, ctx.builder.const(n)), index)
        return (), [linear]
    axes = [_positions(ctx, node, item, n) for item, n in zip(items, shape, strict=True)]
    if len(shape) == 1:
        positions, kept = axes[0]
        return ((len(positions),) if kept else ()), list(positions)
    rows, keep_rows = axes[0]
    columns, keep_columns = axes[1]
    picked = tuple(len(p) for p, kept in ((rows, keep_rows), (columns, keep_columns)) if kept)
    return picked, [i * shape[1] + j for i in rows for j in columns]


def _choose(ctx: Context, node: ast.AST, size: int) -> None:
    """Count what an index chooses among that is known only when the kernel runs; refuse too much of it."""
    ctx.choices += size
    if ctx.choices > _CHOICES:
        ctx.error(
            node,
            f"indices that are known only when the kernel runs must choose among up to {_CHOICES} components "
            f"in all, got more at {ctx.text(node)}, one of {size}; keep the values in a ds.Scratch, or loop "
            "with ti.static around it",
            rule="TOO-LARGE",
        )


def _positions(ctx: Context, node: ast.AST, item: Abstract, n: int) -> tuple[tuple[int, ...], bool]:
    if isinstance(item, Const) and not is_float(item.dtype) and item.value >= 0:
        item = Object(int(item.value))
    if isinstance(item, Const):
        ctx.error(
            node,
            f"component index must lie in 0 .. {n - 1}, got {item.value} in {ctx.text(node)}",
            rule="INDEX",
        )
    if not isinstance(item, Object):
        ctx.error(
            node,
            "indices of a matrix must be known when the kernel compiles, "
            f"got {ctx.text(node)}; use ti.static",
            rule="PYTHON",
        )
    if isinstance(item.value, slice):
        return tuple(range(n))[item.value], True
    if not isinstance(item.value, int) or not -n <= item.value < n:
        ctx.error(
            node,
            f"component index must lie in 0 .. {n - 1}, got {item.value!r} in {ctx.text(node)}",
            rule="INDEX",
        )
    return (item.value % n,), False
