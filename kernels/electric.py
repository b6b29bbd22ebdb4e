"""Charges in an arena, pushed about by electrodes at its border that a neural controller drives."""

# No `from __future__ import annotations` here: Taichi reads kernel annotations as objects, not as text.
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import taichi as ti
from numpy.typing import ArrayLike, NDArray

import diffsim as ds
from diffsim.errors import ConfigError
from diffsim.kernels.common import Config
from diffsim.options import option

__all__ = ["Electric", "ElectricConfig", "TargetPath", "border_electrodes", "draw_paths"]

_WAVES = 3  # sine waves that a target's coordinate is the sum of


@dataclass(frozen=True)
class ElectricConfig(Config):
    """The constants of the arena, of the charges in it, and of their controller.

    Charges are in microcoulombs, so that all numbers are near 1: a charge of 1 uC at 0.5 m from another one
    feels 0.036 N, which accelerates 10 g by 3.6 m/s^2.

    Args:
        dt: time step [s], positive.
        side: length of the arena's sides [m]; it covers 0 .. side in both axes.
        coulomb: Coulomb's constant [N m^2/uC^2].
        softening: length below which the force of two charges levels off [m], positive.
        friction: viscous friction [kg/s], not negative.
        wall: stiffness of the springs that push back a charge outside the arena [N/m], 0 for no walls.
        electrode_limit: largest charge that the controller puts on an electrode [uC].
        hidden: width of the controller's hidden layer; 0 for no controller.
        observed_length: offset that the controller sees as 1 [m].
        observed_speed: velocity that the controller sees as 1 [m/s].

    Raises:
        ConfigError: A value is out of the range given above.
    """

    dt: float = option(0.01, "time step [s]", above=0.0)
    side: float = option(1.0, "length of the arena's sides [m]", above=0.0)
    coulomb: float = option(8.988e-3, "Coulomb's constant [N m^2/uC^2]", above=0.0)
    softening: float = option(0.08, "length below which forces level off [m]", above=0.0)
    friction: float = option(0.04, "viscous friction [kg/s]", minimum=0.0)
    wall: float = option(4.0, "stiffness of the walls [N/m]", minimum=0.0)
    electrode_limit: float = option(0.5, "largest charge of an electrode [uC]", minimum=0.0)
    hidden: int = option(32, "width of the controller's hidden layer, 0 for none", minimum=0)
    observed_length: float = option(0.3, "offset that the controller sees as 1 [m]", above=0.0)
    observed_speed: float = option(1.0, "velocity that the controller sees as 1 [m/s]", above=0.0)


@dataclass(frozen=True, eq=False)
class TargetPath:
    """Smooth closed curves: `centre + sum over k of amplitude[k] sin(rate[k] time + phase[k])`.

    Attributes:
        amplitude: [m], shape (..., waves, 2); leading axes are worlds.
        rate: angular frequencies [rad/s], of the same shape.
        phase: [rad], of the same shape.
    """

    amplitude: NDArray[np.float64]
    rate: NDArray[np.float64]
    phase: NDArray[np.float64]


def draw_paths(seed: int, worlds: int | None = None, reach: float = 0.45, fastest: float = 3.5) -> TargetPath:
    """Draw random smooth paths about the arena's centre.

    Args:
        seed: Of the numbers drawn.
        worlds: How many paths; None for one without an axis of worlds.
        reach: How far a path goes from the centre along an axis at most [m].
        fastest: The largest angular frequency [rad/s]; the smallest is a quarter of it.

    Returns:
        The paths; the first `k` of them are the same however many are drawn.
    """
    shape = (1 if worlds is None else worlds, _WAVES, 2)
    rng = np.random.default_rng([seed, 0xE1EC])
    share, pace, angle = np.moveaxis(rng.uniform(size=(shape[0], 3, _WAVES, 2)), 1, 0)
    share = 0.2 + share
    amplitude = reach * share / share.sum(axis=1, keepdims=True)
    rate, phase = fastest * (0.25 + 0.75 * pace), 2.0 * math.pi * angle
    if worlds is None:
        amplitude, rate, phase = amplitude[0], rate[0], phase[0]
    return TargetPath(amplitude, rate, phase)


