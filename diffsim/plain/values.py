"""What assignments make of values in kernels that run as plain Python: copies, of the variable's type."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from diffsim import _taichi
from diffsim.plain import operators
from diffsim.plain.operators import valued
from diffsim.plain.scalars import TYPES, cast_scalar, common, named_type, real
from diffsim.plain.vectors import Row, Vec, cast, kind, scalar

__all__ = ["Record", "Values", "typed_as"]

ti = _taichi.ti


class Record:
    """A struct: parts with names and types, and methods.

    Args:
        parts: By name.
        methods: By name, of what they are made when they are called.
    """

    def __init__(self, parts: dict[str, Any], methods: dict[str, Callable[..., Any]]) -> None:
        self.__dict__.update(parts)
        self.__dict__["__methods__"] = methods

    def __getattr__(self, name: str) -> Any:
        found = self.__dict__["__methods__"].get(name)
        if found is None:
            raise AttributeError(f"a struct must have the part {name}, got {', '.join(self.parts())}")
        return functools.partial(found, self)

    def __setattr__(self, name: str, value: Any) -> None:
        self.__dict__[name] = converted(self.__dict__[name], value)

    def parts(self) -> dict[str, Any]:
        """Return the parts by name."""
        return {name: part for name, part in self.__dict__.items() if name != "__methods__"}

    def copy(self) -> Record:
        """Return a copy."""
        return Record({name: copied(p) for name, p in self.parts().items()}, self.__dict__["__methods__"])

    def __repr__(self) -> str:
        return f"({', '.join(f'{name}={part!r}' for name, part in self.parts().items())})"


_WHOLE = frozenset({np.float64, np.float32, int, bool, float, str, type(None)})


def copied(value: Any) -> Any:
    """Return a value that nobody else has."""
    if type(value) in _WHOLE:
        return value
    if isinstance(value, Vec | Record):
        return value.copy()
    return tuple(map(copied, value)) if type(value) is tuple else value


def converted(old: Any, value: Any) -> Any:
    """Return a value in the type of what a variable or a part held before.

    Raises:
        ValueError: Its shape is another one.
    """
    if type(old) is type(value) and type(old) in _WHOLE:
        return value
    if isinstance(old, Vec):
        given = valued(value)
        name = kind(old)
        if isinstance(given, Vec):
            if given.shape != old.shape:
                raise ValueError(f"a variable must keep its shape, got {given.shape} for {old.shape}")
            return cast(given, name) if kind(given) != name else given.copy()
        return np.full(old.shape, cast_scalar(given, name), TYPES[name]).view(Vec)
    if isinstance(old, bool) or not isinstance(old, int | float | np.generic):
        return copied(value)
    if not isinstance(value, int | float | np.generic):
        return copied(value)
    return cast_scalar(value, kind(old))


def typed_as(annotation: Any, value: Any) -> Any:
    """Return an argument, or what is returned, in the type that an annotation names; else as it is."""
    if _taichi.is_vector_type(annotation):
        return cast(valued(value), named_type(annotation.dtype))
    if annotation in (float, int, bool) or _taichi.is_scalar_type(annotation):
        return cast(scalar(value), named_type(annotation))
    return value


class Values:
    """The part of `__plain__` that makes values."""

    slice = slice
    apply = staticmethod(operators.apply)
    chained = staticmethod(operators.chained)
    folded = staticmethod(operators.folded)
    negated = staticmethod(operators.negated)
    opposite = staticmethod(operators.opposite)
    inverted = staticmethod(operators.inverted)
    again = staticmethod(converted)
    annotated = staticmethod(typed_as)
    row = Row

    @staticmethod
    def seen(value: Any) -> Any:
        """Return an attribute or a global: numbers of NumPy are numbers as Python has them."""
        kind_of_value = type(value)
        if kind_of_value is float or kind_of_value is int or not isinstance(value, np.generic):
            return value
        return value.item()

    @staticmethod
    def new(value: Any) -> Any:
        """Return what a new variable holds."""
        kind_of_value = type(value)
        if kind_of_value is float:
            return TYPES[real()](value)
        if kind_of_value in _WHOLE:
            return value
        if kind_of_value is Vec:
            return value.copy()
        if _taichi.is_a(value, "Matrix"):
            return valued(value)
        return copied(scalar(value) if isinstance(value, np.generic) else value)

    taken = new
    given = staticmethod(copied)

    @staticmethod
    def unpacked(value: Any, count: int) -> list[Any]:
        """Return the values for so many targets.

        Raises:
            ValueError: There are more or fewer.
        """
        items = list(valued(value) if _taichi.is_a(value, "Matrix") else value)
        if len(items) != count:
            raise ValueError(f"{count} names must get as many values, got {len(items)}")
        return items

    @staticmethod
    def either(test: Any, one: Callable[[], Any], other: Callable[[], Any]) -> Any:
        """Return one of two values, in the type that holds both."""
        taken, passed = (one, other) if test else (other, one)
        value = valued(taken())
        if isinstance(value, bool | int) or (isinstance(value, Vec) and value.dtype.kind != "f"):
            try:
                unused = valued(passed())
                return cast(value, common(kind(value), kind(unused)))
            except Exception:  # noqa: BLE001  (it is not taken: what it would be may not be there)
                return value
        return value

    @staticmethod
    def last(*values: Any) -> Any:
        """Return the last of values that were computed in order."""
        return values[-1]

    @staticmethod
    def first(*values: Any) -> Any:
        """Return the first of values that were computed in order."""
        return copied(values[0])

    @staticmethod
    def counted(rounds: list[int], depth: int, items: Any) -> Iterator[Any]:
        """Yield items, and note which it is of each loop that is unrolled."""
        for k, item in enumerate(items):
            rounds[depth:] = [k]
            yield item

    @staticmethod
    def here(site: str, call: str, rounds: list[int]) -> str:
        """Name the place of a call."""
        return f"{site} {call}{rounds}"
