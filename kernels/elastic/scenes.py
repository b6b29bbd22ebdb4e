"""What `Elastic` moves: a block to throw, a crawler in the plane, a walker in space.

The last axis points up. Bodies are boxes of points half a cell apart: four to a cell in the plane, eight in
space.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product

import numpy as np
from numpy.typing import ArrayLike

from diffsim.errors import ConfigError
from diffsim.kernels.common.config import Config
from diffsim.kernels.common.particles import Particles, join, lattice, solid
from diffsim.kernels.common.terrain import Terrain
from diffsim.options import option

__all__ = ["ElasticConfig", "Scene", "block", "crawler", "hills", "walker"]


@dataclass(frozen=True)
class ElasticConfig(Config):
    """The constants of soft bodies.

    Args:
        dt: time step [s], positive; sound must not cross a cell in a step.
        cell: size of the grid's cells [m], positive.
        gravity: acceleration along the last axis [m/s^2]; negative points down.
        young: Young's modulus [Pa], positive.
        poisson: Poisson's ratio, 0 to 0.45.
        density: of the bodies [kg/m^D], positive.
        friction: Coulomb's coefficient of the ground.
        strength: tension of a muscle at a command of 1 [Pa].
        waves: sine waves that the muscles' commands are mixed from.
        omega: their angular frequency [rad/s].
        gain: factor of the standard deviation of the first weights.

    Raises:
        ConfigError: a value is not a finite number, or out of the range given above.
    """

    dt: float = option(1.2e-3, "time step [s]", above=0.0)
    cell: float = option(1.0 / 48.0, "size of a cell [m]", above=0.0)
    gravity: float = option(-9.8, "acceleration along the last axis [m/s^2]")
    young: float = option(40.0, "Young's modulus [Pa]", above=0.0)
    poisson: float = option(0.2, "Poisson's ratio", minimum=0.0, maximum=0.45)
    density: float = option(1.0, "density [kg/m^D]", above=0.0)
    friction: float = option(0.8, "Coulomb's coefficient of the ground", minimum=0.0)
    strength: float = option(12.0, "tension of a muscle at a command of 1 [Pa]", minimum=0.0)
    waves: int = option(4, "sine waves that commands are mixed from", minimum=1)
    omega: float = option(25.0, "their angular frequency [rad/s]", above=0.0)
    gain: float = option(0.5, "factor of the first weights' standard deviation", minimum=0.0)


@dataclass(frozen=True, eq=False)
class Scene:
    """A cloud of particles in a box, and what it is to do.

    Attributes:
        name: What to call it.
        particles: The cloud.
        room: The box that particles can move in, the lower and the upper corner [m]; around it are walls.
        goal: Where the centre of mass is to be at the last step [m]; None for as far along the first axis as
            can be.
        config: The constants that the body was made with.
        spin: The angular velocity in the plane of the first and the last axis [rad/s], of a body that is
            thrown.
        terrain: The ground; None for the flat one of the room.
    """

    name: str
    particles: Particles
    room: tuple[tuple[float, ...], tuple[float, ...]]
    config: ElasticConfig = field(default_factory=ElasticConfig)
    goal: tuple[float, ...] | None = None
    spin: float = 0.0
    terrain: Terrain | None = None
    dim: int = field(init=False)

    def __post_init__(self) -> None:
        """Check that the dimensions agree.

        Raises:
            ConfigError: They do not, or the room is empty.
        """
        object.__setattr__(self, "dim", self.particles.dim)
        low, high = self.room
        if len(low) != self.dim or len(high) != self.dim or not np.all(np.array(high) > low):
            raise ConfigError(
                f"Scene.room must be two corners of {self.dim} numbers, low < high, got {self.room}"
            )
        if self.goal is not None and len(self.goal) != self.dim:
            raise ConfigError(f"Scene.goal must be {self.dim} numbers, got {self.goal}; one for each axis")


def block(config: ElasticConfig | None = None, dim: int = 2, side: float = 0.16, spin: float = 6.0) -> Scene:
    """Make a block to throw at a goal, which it can reach with a bounce from the ground.

    Args:
        config: The constants.
        dim: 2 or 3.
        side: Of the block [m].
        spin: Its angular velocity at the start [rad/s].

    Raises:
        ConfigError: There is no space of that dimension.
    """
    if dim not in (2, 3):
        raise ConfigError(f"dim must be 2 or 3, got {dim!r}; choose plane or space")
    c = config or ElasticConfig()
    middle = np.full(dim, 0.3)
    middle[0], middle[-1] = 0.2, 0.45
    depth = 1.0 if dim == 2 else 0.6
    room = ((0.0,) * dim, (1.0, *(depth,) * (dim - 2), 0.8))
    goal = (0.78, *(0.3,) * (dim - 2), 0.3)
    return Scene("block", _box(c, middle - side / 2, middle + side / 2), room, c, goal, spin)


def hills(config: ElasticConfig | None = None, size: float = 10.5, radius: float = 0.07) -> Scene:
    """Make a ball in space that is to be thrown over hills, on ground some hundred cells long and wide.

    A grid of the whole room would take gigabytes in each step: give `Elastic` a sparse layout.

    Args:
        config: The constants; 48 cells per metre make the room 504 cells long, wide and high.
        size: Of the room along each axis [m].
        radius: Of the ball [m].
    """
    c = config or ElasticConfig(dt=1.0e-3, young=100.0)
    waves = Terrain(1.0, (0.16, 0.1, 0.06), ((0.55, 0.1), (0.2, 0.6), (1.1, -0.7)), (0.3, 1.0, 2.0))
    middle = np.array([1.2, 0.5 * size, float(waves.at([1.2, 0.5 * size])) + 0.6])
    ball = _box(c, middle - radius, middle + radius)
    inside = np.linalg.norm(ball.x - middle, axis=1) <= radius
    place = (1.2 + 0.54 * size, 0.5 * size)
    goal = (*place, float(waves.at(place)) + radius)
    return Scene("hills", ball.chosen(inside), ((0.0,) * 3, (size,) * 3), c, goal, terrain=waves)


def crawler(config: ElasticConfig | None = None, length: float = 1.25) -> Scene:
    """Make a crawler in the plane: a back on two legs, each of two upright muscles side by side.

    The muscles 0 to 3 are numbered from behind. Pulling with one of a leg's two bends the leg to its side.

    Args:
        config: The constants.
        length: Of the room [m].
    """
    c = config or ElasticConfig()
    x, leg, back = 0.08, (0.05, 0.10), (0.30, 0.08)
    parts = [_box(c, (x, leg[1]), (x + back[0], leg[1] + back[1]))]
    for k, place in enumerate((0.0, leg[0], back[0] - 2 * leg[0], back[0] - leg[0])):
        parts.append(_box(c, (x + place, 0.0), (x + place + leg[0], leg[1]), muscle=k))
    return Scene("crawler", join(*parts), ((0.0, 0.0), (length, 0.45)), c)


def walker(config: ElasticConfig | None = None, length: float = 1.0) -> Scene:
    """Make a walker in space: a back on four legs, each of two upright muscles one behind the other.

    The muscles 2 k and 2 k + 1 are the hind and the front one of leg k; legs 0 and 1 are the hind ones.

    Args:
        config: The constants.
        length: Of the room [m].
    """
    c = config or ElasticConfig()
    x, y, leg, height, back = 0.06, 0.1, 0.1, 0.1, (0.32, 0.28, 0.08)
    parts = [_box(c, (x, y, height), (x + back[0], y + back[1], height + back[2]))]
    for k, (i, j) in enumerate(product((0.0, back[0] - leg), (0.0, back[1] - leg))):
        for half in range(2):
            low = np.array([x + i + half * leg / 2, y + j, 0.0])
            parts.append(_box(c, low, low + np.array([leg / 2, leg, height]), muscle=2 * k + half))
    return Scene("walker", join(*parts), ((0.0, 0.0, 0.0), (length, back[1] + 2 * y, 0.4)), c)


def _box(config: ElasticConfig, low: ArrayLike, high: ArrayLike, muscle: int = -1) -> Particles:
    """Fill a box with a solid, whose muscle's fibres run upward."""
    x = lattice(low, high, config.cell / 2.0)
    volume = float(np.prod(np.subtract(high, low))) / len(x)
    up = np.eye(x.shape[1])[-1]
    return solid(
        x,
        volume,
        young=config.young,
        poisson=config.poisson,
        density=config.density,
        muscle=muscle,
        fibre=up if muscle >= 0 else 0.0,
        strength=config.strength if muscle >= 0 else 0.0,
    )
