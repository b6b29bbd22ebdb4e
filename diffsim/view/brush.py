"""Lines and dots drawn on axes at once, for what changes in each frame of a film."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Brush"]


class Brush:
    """Draws on the canvas of axes without artists, which take ten times as long.

    Args:
        axes: Axes with linear scales whose limits and place stay, on an Agg canvas that was drawn.
    """

    def __init__(self, axes: Axes) -> None:
        from matplotlib.markers import MarkerStyle
        from matplotlib.transforms import IdentityTransform

        canvas: Any = axes.figure.canvas
        self._renderer = canvas.get_renderer()
        self._box, self._to_pixels = axes.bbox, axes.transData.frozen()
        self._none = IdentityTransform()
        circle = MarkerStyle("o")
        self._circle = circle.get_path().transformed(circle.get_transform())

    def lines(self, segments: ArrayLike, color: Any, width: float, cap: str = "round") -> None:
        """Draw lines of one colour.

        Args:
            segments: Their ends, shape (n, 2, 2).
            color: A colour of Matplotlib's.
            width: [points].
            cap: How they end: `round` or `butt`.
        """
        from matplotlib.path import Path

        ends = self._pixels(np.asarray(segments, dtype=np.float64).reshape(-1, 2))
        if not len(ends):
            return
        codes = np.tile(np.array([Path.MOVETO, Path.LINETO], dtype=Path.code_type), len(ends) // 2)
        gc = self._context(color, width)
        gc.set_capstyle(cap)
        self._renderer.draw_path(gc, Path(ends, codes), self._none)
        gc.restore()

    def dots(self, points: ArrayLike, size: float, face: Any, edge: Any, edge_width: float = 1.0) -> None:
        """Draw discs.

        Args:
            points: Shape (n, 2).
            size: Their diameter without the edge [points].
            face: The colour inside.
            edge: The colour of the edge.
            edge_width: [points].
        """
        from matplotlib.colors import to_rgba
        from matplotlib.path import Path
        from matplotlib.transforms import Affine2D

        gc = self._context(edge, edge_width)
        gc.set_joinstyle("round")
        scale = Affine2D().scale(self._renderer.points_to_pixels(size))
        path = Path(self._pixels(np.asarray(points, dtype=np.float64)))
        self._renderer.draw_markers(gc, self._circle, scale, path, self._none, to_rgba(face))
        gc.restore()

    def picture(self) -> NDArray[np.uint8]:
        """Copy what the canvas shows, shape (height, width, 4)."""
        return np.array(self._renderer.buffer_rgba())

    def _pixels(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(self._to_pixels.transform(points))

    def _context(self, color: Any, width: float) -> Any:
        from matplotlib.colors import to_rgba

        gc = self._renderer.new_gc()
        gc.set_foreground(to_rgba(color), isRGBA=True)
        gc.set_linewidth(width)
        gc.set_clip_rectangle(self._box)
        gc.set_snap(False)  # a line that becomes level must not jump by half a pixel
        return gc
