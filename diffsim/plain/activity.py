"""Which blocks of sparse fields are active, in plain Python: those that something was written to."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from diffsim.language.fields import Field, State

__all__ = ["Activity"]

Block = tuple[int, ...]


class Activity:
    """The active blocks of each layout and time in one world.

    Attributes:
        written_early: At which times `reset` wrote each State.
    """

    def __init__(self) -> None:
        self._carried: set[int] = set()  # layouts that States have
        self._blocks: dict[tuple[int, int | None], set[Block]] = {}
        self.written_early: dict[int, set[int]] = {}

    def begin(self, state: State, cells: Any) -> None:
        """Note the blocks of the first value of a State, `Cells` where its layout is sparse."""
        if state.sparse is not None:
            self._carried.add(id(state.sparse))
            self._at(state, 0).update(self._blocks_of(state, cells))

    def fix(self, field: Field, cells: Any) -> None:
        """Note the blocks of a field whose values do not change."""
        self._blocks.setdefault((id(field.sparse), None), set()).update(self._blocks_of(field, cells))

    def _blocks_of(self, field: Field, cells: Any) -> set[Block]:
        assert field.sparse is not None  # noqa: S101  (the callers ask for fields that have one)
        return {tuple(int(k) for k in row // field.sparse.block) for row in cells.indices}

    def _at(self, field: Field, time: int) -> set[Block]:
        when = None if field.kind == "constant" else time if id(field.sparse) in self._carried else -1
        return self._blocks.setdefault((id(field.sparse), when), set())

    def step(self, state: State, t: int, kept: bool) -> None:
        """Begin a step: the blocks of a State that is handed on are active at `t + 1` too."""
        if state.sparse is not None:
            self._blocks.pop((id(state.sparse), t - 1), None)
            if kept:
                self._at(state, t + 1).update(self._at(state, t))

    def clear(self, field: Field) -> None:
        """Forget the blocks of what lives within one step, where no State has the layout."""
        if field.sparse is not None and id(field.sparse) not in self._carried:
            self._at(field, 0).clear()

    def mark(self, field: Field, time: int, cell: Block) -> None:
        """Note that a cell was written to."""
        assert field.sparse is not None  # noqa: S101  (the callers ask for fields that have one)
        self._at(field, time).add(tuple(k // field.sparse.block for k in cell))

    def holds(self, field: Field, time: int, cell: Block) -> bool:
        """Tell whether a cell is active."""
        assert field.sparse is not None  # noqa: S101  (the callers ask for fields that have one)
        return tuple(k // field.sparse.block for k in cell) in self._at(field, time)

    def cells(self, field: Field, time: int) -> Iterator[Block]:
        """Yield the cells of the active blocks, as they are now."""
        assert field.sparse is not None  # noqa: S101  (the callers ask for fields that have one)
        edge = field.sparse.block
        for block in sorted(self._at(field, time)):
            spans = [range(k * edge, min((k + 1) * edge, n)) for k, n in zip(block, field.shape, strict=True)]
            yield from itertools.product(*spans)
