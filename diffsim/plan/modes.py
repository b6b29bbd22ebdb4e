"""Choosing the mode in which steps are launched, before anything is measured."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from diffsim.compiler.checks.ranges import Ranges
from diffsim.compiler.codegen.layout import Layout
from diffsim.compiler.codegen.stages import StageSet
from diffsim.compiler.ir import For, Stage
from diffsim.compiler.program.lowered import LoweredProgram
from diffsim.errors import ConfigError
from diffsim.plan.costs import Costs
from diffsim.plan.request import Request
from diffsim.runtime import RuntimeInfo

__all__ = [
    "COMPILE_BUDGET",
    "PATIENCE",
    "Candidate",
    "ModeChoice",
    "Timing",
    "block_of",
    "choose_mode",
    "mode_rows",
    "pays",
    "show_seconds",
]

COMPILE_BUDGET = 10.0  # seconds that a chunk, or a mode that is only tried, may take to compile
PATIENCE = 60.0  # seconds to compile from which on another mode is taken, whatever it costs to run
_LONGEST_CHUNK = 64
_WARP = 32  # threads that a GPU runs at once at least


@dataclass(frozen=True)
class Candidate:
    """A mode that might run a rollout, and what it is expected to cost.

    Attributes:
        mode: `step`, `chunk`, `fused` or `tape`.
        chunk: Steps of one launch of mode `chunk`; 0 in other modes.
        compile_seconds: Expected seconds to compile it, forward and backward.
        seconds: Expected seconds of one gradient.
    """

    mode: str
    chunk: int
    compile_seconds: float
    seconds: float

    @property
    def label(self) -> str:
        """Name the mode in messages."""
        return f"{self.mode} of {self.chunk}" if self.mode == "chunk" else self.mode


class Timing(Candidate):
    """What a mode was found to cost: the seconds of a candidate are measured ones here."""


# What a world costs in a register with so many, against one alone; as measured for a robot with a controller
_TOGETHER = {"f32": {1: 1.0, 4: 0.87, 8: 0.64}, "f64": {1: 1.0, 4: 0.86, 8: 0.76}}


@dataclass(frozen=True)
class ModeChoice:
    """The mode of a rollout.

    Attributes:
        mode: `step`, `chunk` or `fused`.
        reason: Why this one.
        chunk: Steps of one launch of mode `chunk`; 0 in other modes.
        compile_seconds: Expected seconds to compile it, with mode `step` that it is compared with.
        candidates: All modes.
        tunable: They may be measured, and another mode chosen.
        remedy: What would make it compile in less than a minute; empty where it does.
    """

    mode: str
    reason: str
    chunk: int
    compile_seconds: float
    candidates: tuple[Candidate, ...]
    tunable: bool
    remedy: str = ""


def block_of(info: RuntimeInfo, worlds: int, mode: str) -> int:
    """Return how many worlds machine code runs in one register; 1 where it runs one after the other.

    Args:
        info: How the runtime was started.
        worlds: How many there are.
        mode: What is asked for.
    """
    if not (info.native and info.on_cpu) or mode not in ("auto", "fused"):
        return 1
    shares = _TOGETHER[info.real]
    return min(shares, key=lambda block: (-(-worlds // block) * block * shares[block], block))


def pays(extra: float, slow: float, fast: float, iterations: int) -> bool:
    """Tell whether compiling is won back.

    Args:
        extra: Seconds to compile what is faster.
        slow: Seconds of a gradient without it.
        fast: Seconds of a gradient with it.
        iterations: Gradients that will be computed.
    """
    return extra <= iterations * (slow - fast)


def choose_mode(
    stages: StageSet, info: RuntimeInfo, request: Request, layout: Layout, recomputation: float
) -> ModeChoice:
    """Choose the mode of a rollout.

    Args:
        stages: The program and its adjoints.
        info: How the runtime was started.
        request: What is asked for.
        layout: The sizes of everything in memory.
        recomputation: Forward steps of one gradient, over the horizon.

    Raises:
        ConfigError: Mode `python` is asked for, which has no such plan.
    """
    costs = Costs(stages, info, layout, recomputation)
    modes = ("step", "chunk", "fused") if layout.held else ("step", "fused")
    length = _chunk_length(costs, request, layout)
    every = {
        mode: Candidate(mode, chunk, costs.compile_seconds(mode, chunk), costs.run_seconds(mode, chunk))
        for mode, chunk in (("step", 0), ("chunk", length), ("fused", 0))
        if mode in modes
    }

    def waiting(mode: str) -> float:
        return every[mode].compile_seconds + (costs.check_seconds if mode != "step" else 0.0)

    def chosen(mode: str, reason: str, tunable: bool = False) -> ModeChoice:
        remedy = _remedy(costs, info) if waiting(mode) > PATIENCE else ""
        return ModeChoice(
            mode, reason, every[mode].chunk, waiting(mode), tuple(every.values()), tunable, remedy
        )

    if request.mode == "python":
        raise ConfigError(
            "mode must be one that is compiled to have a plan of memory and launches, got 'python'; make "
            "ds.Rollout(..., mode='python'), whose .plan tells what it does"
        )
    if request.mode == "tape":
        every["tape"] = dataclasses.replace(every["step"], mode="tape")
    if request.mode != "auto" or request.chunk is not None:
        return chosen("chunk" if request.mode == "auto" else request.mode, "asked for")
    if not info.on_cpu:
        mode, reason = _on_device(every, request)
        return chosen(mode, reason, tunable=info.tune)
    mode, reason = _by_rule(stages.lowered, info, request)
    step, fused = every["step"], every["fused"]
    if (
        info.tune
        and mode == "fused"
        and not pays(fused.compile_seconds, step.seconds, fused.seconds, int(request.iterations))
    ):
        mode = "step"
        reason = (
            f"fused would compile for about {show_seconds(fused.compile_seconds)}, more than it wins in "
            f"{request.iterations:,} gradient(s)"
        )
    if waiting(mode) > PATIENCE:
        mode, reason = _sooner(mode, every, waiting)
    return chosen(mode, reason, tunable=info.tune)


def _sooner(mode: str, every: Mapping[str, Candidate], waiting: Callable[[str], float]) -> tuple[str, str]:
    """Return a mode that compiles in less than a minute; the one that is soonest ready where none does."""
    took = f"{mode} would compile for about {show_seconds(waiting(mode))}"
    within = [other for other in every if waiting(other) <= PATIENCE]
    if within:
        best = min(within, key=lambda other: every[other].seconds)
        return best, f"{took}, longer than anybody should wait"
    best = min(every, key=waiting)
    return best, "every mode compiles for more than a minute, and this one is soonest ready"


def _remedy(costs: Costs, info: RuntimeInfo) -> str:
    """Say what makes a program compile sooner."""
    name, operations = costs.longest_kernel
    text = (
        f"most of it is {name}, {operations:,} operations as printed; let loops be loops where ti.static "
        "unrolls them, or make several kernels of it"
    )
    if info.on_cpu and not info.native:
        text += "; compiler='native' compiles ten times as fast (llvmlite must be installed)"
    return text


class _Chosen(Protocol):
    """What a plan says of its mode."""

    @property
    def mode(self) -> str: ...
    @property
    def chunk(self) -> int: ...
    @property
    def reason(self) -> str: ...
    @property
    def compile_seconds(self) -> float: ...
    @property
    def compiled(self) -> float: ...
    @property
    def remedy(self) -> str: ...
    @property
    def measured(self) -> tuple[Timing, ...]: ...


def mode_rows(plan: _Chosen) -> list[tuple[str, str]]:
    """Say in a plan's text which mode was chosen, why, and what it costs.

    Args:
        plan: The plan.
    """
    what = f"chunk of {plan.chunk} step(s) a launch" if plan.mode == "chunk" else plan.mode
    rows = [("mode", f"{what} ({plan.reason})")]
    compiling = [f"about {show_seconds(plan.compile_seconds)} expected"] if plan.compile_seconds else []
    compiling += [f"{show_seconds(plan.compiled)} so far"] if plan.compiled else []
    rows += [("compile", ", ".join(compiling))] if compiling else []
    rows += [("  sooner", plan.remedy)] if plan.remedy else []
    for t in plan.measured:
        text = f"{show_seconds(t.seconds)} per gradient, compiled in {show_seconds(t.compile_seconds)}"
        rows.append((f"  {t.label}", f"measured: {text}"))
    return rows


def show_seconds(seconds: float) -> str:
    """Return a time for people: `7.1 ms`, `2.4 min`."""
    if seconds >= 100.0:
        return f"{seconds / 60.0:.3g} min"
    for unit, factor in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= factor:
            return f"{seconds / factor:.3g} {unit}"
    return f"{seconds * 1e6:.3g} us"


def _chunk_length(costs: Costs, request: Request, layout: Layout) -> int:
    """Return how many steps go into one launch: what costs least over all gradients, compiling included."""
    if request.chunk is not None:
        return min(int(request.chunk), layout.window)
    lengths = [1]
    while 2 * lengths[-1] <= min(layout.window, _LONGEST_CHUNK):
        lengths.append(2 * lengths[-1])
    if layout.window < layout.steps:  # whole chunks, so that the same steps are in the same launches
        lengths = [k for k in lengths if layout.window % k == 0]
    allowed = [k for k in lengths if costs.compile_seconds("chunk", k) <= COMPILE_BUDGET] or [1]
    return min(
        allowed,
        key=lambda k: (
            costs.compile_seconds("chunk", k) + request.iterations * costs.run_seconds("chunk", k),
            k,
        ),
    )


def _by_rule(lowered: LoweredProgram, info: RuntimeInfo, request: Request) -> tuple[str, str]:
    """Return the mode that programs of this size are known to do well in, and why."""
    worlds = request.worlds
    work = sum(_work(s, request.steps) for s in lowered.step + lowered.running)
    if info.threads >= 8 and worlds < info.threads and work > 200_000:
        return (
            "step",
            f"{work:,} loop iterations a step fill {info.threads} threads, {worlds} world(s) do not",
        )
    return "fused", f"{work:,} loop iterations a step are faster in one launch than in many"


def _on_device(every: Mapping[str, Candidate], request: Request) -> tuple[str, str]:
    """Return the mode of a GPU that costs least over all gradients, compiling included, and why.

    In mode `fused` a world is one thread, which is enough for a few numbers, not for a grid; in the others
    launches and tasks cost more than a little work does.
    """
    iterations = int(request.iterations)
    best = min(every.values(), key=lambda c: (c.seconds + c.compile_seconds / iterations, c.mode))
    others = ", ".join(f"{c.label} {show_seconds(c.seconds)}" for c in every.values() if c is not best)
    reason = f"about {show_seconds(best.seconds)} a gradient expected on a GPU; {others}"
    if best.mode == "fused" and request.worlds < _WARP:
        reason += f"; {request.worlds} world(s) are as many threads, for which a CPU is faster"
    return best.mode, reason


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
