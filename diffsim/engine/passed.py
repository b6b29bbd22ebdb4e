"""Which kernel texts have run without harm, remembered on disk."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from diffsim.files import replacing

__all__ = ["PassedTexts", "cache_folder", "write_atomically"]

_KEY = 32  # hexadecimal digits
_LARGEST = 4 << 20  # bytes; above it the older half is forgotten


def cache_folder() -> Path | None:
    """Return where the guard keeps files: `$XDG_CACHE_HOME/diffsim/guard`, or below `~/.cache`.

    Returns:
        A folder that may not be there yet, or None where the user has no home.
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(base):  # others are to be ignored, says the standard
        return Path(base) / "diffsim" / "guard"
    try:
        return Path.home() / ".cache" / "diffsim" / "guard"
    except RuntimeError:
        return None


def write_atomically(path: Path, text: str) -> None:
    """Write a file whole or not at all, and its folder where there is none.

    Raises:
        OSError: The folder can't be made or written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


class PassedTexts:
    """A set of keys that outlives the process, one a line in a file.

    Processes share the file: a line is appended by one write. Where the file can't be read or written, keys
    are remembered in memory alone.

    Args:
        path: The file; None for none.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._known: set[str] | None = None

    def __contains__(self, key: str) -> bool:
        return key in self._load()

    def add(self, key: str) -> None:
        """Remember a key."""
        known = self._load()
        if key in known:
            return
        known.add(key)
        if self.path is None:
            return
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(handle, f"{key}\n".encode())
            finally:
                os.close(handle)

    def _load(self) -> set[str]:
        if self._known is None:
            text = ""
            if self.path is not None:
                with contextlib.suppress(OSError):
                    text = self.path.read_text(encoding="ascii", errors="replace")
            if self.path is not None and len(text) > _LARGEST:
                text = text[len(text) // 2 :].partition("\n")[2]
                with contextlib.suppress(OSError):
                    write_atomically(self.path, text)
            # a line that was cut short by a full disk counts for nothing
            self._known = {line for line in text.split("\n") if len(line) == _KEY}
        return self._known
