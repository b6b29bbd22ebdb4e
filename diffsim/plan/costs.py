"""Estimating what a mode costs before anything is compiled: the seconds to compile, and those of a gradient.

Coarse on purpose: compile times come out within a factor of two for nine programs of ten on the machine they
were fitted on (`python -m benchmarks estimates`), run times tell launches that matter from launches that do
not. What is decided by them is measured later.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from diffsim.compiler.autodiff import expanded
from diffsim.compiler.checks.ranges import Ranges
from diffsim.compiler.codegen.layout import Layout
from diffsim.compiler.codegen.sinking import sunk
from diffsim.compiler.codegen.stages import StageSet
from diffsim.compiler.codegen.stepwise import PHASES, Threads, groups_of, nests_of, worth_sharing
from diffsim.compiler.ir import For, If, Op, Stage
from diffsim.plan.compiling import Compiling
from diffsim.runtime import RuntimeInfo

__all__ = ["Costs"]

_UNKNOWN_TRIPS = 1000.0  # of a loop whose bounds are computed
_EARLY_TRIPS = 32.0  # at most, of a loop that may be left early, whose bound is far from what it takes
_ITERATION = 8  # operations of an iteration of a loop that a GPU shares, where a world's work is spread


@dataclass(frozen=True)
class _Machine:
    """Seconds of a launch from Python, of a task that all threads take part in, and of operations."""

    launch: float
    task: float
    operation: float  # of a fused launch, by one lane
    single: float  # of a kernel of one stage, by one thread
    lanes: int  # that run side by side in a fused launch
    width: int  # iterations of a task that run side by side


@dataclass(frozen=True)
class _Size:
    """One stage: the operations that a round of it runs, the loops it shares, and its rounds in a step.

    One that is `alone` has a thread of a GPU for each world, and no more.
    """

    work: float
    tasks: int
    rounds: int = 1
    alone: bool = False


class Costs:
    """What each mode of a program costs.

    Args:
        stages: The program and its adjoints.
        info: How the runtime was started.
        layout: The sizes of everything in memory.
        recomputation: Forward steps of one gradient, over the horizon.
    """

    def __init__(self, stages: StageSet, info: RuntimeInfo, layout: Layout, recomputation: float) -> None:
        self._layout, self._recomputation = layout, recomputation
        self._machine = _machine(info)
        threads = Threads(info.threads if info.on_cpu else 0, info.native)
        groups = {phase: groups_of(stages, phase, info.real) for phase in PHASES}
        self._groups = {
            phase: [[_measure(part, layout, threads) for part in group] for group in found]
            for phase, found in groups.items()
        }
        self._compiling = Compiling(groups, layout, threads, info.software)

    @property
    def work(self) -> int:
        """Operations of one step forward, in one world."""
        return int(sum(s.work * s.rounds for group in self._groups["step"] for s in group))

    def compile_seconds(self, mode: str, chunk: int = 0) -> float:
        """Return the seconds that a mode takes to compile, forward and backward.

        Args:
            mode: `step`, `chunk` or `fused`.
            chunk: Steps of one launch of mode `chunk`.
        """
        return self._compiling.seconds(mode, chunk, self._left_over(chunk))

    @property
    def check_seconds(self) -> float:
        """The seconds to compile mode `step` for the few steps that other modes are compared with."""
        return self._compiling.check_seconds

    @property
    def longest_kernel(self) -> tuple[str, int]:
        """The kernel that takes longest to compile, and the operations of its text."""
        return self._compiling.longest

    def run_seconds(self, mode: str, chunk: int = 0) -> float:
        """Return the seconds of one gradient in a mode.

        Args:
            mode: `step`, `chunk` or `fused`.
            chunk: Steps of one launch of mode `chunk`.
        """
        layout, machine = self._layout, self._machine
        segments = layout.steps / layout.window
        seconds = 0.0
        forward = self._recomputation + (0.0 if layout.held else 1.0)
        for phase, times in (("step", forward), ("step_adj", 1.0)):
            sizes = [s for group in self._groups[phase] for s in group]
            if mode == "fused":
                lanes = min(machine.lanes, layout.groups) if layout.world_last else machine.lanes
                rounds = math.ceil(layout.worlds / lanes)
                step = sum(s.work * s.rounds for s in sizes) * rounds * machine.operation
                launches = segments
            else:
                step = sum(self._stage_seconds(s) * s.rounds for s in sizes)
                kernels = sum(max(s.rounds for s in group) for group in self._groups[phase])
                launches = layout.steps * (kernels if mode == "step" else 1 / max(1, chunk))
            seconds += times * (layout.steps * step + launches * machine.launch)
        return seconds + 5 * segments * machine.launch

    def _stage_seconds(self, size: _Size) -> float:
        """Return the seconds of a stage in a kernel of its own, the launch left out."""
        work, machine = self._layout.worlds * size.work, self._machine
        spread = min(machine.width, max(1.0, work / _ITERATION)) if size.tasks else 1.0
        if size.alone:
            spread = float(min(machine.width, self._layout.worlds))
        return size.tasks * machine.task + work / spread * machine.single

    def _left_over(self, chunk: int) -> bool:
        layout = self._layout
        last = layout.steps % layout.window or layout.window
        return chunk > 1 and any(n % chunk for n in (layout.window, last))


def _machine(info: RuntimeInfo) -> _Machine:
    """Return round figures of the backends; see benchmarks/results."""
    if info.on_cpu and info.native:
        return _Machine(4e-6, 5e-6, 0.07e-9, 0.1e-9, info.threads, info.threads)
    if info.on_cpu:
        return _Machine(8e-6, 80e-6, 0.15e-9, 0.3e-9, info.threads, info.threads)
    if info.software:
        return _Machine(30e-6, 30e-6, 1e-9, 1e-9, info.threads, info.threads)
    return _Machine(15e-6, 4e-6, 4e-9, 4e-9, 16384, 65536)


def _measure(stage: Stage, layout: Layout, threads: Threads) -> _Size:
    stage = expanded(stage)
    ranges = Ranges(stage.body, stage.t, layout.steps)

    def trips(op: For) -> float:
        found = ranges.trips(op)
        if op.early is not None:
            return min(found, _EARLY_TRIPS)
        return found if math.isfinite(found) else _UNKNOWN_TRIPS

    def work(ops: Iterable[Op]) -> float:
        total = 0.0
        for op in ops:
            if isinstance(op, For):
                total += trips(op) * max(1.0, work(op.body.ops))
            elif isinstance(op, If):
                total += 1.0 + max(work(op.then.ops), work(op.orelse.ops))
            else:
                total += 1.0
        return total

    shared = not threads.on_cpu or worth_sharing(stage.body, layout.worlds, threads)
    alone = not threads.on_cpu and not nests_of(sunk(stage), on_cpu=False)
    return _Size(
        work(stage.body.ops),
        1 if alone else sum(isinstance(op, For) for op in stage.body.ops) if shared else 0,
        1 if stage.loop is None else stage.loop.count,
        alone,
    )
