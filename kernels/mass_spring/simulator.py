"""A planar mass-spring robot that learns to walk: springs, muscles, ground contact, a neural controller.

Every kernel is a perfect nest (one chain of loops, all arithmetic innermost, sums into fields by `+=`): the
form whose gradient Taichi always gets right and that fuses best.
"""

# No `from __future__ import annotations` here: Taichi reads kernel annotations as objects, not as text.
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass

import taichi as ti

import diffsim as ds
from diffsim.errors import ConfigError
from diffsim.kernels.mass_spring.robots import Robot, load_robot

__all__ = ["MassSpring", "MassSpringConfig"]

_TINY = 1e-20  # [m^2] under the root of a length: smooth at zero length, below rounding at any other
# [m/s] A point that falls slower than this is not taken to hit the ground: 1 / speed stays bounded.
_AT_REST = 1e-4


@dataclass(frozen=True)
class MassSpringConfig:
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
        ConfigError: a value is not finite, or out of the range given above.

    Reference: Hu et al., DiffTaichi, ICLR 2020 (the values by default).
    """

    dt: float = 4e-3
    gravity: float = -4.8
    damping: float = 15.0
    ground: float = 0.1
    goal: tuple[float, float] = (0.9, 0.2)
    time_of_impact: bool = True
    hidden: int = 32
    gains: tuple[float, float] = (2.0, 3.0)
    sines: int = 10
    omega: float = 10.0
    observation_scale: float = 0.05

    def __post_init__(self) -> None:
        """Check every value and store it as a plain Python number."""
        for name in ("dt", "gravity", "damping", "ground", "omega", "observation_scale"):
            self._store(name, _number(name, getattr(self, name)))
        for name in ("goal", "gains"):
            self._store(name, _pair(name, getattr(self, name)))
        for name in ("hidden", "sines"):
            self._store(name, _count(name, getattr(self, name)))
        if not isinstance(self.time_of_impact, bool):
            _refuse("time_of_impact", "be True or False", self.time_of_impact, "pass a bool")
        if self.dt <= 0.0:
            _refuse("dt", "be positive", self.dt, "pass the time step in seconds")
        if self.damping < 0.0:
            _refuse("damping", "be 0 or more", self.damping, "pass a decay rate in 1/s")

    def _store(self, name: str, value: object) -> None:
        """Set a field of the frozen dataclass while it is made."""
        object.__setattr__(self, name, value)


def _refuse(name: str, rule: str, value: object, remedy: str) -> None:
    """Raise the error of one bad value."""
    raise ConfigError(f"MassSpringConfig.{name} must {rule}, got {value!r}; {remedy}")


def _number(name: str, value: object) -> float:
    """Return a finite float."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, (bool, str)) or not math.isfinite(number):
        _refuse(name, "be a finite number", value, "pass a float")
    return number


def _pair(name: str, value: object) -> tuple[float, float]:
    """Return two finite floats."""
    items = tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else ()
    if len(items) != 2:
        _refuse(name, "be two numbers", value, "pass a pair of floats")
    return _number(name, items[0]), _number(name, items[1])


def _count(name: str, value: object) -> int:
    """Return an integer of at least 1."""
    number = _number(name, value)
    if number < 1 or number != int(number):
        _refuse(name, "be a whole number of at least 1", value, "pass an int")
    return int(number)


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
        self.x = ds.State(ds.vec2, n, init=self.robot.points)
        self.v = ds.State(ds.vec2, n)
        self.impulse = ds.Scratch(ds.vec2, n)
        self.centroid = ds.Scratch(ds.vec2, 1)
        self.observation = ds.Scratch(ds.real, self.n_sines + 4 * n + 2)
        self.actuation = ds.Scratch(ds.real, m)
        self.stiffness = ds.Param(self.robot.stiffness)
        self.edges = ds.Constant(self.robot.springs)
        self.rest_length = ds.Constant(self.robot.rest_length)
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
