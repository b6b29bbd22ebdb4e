"""Declaring what changes from step to step and is not computed: a value for each step, or for several."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffsim.errors import ConfigError, StateError
from diffsim.language.fields import Valued
from diffsim.language.layouts import Layout
from diffsim.language.types import ElementType, checked_shape, checked_type
from diffsim.language.values import checked_values, named_shape
from diffsim.options import plain_number

__all__ = ["Control"]


class Control(Valued):
    """Declare a Param with one value per step: `u[t, ...]`, for `t` in `0 .. steps - 1`.

    Kernels may take it at any step in that range, in `reset` and in costs too: `u[t - 3]` acts three steps
    late, `u[t // 10]` is held for ten steps (entries that nobody takes have the gradient zero), `u[k]` takes
    any integer. A step outside is an error, before anything runs where that is certain, else after the run.
    `set` takes an array `(steps, *shape, *components)`; with `per_world=True` also `(worlds, steps, ...)`.

    With `every=5` there is one entry for five steps, so that `ceil(steps / 5)` takes the place of `steps` in
    those shapes and in the gradient's; kernels go on to name steps: `u[t]` is the entry that holds then. For
    entries whose number does not depend on the horizon declare a Param with an axis of that length.

    Args:
        type_: `ds.real`, `ds.vec2`, ...
        shape: The spatial shape.
        init: The initial values as `set` takes them, or a scalar; zero where left out.
        per_world: Each world has values of its own.
        every: How many steps each value is held for.
        unit: What its numbers are in, for pictures and reports.
        layout: How the cells of an entry lie in memory: `ds.dense(...)`.

    Raises:
        ConfigError: Values, a type, a shape, a unit, a layout or a number of steps that are not allowed.
    """

    steps: int
    every: int
    kind = "control"
    _movable = frozenset({"key", "unit", "steps"})

    def __init__(
        self,
        type_: ElementType,
        *shape: Any,
        init: ArrayLike | None = None,
        per_world: bool = False,
        every: int = 1,
        unit: str = "",
        layout: Layout | None = None,
    ) -> None:
        kind = checked_type("Control", type_, integers=False)
        super().__init__(kind, checked_shape("Control", shape), per_world, unit, layout)
        every = plain_number(every)
        if not isinstance(every, int) or isinstance(every, bool) or not 1 <= every < 2**31:
            raise ConfigError(
                f"Control every must be a positive number of steps, got {every!r}; use 5 to hold each value "
                "for 5 steps"
            )
        self.steps, self.every = 0, every
        self.set(0.0 if init is None else init)

    def entries(self, steps: int) -> int:
        """Return how many values there are over a horizon."""
        return -(-steps // self.every)

    def _details(self) -> str:
        return super()._details() + (f", every {self.every} steps" if self.every > 1 else "")

    def _validated(self, array: Any) -> NDArray[Any]:
        shape = self.element_shape

        def allowed(given: tuple[int, ...]) -> bool:
            one = len(given) == 1 + len(shape) and given[1:] == shape
            return given == () or one or (self.per_world and worlds(given))

        def worlds(given: tuple[int, ...]) -> bool:
            return len(given) == 2 + len(shape) and given[2:] == shape

        first = "steps" if self.every == 1 else f"ceil(steps / {self.every})"
        wanted = named_shape(first, shape)
        if self.per_world:
            wanted += f" or {named_shape(f'worlds, {first}', shape)}"
        return checked_values(self.label, array, allowed, wanted, worlds)

    def numpy(self) -> NDArray[Any]:
        """Return a copy of the newest values, `(steps, *shape, *components)`.

        Raises:
            StateError: No rollout has said how many steps there are.
        """
        values = self.host_values()
        if values.shape == ():
            if not self.steps:
                raise StateError(
                    f"{self.label} must know the number of steps, got none yet; make a Rollout or call .set()"
                )
            return np.broadcast_to(values, (self.entries(self.steps), *self.element_shape)).copy()
        return values.copy()
