"""Swing up an acrobot by its elbow alone: `diffsim train acrobot`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from diffsim.demos.rigid_body_articulated import draw_rods, from_upright
from diffsim.tasks import Options, Recording, Task, option
from diffsim.view.style import word_size

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from diffsim.kernels.rigid_body_articulated import ReachPosture
    from diffsim.rollout import Rollout
    from diffsim.view import Film

__all__ = ["AcrobotTask"]

_DT = 0.02  # [s]
_FRAMES = 60
_GHOSTS = 6  # frames that ghosts go back
_FIRST = 0.3  # standard deviation of the first commands
_LENGTHS = (1.0, 1.0)  # [m]


class AcrobotTask(Task):
    """Two hanging rods are swung upright by a motor at the joint between them; the upper joint turns freely.

    Optimised is the torque in each step. The motion is chaotic, so that shooting from one start often ends in
    a minimum that is not upright: each world shoots from a random start of its own, and the best is drawn.

    Args:
        config: The options.
        data: Unused.
    """

    name = "acrobot"
    summary = "two rods are swung upright by the motor at their elbow, from several starts at once"
    steps = 200
    iterations = 4000
    check_steps = 32
    run_options: ClassVar[Mapping[str, Any]] = {"worlds": 8}
    smoke: ClassVar[Mapping[str, Any]] = {"steps": 40, "iterations": 3, "worlds": 2}
    optimizer: ClassVar[Mapping[str, Any]] = {"name": "adam", "lr": 3e-3}
    cost_label = "cost: squared angles and speeds at the end, all worlds"

    @dataclass(frozen=True)
    class Config(Options):
        """The options of the task."""

        limit: float = option(15.0, "largest torque of the elbow [N m]", above=0.0)
        shoulder: float = option(0.5, "friction of the shoulder [N m s]", minimum=0.0)
        elbow: float = option(1.0, "friction of the elbow [N m s]", minimum=0.0)

    def title(self) -> str:
        return f"acrobot, at most {self.config.limit:g} N m"

    def build(self) -> ReachPosture:
        from diffsim.kernels.rigid_body_articulated import (
            ArticulatedConfig,
            PostureConfig,
            ReachPosture,
            acrobot,
        )

        c = self.config
        mechanism = acrobot(_LENGTHS, limit=c.limit, damping=(c.shoulder, c.elbow))
        objective = PostureConfig(posture=(math.pi, 0.0), arrive=1e9, rest=0.05, effort=0.002)
        return ReachPosture(mechanism, ArticulatedConfig(dt=_DT), objective, per_world=True)

    def prepare(self, rollout: Rollout) -> None:
        import diffsim as ds

        rng = np.random.default_rng(ds.runtime.seed())
        sim: Any = rollout.sim
        first = _FIRST * rng.normal(size=(rollout.worlds, rollout.steps, 1))
        sim.command.set(first if rollout.worlds > 1 else first[0])

    def wrt(self, simulator: Any) -> list[Any]:
        return [simulator.command]

    def world(self, rollout: Rollout) -> int:
        return int(np.argmin(rollout.value()))

    def record(self, rollout: Rollout) -> dict[str, NDArray[Any]]:
        sim: Any = rollout.sim
        found = rollout.trajectories({"q": sim.q, "v": sim.v, "effort": sim.effort}, every=1)
        if rollout.worlds > 1:
            best = self.world(rollout)
            found = {key: array[:, best] for key, array in found.items()}
        joints, tips = sim.mechanism.places(found["q"])
        every = max(1, round(rollout.steps / _FRAMES))
        steps = np.arange(rollout.steps + 1)
        return {
            "times": sim.dt * steps,
            "frames": np.append(np.arange(0, rollout.steps, every), rollout.steps),
            "q": found["q"],
            "v": found["v"],
            "rods": np.concatenate([joints, tips[:, -1:]], axis=1),
            "torque": found["effort"][np.minimum(steps, rollout.steps - 1), 1],
        }

    def metrics(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, float]:
        upper, lower = arrays["q"][-1, 0], arrays["q"][-1].sum()
        off = np.degrees(np.abs(from_upright(np.array([upper, lower]))))
        return {
            "angle of the upper rod from upright at the end [°]": float(off[0]),
            "angle of the lower rod from upright at the end [°]": float(off[1]),
            "largest speed at the end [rad/s]": float(np.abs(arrays["v"][-1]).max()),
            "largest torque [N m]": float(np.abs(arrays["torque"]).max()),
        }

    def films(self, recordings: Sequence[Recording]) -> list[Film]:
        from diffsim.view import Film, time_labels

        films = []
        for recording in recordings:
            scene = _Bar(recording.arrays, self.config.limit)
            times = recording.arrays["times"][recording.arrays["frames"]]
            last = len(times) - 1
            stills = sorted({round(share * last) for share in (0.0, 0.3, 0.55, 0.8, 1.0)})
            fps = last / max(float(times[-1]), 1e-9)
            films.append(Film(scene.draw, time_labels(times), fps=fps, aspect=1.0, stills=stills))
        return films


class _Bar:
    """The pictures of one recording.

    Args:
        arrays: What `AcrobotTask.record` returned.
        limit: The largest torque [N m].
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]], limit: float) -> None:
        self.arrays, self.limit, self.half = arrays, limit, 1.2 * sum(_LENGTHS)

    def draw(self, axes: Axes, k: int) -> None:
        """Draw frame `k`."""
        from diffsim.view.style import BONE, GOAL, HEAD, QUIET

        frames, rods = self.arrays["frames"], self.arrays["rods"]
        now = int(frames[k])
        since = int(frames[max(0, k - 4 * _GHOSTS)])
        top = sum(_LENGTHS)
        axes.plot([-0.25, 0.25], [0.0, 0.0], color=QUIET, lw=3.0, zorder=1)
        axes.plot([0.0, 0.0], [0.0, top], ls=(0, (4, 3)), color=GOAL, lw=1.4, zorder=2)
        axes.plot(0.0, top, "o", ms=12, mfc="none", mec=GOAL, mew=2.0, zorder=8)
        axes.annotate(
            "upright", (0.0, top), (10, 0), textcoords="offset points", color=GOAL, fontsize=8, va="center"
        )
        axes.plot(*rods[since : now + 1, -1].T, color=HEAD, lw=1.2, alpha=0.7, zorder=3)
        for back in range(min(_GHOSTS, k), 0, -1):
            before = rods[int(frames[k - back])]
            draw_rods(axes, before[:2], BONE, 5.0, 0.34 - 0.045 * back, 3.0)
            draw_rods(axes, before[1:], HEAD, 5.0, 0.34 - 0.045 * back, 3.0)
        draw_rods(axes, rods[now, :2], BONE, 5.0, zorder=5.0)
        draw_rods(axes, rods[now, 1:], HEAD, 5.0, zorder=6.0)
        self._torque(axes, float(self.arrays["torque"][now]))
        axes.set(xlim=(-self.half, self.half), ylim=(-self.half - 0.35, self.half - 0.1), aspect="equal")
        axes.set(xlabel="x [m]", ylabel="height above the bar [m]")

    def _torque(self, axes: Axes, torque: float) -> None:
        """Draw the elbow's torque as a bar between the marks of its limits."""
        from diffsim.view.style import INK, QUIET

        y, half = -self.half - 0.02, 1.4
        axes.plot([-half, half], [y, y], color=QUIET, lw=0.8, zorder=2)
        axes.plot([0.0, half * torque / self.limit], [y, y], color="#c8281e", lw=4.0, zorder=3)
        for side, text in ((-1, f"−{self.limit:g} N m"), (0, "elbow"), (1, f"+{self.limit:g} N m")):
            axes.plot([side * half] * 2, [y - 0.06, y + 0.06], color=QUIET, lw=1.2, zorder=2)
            color = QUIET if side else INK
            axes.text(
                side * half, y - 0.09, text, ha="center", va="top", fontsize=word_size(axes), color=color
            )
