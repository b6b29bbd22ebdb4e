"""Making a staggered velocity free of divergence: conjugate gradients with a multigrid V-cycle, in place.

On a grid of n x n cells between closed walls, `u[i, j]` lives in the middle of the face between the cells
`i - 1` and `i`, `v[i, j]` between `j - 1` and `j` (Harlow and Welch 1965). With the undivided divergence
`D` and gradient `G = -D^T` of faces and cells that are not at a wall, the projection is

    P u = u - G p,    D G p = D u.

It is symmetric, `P = 1 - G (D G)^-1 D`, so that the adjoint of a projection is the projection of the adjoint:
nothing of the iteration is differentiated or kept. `p` is known up to a constant, which `G` does not see; the
right-hand side has no part in that null space, since what leaves one cell enters another.

Conjugate gradients (Hestenes and Stiefel 1952) update the velocity instead of `p`, and take the residual from
it anew in each round: it is the divergence that is left, so that this ends at the rounding of the velocity
itself, also in 32 bits, where `G p` of a rounded `p` does not. Because of that rounding a direction is made
by the rule of Polak and Ribiere (1969).

The preconditioner is one V-cycle (Brandt 1977; as one, Tatebe 1993; on this grid, McAdams, Sifakis and Teran
2010) over grids of half as many cells along each axis, rounded up, so that any number of cells will do: the
last cell of a row is then narrower. On each the equation is that of finite volumes between the centres of
cells. Two sweeps of damped Jacobi, before and behind, and transfers that are each other's transpose keep it
symmetric.
"""

# No `from __future__ import annotations` here: Taichi reads kernel annotations as objects, not as text.
from typing import Any

import numpy as np
import taichi as ti
from numpy.typing import NDArray

import diffsim as ds
from diffsim.math.precision import epsilon

__all__ = ["Projection"]

_DAMPING = 0.8  # of Jacobi's iteration: damps the upper half of the spectrum best in two dimensions
_ROUNDINGS = 2.5  # of the largest velocity: in every cell four meet, and the iteration ends there reliably
_COARSEST = 8  # cells along an axis, up to which sweeps alone solve
_SWEEPS = 30  # there


