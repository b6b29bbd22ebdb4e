"""Random numbers in kernels: the published bits, the same wherever and whenever they are drawn."""

import importlib
from math import erf

import numpy as np
import pytest
import taichi as ti

import diffsim as ds
from diffsim.errors import ConfigError, StateError, TraceError
from diffsim.language.philox import philox
from diffsim.language.seeds import world_keys

STEPS, N, P = 7, 5, np.array([0.8, 0.3])


def test_published_bits():
    """The known answers of philox4x32-10 that its authors publish with Random123."""
    ones = 0xFFFFFFFF
    for counters, key, want in (
        ([0] * 4, [0] * 2, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ([ones] * 4, [ones] * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ):
        assert " ".join(f"{int(x):08x}" for x in philox(counters, key)) == want


def test_statistics():
    """Uniform and normal numbers: moments, no correlation with what is counted beside, bins alike."""
    t, i = np.arange(400)[:, None], np.arange(250)
    u, z = ds.random(t, i, stream=1), ds.randn(t, i, stream=1)
    assert u.shape == (400, 250)
    assert 0.0 <= u.min() < 1e-4 < 1 - 1e-4 < u.max() < 1.0
    n = u.size
    others = [
        ds.random(t, i, **o) for o in ({"stream": 2}, {"stream": 1, "world": 1}, {"stream": 1, "seed": 1})
    ]
    for draws, mean, variance in ((u, 0.5, 1 / 12), (z, 0.0, 1.0)):
        assert abs(draws.mean() - mean) < 4 * np.sqrt(variance / n)
        assert abs(draws.var() / variance - 1) < 0.02
        beside = [(draws[1:], draws[:-1]), (draws[:, 1:], draws[:, :-1]), (u, z)]
        for a, b in [*beside, *((draws, other) for other in others)]:
            assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 4 / np.sqrt(a.size)
    for uniform in (u, 0.5 * (1 + np.vectorize(erf)(z / np.sqrt(2)))):
        counts = np.histogram(uniform, 64, (0, 1))[0]
        assert 25 < np.sum((counts - n / 64) ** 2 / (n / 64)) < 120  # chi-square, 63 degrees of freedom
    assert isinstance(ds.random(3, stream=0), float)


class Noisy(ds.Simulator):
    """Draws in each phase, in functions, in unrolled loops, in branches, and through an index."""

    def __init__(self):
        self.x = ds.State(ds.vec2, N, keep=True)
        self.u, self.z = ds.Scratch(ds.real, N), ds.Scratch(ds.vec2, N)
        self.p = ds.Param(P)

    @ti.kernel
    def begin(self):
        for i in range(N):
            self.x[0, i] = ti.Vector([ds.randn(i, stream=7), self.p[0] * ds.random(i, -3, stream=8)])

    def reset(self):
        self.begin()

    @ti.func
    def kick(self, t, i, d):
        return self.p[1] * ds.randn(t, i, d, stream=9)

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(N):
            self.u[t, i] = ds.random(t, i, 0, 5, stream=10)
            z = ti.Vector([ds.randn(t, i, d, stream=11) for d in range(2)])
            self.z[t, i] = z
            a = self.x[t, i]
            if self.u[t, i] < 0.5:
                j = ti.cast(ds.random(t, i, stream=12) * N, ti.i32)
                a += 0.1 * self.x[t, j] * self.u[t, i]
            for d in ti.static(range(2)):
                a[d] = ti.tanh(a[d] * self.p[0]) + self.kick(t, i, d) * z[d]
            self.x[t + 1, i] = a

    def step(self, t):
        self.move(t)

    @ti.kernel
    def running(self, t: ti.i32):
        self.cost[None] += self.p[0] ** 2 * ds.random(t, stream=13) * self.x[t + 1, 0][1]

    def running_cost(self, t):
        self.running(t)

    @ti.kernel
    def end(self, t: ti.i32):
        for i in ti.grouped(ti.ndrange(N, 1)):
            self.cost[None] += self.x[t, i[0]].norm_sqr() * ds.random(i, stream=14)

    def terminal_cost(self, t):
        self.end(t)


def reference(p=P, **options):
    """The same in NumPy."""
    i, d = np.arange(N), np.arange(2)

    def draw(*counters, stream):
        return ds.random(*counters, stream=stream, **options)

    def normal(*counters, stream):
        return ds.randn(*counters, stream=stream, **options)

    x = np.stack([normal(i, stream=7), p[0] * draw(i, -3, stream=8)], axis=-1)
    cost = 0.0
    for t in range(STEPS):
        u = draw(t, i, 0, 5, stream=10)
        j = (draw(t, i, stream=12) * N).astype(int)
        a = x + np.where(u < 0.5, 0.1 * u, 0.0)[:, None] * x[j]
        x = np.tanh(a * p[0]) + p[1] * normal(t, i[:, None], d, stream=9) * normal(
            t, i[:, None], d, stream=11
        )
        cost += p[0] ** 2 * draw(t, stream=13) * x[0, 1]
    return cost + np.sum(np.sum(x**2, axis=1) * draw(i, 0, stream=14))


def slopes(**options):
    steps = 1e-6 * np.eye(2)
    return np.array([(reference(P + h, **options) - reference(P - h, **options)) / 2e-6 for h in steps])


@pytest.mark.filterwarnings("error::diffsim.errors.GradientWarning")
@pytest.mark.parametrize("mode", ["step", "chunk"])
def test_the_same_in_numpy(runtime, mode):
    agrees(mode)


@pytest.mark.compilers
def test_the_same_by_each_compiler(runtime):
    agrees("fused")


def agrees(mode):
    """Compare values and pathwise gradients, in worlds and windows; another seed takes no compiling."""
    sim = Noisy()
    with ds.Rollout(sim, steps=STEPS, worlds=3, mode=mode, window=None if mode == "chunk" else 3) as rollout:
        for seed in (0, 2**40 + 5, 0):
            rollout.seed = seed
            cost, grads = rollout.value_and_grad()
            options = [{"world": w, "seed": rollout.seed} for w in range(3)]
            np.testing.assert_allclose(cost, [reference(**o) for o in options], rtol=1e-13)
            np.testing.assert_allclose(grads["p"], sum(slopes(**o) for o in options), rtol=1e-7)
            compiled = rollout.compile_seconds if seed == 0 else compiled  # noqa: F821
            assert rollout.compile_seconds == compiled
        t, w, i, d = np.ogrid[:STEPS, :3, :N, :2]
        uniform = ds.random(t, i, 0, 5, stream=10, world=w)[..., 0]
        np.testing.assert_array_equal(rollout.trajectory(sim.u), uniform)  # to the last bit
        normal = ds.randn(t, i, d, stream=11, world=w)
        np.testing.assert_allclose(rollout.trajectory(sim.z), normal, rtol=1e-13, atol=1e-15)


def test_differences_and_forward_mode(runtime):
    report = ds.Rollout(Noisy(), steps=3, seed=4, mode="fused").check_grad(directions=2)
    assert report.passed
    assert "forward" in str(report)


class Sites(ds.Simulator):
    """Calls with the same counters, which draw apart, and with one stream, which draw alike."""

    def __init__(self, late=False):
        self.late = late
        self.x, self.a = ds.State(ds.real), ds.Scratch(ds.vec(12))

    @ti.func
    def inner(self, t):
        return ds.random(t)

    @ti.kernel
    def one(self, t: ti.i32, k: ti.template()):
        self.a[t][k] = ds.random(t)

    @ti.kernel
    def many(self, t: ti.i32):
        self.x[t + 1] = 0.0
        self.a[t][2], self.a[t][3] = ds.random(t), ds.random(t, 0)
        self.a[t][4], self.a[t][5] = self.inner(t), self.inner(t)
        for k in ti.static(range(2)):
            self.a[t][6 + k] = ds.random(t)
        s = 0.0
        for _ in range(1):  # read more than once, until it is known what is carried
            s += ds.random(t)
        self.a[t][8] = s
        for k in ti.static(range(2)):
            self.a[t][9 + k] = ds.random(t, stream=3)
        self.a[t][11] = ds.random(t, stream=ti.cast(s, ti.i32) + 4)

    def step(self, t):
        if self.late:
            self.many(t)
        self.one(t, 0)
        self.one(t, 1)
        if not self.late:
            self.many(t)


@pytest.mark.layouts
def test_streams(runtime, layout):
    with ds.Rollout(Sites(), steps=4, worlds=2) as rollout:
        drawn = rollout.trajectory("a")
    if layout == "host":
        with ds.Rollout(Sites(late=True), steps=4) as rollout:  # calls of other kernels before change nothing
            np.testing.assert_array_equal(drawn[:, 0], rollout.trajectory("a"))
    apart, alike, chosen = drawn[..., :9], drawn[..., 9:11], drawn[..., 11]
    assert len(np.unique(apart)) == apart.size
    t, w = np.ogrid[:4, :2]
    for k in range(2):
        np.testing.assert_array_equal(alike[..., k], ds.random(t, stream=3, world=w))
    np.testing.assert_array_equal(chosen, ds.random(t, stream=4, world=w))
    assert len(np.unique([world_keys(3, start, run) for start in (0, 1) for run in (0, 1, 2**32)])) == 36


class Bad(ds.Simulator):
    """One line."""

    def __init__(self, k=0):
        self.k, self.p = k, ds.Param([0.5])
        self.x = ds.State(ds.real, 4, 4)

    @ti.kernel
    def move(self, t: ti.i32):
        for i, j in ti.ndrange(4, 4):
            if ti.static(self.k == 0):
                self.x[t + 1, i, j] = ti.randn()
            if ti.static(self.k == 1):
                self.x[t + 1, i, j] = ds.random()
            if ti.static(self.k == 2):
                self.x[t + 1, i, j] = ds.randn(t, 1, 2, 3, 4)
            if ti.static(self.k == 3):
                self.x[t + 1, i, j] = ds.random(self.p[0])
            if ti.static(self.k == 4):
                self.x[t + 1, i, j] = ds.random(t, seed=3)
            if ti.static(self.k == 5):
                self.x[t + 1, i, j] = ds.random(t, stream=-1)
            if ti.static(self.k == 6):
                self.x[t + 1, i, j] = np.random.normal()  # noqa: NPY002
            if ti.static(self.k == 7):
                self.x[t + 1, i, j] = guarded(self.p[0], t)
            if ti.static(self.k == 8):
                self.x[t + 1, i, j] = ti.sqrt(ds.randn(t, i, j, stream=1) + self.p[0])

    def step(self, t):
        if self.k == 9:
            ds.random(t, stream=1)
        self.move(t)

    @ti.kernel
    def end(self, t: ti.i32):
        self.cost[None] += self.x[t, 0, 0]

    def terminal_cost(self, t):
        self.end(t)


@ti.func
def guarded(p, t):
    return p * ds.random(t)


@ds.adjoint_of(guarded)
@ti.func
def guarded_adjoint(p, t, y, g):
    return g, 0


@pytest.mark.parametrize(
    ("k", "said"),
    [
        (
            0,
            "by ti.randn, whose numbers would be others on the way back; write ds.randn(t, i, j)",
        ),
        (
            1,
            "must get 1 to 4 counters, got 0 in ds.random(); tell draws apart by what is around, as in ds.ra",
        ),
        (2, "must get 1 to 4 counters, got 5"),
        (3, "counters of a random number must be integers, got a float"),
        (4, "must get counters and stream= in a kernel, got ds.random(t, seed=3)"),
        (5, "stream must lie in 0 .. 2**31 - 1, got -1"),
        (
            6,
            "by np.random.normal, whose numbers would be others on the way back; write ds.randn",
        ),
        (7, "must stay outside of functions with an adjoint of their own"),
        (9, "ds.random must be called in a kernel, got the t of a step"),
    ],
)
def test_refused(runtime, k, said):
    with pytest.raises((TraceError, ConfigError)) as caught:
        ds.plan(Bad(k), steps=3)
    assert said in str(caught.value)
    assert k == 9 or "[RANDOM]" in str(caught.value)


class GivenBack(Bad):
    """A kernel with an adjoint of its own, which draws without naming the stream."""

    def __init__(self, before):
        super().__init__()
        self.before = before

    @ti.kernel
    def first(self, t: ti.i32):
        self.x[t, 0, 0] = self.p[0] * ds.random(t)

    @ds.adjoint_of(first)
    @ti.kernel
    def first_adjoint(self, t: ti.i32):
        self.p.grad[0] += self.x.grad[t, 0, 0] * ds.random(t)

    @ti.kernel
    def stay(self):
        self.x[0, 0] += 0.0

    def reset(self):
        if self.before:
            self.first(0)

    def step(self, t):
        if self.before:
            self.stay()
        else:
            self.first(t + 1)


@pytest.mark.parametrize("before", [True, False])
def test_adjoints_name_their_streams(runtime, before):
    with pytest.raises(TraceError, match=r"must name its stream in an adjoint, got ds\.random"):
        ds.plan(GivenBack(before), steps=3)


def test_a_bad_draw_is_located(runtime):
    """The stage is run by hand, with the integers that the draws are made of."""
    with ds.Rollout(Bad(8), steps=3, seed=2) as rollout, pytest.raises(StateError) as caught:
        rollout.value_and_grad("p", debug="nan")
    t, i, j = np.ogrid[:3, :4, :4]
    draws = ds.randn(t, i, j, stream=1, seed=2)[0] + 0.5
    k = np.argwhere(draws < 0)[0]
    assert f"State x at index {k.tolist()}" in str(caught.value)
    assert f"which computed sqrt({draws[tuple(k)]:g})" in str(caught.value)


def test_outside_of_kernels():
    for call, said in (
        (lambda: ds.random(stream=1), "ds.random must get 1 to 4 counters, got 0"),
        (lambda: ds.randn(1), "ds.randn must get a stream outside of kernels, got none"),
        (lambda: ds.random(0.5, stream=1), "ds.random counters must be integers, got 0.5"),
        (lambda: ds.random(1, stream=2**31), r"stream must lie in 0 .. 2\*\*31 - 1, got 2147483648"),
        (lambda: ds.random(1, stream=1, world=-1), "world must not be negative, got -1"),
        (lambda: ds.random(1, stream=1, seed=-1), "seed must be an integer from 0 to"),
        (lambda: ds.random(1, stream=1, seed=True), "seed must be an integer from 0 to"),
    ):
        with pytest.raises(ConfigError, match=said):
            call()
    np.testing.assert_array_equal(ds.random([1, -1], stream=1), ds.random([2**32 + 1, 2**32 - 1], stream=1))


@pytest.mark.native
def test_an_export_draws_the_same(runtime, tmp_path, monkeypatch):
    with ds.Rollout(Noisy(), steps=STEPS, seed=6) as rollout:
        cost, grads = rollout.value_and_grad()
        rollout.export(tmp_path, "noisy_walk")
    monkeypatch.syspath_prepend(tmp_path)
    found, slopes = importlib.import_module("noisy_walk").Simulation().value_and_grad()
    assert found == cost
    np.testing.assert_array_equal(slopes["p"], grads["p"])


def test_seeds_of_a_rollout(runtime):
    with pytest.raises(ConfigError, match="seed must be an integer from 0 to"):
        ds.Rollout(Noisy(), steps=2, seed=1.5)
    with ds.Rollout(Noisy(), steps=2, seed=np.int64(3)) as rollout:
        assert rollout.seed == 3
        rollout.value()
        rollout.final()
        rollout.value_and_grad()
        with pytest.raises(ConfigError, match="seed must be"):
            rollout.seed = "x"
