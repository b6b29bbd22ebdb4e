"""Gradients of exactly zero, and kinks that meet: what check_grad and health make of them."""

import numpy as np
import pytest
import taichi as ti

import diffsim as ds
from diffsim.rollout import Rollout
from diffsim.rollout.grad.health import make_health
from diffsim.rollout.grad.probe import Probe
from diffsim.rollout.grad.stairs import behind_zeros, effects_of_zeros
from diffsim.rollout.grad.verdict import Line

EPS = 2.0**-52
STEPS = 20
DT = 0.05

# ---- stairs ----


class Switched(ds.Simulator):
    """A ball turned around below the ground by an `if`, and a cart pushed from a time on that is a Param."""

    def __init__(self, per_world=False):
        self.y = ds.State(ds.real, init=1.0)
        self.v = ds.State(ds.real)
        self.x = ds.State(ds.real)
        self.ground = ds.Param(np.array(0.5), per_world=per_world)
        self.when = ds.Param(np.array([0.52, 0.4]))  # of the second nothing is known before its world's end
        self.push = ds.Param(np.array(2.0))
        self.unused = ds.Param([1.0, 2.0])
        self.far = ds.Param(np.array(0.5))  # has an effect above 1, which begins without a jump

    @ti.kernel
    def fall(self, t: ti.i32):
        for _ in range(1):
            v = self.v[t] - DT * 9.8
            if self.y[t] < self.ground[None] and v < 0.0:
                v = -0.8 * v
            self.v[t + 1] = v
            self.y[t + 1] = self.y[t] + DT * v

    @ti.kernel
    def roll(self, t: ti.i32):
        for _ in range(1):
            speed = ti.max(self.far[None] - 1.0, 0.0)
            if t * DT > self.when[0]:
                speed += self.push[None]
            self.x[t + 1] = self.x[t] + DT * speed

    def step(self, t):
        self.fall(t)
        self.roll(t)

    @ti.kernel
    def measure(self, t: ti.i32):
        for _ in range(1):
            self.cost[None] += self.x[t] ** 2 + self.y[t]

    def terminal_cost(self, t):
        self.measure(t)


@pytest.fixture(scope="module", params=[64, 32])
def precision(request):
    return request.param


@pytest.fixture(scope="module")
def switched(runtime, precision):
    made = ds.Rollout(Switched(), steps=STEPS)
    yield made
    made.close()


def test_a_staircase_is_no_right_gradient(switched):
    report = switched.check_grad(modes=False, directions=2)
    assert report.verdict == "staircase"
    assert not report.passed
    assert report.stairs == ("ground", "when")
    assert report.dead == ("unused",)
    assert {d.verdict for d in report.directions} == {"right"}
    lines = str(report).splitlines()
    assert "zero between jumps of the cost: ground, when" in lines
    assert "no effect on the cost: unused" in lines
    assert lines[-1].startswith("staircase: the gradient of ground, when is exactly zero, which is right and")
    for remedy in ("time of impact: diffsim.kernels.common.contact", "split the step", "smooth the switch"):
        assert remedy in lines[-1]


def test_what_has_a_gradient_or_no_effect_is_right(switched):
    for wrt, dead in ((["push"], ()), (["unused"], ("unused",)), (["far"], ()), (["push", "far"], ())):
        report = switched.check_grad(wrt, modes=False, directions=1)
        assert (report.verdict, report.stairs, report.dead) == ("right", (), dead)
        assert report.passed


def test_health_tells_dead_from_staircase(switched):
    before = switched.value_and_grad()
    health = switched.health()
    assert health.stairs == ("ground", "when")
    assert health.dead == ("unused", "far")
    assert health.flat == ("far",)
    assert not health.ok
    rows = {line.split()[0]: line for line in str(health).splitlines()[3:]}
    assert "staircase: the cost moves in jumps with it; differentiate the moment" in rows["ground"]
    assert "diffsim.kernels.common.contact" in rows["when"]
    assert rows["unused"].endswith("dead: it has no effect on the cost as things are")
    assert rows["far"].endswith("flat: it does not move the cost here, but does farther away")
    assert switched.health(["push", "ground"]).stairs == ("ground",)
    assert switched.health(["push"]).ok
    after = switched.value_and_grad()
    assert after[0] == before[0]
    for key, gradient in before[1].items():
        np.testing.assert_array_equal(after[1][key], gradient)
    assert switched.sim.when.numpy() == pytest.approx([0.52, 0.4])


def test_only_what_is_zero_pays(switched, monkeypatch):
    """Without a zero health runs nothing more; a dead field costs 13 runs, a stair at most 27 more."""
    runs = [0]
    forward = switched._engine.forward

    def counted(*arguments):
        runs[0] += 1
        return forward(*arguments)

    monkeypatch.setattr(switched._engine, "forward", counted)
    for wrt, most in ((["push"], 0), (["unused"], 13), (["unused", "far"], 13 + 2 * 27), (["when"], 13 + 27)):
        runs[0] = 0
        switched.health(wrt)
        assert (runs[0] > 0) == (most > 0)
        assert runs[0] <= most


