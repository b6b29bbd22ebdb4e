"""Driving an executor over a whole horizon: windows forward, checkpoints, windows backward."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from diffsim.engine.executors import Executor
from diffsim.plan import Operation, Schedule, operations

__all__ = ["Segments", "run_backward", "run_forward"]

Observer = Callable[[int, int, bool], None]
Check = Callable[[int, int], None]


class Segments:
    """The horizon cut into windows; the first segment, which is run most often, is the one that is short.

    Args:
        steps: The horizon.
        window: Steps of each segment but the first, which may be shorter.
    """

    def __init__(self, steps: int, window: int) -> None:
        self.steps, self.window = steps, window
        self.count = -(-steps // window)
        self.first = steps - (self.count - 1) * window

    def span(self, k: int) -> tuple[int, int, bool]:
        """Return the first step of segment `k`, its length, and whether it is the last."""
        last = k == self.count - 1
        return (0, self.first, last) if k == 0 else (self.first + (k - 1) * self.window, self.window, last)


def run_forward(
    executor: Executor,
    segments: Segments,
    observe: Observer | None = None,
    check: Check | None = None,
    between: Callable[[int, str], None] | None = None,
) -> None:
    """Run all segments forward; `observe(t0, n, last)` is called while each is in memory.

    Args:
        executor: What runs segments.
        segments: The horizon.
        observe: Called after each segment.
        check: Called as `check(t0, n)` after each segment but the last; may raise to end the run.
        between: Called as `between(n, "forward")` after each segment.
    """
    for k in range(segments.count):
        t0, n, last = segments.span(k)
        executor.forward(t0, n, last)
        if observe is not None:
            observe(t0, n, last)
        if not last:
            if check is not None:
                check(t0, n)
            executor.shift(t0, n)
        if between is not None:
            between(n, "forward")


def run_backward(
    executor: Executor,
    segments: Segments,
    schedule: Schedule,
    tiers: Callable[[str], Any],
    forward_done: Callable[[], bool | None],
    check: Check | None = None,
    check_adjoints: Callable[[int], object] | None = None,
    between: Callable[[int, str], None] | None = None,
) -> None:
    """Run forward and backward under a checkpoint schedule.

    Args:
        executor: What runs segments.
        segments: The horizon.
        schedule: In which order they are run, and what is kept.
        tiers: Gives the tier of a name, which has `save`, `restore`, `keep` and `load` of a slot.
        forward_done: Called once, when the cost is complete and before anything is recomputed; returns
            True to end there.
        check: Called as `check(t0, n)` after each segment but the last, the first time it is run.
        check_adjoints: Called as `check_adjoints(t0)` after the adjoints of each segment.
        between: Called as `between(n, phase)` after each segment forward and backward.
    """
    checked = -1
    phase = "forward"
    plain = operations(schedule)
    for what, k, tier, slot in _paired(plain) if executor.together else plain:
        t0, n, last = segments.span(k)
        if what == "forward":
            executor.forward(t0, n, last)
            if check is not None and k > checked and not last:
                check(t0, n)
                checked = k
        elif what == "shift":
            executor.shift(t0, n)
        elif what == "gradient":
            executor.gradient(t0, n, last)
        elif what in ("backward", "adjoints"):
            if what == "backward":
                executor.backward(t0, n, last)
            if check_adjoints is not None:
                check_adjoints(t0)
        elif what == "turn":
            phase = "backward"
            if forward_done():
                return
        else:
            getattr(tiers(tier), what)(slot)
        if between is not None and what in ("forward", "gradient", "backward", "adjoints"):
            between(n, phase)


def _paired(plain: Iterable[Operation]) -> Iterator[Operation]:
    """Run a segment and its adjoints at once where nothing comes between them, and tell of it as of two."""
    waiting: list[Operation] = []
    for op in plain:
        if op.what == "backward" and waiting:
            yield waiting[0]._replace(what="gradient")
            yield from waiting[1:]
            yield op._replace(what="adjoints")
            waiting = []
        elif op.what == "turn" and waiting:
            waiting.append(op)
        else:
            yield from waiting
            waiting = [op] if op.what == "forward" else []
            if not waiting:
                yield op
    yield from waiting
