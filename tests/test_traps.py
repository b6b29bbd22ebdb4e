"""Kernels on which Taichi's own reverse mode is wrong, dies or refuses: here their gradients are right.

Each kernel maps `x` (a State) and `w` (a Param) to `f` (a Scratch); the cost is a weighted sum of `f`. The
numbers are central differences in f64; where plain Python can say the value too, it does.
"""

import importlib.util

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


# ---- what kernels may compute with ----

FUNCTIONS = """
ti.asin(0.4 * a) + ti.acos(0.3 * a)
ti.max(a, 2, 0.1 * b) + max(a, b, 1) + min(a, b) + ti.min(a, 0.5, b)
(a > 0) * a * b + (a > 0.0) * 2.0
a if (a > 0 and b > 0) else b * a
b**i + (i + 1) ** b + ti.pow(2, b)
ti.pow(b, 3) + ti.pow(b, -2) + (-b) ** 3
a**2.0 + a**3.0 + b**0.0 + b**-1.5
ti.sqrt(b) + ti.rsqrt(b) + ti.raw_div(a, b)
(ti.math.mod(a, 0.7) + ti.math.fract(a) + ti.floor(a) + ti.ceil(a)) * b
(ti.math.sign(a) + ti.math.step(0.1, a)) * b
ti.math.mix(a, b, 0.3) + ti.math.mix(a, b, a) + ti.math.clamp(a, -0.5, 0.5) + ti.math.smoothstep(0.0, 1.0, b)
ti.math.radians(a) + ti.math.degrees(a)
ti.math.distance(v, w * 2) + ti.math.length(v) + ti.math.normalize(v)[1] + ti.math.dot(v, w)
ti.math.reflect(v, w)[0] + ti.math.cross(v, w).y
ti.math.cmul(q, r).x + ti.math.cdiv(q, r).y + ti.math.cexp(q).y + ti.math.clog(q).y
ti.math.cinv(q).y + ti.math.cconj(q).y
ti.math.exp(a) + ti.math.log(b) + ti.math.tanh(a) + ti.math.pow(b, 1.5) + ti.math.atan2(a, b) + ti.math.pi * a
ti.math.dot(v.xy, q) + v.zyx.dot(w) + v.rgb.norm(1e-3) + v[0:2].sum()
(m[0:2, 0:2] @ q).sum() + m[0, :].sum() + m[1, 2] * a
m.norm() + m.norm_sqr() + m.sum() + m.max() + m.min()
h.inverse()[0, 1] * a + h.determinant() + (h @ h).trace() + (h.transpose() @ q).norm() + (q @ h).sum()
(q.outer_product(r) @ q).sum() + q.cross(r)
v.normalized().sum() + v.norm_inv() + (-v).max()
ti.math.vec2(a, b).norm() + ti.math.vec3(q, a).sum() + ti.math.mat2(a, b, 1.0, 2.0).determinant()
ti.math.mat2([a, b], [1.0, 2.0]).determinant() + (ti.math.rotation2d(a) @ q)[0] + ti.math.eye(3).trace() * a
ti.Matrix.cols([q, r]).determinant() + ti.Matrix.rows([q, r])[0, 1]
ti.Vector.zero(ti.f64, 3).sum() + ti.Vector.one(ti.f64, 3).sum() * a
ti.atan2(a - a, a - a) + ti.tanh(400.0 * b) + ti.log(1.0 + ti.exp(20.0 * a)) + ti.exp(ti.min(a, 0.0))
ti.abs(v).sum() + abs(a)
ti.select(v > 0.0, v, 0.1 * v).sum() + ti.select(a > b, a, 0)
float(a) + ti.cast(a, float) * b + ti.cast(a, int) * b + int(a) * b + ti.i32(a) * b + ti.f64(i) * b
(v**2).sum() + (2.0**v).sum() + (v * w).sum() + (1.0 / (7.0 + v)).sum()
((v // 0.3).sum() + (v % 0.3).sum() + a // 0.3 + a % -0.4) * b
((i // 2) + (i % 3) + (-i // 2) + (-i % 3) + (i & 1) + (i << 1) + (i ^ 3) + ~i) * b
(0.0 < a < 1.0) * b + (not (a > 0)) * b + (a < 0 or b > 1) * a
len(v) * b + v.n * a + [a, b][1] + (a, b)[0]
ti.sin(m)[0, 1] + v[i % 3] + m[i % 3, 1]
np.sin(0.3) * a + math.sin(0.3) * b + t * a * 0.1 + ti.cast(t, ti.f64) * a
""".strip().splitlines()

