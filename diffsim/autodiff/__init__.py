"""Reverse-mode differentiation of stages: from the intermediate form of a kernel to that of its adjoint."""

from diffsim.autodiff.reverse import adjoint

__all__ = ["adjoint"]
