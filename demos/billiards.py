"""Find the shot that brings a ball into a pocket: `diffsim train billiards`."""

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

    from diffsim.kernels.billiards import Billiards, BilliardsConfig, Table
    from diffsim.rollout import Rollout
    from diffsim.view import Film

__all__ = ["BilliardsTask"]

_FRAMES = 56
_TRAIL = 5  # points of a trail per frame, so that its corners at the cushions are sharp
_RIM, _STRIP = 0.08, 0.18  # [m] of wood around the table, and of room for the key below it
_HOLE, _RED = "#20303c", "#c8281e"


class BilliardsTask(Task):
    """Aim and speed of the cue ball that bring the marked ball of a rack into the corner pocket.

    The rack scatters a shot: the way from the cue to the target is smooth in pieces only, most of them too
    small to follow. So several worlds start from different first guesses, drawn by the seed, and descend side
    by side; the pictures show the one that ends nearest to the pocket.

    Reference: the task of Hu et al., DiffTaichi, ICLR 2020.
    """

    name = "billiards"
    summary = "the aim and speed of a cue ball that send another ball through a rack into a pocket"
    steps = 1024
    iterations = 100
    check_steps = 240
    run_options: ClassVar[Mapping[str, Any]] = {"worlds": 16}
    smoke: ClassVar[Mapping[str, Any]] = {"steps": 240, "iterations": 2, "worlds": 2, "rows": 1}
    optimizer: ClassVar[Mapping[str, Any]] = {"name": "adam", "lr": 1e-2}
    cost_label = "share of the cost of a miss"

    @dataclass(frozen=True)
    class Config(Options):
        """The options of the task."""

        rows: int = option(4, "rows of the rack, of 1, 2, 3, ... balls", minimum=1, maximum=6)
        spread: float = option(0.15, "first guesses of the aim lie within this of the tip [rad]", minimum=0.0)
        time_of_impact: bool = option(True, "differentiate the moments at which balls meet")

    def title(self) -> str:
        return f"billiards through {self.config.rows * (self.config.rows + 1) // 2} balls"

    def build(self) -> Billiards:
        from diffsim.kernels.billiards import Billiards, BilliardsConfig, rack

        return Billiards(rack(self.config.rows), BilliardsConfig(time_of_impact=self.config.time_of_impact))

    def prepare(self, rollout: Rollout) -> None:
        from diffsim import runtime

        sim: Any = rollout.sim
        rng = np.random.default_rng(runtime.seed())
        worlds = rollout.worlds
        angle = rng.uniform(-self.config.spread, self.config.spread, worlds)
        speed = rng.uniform(1.5, 3.0, worlds)
        sim.angle.set(angle if worlds > 1 else angle[0])
        sim.speed.set(speed if worlds > 1 else speed[0])

    def wrt(self, simulator: Any) -> list[Any]:
        return [simulator.angle, simulator.speed]

    def world(self, rollout: Rollout) -> int:
        return int(np.argmin(rollout.value()))  # the cost grows with the distance that is missed by

    def record(self, rollout: Rollout) -> dict[str, NDArray[Any]]:
        sim: Any = rollout.sim
        every = max(1, round(rollout.steps / (_FRAMES * _TRAIL)))
        x = rollout.trajectory(sim.x, every=every)
        if rollout.worlds == 1:
            x = x[:, None]
        ends = x[-1, :, sim.target]
        miss = np.linalg.norm(ends - np.array(sim.table.goal), axis=1)
        best = int(np.argmin(miss))
        return {
            "x": x[:, best],
            "others": np.delete(x[:, :, sim.target], best, axis=1),
            "times": every * sim.dt * np.arange(len(x)),
            "miss": miss,
            "shot": np.array([np.ravel(sim.angle.numpy())[best], np.ravel(sim.speed.numpy())[best]]),
        }

    def films(self, recordings: Sequence[Recording]) -> list[Film]:
        from diffsim.kernels.billiards import BilliardsConfig, rack
        from diffsim.view import Film

        table = rack(self.config.rows)
        pictures = [_Picture(recording.arrays, table, BilliardsConfig()) for recording in recordings]
        return [Film(it.draw, it.labels(), fps=14.0, aspect=it.aspect, stills=it.stills()) for it in pictures]

    def metrics(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, float]:
        from diffsim.kernels.billiards import BilliardsConfig

        radius = BilliardsConfig().radius
        miss = arrays["miss"]
        return {
            "distance to the pocket [m]": float(miss.min()),
            "distance to the pocket [ball radii]": float(miss.min() / radius),
            "tries within a ball's radius": float((miss < radius).sum()),
        }


