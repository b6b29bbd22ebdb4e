"""What all declarations have in common: an element type, a shape and, for most, values between runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffsim.errors import ConfigError, StateError
from diffsim.language.cells import Cells, cells_of, given_cells
from diffsim.language.filling import Fillable
from diffsim.language.layouts import Layout, Sparse, checked_layout
from diffsim.language.settled import Settled
from diffsim.language.types import ElementType
from diffsim.language.values import checked_integers, checked_unit, checked_values, extent, named_shape
from diffsim.options import plain_number

__all__ = ["Field", "Valued"]


class Field(Settled, Fillable):
    """Base of all declarations: an element type, a shape and, for most, values."""

    type: ElementType
    shape: tuple[int, ...]
    per_world: bool
    layout: Layout | None
    integer: bool
    differentiable: bool
    kind = "field"
    hidden = False  # made by the library, for itself
    limits: tuple[int, int] | None = None  # of integers that may change: what programs rely on of them
    _movable = frozenset({"key", "unit"})
    _remedy = "declare the field anew"

    def __init__(
        self,
        type_: ElementType,
        shape: tuple[int, ...],
        per_world: bool = False,
        unit: str = "",
        layout: Layout | None = None,
        integer: bool = False,
    ) -> None:
        per_world = plain_number(per_world)
        if not isinstance(per_world, bool):
            raise ConfigError(
                f"{type(self).__name__} per_world must be True or False, got {per_world!r}; how many worlds "
                "there are is told to ds.Rollout"
            )
        self.type, self.shape, self.per_world = type_, shape, per_world
        kind, dense = type(self).__name__, self.kind in ("param", "control")
        self._unit, self.layout = checked_unit(kind, unit), checked_layout(kind, layout, shape, not dense)
        self.integer = type_.integer or integer
        self.differentiable = not self.integer and self.kind not in ("constant", "workspace", "done", "key")
        self.key = ""
        self._version = 0
        self._host: Any = None  # an array; of a sparse field `Cells`
        self._fetch: Callable[[], Any] | None = None
        self._holder: object = None

    @property
    def unit(self) -> str:
        """What its numbers are in, for pictures and files.

        Raises:
            ConfigError: It is set to something else than a short text.
        """
        return self._unit

    @unit.setter
    def unit(self, value: str) -> None:
        self._unit = checked_unit(self.kind, value)

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
        key = vars(self).get("key", "")
        return f"{type(self).__name__} {key}" if key else f"a {type(self).__name__}"

    def made_for(
        self, key: str, kind: str | None = None, gradient: bool = True, *, hidden: bool = True
    ) -> None:
        """Say that the library made it.

        Args:
            key: What messages and plans call it.
            kind: What its memory is, if not that of its class.
            gradient: Gradients flow through it, if it is of floats.
            hidden: It is for the library itself.
        """
        changed = {"kind": kind or self.kind, "differentiable": gradient and self.differentiable}
        vars(self).update(key=key, hidden=hidden, **changed)

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

    def _unallocated(self, verb: str) -> StateError:
        return StateError(
            f"{self.label} must be {verb} inside a kernel that a rollout runs, got Python code (or a kernel "
            "launched by hand); use .set() and .numpy() for values, and Rollout.trajectory "
            "for what a rollout computed"
        )


class Valued(Field):
    """A field with values of its own that can be set and read between runs; `np.asarray` reads it too."""

    _remedy = "give it values by .set(...), or declare it anew"

    @property
    def version(self) -> int:
        """Count how often its values were changed."""
        return self._version

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
        self._version += 1

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
        self._version += 1

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
        return checked_values(self.label, array, allowed, wanted, worlds)
