"""Whether Scratches are held for a whole window, or those of each step computed again on the way back."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from diffsim.errors import ConfigError
from diffsim.plan.choice import Budget, Choice, choose, smallest_budget
from diffsim.plan.request import Request
from diffsim.plan.sizes import Sizes
from diffsim.sizes import show_bytes

__all__ = ["Held", "choose_scratch", "smallest"]

_LESS = 0.97  # of the forward steps of a gradient: what computing Scratches again must leave
_TIE, _FEWER = 1.03, 8  # or so many, in so many times fewer segments: fewer launches, fewer copies of States


class Held(NamedTuple):
    """What became of Scratches, with the memory and the schedule that go with it.

    Attributes:
        sizes: The memory as a function of window and checkpoints.
        choice: The window and the schedule.
        reason: Why Scratches are computed again, or not; empty where there is nothing to say.
    """

    sizes: Sizes
    choice: Choice
    reason: str


def _can(request: Request) -> bool:
    """Tell whether the launches and the schedule that are asked for leave room to run steps again."""
    return request.mode not in ("chunk", "tape") and request.chunk is None and request.schedule != "mixed"


def smallest(sized: Callable[[bool], Sizes], budget: Budget, request: Request) -> int:
    """Return the least bytes of fields that would do, whatever becomes of Scratches.

    Args:
        sized: The memory, with Scratches held or not.
        budget: The bytes of each tier.
        request: What is asked for.
    """
    ways = [True] if request.scratch != "recomputed" else []
    if request.scratch != "held" and _can(request) and (request.window is None or not ways):
        ways.append(False)
    window, multiple = request.window, request.chunk or 1
    return min(smallest_budget(sized(h), budget, request.schedule, window, multiple).total for h in ways)


def choose_scratch(sized: Callable[[bool], Sizes], budget: Budget, request: Request) -> Held:
    """Choose whether Scratches are held, by the steps that a gradient takes with and without them.

    Without them windows are longer, so that fewer steps are recomputed from checkpoints;
    but each step of a window is run once more, before its adjoint.

    Args:
        sized: The memory, with Scratches held or not.
        budget: The bytes of each tier.
        request: What is asked for.

    Raises:
        ConfigError: Nothing fits.
    """

    def chosen(held: bool) -> Choice:
        return choose(sized(held), budget, request.schedule, request.window, multiple=request.chunk or 1)

    held, lean = sized(True), sized(False)
    saved = held.per_step - lean.per_step
    less = f"{show_bytes(saved)} less for each step of a window"
    can = _can(request) and saved > 0
    if request.scratch == "held":
        return Held(held, chosen(True), "held, as asked for")
    if not can:
        chunks = request.mode == "chunk" or request.chunk is not None
        why = "mode chunk runs several steps at once" if chunks else "a mixed schedule keeps whole windows"
        why = "Taichi's adjoints read them" if request.mode == "tape" else why
        return Held(held, chosen(True), f"held: {why}" if saved > 0 else "")
    if request.scratch == "recomputed":
        return Held(lean, chosen(False), f"recomputed, as asked for: {less}, one more run of each step")
    steps = request.steps
    try:
        first = chosen(True)
    except ConfigError:
        if request.window is not None:
            raise
        return Held(lean, chosen(False), f"recomputed: {less}; held they do not fit")
    if first.forward <= steps or request.window is not None:
        why = "the window was asked for" if first.forward > steps else "all of them fit"
        return Held(held, first, f"held: {why}")
    other = chosen(False)
    share = (other.forward + steps) / first.forward
    fewer = other.schedule.segments * _FEWER <= first.schedule.segments
    if share > _LESS and not (share <= _TIE and fewer):
        return Held(held, first, "held: computing them again would take more steps than it saves")
    with_, without = (total / steps for total in (first.forward, other.forward + steps))
    text = f"recomputed: {less}; {without:.2f} forward steps per step of the gradient instead of {with_:.2f}"
    return Held(lean, other, text)
