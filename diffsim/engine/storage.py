"""The memory of one rollout: an array or Taichi field per component, and their traffic with the host."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsim import _taichi
from diffsim.compiler.codegen.layout import Layout
from diffsim.compiler.ir import Buffer
from diffsim.engine.arena import Arena, FieldArena, Spec
from diffsim.engine.blocks import BlockArena
from diffsim.engine.fetching import fetch
from diffsim.engine.pool import the_pool
from diffsim.engine.pools import gathered, spread
from diffsim.engine.tally import Tally
from diffsim.engine.taped import TapeArena, elements_of
from diffsim.errors import StateError

__all__ = ["Storage"]


class Storage:
    """Allocate buffers and move them between host and device.

    Memory is borrowed when it is first used, so that a rollout that takes the place of another one finds what
    that one has given back.

    Args:
        layout: The axes of the buffers.
        on_cpu: The memory is the host's and can be viewed as NumPy arrays.
        native: Machine code runs on it, not Taichi's kernels.
        plain: Fields lie in the order of their axes, whatever their layouts say.

    Raises:
        ConfigError: Taichi's reverse mode is to work on it, and its fork runs.

    Attributes:
        reusable: Another rollout may take the memory over once it is closed; else it is freed then.
        tally: Counts what passes between host and device, where memory is not the host's.
    """

    def __init__(self, layout: Layout, on_cpu: bool, native: bool = False, plain: bool = False) -> None:
        if layout.taped:
            _taichi.require_reverse()
        self.layout, self.on_cpu, self._plain = layout, on_cpu, plain
        self._native = native
        self._specs: dict[Buffer, Spec] = {}
        self._once: dict[tuple[object, ...], Buffer] = {}
        self._arena: Arena | None = None
        self._give_back: weakref.finalize[[Arena], Storage] | None = None
        self._closed, self.reusable = False, True
        self.tally = Tally()

    def allocate(self, buffers: Iterable[Buffer], lanes: dict[Buffer, int] | None = None) -> None:
        """Make the fields of buffers that have none yet, now or when memory is first used."""
        made = [b for b in dict.fromkeys(buffers) if b not in self._specs and b.kind != "external"]
        self._specs.update({b: self.described(b, (lanes or {}).get(b, 1)) for b in made})
        if self._arena is not None:
            self._arena.allocate([self._specs[b] for b in made])

    def once(self, buffer: Buffer) -> Buffer:
        """Return the buffer of this name and shape, allocated now or before.

        Args:
            buffer: One that somebody makes anew each time, for the same use.
        """
        found = self._once.setdefault((buffer.name, buffer.dtype, buffer.shape), buffer)
        self.allocate([found])
        return found

    def described(self, buffer: Buffer, lanes: int) -> Spec:
        """Return what a buffer is in memory, or will be, with so many lanes of a tape."""
        axes, shape = self.layout.axes(buffer), self.layout.shape(buffer, lanes)
        part = "kept" if {"checkpoint", "kept"} & set(axes) else "windowed" if "slot" in axes else "lasting"
        leading = len(shape) - len(buffer.shape)
        axis = self.layout.beside(buffer)
        block = self.layout.block_of(buffer) if axis >= 0 else 1
        last = self.layout.innermost(buffer) >= 0  # behind the axes of space
        lies = None if self._plain else buffer.arrangement
        space = leading - last if lies is not None else 0
        return Spec(
            buffer.name, buffer.dtype, shape, leading, buffer.components, part, axis, block, space, lies
        )

    @property
    def arena(self) -> Arena:
        """Where the fields are; borrowed at the first look.

        Raises:
            StateError: The rollout was closed, or Taichi has no room for more fields.
        """
        if self._arena is None:
            if self._closed:
                raise StateError("the rollout must be open, got a closed one; make a new Rollout")
            pool, specs = the_pool(), list(self._specs.values())
            split = self.on_cpu and not self.layout.world_last
            if self._native:
                self._arena = pool.borrow(specs, BlockArena)
            elif self.layout.taped:
                self._arena = pool.borrow(specs, TapeArena, self.on_cpu, split, elements_of(self._specs))
            else:
                self._arena = pool.borrow(specs, FieldArena, self.on_cpu, split)
            self._give_back = weakref.finalize(self, pool.give_back, self._arena)
            self._give_back.atexit = False  # the program may have ended by then, and takes its memory along
        return self._arena

    def spec(self, buffer: Buffer) -> Spec:
        """Return what a buffer is in memory."""
        return self._specs[buffer]

    def fields(self, buffer: Buffer) -> tuple[Any, ...]:
        """Return the scalar fields of a buffer, one per component."""
        return self.arena.fields(self._specs[buffer])

    @property
    def in_arrays(self) -> bool:
        """Tell whether the memory is NumPy's, and becomes Taichi's only where somebody asks for fields."""
        return self._native

    def close(self) -> None:
        """Give all memory back."""
        arena, self._closed, self._arena = self._arena, True, None
        if self._give_back is None:
            return
        if self.reusable:
            self._give_back()
        elif arena is not None and self._give_back.detach():
            arena.close()

    # ---- host ----

    @property
    def in_place(self) -> bool:
        """Tell whether the host can look at all that lies in memory: it is its own, and there are no gaps."""
        return self.on_cpu and self.layout.worlds % self.layout.block == 0

    def laid(self, buffer: Buffer) -> list[NDArray[Any]]:
        """Return each component as it lies in memory: blocks of worlds where `arrays` has worlds."""
        return self.arena.laid(self._specs[buffer]) if self.on_cpu else self._fetched(buffer)

    def memory(self, buffer: Buffer) -> list[NDArray[Any]]:
        """Return each component with axes in the order of kernels' indices, room to spare included."""
        return self.arena.views(self._specs[buffer]) if self.on_cpu else self._fetched(buffer)

    def _fetched(self, buffer: Buffer) -> list[NDArray[Any]]:
        return fetch(self.arena, [self._specs[buffer]], (), self.tally)[0][0]

    def together(
        self, buffers: Sequence[Buffer], flagged: Sequence[Buffer] = ()
    ) -> tuple[list[list[NDArray[Any]]], list[bool]]:
        """Return several buffers as `arrays` does, from a device in one copy.

        Args:
            buffers: What to return.
            flagged: Those of which it is only told whether a number of the first component is not zero.
        """
        if self.on_cpu:
            return [self.arrays(b) for b in buffers], [bool(np.any(self.arrays(b)[0])) for b in flagged]
        specs, flags = ([self._specs[b] for b in some] for some in (buffers, flagged))
        found, raised = fetch(self.arena, specs, flags, self.tally)
        pairs = zip(buffers, found, strict=True)
        return [[self._outside(b, array) for array in arrays] for b, arrays in pairs], raised

    def arrays(self, buffer: Buffer, slots: Any = None) -> list[NDArray[Any]]:
        """Return each component with axes in the order of the indices, world first.

        There is no copy on the CPU where worlds are not in blocks: to change what is in memory, `put` it.

        Args:
            buffer: What to return.
            slots: Which of its slots, as an index of an array; None for all.
        """
        spec = self._specs[buffer]
        if spec.axis != 0 or spec.block == spec.shape[0]:
            found = [self._outside(buffer, a) for a in self.memory(buffer)]
            return found if slots is None else [a[:, slots] for a in found]
        parts = self.laid(buffer) if slots is None else [a[:, slots] for a in self.laid(buffer)]
        merged = (np.moveaxis(a, -1, 1) for a in parts)
        return [a.reshape(-1, *a.shape[2:])[: self.layout.worlds] for a in merged]

    def _outside(self, buffer: Buffer, array: NDArray[Any]) -> NDArray[Any]:
        """Return what kernels index with worlds first, as many as there are, and as many times as steps."""
        axes = self.layout.axes(buffer)
        innermost = self.layout.innermost(buffer)
        if innermost >= 0:
            array = np.moveaxis(array, -1, innermost)
        if self.layout.block > 1 and "world" in axes:
            array = array[(slice(None),) * axes.index("world") + (slice(self.layout.worlds),)]
        if "time" in axes:
            array = array[(slice(None),) * axes.index("time") + (slice(self.layout.entries(buffer)),)]
        return array

    def read(self, buffer: Buffer, element_shape: tuple[int, ...]) -> NDArray[Any]:
        """Return a copy of a buffer, components last; of a pool, of the whole domain."""
        if buffer.place is not None:
            return spread(self, buffer, None, element_shape)
        return self.stacked(self.arrays(buffer), element_shape)

    @staticmethod
    def stacked(arrays: Sequence[NDArray[Any]], element_shape: tuple[int, ...]) -> NDArray[Any]:
        """Return a copy of the components of a buffer as one array, components last."""
        stacked = np.stack(arrays, axis=-1)
        return stacked.reshape(stacked.shape[:-1] + element_shape)

    def put(self, buffer: Buffer, arrays: Iterator[NDArray[Any]]) -> None:
        """Write each component from an array with axes as `arrays` has them."""
        for c in range(buffer.components):
            self._store(buffer, c, next(arrays))

    def write(self, buffer: Buffer, values: Any, element_shape: tuple[int, ...]) -> None:
        """Fill a buffer from values with components last, repeated over missing leading axes.

        Values of a pool are `Cells`, or a number for all active ones; its list of blocks is there already.
        """
        if buffer.place is not None:
            values = gathered(self, buffer, values, element_shape)
            element_shape = (buffer.components,)
        shape = self._outside(buffer, np.broadcast_to(np.int8(0), self._specs[buffer].shape)).shape
        full = np.broadcast_to(values, shape + element_shape).reshape((*shape, buffer.components))
        for c in range(buffer.components):
            self._store(buffer, c, full[..., c])

    def zero(self, buffer: Buffer) -> None:
        """Zero a buffer, room to spare included."""
        if self.on_cpu:
            for array in self.laid(buffer):
                array[...] = 0
            return
        self.put(buffer, iter([np.zeros(()) for _ in range(buffer.components)]))

    def _store(self, buffer: Buffer, component: int, array: NDArray[Any]) -> None:
        spec = self._specs[buffer]
        if spec.axis >= 0:
            laid, axes = self.arena.laid(spec)[component], self.layout.axes(buffer)
            if "time" in axes:
                laid = laid[(slice(None),) * axes.index("time") + (slice(self.layout.entries(buffer)),)]
            spec.fill(laid, array)
            return
        if self.on_cpu:
            self._outside(buffer, self.arena.views(spec)[component])[...] = array
            return
        whole = np.zeros(spec.shape, _taichi.NUMPY[buffer.dtype])
        self._outside(buffer, whole)[...] = array
        self.tally.written(whole.nbytes)
        self.arena.put(spec, component, whole)
