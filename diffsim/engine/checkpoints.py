"""Driving an executor over a whole horizon: windows forward, checkpoints, windows backward."""

from __future__ import annotations

from collections.abc import Callable

from checkpoint_schedules import Copy, EndForward, Forward, Move, MultistageCheckpointSchedule, Reverse

from diffsim.engine.executors import Executor

__all__ = ["Segments", "run_backward", "run_forward"]

Observer = Callable[[int, int, bool], None]
Check = Callable[[int, int], None]


class Segments:
    """The horizon cut into windows.

    Args:
        steps: The horizon.
        window: Steps of each segment but the last, which may be shorter.
    """

    def __init__(self, steps: int, window: int) -> None:
        self.steps, self.window = steps, window
        self.count = -(-steps // window)

    def span(self, k: int) -> tuple[int, int, bool]:
        """Return the first step of segment `k`, its length, and whether it is the last."""
        t0 = k * self.window
        return t0, min(self.window, self.steps - t0), k == self.count - 1


def run_forward(
    executor: Executor, segments: Segments, observe: Observer | None = None, check: Check | None = None
) -> None:
    """Run all segments forward; `observe(t0, n, last)` is called while each is in memory.

    Args:
        executor: What runs segments.
        segments: The horizon.
        observe: Called after each segment.
        check: Called as `check(t0, n)` after each segment but the last; may raise to end the run.
    """
    for k in range(segments.count):
        t0, n, last = segments.span(k)
        executor.forward(t0, n, last)
        if observe is not None:
            observe(t0, n, last)
        if not last:
            if check is not None:
                check(t0, n)
            executor.shift(n)


def run_backward(
    executor: Executor,
    segments: Segments,
    checkpoints: int,
    forward_done: Callable[[], bool | None],
    check: Check | None = None,
    check_adjoints: Callable[[int], object] | None = None,
) -> None:
    """Run forward and backward under a checkpoint schedule.

    Args:
        executor: What runs segments.
        segments: The horizon.
        checkpoints: Copies of the States that can be kept.
        forward_done: Called once, when the cost is complete and before anything is recomputed; returns
            True to end there.
        check: Called as `check(t0, n)` after each segment but the last, the first time it is run.
        check_adjoints: Called as `check_adjoints(t0)` after the adjoints of each segment.
    """

    def backward(k: int) -> None:
        t0, n, last = segments.span(k)
        executor.backward(t0, n, last)
        if check_adjoints is not None:
            check_adjoints(t0)

    if segments.count == 1:
        executor.forward(*segments.span(0))
        if not forward_done():
            backward(0)
        return
    checked = -1
    slots: dict[int, int] = {}
    free = list(range(checkpoints))[::-1]
    for action in MultistageCheckpointSchedule(segments.count, checkpoints, 0):
        if isinstance(action, Forward):
            if action.write_ics:
                slots[action.n0] = free.pop()
                if action.n0 > 0:  # the first segment writes its own initial values
                    executor.save(slots[action.n0])
            for k in range(action.n0, action.n1):
                t0, n, last = segments.span(k)
                executor.forward(t0, n, last)
                if check is not None and k > checked and not last:
                    check(t0, n)
                    checked = k
                if not (action.write_adj_deps and k == action.n1 - 1):
                    executor.shift(n)
        elif isinstance(action, EndForward):
            if forward_done():
                return
        elif isinstance(action, Reverse):
            backward(action.n0)
            if action.n0 == 0:
                return
        elif isinstance(action, Copy | Move):
            if action.n > 0:
                executor.restore(slots[action.n])
            if isinstance(action, Move):
                free.append(slots.pop(action.n))
