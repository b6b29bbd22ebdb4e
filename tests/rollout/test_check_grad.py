"""check_grad: what it confirms, what it calls wrong and where, and how it tells the other reasons apart."""

import dataclasses

import numpy as np
import pytest
import taichi as ti

import diffsim as ds
from diffsim.compiler.autodiff import reverse, rules
from diffsim.compiler.ir import Accumulate, Block, For, If
from diffsim.errors import ConfigError
from diffsim.rollout.grad import case, probe
from diffsim.rollout.grad.verdict import VERDICTS, Line, judge


class Point(ds.Simulator):
    """A State that keeps its value, and a terminal cost of two Params: what a test changes is the cost."""

    def __init__(self, p=0.7, q=(0.4, -1.3, 2.1)):
        self.x = ds.State(ds.real, 1, init=1.5)
        self.p = ds.Param(p)
        self.q = ds.Param(np.array(q))

    @ti.kernel
    def keep(self, t: ti.i32):
        for i in range(1):
            self.x[t + 1, i] = self.x[t, i]

    def step(self, t):
        self.keep(t)

    def terminal_cost(self, t):
        self.measure(t)


class Smooth(Point):
    @ti.kernel
    def measure(self, t: ti.i32):
        for i in range(3):
            self.cost[None] += ti.tanh(self.p[None] * self.q[i]) * self.q[i] + self.x[t, 0] * self.q[i] ** 2


class AbsoluteValue(Point):
    @ti.kernel
    def measure(self, t: ti.i32):
        for _ in range(1):
            self.cost[None] += ti.abs(self.p[None]) + self.x[t, 0]


class Tie(Point):
    @ti.kernel
    def measure(self, t: ti.i32):
        for i in range(2):
            self.cost[None] += ti.max(self.q[i], self.q[i + 1]) * self.x[t, 0]


class Threshold(Point):
    @ti.kernel
    def measure(self, t: ti.i32):
        for _ in range(1):
            step = 0.0
            if self.p[None] > 0.0:
                step = 1.0
            self.cost[None] += step + self.p[None] * self.x[t, 0]


class Buried(Point):
    @ti.kernel
    def measure(self, t: ti.i32):
        for _ in range(1):
            self.cost[None] += (self.p[None] * self.p[None] + 1e13) + self.x[t, 0]


class Wiggly(Point):
    @ti.kernel
    def measure(self, t: ti.i32):
        for _ in range(1):
            self.cost[None] += ti.sin(3e8 * self.p[None]) * self.x[t, 0]


class Logistic(Point):
    @ti.kernel
    def keep(self, t: ti.i32):
        for i in range(1):
            self.x[t + 1, i] = self.p[None] * self.x[t, i] * (1.0 - self.x[t, i])

    @ti.kernel
    def measure(self, t: ti.i32):
        for _ in range(1):
            self.cost[None] += self.x[t, 0]


def rollout_of(kind, steps=2, **options):
    simulator = kind(**options)
    return ds.Rollout(simulator, steps=steps)


@pytest.fixture(scope="module")
def smooth(runtime):
    return rollout_of(Smooth)


# ---- what is right ----


def test_a_right_gradient_passes(smooth):
    report = smooth.check_grad(components=True)
    assert report.passed
    assert report.verdict == "right"
    assert report.keys == ("p", "q")
    assert report.error < 1e-8
    assert report.forward_error < 1e-14
    assert report.modes_error < 1e-14
    assert report.worst is None
    assert list(report.places) == [("p", ()), ("q", (0,)), ("q", (1,)), ("q", (2,))]
    assert str(report).splitlines()[-1].startswith("right: the gradient agrees with central differences")


def test_slopes_are_those_of_the_directions(smooth):
    """Along a single scalar the direction is a number, and every slope the derivative times it."""
    report = smooth.check_grad(["x"], directions=2, seed=4)
    exact = np.sum(smooth.sim.q.numpy() ** 2)
    rng = np.random.default_rng(4)
    for found in report.directions:
        wanted = exact * 1.5 * rng.normal()  # the root mean square of x is 1.5
        assert found.adjoint == pytest.approx(wanted, rel=1e-12)
        assert found.forward == pytest.approx(wanted, rel=1e-12)
        assert found.difference == pytest.approx(wanted, rel=1e-8)


def test_parts_can_be_left_out(smooth):
    report = smooth.check_grad(forward=False, modes=False, directions=1)
    assert report.passed
    assert report.forward_error is None
    assert report.modes_error is None
    assert report.directions[0].forward is None


