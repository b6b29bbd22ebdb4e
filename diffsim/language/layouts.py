"""Layouts: how the cells of a field lie in memory, and which of them there are.

A field's kernels do not change with its layout. Those with `ds.sparse(...)` have memory for blocks of cells
that something was written to, and for no others; those with `ds.dense(...)`, and without a layout, for all.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from diffsim.errors import ConfigError
from diffsim.language.arrangement import Arrangement
from diffsim.language.settled import Settled
from diffsim.options import plain_number
from diffsim.sizes import parse_bytes

__all__ = [
    "FIRST_CAPACITY",
    "Dense",
    "Layout",
    "Sparse",
    "arrangement_of",
    "checked_layout",
    "dense",
    "sparse",
]

FIRST_CAPACITY = 256  # blocks that a layout without a capacity begins with
_LONGEST_EDGE = 64
_LEVELS = (1, 2, 3)
_AXES = "ijklmnop"  # what the axes of a field are called, as by Taichi's `order`
_WORDS = ("apart", "together")
_LONGEST = 1 << 20  # cells of padding along an axis
_MOST_BLOCKS = (1 << 30) - 1  # that a pool has

_Cells = int | tuple[int, ...]


class Layout(Settled, ABC):
    """Base of layouts; fields that are declared with the same object lie alike."""

    _remedy = "make another layout, and declare fields with it"

    @property
    def label(self) -> str:
        """Name the layout in messages."""
        return repr(self)

    @abstractmethod
    def require(self, kind: str, shape: tuple[int, ...]) -> None:
        """Refuse a field that it does not fit.

        Args:
            kind: What is declared, for messages.
            shape: Its spatial shape.

        Raises:
            ConfigError: It does not.
        """


class Sparse(Layout):
    """A layout of blocks that are there once something was written to one of their cells.

    Made by `ds.sparse`. Fields with the same object share one set of active blocks.

    Attributes:
        block: Cells along each edge of a block.
        levels: Of the table that finds a block; see `ds.sparse`.
    """

    block: int
    levels: int
    _movable = frozenset({"capacity"})

    def __init__(self, block: int, levels: int, capacity: int | None, size: int | None) -> None:
        self.block, self.levels, self._size = block, levels, size
        self._automatic = capacity is None and size is None
        self._capacity = FIRST_CAPACITY if capacity is None else capacity

    @property
    def automatic(self) -> bool:
        """Tell whether the capacity grows where it is too small, instead of ending a run with an error."""
        return self._automatic

    @property
    def size(self) -> int | None:
        """The bytes in each world and step that the capacity was given as; None where it is in blocks."""
        return self._size

    @property
    def capacity(self) -> int:
        """Blocks that there is room for, in each world and step; assigned, it counts from the next run on.

        Raises:
            ConfigError: It is set to something else than a positive integer or a size like "64MiB".
        """
        return self._capacity

    @capacity.setter
    def capacity(self, value: int | str) -> None:
        blocks, size = _checked_capacity(value)
        self._size, self._automatic = size, False
        self._capacity = FIRST_CAPACITY if blocks is None else blocks

    def grow(self, needed: int) -> None:
        """Make room for twice as many blocks as were needed, of a layout whose capacity grows by itself."""
        while self._capacity < 2 * needed:
            self._capacity *= 2

    def blocks_within(self, cell_bytes: int, shape: tuple[int, ...]) -> int:
        """Return the blocks that there is room for, of those that a domain has.

        Args:
            cell_bytes: Of one cell of all fields together.
            shape: The lengths of the domain's axes.
        """
        room = self._capacity
        if self._size is not None:
            room = max(1, self._size // (cell_bytes * self.cells(len(shape))) - 1)
        return min(room, math.prod(-(-n // self.block) for n in shape))

    def require(self, kind: str, shape: tuple[int, ...]) -> None:
        """Refuse a domain whose blocks or cells cannot be counted.

        Raises:
            ConfigError: There are too many of them.
        """
        if math.prod(-(-n // self.block) for n in shape) >= 1 << 31 or math.prod(shape) >= 1 << 62:
            raise ConfigError(
                f"{kind} layout must cut the domain into fewer than 2^31 blocks, got a shape of {shape} with "
                f"{self!r}; use larger blocks, or a smaller domain"
            )

    def cells(self, dim: int) -> int:
        """Count the cells of a block in so many dimensions."""
        return int(self.block**dim)

    def __repr__(self) -> str:
        room = "" if self.automatic else f", capacity={self._size or self._capacity}"
        return f"ds.sparse(block={self.block}, levels={self.levels}{room})"


def sparse(block: int = 4, levels: int = 2, capacity: int | str | None = None) -> Sparse:
    """Return a layout with memory for active blocks only, for `ds.Scratch(..., layout=ds.sparse())`.

    What kernels write activates the block that it lies in. A cell that is not active reads as zero, and
    nothing flows to it. The blocks of a Scratch are found anew in each step; those of a State at `t + 1` are
    what the step wrote there, and are carried on with its values.

    Args:
        block: Cells along each edge of a block: 2, 4, 8, 16, 32 or 64.
        levels: Of the table of blocks. With 1 the whole table is looked through in each step for blocks that
            were written to; 2 and 3 keep coarser tables, and look only where something was written.
        capacity: Blocks that there is room for in each world and step, or a size like "64MiB" for all fields
            of the layout in one world and step. Where more are written to, the run ends with an error that
            tells the number. None: the capacity grows by itself, and the run begins again.

    Raises:
        ConfigError: An argument is not allowed.
    """
    block, levels = plain_number(block), plain_number(levels)
    edges = [2**k for k in range(1, _LONGEST_EDGE.bit_length())]
    if type(block) is not int or block not in edges:
        raise ConfigError(f"sparse block must be one of {', '.join(map(str, edges))}, got {block!r}; use 4")
    if type(levels) is not int or levels not in _LEVELS:
        raise ConfigError(f"sparse levels must be 1, 2 or 3, got {levels!r}; use 2")
    blocks, size = (None, None) if capacity is None else _checked_capacity(capacity)
    return Sparse(block, levels, blocks, size)


class Dense(Layout):
    """A layout of all cells of a field. Made by `ds.dense`, whose arguments its attributes are."""

    order: str | None
    components: str
    pad: _Cells
    multiple: _Cells

    def __init__(self, order: str | None, components: str, pad: _Cells, multiple: _Cells) -> None:
        self.order, self.components, self.pad, self.multiple = order, components, pad, multiple

    def arrangement(self, shape: tuple[int, ...], components: int) -> Arrangement | None:
        """Return how the elements of a field lie; None for the order of its axes and no gaps.

        Args:
            shape: Its spatial shape.
            components: How many its elements have.
        """
        order = tuple(map(_AXES.index, self.order) if self.order else range(len(shape)))

        def along(value: _Cells, other: int) -> tuple[int, ...]:
            if isinstance(value, tuple):
                return value
            return tuple(value if axis == order[-1] else other for axis in range(len(shape)))

        pad, multiple = along(self.pad, 0), along(self.multiple, 1)
        lengths = tuple(-(-(n + p) // m) * m for n, p, m in zip(shape, pad, multiple, strict=True))
        beside = components if self.components == "together" else 1
        plain = order == tuple(range(len(shape))) and lengths == shape and beside == 1
        return None if plain else Arrangement(order, lengths, beside)

    def require(self, kind: str, shape: tuple[int, ...]) -> None:
        """Refuse a field that has not the axes that are told.

        Raises:
            ConfigError: The order, or a tuple of cells, is for another number of axes.
        """
        axes = len(shape)
        given = {"order": self.order, "pad": self.pad, "multiple": self.multiple}
        for name, value in given.items():
            if isinstance(value, str | tuple) and len(value) != axes:
                raise ConfigError(
                    f"{kind} layout must fit a field of {axes} axes, got {name}={value!r}; "
                    f"tell one for each of {', '.join(_AXES[:axes])}"
                )

    def __repr__(self) -> str:
        plain = Dense(None, "apart", 0, 1)
        told = [f"{k}={v!r}" for k, v in vars(self).items() if v != getattr(plain, k)]
        return f"ds.dense({', '.join(told)})"


def dense(
    order: str | None = None,
    components: str = "apart",
    pad: int | Sequence[int] = 0,
    multiple: int | Sequence[int] = 1,
) -> Dense:
    """Return a layout with memory for all cells, for `ds.State(..., layout=ds.dense(order="ji"))`.

    It decides where cells lie in memory, and with that how fast kernels reach them, and nothing else: fields
    are indexed, set and read in the order in which their axes are declared. The fields of several worlds lie
    world by world, or a few worlds beside each other, inside of which cells lie as told here.

    Args:
        order: The axes `i`, `j`, `k`, ... of the field, the one whose neighbours are farthest apart first,
            as `ti.field(..., order="ji")` has it. Left out, the last axis has its neighbours beside each
            other.
        components: "together" for an array of structures, all components of an element beside each other
            (`ti.Layout.AOS`); "apart" for a structure of arrays, an array for each component.
        pad: Cells that are left free behind each row, that is along the axis whose neighbours lie beside
            each other; or a number for each axis, in the declared order. Where lengths are powers of two,
            one more keeps neighbouring rows from the same places of the processor's cache.
        multiple: What that length, with `pad`, is rounded up to a multiple of; or a number for each axis.

    Raises:
        ConfigError: An argument is not allowed.
    """
    if order is not None and not (
        isinstance(order, str) and order and sorted(order) == list(_AXES[: len(order)])
    ):
        raise ConfigError(
            f"dense order must name each axis of the field once, i, j, k, ..., got {order!r}; order='ji' has "
            "the neighbours along the first of two axes beside each other"
        )
    if components not in _WORDS:
        raise ConfigError(
            f"dense components must be 'together' or 'apart', got {components!r}; 'together' is an array of "
            "structures, 'apart' a structure of arrays"
        )
    return Dense(order, components, _checked_cells("pad", pad, 0), _checked_cells("multiple", multiple, 1))


def _checked_cells(name: str, value: Any, least: int) -> _Cells:
    """Return a number of cells along rows, or along each axis."""
    several = isinstance(value, list | tuple)
    numbers = [plain_number(n) for n in (value if several else [value])]
    if not numbers or not all(type(n) is int and least <= n <= _LONGEST for n in numbers):
        raise ConfigError(
            f"dense {name} must be a number of cells from {least} to {_LONGEST:,}, or one for each axis, got "
            f"{value!r}; leave it out for none"
        )
    return tuple(numbers) if several else numbers[0]


def _checked_capacity(value: Any) -> tuple[int | None, int | None]:
    """Return a capacity in blocks, or in bytes."""
    refusal = ConfigError(
        f"sparse capacity must be a number of blocks from 1 to {_MOST_BLOCKS:,}, or a size like '64MiB', "
        f"got {value!r}; leave it out to let it grow"
    )
    if isinstance(value, str):
        try:
            return None, parse_bytes(value)
        except ConfigError as error:
            raise refusal from error
    number = plain_number(value)
    if type(number) is not int or not 1 <= number <= _MOST_BLOCKS:
        raise refusal
    return number, None


def arrangement_of(declared: Any, shape: tuple[int, ...], components: int) -> Arrangement | None:
    """Return how the memory of a declared field lies; None for the order of its axes and no gaps.

    Args:
        declared: The field, or whatever stands in its place.
        shape: That of the memory: a part of a field, or what is kept of it, lies in order.
        components: Those of its elements.
    """
    layout = getattr(declared, "layout", None)
    if not isinstance(layout, Dense) or declared.shape != shape:
        return None
    return layout.arrangement(shape, components)


def checked_layout(kind: str, layout: Any, shape: tuple[int, ...], sparse: bool = True) -> Layout | None:
    """Return the layout of a declaration.

    Args:
        kind: What is declared, for messages.
        layout: What was given for a layout.
        shape: The spatial shape.
        sparse: It may have memory for some cells only.

    Raises:
        ConfigError: It is no layout, none for such a field, or the field has no axes to lay out.
    """
    if layout is None:
        return None
    if not isinstance(layout, Layout):
        raise ConfigError(
            f"{kind} layout must be a layout object, got {layout!r}; make one with ds.dense(...) or "
            "ds.sparse(...)"
        )
    if isinstance(layout, Sparse) and not sparse:
        raise ConfigError(
            f"{kind} layout must be dense, since all of its cells have a gradient, got {layout!r}; use "
            "ds.dense(...), or ds.Constant for what is only read"
        )
    if not shape:
        raise ConfigError(f"{kind} layout must be of a field with a shape, got none; leave the layout out")
    layout.require(kind, shape)
    return layout
