"""Taichi's structs in kernels: local values with named parts and methods."""

from __future__ import annotations

import ast
from typing import Any

from diffsim import _taichi
from diffsim.compiler.ir import Const, Operand
from diffsim.compiler.reading.constructors import Evaluate, arguments_of
from diffsim.compiler.reading.context import Context
from diffsim.compiler.reading.values import Abstract, Matrix, Object, Record, Variable, entries_of, like

__all__ = ["construct_record", "element_of", "method_of", "part_of", "refuse_element", "with_part"]

_CELL = "(cell)"  # a name that no kernel can use


def construct_record(ctx: Context, node: ast.Call, kind: Any, evaluate: Evaluate) -> Record:
    """Evaluate `Ball(r=1.0, v=...)` for a struct type; parts that are left out are zero.

    Raises:
        TraceError: An argument is not a part of the struct, or does not fit it.
    """
    members = _taichi.struct_members(kind)
    given = dict(zip(members, arguments_of(ctx, node, evaluate), strict=False))
    if len(node.args) > len(members):
        ctx.error(
            node, f"{ctx.text(node)} must get {len(members)} part(s), got {len(node.args)}", rule="SHAPE"
        )
    for keyword in node.keywords:
        if keyword.arg not in members or keyword.arg in given:
            ctx.error(
                node,
                f"{ctx.text(node)} must name each part once, of {', '.join(members)}, got {keyword.arg}",
                rule="SHAPE",
            )
        given[keyword.arg] = evaluate(ctx, keyword.value)
    items = tuple(_part(ctx, node, name, kind, given.get(name)) for name, kind in members.items())
    return Record(kind, tuple(members), items)


def _part(ctx: Context, node: ast.AST, name: str, kind: Any, value: Abstract | None) -> Abstract:
    """Convert a value to the type of a part."""
    if _taichi.struct_members(kind):
        if value is None:
            members = _taichi.struct_members(kind)
            items = tuple(_part(ctx, node, n, k, None) for n, k in members.items())
            return Record(kind, tuple(members), items)
        if not isinstance(value, Record) or value.kind is not kind:
            ctx.error(node, f"part {name} must be a struct of its type in {ctx.text(node)}", rule="SHAPE")
        return value
    matrix = _taichi.is_vector_type(kind)
    shape = ((kind.n,) if kind.ndim == 1 else (kind.n, kind.m)) if matrix else ()
    dtype = _taichi.dtype_name(kind.dtype if matrix else kind) or ctx.builder.real
    size = 1
    for n in shape:
        size *= n
    entries: tuple[Operand, ...] = (Const(0, "i32"),) * size
    if value is not None:
        entries = entries_of(ctx.runtime(value, node))
    if len(entries) != size:
        ctx.error(node, f"part {name} must have {size} component(s), got {len(entries)}", rule="SHAPE")
    scalars = tuple(ctx.builder.cast(e, dtype) for e in entries)
    return Matrix(scalars, shape) if shape else scalars[0]


def method_of(base: Record, name: str) -> Any:
    """Return the Python function of a struct's method, or None."""
    found = _taichi.struct_methods(base.kind).get(name)
    function = _taichi.taichi_function(found) if found is not None else None
    return function[0] if function is not None else None


def with_part(ctx: Context, node: ast.AST, base: Record, name: str, value: Abstract) -> Record:
    """Return a struct with another value for one of its parts, converted to the type of the old one."""
    if name not in base.names:
        ctx.error(node, f"a struct must have the part {name}, got {', '.join(base.names)}", rule="SHAPE")
    position = base.names.index(name)
    old = base.items[position]
    new = value if isinstance(value, Object) else ctx.runtime(value, node)
    entries = entries_of(ctx.runtime(new, node))
    scalars = entries_of(old)
    entries = entries * len(scalars) if len(entries) == 1 else entries
    if len(entries) != len(scalars):
        ctx.error(
            node, f"part {name} must have {len(scalars)} component(s), got {len(entries)}", rule="SHAPE"
        )
    fitted = like(old, [ctx.builder.cast(e, s.dtype) for e, s in zip(entries, scalars, strict=True)])
    return Record(base.kind, base.names, (*base.items[:position], fitted, *base.items[position + 1 :]))


# ---- elements of Taichi's fields of structs ----


def part_of(
    ctx: Context, node: ast.Attribute, inner: ast.Subscript, evaluate: Evaluate
) -> ast.Subscript | None:
    """Return `balls.mass[i]` for `balls[i].mass`, where `balls` is a field of structs; None for others."""
    if not isinstance(inner.value, ast.Name | ast.Attribute):
        return None
    base = evaluate(ctx, inner.value)
    field = base.value if isinstance(base, Object) else None
    if not _taichi.is_a(field, "StructField") or node.attr not in field.field_dict:
        return None
    return _part_at(inner, node.attr, inner.slice)


def element_of(ctx: Context, node: ast.Subscript, field: Any, evaluate: Evaluate) -> Record:
    """Evaluate `balls[i]`, an element of a field of structs: a struct of what its parts hold."""
    at = node.slice
    if any(isinstance(inner, ast.Call) for inner in ast.walk(at)):  # which may do something, once
        ctx.frame.variables[_CELL] = Variable(evaluate(ctx, at))
        at = ast.copy_location(ast.Name(_CELL, ast.Load()), at)
    names = tuple(field.field_dict)
    return Record(field, names, tuple(evaluate(ctx, _part_at(node, name, at)) for name in names))


def refuse_element(ctx: Context, target: ast.Subscript, node: ast.AST, evaluate: Evaluate) -> None:
    """Refuse to assign an element of a field of structs.

    Raises:
        TraceError: The target is one.
    """
    base = evaluate(ctx, target.value)
    if isinstance(base, Object) and _taichi.is_a(base.value, "StructField"):
        ctx.error(
            node,
            f"{ctx.text(node)} must go into declared fields, got an element of a Taichi field of structs, "
            "made by hand; declare a ds.State or ds.Scratch for each part",
            rule="READ-ONLY",
        )


def _part_at(node: ast.Subscript, name: str, at: ast.expr) -> ast.Subscript:
    part = ast.copy_location(ast.Attribute(node.value, name, ast.Load()), node)
    return ast.copy_location(ast.Subscript(part, at, ast.Load()), node)