def test_components_are_drawn_at_random(smooth):
    report = smooth.check_grad(components=2, directions=1)
    assert len(report.components) == 2
    assert smooth.check_grad(components=2, directions=1).places == report.places
    assert len(smooth.check_grad(components=100, directions=1).components) == 4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"directions": 0}, "directions must be a positive integer"),
        ({"tolerance": 0.0}, "tolerance must be positive"),
        ({"components": -1}, "components must be True, False or a number"),
        ({"components": "all"}, "components must be True, False or a number"),
        ({"wrt": "r"}, "wrt must name"),
    ],
)
def test_bad_arguments(smooth, words, message):
    with pytest.raises(ConfigError, match=message):
        smooth.check_grad(**words)


def test_too_many_components(runtime):
    class Large(Smooth):
        def __init__(self):
            super().__init__()
            self.many = ds.Param(np.zeros(5000))

    with pytest.raises(ConfigError, match="components must be at most 4096, got 5004; pass a number"):
        rollout_of(Large).check_grad(components=True)


def test_worlds_with_values_of_their_own(runtime):
    class Worlds(Smooth):
        def __init__(self):
            super().__init__()
            self.p = ds.Param(0.3, per_world=True)

    simulator = Worlds()
    rollout = ds.Rollout(simulator, steps=2, worlds=3)
    simulator.p.set(np.array([0.1, 0.5, -0.4]))
    report = rollout.check_grad(["p", "q", "x"], components=True)
    assert report.passed, str(report)
    assert [index for key, index in report.places if key == "p"] == [(0,), (1,), (2,)]
    assert report.forward_error < 1e-14


# ---- what is wrong ----


def planted(monkeypatch, factor=1.01):
    """Make the derivative of tanh wrong, for both modes of differentiation."""
    right = rules._RULES["tanh"]

    def wrong(b, args, r, g):
        return (lambda: b.op("mul", right(b, args, r, g)[0](), b.const(factor)),)

    monkeypatch.setitem(rules._RULES, "tanh", wrong)


def test_a_wrong_rule_is_found_though_both_modes_share_it(runtime, monkeypatch):
    planted(monkeypatch)
    rollout = rollout_of(Smooth)
    report = rollout.check_grad(components=True)
    assert not report.passed
    assert report.verdict == "wrong"
    assert report.forward_error < 1e-14
    p, q = rollout.sim.p.numpy(), rollout.sim.q.numpy()
    slopes = q / np.cosh(p * q) ** 2  # of tanh(p q) with respect to p
    assert report.components[0].difference == pytest.approx(np.sum(slopes * q), rel=1e-8)
    assert report.components[0].adjoint == pytest.approx(1.01 * np.sum(slopes * q), rel=1e-8)
    assert report.worst.key == "p"
    assert str(report).splitlines()[-1].startswith("wrong: the gradient is wrong")


@pytest.mark.parametrize("factor", [1.0 + 1e-5, 0.0, -1.0])
def test_wrong_by_little_and_by_much(runtime, monkeypatch, factor):
    planted(monkeypatch, factor)
    report = rollout_of(Smooth).check_grad(forward=False, modes=False, directions=2)
    assert report.verdict == "wrong"
    assert report.error > 5e-7


def without_accumulations(block, name):
    """Drop additions to the buffer of this name."""
    kept = [o for o in block.ops if not (isinstance(o, Accumulate) and o.ref.buffer.name == name)]
    for k, op in enumerate(kept):
        if isinstance(op, For):
            kept[k] = dataclasses.replace(op, body=without_accumulations(op.body, name))
        elif isinstance(op, If):
            blocks = [without_accumulations(b, name) for b in (op.then, op.orelse)]
            kept[k] = dataclasses.replace(op, then=blocks[0], orelse=blocks[1])
    return Block(kept, block.yields)


class Row(ds.Simulator):
    """Each place of `q` is read by two kernels; of one of them the adjoint can be spoiled."""

    def __init__(self, n=150):
        self.n = n
        rng = np.random.default_rng(5)
        self.x = ds.State(ds.real, n, init=rng.normal(size=n))
        self.q = ds.Param(rng.normal(size=(n,)))
        self.r = ds.Param(rng.normal(size=(2, n)))

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(self.n):
            self.x[t + 1, i] = self.x[t, i] + 0.1 * self.q[i] * self.r[0, i]

    @ti.kernel
    def push(self, t: ti.i32):
        for i in range(1):
            self.x[t + 1, 77] += 0.3 * self.q[33] ** 2

    def step(self, t):
        self.move(t)
        self.push(t)

    @ti.kernel
    def measure(self, t: ti.i32):
        for i in range(self.n):
            self.cost[None] += ti.sin(self.x[t, i]) * self.r[1, i]

    def terminal_cost(self, t):
        self.measure(t)


