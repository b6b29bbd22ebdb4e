"""Panels below what is in space: curves over time with a mark that moves, and moving curves over places."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from diffsim.view.key import key_above
from diffsim.view.paint.curves import CurvesPainter
from diffsim.view.paint.profile import ProfilePainter
from diffsim.view.paint.scale import COLORS
from diffsim.view.paint.ticks import Ticks, named, ticks
from diffsim.view.paint.window import Rect, Window, brush_in
from diffsim.view.reel import dress
from diffsim.view.style import INK, QUIET

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from diffsim.view.brush import Brush

__all__ = ["CurvesPanel", "Panel", "ProfilesPanel", "dressed", "grouped", "with_margin"]

_UPRIGHT = 24  # letters of a panel's label that have room beside it
_ALIKE = 8.0  # times as large numbers without a unit may be for one panel
_TOGETHER = 6  # curves over places in one panel
_MARGIN = 0.06


class Panel(ABC):
    """Axes of its own, below what is in space.

    Attributes:
        low: The least number that is shown.
        high: The largest.
    """

    kind: ClassVar[str]
    low: float
    high: float

    @property
    @abstractmethod
    def span(self) -> tuple[float, float]:
        """Return from where to where it reaches across."""

    @property
    @abstractmethod
    def named(self) -> tuple[str, str]:
        """Return what its numbers across are called, and their unit."""

    @property
    @abstractmethod
    def headed(self) -> bool:
        """Tell whether words stand above it."""

    @abstractmethod
    def still(self, axes: Axes, size: float) -> None:
        """Draw what is the same in all frames, on axes with limits."""

    @abstractmethod
    def move(self, brush: Brush, k: int) -> None:
        """Draw what is another in each frame."""

    @abstractmethod
    def label(self, found: Ticks) -> str:
        """Return what stands along its upright axis."""

    def dress(self, axes: Axes, rect: Rect, size: float, numbered: bool) -> None:
        """Draw what is the same in all frames, in a part of axes."""
        place = axes.inset_axes(rect, zorder=0)
        first, end = self.span
        place.set(xlim=(first, end), ylim=(self.low, self.high))
        across = ticks(first, end, 6 if size > 8 else 4)
        up = ticks(self.low, self.high, max(3, round(12 * rect[3] * axes.bbox.height / axes.bbox.width)))
        place.set_xticks(across.places, across.texts if numbered else [""] * len(across.places))
        place.set_yticks(up.places, up.texts)
        label = self.label(up)
        if len(label) <= _UPRIGHT:
            place.set_ylabel(label, parse_math=False)
        else:
            place.set_title(label, fontsize=size - 0.5, color=INK, loc="left", pad=3, parse_math=False)
        if numbered:
            place.set_xlabel(named(*self.named, across), parse_math=False)
        place.grid(color="#e4e7eb", lw=0.5)
        place.set_axisbelow(True)
        place.spines[["top", "right"]].set_visible(False)
        dressed(place, size)
        self.still(place, size)

    def paint(self, axes: Axes, rect: Rect, brush: Brush, k: int) -> None:
        """Draw what is another in each frame, in a part of axes."""
        self.move(brush_in(Window(axes, rect, (*self.span, self.low, self.high)), brush), k)


@dataclass(frozen=True, eq=False)
class CurvesPanel(Panel):
    """Curves over time.

    Attributes:
        painters: The curves of one part, for each world.
        low: The least number that is shown.
        high: The largest.
        times: When the frames are.
        time_unit: What times are in.
    """

    kind = "curves"
    painters: Sequence[CurvesPainter]
    low: float
    high: float
    times: Any
    time_unit: str

    @property
    def span(self) -> tuple[float, float]:
        first, last = float(self.times[0]), float(self.times[-1])
        return (first, last) if last > first else (first - 0.5, first + 0.5)

    @property
    def named(self) -> tuple[str, str]:
        return ("t", self.time_unit) if self.time_unit != "step" else ("step", "")

    @property
    def headed(self) -> bool:
        painter = self.painters[0]
        return bool(painter.names) or len(painter.labelled()) > _UPRIGHT

    def label(self, found: Ticks) -> str:
        return self.painters[0].labelled(found)

    def still(self, axes: Axes, size: float) -> None:
        handles = []
        for curves in self.painters:
            for (lines, color), name in zip(curves.all_of_it(), curves.names or [""], strict=False):
                points = np.concatenate([lines[:1, 0], lines[:, 1]])
                handles += axes.plot(*points.T, color=color, lw=1.0, alpha=0.35, label=name)
        names = self.painters[0].names
        if names:
            _explain(axes, handles[: len(names)], names, size)

    def move(self, brush: Brush, k: int) -> None:
        now = float(self.times[k])
        brush.lines([[[now, self.low], [now, self.high]]], QUIET, 0.9)
        for curves in self.painters:
            curves.until(brush, now)


@dataclass(frozen=True, eq=False)
class ProfilesPanel(Panel):
    """Curves over places, that move.

    Attributes:
        parts: Of each part its painters, one for each world.
        low: The least number that is shown.
        high: The largest.
        unit: Of places.
    """

    kind = "profiles"
    parts: Sequence[Sequence[ProfilePainter]]
    low: float
    high: float
    unit: str

    @property
    def span(self) -> tuple[float, float]:
        painters = [p for painters in self.parts for p in painters]
        return min(p.first for p in painters), max(p.last for p in painters)

    @property
    def named(self) -> tuple[str, str]:
        return ("index", "") if self.parts[0][0].counted else ("x", self.unit)

    @property
    def headed(self) -> bool:
        return len(self._curves()) > 1 or len(self.label(Ticks(np.zeros(1), ("",)))) > _UPRIGHT

    def label(self, found: Ticks) -> str:
        names = ", ".join(dict.fromkeys(painters[0].called for painters in self.parts))
        return named(names, self.parts[0][0].unit, found)

    def _curves(self) -> list[tuple[ProfilePainter, str, str]]:
        """List the curves, each with its colour and what it is called."""
        if len(self.parts) == 1 and len(self.parts[0]) > 1:
            return [(p, COLORS[n % len(COLORS)], f"world {n}") for n, p in enumerate(self.parts[0])]
        return [(p, p.color, p.called if n == 0 else "") for some in self.parts for n, p in enumerate(some)]

    def still(self, axes: Axes, size: float) -> None:
        handles, names = [], []
        if self.low < 0.0 < self.high:
            axes.axhline(0.0, color=QUIET, lw=0.6)
        for painter, color, name in self._curves():
            axes.plot(*painter.line(0).T, color=color, lw=1.0, alpha=0.35)
            if name:
                handles += axes.plot([], [], color=color, lw=1.6)
                names.append(name)
        if len(self._curves()) > 1:
            _explain(axes, handles, names, size)

    def move(self, brush: Brush, k: int) -> None:
        for painter, color, _ in self._curves():
            painter.draw(brush, k, color, 1.8)


def grouped(found: Sequence[tuple[Any, str, tuple[float, float]]]) -> list[list[int]]:
    """Tell which curves over places share a panel: those of one axis and unit.

    Where no unit is told, numbers must be about as large.

    Args:
        found: For each its axis (anything that can be compared), its unit, and its limits.

    Returns:
        The numbers of those in each panel.
    """
    panels: list[list[int]] = []
    for number, (axis, unit, limits) in enumerate(found):
        for panel in panels:
            other_axis, other_unit, other = found[panel[0]]
            if (
                len(panel) < _TOGETHER
                and (axis, unit) == (other_axis, other_unit)
                and (unit or _alike(limits, other))
            ):
                panel.append(number)
                break
        else:
            panels.append([number])
    return panels


def _alike(one: tuple[float, float], other: tuple[float, float]) -> bool:
    sizes = sorted(max(abs(low), abs(high)) for low, high in (one, other))
    return sizes[1] <= _ALIKE * sizes[0]


def dressed(axes: Axes, size: float) -> None:
    """Give the numbers and labels of axes their size."""
    dress(axes)
    axes.tick_params(labelsize=size - 1)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set_fontsize(size)


def with_margin(low: float, high: float) -> tuple[float, float]:
    """Return limits with room around the numbers."""
    margin = _MARGIN * (high - low) or _MARGIN * abs(high) or 0.5
    return low - margin, high + margin


def _explain(axes: Axes, handles: Sequence[Any], names: Sequence[str], size: float) -> None:
    key_above(axes, handles, names, max(size - 1.0, 6.0), 8, right=bool(axes.get_title(loc="left")))
