"""What a rollout held over time: named arrays with their times and units."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffsim.errors import ConfigError, StateError
from diffsim.view import store
from diffsim.view.arrays import Arrays
from diffsim.view.named import bound_to, from_plain, to_plain
from diffsim.view.plain import gives_plain, plain
from diffsim.view.scene import Part, Scene
from diffsim.view.stored import Outline, Stored
from diffsim.view.timed import Label, checked_times, components_of, numbers_of, picks_frames

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Label", "Signal", "Trajectory", "labelled"]


class Trajectory(Arrays):
    """Named arrays over time, with their times and units: what a rollout did.

    It is read like a dict: `trajectory["x"]` is a `Signal`, an ndarray of the shape
    `(frames, *shape, *components)`, of several worlds `(frames, worlds, ...)`, with a `name`, a `unit` and
    `times` of its own; `trajectory[["x", "v"]]` and `trajectory[10:20]` are trajectories of some arrays and
    of some frames. `Rollout.trajectory` makes one; so does this constructor, of measured data. One that was
    loaded from a large file (`load`) reads what is asked for, when it is asked for.

    Args:
        arrays: By name; time is the first axis. Signals keep what they know.
        times: When each frame was, shape (frames,), rising; None for the numbers of the frames, or the times
            of signals. Arrays may end earlier than it does.
        units: By name.
        time_unit: What times are in.
        stills: Arrays without time by name, which the scene refers to: edges, sizes, rest shapes.
        scene: How it is drawn: parts that name arrays, or hold arrays that do not change with time; None for
            what the arrays' shapes suggest.
        title: What it is of.

    Raises:
        ConfigError: An array has no time axis or more frames than times, times do not rise, or a unit or the
            scene is something else.
    """

    def __init__(
        self,
        arrays: Mapping[str, Any] | Trajectory,
        times: ArrayLike | None = None,
        *,
        units: Mapping[str, str] | None = None,
        time_unit: str = "s",
        stills: Mapping[str, Any] | None = None,
        scene: Scene | Part | Sequence[Part] | None = None,
        title: str = "",
    ) -> None:
        if not isinstance(arrays, Mapping | Arrays):
            raise ConfigError(
                f"arrays must be a dict of them by name, got {type(arrays).__name__}; name each array"
            )
        known = None if times is None else checked_times(times)
        given = dict(units or {})
        self._signals: dict[str, Signal | Stored] = {
            name: _named(array, name)
            if isinstance(array, Stored)
            else _signal(name, array, known, time_unit, given.pop(name, None))
            for name, array in arrays.items()
        }
        if given:
            raise ConfigError(
                f"units must be of the arrays {', '.join(arrays)}, got {', '.join(given)}; correct the names"
            )
        self.stills = {name: _still(name, array) for name, array in (stills or {}).items()}
        self._scene, self.title = None, title
        if scene is not None:
            self._scene, given_as_they_are = bound_to(self._signals, scene)
            self.stills |= given_as_they_are

    def _parts(self) -> dict[str, Signal | Stored]:
        return self._signals

    def _read(self, name: str) -> Signal:
        part = self._parts()[name]
        if isinstance(part, Stored):
            part = self._signals[name] = labelled(part.read(), part.label)
        return part

    @property
    def scene(self) -> Scene | None:
        """Return how it is drawn; None for what the arrays' shapes suggest."""
        return self._scene

    def _with(self, parts: Mapping[str, Any]) -> Trajectory:
        return Trajectory(parts, stills=self.stills, scene=self._scene, title=self.title)

    # ---- files and pictures ----

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it to a file, whose ending says how.

        Args:
            path: `x.npz`; `x.h5` (extra `hdf5`) or `x.zarr` (extra `zarr`) for large ones, which `load` reads
                in parts. Replaced when the new file is complete.

        Raises:
            ConfigError: The ending is another, or the folder can't be written to.
            MissingExtraError: What writes such files is not installed.
            OSError: The file can't be written.
        """
        parts = self._parts()
        outline = Outline(
            labels={name: part.label for name, part in parts.items()},
            stills=self.stills,
            scene=None if self.scene is None else to_plain(self.scene),
            title=self.title,
        )
        store.save(path, outline, {n: p if isinstance(p, Stored) else plain(p) for n, p in parts.items()})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Trajectory:
        """Read what `save` wrote.

        Of `.h5` and `.zarr` nothing is read but what the arrays are; an array is read when it is asked for,
        and of a part (`between`, `every`, `world`, `at`, slices) that part alone. The file has to stay.

        Raises:
            ConfigError: There is no such file, or it holds no trajectory.
            MissingExtraError: What reads such files is not installed.
        """
        found = store.load(path)
        arrays = {
            n: a if isinstance(a, Stored) else labelled(a, label) for n, (label, a) in found.signals.items()
        }
        scene = None if found.scene is None else from_plain(found.scene)
        return Trajectory(arrays, stills=found.stills, scene=scene, title=found.title)

    def export(self, path: str | os.PathLike[str], **options: Any) -> Path:
        """Write it for another program, which the ending chooses; see `diffsim.view.export`."""
        from diffsim.view import export

        return export(self, path, **options)

    def _repr_html_(self) -> str | None:
        from diffsim.view.notebook import html_of

        return html_of(self)

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
            options["out"] = plain(out)
        found = getattr(ufunc, method)(*plain(inputs), **{key: plain(v) for key, v in options.items()})
        return out[0] if out is not None and len(out) == 1 else found

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return plain(super().__array_function__(function, types, args, kwargs))

    def __reduce__(self) -> Any:
        return _rebuilt, (np.array(self), self._label)

    def __copy__(self) -> Any:
        return _rebuilt(np.array(self), self._label)

    def __deepcopy__(self, memo: Any) -> Any:
        return self.__copy__()

    def copy(self, order: Any = "C") -> Any:
        """Return a signal with numbers of its own."""
        return _rebuilt(np.array(self, order=order), self._label)

    def astype(self, dtype: Any, *args: Any, **options: Any) -> Any:
        """Return a signal of another type of number."""
        return _rebuilt(np.asarray(self).astype(dtype, *args, **options), self._label)

    def __repr__(self) -> str:
        return repr(np.asarray(self))

    def __str__(self) -> str:
        return str(np.asarray(self))

    def _repr_html_(self) -> str | None:
        return None if self._label is None or not self.ndim else Trajectory._repr_html_(self)

    def _parts(self) -> dict[str, Signal | Stored]:
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
        first, *others = index if isinstance(index, tuple) and index else (index,)
        if not picks_frames(first):
            return found
        worlds = self._label.worlds
        one_world = len(others) == 1 and worlds and type(others[0]) is not bool
        if others and not (one_world and isinstance(others[0], int | np.integer)):
            return found
        times = self._label.times[first]
        if np.any(np.diff(times) <= 0.0):  # in another order than time's: no signal
            return found
        return labelled(found, dataclasses.replace(self._label, times=times, worlds=0 if others else worlds))

    def at(self, time: float) -> Any:
        """Return the frame that is nearest to a time."""
        return Trajectory.at(self, time)[self.name]

    def _each(self, change: Any) -> Any:
        return change(self)


gives_plain(Signal)


def labelled(array: NDArray[Any], label: Label) -> Signal:
    """Return an array as a signal, without copying it."""
    signal: Signal = np.asarray(array).view(Signal)
    signal._label = label
    return signal


def _signal(
    name: str, array: Any, times: NDArray[np.float64] | None, time_unit: str, unit: str | None
) -> Signal:
    """Return an array as a signal under a name; what it knows stays where nothing else is told."""
    if not isinstance(name, str) or not name:
        raise ConfigError(f"names of arrays must be texts, got {name!r}; name each array")
    if unit is not None and not isinstance(unit, str):
        raise ConfigError(f"units must be texts, got {unit!r} for {name}; write it as 'm/s'")
    values = numbers_of(array)
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


def _named(array: Stored, name: str) -> Stored:
    return dataclasses.replace(array, label=dataclasses.replace(array.label, name=name))


def _still(name: str, array: Any) -> NDArray[Any]:
    values = numbers_of(array)
    if values.dtype.kind not in "biuf":
        raise ConfigError(f"stills must be arrays of numbers, got {name} of {values.dtype}; leave it out")
    return values


def _rebuilt(array: NDArray[Any], label: Label | None) -> NDArray[Any]:
    return array if label is None else labelled(array, label)
