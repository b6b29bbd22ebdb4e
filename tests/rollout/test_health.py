"""Gradient health against systems whose adjoints are known: growth, horizon, truncation, dead Params."""

import math

import numpy as np
import pytest
import taichi as ti

import diffsim as ds
from diffsim.engine import measure
from diffsim.errors import ConfigError, StateError
from diffsim.optim import SGD
from diffsim.rollout.grad import GradientHealth
from diffsim.rollout.grad.health import describe_last, growth_rate, make_health
from diffsim.tasks.runs.problem import Problem

STEPS = 60
EPS = float(np.finfo(np.float64).eps)
PLANS = {
    "fused": {"mode": "fused"},
    "step": {"mode": "step"},
    "windows": {"window": 7},
    "windows in step": {"window": 13, "mode": "step"},
    "worlds": {"worlds": 3, "window": 16},
}


class Linear(ds.Simulator):
    """x' = a x for three points, and v, which turns by an angle each step; some Params do nothing."""

    def __init__(self):
        self.x = ds.State(ds.real, 3, init=[1.0, 2.0, 3.0])
        self.v = ds.State(ds.vec2, init=[1.0, 0.0])
        self.a = ds.Param([1.0])
        self.turn = ds.Param([0.0])
        self.unused = ds.Param([1.0, 2.0])
        self.off = ds.Param([0.5])
        self.part = ds.Param([1.0, 1.0])  # whose second element nobody reads
        self.late = ds.Control(ds.real)  # which only the last steps feel
        self.weight = ds.Param([1.0, 0.0, 0.0])  # of x, of v, and of the running cost

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(3):
            gone = ti.max(self.off[0] - 1.0, 0.0)
            self.x[t + 1, i] = self.a[0] * self.part[0] * self.x[t, i] + gone + self.late[t]
        for _ in range(1):
            c, s = ti.cos(self.turn[0]), ti.sin(self.turn[0])
            v = self.v[t]
            self.v[t + 1] = ti.math.vec2(c * v.x - s * v.y, s * v.x + c * v.y)

    @ti.kernel
    def running(self, t: ti.i32):
        for i in range(3):
            self.cost[None] += self.weight[2] * self.x[t, i]

    @ti.kernel
    def last(self, t: ti.i32):
        for i in range(3):
            self.cost[None] += self.weight[0] * self.x[t, i]
        self.cost[None] += self.weight[1] * self.v[t].x

    def step(self, t):
        self.move(t)

    def running_cost(self, t):
        self.running(t)

    def terminal_cost(self, t):
        self.last(t)


@pytest.fixture(scope="module", params=PLANS)
def linear(runtime, request):
    made = ds.Rollout(Linear(), steps=STEPS, **PLANS[request.param])
    yield made
    made.close()


@pytest.fixture
def set_to(linear):
    """Set Params for one test; return the health."""

    def health(wrt=None, **values):
        for key, value in values.items():
            getattr(linear.sim, key).set(value)
        return linear.health(wrt)

    yield health
    for key, value in (("a", 1.0), ("turn", 0.0), ("weight", [1.0, 0.0, 0.0])):
        getattr(linear.sim, key).set(value)


def every_world(rollout, norms):
    return np.repeat(norms[None], rollout.worlds, axis=0) if rollout.worlds > 1 else norms


@pytest.mark.parametrize("a", [1.3, 1.05, 1.0, 0.9, 0.3])
def test_norms_of_a_linear_system_are_powers(linear, set_to, a):
    health = set_to(a=a)
    k = np.arange(STEPS, -1, -1)
    np.testing.assert_allclose(
        health.adjoint_norms, every_world(linear, math.sqrt(3.0) * a ** k.astype(float)), rtol=1e-13
    )
    np.testing.assert_allclose(health.growth, math.log(a), atol=1e-12)
    assert isinstance(health, GradientHealth)
    assert health.steps == STEPS
    assert np.shape(health.growth) == (() if linear.worlds == 1 else (3,))


