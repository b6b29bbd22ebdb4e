"""A planar robot in motion: what stands still is drawn once, the rest for each frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diffsim.view.brush import Brush
from diffsim.view.finite import words_for
from diffsim.view.label import Label
from diffsim.view.motion import Motion, Place
from diffsim.view.stage import (
    Layers,
    Way,
    add_color_bar,
    add_springs,
    add_way,
    draw_place,
    fit,
    line_thickness,
    set_way,
)
from diffsim.view.style import BONE, GOAL, HEAD, INK, heading, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation, Text

__all__ = ["Stage"]


@dataclass
class Stage:
    """A figure whose still parts are drawn once and whose moving parts are drawn per frame.

    Attributes:
        figure: The figure.
        axes: The stage in it.
        place: What the stage shows of the world.
        thickness: Of lines, as `line_thickness` gives it.
        layers: Springs without places: their widths and colours.
        way: How far the head has come.
        name: The head's name.
        clock: The line above the stage.
    """

    figure: Figure
    axes: Axes
    place: Place
    thickness: float
    layers: Layers
    way: Way
    name: Annotation
    clock: Text

    @classmethod
    def of(cls, motion: Motion, place: Place, title: str) -> Stage:
        """Lay out the figure: heading and colour bar above, the stage below."""
        wide, dpi = 7.6, 90
        left, right, below, above = 0.62, 0.15, 0.48, 0.72  # [inch] around the stage
        stage = wide - left - right
        place, tall = fit(place, stage, 1.6, 5.0)
        height = round((tall + below + above) * dpi) / dpi
        figure = new_figure(wide, height, dpi)
        axes = figure.add_axes((left / wide, below / height, stage / wide, tall / height))
        thickness = line_thickness(motion, place, stage)
        draw_place(axes, place, 3.2 * thickness + 3)
        axes.set_xlabel("x [m]", color=INK, fontsize=9, labelpad=1)
        axes.set_ylabel("height [m]", color=INK, fontsize=9)
        layers = add_springs(axes, motion, thickness)
        if motion.active.any():
            add_color_bar(figure, layers[2], (1 - 3.0 / wide, 1 - 0.42 / height, 2.8 / wide, 0.09 / height))
        heading(figure, left / wide, 1 - 0.14 / height, title, 12)
        # Beside the body, not on it: a head that is a foot is named below, in the ground.
        side = -1 if motion.head_is_low() else 1
        name = axes.annotate(
            "head",
            (0, 0),
            (0, side * (1.5 * thickness + 4)),
            textcoords="offset points",
            fontsize=9,
            color=INK,
            ha="center",
            va="bottom" if side > 0 else "top",
            zorder=8,
        )
        clock = figure.text(
            left / wide, 1 - 0.62 / height, "", fontsize=10, color=INK, va="baseline", family="monospace"
        )
        return cls(figure, axes, place, thickness, layers, add_way(axes, place), name, clock)

    def frames(
        self, motion: Motion, progress: Callable[[int, int], object] | None = None
    ) -> Iterator[NDArray[np.uint8]]:
        """Draw every frame when it is asked for: restore the still picture, then the moving parts over it."""
        canvas: Any = self.figure.canvas
        for artist in (*self.layers, *self.way, self.name, self.clock):
            artist.set_animated(True)
        self.layers[2].set_snap(False)  # as the brush
        canvas.draw()
        still = canvas.copy_from_bbox(self.figure.bbox)
        brush = Brush(self.axes)
        way, clock = Label(self.way[1]), Label(self.clock)
        for frame in range(len(motion.positions)):
            canvas.restore_region(still)
            self._pose(motion, frame)
            self._draw(brush, motion, frame)
            picture = brush.picture()
            for label in (way, clock):
                label.put(picture)
            yield picture
            if progress is not None:
                progress(frame + 1, len(motion.positions))

    def _pose(self, motion: Motion, frame: int) -> None:
        """Set the texts as one frame has them."""
        text = "" if motion.times is None else f"t = {motion.times[frame]:.2f} s"
        head = np.full(2, np.nan) if motion.head is None else motion.positions[frame, motion.head]
        known = bool(np.isfinite(head).all())
        # the bar names the head too, where its name would stand
        self.name.set_visible(known and (self.place.start is None or not motion.head_is_low()))
        if known:
            self.name.xy = tuple(head)
            text += f"   head at x = {head[0]:.2f} m"
            if self.place.start is not None:
                set_way(self.way, self.place, head[0])
        self.clock.set_text(f"{text}   {words_for(int(motion.missing[frame]))}".strip())

    def _draw(self, brush: Brush, motion: Motion, frame: int) -> None:
        """Draw the robot."""
        x, active = motion.positions[frame], motion.active
        ends = motion.segments(frame)
        bones, outlines, muscles = self.layers
        brush.lines(ends[~active], BONE, float(np.ravel(bones.get_linewidth())[0]))
        brush.lines(ends[active], INK, float(np.ravel(outlines.get_linewidth())[0]))
        if active.any():  # each has a colour of its own: one artist is quicker than many lines
            shown = active & np.isfinite(ends).all(axis=(1, 2))
            muscles.set_segments(list(ends[shown]))
            muscles.set_array(np.ma.masked_invalid(motion.actuation[frame][shown]))
            self.figure.draw_artist(muscles)
        bar = self.way[0]
        brush.lines(np.reshape(bar.get_xydata(), (-1, 2, 2)), GOAL, bar.get_linewidth(), cap="butt")
        brush.dots(x, 1.3 * self.thickness, INK, INK)
        if motion.head is not None:
            brush.dots(x[[motion.head]], 3.0 * self.thickness, HEAD, INK)
        self.figure.draw_artist(self.name)
