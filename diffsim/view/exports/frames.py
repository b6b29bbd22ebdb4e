"""The frames of a trajectory one after the other, read some at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsim.errors import ConfigError
from diffsim.view.default import default_scene
from diffsim.view.scene import Scene
from diffsim.view.stored import Stored, frames_at_once

__all__ = ["Frames"]


class Frames:
    """What the arrays of a trajectory of one world hold, frame by frame.

    Args:
        trajectory: The trajectory.

    Raises:
        ConfigError: It has several worlds, or no frames.

    Attributes:
        times: When each frame was.
        labels: What the arrays over time are, by name.
        stills: Arrays without time, by name.
        scene: How it is drawn.
        title: What it is of.
    """

    def __init__(self, trajectory: Any) -> None:
        if trajectory.worlds > 1:
            raise ConfigError(
                f"trajectory must be of one world to be exported, got {trajectory.worlds} worlds; export "
                "trajectory.world(0)"
            )
        one = trajectory.world(0)
        self._parts: dict[str, Any] = {name: one._parts()[name] for name in one.names}
        self.times: NDArray[np.float64] = one.times
        if not len(self.times):
            raise ConfigError("trajectory must have frames to be exported, got none; record some")
        self.time_unit: str = one.time_unit
        self.labels = {name: part.label for name, part in self._parts.items()}
        self.stills: dict[str, NDArray[Any]] = dict(one.stills)
        self.scene: Scene = one.scene or default_scene(one[:1])  # shapes are enough to choose by
        self.title: str = one.title
        self._blocks: dict[str, tuple[int, NDArray[Any]]] = {}

    def __len__(self) -> int:
        return len(self.times)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of an array in one frame."""
        return tuple(self._parts[name].shape[1:]) if name in self._parts else self.stills[name].shape

    def lead(self, name: str) -> tuple[int, ...]:
        """Return the shape without the components of its elements."""
        shape = self.shape(name)
        label = self.labels.get(name)
        return shape[: len(shape) - len(label.components)] if label is not None else shape

    def unit(self, ref: Any) -> str:
        """Return what numbers are in; empty where that is not told."""
        label = self.labels.get(ref) if isinstance(ref, str) else None
        return label.unit if label is not None else ""

    def array(self, ref: Any, k: int) -> NDArray[Any]:
        """Return what a part refers to in a frame; what ends early stays as it was.

        Raises:
            ConfigError: There is no array of that name.
        """
        if not isinstance(ref, str):
            return np.asarray(ref)
        if ref in self.stills:
            return self.stills[ref]
        if ref not in self._parts:
            known = ", ".join([*self._parts, *self.stills]) or "no arrays"
            raise ConfigError(f"the scene must name arrays of the trajectory, got {ref!r}; it has {known}")
        part = self._parts[ref]
        if not part.shape[0]:
            return np.full(part.shape[1:], np.nan)
        k = min(k, part.shape[0] - 1)
        if not isinstance(part, Stored):
            return np.asarray(part)[k]
        first, block = self._blocks.get(ref, (0, np.empty(0)))
        if not first <= k < first + len(block):
            count = frames_at_once(part.shape, part.dtype)
            first, block = k, part[k : k + count].read()
            self._blocks[ref] = first, block
        return block[k - first]

    def has(self, name: str, k: int) -> bool:
        """Tell whether an array over time goes on as long as that frame."""
        return k < int(self._parts[name].shape[0])

    def limits(self, ref: Any) -> tuple[float, float]:
        """Return the smallest and the largest finite number of an array in all frames; (0, 0) without any."""
        low, high = np.inf, -np.inf
        for k in range(len(self) if isinstance(ref, str) and ref in self._parts else 1):
            values = scalars(self.array(ref, k), self.labels.get(ref) if isinstance(ref, str) else None)
            finite = values[np.isfinite(values)]
            if finite.size:
                low, high = min(low, float(finite.min())), max(high, float(finite.max()))
        return (low, high) if low <= high else (0.0, 0.0)


def scalars(values: NDArray[Any], label: Any) -> NDArray[np.float64]:
    """Return numbers as they are and the length of vectors, flat."""
    array = np.asarray(values, dtype=np.float64)
    count = len(label.components) if label is not None else 0
    if count and array.ndim >= count:
        array = np.sqrt(np.sum(np.square(array), axis=tuple(range(array.ndim - count, array.ndim))))
    return array.reshape(-1)
