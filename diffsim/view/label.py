"""Text that changes from frame to frame, put together from pictures of its parts that are kept."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.text import Text

__all__ = ["Label"]

# what a letter covers: its upper left corner, and of each pixel the share that is covered, in 255ths
Stamp: TypeAlias = tuple[int, int, NDArray[np.uint8]]

# letters that are as wide as any other in a monospaced font, and mean nothing to Matplotlib
_MANY = 64  # letters whose width tells that of one
_PLAIN = re.compile(r"[A-Za-z0-9 .,:=+()\[\]/%-]*")


class Label:
    """A text of a figure, put on pictures of that figure.

    Matplotlib sets a line of text in as long as it draws a robot. Here it does so once for each text, and
    where letters are equally wide once for each letter at each place in the line.

    Args:
        text: The text, in a figure with an Agg canvas; of one line, and not turned.
    """

    def __init__(self, text: Text) -> None:
        import matplotlib as mpl

        self._text = text
        # before 3.11 a line stood on whole pixels, and its letters between them
        exact = mpl.__version_info__[:2] >= (3, 11)
        self._even = exact and text.get_fontfamily() == ["monospace"] and text.get_ha() == "left"
        self._stamps: dict[Any, Stamp] = {}
        self._places: dict[tuple[int, tuple[float, float]], tuple[float, float]] = {}
        self._wide = 0.0
        self._sheet: Any = None

    def put(self, picture: NDArray[np.uint8]) -> None:
        """Put the text as it is now on a picture of its figure, shape (height, width, 4)."""
        from matplotlib.colors import to_rgb

        words = self._text.get_text()
        if not words or not self._text.get_visible():
            return
        color = 255.0 * np.array(to_rgb(self._text.get_color()))
        for top, left, cover in self._stamps_of(words):
            place = picture[top : top + cover.shape[0], left : left + cover.shape[1], :3]
            share = cover[..., None] / np.float32(255.0)
            place[...] = np.rint(place + share * (color - place))

    def _stamps_of(self, words: str) -> list[Stamp]:
        """Return what draws the words."""
        if not (self._even and _PLAIN.fullmatch(words)):
            return [self._stamp(words)]
        where, stamps = self._text.get_position(), []
        for column, letter in enumerate(words):
            if letter != " ":
                self._text.set_position(self._place_of(column, where))
                stamps.append(self._stamp(letter))
        self._text.set(position=where, text=words)
        return stamps

    def _place_of(self, column: int, where: tuple[float, float]) -> tuple[float, float]:
        """Return where a letter of a line stands that begins at a place."""
        if not self._wide:
            self._text.set_text("0" * _MANY)
            self._wide = self._text.get_window_extent(self._blank()).width / _MANY
        if (column, where) not in self._places:
            to_pixels = self._text.get_transform()
            left, height = to_pixels.transform(where)
            place = to_pixels.inverted().transform((left + column * self._wide, height))
            self._places[column, where] = float(place[0]), float(place[1])
        return self._places[column, where]

    def _stamp(self, words: str) -> Stamp:
        """Draw words where the text stands, or look up how they were drawn before."""
        text = self._text
        key = (words, text.get_ha(), *text.get_position(), *getattr(text, "xy", ()))
        if key not in self._stamps:
            text.set_text(words)
            self._stamps[key] = self._drawn()
        return self._stamps[key]

    def _drawn(self) -> Stamp:
        """Draw the text on an empty sheet, and cut it out."""
        self._blank()
        self._text.draw(self._sheet)
        shown = np.asarray(self._sheet.buffer_rgba())
        inked = shown.view("<u4")[..., 0] >= 1 << 24  # an empty sheet is white that covers nothing
        rows = np.flatnonzero(inked.any(axis=1))
        if not len(rows):
            return 0, 0, np.zeros((0, 0), dtype=np.uint8)
        high = slice(int(rows[0]), int(rows[-1]) + 1)
        columns = np.flatnonzero(inked[high].any(axis=0))
        wide = slice(int(columns[0]), int(columns[-1]) + 1)
        return high.start, wide.start, shown[high, wide, 3].copy()

    def _blank(self) -> Any:
        """Return an empty sheet as large as the figure."""
        from matplotlib.backends.backend_agg import RendererAgg

        if self._sheet is None:
            figure: Any = self._text.figure
            self._sheet = RendererAgg(*figure.bbox.size, figure.dpi)
        self._sheet.clear()
        return self._sheet
