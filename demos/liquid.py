"""Teach a soft fish to swim in an aquarium: `diffsim train liquid`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from diffsim.demos.water_pictures import water_films
from diffsim.tasks import Options, Recording, Task, option
from diffsim.view.style import word_size

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from diffsim.kernels.liquid import Liquid, LiquidConfig
    from diffsim.rollout import Rollout
    from diffsim.view import Film

__all__ = ["LiquidTask"]

_FRAMES = 50
_SHADES = 20  # colours of the water: few, as an animation has room for 256 in all
_PLAYBACK = 12.5  # how many times slower than life: a beat of the tail takes a tenth of a second
_WIDTH, _HEIGHT, _DEPTH = 0.32, 0.16, 0.1  # [m] of the grid, and of the water


class LiquidTask(Task):
    """A soft fish learns to swim; the cost is minus the way of its middle, in widths of the aquarium.

    Optimised is how much of each of a few sine waves each muscle is told, by which it gets its amplitude and
    phase. They begin at random.

    Args:
        config: The options.
        data: Unused.
    """

    name = "liquid"
    summary = "a soft fish with muscles learns to swim"
    steps = 800
    iterations = 40
    check_steps = 8
    # A launch costs little beside thousands of particles, and Taichi compiles kernels one by one in seconds.
    taichi_options: ClassVar[Mapping[str, Any]] = {"mode": "step"}
    smoke: ClassVar[Mapping[str, Any]] = {"steps": 8, "iterations": 2, "cells": 32, "segments": 2}
    optimizer: ClassVar[Mapping[str, Any]] = {"name": "adam", "lr": 0.1}
    cost_label = "cost: −way of the fish [widths of the aquarium]"

    @dataclass(frozen=True)
    class Config(Options):
        """The options of the task."""

        cells: int = option(64, "cells along the aquarium, an even number", minimum=16)
        segments: int = option(4, "muscles on each side of the fish", minimum=1)
        frequency: float = option(10.0, "beats of the tail [Hz]", above=0.0)

    def title(self) -> str:
        return "a fish learns to swim"

    def constants(self) -> LiquidConfig:
        """Make the simulator's configuration: finer cells take shorter steps."""
        from diffsim.kernels.liquid import LiquidConfig

        return LiquidConfig(
            dt=0.016 / self.config.cells,
            width=_WIDTH,
            height=_HEIGHT,
            cells=self.config.cells,
            frequency=self.config.frequency,
        )

    def build(self) -> Liquid:
        from diffsim.kernels.liquid import Liquid, swimmer

        constants = self.constants()
        return Liquid(constants, swimmer(constants, depth=_DEPTH, segments=self.config.segments))

    def wrt(self, simulator: Any) -> list[Any]:
        return [simulator.policy]

    def record(self, rollout: Rollout) -> dict[str, NDArray[Any]]:
        sim: Any = rollout.sim
        every = max(1, round(rollout.steps / _FRAMES))
        found = rollout.trajectories({"x": sim.x, "v": sim.v, "command": sim.mpm.actuation}, every=every)
        if rollout.worlds > 1:  # they share the controller and differ in nothing
            found = {key: array[:, 0] for key, array in found.items()}
        last = rollout.trajectory(sim.x, every=rollout.steps)[-1].reshape(-1, sim.mpm.n, 2)[0]
        fish = found["x"][:, : sim.followed]
        return {
            "x": found["x"].astype(np.float32),
            "speed": np.linalg.norm(found["v"], axis=-1).astype(np.float32),
            "command": found["command"],
            "muscle": sim.mpm.particles.muscle[: sim.followed],
            "middle": fish.mean(axis=1),
            "way": (last[: sim.followed] - fish[0]).mean(axis=0),
            "length": np.ptp(fish[0, :, 0]),
            "times": every * sim.config.dt * np.arange(len(fish)),
        }

    def metrics(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, float]:
        way = float(arrays["way"][0])
        return {
            "distance swum [widths of the aquarium]": way / _WIDTH,
            "distance swum [lengths of the fish]": way / float(arrays["length"]),
        }

    def films(self, recordings: Sequence[Recording]) -> list[Film]:
        constants = self.constants()
        return water_films(
            recordings, lambda a, top: _Aquarium(a, constants, top), _PLAYBACK, _HEIGHT / _WIDTH
        )


