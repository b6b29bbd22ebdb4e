"""Declarations of what a simulator's kernels read and write; memory comes later, from a rollout's plan."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffsim.errors import ConfigError, StateError
from diffsim.language.cells import Cells, cells_of, given_cells
from diffsim.language.filling import Fillable
from diffsim.language.layouts import Layout, Sparse, checked_layout
from diffsim.language.types import ElementType, checked_shape, checked_type, type_and_shape
from diffsim.language.values import checked_integers, checked_unit, checked_values, extent, named_shape
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


class Field(Fillable):
    """Base of all declarations: an element type, a shape and, for most, values."""

    kind = "field"
    integer = False
    hidden = False  # made by the library, for itself
    limits: tuple[int, int] | None = None  # of integers that may change: what programs rely on of them

    def __init__(
        self,
        type_: ElementType,
        shape: tuple[int, ...],
        per_world: bool = False,
        unit: str = "",
        layout: Layout | None = None,
    ) -> None:
        per_world = plain_number(per_world)
        if not isinstance(per_world, bool):
            raise ConfigError(
                f"{type(self).__name__} per_world must be True or False, got {per_world!r}; how many worlds "
                "there are is told to ds.Rollout"
            )
        self.type, self.shape, self.per_world = type_, shape, per_world
        kind, dense = type(self).__name__, self.kind in ("param", "control")
        self.unit, self.layout = checked_unit(kind, unit), checked_layout(kind, layout, shape, not dense)
        self.integer = type_.integer
        self.differentiable = not self.integer and self.kind not in ("constant", "workspace", "done", "key")
        self.key = ""
        self.version = 0
        self._host: Any = None  # an array; of a sparse field `Cells`
        self._fetch: Callable[[], Any] | None = None
        self._holder: object = None

    @property
    def element_shape(self) -> tuple[int, ...]:
        """Return the shape of one world's values: the declared shape, then the components."""
        return (*self.shape, *self.type.shape)

    @property
    def sparse(self) -> Sparse | None:
        """Return the layout of a field that has memory for active blocks only; None for others."""
        return self.layout if isinstance(self.layout, Sparse) else None

    @property
    def n(self) -> int:
        """Return the length of a vector, or the rows of a matrix, as Taichi's fields do; 1 for a number."""
        return self.type.shape[0] if self.type.shape else 1

    @property
    def m(self) -> int:
        """Return the columns of a matrix, as Taichi's fields do; 1 for a vector or a number."""
        return self.type.shape[1] if len(self.type.shape) > 1 else 1

    @property
    def label(self) -> str:
        """Name the field in messages."""
        return f"{type(self).__name__} {self.key}" if self.key else f"a {type(self).__name__}"

    def __repr__(self) -> str:
        known = vars(self)  # a declaration that failed has not all of it
        if "key" not in known:
            return f"<{type(self).__name__} that could not be declared>"
        name = f"{type(self).__name__} {self.key}" if self.key else type(self).__name__
        return f"<{name}: {self.type!r}{list(self.shape) or ''}{self._details()}>"

    def _details(self) -> str:
        return (", per world" if self.per_world else "") + (f", {self.layout!r}" if self.layout else "")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        raise self._unallocated("read")

    def __getitem__(self, index: Any) -> Any:
        raise self._unallocated("read")

    def __setitem__(self, index: Any, value: Any) -> None:
        raise self._unallocated("written")

    def _unallocated(self, verb: str) -> StateError:
        return StateError(
            f"{self.label} must be {verb} inside a kernel that a rollout runs, got Python code (or a kernel "
            "launched by hand); use .set() and .numpy() for values, and Rollout.trajectory "
            "for what a rollout computed"
        )


