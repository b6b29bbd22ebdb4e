"""The problem of `sparse`: an elastic block that flies across a long and empty room and slides on its floor.

All contenders start from these numbers: 10^5 points, eight to a cell, in a room of 512^3 cells.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

DX = 0.02  # a cell [m]
DT = 8e-4  # [s]
YOUNG, POISSON, DENSITY = 5e4, 0.2, 1000.0
GRAVITY = (0.0, -9.81, 0.0)  # [m/s^2]
VELOCITY = (5.0, -0.5, 0.4)  # [m/s]; 0.2 cells a step along x
RIM = 3  # cells of wall
CORNER = (8.0, 10.0, 8.0)  # of the block at first, in cells
VOLUME = (0.5 * DX) ** 3  # of a point [m^3]
MASS = DENSITY * VOLUME  # [kg]


def block(particles: int) -> tuple[NDArray[np.float64], int]:
    """Place the points of a cube row by row, two along each side of a cell.

    Args:
        particles: How many.

    Returns:
        Positions [m], shape (particles, 3), and the cube's side in points; its last rows may be missing.
    """
    side = int(np.ceil(round(particles ** (1.0 / 3.0), 9)))
    axes = [np.arange(side)] * 3
    lattice = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)[:particles]
    return DX * (np.asarray(CORNER) + 0.5 * (lattice + 0.5)), side


def box(particles: int, way: tuple[float, float, float]) -> tuple[int, int, int]:
    """Count the cells of the smallest room in which the block keeps clear of all walls but the floor.

    Args:
        particles: How many.
        way: How far the block moves along each axis [m]; down does not count.
    """
    _, side = block(particles)
    reach = np.asarray(CORNER) + 0.5 * side + np.maximum(way, 0.0) / DX
    long, high, deep = (int(np.ceil(cells)) + RIM + 2 for cells in reach)
    return long, high, deep