def border_electrodes(side: float = 1.0) -> NDArray[np.float64]:
    """Place eight electrodes: at the arena's corners and in the middle of its sides [m], shape (8, 2)."""
    places = [(0, 0), (1, 0), (2, 0), (2, 1), (2, 2), (1, 2), (0, 2), (0, 1)]
    return 0.5 * side * np.array(places, dtype=np.float64)


class Electric(ds.Simulator):
    """Point charges in a square arena under Coulomb forces and friction.

    A charge `q` feels each other charge or electrode `Q` at the offset `d` by Coulomb's law, softened as if
    the charge were spread out (Plummer), and the walls by springs::

        m dv/dt = sum of coulomb q Q d / (|d|^2 + softening^2)^(3/2) + walls - friction v,    dx/dt = v

    One step drifts half a step, kicks and drifts the other half, with friction solved exactly within the kick
    (`k = friction/m`)::

        y = x + dt/2 v,    v+ = exp(-k dt) v + (1 - exp(-k dt))/k force(y)/m,    x+ = y + dt/2 v+

    which is of second order, symplectic without friction, and right about terminal velocity for any step. An
    electrode carries `bias + electrode_limit command`; commands in [-1, 1] come from the controller, which
    sees the position and velocity of charge 0 and of the target, and hold for a step. No fixed charges could
    keep the charge at a place (Earnshaw's theorem): following a target takes feedback.

    The cost is `weight` times the squared distance of charge 0 from the target, integrated over time [m^2 s].

    Args:
        config: The constants.
        position: First positions of the charges [m], shape (n, 2); None for one in the middle of the arena.
        velocity: First velocities [m/s], shape (n, 2) or a number.
        charge: The charges [uC], shape (n,) or a number.
        mass: Their masses [kg], shape (n,) or a number, positive.
        electrodes: Positions of the electrodes [m], shape (m, 2); None for `border_electrodes`.
        path: The target's path; None for one drawn at random.

    Attributes:
        x: positions [m], `State(vec2, n)`, per world.
        v: velocities [m/s], `State(vec2, n)`, per world.
        charge: [uC], `Param(real, n)`.
        bias: charges of the electrodes without a command [uC], `Param(real, m)`, zero.
        electrodes: their positions [m], `Param(vec2, m)`.
        policy: the controller, where `hidden` is not 0; its weights are `policy.w0` and so on.
        electrode: charges of the electrodes [uC], `Scratch(real, m)`.
        goal: position of the target [m] and its velocity [m/s], `Scratch(vec2, 2)`.
        force: on each charge, friction left out [N], `Scratch(vec2, n)`.
        weight: factor of the world's cost, `Constant(real)`, per world: 0 for a world that is only watched.

    Raises:
        ConfigError: An array has the wrong shape, a mass is not positive, or the step is too long for the
            springs of the walls: `dt < 2 sqrt(mass/wall)`, the limit of stability.

    Differentiability: smooth everywhere but at the walls, where the force has a kink.

    Reference: Plummer (1911), the softened law; Strang (1968), the symmetric splitting.
    """

    def __init__(
        self,
        config: ElectricConfig | None = None,
        position: ArrayLike | None = None,
        velocity: ArrayLike = 0.0,
        charge: ArrayLike = 1.0,
        mass: ArrayLike = 0.01,
        electrodes: ArrayLike | None = None,
        path: TargetPath | None = None,
    ) -> None:
        """Declare the fields; nothing is allocated before a rollout."""
        self.config = c = config or ElectricConfig()
        start = _points("position", [[0.5 * c.side] * 2] if position is None else position)
        places = _points("electrodes", border_electrodes(c.side) if electrodes is None else electrodes)
        self.n, self.m = len(start), len(places)
        self.x = ds.State(ds.vec2, self.n, init=start, per_world=True, unit="m")
        self.v = ds.State(ds.vec2, self.n, init=velocity, per_world=True, unit="m/s")
        self.charge = ds.Param(ds.real, self.n, init=charge, unit="uC")
        self.electrodes = ds.Param(ds.vec2, self.m, init=places, unit="m")
        self.bias = ds.Param(ds.real, self.m, unit="uC")
        self.middle = ds.Scratch(ds.vec2, self.n, unit="m")
        self.force = ds.Scratch(ds.vec2, self.n, unit="N")
        self.electrode = ds.Scratch(ds.real, self.m, unit="uC")
        self._kicks(mass)
        self._target(draw_paths(0) if path is None else path)
        self._controller()
        self.dt, self.side, self.coulomb, self.wall = c.dt, c.side, c.coulomb, c.wall
        self.softening2, self.limit = c.softening**2, c.electrode_limit

    def _kicks(self, mass: ArrayLike) -> None:
        """Solve friction and a force that is constant over a step, for each charge."""
        masses = np.broadcast_to(np.asarray(mass, dtype=np.float64), (self.n,))
        if not np.all(masses > 0.0):
            raise ConfigError(f"Electric mass must be positive, got {mass!r}; pass kilograms")
        longest = 2.0 * math.sqrt(masses.min() / self.config.wall) if self.config.wall > 0.0 else math.inf
        if self.config.dt >= longest:
            self.config.refuse("dt", f"be below {longest:.3g} s", self.config.dt, "or make the walls softer")
        decay = self.config.friction * self.config.dt / masses
        self.kept = ds.Constant(np.exp(-decay))
        shortened = np.divide(-np.expm1(-decay), decay, out=np.ones(self.n), where=decay > 0.0)
        # velocity gained per force
        self.kick = ds.Constant(self.config.dt * shortened / masses, unit="s/kg")

    def _target(self, path: TargetPath) -> None:
        """Declare the target's path and the weight of following it."""
        self.waves = path.amplitude.shape[-2]
        self.amplitude = ds.Constant(ds.vec2, self.waves, init=path.amplitude, per_world=True, unit="m")
        self.rate = ds.Constant(ds.vec2, self.waves, init=path.rate, per_world=True, unit="rad/s")
        self.phase = ds.Constant(ds.vec2, self.waves, init=path.phase, per_world=True, unit="rad")
        self.weight = ds.Constant(np.array(1.0), per_world=True)
        self.goal = ds.Scratch(ds.vec2, 2)

    def _controller(self) -> None:
        """Declare what the controller reads and writes, and the controller."""
        c = self.config
        self.controlled = c.hidden > 0
        self.per_length, self.per_speed = 1.0 / c.observed_length, 1.0 / c.observed_speed
        self.observation = ds.Scratch(ds.vec2, 4)
        self.command = ds.Scratch(ds.real, self.m)
        if self.controlled:
            self.policy = ds.control.MLP(
                inputs=self.observation, outputs=self.command, hidden=(c.hidden,), gains=(1.0, 0.1)
            )

    def set_paths(self, path: TargetPath) -> None:
        """Give the target another path, or each world one of its own.

        Raises:
            ConfigError: The path has another number of waves.
        """
        self.amplitude.set(path.amplitude)
        self.rate.set(path.rate)
        self.phase.set(path.phase)

    @ti.kernel
    def aim(self, t: ti.i32):
        """Find the target's position and velocity."""
        for k in range(self.waves):
            center = 0.5 * self.side / self.waves
            angle = self.rate[k] * (t * self.dt) + self.phase[k]
            self.goal[t, 0] += center + self.amplitude[k] * ti.sin(angle)
            self.goal[t, 1] += self.amplitude[k] * self.rate[k] * ti.cos(angle)

    @ti.kernel
    def observe(self, t: ti.i32):
        """Write what the controller sees: where charge 0 is, how fast, and both for the target beside it."""
        for _ in range(1):
            x = self.x[t, 0]
            v = self.v[t, 0]
            self.observation[t, 0] = self.per_length * (x - 0.5 * self.side)
            self.observation[t, 1] = self.per_speed * v
            self.observation[t, 2] = self.per_length * (self.goal[t, 0] - x)
            self.observation[t, 3] = self.per_speed * (self.goal[t, 1] - v)

    @ti.kernel
    def load(self, t: ti.i32):
        """Charge the electrodes."""
        for e in range(self.m):
            self.electrode[t, e] = self.bias[e] + self.limit * self.command[t, e]

    @ti.kernel
    def drift(self, t: ti.i32):
        """Move the charges for half a step."""
        for i in range(self.n):
            self.middle[t, i] = self.x[t, i] + 0.5 * self.dt * self.v[t, i]

    @ti.kernel
    def push_from_electrodes(self, t: ti.i32):
        """Add the electrodes' forces [N]."""
        for i in range(self.n):
            for e in range(self.m):
                offset = self.middle[t, i] - self.electrodes[e]
                strength = self.coulomb * self.charge[i] * self.electrode[t, e]
                self.force[t, i] += strength * self.softened(offset)

    @ti.kernel
    def push_each_other(self, t: ti.i32):
        """Add the forces [N] between the charges; that of a charge on itself is zero by its offset."""
        for i in range(self.n):
            for j in range(self.n):
                offset = self.middle[t, i] - self.middle[t, j]
                strength = self.coulomb * self.charge[i] * self.charge[j]
                self.force[t, i] += strength * self.softened(offset)

    @ti.func
    def softened(self, offset):
        """Return the offset over the cube of its softened length [1/m^2]."""
        distance2 = offset.dot(offset) + self.softening2
        return offset / (distance2 * ti.sqrt(distance2))

    @ti.kernel
    def push_from_walls(self, t: ti.i32):
        """Add the force [N] of the walls on charges that left the arena."""
        for i in range(self.n):
            y = self.middle[t, i]
            self.force[t, i] += self.wall * (ti.max(-y, 0.0) - ti.max(y - self.side, 0.0))

    @ti.kernel
    def kick_and_drift(self, t: ti.i32):
        """Change the velocities by forces and friction, and move for the other half of the step."""
        for i in range(self.n):
            v = self.kept[i] * self.v[t, i] + self.kick[i] * self.force[t, i]
            self.v[t + 1, i] = v
            self.x[t + 1, i] = self.middle[t, i] + 0.5 * self.dt * v

    @ti.kernel
    def miss(self, t: ti.i32):
        """Add the squared distance from the target to the cost."""
        for _ in range(1):
            offset = self.x[t, 0] - self.goal[t, 0]
            self.cost[None] += self.weight[None] * self.dt * offset.dot(offset)

    def step(self, t: Any) -> None:
        """Look, decide, push, move."""
        self.aim(t)
        if self.controlled:
            self.observe(t)
            self.policy(t)
        self.load(t)
        self.drift(t)
        self.push_from_electrodes(t)
        if self.n > 1:
            self.push_each_other(t)
        if self.wall > 0.0:
            self.push_from_walls(t)
        self.kick_and_drift(t)

    def running_cost(self, t: Any) -> None:
        """Punish distance from the target."""
        self.miss(t)

    def scene(self) -> ds.Scene:
        """Describe the arena, its electrodes and charges, coloured by their charge, and the target."""
        see, s = ds.scene, self.side
        edge = np.array([[0.0, 0.0], [s, 0.0], [s, s], [0.0, s]])
        told: dict[str, Any] = {"center": 0.0, "radius": 0.03 * s}
        return ds.Scene(
            [
                see.Lines(edge, closed=True, color=see.BONE),
                see.Points(self.goal, only=[0], radius=0.025 * s, color=see.GOAL, trail=True, label="target"),
                see.Points(self.electrodes, values=self.electrode, label="electrodes", **told),
                see.Points(self.x, radius=0.02 * s, color=see.HEAD, trail=True, label="charges"),
                see.Vectors(self.force, positions=self.x, color=see.INK, label="force", scale=5.0 * s),
            ],
            limits=((-0.1 * s, 1.1 * s),) * 2,
            unit="m",
        )


def _points(name: str, given: ArrayLike) -> NDArray[np.float64]:
    """Return points in the plane."""
    points = np.asarray(given, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or len(points) == 0 or not np.all(np.isfinite(points)):
        raise ConfigError(
            f"Electric {name} must be finite points of shape (n, 2), got shape {points.shape}; "
            "pass [[x, y], ...]"
        )
    return points
