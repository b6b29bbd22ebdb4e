"""Which kernel texts have run without harm, remembered on disk."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from diffsim.files import write_atomically

__all__ = ["PassedTexts"]

_KEY = 32  # hexadecimal digits
_LARGEST = 4 << 20  # bytes; above it the older half is forgotten


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
