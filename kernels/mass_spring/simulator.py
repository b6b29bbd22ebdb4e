"""A planar mass-spring robot that learns to walk: springs, muscles, ground contact, a neural controller.

Every kernel of a step is a perfect nest (one chain of loops, all arithmetic innermost, sums into fields by
`+=`): the form whose gradient Taichi always gets right and that fuses best.
"""

# No `from __future__ import annotations` here: Taichi reads kernel annotations as objects, not as text.
import math
import os
from dataclasses import dataclass

import numpy as np
import taichi as ti
from numpy.typing import NDArray

import diffsim as ds
from diffsim.kernels.common import Config
from diffsim.kernels.common.muscles import muscle_lines
from diffsim.kernels.mass_spring.robots import Robot, load_robot
from diffsim.options import option

__all__ = ["GoalMassSpring", "MassSpring", "MassSpringConfig"]

Array = NDArray[np.float64]

_TINY = 1e-20  # [m^2] under the root of a length: smooth at zero length, below rounding at any other
# [m/s] A point that falls slower than this is not taken to hit the ground: 1 / speed stays bounded.
_AT_REST = 1e-4


@dataclass(frozen=True)
class MassSpringConfig(Config):
    """The constants of the walking experiment.

    Args:
        dt: time step [s], positive.
        gravity: vertical acceleration [m/s^2]; negative points down.
        damping: rate at which velocities decay [1/s], not negative: by exp(-damping dt) in a step.
        ground: height of the ground [m].
        goal: the point that the controller is told to go to, (x, y) [m].
        time_of_impact: move a point that would pass the ground within the step onto it and let it rest there
            for what is left of the step. False: a point found below the ground loses its velocity, and the
            gradient does not see when it hit.
        hidden: width of the controller's hidden layer.
        gains: factors of the standard deviations of the two layers' first weights.
        sines: number of phase-shifted sine waves fed to the controller.
        omega: their angular frequency [rad/s].
        observation_scale: factor on the offsets [m] and velocities [m/s] that the controller sees.

    Raises:
        ConfigError: a value has the wrong type, is not finite, or is out of the range given above.

    Reference: Hu et al., DiffTaichi, ICLR 2020 (the values by default).
    """

    dt: float = option(4e-3, "time step [s]", above=0.0)
    gravity: float = option(-4.8, "vertical acceleration [m/s^2]; negative points down")
    damping: float = option(15.0, "rate at which velocities decay [1/s]", minimum=0.0)
    ground: float = option(0.1, "height of the ground [m]")
    goal: tuple[float, float] = option((0.9, 0.2), "where the controller is told to go, (x, y) [m]")
    time_of_impact: bool = option(True, "differentiate the moment of a hit")
    hidden: int = option(32, "width of the controller's hidden layer", minimum=1)
    gains: tuple[float, float] = option((2.0, 3.0), "factors of the layers' first weights")
    sines: int = option(10, "number of phase-shifted sine waves fed to the controller", minimum=1)
    omega: float = option(10.0, "their angular frequency [rad/s]")
    observation_scale: float = option(0.05, "factor on offsets [m] and velocities [m/s] that it sees")


