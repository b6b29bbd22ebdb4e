"""Stores through index arrays: each iteration needs a place of its own, so the array must not repeat."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from diffsim.compiler.checks.ranges import values_at
from diffsim.compiler.ir import Buffer, Const, For, Load, Operand, Value

__all__ = ["Lookups", "first_repeated"]

Literal = tuple["int | None", ...]


def first_repeated(values: np.ndarray, literal: Literal) -> int | None:
    """Return a number that stands twice in the part of an integer array, in one world of it, or None."""
    part = values_at(values, literal)
    for row in part.reshape(-1, part.shape[-1]):
        found, counts = np.unique(row, return_counts=True)
        if np.any(counts > 1):
            return int(found[np.argmax(counts > 1)])
    return None


class Lookups:
    """The integers that kernels read from Constants with one running index."""

    def __init__(self) -> None:
        self._known: dict[Value, tuple[Buffer, Literal, Value]] = {}

    def note(self, op: Load) -> None:
        """Remember a load, if it is one of those."""
        buffer = op.ref.buffer
        running = [i for i in op.ref.indices if isinstance(i, Value)]
        if buffer.kind == "constant" and buffer.source.limits is not None:
            return
        if buffer.kind == "constant" and buffer.dtype == "i32" and len(running) == 1:
            literal = tuple(int(i.value) if isinstance(i, Const) else None for i in op.ref.indices)
            self._known[op.result] = (buffer, literal, running[0])

    def repeated(self, bases: Iterable[Operand | None], loop: For) -> tuple[str, int] | None:
        """Tell what stands twice in the array that names the places of a loop's iterations, and where.

        Args:
            bases: What the indices are but for an offset, those that follow the loop.
            loop: A parallel loop.

        Returns:
            The label of the array and the number; None where there is no such array, or it repeats nothing.
            An array without repeats is noted to stay so.
        """
        bases = list(bases)
        if len(bases) != 1 or not isinstance(bases[0], Value) or bases[0] not in self._known:
            return None
        buffer, literal, running = self._known[bases[0]]
        if running is not loop.index:
            return None
        number = first_repeated(buffer.source.numpy(), literal)
        if number is not None:
            return buffer.label, number
        buffer.distinct.add(literal)
        return None
