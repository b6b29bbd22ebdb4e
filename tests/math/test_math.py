"""ds.math: values and slopes of its scalar and vector functions, at ordinary points and at singular ones."""

import math

import numpy as np
import pytest
import taichi as ti

import diffsim as ds

POINTS = 8
ONE = ["sqrt", "asin", "acos", "step", "clamp", "smooth_clamp", "smooth_step"]
TWO = ["safe_div", "atan2", "pow", "max", "min", "smooth_max", "smooth_min"]
ROW = {name: k for k, name in enumerate(ONE + TWO)}
WIDTH = 0.25


class Functions(ds.Simulator):
    """Row k of `f` is function k of row k of `x` and `y`."""

    def __init__(self):
        shape = (len(ROW), POINTS)
        self.x, self.y = ds.Param(ds.real, *shape), ds.Param(ds.real, *shape)
        self.v = ds.Param(ds.vec3, 4)
        self.f = ds.State(ds.real, *shape)
        self.g = ds.State(ds.vec3, 4)
        self.h = ds.State(ds.real, 4)
        self.weights = ds.Constant(np.array([0.3, -0.8, 1.1]))

    @ti.kernel
    def apply(self, t: ti.i32):
        for i in range(POINTS):
            self.f[t + 1, 0, i] = ds.math.sqrt(self.x[0, i])
            self.f[t + 1, 1, i] = ds.math.asin(self.x[1, i])
            self.f[t + 1, 2, i] = ds.math.acos(self.x[2, i])
            self.f[t + 1, 3, i] = ds.math.step(0.5, self.x[3, i])
            self.f[t + 1, 4, i] = ds.math.clamp(self.x[4, i], -1.0, 1.0)
            self.f[t + 1, 5, i] = ds.math.smooth_clamp(self.x[5, i], -1.0, 1.0, WIDTH)
            self.f[t + 1, 6, i] = ds.math.smooth_step(-1.0, 1.0, self.x[6, i])
            self.f[t + 1, 7, i] = ds.math.safe_div(self.x[7, i], self.y[7, i])
            self.f[t + 1, 8, i] = ds.math.atan2(self.x[8, i], self.y[8, i])
            self.f[t + 1, 9, i] = ds.math.pow(self.x[9, i], self.y[9, i])
            self.f[t + 1, 10, i] = ds.math.max(self.x[10, i], self.y[10, i])
            self.f[t + 1, 11, i] = ds.math.min(self.x[11, i], self.y[11, i])
            self.f[t + 1, 12, i] = ds.math.smooth_max(self.x[12, i], self.y[12, i], WIDTH)
            self.f[t + 1, 13, i] = ds.math.smooth_min(self.x[13, i], self.y[13, i], WIDTH)

    @ti.kernel
    def lengths(self, t: ti.i32):
        for i in range(1):
            self.h[t + 1, 0] = ds.math.norm(self.v[0])
            self.h[t + 1, 1] = self.v[1].norm()  # Taichi's own names have the same gradients
            self.h[t + 1, 2] = ti.math.length(self.v[2]) + ti.math.distance(self.v[2], 0.5 * self.v[2])
            self.h[t + 1, 3] = self.v[3].norm(1e-4)
            self.g[t + 1, 0] = ds.math.normalized(self.v[0])
            self.g[t + 1, 1] = self.v[1].normalized(1e-3)
            self.g[t + 1, 2] = self.v[2] / (self.v[2].norm() + 0.5)
            self.g[t + 1, 3] = self.v[3] * self.v[3].norm_inv(1e-4)

    @ti.kernel
    def add(self, t: ti.i32):
        for k, i in self.x:
            self.cost[None] += self.f[t + 1, k, i]
        for i in range(4):
            self.cost[None] += self.h[t + 1, i]
            for d in ti.static(range(3)):
                self.cost[None] += self.weights[d] * self.g[t + 1, i][d]

    def step(self, t):
        self.apply(t)
        self.lengths(t)

    def running_cost(self, t):
        self.add(t)


@pytest.fixture(scope="module")
def rollout(runtime):
    made = ds.Rollout(Functions(), 1)
    made.sim.v.set(np.ones((4, 3)))
    yield made
    made.close()


def measured(rollout, x, y):
    """Return values and both slopes of all functions."""
    rollout.sim.x.set(x)
    rollout.sim.y.set(y)
    _, grads = rollout.value_and_grad(["x", "y"])
    return np.array(rollout.trajectory(rollout.sim.f)[-1]), grads["x"], grads["y"]


def filled(**rows):
    """Return points for all functions, ordinary ones where nothing else is said."""
    x, y = np.full((len(ROW), POINTS), 0.3), np.full((len(ROW), POINTS), 0.7)
    for name, (a, b) in rows.items():
        x[ROW[name], : len(a)] = a
        y[ROW[name], : len(a)] = b
    return x, y