class _Aquarium:
    """The pictures of one recording.

    Args:
        arrays: What `LiquidTask.record` returned.
        config: The constants of the simulator.
        top: The speed of the water that has the darkest colour [m/s].
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]], config: LiquidConfig, top: float) -> None:
        self.arrays, self.config, self.top = arrays, config, top

    def draw(self, axes: Axes, k: int) -> None:
        """Draw frame `k`."""
        from matplotlib.colors import LinearSegmentedColormap

        from diffsim.view import color_bar

        axes.set(xlim=(0.0, _WIDTH), ylim=(0.0, _HEIGHT), aspect="equal", xlabel="x [m]", ylabel="y [m]")
        axes.set(xticks=[0.0, 0.1, 0.2, 0.3], yticks=[0.0, 0.05, 0.1, 0.15])
        points = axes.get_window_extent().width / axes.figure.dpi * 72.0 / _WIDTH  # to the metre
        size = (1.3 * points * self.config.spacing) ** 2
        x, fish = self.arrays["x"][k], len(self.arrays["muscle"])
        blues = LinearSegmentedColormap.from_list("water", ["#d8ebf7", "#74b3dd", "#12548f"], _SHADES)
        speed = self._smooth(x[fish:], self.arrays["speed"][k, fish:])
        look: dict[str, Any] = {"c": speed, "cmap": blues, "vmin": 0.0, "vmax": self.top, "lw": 0.0}
        axes.scatter(*x[fish:].T, s=5.0 * size, zorder=0.5, **look)  # between particles there is water too
        water = axes.scatter(*x[fish:].T, s=size, zorder=1, **look)
        self._walls(axes)
        self._fish(axes, k, size)
        self._way(axes, k)
        color_bar(axes, water, "water's speed [m/s]", extend="max")

    def _smooth(self, x: NDArray[Any], values: NDArray[Any]) -> NDArray[Any]:
        """Average over the particles of each cell."""
        cell = (x / self.config.dx).astype(int)
        flat = np.ravel_multi_index((cell[:, 0], cell[:, 1]), self.config.grid)
        return (np.bincount(flat, values) / np.maximum(np.bincount(flat), 1))[flat]

    def _walls(self, axes: Axes) -> None:
        """Draw floor and walls."""
        from matplotlib.patches import Polygon

        from diffsim.view.style import EARTH, QUIET

        low, high = self.config.room
        corners = [
            (0, _HEIGHT),
            (0, 0),
            (_WIDTH, 0),
            (_WIDTH, _HEIGHT),
            (high[0], _HEIGHT),
            (high[0], low[1]),
        ]
        corners += [(low[0], low[1]), (low[0], _HEIGHT)]
        axes.add_patch(Polygon(corners, closed=True, fc=EARTH, ec=QUIET, lw=0.8, zorder=3))

    def _fish(self, axes: Axes, k: int, size: float) -> None:
        """Draw the fish, each muscle in the colour of its command."""
        from diffsim.view.style import BONE, INK, muscle_colors

        muscle, x = self.arrays["muscle"], self.arrays["x"][k]
        body = x[: len(muscle)]
        commands = self.arrays["command"][min(k, len(self.arrays["command"]) - 1)]
        colors = muscle_colors()(0.5 - 0.5 * commands[muscle.clip(0)])  # a pull shortens: blue
        axes.scatter(*body.T, c=INK, s=3.0 * size, lw=0.0, zorder=4)
        axes.scatter(*body[muscle < 0].T, c=BONE, s=1.6 * size, lw=0.0, zorder=5)
        axes.scatter(*body[muscle >= 0].T, c=colors[muscle >= 0], s=1.6 * size, lw=0.0, zorder=5)
        axes.plot([], [], "s", ms=5, color=muscle_colors()(0.0), label="muscle pulls")
        axes.plot([], [], "s", ms=5, color=muscle_colors()(1.0), label="muscle pushes")
        axes.legend(
            loc="upper right", bbox_to_anchor=(0.95, 1.0), ncols=2, frameon=False,
            fontsize=word_size(axes, 6.5), handletextpad=0.2, columnspacing=0.8, borderaxespad=0.2,
        )  # fmt: skip

    def _way(self, axes: Axes, k: int) -> None:
        """Mark where the fish's middle started, and how far it has come."""
        from diffsim.view.style import GOAL, INK

        middle = self.arrays["middle"]
        start, now = float(middle[0, 0]), float(middle[k, 0])
        top = self.config.room[0][1] + _DEPTH + 0.026
        axes.plot([start, start], [self.config.room[0][1], top], color=GOAL, lw=1.2, ls=(0, (4, 3)), zorder=2)
        arrow = {"arrowstyle": "-|>", "color": GOAL, "lw": 1.5, "shrinkA": 0, "shrinkB": 0}
        if abs(now - start) > 0.01 * _WIDTH:
            axes.annotate("", (now, top - 0.008), (start, top - 0.008), arrowprops=arrow, zorder=6)
        text = f"{round((now - start) / _WIDTH, 2) + 0.0:.2f} widths"
        right = max(now, start) + 0.01 * _WIDTH
        axes.text(right, top - 0.008, text, fontsize=word_size(axes, 6.5), color=INK, va="center", zorder=6)
        axes.plot(*middle[k], "o", ms=3.5, color=GOAL, mec=INK, mew=0.5, zorder=7)
