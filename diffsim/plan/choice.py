"""Choosing the window and the checkpoint schedule with the least recomputation that fits the budgets."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from diffsim.errors import ConfigError
from diffsim.plan.schedule import TIERS, Schedule, count_forward, estimate_forward
from diffsim.plan.sizes import Sizes
from diffsim.sizes import show_bytes

__all__ = ["Budget", "Choice", "Need", "choose", "smallest_budget"]

_CACHE = 2 << 20  # bytes of a window that still profits from the processor's caches, by about a tenth
_MOST_SEGMENTS = 4096  # more cost more in Python than recomputation does, and are slow to plan
_MOST_MIXED = 64  # segments of a mixed schedule, whose table the package fills in cubic time
_TIE = 1.02  # plans whose gradient takes so much more steps than the least are chosen from by speed
_SIMPLEST = ("store all", "multistage", "two-level", "mixed")


class Budget(NamedTuple):
    """The bytes that each tier may take."""

    device: int
    host: int = 0
    disk: int = 0


@dataclass(frozen=True)
class Choice:
    """A window and a schedule.

    Attributes:
        window: Steps in memory.
        schedule: The schedule of its segments.
        forward: Forward steps of one gradient.
    """

    window: int
    schedule: Schedule
    forward: float


class Need(NamedTuple):
    """What a window cannot be run without.

    Attributes:
        window: Steps in memory.
        bare: Bytes of fields beside what is kept.
        places: Checkpoints that must be kept, in any tier.
        missing: Those of them that the other tiers do not hold.
        size: The bytes of each.
    """

    window: int
    bare: int
    places: int
    missing: int
    size: int

    @property
    def total(self) -> int:
        """The bytes of fields that would do."""
        return self.bare + self.missing * self.size


def smallest_budget(
    sizes: Sizes, budget: Budget, kinds: str = "auto", window: int | None = None, multiple: int = 1
) -> Need:
    """Return the least that a plan needs of the device, the other tiers being as they are.

    Args:
        sizes: The memory as a function of window and checkpoints.
        budget: The bytes of each tier.
        kinds: The only kind of schedule to choose from, or `auto` for all.
        window: Force so many steps in memory.
        multiple: Steps of which a window should be a multiple.
    """
    steps = sizes.steps
    staging = sizes.staging if budget.host or budget.disk else 0
    found = []
    if window is None or window >= steps:
        found.append(Need(steps, sizes.total(steps), 0, 0, 0))
        lengths = {1}
        if kinds == "mixed":  # more segments than its table is made for must all be kept
            few = -(-steps // _MOST_MIXED)
            lengths.add(few if few <= multiple else -(-few // multiple) * multiple)
        lengths = {w for w in lengths if w < steps}
    else:
        lengths = {window}
    for w in lengths:
        segments = -(-steps // w)
        if kinds == "mixed":
            places, size = 1 if segments <= _MOST_MIXED else segments - 1, sizes.whole(w)
        else:
            places, size = min(1, segments - 2), sizes.per_checkpoint
        elsewhere = sum(space // max(1, size) for space in (budget.host, budget.disk))
        found.append(Need(w, sizes.total(w) + staging, places, max(0, places - elsewhere), size))
    return min(found, key=lambda need: need.total)


def choose(
    sizes: Sizes, budget: Budget, kinds: str = "auto", window: int | None = None, multiple: int = 1
) -> Choice:
    """Return the window and the schedule with the least recomputation that fits.

    Args:
        sizes: The memory as a function of window and checkpoints.
        budget: The bytes of each tier.
        kinds: The only kind of schedule to choose from, or `auto` for all.
        window: Force so many steps in memory.
        multiple: Steps of which a window should be a multiple.

    Raises:
        ConfigError: Nothing fits; the message has the smallest budget that would do.
    """
    steps = sizes.steps
    everything = Choice(steps, Schedule("store all", 1), steps)
    forced = window is not None and window < steps
    if not forced and sizes.total(steps) <= budget.device:
        return everything
    found = []
    for length in [window] if forced and window else _windows(sizes, budget, multiple):
        for schedule in _schedules(sizes, budget, length, kinds, forced):
            found.append(Choice(length, schedule, estimate_forward(schedule, steps, length)))
    if not found:
        raise _refusal(sizes, budget, kinds, smallest_budget(sizes, budget, kinds, window, multiple))
    least = min(choice.forward for choice in found)
    enough = _TIE * (least + steps) - steps
    best = min((c for c in found if c.forward <= enough), key=lambda c: _rank(sizes, c))
    if best.schedule.segments > _MOST_SEGMENTS:
        return best
    return Choice(best.window, best.schedule, count_forward(best.schedule, steps, best.window))


def _rank(sizes: Sizes, choice: Choice) -> tuple[float, ...]:
    """Return what makes one of two plans with as much recomputation the better one: the smaller first."""
    slowest = max((k for k, tier in enumerate(TIERS) if choice.schedule.places[tier]), default=0)
    beyond = max(0, math.ceil(math.log2(choice.window * sizes.per_step / _CACHE)))
    return slowest, beyond, _SIMPLEST.index(choice.schedule.kind), choice.forward, -choice.window


def _windows(sizes: Sizes, budget: Budget, multiple: int) -> list[int]:
    """Return windows worth weighing."""
    steps, per_step = sizes.steps, sizes.per_step
    largest = min(steps - 1, (budget.device - sizes.fixed) // per_step)
    if largest < 1:
        return [1]
    found = {largest, *(1 << k for k in range(largest.bit_length()))}
    found |= {-(-steps // k) for k in range(2, 65)}
    length = float(largest)
    while length > 1:
        found.add(int(length))
        length *= 0.9
    # the longest window beside which every segment still has its checkpoint
    cost = sizes.per_checkpoint
    elsewhere = (budget.host + budget.disk) // max(1, cost) + 2
    half = (budget.device - sizes.fixed + elsewhere * cost) / (2 * per_step)
    root = half * half - cost * steps / per_step
    if root >= 0:
        middle = int(half + math.sqrt(root))
        found |= {middle - k for k in range(3)}
    fitting = sorted({w - w % multiple if w > multiple else w for w in found if 1 <= w <= largest})
    return [w for w in fitting if steps / w <= _MOST_SEGMENTS] or fitting[-3:]


def _schedules(sizes: Sizes, budget: Budget, window: int, kinds: str, forced: bool) -> Iterator[Schedule]:
    """Yield the schedules of a window that fit; each uses fast tiers first, and no more than it needs.

    Whole windows are kept in fields only where that is asked for, or beside others in another tier: one long
    window recomputes as little, and nobody copies it.
    """
    segments = -(-sizes.steps // window)
    room = budget.device - sizes.total(window) - (sizes.staging if budget.host or budget.disk else 0)
    if room < 0:
        return
    if kinds in ("auto", "multistage", "two-level"):
        # the first segment begins with the initial values, and the last is still there when it is needed
        places = _places(sizes.per_checkpoint, room, budget, segments - 2)
        enough = sum(places) >= min(1, segments - 2)
        if enough and kinds != "two-level":
            yield Schedule("multistage", segments, *places)
        if enough and kinds != "multistage":
            yield from _two_level(segments, places)
    if kinds in ("auto", "mixed") and sizes.held:
        spare = 0 if kinds == "auto" and (forced or not budget.host + budget.disk) else room
        places = _places(sizes.whole(window), spare, budget, segments - 1)
        n = sum(places)
        if n >= segments - 1 or (n > 0 and segments <= _MOST_MIXED):
            yield Schedule("mixed", segments, *places)


def _places(size: int, room: int, budget: Budget, wanted: int) -> tuple[int, int, int]:
    found = []
    for space in (room, budget.host, budget.disk):
        found.append(min(wanted, space // max(1, size)))
        wanted -= found[-1]
    return found[0], found[1], found[2]


def _two_level(segments: int, places: tuple[int, int, int]) -> Iterator[Schedule]:
    """Yield schedules whose periodic checkpoints lie on the slowest tier, half of them where there is one."""
    device, host, disk = places
    periodic = disk or (host if device else 0) or max(1, sum(places) // 2)
    period = max(2, -(-segments // (periodic + 1)))
    while period < segments:
        schedule = Schedule("two-level", segments, *places, period)
        if schedule.binomial >= 0:
            yield schedule
        period *= 2
    yield Schedule("two-level", segments, *places, segments)


def _refusal(sizes: Sizes, budget: Budget, kinds: str, need: Need) -> ConfigError:
    """Make the error of budgets that nothing fits, with the figures that would do."""
    what = "one step" if need.window == 1 else f"{need.window} steps"
    if need.missing:
        name = "more window" if kinds == "mixed" else "checkpoint"
        plural = "s" if need.missing > 1 else ""
        what += f" and {'one' if need.missing == 1 else need.missing} {name}{plural}"
        what += " of values" if kinds == "mixed" else ""
    remedy = "raise the budget"
    if need.missing and budget.device >= need.bare:
        size = need.places * need.size
        remedy += (
            f", or give the checkpoints {size} bytes ({show_bytes(size)}) or more elsewhere: "
            "host_memory='1GiB', or spill='folder'"
        )
        given = [("host_memory", budget.host), ("disk_memory", budget.disk)]
        small = [f"{name} of {value}" for name, value in given if value]
        if small:
            remedy += f"; {' and '.join(small)} is too small"
    elif kinds == "mixed":
        remedy += ", or use schedule='auto'"
    elif sizes.worlds > 1:
        remedy += ", or use fewer worlds"
    remedy += _sparse_instead(sizes, budget)
    return ConfigError(
        f"memory must hold at least {what}, {need.total} bytes ({show_bytes(need.total)}) here, "
        f"got {budget.device} ({show_bytes(budget.device)}); {remedy}"
    )


def _sparse_instead(sizes: Sizes, budget: Budget) -> str:
    """Return the advice to lay out a grid otherwise that alone does not fit; nothing where there is none."""
    grids = [
        (sizes.layout(1).bytes(buffer), buffer)
        for buffer in sizes.lowered.buffers.by_field.values()
        if buffer.kind in ("state", "scratch") and buffer.place is None and len(buffer.source.shape) > 1
    ]
    size, largest = max(grids, key=lambda pair: pair[0], default=(0, None))
    if largest is None or size <= budget.device:
        return ""
    return f", or declare {largest.label} with layout=ds.sparse() where most of it is zero"