def smooth_max(a, b):
    d = a - b
    return np.where(np.abs(d) < WIDTH, (a + b) / 2 + (d * d + WIDTH * WIDTH) / (4 * WIDTH), np.maximum(a, b))


REFERENCE = {
    "sqrt": lambda x, y: np.sqrt(x),
    "asin": lambda x, y: np.arcsin(x),
    "acos": lambda x, y: np.arccos(x),
    "step": lambda x, y: (x >= 0.5) * 1.0,
    "clamp": lambda x, y: np.clip(x, -1, 1),
    "smooth_clamp": lambda x, y: -smooth_max(-smooth_max(x, -1.0), -1.0),
    "smooth_step": lambda x, y: (s := np.clip((x + 1) / 2, 0, 1)) * s * (3 - 2 * s),
    "safe_div": lambda x, y: x / y,
    "atan2": lambda x, y: np.arctan2(x, y),
    "pow": lambda x, y: x**y,
    "max": lambda x, y: np.maximum(x, y),
    "min": lambda x, y: np.minimum(x, y),
    "smooth_max": lambda x, y: smooth_max(x, y),
    "smooth_min": lambda x, y: -smooth_max(-x, -y),
}


def ordinary(seed):
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(-1.6, 1.6, size=(2, len(ROW), POINTS))
    x[ROW["sqrt"]] = np.abs(x[ROW["sqrt"]]) + 0.1
    x[[ROW["asin"], ROW["acos"]]] /= 1.7
    x[ROW["pow"]] = np.abs(x[ROW["pow"]]) + 0.1
    y[ROW["smooth_max"]] = x[ROW["smooth_max"]] + 0.3 * y[ROW["smooth_max"]]
    y[ROW["smooth_min"]] = x[ROW["smooth_min"]] + 0.3 * y[ROW["smooth_min"]]
    return x, y


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_values_and_slopes_at_ordinary_points(rollout, seed):
    x, y = ordinary(seed)
    f, fx, fy = measured(rollout, x, y)
    h = 1e-6
    for name, k in ROW.items():
        reference = REFERENCE[name]
        np.testing.assert_allclose(f[k], reference(x[k], y[k]), rtol=1e-13, atol=1e-14, err_msg=name)
        for got, p, q in ((fx, h, 0.0), (fy, 0.0, h)):
            ends = [reference(x[k] + s * p, y[k] + s * q) for s in (1, -1)]
            np.testing.assert_allclose(
                got[k], (ends[0] - ends[1]) / (2 * h), rtol=1e-6, atol=1e-7, err_msg=name
            )


SINGULAR = [  # function, x, y, value, slope of x, slope of y
    ("sqrt", 0.0, 0.0, 0.0, 0.0, 0.0),
    ("sqrt", -1.0, 0.0, 0.0, 0.0, 0.0),
    ("sqrt", 1e-300, 0.0, 1e-150, 5e149, 0.0),
    ("asin", 1.0, 0.0, math.pi / 2, 0.0, 0.0),
    ("asin", -1.5, 0.0, -math.pi / 2, 0.0, 0.0),
    ("acos", 1.0, 0.0, 0.0, 0.0, 0.0),
    ("acos", -1.0, 0.0, math.pi, 0.0, 0.0),
    ("acos", 2.0, 0.0, 0.0, 0.0, 0.0),
    ("step", 0.5, 0.0, 1.0, 0.0, 0.0),
    ("clamp", 1.0, 0.0, 1.0, 1.0, 0.0),
    ("clamp", -1.0, 0.0, -1.0, 1.0, 0.0),
    ("clamp", 1.5, 0.0, 1.0, 0.0, 0.0),
    ("smooth_clamp", -1.0, 0.0, -1.0 + WIDTH / 4, 0.5, 0.0),
    ("smooth_step", -1.0, 0.0, 0.0, 0.0, 0.0),
    ("smooth_step", 1.0, 0.0, 1.0, 0.0, 0.0),
    ("safe_div", 0.5, 0.0, 0.0, 0.0, 0.0),
    ("safe_div", 0.0, 0.0, 0.0, 0.0, 0.0),
    ("safe_div", 0.0, 2.0, 0.0, 0.5, 0.0),
    ("atan2", 0.0, 0.0, 0.0, 0.0, 0.0),
    ("atan2", 0.0, -1.0, math.pi, -1.0, 0.0),
    ("atan2", 3e-200, 4e-200, math.atan2(3, 4), 1.6e199, -1.2e199),
    ("pow", 0.0, 0.5, 0.0, 0.0, 0.0),
    ("pow", 0.0, 1.0, 0.0, 1.0, 0.0),
    ("pow", 0.0, 2.0, 0.0, 0.0, 0.0),
    ("pow", 0.0, 0.0, 1.0, 0.0, 0.0),
    ("pow", -2.0, 3.0, -8.0, 12.0, 0.0),
    ("max", 0.4, 0.4, 0.4, 0.5, 0.5),
    ("min", 0.4, 0.4, 0.4, 0.5, 0.5),
    ("smooth_max", 0.4, 0.4, 0.4 + WIDTH / 4, 0.5, 0.5),
    ("smooth_min", 0.4, 0.4, 0.4 - WIDTH / 4, 0.5, 0.5),
    ("smooth_max", 0.4, 0.4 - WIDTH, 0.4, 1.0, 0.0),
]


