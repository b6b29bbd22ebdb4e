"""Folders for checkpoints in a folder of the user's: removed when done, and by the next start if killed."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import time

from diffsim.files import LockFile

__all__ = ["SpillFolder", "remove_orphans"]

_LOCK = "lock"  # held as long as the folder's owner lives
_NAME = re.compile(r"diffsim-[a-z0-9_]{8}")
_OURS = re.compile(rf"{_LOCK}|checkpoint-\d+")
_YOUNG = 60.0  # seconds in which a folder may be without its lock: its owner makes that next


class SpillFolder:
    """A folder of its own inside another, which is removed with all in it.

    Args:
        parent: Where to make it; made as well where there is none.

    Attributes:
        path: The folder.

    Raises:
        OSError: It can't be made.
    """

    def __init__(self, parent: str) -> None:
        os.makedirs(parent, exist_ok=True)
        while True:
            self._folder = tempfile.TemporaryDirectory(prefix="diffsim-", dir=parent)
            self.path = self._folder.name
            try:
                self._lock = LockFile(os.path.join(self.path, _LOCK))
                break
            except BlockingIOError:  # another start took it for an orphan in this very moment
                self._folder.cleanup()

    def file(self, name: str) -> str:
        """Return the path of a file in the folder."""
        return os.path.join(self.path, name)

    def remove(self) -> None:
        """Remove the folder and what is in it."""
        _remove_files(self.path)
        self._lock.release()
        self._folder.cleanup()


def _remove_files(folder: str) -> None:
    """Remove all but the lock: who is killed meanwhile leaves a folder that the next start knows for ours."""
    with contextlib.suppress(OSError):  # what is left is removed with the folder
        for name in os.listdir(folder):
            if name != _LOCK:
                os.unlink(os.path.join(folder, name))


def remove_orphans(parent: str) -> None:
    """Remove the folders whose owners were killed: those with a lock that nobody holds.

    What has other files than ours in it, or no lock, is left alone: it is somebody else's, or lies on a file
    system without locks, where nobody knows.
    """
    try:
        with os.scandir(parent) as entries:
            found = [e.path for e in entries if _NAME.fullmatch(e.name) and e.is_dir(follow_symlinks=False)]
    except OSError:  # not there yet, or not to be read: the first write will say so
        return
    for folder in found:
        _remove_orphan(folder)


def _remove_orphan(folder: str) -> None:
    try:
        names = os.listdir(folder)
        if not names and time.time() - os.path.getmtime(folder) > _YOUNG:
            os.rmdir(folder)  # its owner was killed before it made the lock
        if _LOCK not in names or not all(_OURS.fullmatch(name) for name in names):
            return
        lock = LockFile(os.path.join(folder, _LOCK))
    except OSError:  # held, so it is no orphan; or another start removed it meanwhile
        return
    if lock.held:
        _remove_files(folder)
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()
        shutil.rmtree(folder, ignore_errors=True)  # where an open file can't be removed
