"""Taichi fields that the user made by hand, as plain Python sees them: their values when a run begins."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np

from diffsim import _taichi
from diffsim.plain.vectors import Vec, scalar

__all__ = ["Outside"]

ti = _taichi.ti


class Outside:
    """What Taichi fields hold, and which of their cells are active; looked up once in a run."""

    def __init__(self) -> None:
        self._arrays: dict[int, Any] = {}
        self._looked: dict[tuple[int, bool], Any] = {}

    def forget(self) -> None:
        """Look again from here on: Python may have changed them."""
        self._arrays.clear()
        self._looked.clear()

    def load(self, field: Any, index: Any) -> Any:
        """Read an element."""
        if id(field) not in self._arrays:
            with _taichi.unrecorded():
                self._arrays[id(field)] = (field.to_numpy(), field)
        found = self._arrays[id(field)][0][_cell(index)]
        return found.view(Vec).copy() if isinstance(found, np.ndarray) and found.ndim else scalar(found)

    def cells(self, thing: Any) -> Iterator[tuple[int, ...]]:
        """Yield the cells that a loop over a field or an SNode visits."""
        while _taichi.is_a(thing, "StructField"):
            thing = next(iter(thing.field_dict.values()))
        facts = _taichi.node_facts(thing) if _taichi.is_a(thing, "SNode") else _taichi.field_facts(thing)
        if facts is None or not facts.sparse:
            return iter(np.ndindex(tuple(thing.shape)))
        found = self._look(thing, tuple(thing.shape), False)
        return iter([tuple(int(k) for k in row) for row in np.argwhere(found)])

    def is_active(self, node: Any, cell: Any) -> bool:
        """Tell whether a cell of an SNode is active."""
        if not _taichi.node_facts(node).sparse:
            return True
        return bool(self._look(node, tuple(node.shape), False)[_cell(cell)])

    def length(self, node: Any, cell: Any) -> int:
        """Return how long a list is."""
        shape = tuple(node.parent().shape) if len(node.shape) > 1 else ()
        return int(self._look(node, shape, True)[_cell(cell)])

    def _look(self, thing: Any, shape: tuple[int, ...], lengths: bool) -> Any:
        key = (id(thing), lengths)
        if key not in self._looked:
            self._looked[key] = (_taichi.Look(thing, shape, lengths)(), thing)
        found = self._looked[key][0]
        return found.reshape(shape if prod(shape) else ())


def _cell(index: Any) -> tuple[int, ...]:
    if index is None:
        return ()
    items = index if isinstance(index, tuple | list | np.ndarray) else (index,)
    found: list[int] = []
    for item in items:
        found += [int(k) for k in item] if np.ndim(item) else [int(item)] if item is not None else []
    return tuple(found)
