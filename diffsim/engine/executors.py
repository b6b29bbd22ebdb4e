"""Running segments of steps forward and backward, in one launch (`fused`) or in one per kernel (`step`)."""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from diffsim import runtime
from diffsim.compiler.codegen.fused import fused_backward, fused_forward, fused_gradient
from diffsim.compiler.codegen.keeping import window_kernels
from diffsim.compiler.codegen.layout import Layout
from diffsim.compiler.codegen.moves import move_kernels
from diffsim.compiler.codegen.stages import StageSet, launched
from diffsim.compiler.codegen.stepwise import PHASES, Threads, step_kernels
from diffsim.compiler.codegen.writer import KernelText
from diffsim.compiler.ir import Buffer, Stage
from diffsim.engine.copies import host_copies
from diffsim.engine.launch import Launcher
from diffsim.engine.storage import Storage

__all__ = ["Executor", "Fused", "Step", "Watch"]

Make = Callable[[KernelText, Storage], Launcher]
Launch = Callable[[int, int], None]


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
    """Run the steps `t0 .. t0 + n - 1`, which begin at the first slot of the window.

    Args:
        stages: A program and its adjoints.
        layout: The sizes of everything in memory.
        real: The type of float literals.
        storage: The memory.
        make: Makes what launches a text.
        host: Copies of large States may be left to the host.

    Attributes:
        stride: Steps that one launch stands for, where that number is fixed.
        together: `gradient` is faster than `forward` and then `backward`.
    """

    stride = 1
    together = False

    def __init__(
        self,
        stages: StageSet,
        layout: Layout,
        real: str,
        storage: Storage,
        make: Make = Launcher,
        host: bool = True,
    ) -> None:
        self.stages, self.layout, self.real, self.storage, self._make = stages, layout, real, storage, make
        self._launchers: list[Launcher] = []
        moves = move_kernels(stages.lowered, layout, real, storage.on_cpu)
        if layout.windows:
            moves |= window_kernels(stages.lowered, layout, real, storage.on_cpu)
        copies = host_copies(stages.lowered, storage, layout) if host else {}
        self._moves: dict[str, Callable[..., None]] = {
            name: copies[name] if name in copies else self._launcher(text) for name, text in moves.items()
        }

    def _launcher(self, text: KernelText) -> Launcher:
        launcher = self._make(text, self.storage)
        self._launchers.append(launcher)
        return launcher

    @property
    def _threads(self) -> Threads:
        info = runtime.info()
        return Threads(info.threads if self.storage.on_cpu else 0, info.native)

    def close(self) -> None:
        """Let go of all kernels."""
        for launcher in self._launchers:
            launcher.close()

    @property
    def copies(self) -> int:
        """Count the copies of gradients of shared Params that lanes have added to."""
        return self.layout.lanes if self.layout.world_last else self.layout.sums

    @property
    def compile_seconds(self) -> float:
        """Seconds spent on compiling so far, the first run of each kernel included."""
        return sum(launcher.compile_seconds for launcher in self._launchers)

    @property
    def cost_seconds(self) -> float:
        """What compiling its kernels took, those included that were compiled for an earlier rollout."""
        return sum(launcher.cost_seconds for launcher in self._launchers)

    @property
    def left_to_taichi(self) -> dict[str, str]:
        """The user's kernels that Taichi compiled where machine code was asked for, and why."""
        return {o: x.reason for x in self._launchers if x.reason for o in x.text.origins}

    @property
    def tapes(self) -> dict[Buffer, int]:
        """The lanes of each tape that the kernels printed so far use."""
        return {b: lanes for launcher in self._launchers for b, lanes in launcher.text.tapes.items()}

    def announce(self, gradients: bool) -> None:  # noqa: B027  (most have nothing to add)
        """Print what will be needed, so that the guard's process can begin with it."""

    @abc.abstractmethod
    def forward(self, t0: int, n: int, last: bool) -> None:
        """Run steps forward; `t0 = 0` puts initial values in first, the `last` segment ends costs."""

    @abc.abstractmethod
    def backward(self, t0: int, n: int, last: bool) -> None:
        """Run the adjoints of those steps; the `last` segment comes first and starts from zero gradients."""

    def gradient(self, t0: int, n: int, last: bool) -> None:
        """Run those steps and then their adjoints."""
        self.forward(t0, n, last)
        self.backward(t0, n, last)

    def shift(self, t0: int, n: int) -> None:
        """Move the States behind the steps `t0 .. t0 + n - 1` to the beginning of the window."""
        self._moves["shift"](n, 0, *self._since(t0))

    def _since(self, t0: int) -> tuple[int, ...]:
        """Return what moves get besides where worlds may end by themselves: the first step of the window."""
        return () if self.stages.lowered.ended is None else (t0,)

    def save(self, slot: int) -> None:
        """Keep the States at the beginning of the window."""
        self._moves["save"](slot, 0)

    def restore(self, slot: int) -> None:
        """Bring kept States back to the beginning of the window."""
        self._moves["restore"](slot, 0)

    def keep(self, slot: int) -> None:
        """Keep all values of the window."""
        self._moves["keep"](slot, 0)

    def load(self, slot: int) -> None:
        """Bring all values of a window back."""
        self._moves["load"](slot, 0)


_FORWARD, _BACKWARD = 1, 2  # parts of the kernel that has both


