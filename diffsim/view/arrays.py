"""Named arrays over time as a dict, and some of them: by name, frame, time and world."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsim.errors import ConfigError
from diffsim.options import plain_number
from diffsim.view.stored import Stored
from diffsim.view.timed import frames_between, time_of

__all__ = ["Arrays"]


class Arrays(ABC):
    """Named arrays over time, in memory or still in a file, that are read like a dict."""

    title: str

    @abstractmethod
    def _parts(self) -> Mapping[str, Any]:
        """Return signals, and what is still in a file, by name."""

    @abstractmethod
    def _read(self, name: str) -> Any:
        """Return one signal."""

    @abstractmethod
    def _with(self, parts: Mapping[str, Any]) -> Any:
        """Return the same of other arrays."""

    @property
    def names(self) -> tuple[str, ...]:
        """List the arrays' names."""
        return tuple(self._parts())

    @property
    def units(self) -> dict[str, str]:
        """Return the arrays' units by name; empty where one is not told."""
        return {name: part.label.unit for name, part in self._parts().items()}

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the arrays' shapes by name, with time and worlds in front."""
        return {name: part.shape for name, part in self._parts().items()}

    @property
    def times(self) -> NDArray[np.float64]:
        """Return when each frame was, shape (frames,): the times of the array that goes on longest."""
        return max((part.label.times for part in self._parts().values()), key=len, default=np.zeros(0))

    @property
    def time_unit(self) -> str:
        """Return what times are in: `"s"`, or `"step"` where nobody told how long a step is."""
        return next((part.label.time_unit for part in self._parts().values()), "step")

    @property
    def worlds(self) -> int:
        """Return how many worlds the arrays have behind the axis of time; 0 where they have no such axis."""
        return max((part.label.worlds for part in self._parts().values()), default=0)

    # ---- as a dict ----

    def keys(self) -> tuple[str, ...]:
        """List the arrays' names."""
        return self.names

    def values(self) -> tuple[Any, ...]:
        """List the arrays."""
        return tuple(self._read(name) for name in self.names)

    def items(self) -> tuple[tuple[str, Any], ...]:
        """List names and arrays."""
        return tuple((name, self._read(name)) for name in self.names)

    def get(self, name: str, default: Any = None) -> Any:
        """Return an array, or something else where there is none of that name."""
        return self._read(name) if name in self else default

    def __getitem__(self, name: Any) -> Any:
        if isinstance(name, slice):
            return self._frames(name)
        if isinstance(name, list | tuple):
            chosen = [self._named(item) for item in name]
            return self._with({item: self._parts()[item] for item in chosen})
        return self._read(self._named(name))

    def _named(self, name: Any) -> str:
        if not isinstance(name, str) or name not in self._parts():
            frames = "" if isinstance(name, str) else "; frames are chosen by a slice, or by `at`"
            raise KeyError(f"{name!r}: this trajectory has {', '.join(self.names) or 'no arrays'}{frames}")
        return name

    def _frames(self, chosen: slice) -> Any:
        try:
            first, end, stride = chosen.indices(len(self.times))
        except (TypeError, ValueError):
            stride = 0
        if stride < 1:
            raise ConfigError(
                f"frames must be chosen by whole numbers with a positive step, got {chosen}; use between for "
                "times"
            )
        return self._each(lambda part: part[first:end:stride])

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self._parts()

    def __iter__(self) -> Iterator[Any]:
        return iter(self._parts())

    def __len__(self) -> int:
        return len(self._parts())

    def __repr__(self) -> str:
        told = (
            f"{name} {shape}{f' [{self.units[name]}]' if self.units[name] else ''}"
            for name, shape in self.shapes.items()
        )
        return f"<Trajectory{f' of {self.title}' if self.title else ''}: {_span(self)}; {'; '.join(told)}>"

    # ---- some of it ----

    def between(self, start: float | None = None, stop: float | None = None) -> Any:
        """Return the frames from one time to another, both included; None for the first or the last.

        Raises:
            ConfigError: A time is no number, or no frame lies between them.
        """
        low, high = (time_of(value, default) for value, default in ((start, -np.inf), (stop, np.inf)))
        if not len(self.times[frames_between(self.times, low, high)]):
            raise ConfigError(
                f"between must get times with frames between them, got {start} and {stop} of {_span(self)}; "
                f"times are in {self.time_unit}"
            )
        return self._each(lambda part: part[frames_between(part.label.times, low, high)])

    def at(self, time: float) -> Any:
        """Return all arrays in the frame that is nearest to a time, by name; of a signal its array alone.

        Raises:
            ConfigError: The time is no number, or there is no frame.
        """
        when, times = time_of(time, 0.0), self.times
        if not len(times):
            raise ConfigError("at must be asked of frames, got a trajectory without; record some")
        return {name: _nearest(part, when) for name, part in self._parts().items() if part.shape[0]}

    def every(self, stride: int) -> Any:
        """Return each so many-th frame, from the first one on.

        Raises:
            ConfigError: `stride` is no positive integer.
        """
        step = plain_number(stride)
        if not isinstance(step, int) or isinstance(step, bool) or step < 1:
            raise ConfigError(
                f"every must be a positive integer, got {stride!r}; use 2 for each second frame"
            )
        return self._each(lambda part: part[::step])

    def world(self, number: int) -> Any:
        """Return one of the worlds; where arrays have no axis of worlds, 0 is all of it.

        Raises:
            ConfigError: There is no such world.
        """
        k = plain_number(number)
        if not isinstance(k, int) or isinstance(k, bool) or not 0 <= k < max(1, self.worlds):
            raise ConfigError(
                f"world must be a number from 0 to {max(1, self.worlds) - 1}, got {number!r}; the first is 0"
            )
        return self._each(lambda part: _world(part, k))

    def _each(self, change: Any) -> Any:
        return self._with({name: change(part) for name, part in self._parts().items()})


def _world(part: Any, number: int) -> Any:
    if not part.label.worlds:
        return part
    return part.of_world(number) if isinstance(part, Stored) else part[:, number]


def _nearest(part: Any, when: float) -> NDArray[Any]:
    times = part.label.times
    k = int(np.argmin(np.abs(times - np.clip(when, times[0], times[-1]))))
    return part[k : k + 1].read()[0] if isinstance(part, Stored) else np.asarray(part)[k]


def _span(trajectory: Arrays) -> str:
    times = trajectory.times
    if not len(times):
        return "no frames"
    return f"{len(times)} frames, t = {times[0]:g} .. {times[-1]:g} {trajectory.time_unit}"
