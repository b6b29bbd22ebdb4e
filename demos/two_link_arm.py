"""Draw a figure with a two-link arm: `diffsim train two_link_arm`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from diffsim.tasks import Options, Recording, Task, option
from diffsim.view.style import word_size

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from diffsim.kernels.rigid_body_articulated import FollowPath, Mechanism
    from diffsim.rollout import Rollout
    from diffsim.view import Film

__all__ = ["TwoLinkArmTask"]

_DT = 0.01  # [s]
_STEPS = 300
_FRAMES = 60
_GHOSTS = 5  # poses that are left behind
_MIDDLE, _SIZE = (0.0, -0.62), (0.33, 0.15)  # [m] of the figure


class TwoLinkArmTask(Task):
    """An arm that hangs from a ceiling draws a figure of eight with its hand, in three seconds.

    Optimised are the torques of shoulder and elbow in each step, which are limited; they begin as what holds
    the arm still where it starts. Gravity and the links' inertia pull the hand off its way until they are
    accounted for.

    Args:
        config: The options.
        data: Unused.
    """

    name = "two_link_arm"
    summary = "an arm under gravity draws a figure of eight with limited torques"
    steps = _STEPS
    iterations = 800
    check_steps = 32
    smoke: ClassVar[Mapping[str, Any]] = {"steps": 40, "iterations": 3}
    optimizer: ClassVar[Mapping[str, Any]] = {"name": "adam", "lr": 1e-2}
    cost_label = "cost: mean squared distance from the path [m²]"

    @dataclass(frozen=True)
    class Config(Options):
        """The options of the task."""

        # The bounds leave room above what holds the arm where it starts.
        shoulder: float = option(15.0, "largest torque of the shoulder [N m]", above=7.0)
        elbow: float = option(5.0, "largest torque of the elbow [N m]", above=2.0)

    def title(self) -> str:
        return "two-link arm draws an eight"

    def build(self) -> FollowPath:
        from diffsim.kernels.rigid_body_articulated import ArticulatedConfig, FollowPath

        sim = FollowPath(_eight(), self._mechanism(), ArticulatedConfig(dt=_DT))
        sim.q.set(self._pose(sim.mechanism))
        return sim

    def prepare(self, rollout: Rollout) -> None:
        sim: Any = rollout.sim
        limits = np.array([self.config.shoulder, self.config.elbow])
        held = np.arctanh(sim.mechanism.holding(self._pose(sim.mechanism), sim.gravity) / limits)
        sim.command.set(np.tile(held, (rollout.steps, 1)))

    def _pose(self, mechanism: Mechanism) -> NDArray[np.float64]:
        """Return the joint angles that put the hand where the path begins, by the cosine rule."""
        upper, fore = (link.tip[0] for link in mechanism.links)
        x, y = _eight()[0]
        elbow = np.arccos((x**2 + y**2 - upper**2 - fore**2) / (2.0 * upper * fore))
        inside = np.arctan2(fore * np.sin(elbow), upper + fore * np.cos(elbow))
        return np.array([np.arctan2(y, x) - inside, elbow])

    def _mechanism(self) -> Mechanism:
        """Return the arm."""
        from diffsim.kernels.rigid_body_articulated import two_link_arm

        return two_link_arm(limits=(self.config.shoulder, self.config.elbow), damping=(0.3, 0.3))

    def wrt(self, simulator: Any) -> list[Any]:
        return [simulator.command]

    def record(self, rollout: Rollout) -> dict[str, NDArray[Any]]:
        sim: Any = rollout.sim
        found = rollout.trajectories({"q": sim.q, "effort": sim.effort}, every=1)
        if rollout.worlds > 1:  # worlds share the commands and differ in nothing: one of them is drawn
            found = {key: array[:, 0] for key, array in found.items()}
        joints, tips = sim.mechanism.places(found["q"])
        every = max(1, round(rollout.steps / _FRAMES))
        return {
            "times": sim.dt * np.arange(rollout.steps + 1),
            "frames": np.append(np.arange(0, rollout.steps, every), rollout.steps),
            "rods": np.concatenate([joints, tips[:, -1:]], axis=1),
            "torque": found["effort"][np.minimum(np.arange(rollout.steps + 1), rollout.steps - 1)],
        }

    def metrics(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, float]:
        hand = arrays["rods"][:, -1]
        path = _eight()[np.minimum(np.arange(len(hand)), _STEPS)]
        off = 1e3 * np.linalg.norm(hand - path, axis=1)
        torque = np.abs(arrays["torque"]).max(axis=0)
        return {
            "mean distance from the path [mm]": float(off.mean()),
            "largest distance from the path [mm]": float(off.max()),
            "largest torque, shoulder [N m]": float(torque[0]),
            "largest torque, elbow [N m]": float(torque[1]),
        }

    def films(self, recordings: Sequence[Recording]) -> list[Film]:
        from diffsim.view import Film, time_labels

        films = []
        for recording in recordings:
            scene = _Board(recording.arrays, (self.config.shoulder, self.config.elbow))
            times = recording.arrays["times"][recording.arrays["frames"]]
            last = len(times) - 1
            stills = sorted({round(share * last) for share in (0.0, 0.35, 0.5, 0.65, 1.0)})
            fps = last / max(float(times[-1]), 1e-9)
            films.append(Film(scene.draw, time_labels(times), fps=fps, aspect=scene.aspect, stills=stills))
        return films


def _eight() -> NDArray[np.float64]:
    """Return where the hand should be at each step [m]: an eight on its side, begun and ended at rest."""
    s = np.linspace(0.0, 1.0, _STEPS + 1)
    turn = 2.0 * np.pi * s**3 * (10.0 - 15.0 * s + 6.0 * s**2)
    wave = np.stack([np.sin(turn), np.sin(2.0 * turn)], axis=1)
    return np.asarray(np.array(_MIDDLE) + np.array(_SIZE) * wave)


class _Board:
    """The pictures of one recording.

    Args:
        arrays: What `TwoLinkArmTask.record` returned.
        limits: The largest torques [N m].
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]], limits: tuple[float, float]) -> None:
        self.arrays, self.limits, self.path = arrays, limits, _eight()
        self.left, self.right, self.low, self.high = -0.72, 0.72, -1.16, 0.14
        self.aspect = (self.high - self.low) / (self.right - self.left)

    def draw(self, axes: Axes, k: int) -> None:
        """Draw frame `k`."""
        from diffsim.demos.rigid_body_articulated import draw_rods
        from diffsim.view.style import BONE, GOAL, HEAD, INK

        now = int(self.arrays["frames"][k])
        rods = self.arrays["rods"]
        self._ceiling(axes)
        axes.plot(*self.path.T, ls=(0, (4, 3)), color=GOAL, lw=1.3, zorder=2, label="the path")
        for ghost in range(1, _GHOSTS + 1):
            before = now - 6 * ghost
            if before >= 0:
                draw_rods(axes, rods[before], BONE, 5.0, 0.4 - 0.06 * ghost, 1.5)
        axes.plot(*rods[: now + 1, -1].T, color=HEAD, lw=2.2, zorder=4, label="the hand's way")
        draw_rods(axes, rods[now], BONE, 5.0)
        aim = self.path[min(now, _STEPS)]
        axes.plot(*aim, "o", ms=12, mfc="none", mec=GOAL, mew=2.0, zorder=7)
        axes.plot([], [], "o", ms=5, mfc="none", mec=GOAL, mew=1.4, label="its place now")
        axes.plot(*rods[now, -1], "o", ms=6, color=HEAD, mec=INK, mew=0.8, zorder=8)
        self._torques(axes, now)
        axes.legend(
            loc="lower left",
            fontsize=word_size(axes, 6.5),
            frameon=False,
            handlelength=1.6,
            borderaxespad=0.3,
        )
        axes.set(xlim=(self.left, self.right), ylim=(self.low, self.high), aspect="equal")
        axes.set(xlabel="x [m]", ylabel="y [m]")

    def _ceiling(self, axes: Axes) -> None:
        """Draw what the arm hangs from."""
        from matplotlib.patches import Rectangle

        from diffsim.view.style import EARTH, QUIET

        wide = self.right - self.left
        axes.add_patch(
            Rectangle((self.left, 0.03), wide, self.high, fc=EARTH, ec=QUIET, lw=0.8, hatch="///", zorder=0)
        )
        axes.add_patch(Rectangle((-0.05, 0.0), 0.1, 0.04, fc=QUIET, ec=QUIET, zorder=1))

    def _torques(self, axes: Axes, now: int) -> None:
        """Draw both torques as bars between the marks of their limits, in the lower right corner."""
        from diffsim.view.style import INK, QUIET

        middle, half = 0.5 * self.right + 0.06, 0.22
        for row, name in enumerate(("shoulder", "elbow")):
            y = self.low + 0.19 - 0.12 * row
            share = float(self.arrays["torque"][now, row]) / self.limits[row]
            axes.plot([middle - half, middle + half], [y, y], color=QUIET, lw=0.8, zorder=2)
            for side in (-1, 0, 1):
                axes.plot([middle + side * half] * 2, [y - 0.02, y + 0.02], color=QUIET, lw=1.0, zorder=2)
            axes.plot([middle, middle + share * half], [y, y], color="#c8281e", lw=4.0, zorder=3)
            text = f"{name} ±{self.limits[row]:g} N m"
            axes.text(
                middle, y + 0.025, text, ha="center", va="bottom", fontsize=word_size(axes, 6.5), color=INK
            )
