"""Billiards: discs on a table that meet each other and the cushions, each at its exact moment."""

# No `from __future__ import annotations` here: Taichi reads kernel annotations as objects, not as text.
import math
from dataclasses import dataclass

import numpy as np
import taichi as ti
from numpy.typing import NDArray

import diffsim as ds
from diffsim.errors import ConfigError
from diffsim.kernels.common import Config
from diffsim.kernels.common.contact import plane_impact, rebound_impulse, slowed, spheres_impact
from diffsim.options import option

__all__ = ["Billiards", "BilliardsConfig", "Table", "rack"]


@dataclass(frozen=True)
class BilliardsConfig(Config):
    """The constants of the table and its balls.

    Args:
        dt: Time step [s].
        width: Of the table between the cushions, x from 0 on [m].
        height: Of the table between the cushions, y from 0 on [m].
        radius: Of every ball [m].
        mass: Of every ball [kg].
        restitution: Share of the speed along the line of centres that two balls keep, 0 .. 1.
        cushion: Share of the speed toward a cushion that a ball keeps, 0 .. 1.
        deceleration: What rolling costs a moving ball [m/s²]; 0 rolls for ever.
        near: Distance of the target from the goal at which the cost is 1/2 [m].
        time_of_impact: Find the moment of each impact within the step. False: balls that are found
            overlapping turn around, whenever they met, and the gradient does not see when.

    Raises:
        ConfigError: A value is out of its range, or a ball does not fit the table.
    """

    dt: float = option(4e-3, "time step [s]", above=0.0)
    width: float = option(2.0, "width of the table [m]", above=0.0)
    height: float = option(1.0, "height of the table [m]", above=0.0)
    radius: float = option(0.04, "radius of a ball [m]", above=0.0)
    mass: float = option(0.2, "mass of a ball [kg]", above=0.0)
    restitution: float = option(0.95, "speed that two balls keep", minimum=0.0, maximum=1.0)
    cushion: float = option(0.8, "speed that a cushion gives back", minimum=0.0, maximum=1.0)
    deceleration: float = option(0.3, "what rolling costs [m/s^2]", minimum=0.0)
    near: float = option(0.2, "distance from the goal at which the cost is half [m]", above=0.0)
    time_of_impact: bool = option(True, "find the moment of each impact within the step")

    def check(self) -> None:
        """Hold a ball against the table."""
        if 2.0 * self.radius >= min(self.width, self.height):
            self.refuse("radius", "leave room to roll", self.radius, "use less than half the table")


@dataclass(frozen=True, eq=False)
class Table:
    """What lies on a table, and where one ball is wanted.

    Attributes:
        balls: First centres [m], shape (n, 2); the first is the cue ball.
        target: The ball that is wanted at the goal.
        goal: Where to, (x, y) [m].
    """

    balls: NDArray[np.float64]
    target: int
    goal: tuple[float, float]


def rack(
    rows: int = 2,
    cue: tuple[float, float] = (0.4, 0.5),
    tip: tuple[float, float] = (1.0, 0.5),
    goal: tuple[float, float] = (1.92, 0.92),
    radius: float = 0.04,
    gap: float = 2e-3,
) -> Table:
    """Make a table with a triangle of balls, the target at the upper end of its last row.

    Args:
        rows: Of the triangle, whose row `k` has `k + 1` balls.
        cue: The cue ball's centre [m].
        tip: Centre of the ball nearest to the cue ball [m].
        goal: Where the target is wanted [m].
        radius: Of a ball [m].
        gap: Between neighbours [m].

    Raises:
        ConfigError: There is no row.
    """
    if rows < 1:
        raise ConfigError(f"rows must be 1 or more, got {rows}; a rack of 2 has 3 balls")
    pitch = 2.0 * radius + gap
    triangle = [
        (tip[0] + k * pitch * math.sqrt(0.75), tip[1] + (j - 0.5 * k) * pitch)
        for k in range(rows)
        for j in range(k + 1)
    ]
    target = len(triangle)
    return Table(np.array([cue, *triangle]), target, goal)


