"""Stages: the plane and space, with their axes, and the parts that are drawn on them."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diffsim.view.paint.painter import Painter
from diffsim.view.paint.shot import Reach
from diffsim.view.paint.space import Eye, Space
from diffsim.view.paint.ticks import named, ticks
from diffsim.view.paint.window import Rect, Window, brush_in
from diffsim.view.style import EARTH, INK, QUIET

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from diffsim.view.brush import Brush

__all__ = ["Deep", "Flat", "Scenery"]

_ASPECTS = 0.3, 1.25  # heights of a stage over its width
_MARGIN = 0.05  # of what is shown, around it
_ROOM = 0.115  # of the picture's longer side, around space, for its numbers
_NAMES = "xyz"
_FLOOR, _SHADOW, _RIM = "#f4f5f7", "#d3d8df", "#c3cad3"


class Scenery(ABC):
    """Where parts are drawn.

    Args:
        reach: What is shown.
        unit: Of the axes.
        ground: The height of the ground; None for none.

    Attributes:
        aspect: Its height over its width.
        numbered: Whether numbers stand outside of it, on its left and below.
    """

    aspect: float
    numbered: bool

    def __init__(self, reach: Reach, unit: str, ground: float | None) -> None:
        self.reach, self.unit, self.ground = reach, unit, ground

    @abstractmethod
    def limits(self, aspect: float) -> tuple[float, float, float, float]:
        """Return left, right, lower and upper limit for a place of some height over width."""

    @abstractmethod
    def dress(self, axes: Axes, size: float) -> None:
        """Draw what stands still, on axes that have these limits, with letters of a size."""

    @abstractmethod
    def seen(self, place: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return where a place is, in the limits."""

    @abstractmethod
    def _paint(self, window: Window, brush: Brush, painters: Sequence[Painter], k: int) -> None: ...

    def paint(self, axes: Axes, rect: Rect, brush: Brush, painters: Sequence[Painter], k: int) -> None:
        """Draw parts as they are in a frame."""
        box = axes.bbox
        aspect = rect[3] * box.height / (rect[2] * box.width)
        window = Window(axes, rect, self.limits(aspect))
        self._paint(window, brush_in(window, brush), painters, k)


