"""What can be said of a rollout before it is made: its plan, and what becomes of its kernels."""

from __future__ import annotations

import os
import warnings

from diffsim import runtime
from diffsim.compiler.autodiff import adjoints
from diffsim.compiler.autodiff.cuts import cuts_of
from diffsim.compiler.autodiff.stored import kept_results
from diffsim.compiler.codegen.stages import StageSet
from diffsim.compiler.explain import Explanation, explain
from diffsim.compiler.program.lowered import LoweredProgram
from diffsim.compiler.program.program import lower_program
from diffsim.errors import GradientWarning, PlanWarning
from diffsim.language.simulator import Simulator
from diffsim.language.trace import Program, trace
from diffsim.plan.making import make_plan
from diffsim.plan.memo import Memo, key_of
from diffsim.plan.report import Plan
from diffsim.plan.request import Request
from diffsim.plan.sizes import size_tapes
from diffsim.plan.verdict import Verdict, decided
from diffsim.runtime import RuntimeInfo

__all__ = ["adjoint_stages", "explanation", "plan", "plan_program", "warn_of"]


def adjoint_stages(lowered: LoweredProgram, real: str, steps: int, prefix: str) -> StageSet:
    """Differentiate every stage of a program.

    Raises:
        GradientError: A stage cannot be differentiated.
    """
    groups = {"b": lowered.begin, "s": lowered.step, "r": lowered.running, "t": lowered.terminal}
    kept = kept_results(lowered.step + lowered.running) | kept_results(lowered.terminal)
    made = {name: adjoints(stages, real, prefix + name, kept) for name, stages in groups.items()}
    stages = StageSet(lowered, made["b"], made["s"], made["r"], made["t"])
    size_tapes(stages, steps)
    return stages


def plan_program(
    program: Program, info: RuntimeInfo, request: Request
) -> tuple[LoweredProgram, StageSet, Plan]:
    """Lower, differentiate and plan a program; nothing is allocated.

    Args:
        program: The trace.
        info: How the runtime was started.
        request: The horizon, the budgets and so on; checked.

    Raises:
        TraceError: A kernel cannot be lowered.
        GradientError: A kernel cannot be differentiated.
        ConfigError: The budget is too small.
    """
    lowered = lower_program(program, info.real, request.steps)
    stages = adjoint_stages(lowered, info.real, request.steps, "")
    for stage in lowered.begin + lowered.step + lowered.running + lowered.terminal:
        lowered.buffers.warnings += cuts_of(stage)
    plan = make_plan(lowered, stages, info, request)
    timings = Memo().get(key_of(stages, info, plan)) if plan.tunable else ()
    return lowered, stages, decided(plan, Verdict(timings), plan.iterations) if timings else plan


def plan(
    simulator: Simulator,
    steps: int,
    worlds: int = 1,
    memory: float | str = "1GiB",
    mode: str = "auto",
    *,
    window: int | None = None,
    schedule: str = "auto",
    host_memory: float | str = 0,
    spill: str | os.PathLike[str] | None = None,
    disk_memory: float | str = "16GiB",
    chunk: int | None = None,
    iterations: int = 1000,
    scratch: str = "auto",
) -> Plan:
    """Say how a rollout would be run, without allocating or compiling anything.

    Args:
        simulator: What to run.
        steps: The horizon.
        worlds: Copies that run in parallel.
        memory: The byte budget of all fields, a number or a size like `"512MiB"`.
        mode: `auto`, `step`, `chunk`, `fused` or `tape`.
        window: As for `Rollout`, and so are those below.
        schedule: The checkpoint schedule, or `auto`.
        host_memory: The byte budget of checkpoints in the host's memory.
        spill: A folder that checkpoints may be written to.
        disk_memory: The byte budget of that folder.
        chunk: Steps in one launch of mode `chunk`.
        iterations: How many gradients the time to compile may be spread over.
        scratch: `held`, `recomputed` or `auto`.

    Returns:
        The plan; print it.

    Raises:
        ConfigError: An argument is not allowed, or the budget is too small for one step.
        TraceError: The simulator cannot be traced.
        GradientError: A kernel cannot be differentiated.
        StateError: The runtime was not started.
    """
    request = Request(
        steps,
        worlds,
        memory,
        mode,
        window,
        schedule,
        host_memory,
        spill,
        disk_memory,
        chunk,
        iterations,
        scratch,
    ).check()
    info = runtime.info()
    lowered, _, chosen = plan_program(trace(simulator), info, request)
    warn_of(lowered, chosen)
    return chosen


def explanation(simulator: Simulator, steps: int) -> Explanation:
    """Say what is made of each kernel of a simulator, without allocating or compiling anything.

    Args:
        simulator: What to read.
        steps: The horizon.

    Returns:
        One story per kernel; print it.

    Raises:
        ConfigError: `steps` is not allowed.
        TraceError: The simulator cannot be traced.
        GradientError: A kernel cannot be differentiated.
        StateError: The runtime was not started.
    """
    request = Request(steps, memory=1 << 62).check()
    lowered, stages, _ = plan_program(trace(simulator), runtime.info(), request)
    warn_of(lowered)
    return explain(lowered, stages)


def warn_of(lowered: LoweredProgram, chosen: Plan | None = None) -> None:
    """Tell what may not be meant, in kernels or plan, at the line that makes the plan or the rollout."""
    if chosen is not None and chosen.warning:
        warnings.warn(chosen.warning, PlanWarning, stacklevel=3)
    for warning in dict.fromkeys(lowered.buffers.warnings):
        warnings.warn(warning.alone, GradientWarning, stacklevel=3)
