"""The frames of a film, one after the other; what stands still between them is drawn once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diffsim.view.label import Label
from diffsim.view.style import INK, QUIET

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

__all__ = ["BAR_NAME", "ONCE", "Reel", "backdrop", "color_bar", "dress"]

BAR_NAME = "color bar"
ONCE = "once in a row"  # the mark of words that stand above the first still of a row alone
_ASKED = "_diffsim_still"  # attribute of axes that put off what stands still: what was asked for
_SAMPLES = 17  # of a colour map, to tell whether a bar is another


def color_bar(axes: Axes, mappable: Any, label: str, extend: str = "neither") -> None:
    """Add a bar that explains colours to the right of axes whose film has `bar=True`.

    Args:
        axes: What is drawn on.
        mappable: An image or a collection with a colour map.
        label: What the colours show, with its unit.
        extend: At which ends numbers beyond have the same colour: `neither`, `min`, `max` or `both`.
    """
    asked = getattr(axes, _ASKED, None)
    if asked is None:
        _draw_bar(axes, mappable, label, extend)
    else:
        bar = (mappable, label, extend)
        asked.append((lambda: _bar_shows(*bar), lambda: _draw_bar(axes, *bar)))


def backdrop(axes: Axes, key: object, draw: Callable[[], object]) -> None:
    """Draw what stands still in a film: once, for as long as its key is the same.

    Args:
        axes: What is drawn on; all that moves is drawn over it.
        key: What it depends on; compared by `==`.
        draw: Adds artists to the axes, or axes to these.
    """
    asked = getattr(axes, _ASKED, None)
    if asked is None:
        draw()
    else:
        asked.append((lambda: [key], draw))


def _draw_bar(axes: Axes, mappable: Any, label: str, extend: str) -> None:
    place = axes.inset_axes((1.03, 0.0, 0.035, 1.0), label=BAR_NAME)
    bar: Any = axes.figure.colorbar(mappable, cax=place, extend=extend)
    bar.outline.set_linewidth(0.5)
    bar.set_label(label, color=INK, fontsize=8)
    place.tick_params(labelsize=7, labelcolor=INK, colors=QUIET, length=2, pad=2)


def dress(axes: Axes, small: bool = False) -> None:
    """Give axes the house's sizes and colours; what a drawing has set stays."""
    size = 7 if small else 9
    axes.tick_params(colors=QUIET, labelcolor=INK, labelsize=size, length=3)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set_color(INK)
        label.set_fontsize(size + 1)
    axes.spines[:].set_edgecolor(QUIET)


def _empty(axes: Axes) -> None:
    """Take away what the last frame drew; `Axes.clear` takes longer, since it makes ticks anew."""
    parts = (axes.lines, axes.patches, axes.collections, axes.images, axes.texts, axes.tables, axes.artists)
    for artist in [*axes.child_axes, *(artist for part in parts for artist in part)]:  # bars before images
        artist.remove()
    legend = axes.get_legend()
    if legend is not None:
        legend.remove()
    for place in ("left", "center", "right"):
        axes.set_title("", loc=place)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_inverted(False)
    axes.set_prop_cycle(None)
    axes.relim()
    axes.autoscale(True)
    axes.set(aspect="auto", xlabel="", ylabel="")
    axes.set_axis_on()


class Reel:
    """Axes that are drawn on frame by frame.

    Ticks, their numbers, axis labels and colour bars take most of Matplotlib's time, and hardly ever change:
    they are drawn when one of them is another than in the frame before, and copied where none is.

    Args:
        figure: The figure, with an Agg canvas; its own texts stand still.
        axes: The axes in it to draw on.
        clock: The text that changes with the frame.
    """

    def __init__(self, figure: Figure, axes: Axes, clock: Text) -> None:
        self._figure, self._axes, self._clock = figure, axes, clock
        self._canvas: Any = figure.canvas
        self._shown: Any = None  # what the still picture shows
        self._still: Any = None
        self._asked: list[tuple[Callable[[], list[Any]], Callable[[], object]]] = []
        self._label = Label(clock)
        clock.set_animated(True)
        setattr(axes, _ASKED, self._asked)

    def frame(self, draw: Callable[[Axes, int], None], number: int, label: str) -> NDArray[np.uint8]:
        """Draw one frame on emptied axes.

        Args:
            draw: Draws it, as `Film.draw`.
            number: The frame.
            label: What the clock shows.

        Returns:
            The picture, shape (height, width, 4).
        """
        axes = self._axes
        _empty(axes)
        self._asked.clear()
        draw(axes, number)
        self._clock.set_text(label)
        axes.spines[:].set_edgecolor(QUIET)
        axes.apply_aspect()
        moving = self._moving()
        if self._shows() != self._shown:
            self._draw_still(moving)
            self._shown = self._shows()
        self._canvas.restore_region(self._still)
        for artist in moving:
            artist.set_animated(False)
            axes.draw_artist(artist)
        picture = np.array(self._canvas.buffer_rgba())
        self._label.put(picture)
        return picture

    def _draw_still(self, moving: list[Artist]) -> None:
        """Draw all but what moves, and keep it."""
        dress(self._axes)
        for _, put in self._asked:
            put()
        for artist in moving:
            artist.set_animated(True)  # left out
        self._canvas.draw()
        self._still = self._canvas.copy_from_bbox(self._figure.bbox)

    def _moving(self) -> list[Artist]:
        """List what is drawn in each frame, in the order of drawing: all but background and ticks."""
        axes = self._axes
        still: set[Artist] = {axes.patch, axes.xaxis, axes.yaxis}
        if not axes.axison:
            still |= set(axes.spines.values())
        moving = (child for child in axes.get_children() if child not in still)
        return sorted(moving, key=lambda child: child.get_zorder())

    def _shows(self) -> list[Any]:
        """Describe all that the still picture depends on."""
        axes = self._axes
        parts: list[Any] = [axes.axison, axes.get_position().bounds, axes.get_facecolor()]
        for axis in (axes.xaxis, axes.yaxis):
            places = axis.get_majorticklocs()
            formatter = axis.get_major_formatter()
            texts = formatter.format_ticks(places)
            parts += [axis.get_visible(), axis.get_label_text(), axis.get_view_interval().tolist()]
            parts += [places.tolist(), texts, formatter.get_offset(), axis.get_minorticklocs().tolist()]
            parts += [axis.get_scale(), sorted(axis.get_tick_params().items())]
        return [*parts, *(shows() for shows, _ in self._asked)]


def _bar_shows(mappable: Any, label: str, extend: str) -> list[Any]:
    """Describe all that a colour bar depends on."""
    if mappable.get_array() is not None:
        mappable.autoscale_None()
    colours = mappable.cmap(np.linspace(0.0, 1.0, _SAMPLES)).tolist()
    levels = np.asarray(getattr(mappable, "levels", ())).tolist()
    low, high = mappable.get_clim()
    shades = [] if low is None else np.ma.filled(mappable.norm(np.linspace(low, high, _SAMPLES))).tolist()
    return [label, extend, low, high, shades, colours, levels]
