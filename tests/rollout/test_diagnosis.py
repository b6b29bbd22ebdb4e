"""Numbers that are not finite: named with kernel, step, field, index, world and statement, in both passes."""

import inspect
import math
import re
from pathlib import Path

import numpy as np
import pytest
import taichi as ti

import diffsim as ds
from diffsim.compiler import interpret
from diffsim.compiler.autodiff import rules
from diffsim.engine.lookout import Lookout
from diffsim.errors import ConfigError, GradientError, StateError
from diffsim.rollout import diagnosis

STEPS = 12


class Balls(ds.Simulator):
    """Three springs and three points; each Control drives one thing that can leave the finite numbers."""

    def __init__(self):
        self.x = ds.State(ds.vec2, 3, init=[[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]], per_world=True, history=2)
        self.v = ds.State(ds.vec2, 3)
        self.f = ds.Scratch(ds.vec2, 3)
        self.wind = ds.Scratch(ds.real, 3)
        self.k = ds.Param([1.0, 2.0, 3.0])
        self.gust = ds.Control(ds.real, 3, init=1.0)  # under a square root, in a Scratch
        self.start = ds.Param([1.0])
        self.root = ds.Control(ds.real, 3, init=1.0)  # under a square root, in a State
        self.log = ds.Control(ds.real, init=1.0)  # in a logarithm, in the running cost
        self.end = ds.Param([1.0])  # divides the terminal cost
        self.ends = ds.Constant([[0, 1], [1, 2], [2, 0]])

    @ti.kernel
    def begin(self):
        for i in range(1):
            self.x[0, 0] = ti.math.vec2(0.0, ti.sqrt(self.start[0]) - 1.0)

    @ti.kernel
    def springs(self, t: ti.i32):
        for s in range(3):
            a, b = self.ends[s, 0], self.ends[s, 1]
            d = self.x[t, b] - self.x[t, a]
            force = self.k[s] * (d.norm() - 1.0) * d / d.norm()
            self.f[t, a] += force
            self.f[t, b] -= force

    @ti.kernel
    def blow(self, t: ti.i32):
        for i in range(3):
            self.wind[t, i] = 0.1 * ti.sqrt(self.gust[t, i])
        for i in range(3):
            self.f[t, 2 - i] += ti.math.vec2(self.wind[t, i], 0.0)

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(3):
            push = ti.sqrt(self.root[t, i])
            self.v[t + 1, i] = 0.9 * self.v[t, i] + 0.1 * self.f[t, i] + ti.math.vec2(0.0, push)
            self.x[t + 1, i] = self.x[t, i] + 0.1 * self.v[t + 1, i] + 0.0 * self.x[t - 1, i]

    @ti.kernel
    def running(self, t: ti.i32):
        for i in range(1):
            self.cost[None] += ti.log(self.log[t])

    @ti.kernel
    def last(self, t: ti.i32):
        for i in range(3):
            self.cost[None] += self.x[t, i].norm_sqr() / self.end[0]

    def reset(self):
        self.begin()

    def step(self, t):
        self.springs(t)
        self.blow(t)
        self.move(t)

    def running_cost(self, t):
        self.running(t)

    def terminal_cost(self, t):
        self.last(t)

    def as_declared(self):
        """Set everything to what it was."""
        self.x.set([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]])
        self.k.set([1.0, 2.0, 3.0])
        for field in (self.start, self.root, self.gust, self.log, self.end):
            field.set(1.0)
        self.v.set(0.0)


def line_of(function, text):
    """Return `file:line` of the first line of a kernel that contains a text."""
    code = getattr(function, "function", function)
    lines, first = inspect.getsourcelines(code)
    return f"{Path(__file__).name}:{first + next(k for k, x in enumerate(lines) if text in x)}:"


CASES = {
    "stepwise": {"mode": "step"},
    "windows": {"window": 5},
    "worlds": {"worlds": 3, "window": 7},
}


