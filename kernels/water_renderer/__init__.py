"""Water seen from above: waves, the light that they refract and reflect, and a network that looks at them."""

from diffsim.kernels.water_renderer.classifier import SHARPNESS, WaterClassifier, digit_floor
from diffsim.kernels.water_renderer.scenes import drops, tiles
from diffsim.kernels.water_renderer.simulator import WaterRenderer, WaterRendererConfig
from diffsim.kernels.water_renderer.splines import evaluate_spline, fit_spline, refined

__all__ = [
    "SHARPNESS",
    "WaterClassifier",
    "WaterRenderer",
    "WaterRendererConfig",
    "digit_floor",
    "drops",
    "evaluate_spline",
    "fit_spline",
    "refined",
    "tiles",
]