class Projection(ds.Part):
    """Project velocities between faces: `u -> u_free`, `v -> v_free`.

    The velocity at the walls counts as zero, whatever it is, and comes out as zero.

    Args:
        u, v: Fields to project, States or Scratches of shapes (n + 1, n) and (n, n + 1) [m/s], read at `t`.
        u_free, v_free: Scratches of these shapes, written at `t`.
        tolerance: The divergence at which the iteration stops, the largest of any cell, times the spacing and
            over the largest velocity; None for what rounding allows.
        iterations: How many rounds at most.

    Differentiability: with respect to `u` and `v`, by projecting the adjoints of `u_free` and `v_free`; exact
    up to the tolerance.
    """

    def __init__(
        self, u: Any, v: Any, u_free: Any, v_free: Any, tolerance: float | None, iterations: int
    ) -> None:
        self.n = n = v.shape[0]
        self.u, self.v, self.u_free, self.v_free = u, v, u_free, v_free
        self.tolerance, self.iterations = tolerance or 0.0, iterations
        self.roundings = _ROUNDINGS if tolerance is None else 0.0
        self.x = ds.Workspace(ds.real, n + 1, n)  # what becomes of u, and of its adjoint
        self.y = ds.Workspace(ds.real, n, n + 1)
        self.levels = _levels(n)
        self.finest = self.levels[0]
        self.before = ds.Workspace(ds.real, n + 2, n + 2)  # the residual of the round before
        self.direction = ds.Workspace(ds.real, n + 2, n + 2)
        self.rows = ds.Workspace(
            ds.vec2, n
        )  # sums and maxima of rows: adding these up rounds less, and in order
        self.speed = ds.Workspace(ds.real)
        self.slope = ds.Workspace(ds.real)
        self.turn = ds.Workspace(ds.real)
        self.length = ds.Workspace(ds.real)
        self.done = ds.Workspace(ds.real)

    def __call__(self, t: Any) -> None:
        """Call the kernels that project the velocities of step `t`."""
        self.project(t)

    def project(self, t: Any) -> None:
        """Project `u`, `v` into `u_free`, `v_free`."""
        self.load(t)
        self.solve()
        self.store(t)

    @ds.adjoint_of(project)
    def project_adjoint(self, t: Any) -> None:
        """Project the adjoints of `u_free`, `v_free` and add them to those of `u`, `v`."""
        self.load_adjoint(t)
        self.solve()
        self.add_adjoint(t)

    def solve(self) -> None:
        """Project what the Workspaces `x` and `y` hold."""
        self.find_speed()
        for _ in ds.repeat(self.iterations, until=self.done):
            self.find_residual()
            self.judge()
            self.precondition()
            self.compare()
            self.bend()
            self.turn_direction()
            self.look_ahead()
            self.choose_length()
            self.correct()

    def precondition(self) -> None:
        """Run a V-cycle: the finest level's `z` becomes an estimate of the solution for its `r`."""
        *smooth, last = self.levels
        for level, coarser in zip(smooth, self.levels[1:], strict=True):
            level.begin()
            level.relax(level.z, level.w)
            level.find_rest(level.w)
            level.gather(coarser.r)
        last.solve()
        for level, coarser in reversed(list(zip(smooth, self.levels[1:], strict=True))):
            level.refine(coarser.z)
            level.relax(level.z, level.w)
            level.relax(level.w, level.z)

    # ---- in and out ----

    @ti.kernel
    def load(self, t: ti.i32):
        """Take the velocity in, at faces that are not in a wall."""
        for i, j in ti.ndrange((1, self.n), self.n):
            self.x[i, j] = self.u[t, i, j]
        for i, j in ti.ndrange(self.n, (1, self.n)):
            self.y[i, j] = self.v[t, i, j]

    @ti.kernel
    def store(self, t: ti.i32):
        """Give the velocity out."""
        for i, j in ti.ndrange(self.n + 1, self.n):
            self.u_free[t, i, j] = self.x[i, j]
        for i, j in ti.ndrange(self.n, self.n + 1):
            self.v_free[t, i, j] = self.y[i, j]

    @ti.kernel
    def load_adjoint(self, t: ti.i32):
        """Take the adjoints of what was given out in."""
        for i, j in ti.ndrange((1, self.n), self.n):
            self.x[i, j] = self.u_free.grad[t, i, j]
        for i, j in ti.ndrange(self.n, (1, self.n)):
            self.y[i, j] = self.v_free.grad[t, i, j]

    @ti.kernel
    def add_adjoint(self, t: ti.i32):
        """Add what became of them to the adjoints of what was taken in."""
        for i, j in ti.ndrange((1, self.n), self.n):
            self.u.grad[t, i, j] += self.x[i, j]
        for i, j in ti.ndrange(self.n, (1, self.n)):
            self.v.grad[t, i, j] += self.y[i, j]

    # ---- conjugate gradients ----

    @ti.kernel
    def find_speed(self):
        """Find the largest velocity, which says what a small divergence is."""
        for i in range(self.n):
            largest = 0.0
            for j in range(self.n):
                largest = ti.max(largest, ti.max(ti.abs(self.x[i, j]), ti.abs(self.y[i, j])))
            self.rows[i] = ti.Vector([largest, 0.0])
        for _ in range(1):
            largest = 0.0
            for i in range(self.n):
                largest = ti.max(largest, self.rows[i][0])
            self.speed[None] = largest

    @ti.kernel
    def find_residual(self):
        """Take the residual `-D u` from the velocity, and keep the one before."""
        for i, j in ti.ndrange(self.n, self.n):
            self.before[i + 1, j + 1] = self.finest.r[i + 1, j + 1]
            across = self.x[i + 1, j] - self.x[i, j]
            self.finest.r[i + 1, j + 1] = -(across + (self.y[i, j + 1] - self.y[i, j]))

    @ti.kernel
    def judge(self):
        """Say whether the divergence is small enough."""
        for i in range(self.n):
            largest = 0.0
            for j in range(self.n):
                largest = ti.max(largest, ti.abs(self.finest.r[i + 1, j + 1]))
            self.rows[i] = ti.Vector([largest, 0.0])
        for _ in range(1):
            largest = 0.0
            for i in range(self.n):
                largest = ti.max(largest, self.rows[i][0])
            if largest <= ti.static(self.tolerance + self.roundings * epsilon()) * self.speed[None]:
                self.done[None] = 1.0

    @ti.kernel
    def compare(self):
        """Multiply, row by row, the preconditioned residual with the residual and with the one before."""
        for i in range(self.n):
            new = 0.0
            old = 0.0
            for j in range(self.n):
                new += self.finest.z[i + 1, j + 1] * self.finest.r[i + 1, j + 1]
                old += self.finest.z[i + 1, j + 1] * self.before[i + 1, j + 1]
            self.rows[i] = ti.Vector([new, old])

    @ti.kernel
    def bend(self):
        """Find how much of the old direction is in the new one."""
        for _ in range(1):
            new = 0.0
            old = 0.0
            for i in range(self.n):
                new += self.rows[i][0]
                old += self.rows[i][1]
            turn = 0.0
            if self.slope[None] > 0.0:
                turn = (new - old) / self.slope[None]
            self.turn[None] = turn
            self.slope[None] = new

    @ti.kernel
    def turn_direction(self):
        """Make the new direction."""
        for i, j in ti.ndrange(self.n, self.n):
            ahead = self.finest.z[i + 1, j + 1] + self.turn[None] * self.direction[i + 1, j + 1]
            self.direction[i + 1, j + 1] = ahead

    @ti.kernel
    def look_ahead(self):
        """Find, row by row, slope and curvature along the direction `s`: `s . r` and `G s . G s`."""
        for i in range(self.n):
            slope = 0.0
            curvature = 0.0
            for j in range(self.n):
                here = self.direction[i + 1, j + 1]
                right = self.finest.inverse[i + 1] * (self.direction[i + 2, j + 1] - here)
                above = self.finest.inverse[j + 1] * (self.direction[i + 1, j + 2] - here)
                slope += here * self.finest.r[i + 1, j + 1]
                curvature += right * right + above * above
            self.rows[i] = ti.Vector([slope, curvature])

    @ti.kernel
    def choose_length(self):
        """Find how far along the direction the divergence is least."""
        for _ in range(1):
            slope = 0.0
            curvature = 0.0
            for i in range(self.n):
                slope += self.rows[i][0]
                curvature += self.rows[i][1]
            length = 0.0
            if curvature > 0.0:
                length = slope / curvature
            self.length[None] = length

    @ti.kernel
    def correct(self):
        """Subtract the gradient of the direction, as long as it must be."""
        for i, j in ti.ndrange((1, self.n), self.n):
            ahead = self.direction[i + 1, j + 1] - self.direction[i, j + 1]
            self.x[i, j] -= self.length[None] * ahead
        for i, j in ti.ndrange(self.n, (1, self.n)):
            ahead = self.direction[i + 1, j + 1] - self.direction[i + 1, j]
            self.y[i, j] -= self.length[None] * ahead


