"""Moving States and windows on the CPU, where NumPy copies large arrays faster than serial kernels do."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from diffsim.compiler.codegen.layout import Layout
from diffsim.compiler.program.lowered import LoweredProgram
from diffsim.engine.storage import Storage

__all__ = ["host_copies"]

_LARGE = 2048  # numbers of a State from which on a call of NumPy is cheaper than a kernel's loop


def host_copies(lowered: LoweredProgram, storage: Storage, layout: Layout) -> dict[str, Callable[..., None]]:
    """Return what takes the place of move kernels, by name; nothing where the kernels are faster.

    Args:
        lowered: The program.
        storage: Its memory.
        layout: The sizes of everything in memory.
    """
    numbers = [layout.worlds * layout.history * math.prod(b.shape) for b in lowered.states]
    if not storage.on_cpu or layout.world_last or sum(numbers) < _LARGE * len(numbers):
        return {}
    copies = _Copies(lowered, storage, layout)
    names = ["save", "restore", "keep", "load"]
    if lowered.ended is None:  # else each world shifts by the steps that it ran itself
        names.append("shift")
    return {name: getattr(copies, name) for name in names}


class _Copies:
    """Copies between the arrays of a program; arguments are those of the kernels.

    Arrays are looked up each time: memory moves where a kernel is left to Taichi.
    """

    def __init__(self, lowered: LoweredProgram, storage: Storage, layout: Layout) -> None:
        self._lowered, self._storage = lowered, storage
        self._history, self._windows = layout.history, layout.windows

    @property
    def _states(self) -> list[NDArray[Any]]:
        return [a for b in self._lowered.states for a in self._storage.laid(b)]

    @property
    def _starts(self) -> list[tuple[NDArray[Any], NDArray[Any]]]:
        """The States at the beginning of the window, with the arrays of their checkpoints."""
        kept = self._lowered.whole if self._windows else self._lowered.kept
        places = [a for b in self._lowered.states for a in self._storage.laid(kept[b])]
        h = self._history
        return [(view[:, :h], place[:, :, :h]) for view, place in zip(self._states, places, strict=True)]

    @property
    def _whole(self) -> list[tuple[NDArray[Any], NDArray[Any]]]:
        laid = self._storage.laid
        return [pair for b, w in self._lowered.whole.items() for pair in zip(laid(b), laid(w), strict=True)]

    def shift(self, n: int, last: int = 0) -> None:
        for view in self._states:
            view[:, : self._history] = view[:, n : n + self._history]

    def save(self, slot: int, last: int = 0) -> None:
        for view, place in self._starts:
            place[slot] = view

    def restore(self, slot: int, last: int = 0) -> None:
        for view, place in self._starts:
            view[...] = place[slot]

    def keep(self, slot: int, last: int = 0) -> None:
        for view, place in self._whole:
            place[slot] = view

    def load(self, slot: int, last: int = 0) -> None:
        for view, place in self._whole:
            view[...] = place[slot]
