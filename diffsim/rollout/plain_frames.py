"""What a run in mode `python` leaves: frames of fields, and States at the end."""

from __future__ import annotations

from typing import Any

import numpy as np

from diffsim.language.controls import Control
from diffsim.language.fields import Field, State
from diffsim.language.trace import Program
from diffsim.plain.memory import Memory

__all__ = ["Frames", "Last"]


class Last:
    """What States hold when a world is through, and where one first was not finite."""

    def __init__(self, program: Program, worlds: int) -> None:
        self._states = [f for f in program.fields.values() if isinstance(f, State)]
        self._worlds, self.spoiled = worlds, ""
        self._found: dict[str, list[Any]] = {state.key: [] for state in self._states}

    def take(self, memory: Memory, world: int) -> None:
        """Look at a step that has run."""
        over = memory.phase == "terminal_cost"
        if not over and not self.spoiled:
            self._look(memory, world)
        for state in self._states if over else ():
            sparse = state.sparse is not None and self._worlds == 1
            found = memory.active_cells(state) if sparse else memory.at(state, memory.t).copy()
            self._found[state.key].append(found)

    def _look(self, memory: Memory, world: int) -> None:
        for state in self._states:
            array = memory.at(state, memory.t + 1)
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                index = [int(k) for k in np.argwhere(~np.isfinite(array))[0]]
                where = f" of world {world}" if self._worlds > 1 else ""
                self.spoiled = (
                    f"the first State that is not is {state.key}{index}, behind step {memory.t}{where}"
                )
                return

    def arrays(self) -> dict[str, Any]:
        """Return the values by key, worlds first where there are many."""
        return {k: v[0] if self._worlds == 1 else np.stack(v) for k, v in self._found.items()}


class Frames:
    """Every so many steps of some fields, time first, then worlds if there are many."""

    def __init__(self, chosen: dict[str, Field], steps: int, worlds: int, every: int) -> None:
        self._chosen, self._steps, self._worlds, self._every = chosen, steps, worlds, every
        self._frames: dict[str, list[list[Any]]] = {n: [[] for _ in range(worlds)] for n in chosen}

    def take(self, memory: Memory, world: int) -> None:
        """Take a step that has run, or the end."""
        over = memory.phase == "terminal_cost"
        for name, field in self._chosen.items():
            frames = self._frames[name][world]
            if isinstance(field, Control):
                if not frames:
                    entries = memory.at(field, 0)
                    frames += [entries[t // field.every] for t in range(0, self._steps, self._every)]
                continue
            if memory.t % self._every == 0 and (isinstance(field, State) or not over):
                frames.append(memory.at(field, memory.t).copy())
            if over:
                self._fill(field, frames, memory)

    def _fill(self, field: Field, frames: list[Any], memory: Memory) -> None:
        """Add frames behind the end of a world: States stay, Scratches are zero."""
        state = isinstance(field, State)
        count = self._steps // self._every + 1 if state else -(-self._steps // self._every)
        still = memory.at(field, memory.t) if state else np.zeros_like(memory.at(field, memory.t))
        frames += [still.copy() for _ in range(count - len(frames))]

    def arrays(self) -> dict[str, Any]:
        """Return all frames by name."""
        found = {}
        for name, worlds in self._frames.items():
            arrays = [np.stack(frames) for frames in worlds]
            found[name] = arrays[0] if self._worlds == 1 else np.stack(arrays, axis=1)
        return found
