"""Bounds of integers: how many iterations a loop can have, which indices it can reach."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsim.compiler.ir import Block, Const, For, If, Let, Load, Operand, Value, is_float

__all__ = ["Interval", "Ranges", "Times", "values_at"]

Interval = tuple[float, float]
ANY: Interval = (-math.inf, math.inf)
_DEEPEST = 12  # operations that an assumption is followed through
_OPPOSITE = {"lt": "ge", "ge": "lt", "le": "gt", "gt": "le", "eq": "ne", "ne": "eq"}


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
    "inside": lambda a, b: a,
    "at_most": lambda a, b: (min(a[0], b[0]), min(a[1], b[1])),
    "max": lambda a, b: (max(a[0], b[0]), max(a[1], b[1])),
    "select": lambda c, a, b: (min(a[0], b[0]), max(a[1], b[1])),
    "abs": lambda a: (0.0 if a[0] <= 0 <= a[1] else min(abs(a[0]), abs(a[1])), max(abs(a[0]), abs(a[1]))),
}


def values_at(values: NDArray[Any], literal: tuple[int | None, ...]) -> NDArray[Any]:
    """Return the part of an array (worlds first, if any) at literal indices; None takes a whole axis."""
    part: NDArray[Any] = values[(..., *(slice(None) if i is None else i for i in literal))]
    return part


@dataclass(frozen=True)
class Times:
    """The steps that a stage runs for.

    Attributes:
        first, last: The smallest and the largest `t`.
        steps: The horizon.
        certain: It runs for both, whatever is computed.
    """

    first: int
    last: int
    steps: int
    certain: bool = False

    @classmethod
    def of(cls, phase: str, steps: int, certain: bool = False) -> Times:
        """Return the steps of a phase of a program.

        Args:
            phase: `reset`, `step`, `running_cost` or `terminal_cost`.
            steps: The horizon.
            certain: No world ends before it.
        """
        if phase == "terminal_cost":
            return cls(steps if certain else 0, steps, steps, certain)
        return cls(0, 0 if phase == "reset" else steps - 1, steps, certain)


class Ranges:
    """The smallest and largest value of each integer in a stage, as far as they can be told.

    Those in `exact` take both for certain, where the code that makes them runs.

    Args:
        body: The stage.
        t: The step index.
        times: What it may be; the horizon where that is not known closer.
    """

    def __init__(self, body: Block, t: Value, times: Times | int) -> None:
        times = Times(0, times, times) if isinstance(times, int) else times
        self._known: dict[Value, Interval] = {t: (times.first, times.last)}
        self.exact: set[Value] = {t} if times.certain else set()
        self._lets: dict[Value, Let] = {}
        self._choices: dict[
            Value, tuple[Operand, Operand, Operand]
        ] = {}  # condition, value if true, if false
        self._facts: list[dict[Value, Interval]] = []
        self._visit(body)

    def of(self, operand: Operand) -> Interval:
        """Return bounds of an integer, infinite where nothing is known; see `assuming`."""
        if isinstance(operand, Const):
            return (float(operand.value), float(operand.value))
        if not self._facts:
            return self._known.get(operand, ANY)
        return self._refined(operand, _DEEPEST)

    @contextlib.contextmanager
    def assuming(self, condition: Operand, holds: bool) -> Iterator[None]:
        """Take into account, while active, that a condition holds or does not."""
        facts: dict[Value, Interval] = {}
        self._learn(condition, holds, facts)
        self._facts.append(facts)
        try:
            yield
        finally:
            self._facts.pop()

    def _refined(self, operand: Operand, depth: int) -> Interval:
        """Bound an integer again from what is assumed of it and of what it is made of."""
        if isinstance(operand, Const):
            return (float(operand.value), float(operand.value))
        bounds = self._known.get(operand, ANY)
        let = self._lets.get(operand)
        if let is not None and depth:
            bounds = _both(bounds, _outcome(let, [self._refined(a, depth - 1) for a in let.args]))
        for facts in self._facts:
            bounds = _both(bounds, facts.get(operand, ANY))
        return bounds

    def _learn(self, condition: Operand, holds: bool, facts: dict[Value, Interval]) -> None:
        choice = self._choices.get(condition) if isinstance(condition, Value) else None
        if choice is not None:  # `a and b`, `a or b` whose second part is computed only where it counts
            first, then, orelse = choice
            if isinstance(orelse, Const) and not orelse.value and holds:
                self._learn(first, True, facts)
                self._learn(then, True, facts)
            elif isinstance(then, Const) and then.value and not holds:
                self._learn(first, False, facts)
                self._learn(orelse, False, facts)
            return
        let = self._lets.get(condition) if isinstance(condition, Value) else None
        if let is None:
            return
        if let.fn == "not":
            self._learn(let.args[0], not holds, facts)
        elif let.fn == ("and" if holds else "or"):
            for part in let.args:
                self._learn(part, holds, facts)
        elif let.fn in _OPPOSITE and not is_float(let.args[0].dtype):
            self._compare(let.fn if holds else _OPPOSITE[let.fn], let.args[0], let.args[1], facts)

    def _compare(self, fn: str, a: Operand, b: Operand, facts: dict[Value, Interval]) -> None:
        if fn in ("gt", "ge"):
            fn, a, b = ("lt" if fn == "gt" else "le"), b, a
        (low_a, high_a), (low_b, high_b) = self.of(a), self.of(b)
        strict = 1 if fn == "lt" else 0
        if fn in ("lt", "le"):
            self._note(a, (-math.inf, high_b - strict), facts)
            self._note(b, (low_a + strict, math.inf), facts)
        elif fn == "eq":
            self._note(a, (low_b, high_b), facts)
            self._note(b, (low_a, high_a), facts)
        elif low_b == high_b:
            self._note(a, (low_a + (low_a == low_b), high_a - (high_a == high_b)), facts)

    def _note(self, operand: Operand, bounds: Interval, facts: dict[Value, Interval]) -> None:
        """Keep a fact of a value, and what follows for the value that it is a constant apart from."""
        while isinstance(operand, Value):
            facts[operand] = _both(facts.get(operand, ANY), bounds)
            let = self._lets.get(operand)
            if let is not None and let.fn == "inside":
                operand = let.args[0]
                continue
            if let is None or let.fn not in ("add", "sub") or not isinstance(let.args[1], Const):
                return
            shift = float(let.args[1].value) * (1 if let.fn == "add" else -1)
            operand, bounds = let.args[0], (bounds[0] - shift, bounds[1] - shift)

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
                for result, a, b in zip(op.results, op.then.yields, op.orelse.yields, strict=True):
                    self._choices[result] = (op.cond, a, b)
                    if not is_float(result.dtype):
                        (low_a, high_a), (low_b, high_b) = self.of(a), self.of(b)
                        self._known[result] = (min(low_a, low_b), max(high_a, high_b))

    def _load(self, op: Load) -> None:
        """Look up what an integer Constant holds where it is read, and note that the program relies on it."""
        buffer = op.ref.buffer
        if buffer.source.limits is not None:
            self._known[op.result] = buffer.source.limits
            return
        literal = tuple(int(i.value) if isinstance(i, Const) else None for i in op.ref.indices)
        values = values_at(buffer.source.numpy(), literal)
        self._known[op.result] = buffer.bounds[literal] = (float(np.min(values)), float(np.max(values)))
        running = [(i, n) for i, n in zip(op.ref.indices, buffer.shape, strict=True) if isinstance(i, Value)]
        if all(i in self.exact and self._known[i] == (0, n - 1) for i, n in running):
            self.exact.add(op.result)

    def _let(self, op: Let) -> None:
        self._lets[op.result] = op
        bounds = _outcome(op, [self.of(a) for a in op.args])
        if bounds != ANY:
            self._known[op.result] = bounds


def _outcome(op: Let, args: list[Interval]) -> Interval:
    """Return the bounds of an operation's result from those of its arguments."""
    if is_float(op.result.dtype):
        return ANY
    if op.fn in ("cast_i32", "cast_i64"):
        return ANY if is_float(op.args[0].dtype) else args[0]
    if op.fn in ("mod", "floordiv"):
        by = args[1][0]
        if by != args[1][1] or by <= 0:
            return ANY
        return (0, by - 1) if op.fn == "mod" else (_divided(args[0][0], by), _divided(args[0][1], by))
    if op.fn == "bit_and":
        ends = [high for low, high in args if low == high >= 0]
        return (0, min(ends)) if ends else ANY
    return _RULES[op.fn](*args) if op.fn in _RULES else ANY


def _divided(x: float, by: float) -> float:
    return x if math.isinf(x) else x // by


def _both(a: Interval, b: Interval) -> Interval:
    """Return what two bounds of one number say together."""
    return (max(a[0], b[0]), min(a[1], b[1]))
