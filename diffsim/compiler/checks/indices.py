"""Telling places in memory apart by what their indices have in common: `x[k + 1, j]` is never `x[k, i]`."""

from __future__ import annotations

from collections.abc import Collection

from diffsim.compiler.ir import Block, Const, For, Let, Operand, Ref, Value, results_of, walk

__all__ = ["Affine", "Indices", "defined_in"]

Affine = tuple["Value | None", int]


class Indices:
    """The indices of a block, each as a value plus a number.

    Args:
        block: All that computes them.
    """

    def __init__(self, block: Block) -> None:
        self._lets = {op.result: op for op in walk(block) if isinstance(op, Let)}

    def affine(self, operand: Operand) -> Affine:
        """Return the value that an index is a constant apart from, None for a number, and that constant."""
        offset = 0
        while isinstance(operand, Value):
            let = self._lets.get(operand)
            if let is None or let.fn not in ("add", "sub") or let.result.dtype != "i32":
                return operand, offset
            a, b = let.args
            if let.fn == "add" and isinstance(a, Const):
                a, b = b, a
            if not isinstance(b, Const):
                return operand, offset
            operand, offset = a, offset + (int(b.value) if let.fn == "add" else -int(b.value))
        return None, offset + int(operand.value)

    def apart(self, a: Ref, b: Ref, varying: Collection[Value] = ()) -> bool:
        """Tell whether two places of one buffer and component are never the same.

        Args:
            a: The one place.
            b: The other.
            varying: Values that may differ between the moments at which they are looked at.
        """
        pairs = ((self.affine(i), self.affine(j)) for i, j in zip(a.indices, b.indices, strict=True))
        return any(x[0] is y[0] and x[1] != y[1] and x[0] not in varying for x, y in pairs)


def defined_in(loop: For) -> set[Value]:
    """Return the values that a loop makes anew in each iteration, its index included."""
    found = {loop.index, *loop.params}
    for op in walk(loop.body):
        found.update(results_of(op))
        if isinstance(op, For):
            found |= {op.index, *op.params}
    return found
