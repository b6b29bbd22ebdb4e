"""Planar trees of rigid links in joint coordinates: one dynamics for every mechanism.

The tree is known when the kernels compile, so its loops are unrolled and what two links on different branches
would have in common is left out. Row 0 of the kinematic tables is the world, row i + 1 link i.
"""

# No `from __future__ import annotations` here: Taichi reads kernel annotations as objects, not as text.
from dataclasses import dataclass

import numpy as np
import taichi as ti
from numpy.typing import NDArray

import diffsim as ds
from diffsim.errors import ConfigError
from diffsim.kernels.common import Config
from diffsim.kernels.rigid_body_articulated.mechanism import Mechanism, cart_pole
from diffsim.options import option

__all__ = ["Articulated", "ArticulatedConfig"]

_MOST = 16  # joints: the unrolled code grows at least with their square


@dataclass(frozen=True)
class ArticulatedConfig(Config):
    """The constants of a run.

    Args:
        dt: time step [s], positive.
        gravity: vertical acceleration [m/s^2]; negative points down.
        integrator: "rk4", the classic Runge-Kutta method, of fourth order; or "semi-implicit" Euler, of first
            order, which evaluates M once instead of four times and keeps the energy of a long swing better
            where M is constant.

    Raises:
        ConfigError: A value is out of range.
    """

    dt: float = option(0.01, "time step [s]", above=0.0)
    gravity: float = option(-9.81, "vertical acceleration [m/s^2]; negative points down")
    integrator: str = option("rk4", "how time goes on", choices=("rk4", "semi-implicit"))


@ti.func
def turned(v):
    """Turn a vector by a right angle, counterclockwise."""
    return ti.Vector([-v[1], v[0]])


@ti.func
def rotated(heading, v):
    """Turn a vector by the angle whose cosine and sine are `heading`."""
    return heading[0] * v + heading[1] * turned(v)


