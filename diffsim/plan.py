"""Deciding where time lives: the mode, the window of steps in memory, the checkpoints and their schedule."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from checkpoint_schedules import Forward, MultistageCheckpointSchedule

from diffsim.analysis.diagnostics import raise_all
from diffsim.analysis.program import LoweredProgram
from diffsim.analysis.ranges import Ranges
from diffsim.codegen.layout import Layout
from diffsim.codegen.stages import StageSet, all_adjoints, parameter_adjoints, tapes_of
from diffsim.errors import ConfigError, Diagnostic
from diffsim.ir import Buffer, For, Stage, walk
from diffsim.runtime import RuntimeInfo

__all__ = ["MODES", "Plan", "make_plan", "parse_bytes"]

MODES = ("auto", "step", "fused")
_UNITS = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "kib": 1 << 10,
    "mib": 1 << 20,
    "gib": 1 << 30,
    "tib": 1 << 40,
}
_CACHE_WINDOW = 8 << 20  # bytes of a window that still profits from the processor's caches
_MOST_SEGMENTS = 4096


@dataclass(frozen=True)
class Plan:
    """What was decided for a rollout, and why.

    Attributes:
        mode: `step` or `fused`.
        reason: Why this mode.
        layout: The sizes of everything in memory.
        segments: Windows that the horizon is cut into.
        schedule: `store all` or the name of the checkpoint schedule.
        recomputation: Forward steps of one gradient, over the horizon.
        bytes: Memory by purpose.
        budget: The bytes allowed.
        smallest: The smallest budget that would do.
    """

    mode: str
    reason: str
    layout: Layout
    segments: int
    schedule: str
    recomputation: float
    bytes: dict[str, int] = field(default_factory=dict)
    budget: int = 0
    smallest: int = 0

    @property
    def steps(self) -> int:
        """The horizon."""
        return self.layout.steps

    @property
    def worlds(self) -> int:
        """Copies that run in parallel."""
        return self.layout.worlds

    @property
    def window(self) -> int:
        """Steps in memory."""
        return self.layout.window

    @property
    def checkpoints(self) -> int:
        """Copies of the States that are kept."""
        return self.layout.checkpoints

    @property
    def total_bytes(self) -> int:
        """All memory of the rollout's fields."""
        return sum(self.bytes.values())

    def __str__(self) -> str:
        rows = [
            ("mode", f"{self.mode} ({self.reason})"),
            ("steps", f"{self.steps:,} in {self.segments:,} segment(s) of {self.window:,}"),
            ("worlds", f"{self.worlds:,} in {self.layout.groups:,} lane(s)"),
            ("checkpoints", f"{self.checkpoints:,} ({self.schedule})"),
            ("recomputation", f"{self.recomputation:.2f} forward steps per step of the gradient"),
            (
                "memory",
                f"{show_bytes(self.total_bytes)} of {show_bytes(self.budget)}; at least "
                f"{show_bytes(self.smallest)}",
            ),
        ]
        rows += [(f"  {name}", show_bytes(size)) for name, size in self.bytes.items() if size]
        return "\n".join(f"{name:16s} {text}" for name, text in rows)


def show_bytes(size: int) -> str:
    """Return a size for people: `163.0 MiB`."""
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} B"


def parse_bytes(memory: int | str) -> int:
    """Return a number of bytes from `268435456`, `"256MiB"` or `"1.5 GB"`.

    Raises:
        ConfigError: It is neither, or not positive.
    """
    size = float("nan")
    if isinstance(memory, int) and not isinstance(memory, bool):
        size = memory
    elif isinstance(memory, str):
        match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([a-zA-Z]*)\s*", memory)
        if match and match[2].lower() in _UNITS:
            size = float(match[1]) * _UNITS[match[2].lower()]
    if not math.isfinite(size) or size < 1:
        raise ConfigError(
            "memory must be a number of bytes or a size like '512MiB', "
            f"got {memory!r}; use '1GiB' where unsure"
        )
    return int(size)