TABLE = """
import math
import numpy as np
import taichi as ti
import diffsim as ds

@ti.data_oriented
class Kernels:
    @ti.kernel
    def table(self, t: ti.i32):
        for i in range(4):
            a = self.a[t, i]
            b = self.b[i]
            v, w = self.v[i], self.v[(i + 1) % 4]
            q, r = self.q[i], self.q[(i + 1) % 4]
            m, h = self.m[0], self.h[0]
{lines}

class Table(Kernels, ds.Simulator):
    def __init__(self, count):
        rng = np.random.default_rng(4)
        self.a = ds.State(ds.real, 4, init=rng.normal(size=4))
        self.b = ds.Param(rng.uniform(0.4, 1.6, size=4))
        self.v = ds.Param(ds.vec3, 4, init=rng.normal(size=(4, 3)))
        self.q = ds.Param(ds.vec2, 4, init=rng.normal(size=(4, 2)))
        self.m = ds.Param(ds.mat3, 1, init=rng.normal(size=(1, 3, 3)))
        self.h = ds.Param(ds.mat2, 1, init=rng.normal(size=(1, 2, 2)) + 2.0 * np.eye(2))
        self.f = ds.Scratch(ds.real, count, 4)
        self.weights = ds.Constant(rng.normal(size=(count, 4)))
        self.count = count

    def step(self, t):
        self.table(t)
        self.total(t)

    @ti.kernel
    def total(self, t: ti.i32):
        for k in range(self.count):
            for i in range(4):
                self.cost[None] += self.weights[k, i] * self.f[t, k, i]
"""


@pytest.fixture(scope="module")
def table(runtime, tmp_path_factory):
    """Return a module with one kernel of all FUNCTIONS."""
    path = tmp_path_factory.mktemp("functions") / "functions_of_kernels.py"
    lines = [f"            self.f[t, {k}, i] = {text}" for k, text in enumerate(FUNCTIONS)]
    path.write_text(TABLE.format(lines="\n".join(lines)))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_functions_have_taichis_values_and_right_gradients(table):
    sim = table.Table(len(FUNCTIONS))
    rollout = ds.Rollout(sim, steps=1, mode="step")
    found = rollout.trajectory(sim.f)[0]
    plain = table.Kernels()  # on Taichi's own fields
    plain.a = ti.field(ti.f64, shape=(1, 4))
    plain.b = ti.field(ti.f64, shape=4)
    plain.v, plain.q = ti.Vector.field(3, ti.f64, shape=4), ti.Vector.field(2, ti.f64, shape=4)
    plain.m, plain.h = ti.Matrix.field(3, 3, ti.f64, shape=1), ti.Matrix.field(2, 2, ti.f64, shape=1)
    plain.f = ti.field(ti.f64, shape=(1, *found.shape))
    for key in ("b", "v", "q", "m", "h"):
        getattr(plain, key).from_numpy(getattr(sim, key).numpy())
    plain.a.from_numpy(sim.a.numpy()[None])
    plain.table(0)
    want = plain.f.to_numpy()[0]
    for k, text in enumerate(FUNCTIONS):
        np.testing.assert_allclose(found[k], want[k], rtol=1e-12, atol=1e-13, err_msg=text)
    for key in ("a", "b", "v", "q", "m", "h"):
        report = rollout.check_grad([key], directions=3)
        assert report.passed, f"{key}\n{report}"


KINKS = """
ti.max(a, 0.0)
ti.max(0.0, a)
ti.min(a, 0.0)
ti.max(a, a)
ti.abs(a)
ti.atan2(a, a)
a**2 + a**1.5 + a**1 + a**0
ti.select(a > 0.0, a, 0.0)
""".strip().splitlines()
SLOPES = [0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0]  # Taichi's conventions


def test_slopes_at_kinks(runtime, tmp_path, monkeypatch):
    path = tmp_path / "kinks_of_functions.py"
    lines = [f"            self.cost[None] += self.weights[{k}] * ({x})" for k, x in enumerate(KINKS)]
    text = TABLE[: TABLE.index("@ti.data_oriented")] + KINK_PROGRAM.format(lines="\n".join(lines))
    path.write_text(text)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sim = module.Kinks(len(KINKS))
    rollout = ds.Rollout(sim, steps=1, mode="step")
    slopes = []
    for k in range(len(KINKS)):
        sim.weights.set(np.eye(len(KINKS))[k])
        slopes.append(rollout.value_and_grad("a")[1]["a"][0])
    assert slopes == SLOPES


KINK_PROGRAM = """
class Kinks(ds.Simulator):
    def __init__(self, count):
        self.a = ds.State(ds.real, 1)
        self.weights = ds.Constant(np.ones(count))

    @ti.kernel
    def step_(self, t: ti.i32):
        for i in range(1):
            a = self.a[t, i]
{lines}

    def step(self, t):
        self.step_(t)
"""
