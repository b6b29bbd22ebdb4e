"""What was optimised, before and after: numbers where they are few, pictures and a histogram where not."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsim.view.page.pack import exact, quantised

__all__ = ["Parameter", "packed_parameter"]

_FEW = 48  # numbers that are shown one by one
_BINS = 40
_LINES = 8  # curves of a Control
_SAMPLES = 400  # of each
_SIDE = 160  # cells of a picture along an axis


@dataclass(frozen=True, eq=False)
class Parameter:
    """One array that was optimised.

    Attributes:
        key: Its path in the simulator.
        first, best: Its values at the start, and those of the lowest cost.
        unit: Of its numbers.
        kind: `Param`, `Control` or `State`.
        bounds: The lowest and the highest number allowed; None where there is no such bound.
    """

    key: str
    first: NDArray[Any]
    best: NDArray[Any]
    unit: str = ""
    kind: str = "Param"
    bounds: tuple[float | None, float | None] = (None, None)


def packed_parameter(parameter: Parameter) -> dict[str, Any]:
    """Pack a parameter: always its figures, and as much of its numbers as can be looked at."""
    first, best = (np.asarray(array, dtype=np.float64) for array in (parameter.first, parameter.best))
    told: dict[str, Any] = {
        "key": parameter.key,
        "kind": parameter.kind,
        "unit": parameter.unit,
        "shape": list(best.shape),
        "bounds": list(parameter.bounds),
        "first": _figures(first),
        "best": _figures(best),
    }
    if first.shape != best.shape or best.size == 0:
        return told
    with np.errstate(invalid="ignore"):
        told["change"] = _length(best - first)
    told["hit"] = _hits(best, parameter.bounds)
    if parameter.kind == "Control" and best.ndim >= 1 and len(best) > 1:
        told["lines"] = {"first": _lines(first), "best": _lines(best), "steps": len(best)}
    elif best.size <= _FEW:
        told["numbers"] = {"first": exact(first.ravel()), "best": exact(best.ravel())}
    else:
        told["histogram"] = _histogram(first, best)
        if best.ndim >= 2:
            told["picture"] = _picture(first, best)
    return told


def _figures(array: NDArray[np.float64]) -> dict[str, float]:
    finite = array[np.isfinite(array)]
    if not finite.size:
        return {}
    return {
        "mean": float(finite.mean()),
        "deviation": float(finite.std()),
        "low": float(finite.min()),
        "high": float(finite.max()),
        "length": _length(array),
    }


def _length(array: NDArray[np.float64]) -> float:
    return float(np.linalg.norm(array[np.isfinite(array)]))


def _hits(best: NDArray[np.float64], bounds: tuple[float | None, float | None]) -> int:
    """Count the numbers that lie on a bound."""
    low, high = bounds
    on = np.zeros(best.shape, dtype=bool)
    if low is not None:
        on |= best <= low
    if high is not None:
        on |= best >= high
    return int(on.sum())


def _lines(array: NDArray[np.float64]) -> dict[str, Any]:
    """Thin values over time to curves, shape (samples, curves)."""
    rows = array.reshape(len(array), -1)[:, :_LINES]
    return quantised(rows[:: max(1, math.ceil(len(rows) / _SAMPLES))])


def _histogram(first: NDArray[np.float64], best: NDArray[np.float64]) -> dict[str, Any]:
    finite = [array[np.isfinite(array)] for array in (first, best)]
    both = np.concatenate(finite)
    low, high = (float(both.min()), float(both.max())) if both.size else (0.0, 1.0)
    if not high > low:
        low, high = low - 0.5, high + 0.5
    counts = [np.histogram(array, bins=_BINS, range=(low, high))[0].tolist() for array in finite]
    return {"low": low, "high": high, "first": counts[0], "best": counts[1]}


def _picture(first: NDArray[np.float64], best: NDArray[np.float64]) -> dict[str, Any]:
    """Pack matrices in 8 bits, with one scale that is symmetric about zero; of more axes the last two."""
    rows = [array.reshape(-1, array.shape[-1]) for array in (first, best)]
    some = tuple(slice(None, None, max(1, math.ceil(n / _SIDE))) for n in rows[0].shape)
    finite = [array[np.isfinite(array)] for array in rows]
    most = max((float(np.max(np.abs(array))) for array in finite if array.size), default=0.0)
    packs = [quantised(array[some], 8, (-most, most)) for array in rows]
    return {"most": most, "first": packs[0], "best": packs[1]}
