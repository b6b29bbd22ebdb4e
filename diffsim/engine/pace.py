"""What happens between the segments of a run: somebody is told how far it is, and Ctrl-C is let through."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

__all__ = ["Pace", "Progress"]

Progress = Callable[[int, int, str], object]


class Pace:
    """A context around a run of several segments.

    Ctrl-C during a segment is delivered behind it, so that no launch is cut in two. Who handles the signal in
    another way than Python does by default is left alone.

    Args:
        total: Steps of the whole run, forward and backward.
        progress: Called as `progress(done, total, phase)` after each segment; None for nobody.
        segments: Segments of the horizon; with one there is nothing in between.
    """

    def __init__(self, total: int, progress: Progress | None, segments: int) -> None:
        self._total, self._progress = total, progress
        self._many = segments > 1
        self._done = 0
        self._before: Any = None
        self._stopped = False

    def __enter__(self) -> Pace:
        mine = self._many and threading.current_thread() is threading.main_thread()
        if mine and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
        if self._stopped and kind is None:
            raise KeyboardInterrupt

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._stopped = True

    def between(self, n: int, phase: str) -> None:
        """Say that a segment of n steps was run.

        Args:
            n: Its steps.
            phase: `forward` until the cost is complete, then `backward`.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed meanwhile.
        """
        self._done += n
        if self._stopped:
            self._stopped = False
            raise KeyboardInterrupt
        if self._progress is not None:
            self._progress(self._done, max(self._total, self._done), phase)