def test_values_and_slopes_at_singular_points(rollout):
    rows = {}
    for name, a, b, *_ in SINGULAR:
        xs, ys = rows.setdefault(name, ([], []))
        xs.append(a)
        ys.append(b)
    found = measured(rollout, *filled(**rows))
    seen = dict.fromkeys(rows, 0)
    for name, a, b, *wanted in SINGULAR:
        got = [part[ROW[name], seen[name]] for part in found]
        seen[name] += 1
        np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-14, err_msg=f"{name}({a}, {b})")


def gradient_of_lengths(rollout, v):
    rollout.sim.v.set(v)
    return rollout.value_and_grad(["v"])[1]["v"]


def test_lengths_and_directions_at_ordinary_vectors(rollout):
    v = np.random.default_rng(3).normal(size=(4, 3))
    c = rollout.sim.weights.numpy()

    def cost(v):
        n, r = np.linalg.norm(v, axis=1), np.sqrt(np.sum(v[3] ** 2) + 1e-4)
        h = n[0] + n[1] + 1.5 * n[2] + r
        return h + c @ (v[0] / n[0] + v[1] / (n[1] + 1e-3) + v[2] / (n[2] + 0.5) + v[3] / r)

    rollout.sim.x.set(filled()[0])
    before = rollout.sim.v.numpy()
    got = gradient_of_lengths(rollout, v)
    for index in np.ndindex(4, 3):
        d = np.zeros((4, 3))
        d[index] = 1e-6
        np.testing.assert_allclose(got[index], (cost(v + d) - cost(v - d)) / 2e-6, rtol=1e-7, atol=1e-8)
    rollout.sim.v.set(before)


def test_lengths_and_directions_of_the_zero_vector(rollout):
    rollout.sim.x.set(filled()[0])
    got = gradient_of_lengths(rollout, np.zeros((4, 3)))
    weights = rollout.sim.weights.numpy()
    np.testing.assert_array_equal(rollout.trajectory(rollout.sim.h)[-1], [0.0, 0.0, 0.0, 1e-2])
    np.testing.assert_array_equal(rollout.trajectory(rollout.sim.g)[-1], np.zeros((4, 3)))
    np.testing.assert_array_equal(got[0], np.zeros(3))
    np.testing.assert_allclose(got[1], 1e3 * weights)
    np.testing.assert_allclose(got[2], 2.0 * weights)
    np.testing.assert_allclose(got[3], 1e2 * weights)
    rollout.sim.v.set(np.ones((4, 3)))


def test_functions_work_in_plain_taichi_kernels(runtime):
    @ti.kernel
    def plain(out: ti.types.ndarray()):
        A = ti.Matrix([[2.0, 1.0, 0.3], [0.5, -3.0, 0.2], [0.1, 0.7, 1.0]])
        for i in range(1):
            U, S, V = ds.math.svd3(A)
            R, P = ds.math.polar3(A)
            values, Q = ds.math.eigh3(A)
            error = U @ S @ V.transpose() - A
            error += R @ P - A
            x = ds.math.solve(A, ti.Vector([1.0, 2.0, 3.0]))
            out[0] = ti.abs(error).max() + ti.abs(A @ x - ti.Vector([1.0, 2.0, 3.0])).max()
            out[1] = ds.math.norm(ti.Vector([0.0, 0.0])) + ds.math.safe_div(1.0, 0.0) + ds.math.sqrt(-1.0)
            out[2] = ds.math.smooth_max(0.5, 0.5, WIDTH) + values[0]
            H = Q.transpose() @ (0.5 * (A + A.transpose())) @ Q
            out[3] = ti.abs(H[0, 1]) + ti.abs(H[0, 2]) + ti.abs(H[1, 2])

    out = np.ones(4)
    plain(out)
    A = np.array([[2.0, 1.0, 0.3], [0.5, -3.0, 0.2], [0.1, 0.7, 1.0]])
    smallest = np.linalg.eigvalsh((A + A.T) / 2)[0]
    np.testing.assert_allclose(out, [0.0, 0.0, 0.5 + WIDTH / 4 + smallest, 0.0], atol=1e-14)
