"""Teach one controller to run to either side, as its goal says: `diffsim train mass_spring_goals`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from diffsim.demos.mass_spring import RobotTask
from diffsim.tasks import Options, Recording, option
from diffsim.view.style import word_size

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from diffsim.kernels.mass_spring import GoalMassSpring, Robot
    from diffsim.rollout import Rollout
    from diffsim.view import Film

__all__ = ["MassSpringGoalsTask"]

_FRAMES = 60
_SPREAD = 0.3  # how far the worlds' goals are from the middle one, as a share
_HEIGHT = 0.2  # [m] of a goal, which the controller sees
_LANE = 0.3  # [m] from one lane's ground to the other's, in pictures
_SIDES = ("left", "right")


class MassSpringGoalsTask(RobotTask):
    """A planar mass-spring robot learns to run to its goal, which lies on the left or on the right.

    Optimised are the weights of one controller in several worlds at once, half of them with a goal on the
    left. The way to the goal is the only input by which it can tell them apart. The cost of a world is how
    far the robot's centroid is from the goal at the last step.

    Args:
        config: The options.
        data: The robot, as `data()` gives it.

    Raises:
        ConfigError: The robot can't be loaded.
    """

    name = "mass_spring_goals"
    summary = "one controller runs a robot of springs to the left or to the right, as its goal says"
    iterations = 400
    run_options: ClassVar[Mapping[str, Any]] = {"worlds": 4}
    smoke: ClassVar[Mapping[str, Any]] = {
        "steps": 24,
        "iterations": 2,
        "worlds": 2,
        "robot": "0",
        "hidden": 4,
    }
    cost_label = "cost: distances to the goals, summed [m]"

    @dataclass(frozen=True)
    class Config(Options):
        """The options of the task."""

        robot: str = option("1", "robot: a number from 0 to 4, or the path of a TOML file")
        distance: float = option(0.16, "distance of the goals from the start [m]", above=0.0)
        hidden: int = option(32, "width of the controller's hidden layer", minimum=1, maximum=1 << 16)

    def title(self) -> str:
        return f"{self.called}: one controller"

    def build(self) -> GoalMassSpring:
        from diffsim.kernels.mass_spring import GoalMassSpring, MassSpringConfig

        return GoalMassSpring(self.robot, MassSpringConfig(hidden=self.config.hidden))

    def prepare(self, rollout: Rollout) -> None:
        sim: Any = rollout.sim
        world = np.arange(rollout.worlds)
        pairs = (rollout.worlds + 1) // 2
        spread = np.linspace(1.0 - _SPREAD, 1.0 + _SPREAD, pairs) if pairs > 1 else np.ones(1)
        side = np.where(world % 2 == 0, -1.0, 1.0)
        x = self.robot.points[:, 0].mean() + side * self.config.distance * spread[world // 2]
        goals = np.stack([x, np.full(rollout.worlds, _HEIGHT)], axis=1)
        sim.goal.set(goals if rollout.worlds > 1 else goals[0])

    def record(self, rollout: Rollout) -> dict[str, NDArray[Any]]:
        sim: Any = rollout.sim
        found = rollout.trajectories({"x": sim.x, "actuation": sim.actuation}, every=1)
        if rollout.worlds == 1:
            found = {key: array[:, None] for key, array in found.items()}
        every = max(1, round(rollout.steps / _FRAMES))
        drawn = {key: array[::every, :2] for key, array in found.items()}
        return {
            **drawn,
            "times": every * sim.dt * np.arange(len(drawn["x"])),
            "goal": np.reshape(sim.goal.numpy(), (-1, 2)),
            "ends": found["x"][[0, -1], ..., 0].mean(axis=-1),
        }

    def metrics(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, float]:
        start, end = arrays["ends"]
        side = np.sign(arrays["goal"][:, 0] - start)
        way = side * (end - start)
        named = zip(_SIDES, (-1.0, 1.0), strict=True)
        found = {f"way to a goal on the {name} [m]": way[side == s] for name, s in named}
        return {key: float(ways.mean()) for key, ways in found.items() if len(ways)}

    def films(self, recordings: Sequence[Recording]) -> list[Film]:
        from diffsim.view import Film

        films = []
        for recording in recordings:
            scene = _Lanes(recording.arrays, self.robot)
            times = recording.arrays["times"]
            fps = (len(times) - 1) / max(float(times[-1]), 1e-9) if len(times) > 1 else 10.0
            labels = [f"t = {time:.2f} s" for time in times]
            films.append(Film(scene.draw, labels, fps=fps, aspect=scene.aspect, bar=True))
        return films


class _Lanes:
    """The pictures of one recording: a lane for each of two worlds, one above the other.

    Args:
        arrays: What `MassSpringGoalsTask.record` returned.
        robot: The robot.
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]], robot: Robot) -> None:
        from diffsim.kernels.mass_spring import MassSpringConfig
        from diffsim.view.motion import check_motion

        self.ground, self.goal = MassSpringConfig().ground, arrays["goal"]
        lanes = arrays["x"].shape[1]
        self.lift = [_LANE * (lanes - 1 - world) for world in range(lanes)]
        self.start = float(arrays["ends"][0, 0])
        self.way = [arrays["x"][:, world, :, 0].mean(axis=1) - self.start for world in range(lanes)]
        self.motions = [
            check_motion(
                arrays["x"][:, world] + np.array([0.0, self.lift[world]]),
                robot.springs,
                arrays["actuation"][:, world],
                robot.head,
                arrays["times"],
                robot.actuation > 0,
            )
            for world in range(lanes)
        ]
        wide = np.abs(self.goal[:lanes, 0] - self.start).max() + 0.14
        self.limits = (
            self.start - wide,
            self.start + wide,
            self.ground - 0.06,
            self.ground + lanes * _LANE - 0.06,
        )
        self.aspect = (self.limits[3] - self.limits[2]) / (2.0 * wide)

    def draw(self, axes: Axes, k: int) -> None:
        """Draw frame `k`."""
        from diffsim.view import color_bar

        for world in range(len(self.motions)):
            self._lane(axes, world, k)
            springs = self._robot(axes, world, k)
        axes.axvline(self.start, color="#7b8794", lw=0.9, ls=(0, (2, 3)), zorder=1)
        axes.set(xlim=self.limits[:2], ylim=self.limits[2:], aspect="equal", yticks=[])
        axes.set(xlabel="x [m]", ylabel="one lane for each goal")
        color_bar(axes, springs, "muscle: −1 shortest, +1 longest")

    def _lane(self, axes: Axes, world: int, k: int) -> None:
        """Draw the ground, the goal, the start, and how far the robot has come."""
        from diffsim.view.style import EARTH, GOAL, HEAD, INK

        lift = self.lift[world]
        floor, goal = self.ground + lift, self.goal[world]
        axes.axhspan(floor - 0.06, floor, color=EARTH, lw=0, zorder=0)
        axes.axhline(floor, color="#8d7f6a", lw=1.4, zorder=1)
        axes.plot(goal[0], goal[1] + lift, "*", ms=15, color=GOAL, mec="white", mew=0.8, zorder=2)
        axes.annotate(
            "goal", (goal[0], goal[1] + lift), (0, 9), textcoords="offset points",
            color=GOAL, fontsize=8, ha="center", va="bottom",
        )  # fmt: skip
        side = float(np.sign(goal[0] - self.start))
        way = self.way[world][k]
        y = floor - 0.03
        axes.plot([self.start, self.start + way], [y, y], color=HEAD, lw=3.5, solid_capstyle="butt", zorder=2)
        text = f"{round(100.0 * side * way)} cm to the {_SIDES[int(side > 0)]}".replace("-", "−")
        behind = max(0.0, -side * way) + 0.008  # [m] a robot that goes the wrong way draws its bar there
        at = {
            "ha": "left" if side < 0 else "right",
            "va": "center",
            "fontsize": word_size(axes),
            "color": INK,
            "zorder": 3,
        }
        axes.text(self.start - side * behind, y, text, **at)

    def _robot(self, axes: Axes, world: int, k: int) -> Any:
        """Draw the robot, and a shadow of how it began; return what explains its colours."""
        from diffsim.view.stage import add_springs, set_springs
        from diffsim.view.style import INK

        motion = self.motions[world]
        inches = axes.get_position().width * axes.figure.get_figwidth()
        thick = float(np.clip(1.6 * inches / 5.0, 1.0, 2.0))
        if k:
            shadow = add_springs(axes, motion, thick)
            set_springs(shadow, motion, 0)
            for layer in shadow:
                layer.set_alpha(0.16)
        layers = add_springs(axes, motion, thick)
        set_springs(layers, motion, k)
        axes.plot(*motion.positions[k].T, "o", ms=1.3 * thick, color=INK, ls="", zorder=6)
        return layers[2]
