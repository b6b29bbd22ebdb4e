"""Smoke in open air: square tiles of cells that follow the smoke, and a projection on them alone.

Where a tile is closed nothing moves, and the pressure is that of air at rest, zero. What is open is a part of
the model, not of its memory: the same kernels make the same numbers on a dense and on a sparse grid, whose
blocks are the tiles.
"""

# Loops do something in cells that a tile brings along, which is what ACTIVITY warns of. It is meant: they ask
# for the tile, in the dense program as well, so that value and gradient jump with the model, not with memory.
# No `from __future__ import annotations` here: Taichi reads kernel annotations as objects, not as text.
from typing import Any

import numpy as np
import taichi as ti
from numpy.typing import NDArray

import diffsim as ds
from diffsim.errors import ConfigError
from diffsim.language.layouts import Sparse

__all__ = ["OpenProjection", "Tiles", "layouts_like", "with_room"]

_AIM = 0.5  # of waves: what so many sweeps can settle is longer by a factor, and settled better


def layouts_like(layout: Any, tile: int) -> tuple[Any, Any, Any]:
    """Return layouts for cells, faces along x and faces along y, whose blocks are the tiles.

    Args:
        layout: None for all cells, or what `ds.sparse` returns; it becomes that of the cells.
        tile: Cells along each edge of a tile, 0 without tiles.

    Raises:
        ConfigError: The layout is another one, there are no tiles, or its blocks are not the tiles.
    """
    if layout is None:
        return None, None, None
    if not isinstance(layout, Sparse):
        raise ConfigError(f"Smoke layout must be ds.sparse(...) or None, got {layout!r}; leave it out")
    if layout.block != tile:
        raise ConfigError(
            f"Smoke layout must have blocks as large as the tiles, {tile} cells, got {layout!r}; "
            f"set tile={layout.block} in the config"
        )
    capacity = None if layout.automatic else layout.size or layout.capacity
    along = [ds.sparse(layout.block, layout.levels, capacity) for _ in range(2)]
    return layout, along[0], along[1]


