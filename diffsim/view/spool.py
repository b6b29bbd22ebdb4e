"""The frames of a film as what changes from one to the next, kept on disk where that is much."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from diffsim.errors import ConfigError

__all__ = ["Bytes", "Change", "Packed", "Spool", "packed", "unpacked"]

Bytes: TypeAlias = NDArray[np.uint8]
Packed: TypeAlias = NDArray[np.uint32]
Change: TypeAlias = "tuple[NDArray[np.uint32], Packed]"

_RGB = np.uint32(0xFFFFFF)
_IN_MEMORY = 1 << 26  # [bytes] of changes; what is more goes to a file


def packed(frame: Bytes) -> Packed:
    """Put the bytes of each colour into one number; a fourth byte is left out."""
    if frame.shape[-1] == 4:
        return np.ascontiguousarray(frame).view("<u4")[..., 0] & _RGB
    wide = frame.astype(np.uint32)
    return np.asarray(wide[..., 0] | wide[..., 1] << 8 | wide[..., 2] << 16, dtype=np.uint32)


def unpacked(colors: NDArray[Any]) -> Bytes:
    """Take the numbers apart again, shape (n, 3)."""
    return np.stack([colors & 255, colors >> 8 & 255, colors >> 16], axis=-1).astype(np.uint8)


class Spool:
    """Takes frames one by one, and gives back of each what is not as in the one before it, as often as asked.

    Attributes:
        shape: Height and width of a frame; (0, 0) where there is none.
        met: Which colours any frame has, by their packed number, shape (2²⁴,).
    """

    def __init__(self) -> None:
        self.shape = (0, 0)
        self.met = np.zeros(1 << 24, dtype=np.bool_)
        self._last: Packed | None = None
        self._counts: list[int] = []
        self._file: Any = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115  (close() does)

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self._counts)

    def add(self, frame: Bytes) -> None:
        """Take the next frame, shape (height, width, 3 or 4).

        Raises:
            ConfigError: It has another size than the first.
        """
        colors = packed(frame).reshape(-1)
        if self._last is None:
            self.shape = (frame.shape[0], frame.shape[1])
            places = np.arange(len(colors), dtype=np.uint32)
        elif frame.shape[:2] != self.shape:
            raise ConfigError(
                f"frames must have the size of the first, {self.shape}, got {frame.shape[:2]} in frame "
                f"{len(self)}; keep the figure"
            )
        else:
            places = np.flatnonzero(colors != self._last).astype(np.uint32)
        changed = colors[places]
        self.met[changed] = True
        self._counts.append(len(places))
        self._file.write(places.tobytes())
        self._file.write(changed.tobytes())
        self._last = colors

    def changes(self) -> Iterator[Change]:
        """Go over the frames: the pixels that change, in rising order, and their packed colours."""
        self._file.seek(0)
        for count in self._counts:
            places, colors = (np.frombuffer(self._file.read(4 * count), dtype=np.uint32) for _ in range(2))
            yield places, colors

    def close(self) -> None:
        """Give the memory or the file back."""
        self._file.close()
