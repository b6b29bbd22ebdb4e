"""The elastic block in JAX: a jitted `lax.scan` over time, differentiated by `jax.value_and_grad`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.mpm_problem import DT, GOAL, GRAVITY, LAMBDA, LEAST_MASS, MU, RIM


def make_program(
    x: NDArray[Any], v: NDArray[Any], mass: float, grid: int, steps: int
) -> tuple[Callable[[], float], Callable[[], tuple[float, dict[str, NDArray[Any]]]]]:
    """Return functions for the cost, and for the cost with its gradient with respect to the velocities.

    Args:
        x: Where the particles are at first (n, 2); its type is the precision.
        v: Their velocities (n, 2).
        mass: That of a particle; its volume too.
        grid: Cells along each axis.
        steps: Time steps.
    """
    import jax
    import jax.numpy as jnp

    real = x.dtype
    jax.config.update("jax_enable_x64", real == np.float64)
    one, goal, inv_dx = jnp.eye(2, dtype=real), jnp.asarray(GOAL, real), float(grid)
    offsets = np.stack(np.meshgrid(range(3), range(3), indexing="ij"), axis=-1).reshape(9, 2)
    cell = np.arange(grid)
    low, high = jnp.asarray(cell < RIM), jnp.asarray(cell > grid - RIM)

    def neighbours(x: Any) -> Any:
        base = (x * inv_dx - 0.5).astype(jnp.int32)
        fx = x * inv_dx - base.astype(real)
        w = jnp.stack([0.5 * (1.5 - fx) ** 2, 0.75 - (fx - 1.0) ** 2, 0.5 * (fx - 0.5) ** 2])
        share = w[offsets[:, 0], :, 0] * w[offsets[:, 1], :, 1]  # (9, n)
        at = base[None] + offsets[:, None]
        return share, offsets[:, None].astype(real) - fx[None], at[..., 0] * grid + at[..., 1]

    def walls(v: Any) -> Any:
        x, y = v[..., 0], v[..., 1]
        x = jnp.where((low[:, None] & (x < 0)) | (high[:, None] & (x > 0)), 0.0, x)
        y = jnp.where((low[None] & (y < 0)) | (high[None] & (y > 0)), 0.0, y)
        return jnp.stack([x, y], axis=-1)

    def step(state: Any, _: Any) -> Any:
        x, v, C, F = state
        share, dpos, at = neighbours(x)
        F = (one + DT * C) @ F
        det = F[:, 0, 0] * F[:, 1, 1] - F[:, 0, 1] * F[:, 1, 0]
        tau = MU * (F @ F.transpose(0, 2, 1) - one) + LAMBDA * jnp.log(det)[:, None, None] * one
        affine = mass * C - (DT * mass * 4.0 * inv_dx**2) * tau
        part = share[..., None] * (mass * v[None] + jnp.einsum("pij,kpj->kpi", affine, dpos / inv_dx))
        momentum = jnp.zeros((grid * grid, 2), real).at[at].add(part)
        weight = jnp.zeros(grid * grid, real).at[at].add(share * mass)
        full = weight > LEAST_MASS
        speed = momentum / jnp.where(full, weight, 1.0)[:, None] + jnp.asarray([0.0, DT * GRAVITY], real)
        speed = jnp.where(full[:, None], walls(speed.reshape(grid, grid, 2)).reshape(-1, 2), 0.0)
        g = share[..., None] * speed[at]
        v = jnp.sum(g, axis=0)
        C = 4.0 * inv_dx * jnp.einsum("kpi,kpj->pij", g, dpos)
        return (x + DT * v, v, C, F), None

    def cost(v: Any) -> Any:
        flat = jnp.zeros((len(x), 2, 2), real)
        state = (jnp.asarray(x), v, flat, flat + one)
        (last, *_), _ = jax.lax.scan(step, state, None, length=steps)
        return jnp.sum((last - goal) ** 2) / len(x)

    value, both = jax.jit(cost), jax.jit(jax.value_and_grad(cost))
    given = jnp.asarray(v)

    def value_and_grad() -> tuple[float, dict[str, NDArray[Any]]]:
        found, gradient = both(given)
        return float(found), {"v": np.asarray(gradient)}

    return lambda: float(value(given)), value_and_grad
