"""Pictures of a glowing cloud from cameras around it: emission-absorption ray marching through a grid.

One step of the simulator is one view. Views do not depend on each other, so nothing has to be kept between
steps but the density itself; the adjoint of a view recomputes its rays, and memory holds one picture whatever
the number of views. (The other way round, with marching as time and transmittance as a State, all pixels of
all views would have to be kept at all distances: thousands of times as much.) The loop over a ray's samples
is the innermost one; it carries a transmittance and a colour, which stay in registers and the first cache.
"""

# No `from __future__ import annotations` here: Taichi reads kernel annotations as objects, not as text.
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import taichi as ti
from numpy.typing import ArrayLike, NDArray

import diffsim as ds
from diffsim.errors import ConfigError
from diffsim.kernels.common import Config
from diffsim.kernels.common.interpolation import sample
from diffsim.options import option

__all__ = ["VolumeConfig", "VolumeRenderer", "cell_centres", "hidden_cloud", "photograph"]

_LEAST = 1e-4  # of `VolumeConfig.scale`: the density that stands for empty space, where the logarithm ends
_PARALLEL = 1e-9  # a ray's slope below which it counts as parallel to a face, to divide by


@dataclass(frozen=True)
class VolumeConfig(Config):
    """The cube, the cameras around it, and the light.

    The cube has its centre at the origin, z points up. Camera `v` of `views` looks at the centre from azimuth
    `360 v / views` degrees; even cameras stand at the first elevation, odd ones at the second.

    Args:
        n: cells of the density grid along each axis.
        size: edge of the cube [m].
        views: cameras, and steps that go once around.
        pixels: height and width of a picture.
        samples: places on the part of a ray that lies in the cube.
        pinhole: rays go through one point; False: they are parallel.
        distance: of a pinhole from the centre [m], outside the cube.
        width: what a picture is wide at the centre [m].
        elevations: of even and odd cameras above the horizon [degrees].
        low: colour of what glows at the bottom, as (red, green, blue).
        high: colour at the top; in between they are mixed by height.
        background: colour behind the cube.
        scale: unit of the density's parametrisation, `density = scale softplus(raw)` [1/m].

    Raises:
        ConfigError: A value is out of range, or the pinhole is not outside the cube.
    """

    n: int = option(64, "cells of the density grid along each axis", minimum=1)
    size: float = option(1.0, "edge of the cube [m]", above=0.0)
    views: int = option(32, "cameras around the cube", minimum=1)
    pixels: int = option(64, "height and width of a picture", minimum=1)
    samples: int = option(64, "places on a ray inside the cube", minimum=1)
    pinhole: bool = option(True, "rays go through one point; otherwise they are parallel")
    distance: float = option(2.5, "distance of a pinhole from the centre [m]", above=0.0)
    width: float = option(1.15, "width of a picture at the centre [m]", above=0.0)
    elevations: tuple[float, float] = option((0.0, 30.0), "elevation of even and odd cameras [degrees]")
    low: tuple[float, float, float] = option((1.0, 0.45, 0.15), "colour that glows at the bottom")
    high: tuple[float, float, float] = option((0.35, 0.65, 1.0), "colour that glows at the top")
    background: tuple[float, float, float] = option((0.0, 0.0, 0.0), "colour behind the cube")
    scale: float = option(4.0, "unit of the density [1/m]", above=0.0)

    def check(self) -> None:
        """Ask for a pinhole that rays enter the cube from."""
        reach = 0.5 * math.sqrt(3.0) * self.size
        if self.pinhole and self.distance <= reach:
            self.refuse(
                "distance", f"be more than {reach:.3g}, the cube's reach [m]", self.distance, "step back"
            )

    def axes(self) -> NDArray[np.float64]:
        """Return for each camera its right, its up and the way towards it, unit vectors `(views, 3, 3)`."""
        turn = 2.0 * math.pi * np.arange(self.views) / self.views
        lift = np.radians(np.array(self.elevations)[np.arange(self.views) % 2])
        none = np.zeros(self.views)
        right = np.stack([-np.sin(turn), np.cos(turn), none], axis=-1)
        towards = np.stack([np.cos(lift) * np.cos(turn), np.cos(lift) * np.sin(turn), np.sin(lift)], axis=-1)
        return np.stack([right, np.cross(towards, right), towards], axis=1)