class MassSpring(ds.Simulator):
    """A planar mass-spring robot under a tanh controller.

    One step of semi-implicit Euler, for points of mass 1 kg::

        v' = exp(-damping dt) v + dt gravity + sum over springs of dt stiffness (length - target) direction
        v+ = 0 where the point hits the ground on its way down, v' elsewhere
        x+ = x + flight v', where flight is the time until the hit, or dt if there is none

    with `target = rest_length (1 + actuation_limit a)` and `a` in [-1, 1] from the controller, which sees
    sine waves, every point's offset from the centroid and velocity, and the goal. The cost is minus the
    head's x [m] at the last step.

    Args:
        robot: a `Robot`, or what `load_robot` takes: a number, a name or a path.
        config: the constants of the experiment.

    Attributes:
        x: positions [m], `State(vec2, n)`.
        v: velocities [m/s], `State(vec2, n)`.
        stiffness: spring constants [N/m], `Param(real, m)`.
        policy: the controller; its weights are `policy.w0, policy.b0, policy.w1, policy.b1`.
        actuation: muscle commands in [-1, 1], `Scratch(real, m)`; of no effect on passive springs.
        observation: the controller's inputs, `Scratch(real, sines + 4 n + 2)`.

    Raises:
        ConfigError: the robot can't be loaded.

    Differentiability: with respect to weights, stiffness, and the first positions and velocities. Hitting the
    ground or not is a kink; with `time_of_impact` the moment of the hit is differentiated, without it is cut.
    A spring of zero length has a force of zero (its direction is undefined) and a large, finite gradient.

    Reference: Hu et al., DiffTaichi, ICLR 2020.
    """

    def __init__(
        self, robot: Robot | int | str | os.PathLike[str] = 1, config: MassSpringConfig | None = None
    ) -> None:
        """Declare the fields; nothing is allocated before a rollout."""
        self.robot = robot if isinstance(robot, Robot) else load_robot(robot)
        self.config = config or MassSpringConfig()
        self._constants()
        n, m = self.robot.n_points, self.robot.n_springs
        self.n_points, self.n_springs, self.head = n, m, self.robot.head
        self.x = ds.State(ds.vec2, n, init=self.robot.points, unit="m")
        self.v = ds.State(ds.vec2, n, unit="m/s")
        self.impulse = ds.Scratch(ds.vec2, n, unit="kg m/s")
        self.centroid = ds.Scratch(ds.vec2, 1, unit="m")
        self.observation = ds.Scratch(ds.real, self.n_sines + 4 * n + 2)
        self.actuation = ds.Scratch(ds.real, m)
        self.stiffness = ds.Param(self.robot.stiffness, unit="N/m")
        self.edges = ds.Constant(self.robot.springs)
        self.rest_length = ds.Constant(self.robot.rest_length, unit="m")
        self.actuation_limit = ds.Constant(self.robot.actuation)
        c = self.config
        self.clock = ds.control.Sinusoids(
            outputs=self.observation, count=c.sines, omega=c.omega, dt=c.dt, offset=0
        )
        self.policy = ds.control.MLP(
            inputs=self.observation, outputs=self.actuation, hidden=(c.hidden,), gains=c.gains
        )

    def _constants(self) -> None:
        """Turn the configuration into the plain numbers that the kernels read."""
        c = self.config
        self.dt, self.ground = c.dt, c.ground
        self.fall = c.dt * c.gravity  # [m/s] what gravity adds to a velocity in one step
        self.decay = math.exp(-c.damping * c.dt)
        self.goal_x, self.goal_y = c.goal
        self.scale = c.observation_scale
        self.n_sines = c.sines
        self.share = 1.0 / self.robot.n_points
        self.time_of_impact = c.time_of_impact
        self.tiny, self.at_rest = _TINY, _AT_REST

    @ti.kernel
    def locate(self, t: ti.i32):
        """Average the positions."""
        for i in range(self.n_points):
            self.centroid[t, 0] += self.share * self.x[t, i]

    @ti.kernel
    def observe(self, t: ti.i32):
        """Write offsets from the centroid and velocities, point by point, behind the sine waves."""
        for i in range(self.n_points):
            offset = self.x[t, i] - self.centroid[t, 0]
            speed = self.v[t, i]
            self.observation[t, self.n_sines + 4 * i] = self.scale * offset[0]
            self.observation[t, self.n_sines + 4 * i + 1] = self.scale * offset[1]
            self.observation[t, self.n_sines + 4 * i + 2] = self.scale * speed[0]
            self.observation[t, self.n_sines + 4 * i + 3] = self.scale * speed[1]

    @ti.kernel
    def aim(self, t: ti.i32):
        """Write the way to the goal as the last two inputs."""
        for _ in range(1):
            center = self.centroid[t, 0]
            self.observation[t, self.n_sines + 4 * self.n_points] = self.goal_x - center[0]
            self.observation[t, self.n_sines + 4 * self.n_points + 1] = self.goal_y - center[1]

    @ti.kernel
    def pull(self, t: ti.i32):
        """Add every spring's impulse [kg m/s] to its two points."""
        for s in range(self.n_springs):
            a = self.edges[s, 0]
            b = self.edges[s, 1]
            span = self.x[t, a] - self.x[t, b]
            length = ti.sqrt(span[0] * span[0] + span[1] * span[1] + self.tiny)
            target = self.rest_length[s] * (1.0 + self.actuation_limit[s] * self.actuation[t, s])
            push = self.dt * self.stiffness[s] * (length - target) / length * span
            self.impulse[t, a] -= push
            self.impulse[t, b] += push

    @ti.kernel
    def advance(self, t: ti.i32):
        """Move the points; one that meets the ground on its way down stays where it meets it."""
        for i in range(self.n_points):
            v = self.decay * self.v[t, i] + self.impulse[t, i] + ti.Vector([0.0, self.fall])
            height = self.x[t, i][1] - self.ground
            hits = (v[1] < -self.at_rest) & (height + self.dt * v[1] < 0.0)
            # The divisor is replaced where nothing hits, so that no infinity enters the gradient of the
            # branch not taken.
            flight = ti.select(hits, -height / ti.select(hits, v[1], -1.0), self.dt)
            self.v[t + 1, i] = ti.select(hits, 0.0, 1.0) * v
            self.x[t + 1, i] = self.x[t, i] + flight * v

    @ti.kernel
    def advance_naive(self, t: ti.i32):
        """Move the points; one found below the ground on its way down stops, whenever it hit."""
        for i in range(self.n_points):
            v = self.decay * self.v[t, i] + self.impulse[t, i] + ti.Vector([0.0, self.fall])
            height = self.x[t, i][1] - self.ground
            kept = ti.select((v[1] < 0.0) & (height < 0.0), 0.0, 1.0)
            self.v[t + 1, i] = kept * v
            self.x[t + 1, i] = self.x[t, i] + self.dt * kept * v

    @ti.kernel
    def head_position(self, t: ti.i32):
        """Subtract the head's x from the cost."""
        for _ in range(1):
            self.cost[None] += -self.x[t, self.head][0]

    def step(self, t: int) -> None:
        """Observe, decide, pull the springs, move."""
        self.clock(t)
        self.locate(t)
        self.observe(t)
        self.aim(t)
        self.policy(t)
        self.pull(t)
        if self.time_of_impact:
            self.advance(t)
        else:
            self.advance_naive(t)

    def terminal_cost(self, t: int) -> None:
        """Reward the head for being far to the right."""
        self.head_position(t)

    def scene(self) -> ds.Scene:
        """Describe bones, muscles coloured by their commands, the head and the ground."""
        muscles = np.flatnonzero(self.robot.actuation)
        bones = np.flatnonzero(self.robot.actuation == 0.0)

        def command(actuation: Array) -> Array:
            return actuation[..., muscles]

        commands = ds.scene.Derived(command, self.actuation)
        see, edges = ds.scene, self.robot.springs
        parts: list[ds.scene.Part] = []
        if len(bones):
            parts.append(see.Lines(self.x, edges[bones], color=see.BONE))
        if len(muscles):
            parts += muscle_lines(self.x, edges[muscles], commands)
        parts.append(see.Points(self.x, 0.006, only=[self.head], color=see.HEAD, trail=True, label="head"))
        return ds.Scene(parts, ground=self.ground)


