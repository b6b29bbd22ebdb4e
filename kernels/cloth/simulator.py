"""Cloth as a thin shell: a membrane of St. Venant-Kirchhoff material that resists bending, in the wind.

Every kernel runs over the triangles, the inner edges or the vertices of a mesh, and adds forces to corners.
"""

# No `from __future__ import annotations` here: Taichi reads kernel annotations as objects, not as text.
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import taichi as ti
from numpy.typing import ArrayLike, NDArray

import diffsim as ds
from diffsim.errors import ConfigError
from diffsim.kernels.cloth.mesh import Mesh
from diffsim.kernels.common import Config
from diffsim.kernels.common.contact import slowed
from diffsim.options import option

__all__ = ["Cloth", "ClothConfig", "highest_rate"]


@dataclass(frozen=True)
class ClothConfig(Config):
    """The constants of a piece of cloth and of what is around it.

    Args:
        dt: time step [s]; see `highest_rate` for how long it may be.
        stretch: stiffness of the membrane, Young's modulus times thickness [N/m].
        poisson: Poisson's ratio of the membrane, in [0, 1).
        bend: flexural rigidity [N m]; 0 for none.
        damping: time by which stresses follow strain rates, `stress(E + damping dE/dt)` [s]; also in bending.
        mass: per area [kg/m^2].
        gravity: acceleration [m/s^2].
        wind: velocity of the air [m/s].
        gust: share by which the wind swells and ebbs, as a sine.
        gust_rate: gusts a second [1/s].
        air: density of the air [kg/m^3]; 0 for none.
        sphere: centre of a sphere that is in the way [m].
        radius: of the sphere [m], with the cloth's thickness; 0 for none.
        friction: Coulomb's coefficient on the sphere.

    Raises:
        ConfigError: A value is out of range.
    """

    dt: float = option(1e-3, "time step [s]", above=0.0)
    stretch: float = option(60.0, "stiffness of the membrane [N/m]", above=0.0)
    poisson: float = option(0.3, "Poisson's ratio", minimum=0.0, maximum=0.99)
    bend: float = option(1e-3, "flexural rigidity [N m]", minimum=0.0)
    damping: float = option(2e-3, "time by which stresses follow strain rates [s]", minimum=0.0)
    mass: float = option(0.2, "mass per area [kg/m^2]", above=0.0)
    gravity: tuple[float, float, float] = option((0.0, 0.0, -9.8), "acceleration of gravity [m/s^2]")
    wind: tuple[float, float, float] = option((0.0, 0.0, 0.0), "velocity of the air [m/s]")
    gust: float = option(0.0, "share by which the wind swells and ebbs")
    gust_rate: float = option(1.0, "gusts a second [1/s]")
    air: float = option(1.2, "density of the air [kg/m^3]", minimum=0.0)
    sphere: tuple[float, float, float] = option((0.0, 0.0, 0.0), "centre of the sphere [m]")
    radius: float = option(0.0, "radius of the sphere, 0 for none [m]", minimum=0.0)
    friction: float = option(0.3, "Coulomb's coefficient of friction on the sphere", minimum=0.0)