class _Picture:
    """A table seen from above, with the way that each ball has come.

    Args:
        arrays: What `BilliardsTask.record` returned.
        table: What lay on the table at first, and the goal.
        constants: The simulator's configuration.
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]], table: Table, constants: BilliardsConfig) -> None:
        self.arrays, self.table, self.constants = arrays, table, constants
        self.frames = np.arange(0, len(arrays["x"]), _TRAIL)
        self.aspect = (constants.height + 2 * _RIM + _STRIP) / (constants.width + 2 * _RIM)

    def labels(self) -> list[str]:
        """Tell for each frame its time and how far the target is from the pocket."""
        from diffsim.view import time_labels

        way = self.arrays["x"][self.frames, self.table.target] - np.array(self.table.goal)
        times = time_labels(self.arrays["times"][self.frames])
        miss = np.linalg.norm(way, axis=1)
        return [f"{time}, {far:.2f} m to go" for time, far in zip(times, miss, strict=True)]

    def stills(self) -> list[int]:
        """Choose frames that are closer at the beginning, when the balls are fast."""
        last = len(self.frames) - 1
        return sorted({0, last // 5, last // 2, last})

    def draw(self, axes: Axes, k: int) -> None:
        """Draw frame `k`."""
        from matplotlib.patches import Circle

        from diffsim.view.style import BONE, HEAD, INK

        now = int(self.frames[k])
        x, target, radius = self.arrays["x"], self.table.target, self.constants.radius
        self._table(axes)
        axes.add_patch(Circle(self.table.goal, 1.5 * radius, fc=_HOLE, ec="white", lw=1.0, zorder=2))
        for ball in range(x.shape[1]):
            color, width = {0: (INK, 1.2), target: (HEAD, 2.0)}.get(ball, (BONE, 0.7))
            axes.plot(*x[: now + 1, ball].T, color=color, lw=width, zorder=3)
        for place in self.arrays["others"][now]:
            axes.add_patch(Circle(place, radius, fc="none", ec=HEAD, lw=0.8, alpha=0.7, zorder=3.5))
        for ball, place in enumerate(x[now]):
            face = {0: "white", target: HEAD}.get(ball, BONE)
            axes.add_patch(Circle(place, radius, fc=face, ec=INK, lw=0.8, zorder=5))
        self._shot(axes)
        self._key(axes)

    def _table(self, axes: Axes) -> None:
        """Draw the cloth and the cushions."""
        from matplotlib.patches import Rectangle

        wide, high = self.constants.width, self.constants.height
        wood = Rectangle((-_RIM, -_RIM), wide + 2 * _RIM, high + 2 * _RIM, fc="#a98762", ec="none", zorder=0)
        axes.add_patch(wood)
        axes.add_patch(Rectangle((0, 0), wide, high, fc="#dcebe2", ec="#4f7f66", lw=2.0, zorder=1))
        axes.set(xlim=(-_RIM, wide + _RIM), ylim=(-_RIM - _STRIP, high + _RIM), aspect="equal")
        axes.set(xlabel="x [m]", ylabel="y [m]", xticks=np.linspace(0, wide, 5), yticks=[0.0, high / 2, high])

    def _shot(self, axes: Axes) -> None:
        """Draw the cue's push as an arrow, with its numbers."""
        (angle, speed), start = self.arrays["shot"], self.arrays["x"][0, 0]
        tip = start + 0.14 * speed * np.array([np.cos(angle), np.sin(angle)])
        arrow = {"arrowstyle": "-|>", "color": _RED, "lw": 1.6, "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", tip, start, arrowprops=arrow, zorder=6)
        text = f"{speed:.2f} m/s at {np.degrees(angle):+.2f}°".replace("-", "−")
        axes.text(
            0.05, start[1] - 0.12, text, color=_RED, fontsize=word_size(axes, 6.5), va="center", zorder=6
        )

    def _key(self, axes: Axes) -> None:
        """Tell what is what in the strip below the table."""
        from diffsim.view.style import HEAD, INK

        axes.plot([], [], "o", ms=6, mfc="white", mec=INK, label="cue ball")
        axes.plot([], [], "o", ms=6, mfc=HEAD, mec=INK, label="target")
        if self.arrays["others"].size:
            axes.plot([], [], "o", ms=6, mfc="none", mec=HEAD, label="in other tries")
        axes.plot([], [], "o", ms=7, color=_HOLE, label="pocket")
        axes.legend(
            loc="lower center",
            ncols=4,
            fontsize=word_size(axes, 6.5),
            frameon=False,
            handlelength=0.8,
            handletextpad=0.3,
            columnspacing=0.7,
            borderaxespad=0.1,
        )
