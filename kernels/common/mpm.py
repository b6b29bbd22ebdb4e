"""The material point method on quadratic B-splines, in 2D and 3D from the same kernels: MLS-MPM with APIC.

Points carry mass, velocity v, its gradient C and the deformation gradient F (liquids: the change of volume
J); a grid of spacing dx carries momentum within a step. With the weights `w_ip` of nodes i around points p::

    F_p <- (I + dt C_p) F_p                                   J_p <- (1 + dt tr C_p) J_p for liquids
    Q_p  = m_p C_p - (4 dt / dx^2) V_p tau(F_p)               tau: Kirchhoff stress, V: volume at rest
    (m v)_i = sum_p w_ip (m_p v_p + Q_p (x_i - x_p))          m_i = sum_p w_ip m_p
    v_i  = (m v)_i / m_i + dt gravity, then what the walls allow
    v_p <- sum_i w_ip v_i      C_p <- 4 / dx^2 sum_i w_ip v_i (x_i - x_p)^T      x_p <- x_p + dt v_p

which keeps linear momentum and, with what C carries, angular momentum to rounding. It is symplectic Euler:
stable for steps that sound does not cross a cell in.

The kernels are perfect nests, and the loops over a point's 3^D nodes are not unrolled: the time to compile
grows with the square of a kernel's accesses to memory.

Reference: Hu, Fang, Ge, Qu, Zhu, Pradhana, Jiang, "A moving least squares material point method" (2018);
Jiang, Schroeder, Selle, Teran, Stomakhin, "The affine particle-in-cell method" (2015).
"""

# No `from __future__ import annotations` here: Taichi reads kernel annotations as objects, not as text.
from collections.abc import Sequence
from typing import Any

import numpy as np
import taichi as ti

import diffsim as ds
from diffsim.errors import ConfigError
from diffsim.kernels.common.materials import fixed_corotated, liquid_pressure, muscle, viscous
from diffsim.kernels.common.particles import Particles
from diffsim.kernels.common.terrain import FRICTION, SLIP, STICKY, Terrain

__all__ = ["MPM", "WALLS", "Walls"]

_SHOWN = 0.62  # of a point's width: its radius in pictures, so that bodies look whole
_EMPTY = 1e-12  # of a point's mass: a node with less is left alone
WALLS = ("separate", "slip", "sticky", "friction")
Walls = str | Sequence[str | Sequence[str]]


@ti.func
def _weight(distance, k):
    """Return the quadratic B-spline at a distance in cells from node `k` of 0, 1, 2; 1 is the nearest."""
    rest = 1.5 - ti.abs(distance)
    return ti.select(k == 1, 0.75 - distance * distance, 0.5 * rest * rest)


