"""The chain of masses in JAX: scans within a scan, of which only the inner ones' starts are kept."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.chain_problem import DT


def make_program(
    x: NDArray[Any], v: NDArray[Any], stiffness: NDArray[Any], target: NDArray[Any], steps: int
) -> tuple[Callable[[], float], Callable[[], tuple[float, dict[str, NDArray[Any]]]]]:
    """Return functions for the cost, and for the cost with its gradient; the arguments are as drawn."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", x.dtype == np.float64)
    inner = max(k for k in range(1, math.isqrt(steps) + 1) if steps % k == 0)

    def step(k: Any, state: Any) -> Any:
        x, v = state
        pull = k * jnp.diff(jnp.pad(x, 1))
        v = v + DT * jnp.diff(pull)
        return (x + DT * v, v), None

    def cost(given: Any) -> Any:
        @jax.checkpoint
        def stretch(state: Any, _: Any) -> Any:
            return jax.lax.scan(lambda s, _: step(given["stiffness"], s), state, None, length=inner)

        (last, _), _ = jax.lax.scan(stretch, (given["x"], given["v"]), None, length=steps // inner)
        return jnp.mean((last - target) ** 2)

    value, both = jax.jit(cost), jax.jit(jax.value_and_grad(cost))
    given = {"x": jnp.asarray(x), "v": jnp.asarray(v), "stiffness": jnp.asarray(stiffness)}

    def value_and_grad() -> tuple[float, dict[str, NDArray[Any]]]:
        found, grads = both(given)
        return float(found), {name: np.asarray(array) for name, array in grads.items()}

    return lambda: float(value(given)), value_and_grad