def test_norms_are_those_of_the_gradient(linear, set_to):
    """At t = 0 the adjoint is the gradient of the initial values, which another computation gives."""
    health = set_to(["x", "v"], a=1.1, turn=0.3, weight=[1.0, 2.0, 0.5])
    cost, grads = linear.value_and_grad(["x", "v"])
    total = math.hypot(*np.ravel(grads["x"]), *np.ravel(grads["v"]))
    assert np.sum(np.atleast_2d(health.adjoint_norms)[:, 0]) == pytest.approx(total, rel=1e-13)
    for key, gradient in grads.items():
        assert health.gradient_norms[key] == pytest.approx(np.linalg.norm(gradient), rel=1e-13)
    assert np.all(np.isfinite(cost))


def test_a_steep_system_explodes(set_to):
    health = set_to(a=10.0)
    assert health.horizon == int(math.log(1.0 / EPS) / math.log(10.0)) == 15
    assert health.explodes
    assert not health.vanishes
    assert not health.ok
    assert health.truncation == 7  # where 8 of 16 digits are left
    assert "explodes: after 15 of 60 steps it is rounding alone" in str(health)
    assert "propagate back through 7 steps" in str(health)


def test_growth_that_is_slow_enough_is_told_but_does_no_harm(set_to):
    health = set_to(a=1.05)
    assert health.horizon == int(math.log(1.0 / EPS) / math.log(1.05)) > STEPS
    assert not health.explodes
    assert not health.vanishes
    assert health.truncation is None
    assert "carries information over all 60 steps" in str(health)


def test_a_flat_system_vanishes(set_to):
    health = set_to(a=0.1)
    assert health.horizon is None
    assert health.vanishes
    assert not health.explodes
    assert not health.ok
    assert health.truncation == 15  # 0.1 ** 16 is below the rounding of 1
    assert "vanishes: what happens more than 15 steps before the end" in str(health)


def test_norms_beyond_the_range_of_their_squares(linear, set_to):
    for a in (1e5, 1e-5):
        norms = np.atleast_2d(set_to(a=a).adjoint_norms)[0]
        k = np.arange(STEPS, -1, -1.0)
        np.testing.assert_allclose(np.log(norms), 0.5 * math.log(3.0) + k * math.log(a), rtol=1e-13)


def test_a_gradient_that_overflows_is_told_and_no_error(linear, set_to):
    linear.sim.x.set(0.0)  # so that the cost stays finite
    try:
        health = set_to(a=1e10)
    finally:
        linear.sim.x.set([1.0, 2.0, 3.0])
    norms = np.atleast_2d(health.adjoint_norms)[0]
    assert np.isinf(norms[STEPS - 31])
    assert np.isfinite(norms[STEPS - 30])
    assert health.horizon == 1
    assert health.explodes
    assert "explodes" in str(health)


def test_a_rotation_neither_grows_nor_shrinks(set_to):
    health = set_to(turn=0.7, weight=[0.0, 1.0, 0.0])
    np.testing.assert_allclose(health.adjoint_norms, 1.0, rtol=1e-12)
    np.testing.assert_allclose(health.growth, 0.0, atol=1e-12)
    assert health.horizon is None
    assert health.truncation is None
    assert not health.explodes
    assert not health.vanishes


def test_sums_over_time_are_not_growth(linear, set_to):
    """A running cost adds up: the adjoint is STEPS - t, a power of time and no exponential."""
    health = set_to(weight=[0.0, 0.0, 1.0])
    np.testing.assert_allclose(
        health.adjoint_norms, every_world(linear, math.sqrt(3.0) * np.arange(STEPS, -1, -1.0)), rtol=1e-13
    )
    assert np.all(np.abs(health.growth) < 5e-3)  # STEPS - t, not STEPS - t + 1: no exact power
    assert health.horizon is None


def test_dead_params_are_named(set_to):
    health = set_to()
    assert health.dead == ("turn", "unused", "off")  # v is not in the cost here
    assert health.zeros == {"part": 1}
    assert not health.ok
    text = str(health)
    assert "  unused       0, dead: it has no effect on the cost" in text
    assert "1 element(s) exactly zero" in next(line for line in text.splitlines() if "part" in line)
    assert set_to(["a"]).dead == ()


