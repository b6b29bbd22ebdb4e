"""What is known while an adjoint is built, and where adjoints of memory are."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace

from diffsim.compiler.ir import Buffer, For, Operand, Ref, Value

__all__ = ["Adjoints", "Flow", "Scope"]

Adjoints = dict[Value, Operand]


@dataclass
class Scope:
    """What is known in a block of the adjoint: recomputed values, loops that may need tapes, adjoints.

    `apart` is what the adjoints of calls take in place of some of their results, `counts` how many iterations
    loops ran that may be left early.
    """

    values: dict[Value, Operand]
    loops: dict[int, For] = field(default_factory=dict)
    adjoints: Adjoints = field(default_factory=dict)
    apart: dict[Value, Operand] = field(default_factory=dict)
    counts: dict[int, Operand] = field(default_factory=dict)


def _own_place(ref: Ref) -> Ref | None:
    adjoint = ref.buffer.adjoint
    return None if adjoint is None else replace(ref, buffer=adjoint)


@dataclass(frozen=True)
class Flow:
    """Where the adjoints of places in memory are, and what is meant to become of the adjoint stage.

    Attributes:
        place: The place of the adjoint of what is at a place; None where nothing flows to it.
        seeds: Buffers that are added to only, with the adjoint of all that is added.
        twice: What is built is part of a step, and is differentiated again.
        zeroed: Where that is so, the buffers with places that are stored more than once: the adjoint of a
            place is zeroed at each store. Others need not be, as nothing adds to it any more.
    """

    place: Callable[[Ref], Ref | None] = _own_place
    seeds: dict[Buffer, float] = field(default_factory=dict)
    twice: bool = False
    zeroed: Collection[Buffer] = ()
