"""Cloth: a triangle mesh that stretches, bends, is blown about and drapes over a sphere."""

from diffsim.kernels.cloth.mesh import Mesh, grid_mesh, load_obj, save_obj
from diffsim.kernels.cloth.simulator import Cloth, ClothConfig, highest_rate

__all__ = ["Cloth", "ClothConfig", "Mesh", "grid_mesh", "highest_rate", "load_obj", "save_obj"]
