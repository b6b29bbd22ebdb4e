"""Rollouts in mode `python`: the user's methods and kernels as plain Python, for looking into them."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterator
from typing import Any, NoReturn

import numpy as np

from diffsim import runtime
from diffsim.engine.pace import Progress
from diffsim.errors import ConfigError, PlanWarning, StateError, StateNotFiniteError, TraceError
from diffsim.language.controls import Control
from diffsim.language.fields import Field, State
from diffsim.language.simulator import Simulator, named_fields
from diffsim.language.trace import Program
from diffsim.plain.memory import Memory
from diffsim.plain.running import PlainRun
from diffsim.plan import Request
from diffsim.plan.modes import show_seconds
from diffsim.rollout.frames import Names, checked_every, chosen_fields, states_of
from diffsim.rollout.plain_frames import Frames, Last
from diffsim.rollout.seeded import Seeded
from diffsim.rollout.seen import labels_of
from diffsim.rollout.shown import Shown
from diffsim.rollout.values_only import PlainPlan, ValuesOnly
from diffsim.sizes import show_bytes
from diffsim.view.trajectory import labelled

__all__ = ["PlainRollout"]

_PATIENCE = 60.0  # seconds that a run may take without a word


class PlainRollout(ValuesOnly, Shown, Seeded):
    """A rollout in mode `python`; see `Rollout`, whose arguments it takes.

    Nothing is analysed: a program that other modes refuse runs here, its parallel loops in order.
    """

    closed = False
    compile_seconds = 0.0
    _growing = False

    def __init__(
        self,
        simulator: Simulator,
        steps: int,
        worlds: int = 1,
        memory: float | str = "1GiB",
        mode: str = "python",
        *,
        progress: Progress | None = None,
        seed: int = 0,
        **others: Any,
    ) -> None:
        request = Request(steps, worlds, memory, mode, **others).check()
        if request.window is not None:
            raise ConfigError(
                f"window must be None in mode 'python', which keeps no steps, got {request.window}; leave it "
                "out"
            )
        self._info = runtime.info()
        self.sim, self.steps, self.worlds = simulator, int(steps), int(worlds)
        self._program = _program_of(simulator)
        self._begin_with(seed)
        self._progress = progress
        self._running = False
        fields = [*self._program.fields.values(), simulator.cost, simulator.done]
        self._bytes = _bytes_of(fields, self.steps)
        if self._bytes > request.device_bytes:
            raise ConfigError(
                "memory must hold all cells of the fields in mode 'python', got "
                f"{show_bytes(request.device_bytes)} for {show_bytes(self._bytes)}; use a smaller domain, or "
                "another mode"
            )
        info = self._info
        self._run = PlainRun(simulator, fields, self.steps, self.worlds, info.real, info.seed)
        for field in fields:
            if isinstance(field, Control):
                field.steps = self.steps
        self._final: dict[str, Any] | None = None
        self._seconds = 0.0
        self._runtime_program = runtime.register(self)

    @property
    def plan(self) -> Any:
        """What is run, and how slow that is; print it."""
        return PlainPlan(self.steps, self.worlds, self._bytes, self._seconds)

    def close(self) -> None:
        """Say that it will not be run again."""
        self.closed = True

    def __enter__(self) -> PlainRollout:
        self.require_open()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        worlds = f"{self.worlds:,} worlds, " if self.worlds > 1 else ""
        state = "closed" if self.closed else "python"
        return f"<Rollout of {type(self.sim).__name__}: {self.steps:,} steps, {worlds}{state}>"

    # ---- results ----

    def value(self) -> Any:
        """Return the cost: a float, or an array with one number per world where there is more than one.

        Raises:
            StateError: The cost is not finite; or an index left its field, or an assert failed.
        """
        return self._cost(self._through(None))

    def trajectories(self, fields: Names, every: int = 1) -> dict[str, Any]:
        """Return the trajectories of several fields from one run; see `Rollout.trajectories`."""
        every = checked_every(every)
        fields = list(fields) if isinstance(fields, Iterator) else fields
        chosen = chosen_fields(self._program, fields, "trajectory")
        frames = Frames(chosen, self.steps, self.worlds, every)
        self._through(frames)
        label = labels_of(self.sim, every, self.worlds)
        found = frames.arrays()
        return {name: labelled(a, label(name, chosen[name], len(a))) for name, a in found.items()}

    def final(self, field: State | str | None = None) -> Any:
        """Return what States hold at the end of the last run; see `Rollout.final`.

        Raises:
            ConfigError: It is not a State of this simulator.
            StateError: Nothing ran yet, or the last run failed.
        """
        chosen = states_of(self._program, field)
        self.require_open()
        if self._final is None:
            raise StateError("final must be read after a run, got none that was whole; call value() first")
        known = self._final
        arrays = {s.key: known[s.key] if s.sparse else known[s.key].copy() for s in chosen}
        return arrays if field is None else arrays[chosen[0].key]

    @property
    def lengths(self) -> Any:
        """How many steps each world ran in the last run; see `Rollout.lengths`.

        Raises:
            StateError: Nothing ran yet.
        """
        lengths = self._run.lengths
        if lengths is None:
            raise StateError("lengths must be read after a run, got none yet; call value() first")
        return int(lengths[0]) if self.worlds == 1 else lengths.copy()

    def cells(self, field: Field | str, every: int = 1) -> NoReturn:
        """Refuse; a trajectory has the whole domain, and `final` the active cells."""
        self._refuse("active cells over time")

    # ---- a run ----

    def _through(self, frames: Frames | None) -> Any:
        """Run all worlds; keep the end, and the frames that are asked for."""
        self._prepare()
        self._final, last = None, Last(self._program, self.worlds)
        began, total = time.perf_counter(), self.steps * self.worlds

        def observe(memory: Memory, world: int) -> None:
            if frames is not None:
                frames.take(memory, world)
            last.take(memory, world)

        def told(done: int) -> None:
            self._seconds = (time.perf_counter() - began) / done
            if done == 1 and self._seconds * total > _PATIENCE:
                warnings.warn(
                    f"mode 'python' will take about {show_seconds(self._seconds * total)} for {total:,} "
                    "step(s); use fewer or a smaller domain (Ctrl-C ends it)",
                    PlanWarning,
                    stacklevel=5,
                )
            if self._progress is not None:
                self._progress(done, total, "forward")

        self._running = True
        try:
            costs = self._run.run(self._program.seeds.run, observe, told)
        finally:
            self._running = False
        self._final, self._spoiled = last.arrays(), last.spoiled
        return costs

    def _cost(self, cost: Any) -> Any:
        if not np.all(np.isfinite(cost)):
            world = int(np.argmin(np.isfinite(cost)))
            told = self._spoiled or "all States are finite: what adds to the cost is not"
            raise StateNotFiniteError(
                f"the cost must be finite, got {cost[world]} in world {world}; {told}; put a breakpoint there"
            )
        return float(cost[0]) if self.worlds == 1 else cost

    def require_open(self) -> None:
        """Refuse what a rollout cannot do that was closed, or whose runtime was started again.

        Raises:
            StateError: It was.
        """
        if self.closed:
            raise StateError("the rollout must be open, got a closed one; make a new Rollout")
        if self._runtime_program is not runtime.current_program():
            raise StateError(
                "the rollout must live on the running Taichi program, got another ti.init since; make it anew"
            )

    def _require_idle(self) -> None:
        if self._running:
            raise StateError(
                "the rollout must be left alone while it runs, got a call from its progress or another "
                "thread; call it again when it has returned"
            )

    def _prepare(self) -> None:
        self.require_open()
        self._require_idle()

    def _hold(self, scratches: bool) -> None:
        """Do nothing: each step's Scratches are seen when it has run."""

    def _require_cost(self) -> None:
        """Do nothing: a run without a cost costs nothing."""

    def _collecting(self, fields: Names, every: int) -> NoReturn:
        self._refuse("a trajectory in a file")


def _program_of(simulator: Any) -> Program:
    """Return a program without calls: they are made anew in each step.

    Raises:
        TraceError: It is no simulator, or has no step.
    """
    if not isinstance(simulator, Simulator):
        raise TraceError(
            f"simulator must be a ds.Simulator, got {type(simulator).__name__}; inherit from ds.Simulator"
        )
    if type(simulator).step is Simulator.step:
        raise TraceError(
            f"{type(simulator).__name__} must define step(self, t), got none; call its kernels in there"
        )
    return Program(simulator, named_fields(simulator), (), (), (), ())


def _bytes_of(fields: list[Field], steps: int) -> int:
    total = 0
    for field in fields:
        times = field.history + 1 if isinstance(field, State) else 1
        times = field.entries(steps) if isinstance(field, Control) else times
        total += 8 * times * math.prod(field.element_shape)
    return total
