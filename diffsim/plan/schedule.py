"""Checkpoint schedules: in which order segments are run, and what is kept of them where meanwhile.

The schedules come from the package `checkpoint-schedules`. Their unit is a segment, which is the steps of one
window; what they ask for becomes a list of plain operations, with a place for each thing that is kept.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from checkpoint_schedules import (
    Copy,
    EndForward,
    EndReverse,
    Forward,
    MixedCheckpointSchedule,
    Move,
    MultistageCheckpointSchedule,
    Reverse,
    StorageType,
    TwoLevelCheckpointSchedule,
)

__all__ = [
    "TIERS",
    "Operation",
    "Schedule",
    "count_forward",
    "estimate_forward",
    "operations",
    "recomputation",
]

TIERS = ("device", "host", "disk")  # fastest first
_LISTED = 1024  # segments up to which operations are remembered


class Operation(NamedTuple):
    """One thing to do.

    Attributes:
        what: `forward` runs segment k; `shift` carries its last States over to the beginning of the window;
            `save` and `restore` keep the States at the beginning of the window, and bring them back; `keep`
            and `load` do so with all values of the window; `turn` says that the cost is complete; `backward`
            runs the adjoints of segment k.
        k: The segment.
        tier: Where something is kept.
        slot: Its place there.
    """

    what: str
    k: int = 0
    tier: str = ""
    slot: int = 0


@dataclass(frozen=True)
class Schedule:
    """A checkpoint schedule and the places that it may use.

    Attributes:
        kind: `store all`, `multistage`, `mixed` or `two-level`.
        segments: Windows that the horizon is cut into.
        device, host, disk: Places of each tier; of `mixed` each holds all values of a window, of the others
            the States before one.
        period: Of `two-level`, the segments between two checkpoints that stay for the whole run.
    """

    kind: str
    segments: int
    device: int = 0
    host: int = 0
    disk: int = 0
    period: int = 0

    @property
    def places(self) -> dict[str, int]:
        """The places by tier."""
        return {"device": self.device, "host": self.host, "disk": self.disk}

    @property
    def total(self) -> int:
        """All places."""
        return self.device + self.host + self.disk

    @property
    def binomial(self) -> int:
        """Of `two-level`, the places for checkpoints between the periodic ones."""
        return self.total - (-(-self.segments // self.period) - 1)


def _actions(schedule: Schedule) -> Iterator[Any]:
    """Yield what the package's schedule asks for."""
    n = schedule.segments
    if schedule.kind == "multistage":
        # one more than there are places: the first checkpoint is the initial values, which nobody has to keep
        yield from MultistageCheckpointSchedule(n, schedule.device + schedule.host + 1, schedule.disk)
    elif schedule.kind == "mixed":
        with warnings.catch_warnings():
            # it tells that it is slower without Numba, which nobody asked for
            warnings.simplefilter("ignore", RuntimeWarning)
            actions = list(MixedCheckpointSchedule(n, schedule.total))
        yield from actions
    else:
        online = TwoLevelCheckpointSchedule(
            schedule.period, schedule.binomial, binomial_storage=StorageType.RAM
        )
        for action in online:
            yield action
            if isinstance(action, Forward) and online.max_n is None and action.n1 >= n:
                online.finalize(n)
            if isinstance(action, EndReverse):
                return


class _Places:
    """Where things are kept: the free places of each tier, and what lies in the others."""

    def __init__(self, schedule: Schedule) -> None:
        self.free = {tier: list(range(count))[::-1] for tier, count in schedule.places.items()}
        self.held: dict[int, tuple[str, int, bool]] = {}
        self.kind = schedule.kind

    def take(self, k: int, storage: Any, whole: bool) -> tuple[str, int]:
        """Find a place for what comes from the beginning of segment k.

        What is kept first is needed last, and least often: it goes to the slowest place that will do. The
        package says itself which checkpoints of `multistage` go to the disk.
        """
        order = TIERS[::-1]
        if self.kind == "multistage" and storage == StorageType.RAM:
            order = ("host", "device", "disk")
        elif self.kind == "two-level" and storage == StorageType.RAM:
            order = TIERS
        tier = next(tier for tier in order if self.free[tier])
        slot = self.free[tier].pop()
        self.held[k] = tier, slot, whole
        return tier, slot

    def release(self, k: int) -> None:
        if k in self.held:
            tier, slot, _ = self.held.pop(k)
            self.free[tier].append(slot)


