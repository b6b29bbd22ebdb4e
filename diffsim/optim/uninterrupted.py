"""Work that Ctrl-C must not cut in two: what it leaves would be neither the old nor the new."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["uninterrupted"]


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Make a context that a Ctrl-C waits for, whatever answers it; for short work only."""
    answer = signal.getsignal(signal.SIGINT)
    # signals arrive in the main thread alone; what is not Python's own cannot be called later
    if threading.current_thread() is not threading.main_thread() or not callable(answer):
        yield
        return
    waiting: list[tuple[Any, ...]] = []
    signal.signal(signal.SIGINT, lambda *call: waiting.append(call))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, answer)
        for call in waiting:
            answer(*call)
