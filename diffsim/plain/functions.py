"""What functions of Taichi, `math`, NumPy and Python mean in kernels that run as plain Python."""

from __future__ import annotations

import builtins
import itertools
import math
from collections.abc import Callable, Iterator
from functools import reduce
from typing import Any

import numpy as np

from diffsim import _taichi
from diffsim.language import intrinsics
from diffsim.math import precision
from diffsim.plain import operators
from diffsim.plain.operators import elementwise, valued
from diffsim.plain.scalars import TYPES, cast_scalar, common, kind_of, named_type, promoted, real, wrapped
from diffsim.plain.vectors import Row, Vec, cast

__all__ = ["EXTREMES", "STAND_INS", "key_of", "ndrange", "spans"]

ti = _taichi.ti
Function = Callable[..., Any]


def key_of(obj: Any) -> int:
    """Return what an object is found by: class methods are made anew at each look."""
    return id(getattr(obj, "__func__", obj))


# ---- of one or two numbers ----


def _real_function(apply: Function) -> Function:
    """Return a function of reals as one of numbers and vectors; integers become reals."""

    def one(*values: Any) -> Any:
        if all(type(v) is float for v in values):
            return float(apply(*map(np.float64, values)))
        name = reduce(promoted, map(kind_of, values)) if len(values) > 1 else kind_of(values[0])
        made = TYPES[name if name[0] == "f" else real()]
        return made(apply(*map(made, values)))

    return lambda *values: elementwise(one, *values)


def _round(x: Any) -> Any:
    return np.copysign(np.floor(np.abs(x) + x.dtype.type(0.5)), x)


def _with_type(apply: Function) -> Function:
    """Return a function that rounds, and casts where it is told a type."""
    rounded = _real_function(apply)

    def call(x: Any, dtype: Any = None) -> Any:
        found = rounded(x)
        return found if dtype is None else cast(found, named_type(dtype))

    return call


def _abs(x: Any) -> Any:
    def one(a: Any) -> Any:
        name = kind_of(a)
        if name[0] == "f":
            return abs(a)
        return cast_scalar(abs(int(a)), "i32" if name == "u1" else name)

    return elementwise(one, x)


def _extreme(choose: Function) -> Function:
    def two(a: Any, b: Any) -> Any:
        if type(a) in (float, int) and type(b) in (float, int) and float in (type(a), type(b)):
            return choose(float(a), float(b))
        name = promoted(kind_of(a), kind_of(b))
        return choose(cast_scalar(a, name), cast_scalar(b, name))

    def call(*values: Any) -> Any:
        given = list(valued(values[0])) if len(values) == 1 else values
        return reduce(lambda a, b: elementwise(two, a, b), given)

    return call


def _larger(a: Any, b: Any) -> Any:
    return a if a >= b or a != a else b


def _smaller(a: Any, b: Any) -> Any:
    return a if a <= b or a != a else b


def _select(condition: Any, a: Any, b: Any) -> Any:
    def one(c: Any, x: Any, y: Any) -> Any:
        name = common(kind_of(x), kind_of(y))
        return cast_scalar(x if c else y, name)

    return elementwise(one, condition, a, b)


def _power(a: Any, b: Any) -> Any:
    return operators.apply("pow", a, b)


def _whole_quotient(a: int, b: int) -> int:
    return 0 if b == 0 else abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def _raw_mod(x: Any, y: Any) -> Any:
    def one(a: Any, b: Any) -> Any:
        name = promoted(kind_of(a), kind_of(b))
        a, b = cast_scalar(a, name), cast_scalar(b, name)
        if name[0] == "f":
            return a - b * np.trunc(a / b)
        return cast_scalar(int(a) - int(b) * _whole_quotient(int(a), int(b)), name)

    return elementwise(one, x, y)


def _raw_div(x: Any, y: Any) -> Any:
    def one(a: Any, b: Any) -> Any:
        name = promoted(kind_of(a), kind_of(b))
        if name[0] == "f":
            return cast_scalar(a, name) / cast_scalar(b, name)
        return cast_scalar(_whole_quotient(int(a), int(b)), name)

    return elementwise(one, x, y)


def _logical_shift(x: Any, n: Any) -> Any:
    def one(a: Any, k: Any) -> Any:
        name = kind_of(a)
        bits = int(name[1:])
        return cast_scalar((int(a) % (1 << bits)) >> (int(k) % bits), name)

    return elementwise(one, x, n)


