"""Calls in kernels that make iterables which are known when the kernel compiles."""

from __future__ import annotations

import ast
import itertools
from typing import Any

from diffsim.compiler.reading.constructors import Evaluate, arguments_of
from diffsim.compiler.reading.context import Context
from diffsim.compiler.reading.values import Abstract, Object, Ranges, Sequence

__all__ = ["enumerate_items", "ndrange_items", "range_items", "zip_items"]


def range_items(ctx: Context, node: ast.Call, evaluate: Evaluate) -> Abstract:
    """Evaluate `range(...)`, which a function may return for a loop where its bounds change."""
    given = arguments_of(ctx, node, evaluate)
    bounds: list[Any] = [a.value for a in given if isinstance(a, Object)]
    return Object(range(*bounds)) if len(bounds) == len(given) else Ranges(((*given,),))


def zip_items(ctx: Context, node: ast.Call, evaluate: Evaluate) -> Abstract:
    """Evaluate `zip(...)`."""
    columns = [ctx.unpacked(a, node) for a in arguments_of(ctx, node, evaluate)]
    return Sequence(tuple(Sequence(row) for row in zip(*columns, strict=False)))


def enumerate_items(ctx: Context, node: ast.Call, evaluate: Evaluate) -> Abstract:
    """Evaluate `enumerate(...)`."""
    items = ctx.unpacked(arguments_of(ctx, node, evaluate)[0], node)
    return Sequence(tuple(Sequence((Object(k), item)) for k, item in enumerate(items)))


def ndrange_items(ctx: Context, node: ast.Call, evaluate: Evaluate) -> Abstract:
    """Evaluate `ti.ndrange(...)`, inside `ti.static` or for a loop elsewhere."""
    ranges: list[range] = []
    given = arguments_of(ctx, node, evaluate)
    for argument in given:
        if isinstance(argument, Sequence) and all(isinstance(i, Object) for i in argument.items):
            bounds: list[Any] = [i.value for i in argument.items]  # type: ignore[union-attr]
            ranges.append(range(*bounds))
        elif isinstance(argument, Object):
            ranges.append(
                range(*argument.value) if isinstance(argument.value, tuple) else range(argument.value)
            )
        else:
            return Ranges(tuple(a.items if isinstance(a, Sequence) else (a,) for a in given))
    return Object(list(itertools.product(*ranges)))
