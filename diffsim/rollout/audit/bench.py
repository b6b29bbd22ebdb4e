"""A program laid out for one step, twice: for our kernels and for the user's as Taichi runs them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsim.compiler.codegen.layout import Layout
from diffsim.compiler.codegen.stages import StageSet
from diffsim.compiler.codegen.stepwise import Threads
from diffsim.compiler.ir import Buffer, Stage, accesses_in
from diffsim.compiler.program.lowered import LoweredProgram
from diffsim.engine.executors import Step
from diffsim.engine.storage import Storage
from diffsim.engine.tape import arguments, user_kernel
from diffsim.language.cells import Cells
from diffsim.language.controls import Control
from diffsim.language.fields import Valued
from diffsim.rollout.inputs import Inputs
from diffsim.runtime import RuntimeInfo

__all__ = ["Bench", "Job", "Memory", "jobs_of", "read", "write"]

Memory = dict[Buffer, list[NDArray[Any]]]


@dataclasses.dataclass(frozen=True)
class Job:
    """A kernel to look at.

    Attributes:
        phase: `begin`, `step` or `terminal`.
        place: Its stage's position among those of the phase.
        stage, adjoint: That stage, and the one that was derived of it; None where none was.
    """

    phase: str
    place: int
    stage: Stage
    adjoint: Stage | None


def jobs_of(stages: StageSet) -> list[Job]:
    """Return a job for each kernel that the user wrote, in the order in which they run; one for each kernel.

    Args:
        stages: A program and its adjoints.
    """
    found: list[Job] = []
    seen: set[tuple[Any, ...]] = set()
    order = stages.in_order()
    for phase in ("begin", "step", "terminal"):
        adjoints = {id(s.call): s for s in order[f"{phase}_adj"] if s.call is not None}
        for place, stage in enumerate(order[phase]):
            call = stage.call
            if call is None:
                continue
            key = (phase, call.function, id(call.owner), tuple(map(repr, call.args)))
            if key not in seen:
                seen.add(key)
                found.append(Job(phase, place, stage, adjoints.get(id(call))))
    return found


class _Alone(Step):
    """Mode `step` on the thread that launches."""

    @property
    def _threads(self) -> Threads:
        return Threads(1, super()._threads.native)


class _OneWorld(Inputs):
    """Inputs of the first world, where each has its own."""

    def _upload(self, field: Valued, buffer: Buffer) -> None:
        values = field.host_values()
        time = isinstance(field, Control)
        axes = 0 if isinstance(values, Cells) else np.ndim(values)
        if field.per_world and axes == 1 + time + len(field.element_shape):
            self._engine.storage.write(buffer, values[0], field.type.shape)
        else:
            super()._upload(field, buffer)


class Bench:
    """The memory of one step of one world, in f64.

    Args:
        stages: The program and its adjoints, in f64.
        info: How the runtime was started, but for the precision.
        steps: The horizon.
        serial: Taichi has no other threads here.
    """

    def __init__(self, stages: StageSet, info: RuntimeInfo, steps: int, serial: bool) -> None:
        self._serial = serial
        self.stages, self.lowered = stages, stages.lowered
        self.layout = Layout(steps, 1, 1, 1, self.lowered.history, 0, taped=True)
        self.ours = Storage(self.layout, True, info.native)
        self.theirs = Storage(self.layout, True)
        buffers = _buffers(self.lowered)
        for storage in (self.ours, self.theirs):
            storage.allocate(buffers)
        self.executor = _Alone(stages, self.layout, "f64", self.ours)
        _ = self.theirs.arena  # fields cannot be made while a kernel compiles
        self._upload(info)

    def _upload(self, info: RuntimeInfo) -> None:
        """Write the values of fields."""
        plan = SimpleNamespace(layout=self.layout, worlds=1, steps=self.layout.steps)
        whose: Any = SimpleNamespace(lowered=self.lowered, storage=self.ours, plan=plan, info=info)
        _OneWorld(whose).upload()

    def before(self, job: Job, t: int) -> None:
        """Bring memory to where it is when a kernel begins.

        Args:
            job: The kernel.
            t: The step, for kernels of `step` and `running_cost`; else the last one.
        """
        run, kernels = self.executor, self.executor._kernels
        run._moves["zero_cost"](0, 0)
        if job.phase == "begin":
            self._some(kernels["begin"], job, 0, 0)
            return
        for launch in kernels["begin"]:
            launch(0, 0)
        for step in range(t + (job.phase == "terminal")):
            for launch in kernels["step"]:
                launch(step, 0)
            if job.phase == "step" or step < t:
                run.shift(step, 1)
        slot = int(job.phase == "terminal")
        self._some(kernels[job.phase], job, t + slot, slot)

    def finish(self, job: Job, t: int) -> None:
        """Run a kernel and what comes behind it in its phase.

        Args:
            job: The kernel, whose memory is where `before` brought it.
            t: As `before` takes it.
        """
        for launch in self.executor._kernels[job.phase][self._place(job.phase, job.stage) :]:
            launch(*self.moment(job, t))

    def _some(self, launches: Any, job: Job, t: int, s: int) -> None:
        for launch in launches[: self._place(job.phase, job.stage)]:
            launch(t, s)

    def _place(self, group: str, wanted: Stage | None) -> int:
        """Return the position of the first launch of a stage among those of its phase."""
        stages, launches = self.executor._stages[group], self.executor._kernels[group]
        return len(launches) - len(stages) + next(k for k, s in enumerate(stages) if s is wanted)

    def launch_ours(self, job: Job, t: int, reverse: bool) -> None:
        """Launch our kernel of a job, or its adjoint."""
        group = f"{job.phase}_adj" if reverse else job.phase
        place = self._place(group, job.adjoint if reverse else job.stage)
        self.executor._kernels[group][place](*self.moment(job, t))

    def moment(self, job: Job, t: int) -> tuple[int, int]:
        """Return the step and the slot of a job."""
        if job.phase == "begin":
            return 0, 0
        return (t + 1, 1) if job.phase == "terminal" else (t, 0)

    def user(self, job: Job, **options: Any) -> Any:
        """Return the user's kernel of a job, in Taichi's hands."""
        return user_kernel(
            *(self.stages, self.layout, self.theirs, job.stage, job.phase == "begin"),
            serial=self._serial,
            **options,
        )

    def launch_user(self, kernel: Any, job: Job, t: int, reverse: bool) -> None:
        """Launch the user's kernel of a job, or the adjoint that Taichi makes of it."""
        t, s = self.moment(job, t)
        kernel(arguments(job.stage.call, t), (t - s, s, 0), reverse)

    def touched(self, job: Job) -> list[Buffer]:
        """Return the memory that a kernel or its adjoint reads or writes; values only."""
        stages = [job.stage] + ([job.adjoint] if job.adjoint is not None else [])
        known = {b.adjoint: b for b in _buffers(self.lowered) if b.adjoint is not None}
        found = [known.get(op.ref.buffer, op.ref.buffer) for s in stages for op in accesses_in(s.body)]
        return [b for b in dict.fromkeys(found) if b.kind not in ("external", "alarm", "tape", "activity")]

    def writes(self, job: Job) -> list[Buffer]:
        """Return the buffers that a kernel writes."""
        return [
            b
            for b in self.touched(job)
            if any(op.ref.buffer is b and hasattr(op, "value") for op in accesses_in(job.stage.body))
        ]


def _buffers(lowered: LoweredProgram) -> list[Buffer]:
    fields = [*lowered.buffers.by_field.values(), *lowered.initial.values()]
    found = fields + [b.adjoint for b in fields if b.adjoint is not None]
    return [*found, *lowered.carried.values(), *lowered.alarms.buffers]


def read(storage: Storage, buffers: Iterator[Buffer] | list[Buffer]) -> Memory:
    """Return copies of what memory holds."""
    return {b: [np.array(a) for a in storage.arrays(b)] for b in buffers}


def write(storage: Storage, memory: Memory) -> None:
    """Put values into memory."""
    for buffer, arrays in memory.items():
        storage.put(buffer, iter(arrays))
