"""One world of a trajectory, from which painters take frames by name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diffsim.errors import ConfigError
from diffsim.view.calm import beyond, calm_limits

if TYPE_CHECKING:
    from diffsim.view.trajectory import Trajectory

__all__ = ["Reach", "Shot", "joined"]

_LONG = 1e150  # whose square is a number
_AT_ONCE = 2_000_000  # numbers that are looked through at a time


@dataclass(frozen=True)
class Reach:
    """From where to where numbers reach.

    Attributes:
        low: The least of each column, shape (d,).
        high: The largest.
        missing: How many rows of a frame are not finite, at most.
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    missing: int = 0

    def wider(self, by: float) -> Reach:
        """Return what reaches further on all sides."""
        return Reach(self.low - by, self.high + by, self.missing)


def joined(reaches: list[Reach]) -> Reach | None:
    """Return what holds all of them; None for none."""
    if not reaches:
        return None
    low = np.min([reach.low for reach in reaches], axis=0)
    high = np.max([reach.high for reach in reaches], axis=0)
    return Reach(low, high, max(reach.missing for reach in reaches))


class Shot:
    """A trajectory of one world, as painters read it.

    Args:
        trajectory: What is drawn; of several worlds pass one.
    """

    def __init__(self, trajectory: Trajectory) -> None:
        self._signals: dict[str, Any] = dict(trajectory.items())
        self._stills = dict(trajectory.stills)
        self.times, self.time_unit = trajectory.times, trajectory.time_unit
        self.frames = len(self.times)
        self.beyond: dict[str, str] = {}  # what is beyond the picture, and from when on

    def add(self, stills: dict[str, Any]) -> None:
        """Add arrays without time."""
        self._stills.update(stills)

    def __contains__(self, name: object) -> bool:
        return name in self._signals or name in self._stills

    @property
    def names(self) -> list[str]:
        """List what there is."""
        return [*self._signals, *self._stills]

    def moves(self, name: str) -> bool:
        """Tell whether an array has time."""
        return name in self._signals

    def unit(self, name: str) -> str:
        """Return the unit of an array; empty where it is not told."""
        return str(self._signals[name].unit) if name in self._signals else ""

    def components(self, name: str) -> tuple[int, ...]:
        """Return the shape of an element where that is known: `(2,)` for vectors of the plane."""
        return tuple(self._signals[name].components) if name in self._signals else ()

    def shape(self, name: str) -> tuple[int, ...]:
        """Return an array's shape in one frame."""
        return tuple(self._signals[name].shape[1:] if name in self._signals else self._stills[name].shape)

    def frame(self, name: str, k: int) -> NDArray[np.float64]:
        """Return an array as it is in a frame; one that ends earlier stays as it was."""
        if name not in self._signals:
            return np.asarray(self._stills[name], dtype=np.float64)
        signal = self._signals[name]
        return np.asarray(np.asarray(signal)[self._index(signal, k)], dtype=np.float64)

    def until(self, name: str, k: int) -> NDArray[np.float64]:
        """Return an array in all frames up to one."""
        if name not in self._signals:
            return self.frame(name, k)[None]
        signal = self._signals[name]
        return np.asarray(np.asarray(signal)[: self._index(signal, k) + 1], dtype=np.float64)

    def _index(self, signal: Any, k: int) -> int:
        if len(signal) == self.frames:
            return k
        if not len(signal):
            raise ConfigError(
                f"{signal.name} must have a frame to be drawn, got none; run more steps, or leave it out of "
                "the scene"
            )
        return max(0, int(np.searchsorted(signal.times, self.times[k], side="right")) - 1)

    def time_of(self, name: str) -> NDArray[np.float64]:
        """Return when the frames of an array were."""
        return np.asarray(self._signals[name].times) if name in self._signals else self.times[:1]

    def _batches(self, name: str) -> Iterator[NDArray[np.float64]]:
        """Go over all frames, a few at a time."""
        if name not in self._signals:
            yield self.frame(name, 0)[None]
            return
        array = np.asarray(self._signals[name])
        many = max(1, _AT_ONCE // max(1, int(np.prod(array.shape[1:]))))
        for first in range(0, len(array), many):
            yield np.asarray(array[first : first + many], dtype=np.float64)

    def reach(self, name: str, columns: int, length: bool = False) -> Reach | None:
        """Find from where to where an array reaches in all frames, by columns of its last axis.

        Of a run that diverges what leaves all bounds is left out, and told of in `beyond`.

        Args:
            name: The array.
            columns: How many there are; what is not finite in one of them is left out.
            length: Whether the length of each row counts, rather than its columns.

        Returns:
            None where nothing is finite.
        """
        lows, highs, missing = [], [], 0
        for batch in self._batches(name):
            rows = batch.reshape(len(batch), -1, columns)
            if length:
                rows = np.linalg.norm(np.clip(rows, -_LONG, _LONG), axis=2, keepdims=True)
            finite: NDArray[np.bool_] = np.asarray(np.isfinite(rows).all(axis=2))
            missing = max(missing, int((~finite).sum(axis=1).max(initial=0)))
            if rows.shape[1] == 0:
                continue
            if finite.all():
                lows.append(rows.min(axis=1))
                highs.append(rows.max(axis=1))
                continue
            lows.append(np.where(finite[..., None], rows, np.inf).min(axis=1))
            highs.append(np.where(finite[..., None], rows, -np.inf).max(axis=1))
        found = calm_limits(np.concatenate(lows), np.concatenate(highs)) if lows else None
        if found is None:
            return None
        low, high, frame = found
        if frame is not None:
            self.beyond[name] = beyond(name, self.time_of(name), frame, self.time_unit)
        return Reach(low, high, missing)
