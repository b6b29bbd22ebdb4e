"""Lowering assignments: to names, to components of local vectors, to places in memory."""

from __future__ import annotations

import ast
from typing import Any

from diffsim import _taichi
from diffsim.compiler.ir import Const, Value, is_float
from diffsim.compiler.reading import atomics, places, writes
from diffsim.compiler.reading.context import Context
from diffsim.compiler.reading.expressions import chosen_component, evaluate, known_object, place_of
from diffsim.compiler.reading.flow import RESULT
from diffsim.compiler.reading.operators import binary
from diffsim.compiler.reading.records import refuse_element, with_part
from diffsim.compiler.reading.values import (
    POISON,
    UNSET,
    Abstract,
    FieldPlace,
    Matrix,
    Object,
    Record,
    Sequence,
    Variable,
    entries_of,
    like,
)

__all__ = ["assign", "lower_annotated", "lower_assignment", "lower_augmented"]


def lower_assignment(ctx: Context, node: ast.Assign) -> None:
    """Lower `target = value`.

    Raises:
        TraceError: The target cannot be assigned, or the value does not fit it.
    """
    value = evaluate(ctx, node.value)
    is_static = _is_static(ctx, node.value)
    for target in node.targets:
        assign(ctx, target, value, node, is_static)


def _is_static(ctx: Context, node: ast.expr) -> bool:
    """Tell whether a value is written as `ti.static(...)`, which binds the name to a Python object."""
    return isinstance(node, ast.Call) and known_object(ctx, node.func) is _taichi.ti.static


def assign(ctx: Context, target: ast.expr, value: Abstract, node: ast.stmt, is_static: bool = False) -> None:
    """Assign a value to a name, a tuple of targets, or a place.

    Raises:
        TraceError: The target cannot be assigned, or the value does not fit it.
    """
    if isinstance(target, ast.Tuple | ast.List):
        items = ctx.unpacked(value, node)
        if len(items) != len(target.elts):
            ctx.error(
                node,
                f"{ctx.text(target)} must have as many names as values, got {len(items)} values",
                rule="SHAPE",
            )
        for element, item in zip(target.elts, items, strict=True):
            assign(ctx, element, item, node, is_static)
        return
    if isinstance(target, ast.Name):
        _assign_name(ctx, target.id, value, node, is_static)
        return
    place = place_of(ctx, target)
    if place is not None:
        writes.store(ctx, place, value, node)
        return
    chosen = chosen_component(ctx, target)
    if chosen is not None:
        writes.write_any(ctx, *chosen, value, node)
        return
    _assign_component(ctx, target, value, node)


def _assign_name(ctx: Context, name: str, value: Abstract, node: ast.stmt, is_static: bool) -> None:
    variables = ctx.frame.variables
    known = variables.get(name)
    if name.startswith(RESULT) and isinstance(value, Sequence) and ctx.depth:
        parts = tuple(ctx.runtime(item, node) for item in value.items)  # which `return` makes a tuple again
        value = Record(Sequence, tuple(map(str, range(len(parts)))), parts)
    if known is not None and known.current is POISON:
        return
    if known is not None and known.current is UNSET:
        _set_first(ctx, known, value, node)
        return
    if known is not None and known.dtypes is not None:
        known.current = _converted(ctx, known, value, node)
        return
    if known is not None and ctx.depth and not is_static:
        ctx.error(
            node,
            f"{name} must not be assigned in a loop or branch, got a name bound outside to a Python object "
            "or to an argument; use another name",
            rule="NAME",
        )
    number = isinstance(value, Object) and isinstance(value.value, bool | int | float)
    if (
        is_static
        or (isinstance(value, Object) and not number)
        or not isinstance(value, Object | Value | Const | Matrix | Record)
    ):
        variables[name] = Variable(value)
        return
    operand = ctx.runtime(value, node)
    if any(e.dtype == "u1" for e in entries_of(operand)) and number:
        operand = like(operand, [ctx.builder.cast(e, "i32") for e in entries_of(operand)])
    variables[name] = Variable(operand, tuple(e.dtype for e in entries_of(operand)))