class Articulated(ds.Simulator):
    """A tree of rigid links in the plane, in joint coordinates q [rad] or [m].

    The equations of motion are::

        M(q) q'' + h(q, q') = effort - damping q',    effort = limit tanh(command)

    M is the mass matrix, by the composite rigid body algorithm: if all links beyond joint j were frozen into
    one body of mass m, centre C and moment of inertia I, a joint i at or before j would feel
    `M[i, j] = m e_i(C) . e_j(C) + I w_i w_j`, where `e(P)` is the velocity of a point P, and w the rate of
    turning, per unit speed of a joint. h holds gravity, centrifugal and Coriolis forces, by recursive
    Newton-Euler: the forces that the links need in order to move with q'' = 0 in a world that accelerates
    upward by -gravity. The equations are solved by M = L^T D L, which has no fill-in where a tree branches.
    Nothing is linearised; angles are not wrapped.

    A step advances by the classic Runge-Kutta method, or by semi-implicit Euler,
    `q'+ = q' + dt q''(q, q')`, `q+ = q + dt q'+`; the effort is constant within it.

    Args:
        mechanism: The links; a cart-pole where left out.
        config: The constants of the run.
        per_world: Each world has commands of its own: one motion from several starts at once.

    Attributes:
        q: joint coordinates [rad] or [m], `State(real, n)`.
        v: their rates [rad/s] or [m/s], `State(real, n)`.
        command: for each motor, what it is told, without unit, `Control(real, motors)`.
        effort: torque [N m] or force [N] of each joint, `Scratch(real, n)`.

    Raises:
        ConfigError: The mechanism has more joints than are sensible to unroll (16).

    Differentiability: smooth everywhere, with respect to `command` and the first `q` and `v`. Motors far
    in saturation have gradients near zero: start from small commands.

    Limits: no contact, no joint stops. Swinging mechanisms without damping are chaotic: gradients over many
    seconds grow exponentially. Rounding does not grow with the distance from the origin.

    Reference: Featherstone, Rigid Body Dynamics Algorithms, 2008 (chapters 5, 6 and 8).
    """

    def __init__(
        self,
        mechanism: Mechanism | None = None,
        config: ArticulatedConfig | None = None,
        per_world: bool = False,
    ) -> None:
        """Declare the fields; nothing is allocated before a rollout."""
        self.mechanism = mechanism or cart_pole()
        self.config = config or ArticulatedConfig()
        links, n = self.mechanism.links, self.mechanism.size
        if n > _MOST:
            raise ConfigError(
                f"Articulated mechanism must have at most {_MOST} joints, got {n}; its loops are unrolled"
            )
        self.n = n
        self.dt, self.gravity = self.config.dt, self.config.gravity
        self.rk4 = self.config.integrator == "rk4"
        self.slots = tuple(link.parent + 1 for link in links)
        self.turns = tuple(link.turns for link in links)
        self.anchors, self.directions = tuple(k.anchor for k in links), tuple(k.direction for k in links)
        self.centers, self.tips = tuple(k.center for k in links), tuple(k.tip for k in links)
        self.masses, self.inertias = tuple(k.mass for k in links), tuple(k.inertia for k in links)
        self.dampings, self.limits = tuple(k.damping for k in links), tuple(k.limit for k in links)
        self.above = _ancestors(self.mechanism)
        self.loads = tuple(
            sum(links[j].mass for j in range(n) if j == i or self.above[j][i]) for i in range(n)
        )  # [kg] each link with all beyond it
        motors = self.mechanism.motors
        self.motors = tuple(motors.index(i) if i in motors else -1 for i in range(n))
        place, rate, effort = _units(self.turns)
        self.q = ds.State(ds.real, n, unit=place)
        self.v = ds.State(ds.real, n, unit=rate)
        self.effort = ds.Scratch(ds.real, n, unit=effort)
        self.command = ds.Control(ds.real, max(1, len(motors)), per_world=per_world)

    @ti.kernel
    def drive(self, t: ti.i32):
        """Turn commands into efforts that keep to their limits."""
        for i in ti.static(range(self.n)):
            if ti.static(self.motors[i] >= 0):
                self.effort[t, i] = self.limits[i] * ti.tanh(self.command[t, self.motors[i]])

    @ti.func
    def place(self, q):
        """Return headings, joints and centres of mass in the world, and the directions of slides."""
        heading = ti.Matrix.zero(float, self.n + 1, 2)
        joint = ti.Matrix.zero(float, self.n + 1, 2)
        center = ti.Matrix.zero(float, self.n + 1, 2)
        slide = ti.Matrix.zero(float, self.n + 1, 2)
        heading[0, 0] = 1.0
        for i in ti.static(range(self.n)):
            p = ti.static(self.slots[i])
            facing = heading[p, :]
            joint[i + 1, :] = joint[p, :] + rotated(facing, ti.Vector(self.anchors[i]))
            if ti.static(self.turns[i]):
                facing = rotated(facing, ti.Vector([ti.cos(q[i]), ti.sin(q[i])]))
            else:
                slide[i + 1, :] = rotated(facing, ti.Vector(self.directions[i]))
                joint[i + 1, :] += q[i] * slide[i + 1, :]
            heading[i + 1, :] = facing
            center[i + 1, :] = joint[i + 1, :] + rotated(facing, ti.Vector(self.centers[i]))
        return heading, joint, center, slide

    @ti.func
    def mass_matrix(self, joint, center, slide):
        """Return M [kg m^2, kg m or kg]; entries above the diagonal and between branches stay zero."""
        middle = ti.Matrix.zero(float, self.n + 1, 2)  # of each link with all beyond it: first m C, then C
        inertia = ti.Vector.zero(float, self.n + 1)  # about C
        matrix = ti.Matrix.zero(float, self.n, self.n)
        for j in ti.static(range(self.n - 1, -1, -1)):
            p = ti.static(self.slots[j])
            middle[j + 1, :] += self.masses[j] * center[j + 1, :]
            middle[p, :] += middle[j + 1, :]
            middle[j + 1, :] = middle[j + 1, :] / self.loads[j]
        for j in ti.static(range(self.n - 1, -1, -1)):
            away = center[j + 1, :] - middle[j + 1, :]
            inertia[j + 1] += self.inertias[j] + self.masses[j] * away.dot(away)
            for k in ti.static(range(j + 1, self.n)):
                if ti.static(self.slots[k] == j + 1):
                    apart = middle[k + 1, :] - middle[j + 1, :]
                    inertia[j + 1] += inertia[k + 1] + self.loads[k] * apart.dot(apart)
        for j in ti.static(range(self.n)):
            at = middle[j + 1, :]
            push = self.loads[j] * self.carried(j, at, joint, slide)
            for i in ti.static(range(j + 1)):
                if ti.static(i == j or self.above[j][i]):
                    matrix[j, i] = push.dot(self.carried(i, at, joint, slide))
                    if ti.static(self.turns[i] and self.turns[j]):
                        matrix[j, i] += inertia[j + 1]
        return matrix

    @ti.func
    def carried(self, i, at, joint, slide):
        """Return the velocity of the point `at` per unit speed of joint `i`."""
        velocity = slide[i + 1, :]
        if ti.static(self.turns[i]):
            velocity = turned(at - joint[i + 1, :])
        return velocity

    @ti.func
    def bias(self, v, joint, center, slide):
        """Return the efforts [N m] or [N] that keep the speeds as they are against gravity and inertia."""
        rate = ti.Vector.zero(float, self.n + 1)
        acceleration = ti.Matrix.zero(float, self.n + 1, 2)  # of the joints
        force = ti.Matrix.zero(float, self.n + 1, 2)  # that a link needs with all beyond it
        moment = ti.Vector.zero(float, self.n + 1)  # the same, about its joint
        effort = ti.Vector.zero(float, self.n)
        acceleration[0, 1] = -self.gravity
        for i in ti.static(range(self.n)):
            p = ti.static(self.slots[i])
            acceleration[i + 1, :] = acceleration[p, :] - rate[p] ** 2 * (joint[i + 1, :] - joint[p, :])
            rate[i + 1] = rate[p]
            if ti.static(self.turns[i]):
                rate[i + 1] += v[i]
            else:
                acceleration[i + 1, :] += 2.0 * rate[p] * v[i] * turned(slide[i + 1, :])
            arm = center[i + 1, :] - joint[i + 1, :]
            force[i + 1, :] = self.masses[i] * (acceleration[i + 1, :] - rate[i + 1] ** 2 * arm)
            moment[i + 1] = arm.cross(force[i + 1, :])
        for i in ti.static(range(self.n - 1, -1, -1)):
            p = ti.static(self.slots[i])
            arm = joint[i + 1, :] - joint[p, :]
            force[p, :] += force[i + 1, :]
            moment[p] += moment[i + 1] + arm.cross(force[i + 1, :])
            if ti.static(self.turns[i]):
                effort[i] = moment[i + 1]
            else:
                effort[i] = slide[i + 1, :].dot(force[i + 1, :])
        return effort

    @ti.func
    def solve(self, matrix, effort):
        """Return x of `M x = effort` by M = L^T D L, from the leaves of the tree to its root."""
        x = effort
        for k in ti.static(range(self.n - 1, -1, -1)):
            for i in ti.static(range(k - 1, -1, -1)):
                if ti.static(self.above[k][i]):
                    share = matrix[k, i] / matrix[k, k]
                    for j in ti.static(range(i + 1)):
                        if ti.static(i == j or self.above[i][j]):
                            matrix[i, j] -= share * matrix[k, j]
                    x[i] -= share * x[k]
                    matrix[k, i] = share
        for k in ti.static(range(self.n)):
            x[k] = x[k] / matrix[k, k]
            for i in ti.static(range(k)):
                if ti.static(self.above[k][i]):
                    x[k] -= matrix[k, i] * x[i]
        return x

    @ti.func
    def acceleration(self, q, v, effort):
        """Return q'' [rad/s^2] or [m/s^2]."""
        _, joint, center, slide = self.place(q)
        friction = ti.Vector(self.dampings) * v
        return self.solve(
            self.mass_matrix(joint, center, slide), effort - friction - self.bias(v, joint, center, slide)
        )

    @ti.kernel
    def advance(self, t: ti.i32):
        """Move on by one time step."""
        q = ti.Vector([self.q[t, i] for i in range(self.n)])
        v = ti.Vector([self.v[t, i] for i in range(self.n)])
        effort = ti.Vector([self.effort[t, i] for i in range(self.n)])
        a1 = self.acceleration(q, v, effort)
        new_v = v + self.dt * a1
        new_q = q + self.dt * new_v
        if ti.static(self.rk4):
            half = 0.5 * self.dt
            v2 = v + half * a1
            a2 = self.acceleration(q + half * v, v2, effort)
            v3 = v + half * a2
            a3 = self.acceleration(q + half * v2, v3, effort)
            v4 = v + self.dt * a3
            a4 = self.acceleration(q + self.dt * v3, v4, effort)
            new_q = q + self.dt / 6.0 * (v + 2.0 * v2 + 2.0 * v3 + v4)
            new_v = v + self.dt / 6.0 * (a1 + 2.0 * a2 + 2.0 * a3 + a4)
        for i in ti.static(range(self.n)):
            self.q[t + 1, i] = new_q[i]
            self.v[t + 1, i] = new_v[i]

    def step(self, t: int) -> None:
        """Drive the motors, move."""
        self.drive(t)
        self.advance(t)

    def scene(self) -> ds.Scene:
        """Describe the rods from joint to tip, what slides as boxes, and the joints."""
        see, size = ds.scene, max(0.2, *(float(np.hypot(*tip)) for tip in self.tips))
        ends = see.Derived(self._ends, self.q, unit="m")
        turning = np.flatnonzero(self.turns)
        sliding = np.flatnonzero(np.logical_not(self.turns))
        parts: list[ds.scene.Part] = [see.Lines(ends, self._rods(), color="#5a7da0", width=5.0)]
        if len(sliding):

            def sliders(q: NDArray[np.float64]) -> NDArray[np.float64]:
                return self.mechanism.places(q)[0][..., sliding, :]

            middles = see.Derived(sliders, self.q, unit="m")
            parts.append(see.Boxes(middles, np.array([0.3, 0.16]) * size, color=see.BONE))
        parts.append(see.Points(ends, only=turning, radius=0.03 * size, color=see.INK))
        return ds.Scene(parts)

    def _ends(self, q: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return where joints and behind them tips are, (..., 2 n, 2)."""
        return np.concatenate(self.mechanism.places(q), axis=-2)

    def _rods(self) -> NDArray[np.int64]:
        """Return which joint and tip in `_ends` are those of a rod."""
        rods = np.flatnonzero([tip != (0.0, 0.0) for tip in self.tips])
        return np.stack([rods, rods + self.n], axis=1)


def _units(turns: tuple[bool, ...]) -> tuple[str, str, str]:
    """Return what joint coordinates, their rates and efforts are in; both where there are both kinds."""
    kinds = {True: ("rad", "rad/s", "N m"), False: ("m", "m/s", "N")}
    several = [kinds[kind] for kind in dict.fromkeys(sorted(turns, reverse=True))]
    place, rate, effort = (" or ".join(names) for names in zip(*several, strict=True))
    return place, rate, effort


def _ancestors(mechanism: Mechanism) -> tuple[tuple[bool, ...], ...]:
    """Return for each link which links lie between it and the world, a square table."""
    rows: list[tuple[bool, ...]] = []
    for link in mechanism.links:
        p = link.parent
        rows.append(tuple(p >= 0 and (j == p or rows[p][j]) for j in range(mechanism.size)))
    return tuple(rows)
