"""Dots, lines, faces and maps drawn on axes at once, for what changes in each frame of a film."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffsim.view.shades import Shades
from diffsim.view.style import color_map

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Brush", "brushwork"]

_FAR = 1e5  # [pixels] places beyond are drawn there: the renderer counts pixels in whole numbers
_AT_ONCE = 2000  # shapes of one path: the renderer has room for so many pixels on the rims of one
_HEAD = 0.35  # of an arrow's length is its head, and that is half as wide
_LONGEST = 12.0  # [points] but no longer
_BLACK = (0.0, 0.0, 0.0, 1.0)


class Brush:
    """Draws on the canvas of axes without artists, which take ten times as long.

    Places are in the axes' units. What has a place that is not finite is left out. A colour is one of
    Matplotlib's for all, or `Shades`, which give each thing its own: of those, things of one colour are drawn
    together.

    Args:
        axes: Axes whose limits and place stay, on an Agg canvas that was drawn.
        renderer: What to draw with; None for that of the canvas.
    """

    def __init__(self, axes: Axes, renderer: Any = None) -> None:
        from matplotlib.transforms import IdentityTransform

        canvas: Any = axes.figure.canvas
        self._renderer = canvas.get_renderer() if renderer is None else renderer
        self._box, self._to_pixels = axes.bbox, axes.transData.frozen()
        self._none = IdentityTransform()
        self._circle = _circle()

    @property
    def renderer(self) -> Any:
        """Return what it draws with."""
        return self._renderer

    @property
    def points_of_pixel(self) -> float:
        """Return how large a pixel is [points]."""
        return 1.0 / float(self._renderer.points_to_pixels(1.0))

    def size_of(self, length: float) -> float:
        """Return how long a length along x is on the canvas [points], as sizes and widths are given."""
        ends = self._to_pixels.transform(np.array([[0.0, 0.0], [length, 0.0]]))
        return float(abs(ends[1, 0] - ends[0, 0]) / self._renderer.points_to_pixels(1.0))

    def dots(
        self, points: ArrayLike, size: float, face: Any, edge: Any = None, edge_width: float = 1.0
    ) -> None:
        """Draw discs.

        Args:
            points: Shape (n, 2).
            size: Their diameter without the edge [points].
            face: The colour inside, or `Shades` of n.
            edge: The colour of the edge; None for no edge.
            edge_width: [points].
        """
        from matplotlib.path import Path
        from matplotlib.transforms import Affine2D

        places, face = self._places(points, 1, face)
        scale = Affine2D().scale(self._renderer.points_to_pixels(size))
        for which, color in _groups(face, len(places)):
            gc = self._context(_BLACK if edge is None else edge, 0.0 if edge is None else edge_width)
            gc.set_joinstyle("round")
            path = Path(places[which, 0])
            self._renderer.draw_markers(gc, self._circle, scale, path, self._none, color)
            gc.restore()

    def lines(self, segments: ArrayLike, color: Any, width: float, cap: str = "round") -> None:
        """Draw lines.

        Args:
            segments: Their ends, shape (n, 2, 2).
            color: A colour, or `Shades` of n.
            width: [points].
            cap: How they end: `round` or `butt`.
        """
        ends, color = self._places(segments, 2, color)
        for which, one in _groups(color, len(ends)):
            for part in _parts(ends[which]):
                gc = self._context(one, width)
                gc.set_capstyle(cap)
                self._renderer.draw_path(gc, _path(part, closed=False), self._none)
                gc.restore()

    def faces(self, corners: ArrayLike, face: Any, edge: Any = None, edge_width: float = 0.6) -> None:
        """Fill polygons.

        Args:
            corners: Shape (n, k, 2): n triangles for k = 3.
            face: The colour inside, or `Shades` of n.
            edge: The colour of the rims; None for that inside, so that there is no gap between neighbours.
            edge_width: [points]; 0 for no rim.
        """
        array = np.asarray(corners, dtype=np.float64)
        places, face = self._places(array, array.shape[-2] if array.ndim > 1 else 1, face)
        for which, color in _groups(face, len(places)):
            for part in _parts(places[which]):
                gc = self._context(color if edge is None else edge, edge_width)
                gc.set_joinstyle("round")
                self._renderer.draw_path(gc, _path(part, closed=True), self._none, color)
                gc.restore()

    def smooth_faces(self, corners: ArrayLike, colors: ArrayLike) -> None:
        """Fill triangles with colours that change from corner to corner.

        Args:
            corners: Shape (n, 3, 2).
            colors: RGBA from 0 to 1 of each corner, shape (n, 3, 4).
        """
        places, _ = self._places(corners, 3, None)
        finite = np.isfinite(np.asarray(corners, dtype=np.float64).reshape(-1, 6)).all(axis=1)
        shown = np.asarray(colors, dtype=np.float64).reshape(-1, 3, 4)[finite]
        if len(places):
            gc = self._context(_BLACK, 0.0)
            self._renderer.draw_gouraud_triangles(gc, places, shown, self._none)
            gc.restore()

    def arrows(self, starts: ArrayLike, vectors: ArrayLike, color: Any, width: float = 1.0) -> None:
        """Draw arrows; their heads grow with them.

        Args:
            starts: Shape (n, 2).
            vectors: From start to tip, shape (n, 2).
            color: A colour, or `Shades` of n.
            width: Of the shafts [points].
        """
        start = np.asarray(starts, dtype=np.float64).reshape(-1, 2)
        ends = np.stack([start, start + np.asarray(vectors, dtype=np.float64).reshape(-1, 2)], axis=1)
        places, color = self._places(ends, 2, color)
        along = _HEAD * (places[:, 1] - places[:, 0])
        most = self._renderer.points_to_pixels(_LONGEST)
        along = along * np.minimum(1.0, most / np.maximum(np.hypot(*along.T), 1e-9))[:, None]
        across = 0.4 * along[:, ::-1] * [-1.0, 1.0]
        neck, tip = places[:, 1] - along, places[:, 1]
        heads = np.stack([tip, neck + across, neck - across], axis=1)
        shafts = np.stack([places[:, 0], neck], axis=1)
        for which, one in _groups(color, len(places)):
            for first in range(0, len(which), _AT_ONCE):
                some = which[first : first + _AT_ONCE]
                gc = self._context(one, width)
                gc.set_capstyle("butt")
                self._renderer.draw_path(gc, _path(shafts[some], closed=False), self._none)
                gc.set_linewidth(0.0)
                self._renderer.draw_path(gc, _path(heads[some], closed=True), self._none, one)
                gc.restore()

    def grid(
        self,
        values: ArrayLike,
        extent: tuple[float, float, float, float],
        colormap: Any = "viridis",
        low: float | None = None,
        high: float | None = None,
        smooth: bool = True,
    ) -> None:
        """Draw numbers on a grid as a map of colours.

        Args:
            values: Shape (nx, ny), the first axis along x. What is not finite is left out.
            extent: Left, right, bottom, top of all cells.
            colormap: A colour map of Matplotlib's, or its name.
            low: The number that has the map's first colour; None for the least one.
            high: The number that has its last; None for the largest one.
            smooth: Whether to blend between the middles of cells.
        """
        array = np.asarray(values, dtype=np.float32).T
        finite = np.isfinite(array)
        if not finite.any():
            return
        low = float(array[finite].min(initial=np.inf)) if low is None else low
        high = float(array[finite].max(initial=-np.inf)) if high is None else high
        span = high - low if high > low else 1.0
        share = ((np.where(finite, array, low) - low) / span).astype(np.float32)
        map_ = color_map(colormap)
        table = np.asarray(map_(np.linspace(0.0, 1.0, 256), bytes=True))

        def paint(height: int, width: int) -> NDArray[np.uint8]:
            wide = np.clip(_stretched(share, height, width, smooth), 0.0, 1.0)
            picture = table[np.rint(255.0 * wide).astype(np.intp)]
            if not finite.all():
                picture[_stretched(finite.astype(np.float32), height, width, False) < 0.5] = 0
            return np.asarray(picture)

        self._paste(paint, extent)

    def image(
        self, pixels: ArrayLike, extent: tuple[float, float, float, float], smooth: bool = False
    ) -> None:
        """Draw a picture.

        Args:
            pixels: RGB or RGBA, the uppermost row first, shape (height, width, 3) or (height, width, 4), u8.
            extent: Left, right, bottom, top of all of it.
            smooth: Whether to blend between the middles of pixels.
        """
        given = np.asarray(pixels, dtype=np.uint8)[::-1]
        solid = np.full((*given.shape[:2], 1), 255, dtype=np.uint8)
        given = np.concatenate([given, solid], axis=2)[..., :4]

        def paint(height: int, width: int) -> NDArray[np.uint8]:
            planes = [_stretched(given[..., k], height, width, smooth) for k in range(4)]
            return np.stack(planes, axis=-1)

        self._paste(paint, extent)

    def picture(self) -> NDArray[np.uint8]:
        """Copy what the canvas shows, shape (height, width, 4)."""
        return np.array(self._renderer.buffer_rgba())

    def _paste(
        self, paint: Callable[[int, int], NDArray[np.uint8]], extent: tuple[float, float, float, float]
    ) -> None:
        """Put a picture, the lowest row first, where it belongs, on whole pixels."""
        left, right, bottom, top = extent
        ends = np.rint(self._to_pixels.transform(np.array([[left, bottom], [right, top]])))
        if not np.isfinite(ends).all() or np.abs(ends).max() > _FAR:
            return
        (x, y), (far, high) = ends.min(axis=0).astype(int), ends.max(axis=0).astype(int)
        if far <= x or high <= y:
            return
        rows = paint(int(high - y), int(far - x))
        rows = rows[:: 1 if ends[1, 1] > ends[0, 1] else -1, :: 1 if ends[1, 0] > ends[0, 0] else -1]
        gc = self._context(_BLACK, 0.0)
        self._renderer.draw_image(gc, float(x), float(y), np.ascontiguousarray(rows))
        gc.restore()

    def _places(self, places: ArrayLike, corners: int, color: Any) -> tuple[NDArray[np.float64], Any]:
        """Return the places on the canvas of what has finite ones, shape (n, corners, 2), and its colours."""
        array = np.asarray(places, dtype=np.float64).reshape(-1, 2)
        pixels = np.asarray(self._to_pixels.transform(array)).reshape(-1, corners, 2)
        finite = np.isfinite(pixels).all(axis=(1, 2))
        if not finite.all():
            pixels = pixels[finite]
            color = color[finite] if isinstance(color, Shades) else color
        return np.clip(pixels, -_FAR, _FAR), color

    def _context(self, color: Any, width: float) -> Any:
        from matplotlib.colors import to_rgba

        gc = self._renderer.new_gc()
        gc.set_foreground(to_rgba(color), isRGBA=True)
        gc.set_linewidth(width)
        gc.set_clip_rectangle(self._box)
        gc.set_snap(False)  # a line that becomes level must not jump by half a pixel
        return gc


def brushwork(axes: Axes, work: Callable[[Brush], object], zorder: float = 3.0) -> None:
    """Let a brush draw on axes when they are drawn: in the frame of a film, or in a still.

    Args:
        axes: What is drawn on.
        work: Called with a `Brush` of these axes.
        zorder: What of the axes' artists is drawn before, and what after.
    """
    artist = _work_type()(work)
    artist.set_zorder(zorder)
    axes.add_artist(artist)


@functools.cache
def _work_type() -> Any:
    """Make the type of artists that are drawn by a brush."""
    from matplotlib.artist import Artist

    class Work(Artist):
        def __init__(self, work: Callable[[Brush], object]) -> None:
            super().__init__()
            self._work = work

        def draw(self, renderer: Any) -> None:
            if self.get_visible():
                self._work(Brush(self.axes, renderer))
            self.stale = False

    return Work


@functools.cache
def _circle() -> Any:
    """Return the outline of a disc of diameter 1."""
    from matplotlib.markers import MarkerStyle

    circle = MarkerStyle("o")
    return circle.get_path().transformed(circle.get_transform())


def _groups(color: Any, count: int) -> Iterator[tuple[NDArray[np.intp], tuple[float, ...]]]:
    """Go over the colours of things: those that have one, and the colour."""
    from matplotlib.colors import to_rgba

    if isinstance(color, Shades):
        yield from color.groups()
    elif count:
        yield np.arange(count), to_rgba(color)


def _parts(shapes: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
    """Go over shapes in parts that the renderer can take."""
    for first in range(0, len(shapes), _AT_ONCE):
        yield shapes[first : first + _AT_ONCE]


def _path(shapes: NDArray[np.float64], closed: bool) -> Any:
    """Join shapes, (n, k, 2), in one path."""
    from matplotlib.path import Path

    count, corners = shapes.shape[:2]
    codes = [Path.MOVETO, *[Path.LINETO] * (corners - 1), *[Path.CLOSEPOLY] * closed]
    if closed:
        shapes = np.concatenate([shapes, shapes[:, :1]], axis=1)
    return Path(shapes.reshape(-1, 2), np.tile(np.array(codes, dtype=Path.code_type), count))


def _stretched(plane: NDArray[Any], height: int, width: int, smooth: bool) -> NDArray[Any]:
    """Give a plane of numbers another size."""
    from PIL import Image

    way = Image.Resampling.BILINEAR if smooth else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(plane).resize((width, height), way))
