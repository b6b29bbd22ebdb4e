"""Kernels on which Taichi's own reverse mode is wrong, dies or refuses: here their gradients are right.

Each kernel maps `x` (a State) and `w` (a Param) to `f` (a Scratch); the cost is a weighted sum of `f`. The
numbers are central differences in f64; where plain Python can say the value too, it does.
"""

import numpy as np
import pytest
import taichi as ti

import diffsim as ds

N = 5


class Trap(ds.Simulator):
    """What all traps share."""

    def __init__(self):
        rng = np.random.default_rng(4)
        self.x = ds.State(ds.real, N, init=rng.normal(size=N))
        self.w = ds.Param(rng.uniform(0.4, 1.6, size=(N, N)))
        self.v = ds.Param(ds.vec3, N, init=rng.normal(size=(N, 3)))
        self.m = ds.Param(ds.mat3, 1, init=rng.normal(size=(1, 3, 3)) + 2.0 * np.eye(3))
        self.f = ds.Scratch(ds.real, N)
        self.g = ds.Scratch(ds.real, N, N)
        self.ids = ds.Constant([3, 0, 4, 1, 2])
        self.weights = ds.Constant(rng.normal(size=N))

    def step(self, t):
        self.trap(t)
        self.total(t)

    @ti.kernel
    def total(self, t: ti.i32):
        for i in range(N):
            self.cost[None] += self.weights[i] * self.f[t, i]


class HoistedValue(Trap):
    @ti.kernel
    def trap(self, t: ti.i32):
        for i in range(N):
            p = self.x[t, i] * 2.0
            q = 0.0
            for j in range(N):
                q += p * p * self.w[i, j]
            self.f[t, i] = q


class FunctionsInLoops(Trap):
    @ti.kernel
    def trap(self, t: ti.i32):
        for i in range(N):
            s = 0.0
            for j in range(N):
                a = self.w[i, j] * self.x[t, j]
                s += ti.exp(a) + ti.tanh(a) + ti.max(a, 0.3) + ti.min(a, s) + ti.rsqrt(1.0 + a * a)
                s += ti.math.clamp(a, -0.5, 0.5) + ti.math.smoothstep(0.0, 1.0, a)
            self.f[t, i] = s


class SiblingLoops(Trap):
    @ti.kernel
    def trap(self, t: ti.i32):
        for _ in range(1):
            for r in range(3):
                for i in range(N):
                    self.g[t, r, i] = (
                        ti.sin(self.x[t, i] * (r + 1)) if r == 0 else ti.sin(self.g[t, r - 1, i])
                    )
                for i in range(N):
                    self.f[t, i] += self.w[r, i] * self.g[t, r, i]


class TopLevelRecurrence(Trap):
    @ti.kernel
    def trap(self, t: ti.i32):
        for i in range(N):
            self.g[t, 0, i] = self.x[t, i]
        for _ in range(1):
            for k in range(N - 1):
                for i in range(N):
                    self.g[t, k + 1, i] = ti.cos(self.g[t, k, i]) * self.w[k, i]
        for i in range(N):
            self.f[t, i] = self.g[t, N - 1, i]


class LongCarry(Trap):
    @ti.kernel
    def trap(self, t: ti.i32):
        for i in range(N):
            a = self.x[t, i]
            b = self.w[i, 0]
            for k in range(500):
                a += 0.01 * ti.sin(b)
                b -= 0.01 * ti.sin(a) * self.w[i, 1]
            self.f[t, i] = a * b


class CarriedVectors(Trap):
    @ti.kernel
    def trap(self, t: ti.i32):
        for i in range(N):
            u = self.v[i]
            for j in range(40):
                u = 0.5 * (self.m[0] @ u) / u.norm(1e-9) + 0.1 * self.v[j % N].cross(u)
                u[1] = u[0] * u[2] + self.x[t, i]
            self.f[t, i] = u.sum() + 10.0 * u.max()


class ConditionalCarry(Trap):
    @ti.kernel
    def trap(self, t: ti.i32):
        for i in range(N):
            a = 0.3
            s = 0.0
            q = 0.0
            for j in range(N):
                if self.w[i, j] > 0.8:
                    a = self.x[t, j] * self.w[i, j]
                if self.w[j, i] > 1.0:
                    q += a
                if j > 1:
                    s += a * self.x[t, j]
            self.f[t, i] = s + q * q


class BranchCarry(Trap):
    @ti.kernel
    def trap(self, t: ti.i32):
        for i in range(N):
            s = self.x[t, i]
            q = self.w[i, 0]
            for j in range(N):
                if j > 1:
                    q = 0.8 * q + s * self.w[i, j]
                    s = 0.9 * s + ti.sin(self.x[t, j])
                else:
                    s = ti.sin(self.w[j, i])
            self.f[t, i] = q  # s matters only through q, and only in one branch


