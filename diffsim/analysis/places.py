"""Subscripts and components: which scalars in memory or in a local variable an expression means."""

from __future__ import annotations

import ast
from collections.abc import Callable
from math import prod
from typing import Any

from diffsim import _taichi
from diffsim.analysis.context import Context
from diffsim.analysis.values import Abstract, FieldPlace, Matrix, Object, Sequence, TimeIndex
from diffsim.fields import Field
from diffsim.ir import Block, Buffer, Const, Operand, Ref, Value, is_float

__all__ = ["accumulate", "components_of", "field_place", "load", "pick", "store", "write_any"]

SWIZZLES = ({c: i for i, c in enumerate("xyzw")}, {c: i for i, c in enumerate("rgba")})
Evaluate = Callable[[Context, ast.expr], Abstract]


def field_place(ctx: Context, node: ast.Subscript, base: Any, evaluate: Evaluate) -> FieldPlace:
    """Resolve `field[...]` to an element of memory, checking the number, kind and time of its indices.

    Raises:
        TraceError: The indices do not fit the declaration.
    """
    indices = _index_list(ctx, node, evaluate)
    if isinstance(base, Field):
        buffer = ctx.buffers.by_field.get(id(base))
        if buffer is None:
            ctx.error(
                node,
                f"{ctx.text(node.value)} must be a field of the simulator or of one of its parts, got one "
                "that no attribute path from the simulator leads to; assign it to an attribute",
            )
        shape = base.type.shape
    else:
        buffer, shape = _external(ctx, node, base)
    time = None
    if buffer.timed:
        if not indices:
            ctx.error(node, f"{ctx.text(node.value)} must be indexed with the time first, as in [t, ...]")
        time = _time_of(ctx, node, base, indices.pop(0))
    scalars = [_integer(ctx, node, index) for index in indices]
    if len(scalars) != len(buffer.shape):
        axes = f"{len(buffer.shape)} index(es)" + (" after t" if buffer.timed else "")
        axes = "None" if not buffer.shape and not buffer.timed else axes
        label = base.label if isinstance(base, Field) else buffer.name
        ctx.error(node, f"{label} of shape {buffer.shape} must be indexed with {axes}, got {ctx.text(node)}")
    for index, n in zip(scalars, buffer.shape, strict=True):
        if isinstance(index, Const) and not 0 <= index.value < n:
            ctx.error(node, f"index must lie in 0 .. {n - 1}, got {index.value} in {ctx.text(node)}")
    return FieldPlace(buffer, tuple(scalars), time, shape, tuple(range(prod(shape))))


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


def _integer(ctx: Context, node: ast.AST, index: Abstract) -> Operand:
    operand = ctx.number(index, node)
    if is_float(operand.dtype):
        ctx.error(
            node,
            f"indices must be integers, got a float in {ctx.text(node)}; "
            "use ti.cast(..., ti.i32) or ti.floor",
        )
    return operand


def _time_of(ctx: Context, node: ast.Subscript, declared: Field, index: Abstract) -> int:
    if ctx.phase == "reset" and isinstance(index, Object) and isinstance(index.value, int):
        offset = int(index.value)
    elif isinstance(index, TimeIndex):
        offset = index.offset
    else:
        rule = "0 in reset" if ctx.phase == "reset" else "t, t + 1 or t - 1"
        ctx.error(
            node,
            f"the first index of {declared.label} must be {rule}, got {ctx.text(node)}; the library decides "
            "where time lives, so other steps are not readable",
        )
    _check_time(ctx, node, declared, offset)
    return offset


def _check_time(ctx: Context, node: ast.AST, declared: Field, offset: int) -> None:
    if declared.kind != "state":
        if ctx.phase == "terminal_cost" and declared.kind == "control":
            ctx.error(
                node,
                f"{declared.label} must not be read in terminal_cost, got {ctx.text(node)}; "
                "it has no value at the end",
            )
        if ctx.phase == "reset":
            ctx.error(
                node,
                f"{declared.label} must not be used in reset, got {ctx.text(node)}; "
                "only States live before step 0",
            )
        if offset != 0:
            ctx.error(
                node,
                f"{declared.label} must be indexed at t, got {ctx.text(node)}; it "
                "lives within one step: make it a State",
            )
        return
    oldest = 1 - getattr(declared, "history", 1)
    newest = 1 if ctx.phase in ("step", "running_cost") else 0
    if offset < oldest:
        ctx.error(
            node,
            f"{declared.label} must be read no further back than t - {-oldest}, got {ctx.text(node)}; "
            f"declare it with history={1 - offset}"
            if oldest
            else f"{declared.label} must not be read before t, got {ctx.text(node)}; "
            f"declare it with history={1 - offset}",
        )
    if offset > newest:
        ctx.error(
            node, f"{declared.label} must not be used after t + {newest} in {ctx.phase}, got {ctx.text(node)}"
        )


def _external(ctx: Context, node: ast.Subscript, base: Any) -> tuple[Buffer, tuple[int, ...]]:
    """Return the read-only buffer of a Taichi field that the user allocated."""
    ti = _taichi.ti
    shape: tuple[int, ...] = (base.n, base.m)[: base.ndim] if isinstance(base, ti.MatrixField) else ()
    dtype = _taichi.dtype_name(base.dtype)
    if dtype is None:
        ctx.error(node, f"{ctx.text(node.value)} must hold plain numbers, got {base.dtype}")
    buffer = ctx.buffers.add_external(base, ctx.text(node.value), tuple(base.shape), prod(shape), dtype)
    return buffer, shape


# ---- reading and writing ----


