"""Arrays over time that stay in a file until somebody asks for them, and what a file of arrays holds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from diffsim.view.timed import Label

__all__ = ["BLOCK", "Outline", "Source", "Stored"]

BLOCK = 1 << 20  # bytes that are read or written at a time, about


class Source(Protocol):
    """One array of a file."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of all of it."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Return what its numbers are."""

    def read(self, index: tuple[Any, ...]) -> NDArray[Any]:
        """Return some of it: an index has slices with positive steps and integers."""


@dataclass(frozen=True, eq=False)
class Stored:
    """An array over time, or some of its frames, or one of its worlds, that is not read yet.

    Attributes:
        label: What it is, of the frames and the world that were chosen.
        source: Where it is.
        frames: Which of the file's frames.
        world: Which of the file's worlds; None for all.
    """

    label: Label
    source: Source
    frames: range
    world: int | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape that `read` gives."""
        skipped = 1 if self.world is None else 2
        return (len(self.frames), *self.source.shape[skipped:])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Return what its numbers are."""
        return self.source.dtype

    def __getitem__(self, frames: slice) -> Stored:
        times = self.label.times[frames]
        return dataclasses.replace(
            self, frames=self.frames[frames], label=dataclasses.replace(self.label, times=times)
        )

    def of_world(self, number: int) -> Stored:
        """Choose one of the worlds."""
        return dataclasses.replace(self, world=number, label=dataclasses.replace(self.label, worlds=0))

    def read(self) -> NDArray[Any]:
        """Read what was chosen."""
        if not len(self.frames):
            return np.zeros(self.shape, self.dtype)
        low, high = sorted((self.frames[0], self.frames[-1]))
        chosen = slice(low, high + 1, abs(self.frames.step))
        values = self.source.read((chosen,) if self.world is None else (chosen, self.world))
        return values if self.frames.step > 0 else values[::-1]


@dataclass(frozen=True, eq=False)
class Outline:
    """What a file of arrays holds, but for the numbers over time.

    Attributes:
        labels: Of each array, by name.
        stills: Arrays without time.
        scene: As `to_plain` writes it; None for none.
        title: What it is of.
    """

    labels: Mapping[str, Label]
    stills: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    scene: Mapping[str, Any] | None = None
    title: str = ""

    def to_plain(self) -> dict[str, Any]:
        """Write as JSON can hold it what is no array."""
        signals = {name: label.to_plain() for name, label in self.labels.items()}
        return {"title": self.title, "signals": signals, "scene": self.scene}


def frames_at_once(shape: tuple[int, ...], dtype: np.dtype[Any], size: int = BLOCK) -> int:
    """Return how many frames are about so many bytes, one at least."""
    return max(1, size // max(1, math.prod(shape[1:]) * dtype.itemsize))


def blocks_of(array: NDArray[Any] | Stored) -> Iterator[NDArray[Any]]:
    """Give an array some frames at a time."""
    count = frames_at_once(array.shape, array.dtype)
    for first in range(0, array.shape[0], count):
        block = array[first : first + count]
        yield block.read() if isinstance(block, Stored) else block
