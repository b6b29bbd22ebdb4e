"""What is played with: which parameters get sliders, and what becomes of the cost as they move."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diffsim.errors import ConfigError, DiffsimError

if TYPE_CHECKING:
    from diffsim.rollout import Rollout

__all__ = ["Handle", "Look", "Session"]

_MOST = 8  # sliders
_SMALL = 6  # numbers up to which each element of an array has a slider of its own
_TRIES = 8  # steps, each half as long, until one lowers the cost
Values = dict[str, NDArray[Any]]


@dataclass
class Handle:
    """One slider.

    Attributes:
        name: What it moves: `wind`, `aim[1]`, or `policy.w0 downhill`.
        keys: The arrays that it moves.
        index: The element of the array that it moves. None: it moves arrays as a whole, against the gradient
            that there was when it stood at 0; its value is how far.
        low: Where it begins.
        high: Where it ends.
        value: Where it is.
        slope: The derivative of the cost by its value, from the last look.
    """

    name: str
    keys: tuple[str, ...]
    index: tuple[int, ...] | None
    low: float = -1.0
    high: float = 1.0
    value: float = 0.0
    slope: float = 0.0

    def reach(self, middle: float, half: float) -> None:
        """Put it into the middle of so wide a range."""
        self.low, self.high, self.value = middle - half, middle + half, middle


@dataclass(frozen=True)
class Look:
    """What is known of the parameters as they are.

    Attributes:
        cost: The cost, of several worlds their sum; NaN where there is none.
        norm: The length of the gradient.
        seconds: What computing both took.
        trouble: Why there is no cost or gradient, in one line; empty where there is.
    """

    cost: float
    norm: float
    seconds: float
    trouble: str = ""


class Session:
    """A rollout whose parameters are on sliders; it needs no window.

    Numbers and small arrays have a slider for each element. A large array has one that moves it along its
    gradient, as that was when nothing was dragged: to the right the cost falls, at first. One more moves all
    parameters so. `move` and `look` while a slider is dragged, `settle` when it is let go.

    Args:
        rollout: What runs.
        wrt: What to move, as `Rollout.value_and_grad` takes it; None for every Param and Control.
        most: How many sliders there may be.

    Attributes:
        handles: The sliders.
        last: What the last look has found.

    Raises:
        ConfigError: There is nothing to move, or `wrt` names something without a gradient.
        StateError: The simulator has no cost.
    """

    def __init__(self, rollout: Rollout, wrt: Any = None, most: int = _MOST) -> None:
        self.rollout = rollout
        self._leaves = {leaf.key: leaf for leaf in rollout.leaves(wrt)}
        if not self._leaves:
            raise ConfigError(
                f"{type(rollout.sim).__name__} must have a Param or Control to play with, got none; declare "
                "one, or name a State in wrt"
            )
        self._start = self._anchor = self.values()
        self._gradients: Values = {}
        self._directions: dict[str, Values] = {}
        self._before: list[Values] = []
        self._held: Handle | None = None
        self.handles = _handles(self._start, most)
        self.look()
        self.last = self.look()  # which compiles nothing, so that its seconds are those of all to come
        self._aim()
        for handle in self.handles:
            if handle.index is not None:
                array = self._start[handle.keys[0]]
                value = float(array[handle.index])
                handle.reach(value, abs(value) or float(np.sqrt(np.mean(array**2))) or 1.0)

    def values(self) -> Values:
        """Copy the parameters as they are, by key."""
        return {key: np.array(leaf.numpy(), dtype=np.float64) for key, leaf in self._leaves.items()}

    @property
    def gradient(self) -> Mapping[str, NDArray[Any]]:
        """Return the gradient of the last look, by key; empty where there is none."""
        return self._gradients

    def look(self) -> Look:
        """Run the rollout and its gradient with the parameters as they are."""
        began = time.perf_counter()
        try:
            cost, gradients = self.rollout.value_and_grad(list(self._leaves))
        except ConfigError:
            raise
        except DiffsimError as error:  # it blew up: the way back must stay open
            self._gradients = {}
            trouble = " ".join(str(error).split())
            self.last = Look(math.nan, math.nan, time.perf_counter() - began, trouble)
        else:
            self._gradients = {key: np.asarray(g, dtype=np.float64) for key, g in gradients.items()}
            seconds = time.perf_counter() - began
            self.last = Look(float(np.sum(cost)), _length(self._gradients), seconds)
        for handle in self.handles:
            handle.slope = self._slope(handle)
        return self.last

    def _slope(self, handle: Handle) -> float:
        if not self._gradients:
            return math.nan
        if handle.index is not None:
            return float(self._gradients[handle.keys[0]][handle.index])
        ahead = self._directions.get(handle.name, {})
        return float(sum(np.sum(self._gradients[key] * way) for key, way in ahead.items()))

    # ---- moving ----

    def move(self, number: int, value: float) -> float:
        """Drag a slider; what was dragged before is let go first.

        Args:
            number: Which one.
            value: Where to; it stops at the slider's ends.

        Returns:
            Where it is then.

        Raises:
            ConfigError: There is no such slider, or the value is no number.
        """
        if not 0 <= number < len(self.handles):
            raise ConfigError(
                f"slider must be a number from 0 to {len(self.handles) - 1}, got {number}; the first is 0"
            )
        if math.isnan(value):
            raise ConfigError("a slider must be moved to a number, got nan; leave it where it is")
        handle = self.handles[number]
        if self._held is not None and self._held is not handle:
            self.settle()
        self._held = handle
        handle.value = min(max(float(value), handle.low), handle.high)
        if handle.index is not None:
            key = handle.keys[0]
            changed = self.values()[key]
            changed[handle.index] = handle.value
            self._leaves[key].set(changed)
        for key, way in self._directions.get(handle.name, {}).items():
            self._leaves[key].set(self._anchor[key] + handle.value * way)
        return handle.value

    def settle(self) -> None:
        """Let go: sliders along the gradient begin anew from here, and `undo` comes back to before."""
        held, self._held = self._held, None
        if held is None:
            return
        self._before.append(self._anchor)
        self._anchor = self.values()
        if not self._gradients or held.index is None:
            self.look()
        self._aim()
        self._follow()

    def undo(self) -> bool:
        """Go back to before the last slider was let go; return whether there was one."""
        self._held = None
        if not self._before:
            return False
        self._go(self._before.pop())
        return True

    def reset(self) -> None:
        """Go back to the parameters that the session began with."""
        self._before.append(self._anchor)
        self._go(self._start)

    def descend(self) -> bool:
        """Step along the gradient, half as far until the cost falls; return whether it did."""
        self.settle()
        steep, cost, far = self.last.norm, self.last.cost, self.handles[-1]
        if not steep > 0.0:
            return False
        ways = {key: -gradient / steep for key, gradient in self._gradients.items()}
        for k in range(_TRIES):
            length = 0.5 * (far.high - far.low) * 0.5**k
            for key, way in ways.items():
                self._leaves[key].set(self._anchor[key] + length * way)
            if self.look().cost < cost:
                self._before.append(self._anchor)
                self._go(self.values())
                return True
        self._go(self._anchor)
        return False

    def widen(self, number: int, factor: float) -> None:
        """Make a slider's range wider, or narrower, around where it is."""
        handle = self.handles[number]
        handle.reach(handle.value, 0.5 * factor * (handle.high - handle.low))

    def _go(self, values: Values) -> None:
        """Go to given parameters."""
        for key, leaf in self._leaves.items():
            leaf.set(values[key])
        self._anchor = values
        self.look()
        self._aim()
        self._follow()

    def _aim(self) -> None:
        """Point the sliders along the gradient downhill from where the parameters are now."""
        for handle in self.handles:
            if handle.index is not None or not self._gradients:
                continue
            mine = {key: self._gradients[key] for key in handle.keys}
            steep = _length(mine)
            if handle.name in self._directions:
                far = 0.5 * (handle.high - handle.low)
            else:
                size = _length({key: self._anchor[key] for key in handle.keys})
                far = 0.5 * size or (2.0 * abs(self.last.cost) / steep if steep > 0.0 else 0.0) or 1.0
            ways = {key: -g / steep if steep > 0.0 else 0.0 * g for key, g in mine.items()}
            self._directions[handle.name] = ways
            handle.reach(0.0, far)
            handle.slope = self._slope(handle)

    def _follow(self) -> None:
        """Put sliders to where their elements are; ranges move along where they must."""
        for handle in self.handles:
            if handle.index is None:
                continue
            value = float(self._anchor[handle.keys[0]][handle.index])
            if handle.low <= value <= handle.high:
                handle.value = value
            else:
                handle.reach(value, 0.5 * (handle.high - handle.low))


def _handles(values: Values, most: int) -> list[Handle]:
    """Choose sliders: one for each element of small arrays while there is room, one for each of the others.

    The last one is for all of them.
    """
    by_size = sorted(values, key=lambda key: values[key].size)  # stable: then as declared
    several = sum(array.size for array in values.values()) > 1
    room = max(1, most) - several
    found: list[Handle] = []
    for number, key in enumerate(by_size):
        size, others = values[key].size, len(by_size) - number - 1
        if size <= _SMALL and len(found) + size + min(others, 1) <= room:
            indices = np.ndindex(values[key].shape)
            found += [Handle(key if size == 1 else _named(key, index), (key,), index) for index in indices]
        elif len(found) < room and len(by_size) > 1:
            found.append(Handle(f"{key} downhill", (key,), None))
    if several:
        found.append(Handle("downhill", tuple(values), None))
    return found


def _named(key: str, index: tuple[int, ...]) -> str:
    return f"{key}[{', '.join(map(str, index))}]"


def _length(arrays: Mapping[str, NDArray[Any]]) -> float:
    return math.hypot(*(float(np.linalg.norm(a)) for a in arrays.values()))
