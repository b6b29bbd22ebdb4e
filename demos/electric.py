"""Teach electrodes to lead a charge after a moving target: `diffsim train electric`."""

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

    from diffsim.kernels.electric import Electric, ElectricConfig
    from diffsim.rollout import Rollout
    from diffsim.view import Film

__all__ = ["ElectricTask"]

_FRAMES = 50
_TRAIL = 15  # frames that a trail goes back
_MARGIN = 0.09  # [m] shown around the arena
_STRIP = 0.08  # [m] below it, for the key
_LOOK = 48  # points along an axis at which the potential is drawn
_BANDS = 17  # colours of charge and potential: few, as an animation has room for 256 in all
_ASPECT = (1.0 + 2.0 * _MARGIN + _STRIP) / (1.0 + 2.0 * _MARGIN)
_STARTS = 0.2  # [m] from the middle that a charge starts at most, along each axis


class ElectricTask(Task):
    """Eight electrodes at the border of an arena learn to lead a charge after a moving target.

    Optimised are the weights of the network that sets the electrodes' charges, for several random paths at
    once, one in each world. With two worlds or more, the last one does not count: its path is not trained on,
    and it is the one that is drawn.

    Args:
        config: The options.
        data: Unused.
    """

    name = "electric"
    summary = "electrodes lead a charge after a moving target"
    steps = 600
    iterations = 200
    check_steps = 32
    run_options: ClassVar[Mapping[str, Any]] = {"worlds": 8}
    smoke: ClassVar[Mapping[str, Any]] = {"steps": 12, "iterations": 2, "hidden": 4}
    optimizer: ClassVar[Mapping[str, Any]] = {"name": "adam", "lr": 1e-2}
    cost_label = "cost: squared distance over time [m² s]"

    @dataclass(frozen=True)
    class Config(Options):
        """The options of the task."""

        hidden: int = option(32, "width of the controller's hidden layer", minimum=1)
        fastest: float = option(3.5, "largest angular frequency of the target's path [rad/s]", above=0.0)
        paths: int = option(0, "seed of the target's paths and of the charge's starts", minimum=0)

    def title(self) -> str:
        return "electrodes lead a charge"

    def build(self) -> Electric:
        from diffsim.kernels.electric import Electric, ElectricConfig

        return Electric(ElectricConfig(hidden=self.config.hidden))

    def prepare(self, rollout: Rollout) -> None:
        from diffsim.kernels.electric import draw_paths

        sim: Any = rollout.sim
        worlds = rollout.worlds
        sim.set_paths(draw_paths(self.config.paths, worlds, fastest=self.config.fastest))
        rng = np.random.default_rng([self.config.paths, worlds])
        sim.x.set(0.5 * sim.config.side + rng.uniform(-_STARTS, _STARTS, (worlds, 1, 2)))
        weight = np.full(worlds, 1.0 / max(1, worlds - 1))
        if worlds > 1:
            weight[-1] = 0.0
        sim.weight.set(weight)

    def wrt(self, simulator: Any) -> list[Any]:
        return [simulator.policy]

    def world(self, rollout: Rollout) -> int:
        return rollout.worlds - 1  # the one that is not trained on

    def record(self, rollout: Rollout) -> dict[str, NDArray[Any]]:
        sim: Any = rollout.sim
        fields = {"x": sim.x, "goal": sim.goal, "electrode": sim.electrode, "force": sim.force}
        found = rollout.trajectories(fields, every=1)
        if rollout.worlds == 1:
            found = {key: array[:, None] for key, array in found.items()}
        x, goal = found["x"][: rollout.steps, :, 0], found["goal"][:, :, 0]
        every = max(1, round(rollout.steps / _FRAMES))
        return {
            "distance": np.linalg.norm(x - goal, axis=-1).mean(axis=0) / sim.config.side,
            "x": x[:, -1],
            "goal": goal[:, -1],
            "electrode": found["electrode"][::every, -1],
            "force": found["force"][::every, -1, 0],
            "places": sim.electrodes.numpy(),
            "frames": np.arange(0, len(x), every),
            "times": every * sim.config.dt * np.arange(len(x[::every])),
        }

    def metrics(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, float]:
        percent = 100.0 * arrays["distance"]
        if len(percent) == 1:
            return {"mean distance [% of the arena]": float(percent[0])}
        return {
            "mean distance, paths trained on [% of the arena]": float(percent[:-1].mean()),
            "mean distance, path never seen [% of the arena]": float(percent[-1]),
        }

    def films(self, recordings: Sequence[Recording]) -> list[Film]:
        from diffsim.kernels.electric import ElectricConfig
        from diffsim.view import Film, time_labels

        forces = np.concatenate([recording.arrays["force"] for recording in recordings])
        strong = max(float(np.percentile(np.linalg.norm(forces, axis=1), 90)), 1e-9)
        films = []
        for recording in recordings:
            scene = _Arena(recording.arrays, ElectricConfig(), strong)
            pause = float(np.diff(recording.arrays["times"][:2]).sum()) or 0.1
            times = time_labels(recording.arrays["times"])
            films.append(Film(scene.draw, times, fps=1.0 / pause, aspect=_ASPECT, bar=True))
        return films


