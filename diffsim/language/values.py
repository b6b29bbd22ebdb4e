"""The values that fields are given: numbers of a shape that fits, and no NaN among them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffsim.errors import ConfigError

__all__ = ["checked_integers", "checked_unit", "checked_values", "extent", "named_shape", "shortened"]

Fits = Callable[[tuple[int, ...]], bool]
_LONGEST_UNIT = 40
_LONGEST_TEXT = 80


def checked_values(label: str, array: ArrayLike, allowed: Fits, wanted: str, worlds: Fits) -> NDArray[Any]:
    """Return values as an array of f64 of their own.

    Args:
        label: What messages call the field.
        array: What was given.
        allowed: Tells whether a shape fits.
        wanted: The shapes that do, in words.
        worlds: Tells whether a shape is that of values for each world.

    Raises:
        ConfigError: It is not numeric, its shape does not fit, or it holds NaN.
    """
    try:
        given = np.asarray(array)
        if given.dtype.kind not in "biuf":  # None would become NaN
            raise TypeError(f"an array of {given.dtype}")
        values = np.array(given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"{label} must be set to numbers, got {shortened(array)}; pass an array {wanted}"
        ) from error
    if not allowed(values.shape):
        remedy = "reshape the array"
        if worlds(values.shape):
            remedy = "declare it with per_world=True if each world has values of its own"
        raise ConfigError(f"{label} must have shape {wanted}, got {values.shape}; {remedy}")
    spoiled = np.isnan(values)
    if spoiled.any():
        where = f" at index {np.argwhere(spoiled)[0].tolist()}" if values.shape else ""
        raise ConfigError(
            f"{label} must be set to numbers, got nan{where}; correct what computed it "
            "(infinities may be set)"
        )
    return values


def checked_integers(label: str, values: NDArray[Any]) -> NDArray[Any]:
    """Return values as 32-bit integers.

    Args:
        label: What messages call the field.
        values: Numbers.

    Raises:
        ConfigError: One is no such integer.
    """
    if (
        not np.all(np.isfinite(values))
        or np.any(values != np.round(values))
        or np.any(np.abs(values) >= 2**31)
    ):
        raise ConfigError(
            f"{label} must hold 32-bit integers, got other numbers; declare it with floats (a float "
            "array, or ds.real)"
        )
    return values.astype(np.int32)


def checked_unit(kind: str, unit: str) -> str:
    """Return a unit as it is shown: a few characters on one line.

    Raises:
        ConfigError: It is something else.
    """
    if not isinstance(unit, str) or len(unit) > _LONGEST_UNIT or not (unit == "" or unit.isprintable()):
        raise ConfigError(
            f"{kind} unit must be a short text such as 'm/s', got {unit!r}; leave it out for a plain number"
        )
    return unit.strip()


def extent(values: NDArray[Any]) -> str:
    """Tell values in a few characters: the number, or the smallest and the largest."""
    low, high = np.min(values), np.max(values)
    return f"{low:g}" if low == high else f"{low:g} .. {high:g}"


def shortened(given: Any) -> str:
    """Show what was given on one line of bounded length."""
    text = " ".join(repr(given).split())
    return text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 3]}..."


def named_shape(axes: str, shape: tuple[int, ...]) -> str:
    """Return a shape whose first axes have names."""
    return f"({', '.join([axes, *map(str, shape)])}{'' if shape or ',' in axes else ','})"
