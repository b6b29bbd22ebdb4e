"""Solids: finite elements by the gradient of an energy, springs explicit and implicit, cloth."""

from typing import Any

import numpy as np
import taichi as ti

import diffsim as ds
from benchmarks.language.common import Port, given

# ---- FEM in 99 lines: Taichi's tape in the program becomes forces written out ----

SIDE = 4
NV, NF = (SIDE + 1) ** 2, 2 * SIDE**2
DT, DX = 2e-3, 1 / SIDE
MU, LAM = 40.0, 60.0


def mesh() -> tuple[np.ndarray, np.ndarray]:
    """Return corners and triangles of a square."""
    i, j = np.meshgrid(np.arange(SIDE + 1), np.arange(SIDE + 1), indexing="ij")
    corners = np.stack([i.ravel() * DX * 0.4 + 0.3, j.ravel() * DX * 0.4 + 0.3], axis=-1)
    cells = [(a, b) for a in range(SIDE) for b in range(SIDE)]
    k = [a * (SIDE + 1) + b for a, b in cells]
    one = [(a, a + 1, a + SIDE + 2) for a in k]
    two = [(a + SIDE + 2, a + SIDE + 1, a) for a in k]
    return corners, np.array([face for pair in zip(one, two, strict=True) for face in pair], dtype=np.int32)


def inverse_rest() -> np.ndarray:
    """Return the inverses of the triangles' edge matrices at rest."""
    x, f = mesh()
    return np.linalg.inv(np.stack([x[f[:, 0]] - x[f[:, 2]], x[f[:, 1]] - x[f[:, 2]]], axis=-1))


def stretched() -> np.ndarray:
    """Return the corners, pulled and waved."""
    x, _ = mesh()
    return x * np.array([1.1, 0.95]) + 0.01 * np.sin(20 * x[:, ::-1])


@ti.data_oriented
class Fem99:
    """Neo-Hookean triangles; the force from the first Piola-Kirchhoff stress, a ball and walls in place."""

    def __init__(self) -> None:
        self.pos = given(ti.Vector.field(2, float, NV), stretched())
        self.vel = ti.Vector.field(2, float, NV)
        self.force = ti.Vector.field(2, float, NV)
        self.f2v = given(ti.Vector.field(3, int, NF), mesh()[1])
        self.B = given(ti.Matrix.field(2, 2, float, NF), inverse_rest())
        self.phi = ti.field(float, NF)
        self.U = ti.field(float, ())
        self.gravity = given(ti.Vector.field(2, float, ()), [0.0, -10.0])
        self.ball_pos = given(ti.Vector.field(2, float, ()), [0.5, 0.2])

    @ti.kernel
    def forces(self):
        for i in self.force:
            self.force[i] = self.gravity[None]
        self.U[None] = 0
        for f in range(NF):
            ia, ib, ic = self.f2v[f]
            a, b, c = self.pos[ia], self.pos[ib], self.pos[ic]
            D = ti.Matrix.cols([a - c, b - c])
            V = ti.abs(D.determinant()) * 0.5 * 400
            F = D @ self.B[f]
            F_inv_T = F.inverse().transpose()
            log_J = ti.log(F.determinant())
            self.phi[f] = MU / 2 * ((F.transpose() @ F).trace() - 2) - MU * log_J + LAM / 2 * log_J**2
            self.U[None] += V * self.phi[f]
            P = MU * (F - F_inv_T) + LAM * log_J * F_inv_T
            H = -V * P @ self.B[f].transpose()
            fa = ti.Vector([H[0, 0], H[1, 0]])
            fb = ti.Vector([H[0, 1], H[1, 1]])
            self.force[ia] += fa
            self.force[ib] += fb
            self.force[ic] += -fa - fb

    @ti.kernel
    def advance(self):
        for i in range(NV):
            self.vel[i] += DT * self.force[i]
            self.vel[i] *= ti.exp(-DT * 6.0)
        for i in range(NV):
            disp = self.pos[i] - self.ball_pos[None]
            disp2 = disp.norm_sqr()
            if disp2 <= 0.15**2:
                NoV = self.vel[i].dot(disp)
                if NoV < 0:
                    self.vel[i] -= NoV * disp / disp2
            cond = (self.pos[i] < 0) & (self.vel[i] < 0) | (self.pos[i] > 1) & (self.vel[i] > 0)
            for j in ti.static(range(self.pos.n)):
                if cond[j]:
                    self.vel[i][j] = 0
            self.pos[i] += DT * self.vel[i]

    def step(self, t: Any) -> None:
        for _ in range(2):
            self.forces()
            self.advance()