@pytest.fixture(scope="module", params=CASES)
def compiled(runtime, request):
    made = ds.Rollout(Balls(), steps=STEPS, **CASES[request.param])
    yield made
    made.close()


@pytest.fixture
def rollout(compiled):
    yield compiled
    compiled.sim.as_declared()


def controls(value, step, index):
    values = np.ones((STEPS, 3))
    values[step, index] = value
    return values


def failure(rollout, kind, **more):
    with pytest.raises(kind) as caught:
        rollout.value_and_grad([*KEYS], debug="nan", **more)
    return str(caught.value)


def numerator(text):
    """Return what was divided by zero, as the message tells it."""
    return float(re.search(r"which computed (\S+) / 0; the slope of sqrt is infinite at zero", text)[1])


KEYS = ("k", "start", "root", "gust", "log", "end", "x", "v")


def test_where_all_is_finite_debug_changes_nothing(rollout):
    cost, grads = rollout.value_and_grad(KEYS)
    watched, same = rollout.value_and_grad(KEYS, debug="nan")
    np.testing.assert_allclose(watched, cost, rtol=1e-13)
    for key, gradient in grads.items():
        assert np.any(gradient), key
        np.testing.assert_allclose(same[key], gradient, rtol=1e-11, atol=1e-13, err_msg=key)


def test_debug_is_none_or_nan(rollout):
    for bad in ("inf", True, "NaN", 1):
        with pytest.raises(ConfigError, match=f"debug must be None or 'nan', got {bad!r}; use 'nan'"):
            rollout.value_and_grad(debug=bad)


@pytest.mark.parametrize("step", [0, 4, 5, 11])
def test_a_value_is_located(rollout, step):
    rollout.sim.root.set(controls(-0.25, step, 2))
    text = failure(rollout, StateError)
    assert text.startswith("State v at index [2, 1]" + (" of world 0" if rollout.worlds > 1 else ""))
    assert f"got nan in the forward pass, in step {step} (at t = {step + 1}): kernel Balls.move" in text
    assert line_of(Balls.move, "self.v[t + 1, i] =") in text
    assert "which computed sqrt(-0.25); the square root of a negative number" in text


@pytest.mark.parametrize("step", [0, 4, 5, 11])
def test_an_adjoint_is_located(rollout, step):
    rollout.sim.root.set(controls(0.0, step, 1))
    text = failure(rollout, GradientError)
    assert text.startswith(f"the adjoint of Control root at index [{step}, 1]")
    assert f"got inf in the backward pass, in step {step}: kernel Balls.move" in text
    assert "the slope of sqrt is infinite at zero: use ds.math.sqrt" in text
    assert ("of world 0 must" in text) == (rollout.worlds > 1)  # the first whose share is to blame
    assert numerator(text) != 0.0
    assert line_of(Balls.move, "ti.sqrt(self.root[t, i])") in text


def test_an_adjoint_that_passes_through_its_own_kernel_is_located(rollout):
    """What the adjoint reads there, it has written itself, and it is gone when the kernel ends."""
    rollout.sim.gust.set(controls(0.0, 6, 1))
    text = failure(rollout, GradientError)
    assert text.startswith("the adjoint of Control gust at index [6, 1]")
    assert "got inf in the backward pass, in step 6: kernel Balls.blow" in text
    assert line_of(Balls.blow, "ti.sqrt(self.gust[t, i])") in text
    assert numerator(text) != 0.0


def test_a_division_in_a_scatter_is_located(rollout):
    rollout.sim.x.set([[1.0, 0.0], [1.0, 0.0], [1.0, 1.0]])
    rollout.sim.start.set(4.0)  # point 0 begins at (0, 1)
    assert np.all(np.isfinite(rollout.value()))
    rollout.sim.x.set([[1.0, 0.0], [1.0, 1.0], [1.0, 1.0]])  # springs from 1 to 2 has no length
    text = failure(rollout, StateError)
    assert text.startswith("Scratch f at index [1, 0]")
    assert "got nan in the forward pass, in step 0: kernel Balls.springs" in text
    assert line_of(Balls.springs, "self.f[t, a] +=") in text
    assert "/ 0; a division by zero: use ds.math.safe_div, or ds.math.normalized" in text


