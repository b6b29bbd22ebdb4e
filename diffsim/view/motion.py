"""Motions and places as checked arrays: what the planar pictures are drawn from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffsim.errors import ConfigError
from diffsim.view.finite import count_missing

__all__ = ["Floats", "Limits", "Motion", "Place", "check_motion", "robot_limits"]

Floats: TypeAlias = NDArray[np.float64]
Limits: TypeAlias = tuple[float, float, float, float]


@dataclass(frozen=True)
class Motion:
    """One checked motion: what is drawn, in arrays of known shape.

    Args:
        positions: [m], shape (frames, n, 2); NaN where a point is not to be drawn.
        springs: shape (m, 2).
        actuation: in [-1, 1], shape (frames, m); zero where unknown.
        active: which springs are muscles, shape (m,).
        head: the marked point, or None.
        times: [s], shape (frames,), or None.
        missing: how many points are not drawn, shape (frames,).
    """

    positions: Floats
    springs: NDArray[np.int64]
    actuation: Floats
    active: NDArray[np.bool_]
    head: int | None
    times: Floats | None
    missing: NDArray[np.int64]

    def segments(self, frame: int) -> Floats:
        """Give the springs' end points in one frame, shape (m, 2, 2)."""
        return self.positions[frame][self.springs]

    def head_is_low(self) -> bool:
        """Tell whether the head is mostly in the lower half of the body."""
        height = self.positions[..., 1]
        shown = self.missing < height.shape[1]
        middle = 0.5 * (np.nanmin(height[shown], axis=1) + np.nanmax(height[shown], axis=1))
        return self.head is not None and bool((height[shown, self.head] < middle).mean() > 0.5)


@dataclass(frozen=True)
class Place:
    """What does not move.

    Args:
        limits: the frame: left, right, bottom, top [m].
        goal: (x, y) [m], or None.
        ground: height of the ground [m], or None.
        start: where the head starts, x [m], or None where its way is not shown.
    """

    limits: Limits
    goal: tuple[float, float] | None
    ground: float | None
    start: float | None = None

    @classmethod
    def around(
        cls, positions: Floats, goal: ArrayLike | None, ground: float | None, limits: Limits | None = None
    ) -> Place:
        """Check goal, ground and limits; choose limits that show everything where none are given.

        Raises:
            ConfigError: a value is not finite, or the limits are not in rising pairs.
        """
        if limits is None:
            limits = robot_limits(positions, goal, ground)
        left, right, bottom, top = limits
        if not (np.isfinite(limits).all() and left < right and bottom < top):
            raise ConfigError(
                f"limits must be finite (left, right, bottom, top) in rising pairs, got {limits}; "
                "pass robot_limits(...)"
            )
        return cls(limits, _goal(goal), _ground(ground))


def robot_limits(positions: ArrayLike, goal: ArrayLike | None = None, ground: float | None = None) -> Limits:
    """Find the frame that shows an entire motion: left, right, bottom, top [m].

    Give the result for several motions, joined along the first axis, to `robot_gif` to show all of them at
    one scale.

    Args:
        positions: [m], shape (frames, n, 2). What is not finite does not count.
        goal: (x, y) [m], kept in the frame; None: no goal.
        ground: height of the ground [m]; a strip of it is kept in the frame; None: no ground.

    Returns:
        the limits with a margin around what was given.

    Raises:
        ConfigError: no position is finite, the goal or the ground is not, or a shape is another.
    """
    points = check_positions(positions).reshape(-1, 2)
    points = points[np.isfinite(points[:, 0])]
    target, floor = _goal(goal), _ground(ground)
    if target is not None:
        points = np.concatenate([points, [target]])
    left, bottom = (float(value) for value in points.min(axis=0))
    right, top = (float(value) for value in points.max(axis=0))
    span = max(right - left, top - bottom, 1e-3)
    if floor is not None:
        bottom, top = min(bottom, floor), max(top, floor)
    return left - 0.06 * span, right + 0.06 * span, bottom - 0.06 * span, top + 0.06 * span


