"""The smoke in JAX: a jitted `lax.scan` over time, differentiated by `jax.value_and_grad`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.smoke_problem import DT, RELAX


def make_program(
    u: NDArray[Any], v: NDArray[Any], density: NDArray[Any], target: NDArray[Any], sweeps: int, steps: int
) -> tuple[Callable[[], float], Callable[[], tuple[float, dict[str, NDArray[Any]]]]]:
    """Return functions for the cost, and for the cost with its gradient with respect to the velocities.

    Args:
        u: First velocities along x (n + 1, n); their type is the precision.
        v: First velocities along y (n, n + 1).
        density: The first smoke (n, n).
        target: The picture (n, n).
        sweeps: Of Jacobi's iteration.
        steps: Time steps.
    """
    import jax
    import jax.numpy as jnp

    real = u.dtype
    jax.config.update("jax_enable_x64", real == np.float64)
    n = len(density)
    stride = DT * n  # spacings that a velocity of 1 m/s carries in a step

    def sample(field: Any, x: Any, y: Any) -> Any:
        """Interpolate between the points of a field, at places in spacings from the first of them."""
        low, part = [], []
        for place, size in ((x, field.shape[0]), (y, field.shape[1])):
            place = jnp.clip(place, 0.0, size - 1.0)
            cell = jnp.clip(jnp.floor(place).astype(jnp.int32), 0, size - 2)
            low.append(cell)
            part.append(place - cell.astype(real))
        (i, j), (a, b) = low, part
        at, columns, flat = i * field.shape[1] + j, field.shape[1], field.ravel()
        below = (1.0 - a) * flat[at] + a * flat[at + columns]
        above = (1.0 - a) * flat[at + 1] + a * flat[at + columns + 1]
        return (1.0 - b) * below + b * above

    def project(u: Any, v: Any) -> Any:
        u, v = jnp.pad(u[1:-1], ((1, 1), (0, 0))), jnp.pad(v[:, 1:-1], ((0, 0), (1, 1)))
        divergence = jnp.diff(u, axis=0) + jnp.diff(v, axis=1)
        inside = jnp.pad(jnp.ones((n, n), real), 1)
        around = inside[:-2, 1:-1] + inside[2:, 1:-1] + inside[1:-1, :-2] + inside[1:-1, 2:]

        def sweep(p: Any, _: Any) -> Any:
            beside = p[:-2, 1:-1] + p[2:, 1:-1] + p[1:-1, :-2] + p[1:-1, 2:]
            here = p[1:-1, 1:-1]
            return jnp.pad(here + RELAX * ((beside - divergence) / around - here), 1), None

        p, _ = jax.lax.scan(sweep, jnp.zeros((n + 2, n + 2), real), None, length=sweeps)
        u = u.at[1:-1].add(-jnp.diff(p[1:-1, 1:-1], axis=0))
        return u, v.at[:, 1:-1].add(-jnp.diff(p[1:-1, 1:-1], axis=1))

    def advect(field: Any, first: tuple[float, float], flow: Any, u: Any, v: Any) -> Any:
        """Carry a field whose first point lies at `first`; `flow` is the velocity at its points."""
        x, y = jnp.meshgrid(*(jnp.arange(k, dtype=real) for k in field.shape), indexing="ij")
        x, y = x + first[0], y + first[1]
        back, aside = x - 0.5 * stride * flow[0], y - 0.5 * stride * flow[1]
        x = x - stride * sample(u, back, aside - 0.5)
        y = y - stride * sample(v, back - 0.5, aside)
        return sample(field, x - first[0], y - first[1])

    def step(state: Any, _: Any) -> Any:
        u, v, d = state
        u, v = project(u, v)
        wide_u, wide_v = jnp.pad(u, ((0, 0), (1, 1)), mode="edge"), jnp.pad(v, ((1, 1), (0, 0)), mode="edge")
        sum_u, sum_v = wide_u[:-1] + wide_u[1:], wide_v[:, :-1] + wide_v[:, 1:]
        on_u = u, 0.25 * (sum_v[:-1] + sum_v[1:])
        on_v = 0.25 * (sum_u[:, :-1] + sum_u[:, 1:]), v
        on_d = 0.5 * (u[:-1] + u[1:]), 0.5 * (v[:, :-1] + v[:, 1:])
        moved = (
            advect(u, (0.0, 0.5), on_u, u, v),
            advect(v, (0.5, 0.0), on_v, u, v),
            advect(d, (0.5, 0.5), on_d, u, v),
        )
        return moved, None

    def cost(given: Any) -> Any:
        state = (given["u"], given["v"], jnp.asarray(density))
        (_, _, last), _ = jax.lax.scan(step, state, None, length=steps)
        return jnp.mean((last - target) ** 2)

    value, both = jax.jit(cost), jax.jit(jax.value_and_grad(cost))
    given = {"u": jnp.asarray(u), "v": jnp.asarray(v)}

    def value_and_grad() -> tuple[float, dict[str, NDArray[Any]]]:
        found, grads = both(given)
        return float(found), {name: np.asarray(array) for name, array in grads.items()}

    return lambda: float(value(given)), value_and_grad
