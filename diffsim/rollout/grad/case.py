"""A gradient under test: the program in one precision, its gradient at one point, and its comparisons."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsim.errors import StateError
from diffsim.rollout.grad.probe import Arrays, Probe
from diffsim.rollout.grad.report import Direction, Worst
from diffsim.rollout.grad.tangent import Tangents
from diffsim.rollout.grad.verdict import Line, judge

__all__ = ["Case", "Place"]

Place = tuple[str, tuple[int, ...]]

_FLOOR = 1e-6  # of the norm of a slope's terms: what remains of a sum below that is cancellation
_SMALL = 1e-3  # of the largest component of a field: smaller ones are compared on its scale
_ALL = 64  # so few components are compared one by one rather than by bisection
_FEW = 8


class Case:
    """Compare one gradient with differences, along directions and along components.

    Args:
        probe: What computes costs.
        values: Where.
        gradient: The gradient there, in f64.
        tolerance: The relative error that passes.
        tangents: Forward mode of the same program, None to leave it out.
    """

    def __init__(
        self, probe: Probe, values: Arrays, gradient: Arrays, tolerance: float, tangents: Tangents | None
    ) -> None:
        self.probe, self.gradient, self.tolerance, self.tangents = probe, gradient, tolerance, tangents
        self.values = {key: np.asarray(array, dtype=np.float64) for key, array in values.items()}
        self.scales = {key: _size(array) for key, array in self.values.items()}
        self.here = probe.cost(self.values)

    def random(self, rng: np.random.Generator) -> Arrays:
        """Draw a direction: normal numbers of the size of each field's values."""
        return {key: rng.normal(size=v.shape) * self.scales[key] for key, v in self.values.items()}

    def line(self, direction: Arrays) -> Line:
        """Return the costs along a direction."""

        def cost(h: float) -> float:
            moved = {key: self.values[key] + h * d for key, d in direction.items()}
            try:
                return self.probe.cost({**self.values, **moved})
            except StateError:  # no cost so far away
                return float("nan")

        return Line(cost, self.here)

    def along(self, direction: Arrays) -> Direction:
        """Compare along a direction."""
        terms = np.concatenate([np.ravel(self.gradient[k] * d) for k, d in direction.items()])
        floor = _FLOOR * float(np.linalg.norm(terms))
        forward = None
        if self.tangents is not None:
            try:
                forward = float(np.sum(self.tangents.slopes(self.values, direction)))
            except StateError:  # a derivative that is not finite
                forward = float("nan")
        return self._judged(direction, float(np.sum(terms)), floor, forward)

    def component(self, place: Place) -> Direction:
        """Compare one component; slopes are those of the gradient itself."""
        key, index = place
        size = self.scales[key]
        slope = float(self.gradient[key][index]) * size
        floor = _SMALL * float(np.max(np.abs(self.gradient[key]))) * size
        found = self._judged(self._unit(place), slope, floor, None)
        return Direction(
            found.adjoint / size,
            found.difference / size,
            found.step,
            found.error,
            found.verdict,
            None,
            found.left / size,
            found.right / size,
        )

    def _judged(self, direction: Arrays, slope: float, floor: float, forward: float | None) -> Direction:
        found = judge(self.line(direction), slope, floor, self.tolerance, forward)
        return Direction(
            slope,
            found.difference,
            found.step,
            found.error,
            found.verdict,
            forward,
            found.left,
            found.right,
        )

    def _unit(self, place: Place) -> Arrays:
        key, index = place
        direction = np.zeros(self.values[key].shape)
        direction[index] = self.scales[key]
        return {key: direction}

    # ---- components ----

    def places(self) -> list[Place]:
        """List every component."""
        return [(key, index) for key, v in self.values.items() for index in np.ndindex(v.shape)]

    def locate(self, direction: Arrays, step: float) -> Worst:
        """Find the component that is furthest off, by halving the part of a direction that is compared.

        Args:
            direction: One along which the gradient disagrees with differences.
            step: The step size at which it does.
        """
        fields = [[(key, index) for index in np.ndindex(v.shape)] for key, v in self.values.items()]
        found = self.places()
        if len(found) > _ALL:
            found = self._furthest(direction, fields, step)
            while len(found) > _FEW:
                half = len(found) // 2
                found = self._furthest(direction, [found[:half], found[half:]], step)
        place = max(found, key=lambda p: self._miss(self._unit(p), [p], step) / self.scales[p[0]])
        exact = self.component(place)
        return Worst(*place, exact.adjoint, exact.difference)

    def _furthest(self, direction: Arrays, parts: list[list[Place]], step: float) -> list[Place]:
        return max(parts, key=lambda part: self._miss(direction, part, step))

    def _miss(self, direction: Arrays, part: list[Place], step: float) -> float:
        """Return by how much the slope along a part of a direction is off."""
        some: dict[str, NDArray[Any]] = {}
        for key, index in part:
            some.setdefault(key, np.zeros(self.values[key].shape))[index] = direction[key][index]
        slope = float(sum(np.sum(self.gradient[key] * d) for key, d in some.items()))
        miss = abs(self.line(some).central(step) - slope)
        return miss if np.isfinite(miss) else float("inf")


def _size(values: NDArray[Any]) -> float:
    size = float(np.sqrt(np.mean(np.square(values))))
    return size if size > 0 and np.isfinite(size) else 1.0