class VolumeRenderer(ds.Simulator):
    """A cloud that glows and absorbs, in the cube, and its picture from camera `t`.

    A ray enters the cube at `s0` and leaves it at `s1`; with `ds = (s1 - s0) / samples` and `x_k` in the
    middle of the k-th piece, by Beer and Lambert::

        transmittance  T_0 = 1,  T_k+1 = T_k exp(-sigma(x_k) ds)
        picture        C = sum_k T_k (1 - exp(-sigma(x_k) ds)) c(x_k) + T_K background
        density        sigma(x) = trilinear interpolation of  scale softplus(raw)

    which is of second order in `ds` for smooth densities. The colour `c` is mixed from `colours` by height.
    The cost is the mean squared difference between pictures and `target`, over views, pixels and channels.

    Args:
        config: The cube and the cameras.
        target: Pictures `(views, pixels, pixels, 3)` to compare with; all black where left out.

    Attributes:
        raw: What the density is made of, `Param(real, n, n, n)`, axes x, y, z; see `set_density`.
        colours: Of what glows at the bottom and at the top, `Param(vec3, 2)`.
        density: The extinction [1/m], `State(real, n, n, n)`, the same at all steps.
        picture: `Scratch(vec3, pixels, pixels)`, from camera `t`; first axis to the right, second upward.
        transmittance: What passes of the light behind, in 0 .. 1, `Scratch(real, pixels, pixels)`.

    Raises:
        ConfigError: The target has another shape.

    Differentiability: smooth in `raw` and `colours`; a ray's way through the cube does not depend on them.

    Reference: Max, Optical models for direct volume rendering, IEEE TVCG 1995.
    """

    def __init__(self, config: VolumeConfig | None = None, target: ArrayLike | None = None) -> None:
        """Declare the fields; nothing is allocated before a rollout."""
        self.config = c = config or VolumeConfig()
        shape = (c.views, c.pixels, c.pixels, 3)
        pictures = np.zeros(shape) if target is None else np.asarray(target, dtype=np.float64)
        if pictures.shape != shape:
            raise ConfigError(
                f"VolumeRenderer target must have shape {shape}, got {pictures.shape}; "
                "make it with the same views and pixels"
            )
        self._constants(c)
        self.raw = ds.Param(ds.real, (c.n, c.n, c.n))
        self.colours = ds.Param(ds.vec3, 2, init=[c.low, c.high])
        self.density = ds.State(ds.real, (c.n, c.n, c.n), unit="1/m")
        self.picture = ds.Scratch(ds.vec3, c.pixels, c.pixels)
        self.transmittance = ds.Scratch(ds.real, c.pixels, c.pixels)
        self.cameras = ds.Constant(c.axes())
        self.target = ds.Constant(ds.vec3, shape[:3], init=pictures)

    def _constants(self, c: VolumeConfig) -> None:
        """Turn the configuration into the plain numbers that the kernels read."""
        self.n, self.views, self.pixels, self.samples = c.n, c.views, c.pixels, c.samples
        self.pinhole, self.distance, self.scale = c.pinhole, c.distance, c.scale
        self.half, self.pixel, self.cells = 0.5 * c.size, c.width / c.pixels, c.n / c.size
        self.background, self.parallel = c.background, _PARALLEL
        self.share = 1.0 / (3 * c.views * c.pixels**2)

    def set_density(self, density: ArrayLike) -> None:
        """Set `raw` to what a density [1/m] is made of; less than 1e-4 `scale` becomes that.

        Args:
            density: A number or an array `(n, n, n)`.
        """
        given = np.broadcast_to(np.asarray(density, dtype=np.float64), (self.n, self.n, self.n))
        units = np.maximum(given / self.scale, _LEAST)
        self.raw.set(units + np.log(-np.expm1(-units)))  # the inverse of softplus

    @ti.func
    def ray(self, t, i, j):
        """Return where the ray of a pixel starts, its direction, and where it enters and leaves the cube."""
        v = t % self.views
        a = (i + 0.5 - 0.5 * self.pixels) * self.pixel
        b = (j + 0.5 - 0.5 * self.pixels) * self.pixel
        start = ti.Vector([0.0, 0.0, 0.0])
        way = ti.Vector([0.0, 0.0, 0.0])
        for d in ti.static(range(3)):
            aside = a * self.cameras[v, 0, d] + b * self.cameras[v, 1, d]
            if ti.static(self.pinhole):
                start[d] = self.distance * self.cameras[v, 2, d]
                way[d] = aside - start[d]
            else:
                start[d] = aside
                way[d] = -self.cameras[v, 2, d]
        way = ds.math.normalized(way)
        enters, leaves = -1e9, 1e9
        for d in ti.static(range(3)):
            slope = ti.select(ti.abs(way[d]) < self.parallel, self.parallel, way[d])
            one, other = (-self.half - start[d]) / slope, (self.half - start[d]) / slope
            enters = ti.max(enters, ti.min(one, other))
            leaves = ti.min(leaves, ti.max(one, other))
        return start, way, enters, leaves

    @ti.kernel
    def condense(self):
        """Make the density of its parameters."""
        for i, j, k in ti.ndrange(self.n, self.n, self.n):
            x = self.raw[i, j, k]
            softplus = ti.max(x, 0.0) + ti.log(1.0 + ti.exp(-ti.abs(x)))
            self.density[0, i, j, k] = self.scale * softplus

    @ti.kernel
    def march(self, t: ti.i32):
        """Follow each pixel's ray through the cube."""
        for i, j in ti.ndrange(self.pixels, self.pixels):
            start, way, enters, leaves = self.ray(t, i, j)
            piece = ti.max(leaves - enters, 0.0) / self.samples
            passed = 1.0
            light = ti.Vector([0.0, 0.0, 0.0])
            for k in range(self.samples):
                x = start + (enters + (k + 0.5) * piece) * way
                sigma = sample(self.density, t, (x + self.half) * self.cells)
                height = 0.5 + 0.5 * x[2] / self.half
                kept = ti.exp(-sigma * piece)
                glow = self.colours[0] + height * (self.colours[1] - self.colours[0])
                light += passed * (1.0 - kept) * glow
                passed *= kept
            self.transmittance[t, i, j] = passed
            self.picture[t, i, j] = light + passed * ti.Vector(self.background)

    @ti.kernel
    def compare(self, t: ti.i32):
        """Add the squared difference from the view's target."""
        for i, j in ti.ndrange(self.pixels, self.pixels):
            miss = self.picture[t, i, j] - self.target[t % self.views, i, j]
            self.cost[None] += self.share * miss.dot(miss)

    def reset(self) -> None:
        """Make the density."""
        self.condense()

    def step(self, t: Any) -> None:
        """Take the picture of camera `t`."""
        self.march(t)

    def running_cost(self, t: Any) -> None:
        """Compare it with what it should be."""
        self.compare(t)

    def scene(self) -> ds.Scene:
        """Describe the cloud by the surface on which its density is `scale`; beside it picture and target."""
        see, cell = ds.scene, self.config.size / self.n
        first = 0.5 * cell - self.half
        cloud = see.Grid(
            self.density, origin=(first, first, first), spacing=cell, level=self.scale, label="density"
        )
        parts, wide = [cloud], self.config.width
        pictures: list[Any] = [("picture", self.picture)]
        if self.target.numpy().any():
            pictures.append(("target", see.Derived(self._wanted, "t", self.target)))
        for number, (label, field) in enumerate(pictures):
            start = (1.1 * number - 0.5) * wide + 0.5 * self.pixel, 0.5 * (self.pixel - wide)
            parts.append(see.Grid(field, origin=start, spacing=self.pixel, rgb=True, label=label))
        return ds.Scene(parts, camera=see.Camera(up=(0.0, 0.0, 1.0)), unit="m")

    def _wanted(self, t: NDArray[Any], target: NDArray[Any]) -> NDArray[Any]:
        """Return the target of each step; after the last one its picture is still seen."""
        steps = np.minimum(t, max(0, np.max(t) - 1)).astype(np.int64)
        return target[steps % self.views]