def test_the_world_is_named(rollout):
    if rollout.worlds == 1:
        pytest.skip("has one world")
    points = np.repeat([[[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]]], 3, axis=0)
    points[2, 1] = points[2, 2]
    rollout.sim.x.set(points)
    assert failure(rollout, StateError).startswith("Scratch f at index [1, 0] of world 2 must stay finite")


def test_reset_is_located_in_both_passes(rollout):
    rollout.sim.start.set(-1.0)
    text = failure(rollout, StateError)
    assert "got nan in the forward pass, before step 0: kernel Balls.begin" in text
    assert "State x at index [0, 1]" in text
    rollout.sim.start.set(0.0)
    text = failure(rollout, GradientError)
    assert text.startswith("the adjoint of Param start at index [0]")
    assert "in the backward pass, before step 0: kernel Balls.begin" in text


def test_costs_are_located(rollout):
    values = np.ones(STEPS)
    values[6] = 0.0
    rollout.sim.log.set(values)
    text = failure(rollout, StateError)
    assert text.startswith("the cost" + (" of world 0" if rollout.worlds > 1 else "") + " must stay finite")
    assert "got -inf in the forward pass, in step 6: kernel Balls.running" in text
    assert "which computed log(0); the logarithm of a number that is not positive" in text
    rollout.sim.log.set(1.0)
    rollout.sim.end.set(0.0)
    text = failure(rollout, StateError)
    assert f"in the forward pass, in the terminal cost after step {STEPS - 1}: kernel Balls.last" in text


def test_growth_is_told_from_singular_points(rollout):
    rollout.sim.k.set([1e200, 1e200, 1e200])
    text = failure(rollout, StateError)
    assert "numbers grew beyond what the precision holds" in text
    assert "in the forward pass, in step 1: kernel Balls.springs" in text


def put(rollout, key, index, number):
    """Write a number to the device, as an optimiser may: `set` takes no NaN."""
    leaves = rollout.leaves([key])
    leaves[0].values[-1][index] = number
    rollout.touch(leaves)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_was_set_to_no_number_is_named_before_anything_runs(rollout, bad, monkeypatch):
    monkeypatch.setattr("diffsim.engine.engine.Engine.watched_backward", None)
    put(rollout, "k", 1, bad)
    text = failure(rollout, StateError)
    assert text.startswith(f"Param k must be finite before anything runs, got {bad} at index [1]; set other")
    assert ("use a large number" in text) == np.isinf(bad)
    rollout.sim.k.set(1.0)
    put(rollout, "v", 1, bad)
    assert "the initial value of State v must be finite" in failure(rollout, StateError)


def test_other_errors_tell_how_to_find_out(rollout):
    rollout.sim.root.set(controls(-0.25, 8, 2))
    for run in (rollout.value, rollout.value_and_grad):
        with pytest.raises(StateError, match=r"value_and_grad\(debug=\"nan\"\) names the kernel"):
            run()
    rollout.sim.root.set(controls(0.0, 11, 1))
    with pytest.raises(GradientError, match=r"value_and_grad\(debug=\"nan\"\) names the kernel"):
        rollout.value_and_grad()


def test_without_statement_the_kernel_is_still_named(rollout, monkeypatch):
    """Stages that take too long to run by hand are explained from their operations."""
    monkeypatch.setattr("diffsim.compiler.interpret._BUDGET", 3)
    rollout.sim.root.set(controls(-0.25, 8, 2))
    text = failure(rollout, StateError)
    assert "in step 8 (at t = 9): kernel Balls.move" in text
    assert line_of(Balls.move, "self.v[t + 1, i] =") in text
    assert "look for growth, or for one of these; the slope of sqrt" in text


