"""The material point method, as short programs have it: 88, 99 and 128 lines, and in three dimensions."""

from typing import Any

import numpy as np
import taichi as ti

import diffsim as ds
from benchmarks.language.common import Port, block, given

# ---- 88 lines: a weakly compressible liquid ----

N, GRID = 40, 16
DX, DT = 1 / GRID, 2e-3
RHO, GRAVITY, BOUND = 1.0, 9.8, 3
VOLUME = (DX * 0.5) ** 2
MASS = VOLUME * RHO


@ti.data_oriented
class Mpm88:
    """A liquid with a volume ratio for each particle, everything in one kernel."""

    def __init__(self) -> None:
        self.x = given(ti.Vector.field(2, float, N), block(N))
        self.v = given(ti.Vector.field(2, float, N), block(N, low=-2, high=2, seed=1))
        self.C = ti.Matrix.field(2, 2, float, N)
        self.J = given(ti.field(float, N), np.ones(N))
        self.grid_v = ti.Vector.field(2, float, (GRID, GRID))
        self.grid_m = ti.field(float, (GRID, GRID))
        self.E = given(ti.field(float, ()), 40.0)

    @ti.kernel
    def substep(self):
        for i, j in self.grid_m:
            self.grid_v[i, j] = [0, 0]
            self.grid_m[i, j] = 0
        for p in self.x:
            at = self.x[p] / DX
            base = int(at - 0.5)
            fx = at - base
            w = [0.5 * (1.5 - fx) ** 2, 0.75 - (fx - 1) ** 2, 0.5 * (fx - 0.5) ** 2]
            stress = -DT * 4 * self.E[None] * VOLUME * (self.J[p] - 1) / DX**2
            affine = ti.Matrix([[stress, 0], [0, stress]]) + MASS * self.C[p]
            for i, j in ti.static(ti.ndrange(3, 3)):
                offset = ti.Vector([i, j])
                dpos = (offset - fx) * DX
                weight = w[i].x * w[j].y
                self.grid_v[base + offset] += weight * (MASS * self.v[p] + affine @ dpos)
                self.grid_m[base + offset] += weight * MASS
        for i, j in self.grid_m:
            if self.grid_m[i, j] > 0:
                self.grid_v[i, j] /= self.grid_m[i, j]
            self.grid_v[i, j].y -= DT * GRAVITY
            if i < BOUND and self.grid_v[i, j].x < 0:
                self.grid_v[i, j].x = 0
            if i > GRID - BOUND and self.grid_v[i, j].x > 0:
                self.grid_v[i, j].x = 0
            if j < BOUND and self.grid_v[i, j].y < 0:
                self.grid_v[i, j].y = 0
            if j > GRID - BOUND and self.grid_v[i, j].y > 0:
                self.grid_v[i, j].y = 0
        for p in self.x:
            at = self.x[p] / DX
            base = int(at - 0.5)
            fx = at - base
            w = [0.5 * (1.5 - fx) ** 2, 0.75 - (fx - 1) ** 2, 0.5 * (fx - 0.5) ** 2]
            new_v = ti.Vector.zero(float, 2)
            new_C = ti.Matrix.zero(float, 2, 2)
            for i, j in ti.static(ti.ndrange(3, 3)):
                offset = ti.Vector([i, j])
                dpos = (offset - fx) * DX
                weight = w[i].x * w[j].y
                g_v = self.grid_v[base + offset]
                new_v += weight * g_v
                new_C += 4 * weight * g_v.outer_product(dpos) / DX**2
            self.v[p] = new_v
            self.x[p] += DT * self.v[p]
            self.J[p] *= 1 + DT * new_C.trace()
            self.C[p] = new_C

    def step(self, t: Any) -> None:
        self.substep()


