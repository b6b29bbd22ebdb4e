"""Surrogate gradients: meant, left out where differences are asked, and everything else checked as ever."""

import numpy as np
import pytest
import taichi as ti

import diffsim as ds
from diffsim.compiler.autodiff import rules
from diffsim.errors import ConfigError

N, STEPS = 5, 8


@ti.func
def spike(v):
    return ti.select(v > 0.0, 1.0, 0.0)


@ds.adjoint_of(spike, surrogate=True)
@ti.func
def spike_adjoint(v, y, y_adj):
    return y_adj / (1.0 + ti.abs(v)) ** 2


class Spiking(ds.Simulator):
    """Neurons that leak, add up inputs and fire: v[t + 1] = decay v (1 - s) + w s, with the spikes s of v."""

    def __init__(self):
        rng = np.random.default_rng(3)
        self.v = ds.State(ds.real, N, init=rng.normal(size=N))
        self.s = ds.Scratch(ds.real, N)
        self.w = ds.Param(rng.normal(size=(N, N)))
        self.decay = ds.Param(0.8)

    @ti.kernel
    def fire(self, t: ti.i32):
        for i in range(N):
            self.s[t, i] = spike(self.v[t, i] - 0.1)

    @ti.kernel
    def integrate(self, t: ti.i32):
        for i in range(N):
            total = 0.0
            for j in range(N):
                total += self.w[i, j] * self.s[t, j]
            self.v[t + 1, i] = self.decay[None] * self.v[t, i] * (1.0 - self.s[t, i]) + total

    def step(self, t):
        self.fire(t)
        self.integrate(t)

    @ti.kernel
    def measure(self, t: ti.i32):
        for i in range(N):
            self.cost[None] += ti.sin(self.v[t, i])

    def terminal_cost(self, t):
        self.measure(t)


def by_hand(sim):
    """Return the gradients for `w` and `decay`, written out backward in NumPy with the surrogate slope."""
    w, decay, v, known = sim.w.numpy(), float(sim.decay.numpy()), sim.v.numpy(), []
    for _ in range(STEPS):
        s = (v > 0.1) * 1.0
        known.append((v, s))
        v = decay * v * (1 - s) + w @ s
    g, dw, dd = np.cos(v), np.zeros_like(w), 0.0
    for v, s in reversed(known):
        dw += np.outer(g, s)
        dd += np.sum(g * v * (1 - s))
        back = w.T @ g - g * decay * v
        g = g * decay * (1 - s) + back / (1 + np.abs(v - 0.1)) ** 2
    return dw, dd


@pytest.mark.parametrize("precision", [64, 32], scope="module")
def test_a_surrogate_gradient_is_left_out_of_differences_and_nothing_else_is(runtime, precision):
    sim = Spiking()
    rollout = ds.Rollout(sim, steps=STEPS)
    _, grads = rollout.value_and_grad([sim.w, sim.decay])
    dw, dd = by_hand(sim)
    np.testing.assert_allclose(grads["w"], dw, rtol=1e-4 if precision == 32 else 1e-10, atol=1e-6)
    np.testing.assert_allclose(grads["decay"], dd, rtol=1e-4 if precision == 32 else 1e-10)
    report = rollout.check_grad(directions=2)
    assert report.passed
    assert report.surrogates == ("spike",)
    assert report.sentence.startswith("but for the surrogate gradient of spike, ")
    assert "not checked: the surrogate gradient of spike, which is meant, by differences" in str(report)
    np.testing.assert_array_equal(rollout.value_and_grad([sim.w])[1]["w"], grads["w"])  # as it was
    rollout.close()


def test_other_faults_are_still_found(runtime, monkeypatch):
    sim = Spiking()
    monkeypatch.setitem(rules._RULES, "sin", rules._unary(lambda b, x, r, g: b.op("mul", g, r)))
    rollout = ds.Rollout(sim, steps=STEPS)
    assert rollout.check_grad(directions=2).verdict == "wrong"
    rollout.close()


@ti.func
def same(x):
    return 1.0 * x


@ds.adjoint_of(same, surrogate=True)
@ti.func
def clipped(x, y, y_adj):
    return ti.math.clamp(y_adj, -0.1, 0.1)


class Clipped(Spiking):
    """Has a kernel with a surrogate as well, and a function whose surrogate is not linear."""

    @ti.kernel
    def fire(self, t: ti.i32):
        for i in range(N):
            self.s[t, i] = ti.tanh(same(self.v[t, i]))

    @ds.adjoint_of(fire, surrogate=True)
    @ti.kernel
    def fire_adjoint(self, t: ti.i32):
        for i in range(N):
            self.v.grad[t, i] += 0.5 * self.s.grad[t, i]


def test_surrogates_that_forward_mode_cannot_follow(runtime):
    sim = Clipped()
    rollout = ds.Rollout(sim, steps=STEPS)
    report = rollout.check_grad(directions=2)
    assert report.passed
    assert set(report.surrogates) == {"same", "fire"}
    assert "the surrogate of kernel fire by forward mode, which there is of functions alone" in report.notes
    rollout.close()
    sim = Straight()
    rollout = ds.Rollout(sim, steps=STEPS)
    assert rollout.value_and_grad([sim.decay])[1]["decay"] == pytest.approx(0.1)
    report = rollout.check_grad(directions=2)
    assert report.passed
    assert (
        "the surrogate gradient of same by forward mode: it is not linear in what comes back" in report.notes
    )
    rollout.close()


class Straight(Spiking):
    @ti.kernel
    def measure(self, t: ti.i32):
        for _ in range(1):
            self.cost[None] += same(self.decay[None])


def test_a_method_has_no_surrogate():
    with pytest.raises(
        ConfigError, match=r"a surrogate must be the adjoint of a .*, got the method step; leave"
    ):
        ds.adjoint_of(Spiking.step, surrogate=True)
