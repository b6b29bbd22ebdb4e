"""Adjoints that a user writes, for functions and for kernels: used as they are, checked like any other."""

import numpy as np
import pytest
import taichi as ti

import diffsim as ds
from diffsim.errors import ConfigError, TraceError

N = 4


@ti.func
def cube(x):
    return x * x * x


@ds.adjoint_of(cube)
@ti.func
def cube_adjoint(x, y, y_adj):
    return 3.0 * x * x * y_adj


@ti.func
def straight_through(x):
    """Round, with the slope of the identity: what no derivation could give."""
    return ti.floor(x + 0.5)


@ds.adjoint_of(straight_through)
@ti.func
def straight_through_adjoint(x, y, y_adj):
    return y_adj


@ti.func
def polar(r, angle, scale: ti.template()):
    return scale * r * ti.cos(angle), ti.Vector([r, angle * r])


@ds.adjoint_of(polar)
@ti.func
def polar_adjoint(r, angle, scale: ti.template(), x, v, x_adj, v_adj):
    r_adj = scale * ti.cos(angle) * x_adj + v_adj[0] + angle * v_adj[1]
    return r_adj, -scale * r * ti.sin(angle) * x_adj + r * v_adj[1]


@ti.func
def root(a):
    """Newton's square root, in a loop that its adjoint need not go through."""
    x = 1.0
    for _ in range(30):
        x = 0.5 * (x + a / x)
    return x


@ds.adjoint_of(root)
@ti.func
def root_adjoint(a, x, x_adj):
    return 0.5 * x_adj / x


class Base(ds.Simulator):
    def __init__(self):
        rng = np.random.default_rng(0)
        self.x = ds.State(ds.real, N, init=rng.normal(size=N))
        self.v = ds.State(ds.vec2, N, init=rng.normal(size=(N, 2)))
        self.w = ds.Param(rng.uniform(0.5, 1.5, size=N))
        self.f = ds.Scratch(ds.real, N)

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(N):
            self.x[t + 1, i] = 0.9 * self.x[t, i] + 0.1 * ti.sin(self.f[t, i])
            self.v[t + 1, i] = 0.9 * self.v[t, i] + self.f[t, i] * ti.Vector([0.1, 0.2])

    def step(self, t):
        self.act(t)
        self.move(t)

    @ti.kernel
    def total(self, t: ti.i32):
        for i in range(N):
            self.cost[None] += self.x[t, i] ** 2 + self.v[t, i].norm_sqr() * self.x[t, i]

    def terminal_cost(self, t):
        self.total(t)


class Functions(Base):
    @ti.kernel
    def act(self, t: ti.i32):
        for i in range(N):
            s = 0.0
            for k in range(3):
                x, v = polar(cube(self.x[t, i]) * self.w[k], 0.3 * self.v[t, i][0] + s, 2.0)
                s += 0.1 * x * v[1] + 0.05 * s * v.sum()
                if s > 0.2:
                    s *= root(self.w[i] + cube(2.0))
            self.f[t, i] = s


@pytest.mark.parametrize("mode", ["fused", "step"])
def test_functions(runtime, mode):
    sim = Functions()
    rollout = ds.Rollout(sim, steps=4, mode=mode)
    report = rollout.check_grad(wrt=[sim.x, sim.v, sim.w])
    assert report.passed, report
    story = str(rollout.explain())
    assert "cube keeps the adjoint that was given for it (2 calls)" in story
    rollout.close()


class StraightThrough(Base):
    @ti.kernel
    def act(self, t: ti.i32):
        for i in range(N):
            self.f[t, i] = straight_through(3.0 * self.x[t, i]) * self.w[i]


def test_a_given_adjoint_replaces_the_derived_one(runtime):
    """The slope of the rounded value, known by hand: that of the identity."""
    sim = StraightThrough()
    rollout = ds.Rollout(sim, steps=1)
    _, gradients = rollout.value_and_grad(wrt=[sim.x, sim.w])
    x, v, w = sim.x.numpy(), sim.v.numpy(), sim.w.numpy()
    f = np.floor(3.0 * x + 0.5) * w
    x1, v1 = 0.9 * x + 0.1 * np.sin(f), 0.9 * v + f[:, None] * [0.1, 0.2]
    to_x1 = 2.0 * x1 + np.sum(v1**2, axis=1)
    to_f = to_x1 * 0.1 * np.cos(f) + 2.0 * x1 * (v1 @ [0.1, 0.2])
    np.testing.assert_allclose(gradients["w"], to_f * np.floor(3.0 * x + 0.5), rtol=1e-12)
    np.testing.assert_allclose(gradients["x"], 0.9 * to_x1 + to_f * 3.0 * w, rtol=1e-12)
    rollout.close()


class Kernel(Base):
    """A kernel that stores, adds and carries on, with its adjoint."""

    factor = 1.0

    @ti.kernel
    def act(self, t: ti.i32):
        for i in range(N):
            self.f[t, i] = self.w[i] * self.x[t, i]
        for i in range(N):
            self.f[t, (i + 1) % N] += ti.sin(self.v[t, i][1])

    @ds.adjoint_of(act)
    @ti.kernel
    def act_adjoint(self, t: ti.i32):
        for i in range(N):
            g = self.f.grad[t, (i + 1) % N] * self.factor
            self.v.grad[t, i][1] += ti.cos(self.v[t, i][1]) * g
            self.w.grad[i] += self.x[t, i] * self.f.grad[t, i]
            self.x.grad[t, i] += self.w[i] * self.f.grad[t, i]

    @ti.kernel
    def total(self, t: ti.i32):
        for i in range(N):
            self.cost[None] += self.x[t, i] ** 2 + self.v[t, i].norm_sqr() * self.x[t, i]

    @ds.adjoint_of(total)
    @ti.kernel
    def total_adjoint(self, t: ti.i32):
        for i in range(N):
            self.x.grad[t, i] += self.cost.grad[None] * (2.0 * self.x[t, i] + self.v[t, i].norm_sqr())
            self.v.grad[t, i] += 2.0 * self.v[t, i] * self.x[t, i]


