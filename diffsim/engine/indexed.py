"""Where a user's kernel finds declared fields, when Taichi compiles it as it stands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from diffsim import _taichi
from diffsim.compiler.codegen.layout import Layout
from diffsim.compiler.ir import NEWEST, Buffer, Let, Stage, accesses_in, walk
from diffsim.compiler.program.lowered import LoweredProgram
from diffsim.engine.storage import Storage
from diffsim.engine.taped import TapeArena
from diffsim.errors import GradientError
from diffsim.language.fields import Field
from diffsim.language.intrinsics import at_most
from diffsim.language.results import Result
from diffsim.language.sources import source_of
from diffsim.language.types import ElementType

__all__ = ["Indexed", "why_not"]


def _first_of(n: Any, maximum: int) -> Any:
    """Return `n`: what `at_most` is to Taichi."""
    return n


_first_of.__module__ = "taichi.diffsim"  # Taichi warns of functions that are not its own


def why_not(stage: Stage, lowered: LoweredProgram) -> str:
    """Say why a kernel cannot be run by Taichi as it stands; empty where it can.

    Args:
        stage: One of a user's kernel.
        lowered: Its program.
    """
    call = stage.call
    if lowered.ended is not None:
        return "worlds may end early"
    if call.energy is not None:
        return "it is differentiated within the step"
    if stage.group is not None:
        return "it belongs to a method with an adjoint of its own"
    if call.result is not None or any(isinstance(given, Result) for given in call.args):
        return "a value is returned from kernel to kernel"
    buffers = [op.ref.buffer for op in accesses_in(stage.body)]
    if any(b.place is not None or b.kind in ("table", "activity") for b in buffers):
        return "it works on sparse fields"
    if any(b.kind == "key" for b in buffers):
        return "it draws random numbers"
    if any(isinstance(op, Let) and op.fn == "stop" for op in walk(stage.body)):
        return "it stops gradients"
    if lowered.buffers.handed_on & set(buffers) and _mixed(stage, lowered.buffers.handed_on):
        return "it changes a State without its time"
    return ""


def _mixed(stage: Stage, handed_on: set[Buffer]) -> bool:
    """Tell whether a kernel means both times of a State that it indexes without one."""
    times: dict[Buffer, set[int | None]] = {}
    for op in accesses_in(stage.body):
        if op.ref.buffer in handed_on:
            times.setdefault(op.ref.buffer, set()).add(op.ref.time)
    return any(len(found) > 1 for found in times.values())


class Indexed:
    """Answer what Taichi asks of declared fields while it compiles a kernel.

    Args:
        lowered: The program.
        layout: The axes of the memory.
        storage: The memory.
        stage: The kernel.
        first: It runs before the first step.
    """

    def __init__(
        self, lowered: LoweredProgram, layout: Layout, storage: Storage, stage: Stage, first: bool
    ) -> None:
        self._lowered, self._layout, self._storage, self._first = lowered, layout, storage, first
        self._times = {op.ref.buffer: op.ref.time or 0 for op in accesses_in(stage.body)}

    @property
    def real(self) -> str:
        """The type of literals."""
        return self._lowered.buffers.real

    def swap(self, value: Any) -> Any:
        """Return what Taichi finds in the place of what only we know."""
        if value is at_most:
            return _first_of
        if isinstance(value, ElementType):
            ti, scalar = _taichi.ti, _taichi.DTYPES["i32" if value.integer else self.real]
            made = {0: lambda: scalar, 1: lambda: ti.types.vector(*value.shape, scalar)}
            return made.get(len(value.shape), lambda: ti.types.matrix(*value.shape, scalar))()
        return value

    def source(self, function: Any) -> tuple[list[str], int, str]:
        """Return the text of a function."""
        return source_of(function)

    @property
    def _arena(self) -> TapeArena:
        arena = self._storage.arena
        assert isinstance(arena, TapeArena)  # noqa: S101  (the layout says so)
        return arena

    def place(
        self, value: Any, indices: Sequence[Any], more: Sequence[Any]
    ) -> tuple[Any, tuple[Any, ...]] | None:
        """Return the field and the indices that are meant where a kernel indexes a declared field.

        Args:
            value: What is indexed.
            indices: How.
            more: By how much the step's slot is less than its number, that slot, and the world.

        Raises:
            GradientError: A field is indexed by another number of indices than it has axes.
        """
        if isinstance(value, np.ndarray):
            return self._array(value, indices)
        if not isinstance(value, Field):
            return None
        buffer = self._buffer(value)
        axes = [*(["time"] if value.kind in ("state", "scratch", "control") else []), *value.shape]
        timed = axes[:1] == ["time"] and len(indices) == len(axes)
        space = list(indices[1:] if timed else indices)
        if len(space) != len(value.shape):
            raise GradientError(
                f"{value.label} must be indexed by its time and {len(value.shape)} indices, "
                f"got {len(indices)}; correct the kernel"
            )
        leading = [
            self._world(more)
            if axis == "world"
            else self._time(value, buffer, indices[0] if timed else None, more)
            for axis in self._layout.axes(buffer)
        ]
        return self._arena.element(self._storage.spec(buffer)), (*leading, *space)

    def declared(self, value: Any) -> bool:
        """Tell whether something is a declared field."""
        return isinstance(value, Field)

    def domain(self, value: Any) -> Any:
        """Return a field of the shape of a declared one, for a loop over that; None for all else."""
        return self._arena.domain(value.shape) if isinstance(value, Field) and value.shape else None

    def _buffer(self, field: Field) -> Buffer:
        buffers = self._lowered.buffers
        if self._first and field.kind == "scratch":
            return buffers.before_steps(field)
        return buffers.by_field[id(field)]

    def _world(self, more: Sequence[Any]) -> Any:
        return 0 if self._layout.worlds == 1 else more[2]

    def _time(self, field: Field, buffer: Buffer, time: Any, more: Sequence[Any]) -> Any:
        """Return the slot, or the entry of a Control, that an index of time means."""
        lag, slot, _ = more
        if buffer.kind == "control":
            return time if buffer.every == 1 else time // buffer.every
        before = self._layout.history - 1 if buffer.kind == "state" else 0
        if time is None:
            offset = self._times.get(buffer, 0) if buffer.kind == "state" else 0
            return slot + (before + (1 if offset == NEWEST else offset))
        return time - lag + before

    def _array(self, values: Any, indices: Sequence[Any]) -> tuple[Any, tuple[Any, ...]] | None:
        """Return the field of a NumPy array that is indexed while the kernel runs."""
        held = self._lowered.buffers.arrays.get(id(values))
        if held is None or all(isinstance(index, int) for index in indices):
            return None
        buffer = self._lowered.buffers.by_field[id(held[1])]
        return self._arena.element(self._storage.spec(buffer)), tuple(indices)