def cell_centres(config: VolumeConfig) -> NDArray[np.float64]:
    """Return the places of the density grid's values, `(n, n, n, 3)` [m]."""
    line = config.size * ((np.arange(config.n) + 0.5) / config.n - 0.5)
    return np.stack(np.meshgrid(line, line, line, indexing="ij"), axis=-1)


def hidden_cloud(config: VolumeConfig, seed: int = 0) -> NDArray[np.float64]:
    """Return a density [1/m], `(n, n, n)`, for a reconstruction to find: a tilted ring around three blobs.

    The same seed gives the same shapes at every `n`; all edges are soft, about a fifteenth of the cube wide.

    Args:
        config: Size and resolution.
        seed: Draws the ring's tilt and the blobs' places and sizes.
    """
    rng = np.random.default_rng(seed)
    x = cell_centres(config) / config.size
    axis = np.array([0.35, 0.2, 1.0]) + rng.uniform(-0.25, 0.25, 3)
    axis /= np.linalg.norm(axis)
    along = x @ axis
    across = np.linalg.norm(x - along[..., None] * axis, axis=-1)
    distance = np.hypot(across - 0.33, along) - 0.07  # to the surface of the ring
    for angle in rng.uniform(0, 2 * np.pi) + 2 * np.pi / 3 * np.arange(3):
        reach, height, radius = rng.uniform((0.09, -0.15, 0.08), (0.13, 0.2, 0.12))
        centre = (reach * math.cos(angle), reach * math.sin(angle), height)
        distance = np.minimum(distance, np.linalg.norm(x - centre, axis=-1) - radius)
    return 9.0 / config.size / (1.0 + np.exp(distance / 0.02))


def photograph(config: VolumeConfig, density: ArrayLike) -> NDArray[np.float64]:
    """Return the pictures of a density from all cameras, `(views, pixels, pixels, 3)`.

    Args:
        config: The cube and the cameras.
        density: An array `(n, n, n)` [1/m].
    """
    sim = VolumeRenderer(config)
    sim.set_density(density)
    rollout = ds.Rollout(sim, steps=config.views)
    try:
        return np.asarray(rollout.trajectory(sim.picture)[: config.views], dtype=np.float64)
    finally:
        rollout.close()
