"""Parts for many bodies: who is near whom."""

from diffsim.particles.neighbors import Neighbors, neighbors

__all__ = ["Neighbors", "neighbors"]
