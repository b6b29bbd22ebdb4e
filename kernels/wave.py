"""The wave equation on a square: water or a membrane, with damping, released from rest."""

# No `from __future__ import annotations` here: Taichi reads kernel annotations as objects, not as text.
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import taichi as ti
from numpy.typing import ArrayLike, NDArray

import diffsim as ds
from diffsim.errors import ConfigError
from diffsim.kernels.common import Config
from diffsim.kernels.common.stencils import BOUNDARIES, around
from diffsim.options import option

__all__ = ["PATTERNS", "StabilityWarning", "Wave", "WaveConfig", "bumps", "pattern"]

COURANT_LIMIT = 1.0 / math.sqrt(2.0)  # of speed dt / dx, for the five-point Laplacian in two dimensions
_COURANT = 0.5  # where neither it nor a time step is given


class StabilityWarning(UserWarning):
    """Say that a time step is too large for its scheme: the solution will grow without bound."""


@dataclass(frozen=True)
class WaveConfig(Config):
    """The constants of a wave on a square.

    Args:
        n: points along each axis.
        size: side of the square [m].
        speed: wave speed c [m/s].
        damping: g [1/s]; amplitudes decay by exp(-g t / 2).
        boundary: what the walls do: "fixed" holds the height at zero there (the outermost points lie on the
            walls), "reflecting" lets it slide freely (the walls are half a spacing beyond the outermost
            points), "periodic" has no walls.
        courant: Courant number `speed dt / dx`; None for 0.5, or for what `dt` makes it.
        dt: time step [s]; None for what the Courant number makes it.

    Raises:
        ConfigError: a value is out of its range, or both `courant` and `dt` are given.

    Warns:
        StabilityWarning: the Courant number is above 1 / sqrt(2).
    """

    n: int = option(128, "points along each axis", minimum=3)
    size: float = option(1.0, "side of the square [m]", above=0.0)
    speed: float = option(1.0, "wave speed [m/s]", above=0.0)
    damping: float = option(0.1, "twice the rate at which amplitudes decay [1/s]", minimum=0.0)
    boundary: str = option("fixed", "what the walls do", choices=BOUNDARIES)
    courant: float | None = option(None, "Courant number; 0.5 where neither it nor dt is given", above=0.0)
    dt: float | None = option(None, "time step [s]; left out: from the Courant number", above=0.0)

    def check(self) -> None:
        """Hold the rules between fields; warn of a time step above the limit."""
        if self.courant is not None and self.dt is not None:
            self.refuse("dt", "be left out where courant is given", self.dt, "give one of them")
        if self.courant_number > COURANT_LIMIT * (1.0 + 1e-12):
            name, given = ("courant", self.courant) if self.dt is None else ("dt", self.dt)
            most = COURANT_LIMIT if self.dt is None else COURANT_LIMIT * self.dx / self.speed
            warnings.warn(
                f"{self.label(name)} must be at most {most:.6g} for waves that stay bounded, got "
                f"{given:.6g}: the Courant number speed dt / dx is {self.courant_number:.4g}, its limit "
                f"1 / sqrt(2) = {COURANT_LIMIT:.4g}; use a smaller time step or fewer points",
                StabilityWarning,
                stacklevel=4,
            )

    @property
    def dx(self) -> float:
        """The spacing of the points [m]."""
        return self.size / (self.n - 1 if self.boundary == "fixed" else self.n)

    @property
    def time_step(self) -> float:
        """The time step [s], as given or from the Courant number."""
        return self.dt if self.dt is not None else (self.courant or _COURANT) * self.dx / self.speed

    @property
    def courant_number(self) -> float:
        """How many spacings a wave travels in a step."""
        return self.speed * self.time_step / self.dx

    def axis(self) -> NDArray[np.float64]:
        """Return the points' places along an axis [m], from one wall to the other, shape (n,)."""
        first = 0.0 if self.boundary == "fixed" else 0.5
        return np.asarray(self.dx * (np.arange(self.n) + first), dtype=np.float64)


# ---- scenes: heights drawn with NumPy ----


def bumps(config: WaveConfig, count: int = 6, height: float = 1.0, seed: int = 0) -> NDArray[np.float64]:
    """Draw smooth bumps and dents at random places, away from the walls.

    Args:
        config: the grid.
        count: how many.
        height: the largest height or depth of one.
        seed: what the random numbers start from.

    Returns:
        Shape (n, n).
    """
    rng = np.random.default_rng(seed)
    x = config.axis() / config.size
    u = np.zeros((config.n, config.n))
    for _ in range(count):
        (a, b), width = rng.uniform(0.2, 0.8, size=2), rng.uniform(0.05, 0.1)
        square = (x[:, None] - a) ** 2 + (x[None, :] - b) ** 2
        u += height * rng.uniform(-1.0, 1.0) * np.exp(-0.5 * square / width**2)
    return u


