"""The element types of fields: scalars, small vectors and matrices; reading types and shapes as given."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from diffsim import _taichi
from diffsim.errors import ConfigError
from diffsim.options import plain_number

__all__ = [
    "ElementType",
    "checked_shape",
    "checked_type",
    "i32",
    "ivec",
    "ivec2",
    "ivec3",
    "ivec4",
    "mat",
    "mat2",
    "mat3",
    "mat4",
    "real",
    "type_and_shape",
    "vec",
    "vec2",
    "vec3",
    "vec4",
]


@dataclass(frozen=True)
class ElementType:
    """Describe one element of a field: its name and the shape of its components.

    Attributes:
        name: What it is called in messages, `vec2` for example.
        shape: `()` for a scalar, `(n,)` for a vector, `(n, m)` for a matrix.
        integer: The components are integers of 32 bits, which carry no derivative.
    """

    name: str
    shape: tuple[int, ...] = ()
    integer: bool = False

    @property
    def components(self) -> int:
        """Count the scalars in one element."""
        return prod(self.shape)

    def __repr__(self) -> str:
        return f"ds.{self.name}"


def vec(n: int) -> ElementType:
    """Return the type of vectors of real numbers.

    Args:
        n: Their components.
    """
    return ElementType(f"vec{n}", (n,))


def mat(n: int, m: int | None = None) -> ElementType:
    """Return the type of matrices of real numbers.

    Args:
        n: Their rows.
        m: Their columns, as many as rows where left out.
    """
    m = n if m is None else m
    return ElementType(f"mat{n}" if n == m else f"mat{n}x{m}", (n, m))


def ivec(n: int) -> ElementType:
    """Return the type of vectors of integers of 32 bits, which carry no gradient.

    Args:
        n: Their components.
    """
    return ElementType(f"ivec{n}", (n,), integer=True)


real, i32 = ElementType("real"), ElementType("i32", integer=True)
vec2, vec3, vec4 = vec(2), vec(3), vec(4)
mat2, mat3, mat4 = mat(2), mat(3), mat(4)
ivec2, ivec3, ivec4 = ivec(2), ivec(3), ivec(4)


def checked_type(kind: str, type_: Any, integers: bool = True) -> ElementType:
    """Return the type of a declaration; Taichi's types of integers are understood too.

    Args:
        kind: What is declared, for messages.
        type_: What was given for a type.
        integers: It may be a type of integers.

    Raises:
        ConfigError: It is none, or one of integers where gradients are meant.
    """
    found = type_ if isinstance(type_, ElementType) else _of_integers(type_)
    if found is None:
        raise ConfigError(
            f"{kind} type must be an element type, got {type_!r}; use ds.real, ds.vec2, ds.mat2, ..., "
            "or ds.i32 for integers and flags"
        )
    if found.integer and not integers:
        raise ConfigError(
            f"{kind} type must be one of real numbers, which gradients are for, got {found!r}; declare "
            "integers that kernels read as ds.Constant, those that they compute as ds.State or ds.Scratch"
        )
    return found


def _of_integers(given: Any) -> ElementType | None:
    """Return the type that one of Python's or Taichi's for 32-bit integers stands for; None for others."""
    if given is int or (_taichi.is_scalar_type(given) and _taichi.dtype_name(given) == "i32"):
        return i32
    if _taichi.is_vector_type(given) and given.ndim == 1 and _taichi.dtype_name(given.dtype) == "i32":
        return ivec(int(given.n))
    return None


def checked_shape(kind: str, shape: tuple[Any, ...]) -> tuple[int, ...]:
    """Return the shape of a declaration, given number by number or as one tuple.

    Args:
        kind: What is declared, for messages.
        shape: What was given for a shape.

    Raises:
        ConfigError: It does not consist of positive integers.
    """
    given = tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], tuple | list) else shape
    dims = tuple(plain_number(n) for n in given)
    for n in dims:
        if not isinstance(n, int) or isinstance(n, bool) or n < 1:
            raise ConfigError(
                f"{kind} shape must be positive integers, got {dims!r}; pass them one by one or as a tuple"
            )
    return dims


def type_and_shape(
    kind: str, first: Any, shape: tuple[Any, ...], init: Any
) -> tuple[ElementType, tuple[int, ...], Any]:
    """Return the type, the shape and the values of a declaration that begins with a type or with values.

    Args:
        kind: What is declared, for messages.
        first: An element type, or an array.
        shape: What was given for a shape, behind a type.
        init: The values, behind a type.

    Raises:
        ConfigError: A type, shape or values that are not allowed.
    """
    if isinstance(first, ElementType) or _of_integers(first) is not None:
        return checked_type(kind, first, kind == "Constant"), checked_shape(kind, shape), init
    if shape or init is not None:
        raise ConfigError(
            f"{kind} type must be an element type, got {first!r}; use ds.real, ds.vec2, ... before a shape"
        )
    try:
        values = np.array(first)
        if values.dtype.kind not in "iufb":
            raise TypeError(f"array of {values.dtype}")
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"{kind} must be declared with numbers or an element type, got {first!r}"
        ) from error
    if 0 in values.shape:
        raise ConfigError(
            f"{kind} must have at least one element, got shape {values.shape}; leave it out instead"
        )
    return real, values.shape, values