def _wider(low: NDArray[Any], high: NDArray[Any], share: float) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return limits with a margin; what is a place alone becomes something to look at."""
    span = float((high - low).max())
    margin = share * span if span > 0.0 else 0.5 * float(np.abs(high).max()) or 0.5
    return low - margin, high + margin


def _fitted(low: NDArray[Any], high: NDArray[Any], aspect: float) -> tuple[float, float, float, float]:
    """Return limits of equal scales that hold others."""
    middle, (wide, tall) = 0.5 * (low + high), high - low
    wide = max(wide, tall / aspect)
    half = 0.5 * np.array([wide, wide * aspect])
    (left, bottom), (right, top) = middle - half, middle + half
    return float(left), float(right), float(bottom), float(top)


class Flat(Scenery):
    """The plane.

    Args:
        reach: What is shown.
        unit: Of the axes.
        ground: The height of the ground; None for none.
        tight: Whether there is no margin, as for maps.
    """

    numbered = True

    def __init__(self, reach: Reach, unit: str, ground: float | None, tight: bool) -> None:
        super().__init__(reach, unit, ground)
        low, high = reach.low.copy(), reach.high.copy()
        if ground is not None:
            low[1] = min(low[1], ground)
        self._low, self._high = _wider(low, high, 0.0 if tight else _MARGIN)
        wide, tall = self._high - self._low
        self.aspect = float(np.clip(tall / wide, *_ASPECTS))

    def limits(self, aspect: float) -> tuple[float, float, float, float]:
        return _fitted(self._low, self._high, aspect)

    def dress(self, axes: Axes, size: float) -> None:
        left, right, bottom, top = axes.get_xbound() + axes.get_ybound()
        few = 5 if size > 8 else 3
        for axis, name, low, high in ((axes.xaxis, "x", left, right), (axes.yaxis, "y", bottom, top)):
            share = (high - low) / max(right - left, top - bottom)
            found = ticks(low, high, max(2, round(few * share)))
            axis.set_ticks(found.places.tolist(), found.texts)
            axis.set_label_text(named(name, self.unit, found), parse_math=False)
        if self.ground is not None:
            axes.axhspan(bottom - (top - bottom), self.ground, color=EARTH, lw=0)
            axes.axhline(self.ground, color=QUIET, lw=0.8)

    def seen(self, place: NDArray[np.float64]) -> NDArray[np.float64]:
        return place

    def _paint(self, window: Window, brush: Brush, painters: Sequence[Painter], k: int) -> None:
        for painter in painters:
            painter.plane(brush, k)


class Deep(Scenery):
    """Space, in a box whose far sides are drawn.

    Args:
        reach: What is shown.
        unit: Of the axes.
        ground: The height of the ground; None for none.
        eye: From where it is looked at.
    """

    numbered = False

    def __init__(self, reach: Reach, unit: str, ground: float | None, eye: Eye) -> None:
        super().__init__(reach, unit, ground)
        self.eye = eye
        self._low, self._high = _wider(reach.low, reach.high, 0.02)
        thin = 0.04 * float((self._high - self._low).max())
        flat = self._high - self._low < thin
        self._low, self._high = self._low - 0.5 * thin * flat, self._high + 0.5 * thin * flat
        up = eye.tallest
        self._rises = bool(eye.up[up] > 0.0)
        if ground is not None:
            ends = self._low if self._rises else self._high
            ends[up] = ground
        corners = eye.seen(self._corners())[:, :2]
        room = _ROOM * float(np.ptp(corners, axis=0).max())
        self._left, self._right = (
            corners.min(axis=0) - room,
            corners.max(axis=0) + room * np.array([0.5, 0.2]),
        )
        wide, tall = self._right - self._left
        self.aspect = float(np.clip(tall / wide, *_ASPECTS))

    def _corners(self) -> NDArray[np.float64]:
        both = np.stack([self._low, self._high])
        return np.array(
            [[both[a, 0], both[b, 1], both[c, 2]] for a, b, c in itertools.product((0, 1), repeat=3)]
        )

    def limits(self, aspect: float) -> tuple[float, float, float, float]:
        return _fitted(self._left, self._right, aspect)

    def seen(self, place: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.eye.seen(place)[..., :2]

    @property
    def _floor(self) -> float:
        up = self.eye.tallest
        return float(self._low[up] if self._rises else self._high[up])

    def dress(self, axes: Axes, size: float) -> None:
        axes.set_axis_off()
        up = self.eye.tallest
        far = np.where(self.eye.toward > 0.0, self._high, self._low)  # the sides behind what is shown
        near = self._low + self._high - far
        sides = [axis for axis in range(3) if axis != up]
        self._side(axes, up, self._floor, EARTH if self.ground is not None else _FLOOR)
        for side in sides:
            self._side(axes, side, far[side], "none")
        for axis in sides:  # numbers along the near edges of the floor
            other = sides[1 - sides.index(axis)]
            foot = np.where(np.arange(3) == other, near, 0.0)
            foot[up] = self._floor
            self._numbers(axes, axis, foot, size)
        # and along the upright edge on the picture's left
        ends = [np.where(np.arange(3) == a, near, far) for a in sides]
        foot = min(ends, key=lambda place: float(self.eye.seen(place)[0]))
        self._numbers(axes, up, foot, size)

    def _side(self, axes: Axes, across: int, at: float, face: str) -> None:
        """Draw a side of the box with lines at the numbers."""
        a, b = (axis for axis in range(3) if axis != across)
        rim = np.full((4, 3), at)
        rim[:, a] = [self._low[a], self._high[a], self._high[a], self._low[a]]
        rim[:, b] = [self._low[b], self._low[b], self._high[b], self._high[b]]
        flat = self.seen(rim)
        axes.fill(*flat.T, facecolor=face, edgecolor=_RIM, lw=0.7, clip_on=False)
        for along, other in ((a, b), (b, a)):
            for place in self._ticks(along).places:
                ends = np.full((2, 3), at)
                ends[:, along], ends[:, other] = place, [self._low[other], self._high[other]]
                axes.plot(*self.seen(ends).T, color=_RIM, lw=0.4, clip_on=False, scalex=False, scaley=False)

    def _ticks(self, axis: int) -> Any:
        span = (self._high - self._low) / float((self._high - self._low).max())
        return ticks(self._low[axis], self._high[axis], max(2, round(4 * float(span[axis]))))

    def _numbers(self, axes: Axes, axis: int, foot: NDArray[np.float64], size: float) -> None:
        """Write numbers and name of an axis along an edge of the box."""
        found = self._ticks(axis)
        middle = self.seen(0.5 * (self._low + self._high))
        edge = np.repeat(foot[None], 2, axis=0)
        edge[:, axis] = self._low[axis], self._high[axis]
        start, end = self.seen(edge)
        way = (end - start) / max(float(np.linalg.norm(end - start)), 1e-300)
        out = np.array([way[1], -way[0]])
        out = out if float(out @ (0.5 * (start + end) - middle)) > 0.0 else -out
        span = float(np.ptp(self.seen(self._corners()), axis=0).max())
        how = {"ha": "center", "va": "center", "color": INK, "parse_math": False, "clip_on": False}
        for place, text in zip(found.places, found.texts, strict=True):
            at = edge[0].copy()
            at[axis] = place
            axes.text(*(self.seen(at) + 0.035 * span * out), text, fontsize=size - 1.5, **how)
        label = named(_NAMES[axis], self.unit, found)
        angle = float(np.degrees(np.arctan2(way[1], way[0])))
        angle = (angle + 89.9) % 180.0 - 89.9  # never upside down; upright from below
        axes.text(
            *(0.5 * (start + end) + 0.092 * span * out),
            label,
            fontsize=size,
            rotation=angle,
            rotation_mode="anchor",
            **how,
        )

    def _paint(self, window: Window, brush: Brush, painters: Sequence[Painter], k: int) -> None:
        wide, high = window.pixels
        left, bottom = window.transData.inverted().transform(
            [(round(window.bbox.x0), round(window.bbox.y0))]
        )[0]
        scale = float(window.transData.get_matrix()[0, 0])
        self._shadows(brush, painters, k)
        space = Space(self.eye, wide, high, left, bottom, scale, 1.0 / brush.points_of_pixel)
        for painter in painters:
            painter.space(space, k)
        right, top = left + wide / scale, bottom + high / scale
        brush.image(space.picture(), (left, right, bottom, top))

    def _shadows(self, brush: Brush, painters: Sequence[Painter], k: int) -> None:
        """Draw where on the floor things are above."""
        up = self.eye.tallest
        if abs(self.eye.toward[up]) < 0.15:
            return  # the floor is seen from its edge
        for painter in painters:
            found = getattr(painter, "shadows", None)
            if found is None:
                continue
            places, radii = found(k)
            places = places[:4000].copy()
            places[:, up] = self._floor
            turn = np.linspace(0.0, 2.0 * np.pi, 16, endpoint=False)
            a, b = (axis for axis in range(3) if axis != up)
            rims = np.repeat(places[:, None], 16, axis=1)
            rims[..., a] += radii[:4000, None] * np.cos(turn)
            rims[..., b] += radii[:4000, None] * np.sin(turn)
            brush.faces(self.seen(rims), _SHADOW, edge_width=0.0)