class Mpm88Port(Mpm88, Port):
    """The same kernel, differentiable."""

    steps, measured = 6, ("x", "J")

    def __init__(self) -> None:
        self.x = ds.State(ds.vec2, N, init=block(N))
        self.v = ds.State(ds.vec2, N, init=block(N, low=-2, high=2, seed=1))
        self.C = ds.State(ds.mat2, N)
        self.J = ds.State(ds.real, N, init=np.ones(N))
        self.grid_v = ds.Scratch(ds.vec2, GRID, GRID)
        self.grid_m = ds.Scratch(ds.real, GRID, GRID)
        self.E = ds.Param(np.array(40.0))


# ---- 99 lines: jelly, liquid and snow, with a polar decomposition and a plastic clamp ----

E_0, NU = 100.0, 0.2
MU_0, LAMBDA_0 = E_0 / (2 * (1 + NU)), E_0 * NU / ((1 + NU) * (1 - 2 * NU))
MATERIAL = np.arange(N) % 3
STRAINED = np.eye(2) + np.stack([block(N, low=-0.1, high=0.1, seed=k) for k in (2, 3)], axis=1)


@ti.data_oriented
class Mpm99:
    """Three materials; hardening by the plastic volume, singular values clamped for snow."""

    def __init__(self) -> None:
        self.x = given(ti.Vector.field(2, float, N), block(N))
        self.v = given(ti.Vector.field(2, float, N), block(N, low=-3, high=3, seed=1))
        self.C = ti.Matrix.field(2, 2, float, N)
        self.F = given(ti.Matrix.field(2, 2, float, N), STRAINED)
        self.Jp = given(ti.field(float, N), np.ones(N))
        self.material = given(ti.field(int, N), MATERIAL)
        self.grid_v = ti.Vector.field(2, float, (GRID, GRID))
        self.grid_m = ti.field(float, (GRID, GRID))
        self.hardness = given(ti.field(float, ()), 10.0)

    @ti.kernel
    def substep(self):
        for i, j in self.grid_m:
            self.grid_v[i, j] = [0, 0]
            self.grid_m[i, j] = 0
        for p in self.x:  # particles to grid
            base = (self.x[p] / DX - 0.5).cast(int)
            fx = self.x[p] / DX - base.cast(float)
            w = [0.5 * (1.5 - fx) ** 2, 0.75 - (fx - 1) ** 2, 0.5 * (fx - 0.5) ** 2]
            self.F[p] = (ti.Matrix.identity(float, 2) + DT * self.C[p]) @ self.F[p]
            h = ti.exp(self.hardness[None] * (1.0 - self.Jp[p]))
            if self.material[p] == 1:
                h = 0.3
            mu, la = MU_0 * h, LAMBDA_0 * h
            if self.material[p] == 0:
                mu = 0.0
            U, sig, V = ti.svd(self.F[p])
            J = 1.0
            for d in ti.static(range(2)):
                new_sig = sig[d, d]
                if self.material[p] == 2:
                    new_sig = ti.min(ti.max(sig[d, d], 1 - 2.5e-2), 1 + 4.5e-3)
                self.Jp[p] *= sig[d, d] / new_sig
                sig[d, d] = new_sig
                J *= new_sig
            if self.material[p] == 0:
                self.F[p] = ti.Matrix.identity(float, 2) * ti.sqrt(J)
            elif self.material[p] == 2:
                self.F[p] = U @ sig @ V.transpose()
            stress = 2 * mu * (self.F[p] - U @ V.transpose()) @ self.F[p].transpose() + ti.Matrix.identity(
                float, 2
            ) * la * J * (J - 1)
            stress = (-DT * VOLUME * 4 / DX**2) * stress
            affine = stress + MASS * self.C[p]
            for i, j in ti.static(ti.ndrange(3, 3)):
                offset = ti.Vector([i, j])
                dpos = (offset.cast(float) - fx) * DX
                weight = w[i][0] * w[j][1]
                self.grid_v[base + offset] += weight * (MASS * self.v[p] + affine @ dpos)
                self.grid_m[base + offset] += weight * MASS
        for i, j in self.grid_m:
            if self.grid_m[i, j] > 0:
                self.grid_v[i, j] = (1 / self.grid_m[i, j]) * self.grid_v[i, j]
                self.grid_v[i, j][1] -= DT * 50
                if i < 3 and self.grid_v[i, j][0] < 0:
                    self.grid_v[i, j][0] = 0
                if i > GRID - 3 and self.grid_v[i, j][0] > 0:
                    self.grid_v[i, j][0] = 0
                if j < 3 and self.grid_v[i, j][1] < 0:
                    self.grid_v[i, j][1] = 0
                if j > GRID - 3 and self.grid_v[i, j][1] > 0:
                    self.grid_v[i, j][1] = 0
        for p in self.x:  # grid to particles
            base = (self.x[p] / DX - 0.5).cast(int)
            fx = self.x[p] / DX - base.cast(float)
            w = [0.5 * (1.5 - fx) ** 2, 0.75 - (fx - 1.0) ** 2, 0.5 * (fx - 0.5) ** 2]
            new_v = ti.Vector.zero(float, 2)
            new_C = ti.Matrix.zero(float, 2, 2)
            for i, j in ti.static(ti.ndrange(3, 3)):
                dpos = ti.Vector([i, j]).cast(float) - fx
                g_v = self.grid_v[base + ti.Vector([i, j])]
                weight = w[i][0] * w[j][1]
                new_v += weight * g_v
                new_C += 4 / DX * weight * g_v.outer_product(dpos)
            self.v[p], self.C[p] = new_v, new_C
            self.x[p] += DT * self.v[p]

    def step(self, t: Any) -> None:
        self.substep()