def load(ctx: Context, place: FieldPlace, node: ast.AST) -> Abstract:
    """Read a place."""
    buffer = place.buffer
    if buffer.kind == "cost":
        ctx.error(
            node,
            "the cost must only be added to (self.cost[None] += ...), got "
            "a read; keep partial sums in a Scratch",
        )
    ctx.builder.where = ctx.at(node)
    entries = tuple(ctx.builder.load(Ref(buffer, place.indices, c, place.time)) for c in place.components)
    return Matrix(entries, place.shape) if place.shape else entries[0]


def store(ctx: Context, place: FieldPlace, value: Abstract, node: ast.AST) -> None:
    """Overwrite a place.

    Raises:
        TraceError: The place may not be written, or the value's shape does not fit.
    """
    _check_writable(ctx, place, node)
    if place.buffer.kind == "cost":
        ctx.error(node, f"the cost must be added to, got {ctx.text(node)}; write self.cost[None] += ...")
    ctx.builder.where = ctx.at(node)
    for component, entry in zip(place.components, _fitted(ctx, place, value, node), strict=True):
        ctx.builder.store(Ref(place.buffer, place.indices, component, place.time), entry)


def accumulate(ctx: Context, place: FieldPlace, value: Abstract, node: ast.AST, sign: int = 1) -> None:
    """Add a value to a place, or subtract it.

    Raises:
        TraceError: The place may not be written, or the value's shape does not fit.
    """
    _check_writable(ctx, place, node)
    ctx.builder.where = ctx.at(node)
    for component, entry in zip(place.components, _fitted(ctx, place, value, node), strict=True):
        amount = entry if sign > 0 else ctx.builder.op("neg", entry)
        ctx.builder.accumulate(Ref(place.buffer, place.indices, component, place.time), amount)


def write_any(
    ctx: Context, place: FieldPlace, position: Operand, value: Abstract, node: ast.AST, sign: int = 0
) -> None:
    """Write a number to the component of a place that an index chooses while the kernel runs.

    Args:
        ctx: The state of lowering.
        place: The vector or matrix in memory.
        position: The component.
        value: The number.
        node: Where this stands.
        sign: 0 stores, 1 adds, -1 subtracts.
    """
    for k, component in enumerate(place.components):
        one = FieldPlace(place.buffer, place.indices, place.time, (), (component,))
        then = Block()
        with ctx.builder.inside(then):
            if sign:
                accumulate(ctx, one, value, node, sign)
            else:
                store(ctx, one, value, node)
        ctx.builder.branch(ctx.builder.op("eq", position, ctx.builder.const(k)), then, Block())


def _fitted(ctx: Context, place: FieldPlace, value: Abstract, node: ast.AST) -> tuple[Operand, ...]:
    value = ctx.runtime(value, node)
    if isinstance(value, Value | Const):
        return (value,) * len(place.components)
    if (
        isinstance(value, Matrix)
        and len(value.entries) == len(place.components)
        and _same(value.shape, place.shape)
    ):
        return value.entries
    shape = value.shape if isinstance(value, Matrix) else ()
    ctx.error(node, f"the value must have the shape of its target, {place.shape or 'a number'}, got {shape}")


def _same(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    return tuple(n for n in a if n != 1) == tuple(n for n in b if n != 1)


def _check_writable(ctx: Context, place: FieldPlace, node: ast.AST) -> None:
    buffer = place.buffer
    if buffer.kind == "external":
        ctx.error(
            node,
            f"{ctx.text(node)} must go into a declared field, got a field allocated by hand, which carries "
            "no gradient; declare it as ds.State or ds.Scratch",
        )
    label = buffer.source.label
    if buffer.kind in ("param", "control", "constant"):
        ctx.error(
            node, f"{label} must not be written by kernels, got {ctx.text(node)}; declare a State or Scratch"
        )
    if buffer.kind == "state" and ctx.phase in ("step", "running_cost") and place.time != 1:
        ctx.error(
            node,
            f"{label} must be written at t + 1 in a step, got {ctx.text(node)}; the value at t was read by "
            "others and its gradient would be lost",
        )
    if buffer.kind == "state" and ctx.phase in ("running_cost", "terminal_cost"):
        ctx.error(
            node, f"{label} must not be written in {ctx.phase}, got {ctx.text(node)}; move the kernel to step"
        )


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
        ctx.error(node, f"a value of shape {shape} must have {len(shape)} indices, got {ctx.text(node)}")
    if not all(isinstance(item, Object | Const) for item in items):
        linear: Operand = ctx.builder.const(0)
        for item, n in zip(items, shape, strict=True):
            linear = ctx.builder.op(
                "add", ctx.builder.op("mul", linear, ctx.builder.const(n)), ctx.number(item, node)
            )
        return (), [linear]
    axes = [_positions(ctx, node, item, n) for item, n in zip(items, shape, strict=True)]
    if len(shape) == 1:
        positions, kept = axes[0]
        return ((len(positions),) if kept else ()), list(positions)
    rows, keep_rows = axes[0]
    columns, keep_columns = axes[1]
    picked = tuple(len(p) for p, kept in ((rows, keep_rows), (columns, keep_columns)) if kept)
    return picked, [i * shape[1] + j for i in rows for j in columns]


def _positions(ctx: Context, node: ast.AST, item: Abstract, n: int) -> tuple[tuple[int, ...], bool]:
    if isinstance(item, Const) and not is_float(item.dtype):
        item = Object(int(item.value))
    if not isinstance(item, Object):
        ctx.error(
            node,
            "indices of a matrix must be known when the kernel compiles, "
            f"got {ctx.text(node)}; use ti.static",
        )
    if isinstance(item.value, slice):
        return tuple(range(n))[item.value], True
    if not isinstance(item.value, int) or not -n <= item.value < n:
        ctx.error(node, f"component index must lie in 0 .. {n - 1}, got {item.value!r} in {ctx.text(node)}")
    return (item.value % n,), False
