"""Water as smoothed particles in a vessel that is pushed about: weakly compressible SPH."""

# No `from __future__ import annotations` here: Taichi reads kernel annotations as objects, not as text.
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import taichi as ti
from numpy.typing import NDArray

import diffsim as ds
from diffsim.errors import ConfigError
from diffsim.kernels.common import Config
from diffsim.kernels.common.particles import lattice
from diffsim.options import option

__all__ = ["SPH", "SPHConfig", "block"]

Array = NDArray[np.float64]

_SMOOTHING = 1.3  # smoothing length, in spacings of the particles: some 20 neighbours within twice of it
_TINY = 1e-12  # of a squared smoothing length: keeps the slope of a distance finite where two particles meet
_STEP = 0.4  # of the time that sound takes through a smoothing length: the longest stable step, and a little


@dataclass(frozen=True)
class SPHConfig(Config):
    """The constants of water in a vessel, in the plane, of 1 m depth out of it.

    Water is taken to be softer than it is: sound runs at `sound`, which is some ten times faster than the
    flow, so that density changes by about a percent and steps need not be tiny.

    Args:
        dt: time step [s], positive, at most 0.4 smoothing lengths over the speed of sound.
        width: of the vessel [m].
        height: of the vessel [m], which has no lid: there is just no wall above.
        spacing: of the particles at rest [m].
        gravity: acceleration of gravity, downwards [m/s^2], not negative.
        density: of water at rest [kg/m^3].
        sound: speed of sound in water [m/s].
        stiffening: exponent gamma of the equation of state.
        viscosity: kinematic viscosity [m^2/s].
        target: where the middle of the water is wanted at the end, as a share of the width.
        still: weight of the water's speed at the end in the cost.
        effort: weight of the vessel's acceleration in the cost.
        skin: how much further than the kernel reaches listed neighbours may be, in spacings; lists of those
            are used for several steps.

    Raises:
        ConfigError: A value is out of the range given above, or the step is too long.
    """

    dt: float = option(5e-4, "time step [s]", above=0.0)
    width: float = option(1.0, "width of the vessel [m]", above=0.0)
    height: float = option(0.6, "height of the vessel [m]", above=0.0)
    spacing: float = option(0.02, "spacing of the particles [m]", above=0.0)
    gravity: float = option(9.8, "acceleration of gravity, downwards [m/s^2]", minimum=0.0)
    density: float = option(1000.0, "density of water [kg/m^3]", above=0.0)
    sound: float = option(20.0, "speed of sound in water [m/s]", above=0.0)
    stiffening: float = option(7.0, "exponent of the equation of state", above=0.0)
    viscosity: float = option(2e-3, "kinematic viscosity [m^2/s]", minimum=0.0)
    target: float = option(0.6, "wanted middle of the water, as a share of the width")
    still: float = option(1.0, "weight of the speed at the end", minimum=0.0)
    effort: float = option(1e-3, "weight of the vessel's acceleration", minimum=0.0)
    skin: float = option(0.0, "reach of the neighbour lists beyond the kernel's [spacings]", minimum=0.0)

    def check(self) -> None:
        """Hold the step below the time that sound takes from particle to particle."""
        longest = _STEP * self.smoothing / self.sound
        if self.dt > longest:
            self.refuse("dt", f"be at most {longest:.3g}, for this spacing and sound", self.dt, "lower it")

    @property
    def smoothing(self) -> float:
        """Smoothing length h [m]; kernels reach 2 h."""
        return _SMOOTHING * self.spacing

    @property
    def mass(self) -> float:
        """Mass of a particle [kg/m]: on a square lattice kernels add up to the density at rest."""
        k = np.arange(-3, 4) * self.spacing
        apart = np.hypot(*np.meshgrid(k, k)) / self.smoothing
        sums = float(np.sum(np.maximum(1.0 - 0.5 * apart, 0.0) ** 4 * (2.0 * apart + 1.0)))
        return self.density / (self.height_of_kernel * sums)

    @property
    def height_of_kernel(self) -> float:
        """The kernel at distance zero [1/m^2], by which it is normalised."""
        return 7.0 / (4.0 * math.pi * self.smoothing**2)