def make_plan(
    lowered: LoweredProgram,
    stages: StageSet,
    info: RuntimeInfo,
    worlds: int,
    memory: int | str,
    mode: str,
    steps: int,
    window: int | None = None,
) -> Plan:
    """Choose the mode, the window and the checkpoints of a rollout.

    Args:
        lowered: The program.
        stages: Its stages and their adjoints.
        info: How the runtime was started.
        worlds: Copies that run in parallel.
        memory: The byte budget.
        mode: `auto`, `step` or `fused`.
        steps: The horizon.
        window: Force so many steps in memory.

    Raises:
        ConfigError: The budget is too small for one step; the message says how much is needed.
    """
    budget = parse_bytes(memory)
    chosen, reason = _choose_mode(lowered, info, worlds, mode, steps)
    groups = _groups(info, worlds)
    sizes = _Sizes(lowered, stages, steps, worlds, groups, not info.on_cpu)
    smallest = sizes.total(1, 1) if steps > 1 else sizes.total(1, 0)
    if smallest > budget:
        raise ConfigError(
            f"memory must hold at least one step and one checkpoint, {smallest} bytes "
            f"({show_bytes(smallest)}) here, got {budget} ({show_bytes(budget)}); "
            "raise the budget, or use fewer worlds"
        )
    length, kept, factor = _choose_window(sizes, steps, budget, window)
    layout = sizes.layout(length, kept)
    return Plan(
        mode=chosen,
        reason=reason,
        layout=layout,
        segments=-(-steps // length),
        schedule="multistage" if kept else "everything is stored",
        recomputation=factor,
        bytes=sizes.table(layout),
        budget=budget,
        smallest=smallest,
    )


def _groups(info: RuntimeInfo, worlds: int) -> int:
    """Return how many lanes run in parallel: each world on a GPU, a few per thread on a CPU."""
    if not info.on_cpu:
        return worlds
    return min(worlds, 1 if info.threads == 1 else 4 * info.threads)


def _choose_mode(
    lowered: LoweredProgram, info: RuntimeInfo, worlds: int, mode: str, steps: int
) -> tuple[str, str]:
    if mode != "auto":
        return mode, "asked for"
    work = sum(_work(s, steps) for s in lowered.step + lowered.running)
    if info.on_cpu:
        if info.threads >= 8 and worlds < info.threads and work > 200_000:
            return (
                "step",
                f"{work:,} loop iterations a step fill {info.threads} threads, {worlds} world(s) do not",
            )
        return "fused", f"{work:,} loop iterations a step are faster in one launch than in many"
    if worlds >= 64 or work <= 4096:
        return "fused", f"{worlds} world(s) with {work:,} loop iterations a step fit one launch"
    return "step", f"{work:,} loop iterations a step fill the GPU"


def _work(stage: Stage, steps: int) -> int:
    """Estimate the loop iterations of a stage."""
    ranges = Ranges(stage.body, stage.t, steps)

    def count(ops: Iterable[object]) -> float:
        total = 0.0
        for op in ops:
            if isinstance(op, For):
                trips = ranges.trips(op)
                total += (trips if math.isfinite(trips) else 1000.0) * max(1.0, count(op.body.ops))
        return total

    return max(1, int(count(stage.body.ops)))


class _Sizes:
    """The memory of a rollout as a function of its window and its checkpoints."""

    def __init__(
        self,
        lowered: LoweredProgram,
        stages: StageSet,
        steps: int,
        worlds: int,
        groups: int,
        world_last: bool,
    ) -> None:
        self.lowered, self.stages = lowered, stages
        self.steps, self.worlds, self.groups, self.world_last = steps, worlds, groups, world_last
        self.tapes = sorted({t for s in all_adjoints(stages) for t in tapes_of(s)}, key=lambda b: b.name)
        one, two = self.total(1, 1), self.total(2, 1)
        self.per_step = two - one
        self.per_checkpoint = self.total(1, 2) - one
        self.fixed = one - self.per_step - self.per_checkpoint

    def layout(self, window: int, checkpoints: int) -> Layout:
        return Layout(
            self.steps, self.worlds, self.groups, window, self.lowered.history, checkpoints, self.world_last
        )

    def total(self, window: int, checkpoints: int) -> int:
        return sum(self.table(self.layout(window, checkpoints)).values())

    def table(self, layout: Layout) -> dict[str, int]:
        """Return the bytes of each purpose."""
        lowered = self.lowered
        fields = list(lowered.buffers.by_field.values())
        with_adjoints = fields + [b.adjoint for b in fields if b.adjoint is not None]
        states = lowered.states

        def size(buffers: Iterable[Buffer | None]) -> int:
            return sum(layout.bytes(b) for b in buffers if b is not None)

        parameters = [b for b in with_adjoints if b.kind in ("param", "control", "constant")]
        reduced = [b for b in parameter_adjoints(lowered) if layout.groups > 1 and not b.per_world]
        initial = list(lowered.initial.values())
        one_group = Layout(layout.steps, layout.worlds, 1, 1, layout.history, 0)
        return {
            "states": size(b for b in with_adjoints if b.kind == "state"),
            "scratch": size(b for b in with_adjoints if b.kind == "scratch"),
            "parameters": size([*parameters, *initial, *(b.adjoint for b in initial)])
            + sum(one_group.bytes(b) for b in reduced),
            "checkpoints": size(lowered.kept[b] for b in states) if layout.checkpoints else 0,
            "carried": size(lowered.carried[b] for b in states) + 8 * layout.worlds,
            "tapes": sum(layout.bytes(b, lanes=max(layout.groups, layout.worlds)) for b in self.tapes),
        }


def size_tapes(stages: StageSet, steps: int) -> None:
    """Give each tape the length of its loop.

    Raises:
        GradientError: The number of iterations of a loop that carries values is unbounded.
    """
    found: list[Diagnostic] = []
    for stage in all_adjoints(stages):
        ranges = Ranges(stage.body, stage.t, steps)
        lengths = {id(op): ranges.trips(op) for op in walk(stage.body) if isinstance(op, For)}
        for tape in tapes_of(stage):
            length = lengths[id(tape.source)]
            if not math.isfinite(length):
                message = (
                    "a loop that carries values must have a bound that is known before it runs, got one that "
                    "depends on computed numbers; name a maximum, as in `for k in range(ds.at_most(n, 64))`"
                )
                found.append(Diagnostic("UNBOUNDED", str(tape.source.where), message))
                continue
            tape.shape = (max(1, int(length)),)
    raise_all(found)


def _choose_window(sizes: _Sizes, steps: int, budget: int, forced: int | None) -> tuple[int, int, float]:
    """Return the window, the checkpoints and the forward steps of a gradient over the horizon."""
    if forced is None and sizes.total(steps, 0) <= budget:
        return steps, 0, 1.0
    if forced is not None and forced >= steps:
        return steps, 0, 1.0
    best: tuple[float, float, int, int] | None = None
    for window in [forced] if forced is not None else _candidates(sizes, steps, budget):
        segments = -(-steps // window)
        room = budget - sizes.fixed - window * sizes.per_step
        kept = min(segments, room // max(1, sizes.per_checkpoint))
        if kept < 1:
            continue
        factor = recomputation(steps, window, kept)
        far = abs(math.log(window * sizes.per_step / _CACHE_WINDOW))
        key = (round(factor, 2), far, window, kept)
        if best is None or key < best:
            best = key
    if best is None:
        raise ConfigError(
            f"memory must hold the window and a checkpoint, {sizes.total(forced or 1, 1)} "
            f"bytes here, got {budget}; raise it"
        )
    _, _, window, kept = best
    return window, kept, recomputation(steps, window, kept)


def _candidates(sizes: _Sizes, steps: int, budget: int) -> list[int]:
    """Return windows worth weighing: powers of two that fit, without cutting the horizon too fine."""
    largest = max(1, min(steps, (budget - sizes.fixed - sizes.per_checkpoint) // max(1, sizes.per_step)))
    windows = [1 << k for k in range(largest.bit_length()) if 1 << k <= largest]
    coarse = [w for w in windows if steps / w <= _MOST_SEGMENTS]
    return coarse or windows[-1:]


def recomputation(steps: int, window: int, checkpoints: int) -> float:
    """Return the forward steps that a gradient takes, over the horizon."""
    segments = -(-steps // window)
    if segments == 1:
        return 1.0
    done = 0
    for action in MultistageCheckpointSchedule(segments, checkpoints, 0):
        if isinstance(action, Forward):
            done += min(action.n1 * window, steps) - action.n0 * window
        elif type(action).__name__ == "EndReverse":
            break
    return done / steps