def pattern(
    config: WaveConfig, name: str = "partial", height: float = 1.0, width: float = 0.025
) -> NDArray[np.float64]:
    """Draw a pattern as a ridge along a line, whose cross-section is a Gaussian: short waves are weak in it.

    Args:
        config: the grid.
        name: one of `PATTERNS`.
        height: of the ridge.
        width: standard deviation of the cross-section, in sides of the square. Waves shorter than about
            six of them are weak; the grid carries those above about eight spacings well.

    Returns:
        Shape (n, n).

    Raises:
        ConfigError: there is no such pattern.
    """
    if name not in PATTERNS:
        raise ConfigError(f"pattern name must be one of {', '.join(PATTERNS)}, got {name!r}; choose one")
    x = config.axis() / config.size
    nearest = np.full((config.n, config.n), np.inf)
    for line in PATTERNS[name]():
        for a, b in pairwise(line):
            nearest = np.minimum(nearest, _distance(x[:, None], x[None, :], a, b))
    return height * np.exp(-0.5 * (nearest / width) ** 2)


def _distance(x: Any, y: Any, a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.float64]:
    """Return the distance of points to the segment from a to b."""
    along = b - a
    s = ((x - a[0]) * along[0] + (y - a[1]) * along[1]) / max(along @ along, 1e-12)
    s = np.clip(s, 0.0, 1.0)
    return np.hypot(x - a[0] - s * along[0], y - a[1] - s * along[1])


def _ellipse(x: float, y: float, a: float, b: float) -> NDArray[np.float64]:
    angle = np.linspace(0.0, 2.0 * np.pi, 49)
    return np.stack([x + a * np.cos(angle), y + b * np.sin(angle)], axis=1)


def _ring() -> list[NDArray[np.float64]]:
    return [_ellipse(0.5, 0.5, 0.26, 0.26)]


def _heart() -> list[NDArray[np.float64]]:
    angle = np.linspace(0.0, 2.0 * np.pi, 65)
    x = np.sin(angle) ** 3
    y = 0.83 * np.cos(angle) - 0.32 * np.cos(2 * angle) - 0.13 * np.cos(3 * angle) - 0.06 * np.cos(4 * angle)
    return [np.stack([0.5 + 0.29 * x, 0.53 + 0.29 * y], axis=1)]


def _partial() -> list[NDArray[np.float64]]:
    """Draw the sign of partial derivatives: an ellipse, and a cubic Bezier curve from its right side on."""
    s = np.linspace(0.0, 1.0, 25)[:, None]
    ends = np.array([[0.655, 0.40], [0.70, 0.68], [0.56, 0.92], [0.34, 0.74]])
    weights = np.hstack([(1 - s) ** 3, 3 * s * (1 - s) ** 2, 3 * s**2 * (1 - s), s**3])
    return [_ellipse(0.49, 0.385, 0.165, 0.185), weights @ ends]


PATTERNS: dict[str, Callable[[], list[NDArray[np.float64]]]] = {
    "partial": _partial,
    "ring": _ring,
    "heart": _heart,
}


# ---- physics ----


