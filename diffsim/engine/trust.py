"""Comparing what two modes computed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsim.compiler.ir import Buffer
from diffsim.engine.storage import Storage

__all__ = ["First", "furthest", "gradient_key", "rounding"]

_GRADIENT = "the gradient of "
_NOISE = 16.0  # differences of so many times what rounding was seen to do are rounding


class First:
    """Let somebody look at a rollout's gradient before anybody gets one.

    Attributes:
        judge: Looks at it, and raises where it is wrong; None for nobody, or once it was found right.
        before: Looks at values before anything runs, likewise.
    """

    before: Callable[[], None] | None = None

    judge: Callable[[], None] | None = None
    _busy = False

    def look(self, gradients: bool) -> None:
        """Let it be looked at.

        Args:
            gradients: One is about to be computed.
        """
        if self._busy:
            return
        self._busy = True  # it runs things itself
        try:
            if self.before is not None:
                self.before()
                self.before = None
            if gradients and self.judge is not None:
                self.judge()
                self.judge = None
        finally:
            self._busy = False


def gradient_key(key: str) -> str:
    """Return the name under which the gradient of a field is compared."""
    return _GRADIENT + key


def rounding(
    storage: Storage,
    initial: Iterable[Buffer],
    run: Callable[[], Mapping[str, NDArray[Any]]],
    wanted: Mapping[str, NDArray[Any]],
) -> dict[str, float]:
    """Measure what rounding does to results: run again with first values that are off in their last bit.

    What is zero in truth, such as the velocity gradient of a body in free fall, is computed as the rounding
    of what cancelled, and no two orders of computing it agree on any digit.

    Args:
        storage: Where the first values are; they are put back.
        initial: Their buffers.
        run: Computes the results.
        wanted: The results for the first values as they are.

    Returns:
        How far each result moved.
    """
    rng = np.random.default_rng(0)
    saved = {buffer: [a.copy() for a in storage.arrays(buffer)] for buffer in initial}
    try:
        for buffer, arrays in saved.items():
            moved = [_in_the_last_bit(a, rng) if a.dtype.kind == "f" else a for a in arrays]
            storage.put(buffer, iter(np.where(a == 0.0, a, b) for a, b in zip(arrays, moved, strict=True)))
        found = run()
    finally:
        for buffer, arrays in saved.items():
            storage.put(buffer, iter(arrays))
    return {key: _largest(found[key] - want) for key, want in wanted.items()}


def furthest(
    found: Mapping[str, NDArray[Any]],
    wanted: Mapping[str, NDArray[Any]],
    noise: Mapping[str, float] | None = None,
) -> tuple[float, str]:
    """Return the largest difference between arrays of the same name, on the scale of each, and the name.

    What is nothing but rounding beside the largest gradient counts as equal: a gradient that is zero in truth
    is the rounding of what cancelled.

    Args:
        found: Arrays by name.
        wanted: What they should be.
        noise: What `rounding` measured; differences of that size count as equal.
    """
    worst, name = 0.0, ""
    rounding = (float(np.finfo(a.dtype).eps) * _largest(a) for key, a in wanted.items() if _GRADIENT in key)
    least = max(rounding, default=0.0)
    for key, want in wanted.items():
        error = _difference(found[key], want, least if _GRADIENT in key else 0.0)
        if noise is not None and _largest(found[key] - want) <= _NOISE * noise[key] and np.isfinite(error):
            continue
        if error > worst:
            worst, name = error, key
    return worst, name


def _in_the_last_bit(a: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """Return numbers that are next to given ones, above or below, in their own precision."""
    towards = np.where(rng.random(a.shape) < 0.5, -np.inf, np.inf)
    moved: NDArray[Any] = np.nextafter(a, towards.astype(a.dtype))
    return moved


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
