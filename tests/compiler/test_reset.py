"""What `reset` computes: with Scratches and parts, in place, and for all steps."""

import functools

import numpy as np
import pytest
import taichi as ti
from simulator_checks import differences

import diffsim as ds

N, STEPS, WORLDS = 3, 7, 3
RNG = np.random.default_rng(5)
VALUES = {
    "p": RNG.uniform(0.5, 1.5, (WORLDS, N)),
    "w": RNG.normal(size=N),
    "K": 0.3 * RNG.normal(size=(N, N)),
    "m": RNG.normal(size=(N, 2)),
    "x": RNG.normal(size=N),
}


class Mix(ds.Part):
    """Sums in a Scratch of its own, and what they are made into: run in `reset` and in each step."""

    def __init__(self, inputs, outputs, w):
        self.inputs, self.outputs, self.w = inputs, outputs, w
        self.sums, self.roots = ds.Scratch(ds.real, N), ds.Scratch(ds.real, N)
        self.b = ds.Workspace(ds.real, N)

    def __call__(self, t):
        self.add(t)
        self.end(t)
        self.root(t)

    @ti.kernel
    def add(self, t: ti.i32):
        for i in range(N):
            for j in range(N):
                self.sums[t, i] += self.w[j] * self.inputs[t, j] * (1.0 + 0.1 * i)

    @ti.kernel
    def end(self, t: ti.i32):
        for i in range(N):
            self.outputs[t, i] += ti.tanh(self.sums[t, i])

    @ti.kernel
    def root(self, t: ti.i32):
        for i in range(N):
            self.roots[t, i] = ti.sqrt(1.0 + self.outputs[t, i] ** 2)

    @ti.kernel
    def back(self, t: ti.i32):
        for i in range(N):
            self.outputs.grad[t, i] += self.roots.grad[t, i] * self.outputs[t, i] / self.roots[t, i]


class Given(Mix):
    """The same with a kernel whose adjoint is given."""

    @ti.kernel
    def root(self, t: ti.i32):
        for i in range(N):
            self.roots[t, i] = ti.sqrt(1.0 + self.outputs[t, i] ** 2)

    @ds.adjoint_of(root)
    @ti.kernel
    def root_adjoint(self, t: ti.i32):
        for i in range(N):
            self.outputs.grad[t, i] += self.roots.grad[t, i] * self.outputs[t, i] / self.roots[t, i]


class Solving(Mix):
    """The same with a method whose adjoint is given."""

    @ti.kernel
    def load(self, t: ti.i32):
        for i in range(N):
            self.b[i] += self.outputs[t, i] ** 2

    @ti.kernel
    def store(self, t: ti.i32):
        for i in range(N):
            self.roots[t, i] = ti.sqrt(1.0 + self.b[i])

    def root(self, t):
        self.load(t)
        self.store(t)

    @ds.adjoint_of(root)
    def root_adjoint(self, t):
        self.back(t)


