"""Turn RGB frames into a small animated GIF."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from diffsim.files import replacing

__all__ = ["write_gif"]

Bytes: TypeAlias = NDArray[np.uint8]

_EXACT = 96  # so many of the commonest colours are kept as they are
_MIN_DELAY = 2  # hundredths of a second; browsers slow anything shorter down to 10
_MAX_DELAY = 65535  # the format's largest


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
        frames: at least one RGB image, each of shape (height, width, 3), u8.
        fps: frames per second; the format rounds a frame to hundredths of a second.
        keep: colours that must be in the palette, shape (at most 128, 3), u8; None: chosen by what the frames
            show alone.
        hold: how long the last frame stays [s].

    Raises:
        OSError: the file can't be written.
    """
    from PIL import Image

    packed = [_pack(frame) for frame in frames]
    palette, table = _palette(packed, np.zeros((0, 3), dtype=np.uint8) if keep is None else keep)
    images = []
    for frame in packed:
        image = Image.fromarray(table[frame])
        image.putpalette(palette.tobytes())
        images.append(image)
    delay = min(max(_MIN_DELAY, round(100.0 / fps)), _MAX_DELAY)
    delays = [10 * delay] * (len(images) - 1) + [10 * max(delay, round(100.0 * hold))]
    with replacing(path) as temporary:
        images[0].save(
            temporary,
            format="GIF",
            save_all=True,
            append_images=images[1:],
            duration=delays,
            loop=0,
            optimize=False,
        )


def _pack(frame: Bytes) -> NDArray[np.uint32]:
    """Put the three bytes of each colour into one number."""
    wide = frame.astype(np.uint32)
    return np.asarray(wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2], dtype=np.uint32)


def _unpack(colors: NDArray[Any]) -> Bytes:
    """Take the numbers apart again, shape (n, 3)."""
    return np.stack([colors >> 16, colors >> 8 & 255, colors & 255], axis=1).astype(np.uint8)


def _palette(frames: Sequence[NDArray[np.uint32]], keep: Bytes) -> tuple[Bytes, Bytes]:
    """Choose up to 256 colours, and make the table from packed colour to palette index.

    The commonest colours are kept exactly, so that flat areas look as drawn; Pillow's own mapping to a
    palette rounds colours first and tints the background. One palette for all frames does not flicker, and
    what stands still compresses to little.
    """
    from PIL import Image

    counts = np.zeros(1 << 24, dtype=np.uint32)
    for frame in frames:
        colors, repeats = np.unique(frame, return_counts=True)
        counts[colors] += repeats.astype(np.uint32)
    seen = np.flatnonzero(counts)
    order = np.argsort(-counts[seen].astype(np.int64), kind="stable")
    palette = np.concatenate([keep, _unpack(seen[order[:_EXACT]])])
    others = _unpack(seen[order[_EXACT:]])
    if len(others):
        blend = Image.fromarray(others[None]).quantize(
            colors=256 - len(palette), method=Image.Quantize.MEDIANCUT
        )
        mixed = np.array(blend.getpalette(), dtype=np.uint8).reshape(-1, 3)[: 256 - len(palette)]
        palette = np.concatenate([palette, mixed])
    table = np.zeros(1 << 24, dtype=np.uint8)
    center = palette.astype(np.float32)
    square = (center**2).sum(axis=1)
    for part in np.array_split(seen, max(1, len(seen) // 4096)):
        near = square - 2.0 * (
            _unpack(part).astype(np.float32) @ center.T
        )  # |a - b|^2 without its constant |a|^2
        table[part] = near.argmin(axis=1)
    return palette, table
