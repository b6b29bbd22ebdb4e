"""A film in memory, that notebooks play inline."""

from __future__ import annotations

import base64
import html
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from diffsim.errors import ConfigError
from diffsim.files import replacing
from diffsim.view.film import Film, film_file

__all__ = ["Clip", "clip_of"]

_TYPES = {".gif": "image/gif", ".mp4": "video/mp4"}


@dataclass(frozen=True)
class Clip:
    """A film that plays in a notebook, as the last value of a cell.

    Attributes:
        data: The file's bytes.
        suffix: What kind of file they are: `.mp4`, or `.gif` where nothing is installed that makes videos.
        words: What it shows, for those who can't see it.
    """

    data: bytes = field(repr=False)
    suffix: str
    words: str = ""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it to a file.

        Raises:
            ConfigError: The path ends in something else than the clip is.
            OSError: The file can't be written.
        """
        if Path(path).suffix != self.suffix:
            raise ConfigError(
                f"path must end in {self.suffix}, as this film is one, got {str(path)!r}; for others call "
                "animate with the path"
            )
        with replacing(path) as temporary:
            temporary.write_bytes(self.data)

    def _repr_html_(self) -> str:
        kind, text = _TYPES[self.suffix], html.escape(self.words, quote=True)
        url = f"data:{kind};base64,{base64.b64encode(self.data).decode('ascii')}"
        if self.suffix == ".gif":
            return f'<img src="{url}" alt="{text}" style="max-width:100%">'
        return (
            f'<video src="{url}" aria-label="{text}" style="max-width:100%" controls loop autoplay muted '
            "playsinline></video>"
        )


def clip_of(film: Film, title: str) -> Clip:
    """Draw a film into memory: as a video where what makes videos is installed, else as a GIF."""
    import importlib.util

    suffix = ".mp4" if importlib.util.find_spec("imageio_ffmpeg") else ".gif"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"film{suffix}"
        film_file(path, film, title)
        words = f"{title or 'film'}: {len(film.labels)} frames, {film.labels[0]} to {film.labels[-1]}"
        return Clip(path.read_bytes(), suffix, words)
