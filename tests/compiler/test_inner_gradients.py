"""`ds.grad`: gradients of functions inside kernels, held to formulas, to differences and to known motions."""

from typing import Any

import numpy as np
import pytest
import taichi as ti

import diffsim as ds
from diffsim.grad import GradientReport

STARTS = np.array([[0.3, -0.8], [1.1, 0.6]])
WEIGHTS = np.array([[0.7, -0.4], [0.2, 0.9], [-0.5, 0.3], [1.1, 0.1]])
LAST = np.array([0.6, -0.8, 0.5, 0.9])


@ti.dataclass
class Pair:
    a: ti.f64
    v: ti.types.vector(2, ti.f64)


@ti.func
def well(x, depth):
    return depth * ti.exp(-x * x) + 0.25 * x**4


slope = ds.grad(well, argnums=0)
curvature = ds.grad(slope, argnums=0)


class Inner(ds.Simulator):
    """Each step writes in `out` the gradient that is asked for; functions below as Python computes them."""

    def __init__(self, what: str) -> None:
        self.x, self.out = ds.State(ds.vec2, 2, init=STARTS), ds.Scratch(ds.vec2, 2)
        self.w, self.last, self.count = ds.Param(WEIGHTS), ds.Param(LAST), len(LAST)
        self.what, self.of_net = what, ds.grad(self.net)

    @ti.func
    def net(self, x):
        total = 0.0
        for j in range(self.count):
            total += self.last[j] * ti.tanh(self.w[j, 0] * x[0] + self.w[j, 1] * x[1])
        return total

    @ti.func
    def chain(self, x, gain: ti.template()):  # carries what an adjoint would need a tape for
        y = x[0]
        for j in range(self.count):
            y = ti.sin(y * self.last[j]) + gain * x[1] * y * y
            if y > 0.2:
                y = 0.5 * y
        return y

    @ti.func
    def first(self, x):
        return ds.grad(self.chain, argnums=[0])(x, gain=0.3)[0][0]

    @ti.func
    def pair(self, p):
        return p.a**3 * p.v[0] + ti.sin(p.v[1] * p.a)

    @ti.func
    def singular(self, F):
        _U, S, _V = ti.svd(F)
        return S[0, 0] ** 3 + ti.log(2.0 * S[1, 1]) + F.inverse()[0, 1]

    @ti.kernel
    def compute(self, t: ti.i32):
        for i in range(2):
            x = self.x[t, i]
            if ti.static(self.what == "net"):
                self.out[t, i] += self.of_net(x)
            elif ti.static(self.what == "chain"):
                self.out[t, i] += ds.grad(self.chain, argnums=0)(x, 0.3)
            elif ti.static(self.what == "nested"):
                self.out[t, i] += ds.grad(self.first)(x)
            elif ti.static(self.what == "newton"):
                y = x[0]
                for _ in range(8):
                    y -= slope(y, self.last[0]) / curvature(y, self.last[0])
                by_x, by_depth = ds.grad(well)(x[1], self.last[2])
                self.out[t, i] += ti.Vector([y, by_x * by_depth])
            elif ti.static(self.what == "struct"):
                g = ds.grad(self.pair)(Pair(a=x[0], v=self.last[0] * x))
                self.out[t, i] += g.v * g.a
            else:
                F = ti.Matrix([[1.3 + 0.1 * x[0], 0.2 * x[1]], [0.3 * self.last[0], 0.8 - 0.1 * x[1]]])
                self.out[t, i] += ds.grad(self.singular)(F) @ ti.Vector([1.0, 2.0])

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(2):
            self.x[t + 1, i] = self.x[t, i] - 0.1 * self.out[t, i]

    @ti.kernel
    def measure(self, t: ti.i32):
        for i in range(2):
            self.cost[None] += self.x[t, i].dot(self.x[t, i]) + self.x[t, i][0]

    def step(self, t: Any) -> None:
        self.compute(t)
        self.move(t)

    def terminal_cost(self, t: Any) -> None:
        self.measure(t)


