"""Table D of the traps: scalar functions, in a straight line and in a loop with an accumulator; kinks.

In a row of FUNCTIONS `a` is any number, `b` is positive, `j` is a whole number; the expression stands once by
itself and once in an inner loop with other numbers, whose sum is carried.
"""

import re

import numpy as np
import pytest
import taichi as ti
from traps.harness import Rows, assert_right, assert_slopes, load, params, row

import diffsim as ds

FUNCTIONS = {
    "add-sub-mul-div": "(a + b) * (a - b) / (b + 2.0) + a / b - b * 3.0",
    "raw-div": "ti.raw_div(a, b)",
    "neg-abs": "-a + ti.abs(a) * b + abs(a)",
    "sin-cos": "ti.sin(a) * ti.cos(b)",
    "tan": "ti.tan(0.3 * a)",
    "asin-acos": "ti.asin(0.2 * a) + ti.acos(0.2 * a * b)",
    "atan2": "ti.atan2(a, b) + 2.0 * ti.math.atan2(b, a)",
    "tanh": "ti.tanh(a)",
    "tanh-saturated": "ti.tanh(400.0 * b) + a",
    "exp": "ti.exp(0.5 * a)",
    "log": "ti.log(b)",
    "log1p-exp": "ti.log(1.0 + ti.exp(5.0 * a))",
    "sqrt": "ti.sqrt(b)",
    "rsqrt": "ti.rsqrt(b)",
    "max-min": "ti.max(a, b - 1.0) + ti.min(a, 0.1 * b)",
    "max-with-ints": "ti.max(a, 0) + ti.min(b, 1) * a",
    "max-of-three": "ti.max(a, 0.5, b - 1.0) + min(a, b, 0.3)",
    "builtin-max": "max(a, 0.2) * b + min(a, -0.2) + abs(a)",
    "select": "ti.select(a > 0.0, a * b, b) + ti.select(a > b, a, 0)",
    "ternary": "(a * a if a > 0.1 else b * a)",
    "ternary-with-and": "(a if (a > 0 and b > 0.8) else b * a)",
    "bool-times-number": "(a > 0) * a * b + (a > 0.0) * 2.0 + (not (a > 0)) * b",
    "chained-comparison": "(0.0 < a < 1.0) * b + (a < 0 or b > 1) * a",
    "square": "a**2",
    "cube": "a**3",
    "power-minus-2": "b**-2 + a**-1",
    "power-0-and-1": "a**0 * b + a**1",
    "power-half": "b**0.5 + b**-0.5",
    "power-2.0-3.0": "a**2.0 + a**3.0 * b**0.0",
    "power-2.5": "b**2.5 + b**-1.5",
    "power-variable": "b**a",
    "power-of-a-number": "2.0**a + 2**b",
    "pow-int": "b**j + ti.pow(a, 3) + (j + 1) ** b",
    "ti-pow": "ti.pow(b, 1.5) + ti.pow(2, b) + ti.pow(b, a) + ti.math.pow(b, 0.3)",
    "negative-base-whole-exponent": "(-b) ** 3 + (-b) ** 2.0 + (-b) ** -1",
    "modulo": "a % 0.7 + (a % -0.4) * b",
    "floor-division": "(a // 0.3) * b + a",
    "mod-fract": "(ti.math.mod(a, 0.7) + ti.math.fract(a)) * b",
    "floor-ceil": "(ti.floor(a) + ti.ceil(a)) * b + ti.floor(a) * a",
    "round": "ti.round(a) * b + ti.round(3.0 * b) * a",
    "isnan": "(a if not ti.math.isnan(a) else b) + (b if ti.math.isinf(b) else a * b)",
    "popcnt": "ti.math.popcnt(j + 5) * a * b",
    "sign-step": "(ti.math.sign(a) + ti.math.step(0.1, a)) * b",
    "casts-to-int": "ti.cast(a, ti.i32) * b + int(a) * a + ti.i32(a) * b",
    "casts-to-float": "ti.cast(a, float) * b + float(a) + ti.f64(j) * b + ti.cast(j, ti.f64) * a",
    "integers": "((j // 2) + (j % 3) + (-j // 2) + (-j % 3) + (j & 1) + (j << 1) + (j ^ 3) + ~j) * b",
    "mix": "ti.math.mix(a, b, 0.3) + ti.math.mix(a, b, a)",
    "clamp": "ti.math.clamp(a, -0.5, 0.5) * b",
    "smoothstep": "ti.math.smoothstep(-0.5, 1.5, a)",
    "radians-degrees": "ti.math.radians(a) + 0.01 * ti.math.degrees(b)",
    "python-numbers": "np.sin(0.3) * a + math.sin(0.3) * b + ti.math.pi * a + t * a * 0.1",
    "guarded-sqrt": "ti.sqrt(ti.select(a > 0.0, a, 1.0)) * b",
    "sqrt-in-a-branch": "(ti.sqrt(a) if a > 0.05 else 0.1 * a)",
    "exp-of-min": "ti.exp(ti.min(a, 0.0)) + ti.log(ti.max(a, 0.2))",
    "error-in-the-other-branch": "(ti.log(-a) if a < -0.05 else a * b)",
}


