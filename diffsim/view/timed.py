"""What an array over time is: its name, its times, its unit and the shape of its elements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffsim.errors import ConfigError

__all__ = [
    "Label",
    "checked_times",
    "components_of",
    "frames_between",
    "numbers_of",
    "picks_frames",
    "time_of",
]


@dataclass(frozen=True, eq=False)
class Label:
    """What an array over time is.

    Attributes:
        name: What it is called: a field's key, or a name of the user's.
        times: When each frame was, shape (frames,).
        time_unit: `"s"`, or `"step"` where the simulator does not tell how long a step is.
        unit: What its numbers are in; empty where that is not told.
        components: The shape of one element: `(3,)` for vectors, `()` for numbers.
        worlds: How many worlds the axis behind that of time has; 0 where there is no such axis.
    """

    name: str
    times: NDArray[np.float64]
    time_unit: str = "step"
    unit: str = ""
    components: tuple[int, ...] = ()
    worlds: int = 0

    def to_plain(self) -> dict[str, Any]:
        """Write all but name and times as JSON can hold it."""
        return {
            "unit": self.unit,
            "time_unit": self.time_unit,
            "components": list(self.components),
            "worlds": self.worlds,
        }

    @classmethod
    def from_plain(cls, name: str, times: NDArray[Any], plain: Mapping[str, Any]) -> Label:
        """Read what `to_plain` wrote."""
        when = np.asarray(times, dtype=np.float64)
        shape = tuple(int(n) for n in plain["components"])
        return cls(name, when, str(plain["time_unit"]), str(plain["unit"]), shape, int(plain["worlds"]))


def checked_times(times: ArrayLike) -> NDArray[np.float64]:
    """Return times as finite numbers that rise.

    Raises:
        ConfigError: They do not.
    """
    array = numbers_of(times)
    array = array.astype(np.float64) if array.dtype.kind in "iuf" else np.array(np.nan)
    if array.ndim != 1 or not np.isfinite(array).all() or np.any(np.diff(array) <= 0.0):
        got = f"shape {array.shape}" if array.ndim else repr(times)
        raise ConfigError(
            f"times must be finite numbers that rise, one for each frame, got {got}; pass for example "
            "dt * np.arange(frames)"
        )
    return array


def numbers_of(values: Any) -> NDArray[Any]:
    """Return what a user gave as an array, which has another type of numbers where it is none."""
    try:
        return np.asarray(values)
    except ValueError:  # rows of different lengths
        return np.array(None)


def components_of(values: NDArray[Any]) -> tuple[int, ...]:
    """Take a short last axis of an array that nobody told about for the components of vectors."""
    return values.shape[-1:] if values.ndim > 2 and values.shape[-1] in (2, 3) else ()


def frames_between(times: NDArray[np.float64], low: float, high: float) -> slice:
    """Return the frames from one time to another, both included in spite of rounding (3 * 0.1 > 0.3)."""
    slack = 1e-9 * float(np.max(np.abs(times), initial=0.0))
    first = int(np.searchsorted(times, low - slack, side="left"))
    return slice(first, max(first, int(np.searchsorted(times, high + slack, side="right"))))


def picks_frames(index: Any) -> bool:
    """Tell whether an index of the first axis picks some frames, rather than one."""
    if isinstance(index, slice):
        return True
    return isinstance(index, list | np.ndarray) and np.ndim(index) == 1


def time_of(value: Any, default: float) -> float:
    """Return a time that a user gave as a number; the default for None.

    Raises:
        ConfigError: It is no number.
    """
    if value is None:
        return default
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = np.nan
    if np.isnan(number):
        raise ConfigError(f"a time must be a number, got {value!r}; leave it out for the first or last one")
    return number
