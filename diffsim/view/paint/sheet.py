"""A sheet: stages side by side, curves below, and above what explains them."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from diffsim.view.brush import brushwork
from diffsim.view.paint.grid import GridPainter
from diffsim.view.paint.painter import Painter
from diffsim.view.paint.panels import Panel, dressed
from diffsim.view.paint.scale import Scale, light_color
from diffsim.view.paint.stage import Scenery
from diffsim.view.paint.text import TextPainter
from diffsim.view.paint.ticks import named, ticks
from diffsim.view.paint.window import Rect
from diffsim.view.reel import BAR_NAME, ONCE, backdrop
from diffsim.view.style import INK, QUIET

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from diffsim.view.brush import Brush

__all__ = ["Sheet", "View"]

# Shares of a sheet's width.
_GAP, _NUMBERS, _NO_NUMBERS = 0.03, 0.125, 0.02
_TALL, _HEAD, _LINE = 0.235, 0.055, 0.048
_ALONE = {"curves": (0.55, 0.27, 0.27), "profiles": (0.58, 0.42, 0.33)}  # heights of one, two or more panels
_WIDE = 5.2  # [inch] of a sheet with letters of full size
_LABEL = {"facecolor": "white", "alpha": 0.8, "lw": 0, "pad": 1.0}
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


@dataclass(eq=False)
class Sheet:
    """What is drawn of a trajectory, and where.

    Attributes:
        views: Stages with their parts.
        panels: Curves over places and over time, the uppermost first.
        lines: Texts above.
        notes: What was left out.
        bars: Colour scales, each with its name and unit.
    """

    views: Sequence[View]
    panels: Sequence[Panel]
    lines: Sequence[TextPainter]
    notes: Sequence[str]
    bars: Sequence[tuple[Scale, tuple[str, str]]]
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
        y = 0.0
        panels: list[Rect] = []
        for number, panel in reversed(list(enumerate(self.panels))):
            if panels and self._numbered(number):
                y += _NUMBERS
            tall = self._tall(panel)
            panels.append((0.0, y, 1.0, tall))
            y += tall + (_HEAD if panel.headed else _GAP)
        numbered = any(view.stage.numbered for view in self.views)
        if panels and self.views:
            y += (_NUMBERS if numbered else _NO_NUMBERS) + _GAP * self.panels[0].headed
        views, y = self._grid(y)
        self._spots = [*views, *reversed(panels)]
        self._band = (min((v[1] for v in views), default=0.0), max((v[1] + v[3] for v in views), default=y))
        if not self.views:
            return y - _GAP if not self.lines and not self.notes else self._above(y - _GAP)
        return self._above(y)

    def _tall(self, panel: Panel) -> float:
        """Return the height of a panel."""
        usual = _ALONE[panel.kind]
        if self.views:
            return _TALL if panel.kind == "curves" else 0.9 * usual[-1]
        beside = (
            len(self.panels) if panel.kind == "curves" else sum(p.kind == panel.kind for p in self.panels)
        )
        return usual[min(beside, len(usual)) - 1]

    def _numbered(self, number: int) -> bool:
        """Tell whether numbers stand below a panel, not only below the next one."""
        panel, below = self.panels[number], self.panels[number + 1 : number + 2]
        return not any((p.kind, p.span, p.named) == (panel.kind, panel.span, panel.named) for p in below)

    def _grid(self, y: float) -> tuple[list[Rect], float]:
        """Place the views from below: those of one stage side by side, of another stage above them."""
        head = _HEAD if any(view.title for view in self.views) else 0.0
        stages = list(dict.fromkeys(view.stage for view in self.views))
        found: dict[int, Rect] = {}
        self._inner: list[tuple[bool, bool]] = [(False, False)] * len(self.views)
        for stage in reversed(stages):
            if found:
                y += _NUMBERS if stage.numbered else _GAP
            numbers = [n for n, view in enumerate(self.views) if view.stage is stage]
            count = len(numbers)
            columns = count if count < 4 else (2 if count == 4 else 3)
            wide = (1.0 - _GAP * (columns - 1)) / columns
            rows = -(-count // columns)
            tall = stage.aspect * wide
            for place, number in enumerate(numbers):
                row, column = divmod(place, columns)
                low = y + (rows - 1 - row) * (tall + _GAP + head)
                found[number] = (column * (wide + _GAP), low, wide, tall)
                self._inner[number] = (column > 0, place + columns < count)
            y += rows * (tall + head) + (rows - 1) * _GAP
        return [found[number] for number in range(len(self.views))], y

    def _above(self, y: float) -> float:
        self._rows_above: list[tuple[str, float]] = []
        for kind, tall in (("legend", _HEAD), ("line", _LINE), ("note", _LINE)):
            rows = -(-len(self._legend) // max(1, self._columns_of_keys()))
            many = {"legend": rows, "line": len(self.lines), "note": len(self._noted())}[kind]
            for _ in range(many):
                self._rows_above.append((kind, y))
                y += tall
        return y

    def _noted(self) -> list[str]:
        """Return the notes as lines, the lowest first."""
        return textwrap.wrap("; ".join(self.notes), _LETTERS)[::-1]

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
            dressed(place, size)
            beside, above = self._inner[number]
            if beside:
                place.set_ylabel("")
                place.set_yticklabels([])
            if above:
                place.set_xlabel("")
                place.set_xticklabels([])
            if view.title:
                place.set_title(view.title, fontsize=size, color=INK, pad=3, loc="left", parse_math=False)
        for number, panel in enumerate(self.panels):
            panel.dress(axes, self._spots[len(self.views) + number], size, self._numbered(number))
        self._bars(axes, size)
        if self._legend:
            self._keys(axes, size)

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
        letters, columns = self._room_for_keys(axes, size)
        legend = axes.legend(
            handles,
            labels,
            loc="lower left",
            bbox_to_anchor=(-0.01, y),
            ncols=columns,
            frameon=False,
            fontsize=letters,
            borderpad=0.1,
            handlelength=1.2 if small else 1.6,
            handletextpad=0.4,
            columnspacing=0.8 if small else 1.2,
            labelspacing=0.3,
            labelcolor=INK,
        )
        legend.set_gid(ONCE)
        for text in legend.get_texts():
            text.set_parse_math(False)

    def _room_for_keys(self, axes: Axes, size: float) -> tuple[float, int]:
        """Return the size of the legend's letters, and how many entries stand side by side.

        Small sheets are those of stills, which have one legend in a row: it may go on above the next ones.
        """
        columns = self._columns_of_keys()
        if size >= 8.5:
            return 8.5, columns
        room = 72.0 * float(axes.figure.bbox.width - axes.bbox.x0) / float(axes.figure.dpi)
        widest = max((len(painter.part.label) for painter in self._legend), default=1) + 4
        best = min(size, room / (0.58 * widest * len(self._legend)))
        if best >= 6.0:
            return best, len(self._legend)
        return float(np.clip(room / (0.58 * widest * columns), 5.2, size)), columns

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
        for panel, rect in zip(self.panels, self._spots[len(self.views) :], strict=True):
            panel.paint(axes, rect, brush, k)

    def _words(self, axes: Axes, k: int, size: float) -> None:
        how: dict[str, Any] = {"color": INK, "parse_math": False, "zorder": 8, "va": "bottom"}
        rows, notes = iter(self.lines), iter(self._noted())
        for kind, y in getattr(self, "_rows_above", []):
            if kind == "line":
                text = next(rows)
                color = text.part.color or INK
                axes.text(0.0, y / self.aspect, text.words(k), fontsize=size, **{**how, "color": color})
            if kind == "note":
                told = axes.text(0.0, y / self.aspect, next(notes), fontsize=max(size - 1.5, 6.0), **how)
                told.set_color(QUIET)
                told.set_gid(ONCE)
        box = axes.bbox
        for view, rect in zip(self.views, self._spots, strict=False):
            left, right, bottom, top = view.stage.limits(rect[3] * box.height / (rect[2] * box.width))
            words_at = [
                (p.words(k), p.at, {"color": p.part.color or INK, "ha": "center", "fontsize": size})
                for p in view.painters
                if isinstance(p, TextPainter) and p.at is not None
            ]
            words_at += [
                (f" {words}", corner, {"va": "top", "fontsize": size - 1.5, "bbox": _LABEL})
                for words, corner in _named_maps(view.painters)
            ]
            for words, at, style in words_at:
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