class Wave(ds.Simulator):
    """The height u of a square of water, or of a membrane, after it is let go.

    The equation and its discretisation, second order in time and space, with `L` the five-point Laplacian::

        u_tt + g u_t = c^2 (u_xx + u_yy),    u(0) = height,    u_t(0) = 0

        (u+ - 2 u + u-) / dt^2 + g (u+ - u-) / (2 dt) = c^2 L u / dx^2
        u+ = u + k (u - u-) + r L u,   k = (1 - g dt/2) / (1 + g dt/2),   r = (c dt / dx)^2 / (1 + g dt/2)

    The first step follows from `u_t(0) = 0`, that is `u- = u+`: `u+ = u + (c dt / dx)^2 L u / 2`. Without
    damping the scheme keeps a discrete energy exactly (to rounding), with it the energy only falls.
    A plane wave of wave number (p, q) oscillates with the frequency w of
    `sin^2(w dt / 2) = (c dt / dx)^2 (sin^2(p dx / 2) + sin^2(q dx / 2))`: short waves are slower than c.
    The equation is linear, so heights have any unit; the examples use mm. The cost is the squared distance to
    `target` at the last step, summed over the points: its second derivatives do not depend on their number.

    Args:
        config: the constants.
        height: the first height, shape (n, n), first axis x, second y; zero where left out. At fixed walls
            it is taken to be zero.
        target: the height to be reached, shape (n, n); zero where left out.

    Attributes:
        u: the height, `State(real, (n, n))`; `u[t]` is that at time `t dt`.
        height: the first height, `Param(real, (n, n))`.
        target: `Constant(real, (n, n))`.
        dt: time step [s].

    Raises:
        ConfigError: an array has another shape.

    Differentiability: linear in `height`, so smooth everywhere.

    Reference: Courant, Friedrichs and Lewy (1928) for the limit of the time step.
    """

    def __init__(
        self,
        config: WaveConfig | None = None,
        height: ArrayLike | None = None,
        target: ArrayLike | None = None,
    ) -> None:
        """Declare the fields; nothing is allocated before a rollout."""
        self.config = config or WaveConfig()
        c = self.config
        self.n, self.dt, self.boundary = c.n, c.time_step, c.boundary
        shape = (self.n, self.n)
        self.u = ds.State(ds.real, shape, history=2, keep=False, unit="mm")  # fixed walls stay at zero
        self.height: Any = ds.Param(ds.real, shape, init=height, unit="mm")
        self.target: Any = ds.Constant(ds.real, shape, init=target, unit="mm")
        self.rim = 1 if c.boundary == "fixed" else 0  # points on a wall that are held
        loss = 0.5 * c.damping * self.dt
        self.kept = (1.0 - loss) / (1.0 + loss)
        self.rate = c.courant_number**2 / (1.0 + loss)
        self.first_rate = 0.5 * c.courant_number**2

    @ti.kernel
    def release(self):
        """Write the first height; fixed walls stay at zero."""
        for i, j in ti.ndrange((self.rim, self.n - self.rim), (self.rim, self.n - self.rim)):
            self.u[0, i, j] = self.height[i, j]

    @ti.func
    def moved(self, t: ti.template(), at, boundary: ti.template()):
        """Return the height of a point at `t + 1`; in the first step nothing is known of the time before."""
        kept = ti.select(t == 0, 0.0, self.kept)
        rate = ti.select(t == 0, self.first_rate, self.rate)
        here = self.u[t, at]
        bend = around(self.u, t, at, boundary) - 4.0 * here
        return here + kept * (here - self.u[t - 1, at]) + rate * bend

    @ti.kernel
    def move(self, t: ti.i32):
        """Move all points but the outermost."""
        for i, j in ti.ndrange((1, self.n - 1), (1, self.n - 1)):
            self.u[t + 1, i, j] = self.moved(t, ti.Vector([i, j]), "interior")

    @ti.kernel
    def move_rim(self, t: ti.i32):
        """Move the outermost points: two whole sides, and what they leave of the other two."""
        for j in range(self.n):
            self.u[t + 1, 0, j] = self.moved(t, ti.Vector([0, j]), self.boundary)
            self.u[t + 1, self.n - 1, j] = self.moved(t, ti.Vector([self.n - 1, j]), self.boundary)
        for i in range(1, self.n - 1):
            self.u[t + 1, i, 0] = self.moved(t, ti.Vector([i, 0]), self.boundary)
            self.u[t + 1, i, self.n - 1] = self.moved(t, ti.Vector([i, self.n - 1]), self.boundary)

    @ti.kernel
    def misfit(self, t: ti.i32):
        """Add the squared distance to the target, point by point."""
        for i, j in ti.ndrange(self.n, self.n):
            self.cost[None] += (self.u[t, i, j] - self.target[i, j]) ** 2

    def reset(self) -> None:
        """Start with the first height."""
        self.release()

    def step(self, t: Any) -> None:
        """Move the inside, then the rim; fixed walls keep the zero that nobody writes."""
        self.move(t)
        if self.boundary != "fixed":
            self.move_rim(t)

    def terminal_cost(self, t: Any) -> None:
        """Compare with the target."""
        self.misfit(t)

    def scene(self) -> ds.Scene:
        """Describe the height, and beside it the target where there is one."""
        most = float(np.abs(self.target.numpy()).max())
        told: dict[str, Any] = {"center": 0.0, "limits": (-most, most) if most else None}
        parts = [self._beside(0, self.u, label="height", **told)]
        if most:
            parts.append(self._beside(1, self.target, label="target", **told))
        return ds.Scene(parts, unit="m")

    def _beside(self, place: int, values: Any, **told: Any) -> ds.scene.Grid:
        """Describe a grid on the square at a place in a row of squares."""
        c: Any = self.config
        first = float(c.axis()[0])
        return ds.scene.Grid(values, origin=(1.06 * c.size * place + first, first), spacing=c.dx, **told)
