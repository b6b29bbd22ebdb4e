"""A part of axes with a scale of its own, that brushes draw in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from diffsim.view.brush import Brush

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Rect", "Window", "brush_in"]

Rect = tuple[float, float, float, float]  # left, bottom, width and height as shares of axes


class Window:
    """What a brush must know of axes, for a part of some.

    Args:
        axes: The whole axes.
        rect: Which part, as shares of them.
        limits: Left, right, lower and upper limit of what is shown there.
    """

    def __init__(self, axes: Axes, rect: Rect, limits: tuple[float, float, float, float]) -> None:
        from matplotlib.transforms import Affine2D, Bbox

        whole: Any = axes.bbox
        left, bottom = whole.x0 + rect[0] * whole.width, whole.y0 + rect[1] * whole.height
        wide, high = rect[2] * whole.width, rect[3] * whole.height
        self.figure = axes.figure
        self.bbox = Bbox.from_bounds(left, bottom, wide, high)
        x, far, y, top = limits
        self.transData = Affine2D().translate(-x, -y).scale(wide / (far - x), high / (top - y))
        self.transData.translate(left, bottom)

    @property
    def pixels(self) -> tuple[int, int]:
        """Return how many whole pixels it has: width and height."""
        box = self.bbox
        return round(box.x1) - round(box.x0), round(box.y1) - round(box.y0)


def brush_in(window: Window, brush: Brush) -> Brush:
    """Return a brush for a window, that draws with what another one draws with."""
    return Brush(cast("Axes", window), brush.renderer)
