"""Differentiable physics: write one step as Taichi kernels; diffsim plans time, memory and gradients."""

import typing as _typing

from diffsim import _interrupt

with _interrupt.at_once() if _interrupt.is_command() else _interrupt.held():
    from diffsim import control, errors, math, optim, particles, runtime
    from diffsim.errors import (
        CapacityError,
        ConfigError,
        Diagnostic,
        DiffsimError,
        GradientError,
        GradientWarning,
        PlanWarning,
        StateError,
        TraceError,
    )
    from diffsim.language.adjoints import adjoint_of
    from diffsim.language.cells import Cells
    from diffsim.language.controls import Control
    from diffsim.language.derivatives import gradient_of
    from diffsim.language.draws import randn, random
    from diffsim.language.fields import Constant, Param, Scratch, State, Workspace
    from diffsim.language.intrinsics import at_most, stop_gradient
    from diffsim.language.layouts import dense, sparse
    from diffsim.language.simulator import Part, Simulator
    from diffsim.language.trace import repeat
    from diffsim.language.types import (
        i32,
        ivec,
        ivec2,
        ivec3,
        ivec4,
        mat,
        mat2,
        mat3,
        mat4,
        real,
        vec,
        vec2,
        vec3,
        vec4,
    )
    from diffsim.optim import minimize
    from diffsim.particles import neighbors
    from diffsim.plan import Plan
    from diffsim.plan.planning import plan
    from diffsim.rollout import Rollout
    from diffsim.runtime import init
    from diffsim.view import scene
    from diffsim.view.scene import Scene
    from diffsim.view.trajectory import Signal, Trajectory

    if _typing.TYPE_CHECKING:
        from diffsim.language.derivatives import grad
    else:
        from diffsim import grad  # the module, which is called as that function is

__version__ = "0.1.0"

__all__ = [
    "CapacityError",
    "Cells",
    "ConfigError",
    "Constant",
    "Control",
    "Diagnostic",
    "DiffsimError",
    "GradientError",
    "GradientWarning",
    "Param",
    "Part",
    "Plan",
    "PlanWarning",
    "Rollout",
    "Scene",
    "Scratch",
    "Signal",
    "Simulator",
    "State",
    "StateError",
    "TraceError",
    "Trajectory",
    "Workspace",
    "adjoint_of",
    "at_most",
    "control",
    "dense",
    "errors",
    "grad",
    "gradient_of",
    "i32",
    "init",
    "ivec",
    "ivec2",
    "ivec3",
    "ivec4",
    "mat",
    "mat2",
    "mat3",
    "mat4",
    "math",
    "minimize",
    "neighbors",
    "optim",
    "particles",
    "plan",
    "randn",
    "random",
    "real",
    "repeat",
    "runtime",
    "scene",
    "sparse",
    "stop_gradient",
    "vec",
    "vec2",
    "vec3",
    "vec4",
]
