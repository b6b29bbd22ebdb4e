"""Colours for many things at once, rounded to a few dozen so that things of one colour are drawn together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffsim.errors import ConfigError
from diffsim.view.style import BONE, color_map

__all__ = ["Shades"]

_LEVELS = 32


@dataclass(frozen=True, eq=False)
class Shades:
    """The colour of each of many things, out of a few.

    Attributes:
        numbers: Which of the colours each thing has, shape (n,), int.
        colors: RGBA from 0 to 1, shape (m, 4).
    """

    numbers: NDArray[np.intp]
    colors: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        values: ArrayLike,
        colormap: Any = "viridis",
        low: float | None = None,
        high: float | None = None,
        levels: int = _LEVELS,
    ) -> Shades:
        """Colour numbers by a map.

        Args:
            values: Shape (n,). What is not finite becomes grey.
            colormap: A colour map of Matplotlib's, or its name.
            low: The number that has the map's first colour; None for the least one.
            high: The number that has its last; None for the largest one.
            levels: How many colours to use at most.

        Raises:
            ConfigError: `levels` is not from 1 to 256.
        """
        from matplotlib.colors import to_rgba

        if not 1 <= levels <= 256:
            raise ConfigError(f"levels must be from 1 to 256, got {levels}; leave them out where unsure")
        numbers = np.asarray(values, dtype=np.float64).reshape(-1)
        finite = np.isfinite(numbers)
        low = float(numbers[finite].min(initial=np.inf)) if low is None else low
        high = float(numbers[finite].max(initial=-np.inf)) if high is None else high
        span = high - low if high > low else 1.0
        share = (np.where(finite, numbers, low) - low) / span if finite.any() else np.zeros(len(numbers))
        level = np.clip(np.nan_to_num(share) * levels, 0, levels - 1).astype(np.intp)
        map_ = color_map(colormap)
        colors = np.array([*map_((np.arange(levels) + 0.5) / levels), to_rgba(BONE)], dtype=np.float64)
        return cls(np.where(finite, level, levels), colors)

    @classmethod
    def rgba(cls, colors: ArrayLike, bits: int = 4) -> Shades:
        """Take a colour for each thing, and join those that look alike.

        Args:
            colors: RGB or RGBA from 0 to 1, shape (n, 3) or (n, 4).
            bits: How many bits of each channel tell colours apart.
        """
        given = np.asarray(colors, dtype=np.float64)
        given = np.clip(np.nan_to_num(given.reshape(-1, given.shape[-1] if given.ndim else 4)), 0.0, 1.0)
        if given.shape[1] == 3:
            given = np.concatenate([given, np.ones((len(given), 1))], axis=1)
        rounded = np.rint(given * (2**bits - 1)).astype(np.int64)
        key = rounded @ (1 << (bits * np.arange(4)))
        _, first, numbers = np.unique(key, return_index=True, return_inverse=True)
        return cls(numbers.reshape(-1), given[first])

    def __getitem__(self, which: Any) -> Shades:
        """Return the shades of some of the things."""
        return Shades(self.numbers[which], self.colors)

    def groups(self) -> Iterator[tuple[NDArray[np.intp], tuple[float, ...]]]:
        """Go over the colours that occur: the things that have one, and the colour."""
        order = np.argsort(self.numbers, kind="stable")
        ends = np.searchsorted(self.numbers[order], np.arange(len(self.colors) + 1))
        for color, start, end in zip(self.colors, ends[:-1], ends[1:], strict=True):
            if end > start:
                yield order[start:end], tuple(color.tolist())
