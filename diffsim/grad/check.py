"""Gradients against central finite differences along random directions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsim import runtime
from diffsim.errors import ConfigError

__all__ = ["Direction", "GradientReport", "check_grad"]

_TOLERANCE = {"f64": 1e-6, "f32": 2e-2}
_STEPS = {"f64": (1e-4, 1e-5, 1e-6, 1e-7), "f32": (3e-2, 1e-2, 3e-3, 1e-3)}


@dataclass(frozen=True)
class Direction:
    """The comparison along one direction.

    Attributes:
        adjoint: The slope by the gradient.
        difference: The slope by central differences, at the step size that agrees best.
        step: That step size, relative to the size of the values.
        error: Their difference, relative to the larger one.
    """

    adjoint: float
    difference: float
    step: float
    error: float


@dataclass(frozen=True)
class GradientReport:
    """The outcome of a gradient check.

    Attributes:
        keys: What was differentiated for.
        directions: One comparison per random direction.
        tolerance: The largest relative error that passes.
    """

    keys: tuple[str, ...]
    directions: tuple[Direction, ...]
    tolerance: float

    @property
    def error(self) -> float:
        """The largest relative error."""
        return max(d.error for d in self.directions)

    @property
    def passed(self) -> bool:
        """Tell whether every direction agrees."""
        return all(d.error <= self.tolerance for d in self.directions)

    def __str__(self) -> str:
        rows = [f"gradient with respect to {', '.join(self.keys)}"]
        rows += [f"{'direction':>9} {'adjoint':>16} {'difference':>16} {'step':>8} {'error':>9}"]
        rows += [
            f"{k:9d} {d.adjoint:16.8e} {d.difference:16.8e} {d.step:8.0e} {d.error:9.1e}"
            for k, d in enumerate(self.directions)
        ]
        verdict = "passed" if self.passed else "FAILED"
        return "\n".join(
            [*rows, f"{verdict}: largest relative error {self.error:.1e}, allowed {self.tolerance:.0e}"]
        )


def check_grad(rollout: Any, wrt: Any, directions: int, seed: int, tolerance: float | None) -> GradientReport:
    """Compare a rollout's gradients with central finite differences.

    The slope of the cost (summed over worlds) along a direction `d` is `g . d` by the gradient and
    `(c(p + h d) - c(p - h d)) / 2 h` by differences. Directions are normal random numbers scaled to the root
    mean square of each parameter; `h` is swept over four sizes and the best agreement counts, since
    truncation spoils large steps and rounding small ones, while a wrong gradient agrees at none.

    Raises:
        ConfigError: `directions` or `tolerance` is not positive.
        StateError: The cost is not finite.
    """
    if not isinstance(directions, int) or isinstance(directions, bool) or directions < 1:
        raise ConfigError(f"directions must be a positive integer, got {directions!r}; use 5")
    real = runtime.info().real
    allowed = _TOLERANCE[real] if tolerance is None else tolerance
    if not allowed > 0:
        raise ConfigError(f"tolerance must be positive, got {tolerance!r}; use 1e-6 with precision 64")
    leaves = rollout.leaves(wrt)
    _, gradients = rollout.value_and_grad(wrt)
    values = {leaf.key: leaf.numpy() for leaf in leaves}
    declared = {leaf.key: leaf.field.host_values().copy() for leaf in leaves}  # a scalar stays one
    rng = np.random.default_rng(seed)
    found = []
    try:
        for _ in range(directions):
            direction = {k: rng.normal(size=v.shape) * _scale(v) for k, v in values.items()}
            found.append(_compare(rollout, leaves, values, gradients, direction, _STEPS[real]))
    finally:
        for leaf in leaves:
            leaf.set(declared[leaf.key])
    return GradientReport(tuple(values), tuple(found), allowed)


def _scale(values: NDArray[Any]) -> float:
    size = float(np.sqrt(np.mean(np.square(values))))
    return size if size > 0 else 1.0


def _compare(
    rollout: Any,
    leaves: list[Any],
    values: dict[str, NDArray[Any]],
    gradients: dict[str, NDArray[Any]],
    direction: dict[str, NDArray[Any]],
    steps: tuple[float, ...],
) -> Direction:
    adjoint = float(sum(np.sum(gradients[k] * d) for k, d in direction.items()))
    floor = 1e-6 * float(np.sqrt(sum(np.sum(np.square(gradients[k] * d)) for k, d in direction.items())))
    best: Direction | None = None
    for h in steps:
        costs = []
        for sign in (1.0, -1.0):
            for leaf in leaves:
                leaf.set(values[leaf.key] + sign * h * direction[leaf.key])
            costs.append(float(np.sum(rollout.value())))
        difference = (costs[0] - costs[1]) / (2.0 * h)
        scale = max(abs(adjoint), abs(difference), floor)
        error = abs(adjoint - difference) / scale if scale > 0 else 0.0
        error = error if np.isfinite(error) else float("inf")
        if best is None or error < best.error:
            best = Direction(adjoint, difference, h, error)
    assert best is not None  # noqa: S101  (there is at least one step size)
    return best
