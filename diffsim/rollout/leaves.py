"""What gradients are for: the fields that `wrt` names, with their values and gradients on the device."""

from __future__ import annotations

import math
import weakref
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffsim import runtime
from diffsim.compiler.ir import Buffer
from diffsim.engine.engine import Engine
from diffsim.errors import ConfigError, StateError
from diffsim.language.fields import Control, Param, State, Valued
from diffsim.language.simulator import Part, fields_within
from diffsim.language.trace import Program

__all__ = ["Leaf", "Wrt", "resolve"]

Wrt = Any


class Leaf:
    """Values that an optimiser changes, on the device, with their gradient.

    Attributes:
        key: The attribute path from the simulator.
        field: The declaration.
        buffer: Where the values are in the engine's memory.
        values: Scalar Taichi fields, one per vector component.
        grads: Their gradients, of the same shapes, filled by `Rollout.evaluate`.
        world_axis: The axis of these fields that counts worlds; None where all share the values, or there is
            one world only.
        home: Where the fields are; it outlives the rollout, and may be lent to a later one.
    """

    def __init__(self, rollout: Any, engine: Engine, field: Valued, value: Buffer) -> None:
        self.key, self.field = field.key, field
        self.buffer = value
        self._runtime_program = runtime.current_program()
        self._rollout, self._engine = weakref.ref(rollout), weakref.ref(engine)
        self._gradient = engine.gradient_buffer(value)
        self.values: tuple[Any, ...] = engine.storage.fields(value)
        self.grads: tuple[Any, ...] = engine.storage.fields(self._gradient)
        self.home: object = engine.storage.arena
        layout = engine.plan.layout
        many = field.per_world and layout.worlds > 1
        last = len(layout.axes(value)) + len(value.shape) - 1
        self.world_axis = (last if layout.world_last else 0) if many else None
        worlds = (layout.worlds,) if many else ()
        time = (layout.steps,) if isinstance(field, Control) else ()
        self._shape = (*worlds, *time, *field.element_shape)

    def numpy(self) -> NDArray[Any]:
        """Return a copy of the values on the host, of the shape of the gradient."""
        values = self.field.numpy()
        if values.size == math.prod(self._shape):
            return values.reshape(self._shape)
        return np.broadcast_to(values, self._shape).copy()

    def set(self, array: ArrayLike) -> None:
        """Set the values from the host."""
        self.field.set(array)

    def gradient(self) -> NDArray[Any]:
        """Return a copy of the gradient on the host, of the declared shape; worlds first if there are many.

        Raises:
            StateError: The rollout was closed, or Taichi was started again.
        """
        rollout, engine = self._rollout(), self._engine()
        if rollout is None or engine is None or rollout.closed:
            raise StateError(
                f"the rollout of {self.key} must be open to read a gradient, got a closed one; make a new one"
            )
        runtime.require_running(self._runtime_program, f"the gradient of {self.key}")
        return engine.storage.read(self._gradient, self.field.type.shape).reshape(self._shape)


def resolve(program: Program, wrt: Wrt) -> list[Valued]:
    """Return the fields that `wrt` names, each once; None names every Param and Control.

    Raises:
        ConfigError: It names nothing, or something without a gradient.
    """
    fields = program.fields
    if wrt is None:
        every: list[Valued] = [f for f in fields.values() if isinstance(f, Param | Control)]
        return every
    items = list(wrt) if isinstance(wrt, list | tuple | set) else [wrt]
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
        return [item]
    if isinstance(item, Part):
        own = {id(f) for f in fields.values()}
        inside: list[Valued] = [
            f for f in fields_within(item) if isinstance(f, Param | Control) and id(f) in own
        ]
        if inside:
            return inside
    known = [k for k, f in fields.items() if isinstance(f, Param | Control | State)]
    name = type(program.simulator).__name__
    raise ConfigError(
        f"wrt must name Params, Controls, parts or States of {name}, got {item!r}; it has {', '.join(known)}"
    )