class LoopInBranch(Trap):
    @ti.kernel
    def trap(self, t: ti.i32):
        for i in range(N):
            if self.x[t, i] > 0:
                s = 0.0
                for j in range(N):
                    s += self.w[i, j] * self.x[t, j]
                self.f[t, i] += s * s


class LocalVectorIndex(Trap):
    @ti.kernel
    def trap(self, t: ti.i32):
        for i in range(N):
            u = self.v[i]
            s = 0.0
            for j in range(3):
                u[j] = u[j] * u[(j + 1) % 3] + self.x[t, i]
                s += u[j] * self.w[i, j]
            self.f[t, i] = s


class FieldComponentIndex(Trap):
    def __init__(self):
        super().__init__()
        self.h = ds.Scratch(ds.vec3, N)

    @ti.kernel
    def trap(self, t: ti.i32):
        for i in range(N):
            for d in range(3):
                self.h[t, i][d] += self.x[t, i] * self.v[i][d] * (d + 1)
        for i in range(N):
            self.f[t, i] = self.h[t, i].norm_sqr()


class StoreBesideLoop(Trap):
    @ti.kernel
    def trap(self, t: ti.i32):
        for i in range(N):
            self.f[t, i] = 0.5
            for j in range(N):
                self.f[t, i] += self.w[i, j] * self.x[t, j] ** 2
            self.f[t, i] += ti.sin(self.x[t, i])


class StatementsBesideLoops(Trap):
    @ti.kernel
    def trap(self, t: ti.i32):
        scale = self.w[0, 0] * 2.0
        total = 0.0
        for i in range(N):
            total += self.x[t, i] ** 2
        norm = ti.sqrt(total)
        for i in range(N):
            self.f[t, i] = scale * self.x[t, i] / norm


class TriangularLoops(Trap):
    @ti.kernel
    def trap(self, t: ti.i32):
        for i in range(N):
            s = self.x[t, i]
            for j in range(i):
                for k in range(j, i):
                    s = ti.sin(s + self.w[j, k])
            self.f[t, i] = s


class MiddleLocal(Trap):
    @ti.kernel
    def trap(self, t: ti.i32):
        for i in range(N):
            for j in range(N):
                a = self.x[t, j]
                if a > 0.1:
                    a = a * a
                for k in range(N):
                    self.f[t, i] += a * self.w[j, k] * self.w[k, i]


class Matrices(Trap):
    @ti.kernel
    def trap(self, t: ti.i32):
        for i in range(N):
            A = self.m[0] + self.x[t, i] * ti.Matrix.identity(ti.f64, 3)
            B = A.inverse() @ self.m[0].transpose() + self.v[i].outer_product(self.v[0])
            self.f[t, i] = B.determinant() + A.trace() + ti.log(ti.abs(A.determinant()))


class FourByFour(Trap):
    @ti.kernel
    def trap(self, t: ti.i32):
        for i in range(1):
            A = ti.Matrix([[self.w[a, b] + (3.0 if a == b else 0.0) for b in range(4)] for a in range(4)])
            B = A @ A
            self.f[t, i] = (B.inverse() @ A).trace() + B.determinant() * self.x[t, 0]


class Powers(Trap):
    @ti.kernel
    def trap(self, t: ti.i32):
        for i in range(N):
            a = self.w[i, 0]
            self.f[t, i] = a**2 + a**-2 + a**0.5 + 2.0**a + a ** self.w[i, 1] + self.x[t, i] ** 3 + a**0


class Piecewise(Trap):
    @ti.kernel
    def trap(self, t: ti.i32):
        for i in range(N):
            a = 3.0 * self.x[t, i] + 0.05
            self.f[t, i] = (
                ti.floor(a) * a
                + a % 0.7
                + ti.cast(ti.cast(a, ti.i32), ti.f64) * a
                + ti.abs(a)
                + ti.tan(0.3 * a)
            )


class Gather(Trap):
    @ti.kernel
    def trap(self, t: ti.i32):
        for i in range(N):
            k = self.ids[self.ids[i]]
            ti.atomic_add(self.f[t, k], self.x[t, self.ids[i]] * self.w[k, i])
            self.f[t, self.ids[k]] -= ti.sin(self.x[t, k])


@ti.func
def series(a, n: ti.template()):
    s = 1.0
    for j in range(n):
        s += a * s / (j + 1.0)
    return s


@ti.func
def swap(a: ti.template(), b: ti.template()):
    c = a
    a = b
    b = c * 2.0


