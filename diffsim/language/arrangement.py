"""Where the elements of a dense field lie in its memory: how far neighbours and components are apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Arrangement", "Steps", "steps_of"]


@dataclass(frozen=True)
class Arrangement:
    """How the elements of a field lie, where not in the order of its axes and without gaps.

    Attributes:
        order: The axes of space, the one whose neighbours are farthest apart first.
        lengths: Along each of them, in the declared order, with room to spare.
        beside: How many components lie beside each other; 1 where each has memory of its own.
    """

    order: tuple[int, ...]
    lengths: tuple[int, ...]
    beside: int = 1

    def of(self, components: int) -> Arrangement:
        """Return the same for another number of components."""
        return Arrangement(self.order, self.lengths, components if self.beside > 1 else 1)


@dataclass(frozen=True)
class Steps:
    """How many numbers apart elements are.

    Attributes:
        strides: From neighbour to neighbour along each axis.
        component: From component to component; 0 where each has memory of its own.
        size: From the first to the last number of one piece of memory, that number included.
    """

    strides: tuple[int, ...]
    component: int
    size: int


def steps_of(shape: Sequence[int], first: int = 0, arrangement: Arrangement | None = None) -> Steps:
    """Return how far the elements of an array are apart.

    What comes before the axes of space is outermost, what comes behind them (worlds beside each other)
    innermost; components that lie beside each other come just before the latter.

    Args:
        shape: The lengths of its axes.
        first: The first axis of space.
        arrangement: How the axes of space lie; None for the order of the axes.
    """
    lengths, order, components = list(shape), list(range(len(shape))), 1
    behind = len(shape)
    if arrangement is not None:
        behind = first + len(arrangement.order)
        lengths[first:behind] = arrangement.lengths
        order[first:behind] = [first + axis for axis in arrangement.order]
        components = arrangement.beside
    strides, size, component = [0] * len(shape), 1, 0
    for place in reversed(range(len(shape) + 1)):
        if place == behind:
            component, size = size if components > 1 else 0, size * components
        if place > 0:
            strides[order[place - 1]] = size
            size *= lengths[order[place - 1]]
    return Steps(tuple(strides), component, size if math.prod(shape) else 0)
