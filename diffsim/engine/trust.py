"""Comparing what two modes computed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["furthest", "gradient_key"]

_GRADIENT = "the gradient of "


def gradient_key(key: str) -> str:
    """Return the name under which the gradient of a field is compared."""
    return _GRADIENT + key


def furthest(found: Mapping[str, NDArray[Any]], wanted: Mapping[str, NDArray[Any]]) -> tuple[float, str]:
    """Return the largest difference between arrays of the same name, on the scale of each, and the name.

    What is nothing but rounding beside the largest gradient counts as equal: a gradient that is zero in truth
    is the rounding of what cancelled.

    Args:
        found: Arrays by name.
        wanted: What they should be.
    """
    worst, name = 0.0, ""
    rounding = (float(np.finfo(a.dtype).eps) * _largest(a) for key, a in wanted.items() if _GRADIENT in key)
    least = max(rounding, default=0.0)
    for key, want in wanted.items():
        error = _difference(found[key], want, least if _GRADIENT in key else 0.0)
        if error > worst:
            worst, name = error, key
    return worst, name


def _largest(a: NDArray[Any]) -> float:
    return float(np.max(np.abs(a), initial=0.0, where=np.isfinite(a)))


def _difference(a: NDArray[Any], b: NDArray[Any], least: float) -> float:
    """Return the largest difference over the largest number; places where both are not finite agree."""
    finite = np.isfinite(a)
    if np.any(finite != np.isfinite(b)):
        return float("inf")
    a, b = np.where(finite, a, 0.0), np.where(finite, b, 0.0)
    scale = max(_largest(a), _largest(b), least)
    return float(np.max(np.abs(a - b), initial=0.0) / scale) if scale > 0 else 0.0
