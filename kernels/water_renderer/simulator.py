"""Waves on a pool, and the picture of its floor that a camera far above takes through them."""

# No `from __future__ import annotations` here: Taichi reads kernel annotations as objects, not as text.
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import taichi as ti
from numpy.typing import ArrayLike, NDArray

import diffsim as ds
from diffsim.kernels.common.interpolation import sample
from diffsim.kernels.common.stencils import BOUNDARIES, gradient, laplacian
from diffsim.kernels.water_renderer.optics import fresnel, reflect, refract
from diffsim.kernels.water_renderer.scenes import tiles
from diffsim.kernels.water_renderer.splines import ORDER, spline
from diffsim.kernels.wave import Wave, WaveConfig
from diffsim.options import option

__all__ = ["WaterRenderer", "WaterRendererConfig"]

_MM = 1e-3  # [m]


@dataclass(frozen=True)
class WaterRendererConfig(WaveConfig):
    """The constants of a pool and of the light in it, beside those of the wave.

    Args:
        controls: control points along each axis of the spline that the first height is.
        depth: of the water at rest [m].
        index: index of refraction of water.
        absorption: of red, green and blue light in the water [1/m].
        sun: direction to the sun (x, y, z); its length does not matter.
        sky: colour that the sky's mirror image has, (red, green, blue).
        glare: brightness of the sun's mirror image, beside the sky's of about 1.
        gloss: how narrow that image is: its brightness falls with the cosine to this power.
        scatter: share of the sunlight that the water's uppermost layer scatters.

    Raises:
        ConfigError: a value is out of its range.

    Warns:
        StabilityWarning: the Courant number is above 1 / sqrt(2).
    """

    boundary: str = option("reflecting", "what the walls do", choices=BOUNDARIES)
    controls: int = option(32, "control points of the first height along each axis", minimum=ORDER)
    depth: float = option(0.5, "depth of the water at rest [m]", above=0.0)
    index: float = option(1.333, "index of refraction of water", minimum=1.0)
    absorption: tuple[float, float, float] = option(
        (0.9, 0.15, 0.08), "absorption of red, green and blue light [1/m]", minimum=0.0
    )
    sun: tuple[float, float, float] = option((-0.35, 0.45, 1.0), "direction to the sun (x, y, z)")
    sky: tuple[float, float, float] = option((0.75, 0.88, 1.0), "colour of the sky", minimum=0.0)
    glare: float = option(25.0, "brightness of the sun's mirror image", minimum=0.0)
    gloss: float = option(40.0, "narrowness of the sun's mirror image", minimum=1.0)
    scatter: float = option(0.12, "share of sunlight that the water scatters", minimum=0.0)

    def check(self) -> None:
        """Hold the rules between fields."""
        super().check()
        if self.sun[2] <= 0.0:
            self.refuse("sun", "be above the water, z > 0", self.sun, "the default is (-0.35, 0.45, 1)")


