"""Table G of the traps: functions, templates, methods, inheritance, structs, arguments, precisions.

These do not apply: ti.ndarray and torch tensors as kernel arguments (kernels of a step take `t` and numbers
known when the step is traced; arrays are declared as fields), `default_fp` against the fields' type (ds.real
is both), short-lived instances and the offline cache (tests/test_rollout.py makes and closes many
simulators).
"""

import numpy as np
import pytest
import taichi as ti
from traps.harness import Rows, assert_right, assert_slopes, names, params, row

import diffsim as ds

HELPERS = """
LIMIT = 0.4
PAIRS = ((0, 1), (2, 3))


@ti.func
def swap(a: ti.template(), b: ti.template()):
    c = a
    a = b
    b = c * 2.0


@ti.func
def halved(a, b):
    for _ in range(2):
        a = 0.5 * a + b
    return a


@ti.func
def two(a, b):
    return a * b, a + ti.sin(b)


@ti.func
def inner(a):
    s = a
    for j in range(3):
        s = ti.tanh(s + 0.2 * j)
    return s


@ti.func
def outer(a, n: ti.template()):
    s = 0.0
    for j in range(n):
        s += inner(a * (j + 1)) * a
    return s


@ti.func
def typed(a: ti.f64, n: ti.i32) -> ti.f64:
    return a * n + a


@ti.func
def fill(v: ti.template(), a):
    for j in ti.static(range(3)):
        v[j] = a * (j + 1.0)


@ti.func
def nothing(a):
    a = a * 2.0


@ti.func
def rotate(v, angle):
    c, s = ti.cos(angle), ti.sin(angle)
    return ti.Matrix([[c, -s], [s, c]]) @ v
"""

ROWS = [
    row(
        "G-arguments-by-reference",
        """
        p, q = self.x[t, i], self.b[i]
        swap(p, q)
        self.f[t, i] = p * p + q * self.a[i]
        """,
        plain="self.f[t, i] = self.b[i] ** 2 + 2.0 * self.x[t, i] * self.a[i]",
    ),
    row("G-arguments-by-value", "p = self.x[t, i]\nnothing(p)\nself.f[t, i] = p * halved(p, self.b[i]) + p"),
    row("G-number-as-an-argument", "self.f[t, i] = halved(0.3, self.x[t, i]) * halved(self.w[i, 0], 1.5)"),
    row("G-several-results", "p, q = two(self.x[t, i], self.a[i])\nself.f[t, i] = p * q + self.b[i]"),
    row("G-functions-with-loops-in-functions", "self.f[t, i] = outer(self.x[t, i], 4) * self.b[i]"),
    row(
        "G-function-with-a-loop-in-a-loop",
        """
        s = self.x[t, i]
        for j in range(N):
            s = inner(s * self.w[i, j]) + 0.1 * s
        self.f[t, i] = s
        """,
    ),
    row("G-typed-function", "self.f[t, i] = typed(self.x[t, i], i) * typed(self.a[i], 2)"),
    row(
        "G-vector-by-reference",
        """
        u = ti.Vector([0.0, 0.0, 0.0])
        fill(u, self.x[t, i])
        self.f[t, i] = u.dot(self.v[i])
        """,
        plain="""
        self.f[t, i] = self.x[t, i] * self.v[i].dot(ti.Vector([1.0, 2.0, 3.0]))
        """,
    ),
    row(
        "G-matrix-from-a-function",
        """
        u = self.q[i]
        for j in range(5):
            u = rotate(u, 0.3 * self.b[j % N])
        self.f[t, i] = u.x * self.x[t, i] + u.y
        """,
    ),
    row(
        "G-module-globals",
        "self.f[t, i] = ti.max(self.x[t, i], LIMIT) * self.a[PAIRS[1][0]] + self.b[i] * LIMIT",
    ),
    row(
        "G-static-pairs",
        """
        for p in ti.static(PAIRS):
            self.f[t, i] += self.w[i, p[0]] * self.w[p[1], i] * self.x[t, i]
        """,
    ),
    row(
        "G-comprehension",
        """
        u = ti.Vector([self.w[i, k] * self.x[t, k] for k in range(3)])
        self.f[t, i] = u.norm() + u.sum() * self.a[i]
        """,
    ),
    row(
        "G-tuples-and-lists",
        """
        p = (self.x[t, i], self.a[i])
        q = [p[0] * p[1], p[0] + self.b[i]]
        self.f[t, i] = q[0] * q[1] + len(p)
        """,
    ),
    row(
        "G-annotated-locals",
        """
        s: ti.f64 = 0
        n: ti.i32 = 2
        for j in range(N):
            s += self.w[i, j] * self.x[t, j] * n
        self.f[t, i] = s * s
        """,
    ),
    row("G-walrus-free-chains", "p = q = self.x[t, i] * 2.0\np += self.a[i]\nself.f[t, i] = p * q"),
    row(
        "G-augmented-operators",
        """
        p = self.b[i]
        p *= self.x[t, i]
        p /= 1.5 + self.a[i] ** 2
        p -= self.z[None]
        p **= 2
        self.f[t, i] = p
        """,
    ),
    row(
        "G-quaternion-functions",
        """
        p = ti.Vector([self.b[i], self.a[i], self.x[t, i], 0.3])
        o = ti.Vector([self.v[i][0], self.v[i][1], self.v[i][2]])
        w = 2.0 * ti.Vector([p[1], p[2], p[3]]).cross(o)
        r = o + p[0] * w + ti.Vector([p[1], p[2], p[3]]).cross(w)
        self.f[t, i] = r.dot(self.v[(i + 1) % N])
        """,
    ),
]


