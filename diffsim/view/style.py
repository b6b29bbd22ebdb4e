"""Colours and type sizes that the pictures share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure

__all__ = [
    "BONE",
    "EARTH",
    "GOAL",
    "HEAD",
    "INK",
    "QUIET",
    "WATER",
    "color_map",
    "get_ready",
    "heading",
    "muscle_colors",
    "muscle_shades",
    "new_figure",
    "palette",
    "signed_colors",
    "word_size",
]

INK = "#1f2933"  # text, outlines
QUIET = "#7b8794"  # secondary text
BONE = "#9aa5b1"  # passive springs
EARTH = "#e6dfd3"  # ground
HEAD = "#f2a900"
GOAL = "#2a9d5c"
WATER = "#5b9bd5"


def signed_colors() -> LinearSegmentedColormap:
    """Make the map of numbers with a sign: from dark blue over white to a red that is not as dark.

    Print in grey and eyes that see no red tell its ends apart, which they don't where both are equally dark.
    """
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list(
        "signed", ["#143d8a", "#6d9fe0", "#ffffff", "#f7a98a", "#e0522d"]
    )


def muscle_colors() -> LinearSegmentedColormap:
    """Make the diverging map of muscle commands: blue shortens, white rests, red lengthens."""
    return signed_colors()


def muscle_shades(count: int = 64) -> NDArray[np.uint8]:
    """Sample the muscles' colours, shape (count, 3), u8."""
    return np.rint(255.0 * muscle_colors()(np.linspace(0.0, 1.0, count))[:, :3]).astype(np.uint8)


def color_map(given: Any) -> Any:
    """Return a colour map of Matplotlib's, which may be given by its name."""
    from matplotlib import colormaps

    return colormaps[given] if isinstance(given, str) else given


def palette() -> NDArray[np.uint8]:
    """List the colours that pictures of robots have a meaning for, shape (n, 3), u8."""
    from matplotlib.colors import to_rgb

    single = [to_rgb(color) for color in ("white", INK, QUIET, BONE, EARTH, HEAD, GOAL)]
    return np.concatenate([muscle_shades(), np.rint(255.0 * np.array(single)).astype(np.uint8)])


def get_ready() -> None:
    """Import what pictures are drawn with, ahead of the first one.

    Raises:
        ImportError: It does not load here.
    """
    import matplotlib.backends.backend_agg
    import matplotlib.figure  # noqa: F401  (with Matplotlib's list of fonts, which a new home does not have)


def new_figure(width: float, height: float, dpi: int) -> Figure:
    """Make a white figure with an Agg canvas of its own, away from pyplot's global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=dpi, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def word_size(axes: Any, still: float = 7.0) -> float:
    """Return a size for words on axes [points]: larger where these are as wide as a film's.

    Args:
        axes: What is written on.
        still: The size in a still, which is less than half as wide.
    """
    wide = axes.get_position().width * axes.figure.get_figwidth()
    return still * (1.35 if wide > 4.0 else 1.0)


def heading(figure: Figure, left: float, top: float, title: str, size: int) -> None:
    """Write a picture's title, as it is: `$` and `_` in names are no mathematics."""
    figure.text(left, top, title, fontsize=size, color=INK, va="top", weight="bold", parse_math=False)
