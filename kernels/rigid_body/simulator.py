"""Planar rigid boxes, springs between them, and contact with the ground at the moment of impact."""

# No `from __future__ import annotations` here: Taichi reads kernel annotations as objects, not as text.
import math
from dataclasses import dataclass

import numpy as np
import taichi as ti
from numpy.typing import NDArray

import diffsim as ds
from diffsim.kernels.common import Config
from diffsim.kernels.common.contact import contact_impulse, plane_impact, point_mobility, turning
from diffsim.kernels.common.muscles import muscle_lines
from diffsim.kernels.rigid_body.assembly import Assembly, load_robot
from diffsim.options import option

__all__ = ["RigidBody", "RigidBodyConfig"]


@dataclass(frozen=True)
class RigidBodyConfig(Config):
    """The constants of the world and of the controller.

    Args:
        dt: Time step [s]; a joint of stiffness k that moves a mass m needs dt below about sqrt(m / k).
        gravity: Acceleration downward [m/s²].
        damping: Rate at which all velocities decay [1/s], by exp(-damping dt) in a step.
        ground: Height of the ground [m].
        restitution: Share of a corner's falling speed that it has after an impact, upward, 0 .. 1.
        friction: Coulomb's coefficient of corners on the ground.
        sweeps: How often the impulses of the two contacts of a box are balanced against each other.
        time_of_impact: Find the moment of each impact within the step. False: a corner that is found below
            the ground bounces off, whenever it hit, and the gradient does not see when.
        hidden: Width of the controller's hidden layer.
        sines: Number of phase-shifted sine waves fed to the controller.
        gains: Factors of the standard deviations of the two layers' first weights.
        omega: Their angular frequency [rad/s].
        observation_scale: Factor on the offsets [m], angles [rad] and velocities that the controller sees.

    Raises:
        ConfigError: A value is out of its range.
    """

    dt: float = option(1e-3, "time step [s]", above=0.0)
    gravity: float = option(9.8, "acceleration downward [m/s^2]", minimum=0.0)
    damping: float = option(4.0, "decay of all velocities [1/s]", minimum=0.0)
    ground: float = option(0.0, "height of the ground [m]")
    restitution: float = option(0.0, "speed that a corner keeps", minimum=0.0, maximum=1.0)
    friction: float = option(0.9, "Coulomb's coefficient", minimum=0.0)
    sweeps: int = option(3, "balancing of a box's two contacts", minimum=1)
    time_of_impact: bool = option(True, "find the moment of each impact within the step")
    hidden: int = option(32, "width of the controller's hidden layer", minimum=1)
    sines: int = option(10, "sine waves fed to the controller", minimum=1)
    gains: tuple[float, float] = option((2.0, 0.5), "factors of the two layers' first weights")
    omega: float = option(15.0, "their angular frequency [rad/s]")
    observation_scale: float = option(0.02, "factor on what the controller sees", minimum=0.0)


@ti.func
def _turned(angle, point):
    """Turn a vector counterclockwise."""
    c = ti.cos(angle)
    s = ti.sin(angle)
    return ti.Vector([c * point[0] - s * point[1], s * point[0] + c * point[1]])


@ti.func
def _lowest(half, angle):
    """Return the arms to the lowest corner of a box, and to the lower one of its two neighbours.

    Only these two can touch a level ground at once.
    """
    # The ground's normal in the frame of the box.
    up = ti.Vector([ti.sin(angle), ti.cos(angle)])
    corner = ti.Vector([ti.select(up[0] > 0.0, -half[0], half[0]), ti.select(up[1] > 0.0, -half[1], half[1])])
    along = ti.abs(up[0]) * half[0] < ti.abs(up[1]) * half[1]
    other = ti.Vector([ti.select(along, -corner[0], corner[0]), ti.select(along, corner[1], -corner[1])])
    return _turned(angle, corner), _turned(angle, other)


