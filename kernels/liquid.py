"""Water in an aquarium, and a swimmer in it: an elastic body with muscles that learns to swim."""

# No `from __future__ import annotations` here: Taichi reads kernel annotations as objects, not as text.
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import taichi as ti
from numpy.typing import NDArray

import diffsim as ds
from diffsim.errors import ConfigError
from diffsim.kernels.common import Config
from diffsim.kernels.common.mpm import MPM
from diffsim.kernels.common.particles import Particles, join, lattice, liquid, solid
from diffsim.options import option

__all__ = ["SCENES", "Liquid", "LiquidConfig", "Scene", "dam_break", "swimmer", "tank"]

Array = NDArray[np.float64]

_RIM = 3  # cells of wall on each side


@dataclass(frozen=True)
class LiquidConfig(Config):
    """The constants of an aquarium, in the plane (of 1 m depth out of it) or in space: water and a soft body.

    Water is taken to be softer than it is: sound runs at `sound`, which is some ten times faster than the
    flow, so that density changes little (by about the square of the Mach number) and steps need not be tiny.

    Args:
        dt: time step [s], positive.
        width: size of the grid along x [m].
        height: size of the grid upward [m]; a whole number of cells.
        depth: size of the grid out of the plane [m], a whole number of cells; 0 for the plane.
        cells: cells along x; 3 on each side are wall.
        per_cell: particles along a cell's side at the start.
        gravity: acceleration of gravity, downwards [m/s^2], not negative.
        density: of water and body [kg/m^3].
        sound: speed of sound in water [m/s].
        stiffening: exponent gamma of the equation of state.
        viscosity: dynamic viscosity [Pa s]; the transfer to the grid and back adds some.
        young: Young's modulus of the body [Pa].
        poisson: its Poisson's ratio, above -1 and below 1/2.
        muscle: tension of a muscle at a command of 1 [Pa].
        sines: sine waves of shifted phase that the controller mixes.
        frequency: of these waves [Hz].

    Raises:
        ConfigError: A value is out of the range given above, or there is no room between the walls.
    """

    dt: float = option(2.5e-4, "time step [s]", above=0.0)
    width: float = option(0.32, "width of the grid [m]", above=0.0)
    height: float = option(0.16, "height of the grid [m]", above=0.0)
    depth: float = option(0.0, "depth of the grid out of the plane [m]; 0 for the plane", minimum=0.0)
    cells: int = option(64, "cells along the width", minimum=2 * _RIM + 2)
    per_cell: int = option(2, "particles along a cell's side", minimum=1)
    gravity: float = option(9.8, "acceleration of gravity, downwards [m/s^2]", minimum=0.0)
    density: float = option(1000.0, "density of water and body [kg/m^3]", above=0.0)
    sound: float = option(8.0, "speed of sound in water [m/s]", above=0.0)
    stiffening: float = option(7.0, "exponent of the equation of state", above=0.0)
    viscosity: float = option(0.0, "dynamic viscosity [Pa s]", minimum=0.0)
    young: float = option(6e4, "Young's modulus of the body [Pa]", above=0.0)
    poisson: float = option(0.3, "Poisson's ratio of the body", above=-1.0)
    muscle: float = option(2e4, "tension of a muscle at a command of 1 [Pa]", minimum=0.0)
    sines: int = option(4, "sine waves that the controller mixes", minimum=1)
    frequency: float = option(10.0, "frequency of these waves [Hz]", above=0.0)

    def check(self) -> None:
        """Fit whole cells into the height, and let the body be squeezed."""
        if self.poisson >= 0.5:
            self.refuse("poisson", "be below 0.5", self.poisson, "0.3 is common")
        for name, size in (("height", self.height), ("depth", self.depth)):
            rows = size / self.dx
            if rows and (abs(rows - round(rows)) > 1e-6 * rows or round(rows) < 2 * _RIM + 2):
                rule = f"be a multiple of the cells' {self.dx:.4g} m, {2 * _RIM + 2} or more"
                self.refuse(name, rule, size, "change it or cells")

    @property
    def dx(self) -> float:
        """Size of a cell [m]."""
        return self.width / self.cells

    @property
    def grid(self) -> tuple[int, ...]:
        """Cells along each axis, the last of which points up."""
        deep = (round(self.depth / self.dx),) if self.depth else ()
        return (self.cells, *deep, round(self.height / self.dx))

    @property
    def bulk(self) -> float:
        """Bulk modulus of water [Pa], `density sound^2`."""
        return self.density * self.sound**2

    @property
    def room(self) -> tuple[Array, Array]:
        """The corners of the room between the walls [m]."""
        rim = _RIM * self.dx
        return np.full(len(self.grid), rim), np.array(self.grid) * self.dx - rim

    @property
    def spacing(self) -> float:
        """Between neighbouring particles at the start [m]."""
        return self.dx / self.per_cell

    def squeezed(self, pressure: Array) -> Array:
        """Return the volume over that at rest of water under a pressure [Pa]: the equation of state."""
        return (1.0 + self.stiffening * pressure / self.bulk) ** (-1.0 / self.stiffening)

    def pressure(self, J: Array) -> Array:
        """Return the pressure [Pa] of water of a volume over that at rest."""
        return self.bulk / self.stiffening * (J ** (-self.stiffening) - 1.0)


