"""From numbers to colours: hue after hue from the least to the largest, or two hues about a middle."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffsim.view.shades import Shades
from diffsim.view.style import BONE

__all__ = ["COLORS", "Scale", "known_color", "light_color", "rgb_of", "scale_of"]

# Told apart by the colour-blind, and in grey by their lightness (after Okabe and Ito, 2008).
COLORS = ("#1b5fc1", "#d55e00", "#2a9d5c", "#b0569b", "#e69f00", "#4aa8d8", "#7b5a2f", "#1f2933")
_FLAT = 0.5  # a scale of one number reaches so much of it up and down
_BOTH = 0.02  # of the larger side: below that the smaller one is no second sign


@dataclass(frozen=True)
class Scale:
    """Which colour a number has.

    Attributes:
        low: The number with the first colour.
        high: The number with the last one.
        two: Whether the map has two hues, with white in the middle.
        full: Whether a map of one may be as bright as paper, where it fills its place.
        hue: The colour whose tints and shades a map of one consists of; empty for hue after hue.
    """

    low: float
    high: float
    two: bool = False
    full: bool = False
    hue: str = ""

    def colormap(self) -> Any:
        """Return Matplotlib's map."""
        if self.hue and not self.two:
            return _tints(self.hue, self.full)
        return _two_hues() if self.two else _one_hue(1.0 if self.full else 0.9)

    def shades(self, values: ArrayLike) -> Shades:
        """Colour things, for a brush."""
        return Shades.of(values, self.colormap(), self.low, self.high)

    def rgb(self, values: ArrayLike) -> NDArray[np.float64]:
        """Return colours from 0 to 1, shape (..., 3); what is not finite is grey."""
        array = np.asarray(values, dtype=np.float64)
        finite = np.isfinite(array)
        share = (np.where(finite, array, self.low) - self.low) / (self.high - self.low)
        found = _table(self.two, self.full, self.hue)[
            np.rint(255.0 * np.clip(share, 0.0, 1.0)).astype(np.intp)
        ]
        found[~finite] = rgb_of(BONE)
        return np.asarray(found)


def scale_of(
    low: float,
    high: float,
    center: float | None = None,
    limits: tuple[float, float] | None = None,
    full: bool = False,
    hue: str = "",
) -> Scale:
    """Choose a scale for numbers.

    Args:
        low: The least number.
        high: The largest.
        center: The middle of a map of two hues; None for 0 where numbers have both signs, else for one hue.
        limits: The ends, where they are given.
        full: Whether it may be as bright as paper.
        hue: The colour of a map of one hue; empty for hue after hue.
    """
    given = limits is not None
    low, high = (float(v) for v in (limits or (low, high)))
    if center is None and low < 0.0 < high and min(-low, high) > _BOTH * max(-low, high):
        center = 0.0
    if center is not None and not given:
        side = max(high - center, center - low)
        low, high = center - side, center + side
    if not high > low:
        half = _FLAT * abs(low) or _FLAT
        low, high = low - half, low + half
    return Scale(low, high, center is not None, full, hue)


def rgb_of(color: str) -> NDArray[np.float64]:
    """Return a colour from 0 to 1, shape (3,)."""
    from matplotlib.colors import to_rgb

    return np.array(to_rgb(color))


def light_color(color: str) -> bool:
    """Tell whether a colour can hardly be seen on paper."""
    return float(rgb_of(color) @ [0.3, 0.59, 0.11]) > 0.82


def known_color(color: str) -> bool:
    """Tell whether a text is a colour."""
    from matplotlib.colors import is_color_like

    return bool(is_color_like(color))


@functools.cache
def _one_hue(bright: float) -> Any:
    import matplotlib as mpl
    from matplotlib.colors import ListedColormap

    return ListedColormap(mpl.colormaps["viridis"](np.linspace(0.0, bright, 256)))


@functools.cache
def _tints(color: str, full: bool) -> Any:
    """From a tint of a colour (of a map that fills its place: nearly white) over it to a dark shade."""
    from matplotlib.colors import LinearSegmentedColormap

    tone = rgb_of(color)
    light = 1.0 - (0.04 if full else 0.22) * (1.0 - tone)
    return LinearSegmentedColormap.from_list("tints", [(0.0, light), (0.6, tone), (1.0, 0.55 * tone)])


@functools.cache
def _two_hues() -> Any:
    """Blue below and orange above white: told apart by the colour-blind; below gets darker than above."""
    from matplotlib.colors import LinearSegmentedColormap

    tones = ["#0b2f6b", "#1b5fc1", "#7db1ee", "#fbfbf9", "#f8b878", "#e0701a", "#a83c05"]
    return LinearSegmentedColormap.from_list("two hues", tones)


@functools.cache
def _table(two: bool, full: bool, hue: str) -> NDArray[np.float64]:
    return np.asarray(Scale(0.0, 1.0, two, full, hue).colormap()(np.linspace(0.0, 1.0, 256)))[:, :3]
