"""A material point method in 2D as it is usually written: no perfect nests, a polar decomposition."""

import numpy as np
import taichi as ti

import diffsim as ds


class TextbookMPM(ds.Simulator):
    """An elastic block of particles in a box (MLS-MPM, Hu et al. 2018, fixed corotated).

    Args:
        particles: How many.
        grid: Cells along each axis.
    """

    def __init__(self, particles=400, grid=32):
        rng = np.random.default_rng(0)
        self.n, self.grid, self.dx, self.dt = particles, grid, 1.0 / grid, 2e-4
        self.mu, self.la, self.p_vol, self.bound = 500.0, 300.0, (0.5 / grid) ** 2, 3
        self.x = ds.State(ds.vec2, particles, init=rng.uniform(0.3, 0.7, size=(particles, 2)))
        self.v = ds.State(ds.vec2, particles)
        self.C = ds.State(ds.mat2, particles)
        self.F = ds.State(ds.mat2, particles, init=np.tile(np.eye(2), (particles, 1, 1)))
        self.gravity = ds.Param([-9.8])
        self.grid_v = ds.Scratch(ds.vec2, grid, grid)
        self.grid_m = ds.Scratch(ds.real, grid, grid)
        self.grid_out = ds.Scratch(ds.vec2, grid, grid)

    @ti.kernel
    def p2g(self, t: ti.i32):
        inv_dx = 1.0 / self.dx
        for p in range(self.n):
            base = ti.cast(self.x[t, p] * inv_dx - 0.5, ti.i32)
            fx = self.x[t, p] * inv_dx - ti.cast(base, ds.real)
            w = [0.5 * (1.5 - fx) ** 2, 0.75 - (fx - 1.0) ** 2, 0.5 * (fx - 0.5) ** 2]
            F = (ti.Matrix([[1.0, 0.0], [0.0, 1.0]]) + self.dt * self.C[t, p]) @ self.F[t, p]
            self.F[t + 1, p] = F
            R, _ = ti.polar_decompose(F)
            J = F.determinant()
            pressure = self.la * J * (J - 1.0)
            cauchy = 2.0 * self.mu * (F - R) @ F.transpose() + ti.Matrix([[pressure, 0.0], [0.0, pressure]])
            stress = -(self.dt * self.p_vol * 4.0 * inv_dx * inv_dx) * cauchy
            affine = stress + self.p_vol * self.C[t, p]
            for i, j in ti.static(ti.ndrange(3, 3)):
                offset = ti.Vector([i, j])
                dpos = (ti.cast(offset, ds.real) - fx) * self.dx
                weight = w[i][0] * w[j][1]
                momentum = self.p_vol * self.v[t, p] + affine @ dpos
                self.grid_v[t, base + offset] += weight * momentum
                self.grid_m[t, base + offset] += weight * self.p_vol

    @ti.kernel
    def move_grid(self, t: ti.i32):
        for i, j in ti.ndrange(self.grid, self.grid):
            v_out = ti.Vector([0.0, 0.0])
            if self.grid_m[t, i, j] > 1e-12:
                v_out = self.grid_v[t, i, j] / self.grid_m[t, i, j]
                v_out[1] += self.dt * self.gravity[0]
            if i < self.bound and v_out[0] < 0.0:
                v_out[0] = 0.0
            if i > self.grid - self.bound and v_out[0] > 0.0:
                v_out[0] = 0.0
            if j < self.bound and v_out[1] < 0.0:
                v_out[1] = 0.0
            if j > self.grid - self.bound and v_out[1] > 0.0:
                v_out[1] = 0.0
            self.grid_out[t, i, j] = v_out

    @ti.kernel
    def g2p(self, t: ti.i32):
        inv_dx = 1.0 / self.dx
        for p in range(self.n):
            base = ti.cast(self.x[t, p] * inv_dx - 0.5, ti.i32)
            fx = self.x[t, p] * inv_dx - ti.cast(base, ds.real)
            w = [0.5 * (1.5 - fx) ** 2, 0.75 - (fx - 1.0) ** 2, 0.5 * (fx - 0.5) ** 2]
            new_v = ti.Vector([0.0, 0.0])
            new_C = ti.Matrix([[0.0, 0.0], [0.0, 0.0]])
            for i, j in ti.static(ti.ndrange(3, 3)):
                dpos = ti.Vector([i, j]) - fx
                g_v = self.grid_out[t, base[0] + i, base[1] + j]
                weight = w[i][0] * w[j][1]
                new_v += weight * g_v
                new_C += 4.0 * weight * g_v.outer_product(dpos) * inv_dx
            self.v[t + 1, p] = new_v
            self.x[t + 1, p] = self.x[t, p] + self.dt * new_v
            self.C[t + 1, p] = new_C

    def step(self, t):
        """Scatter to the grid, move the grid, gather from it."""
        self.p2g(t)
        self.move_grid(t)
        self.g2p(t)

    @ti.kernel
    def height(self, t: ti.i32):
        for p in range(self.n):
            self.cost[None] += self.x[t, p][1] / self.n

    def terminal_cost(self, t):
        """Add the mean height."""
        self.height(t)