class Prepared(ds.Simulator):
    """A matrix and a vector that no step writes, one of them made in `reset` in part."""

    def __init__(self, part=Mix):
        self.x = ds.State(ds.real, N, init=VALUES["x"])
        self.K = ds.State(ds.real, N, N, init=VALUES["K"], history=2)
        self.m = ds.State(ds.vec2, N, init=VALUES["m"])
        self.p, self.w = ds.Param(VALUES["p"][0], per_world=True), ds.Param(VALUES["w"])
        self.ends = ds.Constant(np.array(1e9), per_world=True)
        self.inputs, self.outputs, self.apart = (ds.Scratch(ds.real, N) for _ in range(3))
        self.mix = part(self.inputs, self.outputs, self.w)

    @ti.kernel
    def fill(self, t: ti.i32):
        for i in range(N - 1):  # the last stays zero
            self.inputs[t, i] = self.p[i] ** 2
        for i in range(N):
            self.apart[t, i] += self.inputs[t, i] + self.x[t, i]

    @ti.kernel
    def make(self, t: ti.i32):
        for i in range(N):
            for j in range(i + 1):
                self.K[t, i, j] = 0.2 * self.mix.roots[t, i] * self.outputs[t, j] + self.apart[t, j]
        for _ in range(1):
            self.done[None] = self.ends[None] <= 0.0

    def reset(self):
        self.fill(0)
        self.mix(0)
        self.make(0)

    @ti.kernel
    def feed(self, t: ti.i32):
        for i in range(N):
            self.inputs[t, i] += self.x[t, i]  # onto the zero of this step

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(N):
            s = 0.0
            for j in range(N):
                s += self.K[t - 1, i, j] * self.outputs[t, j] + self.K[t, j, i] * self.mix.roots[t, j]
            self.x[t + 1, i] = 0.9 * self.x[t, i] + 0.1 * s * self.m[t, i].x + 0.1 * self.apart[t, i]
        for _ in range(1):
            self.done[None] = t + 1.0 >= self.ends[None]

    def step(self, t):
        self.feed(t)
        self.mix(t)
        self.move(t)

    @ti.kernel
    def pay(self, t: ti.i32):
        for i in range(N):
            self.cost[None] += self.K[t + 1, i, i] * self.x[t, i] ** 2

    def running_cost(self, t):
        self.pay(t)

    @ti.kernel
    def close(self, t: ti.i32):
        for i, j in ti.ndrange(N, N):
            self.cost[None] += self.K[t, i, j] * self.x[t, j] * self.m[t, i].y

    def terminal_cost(self, t):
        self.close(t)


def reference(values, world, steps):
    """Run the same in NumPy; return the cost, the States at the end and K."""
    p, w, x, m = values["p"][world], values["w"], values["x"], values["m"]

    def mix(a):
        sums = np.array([np.sum(w * a) * (1.0 + 0.1 * i) for i in range(N)])
        return np.tanh(sums), np.sqrt(1.0 + np.tanh(sums) ** 2)

    inputs = np.append(p[:-1] ** 2, 0.0)
    out, sums = mix(inputs)
    K = np.where(np.tri(N, dtype=bool), 0.2 * np.outer(sums, out) + (inputs + x), values["K"])
    cost = 0.0
    for _ in range(steps):
        out, sums = mix(x)
        cost += np.sum(np.diag(K) * x**2)
        x = 0.9 * x + 0.1 * (K @ out + K.T @ sums) * m[:, 0]
    return cost + m[:, 1] @ K @ x, x, K


@functools.cache
def slopes(lengths):
    """Return the gradients of the sum of all worlds' costs by central differences of the reference."""
    return differences(lambda v: sum(reference(v, k, n)[0] for k, n in enumerate(lengths)), VALUES)


