"""How far a run is, on the terminal: a bar, plain lines where there is no terminal, or nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from html import escape
from types import TracebackType
from typing import Any, TextIO

from diffsim.extras import in_notebook

__all__ = ["Bar", "Lines", "Notebook", "Progress", "format_rate", "format_seconds", "make_progress"]

_LINE_SHARE = 0.1  # of the iterations between two plain lines ...
_LINE_SECONDS = 1.0  # ... or so much time, if that is sooner
_WITHIN_SECONDS = 10.0  # between two plain lines within an iteration
_NOTEBOOK_SECONDS = 0.2  # between two changes of a notebook's line
_BUSY_SECONDS = 2.0  # between two plain lines while compiling or drawing


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

    def due(self, done: int) -> bool:
        """Tell whether an iteration will be shown, so that it is worth to measure more than its cost.

        Args:
            done: Iterations done with it; 0 for what is said before the first.
        """
        return False

    def measured(self, text: str) -> None:
        """Take a figure of merit to show beside the cost.

        Args:
            text: The figure for the parameters that the next `update` tells the cost of.
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

    def compiling(self, number: int, known: int, name: str) -> None:
        """Show what is being compiled.

        Args:
            number: Which kernel it is, from 1.
            known: How many are known of so far.
            name: What it is made from.
        """

    def drawing(self, name: str, done: int, total: int) -> None:
        """Show how far a film is.

        Args:
            name: Its file.
            done: Frames drawn.
            total: Frames in all.
        """

    def end(self) -> None:
        """Stop to show what was going on, for good or until it goes on."""

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
        self._start = self._last = self._busy = 0.0
        self._note = ""

    def begin(self, total: int, done: int = 0) -> None:
        self._total, self._from, self._shown = total, done, done
        self._start = self._last = time.perf_counter()

    def due(self, done: int) -> bool:
        return self._due(done, time.perf_counter())

    def _due(self, done: int, now: float) -> bool:
        enough = done - self._shown >= _LINE_SHARE * self._total or now - self._last >= _LINE_SECONDS
        return enough or done >= self._total

    def measured(self, text: str) -> None:
        self._note = f"  {text}"

    def update(self, done: int, cost: float, best: float, grad_norm: float) -> None:
        now = time.perf_counter()
        note, self._note = self._note, ""
        if not self._due(done, now):
            return
        self._shown, self._last = done, now
        rate = (done - self._from) / max(now - self._start, 1e-9)
        left = format_seconds((self._total - done) / rate)
        width = len(str(self._total))
        self.say(
            f"iteration {done:{width}d}/{self._total}  cost {cost:.6g}{note}  best {best:.6g}  "
            f"gradient {grad_norm:.3g}  {format_rate(rate)}  {left} left"
        )

    def within(self, done: int, total: int, phase: str) -> None:
        now = time.perf_counter()
        if now - self._last >= _WITHIN_SECONDS:
            self._last = now
            self.say(f"{done / total:.0%} of an iteration ({phase})")

    def compiling(self, number: int, known: int, name: str) -> None:
        self._now_and_then(f"compiling {number} of {known}: {name}")

    def drawing(self, name: str, done: int, total: int) -> None:
        if done <= 1:  # a film that is drawn at once needs no line
            self._busy = time.perf_counter()
        self._now_and_then(f"drawing {name}: {done} of {total} frames")

    def _now_and_then(self, text: str) -> None:
        now = time.perf_counter()
        if now - self._busy >= _BUSY_SECONDS:
            self._busy = now
            self.say(text)

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
        self._busy: Any = None
        self._film = ""
        self._measured = False
        self._start, self._from, self._total, self._done = 0.0, 0, 0, 0

    def begin(self, total: int, done: int = 0) -> None:
        self.end()
        self._start, self._from, self._total = time.perf_counter(), done, total
        self._done = done
        self._show(
            "cost {task.fields[cost]}  {task.fields[note]}",
            "{task.fields[rate]}  {task.fields[left]}",
            total=total,
            completed=done,
            cost="-",
            note="gradient -",
            rate="- it/s",
            left="",
        )

    def _show(self, *texts: str, **fields: Any) -> None:
        """Start a bar with texts behind it."""
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as RichProgress

        columns = (BarColumn(bar_width=None), MofNCompleteColumn(), *map(TextColumn, texts))
        self._bar = RichProgress(*columns, console=self._console, transient=True)
        self._task = self._bar.add_task("", **fields)
        self._bar.start()

    def due(self, done: int) -> bool:
        return True

    def measured(self, text: str) -> None:
        if self._bar is not None:
            self._bar.update(self._task, note=text)
            self._measured = True

    def update(self, done: int, cost: float, best: float, grad_norm: float) -> None:
        rate = (done - self._from) / max(time.perf_counter() - self._start, 1e-9)
        self._done = done
        note = {} if self._measured else {"note": f"gradient {grad_norm:.3g}"}
        self._bar.update(
            self._task,
            completed=done,
            cost=f"{cost:.4g}",
            rate=format_rate(rate),
            left=f"{format_seconds((self._total - done) / rate)} left",
            **note,
        )

    def within(self, done: int, total: int, phase: str) -> None:
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done + done / total)

    def compiling(self, number: int, known: int, name: str) -> None:
        from rich.markup import escape

        if self._busy is None:
            self._busy = self._console.status("")
            self._busy.start()
        self._busy.update(f"compiling {number} of {known}: {escape(name)}")

    def drawing(self, name: str, done: int, total: int) -> None:
        if self._film != name:
            self.end()
            self._film = name
            self._show("drawing {task.fields[film]}", total=total, film=name)
        if self._bar is not None:
            self._bar.update(self._task, completed=done)

    def end(self) -> None:
        for shown in (self._bar, self._busy):
            if shown is not None:
                shown.stop()
        self._bar = self._busy = None
        self._film = ""

    def say(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)


