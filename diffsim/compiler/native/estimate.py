"""What is known of a kernel's text before it is compiled: how much it does, whether indices differ."""

from __future__ import annotations

import ast
import math
from collections.abc import Sequence

__all__ = ["operations", "surely_differ"]

_UNKNOWN_TRIPS = 16  # of a loop whose bounds are computed, or that may be left early


def operations(body: Sequence[ast.stmt]) -> float:
    """Estimate how many operations statements run: arithmetic, functions, and accesses to memory."""
    total = 0.0
    for node in body:
        if isinstance(node, ast.For):
            early = isinstance(node.body[0], ast.If) and isinstance(node.body[0].body[0], ast.Break)
            trips = min(_trips(node), _UNKNOWN_TRIPS) if early else _trips(node)
            total += 1 + trips * operations(node.body)
        elif isinstance(node, ast.If):
            total += 1 + max(operations(node.body), operations(node.orelse))
        else:
            kinds = ast.BinOp | ast.Call | ast.Compare | ast.Subscript
            total += sum(isinstance(part, kinds) for part in ast.walk(node))
    return total


def _trips(loop: ast.For) -> float:
    if not isinstance(loop.iter, ast.Call):
        return _UNKNOWN_TRIPS
    lengths = []
    for bound in loop.iter.args:
        if not (isinstance(bound, ast.Constant) and isinstance(bound.value, int)):
            return _UNKNOWN_TRIPS
        lengths.append(bound.value)
    if ast.unparse(loop.iter.func) == "range" and len(lengths) == 2:
        return max(0, lengths[1] - lengths[0])
    return math.prod(lengths)


def surely_differ(a: ast.expr, b: ast.expr) -> bool:
    """Tell whether two indices never have the same value, whatever the values of the names in them.

    That is known of what differs by a number, and of remainders by one divisor of such.
    """
    (x, n), (y, m) = _remainder(a), _remainder(b)
    if x is None or y is None or n != m:
        return False
    difference = dict(x)
    for name, factor in y.items():
        difference[name] = difference.get(name, 0) - factor
    offset = difference.pop("", 0)
    return not any(difference.values()) and (offset % n if n else offset) != 0


def _remainder(node: ast.expr) -> tuple[dict[str, int] | None, int]:
    """Return the sum that an index is, and the divisor whose remainder it is; 0 where there is none."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod) and isinstance(node.right, ast.Constant):
        divisor = node.right.value
        if isinstance(divisor, int) and divisor > 0:
            return _sum(node.left), divisor
    return _sum(node), 0


def _sum(node: ast.expr) -> dict[str, int] | None:
    """Return how often each name is in a sum, and its number under no name; None where it is no sum."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return {"": node.value}
    if isinstance(node, ast.Name):
        return {node.id: 1}
    if not isinstance(node, ast.BinOp) or not isinstance(node.op, ast.Add | ast.Sub):
        return None
    a, b = _sum(node.left), _sum(node.right)
    if a is None or b is None:
        return None
    sign = 1 if isinstance(node.op, ast.Add) else -1
    return {name: a.get(name, 0) + sign * b.get(name, 0) for name in a | b}
