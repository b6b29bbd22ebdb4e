"""Which loops are unrolled though nobody said so: short ones whose index runs over a local vector or matrix.

A vector is its components, each a scalar of its own; an index that is known only when the kernel runs is a
choice among all of them, and a loop that stores by one carries all of them. Of `L[i, k]` in nested loops
over a small matrix nothing of that is left once they are written out, which takes less time to compile.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from math import prod

from diffsim import _taichi
from diffsim.compiler.ir import Const
from diffsim.compiler.reading.context import Context
from diffsim.compiler.reading.expressions import known_object
from diffsim.compiler.reading.values import Matrix

__all__ = ["Span", "spelled_out"]

Span = tuple[int, int, int]  # of one axis of a loop: the first index, how many there are, how far apart

_LONGEST = 16  # iterations of one axis
_SMALL = 4  # components of a vector that is chosen from quickly
_LITTLE, _MOST = 250, 4000  # operations to write out for such a vector, and for larger ones
_CALL = 20  # operations of a function that is inlined


def spelled_out(ctx: Context, node: ast.For, axes: Sequence[Span | None]) -> bool:
    """Tell whether a loop is to be unrolled.

    Args:
        ctx: The state of lowering.
        node: The loop.
        axes: What each axis runs over; None where that is known only when the kernel runs.
    """
    if any(axis is None or axis[1] > _LONGEST for axis in axes):
        return False
    names = [n.id for n in ast.walk(node.target) if isinstance(n, ast.Name)]
    size = max((_components(ctx, name) for name in _indexed(node)), default=0)
    if not size:
        return False
    highest = {name: max(a[0], a[0] + (a[1] - 1) * a[2]) for name, a in zip(names, axes, strict=False) if a}
    work = prod(axis[1] for axis in axes if axis) * _operations(ctx, node.body, highest)
    return work <= (_LITTLE if size <= _SMALL else _MOST)


def _indexed(node: ast.For) -> set[str]:
    """Return the names that a loop's index, or what it decides, is an index of."""
    known: set[str] | None = vars(node).get("indexed")
    if known is None:
        every = [n for statement in node.body for n in ast.walk(statement)]
        found = _followers(_names(node.target), every)
        subscripts = (n for n in every if isinstance(n, ast.Subscript) and isinstance(n.value, ast.Name))
        known = {s.value.id for s in subscripts if _mentions(s.slice, found)}  # type: ignore[attr-defined]
        vars(node)["indexed"] = known
    return known


def _followers(names: set[str], every: Sequence[ast.AST]) -> set[str]:
    """Return the names that a loop's index decides: of loops that it bounds, and what is made of it."""
    found, before = set(names), 0
    nodes = [n for n in every if isinstance(n, ast.For | ast.Assign)]
    while len(found) > before:
        before = len(found)
        for inner in nodes:
            if isinstance(inner, ast.For) and _mentions(inner.iter, found):
                found.update(_names(inner.target))
            elif isinstance(inner, ast.Assign) and _mentions(inner.value, found) and _whole(inner.value):
                found.update(name for target in inner.targets for name in _names(target))
    return found


def _names(target: ast.expr) -> set[str]:
    return {n.id for n in ast.walk(target) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}


def _mentions(node: ast.expr, names: set[str]) -> bool:
    return any(isinstance(n, ast.Name) and n.id in names for n in ast.walk(node))


def _whole(value: ast.expr) -> bool:
    """Tell whether a value is arithmetic of names and numbers, as an index is that is made of another."""
    plain = ast.BinOp | ast.UnaryOp | ast.Name | ast.Constant | ast.operator | ast.unaryop | ast.Load
    return all(isinstance(n, plain) for n in ast.walk(value))


def _components(ctx: Context, name: str) -> int:
    """Return how many components a local vector or matrix has; 0 for anything else."""
    variable = ctx.frame.variables.get(name)
    value = variable.current if variable is not None else None
    return len(value.entries) if isinstance(value, Matrix) else 0


def _operations(ctx: Context, body: Sequence[ast.stmt], highest: Mapping[str, int]) -> float:
    """Estimate the operations of statements once the loops in them are written out that may be."""
    total = 0.0
    for statement in body:
        if isinstance(statement, ast.For):
            last, trips = _trips(ctx, statement.iter, highest)
            names = [n.id for n in ast.walk(statement.target) if isinstance(n, ast.Name)]
            inner = {**highest, **dict.fromkeys(names, last)}
            total += 1 + trips * _operations(ctx, statement.body, inner)
        elif isinstance(statement, ast.If):
            total += (
                1 + _operations(ctx, statement.body, highest) + _operations(ctx, statement.orelse, highest)
            )
        else:
            every = list(ast.walk(statement))
            total += sum(isinstance(n, ast.BinOp | ast.UnaryOp | ast.Compare | ast.AugAssign) for n in every)
            total += sum(isinstance(n, ast.Subscript) and not isinstance(n.value, ast.Name) for n in every)
            calls = [known_object(ctx, n.func) for n in every if isinstance(n, ast.Call)]
            total += sum(1 if _taichi.taichi_function(f) is None else _CALL for f in calls)
    return total


def _trips(ctx: Context, iterable: ast.expr, highest: Mapping[str, int]) -> tuple[int, float]:
    """Return the largest index of an inner loop and how often it is written out: in a triangle, half."""
    obj = known_object(ctx, iterable.func) if isinstance(iterable, ast.Call) else None
    if obj is _taichi.ti.static and isinstance(iterable, ast.Call):
        return _trips(ctx, iterable.args[0], highest)
    if obj is not range or not isinstance(iterable, ast.Call):
        return 0, 1
    bounds = [_highest(ctx, a, highest) for a in iterable.args]
    first, last = (0, bounds[0]) if len(bounds) == 1 else (bounds[0], bounds[1])
    if first is None or last is None or len(bounds) > 2:
        return max((b for b in bounds if b is not None), default=0), max(1, *(b or 0 for b in bounds))
    part = 0.5 if any(_mentions(a, set(highest)) for a in iterable.args) else 1.0
    return last - 1, max(1.0, (last if part < 1.0 else last - first) * part)


def _highest(ctx: Context, node: ast.expr, highest: Mapping[str, int]) -> int | None:
    """Return the largest value of a bound, None where it is known only when the kernel runs."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return node.value
    if isinstance(node, ast.Name) and node.id in highest:
        return highest[node.id]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
        a, b = _highest(ctx, node.left, highest), _highest(ctx, node.right, highest)
        sign = 1 if isinstance(node.op, ast.Add) else -1
        return None if a is None or b is None else a + sign * b
    if isinstance(node, ast.Name):
        variable = ctx.frame.variables.get(node.id)
        if variable is not None and isinstance(variable.current, Const):
            return int(variable.current.value)
    obj = known_object(ctx, node)
    return obj if isinstance(obj, int) else None
