"""Smoke carried by an incompressible fluid on a square grid between closed walls."""

# No `from __future__ import annotations` here: Taichi reads kernel annotations as objects, not as text.
from dataclasses import dataclass
from typing import Any

import numpy as np
import taichi as ti
from numpy.typing import ArrayLike, NDArray

import diffsim as ds
from diffsim.errors import ConfigError
from diffsim.kernels.common import Config
from diffsim.kernels.common.interpolation import bracket, sample
from diffsim.kernels.smoke.projection import Projection
from diffsim.kernels.smoke.sweeps import JacobiProjection
from diffsim.kernels.smoke.tiles import OpenProjection, Tiles, layouts_like, with_room
from diffsim.options import option

__all__ = ["Smoke", "SmokeConfig", "divergence", "swirl"]

_CELLS, _U_FACES, _V_FACES = (0.5, 0.5), (0.0, 0.5), (0.5, 0.0)  # first places of a grid, in spacings


@dataclass(frozen=True)
class SmokeConfig(Config):
    """The constants of smoke in a box.

    Args:
        n: cells along each axis, any number.
        size: side of the box [m].
        dt: time step [s]. Any length is stable; detail is lost where a step carries further than a few cells.
        advection: "semi-lagrangian" (first order, smooths) or "maccormack" (second order, limited).
        buoyancy: upward acceleration of smoke of density 1 [m/s^2].
        pressure: "multigrid" solves for the pressure and has the adjoint of the solution; "jacobi" makes a
            fixed number of sweeps, each of which is kept and differentiated.
        tolerance: with "multigrid" the divergence at which a solution is good, the largest of any cell, times
            the spacing and over the largest velocity; None for what rounding allows, 3e-7 in 32 bits.
        iterations: with "multigrid" the rounds at most; one takes a digit off the divergence, or a bit more.
        sweeps: with "jacobi", and with tiles, how many.
        tile: cells along the edge of a tile, 0 for a box that is all fluid. With tiles there is fluid only in
            those that hold smoke and in those around them; elsewhere is air at rest.
        least: density above which a cell holds smoke, with tiles.

    Raises:
        ConfigError: a value is out of its range.
    """

    n: int = option(110, "cells along each axis", minimum=4)
    size: float = option(1.0, "side of the box [m]", above=0.0)
    dt: float = option(0.05, "time step [s]", above=0.0)
    advection: str = option("maccormack", "scheme", choices=("semi-lagrangian", "maccormack"))
    buoyancy: float = option(0.0, "upward acceleration of smoke of density 1 [m/s^2]")
    pressure: str = option("multigrid", "solver", choices=("multigrid", "jacobi"))
    tolerance: float | None = option(None, "divergence left; left out: what rounding allows", above=0.0)
    iterations: int = option(16, "rounds of the multigrid solver at most", minimum=1)
    sweeps: int = option(60, "of Jacobi's iteration", minimum=1)
    tile: int = option(0, "cells along the edge of a tile of open air; 0: all of the box is open", minimum=0)
    least: float = option(1e-3, "density that opens a tile", minimum=0.0)

    @property
    def dx(self) -> float:
        """The side of a cell [m]."""
        return self.size / self.n

    def centers(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return x and y of the cells' centres [m], each of shape (n, n), first axis x."""
        at = self.dx * (np.arange(self.n) + 0.5)
        x, y = np.meshgrid(at, at, indexing="ij")
        return x, y


class Smoke(ds.Simulator):
    """Smoke carried by an incompressible fluid without friction: Euler's equations in a closed box.

    The velocity `w = (u, v)` and the density `d` of smoke follow

        dw/dt + (w . grad) w = -grad p + b d e_y,    div w = 0,    dd/dt + (w . grad) d = 0,

    with `w . n = 0` at the walls, along which the fluid slips freely. Velocities live on the faces of cells,
    densities at the centres (Harlow and Welch 1965). A step frees the velocity of divergence, then lets it
    carry all (Stam 1999): with `w_free = P w[t]`,

        w[t + 1] = A(w_free) w_free + dt b d[t] e_y,    d[t + 1] = A(w_free) d[t],

    where `A` looks up what was a step earlier where its place comes from: the place is traced back by the
    midpoint rule, and multilinear interpolation reads there. That is `A` for "semi-lagrangian". "maccormack"
    carries the result back again, takes half of what is lost for its error, and corrects it, within the
    values around the place where it came from (Selle, Fedkiw, Kim, Liu and Rossignac 2008).

    Args:
        config: The constants.
        velocity: What `u` and `v` begin with, shapes (n + 1, n) and (n, n + 1) [m/s]; rest where left out.
            Their divergence is taken away in the first step.
        density: What `d` begins with, shape (n, n); none where left out.
        target: What the last density is compared with, shape (n, n); zero where left out.
        layout: How fields lie in memory: with tiles `ds.sparse(block=config.tile)`, or None for all cells.

    Attributes:
        u, v: States, carried but not yet free of divergence [m/s].
        u_free, v_free: Scratches, the velocity that carries.
        density: State.
        target: Constant.

    The cost is the mean square of `density - target` at the end.

    With `config.tile` the box is large and mostly empty air: there is fluid in square tiles of cells that
    hold smoke, more than `config.least` in one cell at least, and in the eight tiles around each. Elsewhere
    velocity, smoke and pressure are zero, so that air gives way to the smoke; `OpenProjection` makes
    `config.sweeps` sweeps instead of what `config.pressure` names. Which tiles are open is found anew in each
    step. It is the same on a dense and on a sparse grid, whose memory and time follow the smoke.

    Raises:
        ConfigError: An array has another shape, or the layout's blocks are not the tiles.
        StateError: A step of a run may carry smoke past the tiles that are open.

    Differentiability: with respect to the velocity and density at the start. Interpolation has kinks where a
    place crosses from cell to cell, limiters have them where they begin to act,
    and where all is even around a place: with "maccormack" the gradient by density is one of several slopes
    where there is none. Which tiles are open has no gradient: where one opens or closes, the flow near it
    jumps, as its cells and their pressure begin or cease to count, and smoke thinner than `least` is gone
    with the tile. On a sparse grid the gradients by `u`, `v` and `density` are `ds.Cells`, all in which that
    of the dense grid is not zero; after `sim.u.set(array)` those in blocks where the array is not zero, which
    is why `begin` is there.

    Reference: Stam, "Stable fluids" (1999); Selle, Fedkiw, Kim, Liu and Rossignac, "An unconditionally stable
    MacCormack method" (2008); Harlow and Welch (1965) for the grid; `projection` names those of the solver.
    """

    def __init__(
        self,
        config: SmokeConfig | None = None,
        velocity: tuple[ArrayLike, ArrayLike] | None = None,
        density: ArrayLike | None = None,
        target: ArrayLike | None = None,
        layout: Any = None,
    ) -> None:
        self.config = config = config if config is not None else SmokeConfig()
        self.n = n = config.n
        self.dx, self.dt = config.dx, config.dt
        self.stride = config.dt / config.dx  # spacings that a velocity of 1 m/s carries in a step
        self.lift = 0.5 * config.dt * config.buoyancy
        self.tiled, self.reach = config.tile > 0, float(config.tile)
        layouts = cells, across, along = layouts_like(layout, config.tile)
        keep: dict[str, Any] = {"keep": False} if self.tiled else {}
        self.u = ds.State(ds.real, n + 1, n, unit="m/s", layout=across, **keep)
        self.v = ds.State(ds.real, n, n + 1, unit="m/s", layout=along, **keep)
        self.density: Any = ds.State(ds.real, n, n, layout=cells, **keep)
        self.begin(velocity, density)
        beside, _, _ = layouts_like(layout and ds.sparse(layout.block, layout.levels), config.tile)
        self.target = ds.Constant(ds.real, n, n, init=_shaped("target", target, (n, n)), layout=beside)
        self.u_free: Any = ds.Scratch(ds.real, n + 1, n, unit="m/s", layout=across)
        self.v_free: Any = ds.Scratch(ds.real, n, n + 1, unit="m/s", layout=along)
        if config.advection == "maccormack":
            self.u_early = ds.Scratch(ds.real, n + 1, n, unit="m/s", layout=across)
            self.v_early = ds.Scratch(ds.real, n, n + 1, unit="m/s", layout=along)
            self.density_early = ds.Scratch(ds.real, n, n, layout=cells)
        self.project: Any = self._projection(layouts)

    def begin(
        self, velocity: tuple[ArrayLike, ArrayLike] | None = None, density: ArrayLike | None = None
    ) -> None:
        """Give the smoke another start, and a sparse grid room for all that the first step looks at.

        Args:
            velocity: What `u` and `v` begin with, shapes (n + 1, n) and (n, n + 1) [m/s]; rest if left out.
            density: What `d` begins with, shape (n, n); none if left out.

        Raises:
            ConfigError: An array has another shape.
        """
        n, (u, v) = self.n, (None, None) if velocity is None else velocity
        smoke = _shaped("density", density, (n, n))
        first = _shaped("velocity[0]", u, (n + 1, n)), _shaped("velocity[1]", v, (n, n + 1)), smoke
        for field, values in zip((self.u, self.v, self.density), first, strict=True):
            sparse = field.sparse is not None
            field.set(with_room(values, smoke, self.config.tile, self.config.least) if sparse else values)

    def _projection(self, layouts: tuple[Any, ...]) -> Any:
        """Return what takes divergence away."""
        config, fields = self.config, (self.u, self.v, self.u_free, self.v_free)
        if self.tiled:
            self.tiles = Tiles(self.density, self.u, self.v, config.tile, config.least)
            self.here = ds.Scratch(ds.real, self.n, self.n, layout=layouts[0])  # stays zero; for its cells
            self.wanted = float((self.target.numpy() ** 2).sum())
            return OpenProjection(*fields, self.tiles, layouts, config.sweeps)
        if config.pressure == "multigrid":
            return Projection(*fields, config.tolerance, config.iterations)
        return JacobiProjection(*fields, config.sweeps)

    @ti.func
    def flows(self, t: ti.template(), i, j, first: ti.template()):
        """Say whether there is fluid at a point of a grid: everywhere, unless there are tiles."""
        there = True
        if ti.static(self.tiled):
            if ti.static(first == _CELLS):
                there = self.tiles.at(t, i, j) > 0
            elif ti.static(first == _U_FACES):
                there = self.tiles.has_u(t, i, j)
            else:
                there = self.tiles.has_v(t, i, j)
        return there

    @ti.func
    def velocity_at(self, t: ti.template(), place):
        """Return the velocity at a place, in spacings per step."""
        u = sample(self.u_free, t, place, ti.Vector(_U_FACES))
        v = sample(self.v_free, t, place, ti.Vector(_V_FACES))
        return self.stride * ti.Vector([u, v])

    @ti.func
    def velocity_on(self, t: ti.template(), i, j, first: ti.template()):
        """Return the velocity at a point of a grid, in spacings per step: what `velocity_at` gives there."""
        u, v = 0.0, 0.0
        if ti.static(first == _CELLS):
            u = 0.5 * (self.u_free[t, i, j] + self.u_free[t, i + 1, j])
            v = 0.5 * (self.v_free[t, i, j] + self.v_free[t, i, j + 1])
        elif ti.static(first == _U_FACES):
            left, right = ti.max(i - 1, 0), ti.min(i, self.n - 1)
            low, high = self.v_free[t, left, j], self.v_free[t, left, j + 1]
            u = self.u_free[t, i, j]
            v = 0.25 * (low + high + self.v_free[t, right, j] + self.v_free[t, right, j + 1])
        else:
            below, above = ti.max(j - 1, 0), ti.min(j, self.n - 1)
            low, high = self.u_free[t, i, below], self.u_free[t, i + 1, below]
            u = 0.25 * (low + high + self.u_free[t, i, above] + self.u_free[t, i + 1, above])
            v = self.v_free[t, i, j]
        return self.stride * ti.Vector([u, v])

    @ti.func
    def carried(self, t: ti.template(), i, j, first: ti.template(), steps: ti.template()):
        """Return where flow takes a point of a grid in so many steps, -1.0 for where it comes from."""
        place = ti.Vector([i + first[0], j + first[1]])
        middle = place + 0.5 * steps * self.velocity_on(t, i, j, first)
        return place + steps * self.velocity_at(t, middle)

    @ti.kernel
    def advect(
        self,
        t: ti.i32,
        field: ti.template(),
        moved: ti.template(),
        on: ti.template(),
        first: ti.template(),
        ahead: ti.i32,
    ):
        """Carry a field of step `t` along: `moved[t + ahead]` is what comes to a point."""
        for i, j in on:  # diffsim: allow ACTIVITY
            if self.flows(t, i, j, first):
                source = self.carried(t, i, j, first, -1.0)
                moved[t + ahead, i, j] = sample(field, t, source, ti.Vector(first))

    @ti.kernel
    def improve(
        self,
        t: ti.i32,
        field: ti.template(),
        early: ti.template(),
        moved: ti.template(),
        on: ti.template(),
        first: ti.template(),
    ):
        """Correct what was carried by half of what carrying it back loses, within its source's limits."""
        for i, j in on:  # diffsim: allow ACTIVITY
            if self.flows(t, i, j, first):
                back = sample(early, t, self.carried(t, i, j, first, 1.0), ti.Vector(first))
                low, high = bracket(field, t, self.carried(t, i, j, first, -1.0), ti.Vector(first))
                better = early[t, i, j] + 0.5 * (field[t, i, j] - back)
                moved[t + 1, i, j] = ti.min(ti.max(better, low), high)

    @ti.kernel
    def rise(self, t: ti.i32):
        """Let smoke lift the fluid."""
        if ti.static(self.tiled):
            for i, j in self.v_free:  # diffsim: allow ACTIVITY
                if self.tiles.has_v(t, i, j):
                    smoke = self.density[t, i, j - 1] + self.density[t, i, j]
                    self.v[t + 1, i, j] += self.lift * smoke
        else:
            for i, j in ti.ndrange(self.n, (1, self.n)):
                self.v[t + 1, i, j] += self.lift * (self.density[t, i, j - 1] + self.density[t, i, j])

    @ti.kernel
    def watch(self, t: ti.i32):
        """End the run where the flow may carry smoke past the tiles that are open, which would lose it."""
        for i, j in self.u_free:
            spacings = self.stride * ti.abs(self.u_free[t, i, j])
            assert spacings <= self.reach, "smoke must not cross a tile; take a smaller dt"  # noqa: S101
        for i, j in self.v_free:
            spacings = self.stride * ti.abs(self.v_free[t, i, j])
            assert spacings <= self.reach, "smoke must not cross a tile; take a smaller dt"  # noqa: S101

    def step(self, t: Any) -> None:
        if self.tiled:
            self.tiles(t)
        self.project(t)
        if self.tiled:
            self.watch(t)
        for field, moved, early, first in self._carried():
            on = self.here if self.tiled and field is self.density else field
            if self.config.advection == "maccormack":
                self.advect(t, field, early, on, first, 0)
                self.improve(t, field, early, moved, on, first)
            else:
                self.advect(t, field, moved, on, first, 1)
        if self.config.buoyancy:
            self.rise(t)

    def _carried(self) -> list[tuple[Any, ...]]:
        """List what flow carries: a field, where it comes to, its first guess, where its first value is."""
        early = [getattr(self, f"{name}_early", None) for name in ("u", "v", "density")]
        return [
            (self.u_free, self.u, early[0], _U_FACES),
            (self.v_free, self.v, early[1], _V_FACES),
            (self.density, self.density, early[2], _CELLS),
        ]

    @ti.kernel
    def compare(self, t: ti.i32):
        """Add up the mean square of what is not as it should be."""
        for i, j in ti.ndrange(self.n, self.n):
            miss = self.density[t, i, j] - self.target[i, j]
            self.cost[None] += miss * miss / (self.n * self.n)

    @ti.kernel
    def compare_open(self, t: ti.i32):
        """Add up the same where cells without smoke are not visited: there the target's square is left."""
        for _ in range(1):
            self.cost[None] += self.wanted / (self.n * self.n)
        for i, j in self.density:
            here = self.density[t, i, j]
            self.cost[None] += here * (here - 2.0 * self.target[i, j]) / (self.n * self.n)

    def terminal_cost(self, t: Any) -> None:
        """Compare the last density with the target."""
        if self.tiled:
            self.compare_open(t)
        else:
            self.compare(t)

    def scene(self) -> ds.Scene:
        """Describe the smoke, the velocity that carries it, and beside them the target where there is one."""
        see, half = ds.scene, 0.5 * self.dx
        grid: dict[str, Any] = {"origin": (half, half), "spacing": self.dx}
        flow = see.Derived(_at_centers, self.u_free, self.v_free, unit="m/s")
        parts = [
            see.Grid(self.density, label="smoke", color="#5c6672", **grid),
            see.Vectors(flow, label="velocity", color="#1b5fc1", **grid),
        ]
        if self.target.numpy().any():
            aside = (1.06 * self.config.size + half, half)
            parts.append(
                see.Grid(self.target, label="target", color="#5c6672", origin=aside, spacing=self.dx)
            )
        return ds.Scene(parts, unit="m")


def _at_centers(u: NDArray[Any], v: NDArray[Any]) -> NDArray[Any]:
    """Return the velocity at the centres of cells from that at their faces."""
    across, along = u[..., 1:, :] + u[..., :-1, :], v[..., 1:] + v[..., :-1]
    return 0.5 * np.stack([across, along], axis=-1)


def _shaped(name: str, array: ArrayLike | None, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return an array of a shape, zero where it is left out."""
    values = np.zeros(shape) if array is None else np.asarray(array, dtype=np.float64)
    if values.shape != shape:
        raise ConfigError(f"{name} must have shape {shape}, got {values.shape}; make it for the config's n")
    return values


def divergence(u: ArrayLike, v: ArrayLike, dx: float) -> NDArray[np.float64]:
    """Return the divergence of each cell [1/s] from the velocities of its faces: what projections take away.

    Args:
        u: Velocities between cells along x, shape (..., n + 1, n) [m/s].
        v: Those along y, shape (..., n, n + 1).
        dx: Side of a cell [m].

    Returns:
        Shape (..., n, n).
    """
    across = np.diff(np.asarray(u, dtype=np.float64), axis=-2)
    along = np.diff(np.asarray(v, dtype=np.float64), axis=-1)
    return (across + along) / dx


def swirl(stream: ArrayLike, dx: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the velocity of a stream function, `u = d psi / dy`, `v = -d psi / dx`: it has no divergence.

    Args:
        stream: Psi at the corners of cells [m^2/s], shape (n + 1, n + 1); constant on the walls if the fluid
            is to stay inside.
        dx: Side of a cell [m].

    Returns:
        Shapes (n + 1, n) and (n, n + 1) [m/s].
    """
    psi = np.asarray(stream, dtype=np.float64)
    return np.diff(psi, axis=1) / dx, -np.diff(psi, axis=0) / dx
