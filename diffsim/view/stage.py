"""The parts of a planar picture: ground, goal, springs, the bar that explains their colours."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from diffsim.view.motion import Motion, Place
from diffsim.view.style import BONE, EARTH, GOAL, INK, QUIET, muscle_colors

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.text import Annotation

__all__ = [
    "Layers",
    "Way",
    "add_color_bar",
    "add_springs",
    "add_way",
    "draw_place",
    "fit",
    "line_thickness",
    "set_springs",
    "set_way",
]

Layers: TypeAlias = "tuple[LineCollection, LineCollection, LineCollection]"
Way: TypeAlias = "tuple[Line2D, Annotation]"

_BAR = "muscle command:  −1 shortest,  +1 longest"


def fit(place: Place, width: float, lowest: float, highest: float) -> tuple[Place, float]:
    """Give axes of `width` inches a height for equal scales; widen the frame where it is out of bounds."""
    left, right, bottom, top = place.limits
    height = width * (top - bottom) / (right - left)
    if height > highest:
        missing = width * (top - bottom) / highest - (right - left)
        return replace(place, limits=(left - missing / 2, right + missing / 2, bottom, top)), highest
    if height < lowest:
        missing = lowest * (right - left) / width - (top - bottom)
        return replace(place, limits=(left, right, bottom, top + missing)), lowest
    return place, height


def draw_place(axes: Axes, place: Place, point_size: float) -> None:
    """Draw what does not move: ground, goal and start."""
    from matplotlib.ticker import MaxNLocator

    left, right, bottom, top = place.limits
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)
    axes.set_aspect("equal")
    axes.spines[["top", "right", "left", "bottom"]].set_visible(False)
    axes.tick_params(colors=QUIET, labelcolor=INK, labelsize=9, length=3)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 2, 5, 10]))
    if place.ground is not None:
        axes.axhspan(bottom, place.ground, color=EARTH, lw=0, zorder=0)
        axes.axhline(place.ground, color="#8d7f6a", lw=1.4, zorder=1)
    if place.goal is not None:
        x, y = place.goal
        axes.plot(
            [x], [y], marker="*", ms=point_size * 1.4, color=GOAL, mec="white", mew=0.8, ls="", zorder=2
        )
        axes.annotate(
            "goal",
            (x, y),
            (0, -point_size * 1.2),
            textcoords="offset points",
            color=GOAL,
            fontsize=10,
            ha="center",
            va="top",
        )
    if place.start is not None:
        axes.axvline(place.start, color=GOAL, lw=1.2, ls=(0, (4, 3)), zorder=1)
        axes.annotate(
            "start of the head",
            (place.start, 1.0),
            (-4, -2),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            color=GOAL,
            fontsize=9,
            ha="right",
            va="top",
        )


def add_way(axes: Axes, place: Place) -> Way:
    """Add the bar in the ground that shows how far the head has come, and its length as text."""
    bottom = place.limits[2]
    height = bottom if place.ground is None else bottom + 0.65 * (place.ground - bottom)
    (bar,) = axes.plot([], [], color=GOAL, lw=4.0, solid_capstyle="butt", zorder=20)
    text = axes.annotate(
        "", (0.0, height), (0, 0), textcoords="offset points", color=GOAL, fontsize=10, va="center", zorder=20
    )
    return bar, text


def set_way(way: Way, place: Place, head: float) -> None:
    """Let the bar reach from the start to the head; where that is not finite, it stays as it was."""
    bar, text = way
    if not np.isfinite(head):
        return
    start = head if place.start is None else place.start
    height = text.xy[1]
    bar.set_data([start, head], [height, height])
    text.xy = (start, height)
    ahead = head >= start
    text.set_ha("right" if ahead else "left")  # on the side of the start where the bar is not
    text.set_position((-6 if ahead else 6, 0))
    text.set_text(f"head {head - start:+.2f} m".replace("-", "−"))


def add_springs(axes: Axes, motion: Motion, thickness: float) -> Layers:
    """Add the three layers of springs: passive ones, muscles' outlines, muscles' colours."""
    from matplotlib.collections import LineCollection

    bones = LineCollection([], colors=BONE, linewidths=0.55 * thickness, capstyle="round", zorder=3)
    outlines = LineCollection([], colors=INK, linewidths=1.75 * thickness, capstyle="round", zorder=4)
    muscles = LineCollection(
        [], linewidths=1.05 * thickness, capstyle="round", zorder=5, cmap=muscle_colors()
    )
    muscles.set_clim(-1.0, 1.0)
    for layer in (bones, outlines, muscles):
        axes.add_collection(layer, autolim=False)
    return bones, outlines, muscles


def line_thickness(motion: Motion, place: Place, width: float) -> float:
    """Scale lines with the robot: a fraction of its typical spring, in points, within readable bounds."""
    first = motion.segments(int(motion.missing.argmin()))
    lengths = np.linalg.norm(first[:, 0] - first[:, 1], axis=1)
    length = float(np.nanmedian(lengths)) if np.isfinite(lengths).any() else 0.0
    return float(np.clip(0.11 * length / (place.limits[1] - place.limits[0]) * width * 72.0, 1.2, 4.0))


def add_color_bar(figure: Figure, muscles: LineCollection, box: tuple[float, float, float, float]) -> None:
    """Add the bar that explains the muscles' colours."""
    axes = figure.add_axes(box)
    bar = figure.colorbar(muscles, cax=axes, orientation="horizontal", ticks=[-1, 0, 1])
    bar.outline.set_linewidth(0.6)  # type: ignore[operator]
    axes.tick_params(labelsize=8, labelcolor=INK, colors=QUIET, length=2, pad=2)
    axes.set_title(_BAR, fontsize=8, color=INK, pad=3)


def set_springs(layers: Layers, motion: Motion, frame: int) -> None:
    """Move and colour the three layers of springs."""
    bones, outlines, muscles = layers
    segments = motion.segments(frame)
    bones.set_segments(segments[~motion.active])
    outlines.set_segments(segments[motion.active])
    muscles.set_segments(segments[motion.active])
    muscles.set_array(motion.actuation[frame][motion.active])
