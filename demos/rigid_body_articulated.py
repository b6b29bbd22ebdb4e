"""Swing up a pole by pushing its cart: `diffsim train rigid_body_articulated`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from diffsim.tasks import Options, Recording, Task, option
from diffsim.view.style import word_size

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from diffsim.kernels.rigid_body_articulated import ReachPosture
    from diffsim.rollout import Rollout
    from diffsim.view import Film

__all__ = ["CartPoleTask", "draw_rods", "from_upright"]

_DT = 0.02  # [s]
_FRAMES = 62
_GHOSTS = 6  # frames that a pole's ghosts go back
_CART = (0.36, 0.2)  # [m]
_ARROW = 0.6  # [m] for the largest force
_FIRST = 0.1  # standard deviation of the first commands: from none at all the pole would know no side


class CartPoleTask(Task):
    """A pole that hangs from a cart is swung up by pushing the cart, and kept upright for a moment.

    The force is too weak to lift the pole at once, and the track is short: it has to be pumped. Optimised is
    the push in each step (shooting: no feedback, no model but the simulator).

    Args:
        config: The options.
        data: Unused.
    """

    name = "rigid_body_articulated"
    summary = "a cart swings up its pole with a force that is too weak to lift it at once"
    steps = 250
    iterations = 8000
    check_steps = 32
    smoke: ClassVar[Mapping[str, Any]] = {"steps": 40, "iterations": 3}
    optimizer: ClassVar[Mapping[str, Any]] = {"name": "adam", "lr": 1e-2}
    cost_label = "cost: squared angle and speed at the end"

    @dataclass(frozen=True)
    class Config(Options):
        """The options of the task."""

        limit: float = option(5.0, "largest force on the cart [N]", above=0.0)
        length: float = option(1.0, "length of the pole [m]", above=0.0)
        track: float = option(1.0, "how far the cart may go to either side [m]", above=0.0)
        arrive: float = option(4.5, "time from which on the pole should stay up [s]", minimum=0.0)

    def title(self) -> str:
        return f"cart-pole, at most {self.config.limit:g} N"

    def build(self) -> ReachPosture:
        from diffsim.kernels.rigid_body_articulated import (
            ArticulatedConfig,
            PostureConfig,
            ReachPosture,
            cart_pole,
        )

        c = self.config
        objective = PostureConfig(
            posture=(0.0, math.pi), arrive=c.arrive, rest=0.1, effort=0.002, track=c.track
        )
        mechanism = cart_pole(pole_length=c.length, limit=c.limit)
        return ReachPosture(mechanism, ArticulatedConfig(dt=_DT), objective)

    def prepare(self, rollout: Rollout) -> None:
        import diffsim as ds

        rng = np.random.default_rng(ds.runtime.seed())
        sim: Any = rollout.sim
        sim.command.set(_FIRST * rng.normal(size=(rollout.steps, 1)))

    def wrt(self, simulator: Any) -> list[Any]:
        return [simulator.command]

    def record(self, rollout: Rollout) -> dict[str, NDArray[Any]]:
        sim: Any = rollout.sim
        found = rollout.trajectories({"q": sim.q, "v": sim.v, "effort": sim.effort}, every=1)
        if rollout.worlds > 1:  # worlds share the commands and differ in nothing: one of them is drawn
            found = {key: array[:, 0] for key, array in found.items()}
        every = max(1, round(rollout.steps / _FRAMES))
        frames = np.append(np.arange(0, rollout.steps, every), rollout.steps)
        joints, tips = sim.mechanism.places(found["q"])
        return {
            "times": sim.dt * np.arange(rollout.steps + 1),
            "frames": frames,
            "q": found["q"],
            "v": found["v"],
            "force": found["effort"][np.minimum(np.arange(rollout.steps + 1), rollout.steps - 1), 0],
            "pivot": joints[:, 1],
            "tip": tips[:, 1],
        }

    def metrics(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, float]:
        angle = np.degrees(from_upright(arrays["q"][:, 1]))
        late = arrays["times"] >= min(self.config.arrive, arrays["times"][-1])
        return {
            "angle from upright at the end [°]": float(abs(angle[-1])),
            "largest angle while it should stay up [°]": float(np.abs(angle[late]).max()),
            "speed at the end [rad/s]": float(abs(arrays["v"][-1, 1])),
            "largest force [N]": float(np.abs(arrays["force"]).max()),
            "furthest from the middle [m]": float(np.abs(arrays["q"][:, 0]).max()),
        }

    def films(self, recordings: Sequence[Recording]) -> list[Film]:
        from diffsim.view import Film, time_labels

        films = []
        for recording in recordings:
            scene = _Track(recording.arrays, self.config)
            times = recording.arrays["times"][recording.arrays["frames"]]
            last = len(times) - 1
            stills = sorted({round(share * last) for share in (0.0, 0.3, 0.55, 0.8, 1.0)})
            fps = last / max(float(times[-1]), 1e-9) if last else 10.0
            films.append(Film(scene.draw, time_labels(times), fps=fps, aspect=scene.aspect, stills=stills))
        return films


def from_upright(angle: NDArray[Any]) -> NDArray[Any]:
    """Turn angles from hanging down into angles from upright [rad], in -pi .. pi."""
    return np.asarray(angle % (2.0 * np.pi) - np.pi)


def draw_rods(
    axes: Axes, ends: NDArray[Any], color: str, width: float = 5.0, alpha: float = 1.0, zorder: float = 5.0
) -> None:
    """Draw a chain of rods with a dark rim, and a pin at each of their ends.

    Args:
        axes: What is drawn on.
        ends: Where the rods begin and end [m], `(rods + 1, 2)`.
        color: Of the rods.
        width: Of the rods [points].
        alpha: Below 1 for a ghost, which has no rim and no pins.
        zorder: Of the lowest part.
    """
    from diffsim.view.style import INK

    x, y = ends.T
    if alpha < 1.0:
        axes.plot(x, y, color=color, lw=0.7 * width, alpha=alpha, solid_capstyle="round", zorder=zorder)
        return
    axes.plot(x, y, color=INK, lw=width + 1.6, solid_capstyle="round", zorder=zorder)
    axes.plot(x, y, color=color, lw=width, solid_capstyle="round", zorder=zorder + 0.1)
    axes.plot(x[:-1], y[:-1], "o", ms=0.8 * width, mfc="white", mec=INK, mew=1.0, ls="", zorder=zorder + 0.2)


class _Track:
    """The pictures of one recording.

    Args:
        arrays: What `CartPoleTask.record` returned.
        config: The options of the task.
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]], config: Any) -> None:
        self.arrays, self.config = arrays, config
        self.half = config.track + max(0.95 * config.length, _ARROW, _CART[0])
        self.low, self.high = -config.length - 0.6, config.length + 0.45
        self.aspect = (self.high - self.low) / (2.0 * self.half)

    def draw(self, axes: Axes, k: int) -> None:
        """Draw frame `k`."""
        from diffsim.view.style import HEAD

        frames = self.arrays["frames"]
        now = int(frames[k])
        pivot, tip = self.arrays["pivot"], self.arrays["tip"]
        self._rails(axes)
        since = frames[max(0, k - 4 * _GHOSTS)]
        axes.plot(*tip[since : now + 1].T, color=HEAD, lw=1.2, alpha=0.7, zorder=2)
        for back in range(min(_GHOSTS, k), 0, -1):
            before = int(frames[k - back])
            draw_rods(axes, np.stack([pivot[before], tip[before]]), HEAD, 5.0, 0.34 - 0.045 * back, 3.0)
        self._aim(axes, pivot[now], now)
        self._cart(axes, pivot[now])
        draw_rods(axes, np.stack([pivot[now], tip[now]]), HEAD, 5.0)
        self._push(axes, pivot[now], float(self.arrays["force"][now]))
        axes.set(xlim=(-self.half, self.half), ylim=(self.low, self.high), aspect="equal")
        axes.set(xlabel="x [m]", ylabel="height above the track [m]")

    def _rails(self, axes: Axes) -> None:
        """Draw the track between its ends."""
        from matplotlib.patches import Rectangle

        from diffsim.view.style import EARTH, QUIET

        reach, floor = self.config.track + 0.5 * _CART[0], -0.5 * _CART[1]
        axes.add_patch(
            Rectangle((-reach, floor - 0.05), 2 * reach, 0.05, fc=EARTH, ec=QUIET, lw=0.8, zorder=1)
        )
        for side in (-1, 1):
            end = Rectangle((side * (reach + 0.03) - 0.03, floor - 0.05), 0.06, 0.25, zorder=1)
            end.set(facecolor=QUIET, edgecolor=QUIET, hatch="////")
            axes.add_patch(end)

    def _aim(self, axes: Axes, pivot: NDArray[Any], now: int) -> None:
        """Mark where the pole should point, and how far it is off."""
        from matplotlib.patches import Arc

        from diffsim.view.style import GOAL, INK

        length = self.config.length
        top = pivot + np.array([0.0, length])
        axes.plot(*np.stack([pivot, top]).T, ls=(0, (4, 3)), color=GOAL, lw=1.4, zorder=4)
        axes.plot(*top, "o", ms=12, mfc="none", mec=GOAL, mew=2.0, zorder=4)
        axes.annotate(
            "upright", top, (10, 0), textcoords="offset points", color=GOAL, fontsize=8, va="center"
        )
        off = math.degrees(float(from_upright(self.arrays["q"][now, 1])))
        first, last = sorted((90.0, 90.0 + off))
        size = 0.5 * length
        axes.add_patch(Arc(tuple(pivot), size, size, theta1=first, theta2=last, color=INK, lw=0.9, zorder=4))
        axes.text(
            -0.97 * self.half,
            self.high - 0.05,
            f"{abs(off):.0f}° from upright",
            va="top",
            fontsize=8,
            color=INK,
        )

    def _cart(self, axes: Axes, pivot: NDArray[Any]) -> None:
        """Draw the cart on its wheels."""
        from matplotlib.patches import Circle, FancyBboxPatch

        from diffsim.view.style import BONE, INK

        wide, tall = _CART
        corner = (pivot[0] - 0.5 * wide + 0.03, pivot[1] - 0.25 * tall)
        box = FancyBboxPatch(corner, wide - 0.06, 0.5 * tall, boxstyle="round,pad=0.03")
        box.set(facecolor=BONE, edgecolor=INK, linewidth=1.0, zorder=4.5)
        axes.add_patch(box)
        for side in (-0.27, 0.27):
            wheel = Circle((pivot[0] + side * wide, pivot[1] - 0.5 * tall + 0.035), 0.035)
            wheel.set(facecolor="white", edgecolor=INK, linewidth=1.0, zorder=4.6)
            axes.add_patch(wheel)

    def _push(self, axes: Axes, pivot: NDArray[Any], force: float) -> None:
        """Draw the force on the cart between the marks of its limits."""
        from diffsim.view.style import INK, QUIET

        y, share = self.low + 0.36, force / self.config.limit
        x = float(pivot[0])
        axes.plot([x - _ARROW, x + _ARROW], [y, y], color=QUIET, lw=0.8, zorder=2)
        for side, text in ((-1, "−"), (1, "+")):
            axes.plot([x + side * _ARROW] * 2, [y - 0.05, y + 0.05], color=QUIET, lw=1.4, zorder=2)
            label = f"{text}{self.config.limit:g} N"
            axes.text(
                x + side * _ARROW,
                y - 0.07,
                label,
                ha="center",
                va="top",
                fontsize=word_size(axes),
                color=QUIET,
            )
        if abs(share) > 0.02:
            arrow = {"arrowstyle": "-|>", "color": "#c8281e", "lw": 2.4, "shrinkA": 0, "shrinkB": 0}
            axes.annotate("", (x + share * _ARROW, y), (x, y), arrowprops=arrow, zorder=6)
        axes.text(x, y - 0.07, "force", ha="center", va="top", fontsize=word_size(axes), color=INK)
