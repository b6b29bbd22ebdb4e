"""What expressions mean while a kernel is lowered: Python objects, scalars, matrices, places in memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Union

from diffsim.ir import Buffer, Const, Operand, Value

__all__ = ["Abstract", "FieldPlace", "Matrix", "Object", "Sequence", "TimeIndex", "Variable"]


@dataclass(frozen=True)
class Object:
    """A Python object that is known when the kernel is compiled: a number, a field, a part, a function."""

    value: Any


@dataclass(frozen=True)
class TimeIndex:
    """The step index, `t + offset`; `value` is its number, where a kernel computes with it."""

    offset: int


@dataclass(frozen=True)
class Matrix:
    """A vector (`shape` of one axis) or a matrix of scalars, in row-major order."""

    entries: tuple[Operand, ...]
    shape: tuple[int, ...]

    @property
    def rows(self) -> list[tuple[Operand, ...]]:
        """The rows of a matrix."""
        n, m = self.shape
        return [self.entries[i * m : (i + 1) * m] for i in range(n)]


@dataclass(frozen=True)
class FieldPlace:
    """An element of a field, or some of its components, that can be read and written."""

    buffer: Buffer
    indices: tuple[Operand, ...]
    time: int | None
    shape: tuple[int, ...]  # the shape of the components meant: () for one scalar
    components: tuple[int, ...]


@dataclass
class Variable:
    """A local variable: its type is fixed by its first assignment, as in Taichi."""

    current: Abstract
    dtypes: tuple[str, ...] | None = None  # None: bound to a Python object


@dataclass(frozen=True)
class Sequence:
    """A tuple or list whose items may be known only when the kernel runs."""

    items: tuple[Abstract, ...]


Abstract = Union[Object, TimeIndex, Matrix, Sequence, Value, Const]


def entries_of(value: Abstract) -> tuple[Operand, ...]:
    """Return the scalars of a scalar or matrix.

    Raises:
        TypeError: It is neither.
    """
    if isinstance(value, Matrix):
        return value.entries
    if isinstance(value, Value | Const):
        return (value,)
    raise TypeError(value)


def like(value: Abstract, entries: Iterable[Operand]) -> Abstract:
    """Return other scalars in the shape of `value`."""
    scalars = tuple(entries)
    return Matrix(scalars, value.shape) if isinstance(value, Matrix) else scalars[0]