@dataclass(frozen=True, eq=False)
class Scene:
    """What is in the aquarium at the start.

    Attributes:
        particles: All of it; solids first.
        J: Volume over volume at rest of the water's particles, shape (liquids,).
    """

    particles: Particles
    J: Array


def tank(config: LiquidConfig, depth: float = 0.1, pressed: bool = True) -> Scene:
    """Fill the aquarium with water at rest.

    Args:
        config: The constants.
        depth: Of the water [m], at most the height between the walls.
        pressed: Squeeze the water from the start as its weight will, so that it stays at rest.

    Raises:
        ConfigError: The water does not fit.
    """
    low, high = config.room
    surface = low[-1] + depth
    return _scene(config, _box(config, low, [*high[:-1], surface]), surface if pressed else None)


def dam_break(config: LiquidConfig, width: float = 0.08, height: float = 0.1, middle: bool = False) -> Scene:
    """Set up a block of water whose dam is gone.

    Args:
        config: The constants.
        width: Of the block [m]; in space it reaches from the front wall to the back one.
        height: Of the block [m].
        middle: Put it into the middle of the floor, rather than to the left wall.

    Raises:
        ConfigError: The water does not fit.
    """
    low, high = config.room
    left = 0.5 * (low[0] + high[0] - width) if middle else low[0]
    block = _box(config, [left, *low[1:]], [left + width, *high[1:-1], low[-1] + height])
    return _scene(config, block, None)


