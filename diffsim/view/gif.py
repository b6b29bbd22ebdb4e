"""Turn RGB frames into a small animated GIF."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsim.errors import ConfigError
from diffsim.files import replacing
from diffsim.view.palette import Palette
from diffsim.view.spool import Bytes, Packed, Spool, unpacked

__all__ = ["write_gif"]

_SAME = 255
_CLOSE = 1.5  # [255ths] root of the mean square: where one palette is further off, a frame gets its own
_MIN_DELAY = 2  # hundredths of a second; browsers slow anything shorter down to 10
_MAX_DELAY = 65535  # the format's largest
_FOR_EVER = b"!\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00"
_STAYS = 1  # what a frame leaves out shows the frame before


def write_gif(
    path: str | os.PathLike[str],
    frames: Iterable[Bytes],
    fps: float,
    keep: Bytes | None = None,
    hold: float = 1.0,
) -> None:
    """Write frames as a looping GIF.

    There is one palette for all frames, which does not flicker and keeps the file small. A frame that it does
    not show well, as of a map of many colours, gets a palette of its own.

    Args:
        path: the GIF to write; replaced only when the file is complete.
        frames: at least one RGB image, each of shape (height, width, 3) or, with a fourth byte that is left
            out, (height, width, 4), u8. They are taken one by one, and only what changes is kept.
        fps: frames per second; the format rounds a frame to hundredths of a second.
        keep: colours that must be in the palette, shape (at most 128, 3), u8; None: chosen by what the frames
            show alone.
        hold: how long the last frame stays [s].

    Raises:
        ConfigError: there is no frame, or one has another size than the first.
        OSError: the file can't be written.
    """
    kept = np.zeros((0, 3), dtype=np.uint8) if keep is None else keep
    spool = Spool()
    try:
        for frame in frames:
            spool.add(frame)
        if not len(spool):
            raise ConfigError("frames must hold one picture or more, got none; draw one")
        delay = min(max(_MIN_DELAY, round(100.0 / fps)), _MAX_DELAY)
        delays = [delay] * (len(spool) - 1) + [max(delay, round(100.0 * hold))]
        height, width = spool.shape
        colors = _Colors(spool, kept)
        with replacing(path) as temporary, open(temporary, "wb") as file:
            file.write(b"GIF89a" + struct.pack("<HHBBB", width, height, 0xF7, 0, 0))
            file.write(_table(colors.common.colors) + _FOR_EVER)
            for part in _parts(spool, colors, delays):
                file.write(part.encoded())
            file.write(b";")
    finally:
        spool.close()


def _table(colors: Bytes) -> bytes:
    return colors.tobytes().ljust(3 * 256, b"\0")


class _Colors:
    """The palettes of a film.

    Attributes:
        common: The palette of the frames that have none of their own.
    """

    def __init__(self, spool: Spool, keep: Bytes) -> None:
        self._keep = keep
        seen = np.flatnonzero(spool.met).astype(np.uint32)
        self._seen = seen
        self._number = np.zeros(1 << 24, dtype=np.uint16 if len(seen) <= 1 << 16 else np.uint32)
        self._number[seen] = np.arange(len(seen))
        self.common = Palette.of(seen, self._counts(spool), keep)
        self._exact = not self.common.error.any()

    def _counts(self, spool: Spool) -> NDArray[np.int64]:
        """Count in how many pixels of all frames each colour is."""
        counts = np.zeros(len(self._seen), dtype=np.int64)
        shown = np.zeros(spool.shape[0] * spool.shape[1], dtype=np.uint32)
        for k, (places, colors) in enumerate(spool.changes()):
            stay = len(spool) - k  # a change stays to the end, or until the next one
            counts += stay * np.bincount(self._number[colors], minlength=len(counts))
            if k:
                counts -= stay * np.bincount(self._number[shown[places]], minlength=len(counts))
            shown[places] = colors
        return counts

    def of(self, colors: Packed) -> tuple[Palette, Bytes]:
        """Return the palette for what a frame changes, and the indices of its pixels."""
        numbers = self._number[colors]
        error = 0.0 if self._exact or not len(colors) else float(self.common.error[numbers].mean())
        if error <= _CLOSE**2:
            return self.common, self.common.index[numbers]
        counts = np.bincount(numbers, minlength=len(self._seen))
        met = np.flatnonzero(counts)
        own = Palette.of(self._seen[met], counts[met], self._kept(met))
        table = np.zeros(len(self._seen), dtype=np.uint8)
        table[met] = own.index
        return own, table[numbers]

    def _kept(self, met: NDArray[np.intp]) -> Bytes:
        """Return the colours to keep that are among those met."""
        if not len(self._keep):
            return self._keep
        wanted = {tuple(color) for color in unpacked(self._seen[met]).tolist()}
        return self._keep[[tuple(color) in wanted for color in self._keep.tolist()]]


@dataclass
class _Part:
    """What a frame draws over the one before it: palette indices in a rectangle, and how long it stays.

    Attributes:
        indices: shape (height, width).
        left: of the rectangle.
        top: of the rectangle.
        delay: hundredths of a second.
        palette: of its own, if it has one.
    """

    indices: Bytes
    left: int
    top: int
    delay: int
    palette: Bytes | None

    def encoded(self) -> bytes:
        """Compress the part, with its description in front."""
        from PIL import GifImagePlugin, Image

        how = {"duration": 10 * min(self.delay, _MAX_DELAY), "disposal": _STAYS, "transparency": _SAME}
        image = Image.fromarray(self.indices)
        if self.palette is not None:
            image.putpalette(_table(self.palette))
            how["include_color_table"] = True
        return b"".join(GifImagePlugin.getdata(image, (self.left, self.top), interlace=0, **how))


def _parts(spool: Spool, colors: _Colors, delays: list[int]) -> Iterator[_Part]:
    """Go over what the frames draw; a frame that changes nothing lets the one before it stay."""
    height, width = spool.shape
    shown = np.zeros(height * width, dtype=np.uint32)
    waiting: _Part | None = None
    for (places, wanted), delay in zip(spool.changes(), delays, strict=True):
        palette, indices = colors.of(wanted)
        painted = palette.packed()[indices]
        if waiting is not None:
            before = shown[places]
            differ = (painted != before) & (_off(painted, wanted) < _off(before, wanted))
            places, indices, painted = places[differ], indices[differ], painted[differ]
            if not len(places):
                waiting.delay += delay
                continue
            yield waiting
        shown[places] = painted
        rows, columns = np.divmod(places, np.uint32(width))
        top, left = int(rows[0]), int(columns.min())
        patch = np.full((int(rows[-1]) - top + 1, int(columns.max()) - left + 1), _SAME, dtype=np.uint8)
        patch[rows - top, columns - left] = indices
        own = None if palette is colors.common else palette.colors
        waiting = _Part(patch, left, top, delay, own)
    if waiting is not None:
        yield waiting


def _off(some: Packed, others: Packed) -> NDArray[Any]:
    """Return the squares of how far colours are from others."""
    return ((unpacked(some).astype(np.int32) - unpacked(others)) ** 2).sum(axis=1)