def test_worlds_are_looked_at_together(runtime):
    rollout = ds.Rollout(Switched(per_world=True), steps=STEPS, worlds=2)
    assert rollout.health(["ground", "unused"]).stairs == ("ground",)
    rollout.close()


@pytest.mark.parametrize(
    ("cost", "word"),
    [
        (lambda h: 3.0, "dead"),
        (lambda h: 0.3 + 1e-16 * h, "dead"),  # rounding
        (lambda h: 3.0 if abs(h) < 0.05 else float("nan"), "dead"),
        (lambda h: float(h > 0.2), "staircase"),
        (lambda h: float(h < -0.004), "staircase"),
        (lambda h: 7.0 + np.floor(3.0 * h + 0.5), "staircase"),
        (lambda h: 1e2 + np.floor(500.0 * h + 0.5), "staircase"),
        (lambda h: max(h - 0.02, 0.0), "far"),
        (lambda h: max(0.02 - h, 0.0) ** 2, "far"),
        (lambda h: h**2, "far"),
        (lambda h: h**4, "far"),
        (lambda h: 1e3 + h**2, "far"),
        (lambda h: 1e3 + h**4, "far"),  # rises out of the rounding
        (lambda h: 1.0 + 1e-4 * np.clip(1e3 * (h - 0.02), 0.0, 1.0), "far"),  # a ramp between flat parts
        (lambda h: 5.0 + h if h > 0.02 else 0.0, "far"),  # a jump to where there is a slope
    ],
)
@pytest.mark.parametrize("epsilon", [EPS, 2.0**-23])
def test_what_lies_behind_a_zero(cost, word, epsilon):
    kind = np.float64 if epsilon == EPS else np.float32
    assert behind_zeros(Line(lambda h: float(kind(cost(h))), float(kind(cost(0.0)))), epsilon) == word


# ---- kinks that meet ----


class Touching(ds.Simulator):
    """Three balls at rest on a line, each touching the next, as in a rack: a push to either side is a hit."""

    def __init__(self):
        self.x = ds.State(ds.real, 3, init=[-1.0, 0.0, 1.0])
        self.v = ds.State(ds.real, 3)
        self.change = ds.Scratch(ds.real, 3)

    @ti.kernel
    def hit(self, t: ti.i32):
        for i in range(2):
            closing = self.v[t, i] - self.v[t, i + 1]
            if self.x[t, i + 1] - self.x[t, i] < 1.0 + 1e-9 and closing > 0.0:
                self.change[t, i] -= 0.5 * 1.95 * closing
                self.change[t, i + 1] += 0.5 * 1.95 * closing

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(3):
            self.v[t + 1, i] = self.v[t, i] + self.change[t, i]
            self.x[t + 1, i] = self.x[t, i] + self.v[t + 1, i]

    def step(self, t):
        self.hit(t)
        self.move(t)

    @ti.kernel
    def apart(self, t: ti.i32):
        for _ in range(1):
            self.cost[None] += self.x[t, 1] - self.x[t, 2]

    def terminal_cost(self, t):
        self.apart(t)


@pytest.fixture(scope="module")
def touching(runtime):
    made = ds.Rollout(Touching(), steps=1)
    yield made
    made.close()


@pytest.mark.parametrize("forward", [True, False])
def test_kinks_that_meet_are_no_wrong_gradient(touching, forward):
    """The middle ball at rest meets nobody: slope 1. Pushed, it has -0.95 on one side, 0.025 on the other."""
    report = touching.check_grad("v", components=True, directions=4, modes=False, forward=forward)
    assert report.verdict == "kink"
    assert not report.passed
    middle = report.components[1]
    assert middle.verdict == "kink"
    assert middle.adjoint == pytest.approx(1.0)
    assert (middle.left, middle.right) == (pytest.approx(0.025, rel=1e-5), pytest.approx(-0.95, rel=1e-5))
    assert "wrong" not in str(report)


@pytest.mark.parametrize("forward", [True, False])
def test_a_wrong_gradient_at_kinks_that_meet_is_wrong(touching, monkeypatch, forward):
    """It is wrong beside them too, and forward mode is of another opinion."""
    both, single = Rollout.value_and_grad, Probe.gradient

    def spoiled(gradients):
        return {key: 1.5 * g for key, g in gradients.items()}

    monkeypatch.setattr(Rollout, "value_and_grad", lambda *a: (0.0, spoiled(both(*a)[1])))
    monkeypatch.setattr(Probe, "gradient", lambda *a: spoiled(single(*a)))
    report = touching.check_grad("v", components=True, directions=2, modes=False, forward=forward)
    assert report.verdict == "wrong"


def test_what_nobody_looked_at_is_not_called_flat():
    class Bowl:
        def cost(self, values):
            return float(sum(np.sum(np.square(array)) for array in values.values()))

    values = {f"p{k}": np.zeros(()) for k in range(18)}
    words = effects_of_zeros(Bowl(), values, values, 1e-16)
    assert list(words.values()) == ["far"] * 16 + ["unseen"] * 2
    health = make_health(np.ones((1, 4)), values, 1e-16, words)
    assert health.flat == tuple(values)[:16]
    assert health.dead == tuple(values)