class Billiards(ds.Simulator):
    """Discs of one mass on a table; the cue ball is pushed at the start.

    A step looks for the impacts of every ball with every other and with the cushions, and resolves for each
    ball the earliest one, provided that it is its partner's earliest too::

        v' = v + dv,   dv = ∓ (1 + e) (w·n) n / 2 of two balls,  -(1 + e_c) v_d along axis d at a cushion
        x+ = x + dt v' - s dv             moves with v until the impact at s, and with v' after it
        v+ = v' max(0, 1 - deceleration dt / |v'|)

    `w` is the relative velocity and `n` the line of centres *at the impact*. An impact that has to wait for
    an earlier one of the same ball is resolved in the next step at a time `s < 0`. So on straight paths a
    chain of impacts comes out exact to rounding, with momentum and energy kept, if no ball has more than one
    per step in the long run.

    Args:
        table: Balls, target and goal.
        config: The constants.

    Attributes:
        x: Centres [m], `State(vec2, n)`.
        v: Velocities [m/s], `State(vec2, n)`.
        angle: Direction in which the cue ball is pushed, from the x axis [rad], `Param(real)`, per world.
        speed: How fast that makes it [m/s], `Param(real)`, per world.

    Cost: `d² / (d² + near²)` in 0 .. 1, of the distance `d` between the target's centre and the goal at the
    end. Bounded, so that among many worlds those that miss by far do not outweigh those that come near.

    Raises:
        ConfigError: The balls do not lie on the table, or overlap, or the target is none of them.

    Differentiability: with respect to the push and to first positions and velocities. Who meets whom, and in
    which order, is piecewise constant. A collision multiplies errors of direction by the path over the
    radius, and so the gradient grows with each of them; it is unbounded toward grazing impacts.

    Reference: Hu et al., DiffTaichi, ICLR 2020 (the task and the time of impact).
    """

    def __init__(self, table: Table | None = None, config: BilliardsConfig | None = None) -> None:
        """Declare the fields; nothing is allocated before a rollout."""
        c = self.config = config or BilliardsConfig()
        self.table = table or rack(radius=c.radius)
        balls = _checked(self.table, c)
        n = self.n_balls = len(balls)
        first, second = np.triu_indices(n, k=1)
        self.n_pairs = len(first)
        self.n_events = self.n_pairs + 2 * n
        number = np.zeros((n, n), np.int32)
        number[first, second] = number[second, first] = np.arange(self.n_pairs)
        self.pairs = ds.Constant(np.stack([first, second], axis=1) if n > 1 else np.zeros((1, 2), np.int32))
        self.pair_of = ds.Constant(number)
        self.dt, self.reach = c.dt, 2.0 * c.radius
        self.mobility, self.kick = 2.0 / c.mass, 1.0 / c.mass
        self.restitution, self.cushion = c.restitution, c.cushion
        self.loss = c.deceleration * c.dt
        self.time_of_impact = c.time_of_impact
        self.low = c.radius
        self.high = (c.width - c.radius, c.height - c.radius)
        self.goal_x, self.goal_y = self.table.goal
        self.target, self.near = self.table.target, c.near**2
        self.x = ds.State(ds.vec2, n, init=balls, unit="m")
        self.v = ds.State(ds.vec2, n, unit="m/s")
        self.angle = ds.Param(ds.real, per_world=True, unit="rad")
        self.speed = ds.Param(ds.real, per_world=True, unit="m/s")
        self.when = ds.Scratch(ds.real, self.n_events, unit="s")
        self.first = ds.Scratch(ds.real, n)
        self.change = ds.Scratch(ds.vec2, n, unit="m/s")
        self.shift = ds.Scratch(ds.vec2, n, unit="m")

    @ti.kernel
    def push(self):
        """Push the cue ball."""
        for _ in range(1):
            self.v[0, 0] += self.speed[None] * ti.Vector([ti.cos(self.angle[None]), ti.sin(self.angle[None])])

    @ti.kernel
    def meet(self, t: ti.i32):
        """Find when each pair meets; `dt` where it does not."""
        for p in range(self.n_pairs):
            a = self.pairs[p, 0]
            b = self.pairs[p, 1]
            offset = self.x[t, b] - self.x[t, a]
            velocity = self.v[t, b] - self.v[t, a]
            if ti.static(self.time_of_impact):
                self.when[t, p] = spheres_impact(offset, velocity, self.reach, self.dt)
            else:
                inside = (offset.dot(offset) < self.reach * self.reach) & (offset.dot(velocity) < 0.0)
                self.when[t, p] = ti.select(inside, 0.0, self.dt)

    @ti.kernel
    def reach_cushions(self, t: ti.i32):
        """Find when each ball meets the cushion ahead of it, along both axes."""
        for i in range(self.n_balls):
            for d in ti.static(range(2)):
                x = self.x[t, i][d]
                v = self.v[t, i][d]
                gap = ti.select(v > 0.0, self.high[d] - x, x - self.low)
                when = self.dt
                if ti.static(self.time_of_impact):
                    when = plane_impact(gap, -ti.abs(v), self.dt)
                else:
                    when = ti.select(gap < 0.0, 0.0, self.dt)
                self.when[t, self.n_pairs + 2 * i + d] = when

    @ti.kernel
    def order(self, t: ti.i32):
        """Note each ball's earliest impact; of equal ones that with the lowest number."""
        for i in range(self.n_balls):
            earliest = self.dt
            number = -1
            for j in range(self.n_balls):
                p = self.pair_of[i, j]
                if j != i and self.when[t, p] < earliest:
                    earliest = self.when[t, p]
                    number = p
            for d in ti.static(range(2)):
                p = self.n_pairs + 2 * i + d
                if self.when[t, p] < earliest:
                    earliest = self.when[t, p]
                    number = p
            self.first[t, i] = number

    @ti.kernel
    def collide(self, t: ti.i32):
        """Exchange the impulses of balls that are each other's earliest impact."""
        for p in range(self.n_pairs):
            a = self.pairs[p, 0]
            b = self.pairs[p, 1]
            if self.first[t, a] == p and self.first[t, b] == p:
                s = self.when[t, p]
                velocity = self.v[t, b] - self.v[t, a]
                normal = ds.math.normalized(self.x[t, b] - self.x[t, a] + s * velocity)
                impulse = rebound_impulse(self.mobility, velocity.dot(normal), self.restitution) * normal
                self.change[t, a] -= self.kick * impulse
                self.change[t, b] += self.kick * impulse
                self.shift[t, a] += s * self.kick * impulse
                self.shift[t, b] -= s * self.kick * impulse

    @ti.kernel
    def bounce(self, t: ti.i32):
        """Turn the balls around whose earliest impact is a cushion."""
        for i in range(self.n_balls):
            for d in ti.static(range(2)):
                p = self.n_pairs + 2 * i + d
                if self.first[t, i] == p:
                    change = -(1.0 + self.cushion) * self.v[t, i][d]
                    self.change[t, i][d] += change
                    self.shift[t, i][d] -= self.when[t, p] * change

    @ti.kernel
    def advance(self, t: ti.i32):
        """Move the balls, with their old velocity up to an impact and with the new one after it."""
        for i in range(self.n_balls):
            v = self.v[t, i] + self.change[t, i]
            self.x[t + 1, i] = self.x[t, i] + self.dt * v + self.shift[t, i]
            self.v[t + 1, i] = slowed(v, self.loss)

    @ti.kernel
    def miss(self, t: ti.i32):
        """Weigh the distance between target and goal."""
        for _ in range(1):
            x = self.x[t, self.target]
            square = (x[0] - self.goal_x) ** 2 + (x[1] - self.goal_y) ** 2
            self.cost[None] += square / (square + self.near)

    def reset(self) -> None:
        """Push the cue ball."""
        self.push()

    def step(self, t: int) -> None:
        """Find the impacts, choose who is first, exchange impulses, move."""
        if self.n_balls > 1:
            self.meet(t)
        self.reach_cushions(t)
        self.order(t)
        if self.n_balls > 1:
            self.collide(t)
        self.bounce(t)
        self.advance(t)

    def terminal_cost(self, t: int) -> None:
        """Want the target at the goal."""
        self.miss(t)

    def scene(self) -> ds.Scene:
        """Describe the table, the goal on it, and the balls with the ways of the first and of the target."""
        see, c = ds.scene, self.config
        edge = np.array([[0.0, 0.0], [c.width, 0.0], [c.width, c.height], [0.0, c.height]])
        rest = [i for i in range(1, self.n_balls) if i != self.target]
        balls = [
            ("cue ball", [0], see.INK),
            ("other balls", rest, see.BONE),
            ("target", [self.target], see.HEAD),
        ]
        parts: list[ds.scene.Part] = [
            see.Lines(edge, closed=True, color="#6b4a2f", width=4.0),
            see.Points(np.array(self.table.goal), radius=1.3 * c.radius, color=see.GOAL, label="goal"),
        ]
        parts += [
            see.Points(
                self.x, radius=c.radius, only=only, color=color, label=label, trail=label != "other balls"
            )
            for label, only, color in balls
            if only
        ]
        return ds.Scene(parts)