class Mpm99Port(Mpm99, Port):
    """The same kernel, differentiable."""

    steps, measured = 5, ("x", "v", "Jp")

    def __init__(self) -> None:
        self.x = ds.State(ds.vec2, N, init=block(N))
        self.v = ds.State(ds.vec2, N, init=block(N, low=-3, high=3, seed=1))
        self.C = ds.State(ds.mat2, N)
        self.F = ds.State(ds.mat2, N, init=STRAINED)
        self.Jp = ds.State(ds.real, N, init=np.ones(N))
        self.material = ds.Constant(MATERIAL)
        self.grid_v = ds.Scratch(ds.vec2, GRID, GRID)
        self.grid_m = ds.Scratch(ds.real, GRID, GRID)
        self.hardness = ds.Param(np.array(10.0))


# ---- 128 lines: the same with a hand that attracts, gravity as a field, and kernels apart ----


@ti.data_oriented
class Mpm128:
    """Gravity and an attractor in fields of one element; a kernel for each part of the step."""

    def __init__(self) -> None:
        self.x = given(ti.Vector.field(2, dtype=float, shape=N), block(N))
        self.v = given(ti.Vector.field(2, dtype=float, shape=N), block(N, low=-2, high=2, seed=1))
        self.C = ti.Matrix.field(2, 2, dtype=float, shape=N)
        self.F = given(ti.Matrix.field(2, 2, dtype=float, shape=N), STRAINED)
        self.grid_v = ti.Vector.field(2, dtype=float, shape=(GRID, GRID))
        self.grid_m = ti.field(dtype=float, shape=(GRID, GRID))
        self.gravity = given(ti.Vector.field(2, dtype=float, shape=()), [0.0, -1.0])
        self.attractor_strength = given(ti.field(dtype=float, shape=()), 0.7)
        self.attractor_pos = given(ti.Vector.field(2, dtype=float, shape=()), [0.4, 0.75])

    @ti.kernel
    def clear(self):
        for I in ti.grouped(self.grid_m):
            self.grid_v[I] = ti.zero(self.grid_v[I])
            self.grid_m[I] = 0.0

    @ti.kernel
    def to_grid(self):
        for p in self.x:
            base = (self.x[p] / DX - 0.5).cast(int)
            fx = self.x[p] / DX - base.cast(float)
            w = [0.5 * (1.5 - fx) ** 2, 0.75 - (fx - 1) ** 2, 0.5 * (fx - 0.5) ** 2]
            self.F[p] += DT * self.C[p] @ self.F[p]
            R, S = ti.polar_decompose(self.F[p])
            J = self.F[p].determinant()
            stress = 2 * MU_0 * (self.F[p] - R) @ self.F[p].transpose() + ti.Matrix.identity(
                float, 2
            ) * LAMBDA_0 * J * (J - 1)
            affine = (-DT * VOLUME * 4 / DX**2) * stress + MASS * self.C[p]
            for i, j in ti.static(ti.ndrange(3, 3)):
                offset = ti.Vector([i, j])
                dpos = (offset - fx) * DX
                weight = w[i][0] * w[j][1]
                self.grid_v[base + offset] += weight * (MASS * self.v[p] + affine @ dpos)
                self.grid_m[base + offset] += weight * MASS

    @ti.kernel
    def on_grid(self):
        for i, j in self.grid_m:
            if self.grid_m[i, j] > 0:
                self.grid_v[i, j] /= self.grid_m[i, j]
                self.grid_v[i, j] += DT * self.gravity[None] * 30
                dist = self.attractor_pos[None] - DX * ti.Vector([i, j])
                self.grid_v[i, j] += dist / (0.01 + dist.norm()) * self.attractor_strength[None] * DT * 100
                if i < 3 and self.grid_v[i, j][0] < 0 or i > GRID - 3 and self.grid_v[i, j][0] > 0:
                    self.grid_v[i, j][0] = 0
                if j < 3 and self.grid_v[i, j][1] < 0 or j > GRID - 3 and self.grid_v[i, j][1] > 0:
                    self.grid_v[i, j][1] = 0

    @ti.kernel
    def to_particles(self):
        for p in self.x:
            base = (self.x[p] / DX - 0.5).cast(int)
            fx = self.x[p] / DX - base.cast(float)
            w = [0.5 * (1.5 - fx) ** 2, 0.75 - (fx - 1.0) ** 2, 0.5 * (fx - 0.5) ** 2]
            new_v = ti.Vector.zero(float, 2)
            new_C = ti.Matrix.zero(float, 2, 2)
            for i, j in ti.static(ti.ndrange(3, 3)):
                dpos = ti.Vector([i, j]) - fx
                g_v = self.grid_v[base + ti.Vector([i, j])]
                weight = w[i][0] * w[j][1]
                new_v += weight * g_v
                new_C += 4 / DX * weight * g_v.outer_product(dpos)
            self.v[p], self.C[p] = new_v, new_C
            self.x[p] += DT * self.v[p]

    def step(self, t: Any) -> None:
        self.clear()
        self.to_grid()
        self.on_grid()
        self.to_particles()


