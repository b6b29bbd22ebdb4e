"""Collecting what fields hold while a rollout runs, some frames at a time: into memory, or into a file."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from diffsim import _taichi
from diffsim.compiler.ir import Buffer
from diffsim.engine.engine import Engine
from diffsim.engine.pools import cells_in, spread
from diffsim.errors import ConfigError
from diffsim.language.cells import Cells
from diffsim.language.fields import Field
from diffsim.sizes import show_bytes

__all__ = ["Collecting"]

Put: TypeAlias = Callable[[str, NDArray[Any]], object]

_LARGEST = 4 << 30  # bytes of what is mostly empty
_BLOCK = 1 << 20  # bytes that are copied at a time, about


class Collecting:
    """Every so many steps of some fields, time first, then worlds if there are many.

    Args:
        engine: What runs.
        buffers: Of States, Scratches and Controls, under any names.
        every: Steps between frames.
    """

    def __init__(self, engine: Engine, buffers: Mapping[str, Buffer], every: int) -> None:
        self._engine, self._buffers, self._every = engine, buffers, every
        worlds = engine.plan.layout.worlds
        self._worlds = (worlds,) if worlds > 1 else ()
        self.shapes = {name: self._shape(buffer) for name, buffer in buffers.items()}
        self.dtypes: dict[str, np.dtype[Any]] = {
            name: np.dtype(_taichi.NUMPY[buffer.dtype]) for name, buffer in buffers.items()
        }

    def _shape(self, buffer: Buffer) -> tuple[int, ...]:
        field: Field = buffer.source
        below = -(-self._engine.plan.steps // self._every)  # frames before the end
        states = self._engine.plan.steps // self._every + 1  # with the end, where that is a frame
        frames = states if buffer.kind in ("state", "derived") else below
        return (frames, *self._worlds, *field.shape, *field.type.shape)

    def run(self, put: Put) -> None:
        """Run forward once, and hand on blocks of frames: `put(name, block)`, each name's in their order.

        Blocks are copies that nobody else has.
        """

        def observe(t0: int, n: int, last: bool) -> None:
            for name, buffer in self._buffers.items():
                if buffer.kind not in ("control", "derived"):
                    for slots in self._slots(name, buffer, t0, n, last):
                        put(name, self._formed(buffer, self._read(buffer, slots)))

        self._engine.forward(observe)
        for name, buffer in self._buffers.items():
            if buffer.kind in ("control", "derived"):
                for block in self._known(name, buffer):
                    put(name, self._formed(buffer, block))

    def cells(self, buffer: Buffer) -> list[Any]:
        """Run forward once, and return the active cells of one sparse field: frames, then worlds if many."""
        frames: list[Any] = []
        shape = buffer.source.type.shape

        def observe(t0: int, n: int, last: bool) -> None:
            for slots in self._slots(buffer.label, buffer, t0, n, last):
                for slot in slots:
                    found = cells_in(self._engine.storage, buffer, [slot])
                    formed = [Cells(c.indices, c.values.reshape(-1, *shape)) for c in found]
                    frames.append(formed if self._worlds else formed[0])

        self._engine.forward(observe)
        return frames

    def gathered(self) -> dict[str, NDArray[Any]]:
        """Run forward once, and return all frames by name.

        Raises:
            ConfigError: Frames of the whole domain of a sparse field would fill the memory.
        """
        for name, buffer in self._buffers.items():
            size = math.prod(self.shapes[name]) * self.dtypes[name].itemsize
            if buffer.place is not None and size > _LARGEST:
                raise ConfigError(
                    f"a trajectory of {buffer.label} must fit into {show_bytes(_LARGEST)}, got "
                    f"{show_bytes(size)} of the whole domain; take fewer frames by every=, or its active "
                    f"cells by rollout.cells({buffer.source.key!r})"
                )
        found = {name: np.empty(shape, self.dtypes[name]) for name, shape in self.shapes.items()}
        filled = dict.fromkeys(found, 0)

        def put(name: str, block: NDArray[Any]) -> None:
            found[name][filled[name] : filled[name] + len(block)] = block
            filled[name] += len(block)

        self.run(put)
        return found

    def _slots(self, name: str, buffer: Buffer, t0: int, n: int, last: bool) -> Iterator[list[int]]:
        """Give the places of a segment's frames in memory, some at a time."""
        state = buffer.kind == "state"
        shift = self._engine.plan.layout.history - 1 if state else 0
        first = -(-t0 // self._every) * self._every
        times = range(first, t0 + n + (last and state), self._every)
        # a GPU's memory is copied whole for each block: one is quicker there
        count = self._at_once(name) if self._engine.info.on_cpu else max(1, len(times))
        for k in range(0, len(times), count):
            yield [t - t0 + shift for t in times[k : k + count]]

    def _at_once(self, name: str) -> int:
        return max(1, _BLOCK // max(1, math.prod(self.shapes[name][1:]) * self.dtypes[name].itemsize))

    def _read(self, buffer: Buffer, slots: list[int] | None) -> NDArray[Any]:
        """Copy a buffer, time first, then worlds, components last."""
        if buffer.place is not None:
            whole = spread(self._engine.storage, buffer, slots, (buffer.components,))
            return np.swapaxes(whole, 0, 1)
        stacked = np.stack(self._engine.storage.arrays(buffer, slots), axis=-1)
        return np.swapaxes(stacked, 0, 1)

    def _known(self, name: str, buffer: Buffer) -> Iterator[NDArray[Any]]:
        """Give the frames of what does not change while the rollout runs."""
        frames, count = self.shapes[name][0], self._at_once(name)
        values = np.stack(self._engine.storage.arrays(buffer), axis=-1)
        for k in range(0, frames, count):
            steps = np.arange(k, min(k + count, frames)) * self._every
            if buffer.kind == "derived":
                yield np.repeat(values[None], len(steps), axis=0)
            elif buffer.per_world:
                yield np.swapaxes(values, 0, 1)[steps // buffer.every]
            else:
                yield np.repeat(values[steps // buffer.every, None], self._engine.plan.worlds, axis=1)

    def _formed(self, buffer: Buffer, block: NDArray[Any]) -> NDArray[Any]:
        """Give components their shape, and leave out the axis of a single world."""
        field: Field = buffer.source
        whole = block.reshape(block.shape[: 2 + len(field.shape)] + field.type.shape)
        return whole if self._worlds else whole[:, 0]
