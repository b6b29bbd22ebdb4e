"""Smoke in an incompressible fluid on a grid."""

from diffsim.kernels.smoke.projection import Projection
from diffsim.kernels.smoke.scenes import SHAPES, picture
from diffsim.kernels.smoke.simulator import Smoke, SmokeConfig, divergence, swirl
from diffsim.kernels.smoke.sweeps import JacobiProjection

__all__ = [
    "SHAPES",
    "JacobiProjection",
    "Projection",
    "Smoke",
    "SmokeConfig",
    "divergence",
    "picture",
    "swirl",
]