class Planted(Kernel):
    """The same with a fault in the adjoint."""

    factor = 1.01


@pytest.mark.parametrize("mode", ["fused", "step"])
def test_kernels(runtime, mode):
    sim = Kernel()
    rollout = ds.Rollout(sim, steps=6, mode=mode, window=2)
    report = rollout.check_grad(wrt=[sim.x, sim.v, sim.w])
    assert report.passed, report
    assert "given with adjoint_of" in str(rollout.explain())
    rollout.close()


def test_a_fault_in_an_adjoint_is_found(runtime):
    sim = Planted()
    rollout = ds.Rollout(sim, steps=6)
    report = rollout.check_grad(wrt=[sim.x, sim.v, sim.w])
    assert not report.passed
    assert report.verdict == "wrong"
    assert report.worst.key == "v"
    rollout.close()


class Twice(Base):
    """A place that is stored twice: the first value reaches nothing, and its adjoint must be cleared."""

    @ti.kernel
    def first(self, t: ti.i32):
        for i in range(N):
            self.f[t, i] = 5.0 * self.w[i]

    @ti.kernel
    def act(self, t: ti.i32):
        for i in range(N):
            self.f[t, i] = self.w[i] * self.x[t, i]

    @ds.adjoint_of(act)
    @ti.kernel
    def act_adjoint(self, t: ti.i32):
        for i in range(N):
            self.w.grad[i] += self.x[t, i] * self.f.grad[t, i]
            self.x.grad[t, i] += self.w[i] * self.f.grad[t, i]

    def step(self, t):
        self.first(t)
        self.act(t)
        self.move(t)


def test_what_is_overwritten_is_cleared(runtime):
    sim = Twice()
    rollout = ds.Rollout(sim, steps=3)
    assert rollout.check_grad(wrt=[sim.x, sim.w]).passed
    rollout.close()


def test_worlds(runtime):
    """A given adjoint runs in each world."""
    sim = Kernel()
    alone = ds.Rollout(sim, steps=3)
    _, one = alone.value_and_grad()
    many = ds.Rollout(sim, steps=3, worlds=3)
    _, three = many.value_and_grad()
    np.testing.assert_allclose(three["w"], 3.0 * one["w"], rtol=1e-12)
    alone.close(), many.close()


# ---- what is refused ----


@ti.func
def reads(x):
    return x * FIELD[0]


FIELD = ds.Param([1.0])


@ds.adjoint_of(reads)
@ti.func
def reads_adjoint(x, y, y_adj):
    return y_adj


@ti.func
def lost(x, y):
    return x * y


@ds.adjoint_of(lost)
@ti.func
def lost_adjoint(x, y, r, r_adj):
    return r_adj


@ti.func
def short(x):
    return x


@ds.adjoint_of(short)
@ti.func
def short_adjoint(x, r_adj):
    return r_adj


class Reads(Base):
    def __init__(self):
        super().__init__()
        self.table = FIELD

    @ti.kernel
    def act(self, t: ti.i32):
        for i in range(N):
            self.f[t, i] = reads(self.x[t, i])


class Lost(Base):
    @ti.kernel
    def act(self, t: ti.i32):
        for i in range(N):
            self.f[t, i] = lost(self.x[t, i], self.w[i])


class Short(Base):
    @ti.kernel
    def act(self, t: ti.i32):
        for i in range(N):
            self.f[t, i] = short(self.x[t, i])


class WritesValues(Base):
    @ti.kernel
    def act(self, t: ti.i32):
        for i in range(N):
            self.f[t, i] = self.x[t, i]

    @ds.adjoint_of(act)
    @ti.kernel
    def act_adjoint(self, t: ti.i32):
        for i in range(N):
            self.f[t, i] = 0.0


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Reads, r"reads must compute from its arguments only.*ADJOINT\]"),
        (Lost, r"lost_adjoint must return 2 adjoint\(s\), got 1"),
        (Short, r"short_adjoint must take the 1 argument\(s\), the 1 result\(s\) .* got 2 parameters"),
        (WritesValues, r"must only write adjoints .*got self.f\[t, i\] = 0.0.*ADJOINT\]"),
    ],
)
def test_adjoints_that_do_not_fit(runtime, kind, words):
    with pytest.raises(TraceError, match=words):
        ds.plan(kind(), steps=2)


def test_what_adjoint_of_takes():
    with pytest.raises(ConfigError, match=r"must get a @ti.func or @ti.kernel, got <built-in function sum>"):
        ds.adjoint_of(sum)
    with pytest.raises(ConfigError, match=r"the adjoint of short must be a @ti.func like it"):
        ds.adjoint_of(short)(lambda x: x)
    with pytest.raises(ConfigError, match="cube must have one adjoint, got a second one, cube_adjoint"):
        ds.adjoint_of(cube)(cube_adjoint)
