"""check_grad of rollouts in f32: the program is run once more in f64, and both gradients are compared."""

import numpy as np
import pytest
import taichi as ti

import diffsim as ds
from diffsim.compiler.autodiff import rules


@pytest.fixture(scope="module")
def precision():
    return 32


class Decay(ds.Simulator):
    """A State that decays at a rate that is exact in neither precision, and a cost that a test may bury."""

    def __init__(self, buried=0.0):
        self.buried = buried
        self.x = ds.State(ds.real, 2, init=[0.3, 0.7])
        self.kept = ds.State(ds.real, 2)
        self.p = ds.Param(np.array([0.11, -0.4]))
        self.u = ds.Control(ds.real, init=0.05)

    @ti.kernel
    def decay(self, t: ti.i32):
        for i in range(2):
            x = self.x[t, i]
            for _k in range(3):  # a carried local: tapes are in the program's precision too
                x = x - 0.1 * ti.tanh(x * self.p[i]) + 0.1 * self.u[t]
            self.x[t + 1, i] = x
            self.kept[t + 1, i] = x + self.buried

    def step(self, t):
        self.decay(t)

    @ti.kernel
    def measure(self, t: ti.i32):
        for i in range(2):
            self.cost[None] += (self.kept[t, i] - self.buried) ** 2

    def terminal_cost(self, t):
        self.measure(t)


@pytest.fixture(scope="module")
def rollout(runtime):
    return ds.Rollout(Decay(), steps=7, window=3)


def test_right(rollout):
    report = rollout.check_grad(["p", "u", "x"], components=3)
    assert report.passed, str(report)
    assert report.verdict == "right"
    assert report.tolerance == 2e-2
    assert 1e-9 < report.error < 1e-4  # rounding of f32, and not none
    assert report.double.passed
    assert report.double.tolerance == 1e-6
    assert report.double.error < 1e-8
    assert report.forward_error < 1e-13
    assert report.modes_error < 1e-6
    assert "the f32 gradient is" in str(report).splitlines()[-1]


def test_the_other_program_is_in_f64(rollout):
    """The slopes by forward mode are those of f64, with literals that f32 cannot hold."""
    found = rollout.check_grad(["p", "u", "x"], directions=3, seed=2)
    p, u, x = (leaf.numpy() for leaf in rollout.leaves(["p", "u", "x"]))
    p, x = (np.float64(np.float32(a)) for a in (p, x))
    u = np.broadcast_to(np.float64(np.float32(u)), 7)

    def cost(p, u, x):
        for t in range(7):
            for _ in range(3):
                x = x - 0.1 * np.tanh(x * p) + 0.1 * u[t]
        return np.sum(x**2)

    rng = np.random.default_rng(2)
    for direction in found.directions:
        d = [rng.normal(size=a.shape) * np.sqrt(np.mean(a**2)) for a in (p, u, x)]
        h = 1e-20  # a complex step: exact to rounding, with no rule of ours in it
        want = cost(*(a + 1j * h * b for a, b in zip((p, u, x), d, strict=True))).imag / h
        assert direction.forward == pytest.approx(want, rel=1e-13)


def test_wrong(runtime, monkeypatch):
    right = rules._RULES["tanh"]
    monkeypatch.setitem(
        rules._RULES,
        "tanh",
        lambda b, args, r, g: (lambda: b.op("mul", right(b, args, r, g)[0](), b.const(1.01)),),
    )
    report = ds.Rollout(Decay(), steps=7).check_grad("p")
    assert not report.passed  # off by one per cent, within what f32 is allowed
    assert report.verdict == "wrong"
    assert report.error < 2e-2
    assert report.worst.key == "p"
    assert "wrong: the gradient is wrong" in str(report)


def test_rounding_dominates(runtime):
    report = ds.Rollout(Decay(buried=3e7), steps=7).check_grad(["p", "u"])
    assert report.double.passed
    assert report.verdict == "rounding"
    assert not report.passed
    assert report.worst.key in ("p", "u")
    assert "single precision is too coarse" in str(report).splitlines()[-1]
    assert ds.Rollout(Decay(buried=3e7), steps=7).check_grad(["p", "u"], tolerance=1e9).passed


def test_nothing_is_changed(rollout):
    before = rollout.value_and_grad(["p", "u"])
    rollout.check_grad(["p", "u"], directions=1)
    for leaf in rollout.leaves(["p", "u"]):
        np.testing.assert_array_equal(leaf.gradient(), before[1][leaf.key])
    assert rollout.value() == before[0]
    assert ds.runtime.info().precision == 32


@pytest.mark.compilers
def test_memory_of_the_other_program_is_freed(rollout):
    """And what was compiled for it serves the next check."""
    from diffsim import _taichi
    from diffsim.engine.native import the_library

    def counts():
        return len(_taichi.impl.get_runtime().kernels), the_library().compiled + the_library().loaded

    rollout.check_grad("p", directions=1)
    before = counts()
    assert sum(before) > 0
    rollout.check_grad("p", directions=1)
    assert counts() == before