class Fused(Executor):
    """One launch per segment and direction; one for both where a lane runs several worlds."""

    def __init__(
        self,
        stages: StageSet,
        layout: Layout,
        real: str,
        storage: Storage,
        make: Make = Launcher,
        host: bool = True,
    ) -> None:
        super().__init__(stages, layout, real, storage, make, host)
        self.together = storage.on_cpu and layout.worlds > layout.groups and stages.lowered.backward
        self._made: dict[str, Launcher] = {}

    def forward(self, t0: int, n: int, last: bool) -> None:
        """Run steps forward in one launch."""
        if "gradient" in self._made:
            self._made["gradient"](t0, n, int(last), _FORWARD)
        else:
            self._kernel("forward")(t0, n, int(last))

    @property
    def copies(self) -> int:
        """Count those of the lanes."""
        return self.layout.groups * self.layout.block

    def announce(self, gradients: bool) -> None:
        """Print what will be needed."""
        if not (gradients and self.together):
            self._kernel("forward")
        if gradients:
            self._kernel("gradient" if self.together else "backward")

    def backward(self, t0: int, n: int, last: bool) -> None:
        """Run adjoints in one launch."""
        if self.together:
            self._kernel("gradient")(t0, n, int(last), _BACKWARD)
        else:
            self._kernel("backward")(t0, n, int(last))

    def gradient(self, t0: int, n: int, last: bool) -> None:
        """Run steps and adjoints in one launch, where that is faster."""
        if self.together:
            self._kernel("gradient")(t0, n, int(last), _FORWARD + _BACKWARD)
        else:
            super().gradient(t0, n, last)

    def _kernel(self, name: str) -> Launcher:
        if name not in self._made:
            stages, layout, real = self.stages, self.layout, self.real
            native = self.storage.in_arrays
            if name == "forward":
                text = fused_forward(stages.lowered, layout, real, native)
            else:
                text = (fused_backward if name == "backward" else fused_gradient)(
                    stages, layout, real, native
                )
            self._made[name] = self._launcher(text)
        return self._made[name]


class Step(Executor):
    """One launch per kernel per step.

    Attributes:
        watch: Who looks at what each kernel writes; None for nobody.
    """

    watch: Watch | None = None
    _phases: Sequence[str] = PHASES

    def __init__(
        self, stages: StageSet, layout: Layout, real: str, storage: Storage, make: Make = Launcher
    ) -> None:
        super().__init__(stages, layout, real, storage, make)
        self._known: dict[tuple[object, ...], Launcher] = {}
        phases = self._phases if layout.held else (*self._phases, "again")
        kernels = step_kernels(stages, layout, real, self._threads, phases, storage.in_arrays)
        self._stages: dict[str, list[Stage]] = {}
        self._kernels: dict[str, list[Launch]] = {}
        for phase, parts in stages.in_order().items():
            texts = kernels.get(phase, [])
            zeroing = max(
                0, len(texts) - len(parts)
            )  # the kernel that zeroes comes first, where there is one
            first = [self._shared(text) for text in texts[:zeroing]]
            made = [self._of(stage, text, phase) for stage, text in zip(parts, texts[zeroing:], strict=False)]
            self._stages[phase] = launched(parts, parts)
            self._kernels[phase] = [*first, *(launched(parts, made) if made else [])]

    def _of(self, stage: Stage, text: KernelText, phase: str) -> Launch:
        """Return what launches a stage.

        Args:
            stage: The stage, or its adjoint.
            text: Its kernel.
            phase: When it runs.
        """
        return self._shared(text)

    def _shared(self, text: KernelText) -> Launcher:
        """Return the launcher of a kernel; one is enough for those that differ in their names only."""
        key = (text.source.partition("(")[2], *text.used.items())
        if key not in self._known:
            self._known[key] = self._launcher(text)
        return self._known[key]

    def forward(self, t0: int, n: int, last: bool) -> None:
        """Run steps forward, kernel by kernel."""
        if t0 == 0:
            self._moves["zero_cost"](0, 0)
            self._run("begin", 0, 0)
        live = self._live(t0, n)
        self._steps(t0, live)
        if live < n:
            self._moves["stay"](n, live)
        if last:
            self._run("terminal", t0 + n, n)
            if "fold" in self._moves:
                self._moves["fold"](0, 0)

    def backward(self, t0: int, n: int, last: bool) -> None:
        """Run adjoints, kernel by kernel, from the last step to the first."""
        if last:
            self._moves["zero_parameters"](0, 0)
        self._moves["seed"](n, int(last), *self._since(t0))
        if last:
            self._run("terminal_adj", t0 + n, n)
        self._adjoint_steps(t0, self._live(t0, n))
        self._moves["carry"](n, 0)
        if t0 == 0:
            self._run("begin_adj", 0, 0)

    def _live(self, t0: int, n: int) -> int:
        """Return how many of these steps must be launched: behind them no world is known to run any more."""
        ended = self.stages.lowered.ended
        if ended is None or not self.storage.on_cpu:  # asking a GPU would cost more than it saves
            return n
        return int(np.clip(self.storage.arrays(ended)[0].max() - t0, 0, n))

    def _steps(self, t0: int, n: int) -> None:
        for s in range(n):
            self._run("step", t0 + s, s)

    def _adjoint_steps(self, t0: int, n: int) -> None:
        for s in reversed(range(n)):
            if not self.layout.held:
                for launch in self._kernels["again"]:  # nobody watches: it computes what it has computed
                    launch(t0 + s, s)
            self._run("step_adj", t0 + s, s)

    def _run(self, group: str, t: int, s: int) -> None:
        kernels = self._kernels[group]
        if self.watch is None:
            for launch in kernels:
                launch(t, s)
            return
        stages = self._stages[group]
        zeroing = len(kernels) - len(stages)
        for launch in kernels[:zeroing]:
            launch(t, s)
        for launch, stage in zip(kernels[zeroing:], stages, strict=True):
            self.watch.run(launch, stage, group, t, s)
