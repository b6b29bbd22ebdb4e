"""How far a run is, on the terminal: a bar, plain lines where there is no terminal, or nothing."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, TextIO

__all__ = ["Bar", "Lines", "Progress", "format_rate", "format_seconds", "make_progress"]

_LINE_SHARE = 0.1  # of the iterations between two plain lines ...
_LINE_SECONDS = 1.0  # ... or so much time, if that is sooner
_WITHIN_SECONDS = 10.0  # between two plain lines within an iteration


class Progress:
    """Show nothing; the base of those that do.

    Use it as a context around the loop: `begin`, then `update` after each iteration.
    """

    def begin(self, total: int, done: int = 0) -> None:
        """Start to show a loop.

        Args:
            total: Iterations in all.
            done: Iterations done before, by the run that is resumed.
        """

    def update(self, done: int, cost: float, best: float, grad_norm: float) -> None:
        """Show an iteration.

        Args:
            done: Iterations done.
            cost: The last cost.
            best: The lowest cost so far.
            grad_norm: The length of the last gradient.
        """

    def within(self, done: int, total: int, phase: str) -> None:
        """Show how far the rollout of an iteration is, where it is run in several segments.

        Args:
            done: Steps run so far, forward and backward.
            total: Steps of the whole iteration.
            phase: `forward` or `backward`.
        """

    def end(self) -> None:
        """Stop to show the loop, for good or until `begin`."""

    def say(self, text: str) -> None:
        """Write a line."""

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()


class Lines(Progress):
    """Plain lines: one for every tenth of the iterations or every second, whichever is sooner.

    Args:
        stream: Where to write.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._total = self._from = self._shown = 0
        self._start = self._last = 0.0

    def begin(self, total: int, done: int = 0) -> None:
        self._total, self._from, self._shown = total, done, done
        self._start = self._last = time.perf_counter()

    def update(self, done: int, cost: float, best: float, grad_norm: float) -> None:
        now = time.perf_counter()
        due = done - self._shown >= _LINE_SHARE * self._total or now - self._last >= _LINE_SECONDS
        if not due and done < self._total:
            return
        self._shown, self._last = done, now
        rate = (done - self._from) / max(now - self._start, 1e-9)
        left = format_seconds((self._total - done) / rate)
        width = len(str(self._total))
        self.say(
            f"iteration {done:{width}d}/{self._total}  cost {cost:.6g}  best {best:.6g}  "
            f"gradient {grad_norm:.3g}  {format_rate(rate)}  {left} left"
        )

    def within(self, done: int, total: int, phase: str) -> None:
        now = time.perf_counter()
        if now - self._last >= _WITHIN_SECONDS:
            self._last = now
            self.say(f"{done / total:.0%} of an iteration ({phase})")

    def say(self, text: str) -> None:
        self._stream.write(text + "\n")
        self._stream.flush()


class Bar(Progress):
    """A progress bar with cost, gradient norm, iterations per second and time left.

    Args:
        stream: The terminal to write to.
    """

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console

        self._console = Console(file=stream, highlight=False)
        self._bar: Any = None
        self._task: Any = None
        self._start, self._from, self._total, self._done = 0.0, 0, 0, 0

    def begin(self, total: int, done: int = 0) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as RichProgress

        self._start, self._from, self._total = time.perf_counter(), done, total
        self._done = done
        self._bar = RichProgress(
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("cost {task.fields[cost]}  gradient {task.fields[grad]}"),
            TextColumn("{task.fields[rate]}  {task.fields[left]}"),
            console=self._console,
            transient=True,
        )
        self._task = self._bar.add_task(
            "", total=total, completed=done, cost="-", grad="-", rate="- it/s", left=""
        )
        self._bar.start()

    def update(self, done: int, cost: float, best: float, grad_norm: float) -> None:
        rate = (done - self._from) / max(time.perf_counter() - self._start, 1e-9)
        self._done = done
        self._bar.update(
            self._task,
            completed=done,
            cost=f"{cost:.4g}",
            grad=f"{grad_norm:.3g}",
            rate=format_rate(rate),
            left=f"{format_seconds((self._total - done) / rate)} left",
        )

    def within(self, done: int, total: int, phase: str) -> None:
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done + done / total)

    def end(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def say(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)


def make_progress(quiet: bool, stream: TextIO | None = None) -> Progress:
    """Choose how to show progress: nothing if quiet, a bar on a terminal, plain lines elsewhere.

    Args:
        quiet: Whether to show nothing.
        stream: Where to write; None for standard output.
    """
    stream = sys.stdout if stream is None else stream
    if quiet:
        return Progress()
    return Bar(stream) if stream.isatty() else Lines(stream)


def format_rate(rate: float) -> str:
    """Write iterations per second in a few letters."""
    return f"{rate:.0f} it/s" if rate >= 99.95 else f"{rate:.3g} it/s"


def format_seconds(seconds: float) -> str:
    """Write a duration [s] in a few letters: `0.8 s`, `42 s`, `3:05`, `2:10:00`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    hours, rest = divmod(whole, 3600)
    minutes, rest = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
