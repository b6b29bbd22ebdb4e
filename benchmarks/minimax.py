"""`python -m benchmarks.minimax`: derive the coefficients of the functions written inline.

Polynomials come from the exchange of Remez (1934) in 60 digits, with mpmath. What is printed is rounded to
f64, in which the functions of f32 are computed too, and the error beside it is that of the rounded
coefficients, as a share of the function itself.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mpmath as mp

__all__ = ["FORMS", "Form", "polynomial", "quotient"]

Function = Callable[[Any], Any]

_DIGITS = 60
_ROUNDS = 40
_NEAR = 1e-8
_NODES = 1000  # where the error is looked at


@dataclass(frozen=True)
class Form:
    """What is approximated, and how.

    Attributes:
        value: The function that the polynomial stands for.
        share: What the polynomial is multiplied by in the result, divided by the result.
        low, high: The interval.
        degrees: Of the polynomial, for f32 and f64.
    """

    value: Function
    share: Function
    low: float
    high: float
    degrees: dict[str, int]


def _beside_zero(value: Function) -> Function:
    """Return a function that is its own limit at 0 where the formula has none."""
    return lambda x: value(x if abs(x) > _NEAR else _NEAR)


def _root(function: Function) -> Function:
    """Return a function of x*x, given as one of x that is even."""
    return lambda z: function(mp.sqrt(z) if z > 0 else mp.mpf(0))


_HALF_LOG_2 = 0.3466  # a little more than log(2) / 2, for what rounding does to the reduction
_QUARTER = 0.7855  # the same of pi / 4

FORMS: dict[str, Form] = {
    # exp(x) = p(x)
    "exp": Form(mp.exp, lambda x: mp.exp(-x), -_HALF_LOG_2, _HALF_LOG_2, {"f32": 6}),
    # exp(x) = 1 + x + x^2 p(x)
    "exp_rest": Form(
        _beside_zero(lambda x: (mp.expm1(x) - x) / x**2),
        lambda x: x**2 * mp.exp(-x),
        -_HALF_LOG_2,
        _HALF_LOG_2,
        {"f64": 9},
    ),
    # log(1 + x) = x + x^2 p(x)
    "log": Form(
        _beside_zero(lambda x: (mp.log1p(x) - x) / x**2),
        lambda x: x**2 / mp.log1p(x) if x else mp.mpf(0),
        0.7071 - 1,
        1.4143 - 1,
        {"f32": 8},
    ),
    # log(1 + x) = 2 s + s z p(z), s = x / (2 + x), z = s^2
    "log_quotient": Form(
        _root(_beside_zero(lambda s: (2 * mp.atanh(s) / s - 2) / s**2)),
        lambda z: z / 2,
        0.0,
        0.02945,
        {"f64": 6},
    ),
    # tanh(x) = x + x z p(z), z = x^2
    "tanh": Form(
        _root(_beside_zero(lambda x: (mp.tanh(x) / x - 1) / x**2)),
        lambda z: z * (mp.sqrt(z) / mp.tanh(mp.sqrt(z)) if z else mp.mpf(1)),
        0.0,
        0.3026,
        {"f64": 10},
    ),
    # sin(x) = x + x z p(z), z = x^2
    "sin": Form(
        _root(_beside_zero(lambda x: (mp.sin(x) / x - 1) / x**2)),
        lambda z: z * (mp.sqrt(z) / mp.sin(mp.sqrt(z)) if z else mp.mpf(1)),
        0.0,
        _QUARTER**2,
        {"f32": 2, "f64": 5},
    ),
    # cos(x) = 1 - z / 2 + z^2 p(z), z = x^2
    "cos": Form(
        _root(_beside_zero(lambda x: (mp.cos(x) - 1 + x**2 / 2) / x**4)),
        lambda z: z**2 / mp.cos(mp.sqrt(z)),
        0.0,
        _QUARTER**2,
        {"f32": 2, "f64": 5},
    ),
}


def _extremes(error: Function, low: Any, high: Any, count: int) -> list[Any]:
    """Return `count` places where the error is largest, with signs that take turns."""
    half, middle = (high - low) / 2, (high + low) / 2
    xs = [middle - half * mp.cos(mp.pi * k / _NODES) for k in range(_NODES + 1)]
    groups: list[tuple[Any, Any]] = []
    for x in xs:
        e = error(x)
        if abs(x) < _NEAR:  # nothing but rounding
            continue
        if groups and (e >= 0) == (groups[-1][1] >= 0):
            if abs(e) > abs(groups[-1][1]):
                groups[-1] = (x, e)
        else:
            groups.append((x, e))
    while len(groups) > count:
        groups.pop(0 if abs(groups[0][1]) < abs(groups[-1][1]) else -1)
    return [x for x, _ in groups]


def polynomial(form: Form, degree: int) -> list[Any]:
    """Return the coefficients of the polynomial whose largest error is smallest, constant first.

    Args:
        form: What is approximated.
        degree: Of the polynomial.
    """
    low, high = mp.mpf(form.low), mp.mpf(form.high)
    half, middle, count = (high - low) / 2, (high + low) / 2, degree + 2
    # a little off the middle, where some errors vanish whatever the polynomial is
    xs = [middle - half * mp.cos(mp.pi * (k + mp.mpf("0.53")) / count) for k in range(count)]
    found: list[Any] = []
    for _ in range(_ROUNDS):
        rows = [[x**j for j in range(degree + 1)] + [(-1) ** k / form.share(x)] for k, x in enumerate(xs)]
        solution = mp.lu_solve(mp.matrix(rows), mp.matrix([form.value(x) for x in xs]))
        *found, level = solution

        def error(x: Any, p: list[Any] = found) -> Any:
            return (mp.polyval(p[::-1], x) - form.value(x)) * form.share(x)

        places = _extremes(error, low, high, count)
        if len(places) < count:
            break
        xs = places
        if max(abs(error(x)) for x in xs) < abs(level) * mp.mpf("1.001"):
            break
    return found


def quotient(value: Function, top: float, over: int, below: int) -> tuple[list[Any], list[Any]]:
    """Return the two polynomials of z = x^2 whose quotient is as near as can be to a function of z.

    Args:
        value: The function; what counts is the error as a share of it.
        top: Of x, which begins at 0.
        over: The degree of the first.
        below: The degree of the second.
    """
    half, count = mp.mpf(top) / 2, over + below + 2
    zs = [(half - half * mp.cos(mp.pi * (k + mp.mpf("0.53")) / count)) ** 2 for k in range(count)]
    p, q = [mp.mpf(1)], [mp.mpf(1)]
    for _ in range(_ROUNDS):
        for _ in range(4):  # the level times the denominator: with the denominator known so far
            rows = [
                [z**j for j in range(over + 1)]
                + [-value(z) * z**j for j in range(1, below + 1)]
                + [-((-1) ** k) * value(z) * mp.polyval(q[::-1], z)]
                for k, z in enumerate(zs)
            ]
            *found, level = mp.lu_solve(mp.matrix(rows), mp.matrix([value(z) for z in zs]))
            p, q = found[: over + 1], [mp.mpf(1), *found[over + 1 :]]

        def error(x: Any, p: list[Any] = p, q: list[Any] = q) -> Any:
            return mp.polyval(p[::-1], x * x) / (mp.polyval(q[::-1], x * x) * value(x * x)) - 1

        places = _extremes(error, mp.mpf(0), mp.mpf(top), count)
        if len(places) < count:
            break
        zs = [x * x for x in places]
        if max(abs(error(x)) for x in places) < abs(level) * mp.mpf("1.001"):
            break
    return p, q


def rounded(form: Form, degree: int) -> tuple[list[float], float]:
    """Return coefficients in f64, and the largest error of their polynomial as a power of two."""
    found = [float(c) for c in polynomial(form, degree)]
    low, high = mp.mpf(form.low), mp.mpf(form.high)
    xs = [low + (high - low) * k / _NODES for k in range(_NODES + 1)]
    errors = [
        (mp.polyval([mp.mpf(c) for c in reversed(found)], x) - form.value(x)) * form.share(x)
        for x in xs
        if abs(x) > _NEAR
    ]
    return found, float(mp.log(max(abs(e) for e in errors), 2))


def main(words: list[str] | None = None) -> int:
    """Print all coefficients."""
    argparse.ArgumentParser("python -m benchmarks.minimax", description=__doc__).parse_args(words)
    with mp.workdps(_DIGITS):
        for name, form in FORMS.items():
            for dtype, degree in form.degrees.items():
                found, error = rounded(form, degree)
                print(f"{name} {dtype}: error 2^{error:.1f}")
                for one in found:
                    print(f"    {one!r}")
        value = _root(_beside_zero(lambda x: mp.tanh(x) / x))
        for name, polynomial_of in zip(("over", "below"), quotient(value, 9.25, 4, 5), strict=True):
            print(f"tanh f32, {name}")
            for one in polynomial_of:
                print(f"    {float(one)!r}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
