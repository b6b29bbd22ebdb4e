"""Frames become the kind of file that a name asks for."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from diffsim.errors import ConfigError
from diffsim.files import checked_path, require_writable
from diffsim.view.gif import write_gif
from diffsim.view.spool import Bytes
from diffsim.view.video import CODECS, encoder, write_video

__all__ = ["FILMS", "VIDEOS", "check_film_path", "is_gif", "write_film"]

VIDEOS = tuple(CODECS)
FILMS = (".gif", *VIDEOS)


def is_gif(path: str | os.PathLike[str]) -> bool:
    """Tell whether a name asks for a GIF."""
    return Path(path).suffix.lower() == ".gif"


def check_film_path(path: str | os.PathLike[str], endings: Sequence[str] = FILMS) -> None:
    """Make sure that a film can be written, before it is drawn.

    Args:
        path: The file to write.
        endings: What its name may end in.

    Raises:
        ConfigError: Its name ends in something else, or its folder can't be written to.
        MissingExtraError: A video is asked for, and what encodes it is not installed.
    """
    ending = checked_path(path).suffix.lower()
    if ending not in endings:
        raise ConfigError(
            f"path must end in {', '.join(endings[:-1])} or {endings[-1]}, got {os.fspath(path)!r}; "
            "the ending tells what to write"
        )
    require_writable(path)
    if ending in VIDEOS:
        encoder()


def write_film(
    path: str | os.PathLike[str], frames: Iterable[Bytes], fps: float, keep: Bytes | None = None
) -> None:
    """Write frames as what the file's name ends in.

    Args:
        path: The file to write, which `check_film_path` has passed; replaced only when it is complete.
        frames: As `write_gif` takes them.
        fps: Frames per second.
        keep: As `write_gif` takes it; a video has all colours.

    Raises:
        ConfigError: There is no frame, or one has another size than the first.
        OSError: The file can't be written.
    """
    if is_gif(path):
        write_gif(path, frames, fps, keep)
    else:
        write_video(path, frames, fps)
