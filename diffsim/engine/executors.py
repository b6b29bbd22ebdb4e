"""Running segments of steps forward and backward, in one launch (`fused`) or in many (`step`)."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Protocol

from diffsim.codegen.fused import fused_backward, fused_forward
from diffsim.codegen.layout import Layout
from diffsim.codegen.moves import move_kernels
from diffsim.codegen.stages import StageSet
from diffsim.codegen.stepwise import step_kernels
from diffsim.codegen.writer import KernelText
from diffsim.engine.launch import Launcher
from diffsim.engine.storage import Storage
from diffsim.ir import Stage

__all__ = ["Executor", "Fused", "Measured", "Step", "Watch", "make_executor"]


class Watch(Protocol):
    """Who looks at what each kernel of mode `step` writes."""

    def run(self, launch: Callable[[int, int], None], stage: Stage, phase: str, t: int, s: int) -> None:
        """Launch the kernel of a stage, or of its adjoint, and look at what it wrote.

        Args:
            launch: Launches it.
            stage: What it computes.
            phase: `begin`, `step`, `terminal`, or those with `_adj`.
            t: The step.
            s: The step's place in the window.
        """


class Executor(abc.ABC):
    """Run the steps `t0 .. t0 + n - 1`, which begin at the first slot of the window."""

    def __init__(self, stages: StageSet, layout: Layout, real: str, storage: Storage) -> None:
        self.stages, self.layout, self.real, self.storage = stages, layout, real, storage
        self._launchers: list[Launcher] = []
        moves = move_kernels(stages.lowered, layout, real, storage.on_cpu)
        self._moves = {name: self._launcher(text) for name, text in moves.items()}

    def _launcher(self, text: KernelText) -> Launcher:
        launcher = Launcher(text, self.storage)
        self._launchers.append(launcher)
        return launcher

    def close(self) -> None:
        """Let go of all kernels."""
        for launcher in self._launchers:
            launcher.close()

    @property
    def compile_seconds(self) -> float:
        """Seconds spent on compiling so far, the first run of each kernel included."""
        return sum(launcher.compile_seconds for launcher in self._launchers)

    def announce(self, gradients: bool) -> None:  # noqa: B027  (most have nothing to add)
        """Print what will be needed, so that the guard's process can begin with it."""

    @abc.abstractmethod
    def forward(self, t0: int, n: int, last: bool) -> None:
        """Run steps forward; `t0 = 0` puts initial values in first, the `last` segment ends costs."""

    @abc.abstractmethod
    def backward(self, t0: int, n: int, last: bool) -> None:
        """Run the adjoints of those steps; the `last` segment comes first and starts from zero gradients."""

    def shift(self, n: int) -> None:
        """Move the States behind `n` steps to the beginning of the window."""
        self._moves["shift"](n, 0)

    def save(self, slot: int) -> None:
        """Keep the States at the beginning of the window."""
        self._moves["save"](slot, 0)

    def restore(self, slot: int) -> None:
        """Bring kept States back to the beginning of the window."""
        self._moves["restore"](slot, 0)


class Fused(Executor):
    """One launch per segment and direction."""

    def __init__(self, stages: StageSet, layout: Layout, real: str, storage: Storage) -> None:
        super().__init__(stages, layout, real, storage)
        self._forward = self._launcher(fused_forward(stages.lowered, layout, real))
        self._backward: Launcher | None = None

    def forward(self, t0: int, n: int, last: bool) -> None:
        """Run steps forward in one launch."""
        self._forward(t0, n, int(last))

    def announce(self, gradients: bool) -> None:
        """Print the backward pass too, if it will be needed."""
        if gradients and self._backward is None:
            self._backward = self._launcher(fused_backward(self.stages, self.layout, self.real))

    def backward(self, t0: int, n: int, last: bool) -> None:
        """Run adjoints in one launch."""
        self.announce(gradients=True)
        assert self._backward is not None  # noqa: S101  (printed by the line above)
        self._backward(t0, n, int(last))


class Step(Executor):
    """One launch per kernel per step.

    Attributes:
        watch: Who looks at what each kernel writes; None for nobody.
    """

    watch: Watch | None = None

    def __init__(self, stages: StageSet, layout: Layout, real: str, storage: Storage) -> None:
        super().__init__(stages, layout, real, storage)
        kernels = step_kernels(stages, layout, real, storage.on_cpu)
        self._kernels = {name: [self._launcher(k) for k in group] for name, group in kernels.items()}
        self._stages = stages.in_order()

    def forward(self, t0: int, n: int, last: bool) -> None:
        """Run steps forward, kernel by kernel."""
        if t0 == 0:
            self._moves["zero_cost"](0, 0)
            self._run("begin", 0, 0)
        for s in range(n):
            self._run("step", t0 + s, s)
        if last:
            self._run("terminal", t0 + n, n)

    def backward(self, t0: int, n: int, last: bool) -> None:
        """Run adjoints, kernel by kernel, from the last step to the first."""
        if last:
            self._moves["zero_parameters"](0, 0)
        self._moves["seed"](n, int(last))
        if last:
            self._run("terminal_adj", t0 + n, n)
        for s in reversed(range(n)):
            self._run("step_adj", t0 + s, s)
        self._moves["carry"](n, 0)
        if t0 == 0:
            self._run("begin_adj", 0, 0)

    def _run(self, group: str, t: int, s: int) -> None:
        kernels = self._kernels[group]
        if self.watch is None:
            for launch in kernels:
                launch(t, s)
            return
        stages = self._stages[group]
        zeroing = len(kernels) - len(stages)  # the kernel that zeroes comes first, where there is one
        for launch in kernels[:zeroing]:
            launch(t, s)
        for launch, stage in zip(kernels[zeroing:], stages, strict=True):
            self.watch.run(launch, stage, group, t, s)


class Measured(Executor):
    """Run forward by one executor and backward by another of the same mode, whose adjoints do more.

    Args:
        values: Runs forward, and moves States.
        adjoints: Runs backward.
    """

    def __init__(self, values: Executor, adjoints: Executor) -> None:
        self._values, self._adjoints = values, adjoints
        self._launchers, self._moves = adjoints._launchers, values._moves

    def forward(self, t0: int, n: int, last: bool) -> None:
        """Run steps forward as the first executor does."""
        self._values.forward(t0, n, last)

    def backward(self, t0: int, n: int, last: bool) -> None:
        """Run adjoints as the second executor does."""
        self._adjoints.backward(t0, n, last)


def make_executor(mode: str, stages: StageSet, layout: Layout, real: str, storage: Storage) -> Executor:
    """Return what runs a plan's mode."""
    kinds: dict[str, Callable[..., Executor]] = {"fused": Fused, "step": Step}
    return kinds[mode](stages, layout, real, storage)
