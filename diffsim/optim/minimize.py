"""The loop around an optimizer."""

from __future__ import annotations

import operator
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diffsim.errors import ConfigError
from diffsim.optim.adam import Adam
from diffsim.optim.base import Optimizer
from diffsim.optim.rule import StepInfo
from diffsim.optim.run import OptimizerRun

if TYPE_CHECKING:
    from diffsim.rollout import Rollout

__all__ = ["Result", "minimize"]


@dataclass(frozen=True, eq=False)
class Result:
    """What an optimization found.

    Attributes:
        costs: The cost before each iteration's change, shape (iterations,); with several worlds
            (iterations, worlds).
        grad_norms: The gradient's length, shape (iterations,).
        seconds: Wall time from the start to the end of each iteration [s], shape (iterations,). The first one
            has what was compiled in it.
        best_cost: The lowest cost (with several worlds the lowest sum), of all iterations of a resumed run.
        best_iteration: The iteration that found it, counted from the start of the run that was resumed.
        best: The parameters of the lowest cost, by key.
        last: The parameters after the last iteration, by key; no cost was computed of these.
        state: What `minimize(state=...)` takes to go on.
    """

    costs: NDArray[np.float64]
    grad_norms: NDArray[np.float64]
    seconds: NDArray[np.float64]
    best_cost: float
    best_iteration: int
    best: dict[str, NDArray[Any]]
    last: dict[str, NDArray[Any]]
    state: dict[str, NDArray[Any]]


def minimize(
    rollout: Rollout,
    wrt: Any = None,
    optimizer: Optimizer | None = None,
    iterations: int = 100,
    callback: Callable[[int, StepInfo, OptimizerRun], object] | None = None,
    state: Mapping[str, NDArray[Any]] | None = None,
) -> Result:
    """Minimise the cost of a rollout by gradient descent.

    The parameters are left as the last iteration made them; `param.set(result.best[param.key])` goes to the
    best.

    Args:
        rollout: What to minimise; with several worlds, the sum of their costs.
        wrt: What may change, as `Rollout.value_and_grad` takes it; None for every Param and Control.
        optimizer: The rule; `Adam(lr=1e-2)` where left out.
        iterations: How many iterations to do.
        callback: Called after each iteration with its number, what it found, and the run; may raise
            `StopIteration` to end early.
        state: `Result.state` or `OptimizerRun.state()` of an earlier run, to go on from there: on one CPU
            thread with the same numbers, bit for bit, as if it had not been stopped.

    Returns:
        Costs, gradient lengths and parameters.

    Raises:
        ConfigError: An argument is not allowed.
        GradientError: A gradient is not finite.
        StateError: The cost is not finite, or the rollout was closed.
    """
    count = _iterations(iterations)
    chosen = Adam(lr=1e-2) if optimizer is None else optimizer
    if not isinstance(chosen, Optimizer):
        raise ConfigError(f"optimizer must be an Optimizer, got {chosen!r}; use optim.Adam(lr=1e-2)")
    infos: list[StepInfo] = []
    seconds: list[float] = []
    began = time.perf_counter()
    with chosen.start(rollout, wrt) as run:
        if state is not None:
            run.load(state)
        for _ in range(count):
            info = run.step()
            infos.append(info)
            seconds.append(time.perf_counter() - began)
            if callback is None:
                continue
            try:
                callback(run.iteration - 1, info, run)
            except StopIteration:
                break
        return Result(
            costs=np.array([info.cost for info in infos], dtype=np.float64),
            grad_norms=np.array([info.grad_norm for info in infos]),
            seconds=np.array(seconds),
            best_cost=run.best_cost,
            best_iteration=run.best_iteration,
            best=run.best(),
            last=run.last(),
            state=run.state(),
        )


def _iterations(value: Any) -> int:
    """Return a number of iterations."""
    try:
        count = operator.index(value)
    except TypeError:
        count = 0
    if isinstance(value, (bool, np.bool_)) or count < 1:
        raise ConfigError(
            f"iterations must be a whole number of at least 1, got {value!r}; use 100 where unsure"
        )
    return count