def _set_first(ctx: Context, variable: Variable, value: Abstract, node: ast.stmt) -> None:
    """Give a variable that a loop is left with its first value, and with it its type."""
    if not ctx.depth and isinstance(value, Object | Sequence):
        variable.current = value
        return
    variable.current = ctx.runtime(value, node)
    variable.dtypes = tuple(e.dtype for e in entries_of(variable.current))


def _converted(ctx: Context, variable: Variable, value: Abstract, node: ast.stmt) -> Abstract:
    """Convert a value to the type of a variable, which its first assignment fixed."""
    operand = ctx.runtime(value, node)
    old, dtypes = variable.current, variable.dtypes
    assert dtypes is not None  # noqa: S101  (the caller checked)
    entries = entries_of(operand)
    if len(entries) == 1 and isinstance(old, Matrix):
        entries *= len(dtypes)
    if len(entries) != len(dtypes):
        ctx.error(
            node, f"a variable must keep its shape, got {ctx.text(node)}; use another name", rule="NAME"
        )
    for entry, dtype in zip(entries, dtypes, strict=True):
        if dtype == "u1" and entry.dtype != "u1" and not (isinstance(entry, Const) and entry.value in (0, 1)):
            ctx.error(
                node,
                f"a variable that starts as a condition must not be assigned a number, got {ctx.text(node)}, "
                "of which only its truth would be kept; start it with a number, as in int(a > b)",
                rule="NAME",
            )
        if is_float(entry.dtype) and not is_float(dtype):
            ctx.error(
                node,
                f"an integer variable must not be assigned a float, got {ctx.text(node)}, which would cut "
                "the value and its gradient; start it with a float (0.0), or cast with ti.cast(..., ti.i32)",
                rule="NAME",
            )
    return like(old, [ctx.builder.cast(e, d) for e, d in zip(entries, dtypes, strict=True)])


def _assign_component(ctx: Context, target: ast.expr, value: Abstract, node: ast.stmt) -> None:
    """Assign to `v[i]`, `m[i, j]`, `v.x` or `ball.v.x` of a local vector or struct."""
    if not isinstance(target, ast.Subscript | ast.Attribute):
        ctx.error(
            node, f"{ctx.text(target)} must be a name, a field element or a component of a local vector"
        )
    old = _local(ctx, target.value)
    if old is None and isinstance(target, ast.Subscript):
        refuse_element(ctx, target, node, evaluate)
    if old is None:
        ctx.error(
            node,
            f"{ctx.text(target)} must be a field element or a component of a local vector; kernels cannot "
            "set attributes or captured values",
        )
    if isinstance(old, Record) and isinstance(target, ast.Attribute):
        new: Abstract = with_part(ctx, node, old, target.attr, value)
    elif isinstance(old, Matrix):
        new = _with_components(ctx, target, old, ctx.runtime(value, node), node)
    else:
        ctx.error(node, f"{ctx.text(target)} must be a component", rule="SHAPE")
    if isinstance(target.value, ast.Name):
        variable = ctx.frame.variables[target.value.id]
        variable.current = _converted(ctx, variable, new, node)
    else:
        _assign_component(ctx, target.value, new, node)


def _local(ctx: Context, node: ast.expr) -> Abstract | None:
    """Return the value of a local variable, or of a part of one, that can be assigned to; None for others."""
    root = node
    while isinstance(root, ast.Attribute | ast.Subscript):
        root = root.value
    variable = ctx.frame.variables.get(root.id) if isinstance(root, ast.Name) else None
    if variable is None or variable.dtypes is None:
        return None
    value = evaluate(ctx, node)
    return value if isinstance(value, Matrix | Record) else None


