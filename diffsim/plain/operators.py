"""Operators of kernels in plain Python, of numbers and of vectors, component by component."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from diffsim import _taichi
from diffsim.plain.scalars import TYPES, common, kind_of, promoted, real, scalar_binary
from diffsim.plain.vectors import Row, Vec, cast, kind, scalar, vector

__all__ = [
    "apply",
    "chained",
    "elementwise",
    "entry",
    "folded",
    "inverted",
    "matmul",
    "negated",
    "opposite",
    "valued",
]

_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
    "eq": operator.eq,
    "ne": operator.ne,
}
_OTHERS: dict[str, Callable[[Any, Any], Any]] = {
    "is": operator.is_,
    "is_not": operator.is_not,
    "in": lambda a, b: a in b,
    "not_in": lambda a, b: a not in b,
}
_SEQUENCES = (list, tuple)
_DOUBLE, _SINGLE = np.dtype(np.float64), np.dtype(np.float32)
_PLAIN = (float, int, bool)


_READY = frozenset({Vec, float, int, bool, np.float64, np.float32})


def valued(value: Any) -> Any:
    """Return what kernels compute with: vectors that were made in Python, or written as lists, as `Vec`."""
    if type(value) in _READY:
        return value
    if _taichi.is_a(value, "Matrix"):
        return vector(value.to_numpy().tolist())
    if isinstance(value, np.ndarray):
        return vector(value.tolist()) if value.ndim else value.item()
    if isinstance(value, _SEQUENCES):
        return vector([valued(v) for v in value])
    return value


def apply(name: str, a: Any, b: Any) -> Any:
    """Apply an arithmetic operator to two values.

    Raises:
        TypeError: They are no numbers or vectors.
        ValueError: Their shapes do not fit together.
    """
    fast = _FAST.get(name)
    if fast is not None:
        kinds = type(a), type(b)
        if kinds in _NATIVE or (Vec in kinds and _native(a, b, *kinds)):
            return fast(a, b)
    if name == "matmul":
        return matmul(a, b)
    if isinstance(a, Row | str) or isinstance(b, Row | str):
        return _listed(name, a, b)
    a, b = valued(a), valued(b)
    if isinstance(a, Vec) or isinstance(b, Vec):
        return _vectors(name, a, b)
    return scalar_binary(name, a, b)


_KNOWN = (float, int)
_NATIVE = frozenset(
    [(np.float64, np.float64), (np.float32, np.float32)]
    + [pair for x in _KNOWN for pair in ((np.float64, x), (x, np.float64))]
)


def _native(a: Any, b: Any, x: type, y: type) -> bool:
    """Tell whether NumPy computes what Taichi does with two values, one of them a vector."""
    if x is y:
        return a.dtype is b.dtype and a.dtype.kind == "f" and a.shape == b.shape
    found, other = (a, y) if x is Vec else (b, x)
    if found.dtype is _DOUBLE:
        return other is np.float64 or other in _KNOWN
    return found.dtype is _SINGLE and (other is np.float32 or other in _KNOWN)


def folded(first: Any, *rest: Any) -> Any:
    """Apply operators from left to right: `folded(a, "add", b, "mul", c)` is `(a + b) * c`."""
    for name, right in zip(rest[::2], rest[1::2], strict=True):
        first = apply(name, first, right)
    return first


_FAST: dict[str, Callable[[Any, Any], Any]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": operator.truediv,
}


def _listed(name: str, a: Any, b: Any) -> Any:
    """Make a longer list: `[0.0] * 3`, `[a] + [b]`; else compute with lists as vectors."""
    if name == "add" and isinstance(a, list | tuple | str) and isinstance(b, list | tuple | str):
        return a + b if isinstance(a, str) and isinstance(b, str) else Row([*a, *b])
    if name == "mul" and (type(a) is int or type(b) is int):
        return a * b if isinstance(a, str) or isinstance(b, str) else Row(list.__mul__(*_ordered(a, b)))
    if isinstance(a, str) or isinstance(b, str):
        return _FAST.get(name, operator.mod)(a, b)
    return apply(name, *(vector([valued(v) for v in x]) if isinstance(x, Row) else x for x in (a, b)))


def _ordered(a: Any, b: Any) -> tuple[Any, int]:
    return (a, b) if isinstance(a, list) else (b, a)


def _vectors(name: str, a: Any, b: Any) -> Any:
    if isinstance(a, Vec) and isinstance(b, Vec) and a.shape != b.shape:
        raise ValueError(f"shapes {a.shape} and {b.shape} do not fit together")
    found = promoted(kind(a), kind(b))
    if name in ("shl", "shr", "and", "or", "xor") or (name == "pow" and kind(b)[0] != "f"):
        return elementwise(lambda x, y: scalar_binary(name, x, y), a, b)
    if name in ("floordiv", "mod") and found[0] != "f":
        return elementwise(lambda x, y: scalar_binary(name, x, y), a, b)
    if name == "div" and found[0] != "f":
        found = real()
    x, y = (np.asarray(cast(v, found)) for v in (a, b))
    if name == "pow":
        return np.power(x, y).view(Vec)
    if name == "floordiv":
        return np.floor(x / y).view(Vec)
    if name == "mod":
        return (x - y * np.floor(x / y)).view(Vec)
    return _FAST[name](x, y).view(Vec)


def elementwise(function: Callable[..., Any], *values: Any) -> Any:
    """Apply a function of numbers to each component; numbers are repeated.

    Raises:
        ValueError: Shapes do not fit together.
    """
    given = [valued(v) for v in values]
    shapes = {v.shape for v in given if isinstance(v, Vec)}
    if not shapes:
        return function(*given)
    if len(shapes) > 1:
        raise ValueError(f"shapes {' and '.join(map(str, sorted(shapes)))} do not fit together")
    [shape] = shapes
    columns = [
        [scalar(x) for x in np.asarray(v).ravel()] if isinstance(v, Vec) else [v] * int(np.prod(shape))
        for v in given
    ]
    found = [function(*row) for row in zip(*columns, strict=True)]
    name = kind_of(found[0])
    for x in found[1:]:
        name = common(name, kind_of(x))
    return np.array(found, TYPES[name]).reshape(shape).view(Vec)


def matmul(a: Any, b: Any) -> Any:
    """Return a product of matrices, of a matrix and a vector, or of two vectors.

    Raises:
        ValueError: Their shapes do not fit together.
    """
    a, b = valued(a), valued(b)
    found = promoted(kind(a), kind(b))
    x, y = (np.asarray(cast(v, found)) for v in (a, b))
    made = x @ y
    return made.view(Vec) if np.ndim(made) else scalar(made)


def negated(a: Any) -> Any:
    """Return `-a`."""
    a = valued(a)
    if isinstance(a, float | Vec) and not (isinstance(a, Vec) and a.dtype == np.bool_):
        return (-np.asarray(a)).view(Vec) if isinstance(a, Vec) else -a
    return apply("sub", 0, a)


def opposite(a: Any) -> Any:
    """Return `not a`."""
    a = valued(a) if isinstance(a, np.ndarray) or _taichi.is_a(a, "Matrix") else a
    return (np.asarray(a) == 0).view(Vec) if isinstance(a, Vec) else not a


def inverted(a: Any) -> Any:
    """Return `~a`: the other bits, or the opposite of a condition."""
    a = valued(a)
    if kind(a) == "u1":
        return opposite(a)
    return apply("xor", a, -1)


def chained(first: Any, *rest: Any) -> Any:
    """Compare values in a chain: `chained(a, "lt", b, "le", c)`."""
    result, left = None, first
    for name, right in zip(rest[::2], rest[1::2], strict=True):
        one = _compared(name, left, right)
        if result is None:
            result = one
        elif isinstance(result, Vec) or isinstance(one, Vec):
            result = elementwise(lambda p, q: bool(p) and bool(q), result, one)
        else:
            result = result and one
        left = right
    return result


def _compared(name: str, a: Any, b: Any) -> Any:
    if name in _OTHERS:
        return _OTHERS[name](a, b)
    if type(a) in _PLAIN and type(b) in _PLAIN:
        return _COMPARE[name](a, b)
    if _countable(a) and _countable(b):
        a, b = valued(a), valued(b)
        if isinstance(a, Vec) or isinstance(b, Vec):
            return elementwise(lambda x, y: _compared(name, x, y), a, b)
        found = promoted(kind(a), kind(b))
        return bool(_COMPARE[name](cast(a, found), cast(b, found)))
    return _COMPARE[name](a, b)


def _countable(value: Any) -> bool:
    plain = isinstance(value, int | float | np.generic | np.ndarray)
    return plain or _taichi.is_a(value, "Matrix")


def entry(base: Any, index: Any) -> Any:
    """Return `base[index]` of a vector: a component, a row or a part of it."""
    if type(index) is int and base.ndim == 1:
        return scalar(base[index])
    items = index if isinstance(index, tuple) else (index,)
    places = tuple(i if isinstance(i, slice) else int(i) for i in items)
    found = np.asarray(base)[places if len(places) > 1 else places[0]]
    return found.view(Vec) if np.ndim(found) else scalar(found)