class Notebook(Progress):
    """One line with a bar in a notebook, that is written over and stays as it was at the end.

    Args:
        display: IPython's `display`.
    """

    def __init__(self, display: Callable[..., Any]) -> None:
        self._display = display
        self._handle: Any = None
        self._total = self._from = self._done = 0
        self._start = self._last = 0.0
        self._shown, self._note, self._within = "", "", 0.0

    def begin(self, total: int, done: int = 0) -> None:
        self._total, self._from, self._done = total, done, done
        self._start = time.perf_counter()
        self._shown = "starting"
        self._write(True)

    def due(self, done: int) -> bool:
        return time.perf_counter() - self._last >= _NOTEBOOK_SECONDS or done >= self._total

    def measured(self, text: str) -> None:
        self._note = f", {text}"

    def update(self, done: int, cost: float, best: float, grad_norm: float) -> None:
        spent = max(time.perf_counter() - self._start, 1e-9)
        rate = (done - self._from) / spent
        self._done, self._within = done, 0.0
        left = (self._total - done) / rate
        time_told = f"{format_seconds(left)} left" if done < self._total else format_seconds(spent)
        told = f"cost {cost:.4g}{self._note}, best {best:.4g}, gradient {grad_norm:.3g}"
        self._shown = f"{told}, {format_rate(rate)}, {time_told}"
        self._write(done >= self._total)

    def within(self, done: int, total: int, phase: str) -> None:
        self._within = done / total
        self._write()

    def compiling(self, number: int, known: int, name: str) -> None:
        self._shown = f"compiling {number} of {known}: {name}"
        self._write()

    def drawing(self, name: str, done: int, total: int) -> None:
        self._total, self._done, self._shown = total, done, f"drawing {name}"
        self._write(done >= total)

    def end(self) -> None:
        if self._handle is not None:
            self._write(True)
        self._handle = None

    def say(self, text: str) -> None:
        self.end()
        self._display({"text/plain": text}, raw=True)

    def _write(self, now: bool = False) -> None:
        """Write the line over, a few times a second."""
        if not now and time.perf_counter() - self._last < _NOTEBOOK_SECONDS:
            return
        self._last = time.perf_counter()
        share = min(1.0, (self._done + self._within) / max(1, self._total))
        plain = f"{self._done} of {self._total}: {self._shown}"
        bar = f'<progress max="1" value="{share:.4f}" style="width:12em;vertical-align:middle"></progress>'
        data = {"text/plain": plain, "text/html": f"<div>{bar} {escape(plain)}</div>"}
        if self._handle is None:
            self._handle = self._display(data, raw=True, display_id=True)
        else:
            self._handle.update(data, raw=True)


def make_progress(quiet: bool, stream: TextIO | None = None) -> Progress:
    """Choose how to show progress: nothing if quiet, a bar on a terminal or in a notebook, else plain lines.

    Args:
        quiet: Whether to show nothing.
        stream: Where to write; None for standard output.
    """
    stream = sys.stdout if stream is None else stream
    if quiet:
        return Progress()
    if stream is sys.stdout and in_notebook():
        from IPython.display import display

        return Notebook(display)
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