def test_health_leaves_gradients_as_they_are(linear):
    before = linear.value_and_grad()
    linear.health()
    after = linear.value_and_grad()
    np.testing.assert_array_equal(after[0], before[0])
    for key, gradient in before[1].items():
        np.testing.assert_array_equal(after[1][key], gradient)


def test_a_planted_fault_is_seen(runtime, monkeypatch):
    """Norms that leave out a component differ from the known ones."""
    plain = measure.over_elements
    monkeypatch.setattr(measure, "over_elements", lambda b, shape, add: plain(b, (1,) if shape else (), add))
    rollout = ds.Rollout(Linear(), steps=STEPS)
    assert np.max(np.abs(rollout.health().adjoint_norms - math.sqrt(3.0))) > 0.1
    rollout.close()


def test_health_errors(linear):
    with pytest.raises(ConfigError, match="wrt must name Params"):
        linear.health("nothing")
    linear.sim.x.set(np.inf)
    try:
        with pytest.raises(StateError, match=r"must (be|stay) finite"):
            linear.health()
    finally:
        linear.sim.x.set([1.0, 2.0, 3.0])


def test_training_looks_at_its_first_gradient(linear, set_to):
    problem = Problem.__new__(Problem)
    problem.rollout, problem._optimizer = linear, SGD(lr=1e-3)
    for wrt, words in (
        ("a", None),
        (["a", "off"], "the gradient of off is exactly zero: no effect on the cost"),
    ):
        problem._wrt, problem.warning = wrt, None
        problem.begin(None)
        problem._run.close()
        if words is None:
            assert problem.warning is None
        else:
            assert words in problem.warning
            assert "\n" not in problem.warning
    assert linear.sim.a.numpy() == 1.0  # the step that was looked at was taken back


# ---- chaos, oscillation, history ----


class Logistic(ds.Simulator):
    """x' = r x (1 - x), whose Lyapunov exponent at r = 4 is ln 2."""

    def __init__(self):
        self.x = ds.State(ds.real, 1, init=[0.3], per_world=True)
        self.r = ds.Param([4.0])

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(1):
            self.x[t + 1, i] = self.r[0] * self.x[t, i] * (1.0 - self.x[t, i])

    @ti.kernel
    def last(self, t: ti.i32):
        for i in range(1):
            self.cost[None] += self.x[t, i]

    def step(self, t):
        self.move(t)

    def terminal_cost(self, t):
        self.last(t)


def test_the_logistic_map_is_chaotic(runtime):
    rollout = ds.Rollout(Logistic(), steps=400, worlds=4, window=100)
    rollout.sim.x.set([[0.3], [0.123], [0.77], [0.4242]])
    health = rollout.health()
    np.testing.assert_allclose(health.growth, math.log(2.0), rtol=0.05)
    assert 47 <= health.horizon <= 54  # 52 bits, each step takes one
    assert health.explodes
    cost = rollout.evaluate()
    assert "gradients explode" in rollout.gradient_warning(cost)
    rollout.sim.r.set(2.5)  # a fixed point at 0.6, where the slope is -0.5
    health = rollout.health()
    np.testing.assert_allclose(health.growth, math.log(0.5), rtol=0.01)
    assert health.horizon is None
    assert health.vanishes
    rollout.close()
    rollout = ds.Rollout(Logistic(), steps=400)  # one segment: seen by what the cost feels of rounding
    cost = rollout.evaluate()
    assert "gradients explode" in rollout.gradient_warning(cost)
    rollout.sim.r.set(2.5)
    assert "explode" not in (rollout.gradient_warning(rollout.evaluate()) or "")
    rollout.close()


class Spring(ds.Simulator):
    """x'' = -x by Verlet's scheme in two positions, which neither damps nor drives."""

    def __init__(self):
        self.x = ds.State(ds.real, 1, init=[1.0], history=2)
        self.rate = ds.Param([0.04])

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(1):
            self.x[t + 1, i] = (2.0 - self.rate[0]) * self.x[t, i] - self.x[t - 1, i]

    @ti.kernel
    def last(self, t: ti.i32):
        for i in range(1):
            self.cost[None] += self.x[t, i] ** 2

    def step(self, t):
        self.move(t)

    def terminal_cost(self, t):
        self.last(t)


