"""Arrays of a trajectory as the parts of a page read them, and what they need of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsim.view.scene import Part
from diffsim.view.trajectory import Trajectory

__all__ = ["Channel", "Drawn", "Limits", "NotDrawable", "Reader", "numbers", "rows"]


@dataclass(frozen=True)
class Limits:
    """How much of a frame is kept.

    Attributes:
        points: Of particles that nothing joins.
        cells: Samples of a grid along an axis.
        arrows: Along an axis of a grid, and the square root of how many there are elsewhere.
    """

    points: int = 20000
    cells: int = 256
    arrows: int = 24


@dataclass(frozen=True, eq=False)
class Channel:
    """An array over time that a part needs.

    Attributes:
        name: What it is called in the page; channels of one name are the same.
        source: The name of the signal or still.
        still: Whether it has no time.
        change: Makes it of the source, whose first axis is time (of a still one frame).
        bits: Of a number, 8 or 16; 0 for whole numbers as they are.
        ends: The least and largest number, where they need not be found.
    """

    name: str
    source: str
    still: bool
    change: Callable[[NDArray[Any]], NDArray[Any]]
    bits: int = 16
    ends: tuple[float, float] | None = None


@dataclass
class Drawn:
    """A part that a page draws.

    Attributes:
        part: The part.
        kind: Its kind, for the page.
        channels: What it needs, by the attribute of the page's part.
        more: Further attributes of the page's part.
        notes: What was left out of it.
    """

    part: Part
    kind: str
    channels: dict[str, Channel] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class NotDrawable(Exception):
    """A part does not fit the arrays."""


@dataclass(frozen=True, eq=False)
class Reader:
    """Looks up what parts refer to."""

    trajectory: Trajectory
    others: tuple[Trajectory, ...] = ()

    def array(self, name: str) -> NDArray[Any]:
        """Return an array with time in front; a still has one frame.

        Raises:
            NotDrawable: There is none of the name.
        """
        if name in self.trajectory:
            return np.asarray(self.trajectory[name])
        if name in self.trajectory.stills:
            return np.asarray(self.trajectory.stills[name])[None]
        raise NotDrawable(f"there is no array {name}")

    def channel(
        self, name: str, change: Callable[[NDArray[Any]], NDArray[Any]], tag: str = "", bits: int = 16
    ) -> Channel:
        """Make the channel of an array, of which `tag` says how it was changed."""
        still = name not in self.trajectory
        return Channel(f"{name}|{tag}", name, still, change, bits)

    def places(self, name: str) -> tuple[int, int]:
        """Return how many places an array of positions has in a frame, and of how many coordinates.

        Raises:
            NotDrawable: It has no coordinates of space.
        """
        shape = self.array(name).shape[1:]
        if not shape or shape[-1] not in (2, 3):
            raise NotDrawable(f"positions must end in an axis of 2 or 3, and {name} has shape {shape}")
        return int(np.prod(shape[:-1])), int(shape[-1])


def rows(width: int, chosen: NDArray[Any] | None = None) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """Make the change to shape (frames, rows, width), with some of the rows."""

    def change(array: NDArray[Any]) -> NDArray[Any]:
        rows = array.reshape(len(array), -1, width)
        return rows if chosen is None else rows[:, chosen]

    return change


def numbers(count: int, chosen: NDArray[Any] | None = None) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """Make the change to one number for each of so many elements: of vectors their length."""

    def change(array: NDArray[Any]) -> NDArray[Any]:
        rows = array.reshape(len(array), count, -1)
        one = rows[:, :, 0] if rows.shape[2] == 1 else np.linalg.norm(rows.astype(np.float64), axis=2)
        return one if chosen is None else one[:, chosen]

    return change
