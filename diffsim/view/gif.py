"""Turn RGB frames into a small animated GIF."""

from __future__ import annotations

import itertools
import os
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from diffsim.files import replacing

__all__ = ["write_gif"]

Bytes: TypeAlias = NDArray[np.uint8]
Packed: TypeAlias = NDArray[np.uint32]

_COLORS = 255  # one of the format's 256 indices stands for what is as before
_SAME = 255
_RGB = np.uint32(0xFFFFFF)
_EXACT = 96  # so many of the commonest colours are kept as they are
_MIN_DELAY = 2  # hundredths of a second; browsers slow anything shorter down to 10
_MAX_DELAY = 65535  # the format's largest
_FOR_EVER = b"!\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00"
_STAYS = 1  # what a frame leaves out shows the frame before


def write_gif(
    path: str | os.PathLike[str],
    frames: Sequence[Bytes],
    fps: float,
    keep: Bytes | None = None,
    hold: float = 1.0,
) -> None:
    """Write frames as a looping GIF with one palette for all of them.

    Args:
        path: the GIF to write; replaced only when the file is complete.
        frames: at least one RGB image, each of shape (height, width, 3) or, with a fourth byte that is left
            out, (height, width, 4), u8.
        fps: frames per second; the format rounds a frame to hundredths of a second.
        keep: colours that must be in the palette, shape (at most 128, 3), u8; None: chosen by what the frames
            show alone.
        hold: how long the last frame stays [s].

    Raises:
        OSError: the file can't be written.
    """
    film = _Film.of([_pack(frame) for frame in frames])
    palette, index = _palette(film, np.zeros((0, 3), dtype=np.uint8) if keep is None else keep)
    delay = min(max(_MIN_DELAY, round(100.0 / fps)), _MAX_DELAY)
    delays = [delay] * (len(frames) - 1) + [max(delay, round(100.0 * hold))]
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(b"GIF89a" + struct.pack("<HHBBB", film.width, film.height, 0xF7, 0, 0))
        file.write(palette.tobytes().ljust(3 * 256, b"\0") + _FOR_EVER)
        for part in _parts(film, index, delays):
            file.write(part.encoded())
        file.write(b";")


@dataclass(frozen=True)
class _Film:
    """Frames as their first one and what changes in those behind it.

    Attributes:
        width: of a frame.
        height: of a frame.
        first: the colours of the first frame, row by row.
        changes: for each later frame the pixels that change, in rising order, their colours and those before.
    """

    width: int
    height: int
    first: Packed
    changes: list[tuple[NDArray[np.intp], Packed, Packed]]

    @classmethod
    def of(cls, frames: Sequence[Packed]) -> _Film:
        """Compare each frame with the one before it."""
        flat = [frame.reshape(-1) for frame in frames]
        changes = []
        for before, after in itertools.pairwise(flat):
            places = np.flatnonzero(before != after)
            changes.append((places, after[places] & _RGB, before[places] & _RGB))
        height, width = frames[0].shape
        return cls(width, height, flat[0] & _RGB, changes)


@dataclass
class _Part:
    """What a frame draws over the one before it: palette indices in a rectangle, and how long it stays.

    Attributes:
        indices: shape (height, width).
        left: of the rectangle.
        top: of the rectangle.
        delay: hundredths of a second.
    """

    indices: Bytes
    left: int
    top: int
    delay: int

    def encoded(self) -> bytes:
        """Compress the part, with its description in front."""
        from PIL import GifImagePlugin, Image

        stays = {"duration": 10 * min(self.delay, _MAX_DELAY), "disposal": _STAYS, "transparency": _SAME}
        image = Image.fromarray(self.indices)
        return b"".join(GifImagePlugin.getdata(image, (self.left, self.top), interlace=0, **stays))


