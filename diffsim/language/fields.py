"""Declarations of what a simulator's kernels read and write; memory comes later, from a rollout's plan."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffsim.errors import ConfigError, StateError
from diffsim.language.cells import Cells
from diffsim.language.declared import Field, Valued
from diffsim.language.layouts import Layout
from diffsim.language.types import ElementType, checked_shape, checked_type, type_and_shape
from diffsim.options import plain_number

__all__ = [
    "Constant",
    "Field",
    "Param",
    "Scratch",
    "State",
    "Valued",
    "Workspace",
]


class State(Valued):
    """Declare what is carried from step to step: kernels read `x[t, ...]` and write `x[t + 1, ...]`.

    Without the time, `x[...]` is what was stored last, as in plain Taichi: `x[t]` until a kernel of the step
    writes it, `x[t + 1]` from then on. A State that is written so is changed in place: what a step does not
    store is handed on.

    A State that no kernel of the step writes keeps its value, and is stored once. Of one that kernels write,
    the elements that a step leaves out are zero at `t + 1`, and sums (`+=`) begin at zero; with `keep=True`
    all begin with what they are at `t`, and what is not stored stays so. `set` and `numpy` mean the initial
    value, whose gradient has the State's key.

    A State of integers (`ds.i32`, `ds.ivec2`, ...) has no gradient: counters, flags, lists, sort orders.

    Args:
        type_: `ds.real`, `ds.vec2`, ..., `ds.i32`.
        shape: The spatial shape.
        init: The initial value, zero where left out.
        history: How many past steps are readable: 2 allows `x[t - 1]`; `x[-1]` is `x[0]`, or by `reset`.
        per_world: Each world has an initial value of its own.
        keep: True to begin `x[t + 1]` as `x[t]`, False to begin it with zeros. Left out, it begins with zero,
            and storing it in part is a warning (PARTIAL); written without the time, it begins as `x[t]`.
        unit: What its numbers are in, as "m/s", for pictures and files.
        layout: How its cells lie in memory: `ds.dense(...)`, or `ds.sparse(...)` for active blocks only.

    Raises:
        ConfigError: A type, shape, history, keep, unit, layout or initial value that is not allowed.
    """

    history: int
    keep: bool | None
    kind = "state"

    def __init__(
        self,
        type_: ElementType,
        *shape: Any,
        init: ArrayLike | Cells | None = None,
        history: int = 1,
        per_world: bool = False,
        keep: bool | None = None,
        unit: str = "",
        layout: Layout | None = None,
    ) -> None:
        super().__init__(checked_type("State", type_), checked_shape("State", shape), per_world, unit, layout)
        history = plain_number(history)
        if not isinstance(history, int) or isinstance(history, bool) or history < 1:
            raise ConfigError(
                f"State history must be a positive integer, got {history!r}; use 2 to read x[t - 1]"
            )
        keep = plain_number(keep)
        if keep is not None and not isinstance(keep, bool):
            raise ConfigError(
                f"State keep must be True, False or None, got {keep!r}; True hands on what is not stored"
            )
        if history > 1 and self.sparse:
            raise ConfigError(
                f"State history must be 1 with a sparse layout, got {history}; keep the past in a State of "
                "its own"
            )
        self.history, self.keep = history, keep
        self.set(0.0 if init is None else init)


class Scratch(Field):
    """Declare what lives within one step, or in `reset`: zero at its start, used as `f[t, ...]` or `f[...]`.

    Args:
        type_: `ds.real`, `ds.vec2`, ..., or `ds.i32`, `ds.ivec2`, ... for integers, which have no gradient.
        shape: The spatial shape.
        unit: What its numbers are in, for pictures and files.
        layout: How its cells lie in memory: `ds.dense(...)`, or `ds.sparse(...)` for active blocks only.

    Raises:
        ConfigError: A type, shape, unit or layout that is not allowed.
    """

    kind = "scratch"

    def __init__(self, type_: ElementType, *shape: Any, unit: str = "", layout: Layout | None = None) -> None:
        dims = checked_shape("Scratch", shape)
        super().__init__(checked_type("Scratch", type_), dims, unit=unit, layout=layout)

    def numpy(self) -> NDArray[Any]:
        """Refuse: a Scratch has no value outside a step.

        Raises:
            StateError: Always.
        """
        raise StateError(
            f"{self.label} must be read as a trajectory, got numpy(); call rollout.trajectory(field)"
        )


class Workspace(Field):
    """Declare memory that a method with an adjoint of its own works in: `w[...]`, without time or gradient.

    The kernels that such a method calls (`ds.adjoint_of`) may overwrite it as often as they like, others must
    not touch it. It is zero where the method begins, and where its adjoint begins.

    Args:
        type_: `ds.real`, `ds.vec2`, ..., or `ds.i32`, `ds.ivec2`, ... for integers.
        shape: The spatial shape.
        layout: How its cells lie in memory: `ds.dense(...)`, or `ds.sparse(...)` for active blocks only.

    Raises:
        ConfigError: A type, shape or layout that is not allowed.
    """

    kind = "workspace"

    def __init__(self, type_: ElementType, *shape: Any, layout: Layout | None = None) -> None:
        dims = checked_shape("Workspace", shape)
        super().__init__(checked_type("Workspace", type_), dims, layout=layout)


class Param(Valued):
    """Declare values that gradients and optimisers are for: constant during a rollout, read as `p[...]`.

    Args:
        type_or_array: The initial values as an array, or an element type followed by a shape.
        shape: The spatial shape, after an element type.
        init: The initial values, zero where left out.
        per_world: Each world has its own values; else all share them, and gradients are summed over worlds.
        unit: What its numbers are in, for pictures and reports.
        layout: How its cells lie in memory: `ds.dense(...)`.

    Raises:
        ConfigError: Values, a type, a shape, a unit or a layout that are not allowed.
    """

    kind = "param"

    def __init__(
        self,
        type_or_array: Any,
        *shape: Any,
        init: ArrayLike | None = None,
        per_world: bool = False,
        unit: str = "",
        layout: Layout | None = None,
    ) -> None:
        type_, dims, values = type_and_shape(type(self).__name__, type_or_array, shape, init)
        super().__init__(type_, dims, per_world, unit, layout)
        self.set(0.0 if values is None else values)


class Constant(Valued):
    """Declare values that kernels read and no gradient flows to: `c[...]`. Integer arrays stay integers.

    Args:
        type_or_array: The values as an array, or an element type followed by a shape.
        shape: The spatial shape, after an element type.
        init: The values, zero where left out.
        per_world: Each world has values of its own.
        unit: What its numbers are in, for pictures and files.
        layout: How its cells lie in memory: `ds.dense(...)`, or `ds.sparse(...)` for active blocks only.

    Raises:
        ConfigError: Values, a type, a shape, a unit or a layout that are not allowed.
    """

    kind = "constant"

    def __init__(
        self,
        type_or_array: Any,
        *shape: Any,
        init: ArrayLike | Cells | None = None,
        per_world: bool = False,
        unit: str = "",
        layout: Layout | None = None,
    ) -> None:
        type_, dims, values = type_and_shape("Constant", type_or_array, shape, init)
        given = values.values if isinstance(values, Cells) else values
        integer = given is not None and np.asarray(given).dtype.kind in "iub"
        super().__init__(type_, dims, per_world, unit, layout, integer)
        self.set(0.0 if values is None else values)