class Fem99Port(Fem99, Port):
    """The same kernels, differentiable."""

    measured = ("pos", "vel")

    def __init__(self) -> None:
        self.pos = ds.State(ds.vec2, NV, init=stretched())
        self.vel = ds.State(ds.vec2, NV)
        self.force = ds.Scratch(ds.vec2, NV)
        self.f2v = given(ti.Vector.field(3, int, NF), mesh()[1])
        self.B = ds.Constant(ds.mat2, NF, init=inverse_rest())
        self.phi, self.U = ds.Scratch(ds.real, NF), ds.Scratch(ds.real)
        self.gravity = ds.Param(ds.vec2, init=[0.0, -10.0])
        self.ball_pos = ds.Param(ds.vec2, init=[0.5, 0.2])


# ---- the mass-spring game ----

POINTS = 8


def placed() -> np.ndarray:
    """Return points that springs connect."""
    return np.random.default_rng(2).uniform(0.2, 0.5, size=(POINTS, 2))


def lengths() -> np.ndarray:
    """Return the rest length of each pair, 0 where there is no spring."""
    x = placed()
    d = np.linalg.norm(x[:, None] - x[None], axis=-1)
    return np.where((d > 0) & (d < 0.17), 0.1, 0.0)


@ti.data_oriented
class MassSpringGame:
    """A dense table of rest lengths, some points fixed, symplectic Euler in place, walls that clamp."""

    def __init__(self) -> None:
        self.x = given(ti.Vector.field(2, dtype=float, shape=POINTS), placed())
        self.v = ti.Vector.field(2, dtype=float, shape=POINTS)
        self.f = ti.Vector.field(2, dtype=float, shape=POINTS)
        self.fixed = given(ti.field(dtype=int, shape=POINTS), [1] + [0] * (POINTS - 1))
        self.rest_length = given(ti.field(dtype=float, shape=(POINTS, POINTS)), lengths())
        self.spring_Y = given(ti.field(dtype=float, shape=()), 300.0)
        self.dashpot_damping = given(ti.field(dtype=float, shape=()), 5.0)

    @ti.kernel
    def substep(self):
        n = POINTS
        for i in range(n):
            self.f[i] = ti.Vector([0, -9.8]) * 1.0
            for j in range(n):
                if self.rest_length[i, j] != 0:
                    x_ij = self.x[i] - self.x[j]
                    d = x_ij.normalized()
                    self.f[i] += -self.spring_Y[None] * (x_ij.norm() / self.rest_length[i, j] - 1) * d
                    v_rel = (self.v[i] - self.v[j]).dot(d)
                    self.f[i] += -self.dashpot_damping[None] * v_rel * d
        for i in range(n):
            if not self.fixed[i]:
                self.v[i] += 5e-3 * self.f[i]
                self.v[i] *= ti.exp(-5e-3 * 1.0)
                self.x[i] += self.v[i] * 5e-3
            else:
                self.v[i] = ti.Vector([0, 0])
            for d in ti.static(range(2)):
                if self.x[i][d] < 0.22:
                    self.x[i][d] = 0.22
                    self.v[i][d] = 0
                if self.x[i][d] > 1:
                    self.x[i][d] = 1
                    self.v[i][d] = 0

    def step(self, t: Any) -> None:
        for _ in range(3):
            self.substep()


class MassSpringGamePort(MassSpringGame, Port):
    """The same kernel, differentiable."""

    measured = ("x", "v")

    def __init__(self) -> None:
        self.x = ds.State(ds.vec2, POINTS, init=placed())
        self.v, self.f = ds.State(ds.vec2, POINTS), ds.Scratch(ds.vec2, POINTS)
        self.fixed = ds.Constant(np.array([1] + [0] * (POINTS - 1)))
        self.rest_length = ds.Constant(lengths())
        self.spring_Y, self.dashpot_damping = ds.Param(np.array(300.0)), ds.Param(np.array(5.0))


# ---- implicit springs: conjugate gradients in fields ----

EDGES = np.array([(i, j) for i, j in zip(*np.nonzero(np.triu(lengths())), strict=True)], dtype=np.int32)
NE = len(EDGES)
H = 0.02


