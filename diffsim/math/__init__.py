"""Functions for kernels whose gradients are right, or defined by a convention, at singular points.

`docs/math.md` lists the value and the gradient of each there. They are `@ti.func`s: they work in any Taichi
kernel, and have these gradients in those of a simulator.
"""

from diffsim.math.eigen import eigh2, eigh3
from diffsim.math.limits import clamp, max, min, smooth_clamp, smooth_max, smooth_min, smooth_step, step
from diffsim.math.linear import cholesky, inverse, qr, solve
from diffsim.math.scalar import acos, asin, atan2, pow, safe_div, sqrt
from diffsim.math.svd import polar2, polar3, svd2, svd3
from diffsim.math.vector import norm, normalized

__all__ = [
    "acos",
    "asin",
    "atan2",
    "cholesky",
    "clamp",
    "eigh2",
    "eigh3",
    "inverse",
    "max",
    "min",
    "norm",
    "normalized",
    "polar2",
    "polar3",
    "pow",
    "qr",
    "safe_div",
    "smooth_clamp",
    "smooth_max",
    "smooth_min",
    "smooth_step",
    "solve",
    "sqrt",
    "step",
    "svd2",
    "svd3",
]
