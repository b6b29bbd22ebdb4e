"""Mode `tape`: kernels and adjoints by Taichi, equal to mode `step` where Taichi is right, else refused."""

import numpy as np
import pytest
import taichi as ti

import diffsim as ds
from diffsim.errors import ConfigError, GradientError, PlanWarning

N = 4


class Chain(ds.Simulator):
    """Masses on springs in the plane: vectors, a part, Controls, `reset`, loops over fields, both costs."""

    def __init__(self, dt=0.1):
        self.dt = dt
        self.x = ds.State(ds.vec2, N, init=np.arange(2.0 * N).reshape(N, 2))
        self.v, self.force = ds.State(ds.vec2, N), ds.Scratch(ds.vec2, N)
        self.k = ds.Param(np.linspace(1.0, 2.0, N), per_world=True)
        self.drag = ds.Param(0.3)
        self.u = ds.Control(ds.real, init=0.1, every=2)

    @ti.kernel
    def start(self):
        for i in range(N):
            self.v[0, i] = ti.Vector([self.k[i], 0.0])

    def reset(self):
        self.start()

    @ti.kernel
    def springs(self, t: ti.i32, axis: ti.i32):
        for i in range(N - 1):
            d = self.x[t, i + 1] - self.x[t, i]
            f = self.k[i] * (d.norm() - 1.0) * d / d.norm()
            self.force[t, i][axis] += f[axis]
            self.force[t, i + 1][axis] -= f[axis]

    @ti.kernel
    def move(self, t: ti.i32):
        for i in self.x:
            push = ti.Vector([self.u[t], ti.tanh(self.x[t, i].y)]) - self.drag[None] * self.v[t, i]
            self.v[t + 1, i] = self.v[t, i] + self.dt * (self.force[t, i] + push)
            self.x[t + 1, i] = self.x[t, i] + self.dt * self.v[t + 1, i]

    def step(self, t):
        for axis in range(2):
            self.springs(t, axis)
        self.move(t)

    @ti.kernel
    def effort(self, t: ti.i32):
        for _ in range(1):
            self.cost[None] += self.u[t] ** 2

    def running_cost(self, t):
        self.effort(t)

    @ti.kernel
    def total(self, t: ti.i32):
        for i in range(N):
            self.cost[None] += self.x[t, i].norm_sqr()

    def terminal_cost(self, t):
        self.total(t)


class Hoisted(ds.Simulator):
    """A kernel that Taichi differentiates wrongly, without a word."""

    def __init__(self):
        self.x = ds.State(ds.real, N, init=np.linspace(0.2, 1.0, N))
        self.w = ds.Param(np.linspace(0.5, 1.5, N))

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(N):
            p = self.x[t, i] * self.w[i]
            for j in range(N):
                self.x[t + 1, i] += 0.1 * p * p * self.x[t, j]

    def step(self, t):
        self.move(t)

    @ti.kernel
    def total(self, t: ti.i32):
        for i in range(N):
            self.cost[None] += self.x[t, i] ** 2

    def terminal_cost(self, t):
        self.total(t)


def results(simulator, mode, **options):
    with ds.Rollout(simulator, mode=mode, **options) as rollout:
        cost, gradients = rollout.value_and_grad(["k", "u", "drag", "x"])
        return cost, gradients, rollout.trajectory(simulator.x)


@pytest.fixture(scope="module")
def chain(runtime):
    return Chain()


@pytest.mark.parametrize("options", [{}, {"window": 3, "worlds": 2}], ids=["one", "windows and worlds"])
def test_tape_equals_step(chain, options):
    values = np.linspace(0.8, 2.0, N * options.get("worlds", 1))
    chain.k.set(values.reshape(-1, N) if "worlds" in options else values)
    want, got = (results(chain, mode, steps=8, **options) for mode in ("step", "tape"))
    np.testing.assert_allclose(got[0], want[0], rtol=1e-13)
    np.testing.assert_allclose(got[2], want[2], rtol=1e-12)
    for key, gradient in want[1].items():
        np.testing.assert_allclose(got[1][key], gradient, rtol=1e-11, atol=1e-12, err_msg=key)


def test_second_gradient_is_of_new_values(chain):
    chain.k.set(np.linspace(0.8, 2.0, N))
    with ds.Rollout(chain, steps=4, mode="tape") as rollout:
        first = rollout.value_and_grad("drag")[1]["drag"]
        chain.drag.set(0.7)
        second = rollout.value_and_grad("drag")[1]["drag"]
        assert rollout.plan.mode == "tape"
    with ds.Rollout(chain, steps=4, mode="step") as rollout:
        want = rollout.value_and_grad("drag")[1]["drag"]
    chain.drag.set(0.3)
    assert first != second
    np.testing.assert_allclose(second, want, rtol=1e-12)


def test_wrong_gradient_is_refused(runtime):
    with ds.Rollout(Hoisted(), steps=2, mode="tape") as rollout:
        assert np.isfinite(rollout.value())
        for _ in range(2):  # the second time too
            with pytest.raises(GradientError, match=r"slope for .*w \(gradient .*audit\(\)"):
                rollout.value_and_grad("w")


class Drawn(Chain):
    """What Taichi cannot run as it stands runs as in mode `step`."""

    @ti.kernel
    def effort(self, t: ti.i32):
        for i in range(1):
            self.cost[None] += ds.random(t, i) * self.u[t] ** 2


def test_rest_runs_as_in_mode_step(runtime):
    simulator = Drawn()
    with pytest.warns(PlanWarning, match="Drawn.effort: it draws random numbers"):
        got = results(simulator, "tape", steps=3)
    want = results(simulator, "step", steps=3)
    np.testing.assert_allclose(got[1]["u"], want[1]["u"], rtol=1e-12)


class Skipping(Hoisted):
    """What Taichi compiles, but does not differentiate."""

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(N):
            for j in range(N):
                if i == j:
                    continue
                self.x[t + 1, i] += 0.1 * self.w[i] * self.x[t, j] ** 2


@pytest.mark.output  # Taichi's compiler writes an error by itself
def test_kernel_without_an_adjoint_by_taichi_runs_as_in_mode_step(runtime):
    told = "Skipping.move: Taichi does not differentiate it: .*Not supported"
    with ds.Rollout(Skipping(), steps=2, mode="tape") as rollout:
        with pytest.warns(PlanWarning, match=told):
            rollout.value_and_grad("w")
        assert rollout.check_grad(directions=1, python=0).passed  # with forward mode, which Taichi has not


def test_recomputed_scratches_are_refused(chain):
    with pytest.raises(ConfigError, match="scratch must be 'held' in mode 'tape'"):
        ds.Rollout(chain, steps=3, mode="tape", scratch="recomputed")


class Beyond(ds.Simulator):
    """An index that leaves its field, which Taichi would write to."""

    def __init__(self):
        self.x, self.shift = ds.State(ds.real, N, init=1.0, keep=False), ds.State(ds.i32, init=7)

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(N):
            self.x[t + 1, i + self.shift[t]] = self.x[t, i]

    def step(self, t):
        self.move(t)


def test_indices_are_looked_at_before_taichi_runs(runtime):
    with ds.Rollout(Beyond(), steps=2, mode="tape") as rollout:
        for _ in range(2):
            with pytest.raises(ds.StateError, match=r"must lie in 0 \.\. 3"):
                rollout.value()
