"""How a gradient fares on its way back through time: whether it explodes, vanishes, or reaches nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsim.rollout.grad.stairs import REMEDY
from diffsim.view.cards import card, rows
from diffsim.view.sketches import curves

__all__ = ["GradientHealth", "describe_last", "growth_rate", "make_health"]

_FEW = 20  # numbers below which no start-up is left out and no power law is told from growth
_START_UP = 0.1  # share of the horizon that a cost may take to reach all States


@dataclass(frozen=True, eq=False)
class GradientHealth:
    """What the backward pass of one gradient was like.

    Attributes:
        steps: The horizon.
        adjoint_norms: The Euclidean length of the adjoint of all States at t = 0 .. steps, shape
            (steps + 1,); with several worlds (worlds, steps + 1). At `t` it is the derivative of what the
            cost gets from step `t` on; infinite or NaN where it left the range of the precision, and zero
            behind the end of a world that ended early.
        growth: The rate at which they grow per step of backward time, a finite-time Lyapunov exponent:
            `norm[t] ~ exp(growth * (steps - t))`; below zero they shrink. With several worlds one for each.
            NaN where no adjoint is other than zero.
        horizon: Steps from the end after which rounding has grown to the size of the gradient itself,
            `ln(1 / epsilon) / growth`, so that it carries no information; None where nothing grows. With
            several worlds that of the fastest.
        truncation: How many steps to propagate back through, None for all: where gradients explode, those
            after which half of the digits are left; where they vanish, those that the gradient comes from.
        gradient_norms: The length of the gradient by key.
        dead: Keys whose gradient is exactly zero in every element, and with which the cost moves in no jumps.
        zeros: The number of elements with a gradient of exactly zero by key, of those that are not dead.
        epsilon: The relative rounding error of the precision.
        stairs: Keys whose gradient is exactly zero in every element too, and with which the cost moves in
            jumps, flat between them; they are not among the dead.
        flat: Those of the dead with which the cost moves farther away, as at its lowest point, beside a kink
            or behind a `max` that is off; the others have no effect on it, as far as was looked.
    """

    steps: int
    adjoint_norms: NDArray[np.float64]
    growth: Any
    horizon: int | None
    truncation: int | None
    gradient_norms: dict[str, float]
    dead: tuple[str, ...]
    zeros: dict[str, int]
    epsilon: float
    stairs: tuple[str, ...] = ()
    flat: tuple[str, ...] = ()

    @property
    def explodes(self) -> bool:
        """Tell whether the horizon is longer than gradients carry information."""
        return self.horizon is not None and self.horizon < self.steps

    @property
    def vanishes(self) -> bool:
        """Tell whether what happens in the first steps is lost in the gradient's rounding."""
        return not self.explodes and _reach(self.adjoint_norms, self.epsilon) < self.steps

    @property
    def ok(self) -> bool:
        """Tell whether gradients neither explode nor vanish, and reach every key."""
        return not (self.explodes or self.vanishes or self.dead or self.stairs)

    def _repr_html_(self) -> str:
        norms = np.atleast_2d(self.adjoint_norms)
        words = ["explodes"] * self.explodes + ["vanishes"] * self.vanishes
        words += [f"is zero for {', '.join(keys)}" for keys in (self.dead + self.stairs,) if keys]
        mark = None
        if self.truncation is not None:
            told = "half of its digits are left here" if self.explodes else "it comes from here on"
            mark = (float(max(0, self.steps - self.truncation)), told)
        title = "norm of the States' adjoint" + (f", 4 of {len(norms)} worlds" if len(norms) > 4 else "")
        return card(
            f"The gradient {' and '.join(words) or 'is healthy'}",
            curves(np.arange(self.steps + 1), list(norms[:4]), title, "step", log=True, mark=mark),
            rows(self._rows()),
        )

    def __str__(self) -> str:
        return "\n".join(f"{name:14s} {text}" for name, text in self._rows())

    def _rows(self) -> list[tuple[str, str]]:
        norms = np.atleast_2d(self.adjoint_norms)
        worst = _fastest(self.growth)
        many = f" (world {worst} of {len(norms)}, the fastest)" if len(norms) > 1 else ""
        growth = float(np.atleast_1d(self.growth)[worst])
        first, last = norms[worst, 0], norms[worst, -1]
        found = [
            ("adjoint norm", f"{last:.3g} at t = {self.steps}, {first:.3g} at t = 0{many}"),
            ("growth", f"{growth:+.3g} per step of backward time: {_pace(growth)}"),
            ("gradient", self._explain(norms)),
        ]
        for key, size in self.gradient_norms.items():
            zero = f", {self.zeros[key]} element(s) exactly zero" if key in self.zeros else ""
            note = ", dead: it has no effect on the cost as things are" if key in self.dead else zero
            if key in self.flat:
                note = ", flat: it does not move the cost here, but does farther away"
            if key in self.stairs:
                note = f", staircase: the cost moves in jumps with it; {REMEDY}"
            found.append((f"  {key}", f"{size:.3g}{note}"))
        return found

    def _explain(self, norms: NDArray[np.float64]) -> str:
        if self.explodes:
            return (
                f"explodes: after {self.horizon} of {self.steps} steps it is rounding alone; shorten the "
                f"horizon, or propagate back through {self.truncation} steps"
            )
        if not np.any(norms):
            return "reaches no State: the cost depends on none of them"
        if self.vanishes:
            return (
                f"vanishes: what happens more than {self.truncation} steps before the end does not reach the "
                "cost; propagating back through those steps is enough"
            )
        return f"carries information over all {self.steps} steps"


