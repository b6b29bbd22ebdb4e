"""What subscripts, loops and draws mean in kernels that run as plain Python: places, cells, numbers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NoReturn

import numpy as np

from diffsim import _taichi
from diffsim.errors import StateError
from diffsim.language.fields import Field
from diffsim.plain.functions import ndrange
from diffsim.plain.memory import Memory, combined
from diffsim.plain.operators import entry, valued
from diffsim.plain.outside import Outside
from diffsim.plain.streams import Streams
from diffsim.plain.values import Record, converted
from diffsim.plain.vectors import Vec, cast, kind

__all__ = ["Grouped", "Places", "TooLong"]

Reads = Callable[[], tuple[Any, ...]]

ti = _taichi.ti


class TooLong(Exception):
    """Say that a run has taken longer than it may."""


class Grouped:
    """What `ti.grouped` makes: indices as vectors.

    Args:
        over: A field, or a range of several axes.
    """

    def __init__(self, over: Any) -> None:
        self.over = over


class Places:
    """The part of `__plain__` that knows memory.

    Attributes:
        memory: What fields hold, in the world that runs.
        outside: Taichi fields that the user made by hand.
        streams: What random numbers start from.
        deadline: When a run has taken too long, by `time.perf_counter`; None for never.
    """

    memory: Memory
    streams: Streams

    def __init__(self) -> None:
        self.outside = Outside()
        self.deadline: float | None = None

    def combined(self, name: str, old: Any, value: Any) -> Any:
        """Return what an atomic makes of a number."""
        return combined(name, old, value)

    # ---- reading ----

    def load(self, base: Any, index: Any) -> Any:
        """Return `base[index]`."""
        if isinstance(base, Field):
            return self.memory.load(base, index)
        if isinstance(base, Vec):
            return entry(base, index)
        if _taichi.is_a(base, "StructField"):
            parts = {name: self.load(part, index) for name, part in base.field_dict.items()}
            return Record(parts, self.methods(base))
        if _taichi.is_a(base, "Field"):
            return self.outside.load(base, index)
        if _taichi.is_a(base, "Matrix"):
            return entry(valued(base), index)
        found = base[_plain_index(index)]
        if isinstance(found, np.ndarray) and not isinstance(found, Vec) and 0 < found.size <= 16:
            return valued(found)
        return found.item() if isinstance(found, np.generic) else found

    def methods(self, kind: Any) -> dict[str, Any]:
        """Return the methods of a struct."""
        raise NotImplementedError

    # ---- writing ----

    def view(self, base: Any, index: Any) -> Any:
        """Return `base[index]` to be written into."""
        if isinstance(base, Field):
            return self.memory.view(base, index)
        if isinstance(base, Vec):
            return np.asarray(base)[_plain_index(index)].view(Vec)
        return self.load(base, index)

    def put(self, base: Any, index: Any, value: Any) -> None:
        """Do `base[index] = value`."""
        if isinstance(base, Field):
            self.memory.put(base, index, value)
        elif isinstance(base, Vec):
            given = valued(value)
            name = kind(base)
            base[_plain_index(index)] = np.asarray(cast(given, name))
        elif _taichi.is_a(base, "Field"):
            _refuse(base)
        else:
            base[_plain_index(index)] = value

    def change(self, name: str, base: Any, index: Any, value: Any) -> Any:
        """Change `base[index]` by an operator or an atomic, and return what was there."""
        if isinstance(base, Field):
            return self.memory.change(name, base, index, value)
        old = self.load(base, index)
        old = old.copy() if isinstance(old, Vec) else old
        self.put(base, index, combined(name, old, value))
        return old

    def put_part(self, base: Any, part: str, value: Any) -> None:
        """Do `base.part = value`, of a vector or a struct.

        Raises:
            StateError: It is an attribute of another Python object.
        """
        if isinstance(base, Vec):
            setattr(base, part, np.asarray(cast(valued(value), kind(base))))
        elif isinstance(base, Record):
            setattr(base, part, value)
        else:
            raise StateError(
                f"kernels must not set attributes of Python objects, got {part} of {type(base).__name__}; "
                "store into a declared field"
            )

    def change_part(self, name: str, base: Any, part: str, value: Any) -> Any:
        """Change `base.part` by an operator, and return what was there."""
        old = getattr(base, part)
        old = old.copy() if isinstance(old, Vec) else old
        self.put_part(base, part, converted(old, combined(name, old, value)))
        return old

    # ---- loops ----

    def items(self, over: Any, single: bool, reads: Reads | None = None) -> Iterable[Any]:
        """Return what a loop runs over.

        Args:
            over: What stands behind `in`.
            single: The loop has one name for all indices.
            reads: Returns what its body reads; see `reads_of`.
        """
        if self.deadline is not None:
            return self._timed(self._items(over, single, reads))
        return self._items(over, single, reads)

    def _timed(self, items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            self.look_at_clock()
            yield item

    def look_at_clock(self) -> None:
        """End a run that has taken too long.

        Raises:
            TooLong: It has.
        """
        if self.deadline is not None and time.perf_counter() > self.deadline:
            raise TooLong

    def _items(self, over: Any, single: bool, reads: Reads | None) -> Iterable[Any]:
        if isinstance(over, range):
            return over
        if isinstance(over, Grouped):
            return self._grouped(over.over, reads)
        cells = self._cells(over, reads)
        if cells is not None:
            return (cell[0] for cell in cells) if _axes(over) == 1 else cells
        if isinstance(over, ndrange):
            return self._grouped(over) if single and len(over.ranges) > 1 else over
        if isinstance(over, np.ndarray) and not isinstance(over, Vec):
            return range(len(over)) if over.ndim == 1 else np.ndindex(over.shape)
        bounds = _taichi.ndrange_bounds(over)
        if bounds is not None:
            return self._items(ndrange(*bounds), single, None)
        return over  # type: ignore[no-any-return]

    def _cells(self, over: Any, reads: Reads | None) -> Iterator[tuple[int, ...]] | None:
        if isinstance(over, Field):
            return self.memory.cells(over, reads() if reads is not None and over.sparse else ())
        if _taichi.is_a(over, "Field", "SNode"):
            return self.outside.cells(over)
        return None

    def _grouped(self, over: Any, reads: Reads | None = None) -> Iterator[Any]:
        cells = self._cells(over, reads)
        if cells is None:
            cells = iter(over.ranges[0]) if _short(over) else iter(self.items(over, False))
        for cell in cells:
            yield np.array(cell if isinstance(cell, tuple) else (cell,), np.int32).view(Vec)

    def grouped(self, over: Any) -> Grouped:
        """Stand for `ti.grouped`."""
        return Grouped(over)

    def count(self, of: Any) -> int:
        """Stand for `len`."""
        return int(of.shape[0]) if isinstance(of, Field | Vec) else len(of)

    # ---- sparse fields ----

    def is_active(self, of: Any, cell: Any) -> bool:
        """Stand for `ti.is_active`."""
        if isinstance(of, Field):
            return self.memory.is_active(of, cell)
        return self.outside.is_active(of, cell)

    def activate(self, of: Any, cell: Any) -> None:
        """Stand for `ti.activate`."""
        if not isinstance(of, Field):
            _refuse(of)
        self.memory.activate(of, cell)

    def length(self, of: Any, cell: Any) -> int:
        """Stand for `ti.length`."""
        return self.outside.length(of, cell)

    # ---- random numbers ----

    def draw(self, normal: int, site: str, *counters: Any, stream: Any = None) -> Any:
        """Stand for `ds.random` and `ds.randn`."""
        given: list[int] = []
        for counter in counters:
            value = valued(counter)
            given += [int(c) for c in value.ravel()] if isinstance(value, Vec) else [int(value)]
        return self.streams.draw(normal, site, given, stream)

    # ---- what is not there ----

    def _derivative(self, derivative: Any) -> Any:
        def refuse(*_: Any, **__: Any) -> NoReturn:
            raise StateError(
                f"{derivative} must be computed by another mode, got a rollout in mode 'python', which has "
                "no derivatives; use mode='step'"
            )

        return refuse


def _plain_index(index: Any) -> Any:
    if isinstance(index, tuple):
        return tuple(_plain_index(i) for i in index)
    if isinstance(index, np.ndarray):
        return tuple(int(i) for i in index)
    return int(index) if isinstance(index, np.integer | bool) else index


def _axes(over: Any) -> int:
    return len(over.shape)


def _short(over: Any) -> bool:
    return isinstance(over, ndrange) and len(over.ranges) == 1


def _refuse(field: Any) -> NoReturn:
    raise StateError(
        "kernels must write declared fields only, got a store into a Taichi field made by hand; declare a "
        "ds.State or ds.Scratch"
    )
