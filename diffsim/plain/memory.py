"""The fields of one world in plain Python: NumPy arrays, a window of times, and which blocks are active."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from diffsim.errors import StateError
from diffsim.language.cells import Cells
from diffsim.language.controls import Control
from diffsim.language.fields import Field, Scratch, State, Valued
from diffsim.plain.activity import Activity
from diffsim.plain.functions import EXTREMES
from diffsim.plain.operators import apply, valued
from diffsim.plain.scalars import TYPES, cast_scalar, wrapped
from diffsim.plain.vectors import Vec, scalar

__all__ = ["Memory", "Relearn"]


class Relearn(Exception):
    """Say that a run must begin again, since a State turned out to be written in another way."""


class Memory:
    """What the fields of a program hold in one world while it runs.

    Args:
        fields: The declared fields.
        steps: The horizon.
        world: Which world it is.
        real: The working precision.
        given: Values that fields have here, in the place of those that they were set to, by id.

    Attributes:
        t: The step; -1 in `reset`.
        phase: What is run.
        cost: What was added to the cost.
        ended: Whether the world has ended.
        written: States that kernels of this step have written before the one that runs.
    """

    def __init__(
        self, fields: list[Field], steps: int, world: int, real: str, given: Mapping[int, Any]
    ) -> None:
        self._steps, self._world, self._real, self._given = steps, world, real, given
        self.t, self.phase, self.cost, self.ended = 0, "reset", np.float64(0.0), False
        self.written: set[int] = set()
        self.touched: set[int] = set()
        self.handed_on: set[int] = set()  # States that are written without the time
        self.moving: set[int] = set()  # States that steps write
        self._now: dict[int, Any] = {}  # what has no time, or one
        self._times: dict[int, dict[int, Any]] = {}
        self.activity = Activity()
        self._states = [f for f in fields if isinstance(f, State)]
        self._scratches = [f for f in fields if isinstance(f, Scratch)]
        for field in fields:
            self._begin(field)

    # ---- what fields hold ----

    def _begin(self, field: Field) -> None:
        if isinstance(field, State):
            first = self._values(field)
            past = range(1 - field.history, 1)
            self._times[id(field)] = {k: first.copy() for k in past}
            self.activity.begin(field, self._host(field))
        elif isinstance(field, Valued):
            self._now[id(field)] = self._values(field)
            if field.sparse is not None:
                self.activity.fix(field, self._host(field))
        elif field.kind != "cost":
            self._now[id(field)] = self._zeros(field)

    def _zeros(self, field: Field) -> Any:
        return np.zeros(field.element_shape, np.int32 if field.integer else TYPES[self._real])

    def _host(self, field: Valued) -> Any:
        """Return the values of a field as they were set: an array, or `Cells`."""
        return self._given[id(field)] if id(field) in self._given else field.host_values()

    def _values(self, field: Valued) -> Any:
        """Return the values of a field in this world, at all steps of a Control."""
        given = self._host(field)
        if isinstance(given, Cells):
            given = given.dense(field.shape, field.type.shape)
        shape = field.element_shape
        if isinstance(field, Control):
            shape = (field.entries(self._steps), *shape)
        dtype = np.int32 if field.integer else TYPES[self._real]
        if given.ndim > len(shape):
            given = given[self._world if given.shape[0] > 1 else 0]
        if given.ndim and given.shape != shape:
            raise StateError(
                f"{field.label} must have shape {shape} in this rollout, got {given.shape}; call .set() "
                "with it"
            )
        return np.broadcast_to(given, shape).astype(dtype)

    def at(self, field: Field, time: int) -> Any:
        """Return what a State holds at a time that is in memory, or another field now."""
        return self._times[id(field)][time] if isinstance(field, State) else self._now[id(field)]

    def active_cells(self, state: State) -> Cells:
        """Return the active cells of a sparse State as they are now."""
        cells = np.array(list(self.activity.cells(state, self.t)), np.int64).reshape(-1, len(state.shape))
        return Cells(cells, self._times[id(state)][self.t][tuple(cells.T)])

    # ---- steps ----

    def begin_step(self, t: int) -> None:
        """Begin a step: what is handed on is copied, all else at `t + 1` is zero, and so are Scratches."""
        self.t, self.phase = t, "step"
        self.written.clear()
        self.touched.clear()
        for state in self._states:
            times = self._times[id(state)]
            times.pop(t - state.history, None)
            kept = id(state) not in self.moving or state.keep or id(state) in self.handed_on
            times[t + 1] = times[t].copy() if kept else np.zeros_like(times[t])
            self.activity.step(state, t, bool(kept))
        self.clear_scratches()

    def clear_scratches(self) -> None:
        """Zero what lives within one step."""
        for scratch in self._scratches:
            self._now[id(scratch)][...] = 0
            self.activity.clear(scratch)

    def clear_workspaces(self, fields: list[Field]) -> None:
        """Zero the Workspaces, where a method with an adjoint of its own begins."""
        for field in fields:
            if field.kind == "workspace":
                self._now[id(field)][...] = 0
                self.activity.clear(field)

    def settle_past(self, written: dict[int, set[int]]) -> None:
        """Let States whose first value `reset` has written have it in the past too."""
        for state in self._states:
            own = written.get(id(state), set())
            times = self._times[id(state)]
            for k in times:
                if 0 in own and k not in own:
                    times[k] = times[0].copy()

    # ---- places ----

    def _place(self, field: Field, index: Any, writes: bool) -> tuple[Any, tuple[int, ...]]:
        """Return the array that a field's element is in, and its place there."""
        items = flattened(index)
        axes = len(field.shape)
        kind = field.kind
        if kind == "state":
            time, items = self._time_of(field, items, axes, writes)  # type: ignore[arg-type]
            array = self._times[id(field)].get(time)
            if array is None:
                self._refuse_time(field, time)
            if writes:
                self._note(field, time)
        else:
            if kind == "scratch" and len(items) == axes + 1:
                if items[0] != self.t:
                    self._refuse_time(field, items[0])
                items = items[1:]
            array = self._known(field)
            if kind == "control":
                items = self._entry_of(field, items)
        for k, n in zip(items, array.shape, strict=False):
            if not 0 <= k < n:
                self._refuse_index(field, k, n)
        if len(items) != axes + (kind == "control"):
            self._check_rows(field, items, index, writes)
        return array, tuple(items)

    def _entry_of(self, field: Any, items: Sequence[int]) -> Sequence[int]:
        if not items or not 0 <= items[0] < self._steps:
            raise StateError(
                f"{field.label} must be taken at a step from 0 to {self._steps - 1}, got "
                f"{items[0] if items else 'none'} at step {self.t}; keep the step inside"
            )
        return [items[0] // field.every, *items[1:]]

    def _refuse_index(self, field: Field, k: int, n: int) -> NoReturn:
        place = f"at step {self.t}" + (f" of world {self._world}" if self._world else "")
        raise StateError(
            f"an index of {field.label} must lie in 0 .. {n - 1}, got {k} {place}; keep it inside"
        )

    def _check_rows(self, field: Field, items: Sequence[int], index: Any, writes: bool) -> None:
        """Allow a row of a table of numbers, which is a vector; refuse other numbers of indices."""
        axes = len(field.shape)
        readable = field.kind in ("param", "constant") and not writes and not field.type.shape
        if not (readable and 0 < axes - len(items) <= 2):
            timed = " after t" if field.kind in ("state", "scratch", "control") else ""
            raise StateError(
                f"{field.label} of shape {field.shape} must be indexed with {axes} index(es){timed}, got "
                f"{index!r}; name each axis"
            )

    def _known(self, field: Field) -> Any:
        found = self._now.get(id(field))
        if found is None:
            raise StateError(
                f"{field.label} must be a field of the simulator or of one of its parts, got one that no "
                "attribute path from the simulator leads to; assign it to an attribute in __init__"
            )
        return found

    def _time_of(
        self, field: State, items: Sequence[int], axes: int, writes: bool
    ) -> tuple[int, Sequence[int]]:
        if len(items) == axes + 1:
            return items[0], items[1:]
        if self.phase in ("reset", "terminal_cost"):
            return max(self.t, 0), items
        if self.phase == "running_cost":
            return self.t, items
        if writes and id(field) not in self.handed_on:
            self._hand_on(field)
        newest = id(field) in self.handed_on or id(field) in self.written
        return self.t + newest, items

    def _hand_on(self, field: State) -> None:
        """Note that a State is written without the time, so that what a step does not store is handed on."""
        self.handed_on.add(id(field))
        if (self.t > 0 and id(field) in self.moving) or id(field) in self.touched:
            raise Relearn
        times = self._times[id(field)]
        times[self.t + 1][...] = times[self.t]
        self.activity.step(field, self.t, True)

    def _note(self, field: Any, time: int) -> None:
        if self.phase == "step" and id(field) not in self.moving:
            self.moving.add(id(field))
            if not field.keep and id(field) not in self.handed_on:
                raise Relearn
        self.touched.add(id(field))
        if self.phase == "reset":
            self.activity.written_early.setdefault(id(field), set()).add(time)

    def _refuse_time(self, field: Field, time: int) -> NoReturn:
        found = sorted(self._times.get(id(field), [self.t]))
        raise StateError(
            f"{field.label} must be used at a time from {found[0]} to {found[-1]} in step {self.t}, got "
            f"{time}; it is declared with history={getattr(field, 'history', 1)}"
        )

    # ---- reading and writing ----

    def load(self, field: Field, index: Any) -> Any:
        """Read an element."""
        if field.kind == "cost":
            return self.cost
        if field.kind == "done":
            return self.ended
        array, place = self._place(field, index, False)
        found = array[place]
        if type(found) is np.float64:
            return found
        return found.view(Vec) if isinstance(found, np.ndarray) else scalar(found)

    def view(self, field: Field, index: Any) -> Any:
        """Return an element to be written into."""
        array, place = self._place(field, index, True)
        self._mark(field, place)
        found = array[place]
        return found.view(Vec) if isinstance(found, np.ndarray) else scalar(found)

    def put(self, field: Field, index: Any, value: Any) -> None:
        """Store an element."""
        value = valued(value)
        if field.kind == "cost":
            self.cost = np.float64(value)
            return
        if field.kind == "done":
            self.ended = self.ended or bool(value)
            return
        array, place = self._place(field, index, True)
        self._mark(field, place)
        if type(value) is np.float64 and array.dtype.kind == "f":
            array[place] = value
        elif isinstance(value, Vec):
            shape = field.type.shape
            array[place] = value if value.shape == shape or value.size == 1 else value.reshape(shape)
        else:
            array[place] = wrapped(value) if type(value) is int else cast_scalar(value, self._held(array))

    def change(self, name: str, field: Field, index: Any, value: Any) -> Any:
        """Change an element by an operator, and return what was there."""
        if field.kind == "cost":
            old: Any = self.cost
            self.cost = old + np.float64(value) if name == "add" else old - np.float64(value)
            return old
        old = self.load(field, index)
        old = old.copy() if isinstance(old, Vec) else old
        self.put(field, index, combined(name, old, value))
        return old

    def _held(self, array: Any) -> str:
        return "i32" if array.dtype == np.int32 else self._real

    def _mark(self, field: Field, place: tuple[int, ...]) -> None:
        if field.sparse is not None:
            self.activity.mark(field, self.t + 1 if self.phase != "reset" else 0, place)

    # ---- sparse fields ----

    def cells(self, field: Field, reads: tuple[Any, ...] = ()) -> Iterator[tuple[int, ...]]:
        """Yield the cells that a loop over a field visits.

        Args:
            field: Over which.
            reads: What its body reads; see `reads_of`.
        """
        if field.sparse is None:
            return iter(np.ndindex(field.shape))
        return iter(list(self.activity.cells(field, self._moment(field, reads))))

    def is_active(self, field: Field, cell: Any) -> bool:
        """Tell whether a cell of a field is active."""
        items, moment = flattened(cell), self._moment(field)
        if len(items) == len(field.shape) + 1:
            moment, *items = items
        return field.sparse is None or self.activity.holds(field, moment, tuple(items))

    def activate(self, field: Field, cell: Any) -> None:
        """Make a cell active; of a State the one at `t + 1`."""
        items = flattened(cell)[-len(field.shape) :]
        if isinstance(field, State):
            self._note(field, self.t + 1)
        self._mark(field, tuple(items))

    def _moment(self, field: Field, reads: tuple[Any, ...] = ()) -> int:
        """Return the time whose active blocks a loop means.

        That is the one at which its body reads fields of the layout, at the cell itself or else anywhere.
        Where it reads at both, it is `t + 1` if all cells of `t` are there too; else the newest: `t` until a
        kernel has written the State.
        """
        if not isinstance(field, State):
            return self.t + 1
        if self.phase in ("reset", "terminal_cost"):
            return max(self.t, 0)
        alike = [r for r in reads if isinstance(r[0], Field) and r[0].layout is field.layout]
        times = {_time_read(*read) for read in [r for r in alike if r[3]] or alike}
        if len(times) == 1 and None not in times:
            [time] = times
            return self.t + 1 if time is _AT_END else int(time)
        layout_kept = any(
            s.layout is field.layout and (s.keep or id(s) in self.handed_on) for s in self._states
        )
        return self.t + (id(field) in self.written or bool(times and layout_kept))


_AT_END = object()  # where Scratches lie that share the blocks of a State


def _time_read(field: Any, first: Any, count: int, own: bool) -> Any:
    """Return the time at which an element is read; None where it names none."""
    if not isinstance(field, State):
        return _AT_END
    axes = len(field.shape)
    timed = first is not None and (own or count == axes + 1 or (count == 2 and axes != 2))
    return int(first) if timed else None


def flattened(index: Any) -> Sequence[int]:
    """Return indices as integers: `[t, I]` has those of the vector `I` too.

    Raises:
        StateError: One is no integer.
    """
    if type(index) is int:
        return (index,)
    if type(index) is tuple and all(type(i) is int for i in index):
        return index
    found: list[int] = []
    for item in index if isinstance(index, tuple | list | np.ndarray) else (index,):
        if item is None:
            continue
        if isinstance(item, tuple | list | np.ndarray) and np.ndim(item):
            found += flattened(item)
        elif isinstance(item, float | np.floating):
            raise StateError(f"indices must be integers, got {item!r}; use ti.cast(..., ti.i32)")
        else:
            found.append(int(item))
    return found


def combined(name: str, old: Any, value: Any) -> Any:
    """Return what an operator or an atomic makes of what was there."""
    return EXTREMES[name](old, value) if name in EXTREMES else apply(name, old, value)
