"""What expressions mean while a kernel is lowered: Python objects, scalars, matrices, places in memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Union

import numpy as np

from diffsim.compiler.ir import Buffer, Const, Operand, Ref, Value, is_float
from diffsim.errors import TraceError
from diffsim.language.fields import Field

__all__ = [
    "POISON",
    "UNSET",
    "Abstract",
    "AdjointOf",
    "FieldPlace",
    "Matrix",
    "Object",
    "Poison",
    "Poisoned",
    "Ranges",
    "Record",
    "Sequence",
    "TimeIndex",
    "Unset",
    "Variable",
    "completed",
    "same_shape",
]


class Poisoned(TraceError):
    """Say that an expression depends on one that was refused already, so that nothing new is known of it."""


@dataclass(frozen=True)
class Poison:
    """What a name stands for whose value was refused."""


POISON = Poison()


@dataclass(frozen=True)
class Unset:
    """What a variable stands for that is assigned only inside a loop, and counts only where it was."""


UNSET = Unset()


@dataclass(frozen=True)
class AdjointOf:
    """The adjoint of a declared field, `field.grad`, in the adjoint that a user wrote for a kernel."""

    field: Field


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
class Record:
    """A struct: named parts, each a scalar, a vector, a matrix or a struct."""

    kind: Any
    names: tuple[str, ...]
    items: tuple[Abstract, ...]


@dataclass(frozen=True)
class FieldPlace:
    """An element of a field, or some of its components, that can be read and written.

    Attributes:
        shape: The shape of the components meant: () for one scalar.
        components: Their positions.
        last: The axes that they run along: () for components, else the last axes of the field.
    """

    buffer: Buffer
    indices: tuple[Operand, ...]
    time: int | None
    shape: tuple[int, ...]
    components: tuple[int, ...]
    last: tuple[int, ...] = ()

    @property
    def refs(self) -> list[Ref]:
        """The scalars in memory that are meant, in order."""
        found = []
        for k in self.components:
            more = [Const(int(i), "i32") for i in np.unravel_index(k, self.last)] if self.last else []
            found.append(Ref(self.buffer, (*self.indices, *more), 0 if self.last else k, self.time))
        return found


@dataclass
class Variable:
    """A local variable: its type is fixed by its first assignment, as in Taichi."""

    current: Abstract
    dtypes: tuple[str, ...] | None = None  # None: bound to a Python object


@dataclass(frozen=True)
class Sequence:
    """A tuple or list whose items may be known only when the kernel runs."""

    items: tuple[Abstract, ...]


@dataclass(frozen=True)
class Ranges:
    """A `range` or `ti.ndrange` whose bounds are known only when the kernel runs: what a loop may run over.

    Attributes:
        axes: The bounds of each axis.
    """

    axes: tuple[tuple[Abstract, ...], ...]


Abstract = Union[Object, TimeIndex, Matrix, Record, Sequence, Ranges, Value, Const, Poison, Unset]


def entries_of(value: Abstract) -> tuple[Operand, ...]:
    """Return the scalars of a scalar, matrix or struct.

    Raises:
        Poisoned: It was refused already.
        TypeError: It is neither.
    """
    if isinstance(value, Poison):
        raise Poisoned
    if isinstance(value, Matrix):
        return value.entries
    if isinstance(value, Value | Const):
        return (value,)
    if isinstance(value, Record):
        return tuple(entry for item in value.items for entry in entries_of(item))
    raise TypeError(value)


def like(value: Abstract, entries: Iterable[Operand]) -> Abstract:
    """Return other scalars in the shape of `value`."""
    scalars = tuple(entries)
    if isinstance(value, Record):
        rest = iter(scalars)
        items = tuple(like(item, [next(rest) for _ in entries_of(item)]) for item in value.items)
        return Record(value.kind, value.names, items)
    return Matrix(scalars, value.shape) if isinstance(value, Matrix) else scalars[0]


def completed(value: Abstract, other: Abstract) -> Abstract:
    """Return a value, or zeros in the shape of another one where it is not set."""
    if not isinstance(value, Unset) or isinstance(other, Unset):
        return value
    zeros = [Const(0.0 if is_float(e.dtype) else e.dtype != "u1" and 0, e.dtype) for e in entries_of(other)]
    return like(other, zeros)


def same_shape(a: Abstract, b: Abstract) -> bool:
    """Tell whether two values are both numbers, or vectors or matrices of one shape."""
    return _form(a) == _form(b)


def _form(value: Abstract) -> Any:
    if isinstance(value, Record):
        return id(value.kind)
    return value.shape if isinstance(value, Matrix) else ()