def make_health(
    norms: NDArray[np.float64],
    gradients: Mapping[str, NDArray[Any]],
    epsilon: float,
    behind: Mapping[str, str] | None = None,
) -> GradientHealth:
    """Judge adjoint norms and gradients.

    Args:
        norms: Of the States' adjoint, shape (worlds, steps + 1).
        gradients: By key.
        epsilon: The relative rounding error of the precision.
        behind: What lies behind gradients that are zero in every element, by key; see `effects_of_zeros`.
    """
    steps = norms.shape[1] - 1
    growth = np.array([growth_rate(row[::-1]) for row in norms])
    times = np.arange(steps + 1)
    horizons = [_horizon(row[::-1], times, rate, epsilon) for row, rate in zip(norms, growth, strict=True)]
    known = [h for h in horizons if h is not None]
    horizon = min(known) if known else None
    truncation = None
    if horizon is not None and horizon < steps:
        truncation = max(1, horizon // 2)  # epsilon * exp(growth * k) is the root of epsilon there
    elif (reach := _reach(norms, epsilon)) < steps and np.any(norms):
        truncation = max(1, reach)
    zero = {key: int(np.count_nonzero(g == 0.0)) for key, g in gradients.items()}
    nothing = [key for key, g in gradients.items() if zero[key] == g.size]
    words = {key: (behind or {}).get(key, "dead") for key in nothing}
    return GradientHealth(
        steps=steps,
        adjoint_norms=norms if len(norms) > 1 else norms[0],
        growth=growth if len(norms) > 1 else float(growth[0]),
        horizon=horizon,
        truncation=truncation,
        gradient_norms={key: _length(g) for key, g in gradients.items()},
        dead=tuple(key for key in nothing if words[key] != "staircase"),
        zeros={key: n for key, n in zero.items() if n and key not in nothing},
        epsilon=epsilon,
        stairs=tuple(key for key in nothing if words[key] == "staircase"),
        flat=tuple(key for key in nothing if words[key] == "far"),
    )


def growth_rate(norms: NDArray[np.float64], times: NDArray[Any] | None = None) -> float:
    """Return the exponential rate of growth of norms over time, by least squares on their logarithms.

    Zeros are left out, and so is what comes after the first number that is not finite. Where there are enough
    of them, the first tenth (the start-up, in which a cost spreads to all States) is left out too, and a
    power of time is fitted beside the exponential: sums over time, such as a running cost gathers, grow too,
    but not exponentially.

    Args:
        norms: In backward time, the end of the horizon first.
        times: When each was; 0, 1, 2, ... where left out.

    Returns:
        The rate per unit of time; NaN without two positive numbers.
    """
    k, logs = _usable(norms, times)
    if len(k) < 2:
        return math.nan
    return float(_fit(k, logs)[0][1])


def _usable(
    norms: NDArray[np.float64], times: NDArray[Any] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return times and logarithms of the positive norms before the first that is not finite."""
    end = int(np.argmin(np.isfinite(norms))) if not np.all(np.isfinite(norms)) else len(norms)
    k = (np.arange(len(norms)) if times is None else np.asarray(times))[:end].astype(np.float64)
    positive = norms[:end] > 0.0
    return k[positive], np.log(norms[:end][positive])


def _fit(
    k: NDArray[np.float64], logs: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fit `a + rate * k + power * log(1 + k)`, power >= 0; return the coefficients and what is left over."""
    late = int(_START_UP * len(k)) if len(k) >= _FEW else 0
    k, logs = k[late:], logs[late:]
    design = np.stack([np.ones_like(k), k, np.log1p(k)], axis=1)
    for columns in (3, 2) if late else (2,):
        part = design[:, :columns]
        found: NDArray[np.float64] = np.linalg.lstsq(part, logs, rcond=None)[0]
        if columns == 2 or found[2] > 0.0:  # nothing sums up to a falling power
            break
    return found, logs - part @ found


def _horizon(norms: NDArray[np.float64], times: NDArray[Any], rate: float, epsilon: float) -> int | None:
    """Return the steps of backward time in which rounding outgrows the gradient, None where nothing grows.

    Growth counts where it is more over the horizon than the norms scatter about it: an oscillation has a
    slope too.
    """
    finite = np.isfinite(norms)
    lost = None if np.all(finite) else max(0, int(times[np.argmin(finite)]) - 1)
    if not rate > 0.0:
        return lost
    k, logs = _usable(norms, times)
    scatter = float(np.std(_fit(k, logs)[1]))
    if rate * (k[-1] - k[0]) <= 2.0 * scatter + 1e-9:
        return lost
    steps = int(min(math.log(1.0 / epsilon) / rate, 2.0**31))
    return steps if lost is None else min(steps, lost)


def describe_last(
    gradients: Mapping[str, NDArray[Any]],
    carried: Mapping[int, float],
    rounding: float,
    steps: int,
    epsilon: float,
) -> str | None:
    """Judge a gradient by what its run left behind, without another one; None where nothing looks bad.

    Three signs cost nothing: a gradient that is exactly zero; the growth of the largest adjoint from segment
    to segment, where there are several; and `rounding`, which sees explosions in one segment too: the cost
    cannot be known better than it feels the rounding of the first States. A cost that happens to be next to
    nothing looks the same, so the line says what to run to know.

    Args:
        gradients: By key.
        carried: The largest adjoint by step, at segment boundaries.
        rounding: `epsilon * sum(abs(x[0] * adjoint of x[0])) / abs(cost)`, the largest of all worlds.
        steps: The horizon.
        epsilon: The relative rounding error of the precision.
    """
    found = []
    times = np.array(sorted(carried, reverse=True), dtype=np.int64)
    sizes = np.array([carried[int(t)] for t in times])
    horizon = _horizon(sizes, steps - times, growth_rate(sizes, steps - times), epsilon)
    if rounding >= 1.0 or (horizon is not None and horizon < steps):
        found.append("gradients explode: they are lost in rounding over so many steps")
    dead = [key for key, gradient in gradients.items() if not np.any(gradient)]
    if dead:
        found.append(
            f"the gradient of {', '.join(dead)} is exactly zero: no effect on the cost as things are, or in "
            "jumps only"
        )
    return f"{'; '.join(found)} (rollout.health() tells more)" if found else None


def _reach(norms: NDArray[np.float64], epsilon: float) -> int:
    """Return the steps before the end in which an adjoint is more than rounding of the largest one."""
    rows = np.atleast_2d(norms)
    largest = np.max(rows, axis=1, keepdims=True)
    counts = ~(rows <= epsilon * largest)  # a NaN counts
    steps = rows.shape[1] - 1
    return steps - int(np.argmax(np.any(counts, axis=0))) if np.any(counts) else 0


def _fastest(growth: Any) -> int:
    rates = np.nan_to_num(np.atleast_1d(growth), nan=-np.inf)
    return int(np.argmax(rates))


def _length(gradient: NDArray[Any]) -> float:
    """Return the Euclidean length, in 64 bits and without leaving its range on the way."""
    values = np.abs(np.asarray(gradient, dtype=np.float64))
    largest = float(np.max(values, initial=0.0))
    if not 0.0 < largest < math.inf:
        return largest
    return largest * math.sqrt(float(np.sum(np.square(values / largest))))


def _pace(growth: float) -> str:
    if math.isnan(growth):
        return "nothing to measure"
    if abs(growth) < 1e-12:
        return "it neither grows nor shrinks"
    steps = math.log(10.0) / abs(growth)
    return f"tenfold {'more' if growth > 0 else 'less'} every {steps:.3g} steps"
