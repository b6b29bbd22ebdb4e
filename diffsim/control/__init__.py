"""Controllers: parts with kernels of their own that a simulator's step calls."""

from diffsim.control.mlp import MLP
from diffsim.control.sinusoids import Sinusoids

__all__ = ["MLP", "Sinusoids"]