def swimmer(
    config: LiquidConfig,
    depth: float = 0.1,
    length: float = 0.1,
    thickness: float = 0.02,
    segments: int = 4,
    start: float = 0.3,
) -> Scene:
    """Put a fish into water at rest, its head to the right.

    Along each of its two sides runs a row of muscles, `segments` from tail to head: first the lower side,
    then the upper one. Their fibres run along the body; the middle fifth is passive.

    Args:
        config: The constants.
        depth: Of the water [m].
        length: Of the body [m].
        thickness: Of its thickest part [m]; it tapers to the tail and is round at the head.
        segments: Muscles on each side.
        start: Where the body's middle is, as a share of the grid's width.

    Raises:
        ConfigError: The water does not fit, or the body does not fit into it; or there is a depth.
    """
    if config.depth:
        raise ConfigError(
            f"swimmer must swim in the plane, got a depth of {config.depth} m; use depth=0, or dam_break"
        )
    low, high = config.room
    center = np.array([start * config.width, low[1] + 0.5 * depth])
    if not (low[0] < center[0] - 0.5 * length and center[0] + 0.5 * length < high[0] and thickness < depth):
        raise ConfigError(
            f"swimmer must lie within the water, got a body of {length} x {thickness} m about "
            f"x = {center[0]:.3g} m; the walls are at x = {low[0]:.3g} and {high[0]:.3g} m"
        )
    water = _box(config, low, [high[0], low[1] + depth])
    body = lattice(center - 0.5 * np.array([length, thickness]), center + 0.5 * np.array([length, thickness]),
                   config.spacing)  # fmt: skip
    body = body[_inside(body, center, length, thickness)]
    along = (body[:, 0] - center[0]) / length + 0.5
    across = (body[:, 1] - center[1]) / (0.5 * thickness)
    segment = np.minimum((along * segments).astype(int), segments - 1)
    muscles = np.where(np.abs(across) < 0.2, -1, segment + segments * (across > 0.0))
    flesh = solid(
        body, config.spacing**2, young=config.young, poisson=config.poisson, density=config.density,
        muscle=muscles, fibre=(1.0, 0.0), strength=config.muscle,
    )  # fmt: skip
    # Half a particle's spacing is left between the water and the body.
    grown = 1.0 + config.spacing / np.array([length, thickness])
    outside = ~_inside(water, center, length * grown[0], thickness * grown[1])
    return _scene(config, water[outside], low[1] + depth, flesh)


SCENES: dict[str, Callable[[LiquidConfig], Scene]] = {
    "tank": tank,
    "dam_break": dam_break,
    "swimmer": swimmer,
}


def _inside(x: Array, center: Array, length: float, thickness: float) -> NDArray[np.bool_]:
    """Tell which points are in a fish: an outline that is round at the head and tapers to the tail."""
    along = (x[:, 0] - center[0]) / length + 0.5
    s = along.clip(0.0, 1.0)
    half = 0.5 * thickness * np.minimum(0.35 + s, 1.0) * np.sqrt(np.minimum(1.0, 5.0 * (1.0 - s)))
    return (along >= 0.0) & (along <= 1.0) & (np.abs(x[:, 1] - center[1]) <= half)


def _box(config: LiquidConfig, low: Any, high: Any) -> Array:
    """Fill a box with points."""
    rooms = config.room
    if np.any(np.asarray(low) < rooms[0] - 1e-9) or np.any(np.asarray(high) > rooms[1] + 1e-9):
        size = " x ".join(f"{length:.3g}" for length in rooms[1] - rooms[0])
        raise ConfigError(
            f"water must fit the room of {size} m, got a block from {np.round(low, 4)} "
            f"to {np.round(high, 4)} m; make it smaller"
        )
    return lattice(low, high, config.spacing)


def _scene(config: LiquidConfig, x: Array, surface: float | None, flesh: Particles | None = None) -> Scene:
    """Make water of points, squeezed by the weight of what is above them if there is a surface."""
    J = np.ones(len(x))
    if surface is not None:
        J = config.squeezed(config.density * config.gravity * (surface - x[:, -1]))
    water = liquid(x, config.spacing ** len(config.grid) / J, bulk=config.bulk, density=config.density)
    return Scene(water if flesh is None else join(flesh, water), J)