def _parts(film: _Film, index: Callable[[Packed], Bytes], delays: Sequence[int]) -> list[_Part]:
    """List what the frames draw; a frame that changes nothing lets the one before it stay."""
    shown = index(film.first)
    parts = [_Part(shown.reshape(film.height, film.width).copy(), 0, 0, delays[0])]
    for (places, after, _), delay in zip(film.changes, delays[1:], strict=True):
        indices = index(after)
        differ = indices != shown[places]
        places, indices = places[differ], indices[differ]
        if not len(places):
            parts[-1].delay += delay
            continue
        shown[places] = indices
        rows, columns = np.divmod(places, film.width)
        top, left = int(rows[0]), int(columns.min())
        patch = np.full((int(rows[-1]) - top + 1, int(columns.max()) - left + 1), _SAME, dtype=np.uint8)
        patch[rows - top, columns - left] = indices
        parts.append(_Part(patch, left, top, delay))
    return parts


def _pack(frame: Bytes) -> Packed:
    """Put the bytes of each colour into one number; a fourth byte is the highest."""
    if frame.shape[2] == 4:
        return np.ascontiguousarray(frame).view("<u4")[..., 0]
    wide = frame.astype(np.uint32)
    return np.asarray(wide[..., 0] | wide[..., 1] << 8 | wide[..., 2] << 16, dtype=np.uint32)


def _unpack(colors: NDArray[Any]) -> Bytes:
    """Take the numbers apart again, shape (n, 3)."""
    return np.stack([colors & 255, colors >> 8 & 255, colors >> 16], axis=1).astype(np.uint8)


def _counted(film: _Film) -> tuple[NDArray[np.intp], NDArray[np.int64], NDArray[Any]]:
    """List all colours, in how many pixels of all frames each of them is, and the table of their numbers."""
    met = np.zeros(1 << 24, dtype=np.bool_)
    met[film.first] = True
    for _, after, _ in film.changes:
        met[after] = True
    colors = np.flatnonzero(met)
    number = np.zeros(1 << 24, dtype=np.uint16 if len(colors) <= 1 << 16 else np.uint32)
    number[colors] = np.arange(len(colors))

    def count(pixels: Packed) -> NDArray[np.int64]:
        return np.bincount(number[pixels], minlength=len(colors))

    left = 1 + len(film.changes)
    counts = left * count(film.first)
    for _, after, before in film.changes:  # a change stays to the end, or until the next one
        left -= 1
        counts += left * (count(after) - count(before))
    return colors, counts, number


def _palette(film: _Film, keep: Bytes) -> tuple[Bytes, Callable[[Packed], Bytes]]:
    """Choose up to 255 colours, and make the function from packed colours to palette indices.

    The commonest colours are kept exactly, so that flat areas look as drawn; Pillow's own mapping to a
    palette rounds colours first and tints the background. One palette for all frames does not flicker, and
    what stands still is left out of all frames but the first.
    """
    from PIL import Image

    seen, counts, number = _counted(film)
    order = np.argsort(-counts, kind="stable")
    palette = np.concatenate([keep, _unpack(seen[order[:_EXACT]])])
    others = _unpack(seen[order[_EXACT:]])
    if len(others):
        room = _COLORS - len(palette)
        blend = Image.fromarray(others[None]).quantize(colors=room, method=Image.Quantize.MAXCOVERAGE)
        mixed = np.array(blend.getpalette(), dtype=np.uint8).reshape(-1, 3)[:room]
        palette = np.concatenate([palette, mixed])
    nearest = np.zeros(len(seen), dtype=np.uint8)
    center = palette.astype(np.float32)
    square = (center**2).sum(axis=1)
    for part in np.array_split(np.arange(len(seen)), max(1, len(seen) // 4096)):
        near = square - 2.0 * (
            _unpack(seen[part]).astype(np.float32) @ center.T
        )  # |a - b|^2 without its constant |a|^2
        nearest[part] = near.argmin(axis=1)
    return palette, lambda pixels: nearest[number[pixels]]
