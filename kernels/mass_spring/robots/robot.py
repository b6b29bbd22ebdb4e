"""A robot: points [m] and springs, with every rule that they keep."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffsim.errors import ConfigError

__all__ = ["Robot", "check_end", "show"]

Floats: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Robot:
    """A planar mass-spring robot: geometry and material, no state.

    All arrays are copied, checked and made read-only. Every point has a mass of 1 kg.

    Args:
        name: what to call the robot in output.
        points: initial positions [m], shape (n, 2), f64.
        springs: the two points that each spring joins, shape (m, 2), i32.
        rest_length: rest lengths [m], shape (m,), f64, positive.
        stiffness: spring constants [N/m], shape (m,), f64, not negative.
        actuation: largest relative change of each rest length, shape (m,), f64, 0 <= actuation < 1.
        head: index of the point that the cost looks at.
        description: one line for listings.

    Raises:
        ConfigError: an array has the wrong shape or type, a value is not finite or out of its range, a spring
            joins a missing point, one point with itself or two points at the same place.
    """

    name: str
    points: Floats = field(repr=False)
    springs: Integers = field(repr=False)
    rest_length: Floats = field(repr=False)
    stiffness: Floats = field(repr=False)
    actuation: Floats = field(repr=False)
    head: int = 0
    description: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        """Copy, check and freeze the arrays."""
        where = f"robot {self.name}"
        arrays: dict[str, NDArray[Any]] = {"points": _array(self.points, where, "points", (-1, 2))}
        arrays["springs"] = _indices(self.springs, where)
        count = len(arrays["springs"])
        for key in ("rest_length", "stiffness", "actuation"):
            arrays[key] = _array(getattr(self, key), where, key, (count,))
        for key, array in arrays.items():
            array.setflags(write=False)
            object.__setattr__(self, key, array)
        object.__setattr__(self, "head", _head(self.head, len(self.points), where))
        _check_points(self.points, where)
        for s in range(count):
            _check_spring(self, s, where)

    @property
    def n_points(self) -> int:
        """Count the points."""
        return len(self.points)

    @property
    def n_springs(self) -> int:
        """Count the springs."""
        return len(self.springs)


def show(value: object) -> str:
    """Show a value on one line of bounded length."""
    text = repr(value).replace("\n", " ")
    return text if len(text) <= 60 else text[:57] + "..."


def _array(value: ArrayLike, where: str, key: str, shape: tuple[int, ...]) -> Floats:
    """Copy to f64 and check the shape; -1 stands for any length of at least 1."""
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise ConfigError(
            f"{where}: {key} must hold numbers, got {show(value)}; pass an array of floats"
        ) from None
    fits = array.ndim == len(shape) and all(
        want in (-1, have) for want, have in zip(shape, array.shape, strict=True)
    )
    if not fits or array.size == 0:
        wanted = (
            "(" + ", ".join("n" if n < 0 else str(n) for n in shape) + ("," if len(shape) == 1 else "") + ")"
        )
        raise ConfigError(
            f"{where}: {key} must have the shape {wanted}, got {array.shape}; "
            "pass one row per point or spring"
        )
    return array


def _indices(value: ArrayLike, where: str) -> Integers:
    """Copy spring ends to i32, refuse fractions."""
    array = _array(value, where, "springs", (-1, 2))
    whole = np.nan_to_num(np.rint(array))
    for s in np.flatnonzero((whole != array).any(axis=1) | (abs(whole) > 2**31 - 1).any(axis=1)):
        raise ConfigError(
            f"{where}: springs[{s}] must join two points by their whole numbers, got {array[s].tolist()}; "
            "count points from 0"
        )
    return whole.astype(np.int32)


def _head(value: object, count: int, where: str) -> int:
    """Return the head as a point's number."""
    try:
        head = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        head = None
    if isinstance(value, (bool, np.bool_)) or head is None or not 0 <= head < count:
        raise ConfigError(
            f"{where}: head must be a point's number from 0 to {count - 1}, got {show(value)}; "
            "count points from 0"
        )
    return int(head)


def _check_points(points: Floats, where: str) -> None:
    """Refuse positions that are not finite."""
    for index in np.flatnonzero(~np.isfinite(points).all(axis=1)):
        raise ConfigError(
            f"{where}: points[{index}] must be finite, got {points[index].tolist()}; write metres"
        )


def check_end(end: int, count: int, where: str, s: int) -> None:
    """Refuse a spring to a point that does not exist.

    Args:
        end: the point that spring `s` names.
        count: how many points there are.
        where: the robot or file, for the message.
        s: the spring's number.

    Raises:
        ConfigError: there is no such point.
    """
    if not 0 <= end < count:
        raise ConfigError(
            f"{where}: springs[{s}] must join points from 0 to {count - 1}, got point {end}; "
            "add the point or correct the spring"
        )


def _check_spring(robot: Robot, s: int, where: str) -> None:
    """Check every rule that concerns one spring."""
    a, b = (int(end) for end in robot.springs[s])
    place = f"{where}: springs[{s}]"
    check_end(a, robot.n_points, where, s)
    check_end(b, robot.n_points, where, s)
    if a == b:
        raise ConfigError(f"{place} must join two different points, got point {a} twice; correct one end")
    if np.array_equal(robot.points[a], robot.points[b]):
        raise ConfigError(
            f"{place} must join points at different places, got points {a} and {b} both at "
            f"{robot.points[a].tolist()}; "
            "move one of them or remove the spring"
        )
    rest, stiffness, actuation = (float(v[s]) for v in (robot.rest_length, robot.stiffness, robot.actuation))
    if not (math.isfinite(rest) and rest > 0.0):
        raise ConfigError(
            f"{place} must have a positive rest length, got {rest:g}; write it in metres in column 3"
        )
    if not (math.isfinite(stiffness) and stiffness >= 0.0):
        raise ConfigError(
            f"{place} must have a finite stiffness of 0 or more, got {stiffness:g}; "
            "write it in N/m in column 4"
        )
    if not 0.0 <= actuation < 1.0:
        raise ConfigError(
            f"{place} must have an actuation from 0 up to, not including, 1, got {actuation:g}; "
            "write the largest relative change of the rest length in column 5"
        )