def assert_right(rollout, lengths):
    """Compare costs, values and all gradients with NumPy."""
    sim = rollout.sim
    cost, gradients = rollout.value_and_grad(list(VALUES))
    wanted = [reference(VALUES, k, n) for k, n in enumerate(lengths)]
    np.testing.assert_allclose(cost, [w[0] for w in wanted], rtol=1e-12)
    for key, slope in slopes(tuple(lengths)).items():
        assert np.abs(slope).max() > 0.0
        np.testing.assert_allclose(gradients[key], slope, rtol=1e-6, atol=1e-8, err_msg=key)
    final = rollout.final()
    np.testing.assert_allclose(final["x"], [w[1] for w in wanted], rtol=1e-12)
    np.testing.assert_allclose(final["K"], [w[2] for w in wanted], rtol=1e-12)
    for every in (1, 3):
        frames = rollout.trajectory(sim.K, every)
        assert frames.shape == (STEPS // every + 1, WORLDS, N, N)
        np.testing.assert_array_equal(frames, np.broadcast_to(final["K"], frames.shape))


@pytest.mark.parametrize(
    ("part", "options"),
    [
        (Given, {"mode": "step", "window": 3}),
        (Solving, {"mode": "chunk", "window": 4}),
        (Solving, {"mode": "fused", "window": 2, "schedule": "two-level"}),
        (Given, {"mode": "fused", "window": 3, "schedule": "mixed"}),
    ],
)
def test_reset_may_use_scratches_and_parts_and_what_it_makes_is_there_in_all_steps(runtime, part, options):
    sim = Prepared(part)
    rollout = ds.Rollout(sim, steps=STEPS, worlds=WORLDS, **options)
    rollout._engine._verified = 2  # what is computed is compared with NumPy below
    sim.p.set(VALUES["p"])
    for ends in ([1e9] * WORLDS, [1e9, 4.0, 0.0]):
        sim.ends.set(ends)
        lengths = [int(min(STEPS, end)) for end in ends]
        assert_right(rollout, lengths)
        np.testing.assert_array_equal(rollout.lengths, lengths)
    rollout.close()


# ---- in place ----


class InPlace(ds.Simulator):
    """States and a Scratch that `reset` writes over, and fields without the time."""

    def __init__(self):
        self.a = ds.Param(IN_PLACE["a"])
        self.q = ds.State(ds.vec3, 2, init=IN_PLACE["q"])
        self.k = ds.State(ds.real, N, init=IN_PLACE["k"])
        self.s = ds.Scratch(ds.real, N)

    @ti.kernel
    def normalise(self):
        for i in range(2):
            self.q[0, i] = self.q[0, i].normalized()

    @ti.kernel
    def scan(self, t: ti.i32):
        for i in range(N):
            self.s[t, i] = self.a[i] ** 2
        for _ in range(1):
            for i in range(1, N):
                self.s[t, i] = self.s[t, i] * self.s[t, i - 1] + 0.3 * self.k[t, i]

    @ti.kernel
    def spread(self):
        for i in self.s:
            self.s[i] = ti.sin(self.s[i]) * self.s[i]
        for i in self.k:
            self.k[i] += self.s[i] ** 2 * self.k[i] * self.q[1][i]

    def reset(self):
        self.normalise()
        self.scan(0)
        self.spread()

    @ti.kernel
    def turn(self):
        for i in self.q:
            self.q[i] += 0.1 * self.k[i] * self.q[i].normalized()

    def step(self, t):
        self.turn()

    @ti.kernel
    def pay(self):
        for i in range(2):
            self.cost[None] += self.q[i].dot(ti.Vector([self.k[0], self.k[1], self.k[2]]))

    def terminal_cost(self, t):
        self.pay()


IN_PLACE = {"a": RNG.uniform(0.5, 1.0, N), "q": RNG.normal(size=(2, 3)), "k": RNG.normal(size=N)}


def in_place(values):
    """Return the cost of the same in NumPy."""
    q, k, s = values["q"].copy(), values["k"].copy(), values["a"] ** 2
    q /= np.linalg.norm(q, axis=1, keepdims=True)
    for i in range(1, N):
        s[i] = s[i] * s[i - 1] + 0.3 * k[i]
    s = np.sin(s) * s
    k += s**2 * k * q[1]
    for _ in range(STEPS):
        q += 0.1 * k[:2, None] * q / np.linalg.norm(q, axis=1, keepdims=True)
    return np.sum(q @ k)


def assert_in_place(options):
    """Compare the cost and all gradients with NumPy."""
    with ds.Rollout(InPlace(), steps=STEPS, **options) as rollout:
        cost, gradients = rollout.value_and_grad(list(IN_PLACE))
    assert cost == pytest.approx(in_place(IN_PLACE), rel=1e-12)
    for key, slope in differences(in_place, IN_PLACE).items():
        np.testing.assert_allclose(gradients[key], slope, rtol=1e-6, atol=1e-8, err_msg=key)


@pytest.mark.compilers
def test_reset_may_write_over_what_it_read(runtime):
    assert_in_place({"mode": "step"})


def test_so_it_may_in_other_modes(runtime):
    assert_in_place({"mode": "fused", "window": 3})
    assert_in_place({"mode": "chunk"})
    with ds.Rollout(InPlace(), steps=STEPS) as rollout:
        report = rollout.check_grad(list(IN_PLACE), directions=2)  # forward mode too
    assert report.passed, report
    assert ds.plan(InPlace(), 1000, mode="step").fields["kept of q"] == 8 * 6  # what was read, without time
