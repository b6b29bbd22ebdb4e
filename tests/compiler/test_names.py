"""Small functions of Taichi, unbound methods, plain Python and lambdas in kernels."""

import numpy as np
import pytest
from fuzz.checks import load

import diffsim as ds

HEAD = """
import functools
import math
import numpy as np
import taichi as ti
import taichi.math as tm
import diffsim as ds

K = 3
square = lambda x: x * x
both = {"first": lambda x: x + 1.0, "second": lambda x: x - 1.0}


def poly(x, n=2):
    return x**n + 1.0


def clipped(x):
    y = x
    if x > 0.5:
        y = 0.5 * x
    return y


def some(n):
    return range(1, n)


triple = functools.partial(poly, n=3)

"""
PLAIN = """
a, b, n = ti.field(ti.f64, ()), ti.field(ti.f64, ()), ti.field(ti.i32, ())
v, w, m = ti.Vector.field(3, ti.f64, ()), ti.Vector.field(3, ti.f64, ()), ti.Matrix.field(3, 3, ti.f64, ())
found = ti.field(ti.f64, ROWS)


@ti.kernel
def run():
    for _ in range(1):
        A, B, V, W, M, N = a[None], b[None], v[None], w[None], m[None], n[None]
BODY


class Program:
    fields, found, run = {"a": a, "b": b, "v": v, "w": w, "m": m, "n": n}, found, staticmethod(run)
"""
OURS = """
class Program(ds.Simulator):
    def __init__(self):
        self.x = ds.State(ds.real, 1)
        self.a, self.b = ds.Param(0.7), ds.Param(1.3)
        self.v, self.w, self.m = (ds.Param(ds.vec3), ds.Param(ds.vec3), ds.Param(ds.mat3))
        self.n = ds.Constant(3)
        self.found = ds.Scratch(ds.real, ROWS)

    @ti.kernel
    def run(self, t: ti.i32):
        for _ in range(1):
            A, B, V, W, M, N = (
                self.a[None], self.b[None], self.v[None], self.w[None], self.m[None], self.n[None]
            )
            ti.static_print(K, A)
BODY

    @ti.kernel
    def total(self, t: ti.i32):
        for i in range(ROWS):
            self.cost[None] += (1.0 + 0.3 * ti.sin(3.0 * i)) * self.found[t, i]

    def step(self, t):
        self.run(t)

    def running_cost(self, t):
        self.total(t)
"""
VALUES = {"a": 0.7, "b": 1.3, "v": [0.4, 0.9, 0.3], "w": [-1.2, 0.9, 0.4], "n": 3}
VALUES["m"] = [[0.3, -0.5, 0.6], [0.4, 1.1, -0.9], [0.2, 0.8, 0.7]]