def _count_ones(x: Any) -> Any:
    return elementwise(lambda a: bin(int(a) % (1 << int(kind_of(a)[1:]))).count("1"), x)


def _leading_zeros(x: Any) -> Any:
    return elementwise(lambda a: 32 - (int(a) % (1 << 32)).bit_length(), x)


_REALS: dict[str, Function] = {
    name: _real_function(getattr(np, numpys))
    for name, numpys in {
        "sin": "sin",
        "cos": "cos",
        "tan": "tan",
        "tanh": "tanh",
        "exp": "exp",
        "log": "log",
        "sqrt": "sqrt",
        "asin": "arcsin",
        "acos": "arccos",
        "atan": "arctan",
        "atan2": "arctan2",
        "sinh": "sinh",
        "cosh": "cosh",
        "hypot": "hypot",
        "log2": "log2",
        "log10": "log10",
        "log1p": "log1p",
        "degrees": "degrees",
        "radians": "radians",
        "trunc": "trunc",
    }.items()
}
_REALS["rsqrt"] = _real_function(lambda x: x.dtype.type(1.0) / np.sqrt(x))
_OTHERS: dict[str, Function] = {
    "floor": _with_type(np.floor),
    "ceil": _with_type(np.ceil),
    "round": _with_type(_round),
    "abs": _abs,
    "max": _extreme(_larger),
    "min": _extreme(_smaller),
    "select": _select,
    "pow": _power,
    "isnan": lambda x: elementwise(lambda a: bool(a != a), x),
    "isinf": lambda x: elementwise(lambda a: bool(np.isinf(np.float64(a))), x),
    "raw_div": _raw_div,
    "raw_mod": _raw_mod,
    "bit_shr": _logical_shift,
    "popcnt": _count_ones,
    "clz": _leading_zeros,
}
_NUMPY = {
    "arcsin": "asin",
    "arccos": "acos",
    "arctan": "atan",
    "arctan2": "atan2",
    "maximum": "max",
    "minimum": "min",
    "power": "pow",
    "where": "select",
    "absolute": "abs",
    "abs": "abs",
    "fabs": "abs",
}


# ---- vectors and types ----


def _vector(items: Any, dt: Any = None, *_: Any, dtype: Any = None) -> Any:
    named = dt if dt is not None else dtype
    given = valued(list(items))
    return given.copy() if named is None else cast(given, named_type(named))


def _filled(fill: Callable[[int, int], float]) -> Function:
    def make(dt: Any, n: Any, m: Any = None) -> Any:
        shape = (int(n),) if m is None else (int(n), int(m))
        entries = [fill(i, j) for i in range(shape[0]) for j in range(shape[1] if len(shape) > 1 else 1)]
        return np.array(entries, TYPES[named_type(dt)]).reshape(shape).view(Vec)

    return make


def _identity(dt: Any, n: Any) -> Any:
    return np.eye(int(n), dtype=TYPES[named_type(dt)]).view(Vec)


def _diagonal(dim: Any, val: Any) -> Any:
    name = kind_of(val)
    return (np.eye(int(dim)) * float(val)).astype(TYPES[name]).view(Vec)


def _unit(n: Any, i: Any, dt: Any = None) -> Any:
    found = np.zeros(int(n), TYPES["i32" if dt is None else named_type(dt)])
    found[int(i)] = 1
    return found.view(Vec)


def _filled_like(number: int) -> Function:
    return lambda x: elementwise(lambda a: cast_scalar(number, kind_of(a)), x)


def _cast(x: Any, dtype: Any) -> Any:
    return cast(valued(x), named_type(dtype))


def _bit_cast(x: Any, dtype: Any) -> Any:
    return elementwise(lambda a: cast_scalar(wrapped(int(a), named_type(dtype)), named_type(dtype)), x)


def _method(name: str) -> Function:
    return lambda v, *args, **named: getattr(valued(v), name)(*args, **named)


# ---- loops ----


def _range(*bounds: Any) -> range:
    return range(*(int(b) for b in bounds))


def spans(axes: Any) -> list[range]:
    """Return the ranges of `ti.ndrange`."""
    return [
        range(*(int(b) for b in a)) if isinstance(a, list | tuple | np.ndarray) else range(int(a))
        for a in axes
    ]