@ti.data_oriented
class ImplicitSprings:
    """Backward Euler: force Jacobians per edge, conjugate gradients with dot products in fields."""

    def __init__(self) -> None:
        self.pos = given(ti.Vector.field(2, float, POINTS), placed())
        self.vel = ti.Vector.field(2, float, POINTS)
        self.force = ti.Vector.field(2, float, POINTS)
        self.edges = given(ti.Vector.field(2, int, NE), EDGES)
        self.Jx = ti.Matrix.field(2, 2, float, NE)
        self.b, self.dv = ti.Vector.field(2, float, POINTS), ti.Vector.field(2, float, POINTS)
        self.r0, self.p0 = ti.Vector.field(2, float, POINTS), ti.Vector.field(2, float, POINTS)
        self.Ap = ti.Vector.field(2, float, POINTS)
        self.rr, self.pAp, self.rr_new = ti.field(float, ()), ti.field(float, ()), ti.field(float, ())
        self.ks = given(ti.field(float, ()), 200.0)

    @ti.kernel
    def compute_force(self):
        for i in self.force:
            self.force[i] = ti.Vector([0.0, -9.8])
        for e in self.edges:
            i, j = self.edges[e][0], self.edges[e][1]
            dis = self.pos[j] - self.pos[i]
            f = self.ks[None] * (dis.norm() - 0.1) * dis.normalized()
            self.force[i] += f
            self.force[j] -= f
            l0_l = 0.1 / dis.norm()
            dn = dis / dis.norm()
            eye = ti.Matrix.identity(float, 2)
            self.Jx[e] = ((1 - l0_l) * eye + l0_l * dn.outer_product(dn)) * -self.ks[None]

    @ti.func
    def multiply(self, out: ti.template(), v: ti.template()):
        for i in range(POINTS):
            out[i] = v[i]
        for e in range(NE):
            i, j = self.edges[e][0], self.edges[e][1]
            d = H * H * self.Jx[e] @ (v[i] - v[j])
            out[i] -= d
            out[j] += d

    @ti.func
    def dot(self, a: ti.template(), b: ti.template()):
        result = 0.0
        for i in range(POINTS):
            result += a[i].dot(b[i])
        return result

    @ti.kernel
    def begin(self):
        for i in range(POINTS):
            self.b[i] = H * self.force[i]
            self.dv[i] = ti.Vector([0.0, 0.0])
            self.r0[i] = self.b[i]
            self.p0[i] = self.r0[i]
        self.rr[None] = 0.0
        for i in range(POINTS):
            self.rr[None] += self.r0[i].dot(self.r0[i])

    @ti.kernel
    def iterate(self):
        self.multiply(self.Ap, self.p0)
        self.pAp[None] = 0.0
        for i in range(POINTS):
            self.pAp[None] += self.p0[i].dot(self.Ap[i])
        for i in range(POINTS):
            alpha = self.rr[None] / self.pAp[None]
            self.dv[i] += alpha * self.p0[i]
            self.r0[i] -= alpha * self.Ap[i]
        self.rr_new[None] = 0.0
        for i in range(POINTS):
            self.rr_new[None] += self.r0[i].dot(self.r0[i])
        for i in range(POINTS):
            self.p0[i] = self.r0[i] + self.rr_new[None] / self.rr[None] * self.p0[i]
        for _ in range(1):
            self.rr[None] = self.rr_new[None]

    @ti.kernel
    def advance(self):
        for i in self.vel:
            self.vel[i] += self.dv[i]
            self.pos[i] += H * self.vel[i]

    def step(self, t: Any) -> None:
        self.compute_force()
        self.begin()
        for _ in range(5):
            self.iterate()
        self.advance()


class ImplicitSpringsPort(ImplicitSprings, Port):
    """The same kernels, differentiable through the iterations."""

    measured = ("pos", "vel")

    def __init__(self) -> None:
        self.pos = ds.State(ds.vec2, POINTS, init=placed())
        self.vel, self.force = ds.State(ds.vec2, POINTS), ds.Scratch(ds.vec2, POINTS)
        self.edges = given(ti.Vector.field(2, int, NE), EDGES)
        self.Jx = ds.Scratch(ds.mat2, NE)
        self.b, self.dv = ds.Scratch(ds.vec2, POINTS), ds.Scratch(ds.vec2, POINTS)
        self.r0, self.p0 = ds.Scratch(ds.vec2, POINTS), ds.Scratch(ds.vec2, POINTS)
        self.Ap = ds.Scratch(ds.vec2, POINTS)
        self.rr, self.pAp, self.rr_new = ds.Scratch(ds.real), ds.Scratch(ds.real), ds.Scratch(ds.real)
        self.ks = ds.Param(np.array(200.0))
