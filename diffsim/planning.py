"""What can be said of a rollout before it is made: its plan, and what becomes of its kernels."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from diffsim import runtime
from diffsim.analysis.program import LoweredProgram
from diffsim.engine.engine import plan_program
from diffsim.errors import ConfigError, GradientWarning
from diffsim.explain import Explanation, explain
from diffsim.plan import MODES, Plan
from diffsim.simulator import Simulator
from diffsim.trace import trace

__all__ = ["check_arguments", "explanation", "plan", "warn_of"]


def check_arguments(steps: Any, worlds: Any, mode: Any) -> None:
    """Check what a rollout is asked for.

    Raises:
        ConfigError: An argument is not allowed.
    """
    for name, value in (("steps", steps), ("worlds", worlds)):
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or not 1 <= value < 2**31 - 1:
            raise ConfigError(
                f"{name} must be a positive integer of 31 bits, got {value!r}; use {name}=1 at least"
            )
    if mode not in MODES:
        raise ConfigError(f"mode must be one of {', '.join(MODES)}, got {mode!r}; use 'auto' where unsure")


def plan(
    simulator: Simulator, steps: int, worlds: int = 1, memory: int | str = "1GiB", mode: str = "auto"
) -> Plan:
    """Say how a rollout would be run, without allocating or compiling anything.

    Args:
        simulator: What to run.
        steps: The horizon.
        worlds: Copies that run in parallel.
        memory: The byte budget, a number or a size like `"512MiB"`.
        mode: `auto`, `step` or `fused`.

    Returns:
        The plan; print it.

    Raises:
        ConfigError: An argument is not allowed, or the budget is too small for one step.
        TraceError: The simulator cannot be traced.
        GradientError: A kernel cannot be differentiated.
        StateError: The runtime was not started.
    """
    check_arguments(steps, worlds, mode)
    info = runtime.info()
    lowered, _, chosen = plan_program(trace(simulator), info, int(steps), int(worlds), memory, mode, None)
    warn_of(lowered)
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
    check_arguments(steps, 1, "auto")
    lowered, stages, _ = plan_program(trace(simulator), runtime.info(), int(steps), 1, 1 << 62, "auto", None)
    warn_of(lowered)
    return explain(lowered, stages)


def warn_of(lowered: LoweredProgram) -> None:
    """Tell what kernels do that may not be meant, at the line that makes the plan or the rollout."""
    for warning in dict.fromkeys(lowered.buffers.warnings):
        warnings.warn(str(warning), GradientWarning, stacklevel=3)
