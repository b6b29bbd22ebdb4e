"""The block of `sparse` as a simulator: the parts of `elastic`, on a grid of any layout."""

# No `from __future__ import annotations` here: Taichi reads kernel annotations as objects, not as text.
from typing import Any

import taichi as ti

import diffsim as ds
from benchmarks.sparse_problem import DENSITY, DT, DX, GRAVITY, POISSON, RIM, VOLUME, YOUNG, block
from diffsim.kernels.common.mpm import MPM
from diffsim.kernels.common.particles import solid

__all__ = ["FlyingBlock"]


class FlyingBlock(ds.Simulator):
    """An elastic block that flies through a room; the cost is where its points are.

    Args:
        particles: How many points.
        room: Cells along each axis.
        velocity: At first [m/s], 3 numbers.
        layout: Of the grid's fields; None is dense.
    """

    def __init__(
        self, particles: int, room: tuple[int, int, int], velocity: tuple[float, ...], layout: Any = None
    ) -> None:
        x, _ = block(particles)
        cloud = solid(x, VOLUME, young=YOUNG, poisson=POISSON, density=DENSITY, v=velocity)
        given = {} if layout is None else {"layout": layout}
        self.n = particles
        self.mpm = MPM(cloud, room, DX, DT, GRAVITY, rim=RIM, **given)

    def step(self, t: Any) -> None:
        """Take a step of MLS-MPM."""
        self.mpm(t)

    @ti.kernel
    def pay(self, t: ti.i32):
        """Take the mean of squared distances from the room's corner, in cells; the axes count unequally."""
        for p in range(self.n):
            x = self.mpm.x[t, p] / DX
            self.cost[None] += (x[0] ** 2 + 0.5 * x[1] ** 2 + 0.25 * x[2] ** 2) / self.n

    def terminal_cost(self, t: Any) -> None:
        """Pay for where the block ends."""
        self.pay(t)
