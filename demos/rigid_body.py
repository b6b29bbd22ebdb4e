"""Teach a robot of rigid boxes to walk: `diffsim train rigid_body --robot 1`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from diffsim.tasks import Options, Recording, Task, option

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from diffsim.kernels.rigid_body import Assembly, RigidBody
    from diffsim.rollout import Rollout
    from diffsim.view import Film

__all__ = ["RigidBodyTask"]

_FRAMES = 51


class RigidBodyTask(Task):
    """A robot of rigid boxes, joints and muscles learns to walk; the cost is minus the way of its body [m].

    Optimised are the controller's weights, by gradient descent with steps of length `lr` along the gradient.

    Reference: the task of Hu et al., DiffTaichi, ICLR 2020.
    """

    name = "rigid_body"
    summary = "a robot of rigid boxes, joints and muscles learns to walk on its corners"
    steps = 2048
    iterations = 20
    check_steps = 32
    smoke: ClassVar[Mapping[str, Any]] = {"steps": 20, "iterations": 2, "hidden": 4}
    optimizer: ClassVar[Mapping[str, Any]] = {"name": "sgd", "lr": 0.05, "momentum": 0.8, "normalize": True}
    cost_label = "cost: −way of the body [m]"

    @dataclass(frozen=True)
    class Config(Options):
        """The options of the task."""

        robot: str = option("0", "robot: 0 (strider) or 1 (hound, with knees)")
        time_of_impact: bool = option(True, "differentiate the moments at which corners hit the ground")
        hidden: int = option(32, "width of the controller's hidden layer", minimum=1)

    def __init__(self, config: Options | None = None, data: Mapping[str, Any] | None = None) -> None:
        from diffsim.kernels.rigid_body import load_robot

        super().__init__(config, data)
        self.robot: Assembly = load_robot(self.config.robot)

    def title(self) -> str:
        from diffsim.kernels.rigid_body import robots

        number = robots().index(self.robot.name)
        return f"robot {number} ({self.robot.name}) of {len(self.robot.boxes)} rigid boxes"

    def build(self) -> RigidBody:
        from diffsim.kernels.rigid_body import RigidBody, RigidBodyConfig

        config = RigidBodyConfig(time_of_impact=self.config.time_of_impact, hidden=self.config.hidden)
        return RigidBody(self.robot, config)

    def wrt(self, simulator: Any) -> list[Any]:
        return [simulator.policy]

    def record(self, rollout: Rollout) -> dict[str, NDArray[Any]]:
        sim: Any = rollout.sim
        every = max(1, round(rollout.steps / _FRAMES / 10) * 10)
        fields = {"x": sim.x, "angle": sim.angle, "actuation": sim.actuation}
        found = rollout.trajectories(fields, every=every)
        if rollout.worlds > 1:  # worlds share the controller and differ in nothing: one of them is drawn
            found = {key: array[:, 0] for key, array in found.items()}
        times = every * sim.dt * np.arange(len(found["x"]))
        end = rollout.trajectory(sim.x, every=rollout.steps)[-1]
        way = end.reshape(-1, sim.n_boxes, 2)[0, 0, 0] - sim.start
        return {**found, "times": times, "way": np.array(way)}

    def metrics(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, float]:
        return {"way of the body [m]": float(arrays["way"])}

    def films(self, recordings: Sequence[Recording]) -> list[Film]:
        from diffsim.view import Film, time_labels

        everywhere = np.concatenate([recording.arrays["x"].reshape(-1, 2) for recording in recordings])
        reach = max(float(np.hypot(*box.half)) for box in self.robot.boxes)
        left, right = everywhere[:, 0].min() - reach - 0.04, everywhere[:, 0].max() + reach + 0.04
        right = max(right, left + 0.9)
        limits = (left, right, -0.08, max(float(everywhere[:, 1].max()) + 0.1, 0.3))
        films = []
        for recording in recordings:
            scene = _Scene(recording.arrays, self.robot, limits)
            labels = time_labels(recording.arrays["times"])
            aspect = (limits[3] - limits[2]) / (right - left)
            films.append(Film(scene.draw, labels, fps=16.0, aspect=aspect, bar=True))
        return films


class _Scene:
    """The pictures of one recording.

    Args:
        arrays: What `RigidBodyTask.record` returned.
        robot: What was simulated.
        limits: Left, right, bottom and top of the picture [m].
    """

    def __init__(
        self,
        arrays: Mapping[str, NDArray[Any]],
        robot: Assembly,
        limits: tuple[float, float, float, float],
    ) -> None:
        self.arrays, self.robot, self.limits = arrays, robot, limits
        self.joints = [k for k, spring in enumerate(robot.springs) if spring.rest == 0.0]
        self.muscles = [k for k, spring in enumerate(robot.springs) if spring.actuation > 0.0]

    def draw(self, axes: Axes, k: int) -> None:
        """Draw frame `k`."""
        self._ground(axes)
        self._way(axes, k)
        self._robot(axes, k)
        left, right, bottom, top = self.limits
        axes.set(xlim=(left, right), ylim=(bottom, top), aspect="equal")
        axes.set(
            xlabel="x [m]", ylabel="height [m]", yticks=[0.0, 0.1, 0.2, 0.3] if top < 0.5 else [0.0, 0.5]
        )

    def _ground(self, axes: Axes) -> None:
        """Draw the ground with a mark each 5 cm, against which the feet are seen to move."""
        from matplotlib.patches import Rectangle

        from diffsim.view.style import EARTH, QUIET

        left, right, bottom, _ = self.limits
        axes.add_patch(Rectangle((left, bottom), right - left, -bottom, fc=EARTH, ec="none", zorder=0))
        axes.plot([left, right], [0.0, 0.0], color=QUIET, lw=1.2, zorder=1)
        marks = np.arange(np.ceil(left / 0.05), np.floor(right / 0.05) + 1) * 0.05
        axes.vlines(marks, -0.012, 0.0, color=QUIET, lw=0.8, zorder=1)

    def _way(self, axes: Axes, k: int) -> None:
        """Draw where the body started, where it has been and how far it has come."""
        from diffsim.view.style import GOAL, INK, QUIET

        path = self.arrays["x"][: k + 1, 0]
        start, now = path[0, 0], path[-1, 0]
        axes.vlines(start, -0.06, path[0, 1], color=QUIET, lw=1.0, ls=":", zorder=1)
        axes.plot(path[:, 0], path[:, 1], color=GOAL, lw=1.4, zorder=6)
        arrow = {"arrowstyle": "-|>", "color": GOAL, "lw": 1.8, "shrinkA": 0, "shrinkB": 0}
        if abs(now - start) > 0.05:
            axes.annotate("", (now, -0.04), (start, -0.04), arrowprops=arrow, zorder=3)
        behind = "right" if now >= start else "left"
        aside = -0.02 if now >= start else 0.02
        text = f"{now - start:+.2f} m".replace("-", "−")
        axes.text(start + aside, -0.042, text, color=INK, fontsize=8, ha=behind, va="center", zorder=3)

    def _robot(self, axes: Axes, k: int) -> None:
        """Draw boxes, joints, and muscles in the colour of their command."""
        from matplotlib.collections import LineCollection
        from matplotlib.colors import Normalize
        from matplotlib.patches import Polygon

        from diffsim.view import color_bar
        from diffsim.view.style import BONE, HEAD, INK, muscle_colors

        for i, box in enumerate(self.robot.boxes):
            signs = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])
            corners = [self._point(k, i, tuple(sign * box.half)) for sign in signs]
            face = HEAD if i == 0 else BONE
            axes.add_patch(Polygon(corners, fc=face, ec=INK, lw=0.8, zorder=4, joinstyle="round"))
        # [points/m] Animations and stills are drawn at different scales.
        scale = 72.0 * axes.figure.get_figwidth() * axes.get_position().width
        scale /= self.limits[1] - self.limits[0]
        thick = 0.011 * scale
        ends = [self._ends(k, s) for s in self.muscles]
        rim = LineCollection(ends, colors=INK, linewidths=thick + 1.0, zorder=5, capstyle="round")
        axes.add_collection(rim, autolim=False)
        shades = Normalize(-1.0, 1.0)
        lines = LineCollection(ends, cmap=muscle_colors(), norm=shades, linewidths=thick, zorder=5)
        lines.set_array(self.arrays["actuation"][min(k, len(self.arrays["actuation"]) - 1), self.muscles])
        axes.add_collection(lines, autolim=False)
        pins = np.array([self._ends(k, s)[0] for s in self.joints])
        axes.plot(pins[:, 0], pins[:, 1], "o", ms=0.02 * scale, mfc="white", mec=INK, mew=0.8, zorder=7)
        color_bar(axes, lines, "muscle command")

    def _point(self, k: int, box: int, at: tuple[float, ...]) -> NDArray[np.float64]:
        """Return where a point of a box is in frame `k`."""
        angle = float(self.arrays["angle"][k, box])
        c, s = np.cos(angle), np.sin(angle)
        turned = np.array([c * at[0] - s * at[1], s * at[0] + c * at[1]])
        return np.asarray(self.arrays["x"][k, box] + turned)

    def _ends(self, k: int, spring: int) -> NDArray[np.float64]:
        """Return where the ends of a spring are in frame `k`, shape (2, 2)."""
        it = self.robot.springs[spring]
        return np.array([self._point(k, box, at) for box, at in zip(it.ends, it.anchors, strict=True)])