class Mpm128Port(Mpm128, Port):
    """The same kernels, differentiable."""

    steps, measured = 5, ("x", "v")

    def __init__(self) -> None:
        self.x = ds.State(ds.vec2, N, init=block(N))
        self.v = ds.State(ds.vec2, N, init=block(N, low=-2, high=2, seed=1))
        self.C = ds.State(ds.mat2, N)
        self.F = ds.State(ds.mat2, N, init=STRAINED)
        self.grid_v = ds.Scratch(ds.vec2, GRID, GRID)
        self.grid_m = ds.Scratch(ds.real, GRID, GRID)
        self.gravity = ds.Param(ds.vec2, init=[0.0, -1.0])
        self.attractor_strength = ds.Param(np.array(0.7))
        self.attractor_pos = ds.Param(ds.vec2, init=[0.4, 0.75])


# ---- three dimensions: dimension-independent text, as solvers have it ----

DIM, N3, GRID3 = 3, 20, 12
DX3 = 1 / GRID3
NEIGHBOURS = (3,) * DIM


@ti.data_oriented
class Mpm3D:
    """Loops over a grid of any dimension by `ti.grouped`; a state per particle, a sticky floor."""

    def __init__(self) -> None:
        self.x = given(ti.Vector.field(DIM, float, N3), block(N3, DIM))
        self.v = given(ti.Vector.field(DIM, float, N3), block(N3, DIM, -2, 2, 1))
        self.C = ti.Matrix.field(DIM, DIM, float, N3)
        self.J = given(ti.field(float, N3), np.ones(N3))
        self.grid_v = ti.Vector.field(DIM, float, (GRID3,) * DIM)
        self.grid_m = ti.field(float, (GRID3,) * DIM)
        self.E = given(ti.field(float, ()), 40.0)

    @ti.kernel
    def substep(self):
        for I in ti.grouped(self.grid_m):
            self.grid_v[I] = ti.zero(self.grid_v[I])
            self.grid_m[I] = 0
        ti.loop_config(block_dim=32)
        for p in self.x:
            at = self.x[p] / DX3
            base = int(at - 0.5)
            fx = at - base
            w = [0.5 * (1.5 - fx) ** 2, 0.75 - (fx - 1) ** 2, 0.5 * (fx - 0.5) ** 2]
            stress = -DT * 4 * self.E[None] * DX3 * (self.J[p] - 1)
            affine = ti.Matrix.identity(float, DIM) * stress + self.C[p]
            for offset in ti.static(ti.grouped(ti.ndrange(*NEIGHBOURS))):
                dpos = (offset - fx) * DX3
                weight = 1.0
                for d in ti.static(range(DIM)):
                    weight *= w[offset[d]][d]
                self.grid_v[base + offset] += weight * (self.v[p] + affine @ dpos)
                self.grid_m[base + offset] += weight
        for I in ti.grouped(self.grid_m):
            if self.grid_m[I] > 0:
                self.grid_v[I] /= self.grid_m[I]
            self.grid_v[I][1] -= DT * GRAVITY
            cond = (I < BOUND) & (self.grid_v[I] < 0) | (I > GRID3 - BOUND) & (self.grid_v[I] > 0)
            self.grid_v[I] = ti.select(cond, 0, self.grid_v[I])
        ti.loop_config(block_dim=32)
        for p in self.x:
            at = self.x[p] / DX3
            base = int(at - 0.5)
            fx = at - base
            w = [0.5 * (1.5 - fx) ** 2, 0.75 - (fx - 1) ** 2, 0.5 * (fx - 0.5) ** 2]
            new_v = ti.zero(self.v[p])
            new_C = ti.zero(self.C[p])
            for offset in ti.static(ti.grouped(ti.ndrange(*NEIGHBOURS))):
                dpos = (offset - fx) * DX3
                weight = 1.0
                for d in ti.static(range(DIM)):
                    weight *= w[offset[d]][d]
                g_v = self.grid_v[base + offset]
                new_v += weight * g_v
                new_C += 4 * weight * g_v.outer_product(dpos) / DX3**2
            self.v[p] = new_v
            self.x[p] += DT * self.v[p]
            self.J[p] *= 1 + DT * new_C.trace()
            self.C[p] = new_C

    def step(self, t: Any) -> None:
        self.substep()


class Mpm3DPort(Mpm3D, Port):
    """The same kernel, differentiable."""

    steps, measured = 4, ("x", "J")

    def __init__(self) -> None:
        self.x = ds.State(ds.vec3, N3, init=block(N3, DIM))
        self.v = ds.State(ds.vec3, N3, init=block(N3, DIM, -2, 2, 1))
        self.C = ds.State(ds.mat3, N3)
        self.J = ds.State(ds.real, N3, init=np.ones(N3))
        self.grid_v = ds.Scratch(ds.vec3, GRID3, GRID3, GRID3)
        self.grid_m = ds.Scratch(ds.real, GRID3, GRID3, GRID3)
        self.E = ds.Param(np.array(40.0))
