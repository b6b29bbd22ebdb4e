"""Growth and density-dependent spread: fronts with a sharp edge, on a dense or a sparse grid."""

# No `from __future__ import annotations` here: Taichi reads kernel annotations as objects, not as text.
import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import taichi as ti
from numpy.typing import ArrayLike

import diffsim as ds
from diffsim.errors import ConfigError
from diffsim.kernels.common import Config
from diffsim.language.layouts import Sparse
from diffsim.options import option

__all__ = ["Front", "FrontConfig"]

_MARGIN = 0.8  # of the longest stable time step, where none is given: the rest is for what is learned


@dataclass(frozen=True)
class FrontConfig(Config):
    """The constants of a front.

    Args:
        shape: cells along each axis, one to three of them.
        spacing: edge h of a cell [km].
        diffusion: D [km²/yr], of a population at its capacity.
        rate: r [1/yr], at which a small population grows.
        plots: plots along each axis: growth rate and dose are told for each plot.
        least: share of the capacity below which a population dies out; 0 for the equation itself. What
            is above is as without it; below, `u` becomes `u s(u/least)` in each step, `s(x) = x² (3 - 2x)`.
        dt: time step [yr]; None for 0.8 of the longest stable one.

    Raises:
        ConfigError: a value is out of its range, or the time step is too long to be stable.
    """

    shape: tuple[int, ...] = option((128, 128), "cells along each axis", minimum=1)
    spacing: float = option(0.5, "edge of a cell [km]", above=0.0)
    diffusion: float = option(1.0, "diffusivity at the capacity [km²/yr]", above=0.0)
    rate: float = option(1.0, "rate of growth [1/yr]", minimum=0.0)
    plots: int = option(1, "plots along each axis", minimum=1)
    least: float = option(0.0, "density below which a population dies out", minimum=0.0, maximum=0.5)
    dt: float | None = option(None, "time step [yr]; left out: 0.8 of the longest", above=0.0)

    def check(self) -> None:
        """Hold the rules between fields."""
        if not 1 <= len(self.shape) <= 3:
            self.refuse("shape", "have one to three axes", self.shape, "leave some out")
        if self.dt is not None and self.dt > self.longest * (1.0 + 1e-12):
            limit = f"be at most 1 / (2 axes D / h² + r) = {self.longest:.6g} to be stable"
            self.refuse("dt", limit, self.dt, "use a shorter step or larger cells")

    @property
    def longest(self) -> float:
        """The longest stable time step without a dose [yr]."""
        return 1.0 / (2.0 * len(self.shape) * self.diffusion / self.spacing**2 + self.rate)

    @property
    def time_step(self) -> float:
        """The time step [yr], as given or from the limit."""
        return self.dt if self.dt is not None else _MARGIN * self.longest