def _goal(goal: ArrayLike | None) -> tuple[float, float] | None:
    """Return a finite point."""
    if goal is None:
        return None
    array = np.asarray(goal, dtype=np.float64)
    if array.shape != (2,) or not np.isfinite(array).all():
        raise ConfigError(f"goal must be two finite numbers, got {array.tolist()}; pass (x, y) in metres")
    return float(array[0]), float(array[1])


def _ground(ground: float | None) -> float | None:
    """Return a finite height."""
    if ground is not None and not np.isfinite(ground):
        raise ConfigError(f"ground must be finite, got {ground}; pass a height in metres, or None")
    return None if ground is None else float(ground)


def check_positions(value: ArrayLike) -> Floats:
    """Return positions of shape (frames, n, 2), NaN for points with a component that is not finite.

    Raises:
        ConfigError: the shape is another, or no point is finite.
    """
    array = np.asarray(value, dtype=np.float64)
    if array.ndim != 3 or array.shape[2] != 2 or array.size == 0:
        raise ConfigError(
            f"positions must have the shape (frames, n, 2), got {array.shape}; "
            "pass rollout.trajectory of one world"
        )
    if count_missing(array).any():
        return np.where(np.isfinite(array).all(axis=2, keepdims=True), array, np.nan)
    return array


def check_motion(
    positions: ArrayLike,
    springs: ArrayLike,
    actuation: ArrayLike | None,
    head: int | None,
    times: ArrayLike | None,
    active: ArrayLike | None,
) -> Motion:
    """Check the arrays of one motion against each other.

    Args:
        positions: [m], shape (frames, n, 2).
        springs: the points each spring joins, shape (m, 2).
        actuation: muscle commands, shape (frames, m) or (frames - 1, m), or None.
        head: the marked point, or None.
        times: [s], shape (frames,), or None.
        active: which springs are muscles, shape (m,), or None for all.

    Raises:
        ConfigError: a shape does not fit the others, an index is out of range, or a value is not finite.
    """
    x = check_positions(positions)
    frames, n = x.shape[:2]
    ends = np.asarray(springs, dtype=np.int64)
    if ends.ndim != 2 or ends.shape[1] != 2 or ends.size == 0 or ends.min() < 0 or ends.max() >= n:
        raise ConfigError(
            f"springs must have the shape (m, 2) and join points from 0 to {n - 1}, "
            f"got {_show(ends)}; pass robot.springs"
        )
    if head is not None and not 0 <= head < n:
        raise ConfigError(f"head must be a point's number from 0 to {n - 1}, got {head}; pass robot.head")
    m = len(ends)
    muscles = np.full(m, actuation is not None) if active is None else np.asarray(active, dtype=bool)
    if muscles.shape != (m,):
        raise ConfigError(f"active must have the shape ({m},), got {muscles.shape}; pass robot.actuation > 0")
    commands = np.zeros((frames, m))
    if actuation is not None:
        given = np.asarray(actuation, dtype=np.float64)
        if (
            given.ndim != 2
            or given.shape[1] != m
            or len(given) not in (frames, frames - 1)
            or len(given) == 0
        ):
            raise ConfigError(
                f"actuation must have the shape ({frames}, {m}) or ({frames - 1}, {m}), got {given.shape}; "
                "record it with the positions"
            )
        if not np.isfinite(given[:, muscles]).any() and muscles.any():
            raise ConfigError("actuation must be finite, got nan or inf alone; leave it out")
        commands = np.concatenate([given, given[-1:]])[:frames]
    else:
        muscles = np.zeros(m, dtype=bool)
    return Motion(x, ends, commands, muscles, head, _times(times, frames), count_missing(x))


def _times(times: ArrayLike | None, frames: int) -> Floats | None:
    """Return finite times of shape (frames,)."""
    if times is None:
        return None
    array = np.asarray(times, dtype=np.float64)
    if array.shape != (frames,) or not np.isfinite(array).all():
        raise ConfigError(
            f"times must be {frames} finite values, got {_show(array)}; pass seconds, one per frame"
        )
    return array


def _show(array: NDArray[Any]) -> str:
    """Describe an array in a few words."""
    return f"shape {array.shape}" + (
        f" with values from {array.min()} to {array.max()}" if array.size else ""
    )
