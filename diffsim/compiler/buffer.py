"""Blocks of memory, as the intermediate form of kernels names them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from diffsim.language.layouts import arrangement_of

__all__ = ["Buffer", "Place"]


@dataclass(frozen=True)
class Place:
    """Where the elements of a sparse field are: in a pool of blocks, by lists of those that are active.

    The element at cell `(i, j, ...)` is `pool[s, c]`: slot `s` is that of its block, `c` its number in there.
    Slot 0 holds zeros, for all that is not active.

    Attributes:
        shape: The spatial shape of the declared field.
        edge: Cells along each edge of a block.
        axes: How many of the shape's axes are space, of which there are blocks; others stay as they are.
        blocks: The buffer of which block has which slot, from slot 1 on.
        total: The buffer of how many there are.
    """

    shape: tuple[int, ...]
    edge: int
    axes: int
    blocks: Buffer
    total: Buffer


class Buffer:
    """A block of memory that kernels read and write, with or without a time axis.

    Attributes:
        name: A Python identifier that is unique within a program.
        kind: `state`, `scratch`, `control`, `param`, `constant`, `cost`, `done`, `carry`, `checkpoint`,
            `tape`, `alarm`, `workspace`, `key` (of random numbers), `external`, `table` (of active blocks),
            `activity` (without memory), or `derived`: computed before step 0, and the same in all steps.
        dtype: The scalar type.
        shape: The spatial shape, without world, time and component axes.
        components: Scalars per element.
        source: The declared field, or the external Taichi field that stands behind it.
        called: What an external field is called in messages: as kernels write it.
        adjoint: The buffer that holds the adjoint, for what gradients flow through.
        is_adjoint: This buffer is the adjoint of another.
        bounds: What the program relies on of an integer Constant: for literal indices (None where an index
            runs), the smallest and the largest value.
        place: Where its elements are, of a sparse field.
        arrangement: How its elements lie, where not in the order of its axes.
        field: The declared field of whose cells it tells whether they are active.
        distinct: The literal indices at which it must hold no value twice, for the same reason.
    """

    def __init__(
        self,
        name: str,
        kind: str,
        dtype: str,
        shape: tuple[int, ...],
        components: int = 1,
        source: Any = None,
    ) -> None:
        self.name, self.kind, self.dtype, self.shape = name, kind, dtype, shape
        self.components, self.source, self.called = components, source, ""
        self.adjoint: Buffer | None = None
        self.place: Place | None = None
        self.field: Any = None
        self.arrangement = arrangement_of(source, shape, components)
        self.is_adjoint = False
        self.bounds: dict[tuple[int | None, ...], tuple[float, float]] = {}
        self.distinct: set[tuple[int | None, ...]] = set()

    @property
    def nesting(self) -> tuple[int, ...]:
        """The spatial axes in the order of loops that go through memory as it lies, from the outermost on."""
        return tuple(range(len(self.shape))) if self.arrangement is None else self.arrangement.order

    @property
    def per_world(self) -> bool:
        """Tell whether each world has values of its own by declaration."""
        return bool(getattr(self.source, "per_world", False))

    @property
    def label(self) -> str:
        """Name the buffer in messages."""
        return self.called or str(getattr(self.source, "label", self.name))

    @property
    def hidden(self) -> bool:
        """Tell whether the library made it for itself, to keep what is overwritten."""
        return bool(getattr(self.source, "hidden", False))

    @property
    def timed(self) -> bool:
        """Tell whether the first index of this buffer is the time."""
        return self.kind in ("state", "scratch", "control")

    @property
    def every(self) -> int:
        """How many steps each entry of a Control is for."""
        return int(getattr(self.source, "every", 1))

    def __repr__(self) -> str:
        return f"@{self.name}"