class MPM(ds.Part):
    """Move a cloud of particles by one step of MLS-MPM: `self.mpm(t)` in a simulator's `step`.

    The grid's nodes lie at `dx (i, j, ...)` from the origin. What lies within `rim` cells of its border is
    wall: the room for particles is `rim dx .. (n - rim) dx` along each axis. A wall's rule acts on the
    velocities of its nodes:

    - `separate`: nothing moves into the wall; it may leave it, and slides freely.
    - `slip`: nothing moves into the wall nor out of it; it slides freely.
    - `sticky`: nothing moves.
    - `friction`: as `separate`, and what is stopped slows down the sliding by up to `friction` times as much
      (Coulomb).

    Args:
        particles: The cloud; see `diffsim.kernels.common.particles`.
        grid: Cells along each axis, D integers above `2 rim + 1`.
        dx: A cell's size [m].
        dt: Time step [s].
        gravity: Acceleration [m/s^2], D numbers.
        walls: A rule for all walls, or for each axis a rule or a pair of rules (low side, high side).
        friction: Coulomb's coefficient of walls with `friction`.
        rim: Thickness of the walls in cells, at least 2.
        viscosity: Of liquids [Pa s].
        gamma: How fast liquids stiffen, see `liquid_pressure`.
        layout: How the grid lies in memory: `ds.sparse()` for the blocks around the particles alone, in a
            room of any size; None for all of it.
        terrain: The ground, which then takes the place of the low wall of the last axis, with its rule; see
            `diffsim.kernels.common.terrain`.

    Attributes:
        x: Positions [m], `State(vec, n)`.
        v: Velocities [m/s], `State(vec, n)`.
        C: Gradients of the velocity [1/s], `State(mat, n)`.
        F: Deformation gradients of the solids, `State(mat, solids)`; None without any.
        J: Volume over volume at rest of the liquids, `State(real, n - solids)`; None without any.
        actuation: The muscles' commands, `Scratch(real, muscles)`, which a controller writes before the step:
            the tension along the fibres in units of `particles.strength`; None without muscles.
        momentum: Of the nodes [kg m/s], `Scratch(vec, *grid)`.
        mass: Of the nodes [kg], `Scratch(real, *grid)`.
        velocity: Of the nodes at the step's end [m/s], `Scratch(vec, *grid)`.

    Raises:
        ConfigError: A number is out of its range, or the step is too long for the speed of sound.

    Differentiability: with respect to first positions, velocities, C, F and J, and commands. Weights are once
    continuously differentiable in the positions; hitting a wall or not is a kink.
    """

    def __init__(
        self,
        particles: Particles,
        grid: Sequence[int],
        dx: float,
        dt: float,
        gravity: Sequence[float],
        walls: Walls = "separate",
        friction: float = 0.5,
        rim: int = 3,
        viscosity: float = 0.0,
        gamma: float = 7.0,
        layout: Any = None,
        terrain: Terrain | None = None,
    ) -> None:
        """Declare the fields; nothing is allocated before a rollout."""
        self.particles, self.dim, self.grid = particles, particles.dim, tuple(int(n) for n in grid)
        self.dx, self.dt, self.rim, self.friction = float(dx), float(dt), int(rim), float(friction)
        self.viscosity, self.gamma = float(viscosity), float(gamma)
        self.layout = layout
        self.terrain: Any = terrain  # a Terrain where there is one
        self.hilly = terrain is not None
        self._check(gravity)
        self.walls = _rules(walls, self.dim)
        self.inv_dx, self.n, self.n_solids = 1.0 / self.dx, particles.count, particles.solids
        self.n_liquids = self.n - self.n_solids
        # Loops over a point's nodes run over three axes; in 2D the first has length 1.
        self.reach = 1 if self.dim == 2 else 3
        self.least = _EMPTY * float(particles.mass.mean())
        self.fall = tuple(self.dt * float(g) for g in gravity)  # [m/s]
        self.pull = 4.0 * self.dt * self.inv_dx**2  # [s/m^2]
        self._declare()

    def _check(self, gravity: Sequence[float]) -> None:
        dim = self.dim
        for name, value in (("dx", self.dx), ("dt", self.dt), ("gamma", self.gamma)):
            if not value > 0.0:
                raise ConfigError(f"MPM {name} must be a number above 0, got {value!r}; pass SI units")
        for name, value in (("friction", self.friction), ("viscosity", self.viscosity)):
            if not value >= 0.0:
                raise ConfigError(f"MPM {name} must be a number of at least 0, got {value!r}; 0 is none")
        if self.rim < 2:
            raise ConfigError(f"MPM rim must be at least 2 cells, got {self.rim}; use 3")
        if len(self.grid) != dim or min(self.grid) < 2 * self.rim + 2:
            raise ConfigError(
                f"MPM grid must be {dim} whole numbers of at least {2 * self.rim + 2}, got {self.grid}; the "
                f"walls take {self.rim} cells on each side"
            )
        if self.terrain is not None:
            self.terrain.require(dim)
        if len(gravity) != dim:
            raise ConfigError(f"MPM gravity must be {dim} numbers, got {gravity!r}; one for each axis")
        if self.courant > 1.0:
            raise ConfigError(
                f"MPM dt must be at most {self.dt / self.courant:.3g} s, got {self.dt:.3g}: sound runs at "
                f"{self.particles.sound:.3g} m/s through cells of {self.dx:.3g} m; use a smaller step, "
                "softer or denser matter, or larger cells"
            )

    @property
    def courant(self) -> float:
        """The part of a cell that sound crosses in a step; at most 1, and 0.5 is safe."""
        return self.particles.sound * self.dt / self.dx

    def _declare(self) -> None:
        p, n, dim = self.particles, self.n, self.dim
        vector, matrix = ds.vec(dim), ds.mat(dim)
        self.x = ds.State(vector, n, init=p.x, unit="m")
        self.v = ds.State(vector, n, init=p.v, unit="m/s")
        self.C = ds.State(matrix, n, unit="1/s")
        self.affine = ds.Scratch(matrix, n, unit="kg/s")
        self.point_mass, self.volume = ds.Constant(p.mass, unit="kg"), ds.Constant(p.volume, unit=f"m^{dim}")
        self.mu, self.la = ds.Constant(p.mu, unit="Pa"), ds.Constant(p.la, unit="Pa")
        self.F: Any = None  # a field where there is what it tells of
        self.J: Any = None
        self.actuation: Any = None
        self.driven = bool(p.muscles)
        if self.n_solids:
            self.F = ds.State(matrix, self.n_solids, init=_identities(self.n_solids, dim))
        if self.n_liquids:
            self.J = ds.State(ds.real, self.n_liquids, init=1.0)
        if p.muscles:
            self.actuation = ds.Scratch(ds.real, p.muscles)
            self.muscle = ds.Constant(p.muscle.clip(0))  # of no effect where the strength is 0
            self.fibre = ds.Constant(vector, n, init=p.fibre)
            self.strength = ds.Constant((p.muscle >= 0) * p.strength, unit="Pa")
        self.momentum = ds.Scratch(vector, *self.grid, unit="kg m/s", layout=self.layout)
        self.mass = ds.Scratch(ds.real, *self.grid, unit="kg", layout=self.layout)
        self.velocity = ds.Scratch(vector, *self.grid, unit="m/s", layout=self.layout)

    @ti.func
    def _index(self, i, j, k):
        """Return a node's index in as many dimensions as there are."""
        if ti.static(self.dim == 2):
            return ti.Vector([j, k])
        else:
            return ti.Vector([i, j, k])

    @ti.func
    def _corner(self, x):
        """Return the lowest of the nodes around a place, and where the place lies from there in cells."""
        corner = ti.cast(x * self.inv_dx - 0.5, ti.i32)
        return corner, x * self.inv_dx - ti.cast(corner, ds.real)

    @ti.func
    def _share(self, offset, node):
        """Return the weight of a node, and the way to it in cells."""
        weight = 1.0
        way = 0.0 * offset
        for d in ti.static(range(self.dim)):
            way[d] = node[d] - offset[d]
            weight *= _weight(way[d], node[d])
        return weight, way

    @ti.kernel
    def strain_solids(self, t: ti.i32):
        """Deform the solids and find what they push with."""
        for p in range(self.n_solids):
            C = self.C[t, p]
            F = self.F[t, p] + self.dt * C @ self.F[t, p]
            self.F[t + 1, p] = F
            tau = fixed_corotated(F, self.mu[p], self.la[p])
            if ti.static(self.driven):
                tau += muscle(F, self.fibre[p], self.strength[p] * self.actuation[t, self.muscle[p]])
            self.affine[t, p] = self.point_mass[p] * C - (self.pull * self.volume[p]) * tau

    @ti.kernel
    def strain_liquids(self, t: ti.i32):
        """Squeeze the liquids and find what they push with."""
        for q in range(self.n_liquids):
            p = q + self.n_solids
            C = self.C[t, p]
            J = self.J[t, q] * (1.0 + self.dt * C.trace())
            self.J[t + 1, q] = J
            tau = 0.0 * C
            if ti.static(self.viscosity > 0.0):
                tau = J * viscous(C, self.viscosity)
            pressure = liquid_pressure(J, self.la[p], self.gamma)
            for d in ti.static(range(self.dim)):
                tau[d, d] -= J * pressure
            self.affine[t, p] = self.point_mass[p] * C - (self.pull * self.volume[p]) * tau

    @ti.kernel
    def scatter(self, t: ti.i32):
        """Give mass and momentum to the nodes around each point."""
        for p in range(self.n):
            for i, j, k in ti.ndrange(self.reach, 3, 3):
                corner, offset = self._corner(self.x[t, p])
                node = self._index(i, j, k)
                weight, way = self._share(offset, node)
                self.mass[t, corner + node] += weight * self.point_mass[p]
                self.momentum[t, corner + node] += weight * (
                    self.point_mass[p] * self.v[t, p] + self.dx * self.affine[t, p] @ way
                )

    @ti.kernel
    def move_nodes(self, t: ti.i32):
        """Let the nodes fall, and stop those in walls."""
        for node in ti.grouped(self.mass):
            if self.mass[t, node] > self.least:
                v = self.momentum[t, node] / self.mass[t, node]
                for d in ti.static(range(self.dim)):
                    v[d] += self.fall[d]
                if ti.static(self.hilly):
                    v = self.terrain.stopped(v, self.dx * node, self.walls[self.dim - 1][0], self.friction)
                for d in ti.static(range(self.dim)):
                    if ti.static(not self.hilly or d < self.dim - 1):
                        v = self._stopped(v, node[d] <= self.rim, d, 1.0, self.walls[d][0])
                    v = self._stopped(v, node[d] >= self.grid[d] - self.rim, d, -1.0, self.walls[d][1])
                self.velocity[t, node] = v

    @ti.func
    def _stopped(self, v, inside, d: ti.template(), side: ti.template(), rule: ti.template()):  # type: ignore[valid-type]
        """Return the velocity that a wall allows; `side` is the sign of its normal along axis `d`."""
        u = v
        if inside:
            if ti.static(rule == STICKY):
                u = 0.0 * v
            elif ti.static(rule == SLIP):
                u[d] = 0.0
            elif side * v[d] < 0.0:
                u[d] = 0.0
                if ti.static(rule == FRICTION):
                    lost = ds.math.safe_div(self.friction * ti.abs(v[d]), ds.math.norm(u))
                    u *= ti.max(1.0 - lost, 0.0)
        return u

    @ti.kernel
    def gather(self, t: ti.i32):
        """Take velocity and its gradient from the nodes around each point."""
        for p in range(self.n):
            for i, j, k in ti.ndrange(self.reach, 3, 3):
                corner, offset = self._corner(self.x[t, p])
                node = self._index(i, j, k)
                weight, way = self._share(offset, node)
                v = weight * self.velocity[t, corner + node]
                self.v[t + 1, p] += v
                self.C[t + 1, p] += (4.0 * self.inv_dx * v).outer_product(way)

    @ti.kernel
    def advect(self, t: ti.i32):
        """Move the points."""
        for p in range(self.n):
            self.x[t + 1, p] = self.x[t, p] + self.dt * self.v[t + 1, p]

    def parts(self) -> list[ds.scene.Part]:
        """Describe water, flesh, and muscles coloured by their commands, for `Simulator.scene`."""
        p, see = self.particles, ds.scene
        radius = _SHOWN * p.volume ** (1.0 / self.dim)
        found: list[ds.scene.Part] = []

        def command(actuation: Any) -> Any:
            return actuation[..., p.muscle.clip(0)]

        for label, color, chosen in (
            ("liquid", see.WATER, p.liquid),
            ("flesh", "#c9b8a3", ~p.liquid & (p.muscle < 0)),
        ):
            if chosen.any():
                only = np.flatnonzero(chosen)
                found.append(see.Points(self.x, radius=radius, only=only, color=color, label=label))
        if self.actuation is not None:
            told = see.Derived(command, self.actuation)
            only = np.flatnonzero(p.muscle >= 0)
            if self.dim == 2:  # around what may be white
                found.append(see.Points(self.x, radius=1.4 * radius, only=only, color=see.BONE))
            found.append(
                see.Points(
                    self.x,
                    radius=radius,
                    only=only,
                    values=told,
                    center=0.0,
                    limits=(-1.0, 1.0),
                    label="muscles' commands",
                )
            )
        return found

    def __call__(self, t: int) -> None:
        """Take one step: strain the matter, scatter to the grid, move it, gather from it."""
        if self.n_solids:
            self.strain_solids(t)
        if self.n_liquids:
            self.strain_liquids(t)
        self.scatter(t)
        self.move_nodes(t)
        self.gather(t)
        self.advect(t)


def _identities(n: int, dim: int) -> list[list[list[float]]]:
    return [[[float(i == j) for j in range(dim)] for i in range(dim)]] * n


def _rules(walls: Walls, dim: int) -> tuple[tuple[int, int], ...]:
    """Return the numbers of the rules, a pair for each axis."""
    axes = [walls] * dim if isinstance(walls, str) else list(walls)
    pairs = [(axis, axis) if isinstance(axis, str) else tuple(axis) for axis in axes]
    if len(pairs) != dim or any(len(pair) != 2 or not set(pair) <= set(WALLS) for pair in pairs):
        raise ConfigError(
            f"MPM walls must be one of {', '.join(WALLS)}, or {dim} of them or of pairs, got {walls!r}; "
            "give the low side before the high side"
        )
    return tuple((WALLS.index(low), WALLS.index(high)) for low, high in pairs)
