"""Push a vessel so that its water gathers on one side: `diffsim train sph`."""

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

    from diffsim.kernels.sph import SPH, SPHConfig
    from diffsim.rollout import Rollout
    from diffsim.view import Film

__all__ = ["SPHTask"]

_FRAMES = 50
_SHADES = 20  # colours of the water: few, as an animation has room for 256 in all
_WIDTH, _HEIGHT, _DEPTH = 1.0, 0.5, 0.2  # [m] of the vessel, and of the water
_PLAYBACK = 3.0  # how many times slower than life


class SPHTask(Task):
    """Push a vessel about so that its water ends on one side; the cost is mostly the distance from there.

    Optimised is the acceleration of the vessel in each step. It begins at rest.

    Args:
        config: The options.
        data: Unused.
    """

    name = "sph"
    summary = "a vessel is pushed so that its water gathers on one side"
    steps = 1500
    iterations = 12
    check_steps = 8
    # A launch costs little beside many particles, and Taichi compiles kernels one by one in seconds.
    taichi_options: ClassVar[Mapping[str, Any]] = {"mode": "step"}
    smoke: ClassVar[Mapping[str, Any]] = {"steps": 8, "iterations": 2, "spacing": 0.05}
    optimizer: ClassVar[Mapping[str, Any]] = {"name": "adam", "lr": 0.4}
    cost_label = "cost: distance of the water's middle from its target, squared [widths²]"

    @dataclass(frozen=True)
    class Config(Options):
        """The options of the task."""

        spacing: float = option(0.025, "spacing of the particles [m]", above=0.0)
        target: float = option(0.6, "wanted middle of the water, as a share of the width")

    def title(self) -> str:
        return "a pushed vessel gathers its water"

    def constants(self) -> SPHConfig:
        """Make the simulator's configuration: finer water takes shorter steps."""
        from diffsim.kernels.sph import SPHConfig

        return SPHConfig(
            dt=0.024 * self.config.spacing,
            width=_WIDTH,
            height=_HEIGHT,
            spacing=self.config.spacing,
            viscosity=5e-3,
            target=self.config.target,
            effort=1e-6,
        )

    def build(self) -> SPH:
        from diffsim.kernels.sph import SPH, block

        constants = self.constants()
        return SPH(constants, block(constants, _WIDTH, _DEPTH))

    def wrt(self, simulator: Any) -> list[Any]:
        return [simulator.push]

    def record(self, rollout: Rollout) -> dict[str, NDArray[Any]]:
        sim: Any = rollout.sim
        every = max(1, round(rollout.steps / _FRAMES))
        found = rollout.trajectories({"x": sim.x, "v": sim.v}, every=every)
        if rollout.worlds > 1:  # they share the control and differ in nothing
            found = {key: array[:, 0] for key, array in found.items()}
        push = sim.push.numpy()
        last = np.asarray(rollout.final(sim.x)).reshape(-1, sim.n, 2)[0]
        return {
            "x": found["x"].astype(np.float32),
            "speed": np.linalg.norm(found["v"], axis=-1).astype(np.float32),
            "push": push[np.minimum(every * np.arange(len(found["x"])), len(push) - 1)],
            "middle": np.append(found["x"][..., 0].mean(axis=1), last[:, 0].mean()),
            "times": every * sim.config.dt * np.arange(len(found["x"])),
        }

    def metrics(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, float]:
        off = abs(float(arrays["middle"][-1]) / _WIDTH - self.config.target)
        return {"distance from the target [% of the width]": 100.0 * off}

    def films(self, recordings: Sequence[Recording]) -> list[Film]:
        spacing, target = self.config.spacing, self.config.target
        return water_films(
            recordings, lambda a, top: _Vessel(a, spacing, target, top), _PLAYBACK, _HEIGHT / _WIDTH
        )


class _Vessel:
    """The pictures of one recording.

    Args:
        arrays: What `SPHTask.record` returned.
        spacing: Of the particles [m].
        target: The wanted middle, as a share of the width.
        top: The speed that has the darkest colour [m/s].
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]], spacing: float, target: float, top: float) -> None:
        self.arrays, self.spacing, self.target, self.top = arrays, spacing, target, top

    def draw(self, axes: Axes, k: int) -> None:
        """Draw frame `k`."""
        from matplotlib.colors import LinearSegmentedColormap

        from diffsim.view import color_bar
        from diffsim.view.style import GOAL, INK, QUIET

        axes.set(xlim=(0.0, _WIDTH), ylim=(0.0, _HEIGHT), aspect="equal", xlabel="x [m]", ylabel="y [m]")
        points = axes.get_window_extent().width / axes.figure.dpi * 72.0 / _WIDTH  # to the metre
        blues = LinearSegmentedColormap.from_list("water", ["#bcdcf0", "#74b3dd", "#12548f"], _SHADES)
        water = axes.scatter(
            *self.arrays["x"][k].T, s=(0.9 * points * self.spacing) ** 2, c=self.arrays["speed"][k],
            cmap=blues, vmin=0.0, vmax=self.top, lw=0.0, zorder=2,
        )  # fmt: skip
        axes.axvline(self.target * _WIDTH, color=GOAL, lw=1.2, ls=(0, (4, 3)), zorder=1)
        axes.plot(float(self.arrays["middle"][k]), 0.02, "^", ms=6, color=GOAL, mec=INK, mew=0.5, zorder=4)
        pad = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}
        push = float(self.arrays["push"][k][0])
        if abs(push) > 0.05:
            arrow = {"arrowstyle": "-|>", "color": QUIET, "lw": 2.0, "shrinkA": 0, "shrinkB": 0}
            axes.annotate("", (0.5 + 0.04 * push, 0.4), (0.5, 0.4), arrowprops=arrow, zorder=3)
        text = f"acceleration of the vessel {push:+.1f} m/s²".replace("-", "−")
        axes.text(0.02, 0.48, text, fontsize=word_size(axes, 6.5), color=QUIET, va="top", zorder=5, bbox=pad)
        axes.text(
            self.target + 0.015, 0.35, "goal", fontsize=word_size(axes, 6.5), color=GOAL, va="top", zorder=5
        )
        axes.text(
            0.02, 0.35, "▲ middle of the water", fontsize=word_size(axes, 6.5), color=GOAL, va="top", zorder=5
        )
        color_bar(axes, water, "water's speed [m/s]", extend="max")
