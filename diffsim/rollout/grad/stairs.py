"""What lies behind a gradient of exactly zero: nothing, a cost in jumps, or one that moves only farther away.

Differences at small steps see zero in all three cases, and agree. Coarse ones tell them apart: steps of 1e-2
to 3 times the size of the values (to 1 where only some elements of a field are zero). Where one of them moves
the cost, halving finds the place where it starts to, and a jump between two flat parts is a stair: the
derivative is right, and tells an optimiser nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsim.errors import StateError
from diffsim.rollout.grad.probe import Arrays, Probe
from diffsim.rollout.grad.verdict import Line

__all__ = ["REMEDY", "behind_zeros", "effects_of_zeros", "size_of", "zeros_of"]

REMEDY = (
    "differentiate the moment at which it switches (the time of impact: diffsim.kernels.common.contact), "
    "split the step there, or smooth the switch"
)

_COARSE = (1e-2, 3e-2, 1e-1, 3e-1, 1.0, 3.0)  # relative to the size of the values
_NEAR = 1.0  # how far where only some elements of a field are zero: the others guide an optimiser
_HALVINGS = 14  # so near to a stair, what is continuous has moved by less than a thousandth
_BEYOND = 2.0**-7  # so far behind a stair, a slope shows in f32 too
_MOST_FIELDS = 16  # that are looked at one by one
_NOISE = 64.0  # times the rounding of the cost


def effects_of_zeros(
    probe: Probe, values: Arrays, gradient: Mapping[str, NDArray[Any]], epsilon: float
) -> dict[str, str]:
    """Find out what lies behind the elements of a gradient that are exactly zero.

    All fields together are moved first, then each alone: 13 runs forward where nothing moves the cost, and at
    most 27 more for each of at most 16 fields. Each element moves by as much as the others, up or down.

    Args:
        probe: What computes costs.
        values: Where.
        gradient: The gradient there, of the shapes of the values.
        epsilon: The relative rounding error of the precision.

    Returns:
        A word by key, for fields with such elements: `dead`, they have no effect on the cost as far as was
        looked; `staircase`, the cost moves in jumps with them and is flat in between; `far`, it moves farther
        away, and not like that; `unseen`, there were too many to look.
    """
    rng = np.random.default_rng(0)
    moves = {}
    for key, array in gradient.items():
        where = np.asarray(array) == 0.0
        if np.any(where):
            moves[key] = np.where(where, rng.choice([-1.0, 1.0], where.shape), 0.0) * size_of(values[key])
    if not moves:
        return {}
    here = probe.cost(values)

    def line(keys: Sequence[str]) -> Line:
        def cost(h: float) -> float:
            try:
                return probe.cost({**values, **{key: values[key] + h * moves[key] for key in keys}})
            except StateError:  # no cost so far away
                return float("nan")

        return Line(cost, here)

    if len(moves) > 1 and behind_zeros(line(list(moves)), epsilon) == "dead":
        return dict.fromkeys(moves, "dead")
    some = list(moves)[:_MOST_FIELDS]
    reach = {key: _NEAR if np.any(gradient[key]) else _COARSE[-1] for key in some}
    return {key: behind_zeros(line([key]), epsilon, reach[key]) if key in some else "unseen" for key in moves}


def zeros_of(probe: Probe, gradients: Mapping[str, NDArray[Any]], epsilon: float) -> dict[str, str]:
    """Tell what lies behind gradients that are zero in every element, in the words of `effects_of_zeros`.

    Args:
        probe: What computes costs, for these fields; all that it changes is put back.
        gradients: By key.
        epsilon: The relative rounding error of the precision.
    """
    if all(np.any(gradient) for gradient in gradients.values()):
        return {}
    with probe.preserved():
        values = {key: array for key, array in probe.values().items() if not np.any(gradients[key])}
        zeros = {key: np.zeros(array.shape) for key, array in values.items()}
        return effects_of_zeros(probe, values, zeros, epsilon)


def behind_zeros(line: Line, epsilon: float, reach: float = _COARSE[-1]) -> str:
    """Find out what lies along a line on which the slope is exactly zero; see `effects_of_zeros`.

    Args:
        line: The costs.
        epsilon: Their relative rounding error.
        reach: How far to look.
    """

    def noise(a: float, b: float) -> float:
        return _NOISE * epsilon * max(abs(a), abs(b))

    def apart(a: float, b: float) -> bool:
        """Tell whether two costs differ by more than rounding; not where one is not finite."""
        return abs(a - b) > noise(a, b)

    steps = (sign * h for h in _COARSE if h <= reach for sign in (1.0, -1.0))
    far = next((h for h in steps if apart(line.at(h), line.here)), None)
    if far is None:
        return "dead"
    low, high = 0.0, far
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if apart(line.at(middle), line.here) else (middle, high)
    stair = line.at(high)
    # what rises slowly out of the rounding is no more than that where it is first seen
    sudden = abs(stair - line.here) > max(1e-3 * abs(line.at(far) - line.here), 4.0 * noise(stair, line.here))
    flat = not apart(line.at(high + _BEYOND * far), stair)
    return "staircase" if sudden and flat else "far"


def size_of(values: NDArray[Any]) -> float:
    """Return the root mean square of values, 1 where it is zero or not finite."""
    size = float(np.sqrt(np.mean(np.square(values))))
    return size if size > 0 and np.isfinite(size) else 1.0
