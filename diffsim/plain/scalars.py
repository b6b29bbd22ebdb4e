"""Scalars of kernels in plain Python: their types, casts and arithmetic, as Taichi promotes them.

An `int` is an integer of 32 bits and a `bool` a condition; reals are NumPy scalars. A Python `float` is a
number that is known before anything runs, a literal or an attribute, and takes the working precision where it
meets a real.
"""

from __future__ import annotations

import contextvars
import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from diffsim import _taichi

__all__ = [
    "ORDER",
    "TYPES",
    "cast_scalar",
    "common",
    "kind_of",
    "named_type",
    "promoted",
    "real",
    "scalar_binary",
    "working",
    "wrapped",
]

ORDER = ("u1", "i8", "u8", "i16", "u16", "i32", "u32", "i64", "u64", "f32", "f64")  # the later one wins
_RANK = {name: k for k, name in enumerate(ORDER)}
TYPES: dict[str, Any] = {
    "u1": np.bool_,
    "i8": np.int8,
    "u8": np.uint8,
    "i16": np.int16,
    "u16": np.uint16,
    "i32": np.int32,
    "u32": np.uint32,
    "i64": np.int64,
    "u64": np.uint64,
    "f32": np.float32,
    "f64": np.float64,
}
_KINDS: dict[type, str] = {bool: "u1", int: "i32", **{made: name for name, made in TYPES.items()}}
working: contextvars.ContextVar[str] = contextvars.ContextVar("diffsim_plain_real", default="f64")
_LOWEST = -(2**31)


def real() -> str:
    """Return the name of the working precision: `f32` or `f64`."""
    return working.get()


def kind_of(value: Any) -> str:
    """Return the name of a scalar's type.

    Raises:
        TypeError: It is no scalar.
    """
    found = _KINDS.get(type(value))
    if found is not None:
        return found
    if isinstance(value, float):
        return real()
    raise TypeError(f"a number was expected, got {value!r}")


def named_type(given: Any) -> str:
    """Return the name of a scalar type as kernels write it: `ti.f32`, `float`, `ds.real`.

    Raises:
        TypeError: It is none.
    """
    if given is float or getattr(given, "name", None) == "real":
        return real()
    if given is int or getattr(given, "name", None) == "i32":
        return "i32"
    if given is bool:
        return "u1"
    found = _taichi.dtype_name(given)
    if found is None:
        raise TypeError(f"a scalar type was expected, got {given!r}")
    return found


def promoted(a: str, b: str) -> str:
    """Return the type of arithmetic on two types; two conditions make an integer."""
    larger = a if _RANK[a] >= _RANK[b] else b
    return "i32" if larger == "u1" else larger


def common(a: str, b: str) -> str:
    """Return the type that holds values of two types: two conditions stay conditions."""
    return a if a == b else promoted(a, b)


def wrapped(value: int, kind: str = "i32") -> int:
    """Return an integer as its type holds it."""
    if kind == "i32":
        return value if _LOWEST <= value < -_LOWEST else (value - _LOWEST) % 2**32 + _LOWEST
    bits = int(kind[1:])
    low = -(1 << (bits - 1)) if kind[0] == "i" else 0
    return (value - low) % (1 << bits) + low


def cast_scalar(value: Any, kind: str) -> Any:
    """Convert a number; reals lose what is behind the point, integers wrap."""
    if kind == "f64":
        return np.float64(value)
    if kind == "f32":
        return np.float32(value)
    if kind == "u1":
        return bool(value != 0)
    if isinstance(value, float | np.floating):
        if not math.isfinite(value):  # processors make the lowest number of it
            low = _LOWEST if kind != "i64" else -(2**63)
            value = low if kind[0] == "i" else 0
        whole = int(value)
    else:
        whole = int(value)
    held = wrapped(whole, kind)
    return held if kind == "i32" else TYPES[kind](held)


def _floor_divided(a: Any, b: Any) -> Any:
    return a // b if b != 0 else 0


def _remainder(a: Any, b: Any) -> Any:
    return a % b if b != 0 else 0


def _real_remainder(a: Any, b: Any) -> Any:
    return a - b * np.floor(a / b)


_WHOLE: dict[str, Callable[[Any, Any], Any]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "floordiv": _floor_divided,
    "mod": _remainder,
    "and": operator.and_,
    "or": operator.or_,
    "xor": operator.xor,
}
_REAL: dict[str, Callable[[Any, Any], Any]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": operator.truediv,
    "floordiv": lambda a, b: np.floor(a / b),
    "mod": _real_remainder,
    "pow": np.power,
}
_BITS = ("and", "or", "xor", "shl", "shr")


def scalar_binary(name: str, a: Any, b: Any) -> Any:
    """Apply an operator to two numbers.

    Raises:
        TypeError: One is no number, or bits of a real are asked for.
    """
    if (type(a) in (float, int) and type(b) is float) or (type(a) is float and type(b) in (float, int)):
        return _known(name, a, b)
    x, y = kind_of(a), kind_of(b)
    if name in ("shl", "shr"):
        return _shifted(name, a, b, x)
    if name == "pow" and y[0] != "f":
        return _power(a, int(b), x)
    kind = promoted(x, y)
    if x == y == "u1" and name in _BITS:
        return bool(_WHOLE[name](bool(a), bool(b)))
    if name == "div" and kind[0] != "f":
        kind = real()
    if kind[0] == "f":
        if name in _BITS:
            raise TypeError("bits are those of integers, got a real number")
        return _REAL[name](cast_scalar(a, kind), cast_scalar(b, kind))
    return cast_scalar(_WHOLE[name](int(a), int(b)), kind)


def _known(name: str, a: Any, b: Any) -> Any:
    """Compute with numbers that are known before anything runs, one of them a Python float."""
    if name in _BITS:
        raise TypeError("bits are those of integers, got a real number")
    found = _REAL[name](np.float64(a), np.float64(b))
    return float(found)


def _shifted(name: str, a: Any, b: Any, kind: str) -> Any:
    kind = "i32" if kind == "u1" else kind
    if kind[0] == "f" or kind_of(b)[0] == "f":
        raise TypeError("bits are those of integers, got a real number")
    count = int(b) % int(kind[1:])
    return cast_scalar(int(a) << count if name == "shl" else int(a) >> count, kind)


def _power(a: Any, n: int, kind: str) -> Any:
    """Return a power with a whole exponent; of an integer one below zero is a real number."""
    if kind[0] != "f" and n < 0:
        kind = real()
    if kind[0] != "f":
        kind = "i32" if kind == "u1" else kind
        return cast_scalar(int(a) ** n, kind)
    base = cast_scalar(a, kind)
    return np.power(base, cast_scalar(n, kind))