class RigidBody(ds.Simulator):
    """Rigid boxes in the plane, joined by springs, above a level ground with friction.

    A step is a kick and a flight. Springs pull at points `p = x + R(θ) anchor` of two boxes with the force
    `k (d - target d/|d|) + c u`, where `d` and `u` are distance and relative velocity of these points (of
    `u` the part along `d`; all of it at a joint, whose target is 0), `target = rest (1 + actuation a)`, and
    `a` in [-1, 1] comes from the controller. With the velocity `v, ω` that this kick gives it, each box flies
    under gravity alone, and looks for the impacts of its two lowest corners, of velocity `u = v + ω x r`::

        s:  gap + u_y s - g s² / 2 = 0,   w = u_y - g s             when a corner meets the ground, how fast
        J:  u' = u - g dt + K J,   |J_x| <= friction J_y,   u'_y = max(-e w - g (dt - s), 0)
        v+ = v - g dt + Σ J / m,                        ω+ = ω + Σ r x J / I
        x+ = x + dt v - g dt² / 2 + Σ (dt - s) J / m,   θ+ = θ + dt ω + Σ (dt - s) r x J / I

    with `K` the corner's inverse effective mass: the box moves with the old velocity until the impact and
    with the new one after it. A free flight, and a bounce on a corner below the centre, are exact. A corner
    that would fall again within the step stays down; the ground's force on it is spread over the time left.
    A corner that is below the ground already met it at `s < 0`, counted from `-dt` on, and is lifted onto it.
    Two contacts of a box are balanced by `sweeps` Gauss-Seidel sweeps. Boxes pass through each other. Springs
    keep momentum and angular momentum to rounding; the damping of a joint keeps the latter as far as its two
    points coincide.

    The controller is a tanh network that sees sine waves and each box's offset from the first, velocity,
    angle and angular velocity.

    Args:
        assembly: What to simulate, or the number or name of a robot.
        config: The constants.

    Attributes:
        x: Centres [m], `State(vec2, n)`.
        angle: Angles [rad], `State(real, n)`.
        v: Velocities [m/s], `State(vec2, n)`.
        spin: Angular velocities [rad/s], `State(real, n)`.
        policy: The controller, where some spring is actuated, else None.
        actuation: Commands in [-1, 1], `Scratch(real, m)`; of no effect on passive springs.

    Cost: minus the way of the first box along x [m].

    Raises:
        ConfigError: There is no such robot.

    Differentiability: with respect to weights and first States. Impacts, and sticking or slipping, are kinks.
    That a corner's path is curved by the spin is left out within a step; it may end off the ground by
    `spin² r dt² / 2`.

    Reference: Hu et al., DiffTaichi, ICLR 2020 (time of impact, effective mass); Jean 1999 (the sweeps).
    """

    def __init__(self, assembly: Assembly | int | str = 0, config: RigidBodyConfig | None = None) -> None:
        """Declare the fields; nothing is allocated before a rollout."""
        self.assembly = assembly if isinstance(assembly, Assembly) else load_robot(assembly)
        c = self.config = config or RigidBodyConfig()
        self.dt, self.ground, self.friction, self.restitution = c.dt, c.ground, c.friction, c.restitution
        self.pull, self.decay = c.gravity, math.exp(-c.damping * c.dt)
        self.time_of_impact, self.sweeps, self.scale = c.time_of_impact, c.sweeps, c.observation_scale
        self._boxes()
        self._springs()
        self.start = self.assembly.boxes[0].center[0]
        self.policy = None
        if any(spring.actuation > 0.0 for spring in self.assembly.springs):
            self.n_sines = c.sines
            self.observation = ds.Scratch(ds.real, c.sines + 6 * self.n_boxes)
            self.clock = ds.control.Sinusoids(
                outputs=self.observation, count=c.sines, omega=c.omega, dt=c.dt, offset=0
            )
            self.policy = ds.control.MLP(
                inputs=self.observation, outputs=self.actuation, hidden=(c.hidden,), gains=c.gains
            )

    def _boxes(self) -> None:
        """Declare what boxes are and what happens to them."""
        boxes = self.assembly.boxes
        n = self.n_boxes = len(boxes)
        self.x = ds.State(ds.vec2, n, init=[box.center for box in boxes], unit="m")
        self.angle = ds.State(ds.real, n, init=[box.angle for box in boxes], unit="rad")
        self.v = ds.State(ds.vec2, n, unit="m/s")
        self.spin = ds.State(ds.real, n, unit="rad/s")
        self.impulse = ds.Scratch(ds.vec2, n, unit="kg m/s")
        self.twist = ds.Scratch(ds.real, n, unit="kg m^2/s")
        self.half = ds.Constant(ds.vec2, n, init=[box.half for box in boxes], unit="m")
        self.movable = ds.Constant(np.array([0.0 if box.fixed else 1.0 for box in boxes]))
        self.inverse_mass = ds.Constant(
            np.array([0.0 if box.fixed else 1.0 / box.mass for box in boxes]), unit="1/kg"
        )
        self.inverse_inertia = ds.Constant(
            np.array([0.0 if box.fixed else 1.0 / box.inertia for box in boxes]),
            unit="1/(kg m^2)",
        )

    def _springs(self) -> None:
        """Declare what springs are."""
        springs = self.assembly.springs
        self.n_springs = len(springs)
        if not springs:
            return
        rest = np.array([self.assembly.rest_length(spring) for spring in springs])
        self.ends = ds.Constant(np.array([spring.ends for spring in springs], dtype=np.int32))
        self.anchors = ds.Constant(
            ds.vec2, len(springs), 2, init=[spring.anchors for spring in springs], unit="m"
        )
        self.rest = ds.Constant(rest, unit="m")
        self.joint = ds.Constant(np.where(rest > 0.0, 0.0, 1.0))
        self.stiffness = ds.Constant(
            np.array([spring.stiffness for spring in springs], dtype=np.float64), unit="N/m"
        )
        self.dashpot = ds.Constant(
            np.array([spring.damping for spring in springs], dtype=np.float64), unit="N s/m"
        )
        self.limit = ds.Constant(np.array([spring.actuation for spring in springs], dtype=np.float64))
        self.actuation = ds.Scratch(ds.real, len(springs))

    @ti.kernel
    def observe(self, t: ti.i32):
        """Write offsets from the first box, velocities, angles and spins, box by box, behind the waves."""
        for i in range(self.n_boxes):
            offset = self.x[t, i] - self.x[t, 0]
            speed = self.v[t, i]
            first = self.n_sines + 6 * i
            self.observation[t, first] = self.scale * offset[0]
            self.observation[t, first + 1] = self.scale * offset[1]
            self.observation[t, first + 2] = self.scale * speed[0]
            self.observation[t, first + 3] = self.scale * speed[1]
            self.observation[t, first + 4] = self.scale * self.angle[t, i]
            self.observation[t, first + 5] = self.scale * self.spin[t, i]

    @ti.kernel
    def kick(self, t: ti.i32):
        """Add every spring's impulse to its two boxes."""
        for s in range(self.n_springs):
            a = self.ends[s, 0]
            b = self.ends[s, 1]
            arm_a = _turned(self.angle[t, a], self.anchors[s, 0])
            arm_b = _turned(self.angle[t, b], self.anchors[s, 1])
            span = self.x[t, b] + arm_b - self.x[t, a] - arm_a
            speed = self.v[t, b] + turning(self.spin[t, b], arm_b)
            speed -= self.v[t, a] + turning(self.spin[t, a], arm_a)
            along = ds.math.normalized(span)
            target = self.rest[s] * (1.0 + self.limit[s] * self.actuation[t, s])
            damped = self.joint[s] * speed + (1.0 - self.joint[s]) * speed.dot(along) * along
            push = self.dt * (self.stiffness[s] * (span - target * along) + self.dashpot[s] * damped)
            self.impulse[t, a] += push
            self.impulse[t, b] -= push
            self.twist[t, a] += arm_a.cross(push)
            self.twist[t, b] -= arm_b.cross(push)

    @ti.func
    def land(self, gap, speed):
        """Return whether a corner meets the ground in the step, and what its impulse must and will do.

        Args:
            gap: Its height above the ground [m].
            speed: Its vertical velocity after the springs' kick [m/s].

        Returns:
            Whether it does; the vertical velocity that it must have at the end [m/s]; the time for which the
            impulse moves the box [s].
        """
        when = self.dt
        if ti.static(self.time_of_impact):
            when = plane_impact(gap, speed, self.dt, self.pull)
        else:
            when = ti.select((gap < 0.0) & (speed < self.dt * self.pull), 0.0, self.dt)
        left = self.dt - ti.max(when, -self.dt)
        blow = ti.max(self.pull * when - speed, 0.0)
        # Where the rebound does not outlast the step, the corner stays down: the ground carries the load from
        # then on. That part of the impulse is spread over the time left, and so moves the box half as far.
        load = self.pull * left
        bounces = self.restitution * blow > load
        share = ti.select(bounces, 0.0, load / ti.select(blow + load > 0.0, blow + load, 1.0))
        return when < self.dt, ti.max(self.restitution * blow - load, 0.0), left * (1.0 - 0.5 * share)

    @ti.kernel
    def advance(self, t: ti.i32):
        """Let the boxes fly, with their old velocity up to an impact and with the new one after it."""
        for i in range(self.n_boxes):
            mass, inertia = self.inverse_mass[i], self.inverse_inertia[i]
            v = self.decay * self.v[t, i] + mass * self.impulse[t, i]
            spin = self.decay * self.spin[t, i] + inertia * self.twist[t, i]
            fall = self.movable[i] * ti.Vector([0.0, -self.dt * self.pull])
            normal = ti.Vector([0.0, 1.0])
            height = self.x[t, i][1] - self.ground
            near, far = _lowest(self.half[i], self.angle[t, i])
            near_speed = v + turning(spin, near)
            far_speed = v + turning(spin, far)
            near_lands, near_rebound, near_left = self.land(height + near[1], near_speed[1])
            far_lands, far_rebound, far_left = self.land(height + far[1], far_speed[1])
            near_push = ti.Vector([0.0, 0.0])
            far_push = ti.Vector([0.0, 0.0])
            for _ in range(self.sweeps):
                if near_lands and self.movable[i] > 0.0:
                    # What gravity and the other contact make of this corner's velocity.
                    moved = near_speed + fall + mass * far_push + turning(inertia * far.cross(far_push), near)
                    matrix = point_mobility(mass, inertia, near)
                    near_push = contact_impulse(matrix, moved, normal, near_rebound, self.friction)
                if far_lands and self.movable[i] > 0.0:
                    moved = (
                        far_speed + fall + mass * near_push + turning(inertia * near.cross(near_push), far)
                    )
                    matrix = point_mobility(mass, inertia, far)
                    far_push = contact_impulse(matrix, moved, normal, far_rebound, self.friction)
            near_twist = inertia * near.cross(near_push)
            far_twist = inertia * far.cross(far_push)
            self.v[t + 1, i] = v + fall + mass * (near_push + far_push)
            self.spin[t + 1, i] = spin + near_twist + far_twist
            self.x[t + 1, i] = (
                self.x[t, i]
                + self.dt * (v + 0.5 * fall)
                + mass * (near_left * near_push + far_left * far_push)
            )
            self.angle[t + 1, i] = (
                self.angle[t, i] + self.dt * spin + near_left * near_twist + far_left * far_twist
            )

    @ti.kernel
    def way(self, t: ti.i32):
        """Subtract the first box's way from the cost."""
        for _ in range(1):
            self.cost[None] += self.start - self.x[t, 0][0]

    def step(self, t: int) -> None:
        """Observe, decide, kick by the springs, fly."""
        if self.policy is not None:
            self.clock(t)
            self.observe(t)
            self.policy(t)
        if self.n_springs:
            self.kick(t)
        self.advance(t)

    def terminal_cost(self, t: int) -> None:
        """Reward the first box for being far to the right."""
        self.way(t)

    def scene(self) -> ds.Scene:
        """Describe the boxes on the ground, their joints and springs, muscles coloured by their commands."""
        see, springs = ds.scene, self.assembly.springs
        boxes = see.Boxes(self.x, 2.0 * self.half.numpy(), angles=self.angle, color="#8fa9c4")
        parts: list[ds.scene.Part] = [boxes]
        if springs:
            ends = see.Derived(self._spring_ends, self.x, self.angle, unit="m")
            pairs = np.arange(2 * len(springs)).reshape(-1, 2)
            joints = self.rest.numpy() == 0.0
            muscles = self.limit.numpy() > 0.0

            def command(actuation: NDArray[np.float64]) -> NDArray[np.float64]:
                return actuation[..., muscles]

            if (~joints & ~muscles).any():
                parts.append(see.Lines(ends, pairs[~joints & ~muscles], color=see.BONE, width=2.0))
            if muscles.any():
                parts += muscle_lines(ends, pairs[muscles], see.Derived(command, self.actuation))
            if joints.any():
                parts.append(see.Points(ends, only=pairs[joints, 0], color=see.INK, label="joints"))
        return ds.Scene(parts, ground=self.ground)

    def _spring_ends(self, x: NDArray[np.float64], angle: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return where springs are tied to boxes, one spring after the other, (..., 2 m, 2)."""
        box = self.ends.numpy().reshape(-1)
        along = self.anchors.numpy().reshape(-1, 2)
        c, s = np.cos(angle[..., box]), np.sin(angle[..., box])
        turned = np.stack([c * along[:, 0] - s * along[:, 1], s * along[:, 0] + c * along[:, 1]], axis=-1)
        return np.asarray(x[..., box, :] + turned)