class Functions(Trap):
    @ti.kernel
    def trap(self, t: ti.i32):
        for i in range(N):
            a, b = self.x[t, i], self.w[i, i]
            swap(a, b)
            self.f[t, i] = series(a, 6) * b + self.method(b)

    @ti.func
    def method(self, a):
        return a * self.w[0, 1] + ti.math.mix(a, 2.0, 0.3)


class LongSum(Trap):
    @ti.kernel
    def trap(self, t: ti.i32):
        for i in range(N):
            s = 0.0
            for k in ti.static(range(260)):
                s += self.w[i, k % N] * self.x[t, i] * (1.0 / (k + 1.0))
            self.f[t, i] = s


class GuardedNeighbour(Trap):
    @ti.kernel
    def trap(self, t: ti.i32):
        for i in range(N):
            if i > 0 and self.x[t, i - 1] < 10.0:
                self.f[t, i] += self.x[t, i - 1] * self.w[i, 0]
            if i == 0 or self.x[t, i - 1] > 10.0:
                self.f[t, i] += self.w[i, 1] ** 2


class MatrixEntries(Trap):
    @ti.kernel
    def trap(self, t: ti.i32):
        for i in range(N):
            A = self.m[0]
            A[0, 1] += self.m[0][2, 0] * self.x[t, i]
            A[1, 0] = A[0, 1] * self.w[i, i]
            self.f[t, i] = A[1, 0] + A[i % 3, 1] + A.determinant()


@ti.func
def halved(a, b):
    for _ in range(2):
        a = 0.5 * a + b
    return a


class NumberArgument(Trap):
    @ti.kernel
    def trap(self, t: ti.i32):
        for i in range(N):
            self.f[t, i] = halved(0.3, self.x[t, i]) * halved(self.w[i, 0], 1.5)


class Columns(Trap):
    def __init__(self):
        super().__init__()
        self.pairs = ds.Constant([[0, 4], [2, 3], [1, 1]])
        self.short = ds.Param([1.0, -2.0, 0.5])

    @ti.kernel
    def trap(self, t: ti.i32):
        for i in range(3):
            self.f[t, self.pairs[i, 1]] += self.short[self.pairs[i, 0]] * self.x[t, self.pairs[i, 1]] ** 2


TRAPS = [
    LongSum,
    GuardedNeighbour,
    MatrixEntries,
    NumberArgument,
    Columns,
    HoistedValue,
    FunctionsInLoops,
    SiblingLoops,
    TopLevelRecurrence,
    LongCarry,
    CarriedVectors,
    ConditionalCarry,
    BranchCarry,
    LoopInBranch,
    LocalVectorIndex,
    FieldComponentIndex,
    StoreBesideLoop,
    StatementsBesideLoops,
    TriangularLoops,
    MiddleLocal,
    Matrices,
    FourByFour,
    Powers,
    Piecewise,
    Gather,
    Functions,
]


@pytest.mark.parametrize("trap", TRAPS, ids=lambda t: t.__name__)
def test_gradient_is_right(runtime, trap):
    sim = trap()
    rollout = ds.Rollout(sim, steps=1, mode="step")
    for key in ("x", "w", "v"):
        report = rollout.check_grad([key], directions=3)
        assert report.passed, f"{key}\n{report}"
    cost, grads = rollout.value_and_grad(["x", "w", "v", "m"])
    fused = ds.Rollout(sim, steps=1, mode="fused")
    fused_cost, fused_grads = fused.value_and_grad(["x", "w", "v", "m"])
    assert fused.plan.mode == "fused"
    assert fused_cost == pytest.approx(cost, rel=1e-13)
    for key, want in grads.items():
        np.testing.assert_allclose(fused_grads[key], want, rtol=1e-10, atol=1e-12)
    rollout.close(), fused.close()


def test_values_of_a_miscompiled_vector(runtime):
    """Taichi's defaults compute another value here (a vector set under an `if`, then a component stored)."""

    class Vectors(Trap):
        @ti.kernel
        def trap(self, t: ti.i32):
            for i in range(N):
                u, v = self.v[i], self.v[(i + 1) % N]
                if u[0] > v[1]:
                    u = v * 2.0 - u
                v = v + u
                u[0] = 7.0
                self.f[t, i] = u.sum() + 10.0 * v.sum()

    sim = Vectors()
    found = ds.Rollout(sim, steps=1, mode="step").trajectory(sim.f)[0]
    values = sim.v.numpy()
    for i in range(N):
        u, v = values[i].copy(), values[(i + 1) % N].copy()
        if u[0] > v[1]:
            u = v * 2.0 - u
        v = v + u
        u[0] = 7.0
        assert found[i] == pytest.approx(u.sum() + 10.0 * v.sum(), rel=1e-13)
