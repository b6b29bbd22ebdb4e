"""One cheap look per segment at what is carried on: a long run ends where its numbers do."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsim import _taichi
from diffsim.compiler.codegen.checks import check_kernel
from diffsim.compiler.codegen.layout import Layout
from diffsim.compiler.ir import Buffer
from diffsim.compiler.program.lowered import LoweredProgram
from diffsim.engine.launch import Launcher
from diffsim.engine.pools import cell_at, in_use
from diffsim.engine.storage import Storage
from diffsim.errors import GradientNotFiniteError, StateNotFiniteError

__all__ = ["NAN_HINT", "Lookout", "first_bad_state"]

NAN_HINT = 'value_and_grad(debug="nan") names the kernel, the field and the statement'
_APART = 1 << 16  # numbers in States that steps compute, at least, from one look to the next
_MOST_LOOKS = 8  # of a pass over a device's memory: each of them waits until all is done
_TOGETHER = 1 << 14  # numbers up to which arrays are looked at in one go


class Lookout:
    """Look at the States and the adjoints that go from one segment to the next.

    A State ends the run only where it is NaN: an infinity may be meant (a minimum begins with one). An
    adjoint ends it where it is not finite. On the CPU both are read in place; on a GPU a kernel reduces them
    to two numbers, which are fetched.

    Args:
        lowered: The program.
        storage: Its memory.
        layout: The sizes of everything in memory.

    Attributes:
        largest: The largest adjoint carried over, by the step that it is of, from the last backward pass.
    """

    def __init__(self, lowered: LoweredProgram, storage: Storage, layout: Layout) -> None:
        self.lowered, self.storage, self.layout = lowered, storage, layout
        self.largest: dict[int, float] = {}
        per_step = layout.worlds * sum(b.components * math.prod(b.shape) for b in lowered.reals)
        self._every = max(1, _APART // max(1, per_step * layout.window))
        if not storage.on_cpu:
            segments = -(-layout.steps // layout.window)
            self._every = max(self._every, -(-segments // _MOST_LOOKS))
        self._pending = False
        self._found = Buffer("found", "found", "f64", (), 2)
        self._launchers: dict[str, Launcher] = {}
        self._together: NDArray[Any] | None = None

    def close(self) -> None:
        """Let go of all kernels."""
        for launcher in self._launchers.values():
            launcher.close()
        self._together = None

    def begin(self) -> None:
        """Forget what an earlier backward pass has found."""
        self.largest.clear()
        self._pending = False

    def _due(self, t0: int) -> bool:
        return -(-t0 // self.layout.window) % self._every == self._every - 1

    def states(self, t0: int, n: int) -> None:
        """Look at the States behind a segment, which is still in memory.

        Args:
            t0: The first step of the segment.
            n: Its length.

        Raises:
            StateNotFiniteError: One is NaN.
        """
        if not self._due(t0):
            return
        kept = self.layout.history
        lowered = self.lowered
        if self.storage.in_place:
            views = [view[:, n : n + kept] for view in self._in_place(lowered.reals)]
            spoiled = math.isnan(self._largest([*views, *self._in_place(lowered.constant_reals)]))
        else:
            spoiled = self._reduced("states", n)[0] > 0
        if not spoiled:
            return
        states = [*lowered.constant_reals, *lowered.reals]
        found = first_bad_state(states, self.storage, self.layout, t0, n, np.isnan)
        if found is None:  # it is in a block that is not active: left behind by an earlier run
            return
        step, state, index, value = found
        when = f"{step}" if self._every == 1 or step > t0 else f"{step} or before"  # not all were looked at
        raise StateNotFiniteError(
            f"{state.label} must stay finite, got {value} at index {list(index)} in step {when}, so that the "
            f"run ended after step {t0 + n} of {self.layout.steps}; {NAN_HINT}; a smaller time step, or "
            "parameters nearer to a stable run, may help"
        )

    def adjoints(self, t0: int) -> None:
        """Look at the adjoints that a segment hands to the one before it.

        Args:
            t0: The first step of the segment.

        Raises:
            GradientNotFiniteError: One is not finite.
        """
        if t0 > 0 and not self._due(t0):
            return
        if t0 == 0 and not self.storage.on_cpu:
            self._pending = self._reduce("adjoints", 0)  # the host reads it with the gradients
            return
        largest = self.measure(t0)
        if t0 == 0 or math.isfinite(largest):  # at the start the gradients tell, which come from them
            return
        for state, carried in self.lowered.carried.items():
            for array in self.storage.arrays(carried):
                bad = np.argwhere(
                    ~np.isfinite(array) & _counting(state, self.storage, slice(0, array.shape[1]))
                )
                if len(bad):
                    place = tuple(map(int, bad[0]))
                    step = t0 - (self.layout.history - 1 - place[1])
                    index = _index(state, self.storage, self.layout, place)
                    raise GradientNotFiniteError(
                        f"the adjoint of {state.label} must stay finite, got {array[place]} at index "
                        f"{index} in step {step} of the backward pass, so that it ended "
                        f"{self.layout.steps - t0} steps from the end; {NAN_HINT}; rollout.health() tells "
                        "whether gradients explode"
                    )

    def measure(self, t0: int) -> float:
        """Note and return the largest adjoint that was carried to step `t0`; NaN where one is."""
        if self.storage.in_place:
            largest = self._largest(self._in_place(self.lowered.carried.values()))
        else:
            spoiled, size = self._reduced("adjoints", 0)
            largest = math.nan if spoiled else size
        self.largest[t0] = largest
        return largest

    @property
    def pending(self) -> list[Buffer]:
        """The buffer of what a device has found out at the start of the horizon, until the host reads it."""
        return [self._found] if self._pending else []

    def settle(self, found: list[NDArray[Any]]) -> None:
        """Note what was pending, with the arrays of its buffer."""
        self._pending = False
        spoiled, size = (float(array) for array in found)
        self.largest[0] = math.nan if spoiled else size

    def _in_place(self, buffers: Iterable[Buffer]) -> list[NDArray[Any]]:
        """Return the arrays of buffers where they are now: memory moves where a kernel is left to Taichi."""
        _taichi.wait()
        return [a for b in buffers for a in self.storage.laid(b)]

    def _largest(self, arrays: list[NDArray[Any]]) -> float:
        """Return the largest absolute value; NaN where there is one.

        Small arrays are put together first: each call of NumPy takes longer than going through them.
        """
        size = sum(a.size for a in arrays)
        if 0 < size <= _TOGETHER:
            if self._together is None or self._together.size != size:
                self._together = np.empty(size, np.result_type(*arrays))
            np.concatenate(arrays, axis=None, out=self._together, casting="same_kind")
            return float(np.absolute(self._together, out=self._together).max())
        sizes = [max(float(a.max()), -float(a.min())) for a in arrays]
        return math.nan if any(map(math.isnan, sizes)) else max(sizes, default=0.0)

    def _reduced(self, name: str, n: int) -> tuple[float, float]:
        """Find out on the device whether a number is NaN, and the largest."""
        if not self._reduce(name, n):
            return 0.0, 0.0
        spoiled, size = (float(array) for array in self.storage.arrays(self._found))
        return spoiled, size

    def _reduce(self, name: str, n: int) -> bool:
        """Launch a kernel that finds that out, if there is anything to look at."""
        reals = [*self.lowered.constant_reals, *self.lowered.reals]
        places = reals if name == "states" else list(self.lowered.carried.values())
        if not places:
            return False
        if name not in self._launchers:
            self.storage.allocate([self._found])
            text = check_kernel(name, self.layout, places, self._found)
            self._launchers[name] = Launcher(text, self.storage)
        self._launchers[name](n)
        return True


def first_bad_state(
    states: Iterable[Buffer],
    storage: Storage,
    layout: Layout,
    t0: int,
    n: int,
    bad: Callable[[NDArray[Any]], NDArray[np.bool_]] = lambda a: ~np.isfinite(a),
) -> tuple[int, Buffer, tuple[int, ...], float] | None:
    """Find the first State of a window that is not finite.

    Args:
        states: The buffers to look at, in this order.
        storage: The memory.
        layout: The sizes of everything in memory.
        t0: The first step in the window.
        n: Its length.
        bad: Tells which numbers are looked for.

    Returns:
        The step, the State, the index (world first, where there are many) and the number; None where there is
        none.
    """
    best: tuple[int, Buffer, tuple[int, ...], float] | None = None
    for state in states:
        for array in storage.arrays(state):
            once = state.kind == "derived"
            begin = layout.history - 1
            part = array[:, None] if once else array[:, begin : begin + n + 1]
            places = np.argwhere(bad(part) & _counting(state, storage, slice(begin, begin + n + 1)))
            if len(places):
                first = tuple(map(int, places[np.argmin(places[:, 1])]))
                if best is None or t0 + first[1] < best[0]:
                    index = tuple(_index(state, storage, layout, first, 0 if once else begin))
                    best = (t0 + first[1], state, index, float(part[first]))
    return best


def _counting(state: Buffer, storage: Storage, slots: slice) -> NDArray[np.bool_]:
    """Tell which numbers of a State count: of a sparse one, those of active blocks."""
    if state.place is None:
        return np.array(True)
    return in_use(state, storage.arrays(state.place.total)[0][:, slots])


def _index(
    state: Buffer, storage: Storage, layout: Layout, found: tuple[int, ...], begin: int = 0
) -> list[int]:
    """Turn (world, slot, *space) into what a user knows: the world only where there are many.

    Args:
        state: The State, or the one that an adjoint is of.
        storage: The memory.
        layout: The sizes of everything in memory.
        found: The place in arrays of the State from a slot on.
        begin: That slot.
    """
    world, slot, *space = found
    if state.place is not None:
        blocks = storage.arrays(state.place.blocks)[0][world, begin + slot]
        space = list(cell_at(state.place, blocks, tuple(space)))
    return [world, *space] if layout.worlds > 1 else space