def test_a_dropped_accumulation_is_found_with_its_place(runtime, monkeypatch):
    """The field and the one index of 450 where the gradient is off, by bisection."""
    derive = reverse.adjoint

    def careless(stage, *rest):
        found = derive(stage, *rest)
        if stage.name == "Row.push":
            found.body = without_accumulations(found.body, "f_q_adj")
        return found

    monkeypatch.setattr(reverse, "adjoint", careless)
    rollout = ds.Rollout(Row(), steps=3)
    report = rollout.check_grad(["r", "q"])
    assert report.verdict == "wrong"
    assert (report.worst.key, report.worst.index) == ("q", (33,))
    assert report.forward_error > 1e-6  # forward mode is not affected
    for found in report.directions:
        assert found.forward == pytest.approx(found.difference, rel=1e-7)
    q, x = rollout.sim.q.numpy(), rollout.trajectory(rollout.sim.x)[-1]
    missing = 3 * 0.6 * q[33] * np.cos(x[77]) * rollout.sim.r.numpy()[1, 77]
    assert report.worst.difference - report.worst.adjoint == pytest.approx(missing, rel=1e-6)


def test_a_mode_that_differs_is_not_trusted(smooth, monkeypatch):
    right = probe.Probe.gradient

    def other(self, values, mode=None):
        found = right(self, values, mode)
        return {key: g + 1e-3 * (mode == "step") for key, g in found.items()}

    monkeypatch.setattr(probe.Probe, "gradient", other)
    report = smooth.check_grad(directions=1)
    assert report.verdict == "unsure"
    assert not report.passed
    assert report.modes_error > 1e-4


def test_forward_mode_that_differs_is_not_trusted(smooth, monkeypatch):
    right = case.Tangents.slopes
    monkeypatch.setattr(case.Tangents, "slopes", lambda *args: right(*args) * (1.0 + 1e-7))
    report = smooth.check_grad(directions=1, modes=False)
    assert report.verdict == "unsure"
    assert report.forward_error == pytest.approx(1e-7, rel=0.5)


# ---- what has no derivative, or none that differences can see ----


def test_the_kink_of_an_absolute_value(runtime):
    """At 0 the slope is 0 by convention, which central differences confirm; one-sided ones show the kink."""
    rollout = rollout_of(AbsoluteValue, p=0.0)
    report = rollout.check_grad("p")
    assert report.verdict == "kink"
    assert report.passed
    assert report.directions[0].left == pytest.approx(-report.directions[0].right, rel=1e-6)
    rollout.sim.p.set(0.3)
    assert rollout.check_grad("p").verdict == "right"
    rollout.sim.p.set(1e-7)  # differences reach across the kink at all but the smallest steps
    assert rollout.check_grad("p").verdict in ("right", "kink")


def test_a_tie(runtime):
    """The convention passes the gradient to the second of two equal arguments: one of the slopes."""
    rollout = rollout_of(Tie, q=(0.5, 0.5, 0.2))
    report = rollout.check_grad("q")
    assert report.verdict == "kink"
    assert not report.passed
    assert report.worst.key == "q"
    assert report.worst.index in ((0,), (1,))
    assert abs(report.worst.adjoint - report.worst.difference) == pytest.approx(0.75, rel=1e-5)
    rollout.sim.q.set([0.5, 0.6, 0.2])
    assert rollout.check_grad("q").verdict == "right"


def test_a_jump(runtime):
    rollout = rollout_of(Threshold, p=0.0)
    report = rollout.check_grad("p")
    assert report.verdict == "jump"
    assert not report.passed
    rollout.sim.p.set(-0.2)
    assert rollout.check_grad("p").passed


def test_chaos(runtime):
    rollout = rollout_of(Logistic, steps=150, p=3.9)
    rollout.sim.x.set(0.3)
    report = rollout.check_grad(["p", "x"])
    assert report.verdict == "chaos"
    assert not report.passed
    assert report.forward_error < 1e-9
    short = ds.Rollout(rollout.sim, steps=10)
    assert short.check_grad(["p", "x"]).verdict == "right"


def test_rounding(runtime):
    report = rollout_of(Buried).check_grad("p")
    assert report.verdict == "rounding"
    assert not report.passed


def test_truncation(runtime):
    report = rollout_of(Wiggly).check_grad("p")
    assert report.verdict == "truncation", str(report)
    assert not report.passed


def test_every_verdict_has_a_sentence(smooth):
    report = smooth.check_grad(directions=1, forward=False, modes=False)
    for verdict in (*VERDICTS, "cut"):
        assert str(dataclasses.replace(report, verdict=verdict)).splitlines()[-1].startswith(f"{verdict}: ")


