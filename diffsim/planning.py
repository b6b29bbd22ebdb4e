"""What can be said of a rollout before it is made: its plan, and what becomes of its kernels."""

from __future__ import annotations

import os
import warnings

from diffsim import runtime
from diffsim.analysis.program import LoweredProgram
from diffsim.engine.engine import plan_program
from diffsim.errors import GradientWarning, PlanWarning
from diffsim.explain import Explanation, explain
from diffsim.plan import Plan, Request
from diffsim.simulator import Simulator
from diffsim.trace import trace

__all__ = ["explanation", "plan", "warn_of"]


def plan(
    simulator: Simulator,
    steps: int,
    worlds: int = 1,
    memory: int | str = "1GiB",
    mode: str = "auto",
    *,
    window: int | None = None,
    schedule: str = "auto",
    host_memory: int | str = 0,
    spill: str | os.PathLike[str] | None = None,
    disk_memory: int | str = "16GiB",
    chunk: int | None = None,
    iterations: int = 1000,
) -> Plan:
    """Say how a rollout would be run, without allocating or compiling anything.

    Args:
        simulator: What to run.
        steps: The horizon.
        worlds: Copies that run in parallel.
        memory: The byte budget of all fields, a number or a size like `"512MiB"`.
        mode: `auto`, `step`, `chunk` or `fused`.
        window: As for `Rollout`, and so are those below.
        schedule: The checkpoint schedule, or `auto`.
        host_memory: The byte budget of checkpoints in the host's memory.
        spill: A folder that checkpoints may be written to.
        disk_memory: The byte budget of that folder.
        chunk: Steps in one launch of mode `chunk`.
        iterations: How many gradients the time to compile may be spread over.

    Returns:
        The plan; print it.

    Raises:
        ConfigError: An argument is not allowed, or the budget is too small for one step.
        TraceError: The simulator cannot be traced.
        GradientError: A kernel cannot be differentiated.
        StateError: The runtime was not started.
    """
    request = Request(
        steps, worlds, memory, mode, window, schedule, host_memory, spill, disk_memory, chunk, iterations
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
        warnings.warn(str(warning), GradientWarning, stacklevel=3)