class WaterRenderer(Wave):
    """A pool seen from straight above, through its waves.

    The surface u moves by the wave equation (see `Wave`) from `height`, a cubic B-spline of few control
    points (see `spline`): short waves, which the grid does not carry well, cannot arise. The picture is made
    of a vertical ray for each grid point. With the slope s = grad u and the normal n = (-s, 1) / |(-s, 1)|::

        ray     = refract(straight down, n)                         Snell's law, exact
        hit     = (x, y) + (depth + u) ray_xy / -ray_z              where it meets the floor
        light   = exp(-(1 - 1/index) depth lap u)                   how waves gather the zenith's light there
        water   = floor(hit) light exp(-absorption |path|) + scatter n·sun
        mirror  = sky + glare max(0, reflect(straight down, n)·sun)^gloss
        colour  = (1 - F) water + F mirror                          F by Fresnel's equations

    Light that falls straight down through a point of the surface meets the floor where the camera's ray
    does, so the floor is lit there by 1 / det(d hit / d(x, y)); `light` agrees with that to first order in
    the waves and, unlike it, stays finite where rays cross. Not in the picture: light that meets the surface
    twice, shadows, walls. The cost is the mean over pixels of the squared difference from `target` at the
    last step, summed over colours.

    Args:
        config: the constants.
        height: the control points of the first height [mm], shape (controls, controls); zero where left out.
        floor: its colours (red, green, blue), shape (n, n, 3), first axis x; tiles where left out.
        target: the picture to be made, shape (n, n, 3); black where left out.
        filmed: whether to write the picture before every step, for `rollout.trajectory(picture)`.

    Attributes:
        u: the height [mm], `State(real, (n, n))`.
        height: `Param(real, (controls, controls))` [mm].
        floor: `Constant(vec3, (n, n))`.
        target: `Constant(vec3, (n, n))`.
        picture: `Scratch(vec3, (n, n))`, where filmed.

    Raises:
        ConfigError: an array has another shape.

    Differentiability: smooth in the height but for the floor's colours, which are linear between pixels: the
    slope in the place jumps at their centres. Rays that leave the pool see its edge. A sun that is mirrored
    nowhere has no gradient (`max`).

    Reference: Born and Wolf, "Principles of Optics" (1959), for Snell's law and Fresnel's equations; Blinn
    and Newell (1976) for the glitter of the sun.
    """

    def __init__(
        self,
        config: WaterRendererConfig | None = None,
        height: ArrayLike | None = None,
        floor: ArrayLike | None = None,
        target: ArrayLike | None = None,
        filmed: bool = False,
    ) -> None:
        """Declare the fields; nothing is allocated before a rollout."""
        c = config or WaterRendererConfig()
        super().__init__(c)
        self.height = ds.Param(ds.real, (c.controls, c.controls), init=height, unit="mm")
        self.floor = ds.Constant(ds.vec3, (c.n, c.n), init=tiles(c.n) if floor is None else floor)
        self.target = ds.Constant(ds.vec3, (c.n, c.n), init=target)
        support, weights = spline(c, c.controls)
        self.support, self.weights = ds.Constant(support), ds.Constant(weights)
        self.filmed = bool(filmed)
        if self.filmed:
            self.picture = ds.Scratch(ds.vec3, (c.n, c.n))
        self._optics(c)

    def _optics(self, c: WaterRendererConfig) -> None:
        """Turn the configuration into the plain numbers that the kernels read."""
        self.depth, self.into_water = c.depth, 1.0 / c.index
        self.per_dx, self.slope_scale, self.curve_scale = 1.0 / c.dx, _MM / c.dx, _MM / c.dx**2
        self.lens = (1.0 - 1.0 / c.index) * c.depth
        length = math.sqrt(sum(x * x for x in c.sun))
        self.sun_x, self.sun_y, self.sun_z = (x / length for x in c.sun)
        self.absorb_r, self.absorb_g, self.absorb_b = c.absorption
        self.sky_r, self.sky_g, self.sky_b = c.sky
        self.glare, self.gloss, self.scatter = c.glare, c.gloss, c.scatter
        self.mm, self.share = _MM, 1.0 / c.n**2

    @ti.kernel
    def release(self):
        """Write the spline as the first height; fixed walls stay at zero."""
        for i, j in ti.ndrange((self.rim, self.n - self.rim), (self.rim, self.n - self.rim)):
            for a, b in ti.static(ti.ndrange(ORDER, ORDER)):
                weight = self.weights[i, a] * self.weights[j, b]
                self.u[0, i, j] += weight * self.height[self.support[i, a], self.support[j, b]]

    @ti.func
    def seen(self, t: ti.template(), at):
        """Return the colour of a pixel (red, green, blue); white paper in the sun would be about 1."""
        slope = self.slope_scale * gradient(self.u, t, at, self.boundary)
        curvature = self.curve_scale * laplacian(self.u, t, at, self.boundary)
        down = ti.Vector([0.0, 0.0, -1.0])
        sun = ti.Vector([self.sun_x, self.sun_y, self.sun_z])
        normal = ti.Vector([-slope[0], -slope[1], 1.0]) / ti.sqrt(1.0 + slope.dot(slope))
        ray = refract(down, normal, self.into_water)
        path = (self.depth + self.mm * self.u[t, at]) / -ray[2]
        place = ti.Vector([at[0] + 0.5, at[1] + 0.5]) + self.per_dx * path * ti.Vector([ray[0], ray[1]])
        light = ti.exp(-self.lens * curvature)
        absorb = ti.Vector([self.absorb_r, self.absorb_g, self.absorb_b])
        water = light * sample(self.floor, None, place) * ti.exp(-path * absorb)
        water += self.scatter * ti.max(normal.dot(sun), 0.0)
        share = fresnel(normal[2], self.into_water)
        facing = ti.max(reflect(down, normal).dot(sun), 0.0)
        sky = ti.Vector([self.sky_r, self.sky_g, self.sky_b])
        return (1.0 - share) * water + share * (sky + self.glare * ds.math.pow(facing, self.gloss))

    @ti.kernel
    def expose(self, t: ti.i32):
        """Write the picture."""
        for i, j in ti.ndrange(self.n, self.n):
            self.picture[t, i, j] = self.seen(t, ti.Vector([i, j]))

    @ti.kernel
    def misfit(self, t: ti.i32):
        """Add the mean squared difference from the target."""
        for i, j in ti.ndrange(self.n, self.n):
            off = self.seen(t, ti.Vector([i, j])) - self.target[i, j]
            self.cost[None] += self.share * off.dot(off)

    def step(self, t: Any) -> None:
        """Take the picture where filmed, then move the water."""
        if self.filmed:
            self.expose(t)
        super().step(t)

    def scene(self) -> ds.Scene:
        """Describe the height; beside it the picture where it is filmed, and the target if there is one."""
        parts = [self._beside(0, self.u, label="height", center=0.0)]
        if self.filmed:
            parts.append(self._beside(len(parts), self.picture, label="picture", rgb=True))
        if self.target.numpy().any():
            parts.append(self._beside(len(parts), self.target, label="target", rgb=True))
        return ds.Scene(parts, unit="m")

    def still(self, colour: ArrayLike) -> NDArray[np.float64]:
        """Return how a floor of one colour looks through still water, (red, green, blue)."""
        c: Any = self.config
        share = ((1.0 - self.into_water) / (1.0 + self.into_water)) ** 2  # Fresnel's, straight down
        water = np.asarray(colour) * np.exp(-c.depth * np.array(c.absorption)) + c.scatter * self.sun_z
        mirror: NDArray[np.float64] = np.array(c.sky) + c.glare * self.sun_z**c.gloss
        return (1.0 - share) * water + share * mirror
