"""Evaluating a kernel's expressions: what is known in Python is computed now, the rest becomes operations."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from diffsim import _taichi
from diffsim.compiler.builder import common_type
from diffsim.compiler.ir import Block, Const, Operand
from diffsim.compiler.reading import compound, hints, matrices, places
from diffsim.compiler.reading.atomics import ATOMICS, atomic_call
from diffsim.compiler.reading.calls import evaluate_call
from diffsim.compiler.reading.context import Context
from diffsim.compiler.reading.operators import binary, compare, either, listed, unary
from diffsim.compiler.reading.records import element_of, part_of
from diffsim.compiler.reading.values import (
    POISON,
    Abstract,
    AdjointOf,
    FieldPlace,
    Matrix,
    Object,
    Poisoned,
    Record,
    Sequence,
    entries_of,
    like,
    same_shape,
)
from diffsim.errors import TraceError
from diffsim.language.fields import Field
from diffsim.language.habits import missing_attribute

__all__ = ["chosen_component", "evaluate", "join", "known_object", "place_of"]


def evaluate(ctx: Context, node: ast.expr) -> Abstract:
    """Return what an expression means.

    Raises:
        TraceError: It uses something that kernels cannot, with its position.
    """
    handler = _HANDLERS.get(type(node))
    if handler is None:
        ctx.error(
            node,
            f"kernels must not use {type(node).__name__}, got {ctx.text(node)}; move it out of the kernel",
        )
    return handler(ctx, node)


def known_object(ctx: Context, node: ast.expr) -> Any:
    """Return the Python object that a name or a chain of attributes means, or None where it means none."""
    if isinstance(node, ast.Name):
        variable = ctx.frame.variables.get(node.id)
        value = (
            variable.current
            if variable is not None
            else Object(_taichi.at_home(ctx.frame.source.names.get(node.id)))
        )
        return value.value if isinstance(value, Object) else None
    if isinstance(node, ast.Attribute):
        return _taichi.at_home(getattr(known_object(ctx, node.value), node.attr, None))
    return None


def _constant(ctx: Context, node: ast.Constant) -> Abstract:
    return Object(node.value)


def _name(ctx: Context, node: ast.Name) -> Abstract:
    variable = ctx.frame.variables.get(node.id)
    if variable is not None:
        if variable.current is POISON:
            raise Poisoned
        return variable.current
    names = ctx.frame.source.names
    if node.id in names:
        value = names[node.id]
        owner, read = ctx.frame.source.reader(node.id)
        ctx.capture(node, owner, node.id, f"{node.id} of {ctx.frame.source.node.name}", value, read)
        return Object(_taichi.at_home(value))
    ctx.error(node, hints.undefined(ctx, node.id), rule="NAME")


def _attribute(ctx: Context, node: ast.Attribute) -> Abstract:
    place = place_of(ctx, node)
    if place is not None:
        return places.load(ctx, place, node)
    base = evaluate(ctx, node.value)
    if isinstance(base, Object) and isinstance(base.value, Field) and node.attr == "grad":
        return Object(AdjointOf(base.value))
    if isinstance(base, Object):
        try:
            value = getattr(base.value, node.attr)
            label = f"{getattr(base.value, '__name__', type(base.value).__name__)}.{node.attr}"
            ctx.capture(node, base.value, node.attr, label, value, operator.attrgetter(node.attr))
            return Object(_taichi.at_home(value))
        except AttributeError:
            ctx.error(node, missing_attribute(base.value, node.attr, ctx.text(node.value)), rule="PYTHON")
    if isinstance(base, Record) and node.attr in base.names:
        return base.items[base.names.index(node.attr)]
    if isinstance(base, Matrix):
        if node.attr in matrices.PROPERTIES:
            return Object(matrices.PROPERTIES[node.attr](base))
        picked = places.components_of(base.shape, node.attr)
        if picked is not None:
            return _taken(base, picked)
    ctx.error(node, hints.no_part(ctx, node, base), rule="SHAPE")


def _taken(base: Matrix, picked: tuple[int, ...]) -> Abstract:
    entries = tuple(base.entries[k] for k in picked)
    return entries[0] if len(entries) == 1 else Matrix(entries, (len(entries),))


def place_of(ctx: Context, node: ast.expr) -> FieldPlace | None:
    """Return the place in memory that an expression means (`x[t, i]`, `x[t, i][0]`, `x[t, i].x`), or None."""
    if isinstance(node, ast.Subscript):
        inner = place_of(ctx, node.value) if isinstance(node.value, ast.Subscript) else None
        if inner is not None:
            shape, positions = places.pick(ctx, node, inner.shape, _static_index(ctx, node.slice))
            if not all(isinstance(p, int) for p in positions):
                return None
            return _component(inner, shape, positions)
        if not isinstance(node.value, ast.Name | ast.Attribute | ast.Subscript):
            return None
        base = evaluate(ctx, node.value)
        if isinstance(base, Object) and _taichi.is_a(base.value, "StructField"):
            return None
        if isinstance(base, Object) and _is_field(base.value):
            return places.field_place(ctx, node, base.value, evaluate)
        array = base.value if isinstance(base, Object) else None
        if isinstance(array, np.ndarray) and not _is_known(evaluate(ctx, node.slice)):
            made = ctx.buffers.array(array, ctx.text(node.value))
            return places.field_place(ctx, node, made, evaluate)
        return None
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Subscript):
        part = part_of(ctx, node, node.value, evaluate)
        if part is not None:
            return place_of(ctx, part)
        inner = place_of(ctx, node.value)
        picked = places.components_of(inner.shape, node.attr) if inner is not None else None
        if inner is not None and picked is not None:
            return _component(inner, () if len(picked) == 1 else (len(picked),), list(picked))
    return None


def _static_index(ctx: Context, node: ast.expr) -> Abstract:
    index = evaluate(ctx, node)
    return Object(int(index.value)) if isinstance(index, Const) and index.value >= 0 else index


def chosen_component(ctx: Context, node: ast.expr) -> tuple[FieldPlace, Operand] | None:
    """Return the place and component that `x[t, i][d]` means where `d` is known only when the kernel runs."""
    if not isinstance(node, ast.Subscript) or not isinstance(node.value, ast.Subscript):
        return None
    inner = place_of(ctx, node.value)
    if inner is None or not inner.shape:
        return None
    _, positions = places.pick(ctx, node, inner.shape, evaluate(ctx, node.slice))
    return None if isinstance(positions[0], int) else (inner, positions[0])


def _component(place: FieldPlace, shape: tuple[int, ...], positions: list[int]) -> FieldPlace:
    return dataclasses.replace(place, shape=shape, components=tuple(place.components[p] for p in positions))


def _is_known(index: Abstract) -> bool:
    items = index.items if isinstance(index, Sequence) else (index,)
    return all(isinstance(item, Object | Const) for item in items)


def _is_field(obj: Any) -> bool:
    return isinstance(obj, Field | AdjointOf) or _taichi.is_a(obj, "Field")


def _subscript(ctx: Context, node: ast.Subscript) -> Abstract:
    place = place_of(ctx, node)
    if place is not None:
        return places.load(ctx, place, node)
    base = evaluate(ctx, node.value)
    index = _static_index(ctx, node.slice)
    if isinstance(base, Sequence):
        if isinstance(index, Object) and isinstance(index.value, int):
            return base.items[index.value]
        ctx.error(
            node,
            f"a tuple must be indexed with a number known at compile time, got {ctx.text(node)}",
            rule="PYTHON",
        )
    if isinstance(base, Object) and _taichi.is_a(base.value, "StructField"):
        return element_of(ctx, node, base.value, evaluate)
    if isinstance(base, Object) and not _taichi.is_a(base.value, "Matrix"):
        return _python_item(ctx, node, base.value, index)
    base = ctx.runtime(base, node)
    if not isinstance(base, Matrix):
        ctx.error(
            node,
            f"{ctx.text(node.value)} must be a field or a vector to be indexed, got a number",
            rule="SHAPE",
        )
    shape, positions = places.pick(ctx, node, base.shape, index)
    if positions and not isinstance(positions[0], int):
        return _dynamic_entry(ctx, base, positions[0])
    entries = tuple(base.entries[p] for p in positions)
    return Matrix(entries, shape) if shape else entries[0]


def _dynamic_entry(ctx: Context, base: Matrix, index: Operand) -> Operand:
    """Select an entry of a local vector by an index known only when the kernel runs."""
    b = ctx.builder
    result = base.entries[-1]
    for k in reversed(range(len(base.entries) - 1)):
        result = b.op("select", b.op("eq", index, b.const(k)), base.entries[k], result)
    return result


def _python_item(ctx: Context, node: ast.Subscript, container: Any, index: Abstract) -> Abstract:
    if isinstance(index, Sequence) and all(isinstance(i, Object) for i in index.items):
        index = Object(tuple(i.value for i in index.items))  # type: ignore[union-attr]
    if not isinstance(index, Object):
        kind = type(container).__name__
        ctx.error(
            node,
            f"{ctx.text(node.value)} must be a field to be indexed while the kernel runs, got a Python "
            f"{kind}; declare it as ds.Constant(...)",
            rule="PYTHON",
        )
    try:
        value = container[index.value]
        read = operator.itemgetter(index.value)
        ctx.capture(node, container, repr(index.value), ctx.text(node), value, read)
        return Object(_taichi.at_home(value))
    except (TypeError, KeyError, IndexError) as error:
        ctx.error(
            node,
            f"{ctx.text(node)} must exist when the kernel compiles, got {type(error).__name__}: {error}",
            rule="PYTHON",
        )


def _sequence(ctx: Context, node: ast.Tuple | ast.List) -> Abstract:
    items: list[Abstract] = []
    for element in node.elts:
        if isinstance(element, ast.Starred):
            items += ctx.unpacked(evaluate(ctx, element.value), element)
        else:
            items.append(evaluate(ctx, element))
    known = [item.value for item in items if isinstance(item, Object)]
    if len(known) == len(items):
        return Object(tuple(known) if isinstance(node, ast.Tuple) else known)
    return Sequence(tuple(items))


def _slice(ctx: Context, node: ast.Slice) -> Abstract:
    bounds = []
    for part in (node.lower, node.upper, node.step):
        bound = Object(None) if part is None else _static_index(ctx, part)
        if not isinstance(bound, Object):
            ctx.error(node, "slices must have bounds known when the kernel compiles", rule="PYTHON")
        bounds.append(bound.value)
    return Object(slice(*bounds))


def _binop(ctx: Context, node: ast.BinOp) -> Abstract:
    chain = [node]  # a sum of many terms is deep on its left
    while isinstance(chain[-1].left, ast.BinOp):
        chain.append(chain[-1].left)
    value = evaluate(ctx, chain[-1].left)
    for part in reversed(chain):
        right = evaluate(ctx, part.right)
        joined = listed(ctx, part, value, right)
        value = binary(ctx, part, part.op, value, right) if joined is None else joined
    return value


def _unary(ctx: Context, node: ast.UnaryOp) -> Abstract:
    return unary(ctx, node, node.op, evaluate(ctx, node.operand))


def _boolop(ctx: Context, node: ast.BoolOp) -> Abstract:
    """Evaluate `and` and `or`, whose value is that of the part that decides, as in Python."""
    is_and = isinstance(node.op, ast.And)
    compound.refuse_inside(ctx, *node.values[1:])
    result: Abstract = Object(is_and)
    for part in node.values:
        if isinstance(result, Object | Const) and bool(result.value) != is_and:
            break
        block = Block()
        with ctx.builder.inside(block):
            value = evaluate(ctx, part)
            if not isinstance(value, Object) or not isinstance(result, Object):
                value = ctx.number(value, part)
        if isinstance(result, Object):
            ctx.builder.block.ops += block.ops
            result = value
        else:
            compound.refuse_writes(ctx, part, block)
            result = either(ctx.builder, is_and, ctx.number(result, part), ctx.number(value, part), block)
    return result


def _compare(ctx: Context, node: ast.Compare) -> Abstract:
    left = evaluate(ctx, node.left)
    result: Abstract | None = None
    for op, comparator in zip(node.ops, node.comparators, strict=True):
        right = evaluate(ctx, comparator)
        one = compare(ctx, node, op, left, right)
        if result is None:
            result = one
        else:
            x, y = ctx.runtime(result, node), ctx.runtime(one, node)
            result = matrices.elementwise(ctx.builder, "and", x, y)
        left = right
    assert result is not None  # noqa: S101  (a comparison has at least one operator)
    return result


def _ifexp(ctx: Context, node: ast.IfExp) -> Abstract:
    test = evaluate(ctx, node.test)
    if isinstance(test, Object):
        return evaluate(ctx, node.body if test.value else node.orelse)
    cond = ctx.builder.truth(ctx.number(test, node.test))
    if isinstance(cond, Const):  # it depends on the index of a loop that is unrolled
        return _known_side(ctx, *((node.body, node.orelse) if cond.value else (node.orelse, node.body)))
    compound.refuse_inside(ctx, node.body, node.orelse)
    then, orelse = Block(), Block()
    with ctx.deeper():
        with ctx.builder.inside(then):
            a = ctx.runtime(evaluate(ctx, node.body), node.body)
        with ctx.builder.inside(orelse):
            b = ctx.runtime(evaluate(ctx, node.orelse), node.orelse)
    compound.refuse_writes(ctx, node.body, then)
    compound.refuse_writes(ctx, node.orelse, orelse)
    if not same_shape(a, b):
        ctx.error(node, f"both sides of {ctx.text(node)} must have one shape", rule="SHAPE")
    if not then.ops and not orelse.ops:
        pairs = zip(entries_of(a), entries_of(b), strict=True)
        return like(a, [ctx.builder.op("select", cond, p, q) for p, q in pairs])
    join(ctx, then, entries_of(a), orelse, entries_of(b))
    return like(a, ctx.builder.branch(cond, then, orelse))


def _known_side(ctx: Context, taken: ast.expr, passed: ast.expr) -> Abstract:
    """Evaluate the side of a conditional expression that counts, in the type that both have together."""
    value = ctx.runtime(evaluate(ctx, taken), taken)
    other = value
    with contextlib.suppress(TraceError), ctx.builder.inside(Block()):  # which may mean nothing here
        other = ctx.runtime(evaluate(ctx, passed), passed)
    pairs = zip(entries_of(value), entries_of(other if same_shape(value, other) else value), strict=True)
    return like(value, [ctx.builder.cast(p, common_type(p.dtype, q.dtype)) for p, q in pairs])


def join(ctx: Context, then: Block, a: tuple[Operand, ...], orelse: Block, b: tuple[Operand, ...]) -> None:
    """Make two blocks yield scalars of common types."""
    for p, q in zip(a, b, strict=True):
        common = common_type(p.dtype, q.dtype)
        with ctx.builder.inside(then):
            then.yields.append(ctx.builder.cast(p, common))
        with ctx.builder.inside(orelse):
            orelse.yields.append(ctx.builder.cast(q, common))


def _call(ctx: Context, node: ast.Call) -> Abstract:
    fn = ATOMICS.get(id(known_object(ctx, node.func)))
    if fn is not None:
        return atomic_call(ctx, node, evaluate, (place_of, chosen_component), fn)
    return evaluate_call(ctx, node, evaluate)


_HANDLERS: dict[type[ast.AST], Callable[[Context, Any], Abstract]] = {
    ast.Constant: _constant,
    ast.Name: _name,
    ast.Attribute: _attribute,
    ast.Subscript: _subscript,
    ast.Tuple: _sequence,
    ast.List: _sequence,
    ast.Slice: _slice,
    ast.BinOp: _binop,
    ast.UnaryOp: _unary,
    ast.BoolOp: _boolop,
    ast.Compare: _compare,
    ast.IfExp: _ifexp,
    ast.ListComp: lambda ctx, node: compound.comprehension(ctx, node, evaluate),
    ast.GeneratorExp: lambda ctx, node: compound.comprehension(ctx, node, evaluate),
    ast.JoinedStr: lambda ctx, node: compound.formatted(ctx, node, evaluate),
    ast.Dict: lambda ctx, node: compound.known_dict(ctx, node, evaluate),
    ast.Lambda: compound.closure,
    ast.NamedExpr: lambda ctx, node: compound.walrus(ctx, node, evaluate),
    ast.Call: _call,
}