class ndrange:
    """What `ti.ndrange` is: indices of a box, the last one fastest.

    Args:
        axes: The length of each axis, or its first index and the one behind its last.
    """

    def __init__(self, *axes: Any) -> None:
        self.ranges = spans(axes)

    def __iter__(self) -> Iterator[Any]:
        if len(self.ranges) == 1:
            return iter(self.ranges[0])
        return itertools.product(*self.ranges)


def _static(*values: Any) -> Any:
    return values[0] if len(values) == 1 else values


def _nothing(*_: Any, **__: Any) -> None:
    """Pass over a hint to Taichi's compiler."""


def _static_assert(cond: Any, msg: Any = None) -> None:
    if not cond:
        raise AssertionError(msg)


def _sum(items: Any, start: Any = None) -> Any:
    given = list(valued(items)) if isinstance(items, Vec) else list(items)
    if start is not None or not given:
        given.insert(0, 0 if start is None else start)
    return reduce(lambda a, b: operators.apply("add", a, b), given)


def _float(x: Any = 0.0) -> Any:
    return float(x) if isinstance(x, str) else cast(valued(x), real())


def _int(x: Any = 0) -> Any:
    return int(x) if isinstance(x, str) else cast(valued(x), "i32")


def _quantified(name: str) -> Function:
    def call(x: Any) -> Any:
        if isinstance(x, Vec):
            return getattr(x, name)()
        return getattr(builtins, name)(x) if hasattr(x, "__iter__") else x

    return call


def _table() -> dict[int, tuple[Any, Function]]:
    """Return what stands for each function, by its key, beside the function itself, which so stays alive."""
    pairs: list[tuple[Any, Function]] = []
    for name, made in (*_REALS.items(), *_OTHERS.items()):
        pairs += [(getattr(home, name), made) for home in (ti, ti.math, math, np) if hasattr(home, name)]
    for name, other in _NUMPY.items():
        pairs.append((getattr(np, name), {**_REALS, **_OTHERS}[other]))
    pairs += [(getattr(builtins, name), _OTHERS[name]) for name in ("abs", "max", "min", "pow", "round")]
    pairs += [(math.fabs, _abs), (math.fmod, _raw_mod), (np.square, lambda x: operators.apply("mul", x, x))]
    pairs.append((np.clip, lambda x, low, high: _OTHERS["min"](_OTHERS["max"](x, low), high)))
    for owner in (ti.Vector, ti.Matrix):
        named: dict[str, Function] = {
            "zero": _filled(lambda i, j: 0.0),
            "one": _filled(lambda i, j: 1.0),
            "identity": _identity,
            "diag": _diagonal,
            "unit": _unit,
            "rows": _vector,
            "cols": lambda items: _vector(items).transpose(),
            **{name: _method(name) for name in _METHODS},
        }
        pairs += [(owner, _vector)]
        pairs += [(getattr(owner, name), made) for name, made in named.items() if hasattr(owner, name)]
    plain: list[tuple[Any, Function]] = [
        (ti.cast, _cast),
        (ti.bit_cast, _bit_cast),
        (ti.static, _static),
        (ti.zero, _filled_like(0)),
        (ti.one, _filled_like(1)),
        (ti.ndrange, ndrange),
        (ti.loop_config, _nothing),
        (ti.block_local, _nothing),
        (ti.cache_read_only, _nothing),
        (ti.no_activate, _nothing),
        (ti.static_assert, _static_assert),
        (ti.static_print, print),
        (ti.assume_in_range, lambda x, *_: x),
        (range, _range),
        (sum, _sum),
        (float, _float),
        (int, _int),
        (bool, lambda x=False: bool(x)),
        (list, lambda items=(): Row(items)),
        (any, _quantified("any")),
        (all, _quantified("all")),
        (precision.epsilon, lambda: precision.EPSILONS[real()]),
        (intrinsics.stop_gradient, lambda x: x),
    ]
    return {key_of(obj): (obj, made) for obj, made in [*pairs, *plain]}


_METHODS = (
    "norm norm_sqr norm_inv normalized dot cross outer_product transpose trace determinant inverse sum any "
    "all max min cast get_shape"
).split()
STAND_INS = _table()
EXTREMES = {name: _OTHERS[name] for name in ("max", "min")}