def operations(schedule: Schedule) -> Iterable[Operation]:
    """Return what is to be done, in order, for one value and gradient.

    The States before segment 0 are never kept: the segment begins with the initial values.
    """
    return _listed(schedule) if schedule.segments <= _LISTED else _made(schedule)


@lru_cache(maxsize=8)
def _listed(schedule: Schedule) -> tuple[Operation, ...]:
    """Make the list once: going through the package's schedule takes longer than short segments do."""
    return tuple(_made(schedule))


def _made(schedule: Schedule) -> Iterator[Operation]:
    if schedule.segments == 1:
        yield from (Operation("forward"), Operation("turn"), Operation("backward"))
        return
    places, last = _Places(schedule), schedule.segments - 1
    for action in _actions(schedule):
        if isinstance(action, Forward):
            yield from _forward(action, places, last)
        elif isinstance(action, EndForward):
            yield Operation("turn", last)
        elif isinstance(action, Reverse):
            yield Operation("backward", action.n0)
        elif isinstance(action, Copy | Move):
            tier, slot, whole = places.held.get(action.n, ("", 0, False))
            if tier:
                yield Operation("load" if whole else "restore", action.n, tier, slot)
            if isinstance(action, Move):
                places.release(action.n)


def _forward(action: Any, places: _Places, last: int) -> Iterator[Operation]:
    if action.write_ics and action.n0 > 0:
        yield Operation("save", action.n0, *places.take(action.n0, action.storage, whole=False))
    end = min(action.n1, last + 1)
    for k in range(action.n0, end):
        yield Operation("forward", k)
        if action.write_adj_deps and k == end - 1:
            if action.storage == StorageType.WORK:
                return
            yield Operation("keep", k, *places.take(k, action.storage, whole=True))
        if k < last:
            yield Operation("shift", k)


def _length(k: int, steps: int, window: int) -> int:
    """Return the steps of segment k: only the first may be short, which is the one that is run most often."""
    segments = -(-steps // window)
    return steps - (segments - 1) * window if k == 0 else window


@lru_cache(maxsize=512)
def count_forward(schedule: Schedule, steps: int, window: int) -> int:
    """Return the forward steps of a schedule, counted over its operations."""
    runs = first = 0
    for op in operations(schedule):
        if op.what == "forward":
            runs += 1
            first += op.k == 0
    return runs * window - first * (window - _length(0, steps, window))


def _binomial(segments: int, places: int) -> tuple[int, int]:
    """Return the segments that Revolve runs in all, and how often the first (Griewank and Walther, 2000)."""
    if segments == 1:
        return 1, 1
    s, r = min(places, segments - 1), 1
    while math.comb(s + r, s) < segments:
        r += 1
    return segments + r * segments - math.comb(s + r, r - 1), r + 1


def estimate_forward(schedule: Schedule, steps: int, window: int) -> float:
    """Return the forward steps of a schedule without going through it; for `mixed` it is gone through."""
    n = schedule.segments
    short = window - _length(0, steps, window)
    if n == 1 or (schedule.kind == "mixed" and schedule.total >= n - 1):
        return steps
    if schedule.kind == "mixed":
        return count_forward(schedule, steps, window)
    if schedule.kind == "multistage":
        runs, first = _binomial(n, schedule.total + 1)
        return runs * window - first * short
    whole, rest = divmod(n, schedule.period)
    runs, first = _binomial(schedule.period, schedule.binomial + 1)
    tail = _binomial(rest, schedule.binomial + 1)[0] if rest else 0
    return (n + whole * runs + tail) * window - (first + 1) * short


def recomputation(steps: int, window: int, checkpoints: int) -> float:
    """Return the forward steps that a gradient takes over the horizon with so many checkpoints in memory."""
    segments = -(-steps // window)
    if segments == 1:
        return 1.0
    return count_forward(Schedule("multistage", segments, device=checkpoints), steps, window) / steps
