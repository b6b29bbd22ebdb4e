"""What gradients are for: the fields that `wrt` names, with their values and gradients on the device."""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffsim.compiler.ir import Accumulate, Buffer, walk
from diffsim.compiler.program.lowered import LoweredProgram
from diffsim.engine.engine import Engine
from diffsim.engine.pools import cells_together
from diffsim.errors import ConfigError, StateError
from diffsim.language.cells import Cells
from diffsim.language.controls import Control
from diffsim.language.fields import Field, Param, State, Valued
from diffsim.language.simulator import Part, fields_within
from diffsim.language.trace import Program

__all__ = ["Leaf", "Wrt", "require_cost", "resolve"]

Wrt = Any


class Leaf:
    """Values that an optimiser changes, on the device, with their gradient.

    Attributes:
        key: The attribute path from the simulator.
        field: The declaration.
        world_axis: The axis of these fields that counts worlds; None where all share the values, or there is
            one world only.
    """

    def __init__(self, rollout: Any, field: Valued) -> None:
        self.key, self.field = field.key, field
        self._rollout = weakref.ref(rollout)
        engine, value = rollout.memory_of(field)
        layout = engine.plan.layout
        many = field.per_world and layout.worlds > 1
        last = len(layout.axes(value)) + len(value.shape) - 1
        self.world_axis = (last if layout.world_last else 0) if many else None
        worlds = (layout.worlds,) if many else ()
        time = (field.entries(layout.steps),) if isinstance(field, Control) else ()
        self._shape = (*worlds, *time, *field.element_shape)

    def __repr__(self) -> str:
        return f"<Leaf {self.key}: {self._shape}>"

    @property
    def values(self) -> tuple[Any, ...]:
        """Scalar Taichi fields, one per vector component."""
        return self._open_engine()[0].storage.fields(self.buffer)

    @property
    def grads(self) -> tuple[Any, ...]:
        """Their gradients, of the same shapes, filled by `Rollout.evaluate`."""
        return self._open_engine()[0].storage.fields(self.gradient_buffer)

    @property
    def arrays(self) -> tuple[list[NDArray[Any]], list[NDArray[Any]]] | None:
        """The memory of values and gradients, an array per vector component; None where it is Taichi's.

        It moves where somebody asks for `values` or `grads`: arrays must not be kept.
        """
        storage = self._open_engine()[0].storage
        if not storage.in_arrays:
            return None
        return storage.memory(self.buffer), storage.memory(self.gradient_buffer)

    @property
    def lengths(self) -> tuple[int, ...]:
        """The lengths of the fields' axes; a layout may give the fields room to spare beyond them."""
        engine, buffer = self._open_engine()
        return engine.storage.spec(buffer).shape

    @property
    def buffer(self) -> Buffer:
        """Where the values are in the engine's memory."""
        return self._open_engine()[1]

    @property
    def home(self) -> object:
        """Where the fields are; it outlives the rollout, and may be lent to a later one."""
        return self._open_engine()[0].storage.arena

    @property
    def gradient_buffer(self) -> Buffer:
        """Where the gradient is found in the engine's memory behind a backward pass."""
        engine, value = self._open_engine()
        return engine.gradient_buffer(value)

    def _open_engine(self) -> tuple[Engine, Buffer]:
        """Return what the memory is of, and where; fields of memory that was freed would end the process."""
        rollout = self._rollout()
        if rollout is None or rollout.closed:
            raise StateError(
                f"the rollout of {self.key} must be open to read its values or gradient, got a closed one; "
                "make a new one"
            )
        rollout.require_open()
        found: tuple[Engine, Buffer] = rollout.memory_of(self.field)
        return found

    def numpy(self) -> NDArray[Any]:
        """Return a copy of the values on the host, of the shape of the gradient.

        Raises:
            StateError: The rollout was closed; or the layout is sparse, and the whole domain too large.
        """
        values = self.field.numpy()
        if values.size == math.prod(self._shape):
            return values.reshape(self._shape)
        return np.broadcast_to(values, self._shape).copy()

    def set(self, array: ArrayLike) -> None:
        """Set the values from the host."""
        self.field.set(array)

    def gradient(self, known: Mapping[Buffer, list[NDArray[Any]]] | None = None) -> NDArray[Any] | Cells:
        """Return a copy of the gradient on the host, of the declared shape; worlds first if there are many.

        That of a sparse layout is of the cells whose blocks are active at the beginning: nothing is known of
        the others, in which a State has no memory.

        Args:
            known: What the host has already, as `Engine.gradients` returns it.

        Raises:
            StateError: The rollout was closed, or the runtime was started again.
        """
        storage, buffer, element = self._open_engine()[0].storage, self.gradient_buffer, self.field.type.shape
        if self.field.sparse is not None:
            return cells_together(storage, buffer, None, element)
        arrays = (known or {}).get(buffer)
        found = storage.read(buffer, element) if arrays is None else storage.stacked(arrays, element)
        return found.reshape(self._shape)


def require_cost(program: Program, lowered: LoweredProgram) -> None:
    """Refuse to differentiate what has no cost.

    Raises:
        StateError: No kernel adds to the cost.
    """
    adds = any(
        isinstance(op, Accumulate) and op.ref.buffer.kind == "cost"
        for stage in lowered.step
        for op in walk(stage.body)
    )
    if not (program.running_cost or program.terminal_cost or adds):
        name = type(program.simulator).__name__
        raise StateError(
            f"{name} must have a cost to differentiate, got none; define terminal_cost or running_cost"
        )


def resolve(program: Program, wrt: Wrt) -> list[Valued]:
    """Return the fields that `wrt` names, each once; None names every Param and Control.

    Raises:
        ConfigError: It names nothing, or something without a gradient.
    """
    fields = program.fields
    if wrt is None:
        every: list[Valued] = [f for f in fields.values() if isinstance(f, Param | Control)]
        return every
    several = isinstance(wrt, Iterable) and not isinstance(wrt, str | Field | Part)
    items = list(wrt) if several else [wrt]
    found: dict[int, Valued] = {}
    for item in items:
        for field in _named(program, item):
            found[id(field)] = field
    if not found:
        raise ConfigError(
            "wrt must name at least one Param, Control, part or State, got nothing; leave it out for all"
        )
    return list(found.values())


def _named(program: Program, item: Any) -> list[Valued]:
    fields = program.fields
    if isinstance(item, str) and item in fields:
        item = fields[item]
    if isinstance(item, Param | Control | State) and id(item) in {id(f) for f in fields.values()}:
        if item.integer:
            raise ConfigError(
                f"wrt must name fields of real numbers, got {item.label}, which holds integers and has no "
                "gradient; leave it out"
            )
        return [item]
    if isinstance(item, str):  # of a part
        inside: list[Valued] = [
            f for key, f in fields.items() if key.startswith(f"{item}.") and isinstance(f, Param | Control)
        ]
        if inside:
            return inside
    if isinstance(item, Part):
        own = {id(f) for f in fields.values()}
        inside = [f for f in fields_within(item) if isinstance(f, Param | Control) and id(f) in own]
        if inside:
            return inside
    known = [k for k, f in fields.items() if isinstance(f, Param | Control | State) and not f.integer]
    name = type(program.simulator).__name__
    raise ConfigError(
        f"wrt must name Params, Controls, parts or States of {name}, got {item!r}; it has {', '.join(known)}"
    )
