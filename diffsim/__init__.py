"""Differentiable physics: write one step as Taichi kernels; diffsim plans time, memory and gradients."""

from diffsim import control, errors, optim, runtime
from diffsim.errors import ConfigError, DiffsimError, GradientError, StateError, TraceError
from diffsim.fields import Constant, Control, Param, Scratch, State
from diffsim.optim import minimize
from diffsim.plan import Plan
from diffsim.rollout import Rollout, plan
from diffsim.runtime import init
from diffsim.simulator import Part, Simulator
from diffsim.types import mat, mat2, mat3, mat4, real, vec, vec2, vec3, vec4

__version__ = "0.1.0"

__all__ = [
    "ConfigError",
    "Constant",
    "Control",
    "DiffsimError",
    "GradientError",
    "Param",
    "Part",
    "Plan",
    "Rollout",
    "Scratch",
    "Simulator",
    "State",
    "StateError",
    "TraceError",
    "control",
    "errors",
    "init",
    "mat",
    "mat2",
    "mat3",
    "mat4",
    "minimize",
    "optim",
    "plan",
    "real",
    "runtime",
    "vec",
    "vec2",
    "vec3",
    "vec4",
]