def chain(x: Any) -> float:
    y = x[0]
    for weight in LAST:
        y = np.sin(y * weight) + 0.3 * x[1] * y * y
        y = 0.5 * y if y > 0.2 else y
    return y


def differences(f: Any, x: Any, h: float = 1e-5) -> Any:
    x = np.asarray(x, float)
    steps = h * np.eye(x.size).reshape(x.size, *x.shape)
    return np.reshape([(f(x + d) - f(x - d)) / (2 * h) for d in steps], x.shape)


def newton(x: float) -> float:
    for _ in range(8):
        e = LAST[0] * np.exp(-x * x)
        x -= (x**3 - 2 * x * e) / (3 * x * x + (4 * x * x - 2) * e)
    return x


def singular(F: Any) -> float:
    S = np.linalg.svd(F, compute_uv=False)
    return S[0] ** 3 + np.log(2 * S[1]) + np.linalg.inv(F)[0, 1]


def of_pair(x: Any) -> Any:
    g = differences(lambda p: p[0] ** 3 * p[1] + np.sin(p[2] * p[0]), [x[0], *(LAST[0] * x)])
    return g[1:] * g[0]


def of_singular(x: Any) -> Any:
    F = [[1.3 + 0.1 * x[0], 0.2 * x[1]], [0.3 * LAST[0], 0.8 - 0.1 * x[1]]]
    return differences(singular, F) @ [1.0, 2.0]


WANTED = {
    "net": lambda x: LAST * (1 - np.tanh(WEIGHTS @ x) ** 2) @ WEIGHTS,
    "chain": lambda x: differences(chain, x),
    "nested": lambda x: differences(lambda y: differences(chain, y, 1e-4)[0], x, 1e-4),
    "newton": lambda x: [
        newton(x[0]),
        (x[1] ** 3 - 2 * x[1] * LAST[2] * np.exp(-(x[1] ** 2))) * np.exp(-(x[1] ** 2)),
    ],
    "struct": of_pair,
    "svd": of_singular,
}


@pytest.mark.parametrize("what", WANTED)
def test_inner_gradients_and_theirs(runtime: Any, what: str) -> None:
    sim = Inner(what)
    rollout = ds.Rollout(sim, steps=2, mode="step")
    report = rollout.check_grad(wrt=[sim.x, sim.last] + [sim.w] * (what == "net"), directions=2)
    assert isinstance(report, GradientReport)
    assert report.passed, report
    assert report.verdict == "right", report
    want = [WANTED[what](x) for x in STARTS]
    tolerance = 1e-5 if what == "nested" else 1e-8
    np.testing.assert_allclose(rollout.trajectory(sim.out)[0], want, rtol=tolerance, atol=tolerance)


# ---- mechanics from its energy alone ----


class Pendulum(ds.Simulator):
    """A double pendulum of unit masses and lengths: H(q, p), and nothing derived by hand.

    Gauss-Legendre of order 2, the implicit midpoint: 12 fixed-point iterations.
    """

    def __init__(self, dt: float = 0.02) -> None:
        self.q, self.p = ds.State(ds.vec2, init=[1.2, -0.4]), ds.State(ds.vec2)
        self.gravity, self.dt = ds.Param(np.array([9.8])), dt

    @ti.func
    def energy(self, q, p):
        c = ti.cos(q[0] - q[1])
        kinetic = (p[0] ** 2 + 2.0 * p[1] ** 2 - 2.0 * c * p[0] * p[1]) / (2.0 * (2.0 - c**2))
        return kinetic - self.gravity[0] * (2.0 * ti.cos(q[0]) + ti.cos(q[1]))

    @ti.kernel
    def move(self, t: ti.i32):
        for _ in range(1):
            q, p = self.q[t], self.p[t]
            for _ in range(12):
                by_q, by_p = ds.grad(self.energy)(q, p)
                q, p = self.q[t] + 0.5 * self.dt * by_p, self.p[t] - 0.5 * self.dt * by_q
            self.q[t + 1], self.p[t + 1] = 2.0 * q - self.q[t], 2.0 * p - self.p[t]

    @ti.kernel
    def reach(self, t: ti.i32):
        for _ in range(1):
            self.cost[None] += self.q[t][0] + ti.sin(self.q[t][1])

    def step(self, t: Any) -> None:
        self.move(t)

    def terminal_cost(self, t: Any) -> None:
        self.reach(t)