def with_room(values: NDArray[Any], density: NDArray[Any], tile: int, least: float) -> ds.Cells:
    """Return what a sparse State begins with, with room wherever the first step looks, at rest or not.

    An inactive cell has no gradient. So the tiles that open first and the ones around them, where flow may
    come from, are active from the start, though there is nothing in them.

    Args:
        values: Those of cells or of faces, one number more along an axis.
        density: That of the cells, shape (n, n).
        tile: Cells along each edge of a tile.
        least: Density above which a cell holds smoke.
    """
    room = values != 0.0
    smoke = np.argwhere(density > 0.999 * least)  # a rounded density may be more than the least
    for a, b in np.unique(smoke // tile, axis=0):
        room[max(a - 2, 0) * tile : (a + 3) * tile, max(b - 2, 0) * tile : (b + 3) * tile] = True
    indices = np.argwhere(room)
    return ds.Cells(indices, values[tuple(indices.T)])


class Tiles(ds.Part):
    """Tiles of cells, open where there is smoke and in the tiles around, at the beginning of a step.

    Args:
        density: State of the smoke, shape (n, n).
        u, v: States of the velocities between faces, shapes (n + 1, n) and (n, n + 1).
        tile: Cells along each edge of a tile.
        least: Density above which a cell holds smoke.

    Attributes:
        open: Scratch of integers, not 0 for open tiles; tile `(a, b)` is at `[t, a + 1, b + 1]`.

    Differentiability: none; which tiles are open is constant.
    """

    def __init__(self, density: Any, u: Any, v: Any, tile: int, least: float) -> None:
        self.n = n = density.shape[0]
        self.density, self.u, self.v, self.tile, self.least = density, u, v, tile, least
        self.count = count = -(-n // tile)
        self.smoky = ds.Scratch(ti.i32, count + 2, count + 2)  # a border of tiles that are closed
        self.open = ds.Scratch(ti.i32, count + 2, count + 2)

    def __call__(self, t: Any) -> None:
        """Call the kernels that open tiles for step `t`."""
        self.look(t)
        self.spread(t)
        if self.density.sparse is not None:
            self.activate(t)

    @ti.kernel
    def look(self, t: ti.i32):
        """Count the cells of each tile that hold smoke."""
        for i, j in self.density:
            if self.density[t, i, j] > self.least:
                self.smoky[t, i // self.tile + 1, j // self.tile + 1] += 1

    @ti.kernel
    def spread(self, t: ti.i32):
        """Open tiles with smoke in them or in one of the eight around."""
        for a, b in ti.ndrange((1, self.count + 1), (1, self.count + 1)):
            around = 0
            for k, m in ti.static(ti.ndrange(3, 3)):
                around += self.smoky[t, a + k - 1, b + m - 1]
            self.open[t, a, b] = around

    @ti.kernel
    def activate(self, t: ti.i32):
        """Make room for the cells of open tiles, and for faces that have one at a side."""
        for a, b in ti.ndrange(self.count, self.count):
            if self.open[t, a + 1, b + 1] > 0:
                ti.activate(self.density, [t + 1, a * self.tile, b * self.tile])
            if self.open[t, a + 1, b + 1] + self.open[t, a, b + 1] > 0:
                ti.activate(self.u, [t + 1, a * self.tile, b * self.tile])
            if self.open[t, a + 1, b + 1] + self.open[t, a + 1, b] > 0:
                ti.activate(self.v, [t + 1, a * self.tile, b * self.tile])

    @ti.func
    def at(self, t: ti.template(), i, j):
        """Return a number that is positive where the tile of a cell is open."""
        return self.open[t, i // self.tile + 1, j // self.tile + 1]

    @ti.func
    def has_u(self, t: ti.template(), i, j):
        """Say whether a face along x is none of a wall, and an open tile is at one of its sides."""
        return i > 0 and i < self.n and self.at(t, ti.max(i - 1, 0), j) + self.at(t, i, j) > 0

    @ti.func
    def has_v(self, t: ti.template(), i, j):
        """Say whether a face along y is none of a wall, and an open tile is at one of its sides."""
        return j > 0 and j < self.n and self.at(t, i, ti.max(j - 1, 0)) + self.at(t, i, j) > 0


class OpenProjection(ds.Part):
    """Make a velocity almost free of divergence in open tiles, by sweeps with an adjoint of their own.

    Faces between closed tiles, and those in walls, come out as zero. With `G` the differences of neighbours
    at the other faces, `D = -G^T` the divergence of open cells, and `s` zero in closed ones, a sweep is

        s <- beta s - D w,    w <- w - alpha G s:

    Richardson's iteration for `D G p = D w` with momentum (Polyak 1964), in terms of the velocity itself.
    What so many sweeps do is a polynomial of `G D`, which is symmetric: the adjoint makes the same sweeps
    with the adjoint of the velocity, and is exact whether the divergence is small by then or not. Little is
    left of waves shorter than `3 sqrt(sweeps)` cells; where more is open than that, long waves of divergence
    stay, and smoke spreads or shrinks with them. It shows in the sum of the densities: make more sweeps.

    Args:
        u, v: States, read at `t` [m/s].
        u_free, v_free: Scratches, written at `t`.
        tiles: Which are open.
        layouts: Of cells and faces.
        sweeps: How many.

    Differentiability: with respect to `u` and `v`, exact.

    Reference: Polyak, "Some methods of speeding up the convergence of iteration methods" (1964).
    """

    def __init__(
        self, u: Any, v: Any, u_free: Any, v_free: Any, tiles: Tiles, layouts: tuple[Any, ...], sweeps: int
    ) -> None:
        n = tiles.n
        self.u, self.v, self.u_free, self.v_free = u, v, u_free, v_free
        self.tiles, self.sweeps = tiles, sweeps
        low = min(1.0, _AIM / sweeps**0.5)  # the root of the part of the spectrum, below 8, that is aimed at
        self.alpha, self.beta = 0.5 / (1.0 + low) ** 2, ((1.0 - low) / (1.0 + low)) ** 2
        self.s: Any = ds.Workspace(ds.real, n, n, layout=layouts[0])
        self.x: Any = ds.Workspace(ds.real, n + 1, n, layout=layouts[1])
        self.y: Any = ds.Workspace(ds.real, n, n + 1, layout=layouts[2])

    def __call__(self, t: Any) -> None:
        """Call the kernels that project the velocities of step `t`."""
        self.project(t)

    def project(self, t: Any) -> None:
        """Project `u`, `v` into `u_free`, `v_free`."""
        self.load(t)
        self.solve(t)
        self.store(t)

    @ds.adjoint_of(project)
    def project_adjoint(self, t: Any) -> None:
        """Project the adjoints of `u_free`, `v_free` and add them to those of `u`, `v`."""
        self.load_adjoint(t)
        self.solve(t)
        self.add_adjoint(t)

    def solve(self, t: Any) -> None:
        """Project what the Workspaces `x` and `y` hold."""
        for _ in ds.repeat(self.sweeps):
            self.aim(t)
            self.correct(t)

    @ti.kernel
    def load(self, t: ti.i32):
        """Take the velocity in."""
        for i, j in self.x:  # diffsim: allow ACTIVITY
            if self.tiles.has_u(t, i, j):
                self.x[i, j] = self.u[t, i, j]
        for i, j in self.y:  # diffsim: allow ACTIVITY
            if self.tiles.has_v(t, i, j):
                self.y[i, j] = self.v[t, i, j]

    @ti.kernel
    def store(self, t: ti.i32):
        """Give the velocity out."""
        for i, j in self.x:
            if self.tiles.has_u(t, i, j):
                self.u_free[t, i, j] = self.x[i, j]
        for i, j in self.y:
            if self.tiles.has_v(t, i, j):
                self.v_free[t, i, j] = self.y[i, j]

    @ti.kernel
    def load_adjoint(self, t: ti.i32):
        """Take the adjoints of what was given out in."""
        for i, j in self.x:
            if self.tiles.has_u(t, i, j):
                self.x[i, j] = self.u_free.grad[t, i, j]
        for i, j in self.y:
            if self.tiles.has_v(t, i, j):
                self.y[i, j] = self.v_free.grad[t, i, j]

    @ti.kernel
    def add_adjoint(self, t: ti.i32):
        """Add what became of them to the adjoints of what was taken in."""
        for i, j in self.x:
            if self.tiles.has_u(t, i, j):
                self.u.grad[t, i, j] += self.x[i, j]
        for i, j in self.y:
            if self.tiles.has_v(t, i, j):
                self.v.grad[t, i, j] += self.y[i, j]

    @ti.kernel
    def aim(self, t: ti.i32):
        """Make the next direction, from the divergence and the one before."""
        for i, j in self.s:  # diffsim: allow ACTIVITY
            if self.tiles.at(t, i, j) > 0:
                across = self.x[i + 1, j] - self.x[i, j]
                along = self.y[i, j + 1] - self.y[i, j]
                self.s[i, j] = self.beta * self.s[i, j] - (across + along)

    @ti.kernel
    def correct(self, t: ti.i32):
        """Subtract a part of its gradient."""
        for i, j in self.x:  # diffsim: allow ACTIVITY
            if self.tiles.has_u(t, i, j):
                self.x[i, j] -= self.alpha * (self.s[i, j] - self.s[i - 1, j])
        for i, j in self.y:  # diffsim: allow ACTIVITY
            if self.tiles.has_v(t, i, j):
                self.y[i, j] -= self.alpha * (self.s[i, j] - self.s[i, j - 1])