def test_a_watch_that_does_not_look_finds_nothing(rollout, monkeypatch):
    """The fault planted: without its look at a kernel, the first number is found later, or elsewhere."""
    monkeypatch.setattr(diagnosis, "_written", lambda stage: [])
    rollout.sim.root.set(controls(-0.25, 4, 2))
    assert "in the forward pass" not in failure(rollout, StateError)


def test_remedies_name_what_there_is():
    names = set(re.findall(r"ds\.math\.(\w+)", inspect.getsource(diagnosis)))
    assert {"sqrt", "norm", "normalized", "safe_div", "acos"} <= names
    assert [name for name in names if not hasattr(ds.math, name)] == []


# ---- long runs ----


class Long(ds.Simulator):
    """Amplifies a State; another begins with an infinity that does no harm."""

    def __init__(self):
        self.x = ds.State(ds.vec2, 2)
        self.best = ds.State(ds.real, init=np.inf, history=2)
        self.push = ds.Control(ds.real)
        self.gain = ds.Param([1.0])

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(2):
            self.x[t + 1, i] = self.gain[0] * self.x[t, i] + ti.math.vec2(
                ti.sqrt(1.0 + self.push[t]) - 1.0, 0.0
            )
        for _ in range(1):
            self.best[t + 1] = ti.min(self.best[t], ti.math.inf)

    @ti.kernel
    def end(self, t: ti.i32):
        for i in range(2):
            self.cost[None] += self.x[t, i].sum()

    def step(self, t):
        self.move(t)

    def terminal_cost(self, t):
        self.end(t)


@pytest.fixture(scope="module", params=["fused", "step"])
def long(runtime, request):
    made = ds.Rollout(Long(), steps=200, mode=request.param, window=20)
    made.value_and_grad()  # compares modes too, which runs segments of its own
    yield made
    made.close()


@pytest.fixture(params=["in place", "by a kernel"])
def looked_at(request, long, monkeypatch):
    """The rollout, whose States are looked at as on the CPU or as on a GPU, and the segments it runs."""
    engine = long._engine
    monkeypatch.setattr(engine.lookout, "_every", 1)  # windows are short here, but all are looked at
    if request.param == "by a kernel":
        monkeypatch.setattr(engine.storage, "on_cpu", False)
    ran = []
    for name in ("forward", "backward"):
        method = getattr(engine.executor, name)

        def counted(t0, n, last, name=name, method=method):
            ran.append((name, t0))
            method(t0, n, last)

        monkeypatch.setattr(engine.executor, name, counted)
    yield long, ran
    monkeypatch.undo()
    long.sim.push.set(0.0)
    long.sim.gain.set(1.0)


def test_a_long_run_ends_where_its_states_are_no_numbers(looked_at):
    rollout, ran = looked_at
    assert np.isfinite(rollout.value())  # the infinity in `best` is let be
    push = np.zeros(200)
    push[50] = -2.0
    rollout.sim.push.set(push)
    for run in (rollout.value, rollout.value_and_grad):
        ran.clear()
        with pytest.raises(
            StateError,
            match=r"State x must stay finite, got nan at index \[0\] in step 51, .* step 60 of 200",
        ):
            run()
        assert ran == [("forward", 0), ("forward", 20), ("forward", 40)]
    frames = rollout.trajectory(rollout.sim.x)  # what it came to can still be looked at
    assert np.isnan(frames[51:, :, 0]).all()
    assert np.isfinite(frames[:51]).all()


def test_a_backward_pass_ends_where_its_adjoints_are_no_numbers(looked_at):
    rollout, ran = looked_at
    rollout.sim.gain.set(1e10)  # x stays zero, and so does the cost
    with pytest.raises(
        GradientError,
        match=r"adjoint of State x must stay finite, got inf at index .* in step 160 .* ended 40 .*health",
    ):
        rollout.value_and_grad()
    assert [t0 for name, t0 in ran if name == "backward"] == [180, 160]