class GoalMassSpring(MassSpring):
    """A planar mass-spring robot that should run to a goal, which may lie on either side.

    The physics and the controller are those of `MassSpring`. Each world has a goal of its own, and all share
    one set of weights: the way to the goal, which the controller sees, is all that tells it where to run. The
    cost is the distance [m] along the ground between the goal and the centroid at the last step.

    Args:
        robot: a `Robot`, or what `load_robot` takes: a number, a name or a path.
        config: the constants of the experiment; its goal is every world's, until `goal` is set.

    Attributes:
        goal: where to go, (x, y) [m], `Constant(real, 2)` per world.

    Differentiability: as `MassSpring`; a kink where the centroid is at the goal.
    """

    def __init__(
        self, robot: Robot | int | str | os.PathLike[str] = 1, config: MassSpringConfig | None = None
    ) -> None:
        """Declare the fields; nothing is allocated before a rollout."""
        super().__init__(robot, config)
        self.goal = ds.Constant(ds.real, 2, init=self.config.goal, per_world=True, unit="m")

    @ti.kernel
    def aim(self, t: ti.i32):
        """Write the way to the world's goal as the last two inputs."""
        for k in range(2):
            self.observation[t, self.n_sines + 4 * self.n_points + k] = self.goal[k] - self.centroid[t, 0][k]

    @ti.kernel
    def distance(self, t: ti.i32):
        """Add the distance along the ground."""
        for _ in range(1):
            center = 0.0
            for i in range(self.n_points):
                center += self.share * self.x[t, i][0]
            self.cost[None] += ti.abs(self.goal[0] - center)

    def terminal_cost(self, t: int) -> None:
        """Reward the centroid for being near the goal."""
        self.distance(t)

    def scene(self) -> ds.Scene:
        """Describe the world's goal as well."""
        seen, see = super().scene(), ds.scene
        goal = see.Points(self.goal, radius=0.008, color=see.GOAL, label="goal")
        return ds.Scene((goal, *seen.parts), ground=seen.ground)
