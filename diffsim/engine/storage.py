"""The memory of one rollout: scalar Taichi fields, one per component, and their traffic with the host."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsim import _taichi
from diffsim.compiler.codegen.layout import Layout
from diffsim.compiler.ir import Buffer

__all__ = ["Storage"]


class Storage:
    """Allocate buffers and move them between host and device.

    Args:
        layout: The axes of the buffers.
        on_cpu: The fields lie in host memory and can be viewed as NumPy arrays.
    """

    def __init__(self, layout: Layout, on_cpu: bool) -> None:
        self.layout, self.on_cpu = layout, on_cpu
        self._fields: dict[Buffer, tuple[Any, ...]] = {}
        self._views: dict[Buffer, list[NDArray[Any]]] = {}
        self._trees: list[Any] = []

    def allocate(self, buffers: Iterable[Buffer], lanes: dict[Buffer, int] | None = None) -> None:
        """Make the fields of buffers that have none yet."""
        made = [b for b in dict.fromkeys(buffers) if b not in self._fields and b.kind != "external"]
        if not made:
            return
        kept = [b for b in made if {"checkpoint", "kept"} & set(self.layout.axes(b))]
        windowed = [b for b in made if b not in kept and "slot" in self.layout.axes(b)]
        lasting = [b for b in made if b not in kept and b not in windowed]
        for part in (lasting + windowed, kept):
            if part:
                self._make_tree(part, windowed, lanes or {})

    def _make_tree(self, buffers: list[Buffer], windowed: list[Buffer], lanes: dict[Buffer, int]) -> None:
        """Make the fields of buffers, which share one allocation.

        What has slots lies at the end of it, slot by slot: then no distance between two places of a step
        depends on how many slots there are, and the same kernel is compiled to the same arithmetic, to the
        last bit, for every window.
        """
        ti = _taichi.ti
        builder = ti.FieldsBuilder()
        nodes = dict.fromkeys(buffers, builder)
        blocked = windowed if self.on_cpu and not self.layout.world_last else []
        if blocked and buffers[-1] in blocked:
            block = builder.dense(ti.axes(0), self.layout.worlds).dense(ti.axes(1), self.layout.slots)
            nodes.update(dict.fromkeys(blocked, block))
        for buffer, node in nodes.items():
            self._place(node, buffer, lanes.get(buffer, 1), 2 if node is not builder else 0)
        self._trees.append(builder.finalize())
        if self.on_cpu:
            for part, outer in (([b for b in buffers if b not in blocked], 0), (blocked, 2)):
                self._make_views([b for b in part if b in nodes], outer)

    def _place(self, node: Any, buffer: Buffer, lanes: int, outer: int) -> None:
        """Make the fields of a buffer below a node that has its `outer` first axes.

        On a CPU the axes before space (world, slot, ...) and each axis of space are levels of their own: an
        index of a level is added to the address in 64 bits, so that the compiler sees how far the places of
        neighbours are apart and vectorises, whatever expression names the slot.
        """
        ti = _taichi.ti
        shape = self.layout.shape(buffer, lanes)
        leading = len(shape) - len(buffer.shape)
        levels = [range(outer, leading), *(range(a, a + 1) for a in range(leading, len(shape)))]
        if not self.on_cpu or self.layout.world_last:
            levels = [range(len(shape))]
        fields = tuple(ti.field(_taichi.DTYPES[buffer.dtype]) for _ in range(buffer.components))
        for field in fields:
            place = node
            for axes in levels:
                place = place.dense(ti.axes(*axes), [shape[a] for a in axes]) if axes else place
            place.place(field)
        self._fields[buffer] = fields

    def _make_views(self, buffers: list[Buffer], outer: int) -> None:
        pairs = [(b, f) for b in buffers for f in self._fields[b]]
        shapes = [tuple(f.shape) for _, f in pairs]
        views = _taichi.address_views([f for _, f in pairs], shapes, [b.dtype for b, _ in pairs], outer)
        for (buffer, _), view in zip(pairs, views, strict=True):
            self._views.setdefault(buffer, []).append(view)

    def fields(self, buffer: Buffer) -> tuple[Any, ...]:
        """Return the scalar fields of a buffer, one per component."""
        return self._fields[buffer]

    def close(self) -> None:
        """Free all memory."""
        self._views.clear()
        self._fields.clear()
        for tree in self._trees:
            _taichi.destroy_tree(tree)
        self._trees.clear()

    # ---- host ----

    def arrays(self, buffer: Buffer) -> list[NDArray[Any]]:
        """Return each component with axes in the order of the indices, world first; no copy on the CPU."""
        if self.on_cpu:
            _taichi.ti.sync()
            arrays = self._views[buffer]
        else:
            arrays = [f.to_numpy() for f in self._fields[buffer]]
        return [self._world_first(buffer, a) for a in arrays]

    def _world_first(self, buffer: Buffer, array: NDArray[Any]) -> NDArray[Any]:
        axes = self.layout.axes(buffer)
        if self.layout.world_last and "world" in axes:
            return np.moveaxis(array, -1, axes.index("world"))
        return array

    def read(self, buffer: Buffer, element_shape: tuple[int, ...]) -> NDArray[Any]:
        """Return a copy of a buffer, components last."""
        stacked = np.stack(self.arrays(buffer), axis=-1)
        return stacked.reshape(stacked.shape[:-1] + element_shape)

    def put(self, buffer: Buffer, arrays: Iterator[NDArray[Any]]) -> None:
        """Write each component from an array with axes as `arrays` has them."""
        for c, field in enumerate(self._fields[buffer]):
            array = next(arrays)
            if self.on_cpu:
                self._world_first(buffer, self._views[buffer][c])[...] = array
            else:
                axes = self.layout.axes(buffer)
                if self.layout.world_last and "world" in axes:
                    array = np.moveaxis(array, axes.index("world"), -1)
                _send(field, array, buffer)

    def write(self, buffer: Buffer, values: NDArray[Any], element_shape: tuple[int, ...]) -> None:
        """Fill a buffer from values with components last, repeated over missing leading axes."""
        axes = self.layout.axes(buffer)
        fields = self._fields[buffer]
        shape = tuple(fields[0].shape)
        if self.layout.world_last and "world" in axes:
            k = axes.index("world")
            shape = (*shape[:k], shape[-1], *shape[k:-1])
        full = np.broadcast_to(values, shape + element_shape).reshape((*shape, buffer.components))
        for c, field in enumerate(fields):
            part = full[..., c]
            if self.layout.world_last and "world" in axes:
                part = np.moveaxis(part, axes.index("world"), -1)
            if self.on_cpu:
                self._views[buffer][c][...] = part
            else:
                _send(field, part, buffer)


def _send(field: Any, array: NDArray[Any], buffer: Buffer) -> None:
    """Copy an array to a field that the host can't reach into, a number without axes as one."""
    field.from_numpy(np.asarray(array, dtype=_taichi.NUMPY[buffer.dtype], order="C"))
