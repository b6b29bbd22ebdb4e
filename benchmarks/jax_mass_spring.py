"""The mass-spring program in JAX: a jitted `lax.scan` over time, differentiated by `jax.value_and_grad`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.mass_spring_problem import (
    AT_REST,
    DAMPING,
    DT,
    GOAL,
    GRAVITY,
    GROUND,
    INPUT_SCALE,
    OMEGA,
    SINES,
    Arrays,
)


def make_program(
    robot: Any, weights: Arrays, steps: int, starts: NDArray[Any] | None = None
) -> tuple[Callable[[], float], Callable[[], tuple[float, Arrays]]]:
    """Return functions for the cost, and for the cost with its gradient with respect to the weights.

    Args:
        robot: As `PlainMassSpring` takes it.
        weights: `w0`, `b0`, `w1`, `b1`; their type is the precision.
        steps: Time steps.
        starts: Where the points of each world's robot start (worlds, n, 2): the robots run side by side under
            `vmap`, cost and gradient are sums. None for one robot, as it is drawn.
    """
    import jax
    import jax.numpy as jnp

    real = weights["w0"].dtype
    jax.config.update("jax_enable_x64", real == np.float64)
    a, b = (jnp.asarray(robot.springs[:, k]) for k in range(2))
    rest, stiffness, limit, points = (
        jnp.asarray(array, real)
        for array in (robot.rest_length, robot.stiffness, robot.actuation, robot.points)
    )
    phases = jnp.asarray(2.0 * math.pi / SINES * np.arange(SINES), real)
    fall, goal = jnp.asarray([0.0, DT * GRAVITY], real), jnp.asarray(GOAL, real)
    decay, n = math.exp(-DAMPING * DT), len(robot.points)

    def step(w: Any, state: Any, t: Any) -> Any:
        x, v = state
        centroid = jnp.mean(x, axis=0)
        own = INPUT_SCALE * jnp.concatenate([x - centroid, v], axis=1).ravel()
        seen = jnp.concatenate([jnp.sin(OMEGA * DT * t + phases), own, goal - centroid])
        actuation = jnp.tanh(jnp.tanh(seen @ w["w0"] + w["b0"]) @ w["w1"] + w["b1"])
        span = x[a] - x[b]
        length = jnp.sqrt(jnp.sum(span**2, axis=1))
        push = (DT * stiffness * (length - rest * (1.0 + limit * actuation)) / length)[:, None] * span
        moved = decay * v + jnp.zeros((n, 2), real).at[a].add(-push).at[b].add(push) + fall
        height, speed = x[:, 1] - GROUND, moved[:, 1]
        hits = (speed < -AT_REST) & (height + DT * speed < 0.0)
        flight = jnp.where(hits, -height / jnp.where(hits, speed, -1.0), DT)
        return (x + flight[:, None] * moved, jnp.where(hits[:, None], 0.0, moved)), None

    def one(w: Any, place: Any) -> Any:
        start = (place, jnp.zeros((n, 2), real))
        (x, _), _ = jax.lax.scan(lambda state, t: step(w, state, t), start, jnp.arange(steps, dtype=real))
        return -x[robot.head, 0]

    def cost(w: Any) -> Any:
        if starts is None:
            return one(w, points)
        return jnp.sum(jax.vmap(one, (None, 0))(w, jnp.asarray(starts, real)))

    value, both = jax.jit(cost), jax.jit(jax.value_and_grad(cost))
    given = {name: jnp.asarray(array) for name, array in weights.items()}

    def value_and_grad() -> tuple[float, Arrays]:
        found, grads = both(given)
        return float(found), {name: np.asarray(array) for name, array in grads.items()}

    return lambda: float(value(given)), value_and_grad
