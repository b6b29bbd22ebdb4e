"""The loop around an optimizer."""

from __future__ import annotations

import operator
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diffsim.errors import ConfigError, NotFiniteError, StateError
from diffsim.optim.adam import Adam
from diffsim.optim.base import Optimizer
from diffsim.optim.callback import Callback, adapted
from diffsim.optim.result import Result
from diffsim.optim.rule import StepInfo
from diffsim.optim.run import OptimizerRun
from diffsim.optim.uninterrupted import uninterrupted
from diffsim.progress import Progress, make_progress

if TYPE_CHECKING:
    from diffsim.rollout import Rollout

__all__ = ["minimize"]

_ANSWERS = ("raise", "stop", "halve")
_MOST_HALVINGS = 20  # a millionth of the step length: where that does not help, none will


def minimize(
    rollout: Rollout,
    wrt: Any = None,
    optimizer: Optimizer | None = None,
    iterations: int = 100,
    callback: Callback | None = None,
    state: Mapping[str, NDArray[Any]] | None = None,
    *,
    on_nonfinite: str = "raise",
    progress: bool = False,
) -> Result:
    """Minimise the cost of a rollout by gradient descent.

    After all iterations, or where the callback ends them, the parameters are left as the last iteration made
    them; `result.restore()` goes to the best. Whatever else ends the run, Ctrl-C and errors of the callback
    included, nothing is lost: the parameters go back to the best ones, and the exception, which passes on,
    has the Result up to there as its attribute `result`, `result.state` to go on with among it. (A rollout
    that was closed meanwhile has kept its last parameters, and there is no Result then.)

    Args:
        rollout: What to minimise; with several worlds, the sum of their costs.
        wrt: What may change, as `Rollout.value_and_grad` takes it; None for every Param and Control.
        optimizer: The rule; `Adam(lr=1e-2)` where left out.
        iterations: How many iterations to do.
        callback: Called after each iteration with its number, what it found (`StepInfo`), and the run; may
            take fewer of these, and raise `StopIteration` to end early. An argument with a default other than
            None keeps it, unless it is named `iteration`, `info` or `run`.
        state: `Result.state` or `OptimizerRun.state()` of an earlier run, to go on from there: on one CPU
            thread with the same numbers, bit for bit, as if it had not been stopped.
        on_nonfinite: What to do where a cost or a gradient is not finite. `raise` the error, which no one
            overlooks; `stop` and return the Result, with the parameters at the best ones; `halve` the step
            length, go back to the best parameters, let the rule start afresh there, and go on, up to 20 times
            in all (then, or where the first parameters have no finite cost, it is the error). Evaluations
            that failed are no iterations and have no place in `Result.costs`.
        progress: Whether to show how far it is: a line with a bar in a notebook and on a terminal, elsewhere
            some lines.

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
        raise ConfigError(f"optimizer must be an Optimizer, got {chosen!r}; use ds.optim.Adam(lr=1e-2)")
    if on_nonfinite not in _ANSWERS:
        raise ConfigError(
            f"on_nonfinite must be one of {', '.join(_ANSWERS)}, got {on_nonfinite!r}; use 'halve' to go on "
            "with shorter steps"
        )
    if not isinstance(progress, bool):
        raise ConfigError(f"progress must be True or False, got {progress!r}; use callback for your own")
    call = None if callback is None else adapted(callback)
    began = time.perf_counter()
    with make_progress(not progress) as shown, chosen.start(rollout, wrt) as run:
        if state is not None:
            run.load(state)
        history = _History(run, began)
        try:
            shown.begin(count)
            return history.result(_iterate(run, history, count, call, on_nonfinite == "halve", shown))
        except BaseException as error:
            with uninterrupted():
                result = _rescued(history, error)
            if result is None or not (on_nonfinite == "stop" and isinstance(error, NotFiniteError)):
                raise
            return result


class _History:
    """What the iterations of one call found.

    Args:
        run: Whose iterations they are.
        began: When the call began.
    """

    def __init__(self, run: OptimizerRun, began: float) -> None:
        self.run, self._began = run, began
        self.infos: list[StepInfo] = []
        self.seconds: list[float] = []

    def add(self, info: StepInfo) -> None:
        """Note an iteration."""
        self.infos.append(info)
        self.seconds.append(time.perf_counter() - self._began)

    def result(self, ended: str) -> Result:
        """Return all that was found.

        Raises:
            StateError: The rollout was closed.
        """
        run, costs = self.run, np.array([info.cost for info in self.infos], dtype=np.float64)
        return Result(
            costs=costs,
            grad_norms=np.array([info.grad_norm for info in self.infos]),
            seconds=np.array(self.seconds),
            best_cost=run.best_cost,
            best_iteration=run.best_iteration,
            best=run.best(),
            last=run.last(),
            state=run.state(),
            ended=ended,
            halvings=run.halvings,
            _fields=run.fields(),
        )


def _iterate(
    run: OptimizerRun,
    history: _History,
    count: int,
    call: Callback | None,
    halve: bool,
    shown: Progress,
) -> str:
    """Do the iterations; return why they ended."""
    for done in range(1, count + 1):
        while True:
            try:
                info = run.step(history.add)
                break
            except NotFiniteError as error:
                if not (halve and run.started):
                    raise
                if run.halvings >= _MOST_HALVINGS:
                    raise StateError(
                        f"steps that were halved {run.halvings} times must lead to finite numbers, got none; "
                        f"look for the cause: {error}"
                    ) from error
                run.halve()
        shown.update(done, float(np.sum(info.cost)), float(np.sum(run.best_cost)), info.grad_norm)
        if call is None:
            continue
        try:
            call(run.iteration - 1, info, run)
        except StopIteration:
            return "callback"
    return "iterations"


def _rescued(history: _History, error: BaseException) -> Result | None:
    """Go to the best parameters and hang what was found on an error; None where nothing can be read."""
    first = (str(error).splitlines() or [""])[0]
    try:
        result = history.result(f"{type(error).__name__}{first and ': '}{first}")
        if history.run.started:
            history.run.go_back()
    except StateError:  # closed, or Taichi was started anew, of which the error tells already
        return None
    if isinstance(getattr(error, "result", None), Result | None):  # another's own `result` stays
        vars(error)["result"] = result
    return result


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
