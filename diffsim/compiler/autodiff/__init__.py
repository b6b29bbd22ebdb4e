"""Differentiation of stages: from the intermediate form of a kernel to that of its adjoint or its tangent."""

from diffsim.compiler.autodiff.expand import expanded
from diffsim.compiler.autodiff.forward import tangent
from diffsim.compiler.autodiff.reverse import adjoint, adjoints

__all__ = ["adjoint", "adjoints", "expanded", "tangent"]
