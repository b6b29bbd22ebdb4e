"""Write a file whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

__all__ = ["cache_folder", "replacing", "write_atomically"]


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
