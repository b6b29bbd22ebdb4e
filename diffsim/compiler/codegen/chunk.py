"""Printing mode `chunk`: the stages of several steps in one launch, each loop as mode `step` prints it."""

from __future__ import annotations

from diffsim.compiler.codegen.layout import Layout
from diffsim.compiler.codegen.stages import StageSet, launched
from diffsim.compiler.codegen.stepwise import Threads, groups_of, parallel_stage, parts_of, step_lane
from diffsim.compiler.codegen.writer import KernelText, KernelWriter

__all__ = ["chunk_kernel"]


def chunk_kernel(
    stages: StageSet,
    layout: Layout,
    real: str,
    threads: Threads,
    phase: str,
    length: int,
    native: bool = False,
) -> KernelText:
    """Print `(t, s0)`: so many steps from `t` on, or their adjoints from the last to the first.

    Every parallel loop of every step stays a loop at the top of the kernel, which Taichi makes a task of its
    own: tasks run one after the other.

    Args:
        stages: A program and its adjoints.
        layout: The axes of the buffers.
        real: The type of float literals.
        threads: Of the CPU.
        phase: `step` or `step_adj`.
        length: How many steps.
        native: As of `KernelWriter`.
    """
    w = KernelWriter(f"{phase}_chunk{length}", ("t", "s0"), layout, real, native)
    w.parts = parts_of(stages, layout)
    w.program = type(stages.lowered.program.simulator).__name__
    parts = [part for group in groups_of(stages, phase, real) for part in group]
    parts = launched(parts, parts)
    order = range(length) if phase == "step" else reversed(range(length))
    for k in order:
        lane = step_lane(layout.history, k)
        for part in parts:
            parallel_stage(w, part, lane, threads)
    w.line("pass")
    return w.finish()
