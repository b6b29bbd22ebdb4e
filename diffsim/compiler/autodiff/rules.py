"""Derivatives of the scalar functions that kernels may use.

At kinks the convention is Taichi's: `abs` has slope 0 at 0; of two equal arguments, `max` and `min` pass the
gradient to the second. The gradient of an exponent at a base that is not positive is 0. Infinite slopes stay
infinite here; `diffsim.compiler.autodiff.masks` says where they count as nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from diffsim.compiler.builder import Builder
from diffsim.compiler.ir import Const, Operand, is_float

__all__ = ["FLAT", "contributions"]

Contribution = Callable[[], Operand]
Rule = Callable[[Builder, tuple[Operand, ...], Operand, Operand], tuple[Contribution | None, ...]]

FLAT = frozenset(
    (
        "stop inside at_most isnan isinf popcnt round floor ceil lt le gt ge eq ne and or not "
        "bit_and bit_or bit_xor shl shr floordiv mod philox0 philox1 "
        "cast_i8 cast_i16 cast_i32 cast_i64 cast_u1 cast_u8 cast_u16 cast_u32 cast_u64"
    ).split()
)


def contributions(
    b: Builder, fn: str, args: tuple[Operand, ...], result: Operand, g: Operand
) -> tuple[Contribution | None, ...]:
    """Return, for each argument, what computes its share of the adjoint `g` of `result`, or None.

    Raises:
        KeyError: The function has no known derivative.
    """
    if fn.startswith("cast_"):
        return (lambda: b.cast(g, args[0].dtype),)
    return _RULES[fn](b, args, result, g)


def _linear(fn: str) -> Rule:
    def rule(
        b: Builder, args: tuple[Operand, ...], r: Operand, g: Operand
    ) -> tuple[Contribution | None, ...]:
        return (lambda: g), (lambda: g if fn == "add" else b.op("neg", g))

    return rule


def _unary(derivative: Callable[[Builder, Operand, Operand, Operand], Operand]) -> Rule:
    """Make a rule of a function that computes `g * f'(x)` from x, the result and g."""

    def rule(
        b: Builder, args: tuple[Operand, ...], r: Operand, g: Operand
    ) -> tuple[Contribution | None, ...]:
        return (lambda: derivative(b, args[0], r, g),)

    return rule


def _number(b: Builder, value: float, like: Operand) -> Const:
    return b.const(value, like.dtype)


def _abs(b: Builder, x: Operand, r: Operand, g: Operand) -> Operand:
    zero = _number(b, 0.0, g)
    below = b.op("select", b.op("lt", x, _number(b, 0.0, x)), b.op("neg", g), zero)
    return b.op("select", b.op("gt", x, _number(b, 0.0, x)), g, below)


def _one_minus_square(b: Builder, x: Operand) -> Operand:
    return b.op("sub", _number(b, 1.0, x), b.op("mul", x, x))


def _tanh(b: Builder, x: Operand, r: Operand, g: Operand) -> Operand:
    return b.op("mul", g, _one_minus_square(b, r))


def _asin(b: Builder, x: Operand, r: Operand, g: Operand) -> Operand:
    return b.op("div", g, b.op("sqrt", _one_minus_square(b, x)))


def _rsqrt(b: Builder, x: Operand, r: Operand, g: Operand) -> Operand:
    cube = b.op("mul", r, b.op("mul", r, r))
    return b.op("mul", g, b.op("mul", _number(b, -0.5, x), cube))


def _sqrt(b: Builder, x: Operand, r: Operand, g: Operand) -> Operand:
    return b.op("div", b.op("mul", _number(b, 0.5, g), g), r)


def _mul(b: Builder, args: tuple[Operand, ...], r: Operand, g: Operand) -> tuple[Contribution | None, ...]:
    return (lambda: b.op("mul", g, args[1])), (lambda: b.op("mul", g, args[0]))


def _div(b: Builder, args: tuple[Operand, ...], r: Operand, g: Operand) -> tuple[Contribution | None, ...]:
    return (lambda: b.op("div", g, args[1])), (lambda: b.op("neg", b.op("div", b.op("mul", g, r), args[1])))


def _powi(b: Builder, args: tuple[Operand, ...], r: Operand, g: Operand) -> tuple[Contribution | None, ...]:
    base, n = args
    assert isinstance(n, Const)  # noqa: S101  (powi is only made of literal exponents)
    power = b.op("pow", base, b.const(n.value - 1))
    return (lambda: b.op("mul", g, b.op("mul", _number(b, float(n.value), base), power))), None


def _pow(b: Builder, args: tuple[Operand, ...], r: Operand, g: Operand) -> tuple[Contribution | None, ...]:
    base, exponent = args

    def to_base() -> Operand:
        if isinstance(exponent, Const) and exponent.value == 0.0:
            return _number(b, 0.0, g)
        lower = b.op("pow", base, b.op("sub", exponent, _number(b, 1.0, exponent)))
        return b.op("mul", g, b.op("mul", exponent, lower))

    def to_exponent() -> Operand:
        positive = b.op("gt", base, _number(b, 0.0, base))
        log = b.op("log", b.op("select", positive, base, _number(b, 1.0, base)))
        return b.op("mul", g, b.op("mul", r, log))

    return to_base, to_exponent


def _atan2(b: Builder, args: tuple[Operand, ...], r: Operand, g: Operand) -> tuple[Contribution | None, ...]:
    y, x = args

    def share(numerator: Operand) -> Operand:
        square = b.op("add", b.op("mul", x, x), b.op("mul", y, y))
        origin = b.op("eq", square, _number(b, 0.0, square))
        safe = b.op("select", origin, _number(b, 1.0, square), square)
        return b.op("mul", g, b.op("div", numerator, safe))

    return (lambda: share(x)), (lambda: b.op("neg", share(y)))


def _extremum(fn: str) -> Rule:
    def rule(
        b: Builder, args: tuple[Operand, ...], r: Operand, g: Operand
    ) -> tuple[Contribution | None, ...]:
        first = b.op("gt" if fn == "max" else "lt", args[0], args[1])
        zero = _number(b, 0.0, g)
        return (lambda: b.op("select", first, g, zero)), (lambda: b.op("select", first, zero, g))

    return rule


def _select(b: Builder, args: tuple[Operand, ...], r: Operand, g: Operand) -> tuple[Contribution | None, ...]:
    zero = _number(b, 0.0, g)
    return None, (lambda: b.op("select", args[0], g, zero)), (lambda: b.op("select", args[0], zero, g))


_RULES: dict[str, Rule] = {
    "add": _linear("add"),
    "sub": _linear("sub"),
    "mul": _mul,
    "div": _div,
    "neg": _unary(lambda b, x, r, g: b.op("neg", g)),
    "abs": _unary(_abs),
    "sqrt": _unary(_sqrt),
    "rsqrt": _unary(_rsqrt),
    "sin": _unary(lambda b, x, r, g: b.op("mul", g, b.op("cos", x))),
    "cos": _unary(lambda b, x, r, g: b.op("neg", b.op("mul", g, b.op("sin", x)))),
    "asin": _unary(_asin),
    "acos": _unary(lambda b, x, r, g: b.op("neg", _asin(b, x, r, g))),
    "tanh": _unary(_tanh),
    "exp": _unary(lambda b, x, r, g: b.op("mul", g, r)),
    "log": _unary(lambda b, x, r, g: b.op("div", g, x)),
    "pow": _pow,
    "powi": _powi,
    "atan2": _atan2,
    "max": _extremum("max"),
    "min": _extremum("min"),
    "select": _select,
    "replay": lambda b, args, r, g: (None, lambda: g),
}


def differentiable(fn: str, dtype: str) -> bool:
    """Tell whether a function passes gradients on."""
    return is_float(dtype) and fn not in FLAT