def total(q: Any, p: Any) -> Any:
    c = np.cos(q[..., 0] - q[..., 1])
    kinetic = p[..., 0] ** 2 + 2 * p[..., 1] ** 2 - 2 * c * p[..., 0] * p[..., 1]
    return kinetic / (4 - 2 * c**2) - 9.8 * (2 * np.cos(q[..., 0]) + np.cos(q[..., 1]))


@pytest.mark.compilers
def test_a_pendulum_keeps_its_energy(runtime: Any) -> None:
    sim = Pendulum()
    rollout = ds.Rollout(sim, steps=100)
    rollout.value()
    q, p = rollout.trajectory(sim.q), rollout.trajectory(sim.p)
    energies = total(q, p)
    assert np.abs(q).max() > 1.3  # it swings through
    assert np.abs(energies - energies[0]).max() < 0.03  # and does not drift: it is symplectic
    assert np.abs(energies[::10] - energies[0]).mean() < 0.015
    by_q = differences(lambda q: total(q, 0.5 * (p[0] + p[1])), 0.5 * (q[0] + q[1]))
    np.testing.assert_allclose((p[1] - p[0]) / sim.dt, -by_q, rtol=1e-7)
    short = ds.Rollout(sim, steps=20, window=7, mode="fused")
    report = short.check_grad(wrt=[sim.q, sim.p, sim.gravity], directions=2)
    assert report.verdict == "right", report


# ---- what is refused ----


class Refused(ds.Simulator):
    def __init__(self, call: Any) -> None:
        self.x, self.s, self.n = ds.State(ds.vec2, 1, init=1.0), ds.Scratch(ds.real, 1), 3
        self.derivative = call(self)

    @ti.func
    def square(self, x, n):
        return x.dot(x) * n

    @ti.func
    def double(self, x, n):
        return 2.0 * x

    @ti.func
    def nothing(self, x, n):
        x += 1.0

    @ti.func
    def write(self, x, n: ti.template()):
        self.s[n, 0] = x[0]
        return x[0]

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(1):
            self.x[t + 1, i] = self.x[t, i] + self.derivative(self.x[t, i], t)

    def step(self, t: Any) -> None:
        self.move(t)


IN_KERNELS = {
    "got a function that returns several; return": lambda s: ds.grad(s.double),
    "returns nothing": lambda s: ds.grad(s.nothing),
    "write to Scratch s": lambda s: ds.grad(s.write),
    "call the inner ds.grad": lambda s: ds.grad(ds.grad(s.square)),
    "argument of the function, got argnums 2": lambda s: ds.grad(s.square, argnums=2),
    "got argument 1": lambda s: ds.grad(s.square, argnums=1),
}
BY_HAND = {
    "must get a @ti.func, got 3": lambda s: ds.grad(3),
    "of a kernel, ds.gradient_of": lambda s: ds.grad(s.move),
    "argnums must be an integer": lambda s: ds.grad(s.square, argnums=-1),
    "each argument once": lambda s: ds.grad(s.square, argnums=(0, 0)),
    "called in a kernel": lambda s: ds.grad(s.square)(1.0, 2),
}


@pytest.mark.parametrize("message", [*IN_KERNELS, *BY_HAND])
def test_what_has_no_gradient_is_refused(runtime: Any, message: str) -> None:
    kind = ds.TraceError if message in IN_KERNELS else (ds.ConfigError, ds.StateError)
    with pytest.raises(kind, match=message):
        ds.Rollout(Refused({**IN_KERNELS, **BY_HAND}[message]), steps=2)
