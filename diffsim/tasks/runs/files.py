"""Files that are written whole or not at all, also when the process or the machine stops."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from diffsim.errors import StateError

__all__ = ["LOCK", "is_leftover", "scratch_folder", "sweep", "write"]

_PREFIX = ".tmp-"  # a fixed name: what a killed process left is overwritten or swept, and never piles up
LOCK = ".lock"  # of a run folder; not swept: whoever holds it is at work


def write(path: Path, content: bytes) -> None:
    """Put `content` in place of the file in one step.

    Raises:
        StateError: The file can't be written.
    """
    temporary = path.with_name(_PREFIX + path.name)
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise _unwritable(path, error) from error


@contextlib.contextmanager
def scratch_folder(folder: Path) -> Iterator[Path]:
    """Give an empty folder whose files take their place in `folder` when the block ends well.

    Raises:
        StateError: The files can't be written.
    """
    scratch = folder / f"{_PREFIX}work"
    try:
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        yield scratch
        for path in sorted(scratch.iterdir()):
            with open(path, "rb") as file:
                os.fsync(file.fileno())
            os.replace(path, folder / path.name)
        _sync_folder(folder)
    except OSError as error:
        raise _unwritable(folder, error) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def is_leftover(path: Path) -> bool:
    """Tell whether a file is what a killed process left unfinished."""
    return path.name.startswith(_PREFIX) or path.name == LOCK


def sweep(folder: Path) -> None:
    """Remove what a killed process left unfinished."""
    for path in folder.glob(_PREFIX + "*"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                path.unlink()


def _unwritable(path: Path, error: OSError) -> StateError:
    """Make the error of a file or folder that can't be written."""
    reason = error.strerror or error
    return StateError(
        f"{path} must be writable, got: {reason}; make room or correct the permissions, then diffsim resume"
    )


def _sync_folder(folder: Path) -> None:
    """Make new names last through a power failure, where the system can."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