def _with_components(
    ctx: Context, target: ast.Subscript | ast.Attribute, old: Matrix, given: Abstract, node: ast.stmt
) -> Matrix:
    """Return a vector or matrix with other values for some of its components."""
    entries = list(old.entries)
    if isinstance(target, ast.Attribute):
        picked = places.components_of(old.shape, target.attr)
        if picked is None:
            ctx.error(node, f"{ctx.text(target)} must be a component", rule="SHAPE")
        positions: list[Any] = list(picked)
    else:
        _, positions = places.pick(ctx, target, old.shape, evaluate(ctx, target.slice))
    if len(positions) == 1 and not isinstance(positions[0], int):
        new = ctx.number(given, node)
        for k, entry in enumerate(entries):
            hit = ctx.builder.op("eq", positions[0], ctx.builder.const(k))
            entries[k] = ctx.builder.op("select", hit, ctx.builder.cast(new, entry.dtype), entry)
    else:
        parts = entries_of(given)
        parts = parts * len(positions) if len(parts) == 1 else parts
        if len(parts) != len(positions):
            ctx.error(
                node,
                f"{ctx.text(target)} must get {len(positions)} component(s), got {len(parts)}",
                rule="SHAPE",
            )
        for position, part in zip(positions, parts, strict=True):
            entries[position] = part
    return Matrix(tuple(entries), old.shape)


def lower_annotated(ctx: Context, node: ast.AnnAssign) -> None:
    """Lower `name: type = value`, which casts the value.

    Raises:
        TraceError: There is no value, or it does not fit.
    """
    if node.value is None and isinstance(node.target, ast.Name) and node.target.id.startswith(RESULT):
        ctx.frame.variables.setdefault(node.target.id, Variable(UNSET))
        return
    if node.value is None:
        ctx.error(node, "a declaration must have a value")
    value = evaluate(ctx, node.value)
    kind = evaluate(ctx, node.annotation)
    dtype = _taichi.dtype_name(kind.value) if isinstance(kind, Object) else None
    if dtype is not None:
        operand = ctx.runtime(value, node)
        value = like(operand, [ctx.builder.cast(e, dtype) for e in entries_of(operand)])
    assign(ctx, node.target, value, node)


def lower_augmented(ctx: Context, node: ast.AugAssign) -> None:
    """Lower `target += value` and the like; sums in memory stay sums, whose gradient needs no old value.

    Raises:
        TraceError: The target cannot be assigned, or the value does not fit it.
    """
    place = place_of(ctx, node.target)
    value = evaluate(ctx, node.value)
    if place is not None and isinstance(node.op, ast.Add | ast.Sub):
        writes.accumulate(ctx, place, value, node, sign=1 if isinstance(node.op, ast.Add) else -1)
        return
    chosen = chosen_component(ctx, node.target) if place is None else None
    if chosen is not None and isinstance(node.op, ast.Add | ast.Sub):
        writes.write_any(ctx, *chosen, value, node, sign=1 if isinstance(node.op, ast.Add) else -1)
        return
    if place is not None and place.buffer.kind == "done":
        _set_done(ctx, place, value, node)
        return
    target = chosen if place is None else (place, None)
    if target is not None and type(node.op) in atomics.BITS:
        atomics.change(ctx, target, atomics.BITS[type(node.op)], value, node)
        return
    if place is not None:
        old = places.load(ctx, place, node)
        writes.store(ctx, place, binary(ctx, node, node.op, old, value), node)
        return
    old = evaluate(ctx, node.target)
    assign(ctx, node.target, binary(ctx, node, node.op, old, value), node)


def _set_done(ctx: Context, place: FieldPlace, value: Abstract, node: ast.AugAssign) -> None:
    """Lower `self.done[None] |= condition`, which is the same as setting it."""
    if not isinstance(node.op, ast.BitOr):
        ctx.error(
            node,
            f"self.done must be set, got {ctx.text(node)}; write self.done[None] = True, or |= a condition",
            rule="DONE",
        )
    writes.store(ctx, place, value, node)
