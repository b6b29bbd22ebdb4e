"""Where numbers stopped being finite, for the message of the error."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from diffsim.engine.engine import Engine

__all__ = ["explain_not_finite"]


def explain_not_finite(engine: Engine, cost: NDArray[np.float64]) -> str:
    """Run forward again, and say where the first number that is not finite comes from.

    Args:
        engine: What computed the cost.
        cost: The cost of each world, some of them not finite.
    """
    world = int(np.flatnonzero(~np.isfinite(cost))[0])
    where = f" of world {world}" if engine.plan.layout.worlds > 1 else ""
    found = _first_not_finite(engine)
    if found is None:
        return (
            f"the cost{where} must be finite, got {cost[world]}; all States are finite, so look at the "
            "kernels of running_cost and terminal_cost"
        )
    step, key, index = found
    return (
        f"the cost{where} must be finite, got {cost[world]}: State {key} is first not finite at step "
        f"{step} (index {list(index)}); a smaller time step, or parameters "
        "nearer to a stable run, may help"
    )


def _first_not_finite(engine: Engine) -> tuple[int, str, tuple[int, ...]] | None:
    states = [(buffer.source.key, buffer) for buffer in engine.lowered.states]
    history = engine.plan.layout.history
    found: list[tuple[int, str, tuple[int, ...]]] = []

    def observe(t0: int, n: int, last: bool) -> None:
        if found:
            return
        for key, buffer in states:
            for array in engine.storage.arrays(buffer):
                part = array[:, history - 1 : history + n]
                bad = np.argwhere(~np.isfinite(part))
                if len(bad):
                    first = bad[np.argmin(bad[:, 1])]
                    world = (int(first[0]),) if engine.plan.layout.worlds > 1 else ()
                    index = (*world, *map(int, first[2:]))
                    found.append((t0 + int(first[1]), key, index))

    engine.forward(observe)
    return min(found, default=None)