def twice(name, text):
    straight = re.sub(r"\bj\b", "i", text)
    inside = re.sub(r"\ba\b", "c", re.sub(r"\bb\b", "e", text))
    return row(
        f"D-{name}",
        f"""
        a = self.x[t, i]
        b = self.b[i]
        s = {straight}  # diffsim: allow CUT
        for j in range(3):
            c = self.x[t, j] * self.table[i, j] + 0.2 * a
            e = self.b[j] * self.w[i, j] + 0.1 * b
            s += self.table[j, i] * ({inside})  # diffsim: allow CUT
        self.f[t, i] = s
        """,
    )


ROWS = [twice(name, text) for name, text in FUNCTIONS.items()]

COMPLEX = {  # name: what a kernel computes, the same with Python's complex numbers
    "cmul": ("ti.math.cmul(q, r)", "p * o"),
    "cdiv": ("ti.math.cdiv(q, r)", "p / o"),
    "cexp": ("ti.math.cexp(q)", "cmath.exp(p)"),
    "clog": ("ti.math.clog(q)", "cmath.log(p)"),
    "cinv-cconj": ("ti.math.cinv(q) + ti.math.cconj(r)", "1.0 / p + o.conjugate()"),
    "cpow": ("ti.math.cpow(q, 3)", "p**3"),
    "csqrt": ("ti.math.csqrt(q)", "cmath.sqrt(p)"),
}
ROWS += [
    row(
        f"D-{name}",
        f"""
        q, r = self.q[i], self.q[(i + 1) % N]
        c = {text}
        self.f[t, i] = c.x * self.x[t, i] + c.y
        """,
        plain=f"""
        import cmath
        p, o = complex(*self.q[i]), complex(*self.q[(i + 1) % N])
        c = {same}
        self.f[t, i] = c.real * self.x[t, i] + c.imag
        """,
    )
    for name, (text, same) in COMPLEX.items()
]


@pytest.fixture(scope="module")
def measured(runtime, tmp_path_factory):
    return Rows(ROWS, tmp_path_factory.mktemp("functions"))


@pytest.mark.parametrize("one", params(ROWS))
def test_row(measured, one):
    assert_right(one, measured.of(one))


# ---- special points ----