class _Arena:
    """The pictures of one recording.

    Args:
        arrays: What `ElectricTask.record` returned.
        config: The constants of the simulator.
        strong: The force that is drawn as an arrow of a fifth of the side [N].
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]], config: ElectricConfig, strong: float) -> None:
        self.arrays, self.side, self.limit = arrays, config.side, config.electrode_limit
        self.arrow = 0.2 * config.side / strong  # [m/N]
        side, softening = config.side, config.softening
        self.low, self.high = -_MARGIN * side, (1.0 + _MARGIN) * side
        self.line = np.linspace(self.low, self.high, _LOOK)
        points = np.stack(np.meshgrid(self.line, self.line), axis=-1)[:, :, None]
        self.reach = 1.0 / np.sqrt(((points - arrays["places"]) ** 2).sum(axis=-1) + softening**2)

    def draw(self, axes: Axes, k: int) -> None:
        """Draw frame `k`."""
        from matplotlib.patches import Rectangle

        from diffsim.view import color_bar
        from diffsim.view.style import INK

        colors = self._potential(axes, k)
        axes.add_patch(Rectangle((0.0, 0.0), self.side, self.side, fill=False, ec=INK, lw=1.2, zorder=2))
        self._electrodes(axes, k, colors)
        self._movers(axes, k)
        self._key(axes)
        axes.set(xlim=(self.low, self.high), ylim=(self.low - _STRIP * self.side, self.high), aspect="equal")
        axes.set(xlabel="x [m]", ylabel="y [m]", xticks=np.linspace(0, self.side, 5))
        axes.set_yticks(np.linspace(0, self.side, 5))
        color_bar(axes, colors, "charge [µC] (pale: potential)")

    def _potential(self, axes: Axes, k: int) -> Any:
        """Shade the arena by the electrodes' potential; return what explains the electrodes' colours."""
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import Normalize

        from diffsim.view.style import muscle_colors

        potential = self.reach @ self.arrays["electrode"][k]
        # Of a full electrode at a sixth of the side: nearer to it the colour is full.
        bound = 6.0 * self.limit / self.side
        colors = muscle_colors().resampled(_BANDS)
        pale = muscle_colors()(np.linspace(0.2, 0.8, _BANDS))
        levels = np.linspace(-1.0, 1.0, _BANDS + 1)
        axes.contourf(self.line, self.line, np.tanh(potential / bound), levels, colors=pale, zorder=0)
        return ScalarMappable(Normalize(-self.limit, self.limit), colors)

    def _electrodes(self, axes: Axes, k: int, colors: Any) -> None:
        """Draw the electrodes in the colour of their charge, with its sign."""
        from diffsim.view.style import INK

        for place, amount in zip(self.arrays["places"], self.arrays["electrode"][k], strict=True):
            color = colors.to_rgba(amount)
            axes.plot(*place, "o", ms=13, color=color, mec=INK, mew=1.0, zorder=3, clip_on=False)
            if abs(amount) > 0.1 * self.limit:
                sign = "+" if amount > 0.0 else "−"
                ink = "white" if np.dot(color[:3], (0.3, 0.6, 0.1)) < 0.45 else INK
                axes.text(*place, sign, ha="center", va="center", fontsize=9, color=ink, zorder=4)

    def _movers(self, axes: Axes, k: int) -> None:
        """Draw the target, the charge, where both have been, and the force on the charge."""
        from diffsim.view.style import GOAL, HEAD, INK

        x, goal, force = self.arrays["x"], self.arrays["goal"], self.arrays["force"]
        now, since = (int(self.arrays["frames"][frame]) for frame in (k, max(0, k - _TRAIL)))
        axes.plot(*goal[since : now + 1].T, color=GOAL, lw=1.4, zorder=4)
        axes.plot(*x[since : now + 1].T, color=HEAD, lw=1.8, zorder=4)
        axes.plot(*goal[now], "o", ms=15, mfc="none", mec=GOAL, mew=2.2, zorder=5)
        axes.plot(*x[now], "o", ms=8, color=HEAD, mec=INK, mew=0.8, zorder=7)
        tip = x[now] + self.arrow * force[k]
        if np.linalg.norm(tip - x[now]) < 0.03 * self.side:  # its head would hide the charge
            return
        arrow = {"arrowstyle": "-|>", "color": INK, "lw": 1.3, "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", tip, x[now], arrowprops=arrow, zorder=6, annotation_clip=False)

    def _key(self, axes: Axes) -> None:
        """Tell what is what in the strip below the arena."""
        from diffsim.view.style import GOAL, HEAD, INK

        axes.plot([], [], "o", ms=8, mfc="none", mec=GOAL, mew=1.8, label="target")
        axes.plot([], [], "o", ms=6, color=HEAD, mec=INK, mew=0.8, label="charge")
        axes.plot([], [], color=INK, lw=1.3, marker=">", ms=4, markevery=[-1], label="force")
        axes.legend(
            loc="lower center",
            ncols=3,
            fontsize=word_size(axes),
            frameon=False,
            handlelength=1.2,
            columnspacing=1.2,
            borderaxespad=0.2,
        )