def _checked(table: Table, config: BilliardsConfig) -> NDArray[np.float64]:
    """Return the balls' centres if they can lie there."""
    balls = np.asarray(table.balls, dtype=np.float64)
    if balls.ndim != 2 or balls.shape[1:] != (2,) or len(balls) < 1 or not np.isfinite(balls).all():
        raise ConfigError(
            f"Table.balls must be centres of shape (n, 2), got shape {balls.shape}; the first is the cue ball"
        )
    room = np.array([config.width, config.height]) - config.radius
    for k, ball in enumerate(balls):
        if (ball < config.radius).any() or (ball > room).any():
            raise ConfigError(
                f"Table.balls must lie between the cushions, got ball {k} at {ball.tolist()}; move it"
            )
    apart = np.linalg.norm(balls[:, None] - balls, axis=2) + 4.0 * config.radius * np.eye(len(balls))
    if apart.min() < 2.0 * config.radius * (1.0 - 1e-9):
        a, b = np.unravel_index(apart.argmin(), apart.shape)
        raise ConfigError(
            f"Table.balls must not overlap, got balls {a} and {b} {apart.min():.4g} m apart; "
            f"leave two radii, {2.0 * config.radius:.4g} m"
        )
    if not 0 <= table.target < len(balls):
        raise ConfigError(f"Table.target must be a ball, got {table.target}; there are {len(balls)}")
    return balls
