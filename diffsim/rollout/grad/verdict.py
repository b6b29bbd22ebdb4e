"""What finite differences along one line say about a slope, and why they cannot say more.

Central differences `D(h) = (c(h) - c(-h)) / 2 h` have an error of `h^2 c''' / 6` by truncation and of about
`eps |c| / h` by rounding. A slope that is right agrees with them at some step size. Where it does not, the
way in which `D(h)` depends on `h` tells why:

- `wrong`: differences of neighbouring step sizes agree with each other, and not with the slope;
- `kink`: the one-sided differences settle at two different slopes, at the point or just beside it, and the
  slope lies between them (one beyond them is looked at beside the point too, by the module `case`);
- `jump`: the cost itself is not continuous, `D(h)` grows as `1 / h`;
- `chaos`: the slope promises changes far beyond what the cost ever shows, differences never settle;
- `rounding`: the slope lies within the rounding noise of the differences, which hides more;
- `truncation`: differences still approach the slope at the smallest step;
- `unsure`: none of these.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["VERDICTS", "Line", "Outcome", "judge"]

VERDICTS = ("wrong", "jump", "kink", "chaos", "truncation", "rounding", "unsure", "right")  # gravest first

_QUICK = (1e-4, 1e-5)
_SWEEP = tuple(10.0 ** (-k / 2) for k in range(2, 19))  # 1e-1 .. 1e-9
_EPS = 2.0**-52
_NEIGHBOUR = 30.0  # times the error at the best step size are allowed at one beside it
_SETTLED = 1e-3  # differences that agree among themselves this well are decisive


@dataclass(frozen=True)
class Outcome:
    """What differences say about one slope.

    Attributes:
        verdict: One of `VERDICTS`.
        difference: The slope by differences: where they agree best with the slope, else where they settle.
        step: The step size of that.
        error: The distance to the slope, relative to the larger one.
        left, right: The one-sided slopes at the smallest step that was looked at.
        apart: Whether these stay apart at every step size: there is a kink at the point.
    """

    verdict: str
    difference: float
    step: float
    error: float
    left: float
    right: float
    apart: bool = False


class Line:
    """Costs along a line, each computed once.

    Args:
        cost: The cost at a distance from the point, relative to the size of the values.
        here: The cost at the point.
    """

    def __init__(self, cost: Callable[[float], float], here: float) -> None:
        self._cost, self.here = cost, here
        self._known: dict[float, float] = {0.0: here}

    def at(self, h: float) -> float:
        """Return the cost at a distance."""
        if h not in self._known:
            self._known[h] = self._cost(h)
        return self._known[h]

    def central(self, h: float) -> float:
        """Return the central difference, NaN where a cost is not finite."""
        return _finite((self.at(h) - self.at(-h)) / (2.0 * h))

    def sides(self, h: float) -> tuple[float, float]:
        """Return the differences to the left and to the right."""
        return _finite((self.here - self.at(-h)) / h), _finite((self.at(h) - self.here) / h)

    def gap(self, h: float) -> float:
        """Return the distance of the one-sided differences."""
        left, right = self.sides(h)
        return abs(right - left)

    def noise(self, h: float) -> float:
        """Return the rounding error to expect of a difference."""
        return 4.0 * _EPS * max(abs(self.at(s)) for s in (h, -h, 0.0) if s in self._known) / h


def _finite(x: float) -> float:
    return x if np.isfinite(x) else float("nan")


def judge(line: Line, slope: float, floor: float, tolerance: float) -> Outcome:
    """Compare a slope with differences along a line.

    Args:
        line: The costs.
        slope: The derivative to check.
        floor: What errors are relative to where all slopes are smaller.
        tolerance: The relative error that counts as agreement.
    """
    best = _best(line, slope, floor, _QUICK)
    if best[1] <= tolerance or _nothing(line, slope):
        best = (best[0], best[1] if best[1] <= tolerance else 0.0, best[2])
        kink = _kink(line, _QUICK[:1])[0] > _SETTLED * max(map(abs, line.sides(_QUICK[-1])))
        return _outcome(line, "kink" if kink else "right", best)
    best = _best(line, slope, floor, _SWEEP)
    if best[1] <= tolerance:
        return _outcome(line, "right", best)
    return _explain(line, slope, floor, tolerance, best)


Agreement = tuple[float, float, float]  # the difference, its error, its step


def _best(line: Line, slope: float, floor: float, steps: tuple[float, ...]) -> Agreement:
    """Return the difference that agrees best: a central one, or two of them extrapolated to a step of 0.

    A neighbour must agree nearly as well: a wrong slope may be crossed by chance.
    """
    found: list[Agreement] = []
    previous: tuple[float, float] | None = None
    for h in steps:
        central = line.central(h)
        candidates = [central]
        if previous is not None:
            ratio = (previous[0] / h) ** 2
            candidates.append((ratio * central - previous[1]) / (ratio - 1.0))
        previous = (h, central)
        errors = [_error(slope, value, floor) for value in candidates]
        k = int(np.argmin(errors))
        found.append((candidates[k], errors[k], h))

    def backed(k: int) -> float:
        return max(found[k][1], min(found[j][1] for j in (k - 1, k + 1) if 0 <= j < len(found)) / _NEIGHBOUR)

    k = min(range(len(found)), key=backed)
    return found[k][0], max(found[k][1], backed(k)), found[k][2]


def _nothing(line: Line, slope: float) -> bool:
    """Tell whether differences are rounding only, and a slope so small that no step would make it seen."""
    return abs(slope) <= line.noise(1.0) and all(abs(line.central(h)) <= line.noise(h) for h in _QUICK)


def _error(slope: float, difference: float, floor: float) -> float:
    scale = max(abs(slope), abs(difference), floor)
    error = float(abs(slope - difference) / scale) if scale > 0 else 0.0
    return error if np.isfinite(error) else float("inf")


def _outcome(line: Line, verdict: str, found: Agreement) -> Outcome:
    left, right = line.sides(_QUICK[-1])
    return Outcome(verdict, found[0], found[2], found[1], left, right)


def _kink(line: Line, widest: tuple[float, ...]) -> tuple[float, float]:
    """Return how far the one-sided slopes stay apart and at which step, 0 where they close in.

    Those of a smooth cost close in as the step does.

    Args:
        line: The costs.
        widest: Step sizes from which on they may be constant over two decades.
    """
    for h in widest:
        gaps: list[float] = []
        for s in (h, h / 10.0, h / 100.0):
            gaps.append(line.gap(s))
            if not (30.0 * line.noise(s) < gaps[-1] and 0.5 * gaps[0] < gaps[-1] < 2.0 * gaps[0]):
                break
        else:
            return gaps[-1], h / 100.0
    return 0.0, widest[0]


def _explain(line: Line, slope: float, floor: float, tolerance: float, best: Agreement) -> Outcome:
    """Find out why a slope agrees with differences at no step size."""
    steps = [h for h in _SWEEP if np.isfinite(line.central(h))]
    if len(steps) < 4:
        return _outcome(line, "unsure", best)
    values = np.array([line.central(h) for h in steps])
    settled, spread, at = _settled(steps, values)
    scale = max(abs(slope), abs(settled), floor)
    miss = abs(slope - settled)
    if _is_jump(line, steps):
        return _outcome(line, "jump", best)
    gap, near = _kink(line, (1e-6, 1e-5, 1e-4, 1e-3))
    if gap > 0.3 * miss:
        verdict = "kink" if _between(line, slope, near, _SETTLED * gap) else "wrong"
        left, right = line.sides(near)
        return Outcome(verdict, best[0], best[2], best[1], left, right, apart=True)
    decisive = spread <= max(_SETTLED * abs(settled), 10.0 * line.noise(at))
    if decisive and miss > 10.0 * max(spread, line.noise(at)):
        if _is_quantised(line, slope, steps):
            return _outcome(line, "rounding", best)
        if _kink_beside(line, slope, steps, miss, tolerance * scale):
            return _outcome(line, "kink", best)
        return _outcome(line, "wrong", (settled, _error(slope, settled, floor), at))
    if decisive:
        return _outcome(line, "truncation" if at <= steps[-3] else "rounding", best)
    return _outcome(line, _unsettled(line, slope, steps, values, scale), best)


def _settled(steps: list[float], values: NDArray[Any]) -> tuple[float, float, float]:
    """Return where three neighbouring differences agree best, how well, and the step size of it."""
    apart = np.abs(np.diff(values))
    pairs = np.maximum(apart[:-1], apart[1:])
    k = int(np.argmin(pairs))
    return float(values[k + 1]), float(pairs[k]), steps[k + 1]


def _is_jump(line: Line, steps: list[float]) -> bool:
    """Tell whether the cost differs across the point by as much however near one comes."""
    jumps = np.array([line.at(h) - line.at(-h) for h in steps[-6:]])
    size = float(np.mean(jumps))
    noise = 1e3 * _EPS * max(abs(line.here), abs(line.at(steps[-1])))
    return abs(size) > noise and bool(np.all(np.abs(jumps - size) < 0.05 * abs(size)))


def _between(line: Line, slope: float, h: float, slack: float) -> bool:
    """Tell whether a slope may be a subgradient: between those of the two sides."""
    left, right = line.sides(h)
    slack += 10.0 * line.noise(h)
    return min(left, right) - slack <= slope <= max(left, right) + slack


def _kink_beside(line: Line, slope: float, steps: list[float], miss: float, allowed: float) -> bool:
    """Tell whether the smallest steps, which no longer reach across a kink, agree with the slope."""
    near = [h for h in steps if 10.0 * line.noise(h) + allowed < 0.1 * miss][-3:]
    return len(near) == 3 and all(
        abs(line.central(h) - slope) <= 10.0 * line.noise(h) + allowed for h in near
    )


def _is_quantised(line: Line, slope: float, steps: list[float]) -> bool:
    """Tell whether the cost moves in steps coarser than f64 (a cast in a kernel) that hide the slope."""
    small = [h for h in steps if h <= 1e-2]
    moves = [abs(line.at(s * h) - line.here) for h in small for s in (1.0, -1.0)]
    quantum = min((m for m in moves if m > 0.0), default=0.0)
    return quantum < 1e-2 * abs(slope) and all(
        abs(line.central(h) - slope) <= 1.5 * quantum / h for h in small
    )


def _unsettled(line: Line, slope: float, steps: list[float], values: NDArray[Any], scale: float) -> str:
    """Tell chaos, rounding and truncation apart where differences never settle."""
    errors = np.abs(values - slope)
    if np.all(np.diff(errors[-4:]) < 0) and errors[-1] < 0.3 * scale:
        return "truncation"
    costs = [line.at(s * h) for h in steps for s in (1.0, -1.0)]
    shown = max(costs) - min(costs)
    if abs(slope) * 1e-3 > 30.0 * max(shown, _EPS * abs(line.here)):
        return "chaos"
    even = max(abs(line.at(h) + line.at(-h) - 2.0 * line.here) for h in steps[-4:])
    noise = np.array([max(10.0 * line.noise(h), 5.0 * even / h) for h in steps])
    if np.all(errors[len(errors) // 2 :] <= noise[len(errors) // 2 :]):
        return "rounding"
    return "unsure"
