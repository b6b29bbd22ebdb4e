"""A body in a channel that is known by the wake it leaves at a few probes."""

# No `from __future__ import annotations` here: Taichi reads kernel annotations as objects, not as text.
from dataclasses import dataclass

import numpy as np
import taichi as ti
from numpy.typing import ArrayLike, NDArray

import diffsim as ds
from diffsim.errors import ConfigError
from diffsim.kernels.lattice_boltzmann.simulator import LatticeBoltzmann, LatticeBoltzmannConfig
from diffsim.options import option

__all__ = ["StarBody", "Wake", "WakeConfig"]

_TINY = 1e-6  # [dx^2] under the root of a distance: smooth at the body's centre


class StarBody(ds.Part):
    """A solid whose outline is a Fourier series in the angle around its centre.

    With e the direction from the centre and R the radius::

        r(e)  = R (1 + g + sum over k = 2 .. modes of a_k cos(k angle) + b_k sin(k angle))
        solid = x^3 (6 x^2 - 15 x + 10),   x = (1 + (r(e) - distance) / width) / 2 between 0 and 1

    Args:
        solid: The solid fraction to write at t = 0, a State of shape (nx, ny).
        center: The centre where the offsets are zero [dx], from the lower left corner of the grid.
        radius: R [dx].
        modes: The highest k, 1 for circles.
        width: The solid fraction falls from 1 to 0 within this distance of the outline [dx].

    Attributes:
        shape: offsets of the centre along x and y [R], growth g, then a_2, b_2, a_3, ...,
            `Param(real, 2 modes + 1)`.

    Differentiability: Twice continuously differentiable in `shape`; the cells that tell are those closer to
    the outline than `width`.
    """

    def __init__(
        self,
        solid: ds.State,
        center: tuple[float, float],
        radius: float,
        modes: int = 3,
        width: float = 1.0,
    ) -> None:
        self.solid, self.center, self.radius, self.modes, self.width = solid, center, radius, modes, width
        self.tiny = _TINY
        self.shape = ds.Param(ds.real, 2 * modes + 1)

    @ti.kernel
    def draw(self):
        """Write the solid fraction of every cell."""
        for i, j in ti.ndrange(self.solid.shape[0], self.solid.shape[1]):
            x = i + 0.5 - self.center[0] - self.radius * self.shape[0]
            y = j + 0.5 - self.center[1] - self.radius * self.shape[1]
            distance = ti.sqrt(x * x + y * y + self.tiny)
            outline = 1.0 + self.shape[2]
            # cos and sin of k times the angle are the powers of a complex number: no angle, no jump.
            c, s = x / distance, y / distance
            re, im = c, s
            for k in ti.static(range(2, self.modes + 1)):
                re, im = re * c - im * s, re * s + im * c
                outline += self.shape[2 * k - 1] * re + self.shape[2 * k] * im
            depth = (self.radius * outline - distance) / self.width
            inside = ds.math.clamp(0.5 + 0.5 * depth, 0.0, 1.0)
            self.solid[0, i, j] = inside * inside * inside * (inside * (6.0 * inside - 15.0) + 10.0)

    def outline(self, shape: ArrayLike, points: int = 181) -> NDArray[np.float64]:
        """Return points of the outline [dx] that `shape` stands for, closed, shape (points, 2)."""
        p = np.asarray(shape, float)
        angle = np.linspace(0.0, 2.0 * np.pi, points)
        r = 1.0 + p[2]
        for k in range(2, self.modes + 1):
            r = r + p[2 * k - 1] * np.cos(k * angle) + p[2 * k] * np.sin(k * angle)
        around = r[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        return np.asarray(self.center) + self.radius * (p[:2] + around)


@dataclass(frozen=True)
class WakeConfig(LatticeBoltzmannConfig):
    """The constants of a body in a channel, in lattice units.

    Args:
        nx, ny, viscosity, collision, magic, x, y, force, lid: as for every flow.
        speed: the unit of the inflow's modes [dx/dt].
        center: where the body is when its offsets are zero [dx].
        radius: its radius when it is a circle [dx].
        modes: harmonics of its outline.
        width: distance from the outline within which it becomes solid [dx].
        profile: number of sine waves that make the inflow's profile.

    Raises:
        ConfigError: a value is out of its range, the channel has no inflow or no walls, or the body is not
            inside.
    """

    nx: int = option(144, "cells along x", minimum=4)
    ny: int = option(64, "cells along y", minimum=4)
    viscosity: float = option(0.0192, "kinematic viscosity [dx^2/dt]", above=0.0)
    speed: float = option(0.12, "unit of the inflow's modes [dx/dt]", above=0.0, maximum=0.25)
    center: tuple[float, float] = option((36.0, 32.0), "where the body is [dx]")
    radius: float = option(8.0, "radius of the body [dx]", above=0.0)
    modes: int = option(3, "harmonics of the body's outline", minimum=1)
    width: float = option(1.0, "distance from the outline within which it becomes solid [dx]", above=0.0)
    profile: int = option(3, "sine waves in the inflow's profile", minimum=1)

    def check(self) -> None:
        """Refuse what is no channel with a body in it."""
        super().check()
        if (self.x, self.y) != ("channel", "walls"):
            self.refuse("x, y", "be 'channel' and 'walls'", (self.x, self.y), "the inflow needs them")
        for at, size in zip(self.center, (self.nx, self.ny), strict=True):
            if not self.radius <= at <= size - self.radius:
                self.refuse("center", "be a radius or more from the rim", self.center, "move the body inside")


class Wake(LatticeBoltzmann):
    """A channel with a body of unknown outline and an inflow of unknown profile, watched by a few probes.

    The inflow is a sum of sine waves over the channel's height H, and all of the fluid begins with it::

        u(y) = speed sum over k = 1 .. profile of profile[k - 1] sin(k pi y / H)

    The cost is the sum over steps of the mean over probes of the squared difference between the velocity
    there and the one that was measured, divided by speed^2.

    Args:
        config: The constants of the flow.
        probes: Cells where the velocity is measured, integers, shape (n, 2); None: two columns in the wake.
        readings: Velocities measured there [dx/dt], shape (steps, n, 2) or more steps; None: all zero.

    Attributes:
        body: the body; `body.shape` is what is sought.
        profile: amplitudes of the inflow's sine waves [speed], `Param(real, config.profile)`.
        readings: what was measured, `Control(vec2, n)`; without effect on the flow.

    Raises:
        ConfigError: A probe is outside the grid.

    Differentiability: Smooth, with respect to `body.shape` and `profile`. Probes are cells, and stay.
    """

    def __init__(
        self,
        config: WakeConfig | None = None,
        probes: ArrayLike | None = None,
        readings: ArrayLike | None = None,
    ) -> None:
        """Declare the fields; nothing is allocated before a rollout."""
        config = config or WakeConfig()
        super().__init__(config)
        self.speed, self.n_profile = config.speed, config.profile
        self.body = StarBody(self.solid, config.center, config.radius, config.modes, config.width)
        self.profile = ds.Param(np.eye(1, config.profile)[0])
        cells = _default_probes(config) if probes is None else np.asarray(probes)
        if cells.ndim != 2 or cells.shape[1] != 2 or np.any((cells < 0) | (cells >= (self.nx, self.ny))):
            raise ConfigError(
                f"probes must be pairs of cells below ({self.nx}, {self.ny}), got {cells.tolist()!r:.60}; "
                "move them inside"
            )
        self.n_probes = len(cells)
        self.probes = ds.Constant(cells.astype(np.int32))
        self.readings = ds.Control(
            ds.vec2, self.n_probes, init=0.0 if readings is None else readings, unit="dx/dt"
        )
        self.share = 1.0 / (self.n_probes * self.speed**2)

    def profile_of(self, amplitudes: ArrayLike) -> NDArray[np.float64]:
        """Return the inflow [dx/dt] that amplitudes stand for, at the rows of cells, shape (ny,)."""
        y = (np.arange(self.ny) + 0.5) / self.ny
        waves = np.sin(np.pi * np.outer(np.arange(1, self.n_profile + 1), y))
        return self.speed * np.asarray(amplitudes, float) @ waves

    @ti.kernel
    def pour(self):
        """Write the profile of the inflow."""
        for j in range(self.ny):
            angle = np.pi / self.ny * (j + 0.5)
            total = 0.0
            for k in ti.static(range(self.n_profile)):
                total += self.profile[k] * ti.sin((k + 1) * angle)
            self.inflow[0, j] = self.speed * total

    @ti.kernel
    def begin(self):
        """Let the fluid around the body move as the inflow does."""
        for i, j in ti.ndrange((1, self.nx + 1), (1, self.ny + 1)):
            u = (1.0 - self.solid[0, i - 1, j - 1]) * self.inflow[0, j - 1]
            for q in ti.static(range(9)):
                along = self.c[q][0] * u
                self.f[0, q, i, j] = self.w[q] * (3.0 * along + 4.5 * along * along - 1.5 * u * u)

    @ti.kernel
    def misfit(self, t: ti.i32):
        """Add what the probes see otherwise than measured."""
        for k in range(self.n_probes):
            off = self.velocity[t, self.probes[k, 0], self.probes[k, 1]] - self.readings[t, k]
            self.cost[None] += self.share * off.dot(off)

    def reset(self) -> None:
        """Draw the body and begin with the inflow everywhere."""
        self.body.draw()
        self.pour()
        self.begin()
        super().reset()

    def running_cost(self, t: int) -> None:
        """Compare with the readings."""
        self.misfit(t)

    def scene(self) -> ds.Scene:
        """Describe the fluid by its vorticity, the body in it, and the probes."""
        see, most = ds.scene, 4.0 * self.speed / (2.0 * self.body.radius)
        fluid = see.Grid(
            see.Derived(_vorticity, self.velocity, unit="1/dt"),
            origin=(0.5, 0.5),
            label="vorticity",
            center=0.0,
            limits=(-most, most),
        )
        probes = see.Points(self.probes.numpy() + 0.5, color=see.INK, label="probes")
        return ds.Scene((*self._seen(fluid).parts, probes), unit="dx")


def _vorticity(velocity: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the curl of velocities, shape (..., nx, ny), by central differences [1/dt]."""
    across, along = velocity[..., 0], velocity[..., 1]
    return np.asarray(np.gradient(along, axis=-2) - np.gradient(across, axis=-1))


def _default_probes(config: WakeConfig) -> NDArray[np.int64]:
    """Place two columns of probes behind the body."""
    far = np.linspace(config.center[0], config.nx, 4)[1:3].astype(int)
    rows = np.linspace(0, config.ny, 8)[1:-1].astype(int)
    return np.stack(np.meshgrid(far, rows, indexing="ij"), axis=-1).reshape(-1, 2)
