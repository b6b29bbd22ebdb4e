"""The colours that a part of the scene has in a frame."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsim.view.exports.frames import Frames, scalars
from diffsim.view.style import muscle_colors

__all__ = ["Colors"]

# told apart by everybody, in greyscale too (Okabe and Ito, 2008)
_PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")


class Colors:
    """The colours of a part's elements.

    Args:
        frames: Where its arrays are.
        part: The part.
        number: Its place in the scene.
    """

    def __init__(self, frames: Frames, part: Any, number: int) -> None:
        from matplotlib import colormaps
        from matplotlib.colors import to_rgb

        self._frames, self._part = frames, part
        plain = np.array(to_rgb(part.color or _PALETTE[number % len(_PALETTE)]))
        self._plain = np.rint(255.0 * plain).astype(np.uint8)[None]
        self._map = colormaps["viridis"] if part.center is None else muscle_colors()
        self._limits: tuple[float, float] | None = part.limits

    def of(self, k: int, count: int | None = None) -> NDArray[np.uint8]:
        """Return the colours in a frame, shape (n, 3), or (1, 3) where all have the same.

        Args:
            k: The frame.
            count: How many elements there are; None for as many as there are values.
        """
        ref = self._part.values
        if ref is None:
            return self._plain
        values = self._frames.array(ref, k)
        if getattr(self._part, "rgb", False):
            return np.rint(255.0 * np.clip(np.nan_to_num(values), 0.0, 1.0)).astype(np.uint8).reshape(-1, 3)
        label = self._frames.labels.get(ref) if isinstance(ref, str) else None
        low, high = self._ends()
        numbers = scalars(values, label)[:count]
        share = (numbers - low) / (high - low) if high > low else np.full(numbers.shape, 0.5)
        found = np.rint(255.0 * self._map(np.clip(np.nan_to_num(share), 0.0, 1.0))[:, :3]).astype(np.uint8)
        found[~np.isfinite(numbers)] = self._plain[0]
        return found

    def _ends(self) -> tuple[float, float]:
        if self._limits is None:
            low, high = self._frames.limits(self._part.values)
            if self._part.center is not None:
                reach = max(high - self._part.center, self._part.center - low)
                low, high = self._part.center - reach, self._part.center + reach
            self._limits = low, high
        return self._limits