class _Level(ds.Part):
    """One grid of the V-cycle: `A z = r` with `A = -D G` of finite volumes.

    Cells are numbered from 1: those at the border, 0 and behind the last, are no cells. Their values stay
    zero and no face joins them, so that all cells follow one rule.

    Args:
        widths: Of the cells along each axis, in spacings of the finest grid.
    """

    def __init__(self, widths: NDArray[np.float64]) -> None:
        self.n = n = len(widths)
        size = 2 * ((n + 1) // 2) + 2  # room for whole pairs of cells
        width, inverse = np.zeros(size), np.zeros(size + 1)
        width[1 : n + 1] = widths
        inverse[1:n] = 2.0 / (widths[1:] + widths[:-1])  # face i lies between the cells i and i + 1
        around = width[None, :] * (inverse[:-1] + np.roll(inverse, 1)[:-1])[:, None]
        around = around + around.T
        weight = np.zeros((size, size))
        weight[1 : n + 1, 1 : n + 1] = _DAMPING / around[1 : n + 1, 1 : n + 1]
        self.width, self.inverse, self.weight = map(ds.Constant, (width, inverse, weight))
        self.r = ds.Workspace(ds.real, size, size)
        self.z = ds.Workspace(ds.real, size, size)
        self.w = ds.Workspace(ds.real, size, size)
        self.rest = ds.Workspace(ds.real, size, size)

    @ti.func
    def residual(self, field: ti.template(), i, j):
        """Return `r - A field` in a cell."""
        here = field[i, j]
        across = self.inverse[i] * (field[i + 1, j] - here) + self.inverse[i - 1] * (field[i - 1, j] - here)
        along = self.inverse[j] * (field[i, j + 1] - here) + self.inverse[j - 1] * (field[i, j - 1] - here)
        return self.r[i, j] + self.width[j] * across + self.width[i] * along

    @ti.kernel
    def begin(self):
        """Make the first sweep, from zero."""
        for i, j in ti.ndrange((1, self.n + 1), (1, self.n + 1)):
            self.z[i, j] = self.weight[i, j] * self.r[i, j]

    @ti.kernel
    def relax(self, source: ti.template(), target: ti.template()):
        """Make a sweep of damped Jacobi."""
        for i, j in ti.ndrange((1, self.n + 1), (1, self.n + 1)):
            target[i, j] = source[i, j] + self.weight[i, j] * self.residual(source, i, j)

    @ti.kernel
    def find_rest(self, field: ti.template()):
        """Find what the sweeps have left of the residual."""
        for i, j in ti.ndrange((1, self.n + 1), (1, self.n + 1)):
            self.rest[i, j] = self.residual(field, i, j)

    @ti.kernel
    def gather(self, coarse: ti.template()):
        """Add the residuals of four cells up to that of a coarse one."""
        for i, j in ti.ndrange((1, (self.n + 1) // 2 + 1), (1, (self.n + 1) // 2 + 1)):
            left = self.rest[2 * i - 1, 2 * j - 1] + self.rest[2 * i - 1, 2 * j]
            coarse[i, j] = left + (self.rest[2 * i, 2 * j - 1] + self.rest[2 * i, 2 * j])

    @ti.kernel
    def refine(self, coarse: ti.template()):
        """Add the coarse correction to what the sweeps before it found."""
        for i, j in ti.ndrange((1, self.n + 1), (1, self.n + 1)):
            self.z[i, j] = self.w[i, j] + coarse[(i + 1) // 2, (j + 1) // 2]

    @ti.kernel
    def solve(self):
        """Solve by sweeps, where there are few cells."""
        for _ in range(1):
            for i, j in ti.ndrange((1, self.n + 1), (1, self.n + 1)):
                self.z[i, j] = self.weight[i, j] * self.r[i, j]
            for _ in range(_SWEEPS):
                for i, j in ti.ndrange((1, self.n + 1), (1, self.n + 1)):
                    self.w[i, j] = self.z[i, j] + self.weight[i, j] * self.residual(self.z, i, j)
                for i, j in ti.ndrange((1, self.n + 1), (1, self.n + 1)):
                    self.z[i, j] = self.w[i, j]


def _levels(n: int) -> list[_Level]:
    """Make the grids of a V-cycle from the finest on."""
    widths = np.ones(n)
    levels = [_Level(widths)]
    while len(widths) > _COARSEST:
        widths = np.add.reduceat(widths, np.arange(0, len(widths), 2))
        levels.append(_Level(widths))
    return levels