class Liquid(ds.Simulator):
    """A weakly compressible liquid and elastic bodies with muscles, by the material point method (`MPM`).

    Water has the pressure `p = bulk/gamma (J^-gamma - 1)`, with `bulk = density sound^2` and the change of
    volume J of its particles, and the viscous stress of a Newtonian liquid; bodies are fixed corotated, with
    muscles that pull along their fibres. Both move in one velocity field: water does not slip along a body.

    Muscle `k` is told `tanh(b[k] + sum over j of w[j, k] sin(2 pi frequency time + 2 pi j/sines))`: the
    weights choose amplitude and phase of each muscle, and so the wave that runs along the body.

    The cost is minus the way that the middle of the bodies, or of the water where there are none, has
    travelled along x, in widths of the grid.

    Args:
        config: The constants.
        scene: What there is at the start; None for `swimmer`.
        layout: How the grid lies in memory; with `ds.sparse()` the room may be as large as you like.

    Attributes:
        setup: what there is at the start.
        mpm: the particles and their grid.
        x: positions [m], `State(vec, n)`; bodies first.
        v: velocities [m/s], `State(vec, n)`.
        policy: the controller, where there are muscles; its weights are `policy.w0` and `policy.b0`.
        followed: how many particles, the first ones, the cost is about.

    Raises:
        ConfigError: The step is too long for the speed of sound.

    Differentiability: as `MPM`: with respect to weights and the first positions, velocities and volumes.

    Reference: Hu et al., "A moving least squares material point method" (2018); Becker, Teschner, "Weakly
    compressible SPH for free surface flows" (2007), the choice of the speed of sound.
    """

    def __init__(
        self, config: LiquidConfig | None = None, scene: Scene | None = None, layout: Any = None
    ) -> None:
        """Declare the fields; nothing is allocated before a rollout."""
        self.config = c = config or LiquidConfig()
        self.setup = scene or swimmer(c)
        self.dt, cloud = c.dt, self.setup.particles
        self.mpm = MPM(
            cloud, c.grid, c.dx, c.dt, (*(0.0,) * (len(c.grid) - 1), -c.gravity),
            walls="slip", rim=_RIM, viscosity=c.viscosity, gamma=c.stiffening, layout=layout,
        )  # fmt: skip
        self.x, self.v = self.mpm.x, self.mpm.v
        if self.mpm.J is not None:
            self.mpm.J.set(self.setup.J)
        self.followed = cloud.solids or cloud.count
        self.share = 1.0 / (self.followed * c.width)
        self.start = ds.Constant(cloud.x[: self.followed], unit="m")
        if self.mpm.actuation is not None:
            omega = 2.0 * np.pi * c.frequency
            self.waves = ds.Scratch(ds.real, c.sines)
            self.clock = ds.control.Sinusoids(outputs=self.waves, count=c.sines, omega=omega, dt=c.dt)
            self.policy = ds.control.MLP(inputs=self.waves, outputs=self.mpm.actuation, hidden=())

    @ti.kernel
    def travel(self, t: ti.i32):
        """Subtract the way along x from the cost."""
        for p in range(self.followed):
            self.cost[None] -= self.share * (self.x[t, p][0] - self.start[p, 0])

    def step(self, t: Any) -> None:
        """Tell the muscles, move everything."""
        if self.mpm.actuation is not None:
            self.clock(t)
            self.policy(t)
        self.mpm(t)

    def terminal_cost(self, t: Any) -> None:
        """Reward the way travelled."""
        self.travel(t)

    def scene(self) -> ds.Scene:
        """Describe water and bodies between the walls, and the way that their middle goes."""
        see, (low, high) = ds.scene, self.config.room

        def middle(x: Array) -> Array:
            return x[..., : self.followed, :].mean(axis=-2)

        parts = self.mpm.parts()
        if len(low) == 2:
            outline = np.array([low, [high[0], low[1]], high, [low[0], high[1]]])
            parts.append(see.Lines(outline, closed=True, color=see.INK))
        way = see.Points(
            see.Derived(middle, self.x, unit="m"),
            radius=0.5 * self.config.dx,
            color=see.INK,
            trail=True,
            label="middle",
        )
        up = see.Camera(toward=(-0.4, 0.8, -0.4), up=(0.0, 0.0, 1.0)) if len(low) == 3 else None
        return ds.Scene(
            [*parts, way], camera=up, limits=tuple((0.0, n * self.config.dx) for n in self.config.grid)
        )