def block(config: SPHConfig, width: float = 0.4, height: float = 0.3, left: float = 0.0) -> Array:
    """Return a block of water that stands on the floor: positions [m], shape (n, 2).

    Args:
        config: The constants.
        width: Of the block [m].
        height: Of the block [m].
        left: Where it begins [m].
    """
    return lattice([left, 0.0], [left + width, height], config.spacing)


class SPH(ds.Simulator):
    """Weakly compressible smoothed particle hydrodynamics in a vessel that a control pushes about.

    With the Wendland kernel `W`, which reaches `2 h`, the neighbours `j` of particle `i` give

        rho_i = sum_j m W_ij,    p_i = max(0, density sound^2/gamma ((rho_i/density)^gamma - 1)),
        dv_i/dt = g - push - sum_j m (p_i/rho_i^2 + p_j/rho_j^2 - 8 nu/(rho_i + rho_j) s_ij) grad W_ij,

    `s_ij = (v_i - v_j).(x_i - x_j) / (|x_i - x_j|^2 + 0.01 h^2)`, by symplectic Euler. Floor and side walls
    push back what is nearer than a spacing, and do not hold it along them. Neighbours come from
    `ds.neighbors`.

    The cost is the squared distance of the water's middle from its target along x, in widths, plus `still`
    times the mean squared speed and `effort` times the mean of `|push|^2`, in units of `sound` and of g.

    Args:
        config: The constants.
        x: Positions at the start [m], shape (n, 2); None for `block`.

    Attributes:
        x: positions [m], `State(vec2, n)`.
        v: velocities [m/s], `State(vec2, n)`.
        rho: densities [kg/m^3], `Scratch(n)`.
        push: acceleration of the vessel [m/s^2], `Control(vec2)`.
        near: lists of neighbours.

    Raises:
        ConfigError: The positions do not have that shape.

    Differentiability: in push, first positions and velocities. Kernels end without a jump where lists do;
    pressures that are cut at zero and walls are kinks of the force.

    Reference: Monaghan, "Simulating free surface flows with SPH" (1994); Wendland (1995), the kernel.
    """

    def __init__(self, config: SPHConfig | None = None, x: Any = None) -> None:
        """Declare the fields; nothing is allocated before a rollout."""
        self.config = c = config or SPHConfig()
        start = np.asarray(block(c) if x is None else x, float)
        if start.ndim != 2 or start.shape[1] != 2:
            raise ConfigError(
                f"x must have shape (n, 2), got {start.shape}; pass a position for each particle"
            )
        self.n, self.h, self.mass, self.alpha = len(start), c.smoothing, c.mass, c.height_of_kernel
        self.dt = c.dt
        self.x = ds.State(ds.vec2, self.n, init=start, unit="m")
        self.v = ds.State(ds.vec2, self.n, unit="m/s")
        self.rho = ds.Scratch(ds.real, self.n, unit="kg/m^3")
        self.pressure = ds.Scratch(ds.real, self.n, unit="Pa")
        self.push, self.middle = ds.Control(ds.vec2, unit="m/s^2"), ds.Scratch(ds.real, unit="m")
        self.near = ds.neighbors(
            self.x, 2.0 * self.h, low=0.0, high=(c.width, c.height), capacity=48, skin=c.skin * c.spacing
        )
        self.stiffness = c.density * c.sound**2 / c.stiffening
        self.bounce = c.sound**2 / c.spacing  # of a wall [m/s^2], far above what weight needs

    @ti.func
    def fallen(self, d):
        """Return `1 - r/(2h)` of two particles that are `d` apart, zero beyond the kernel's reach."""
        return ti.max(1.0 - 0.5 * ti.sqrt(d.norm_sqr() / self.h**2 + _TINY), 0.0)

    @ti.kernel
    def densities(self, t: ti.i32):
        """Sum up kernels, and find the pressure."""
        for i in range(self.n):
            found = 1.0
            for k in range(self.near.count(t, i)):
                f = self.fallen(self.x[t, i] - self.x[t, self.near.at(t, i, k)])
                found += f**4 * (5.0 - 4.0 * f)
            rho = self.mass * self.alpha * found
            self.rho[t, i] = rho
            squeezed = (rho / self.config.density) ** self.config.stiffening
            self.pressure[t, i] = ti.max(self.stiffness * (squeezed - 1.0), 0.0)

    @ti.func
    def wall(self, gap):
        """Return how a wall pushes back what is nearer than a spacing, `gap` away [m/s^2]."""
        return self.bounce * ti.max(0.5 - gap / self.config.spacing, 0.0) ** 2

    @ti.kernel
    def move(self, t: ti.i32):
        """Add up forces, and move."""
        for i in range(self.n):
            x, v, c = self.x[t, i], self.v[t, i], self.config
            own = self.pressure[t, i] / self.rho[t, i] ** 2
            a = ti.Vector([0.0, -c.gravity]) - self.push[t]
            for k in range(self.near.count(t, i)):
                j = self.near.at(t, i, k)
                d, other = x - self.x[t, j], self.rho[t, j]
                drag = (v - self.v[t, j]).dot(d) / (d.norm_sqr() + 0.01 * self.h**2)
                amount = own + self.pressure[t, j] / other**2
                amount -= 8.0 * c.viscosity * drag / (self.rho[t, i] + other)
                a += self.mass * amount * 5.0 * self.alpha / self.h**2 * self.fallen(d) ** 3 * d
            a += ti.Vector([self.wall(x[0]) - self.wall(c.width - x[0]), self.wall(x[1])])
            self.v[t + 1, i] = v + c.dt * a
            self.x[t + 1, i] = x + c.dt * self.v[t + 1, i]

    @ti.kernel
    def hold(self, t: ti.i32):
        """Charge the vessel's acceleration."""
        self.cost[None] += self.config.effort * self.push[t].norm_sqr() / 9.8**2

    @ti.kernel
    def average(self, t: ti.i32):
        """Find the water's middle, and charge its speed."""
        for i in range(self.n):
            self.middle[t] += self.x[t, i][0] / self.n
            self.cost[None] += self.config.still * self.v[t, i].norm_sqr() / (self.n * self.config.sound**2)

    @ti.kernel
    def miss(self, t: ti.i32):
        """Charge the distance from the target."""
        self.cost[None] += (self.middle[t] / self.config.width - self.config.target) ** 2

    def step(self, t: Any) -> None:
        """Look for neighbours, find pressures, move."""
        self.near(t)
        self.densities(t)
        self.move(t)

    def running_cost(self, t: Any) -> None:
        """Charge the effort."""
        self.hold(t)

    def terminal_cost(self, t: Any) -> None:
        """Ask for the water to be at its target, and at rest."""
        self.average(t)
        self.miss(t)

    def scene(self) -> ds.Scene:
        """Describe the water coloured by its speed, the vessel, and where its middle is and should be."""
        see, c = ds.scene, self.config

        def middle_of_water(x: Array) -> Array:
            return x.mean(axis=-2)

        vessel = np.array([[0.0, c.height], [0.0, 0.0], [c.width, 0.0], [c.width, c.height]])
        target = np.array([[c.target * c.width, 0.0], [c.target * c.width, c.height]])
        water = see.Points(
            self.x,
            radius=0.6 * c.spacing,
            values=self.v,
            limits=(0.0, 0.025 * c.sound),
            color=see.WATER,
            label="speed",
        )
        mean = see.Points(
            see.Derived(middle_of_water, self.x, unit="m"),
            radius=0.7 * c.spacing,
            color=see.HEAD,
            label="middle of the water",
        )
        return ds.Scene(
            [
                water,
                see.Lines(target, color=see.GOAL, width=2.0, label="wanted there"),
                mean,
                see.Lines(vessel, color=see.INK, width=2.5),
                see.Curves(self.push, names=("x", "y"), label="push"),
            ]
        )
