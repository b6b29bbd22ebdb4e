"""Differentiation of stages: from the intermediate form of a kernel to that of its adjoint or its tangent."""

from diffsim.autodiff.expand import expanded
from diffsim.autodiff.forward import tangent
from diffsim.autodiff.reverse import adjoint, adjoints

__all__ = ["adjoint", "adjoints", "expanded", "tangent"]
