"""Making what runs a plan's mode."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass

from diffsim.compiler.codegen.layout import Layout
from diffsim.compiler.codegen.stages import StageSet
from diffsim.engine.chunk import Chunk
from diffsim.engine.executors import Executor, Fused, Step
from diffsim.engine.launch import Launcher, brief_launcher
from diffsim.engine.storage import Storage
from diffsim.engine.tape import Tape

__all__ = ["CHECK", "Extension", "Measured", "make_executor"]

CHECK = "check"  # mode `step`, of a few steps that others are compared with


@dataclass(frozen=True)
class Extension:
    """What somebody wants to know of the adjoints of each step.

    Attributes:
        key: What tells it from others: those of one key have equal stages, and write the same memory.
        stages: Returns stages with its own among the adjoints.
    """

    key: Hashable
    stages: Callable[[StageSet], StageSet]


class Measured(Executor):
    """Run forward by one executor and backward by another of the same mode, whose adjoints do more.

    Args:
        values: Runs forward, and moves States.
        adjoints: Runs backward.
    """

    def __init__(self, values: Executor, adjoints: Executor) -> None:
        self._values, self._adjoints = values, adjoints
        self._launchers, self._moves = adjoints._launchers, values._moves
        self.stages, self.layout, self.real, self.storage = (
            values.stages,
            values.layout,
            values.real,
            values.storage,
        )

    def forward(self, t0: int, n: int, last: bool) -> None:
        """Run steps forward as the first executor does."""
        self._values.forward(t0, n, last)

    def backward(self, t0: int, n: int, last: bool) -> None:
        """Run adjoints as the second executor does."""
        self._adjoints.backward(t0, n, last)


def make_executor(
    mode: str, stages: StageSet, layout: Layout, real: str, storage: Storage, chunk: int = 1
) -> Executor:
    """Return what runs a mode.

    Args:
        mode: `step`, `chunk`, `fused`, `tape` or `CHECK`.
        stages: A program and its adjoints.
        layout: The sizes of everything in memory.
        real: The type of float literals.
        storage: The memory.
        chunk: Steps of one launch of mode `chunk`.
    """
    if mode == "chunk":
        return Chunk(stages, layout, real, storage, chunk)
    if mode == "tape":
        return Tape(stages, layout, real, storage)
    if mode == "fused":
        return Fused(stages, layout, real, storage)
    return Step(stages, layout, real, storage, brief_launcher if mode == CHECK else Launcher)
