"""The room that sparse layouts have, beside what dense fields would take."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from diffsim.compiler.program.topology import Topology
from diffsim.sizes import show_bytes

__all__ = ["Room", "rooms"]


@dataclass(frozen=True)
class Room:
    """The blocks of one sparse layout.

    Attributes:
        name: What it is called, after its first field.
        capacity: Blocks that there is room for, in each world and step.
        domain: Blocks that the domain has.
        bytes: What all its fields take in one world and step, at that capacity.
        dense: What they would take as dense fields.
        most: The most blocks that were active at once in the last run; None where none ran.
    """

    name: str
    capacity: int
    domain: int
    bytes: int
    dense: int
    most: int | None = None

    @property
    def share(self) -> float | None:
        """The largest share of the domain that was active; None where nothing ran."""
        return None if self.most is None else self.most / self.domain

    def __str__(self) -> str:
        text = f"room for {self.capacity:,} of {self.domain:,} blocks, {show_bytes(self.bytes)} a step"
        text += f" (dense: {show_bytes(self.dense)})"
        if self.most is not None:
            text += f"; at most {self.most:,} were active, {100.0 * self.most / self.domain:.3g} %"
        return text


def rooms(topologies: Iterable[Topology]) -> tuple[Room, ...]:
    """Return the rooms of the layouts of a program."""
    return tuple(
        Room(
            t.name,
            t.capacity,
            math.prod(t.coarse),
            (t.capacity + 1) * t.cells * t.cell_bytes,
            math.prod(t.shape) * t.cell_bytes,
        )
        for t in topologies
    )