def test_an_oscillator_neither_grows_nor_shrinks(runtime):
    rollout = ds.Rollout(Spring(), steps=3000, memory="8KiB")
    assert rollout.plan.segments > 1
    health = rollout.health()
    assert abs(health.growth) < 1e-4
    assert health.horizon is None
    assert health.truncation is None
    assert health.ok
    # with two past steps the adjoint of x[t] obeys the same recurrence, backward
    n = health.adjoint_norms
    first, angle = n[-1], math.acos(1.0 - 0.02)
    want = np.abs(first * np.sin((np.arange(3001)[::-1] + 1) * angle) / math.sin(angle))
    np.testing.assert_allclose(n, want, rtol=1e-6, atol=1e-8 * first)
    rollout.close()


# ---- the arithmetic ----


def test_growth_of_given_norms():
    k = np.arange(200)
    assert growth_rate(np.exp(0.1 * k)) == pytest.approx(0.1, abs=1e-13)
    assert growth_rate(np.where(k < 10, 0.0, np.exp(0.1 * k))) == pytest.approx(0.1, abs=1e-12)  # zeros
    assert growth_rate(np.where(k > 150, np.inf, np.exp(0.1 * k))) == pytest.approx(0.1, abs=1e-12)
    assert growth_rate(np.where(k < 5, 1e-9, np.exp(0.1 * k))) == pytest.approx(0.1, abs=1e-12)  # start-up
    assert growth_rate(5.0 * (k + 1.0) ** 3) == pytest.approx(0.0, abs=1e-12)
    assert growth_rate(np.array([1.0, 2.0])) == pytest.approx(math.log(2.0))
    assert growth_rate(np.array([1.0, 4.0]), np.array([10, 12])) == pytest.approx(math.log(2.0))
    assert math.isnan(growth_rate(np.zeros(5)))
    assert math.isnan(growth_rate(np.array([1.0, np.nan, 2.0])))


def test_a_slope_within_the_scatter_is_no_growth():
    k = np.arange(101.0)
    wave = np.exp(np.sin(0.1 * k))[None, ::-1]
    assert growth_rate(wave[0, ::-1]) != 0.0
    assert make_health(wave, {}, EPS).horizon is None


def test_what_leaves_the_range_without_growing_is_lost_too():
    health = make_health(np.array([[np.nan, np.nan, 1.0, 1.0, 1.0]]), {}, EPS)
    assert health.horizon == 2
    assert health.explodes
    assert not health.vanishes


def test_nothing_to_measure():
    health = make_health(np.zeros((1, 11)), {"a": np.zeros(2)}, EPS)
    assert math.isnan(health.growth)
    assert health.horizon is None
    assert health.truncation is None
    assert health.dead == ("a",)
    assert not health.explodes
    assert "reaches no State" in str(health)
    assert "nothing to measure" in str(health)


def test_the_warning_tells_each_sign():
    fine = {"a": np.array([0.0, 1.0])}
    assert describe_last(fine, {0: 5.0}, 1e-9, 100, EPS) is None
    assert "of b is exactly zero" in describe_last({**fine, "b": np.zeros(3)}, {0: 5.0}, 0.0, 100, EPS)
    assert "explode" in describe_last(fine, {0: 5.0}, 1.0, 100, EPS)
    boundaries = {t: 10.0 ** (100 - t) for t in (75, 50, 25, 0)}
    text = describe_last(fine, boundaries, 0.0, 100, EPS)
    assert "explode" in text
    assert "rollout.health()" in text
    assert "\n" not in text
    assert describe_last(fine, {t: 1.01 ** (100 - t) for t in boundaries}, 0.0, 100, EPS) is None
    assert "explode" in describe_last(fine, {75: 1.0, 50: 1e200, 25: np.inf}, 0.0, 100, EPS)


def test_a_good_gradient_has_no_warning(linear, set_to):
    set_to(a=1.01)
    assert linear.gradient_warning(linear.evaluate("a"), "a") is None
    text = linear.gradient_warning(linear.evaluate())
    assert text.startswith("the gradient of turn, unused, off is exactly zero")
