"""The gradient of a function in a kernel, `ds.grad(f)`; and the public name of gradient checks.

The module is called as `diffsim.language.derivatives.grad` is, and holds what gradient checks report, which
live in `diffsim.rollout.grad`: `ds.grad(f)` and `from diffsim.grad import GradientReport` both work.
"""

import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from diffsim.language.derivatives import Derivative, grad
from diffsim.rollout.grad import Direction, GradientHealth, GradientReport, Worst, check_grad

__all__ = ["Derivative", "Direction", "GradientHealth", "GradientReport", "Worst", "check_grad", "grad"]


class _Callable(ModuleType):
    """A module that is a function too."""

    def __call__(self, function: Any, argnums: int | Sequence[int] | None = None) -> Derivative:
        return grad(function, argnums)


_Callable.__call__.__doc__ = grad.__doc__
sys.modules[__name__].__class__ = _Callable
