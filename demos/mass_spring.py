"""Teach a planar mass-spring robot to walk: `diffsim train mass_spring --robot 1`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from diffsim.tasks import Options, Recording, Task, option

if TYPE_CHECKING:
    from diffsim.kernels.mass_spring import MassSpring, Robot
    from diffsim.rollout import Rollout

__all__ = ["MassSpringTask", "RobotTask"]

_FRAMES = 86  # frames of a picture, about: every 8th of 682 steps, 30 a second


class RobotTask(Task):
    """Base of tasks about a planar mass-spring robot that its option `robot` names.

    Optimised are the controller's weights, by gradient descent with steps of length `lr` along the gradient.

    Args:
        config: The options, `robot` among them.
        data: The robot, as `data()` gives it.

    Raises:
        ConfigError: The robot can't be loaded.
    """

    steps = 682
    iterations = 100
    smoke: ClassVar[Mapping[str, Any]] = {"steps": 40, "iterations": 2, "robot": "0", "hidden": 8}
    optimizer: ClassVar[Mapping[str, Any]] = {"name": "sgd", "lr": 0.06, "momentum": 0.8, "normalize": True}

    def __init__(self, config: Options | None = None, data: Mapping[str, Any] | None = None) -> None:
        from diffsim.kernels.mass_spring.robots import load_robot

        super().__init__(config, data)
        self.robot: Robot = load_robot(self.config.robot) if data is None else _from_plain(data)

    def data(self) -> dict[str, Any]:
        return _to_plain(self.robot)

    @property
    def called(self) -> str:
        """Name the robot: a shipped one by its number, another by its file."""
        from diffsim.kernels.mass_spring.robots import robot_number

        number = robot_number(self.config.robot)
        return f"robot {self.robot.name if number is None else number}"

    def wrt(self, simulator: Any) -> list[Any]:
        return [simulator.policy]


class MassSpringTask(RobotTask):
    """A planar mass-spring robot learns to walk; the cost is minus the head's x [m] at the last step.

    Args:
        config: The options.
        data: The robot, as `data()` gives it.

    Raises:
        ConfigError: The robot can't be loaded.

    Reference: Hu et al., DiffTaichi, ICLR 2020.
    """

    name = "mass_spring"
    summary = "a planar robot of springs and muscles learns to walk"
    cost_label = "cost: −x of the head at the end [m]"

    @dataclass(frozen=True)
    class Config(Options):
        """The options of the task."""

        robot: str = option("1", "robot: a number from 0 to 4, or the path of a TOML file")
        time_of_impact: bool = option(True, "differentiate the moment at which a point hits the ground")
        hidden: int = option(32, "width of the controller's hidden layer", minimum=1, maximum=1 << 16)

    def title(self) -> str:
        return self.called

    def build(self) -> MassSpring:
        from diffsim.kernels.mass_spring import MassSpring, MassSpringConfig

        config = MassSpringConfig(time_of_impact=self.config.time_of_impact, hidden=self.config.hidden)
        return MassSpring(self.robot, config)

    def record(self, rollout: Rollout) -> dict[str, NDArray[Any]]:
        sim: Any = rollout.sim
        found = rollout.trajectories({"x": sim.x, "actuation": sim.actuation}, every=1)
        if rollout.worlds > 1:  # worlds share the controller and differ in nothing: one of them is drawn
            found = {key: array[:, 0] for key, array in found.items()}
        every = max(1, round(rollout.steps / _FRAMES))
        shown = {key: array[::every] for key, array in found.items()}
        times = every * sim.dt * np.arange(len(shown["x"]))
        return {**shown, "times": times, "head": found["x"][[0, -1], self.robot.head]}

    def metrics(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, float]:
        first, last = arrays["head"][:, 0]
        return {"way of the head to the right [m]": float(last - first)}

    def animate(self, recordings: Sequence[Recording]) -> None:
        from diffsim.kernels.mass_spring import MassSpringConfig
        from diffsim.view import robot_gif, robot_limits

        constants = MassSpringConfig()
        everywhere = np.concatenate([recording.arrays["x"] for recording in recordings])
        limits = robot_limits(everywhere, ground=constants.ground)
        for recording in recordings:
            robot_gif(
                recording.path,
                recording.arrays["x"],
                self.robot.springs,
                recording.arrays["actuation"],
                head=self.robot.head,
                ground=constants.ground,
                times=recording.arrays["times"],
                title=f"{self.title()}, {recording.caption}",
                active=self.robot.actuation > 0,
                limits=limits,
                way=True,
                progress=recording.progress,
            )

    def compare(self, recordings: Sequence[Recording], path: Path) -> None:
        from diffsim.kernels.mass_spring import MassSpringConfig
        from diffsim.view import robot_png

        constants = MassSpringConfig()
        robot_png(
            path,
            {recording.caption: recording.arrays["x"] for recording in recordings},
            self.robot.springs,
            {recording.caption: recording.arrays["actuation"] for recording in recordings},
            head=self.robot.head,
            ground=constants.ground,
            times=recordings[0].arrays["times"],
            title=self.title(),
            active=self.robot.actuation > 0,
            way=True,
        )


def _to_plain(robot: Robot) -> dict[str, Any]:
    """Write a robot as TOML can hold it."""
    columns = zip(robot.springs, robot.rest_length, robot.stiffness, robot.actuation, strict=True)
    springs = [[int(a), int(b), float(rest), float(k), float(act)] for (a, b), rest, k, act in columns]
    return {
        "robot": {"name": robot.name, "head": robot.head, "points": robot.points.tolist(), "springs": springs}
    }


def _from_plain(data: Mapping[str, Any]) -> Robot:
    """Read what `_to_plain` wrote.

    Raises:
        ConfigError: A part is missing or has another form, or the robot breaks a rule.
    """
    from diffsim.errors import ConfigError
    from diffsim.kernels.mass_spring.robots import Robot

    try:
        table = data["robot"]
        rows = np.array(table["springs"], dtype=np.float64)
        points = np.array(table["points"], dtype=np.float64)
        name, head, ends = str(table["name"]), table["head"], rows[:, :2].astype(np.int32)
        rest, stiffness, actuation = rows[:, 2], rows[:, 3], rows[:, 4]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ConfigError(f"data.robot must be a whole robot, got {error!r}; restore config.toml") from None
    return Robot(name, points, ends, rest, stiffness, actuation, head)
