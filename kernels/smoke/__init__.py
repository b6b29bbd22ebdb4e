"""Smoke in an incompressible fluid on a grid."""

from diffsim.kernels.smoke.projection import Projection
from diffsim.kernels.smoke.scenes import SHAPES, picture
from diffsim.kernels.smoke.simulator import Smoke, SmokeConfig, divergence, swirl
from diffsim.kernels.smoke.sweeps import JacobiProjection
from diffsim.kernels.smoke.tiles import OpenProjection, Tiles

__all__ = [
    "SHAPES",
    "JacobiProjection",
    "OpenProjection",
    "Projection",
    "Smoke",
    "SmokeConfig",
    "Tiles",
    "divergence",
    "picture",
    "swirl",
]