def test_a_cost_that_is_no_number_has_no_backward_pass(looked_at):
    rollout, ran = looked_at
    push = np.zeros(200)
    push[190] = -2.0  # in the last segment, behind which nothing is looked at but the cost
    rollout.sim.push.set(push)
    with pytest.raises(StateError, match=r"the cost must be finite, got nan: State x .* step 191"):
        rollout.value_and_grad()
    assert not any(name == "backward" for name, _ in ran)


def test_the_largest_adjoint_is_noted(looked_at):
    rollout, _ = looked_at
    rollout.sim.gain.set(1.5)
    rollout.value_and_grad()
    noted = rollout._engine.lookout.largest
    assert sorted(noted) == list(range(0, 200, 20))
    np.testing.assert_allclose(list(noted.values()), [1.5 ** (200 - t) for t in noted], rtol=1e-12)


@pytest.mark.cpu  # on a device a kernel looks
def test_short_windows_are_not_all_looked_at(runtime, monkeypatch):
    looks = []
    rollout = ds.Rollout(Long(), steps=300, mode="step", window=4)
    layout, storage = rollout._engine.plan.layout, rollout._engine.storage
    lookout = Lookout(rollout._engine.lowered, storage, layout)
    per_step = sum(b.components * math.prod(b.shape) for b in rollout._engine.lowered.states)
    assert lookout._every == 2**16 // (4 * per_step)
    monkeypatch.setattr(lookout, "_every", 32)
    monkeypatch.setattr(lookout, "_largest", lambda arrays: looks.append(t0) or 0.0)
    for t0 in range(0, 300, 4):
        lookout.states(t0, 4)
    assert looks == [124, 252]  # behind 128 steps, and behind 256
    rollout.close()


def test_a_late_look_says_so(long, monkeypatch):
    monkeypatch.setattr(long._engine.lookout, "_every", 6)
    push = np.zeros(200)
    push[50] = -2.0
    long.sim.push.set(push)
    try:
        with pytest.raises(
            StateError, match=r"got nan at index \[0\] in step 100 or before, .* step 120 of 200"
        ):
            long.value()
    finally:
        long.sim.push.set(0.0)


def test_a_look_that_sees_nothing_lets_the_run_go_on(looked_at, monkeypatch):
    """The fault planted: without the look, all segments are run."""
    rollout, ran = looked_at
    monkeypatch.setattr(rollout._engine.lookout, "_every", 1000)
    push = np.zeros(200)
    push[50] = -2.0
    rollout.sim.push.set(push)
    ran.clear()
    with pytest.raises(StateError, match="the cost must be finite"):
        rollout.value_and_grad()
    assert ("forward", 180) in ran


def test_every_function_of_kernels_can_be_run_by_hand():
    known = {*rules.FLAT, *rules._RULES}
    assert {fn for fn in known if not fn.startswith("cast_")} <= set(interpret.FUNCTIONS)


class Cut(ds.Simulator):
    """A division behind a cut, a chosen component and a rounding."""

    def __init__(self):
        self.x = ds.State(ds.real, 2, init=[2.0, 1.0])
        self.k = ds.Param([1.0, 0.0])

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(2):
            v = ti.Vector([self.k[0], self.k[1]])
            whole = ti.cast(ds.stop_gradient(ti.round(self.x[t, i])), ti.i32)
            self.x[t + 1, i] = self.x[t, i] / v[whole % 2]

    def step(self, t):
        self.move(t)

    @ti.kernel
    def end(self, t: ti.i32):
        for i in range(2):
            self.cost[None] += self.x[t, i]

    def terminal_cost(self, t):
        self.end(t)


def test_a_statement_behind_a_cut_is_located(runtime):
    rollout = ds.Rollout(Cut(), steps=2, mode="step")
    with pytest.raises(StateError, match=r"which computed 1 / 0") as caught:
        rollout.value_and_grad(debug="nan")
    assert line_of(Cut.move, "self.x[t + 1, i]") in str(caught.value)
    rollout.close()