class Valued(Field):
    """A field with values of its own that can be set and read between runs; `np.asarray` reads it too."""

    def set(self, array: ArrayLike | Cells) -> None:
        """Give the field new values, in effect at the next run, without compiling anything.

        Args:
            array: Shape `(*shape, *components)`; with `per_world=True` also `(worlds, *shape, *components)`.
                A scalar fills the field. Infinities may be meant (a bound, where a minimum begins); NaN is
                refused. Of a field with a sparse layout, blocks of cells that are not zero become active;
                `ds.Cells(indices, values)` names the cells of a grid too large for an array.

        Raises:
            ConfigError: The array is not numeric, holds NaN, or its shape does not fit.
        """
        if self.sparse is not None:
            self._host = given_cells(self, array, self._validated)
        else:
            values = self._validated(array)
            self._host = checked_integers(self.label, values) if self.integer else values
        self._fetch = self._holder = None
        self.version += 1

    def numpy(self) -> NDArray[Any]:
        """Return a copy of the newest values.

        Raises:
            StateError: The field has no values yet.
        """
        values = self.host_values()
        if isinstance(values, Cells):
            return values.dense(self.shape, self.type.shape)
        return np.broadcast_to(values, self.element_shape).copy() if values.shape == () else values.copy()

    def cells(self) -> Cells:
        """Return the newest values as cells: where a field is not zero, or active, and what is there.

        Raises:
            StateError: The field has no values yet.
        """
        values = self.host_values()
        if isinstance(values, Cells):
            return Cells(values.indices.copy(), values.values.copy())
        return cells_of(self.numpy(), len(self.shape), len(self.type.shape))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ConfigError(f"the values of {self.label} must be copied, got copy=False; leave it out")
        return np.asarray(self.numpy(), dtype=dtype)

    def _details(self) -> str:
        """Add the values on the host; those that only the device has are not fetched for a look."""
        values = None if self._fetch is not None else self._host
        if values is None:
            return super()._details()
        if isinstance(values, Cells):
            return f"{super()._details()}, {len(values):,} cells"
        return f"{super()._details()}, {extent(values)}"

    def host_values(self) -> Any:
        """Return the newest values as they were given, fetched from the device where that is newer.

        An array, or a number for all elements; of a field with a sparse layout `Cells`.

        Raises:
            StateError: The field has no values yet.
        """
        if self._fetch is not None:
            self._host = self._fetch()
            self._fetch = self._holder = None
        if self._host is None:
            raise StateError(
                f"{self.label} must have values before they are read, got none; call .set() or run a rollout"
            )
        return self._host

    def fetched_from(self, holder: object, fetch: Callable[[], Any]) -> None:
        """Say that a device copy is newer than the host's, whose it is (a token), and how to get it."""
        self._fetch, self._holder = fetch, holder
        self.version += 1

    def held_by(self, holder: object) -> bool:
        """Tell whether the newest values are only on the device, in the copy of `holder`."""
        return self._fetch is not None and self._holder is holder

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy or a pickle has of it: the newest values, not the rollout that they are in."""
        if self._fetch is not None:
            self.host_values()
        return {**vars(self), "_fetch": None, "_holder": None}

    def _validated(self, array: Any) -> NDArray[Any]:
        shape = self.element_shape

        if isinstance(array, Cells):
            raise ConfigError(
                f"{self.label} must be set to an array, got cells; declare it with layout=ds.sparse(...)"
            )

        def allowed(given: tuple[int, ...]) -> bool:
            return given == () or given == shape or (self.per_world and worlds(given))

        def worlds(given: tuple[int, ...]) -> bool:
            return len(given) == 1 + len(shape) and given[1:] == shape

        wanted = str(shape) + (f" or {named_shape('worlds', shape)}" if self.per_world else "")
        values = checked_values(self.label, array, allowed, wanted, worlds)
        return np.broadcast_to(values, shape).copy() if values.shape == () else values


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
        super().__init__(type_, dims, per_world, unit, layout)
        given = values.values if isinstance(values, Cells) else values
        self.integer |= given is not None and np.asarray(given).dtype.kind in "iub"
        self.set(0.0 if values is None else values)
