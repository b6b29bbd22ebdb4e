"""A sheet: stages side by side, curves below, and above what explains them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from diffsim.view.brush import brushwork
from diffsim.view.paint.curves import CurvesPainter
from diffsim.view.paint.grid import GridPainter
from diffsim.view.paint.painter import Painter
from diffsim.view.paint.scale import Scale, light_color
from diffsim.view.paint.stage import Scenery
from diffsim.view.paint.text import TextPainter
from diffsim.view.paint.ticks import named, ticks
from diffsim.view.paint.window import Rect, Window, brush_in
from diffsim.view.reel import BAR_NAME, backdrop, dress
from diffsim.view.style import INK, QUIET

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from diffsim.view.brush import Brush

__all__ = ["Panel", "Sheet", "View"]

# Shares of a sheet's width.
_GAP, _BESIDE, _NUMBERS, _NO_NUMBERS = 0.03, 0.14, 0.125, 0.02
_TALL, _HEAD, _LINE = 0.235, 0.055, 0.048
_WIDE = 5.2  # [inch] of a sheet with letters of full size
_LABEL = {"facecolor": "white", "alpha": 0.8, "lw": 0, "pad": 1.0}
_UPRIGHT = 24  # letters of a panel's label that have room beside it
_LETTERS = 76  # beside each other in a legend, about


@dataclass(frozen=True, eq=False)
class View:
    """A stage with what is drawn on it.

    Attributes:
        stage: The plane or space.
        painters: What is drawn, the hindmost first.
        title: What stands above it.
    """

    stage: Scenery
    painters: Sequence[Painter]
    title: str = ""


@dataclass(frozen=True, eq=False)
class Panel:
    """Curves in one panel.

    Attributes:
        painters: The curves of one part, for each world.
        low: The least number that is shown.
        high: The largest.
    """

    painters: Sequence[CurvesPainter]
    low: float
    high: float

    @property
    def headed(self) -> bool:
        """Tell whether words stand above it."""
        painter = self.painters[0]
        return bool(painter.names) or len(painter.labelled()) > _UPRIGHT


@dataclass(eq=False)
class Sheet:
    """What is drawn of a trajectory, and where.

    Attributes:
        views: Stages with their parts.
        panels: Curves.
        lines: Texts above.
        notes: What was left out.
        bars: Colour scales, each with its name and unit.
        times: When the frames are.
        time_unit: What times are in.
    """

    views: Sequence[View]
    panels: Sequence[Panel]
    lines: Sequence[TextPainter]
    notes: Sequence[str]
    bars: Sequence[tuple[Scale, tuple[str, str]]]
    times: Any
    time_unit: str
    aspect: float = field(init=False)

    def __post_init__(self) -> None:
        """Find out where everything stands."""
        self._spots: list[Rect] = []  # of the views, then of the panels
        self._legend = [p for p in self._shown() if p.part.label and not p.barred and not _pictured(p)]
        top = self._layout()
        self.aspect = top
        self._spots = [(x, y / top, w, h / top) for x, y, w, h in self._spots]

    def _shown(self) -> Sequence[Painter]:
        return [p for p in self.views[0].painters if not isinstance(p, TextPainter)] if self.views else []

    def _layout(self) -> float:
        """Place everything from below, in shares of the width; return the height."""
        y, panels = 0.0, []
        for panel in reversed(self.panels):
            alone = not self.views and len(self.panels) == 1
            tall = 0.55 if alone else (_TALL if self.views else _TALL * 1.15)
            panels.append((0.0, y, 1.0, tall))
            y += tall + (_HEAD if panel.headed else _GAP)
        numbered = any(view.stage.numbered for view in self.views)
        if panels and self.views:
            y += _NUMBERS if numbered else _NO_NUMBERS
        views, y = self._grid(y)
        self._spots = [*views, *reversed(panels)]
        self._band = (min((v[1] for v in views), default=0.0), max((v[1] + v[3] for v in views), default=y))
        if not self.views:
            return y - _GAP if not self.lines and not self.notes else self._above(y - _GAP)
        return self._above(y)

    def _grid(self, y: float) -> tuple[list[Rect], float]:
        count = len(self.views)
        if not count:
            return [], y
        same = len({id(view.stage) for view in self.views}) == 1
        columns = count if count < 4 or not same else (2 if count == 4 else 3)
        gap = _GAP if same else _BESIDE
        wide = (1.0 - gap * (columns - 1)) / columns
        rows = -(-count // columns)
        tall = max(view.stage.aspect for view in self.views) * wide
        head = _HEAD if any(view.title for view in self.views) else 0.0
        found: list[Rect] = []
        for number in range(count):
            row, column = divmod(number, columns)
            found.append((column * (wide + gap), y + (rows - 1 - row) * (tall + _GAP + head), wide, tall))
        self._columns, self._rows, self._same = columns, rows, same
        return found, y + rows * (tall + head) + (rows - 1) * _GAP

    def _above(self, y: float) -> float:
        self._rows_above: list[tuple[str, float]] = []
        for kind, tall in (("legend", _HEAD), ("line", _LINE), ("note", _LINE)):
            rows = -(-len(self._legend) // max(1, self._columns_of_keys()))
            many = {"legend": rows, "line": len(self.lines), "note": bool(self.notes)}[kind]
            for _ in range(many):
                self._rows_above.append((kind, y))
                y += tall
        return y

    # ---- drawing ----

    def draw(self, axes: Axes, k: int) -> None:
        """Draw a frame on axes."""
        axes.set_axis_off()
        axes.set(xlim=(0.0, 1.0), ylim=(0.0, 1.0))
        box = axes.bbox
        wide = float(box.width) / float(axes.figure.dpi)
        size = float(np.clip(9.0 * (wide / _WIDE) ** 0.35, 5.5, 9.0))
        backdrop(axes, id(self), lambda: self._still(axes, size))
        brushwork(axes, lambda brush: self._move(axes, brush, k), zorder=6.0)
        self._words(axes, k, size)

    def _still(self, axes: Axes, size: float) -> None:
        """Draw what is the same in all frames."""
        box = axes.bbox
        for number, (view, rect) in enumerate(zip(self.views, self._spots, strict=False)):
            place = axes.inset_axes(rect, zorder=0)
            left, right, bottom, top = view.stage.limits(rect[3] * box.height / (rect[2] * box.width))
            place.set(xlim=(left, right), ylim=(bottom, top))
            view.stage.dress(place, size)
            _dressed(place, size)
            if self._same and number % self._columns:
                place.set_ylabel("")
                place.set_yticklabels([])
            if self._same and number + self._columns < len(self.views):
                place.set_xlabel("")
                place.set_xticklabels([])
            if view.title:
                place.set_title(view.title, fontsize=size, color=INK, pad=3, loc="left", parse_math=False)
        for number, panel in enumerate(self.panels):
            self._panel(
                axes, panel, self._spots[len(self.views) + number], size, number + 1 == len(self.panels)
            )
        self._bars(axes, size)
        if self._legend:
            self._keys(axes, size)

    def _panel(self, axes: Axes, panel: Panel, rect: Rect, size: float, last: bool) -> None:
        place = axes.inset_axes(rect, zorder=0)
        first, end = _span(self.times)
        place.set(xlim=(first, end), ylim=(panel.low, panel.high))
        across, up = ticks(first, end, 6 if size > 8 else 4), ticks(panel.low, panel.high, 3)
        place.set_xticks(across.places, across.texts if last else [""] * len(across.places))
        place.set_yticks(up.places, up.texts)
        painter = panel.painters[0]
        label = painter.labelled(up)
        if len(label) <= _UPRIGHT:
            place.set_ylabel(label, parse_math=False)
        else:
            place.set_title(label, fontsize=size - 0.5, color=INK, loc="left", pad=3, parse_math=False)
        if last:
            unit = self.time_unit
            below = named("t", unit, across) if unit != "step" else named("step", "", across)
            place.set_xlabel(below, parse_math=False)
        place.grid(color="#e4e7eb", lw=0.5)
        place.set_axisbelow(True)
        handles = []
        for curves in panel.painters:
            for (lines, color), name in zip(curves.all_of_it(), curves.names or [""], strict=False):
                points = np.concatenate([lines[:1, 0], lines[:, 1]])
                handles += place.plot(*points.T, color=color, lw=1.0, alpha=0.35, label=name)
        place.spines[["top", "right"]].set_visible(False)
        _dressed(place, size)
        if painter.names:
            _legend(place, handles[: len(painter.names)], painter.names, size, right=len(label) > _UPRIGHT)

    def _bars(self, axes: Axes, size: float) -> None:
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import Normalize

        low, high = (edge / self.aspect for edge in self._band)
        tall = (high - low) / max(1, len(self.bars))
        for number, (scale, label) in enumerate(self.bars):
            bottom = high - (number + 1) * tall + (0.08 * tall if number + 1 < len(self.bars) else 0.0)
            place = axes.inset_axes((1.03, bottom, 0.035, high - number * tall - bottom), label=BAR_NAME)
            shown = ScalarMappable(Normalize(scale.low, scale.high), scale.colormap())
            bar: Any = axes.figure.colorbar(shown, cax=place)  # type: ignore[union-attr]
            found = ticks(scale.low, scale.high, 5)
            bar.set_ticks(found.places, labels=found.texts)
            bar.outline.set_linewidth(0.5)
            place.set_ylabel(named(*label, found), color=INK, fontsize=size - 1, parse_math=False)
            place.tick_params(labelsize=size - 2, labelcolor=INK, colors=QUIET, length=2, pad=2)

    def _keys(self, axes: Axes, size: float) -> None:
        """Draw the legend of parts above the stages."""
        from matplotlib.lines import Line2D

        y = next(y for kind, y in self._rows_above if kind == "legend") / self.aspect
        handles = []
        for painter in self._legend:
            line = painter.kind in ("Lines", "Vectors")
            rim = QUIET if light_color(painter.color) else painter.color
            style: Any = {"lw": 1.8} if line else {"lw": 0, "marker": "o", "ms": size * 0.7, "mec": rim}
            handles.append(Line2D([], [], color=painter.color, mew=0.5, **style))
        labels = [painter.part.label for painter in self._legend]
        small = size < 8.5
        legend = axes.legend(
            handles,
            labels,
            loc="lower left",
            bbox_to_anchor=(-0.01, y),
            ncols=self._columns_of_keys(),
            frameon=False,
            fontsize=5.2 if small else 8.5,
            borderpad=0.1,
            handlelength=1.2 if small else 1.6,
            handletextpad=0.4,
            columnspacing=0.8 if small else 1.2,
            labelspacing=0.3,
            labelcolor=INK,
        )
        for text in legend.get_texts():
            text.set_parse_math(False)

    def _columns_of_keys(self) -> int:
        """Return how many entries of the legend have room side by side."""
        longest = max((len(painter.part.label) for painter in self._legend), default=1)
        many = max(1, int(_LETTERS / (longest + 5)))
        total = sum(len(painter.part.label) + 5 for painter in self._legend)
        return len(self._legend) if total <= _LETTERS else min(many, len(self._legend))

    def _move(self, axes: Axes, brush: Brush, k: int) -> None:
        """Draw what is another in each frame."""
        for view, rect in zip(self.views, self._spots, strict=False):
            view.stage.paint(axes, rect, brush, view.painters, k)
        first, end = _span(self.times)
        now = float(self.times[k])
        for panel, rect in zip(self.panels, self._spots[len(self.views) :], strict=True):
            inner = brush_in(Window(axes, rect, (first, end, panel.low, panel.high)), brush)
            inner.lines([[[now, panel.low], [now, panel.high]]], QUIET, 0.9)
            for curves in panel.painters:
                curves.until(inner, now)

    def _words(self, axes: Axes, k: int, size: float) -> None:
        how: dict[str, Any] = {"color": INK, "parse_math": False, "zorder": 8, "va": "bottom"}
        rows = iter(self.lines)
        for kind, y in getattr(self, "_rows_above", []):
            if kind == "line":
                text = next(rows)
                color = text.part.color or INK
                axes.text(0.0, y / self.aspect, text.words(k), fontsize=size, **{**how, "color": color})
            if kind == "note":
                note = "; ".join(self.notes)
                axes.text(0.0, y / self.aspect, note, fontsize=size - 1.5, **{**how, "color": QUIET})
        box = axes.bbox
        for view, rect in zip(self.views, self._spots, strict=False):
            left, right, bottom, top = view.stage.limits(rect[3] * box.height / (rect[2] * box.width))
            told = [
                (p.words(k), p.at, {"color": p.part.color or INK, "ha": "center", "fontsize": size})
                for p in view.painters
                if isinstance(p, TextPainter) and p.at is not None
            ]
            told += [
                (f" {words}", corner, {"va": "top", "fontsize": size - 1.5, "bbox": _LABEL})
                for words, corner in _named_maps(view.painters)
            ]
            for words, at, style in told:
                x, y = view.stage.seen(at)
                x = rect[0] + rect[2] * (x - left) / (right - left)
                y = rect[1] + rect[3] * (y - bottom) / (top - bottom)
                axes.text(x, y, words, **{**how, **style})


def _pictured(painter: Painter) -> bool:
    return isinstance(painter, GridPainter) and bool(painter.part.rgb)


def _named_maps(painters: Sequence[Painter]) -> list[tuple[str, Any]]:
    """Return what pictures, and maps where there are several, show, with their upper left corners."""
    maps = [p for p in painters if isinstance(p, GridPainter) and p.dimension == 2 and p.part.level is None]
    if len({p.extent for p in maps}) < 2 and not any(_pictured(p) for p in maps):
        return []
    return [(p.part.label or str(p.part.values), np.array([p.extent[0], p.extent[3]])) for p in maps]


def _span(times: Any) -> tuple[float, float]:
    first, last = float(times[0]), float(times[-1])
    return (first, last) if last > first else (first - 0.5, first + 0.5)


def _dressed(axes: Axes, size: float) -> None:
    dress(axes)
    axes.tick_params(labelsize=size - 1)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set_fontsize(size)


def _legend(axes: Axes, handles: Sequence[Any], names: Sequence[str], size: float, right: bool) -> None:
    legend = axes.legend(
        handles,
        names,
        loc="lower right" if right else "lower left",
        bbox_to_anchor=(1.0 if right else -0.01, 0.98),
        ncols=8,
        frameon=False,
        fontsize=size - 1.5,
        borderpad=0.1,
        handlelength=1.1,
        handletextpad=0.4,
        columnspacing=1.0,
        labelcolor=INK,
    )
    for text, handle in zip(legend.get_texts(), legend.legend_handles, strict=True):
        text.set_parse_math(False)
        handle.set_alpha(1.0)  # type: ignore[union-attr]
