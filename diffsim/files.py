"""Files that are written whole or not at all, files that lock a folder, and the folders of caches."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from diffsim.errors import ConfigError

__all__ = [
    "LockFile",
    "cache_folder",
    "provide_home",
    "remove_stale",
    "replacing",
    "replacing_folder",
    "require_writable",
    "why_not_writable",
    "write_atomically",
]


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside `path` that takes its place when the block ends well.

    Args:
        path: the file to write; its folder must exist.

    Yields:
        the path to write to, with the same ending.

    Raises:
        OSError: the folder is missing or can't be written to.
    """
    target = Path(path)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.stem}-", suffix=target.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes the file private; give it the mode that an ordinary new file would have.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary folder beside `path` that takes its place, with all in it, when the block ends well.

    Args:
        path: the folder to write; the one that it is in must exist. Whether what is there may go, the caller
            knows.

    Yields:
        the folder to write to, with the same ending.

    Raises:
        OSError: it can't be written to.
    """
    target = Path(path)
    temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.stem}-", suffix=target.suffix))
    old = temporary.with_name(f"{temporary.name}.old")
    try:
        yield temporary
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o777 & ~mask)
        if target.exists() or target.is_symlink():
            os.rename(target, old)
        try:
            os.rename(temporary, target)
        except OSError:
            if old.exists():
                os.rename(old, target)
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if old.is_dir() and not old.is_symlink():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.unlink(missing_ok=True)


def cache_folder(name: str = "guard") -> Path | None:
    """Return where a part of the library keeps files: on Linux `~/.cache/diffsim/NAME` or $XDG_CACHE_HOME's.

    Args:
        name: The part.

    Returns:
        A folder that may not be there yet, or None where the user has no home.
    """
    from platformdirs import user_cache_path  # not at import: only some runs need it

    folder = user_cache_path("diffsim", appauthor=False) / name
    return folder if folder.is_absolute() else None


def provide_home() -> bool:
    """Set HOME to what the system says where it is missing or empty; tell whether caches depend on that.

    Taichi ends a process without one as soon as it is imported.
    """
    if os.name != "posix" or os.environ.get("HOME"):
        return False
    os.environ.pop("HOME", None)
    home = os.path.expanduser("~")
    os.environ["HOME"] = home if os.path.isabs(home) else os.sep  # who is unknown to the system has none
    return not os.environ.get("XDG_CACHE_HOME")


def why_not_writable(folder: str | os.PathLike[str]) -> str:
    """Return why files can't be written to a folder, which is made where there is none; empty if they can.

    Only trying tells: a file system can be full or read-only whatever the permissions say.
    """
    if not os.path.isabs(folder):
        return "not an absolute path"
    try:
        os.makedirs(folder, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".diffsim-", dir=folder)
        os.close(handle)
        os.unlink(name)
    except OSError as error:
        return error.strerror or str(error)
    return ""


def require_writable(path: str | os.PathLike[str], name: str = "") -> None:
    """Make sure that a file can be written, ahead of the work that it takes to know what to write.

    Args:
        path: The file; nothing is left of trying.
        name: What messages call it; empty for its path.

    Raises:
        ConfigError: Its folder is missing or can't be written to, or there is a folder of that name.
    """
    target = Path(path)
    folder = target.parent
    reason = "there is no such folder" if not folder.is_dir() else ""
    if target.is_dir():
        reason = "that is a folder"
    reason = reason or why_not_writable(os.path.abspath(folder))
    if reason:
        raise ConfigError(
            f"{name or target} must be a file in a folder that can be written to, got {str(folder)!r}: "
            f"{reason}; make the folder, or choose another"
        )


class LockFile:
    """A file that one process at a time holds; the system frees it when that ends, however it ends.

    That holds for processes of other containers and, where the file system says so, of other machines too:
    nothing is read from the file, and no process is looked for by its number.

    Args:
        path: The file, made where there is none; its folder must exist.

    Attributes:
        held: False where the file can't be written or the file system knows no locks.

    Raises:
        BlockingIOError: Somebody holds it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        import filelock  # not at import: few runs need it

        self._path = os.fspath(path)
        self._lock = filelock.FileLock(self._path, thread_local=False, fallback_to_soft=False)
        try:
            self._lock.acquire(blocking=False)
        except filelock.Timeout:
            raise BlockingIOError(f"{self._path} is held by another process") from None
        except (OSError, NotImplementedError):
            self.held = False
        else:
            self.held = True

    def release(self) -> None:
        """Remove the file, and let others make it anew."""
        if not self.held:
            return
        self.held = False
        with contextlib.suppress(OSError):  # not while it is open, on Windows
            os.unlink(self._path)
        self._lock.release()
        if os.name == "nt":
            with contextlib.suppress(OSError):
                os.unlink(self._path)


def remove_stale(path: str, seconds: float) -> None:
    """Remove a lock file that is older than its holder can be: a killed process left it."""
    with contextlib.suppress(OSError):  # there is none, which is the rule, or it is not ours to remove
        if time.time() - os.path.getmtime(path) > seconds:
            os.unlink(path)


def write_atomically(path: Path, text: str) -> None:
    """Write a file whole or not at all, and its folder where there is none.

    Raises:
        OSError: The folder can't be made or written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