# what Taichi runs too: numbers, vectors of three, matrices of three by three, and statements
SAME = {
    (): """
    ti.one(N) / 2 + ti.zero(A) ; ti.Vector.dot(V, W) ; ti.Vector.norm(V) + ti.Matrix.trace(M) ; bool(N) * A
    ti.raw_div(-7, N) * A ; ti.raw_div(A, N) ; ti.raw_mod(-7, N) * A ; ti.bit_shr(N - 15, 28) * A ; square(A)
    ti.bit_cast(N, ti.u32) * A ; ti.assume_in_range(N, 0, 0, 10) * A ; tm.clz(N) * A ; V.get_shape()[0] * A
    sum([A, B, 1.0]) ; poly(A) + poly(B, 3) + poly(A, n=3) ; triple(B) ; V.st.sum() ; {"k": 2.0}["k"] * A
    """,
    (3,): """
    ti.zero(V) + ti.one(V) * A ; ti.Vector.unit(3, 1) ; ti.Vector.unit(3, 2, ti.f64) * A
    ti.Matrix.cross(V, W) ; ti.Vector.normalized(V) ; ti.Vector.zero(dt=ti.f64, n=3) + V
    ti.Vector.one(float, 3) * A
    ti.Vector([V[i] * W[j] for i in range(2) for j in range(2) if i <= j])
    ti.Vector([0.0] * 2 + [A])
    ti.Vector([1, 2, 3]).cast(float) * A ; ti.floor(V * 3, ti.i32) * A ; ti.round(W * 2, int) / 4 * B
    ti.ceil(V, dtype=ti.f64) * A ; tm.refract(tm.normalize(V), tm.normalize(W), 0.9)
    ti.types.vector(3, float)(A, B, 1.0)
    """,
    (3, 3): """
    ti.Matrix.diag(3, A) ; ti.Matrix.diag(dim=3, val=B) ; ti.Matrix.transpose(M) ; ti.Matrix.inverse(M)
    ti.Vector.outer_product(V, W) ; ti.Matrix.identity(dt=float, n=3) * A ; ti.Matrix.zero(float, 3, 3) + M
    ti.Matrix.cols([V, W, V]) ; ti.Matrix.rows([V, W, V]) ; ti.Matrix([[A * i] * 3 for i in range(3)])
    """,
}
STATEMENTS = {
    "out = V; out.xy += ti.Vector([A, B]); out.yx *= B; out.z -= A": (3,),
    "x, y = A, B; x, y = y, x; out = x - 2 * y": (),
    "out = 0.0\nfor k in range(N):\n    if (y := A * k) > 1.0:\n        out += y": (),
    "ti.static_assert(K == 3); assert 1 < N <= 3 < 5, f'{N} of {K}'; out = A": (),
}
# what it does not run, or otherwise, and what it is
MORE = """
ti.Vector.cast(ds.stop_gradient(V * 3), ti.i32).sum() * A = np.trunc(V * 3).sum() * A
ti.Vector.unit(K, 1, ds.real)[1] * A = A
(ti.Matrix.zero(ds.real, 3, 3) + M).sum() = M.sum() ; ti.Matrix.identity(ds.real, 3).sum() * A = 3 * A
ti.raw_mod(-B, A) = np.fmod(-B, A) ; math.atan(A) + math.hypot(A, B) = np.arctan(A) + np.hypot(A, B)
math.cosh(A) + math.sinh(B) = np.cosh(A) + np.sinh(B)
math.log2(A) + math.log1p(B) = np.log2(A) + np.log1p(B)
math.degrees(A) + math.fabs(-B) = np.degrees(A) + B ; math.fmod(-B, A) = np.fmod(-B, A)
clipped(A) + clipped(0.1 * A) = 0.5 * A + 0.1 * A ; (lambda x: x * x + B)(A) = A * A + B
both["first"](A) * both["second"](B) = (A + 1) * (B - 1) ; [x * y for x, y in zip(V, W)][1] = V[1] * W[1]
sum(V) + sum(M).x = V.sum() + M.sum(0)[0] ; (N is not None) * A = A ; math.trunc(-1.5 * B) * A = -A
f"{K:02d}-{'b'!r}" == "03-'b'" and A = A ; np.clip(A, 0.0, 0.5) + np.maximum(A, B) = 0.5 + B
"""


def split(text):
    return [part.strip() for line in text.strip().splitlines() for part in line.split(" ; ")]


def load_program(bodies, form, folder, name):
    """Return a program that computes bodies one after the other, each with names of its own."""
    target, indent = ("self.found[t, {}]", 12) if form is OURS else ("found[{}]", 8)
    lines, row = [], 0
    for body, shape in bodies:
        lines += ["if N > 0:", *("    " + part for part in body.replace("; ", "\n").splitlines())]
        for index in np.ndindex(shape):
            at = f"[{', '.join(map(str, index))}]" if index else ""
            lines.append(f"    {target.format(row)} = out{at}")
            row += 1
    text = "\n".join(" " * indent + line for line in lines)
    return load(HEAD + form.replace("BODY", text).replace("ROWS", str(row)), folder, name)


def test_small_functions_have_taichis_values_and_right_gradients(runtime, tmp_path):
    bodies = [(f"out = {e}", shape) for shape, text in SAME.items() for e in split(text)]
    bodies += STATEMENTS.items()
    pairs = [pair.split(" = ", 1) for pair in split(MORE)]
    plain = load_program(bodies, PLAIN, tmp_path, "plain")
    for name, field in plain.fields.items():
        field.from_numpy(np.array(VALUES[name]))
    plain.run()
    names = {name.upper(): np.array(value) for name, value in VALUES.items()}
    want = [*plain.found.to_numpy(), *(eval(known, {"np": np, **names}) for _, known in pairs)]
    sim = load_program([*bodies, *((f"out = {e}", ()) for e, _ in pairs)], OURS, tmp_path, "ours")
    for name in "abvwm":
        getattr(sim, name).set(VALUES[name])
    rollout = ds.Rollout(sim, steps=1)
    told = [body for body, shape in bodies for _ in np.ndindex(shape)] + [e for e, _ in pairs]
    for text, x, y in zip(told, rollout.trajectory(sim.found)[0], want, strict=True):
        assert x == pytest.approx(y, rel=1e-9, abs=1e-12), text
    report = rollout.check_grad(directions=2, modes=False)
    assert report.passed, report
    assert "static_print: 3 A" in str(rollout.explain())
    rollout.close()
