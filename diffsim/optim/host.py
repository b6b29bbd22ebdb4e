"""What an optimizer keeps beside parameters that lie in NumPy arrays, and its work on them: no compiling.

Parameters, gradients and slots are worked on in pieces that stay in the processor's cache; arithmetic is in
f64, and what is stored has the parameters' own type, as in `optim/memory.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from diffsim import runtime

__all__ = ["HostMemory"]

_PIECE = 8192  # elements that are worked on together: a few arrays of them fit the cache
_MOST = 1 << 20  # elements beyond which the device's kernels, on several threads, are worth compiling

Array = NDArray[Any]
_Piece = tuple[int, int, int, int]  # a part, its elements from and to, and where they are in the batch
_Batch = tuple[int, int, list[_Piece]]  # where it begins and ends among all elements
_T = TypeVar("_T")


class HostMemory:
    """Slots of the size of all parameters together: the best ones so far, and what a rule keeps.

    A rule is a subclass with a method `change`, which tells by how much some elements change.

    Args:
        leaves: What is optimised: objects with `arrays`, the values and the gradients, an array per
            component, and with `world_axis`, their axis that counts worlds, or None.
        slots: How many slots the rule has beside the first, which holds the best parameters.

    Attributes:
        kept: The slots, (slot, place), each with all elements one after the other.
        worlds: How many worlds have best parameters of their own; 0 where they are kept for all together.
        program: The Taichi program that was there when it was made.
    """

    def __init__(self, leaves: Sequence[Any], slots: int) -> None:
        self._leaves = list(leaves)
        self.program = runtime.current_program()
        values = [array for leaf in leaves for array in leaf.arrays[0]]
        owners = [leaf for leaf in leaves for _ in leaf.arrays[0]]
        own = all(leaf.world_axis is not None for leaf in owners)
        self.worlds = int(values[0].shape[owners[0].world_axis]) if own else 0
        self._world_axes = [leaf.world_axis for leaf in owners]
        self._sizes = sizes = [array.size for array in values]
        self._offsets = [sum(sizes[:k]) for k in range(len(sizes))]
        self._batches = list(_batched(sizes))
        self.kept: Array = np.zeros((1 + slots, sum(sizes)), values[0].dtype)

    @staticmethod
    def suits(leaves: Sequence[Any]) -> bool:
        """Tell whether parameters lie in arrays, and are not so many that threads should share the work."""
        pairs = [leaf.arrays for leaf in leaves]
        if any(pair is None for pair in pairs):
            return False
        return runtime.info().threads == 1 or sum(a.size for values, _ in pairs for a in values) <= _MOST

    def change(self, place: slice, g: NDArray[np.float64], numbers: Sequence[float]) -> NDArray[np.float64]:
        """Return what is added to elements (half of it after a halving), and update the rule's slots.

        Args:
            place: Where the elements are in a slot: `self.kept[slot, place]`, slots of a rule from 1.
            g: Their gradient, normalised or clipped; it may be overwritten.
            numbers: The hyperparameters.
        """
        return -numbers[0] * g

    def norm_squared(self) -> float:
        """Add up the squares of all gradients, in f64, in an order that depends on the sizes alone."""
        grads = self._flat(1)

        def squares(batch: _Batch) -> float:
            g = _gathered(batch, grads)
            g *= g
            return float(g.sum())

        return sum(self._each(squares))

    def keep_worlds(self, better: NDArray[np.int32]) -> None:
        """Store the parameters of each world that is marked as its best ones."""
        values = self._arrays(0)
        for value, axis, slot in zip(values, self._world_axes, self._slot(0), strict=True):
            marked = (slice(None),) * axis + (better != 0,)
            slot.reshape(value.shape)[marked] = value[marked]

    def update(self, keep: int, scale: float, rate: float, numbers: Sequence[float]) -> None:
        """Change all parameters; where `keep` is not 0, store what they were as the best ones first.

        Args:
            keep: Whether they are the best ones.
            scale: What gradients are multiplied by.
            rate: What changes are multiplied by.
            numbers: The rule's hyperparameters.
        """
        arrays, values, grads = self._arrays(0), self._flat(0), self._flat(1)

        def change(batch: _Batch) -> None:
            start, stop, pieces = batch
            place = slice(start, stop)
            g, moved = _gathered(batch, grads), _gathered(batch, values)
            g *= scale
            if keep:
                self.kept[0, place] = moved
            moved += rate * self.change(place, g, numbers)
            for part, first, last, where in pieces:
                values[part][first:last] = moved[where : where + last - first]

        self._each(change)
        for array, flat in zip(arrays, values, strict=True):
            if not np.may_share_memory(array, flat):
                array[...] = flat.reshape(array.shape)

    def swap(self, slot: int) -> None:
        """Exchange the parameters and a slot."""
        for value, kept in zip(self._arrays(0), self._slot(slot), strict=True):
            old = value.reshape(-1).copy()
            value[...], kept[...] = kept.reshape(value.shape), old

    def clear(self, first: int) -> None:
        """Zero the slots from one on: 0 for all, 1 for those of the rule."""
        self.kept[first:] = 0

    def go_back(self) -> None:
        """Set the parameters to the best ones."""
        for value, kept in zip(self._arrays(0), self._slot(0), strict=True):
            value[...] = kept.reshape(value.shape)

    def _arrays(self, which: int) -> list[Array]:
        """Return where the parameters (0) or their gradients (1) are now."""
        return [array for leaf in self._leaves for array in leaf.arrays[which]]

    def _flat(self, which: int) -> list[Array]:
        """Return them with each component in a row: views, or copies where worlds lie beside each other."""
        return [array.reshape(-1) for array in self._arrays(which)]

    def _slot(self, slot: int) -> Iterator[Array]:
        """Return the parts of a slot, one per component of each leaf."""
        for offset, size in zip(self._offsets, self._sizes, strict=True):
            yield self.kept[slot, offset : offset + size]

    def _each(self, work: Callable[[_Batch], _T]) -> list[_T]:
        """Do some work with all batches, and return what it found."""
        with np.errstate(all="ignore"):  # as on a device; what is not finite is an error of its own
            return [work(batch) for batch in self._batches]


def _gathered(batch: _Batch, flat: Sequence[Array]) -> NDArray[np.float64]:
    """Return copies of the pieces of a batch, one behind the other."""
    start, stop, pieces = batch
    found = np.empty(stop - start)
    for part, first, last, where in pieces:
        found[where : where + last - first] = flat[part][first:last]
    return found


def _batched(sizes: Sequence[int]) -> Iterator[_Batch]:
    """Cut parts that lie one behind the other into pieces that are worked on together."""
    start, length = 0, 0
    pieces: list[_Piece] = []
    for part, size in enumerate(sizes):
        first = 0
        while first < size:
            last = min(size, first + _PIECE - length)
            pieces.append((part, first, last, length))
            length += last - first
            first = last
            if length == _PIECE:
                yield start, start + length, pieces
                start, length, pieces = start + length, 0, []
    if pieces:
        yield start, start + length, pieces
