"""A viscous fluid in two dimensions by the lattice Boltzmann method on nine velocities (D2Q9)."""

# No `from __future__ import annotations` here: Taichi reads kernel annotations as objects, not as text.
import math
from dataclasses import dataclass

import numpy as np
import taichi as ti
from numpy.typing import ArrayLike, NDArray

import diffsim as ds
from diffsim.errors import ConfigError
from diffsim.kernels.common import Config
from diffsim.options import option

__all__ = ["OPPOSITE", "SOUND", "VELOCITIES", "WEIGHTS", "LatticeBoltzmann", "LatticeBoltzmannConfig"]

# The rest population, then pairs that point opposite ways: 2k - 1 and 2k for k = 1 .. 4.
VELOCITIES = ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, -1), (1, -1), (-1, 1))  # [dx/dt]
WEIGHTS = (4 / 9, 1 / 9, 1 / 9, 1 / 9, 1 / 9, 1 / 36, 1 / 36, 1 / 36, 1 / 36)
OPPOSITE = (0, 2, 1, 4, 3, 6, 5, 8, 7)
SOUND = 1.0 / math.sqrt(3.0)  # speed of sound [dx/dt]

_FASTEST = 0.25  # [dx/dt] beyond it errors of order Mach^2 are no longer small
_ANCHOR = 0.05  # share of the density's deviation that the outflow takes back: keeps the mean pressure


@dataclass(frozen=True)
class LatticeBoltzmannConfig(Config):
    """The constants of a flow, in lattice units: a cell is 1 dx wide, a step takes 1 dt, density is about 1.

    A flow of speed U past a body of size D has the Reynolds number U D / viscosity and the Mach number
    sqrt(3) U. Errors grow as Mach^2, hence the limit of 0.25 dx/dt on speeds (Mach 0.43; 0.1 or less is
    accurate). The collision is stable while U dx / viscosity stays below about 10 ("bgk") or 50 ("trt").

    Args:
        nx: cells along x.
        ny: cells along y.
        viscosity: kinematic viscosity [dx^2/dt], above 0; the rate of collisions follows from it.
        collision: "trt" relaxes what is even and odd in the velocity at two rates, "bgk" all at one.
        magic: the product (1/even - 1/2)(1/odd - 1/2) of the rates that "trt" keeps: at 3/16 walls lie
            midway between cells whatever the viscosity, at 1/4 the collision is most stable.
        x: what is at the left and right: "periodic", "walls" at rest, or "channel", an inflow on the left and
            an outflow on the right.
        y: what is below and above: "periodic" or "walls".
        force: force per mass on the whole fluid [dx/dt^2].
        lid: speed at which the upper wall moves along x [dx/dt].
        speed: speed of the fluid at the start, and of the inflow where there is one [dx/dt], along x.

    Raises:
        ConfigError: a value is out of its range, or a lid has no wall.
    """

    nx: int = option(120, "cells along x", minimum=4)
    ny: int = option(60, "cells along y", minimum=4)
    viscosity: float = option(0.02, "kinematic viscosity [dx^2/dt]", above=0.0)
    collision: str = option("trt", "rates of relaxation: two or one", choices=("trt", "bgk"))
    magic: float = option(0.1875, "product of the two rates' excess times", above=0.0)
    x: str = option("channel", "left and right boundary", choices=("periodic", "walls", "channel"))
    y: str = option("walls", "lower and upper boundary", choices=("periodic", "walls"))
    force: tuple[float, float] = option((0.0, 0.0), "force per mass [dx/dt^2]")
    lid: float = option(0.0, "speed of the upper wall [dx/dt]", minimum=-_FASTEST, maximum=_FASTEST)
    speed: float = option(0.0, "speed at the start and of the inflow [dx/dt]", minimum=0.0, maximum=_FASTEST)

    @property
    def rates(self) -> tuple[float, float]:
        """Give the rates at which the even and the odd parts of the populations relax [1/dt]."""
        even = 1.0 / (3.0 * self.viscosity + 0.5)
        return even, even if self.collision == "bgk" else 1.0 / (self.magic / (1.0 / even - 0.5) + 0.5)

    def check(self) -> None:
        """Refuse a lid that is not there."""
        if self.lid != 0.0 and self.y != "walls":
            self.refuse("lid", "be 0 without walls", self.lid, "set y='walls'")


