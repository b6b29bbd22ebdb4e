"""Memory of the host's own, which machine code reaches by its address."""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsim import _taichi
from diffsim.engine.arena import LINE, Arena, Spec, place_fields

__all__ = ["BlockArena", "Table"]

_STAGGER = 4096 // LINE  # lines after which addresses meet in the same place of the cache


class Table:
    """The addresses that a kernel is called with.

    Args:
        parts: The buffer and the component of each; or an address that stays as it is.
    """

    def __init__(self, parts: Sequence[tuple[Spec, int] | int]) -> None:
        self.parts = list(parts)
        self.array = (ctypes.c_void_p * max(1, len(self.parts)))()


class BlockArena(Arena):
    """Memory in NumPy arrays, each component in the order of its indices.

    Taichi kernels can reach it too: what is asked for as fields moves into fields, and tables of addresses
    follow.

    Args:
        specs: What it is made for.
    """

    def __init__(self, specs: Sequence[Spec]) -> None:
        super().__init__(specs)
        self._views: dict[Spec, list[NDArray[Any]]] = {}
        self._fields: dict[Spec, tuple[Any, ...]] = {}
        self._trees: list[Any] = []
        self._tables: list[Table] = []

    def allocate(self, specs: Iterable[Spec]) -> None:
        """Make the arrays of what has none yet, in one block of memory.

        Arrays begin at different places of the processor's cache, whatever power of two their lengths are.
        """
        made = [spec for spec in dict.fromkeys(specs) if spec not in self._views]
        starts = [0]
        for length in (spec.lines for spec in made for _ in range(spec.pieces)):
            end = starts[-1] + length
            starts.append(end + 1 if end % _STAGGER == starts[-1] % _STAGGER else end)
        block = np.zeros(LINE * (starts[-1] + 1), np.uint8)
        first = -block.ctypes.data % LINE
        places = iter(starts)
        for spec in made:
            parts = [first + LINE * k for k in itertools.islice(places, spec.pieces)]
            self._views[spec] = spec.arrays(block, parts)
        self.bytes += sum(spec.bytes for spec in made)

    def views(self, spec: Spec) -> list[NDArray[Any]]:
        """Return the arrays of a buffer, one per component; copies of what lies in blocks."""
        return [spec.in_order(laid) for laid in self._views[spec]]

    def laid(self, spec: Spec) -> list[NDArray[Any]]:
        """Return the arrays of a buffer as they lie in memory, one per component."""
        return self._views[spec]

    def put(self, spec: Spec, component: int, values: NDArray[Any]) -> None:
        """Overwrite a component; the last block of worlds may have room to spare."""
        spec.fill(self._views[spec][component], values)

    def fields(self, spec: Spec) -> tuple[Any, ...]:
        """Move a buffer into Taichi fields, if it is not there yet, and return them."""
        if spec not in self._fields:
            self._fields[spec] = self._moved(spec)
            for table in self._tables:
                self._fill(table)
        return self._fields[spec]

    def table(self, parts: Sequence[tuple[Spec, int] | int]) -> Any:
        """Return an array of addresses that stay right wherever the memory moves."""
        table = Table(parts)
        self._fill(table)
        self._tables.append(table)
        return table.array

    def clear(self) -> None:
        """Zero everything."""
        for view in (view for views in self._views.values() for view in views):
            view[...] = 0

    def close(self) -> None:
        """Free all memory; nobody may use it any more."""
        super().close()
        self._tables.clear()
        self._views.clear()
        self._fields.clear()
        for tree in self._trees:
            _taichi.destroy_tree(tree)
        self._trees.clear()

    def _fill(self, table: Table) -> None:
        for k, part in enumerate(table.parts):
            table.array[k] = part if isinstance(part, int) else self._views[part[0]][part[1]].ctypes.data

    def _moved(self, spec: Spec) -> tuple[Any, ...]:
        """Make fields with what the arrays of a buffer hold; the arrays are views of them from then on."""
        builder = _taichi.begin_tree()
        fields = place_fields(builder, spec, [[axis] for axis in range(len(spec.laid))])
        self._trees.append(_taichi.make_tree(builder))
        shapes, dtypes = [spec.laid] * len(fields), [spec.dtype] * len(fields)
        views = _taichi.address_views(fields, shapes, dtypes, steps=[spec.steps.strides] * len(fields))
        for old, new in zip(self._views[spec], views, strict=True):
            new[...] = old
        self._views[spec] = views
        return fields
