"""The yardstick of `sparse`: the block in plain Taichi on sparse SNodes, forward only.

Points are in place, a step is a clearing and three launches; the scatter activates what it touches, as
Taichi's own MPM programs do. It uses nothing of diffsim.
"""

# No `from __future__ import annotations` here: Taichi reads kernel annotations as objects, not as text.
from typing import Any

import numpy as np
import taichi as ti
from numpy.typing import NDArray

from benchmarks.sparse_layouts import SNODES, place
from benchmarks.sparse_problem import DT, DX, GRAVITY, MASS, POISSON, RIM, VELOCITY, VOLUME, YOUNG

LAYOUTS = (*SNODES, "dense")
_MU, _LA = YOUNG / (2 * (1 + POISSON)), YOUNG * POISSON / ((1 + POISSON) * (1 - 2 * POISSON))


@ti.data_oriented
class PlainSparseMPM:
    """The program: fields, kernels and a step.

    Args:
        x: Where the points are at first (n, 3); its type is the precision.
        room: Cells along each axis.
        layout: Of the grid, one of `LAYOUTS`.
    """

    def __init__(self, x: NDArray[Any], room: tuple[int, int, int], layout: str = "pointer") -> None:
        self.n, self.room, self.layout, self.inv_dx = len(x), room, layout, 1.0 / DX
        real = ti.f64 if x.dtype == np.float64 else ti.f32
        self.x = ti.Vector.field(3, real, shape=self.n)
        self.v = ti.Vector.field(3, real, shape=self.n)
        self.C = ti.Matrix.field(3, 3, real, shape=self.n)
        self.F = ti.Matrix.field(3, 3, real, shape=self.n)
        self.momentum = ti.Vector.field(3, real)  # and then the velocity
        self.mass = ti.field(real)
        self.top = place(layout, room, (self.momentum, self.mass))
        self.first_x = ti.Vector.field(3, real, shape=self.n)
        self.first_x.from_numpy(x)

    @ti.kernel
    def begin(self):
        """Put the points where they start."""
        for p in range(self.n):
            self.x[p] = self.first_x[p]
            self.v[p] = ti.Vector(ti.static(list(VELOCITY)))
            self.C[p] = ti.Matrix.zero(float, 3, 3)
            self.F[p] = ti.Matrix.identity(float, 3)

    @ti.kernel
    def empty(self):
        """Set all active cells to zero."""
        for cell in ti.grouped(self.mass):
            self.mass[cell] = 0.0
            self.momentum[cell] = ti.Vector([0.0, 0.0, 0.0])

    @ti.kernel
    def p2g(self):
        """Deform the points and scatter mass and momentum to the grid."""
        for p in range(self.n):
            base = ti.cast(self.x[p] * self.inv_dx - 0.5, ti.i32)
            fx = self.x[p] * self.inv_dx - ti.cast(base, float)
            w = [0.5 * (1.5 - fx) ** 2, 0.75 - (fx - 1.0) ** 2, 0.5 * (fx - 0.5) ** 2]
            one = ti.Matrix.identity(float, 3)
            F = (one + DT * self.C[p]) @ self.F[p]
            self.F[p] = F
            R, _ = ti.polar_decompose(F)
            J = F.determinant()
            tau = 2.0 * _MU * (F - R) @ F.transpose() + (_LA * J * (J - 1.0)) * one
            affine = MASS * self.C[p] - (DT * VOLUME * 4.0 * self.inv_dx**2) * tau
            for i, j, k in ti.static(ti.ndrange(3, 3, 3)):
                way = (ti.Vector([i, j, k]) - fx) * DX
                share = w[i][0] * w[j][1] * w[k][2]
                node = base + ti.Vector([i, j, k])
                self.momentum[node] += share * (MASS * self.v[p] + affine @ way)
                self.mass[node] += share * MASS

    @ti.kernel
    def move_nodes(self):
        """Turn momentum into velocity; walls stop what runs into them."""
        for cell in ti.grouped(self.mass):
            if self.mass[cell] > 1e-12 * MASS:
                v = self.momentum[cell] / self.mass[cell] + DT * ti.Vector(ti.static(list(GRAVITY)))
                for d in ti.static(range(3)):
                    if cell[d] <= RIM and v[d] < 0.0:
                        v[d] = 0.0
                    if cell[d] >= self.room[d] - RIM and v[d] > 0.0:
                        v[d] = 0.0
                self.momentum[cell] = v

    @ti.kernel
    def g2p(self):
        """Gather velocities, move the points."""
        for p in range(self.n):
            base = ti.cast(self.x[p] * self.inv_dx - 0.5, ti.i32)
            fx = self.x[p] * self.inv_dx - ti.cast(base, float)
            w = [0.5 * (1.5 - fx) ** 2, 0.75 - (fx - 1.0) ** 2, 0.5 * (fx - 0.5) ** 2]
            v = ti.Vector.zero(float, 3)
            C = ti.Matrix.zero(float, 3, 3)
            for i, j, k in ti.static(ti.ndrange(3, 3, 3)):
                way = ti.Vector([i, j, k]) - fx
                share = w[i][0] * w[j][1] * w[k][2]
                g = share * self.momentum[base + ti.Vector([i, j, k])]
                v += g
                C += (4.0 * self.inv_dx * g).outer_product(way)
            self.v[p] = v
            self.C[p] = C
            self.x[p] += DT * v

    def clear(self) -> None:
        """Empty the grid."""
        if self.layout == "dense":
            self.empty()
        else:
            self.top.deactivate_all()

    def step(self) -> None:
        """Clear, scatter, move the nodes, gather."""
        self.clear()
        self.p2g()
        self.move_nodes()
        self.g2p()