@pytest.fixture(scope="module")
def measured(runtime, tmp_path_factory):
    return Rows(ROWS, tmp_path_factory.mktemp("structure"), HELPERS)


@pytest.mark.parametrize("one", params(ROWS))
def test_row(measured, one):
    assert_right(one, measured.of(one))


# ---- simulators: inheritance, parts, structs, arguments ----


class Base(ds.Simulator):
    """A kernel that calls methods, which subclasses override."""

    def __init__(self):
        rng = np.random.default_rng(8)
        self.x = ds.State(ds.real, 4, init=rng.normal(size=4))
        self.k = ds.Param(rng.uniform(0.5, 1.5, size=4))

    @ti.func
    def pull(self, x, k):
        return -k * x

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(4):
            self.x[t + 1, i] = self.x[t, i] + 0.1 * self.pull(self.x[t, i], self.k[i])

    @ti.kernel
    def total(self, t: ti.i32):
        for i in range(4):
            self.cost[None] += ti.sin(self.x[t, i])

    def step(self, t):
        self.move(t)

    def terminal_cost(self, t):
        self.total(t)


class OverriddenFunction(Base):
    @ti.func
    def pull(self, x, k):
        s = 0.0
        for j in range(3):
            s -= ti.tanh(k * x * (j + 1))
        return s


class OverriddenKernel(Base):
    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(4):
            self.x[t + 1, i] = ti.cos(self.x[t, i]) * self.k[i]


class CalledTwice(Base):
    """One kernel, other arguments: numbers, fields and strings that Python knows."""

    def __init__(self):
        super().__init__()
        self.y, self.z = ds.Scratch(ds.real, 4), ds.Scratch(ds.real, 4)

    @ti.kernel
    def scaled(self, t: ti.i32, source: ti.template(), target: ti.template(), factor: ti.f64, n: ti.i32):
        for i in range(4):
            s = 0.0
            for j in range(n):
                s += factor * ti.sin(source[t, i] * (j + 1))
            target[t, i] = s * self.k[i]

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(4):
            self.x[t + 1, i] = self.x[t, i] + 0.1 * self.y[t, i] * self.z[t, i]

    def step(self, t):
        self.scaled(t, self.x, self.y, 0.5, 3)
        self.scaled(t, self.y, self.z, -1.5, 2)
        self.move(t)


@ti.data_oriented
class Spring:
    """An object that is no Part, with a method of its own."""

    def __init__(self, stiffness):
        self.stiffness = stiffness

    @ti.func
    def force(self, x):
        return -self.stiffness * x * x * x


class WithAnObject(Base):
    def __init__(self):
        super().__init__()
        self.springs = [Spring(0.5), Spring(2.0)]

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(4):
            s = 0.0
            for spring in ti.static(self.springs):
                s += spring.force(self.x[t, i]) * self.k[i]
            self.x[t + 1, i] = self.x[t, i] + 0.1 * s


class StateByIndex(Base):
    """A dense layer written as an MLP's rows, with the step number in the weights."""

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(4):
            act = 0.0
            for j in range(4):
                act += self.k[(i * j + t) % 4] * self.x[t, j]
            self.x[t + 1, i] = ti.tanh(act)


@ti.dataclass
class Ball:
    """A Taichi struct with a method."""

    r: ti.f64
    v: ti.math.vec3

    @ti.func
    def energy(self):
        return self.r * self.v.norm_sqr()


class WithAStruct(Base):
    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(4):
            ball = Ball(r=self.k[i], v=ti.math.vec3(self.x[t, i], 0.5, 0.1))
            ball.r = ball.r * 0.5
            self.x[t + 1, i] = self.x[t, i] + 0.1 * ball.energy() * ball.v.x


SIMULATORS = {
    "G-methods": Base,
    "G-overridden-function": OverriddenFunction,
    "G-overridden-kernel": OverriddenKernel,
    "G-one-kernel-many-arguments": CalledTwice,
    "G-data-oriented-object": WithAnObject,
    "G-dense-layer-by-rows": StateByIndex,
    "G-dataclass": WithAStruct,
}


@pytest.mark.parametrize("name", names(SIMULATORS))
def test_simulator(runtime, name):
    simulator = SIMULATORS[name]()
    step, fused = (ds.Rollout(simulator, steps=3, mode=mode) for mode in ("step", "fused"))
    cost, grads = step.value_and_grad(["x", "k"])
    other, fused_grads = fused.value_and_grad(["x", "k"])
    assert fused.plan.mode == "fused"
    assert other == pytest.approx(cost, rel=1e-13)
    for key, want in grads.items():
        assert np.all(want != 0.0)
        np.testing.assert_allclose(fused_grads[key], want, rtol=1e-11, atol=1e-13)
    assert_slopes(fused, ["x", "k"])
    step.close(), fused.close()
