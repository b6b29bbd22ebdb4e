"""A gradient under test: the program in one precision, its gradient at one point, and its comparisons."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsim.errors import StateError
from diffsim.rollout.grad.probe import Arrays, Place, Probe
from diffsim.rollout.grad.report import Direction, Worst
from diffsim.rollout.grad.stairs import effects_of_zeros, size_of
from diffsim.rollout.grad.tangent import Tangents
from diffsim.rollout.grad.verdict import Line, judge

__all__ = ["Case"]

_FLOOR = 1e-6  # of the norm of a slope's terms: what remains of a sum below that is cancellation
_SMALL = 1e-3  # of the largest component of a field: smaller ones are compared on its scale
_EPSILON = 2.0**-52  # gradients are compared in f64
_BESIDE = 1e-3  # how far beside a kink, relative to the size of the values, one looks at the same gradient
_SAME = 1e-9  # forward and reverse mode are both exact
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
        meant: The gradient with surrogates, where the program has some and is looked at without them.
    """

    def __init__(
        self,
        probe: Probe,
        values: Arrays,
        gradient: Arrays,
        tolerance: float,
        tangents: Tangents | None,
        meant: Arrays | None = None,
    ) -> None:
        self.probe, self.gradient, self.tolerance, self.tangents = probe, gradient, tolerance, tangents
        self.meant = gradient if meant is None else meant
        self.values = {key: np.asarray(array, dtype=np.float64) for key, array in values.items()}
        self.scales = {key: size_of(array) for key, array in self.values.items()}
        self.here = probe.cost(self.values)

    def effects(self) -> dict[str, str]:
        """Find out what lies behind the elements of the gradient that are exactly zero."""
        return effects_of_zeros(self.probe, self.values, self.meant, _EPSILON)

    def random(self, rng: np.random.Generator) -> Arrays:
        """Draw a direction: normal numbers of the size of each field's values."""
        return {key: rng.normal(size=v.shape) * self.scales[key] for key, v in self.values.items()}

    def line(self, direction: Arrays, values: Arrays | None = None, here: float | None = None) -> Line:
        """Return the costs along a direction.

        Args:
            direction: By field key.
            values: Where the line starts, the point under test where left out.
            here: The cost there.
        """
        start = self.values if values is None else values

        def cost(h: float) -> float:
            moved = {key: start[key] + h * d for key, d in direction.items()}
            try:
                return self.probe.cost({**start, **moved})
            except StateError:  # no cost so far away
                return float("nan")

        return Line(cost, self.here if here is None else here)

    def along(self, direction: Arrays) -> Direction:
        """Compare along a direction."""
        slope, floor = _slope(self.gradient, direction)
        return self._judged(direction, slope, floor, self._forward(direction))

    def _forward(self, direction: Arrays) -> float | None:
        """Return the slope by forward mode, None without it."""
        if self.tangents is None:
            return None
        try:
            return self.slope(self.tangents, direction)
        except StateError:  # a derivative that is not finite
            return float("nan")

    def slope(self, tangents: Tangents, direction: Arrays) -> float:
        """Return the slope along a direction by forward mode.

        Raises:
            StateError: A value or a derivative stops being finite on the way.
        """
        formed = self.probe.formed
        return float(np.sum(tangents.slopes(formed(self.values), formed(direction))))

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
        found = judge(self.line(direction), slope, floor, self.tolerance)
        verdict = found.verdict
        if verdict == "wrong" and found.apart and self._is_one_of_many(direction, slope, forward):
            verdict = "kink"
        return Direction(
            slope,
            found.difference,
            found.step,
            found.error,
            verdict,
            forward,
            found.left,
            found.right,
        )

    def _is_one_of_many(self, direction: Arrays, slope: float, forward: float | None) -> bool:
        """Tell whether a slope that lies outside those of the two sides of a kink is right for all that.

        Where several kinks meet at one point (a ball at rest that touches two others), each side of a line
        takes other branches than the point itself, whose slope may lie beyond both. So forward mode, which
        takes the branches of the point, must agree, and the gradient must be confirmed a little beside.
        """
        if forward is None:
            forward = self._forward(direction)
        same = None if forward is None else abs(forward - slope) <= _SAME * abs(slope)
        if same is False:
            return False
        verdict = self._beside(direction)
        return verdict in ("right", "kink") or (verdict != "wrong" and same is True)

    def _beside(self, direction: Arrays) -> str:
        """Judge the gradient of a point nearby along the same direction."""
        rng = np.random.default_rng(0)
        near = {
            key: v + _BESIDE * d
            for (key, v), d in zip(self.values.items(), self.random(rng).values(), strict=True)
        }
        try:
            slope, floor = _slope(self.probe.gradient(near), direction)
            here = self.probe.cost(near)
        except StateError:
            return "unsure"
        return judge(self.line(direction, near, here), slope, floor, self.tolerance).verdict

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


def _slope(gradient: Arrays, direction: Arrays) -> tuple[float, float]:
    """Return the slope along a direction, and what errors are relative to where its terms cancel."""
    terms = np.concatenate([np.ravel(gradient[k] * d) for k, d in direction.items()])
    return float(np.sum(terms)), _FLOOR * float(np.linalg.norm(terms))
