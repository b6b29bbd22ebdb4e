"""Ctrl-C while packages are imported: none is cut in two.

An extension module that is interrupted while it starts turns into an ImportError, or the interruption is lost
and the program goes on.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

__all__ = ["at_once", "held", "is_command"]


def is_command() -> bool:
    """Tell whether this process is the command line: `diffsim ...` or `python -m diffsim ...`."""
    words = sys.orig_argv
    if "--multiprocessing-fork" in words:  # one that the command line started, with its words in sys.argv
        return False
    if "-m" in words and words[words.index("-m") + 1 :][:1] == ["diffsim"]:
        return True
    return os.path.basename(sys.argv[0] if sys.argv else "") in (
        "diffsim",
        "diffsim.exe",
        "diffsim-script.py",
    )


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Put Ctrl-C off to the end of the block; a second one does not wait.

    Raises:
        KeyboardInterrupt: It was pressed.
    """
    pressed: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if pressed:
            raise KeyboardInterrupt
        pressed.append(number)

    with _handling(note):
        yield
    if pressed:
        raise KeyboardInterrupt


@contextlib.contextmanager
def at_once() -> Iterator[None]:
    """Let Ctrl-C end the process with one line and status 130; for what has nothing to be tidied up."""

    def end(number: int, frame: FrameType | None) -> NoReturn:
        os.write(2, b"stopped\n")
        os._exit(130)

    with _handling(end):
        yield


@contextlib.contextmanager
def _handling(handler: object) -> Iterator[None]:
    """Use a handler where Python's own is in place: signals come to the main thread alone."""
    default = signal.default_int_handler
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not default:
        yield
        return
    signal.signal(signal.SIGINT, handler)  # type: ignore[arg-type]
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, default)
