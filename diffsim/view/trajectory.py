"""What a rollout held over time: named arrays with their times and units."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffsim.errors import ConfigError, StateError
from diffsim.view import store
from diffsim.view.scene import Scene, from_plain, to_plain
from diffsim.view.timed import Label, checked_times, components_of, picks_frames, time_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Label", "Signal", "Trajectory", "labelled"]


class Trajectory:
    """Named arrays over time, with their times and units: what a rollout did.

    It is read like a dict: `trajectory["x"]` is a `Signal`, an ndarray of the shape
    `(frames, *shape, *components)`, of several worlds `(frames, worlds, ...)`, with a `name`, a `unit` and
    `times` of its own. `Rollout.trajectory` makes one; so does this constructor, of measured data.

    Args:
        arrays: By name; time is the first axis. Signals keep what they know.
        times: When each frame was, shape (frames,), rising; None for the numbers of the frames, or the times
            of signals. Arrays may end earlier than it does.
        units: By name.
        time_unit: What times are in.
        stills: Arrays without time by name, which the scene refers to: edges, sizes, rest shapes.
        scene: How it is drawn; None for what the arrays' shapes suggest.
        title: What it is of.

    Raises:
        ConfigError: An array has no time axis or more frames than times, or times do not rise.
    """

    def __init__(
        self,
        arrays: Mapping[str, Any],
        times: ArrayLike | None = None,
        *,
        units: Mapping[str, str] | None = None,
        time_unit: str = "s",
        stills: Mapping[str, Any] | None = None,
        scene: Scene | None = None,
        title: str = "",
    ) -> None:
        known = None if times is None else checked_times(times)
        given = dict(units or {})
        self._signals = {
            name: _signal(name, array, known, time_unit, given.pop(name, None))
            for name, array in arrays.items()
        }
        if given:
            raise ConfigError(
                f"units must be of the arrays {', '.join(arrays)}, got {', '.join(given)}; correct the names"
            )
        self.stills = {name: np.asarray(array) for name, array in (stills or {}).items()}
        self._scene, self.title = scene, title

    def _parts(self) -> dict[str, Signal]:
        return self._signals

    @property
    def names(self) -> tuple[str, ...]:
        """List the arrays' names."""
        return tuple(self._parts())

    @property
    def units(self) -> dict[str, str]:
        """Return the arrays' units by name; empty where one is not told."""
        return {name: signal.unit for name, signal in self._parts().items()}

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the arrays' shapes by name, with time and worlds in front."""
        return {name: signal.shape for name, signal in self._parts().items()}

    @property
    def times(self) -> NDArray[np.float64]:
        """Return when each frame was, shape (frames,): the times of the array that goes on longest."""
        return max((s.times for s in self._parts().values()), key=len, default=np.zeros(0))

    @property
    def time_unit(self) -> str:
        """Return what times are in: `"s"`, or `"step"` where nobody told how long a step is."""
        return next((signal.time_unit for signal in self._parts().values()), "step")

    @property
    def worlds(self) -> int:
        """Return how many worlds the arrays have behind the axis of time; 0 where they have no such axis."""
        return next((signal.worlds for signal in self._parts().values()), 0)

    @property
    def scene(self) -> Scene | None:
        """Return how it is drawn; None for what the arrays' shapes suggest."""
        return self._scene

    # ---- as a dict ----

    def keys(self) -> tuple[str, ...]:
        """List the arrays' names."""
        return self.names

    def values(self) -> tuple[Signal, ...]:
        """List the arrays."""
        return tuple(self._parts().values())

    def items(self) -> tuple[tuple[str, Signal], ...]:
        """List names and arrays."""
        return tuple(self._parts().items())

    def __getitem__(self, name: Any) -> Any:
        parts = self._parts()
        if name not in parts:
            raise KeyError(f"{name!r}: this trajectory has {', '.join(parts) or 'no arrays'}")
        return parts[name]

    def __contains__(self, name: object) -> bool:
        return name in self._parts()

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
        if not np.any((self.times >= low) & (self.times <= high)):
            raise ConfigError(
                f"between must get times with frames between them, got {start} and {stop} of {_span(self)}; "
                f"times are in {self.time_unit}"
            )
        return self._each(lambda signal: signal[(signal.times >= low) & (signal.times <= high)])

    def at(self, time: float) -> dict[str, NDArray[Any]]:
        """Return all arrays in the frame that is nearest to a time, by name."""
        when = time_of(time, 0.0)
        return {
            name: np.asarray(signal)[int(np.argmin(np.abs(signal.times - when)))]
            for name, signal in self._parts().items()
            if len(signal.times)
        }

    def every(self, stride: int) -> Any:
        """Return each so many-th frame, from the first one on.

        Raises:
            ConfigError: `stride` is no positive integer.
        """
        if not isinstance(stride, int) or stride < 1:
            raise ConfigError(
                f"every must be a positive integer, got {stride!r}; use 2 for each second frame"
            )
        return self._each(lambda signal: signal[::stride])

    def world(self, number: int) -> Any:
        """Return one of the worlds; where arrays have no axis of worlds, 0 is all of it.

        Raises:
            ConfigError: There is no such world.
        """
        if not 0 <= number < max(1, self.worlds):
            raise ConfigError(
                f"world must be a number from 0 to {max(1, self.worlds) - 1}, got {number}; the first is 0"
            )
        return self._each(lambda signal: _world(signal, number))

    def _each(self, change: Any) -> Any:
        signals = {name: change(signal) for name, signal in self._parts().items()}
        return Trajectory(signals, stills=self.stills, scene=self._scene, title=self.title)

    # ---- files and pictures ----

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it to a file, whose ending says how.

        Args:
            path: `x.npz`; `x.h5` (extra `hdf5`) and `x.zarr` (extra `zarr`) for large ones. Replaced when the
                new file is complete.

        Raises:
            ConfigError: The ending is another.
            OSError: The file can't be written.
        """
        scene = None if self.scene is None else to_plain(self.scene)
        signals = {name: signal.label.to_plain() for name, signal in self.items()}
        arrays = {f"signal/{name}": np.asarray(signal) for name, signal in self.items()}
        arrays |= {f"times/{name}": signal.times for name, signal in self.items()}
        arrays |= {f"still/{name}": array for name, array in self.stills.items()}
        store.write(path, {"title": self.title, "signals": signals, "scene": scene}, arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Trajectory:
        """Read what `save` wrote.

        Raises:
            ConfigError: There is no such file, or it holds no trajectory.
        """
        about, arrays = store.read(path)
        signals = {}
        for name, told in about["signals"].items():
            label = Label.from_plain(name, arrays[f"times/{name}"], told)
            signals[name] = labelled(arrays[f"signal/{name}"], label)
        scene = None if about["scene"] is None else from_plain(about["scene"])
        stills = {name.removeprefix("still/"): a for name, a in arrays.items() if name.startswith("still/")}
        return Trajectory(signals, stills=stills, scene=scene, title=about["title"])

    def plot(self, path: str | os.PathLike[str] | None = None, **options: Any) -> Figure:
        """Plot signals over time; see `diffsim.view.plot`."""
        from diffsim.view import plot

        return plot(self, path, **options)

    def show(self, **options: Any) -> Any:
        """Show it: in a notebook inline, else in a window; see `diffsim.view.show`."""
        from diffsim.view import show

        return show(self, **options)

    def animate(self, path: str | os.PathLike[str] | None = None, **options: Any) -> Any:
        """Film it; see `diffsim.view.animate`."""
        from diffsim.view import animate

        return animate(self, path, **options)


class Signal(np.ndarray, Trajectory):
    """One array over time: an ndarray with a name, a unit and times; a trajectory of one name.

    Slices of its first axis, and of a world behind it, are signals too; everything that is computed with it
    is a plain array.
    """

    _label: Label | None

    def __array_finalize__(self, source: Any) -> None:
        self._label = None
        self._scene, self.stills, self.title = None, {}, ""

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **options: Any) -> Any:
        if out is not None:
            options["out"] = tuple(_plain(array) for array in out)
        found = getattr(ufunc, method)(*(_plain(array) for array in inputs), **options)
        return out[0] if out is not None and len(out) == 1 else found

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return _plain(super().__array_function__(function, types, args, kwargs))

    def __reduce__(self) -> Any:
        return _rebuilt, (np.array(self), self._label)

    def __repr__(self) -> str:
        return repr(np.asarray(self))

    def _parts(self) -> dict[str, Signal]:
        return {self.label.name: self}

    @property
    def label(self) -> Label:
        """Return what the array is.

        Raises:
            StateError: It was computed, and is a plain array.
        """
        if self._label is None:
            raise StateError(
                "an array must come from a trajectory to have times, got one that was computed; make a "
                "ds.Trajectory({name: array}, times) of it"
            )
        return self._label

    @property
    def name(self) -> str:
        """Return what it is called."""
        return self.label.name

    @property
    def unit(self) -> str:
        """Return what its numbers are in; empty where that is not told."""
        return self.label.unit

    @property
    def times(self) -> NDArray[np.float64]:
        """Return when each frame was, shape (frames,)."""
        return self.label.times

    @property
    def time_unit(self) -> str:
        """Return what times are in."""
        return self.label.time_unit

    @property
    def worlds(self) -> int:
        """Return how many worlds there are behind the axis of time; 0 where there is no such axis."""
        return self.label.worlds

    @property
    def components(self) -> tuple[int, ...]:
        """Return the shape of one element: `(3,)` for vectors, `()` for numbers."""
        return self.label.components

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, str):
            return Trajectory.__getitem__(self, index)
        found = np.asarray(self)[index]
        if self._label is None:
            return found
        first, *others = index if isinstance(index, tuple) else (index,)
        if picks_frames(first) and not others:
            return labelled(found, dataclasses.replace(self._label, times=self._label.times[first]))
        one_world = len(others) == 1 and isinstance(others[0], int | np.integer) and self._label.worlds
        if isinstance(first, slice) and one_world:
            chosen = dataclasses.replace(self._label, times=self._label.times[first], worlds=0)
            return labelled(found, chosen)
        return found

    def _each(self, change: Any) -> Any:
        return change(self)


def labelled(array: NDArray[Any], label: Label) -> Signal:
    """Return an array as a signal, without copying it."""
    signal = np.asarray(array).view(Signal)
    signal._label = label
    return signal


def _signal(
    name: str, array: Any, times: NDArray[np.float64] | None, time_unit: str, unit: str | None
) -> Signal:
    """Return an array as a signal under a name; what it knows stays where nothing else is told."""
    if not isinstance(name, str) or not name:
        raise ConfigError(f"names of arrays must be texts, got {name!r}; name each array")
    values = np.asarray(array)
    if values.ndim == 0 or values.dtype.kind not in "biuf":
        raise ConfigError(
            f"{name} must be an array of numbers with time as its first axis, got shape {values.shape} of "
            f"{values.dtype}; put constants into stills"
        )
    known = array._label if isinstance(array, Signal) else None
    if known is None or times is not None:
        when = np.arange(len(values), dtype=np.float64) if times is None else times
        if len(values) > len(when):
            raise ConfigError(
                f"times must be as many as the frames of {name}, got {len(when)} for {len(values)}; pass one "
                "for each"
            )
        base = known or Label(name, when, components=components_of(values))
        known = dataclasses.replace(
            base, times=when[: len(values)], time_unit="step" if times is None else time_unit
        )
    return labelled(values, dataclasses.replace(known, name=name, unit=known.unit if unit is None else unit))


def _world(signal: Signal, number: int) -> Signal:
    return signal[:, number] if signal.worlds else signal


def _plain(array: Any) -> Any:
    return array.view(np.ndarray) if isinstance(array, Signal) else array


def _rebuilt(array: NDArray[Any], label: Label | None) -> NDArray[Any]:
    return array if label is None else labelled(array, label)


def _span(trajectory: Trajectory) -> str:
    times = trajectory.times
    if not len(times):
        return "no frames"
    return f"{len(times)} frames, t = {times[0]:g} .. {times[-1]:g} {trajectory.time_unit}"
