"""A viscous fluid by the lattice Boltzmann method, and a body in it that is known by its wake."""

from diffsim.kernels.lattice_boltzmann.simulator import (
    OPPOSITE,
    SOUND,
    VELOCITIES,
    WEIGHTS,
    LatticeBoltzmann,
    LatticeBoltzmannConfig,
)
from diffsim.kernels.lattice_boltzmann.wake import StarBody, Wake, WakeConfig

__all__ = [
    "OPPOSITE",
    "SOUND",
    "VELOCITIES",
    "WEIGHTS",
    "LatticeBoltzmann",
    "LatticeBoltzmannConfig",
    "StarBody",
    "Wake",
    "WakeConfig",
]
