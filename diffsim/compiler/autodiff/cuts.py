"""Finding where a differentiable value loses its gradient in an integer, and comes back as a number."""

from __future__ import annotations

from diffsim.compiler.autodiff.activity import active_values
from diffsim.compiler.ir import (
    Accumulate,
    For,
    If,
    Let,
    Load,
    Op,
    Operand,
    Stage,
    Store,
    Value,
    is_float,
    operands_of,
    results_of,
    walk,
)
from diffsim.errors import Diagnostic

__all__ = ["cuts_of"]

_LINEAR = ("add", "sub", "mul", "div", "neg")
_CHOICES = ("lt", "le", "gt", "ge", "eq", "ne")


def cuts_of(stage: Stage) -> list[Diagnostic]:
    """Return a warning for each cast of a differentiable value to an integer that is computed with.

    Not warned of are integers that only index or compare, and what takes the whole part from the number that
    it was cut from, as in `fx = x / dx - ti.cast(base, float)`: its slope is right as it stands.
    """
    casts = (op for op in walk(stage.body) if isinstance(op, Let) and op.fn.startswith("cast_"))
    if all(is_float(op.result.dtype) for op in casts):
        return []
    return _Cuts(stage).found


class _Cuts:
    def __init__(self, stage: Stage) -> None:
        self.active = active_values(stage.body)
        self.ops = list(walk(stage.body))
        self.uses: dict[Value, list[Op]] = {}
        self.origin: dict[Value, frozenset[Value]] = {}  # active values that a value is computed from
        self.found: list[Diagnostic] = []
        for op in self.ops:
            for operand in operands_of(op):
                if isinstance(operand, Value):
                    self.uses.setdefault(operand, []).append(op)
            if isinstance(op, Let | Load):
                self.origin[op.result] = self._origin(op)
        for op in self.ops:
            if isinstance(op, Let) and self._cuts(op) and any(self._counts(v, op) for v in self._floats(op)):
                message = (
                    "a differentiable value should not lose its gradient in a cast to an integer, got one "
                    "that is computed with afterwards; where that is meant, write ds.stop_gradient(...) "
                    "around the value or the comment `# diffsim: allow CUT`"
                )
                self.found.append(Diagnostic("CUT", str(op.where), message))

    def _origin(self, op: Let | Load) -> frozenset[Value]:
        if isinstance(op, Load):
            return frozenset([op.result]) if op.result in self.active else frozenset()
        return frozenset().union(*(self.origin.get(a, frozenset()) for a in op.args if isinstance(a, Value)))

    def _cuts(self, op: Let) -> bool:
        return (
            op.fn.startswith("cast_")
            and not is_float(op.result.dtype)
            and any(isinstance(a, Value) and a in self.active for a in op.args)
        )

    def _floats(self, cut: Let) -> list[Value]:
        """Return the floats that an integer becomes, by itself or after whole-number arithmetic."""
        found: list[Value] = []
        queue: list[Value] = [cut.result]
        seen = set(queue)
        while queue:
            for use in self.uses.get(queue.pop(), []):
                if isinstance(use, Let) and use.fn.startswith("cast_f"):
                    found.append(use.result)
                elif isinstance(use, Let) and use.fn not in _CHOICES:
                    queue += [v for v in results_of(use) if v not in seen]
                    seen.update(results_of(use))
        return found

    def _counts(self, value: Value, cut: Let) -> bool:
        """Tell whether a float that was cut is used for more than the rest of what it was cut from."""
        for use in self.uses.get(value, []):
            if isinstance(use, Let) and use.fn in _CHOICES:
                continue
            if isinstance(use, Let) and use.fn in _LINEAR:
                others = [a for a in use.args if a is not value]
                if not any(a in self.active for a in others if isinstance(a, Value)):
                    if self._counts(use.result, cut):
                        return True
                    continue
                if use.fn in ("add", "sub") and self._related(others, cut):
                    continue
            if isinstance(use, Let | Store | Accumulate | For | If):
                return True
        return False

    def _related(self, others: list[Operand], cut: Let) -> bool:
        sources = self.origin.get(cut.result, frozenset())
        return any(self.origin.get(a, frozenset()) & sources for a in others if isinstance(a, Value))
