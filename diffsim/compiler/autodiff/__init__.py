"""Differentiation of stages: from the intermediate form of a kernel to that of its adjoint or its tangent."""

from diffsim.compiler.autodiff.expand import Copier, Names, Renamer, called, expanded
from diffsim.compiler.autodiff.forward import tangent
from diffsim.compiler.autodiff.reverse import adjoint, adjoints, needed_loads

__all__ = [
    "Copier",
    "Names",
    "Renamer",
    "adjoint",
    "adjoints",
    "called",
    "expanded",
    "needed_loads",
    "tangent",
]
