"""Layouts: how the cells of a field lie in memory, and which of them there are.

A field's kernels do not change with its layout. Those with `ds.sparse(...)` have memory for blocks of cells
that something was written to, and for no others.
"""

from __future__ import annotations

import math
from typing import Any

from diffsim.errors import ConfigError
from diffsim.options import plain_number
from diffsim.sizes import parse_bytes

__all__ = ["FIRST_CAPACITY", "Layout", "Sparse", "checked_layout", "sparse"]

FIRST_CAPACITY = 256  # blocks that a layout without a capacity begins with
_LONGEST_EDGE = 64
_LEVELS = (1, 2, 3)


class Layout:
    """Base of layouts; fields that are declared with the same object lie alike."""


class Sparse(Layout):
    """A layout of blocks that are there once something was written to one of their cells.

    Made by `ds.sparse`. Fields with the same object share one set of active blocks.

    Attributes:
        block: Cells along each edge of a block.
        levels: Of the table that finds a block; see `ds.sparse`.
        automatic: The capacity grows where it is too small, instead of ending a run with an error.
    """

    def __init__(self, block: int, levels: int, capacity: int | None, size: int | None) -> None:
        self.block, self.levels, self.size = block, levels, size
        self.automatic = capacity is None and size is None
        self._capacity = FIRST_CAPACITY if capacity is None else capacity

    @property
    def label(self) -> str:
        """Name the layout in messages."""
        return repr(self)

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
        self.size, self.automatic = size, False
        self._capacity = FIRST_CAPACITY if blocks is None else blocks

    def grow(self, needed: int) -> None:
        """Make room for so many blocks, of a layout whose capacity grows by itself."""
        while self._capacity < needed:
            self._capacity *= 2

    def blocks_within(self, cell_bytes: int, shape: tuple[int, ...]) -> int:
        """Return the blocks that there is room for, of those that a domain has.

        Args:
            cell_bytes: Of one cell of all fields together.
            shape: The lengths of the domain's axes.
        """
        room = self._capacity
        if self.size is not None:
            room = max(1, self.size // (cell_bytes * self.cells(len(shape))) - 1)
        return min(room, math.prod(-(-n // self.block) for n in shape))

    def cells(self, dim: int) -> int:
        """Count the cells of a block in so many dimensions."""
        return int(self.block**dim)

    def __repr__(self) -> str:
        room = "" if self.automatic else f", capacity={self.size or self._capacity}"
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
    if isinstance(block, bool) or block not in edges:
        raise ConfigError(f"sparse block must be one of {', '.join(map(str, edges))}, got {block!r}; use 4")
    if isinstance(levels, bool) or levels not in _LEVELS:
        raise ConfigError(f"sparse levels must be 1, 2 or 3, got {levels!r}; use 2")
    blocks, size = (None, None) if capacity is None else _checked_capacity(capacity)
    return Sparse(block, levels, blocks, size)


def _checked_capacity(value: Any) -> tuple[int | None, int | None]:
    """Return a capacity in blocks, or in bytes."""
    if isinstance(value, str):
        return None, parse_bytes(value, "sparse capacity")
    number = plain_number(value)
    if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number < 1 << 30:
        raise ConfigError(
            f"sparse capacity must be a positive number of blocks or a size like '64MiB', got {value!r}; "
            "leave it out to let it grow"
        )
    return number, None


def checked_layout(kind: str, layout: Any, shape: tuple[int, ...]) -> Layout | None:
    """Return the layout of a declaration.

    Args:
        kind: What is declared, for messages.
        layout: What was given for a layout.
        shape: The spatial shape.

    Raises:
        ConfigError: It is no layout, or the field has no axes to lay out.
    """
    if layout is None:
        return None
    if not isinstance(layout, Layout):
        raise ConfigError(
            f"{kind} layout must be a layout object, got {layout!r}; make one with ds.sparse(...)"
        )
    if not shape:
        raise ConfigError(f"{kind} layout must be of a field with a shape, got none; leave the layout out")
    return layout