class Front(ds.Simulator):
    """A population that grows to what the land carries and spreads faster where it is dense.

    The porous-Fisher equation for the share `u` of the capacity that is reached, with a growth rate `r` and
    a dose `c` against it that differ from plot to plot::

        du/dt = div(D u grad u) + r u (1 - u) - c u,    c = effort²

    Where nothing is, nothing spreads: a population has a sharp edge, which moves at a finite speed
    (`sqrt(D r / 2)` along a straight front, whose profile is `1 - exp(z sqrt(r / (2 D)))`, z < 0
    counted from the edge). The scheme is explicit, and in terms of what a cell gives to each neighbour::

        D dt / (2 h²) u²

    and loses as much, so that the flux through a face is `D (u² of one - u² of the other) / (2 h)`: what
    spreads is kept to rounding, and walls let nothing out. Before that the dose leaves `exp(-c dt)` of what
    is there, which is stable for any dose. A cell is written to only where what it is given is not zero. As
    that is quadratic in `u`, a cell that comes or goes changes neither the value nor its gradient: the same
    kernels make the same numbers on a dense and on a sparse grid, whose active blocks follow the population.
    Ahead of the edge densities fall off doubly exponentially: about six cells are not zero, with `least`
    or in 32 bits about three.

    The scheme is monotone, so that densities stay between 0 and 1, for::

        dt (2 axes D / h² + |r|) <= 1

    The cost is what is there at the end, `h^axes sum(worth u)`, and what the doses took, `price` times
    `sum(c)` times the area of a plot.

    Args:
        config: the constants.
        seeds: where populations begin [km], shape (m, axes), one in the middle where left out: smooth bumps
            `height (1 - (distance/radius)²)²`. Where they overlap, they add up, and must stay below 1.
        radius: of the bumps [km], shape (m,) or a number.
        height: of the bumps, shape (m,) or a number, at most 1.
        first: the first density instead of seeds, an array of the grid's shape or `ds.Cells`.
        worth: what a cell's population costs, an array of the grid's shape or `ds.Cells`; 1 everywhere where
            left out.
        rate: growth rates of the plots [1/yr], shape (plots, ...) or a number; the configuration's where left
            out.
        effort: of the plots [1/sqrt(yr)], of the same shape; its square is the dose.
        price: of a dose of 1/yr on 1 km^axes.
        layout: how the density lies in memory: `ds.sparse(...)`, or None for all cells.

    Attributes:
        u: the density, `State(real, shape)`, per world; `u[t]` is that at time `t dt`.
        seeds: [km], `Param(real, (m, axes))`, per world, where there are seeds.
        height: `Param(real, m)`, per world, where there are seeds.
        rate: [1/yr], `Param(real, (plots, ...))`.
        effort: [1/sqrt(yr)], `Param(real, (plots, ...))`.
        diffusion: D [km²/yr], `Param(real)`.
        worth: `Constant(real, shape)`, where it was given.
        dt: time step [yr].

    Raises:
        ConfigError: an array has another shape than it must, both seeds and a first density are given,
            a height is not from 0 to 1, a radius is not positive, or a rate is too large for the time step.

    Differentiability: once continuously in the density, rates, efforts and seeds. The limit of the time step
        is looked at when a simulator is made; Params that are set or learned later can break it.

    Reference: Aronson (1980) and Murray, Mathematical Biology, for the equation and its front; Barenblatt
        (1952) for what spreads without growing.
    """

    def __init__(
        self,
        config: FrontConfig | None = None,
        seeds: ArrayLike | None = None,
        radius: ArrayLike = 2.0,
        height: ArrayLike = 0.9,
        first: Any = None,
        worth: Any = None,
        rate: ArrayLike | None = None,
        effort: ArrayLike = 0.0,
        price: float = 0.0,
        layout: Any = None,
    ) -> None:
        """Declare the fields; nothing is allocated before a rollout."""
        self.config = c = config or FrontConfig()
        self.shape, self.axes, self.h, self.dt = c.shape, len(c.shape), c.spacing, c.time_step
        self.plots, self.least, self.layout = c.plots, c.least, layout
        self.u = ds.State(ds.real, c.shape, keep=False, per_world=True, layout=layout)
        land = (c.plots,) * self.axes
        self.rate: Any = ds.Param(ds.real, land, init=c.rate if rate is None else rate, unit="1/yr")
        self.effort: Any = ds.Param(ds.real, land, init=effort, unit="1/sqrt(yr)")
        self.diffusion: Any = ds.Param(ds.real, init=c.diffusion, unit="km²/yr")
        self.volume = self.h**self.axes
        self.price = price * math.prod(n * self.h / c.plots for n in c.shape)
        self.shared = 0.5 * self.dt / self.h**2
        self._begin(seeds, radius, height, first)
        self.weighed = worth is not None
        if self.weighed:
            self.worth: Any = ds.Constant(ds.real, c.shape, init=self._fitting(worth), layout=self._beside())
        self._stable()

    def _beside(self) -> Any:
        """Return a layout like that of the density, for what does not change."""
        if isinstance(self.layout, Sparse):
            return ds.sparse(self.layout.block, self.layout.levels)
        return None

    def _fitting(self, values: Any) -> Any:
        """Return values as the layout takes them: cells become an array where there is memory for all."""
        if isinstance(values, ds.Cells) and self._beside() is None:
            return values.dense(self.shape)
        return values

    def _begin(self, seeds: Any, radius: Any, height: Any, first: Any) -> None:
        """Declare what the population begins with."""
        if seeds is not None and first is not None:
            raise ConfigError("Front must get seeds or a first density, got both; leave one out")
        self.seeded = first is None
        if not self.seeded:
            self.u.set(self._fitting(first))
            return
        middle = [[0.5 * n * self.h for n in self.shape]]
        places = np.asarray(middle if seeds is None else seeds, dtype=np.float64)
        if places.ndim != 2 or places.shape[1] != self.axes or not len(places):
            raise ConfigError(
                f"Front seeds must be of shape (m, {self.axes}), got {places.shape}; pass a row for each"
            )
        heights = np.broadcast_to(np.asarray(height, dtype=np.float64), len(places))
        if not ((heights >= 0.0) & (heights <= 1.0)).all():
            raise ConfigError(f"Front height must be from 0 to 1, got {height!r}; 1 is the capacity")
        if not (np.asarray(radius, dtype=np.float64) > 0.0).all():
            raise ConfigError(f"Front radius must be positive, got {radius!r}; the height may be 0")
        self.count = len(places)
        self.seeds: Any = ds.Param(ds.real, places.shape, init=places, per_world=True, unit="km")
        self.height: Any = ds.Param(ds.real, self.count, init=heights, per_world=True)
        self.radius: Any = ds.Constant(ds.real, self.count, init=radius, unit="km")
        reach = math.ceil(float(np.max(radius)) / self.h)
        self.span = 2 * reach + 1  # cells along an axis that a bump covers at most

    def _stable(self) -> None:
        """Refuse growth that the time step is too long for."""
        pace = 2.0 * self.axes * self.config.diffusion / self.h**2
        fastest = float(np.abs(self.rate.numpy()).max())
        longest = 1.0 / (pace + fastest)
        if self.dt > longest * (1.0 + 1e-12):
            raise ConfigError(
                f"Front rate must be stable, got {fastest:.6g}: dt is {self.dt:.6g}, and may be "
                f"{longest:.6g} = 1 / (2 axes D / h² + |rate|); use a shorter time step"
            )

    @ti.kernel
    def sow(self):
        """Write the first populations."""
        for s, K in ti.ndrange(self.count, self.span**self.axes):
            at = ti.Vector([0] * self.axes)
            apart = 0.0
            rest = K
            for axis in ti.static(range(self.axes)):
                begin = ti.cast(ti.floor((self.seeds[s, axis] - self.radius[s]) / self.h), ti.i32)
                at[axis] = begin + rest % self.span
                rest = rest // self.span
                apart += (self.h * (at[axis] + 0.5) - self.seeds[s, axis]) ** 2
            left = 1.0 - apart / self.radius[s] ** 2
            if left > 0.0 and self.inside(at):
                self.u[0, at] += self.height[s] * left**2

    @ti.func
    def inside(self, at):
        """Return whether a cell is on the grid."""
        found = True
        for axis in ti.static(range(self.axes)):
            found = found and at[axis] >= 0 and at[axis] < self.shape[axis]
        return found

    @ti.func
    def plot(self, at):
        """Return the plot that a cell is in."""
        found = ti.Vector([0] * self.axes)
        for axis in ti.static(range(self.axes)):
            found[axis] = at[axis] * self.plots // self.shape[axis]
        return found

    @ti.func
    def living(self, u):
        """Return what is left of a density once small ones have died out."""
        left = u
        if ti.static(self.least > 0.0):
            if u < self.least:
                share = u / self.least
                left = u * share * share * (3.0 - 2.0 * share)
        return left

    @ti.kernel
    def spread(self, t: ti.i32):
        """Grow, and give to the neighbours."""
        for cell in ti.grouped(self.u):
            here = self.living(self.u[t, cell])
            if here != 0.0:
                plot = self.plot(cell)
                here *= ti.exp(-self.dt * self.effort[plot] ** 2)
                given = self.shared * self.diffusion[None] * here * here
                left = here + self.dt * self.rate[plot] * here * (1.0 - here)
                for axis, way in ti.static(list(itertools.product(range(self.axes), (-1, 1)))):
                    to = cell
                    to[axis] += way
                    if given != 0.0 and to[axis] >= 0 and to[axis] < self.shape[axis]:
                        self.u[t + 1, to] += given
                        left -= given
                self.u[t + 1, cell] += left

    @ti.kernel
    def count_what_is_there(self, t: ti.i32):
        """Add the population to the cost, by its worth."""
        for cell in ti.grouped(self.u):
            if ti.static(self.weighed):
                self.cost[None] += self.volume * self.worth[cell] * self.u[t, cell]
            else:
                self.cost[None] += self.volume * self.u[t, cell]

    @ti.kernel
    def pay(self, t: ti.i32):
        """Add the price of the doses to the cost."""
        for plot in ti.grouped(self.effort):
            self.cost[None] += self.price * self.effort[plot] ** 2

    def reset(self) -> None:
        """Begin with the seeds, where there are any."""
        if self.seeded:
            self.sow()

    def step(self, t: Any) -> None:
        """Grow and spread at once."""
        self.spread(t)

    def terminal_cost(self, t: Any) -> None:
        """Count, and pay."""
        self.count_what_is_there(t)
        if self.price:
            self.pay(t)

    def scene(self) -> ds.Scene:
        """Describe the density."""
        first = (0.5 * self.h,) * self.axes
        told: dict[str, Any] = {"origin": first, "spacing": self.h, "limits": (0.0, 1.0)}
        if self.axes == 3:
            told["level"] = 0.5
        return ds.Scene([ds.scene.Grid(self.u, label="density", **told)], unit="km")
