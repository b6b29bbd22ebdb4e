"""The memory of one rollout: scalar Taichi fields, one per component, and their traffic with the host."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsim import _taichi
from diffsim.codegen.layout import Layout
from diffsim.ir import Buffer

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
        ti = _taichi.ti
        made = [b for b in dict.fromkeys(buffers) if b not in self._fields and b.kind != "external"]
        if not made:
            return
        builder = ti.FieldsBuilder()
        for buffer in made:
            shape = self.layout.shape(buffer, (lanes or {}).get(buffer, 1))
            fields = tuple(ti.field(_taichi.DTYPES[buffer.dtype]) for _ in range(buffer.components))
            for field in fields:
                if shape:
                    builder.dense(ti.axes(*range(len(shape))), shape).place(field)
                else:
                    builder.place(field)
            self._fields[buffer] = fields
        self._trees.append(builder.finalize())
        if self.on_cpu:
            self._make_views(made)

    def _make_views(self, buffers: list[Buffer]) -> None:
        pairs = [(b, f) for b in buffers for f in self._fields[b]]
        shapes = [tuple(f.shape) for _, f in pairs]
        views = _taichi.address_views([f for _, f in pairs], shapes, [b.dtype for b, _ in pairs])
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
                field.from_numpy(np.ascontiguousarray(part, dtype=_taichi.NUMPY[buffer.dtype]))
