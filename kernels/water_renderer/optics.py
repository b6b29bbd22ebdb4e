"""Light at a smooth surface between clear media: directions by Snell's law, shares by Fresnel's equations."""

# No `from __future__ import annotations` here: Taichi reads kernel annotations as objects, not as text.
import taichi as ti

import diffsim as ds

__all__ = ["fresnel", "reflect", "refract"]


@ti.func
def reflect(ray, normal):
    """Return the direction of a ray after a mirror: `r - 2 (r·n) n`.

    Args:
        ray: direction that it comes from, of length 1.
        normal: of the mirror, of length 1.
    """
    return ray - 2.0 * ray.dot(normal) * normal


@ti.func
def refract(ray, normal, ratio):
    """Return the direction of a ray behind a surface, by Snell's law `sin(out) = ratio sin(in)`.

    `ratio r + (ratio c - sqrt(1 - ratio^2 (1 - c^2))) n` with `c = -r·n`. Where all light is reflected
    (`ratio sin(in) > 1`, never into a denser medium) it is the direction along the surface.

    Args:
        ray: direction that it comes from, of length 1, against the normal.
        normal: of the surface, of length 1.
        ratio: index of refraction before the surface over that behind it.

    Differentiability: smooth up to total reflection; there the root's slope counts as 0.
    """
    c = -ray.dot(normal)
    behind = ds.math.sqrt(1.0 - ratio * ratio * (1.0 - c * c))
    return ratio * ray + (ratio * c - behind) * normal


@ti.func
def fresnel(cosine, ratio):
    """Return the share of unpolarised light that a surface reflects: the mean of both polarisations'.

    Args:
        cosine: of the angle between ray and normal.
        ratio: index of refraction before the surface over that behind it.

    Differentiability: smooth up to total reflection, beyond which it is 1.

    Reference: Born and Wolf, Principles of Optics, 1.5.
    """
    behind = ds.math.sqrt(1.0 - ratio * ratio * (1.0 - cosine * cosine))
    across = (ratio * cosine - behind) / (ratio * cosine + behind)
    within = (cosine - ratio * behind) / (cosine + ratio * behind)
    return 0.5 * (across * across + within * within)
