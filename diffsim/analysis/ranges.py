"""Bounds of integers: how many iterations a loop can have, which indices it can reach."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsim.ir import Block, Const, For, If, Let, Load, Operand, Value

__all__ = ["Interval", "Ranges", "values_at"]

Interval = tuple[float, float]
ANY: Interval = (-math.inf, math.inf)


def _corners(f: Callable[[float, float], float]) -> Callable[[Interval, Interval], Interval]:
    def combine(a: Interval, b: Interval) -> Interval:
        values = [f(x, y) for x in a for y in b]
        return (min(values), max(values)) if not any(math.isnan(v) for v in values) else ANY

    return combine


_RULES: dict[str, Callable[..., Interval]] = {
    "add": lambda a, b: (a[0] + b[0], a[1] + b[1]),
    "sub": lambda a, b: (a[0] - b[1], a[1] - b[0]),
    "mul": _corners(lambda x, y: x * y),
    "neg": lambda a: (-a[1], -a[0]),
    "min": lambda a, b: (min(a[0], b[0]), min(a[1], b[1])),
    "max": lambda a, b: (max(a[0], b[0]), max(a[1], b[1])),
    "select": lambda c, a, b: (min(a[0], b[0]), max(a[1], b[1])),
    "abs": lambda a: (0.0 if a[0] <= 0 <= a[1] else min(abs(a[0]), abs(a[1])), max(abs(a[0]), abs(a[1]))),
}


def values_at(values: NDArray[Any], literal: tuple[int | None, ...]) -> NDArray[Any]:
    """Return the part of an array (worlds first, if any) at literal indices; None takes a whole axis."""
    part: NDArray[Any] = values[(..., *(slice(None) if i is None else i for i in literal))]
    return part


class Ranges:
    """The smallest and largest value of each integer in a stage, as far as they can be told.

    Those in `exact` take both for certain, where the code that makes them runs.

    Args:
        body: The stage.
        t: The step index and the horizon.
    """

    def __init__(self, body: Block, t: Value, steps: int) -> None:
        self._known: dict[Value, Interval] = {t: (0, steps)}
        self.exact: set[Value] = set()
        self._visit(body)

    def of(self, operand: Operand) -> Interval:
        """Return bounds of an integer, infinite where nothing is known."""
        if isinstance(operand, Const):
            return (float(operand.value), float(operand.value))
        return self._known.get(operand, ANY)

    def trips(self, loop: For) -> float:
        """Return the largest number of iterations of a loop."""
        (low, _), (_, high) = self.of(loop.start), self.of(loop.stop)
        return max(0.0, high - low)

    def _visit(self, block: Block) -> None:
        for op in block.ops:
            if isinstance(op, Let):
                self._let(op)
            elif isinstance(op, Load) and op.ref.buffer.dtype == "i32" and op.ref.buffer.kind == "constant":
                self._load(op)
            elif isinstance(op, For):
                self._known[op.index] = (self.of(op.start)[0], self.of(op.stop)[1] - 1)
                if (
                    isinstance(op.start, Const)
                    and isinstance(op.stop, Const)
                    and op.stop.value > op.start.value
                ):
                    self.exact.add(op.index)
                self._visit(op.body)
            elif isinstance(op, If):
                self._visit(op.then)
                self._visit(op.orelse)

    def _load(self, op: Load) -> None:
        """Look up what an integer Constant holds where it is read, and note that the program relies on it."""
        buffer = op.ref.buffer
        literal = tuple(int(i.value) if isinstance(i, Const) else None for i in op.ref.indices)
        values = values_at(buffer.source.numpy(), literal)
        self._known[op.result] = buffer.bounds[literal] = (float(np.min(values)), float(np.max(values)))
        running = [(i, n) for i, n in zip(op.ref.indices, buffer.shape, strict=True) if isinstance(i, Value)]
        if all(i in self.exact and self._known[i] == (0, n - 1) for i, n in running):
            self.exact.add(op.result)

    def _let(self, op: Let) -> None:
        args = [self.of(a) for a in op.args]
        if op.fn in ("cast_i32", "cast_i64") and not op.args[0].dtype.startswith("f"):
            self._known[op.result] = args[0]
        elif op.fn == "mod" and args[1][0] == args[1][1] and args[1][0] > 0:
            self._known[op.result] = (0, args[1][0] - 1)
        elif op.fn == "floordiv" and args[1][0] == args[1][1] and args[1][0] > 0:
            self._known[op.result] = tuple(x if math.isinf(x) else x // args[1][0] for x in args[0])  # type: ignore[assignment]
        elif op.fn in _RULES and not op.result.dtype.startswith("f"):
            self._known[op.result] = _RULES[op.fn](*args)
