"""Running mode `chunk`: several steps in one launch, whose loops run in parallel one after the other."""

from __future__ import annotations

from diffsim.compiler.codegen.chunk import chunk_kernel
from diffsim.compiler.codegen.layout import Layout
from diffsim.compiler.codegen.stages import StageSet
from diffsim.engine.executors import Step
from diffsim.engine.launch import Launcher
from diffsim.engine.storage import Storage

__all__ = ["Chunk"]


class Chunk(Step):
    """One launch per chunk of steps; steps that are left over take one launch each, and come first.

    The short window of a horizon comes first too: where windows are whole chunks, the same steps are in the
    same launches however many windows there are, and round alike.

    What runs before the first step and behind the last one is launched as in mode `step`.

    Args:
        stages: A program and its adjoints.
        layout: The sizes of everything in memory.
        real: The type of float literals.
        storage: The memory.
        length: Steps of a launch.
    """

    _phases = ("begin", "terminal", "begin_adj", "terminal_adj")

    def __init__(self, stages: StageSet, layout: Layout, real: str, storage: Storage, length: int) -> None:
        self.stride = max(1, min(length, layout.window))
        self._chunks: dict[tuple[str, int], Launcher] = {}
        super().__init__(stages, layout, real, storage)

    @property
    def lengths(self) -> list[int]:
        """The lengths of chunks that the horizon needs: the plan's, and 1 where windows leave steps over."""
        layout = self.layout
        last = layout.steps % layout.window or layout.window
        left = any(n % self.stride for n in (min(layout.window, layout.steps), last))
        return sorted({self.stride, *([1] if left else [])}, reverse=True)

    def announce(self, gradients: bool) -> None:
        """Print the steps, and the backward pass too if it will be needed."""
        for phase in ("step", "step_adj")[: 1 + gradients]:
            for length in self.lengths:
                self._chunk(phase, length)

    def _chunk(self, phase: str, length: int) -> Launcher:
        if (phase, length) not in self._chunks:
            text = chunk_kernel(
                self.stages,
                self.layout,
                self.real,
                self._threads,
                phase,
                length,
                self.storage.in_arrays,
            )
            self._chunks[phase, length] = self._launcher(text)
        return self._chunks[phase, length]

    def _steps(self, t0: int, n: int) -> None:
        for s in range(n % self.stride):
            self._chunk("step", 1)(t0 + s, s)
        for s in range(n % self.stride, n, self.stride):
            self._chunk("step", self.stride)(t0 + s, s)

    def _adjoint_steps(self, t0: int, n: int) -> None:
        for s in reversed(range(n % self.stride, n, self.stride)):
            self._chunk("step_adj", self.stride)(t0 + s, s)
        for s in reversed(range(n % self.stride)):
            self._chunk("step_adj", 1)(t0 + s, s)