def highest_rate(mesh: Mesh, config: ClothConfig) -> float:
    """Bound the angular frequency [1/s] of the fastest small oscillation of a mesh at rest from above.

    With damping, steps `dt` are stable for `(rate dt)^2 + 2 damping rate^2 dt < 4`. The bound is the sum of
    those for membrane and bending, each the largest over the elements, where each vertex's mass is shared
    among the elements around it.

    Args:
        mesh: The cloth.
        config: Its stiffness and mass.

    Reference: Irons and Treharne 1971 (the bound by elements).
    """
    # A membrane element: E = slopes . corners, energy area/2 E C E, a third of its mass at each corner.
    inverse = mesh.inverse_frames
    slopes = np.concatenate([-inverse.sum(axis=1, keepdims=True), inverse], axis=1)  # (m, corner, axis)
    strain = np.zeros((len(inverse), 3, 3, 2))  # [xx, yy, 2 xy], corner, axis
    strain[:, 0, :, 0] = strain[:, 2, :, 1] = slopes[..., 0]
    strain[:, 1, :, 1] = strain[:, 2, :, 0] = slopes[..., 1]
    by_corner = strain.reshape(-1, 3, 6)
    p = config.poisson
    law = config.stretch / (1 - p * p) * np.array([[1, p, 0], [p, 1, 0], [0, 0, (1 - p) / 2]])
    square = (
        3.0
        / config.mass
        * np.linalg.norm(by_corner.transpose(0, 2, 1) @ law @ by_corner, 2, axis=(1, 2)).max()
    )
    if config.bend > 0.0 and len(mesh.hinges):
        a, b, c, d = mesh.vertices[mesh.hinges].transpose(1, 0, 2)
        areas = 0.5 * np.linalg.norm(np.cross([b - a, b - a], [c - a, d - a]), axis=-1)
        length = np.linalg.norm(b - a, axis=-1)
        # An angle's slopes at the far corners are 1 / height; those at the edge add up to minus theirs.
        slopes_squared = 3.0 * ((length / (2 * areas)) ** 2).sum(axis=0)
        share = config.mass * areas.min(axis=0) / 9.0  # each triangle has three hinges and three corners
        square += (config.bend * mesh.folds()[1] * slopes_squared / share).max()
    return float(np.sqrt(square))