class LatticeBoltzmann(ds.Simulator):
    """A viscous, nearly incompressible fluid on a square grid, with walls, an inflow and a smooth obstacle.

    Nine populations per cell stream to neighbours and collide there. With c the nine velocities, w their
    weights, s the solid fraction and * what leaves a cell::

        f_q      = f*_q(x - c_q, t)                                                streaming
        rho      = sum f_q,   rho u = sum c_q f_q + rho force / 2                  moments
        feq_q    = w_q rho (1 + 3 c_q.u + 4.5 (c_q.u)^2 - 1.5 u.u)
        f+, f-   = (f_q +- f_opposite) / 2                                         even and odd part
        f'_q     = f_q - even (f+ - feq+) - odd (f- - feq-) + forcing              collision
        f*_q     = (1 - b) f'_q + b f_opposite,   b = 3 nu s / (1 - s + 3 nu)      obstacle

    which solves, to second order in dx, the Navier-Stokes equations at small Mach numbers with pressure
    rho/3, speed of sound 1/sqrt(3) and viscosity nu = (1/even - 1/2)/3. Where s = 1 all populations are sent
    back, which is a no-slip wall; cells that are partly solid send back a share b, so that a body of smooth
    outline has a gradient. It takes no mass, and feels the force `drag`.

    Walls lie half a cell outside the outermost cells and send populations back; a moving wall and the inflow
    add 6 w c.u, so that the flux of an inflow is exact. The outflow hands on what leaves the last cells and
    lets sound pass; that it takes back a little of the density's deviation keeps the mean pressure.

    Populations are stored without w, so that a fluid at rest is zero and no digits are lost to the 1 of the
    density, and with a rim of one cell that holds what boundaries send. They lie population by population,
    with y innermost, and collide pair by pair: neighbours along y are then computed together.

    Args:
        config: The constants of the flow.
        solid: Solid fraction of the cells, shape (nx, ny) or a number, 0 to 1.
        inflow: Speed along x of the fluid that comes in at the left [dx/dt], shape (ny,) or a number; None:
            `config.speed`. All of the fluid starts with it.

    Attributes:
        f: populations that leave the cells, less w, `State(real, (9, nx + 2, ny + 2))`; set another start by
            `f.set(populations(velocity, density))`.
        solid: solid fraction, `State(real, (nx, ny))`; its first value is what gradients are for, and stays.
        inflow: speed of the inflow [dx/dt], `State(real, ny)`; the same.
        density: density less 1 of what arrives in a step, `Scratch(real, (nx, ny))`.
        velocity: its velocity [dx/dt], `Scratch(vec2, (nx, ny))`.

    Raises:
        ConfigError: An array has the wrong shape, a solid fraction is not in 0 .. 1, an inflow is too fast.

    Differentiability: Smooth everywhere, with respect to the obstacle, the inflow and the start.

    Reference: Qian, d'Humieres and Lallemand 1992 (D2Q9), Ginzburg, Verhaeghe and d'Humieres 2008 (two
    rates), Guo, Zheng and Shi 2002 (force), Ladd 1994 (moving walls), Walsh, Burwinkle and Saar 2009 (porous
    solid), Noble and Torczynski 1998 (share of partly solid cells).
    """

    def __init__(
        self,
        config: LatticeBoltzmannConfig | None = None,
        solid: ArrayLike = 0.0,
        inflow: ArrayLike | None = None,
    ) -> None:
        """Declare the fields; nothing is allocated before a rollout."""
        self.config = c = config or LatticeBoltzmannConfig()
        self.nx, self.ny = c.nx, c.ny
        self.even, self.odd = c.rates
        self.slack = 3.0 * c.viscosity  # 1 / even - 1/2
        self.force, self.forced = c.force, c.force != (0.0, 0.0)
        self.lid, self.anchor = c.lid, _ANCHOR
        self.left_right, self.below_above = c.x, c.y
        # Columns of the lower and upper rim that belong to it: corners are the sides' where those send back.
        self.first, self.last = int(c.x != "periodic"), c.nx + int(c.x != "walls")
        self.c, self.w, self.opposite = VELOCITIES, WEIGHTS, OPPOSITE
        solid = _within("solid", solid, (c.nx, c.ny), 0.0, 1.0, "it is a share of each cell")
        inflow = _within(
            "inflow",
            c.speed if inflow is None else inflow,
            (c.ny,),
            -_FASTEST,
            _FASTEST,
            "flow slower [dx/dt]",
        )
        start = np.zeros((c.nx, c.ny, 2))
        start[..., 0] = inflow * (1.0 - solid)
        # what nothing sends back in from the rim is zero, and nobody reads it
        self.f = ds.State(ds.real, 9, c.nx + 2, c.ny + 2, init=self.populations(start), keep=False)
        self.solid = ds.State(ds.real, c.nx, c.ny, init=solid)
        self.inflow = ds.State(ds.real, c.ny, init=inflow, unit="dx/dt")
        self.density = ds.Scratch(ds.real, c.nx, c.ny)
        self.velocity = ds.Scratch(ds.vec2, c.nx, c.ny, unit="dx/dt")

    def populations(self, velocity: ArrayLike, density: ArrayLike = 1.0) -> NDArray[np.float64]:
        """Return the equilibrium of a velocity field, for `f.set`: where a flow starts.

        Args:
            velocity: Velocities [dx/dt], shape (nx, ny, 2) or what broadcasts to it.
            density: Densities, shape (nx, ny) or a number; a pressure p is a density of 1 + 3 p.

        Returns:
            Populations less w, shape (9, nx + 2, ny + 2); the rim is zero, `reset` fills it.
        """
        rho = np.broadcast_to(np.asarray(density, float), (self.nx, self.ny))
        u, v = np.moveaxis(np.broadcast_to(np.asarray(velocity, float), (self.nx, self.ny, 2)), -1, 0)
        found = np.zeros((9, self.nx + 2, self.ny + 2))
        for q, ((cx, cy), w) in enumerate(zip(VELOCITIES, WEIGHTS, strict=True)):
            along = cx * u + cy * v
            moving = 3.0 * along + 4.5 * along**2 - 1.5 * (u**2 + v**2)
            found[q, 1:-1, 1:-1] = w * (rho - 1.0 + rho * moving)
        return found

    def drag(self, velocity: ArrayLike, density: ArrayLike, solid: ArrayLike) -> NDArray[np.float64]:
        """Return the force that the fluid exerts on the solid, 2 sum(b rho u).

        Args:
            velocity: As `velocity` has it, shape (..., nx, ny, 2).
            density: As `density` has it, less 1, shape (..., nx, ny).
            solid: Solid fraction, shape (nx, ny).

        Returns:
            Forces [dx^3/dt^2 times the density 1], shape (..., 2).
        """
        s = np.asarray(solid, float)
        taken = 2.0 * self.slack * s / (1.0 - s + self.slack) * (1.0 + np.asarray(density, float))
        return np.einsum("...ij,...ijk->...k", taken, np.asarray(velocity, float))

    @ti.func
    def returned(self, solid):
        """Return the share of what arrives in a cell that its solid sends back."""
        return self.slack * solid / (1.0 - solid + self.slack)

    @ti.kernel
    def measure(self, t: ti.i32):
        """Take density and velocity from the populations that arrive; collide the one that does not move."""
        for i, j in ti.ndrange((1, self.nx + 1), (1, self.ny + 1)):
            more = 0.0
            along_x, along_y = 0.0, 0.0
            for q in ti.static(range(9)):
                arriving = self.f[t, q, i - self.c[q][0], j - self.c[q][1]]
                more += arriving
                if ti.static(self.c[q][0] != 0):
                    along_x += self.c[q][0] * arriving
                if ti.static(self.c[q][1] != 0):
                    along_y += self.c[q][1] * arriving
            rho = 1.0 + more
            u = ti.Vector([along_x / rho + 0.5 * self.force[0], along_y / rho + 0.5 * self.force[1]])
            self.density[t, i - 1, j - 1] = more
            self.velocity[t, i - 1, j - 1] = u
            here = self.f[t, 0, i, j]
            change = self.even * (self.w[0] * (more - 1.5 * rho * u.dot(u)) - here)
            if ti.static(self.forced):
                change -= (3.0 - 1.5 * self.even) * self.w[0] * rho * u.dot(ti.Vector(self.force))
            self.f[t + 1, 0, i, j] = here + (1.0 - self.returned(self.solid[t, i - 1, j - 1])) * change

    @ti.kernel
    def collide(self, t: ti.i32, q: ti.i32):
        """Collide the populations q and q + 1, which move opposite ways.

        Pair by pair the loops are short enough to be computed for eight neighbours at once.
        """
        for i, j in ti.ndrange((1, self.nx + 1), (1, self.ny + 1)):
            rho = 1.0 + self.density[t, i - 1, j - 1]
            u = self.velocity[t, i - 1, j - 1]
            ahead = self.f[t, q, i - self.c[q][0], j - self.c[q][1]]
            behind = self.f[t, q + 1, i + self.c[q][0], j + self.c[q][1]]
            even, odd = 0.5 * (ahead + behind), 0.5 * (ahead - behind)
            along = self.c[q][0] * u[0] + self.c[q][1] * u[1]
            bent = rho * (4.5 * along * along - 1.5 * u.dot(u))
            new_even = even + self.even * (self.w[q] * (rho - 1.0 + bent) - even)
            new_odd = odd + self.odd * (3.0 * self.w[q] * rho * along - odd)
            if ti.static(self.forced):
                force = ti.Vector(self.force)
                push = self.w[q] * rho * (self.c[q][0] * force[0] + self.c[q][1] * force[1])
                new_even += (1.0 - 0.5 * self.even) * (
                    9.0 * along * push - 3.0 * self.w[q] * rho * u.dot(force)
                )
                new_odd += (1.0 - 0.5 * self.odd) * 3.0 * push
            back = self.returned(self.solid[t, i - 1, j - 1])
            new_even += back * (even - new_even)
            new_odd -= back * (odd + new_odd)
            self.f[t + 1, q, i, j] = new_even + new_odd
            self.f[t + 1, q + 1, i, j] = new_even - new_odd

    @ti.kernel
    def bound_sides(self, t: ti.i32, now: ti.i32):
        """Fill the left and right rim with what will enter from there."""
        for j in range(1, self.ny + 1):
            more = 0.0
            if ti.static(self.left_right == "channel"):
                for q in ti.static(range(9)):
                    more += self.f[t, q, self.nx, j]
            for q in ti.static(range(9)):
                if ti.static(self.c[q][0] == 1):
                    if ti.static(self.left_right == "periodic"):
                        self.f[t, q, 0, j] = self.f[t, q, self.nx, j]
                    else:
                        back = self.f[t, self.opposite[q], 1, j]
                        if ti.static(self.left_right == "channel"):
                            back += 6.0 * self.w[q] * self.inflow[now, j - 1]
                        self.f[t, q, 0, j - self.c[q][1]] = back
                if ti.static(self.c[q][0] == -1):
                    if ti.static(self.left_right == "periodic"):
                        self.f[t, q, self.nx + 1, j] = self.f[t, q, 1, j]
                    elif ti.static(self.left_right == "walls"):
                        self.f[t, q, self.nx + 1, j - self.c[q][1]] = self.f[t, self.opposite[q], self.nx, j]
                    else:
                        out = self.f[t, q, self.nx, j] - self.anchor * self.w[q] * more
                        self.f[t, q, self.nx + 1, j] = out

    @ti.kernel
    def bound_walls(self, t: ti.i32):
        """Fill the lower and upper rim with what will enter from there, but for the sides' corners."""
        for i in range(1, self.nx + 1):
            for q in ti.static(range(9)):
                if ti.static(self.c[q][1] != 0):
                    row, wall, far = ti.static(
                        (1, 0, self.ny) if self.c[q][1] == 1 else (self.ny, self.ny + 1, 1)
                    )
                    at = i - self.c[q][0]
                    if at >= self.first and at <= self.last:
                        if ti.static(self.below_above == "periodic"):
                            self.f[t, q, at, wall] = self.f[t, q, at, far]
                        else:
                            lid = ti.static(6.0 * self.w[q] * self.c[q][0] * self.lid if wall > 0 else 0.0)
                            self.f[t, q, at, wall] = self.f[t, self.opposite[q], i, row] + lid

    def bound(self, t: int, now: int) -> None:
        """Fill the rim at t with what the boundaries send; the inflow is that of step `now`."""
        self.bound_sides(t, now)
        self.bound_walls(t)

    def reset(self) -> None:
        """Fill the rim of the first populations."""
        self.bound(0, 0)

    def step(self, t: int) -> None:
        """Stream, collide, and let the boundaries answer."""
        self.measure(t)
        for q in range(1, 9, 2):
            self.collide(t, q)
        self.bound(t + 1, t)

    def scene(self) -> ds.Scene:
        """Describe the fluid by its speed, and the body in it."""

        def speed(velocity: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.linalg.norm(velocity, axis=-1)

        fluid = ds.scene.Derived(speed, self.velocity, unit="dx/dt")
        return self._seen(ds.scene.Grid(fluid, origin=(0.5, 0.5), label="speed"))

    def _seen(self, fluid: ds.scene.Grid) -> ds.Scene:
        """Describe the body on top of a picture of the fluid."""
        body = ds.scene.Grid(self.solid, origin=(0.5, 0.5), level=0.5, color=ds.scene.INK, label="body")
        return ds.Scene([fluid, body], unit="dx")


def _within(
    name: str, values: ArrayLike, shape: tuple[int, ...], low: float, high: float, remedy: str
) -> NDArray[np.float64]:
    """Return values of a shape, or refuse them."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim and array.shape != shape:
        raise ConfigError(f"{name} must have shape {shape}, got {array.shape}; give one number for each cell")
    wrong = array[~((array >= low) & (array <= high))]
    if wrong.size:
        raise ConfigError(f"{name} must be {low:g} to {high:g}, got {wrong.flat[0]:g}; {remedy}")
    return np.broadcast_to(array, shape)