POINTS = {  # name: expression of a and b, a, b, value, slopes
    "max-a-0": ("ti.max(a, 0.0)", 0.0, 1.0, 0.0, (0.0, 0.0)),
    "max-0-a": ("ti.max(0.0, a)", 0.0, 1.0, 0.0, (1.0, 0.0)),
    "min-a-0": ("ti.min(a, 0.0)", 0.0, 1.0, 0.0, (0.0, 0.0)),
    "min-0-a": ("ti.min(0.0, a)", 0.0, 1.0, 0.0, (1.0, 0.0)),
    "max-a-a": ("ti.max(a, a)", 0.3, 1.0, 0.3, (1.0, 0.0)),
    "max-of-equals": ("ti.max(a, b)", 0.5, 0.5, 0.5, (0.0, 1.0)),
    "abs-0": ("ti.abs(a)", 0.0, 1.0, 0.0, (0.0, 0.0)),
    "atan2-0-0": ("ti.atan2(a, a)", 0.0, 1.0, 0.0, (0.0, 0.0)),
    "square-0": ("a**2", 0.0, 1.0, 0.0, (0.0, 0.0)),
    "square-float-0": ("a**2.0", 0.0, 1.0, 0.0, (0.0, 0.0)),
    "power-1-at-0": ("a**1 + a**1.0", 0.0, 1.0, 0.0, (2.0, 0.0)),
    "power-1.5-at-0": ("a**1.5", 0.0, 1.0, 0.0, (0.0, 0.0)),
    "power-0-at-0": ("a**0", 0.0, 1.0, 1.0, (0.0, 0.0)),
    "cube-negative": ("a**3 + a**3.0", -0.5, 1.0, -0.25, (1.5, 0.0)),
    "select-guards-the-argument": ("ti.sqrt(ti.select(a > 0.0, a, 1.0)) * b", 0.0, 2.0, 2.0, (0.0, 1.0)),
    "select-at-its-edge": ("ti.select(a > 0.0, a, 0.0)", 0.0, 1.0, 0.0, (0.0, 0.0)),
    "select-drops-sqrt": ("ti.select(a > 0.0, ti.sqrt(a), b)", 0.0, 2.0, 2.0, (0.0, 1.0)),
    "norm-at-0": ("ti.Vector([a, a]).norm() + b", 0.0, 1.0, 1.0, (0.0, 1.0)),
    "negative-base-variable-exponent": ("(-b) ** 2 + (-b) ** 3.0", 0.0, 0.5, 0.125, (0.0, 0.25)),
    "branch-guards-sqrt": ("(ti.sqrt(a) if a > 0.0 else b * a)", 0.0, 2.0, 0.0, (2.0, 0.0)),
    "norm-with-eps-at-0": ("ti.Vector([a, a]).norm(0.25)", 0.0, 1.0, 0.5, (0.0, 0.0)),
    "tanh-far-out": ("ti.tanh(400.0 * b)", 0.0, 1.0, 1.0, (0.0, 0.0)),
    "floor-at-a-whole-number": ("ti.floor(a) * b", 2.0, 3.0, 6.0, (0.0, 2.0)),
    "clamp-at-its-edge": ("ti.math.clamp(a, -1.0, 1.0)", 2.0, 1.0, 1.0, (0.0, 0.0)),
}

POINT_PROGRAM = """
import taichi as ti
import numpy as np
import diffsim as ds


class Points(ds.Simulator):
    def __init__(self, a, b):
        self.a, self.b = ds.Param(a), ds.Param(b)
        self.f = ds.Scratch(ds.real, {count})

    @ti.kernel
    def points(self, t: ti.i32):
        for _ in range(1):
{lines}
        for i in range({count}):
            self.cost[None] += self.f[t, i]

    def step(self, t):
        self.points(t)
"""


@pytest.fixture(scope="module")
def points(runtime, tmp_path_factory):
    lines = [
        f"            self.f[t, {k}] = " + re.sub(r"\b([ab])\b", rf"self.\1[{k}]", expression)
        for k, (expression, *_) in enumerate(POINTS.values())
    ]
    text = POINT_PROGRAM.format(count=len(POINTS), lines="\n".join(lines))
    module = load(text, tmp_path_factory.mktemp("points"))
    simulator = module.Points(*(np.array([point[k] for point in POINTS.values()]) for k in (1, 2)))
    rollout = ds.Rollout(simulator, steps=1, mode="step")
    return rollout.trajectory(simulator.f)[0], rollout.value_and_grad()[1]


@pytest.mark.parametrize("name", POINTS, ids=lambda name: f"D-at-{name}")
def test_special_point(points, name):
    values, gradients = points
    k = list(POINTS).index(name)
    _, _, _, value, slopes = POINTS[name]
    assert values[k] == pytest.approx(value, rel=1e-14, abs=1e-14)
    assert (gradients["a"][k], gradients["b"][k]) == pytest.approx(slopes, rel=1e-14, abs=0.0)


# ---- many functions in one kernel, which runs on Taichi's own fields too ----

MIXED = """
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
    """Return a module with one kernel of all MIXED."""
    lines = [f"            self.f[t, {k}, i] = {text}  # diffsim: allow CUT" for k, text in enumerate(MIXED)]
    return load(TABLE.format(lines="\n".join(lines)), tmp_path_factory.mktemp("mixed"))


def test_functions_have_taichis_values_and_right_gradients(table):
    sim = table.Table(len(MIXED))
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
    for k, text in enumerate(MIXED):
        np.testing.assert_allclose(found[k], want[k], rtol=1e-12, atol=1e-13, err_msg=text)
    assert_slopes(rollout, ["a", "b", "v", "q", "m", "h"])
