"""Quoting a kernel's source in messages, with the time as the step passes it."""

from __future__ import annotations

import ast
import copy
from collections.abc import Mapping

from diffsim.compiler.reading.values import TimeIndex, Variable

__all__ = ["indexed", "quoted"]

_LONGEST = 60


def quoted(node: ast.AST, variables: Mapping[str, Variable]) -> str:
    """Return the source of a node; names of the kernel's own for the time are put as the step's `t`.

    `self.x[s, i]`, called as `self.k(t + 1)`, is `self.x[t + 1, i] (s is the step's t + 1)`.
    """
    times = {
        name.id: variables[name.id].current.offset  # type: ignore[union-attr]
        for name in ast.walk(node)
        if isinstance(name, ast.Name)
        and isinstance(name.ctx, ast.Load)
        and name.id in variables
        and isinstance(variables[name.id].current, TimeIndex)
    }
    times = {name: offset for name, offset in sorted(times.items()) if (name, offset) != ("t", 0)}
    text = ast.unparse(_Renaming(times).visit(copy.deepcopy(node)) if times else node)
    text = text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
    notes = [f"{name} is the step's {ast.unparse(_time(offset))}" for name, offset in times.items()]
    return f"{text} ({', '.join(notes)})" if notes else text


def indexed(text: str, axes: int, time: str = "") -> str:
    """Return how a field is written with an index for each axis, `self.x[t + 1, i, j]`.

    Args:
        text: The field.
        axes: How many axes it has.
        time: What comes before their indices; empty for a field without time.
    """
    names = list("ijkl"[:axes]) if axes <= 4 else [f"i{k}" for k in range(axes)]
    return f"{text}[{', '.join([*([time] if time else []), *names]) or 'None'}]"


class _Renaming(ast.NodeTransformer):
    """Puts the step's time for names that stand for it, sums with numbers worked out."""

    def __init__(self, times: Mapping[str, int]) -> None:
        self.times = times

    def visit_Name(self, node: ast.Name) -> ast.expr:
        known = isinstance(node.ctx, ast.Load) and node.id in self.times
        return _time(self.times[node.id]) if known else node

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        name, number = node.left, node.right
        if (
            isinstance(name, ast.Name)
            and name.id in self.times
            and isinstance(number, ast.Constant)
            and isinstance(number.value, int)
            and isinstance(node.op, ast.Add | ast.Sub)
        ):
            sign = 1 if isinstance(node.op, ast.Add) else -1
            return _time(self.times[name.id] + sign * number.value)
        self.generic_visit(node)
        return node


def _time(offset: int) -> ast.expr:
    t = ast.Name("t", ast.Load())
    if not offset:
        return t
    return ast.BinOp(t, ast.Add() if offset > 0 else ast.Sub(), ast.Constant(abs(offset)))
