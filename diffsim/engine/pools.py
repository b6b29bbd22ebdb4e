"""Between pools of active blocks and arrays or cells of the domain that they are a part of."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from diffsim.compiler.buffer import Buffer, Place
from diffsim.compiler.codegen.layout import Layout
from diffsim.compiler.program.topology import Topology
from diffsim.language.cells import Cells

__all__ = [
    "blocks_with",
    "cell_at",
    "cells_in",
    "cells_together",
    "clean",
    "gathered",
    "in_use",
    "spread",
    "table_of",
]

Array = NDArray[Any]


def coarse(place: Place) -> tuple[int, ...]:
    """Return how many blocks a domain has along each axis."""
    return tuple(-(-n // place.edge) for n in place.shape[: place.axes])


def blocks_with(place: Place, cells: Cells) -> NDArray[np.int64]:
    """Return the blocks that hold some cells, in order, each once."""
    if not len(cells):
        return np.zeros(0, np.int64)
    along = cells.indices // place.edge
    return np.unique(np.ravel_multi_index(tuple(along.T), coarse(place))).astype(np.int64)


def table_of(place: Place, blocks: NDArray[np.int64]) -> NDArray[np.int32]:
    """Return the slot of each block of a domain: 0 where it is not active."""
    table = np.zeros(math.prod(coarse(place)), np.int32)
    table[blocks] = np.arange(1, len(blocks) + 1)
    return table


def in_pool(place: Place, cells: Cells, blocks: NDArray[np.int64], slots: int) -> Array:
    """Return a pool with values in it.

    Args:
        place: What the pool is of.
        cells: The values, with one axis of components; of several worlds, worlds first.
        blocks: Those that are active, by slot from 1 on.
        slots: How many the pool has.

    Returns:
        Shape `(..., slots, cells of a block, *other axes, components)`.
    """
    values = cells.values
    rest = place.shape[place.axes :]
    several = values.ndim == 3 + len(rest)
    made = np.zeros((slots, place.edge**place.axes, *rest, values.shape[-1]), values.dtype)
    if several:
        made = np.repeat(made[None], len(values), axis=0)
    if len(cells):
        number = np.ravel_multi_index(tuple((cells.indices % place.edge).T), (place.edge,) * place.axes)
        along = np.ravel_multi_index(tuple((cells.indices // place.edge).T), coarse(place))
        slot = np.searchsorted(blocks, along) + 1
        if several:
            made[:, slot, number] = values
        else:
            made[slot, number] = values
    return made


def out_of_pool(place: Place, pool: Array, blocks: NDArray[np.int64]) -> Array:
    """Return the array of the whole domain, zero where nothing is active.

    Args:
        place: What the pool is of.
        pool: Shape `(slots, cells of a block, ...)`.
        blocks: Those that are active, by slot from 1 on.
    """
    grid = coarse(place)
    made = np.zeros((math.prod(grid), *pool.shape[1:]), pool.dtype)
    made[blocks] = pool[1 : len(blocks) + 1]
    d, rest = place.axes, pool.shape[2:]
    apart = made.reshape(*grid, *(place.edge,) * d, *rest)
    order = [axis for k in range(d) for axis in (k, d + k)] + list(range(2 * d, apart.ndim))
    whole = apart.transpose(order).reshape(*(n * place.edge for n in grid), *rest)
    return whole[tuple(slice(n) for n in place.shape[:d])]


def active_cells(place: Place, pool: Array, blocks: NDArray[np.int64]) -> Cells:
    """Return the cells of active blocks, with what they hold.

    Args:
        place: What the pool is of.
        pool: Shape `(slots, cells of a block, ...)`.
        blocks: Those that are active, by slot from 1 on.
    """
    d, edge = place.axes, place.edge
    corners = np.stack(np.unravel_index(blocks, coarse(place)), axis=-1) * edge
    offsets = np.stack(np.unravel_index(np.arange(edge**d), (edge,) * d), axis=-1)
    indices = (corners[:, None] + offsets[None]).reshape(-1, d)
    values = pool[1 : len(blocks) + 1].reshape(-1, *pool.shape[2:])
    inside = np.all(indices < place.shape[:d], axis=1)
    return Cells(indices[inside], values[inside])


def cell_at(place: Place, blocks: Array, index: tuple[int, ...]) -> tuple[int, ...]:
    """Return the cell that a pool holds somewhere.

    Args:
        place: What the pool is of.
        blocks: The list of active blocks, by slot.
        index: In the pool: slot, number in the block, and what other axes there are.
    """
    slot, number, *rest = index
    corner = np.unravel_index(int(blocks[slot]), coarse(place))
    offset = np.unravel_index(number, (place.edge,) * place.axes)
    return (*(int(c) * place.edge + int(o) for c, o in zip(corner, offset, strict=True)), *rest)


def in_use(pool: Buffer, totals: Array) -> NDArray[np.bool_]:
    """Tell which numbers of pools belong to active blocks; others may hold anything.

    Args:
        pool: The pool, or its adjoint.
        totals: How many blocks are active in each.

    Returns:
        Shape `(*totals.shape, slots, 1, ...)`, with as many axes as a pool has.
    """
    slots = np.arange(pool.shape[0])
    used = np.asarray((slots >= 1) & (slots <= np.asarray(totals)[..., None]))
    return used.reshape(*used.shape, *(1 for _ in pool.shape[1:]))


class Memory(Protocol):
    """Who holds pools and their lists."""

    layout: Layout

    def arrays(self, buffer: Buffer, slots: Any = None) -> list[Array]:
        """Return each component of a buffer with axes in the order of the indices."""


def clean(storage: Any, topologies: Iterable[Topology]) -> None:
    """Zero the pools behind a run that left NaN: what is not active any more is not written again.

    Args:
        storage: Where they are.
        topologies: Of which layouts.
    """
    for topology in (t for t in topologies if not t.fixed):
        for buffer in topology.fields:
            for one in (buffer, buffer.adjoint):
                if one is not None:
                    storage.zero(one)


def blocks_in(memory: Memory, place: Place) -> NDArray[np.int64]:
    """Return the active blocks of a list that has neither worlds nor times."""
    total = int(memory.arrays(place.total)[0])
    blocks: NDArray[np.int64] = memory.arrays(place.blocks)[0][1 : total + 1].astype(np.int64)
    return blocks


def spread(memory: Memory, buffer: Buffer, slots: Any, element_shape: tuple[int, ...]) -> Array:
    """Return arrays of the whole domain for each world and time of a pool, components last.

    Args:
        memory: Where the pool is.
        buffer: The pool.
        slots: Which of its times, as of `arrays`; None for all, or for one without times.
        element_shape: Of its elements.
    """
    pool, leading, listed = _taken(memory, buffer, slots)
    assert buffer.place is not None  # noqa: S101  (it is a pool)
    made = np.stack(
        [out_of_pool(buffer.place, one, blocks) for one, blocks in zip(pool, listed, strict=True)]
    )
    return made.reshape((*leading, *buffer.place.shape, *element_shape))


def cells_in(memory: Memory, buffer: Buffer, slots: Any) -> list[Cells]:
    """Return the active cells of each world and time of a pool, components last."""
    pool, _, listed = _taken(memory, buffer, slots)
    assert buffer.place is not None  # noqa: S101  (it is a pool)
    return [active_cells(buffer.place, one, blocks) for one, blocks in zip(pool, listed, strict=True)]


def cells_together(memory: Memory, buffer: Buffer, slots: Any, element_shape: tuple[int, ...]) -> Cells:
    """Return the active cells of a pool at one time, in the form that fields are set to.

    Args:
        memory: Where the pool is.
        buffer: The pool.
        slots: Its time, as of `arrays`; None for one without times.
        element_shape: Of its elements.

    Returns:
        Cells of values `(cells, *components)`. Of several worlds they are those that are active in any, with
        values `(worlds, cells, *components)`, zero in worlds where one is not active.
    """
    place, found = buffer.place, cells_in(memory, buffer, slots)
    assert place is not None  # noqa: S101  (it is a pool)
    if len(found) == 1:
        return Cells(found[0].indices, found[0].values.reshape(-1, *element_shape))
    along = [np.ravel_multi_index(tuple(c.indices.T), place.shape[: place.axes]) for c in found]
    every = np.unique(np.concatenate(along))
    values = np.zeros((len(found), len(every), *found[0].values.shape[1:]), found[0].values.dtype)
    for made, one, cells in zip(values, along, found, strict=True):
        made[np.searchsorted(every, one)] = cells.values
    indices = np.stack(np.unravel_index(every, place.shape[: place.axes]), axis=-1)
    return Cells(indices, values.reshape(len(found), len(every), *element_shape))


def _taken(
    memory: Memory, buffer: Buffer, slots: Any
) -> tuple[Array, tuple[int, ...], list[NDArray[np.int64]]]:
    """Return the pools of all worlds and times, the lengths of these axes, and the active blocks of each."""
    place = buffer.place
    assert place is not None  # noqa: S101  (it is a pool)
    pool = np.stack(memory.arrays(buffer, slots), axis=-1)
    leading = pool.shape[: pool.ndim - 1 - len(buffer.shape)]
    lists = slots if place.blocks.timed else None
    if lists is not None and buffer.kind == "scratch" and place.blocks.kind == "state":
        lists = [slot + memory.layout.history for slot in lists]  # it lives on the blocks of t + 1
    blocks, total = (memory.arrays(b, lists)[0] for b in (place.blocks, place.total))
    blocks = np.broadcast_to(blocks, (*leading, blocks.shape[-1])).reshape(-1, blocks.shape[-1])
    counts = np.broadcast_to(total, leading).reshape(-1)
    listed = [b[1 : n + 1].astype(np.int64) for b, n in zip(blocks, counts, strict=True)]
    return pool.reshape(-1, *pool.shape[len(leading) :]), leading, listed


def gathered(memory: Memory, buffer: Buffer, values: Any, element_shape: tuple[int, ...]) -> Array:
    """Return what a pool without worlds in its list holds, components last.

    Args:
        memory: Where its list is.
        buffer: The pool.
        values: Cells, or a number for all active ones.
        element_shape: Of its elements.
    """
    place = buffer.place
    assert place is not None  # noqa: S101  (it is a pool)
    blocks = blocks_in(memory, place)
    if isinstance(values, Cells):
        leading = values.values.shape[: values.values.ndim - len(element_shape)]
        flat = values.values.reshape((*leading, math.prod(element_shape)))  # there may be no cells
        return in_pool(place, Cells(values.indices, flat), blocks, buffer.shape[0])
    made = np.zeros((*buffer.shape, buffer.components))
    made[1 : len(blocks) + 1] = values
    return made
