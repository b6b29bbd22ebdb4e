"""The wave equation in JAX: a jitted `lax.scan` over time, differentiated by `jax.value_and_grad`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.wave_problem import KEPT, SPEED


def make_program(
    initial: NDArray[Any], target: NDArray[Any], steps: int
) -> tuple[Callable[[], float], Callable[[], tuple[float, dict[str, NDArray[Any]]]]]:
    """Return functions for the cost, and for the cost with its gradient by the initial height."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", initial.dtype == np.float64)
    n = len(initial)

    def step(state: Any, _: Any) -> Any:
        u, old = state
        here = u[1:-1, 1:-1]
        around = u[:-2, 1:-1] + u[2:, 1:-1] + u[1:-1, :-2] + u[1:-1, 2:]
        moved = here + KEPT * (here - old[1:-1, 1:-1]) + SPEED * (around - 4.0 * here)
        return (jnp.pad(moved, 1), u), None

    def cost(u: Any) -> Any:
        (last, _), _ = jax.lax.scan(step, (u, u), None, length=steps)
        return jnp.sum((last - target) ** 2) / n**2

    value, both = jax.jit(cost), jax.jit(jax.value_and_grad(cost))
    given = jnp.asarray(initial)

    def value_and_grad() -> tuple[float, dict[str, NDArray[Any]]]:
        found, gradient = both(given)
        return float(found), {"u": np.asarray(gradient)}

    return lambda: float(value(given)), value_and_grad
