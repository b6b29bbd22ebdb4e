"""Machine code kept on disk, for processes to come."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from diffsim.files import cache_folder, replacing

__all__ = ["ObjectCache"]

_LIMIT = 256 << 20  # bytes of all objects
_OFTEN = 64  # objects written between two looks at how much there is
_DIGEST = 32  # bytes


class ObjectCache:
    """Object files by their keys, in a folder that processes share.

    A file is written whole or not at all, and begins with the digest of what follows: one that was damaged,
    or cut short, is as good as missing. A folder that cannot be written to keeps nothing.

    Args:
        folder: Where they are; None for the user's cache folder.
        limit: Bytes of all of them, beyond which those go that were not used for longest.
    """

    def __init__(self, folder: Path | None = None, limit: int = _LIMIT) -> None:
        if folder is None:
            folder = cache_folder("native")
        self.folder, self._limit = folder, limit
        self._written = 0

    def found_or_made(self, key: str, make: Callable[[], bytes], kept: bool = True) -> bytes:
        """Return an object: the one that is kept, or one that is made and kept.

        Args:
            key: Its key.
            make: Makes it.
            kept: Objects are kept at all.
        """
        image = self.get(key) if kept else None
        if image is None:
            image = make()
            if kept:
                self.put(key, image)
        return image

    def get(self, key: str) -> bytes | None:
        """Return an object, None where there is none."""
        if self.folder is None:
            return None
        path = self.folder / f"{key}.o"
        try:
            content = path.read_bytes()
        except OSError:
            return None
        digest, image = content[:_DIGEST], content[_DIGEST:]
        if hashlib.sha256(image).digest() != digest:
            return None
        with contextlib.suppress(OSError):  # another user's, or gone meanwhile
            os.utime(path)
        return image

    def put(self, key: str, image: bytes) -> None:
        """Keep an object."""
        if self.folder is None:
            return
        with contextlib.suppress(OSError):  # a full or read-only disk: the next process compiles again
            self.folder.mkdir(parents=True, exist_ok=True)
            with replacing(self.folder / f"{key}.o") as temporary:
                temporary.write_bytes(hashlib.sha256(image).digest() + image)
            if self._written % _OFTEN == 0:
                self._trim()
            self._written += 1

    def _trim(self) -> None:
        """Remove what was not used for longest, if there is too much."""
        assert self.folder is not None  # noqa: S101  (`put` has looked)
        found = []
        for entry in os.scandir(self.folder):
            with contextlib.suppress(OSError):  # another process has removed it
                facts = entry.stat()
                found.append((facts.st_mtime, facts.st_size, entry.path))
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= self._limit:
                return
            with contextlib.suppress(OSError):
                os.unlink(path)
            total -= size
