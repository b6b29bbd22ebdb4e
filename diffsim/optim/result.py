"""What an optimization found, also one that ended early."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diffsim.errors import ConfigError, StateError
from diffsim.view.cards import card, table
from diffsim.view.sketches import curves

if TYPE_CHECKING:
    from diffsim.language.fields import Valued

__all__ = ["Result"]


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """What an optimization found.

    Attributes:
        costs: The cost before each iteration's change, shape (iterations,); with several worlds
            (iterations, worlds).
        grad_norms: The gradient's length, shape (iterations,).
        seconds: Wall time from the start to the end of each iteration [s], shape (iterations,). The first one
            has what was compiled in it.
        best_cost: The lowest cost (with several worlds the lowest sum), of all iterations of a resumed run;
            infinite where no iteration was done. Where all that was optimised is `per_world` and there are
            several worlds: that of each world, shape (worlds,).
        best_iteration: The iteration that found it, counted from the start of the run that was resumed, -1
            where none was done; shape (worlds,) where `best_cost` has it.
        best: The parameters of the lowest cost, by key; each world's own where `best_cost` is.
        last: The parameters after the last iteration, by key; no cost was computed of these.
        state: What `minimize(state=...)` takes to go on.
        ended: Why it ended: `iterations` (all were done), `callback` (it raised `StopIteration`), or the name
            and the first line of the error.
        halvings: How often the step length was halved, in all runs that were resumed.
    """

    costs: NDArray[np.float64]
    grad_norms: NDArray[np.float64]
    seconds: NDArray[np.float64]
    best_cost: Any
    best_iteration: Any
    best: dict[str, NDArray[Any]]
    last: dict[str, NDArray[Any]]
    state: dict[str, NDArray[Any]]
    ended: str = "iterations"
    halvings: int = 0
    _fields: Mapping[str, Valued] = field(default_factory=dict)

    def restore(self, which: str = "best") -> None:
        """Set the Params, Controls and States that were optimised to the values of this result.

        Args:
            which: `best` or `last`.

        Raises:
            ConfigError: `which` is something else.
            StateError: The result came out of a file, and knows numbers only.
        """
        if which not in ("best", "last"):
            raise ConfigError(f"restore must be told best or last, got {which!r}; leave it out for the best")
        if not self._fields:
            raise StateError(
                "the result must come from a run of this process to be restored, got a copy of one; set each "
                "parameter: param.set(result.best[param.key])"
            )
        for key, values in getattr(self, which).items():
            self._fields[key].set(values)

    def __getstate__(self) -> dict[str, Any]:
        # the fields hold on to their rollout's memory, which goes into no file
        return {**vars(self), "_fields": {}}

    def _repr_html_(self) -> str:
        done = len(self.costs)
        title = repr(self).removeprefix("<Result: ").removesuffix(">")
        if not done:
            return card(title)
        costs = self.costs.reshape(done, -1).sum(axis=1)
        numbers = np.arange(done)
        mark = (float(self.best_iteration), "best") if np.ndim(self.best_iteration) == 0 else None
        lines = [
            (key, " × ".join(map(str, np.shape(found))) or "1", _reach(found), _reach(self.last[key]))
            for key, found in self.best.items()
        ]
        return card(
            title,
            curves(numbers, [costs], "cost", "iteration", log=_spread(costs), mark=mark),
            curves(numbers, [self.grad_norms], "gradient norm", "iteration", log=_spread(self.grad_norms)),
            table(("parameter", "shape", "at the best cost", "at the end"), lines),
        )

    def __repr__(self) -> str:
        done = len(self.costs)
        text = "no iterations"
        if done:
            first, best = float(np.sum(self.costs[0])), float(np.sum(self.best_cost))
            text = f"cost {first:.4g} -> {best:.4g} in {done} iterations, {self.seconds[-1]:.2g} s"
        if self.costs.ndim > 1:
            text += f", {self.costs.shape[1]} worlds"
        if self.halvings:
            text += f", step length halved {self.halvings} times"
        if self.ended != "iterations":
            text += f", ended by {self.ended}"
        return f"<Result: {text}>"


def _spread(values: NDArray[np.float64]) -> bool:
    """Tell whether numbers are positive and of many sizes, so that logarithms show more."""
    finite = values[np.isfinite(values)]
    return bool(finite.size and finite.min() > 0.0 and finite.max() > 30.0 * finite.min())


def _reach(values: NDArray[Any]) -> str:
    """Write a number, or the least and the largest of many."""
    array = np.asarray(values, dtype=np.float64)
    if array.size == 1:
        return f"{float(array.reshape(-1)[0]):.6g}"
    return f"{np.min(array):.4g} … {np.max(array):.4g}" if array.size else ""
