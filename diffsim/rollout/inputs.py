"""Bringing the values of fields to a rollout's memory, and checking that nothing it relied on has changed."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsim import _taichi, runtime
from diffsim.compiler.checks.ranges import values_at
from diffsim.compiler.checks.scatter import first_repeated
from diffsim.compiler.ir import Buffer
from diffsim.compiler.program.topology import Topology
from diffsim.engine.engine import Engine
from diffsim.engine.pools import blocks_with, cells_together, table_of
from diffsim.errors import CapacityError, ConfigError, StateError
from diffsim.language.cells import Cells
from diffsim.language.controls import Control
from diffsim.language.fields import Field, State, Valued
from diffsim.language.seeds import world_keys
from diffsim.language.snapshot import shown
from diffsim.language.watch import Watch

__all__ = ["Inputs"]


class Inputs:
    """The fields with values of a program, and which version of each the device holds.

    Args:
        engine: Whose memory the values go to.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._seen: dict[int, int] = {}
        self._token = object()
        self._runtime_program = runtime.current_program()
        arrays = engine.lowered.buffers.arrays.values()
        self._followed = list(engine.lowered.buffers.followed.values())
        declared = engine.lowered.program.fields.values()
        fields = [*declared, *(made for _, made in arrays), *self._followed]
        self._pairs = [(field, self._buffer_of(field)) for field in fields if isinstance(field, Valued)]
        self._buffers = {id(field): buffer for field, buffer in self._pairs}
        self._watch = Watch(engine.lowered.program)
        self._drawn: int | None = None  # the seed that the device has
        for field in fields:
            if isinstance(field, Control):
                field.steps = engine.plan.steps

    def buffer(self, field: Field) -> Buffer:
        """Return where the values of a field are: for a State, those of its initial value."""
        return self._buffers[id(field)]

    def _buffer_of(self, field: Field) -> Buffer:
        lowered = self._engine.lowered  # names of fields may be another simulator's later
        return lowered.initial[field.key] if isinstance(field, State) else lowered.buffers.by_field[id(field)]

    def versions(self) -> dict[str, int]:
        """Return a number for the values of each field by key, another one whenever they were changed."""
        known = {field.key: field.version for field, _ in self._pairs}
        draws = self._engine.lowered.buffers.key is not None
        return {**known, "seed of the rollout": self._engine.lowered.program.seeds.run} if draws else known

    def touch(self, changed: list[tuple[Valued, Buffer]]) -> None:
        """Say that the device values of fields were changed, so that the host's copies are old."""
        for field, buffer in changed:
            field.fetched_from(self._token, functools.partial(self._read, field, buffer))
            self._seen[id(field)] = field.version

    def _read(self, field: Valued, buffer: Buffer) -> NDArray[Any] | Cells:
        """Return the device values of a field; one world has them in the declared shape, without worlds."""
        runtime.require_running(self._runtime_program, f"{field.label} (a run left its values there)")
        if field.sparse is not None:
            return cells_together(self._engine.storage, buffer, None, field.type.shape)
        values = self._engine.storage.read(buffer, field.type.shape)
        alone = field.per_world and self._engine.plan.layout.worlds == 1
        return values[0] if alone else values

    def bring_home(self) -> None:
        """Fetch the values that only the device has, before its memory is freed."""
        for field, _ in self._pairs:
            if field.held_by(self._token):
                field.numpy()

    def upload(self) -> None:
        """Bring changed values to the device.

        Raises:
            StateError: What tracing or kernels saw of the simulator when the rollout was made has changed.
            ConfigError: Values do not fit this rollout.
        """
        self._check_trees()
        self._watch.check()
        self._check_captured()
        for followed in self._followed:
            followed.refresh()
        for topology in self._engine.lowered.topologies:
            self._upload_blocks(topology)
        for field, buffer in self._pairs:
            if self._seen.get(id(field)) != field.version:
                self._upload(field, buffer)
                self._seen[id(field)] = field.version
        self._upload_key()

    def _upload_blocks(self, topology: Topology) -> None:
        """Bring the blocks to the device that the values of sparse fields are in, where any is another one.

        Raises:
            CapacityError: There is no room for so many.
        """
        fields = [b.source for b in topology.fields if isinstance(b.source, Valued)]
        if not fields or all(self._seen.get(id(f)) == f.version for f in fields):
            return
        first = topology.fields[0] if topology.fixed else self._engine.lowered.initial[fields[0].key]
        place, storage = first.place, self._engine.storage
        assert place is not None  # noqa: S101  (it is a pool)
        found = [blocks_with(place, field.host_values()) for field in fields]
        blocks = np.unique(np.concatenate(found))
        if len(blocks) > topology.capacity:
            raise CapacityError(
                f"values of {fields[0].label} must lie in at most {topology.capacity} blocks, the capacity "
                f"of {topology.layout!r}, got {len(blocks)}; set `layout.capacity = {len(blocks)}`",
                topology.layout,
                len(blocks),
            )
        listed = np.zeros(topology.capacity + 1, np.int32)
        listed[1 : len(blocks) + 1] = blocks
        storage.write(place.blocks, listed, ())
        storage.write(place.total, np.array(len(blocks), np.int32), ())
        for table in topology.tables.values() if topology.fixed else ():
            storage.write(table, table_of(place, blocks), ())
        for field in fields:
            self._seen.pop(id(field), None)  # its pool is another one

    def _upload_key(self) -> None:
        """Bring what random numbers start from, where kernels draw any and the seed is another one."""
        engine = self._engine
        key, seed = engine.lowered.buffers.key, engine.lowered.program.seeds.run
        if key is not None and self._drawn != seed:
            engine.storage.write(key, world_keys(engine.plan.worlds, engine.info.seed, seed), ())
            self._drawn = seed

    def _check_captured(self) -> None:
        changed = self._engine.lowered.buffers.captured.changed()
        if changed is not None:
            captured, now = changed
            numbers = isinstance(captured.value, bool | int | float | list | np.generic | np.ndarray)
            other = ", or declare it as ds.Constant to change it between runs" if numbers else ""
            raise StateError(
                f"{captured.label} must stay as kernels saw it when the rollout was made "
                f"({captured.text}), got {shown(now)}; make a new Rollout{other}"
            )

    def _check_trees(self) -> None:
        for name, stamp in self._engine.lowered.buffers.stamps:
            if _taichi.is_destroyed(stamp):
                raise StateError(
                    f"{name} must keep its memory as long as a rollout reads it, got a Taichi field whose "
                    "tree was destroyed (SNodeTree.destroy); make the field and the Rollout anew"
                )

    def _upload(self, field: Valued, buffer: Buffer) -> None:
        layout = self._engine.plan.layout
        values = field.host_values()
        if isinstance(values, Cells):
            self._upload_cells(field, buffer, values)
            return
        shape = field.element_shape
        time = (field.entries(layout.steps),) if isinstance(field, Control) else ()
        allowed = [(), (*time, *shape)] + ([(layout.worlds, *time, *shape)] if field.per_world else [])
        if values.shape not in allowed:
            wanted = " or ".join(str(s) for s in allowed[1:])
            raise ConfigError(
                f"{field.label} must have shape {wanted} in this rollout, "
                f"got {values.shape}; call .set() with it"
            )
        for literal, (low, high) in buffer.bounds.items():
            part = values_at(np.broadcast_to(values, values.shape or shape), literal)
            if np.min(part) < low or np.max(part) > high:
                raise ConfigError(
                    f"{field.label} must stay within {low:g} .. {high:g}, for which this rollout's loops and "
                    f"indices were checked, got {np.min(part):g} .. {np.max(part):g}; make a new Rollout for "
                    "other values"
                )
        for literal in buffer.distinct:
            twice = first_repeated(np.broadcast_to(values, values.shape or shape), literal)
            if twice is not None:
                raise ConfigError(
                    f"{field.label} must hold distinct numbers, since a parallel loop stores through it, got "
                    f"{twice} twice; add with += in the kernel, or set a permutation"
                )
        self._engine.storage.write(buffer, values, field.type.shape)

    def _upload_cells(self, field: Valued, buffer: Buffer, cells: Cells) -> None:
        worlds, one = self._engine.plan.layout.worlds, 1 + len(field.type.shape)
        if cells.values.ndim > one and len(cells.values) != worlds:
            raise ConfigError(
                f"values of cells of {field.label} must be for {worlds} world(s) in this rollout, got "
                f"{len(cells.values)}; call .set() with those of each, or of one for all"
            )
        self._engine.storage.write(buffer, cells, field.type.shape)