def test_a_cut_on_purpose(runtime):
    class Cut(Point):
        @ti.kernel
        def measure(self, t: ti.i32):
            for i in range(3):
                self.cost[None] += self.q[i] * ds.stop_gradient(self.q[i]) * self.x[t, 0]

    report = rollout_of(Cut).check_grad("q")
    assert report.verdict == "cut"
    assert not report.passed
    assert report.forward_error < 1e-14


@ti.func
def cube(x):
    return x * x * x


@ti.func
def square(x):
    return x * x


@ds.adjoint_of(cube)
@ti.func
def cube_adjoint(x, y, y_adj):
    return 3.0 * x * x * y_adj


@ds.adjoint_of(square)
@ti.func
def square_adjoint(x, y, y_adj):
    return 2.02 * x * y_adj


def test_given_adjoints_are_checked_like_others(runtime):
    class Given(Point):
        @ti.kernel
        def measure(self, t: ti.i32):
            for i in range(3):
                self.cost[None] += cube(self.q[i]) * self.x[t, 0] + square(self.p[None])

    rollout = rollout_of(Given)
    assert rollout.check_grad("q").passed
    report = rollout.check_grad(["p", "q"])
    assert report.verdict == "wrong"
    assert report.worst.key == "p"
    assert report.worst.adjoint / report.worst.difference == pytest.approx(1.01, rel=1e-6)
    assert report.forward_error > 1e-4  # forward mode differentiates the function itself


# ---- the verdict on costs written down ----


@pytest.mark.parametrize(
    ("cost", "slope", "verdict"),
    [
        (lambda h: np.exp(h), 1.0, "right"),
        (lambda h: np.exp(h), 1.001, "wrong"),
        (lambda h: 1.0, 0.0, "right"),
        (lambda h: 1.0, 0.5, "wrong"),
        (lambda h: abs(h), 0.0, "kink"),
        (lambda h: max(h, 0.0), 1.0, "kink"),
        (lambda h: max(h, 0.0), 1.5, "wrong"),  # no slope of either side
        (lambda h: max(h - 3e-10, 0.0) * 7.0 + 2.0, 0.0, "kink"),  # just beside the point
        (lambda h: np.floor(h), 0.0, "jump"),
        (lambda h: np.sin(1e4 * h) + h, 10001.0, "right"),
        (lambda h: np.sin(1e4 * h) + h, 1.0, "wrong"),
        (lambda h: np.float16(1.0 + 0.3 * h), 0.3, "rounding"),
        (lambda h: 0.3 - 0.1 - 0.2 + 0.0 * h, 0.0, "right"),
        (lambda h: 1e15 + h, 1.0, "rounding"),
        (lambda h: np.float32(7.0 + 0.3 * h), 0.30001, "rounding"),
        (lambda h: np.float32(7.0 + 0.3 * h), 0.6, "wrong"),
        (lambda h: max(h - 0.02, 0.0), 1.0, "wrong"),  # flat where it counts
        (lambda h: float("nan") if h else 1.0, 1.0, "unsure"),
        (lambda h: np.sin(1e14 * h), 1e14, "chaos"),
    ],
)
def test_verdicts(cost, slope, verdict):
    assert judge(Line(lambda h: float(cost(h)), float(cost(0.0))), slope, 0.0, 1e-6).verdict == verdict


# ---- what a check leaves behind ----


def test_nothing_is_changed(smooth):
    sim = smooth.sim
    sim.p.set(0.25)
    before = smooth.value_and_grad()
    leaves = smooth.leaves()
    versions = [leaf.field.version for leaf in leaves]
    smooth.check_grad(components=True)
    assert [leaf.field.version for leaf in leaves] == versions
    assert sim.p.host_values().shape == ()
    for leaf in leaves:
        np.testing.assert_array_equal(leaf.gradient(), before[1][leaf.key])
    after = smooth.value_and_grad()
    assert after[0] == before[0]
    for key, gradient in before[1].items():
        np.testing.assert_array_equal(after[1][key], gradient)


def test_nothing_is_changed_where_a_check_fails(smooth, monkeypatch):
    before = smooth.value_and_grad()

    def fail(*args):
        raise RuntimeError("in the middle")

    with monkeypatch.context() as patch:
        patch.setattr(case, "judge", fail)
        with pytest.raises(RuntimeError, match="in the middle"):
            smooth.check_grad()
    leaf = smooth.leaves(["q"])[0]
    np.testing.assert_array_equal(leaf.gradient(), before[1]["q"])
    assert smooth.value() == before[0]
