"""Running a simulator as plain Python: its methods with an integer `t`, its kernels on NumPy memory."""

from __future__ import annotations

import contextlib
import inspect
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from diffsim import _taichi
from diffsim.errors import StateError, TraceError
from diffsim.language import recorder
from diffsim.language.adjoints import is_method
from diffsim.language.derivatives import current_energy
from diffsim.language.fields import Field, Workspace
from diffsim.language.filling import filled
from diffsim.language.habits import taichis_own
from diffsim.language.simulator import recording
from diffsim.language.trace import KernelCall
from diffsim.plain.making import Plain, definition
from diffsim.plain.memory import Memory, Relearn
from diffsim.plain.places import TooLong
from diffsim.plain.scalars import working
from diffsim.plain.scanning import Found, scan
from diffsim.plain.streams import Streams
from diffsim.plain.values import typed_as

__all__ = ["PlainRun", "TooLong"]

Observe = Callable[[Memory, int], object]
Told = Callable[[int], object]


class PlainRun:
    """Runs a simulator as plain Python.

    Args:
        simulator: What is run.
        fields: Its declared fields.
        steps: The horizon.
        worlds: Copies, each with a cost of its own, one after the other.
        real: The working precision, `f32` or `f64`.
        start: The seed of `init`.

    Attributes:
        given: Values that fields have here, in the place of those that they were set to, by id.
        costs: Of each world, in the last run.
        lengths: How many steps each world ran.
    """

    def __init__(
        self, simulator: Any, fields: list[Field], steps: int, worlds: int, real: str, start: int
    ) -> None:
        self._simulator, self._fields = simulator, fields
        self._steps, self._worlds, self._real, self._start = steps, worlds, real, start
        self._plain = Plain()
        self._moving: set[int] = set()
        self._handed_on: set[int] = set()
        self._scanned: dict[Any, tuple[Found, Any]] = {}
        self._sites: dict[str, int] = {}
        self._until: Workspace | None = None
        self.given: dict[int, Any] = {}
        self.costs: Any = None
        self.lengths: Any = None

    # ---- a run ----

    def run(self, seed: int, observe: Observe | None = None, told: Told | None = None) -> Any:
        """Run all worlds.

        Args:
            seed: Of the rollout.
            observe: Called with the memory and the world, for each step that has run, before its Scratches
                are gone, and at the end.
            told: Called with the number of steps so far.

        Raises:
            StateError: An index left its field, an assert failed, or a kernel does what this mode cannot.
        """
        costs, lengths = np.zeros(self._worlds), np.zeros(self._worlds, np.int64)
        with self._context():
            self._plain.outside.forget()
            self._learn()
            for world in range(self._worlds):
                while True:
                    try:
                        costs[world], lengths[world] = self._world(world, seed, observe, told)
                        break
                    except Relearn:
                        continue
        self.costs, self.lengths = costs, lengths
        return costs

    @property
    def deadline(self) -> float | None:
        """When a run ends with `TooLong`, by `time.perf_counter`; None for never."""
        return self._plain.deadline

    @deadline.setter
    def deadline(self, value: float | None) -> None:
        self._plain.deadline = value

    @contextlib.contextmanager
    def _context(self) -> Iterator[None]:
        real = working.set(self._real)
        rounds = recorder.rounds.set(self._rounds)
        try:
            with recording(self._record), np.errstate(all="ignore"):
                yield
        finally:
            recorder.rounds.reset(rounds)
            working.reset(real)

    def _world(self, world: int, seed: int, observe: Observe | None, told: Told | None) -> tuple[float, int]:
        memory = Memory(self._fields, self._steps, world, self._real, self.given)
        memory.moving, memory.handed_on = self._moving, self._handed_on
        self._plain.memory = memory
        self._plain.streams = Streams(world, self._start, seed)
        read = recorder.reader.set(memory)
        try:
            return self._steps_of(memory, world, observe, told)
        finally:
            recorder.reader.reset(read)

    def _steps_of(
        self, memory: Memory, world: int, observe: Observe | None, told: Told | None
    ) -> tuple[float, int]:
        memory.phase, memory.t = "reset", 0
        self._call("reset")
        memory.settle_past(memory.activity.written_early)
        memory.clear_scratches()
        t = 0
        while t < self._steps and not memory.ended:
            memory.begin_step(t)
            self._call("step", t)
            memory.phase = "running_cost"
            self._call("running_cost", t)
            if observe is not None:
                observe(memory, world)
            t += 1
            if told is not None:
                told(world * self._steps + t)
        memory.t, memory.phase = t, "terminal_cost"
        memory.clear_scratches()
        if observe is not None:
            observe(memory, world)
        self._call("terminal_cost", t)
        return float(memory.cost), t

    def _call(self, method: str, *args: int) -> None:
        function = getattr(self._simulator, method, None)
        if function is not None:
            self._sites.clear()
            function(*args)

    # ---- kernels ----

    def _record(self, kernel: Callable[..., Any], owner: Any, args: tuple[Any, ...]) -> Any:
        """Run a kernel that is called, or a method with an adjoint of its own."""
        if is_method(kernel):
            self._plain.memory.clear_workspaces(self._fields)
            return kernel(owner, *args)
        if self._over():
            return None
        if (refused := taichis_own(kernel)) is not None:
            raise refused
        if current_energy() is not None:
            raise StateError(
                "ds.gradient_of must be computed by another mode, got a rollout in mode 'python', which has "
                "no derivatives; use mode='step'"
            )
        self._plain.look_at_clock()
        name = KernelCall(kernel, owner, args).name
        found = self._scan(kernel, owner, args)
        memory = self._plain.memory
        site = f"{memory.phase} {name}#{self._sites.setdefault(name, 0)}"
        self._sites[name] += 1
        with _taichi.unrecorded():
            answer = self._run(kernel, owner, args, found, site, name)
        if memory.phase == "step":
            memory.written |= set(found.written) | (memory.touched & memory.moving)
        return answer

    def _run(self, kernel: Any, owner: Any, args: tuple[Any, ...], found: Found, site: str, name: str) -> Any:
        if kernel is filled:
            return self._fill(*args)
        parameters = list(inspect.signature(kernel).parameters.values())[owner is not None :]
        if len(parameters) != len(args):
            raise TraceError(
                f"kernel {name} must be called with its {len(parameters)} argument(s), got {len(args)}; call "
                f"it as {kernel.__name__}({', '.join(p.name for p in parameters)})"
            )
        given = [typed_as(_annotation(p), a) for p, a in zip(parameters, args, strict=True)]
        made = self._plain.kernel(kernel, owner, found.draws)
        named = {"__site__": site} if found.draws else {}
        try:
            answer = made(*([] if owner is None else [owner]), *given, **named)
        except AssertionError as error:
            raise StateError(_failed(error, name, self._plain.memory.t)) from error
        return typed_as(kernel.__annotations__.get("return"), answer)

    def _fill(self, field: Field, value: Any) -> None:
        for cell in self._plain.memory.cells(field):
            self._plain.memory.put(field, cell, value)

    def _rounds(self, count: int, until: Workspace | None) -> Iterator[None]:
        """Run the body of `ds.repeat` again and again."""
        self._until = until
        try:
            for _ in range(count):
                if self._over():
                    break
                yield
        finally:
            self._until = None

    def _over(self) -> bool:
        """Tell whether the loop that is run has come to its end."""
        return self._until is not None and bool(self._plain.memory.load(self._until, None))

    # ---- what texts tell ----

    def _scan(self, kernel: Any, owner: Any, args: tuple[Any, ...]) -> Found:
        fields = tuple(id(a) for a in args if isinstance(a, Field))
        key = (id(kernel), id(owner), fields)
        if key not in self._scanned:
            self._scanned[key] = (scan(kernel, owner, args, definition), (kernel, owner, args))
        return self._scanned[key][0]

    def _learn(self) -> None:
        """Note which States the kernels of a step write, before the first one runs."""
        self._scanned.clear()
        self._moving.clear()
        self._handed_on.clear()
        self._scanned.clear()
        self._moving.clear()
        self._handed_on.clear()
        found: list[Found] = []

        def note(kernel: Callable[..., Any], owner: Any, args: tuple[Any, ...]) -> Any:
            if is_method(kernel):
                kernel(owner, *args)
            else:
                found.append(self._scan(kernel, owner, args))
            return 0

        rounds = recorder.rounds.set(lambda count, until: iter([None]))
        try:
            with recording(note):
                self._simulator.step(0)
        finally:
            recorder.rounds.reset(rounds)
        for one in found:
            self._moving |= set(one.written)
            self._handed_on |= one.timeless


def _annotation(parameter: inspect.Parameter) -> Any:
    return parameter.annotation


def _failed(error: AssertionError, name: str, t: int) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    assert trace is not None  # noqa: S101  (it was raised somewhere)
    file = trace.tb_frame.f_code.co_filename
    where = f"{os.path.relpath(file) if os.path.isabs(file) else file}:{trace.tb_lineno}"
    said = f": {error}" if str(error) else ""
    return f"{where}: what {name} asserts must hold, got something else at step {t}{said}; step into it"
