"""Bodies as clouds of material points, in the plane or in space: where they lie and what they are made of."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffsim.errors import ConfigError
from diffsim.kernels.common.materials import lame

__all__ = ["Particles", "join", "lattice", "liquid", "solid"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Particles:
    """A cloud of material points, solids before liquids; made by `solid`, `liquid` and `join`.

    Attributes:
        x: Positions [m], shape (n, D).
        v: Velocities [m/s], shape (n, D).
        mass: [kg], per metre of depth in 2D, shape (n,).
        volume: At rest [m^D], shape (n,).
        liquid: Which are liquid, the last of all, bool, shape (n,).
        mu: Shear modulus [Pa], 0 for liquids, shape (n,).
        la: Lamé's second modulus [Pa], for liquids the bulk modulus, shape (n,).
        muscle: The muscle that a point belongs to, or -1, integers, shape (n,).
        fibre: The direction of the muscle's fibres at rest, of length 1, or 0, shape (n, D).
        strength: The muscle's tension when its command is 1 [Pa], shape (n,).
    """

    x: Array
    v: Array
    mass: Array
    volume: Array
    liquid: NDArray[np.bool_]
    mu: Array
    la: Array
    muscle: NDArray[np.int32]
    fibre: Array
    strength: Array

    @property
    def count(self) -> int:
        """Number of points."""
        return len(self.x)

    @property
    def dim(self) -> int:
        """Dimension of space, 2 or 3."""
        return self.x.shape[1]

    @property
    def solids(self) -> int:
        """Number of points that are not liquid: the first ones."""
        return int(np.count_nonzero(~self.liquid))

    @property
    def muscles(self) -> int:
        """Number of muscles: one more than the largest index."""
        return int(self.muscle.max(initial=-1)) + 1

    def moved(self, way: ArrayLike) -> Particles:
        """Return the cloud somewhere else.

        Args:
            way: What to add to the positions [m], D numbers.
        """
        return replace(self, x=self.x + np.asarray(way, dtype=np.float64))

    def chosen(self, which: ArrayLike) -> Particles:
        """Return some of the points.

        Args:
            which: Numbers of points, or a mask, shape (n,).
        """
        kept = np.asarray(which)
        return replace(self, **{f.name: getattr(self, f.name)[kept] for f in fields(self)})

    @property
    def sound(self) -> float:
        """The fastest pressure wave at rest, `sqrt((la + 2 mu) / rho)` [m/s]."""
        return float(np.sqrt(((self.la + 2.0 * self.mu) * self.volume / self.mass).max()))


def lattice(low: ArrayLike, high: ArrayLike, spacing: float) -> Array:
    """Fill a box with points, row by row, each in the middle of a cell of about `spacing`.

    Args:
        low: The box's lower corner [m], D numbers.
        high: Its upper corner [m].
        spacing: Between neighbours [m]; along each axis the nearest that divides the box evenly.

    Returns:
        Positions [m], shape (n, D).

    Raises:
        ConfigError: The box is empty, or the spacing is not positive.
    """
    start, stop = np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64)
    if start.shape != stop.shape or start.shape not in ((2,), (3,)) or not np.all(stop > start):
        raise ConfigError(
            f"a box must have 2 or 3 sides above 0, got {low!r} to {high!r}; pass low below high"
        )
    if not spacing > 0.0:
        raise ConfigError(f"spacing must be a number above 0, got {spacing!r}; half a cell is common")
    counts = np.maximum(1, np.rint((stop - start) / spacing).astype(int))
    axes = [a + (b - a) * (np.arange(n) + 0.5) / n for a, b, n in zip(start, stop, counts, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(start))


def solid(
    x: ArrayLike,
    volume: ArrayLike,
    *,
    young: float,
    poisson: float,
    density: float = 1.0,
    v: ArrayLike = 0.0,
    muscle: ArrayLike = -1,
    fibre: ArrayLike = 0.0,
    strength: ArrayLike = 0.0,
) -> Particles:
    """Make a fixed corotated solid, with muscles or without.

    Args:
        x: Positions [m], shape (n, D).
        volume: Of each point [m^D], one number or n.
        young: Young's modulus [Pa].
        poisson: Poisson's ratio, above -1 and below 1/2.
        density: [kg/m^D].
        v: Velocities [m/s]: a number, D or (n, D).
        muscle: The index of each point's muscle, -1 for none: one or n.
        fibre: The direction of the fibres, D or (n, D); it is made of length 1.
        strength: Tension at a command of 1 [Pa], one number or n.

    Raises:
        ConfigError: A number is out of its range, or an array has another shape.
    """
    mu, la = lame(young, poisson)
    return _cloud(x, volume, density, v, (False, mu, la), (muscle, fibre, strength))


def liquid(
    x: ArrayLike, volume: ArrayLike, *, bulk: float, density: float = 1.0, v: ArrayLike = 0.0
) -> Particles:
    """Make a weakly compressible liquid.

    Args:
        x: Positions [m], shape (n, D).
        volume: Of each point [m^D], one number or n.
        bulk: Bulk modulus [Pa].
        density: [kg/m^D].
        v: Velocities [m/s]: a number, D or (n, D).

    Raises:
        ConfigError: A number is out of its range, or an array has another shape.
    """
    if not bulk > 0.0:
        raise ConfigError(f"bulk must be a number above 0, got {bulk!r}; pass the bulk modulus in Pa")
    return _cloud(x, volume, density, v, (True, 0.0, bulk), (-1, 0.0, 0.0))


def join(*clouds: Particles) -> Particles:
    """Put clouds together, solids before liquids; the order is kept otherwise.

    Raises:
        ConfigError: There is none, or they have different dimensions.
    """
    if not clouds or len({cloud.dim for cloud in clouds}) != 1:
        dims = [cloud.dim for cloud in clouds]
        raise ConfigError(f"clouds to join must be some, of one dimension, got {dims}; pass at least one")
    columns = {
        name: np.concatenate([getattr(cloud, name) for cloud in clouds])
        for name in Particles.__dataclass_fields__
    }
    order = np.argsort(columns["liquid"], kind="stable")
    return Particles(**{name: column[order] for name, column in columns.items()})


def _cloud(
    x: ArrayLike,
    volume: ArrayLike,
    density: float,
    v: ArrayLike,
    matter: tuple[bool, float, float],
    pull: tuple[ArrayLike, ArrayLike, ArrayLike],
) -> Particles:
    places = np.array(x, dtype=np.float64)
    if places.ndim != 2 or places.shape[1] not in (2, 3) or len(places) < 1:
        raise ConfigError(f"x must have shape (n, 2) or (n, 3), got {places.shape}; see lattice")
    if not density > 0.0:
        raise ConfigError(f"density must be a number above 0, got {density!r}; pass kg per m^D")
    n, dim = places.shape
    sizes = _spread("volume", volume, (n,))
    if not np.all(sizes > 0.0):
        raise ConfigError(f"volume must be above 0, got {sizes.min()}; pass the share of each point in m^D")
    fibres = _spread("fibre", pull[1], (n, dim))
    lengths = np.linalg.norm(fibres, axis=1, keepdims=True)
    return Particles(
        x=places,
        v=_spread("v", v, (n, dim)),
        mass=density * sizes,
        volume=sizes,
        liquid=np.full(n, matter[0]),
        mu=np.full(n, matter[1]),
        la=np.full(n, matter[2]),
        muscle=_spread("muscle", pull[0], (n,)).astype(np.int32),
        fibre=fibres / np.where(lengths > 0.0, lengths, 1.0),
        strength=_spread("strength", pull[2], (n,)),
    )


def _spread(name: str, values: ArrayLike, shape: tuple[int, ...]) -> Array:
    try:
        found: Any = np.broadcast_to(np.asarray(values, dtype=np.float64), shape)
    except ValueError:
        raise ConfigError(
            f"{name} must have shape {shape} or one that spreads to it, got {np.shape(values)}; reshape it"
        ) from None
    return np.array(found)
