"""Mode `tape`: the user's kernels as they stand, and the adjoints that Taichi's reverse mode makes of them.

Windows, checkpoints and moves are those of mode `step`, and so is whatever is no kernel of the user's:
zeroing, handing States on, first values. Each launch of a kernel is one world's; on the way back its adjoint
is launched, in the opposite order (Taichi's `Tape` would clear the gradients of the whole program).
"""

from __future__ import annotations

import contextlib
import warnings
from typing import Any

import numpy as np

from diffsim import _taichi, runtime
from diffsim.compiler.codegen.layout import Layout
from diffsim.compiler.codegen.stages import StageSet
from diffsim.compiler.codegen.stepwise import Threads
from diffsim.compiler.codegen.writer import KernelText
from diffsim.compiler.ir import Stage
from diffsim.engine.executors import Launch, Step
from diffsim.engine.forked import can_fork, forked
from diffsim.engine.indexed import Indexed, why_not
from diffsim.engine.storage import Storage
from diffsim.errors import ConfigError, GradientError, PlanWarning
from diffsim.language.trace import KernelCall, Time

__all__ = ["Tape", "UserLaunch", "one_line", "user_kernel"]

_REFUSALS = (_taichi.ti.TaichiCompilationError, RuntimeError)  # of Taichi's Python, and of its compiler


def user_kernel(
    stages: StageSet, layout: Layout, storage: Storage, stage: Stage, first: bool, **options: Any
) -> _taichi.UserKernel:
    """Return a user's kernel over the memory of a rollout.

    Args:
        stages: The program.
        layout: The axes of the memory.
        storage: The memory.
        stage: The kernel's.
        first: It runs before the first step.
        options: Further ones of `_taichi.UserKernel`.
    """
    call: KernelCall = stage.call
    constant = [isinstance(given, bool | int | float | np.generic) for given in call.args]
    indexed = Indexed(stages.lowered, layout, storage, stage, first)
    return _taichi.UserKernel(call.function, call.owner, arguments(call, 0), constant, indexed, **options)


def arguments(call: KernelCall, t: int) -> list[Any]:
    """Return the arguments of a call in a step."""
    return [t + given.offset if isinstance(given, Time) else given for given in call.args]


class UserLaunch:
    """Launch a kernel of the user's, or its adjoint by Taichi, in each world.

    Args:
        kernel: The kernel.
        call: What the trace recorded.
        worlds: How many there are.
        reverse: It is the adjoint that is launched.
    """

    def __init__(self, kernel: _taichi.UserKernel, call: KernelCall, worlds: int, reverse: bool) -> None:
        self._kernel, self._call, self._worlds, self._reverse = kernel, call, worlds, reverse

    def __call__(self, t: int, s: int) -> None:
        """Launch it for a step.

        Raises:
            GradientError: Taichi cannot compile it.
        """
        args = arguments(self._call, t)
        try:
            for world in range(self._worlds):
                self._kernel(args, (t - s, s, world), self._reverse)
        except _taichi.ti.TaichiCompilationError as error:
            what = "differentiated" if self._reverse else "compiled"
            raise GradientError(
                f"kernel {self._call.name} must be {what} by Taichi in mode 'tape', got: {one_line(error)}; "
                "use another mode, or see rollout.audit()"
            ) from None


def one_line(error: BaseException) -> str:
    """Return the last line of what Taichi says of a kernel."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip(" ^~-")]
    return lines[-1] if lines else type(error).__name__


class Tape(Step):
    """One launch per kernel, step and world, with adjoints by Taichi.

    Attributes:
        ours: By kernel, why it runs as in mode `step`.
    """

    def __init__(self, stages: StageSet, layout: Layout, real: str, storage: Storage) -> None:
        self.ours: dict[str, str] = {}
        self._users: dict[int, _taichi.UserKernel] = {}
        self._of_call: dict[int, Stage] = {}
        self._reversed: set[int] = set()
        self._refused: set[int] = set()
        for phase in ("begin", "step", "terminal"):
            self._of_call |= {id(s.call): s for s in stages.in_order()[phase] if s.call is not None}
            self._reversed |= {id(s.call) for s in stages.in_order()[f"{phase}_adj"] if s.call is not None}
        super().__init__(stages, layout, real, storage)
        if self.ours:
            told = "; ".join(f"{name}: {why}" for name, why in self.ours.items())
            warnings.warn(
                f"{len(self.ours)} kernel(s) run as in mode 'step', not by Taichi ({told})",
                PlanWarning,
                stacklevel=2,
            )
        if not self._users:
            reasons = "; ".join(f"{name}: {why}" for name, why in self.ours.items())
            raise ConfigError(
                f"mode 'tape' must find a kernel that Taichi can run as it stands, got none ({reasons}); "
                "use mode='step'"
            )

    @property
    def _threads(self) -> Threads:
        return Threads(super()._threads.count)

    def _of(self, stage: Stage, text: KernelText, phase: str) -> Launch:
        call = stage.call
        if call is None or id(call) not in self._of_call:
            return super()._of(stage, text, phase)
        forward, lowered = self._of_call[id(call)], self.stages.lowered
        why = why_not(forward, lowered)
        if why:
            self.ours[call.name] = why
        if why or id(call) in self._refused:
            return super()._of(stage, text, phase)
        if id(call) not in self._users:
            first = phase.startswith("begin")
            _ = self.storage.arena  # its fields cannot be made while a kernel compiles
            kernel = user_kernel(self.stages, self.layout, self.storage, forward, first)
            self._try(forward, first)
            what = "compile"
            try:
                kernel.compile(False)
                what = "differentiate"  # now: one kernel's values and adjoint are both Taichi's, or neither
                if id(call) in self._reversed:
                    kernel.compile(True)
            except _REFUSALS as error:
                kernel.forget()
                self._refused.add(id(call))
                self.ours[call.name] = f"Taichi does not {what} it: {one_line(error)}"
                return super()._of(stage, text, phase)
            self._users[id(call)] = kernel
        return UserLaunch(self._users[id(call)], call, self.layout.worlds, phase.endswith("_adj"))

    def _try(self, stage: Stage, first: bool) -> None:
        """Compile a kernel and its adjoint, and run both, in a process of their own where there is a guard.

        Raises:
            GradientError: They end it.
        """
        limit = runtime.info().guard
        if not limit or not can_fork():
            return

        def work(say: Any) -> None:
            kernel = user_kernel(self.stages, self.layout, self.storage, stage, first, serial=True)
            with contextlib.suppress(*_REFUSALS):  # told where it is met again
                for reverse in (False, True):
                    kernel(arguments(stage.call, 0), (0, 0, 0), reverse)

        died = forked(work, lambda message: None, limit)
        if died is not None:
            raise GradientError(
                f"kernel {stage.name} must leave the process alive in mode 'tape', got a process that "
                f"{died.how} when Taichi compiled it or ran its adjoint; use another mode, or see "
                "rollout.audit()"
            )

    def backward(self, t0: int, n: int, last: bool) -> None:
        """Run adjoints, kernel by kernel; the cost's gradient is 1 in each world."""
        lowered = self.stages.lowered
        for cost in lowered.costs:
            if cost.adjoint is not None:
                self.storage.write(cost.adjoint, 1.0, ())
        for buffer in lowered.buffers.by_field.values():
            if buffer.kind == "scratch" and buffer.adjoint is not None:
                self.storage.zero(buffer.adjoint)  # Taichi leaves some behind
        super().backward(t0, n, last)

    def close(self) -> None:
        """Let go of all kernels."""
        super().close()
        for kernel in self._users.values():
            kernel.forget()
        self._users.clear()