class Cloth(ds.Simulator):
    """A triangle mesh that stretches, bends, is blown about and rests on a sphere.

    One step of semi-implicit Euler, for vertices of mass `mass` times the area around them::

        v' = v + dt (gravity + force / m),  0 where pinned
        v+ = v',  or where x + dt v' lies in the sphere, v' without what points into it, slowed by friction
        x+ = x + dt v+,  put onto the sphere where that is still inside

    Cloth rests and slides more than it bounces, so contact is not resolved within a step: the moments of its
    many small impacts have large gradients, which say nothing about the motion.

    Forces are minus the slopes of the energies, with `E + damping dE/dt` for `E`, and the same for angles::

        membrane   sum over triangles of  area (lambda/2 tr(E)^2 + mu E:E),   E = (F^T F - 1) / 2
                   lambda = stretch poisson / (1 - poisson^2),  mu = stretch / (2 (1 + poisson))
        bending    sum over inner edges of  bend/2 (length^2 / areas of both sides) (angle - rest angle)^2

    so that a flat grid rolled into a cylinder of curvature k along its lines holds bend k^2 / 2 per area.
    Where diagonals can fold too it gives way more easily: a strip that is one cell wide by 4/5. The wind
    presses on each triangle with `air/2 area |u.n| (u.n) n`, `u` the air's velocity relative to it.

    `logs` holds the logarithms of stretch, bend and damping. With a recording the cost is the mean squared
    distance [m^2] of all vertices to it, over its frames.

    Args:
        mesh: The cloth at rest.
        config: Its constants.
        pins: Indices of vertices that stay where they are.
        start: First places of the vertices [m], `(n, 3)`; those at rest where left out.
        recording: Places of the vertices [m] after every `every` steps, `(frames, n, 3)`; what moves on after
            the last frame is not compared.
        every: Steps between frames of the recording.

    Attributes:
        x: Places [m], `State(vec3, n)`.
        v: Velocities [m/s], `State(vec3, n)`.
        logs: Logarithms of stretch [N/m], bend [N m] and damping [s], `Param(real, 3)`.
        wind: Velocity of the air [m/s], `Param(vec3)`, blown with `1 + gust sin(2 pi gust_rate t)`.
        force: What acts on vertices except gravity [N], `Scratch(vec3, n)`.
        mesh: The cloth at rest.
        pinned: Whether each vertex is pinned, `(n,)`.

    Raises:
        ConfigError: The step is too long for the mesh, or an array does not fit it.

    Differentiability: with respect to the logarithms, the wind, and first places and velocities. Meeting the
    sphere or not, sticking or sliding, are kinks.

    Reference: Grinspun et al., Discrete Shells, SCA 2003 (bending); Bridson et al., SCA 2003 (its forces).
    """

    def __init__(
        self,
        mesh: Mesh,
        config: ClothConfig | None = None,
        pins: ArrayLike = (),
        start: ArrayLike | None = None,
        recording: ArrayLike | None = None,
        every: int = 1,
    ) -> None:
        """Declare the fields; nothing is allocated before a rollout."""
        self.mesh, self.config = mesh, config or ClothConfig()
        self._constants(self.config)
        n, m, h = len(mesh.vertices), len(mesh.triangles), len(mesh.hinges)
        self.n_vertices, self.n_triangles, self.n_hinges = n, m, h
        self.pinned = _pinned(n, pins)
        frames = _frames(n, recording)
        if not isinstance(every, int) or isinstance(every, bool) or every < 1:
            raise ConfigError(f"every must be a whole number of at least 1, got {every!r}; it counts steps")
        self.every, self.n_frames = every, 0 if recording is None else len(frames)
        self.share = 1.0 / (n * len(frames))

        self.x = ds.State(ds.vec3, n, init=mesh.vertices if start is None else start, unit="m")
        self.v = ds.State(ds.vec3, n, unit="m/s")
        self.material = ds.State(ds.real, 3)
        self.force = ds.Scratch(ds.vec3, n, unit="N")
        self.logs = ds.Param(_logs(self.config))
        self.wind = ds.Param(ds.vec3, 1, init=[self.config.wind], unit="m/s")
        self.triangles = ds.Constant(mesh.triangles)
        self.inverse_frames = ds.Constant(ds.mat2, m, init=mesh.inverse_frames, unit="1/m")
        self.areas = ds.Constant(mesh.areas, unit="m^2")
        self.mobility = ds.Constant(
            np.where(self.pinned, 0.0, 1.0 / (self.config.mass * mesh.shares)), unit="1/kg"
        )
        self.recording = ds.Constant(ds.vec3, frames.shape[:2], init=frames, unit="m")
        if h:
            angles, weights = mesh.folds()
            self.hinges = ds.Constant(mesh.hinges)
            self.rest_angles, self.weights = ds.Constant(angles, unit="rad"), ds.Constant(weights)
        self._check_step()

    def _constants(self, c: ClothConfig) -> None:
        """Turn the configuration into the plain numbers that the kernels read."""
        self.dt, self.poisson = c.dt, c.poisson
        self.fall = [c.dt * g for g in c.gravity]
        self.half_air, self.gust, self.gust_step = 0.5 * c.air, c.gust, 2.0 * math.pi * c.gust_rate * c.dt
        self.sphere, self.radius, self.friction = list(c.sphere), c.radius, c.friction
        self.bends, self.damps = c.bend > 0.0, c.damping > 0.0

    def _check_step(self) -> None:
        """Refuse a step with which the cloth at rest would blow up."""
        rate, lag = highest_rate(self.mesh, self.config), self.config.damping
        limit = (math.sqrt(lag * lag * rate * rate + 4.0) - lag * rate) / rate
        if self.dt >= limit:
            self.config.refuse(
                "dt",
                f"be below {limit:.3g} s for this mesh",
                self.dt,
                "take shorter steps, or a softer cloth",
            )

    @ti.kernel
    def soften(self):
        """Make the constants of the material of their logarithms."""
        for k in range(3):
            self.material[0, k] = ti.exp(self.logs[k])

    @ti.kernel
    def stretch(self, t: ti.i32):
        """Pull at the corners of every triangle that is strained or straining."""
        for s in range(self.n_triangles):
            a, b, c = self.triangles[s, 0], self.triangles[s, 1], self.triangles[s, 2]
            inverse = self.inverse_frames[s]
            one, other = self.x[t, b] - self.x[t, a], self.x[t, c] - self.x[t, a]
            f0 = inverse[0, 0] * one + inverse[1, 0] * other
            f1 = inverse[0, 1] * one + inverse[1, 1] * other
            e00, e11, e01 = 0.5 * (f0.dot(f0) - 1.0), 0.5 * (f1.dot(f1) - 1.0), 0.5 * f0.dot(f1)
            if ti.static(self.damps):
                lag = self.material[t, 2]
                one, other = self.v[t, b] - self.v[t, a], self.v[t, c] - self.v[t, a]
                g0 = inverse[0, 0] * one + inverse[1, 0] * other
                g1 = inverse[0, 1] * one + inverse[1, 1] * other
                e00 += lag * f0.dot(g0)
                e11 += lag * f1.dot(g1)
                e01 += 0.5 * lag * (f0.dot(g1) + f1.dot(g0))
            stiff = self.areas[s] * self.material[t, 0] / (1.0 - self.poisson**2)
            s00, s11 = stiff * (e00 + self.poisson * e11), stiff * (e11 + self.poisson * e00)
            s01 = stiff * (1.0 - self.poisson) * e01
            p0, p1 = s00 * f0 + s01 * f1, s01 * f0 + s11 * f1
            at_b = inverse[0, 0] * p0 + inverse[0, 1] * p1
            at_c = inverse[1, 0] * p0 + inverse[1, 1] * p1
            self.force[t, a] += at_b + at_c
            self.force[t, b] -= at_b
            self.force[t, c] -= at_c

    @ti.kernel
    def bend(self, t: ti.i32):
        """Turn both sides of every inner edge back to its angle at rest."""
        for s in range(self.n_hinges):
            a, b, c, d = self.hinges[s, 0], self.hinges[s, 1], self.hinges[s, 2], self.hinges[s, 3]
            e, to_c, to_d = (
                self.x[t, b] - self.x[t, a],
                self.x[t, c] - self.x[t, a],
                self.x[t, d] - self.x[t, a],
            )
            one, other = e.cross(to_c), to_d.cross(e)
            square = e.dot(e)
            length = ds.math.norm(e)
            angle = ds.math.atan2(ds.math.safe_div(one.cross(other).dot(e), length), one.dot(other))
            # The angle's slopes: at the far corners 1 / height, at the edge what keeps forces and torques 0.
            slope_c = -ds.math.safe_div(length, one.dot(one)) * one
            slope_d = -ds.math.safe_div(length, other.dot(other)) * other
            part_c, part_d = ds.math.safe_div(to_c.dot(e), square), ds.math.safe_div(to_d.dot(e), square)
            slope_b = -(part_c * slope_c + part_d * slope_d)
            slope_a = -(slope_b + slope_c + slope_d)
            lifted = angle - self.rest_angles[s]
            if ti.static(self.damps):
                rate = slope_a.dot(self.v[t, a]) + slope_b.dot(self.v[t, b])
                rate += slope_c.dot(self.v[t, c]) + slope_d.dot(self.v[t, d])
                lifted += self.material[t, 2] * rate
            moment = self.material[t, 1] * self.weights[s] * lifted
            self.force[t, a] -= moment * slope_a
            self.force[t, b] -= moment * slope_b
            self.force[t, c] -= moment * slope_c
            self.force[t, d] -= moment * slope_d

    @ti.kernel
    def blow(self, t: ti.i32):
        """Press on every triangle with the air that flows through it."""
        for s in range(self.n_triangles):
            a, b, c = self.triangles[s, 0], self.triangles[s, 1], self.triangles[s, 2]
            across = (self.x[t, b] - self.x[t, a]).cross(
                self.x[t, c] - self.x[t, a]
            )  # twice the area, normal
            moves = (self.v[t, a] + self.v[t, b] + self.v[t, c]) / 3.0
            swell = 1.0 + self.gust * ti.sin(self.gust_step * t)
            flow = across.dot(swell * self.wind[0] - moves)
            press = self.half_air * ds.math.safe_div(ti.abs(flow) * flow, 2.0 * across.dot(across))
            self.force[t, a] += press / 3.0 * across
            self.force[t, b] += press / 3.0 * across
            self.force[t, c] += press / 3.0 * across

    @ti.kernel
    def advance(self, t: ti.i32):
        """Move the vertices; one that meets the sphere goes on along it."""
        for i in range(self.n_vertices):
            free = ti.select(self.mobility[i] > 0.0, 1.0, 0.0)
            v = free * (self.v[t, i] + ti.Vector(self.fall)) + self.dt * self.mobility[i] * self.force[t, i]
            x = self.x[t, i] + self.dt * v
            if ti.static(self.radius > 0.0):
                offset = x - ti.Vector(self.sphere)
                if offset.dot(offset) < self.radius**2:
                    out = ds.math.normalized(offset)
                    into = ti.min(v.dot(out), 0.0)
                    v = slowed(v - into * out, -self.friction * into)
                    offset = self.x[t, i] + self.dt * v - ti.Vector(self.sphere)
                    lift = ti.max(ds.math.safe_div(self.radius, ds.math.norm(offset)), 1.0)
                    x = ti.Vector(self.sphere) + lift * offset
            self.v[t + 1, i] = v
            self.x[t + 1, i] = x

    @ti.kernel
    def compare(self, t: ti.i32):
        """Add the squared distance to the recording, at its frames."""
        for i in range(self.n_vertices):
            frame = (t + 1) // self.every - 1
            if (t + 1) % self.every == 0 and 0 <= frame < self.n_frames:
                miss = self.x[t + 1, i] - self.recording[frame, i]
                self.cost[None] += self.share * miss.dot(miss)

    def reset(self) -> None:
        """Make the material."""
        self.soften()

    def step(self, t: Any) -> None:
        """Collect the forces, move."""
        self.stretch(t)
        if self.bends and self.n_hinges:
            self.bend(t)
        if self.half_air > 0.0:
            self.blow(t)
        self.advance(t)

    def running_cost(self, t: Any) -> None:
        """Compare with the recording."""
        self.compare(t)

    def scene(self) -> ds.Scene:
        """Describe the cloth, the sphere in its way, its pins, and the edge of the recorded one."""
        see, pins = ds.scene, np.flatnonzero(self.pinned)
        parts: list[ds.scene.Part] = [see.Triangles(self.x, self.triangles, color="#e0a458", label="cloth")]
        if self.radius > 0.0:
            # smaller than it is: flat triangles whose corners rest on it cut off some of it
            parts.append(see.Points(np.array(self.sphere), radius=0.9 * self.radius, color=see.BONE))
        if self.n_frames:
            recorded = see.Derived(self._recorded, "t", self.x, unit="m")
            parts.append(see.Lines(recorded, self.mesh.rim, color=see.GOAL, label="recorded edge"))
        if len(pins):
            parts.append(see.Points(self.x, only=pins, color=see.INK, label="pins"))
        return ds.Scene(parts, camera=see.Camera(toward=(-0.64, 0.71, -0.28), up=(0.0, 0.0, 1.0)))

    def _recorded(self, t: NDArray[np.int64], x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the recording's frame that came last at steps; the first places before there is one."""
        frames = np.concatenate([x[:1].reshape(-1, *x.shape[-2:])[:1], self.recording.numpy()])
        return np.asarray(frames[np.minimum(t // self.every, self.n_frames)])


def _logs(c: ClothConfig) -> NDArray[np.float64]:
    """Return the logarithms of the three constants; a rigidity or damping of 0, which is not used, has 0."""
    return np.array([math.log(value) if value > 0.0 else 0.0 for value in (c.stretch, c.bend, c.damping)])


def _pinned(n: int, pins: ArrayLike) -> NDArray[np.bool_]:
    """Return which vertices are pinned."""
    indices = np.asarray(pins).reshape(-1)
    if indices.size and (indices.dtype.kind not in "iu" or indices.min() < 0 or indices.max() >= n):
        raise ConfigError(
            f"pins must be vertices from 0 to {n - 1}, got {indices.tolist()}; "
            "Mesh.nearest finds them by place"
        )
    pinned = np.zeros(n, dtype=bool)
    pinned[indices.astype(np.int64)] = True
    return pinned


def _frames(n: int, recording: ArrayLike | None) -> NDArray[np.float64]:
    """Return the frames of a recording, one of zeros where there is none."""
    frames = np.zeros((1, n, 3)) if recording is None else np.asarray(recording, dtype=np.float64)
    if frames.ndim != 3 or frames.shape[1:] != (n, 3) or not len(frames):
        raise ConfigError(
            f"recording must have shape (frames, {n}, 3), got {frames.shape}; record the same mesh"
        )
    return frames
