"""`assert` in kernels: an error that tells place, condition, numbers, step and world."""

import math
import pathlib

import numpy as np
import pytest
import taichi as ti

import diffsim as ds
from diffsim.compiler.codegen.lanes import in_lanes

N = 3


@ti.func
def root(v, k):
    assert v >= 0.0, "no root of number {}: {:.2f} in {name}".format(k, v, name="root")
    return ti.sqrt(v)


class Asserting(ds.Simulator):
    """Kernels of all stages, each with an assert that a number in `broken` makes fail."""

    def __init__(self, checked=True):
        self.checked = checked
        self.x = ds.State(ds.real, N, init=[0.5, 1.0, 2.0])
        self.k = ds.Param(np.array(0.5))
        self.highest = ds.Constant(
            np.full(5, 1e6), per_world=True
        )  # of each assert below, and of the function

    @ti.kernel
    def begin(self, t: ti.i32):
        for i in range(N):
            if ti.static(self.checked):
                assert self.k[None] < self.highest[0], "reset"
            self.x[t, i] = self.k[None] * (i + 1.0)

    def reset(self):
        self.begin(0)

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(N):
            if ti.static(self.checked):
                assert i < N and self.x[t, i] < self.highest[1], f"cell {i} at {self.x[t, i]:.3f} of {N}"  # noqa: PT018
            self.x[t + 1, i] = self.x[t, i] + self.k[None] * ti.sin(self.x[t, i])
            if ti.static(self.checked):
                self.x[t + 1, i] += 0.0 * root(self.highest[4] - self.x[t, i], i)

    def step(self, t):
        self.move(t)

    @ti.kernel
    def run(self, t: ti.i32):
        for i in range(N):
            if ti.static(self.checked):
                assert not self.x[t, i] >= self.highest[2]
            self.cost[None] += self.x[t, i] ** 2

    def running_cost(self, t):
        self.run(t)

    @ti.kernel
    def pay(self, t: ti.i32):
        for i in range(N):
            if ti.static(self.checked):
                assert self.x[t, i] < 0.0 or self.x[t, i] < self.highest[3], "terminal"
            self.cost[None] += self.x[t, i]

    def terminal_cost(self, t):
        self.pay(t)


def line_of(text):
    source = pathlib.Path(__file__).read_text().splitlines()
    return next(k for k, line in enumerate(source, 1) if text in line and "line_of" not in line)


def history(steps, k=0.5):
    x = [k * np.arange(1.0, N + 1.0)]
    for _ in range(steps):
        x.append(x[-1] + k * np.sin(x[-1]))
    return np.array(x)


X = history(6)
# the assert, what its limit is, what is told of it
CASES = [
    (
        0,
        0.2,
        "assert self.k[None] < self.highest[0]",
        "got self.k[None] = 0.5, self.highest[0] = 0.2 at step 0",
    ),
    (
        1,
        2.0,
        "assert i < N and self.x[t, i]",
        f"got self.x[t, i] = {X[2, 2]:.9f}",
    ),
    (2, 2.4, "assert not self.x[t, i]", "got self.x[t, i] = 2.4"),
    (3, 0.1, "assert self.x[t, i] < 0.0 or", "at step 6 of world 1; terminal"),
    (4, 2.0, "assert v >= 0.0", f"got v = {2.0 - X[2, 2]:.9f}"),
]
ENDS = [
    "; reset",
    f"; cell 2 at {X[2, 2]:.3f} of 3",
    "; change what led there, or the assert",
    "; terminal",
    "in root",
]


@pytest.mark.parametrize("mode", ["step", "chunk", "fused"])
def test_asserts_are_told_of_in_every_stage_and_have_no_effect_on_gradients(runtime, mode):
    simulator = Asserting()
    rollout = ds.Rollout(simulator, steps=6, worlds=2, mode=mode, window=2)
    cost, gradients = rollout.value_and_grad("k")
    want = np.sum(X[:6] ** 2) + np.sum(X[6])
    np.testing.assert_allclose(cost, [want, want], rtol=1e-13)
    eps = 1e-6
    values = [np.sum(h[:6] ** 2) + np.sum(h[6]) for h in (history(6, 0.5 + eps), history(6, 0.5 - eps))]
    assert gradients["k"] == pytest.approx(2 * (values[0] - values[1]) / (2 * eps), rel=1e-8)
    for (number, limit, text, told), end in zip(CASES, ENDS, strict=True):
        highest = np.full((2, 5), 1e6)
        highest[1, number] = limit
        simulator.highest.set(highest)
        for run in (rollout.value, rollout.value_and_grad, lambda: rollout.trajectory(simulator.x)):
            with pytest.raises(ds.StateError) as caught:
                run()
            message = str(caught.value)
            assert f"test_asserts.py:{line_of(text)}:" in message
            assert [part for part in (text, told, "of world 1; ") if part not in message] == [], message
            assert message.endswith(end), message
    simulator.highest.set(1e6)
    again, _ = rollout.value_and_grad("k")  # the next good run is not troubled by an old one
    np.testing.assert_array_equal(again, cost)
    rollout.close()


def test_they_are_told_of_before_numbers_that_are_not_finite(runtime):
    """A State that becomes infinite ends a run between windows; the assert that failed before says why."""
    simulator = Asserting()
    rollout = ds.Rollout(simulator, steps=6, mode="step", window=2)
    rollout._engine.lookout._every = 1  # it looks at each window, however small
    simulator.k.set(math.inf)
    for run in (rollout.value, rollout.value_and_grad):
        with pytest.raises(ds.StateError, match=r"got self.k\[None\] = inf, .* at step 0"):
            run()
    assert "looked at while it runs: assert not self.x[t, i] >= self.highest[2] must hold" in str(
        rollout.explain()
    )
    rollout.close()


class Values(ds.Simulator):
    """Conditions and messages of all forms; each fails when its turn comes, at step 0, 1, 2 ..."""

    top = 2.5

    def __init__(self):
        self.x = ds.State(ds.vec2, init=[1.5, -2.0])
        self.when = ds.Constant(np.array(0.5))
        self.n = ds.Constant(np.array([7, 9]))

    @ti.kernel
    def move(self, t: ti.i32):
        for _ in range(1):
            self.x[t + 1] = self.x[t]
            now, v = t == self.when[None], self.x[t]
            far = v.norm() > 2.0
            if now:
                if t == 0:
                    assert (v < 1.0).all(), v
                if t == 1:
                    assert all(abs(v) < self.top - 1.0)
                if t == 2:
                    assert self.n[0] == self.n[1], (
                        f"{self.n[0]:03d} is {far} and {self.top!r} {'text'} {v.x:8.2e}"
                    )
                if t == 3:
                    assert not far
                if t == 4:
                    assert 3.0 < v.y <= -1.0, "two {1} {0}".format(v.y, 2 * t)  # noqa: UP030, UP032
                if t == 5:
                    assert not (far and v.x > 0.0), "both"
                if t == 6:
                    assert False, "unreachable"  # noqa: B011, PT015
                if t == 7:
                    assert self.n[t - 6] > 9 or v.outer_product(v)[0, 1] > 0.0, "%d" % t  # noqa: UP031
                if t == 8:
                    assert self.top < 1.0
                if t == 9:
                    assert ti.cast(v.x, ti.f32) == 0.1 * v.x, self.n[0]

    def step(self, t):
        self.move(t)


TOLD = [
    "assert (v < 1.0).all() must hold, got v = [1.5, -2.0] at step 0; [1.5, -2.0]",
    "must hold, got abs(v) = [1.5, 2.0], self.top - 1.0 = 1.5 at step 1; change what led",
    "must hold, got self.n[0] = 7, self.n[1] = 9 at step 2; 007 is True and 2.5 text 1.50e+00",
    "assert not far must hold, got far = True at step 3; change",
    "assert 3.0 < v.y <= -1.0 must hold, got v.y = -2.0 at step 4; two 8 -2.0",
    "must hold, got far = True, v.x = 1.5 at step 5; both",
    "assert False must hold, got False at step 6; unreachable",
    "must hold, got self.n[t - 6] = 9, v.outer_product(v)[0, 1] = -3.0 at step 7; '%d' % t",
    "assert self.top < 1.0 must hold, got self.top = 2.5 at step 8; change",
    "got ti.cast(v.x, ti.f32) = 1.5, 0.1 * v.x = 0.15000000000000002 at step 9; 7",
]


def test_values_and_messages(runtime):
    simulator = Values()
    rollout = ds.Rollout(simulator, steps=10, mode="step")
    for step, told in enumerate(TOLD):
        simulator.when.set(step)
        with pytest.raises(ds.StateError) as caught:
            rollout.trajectory(simulator.x)
        assert told in str(caught.value)
    simulator.when.set(-1)
    np.testing.assert_array_equal(rollout.trajectory(simulator.x)[-1], [1.5, -2.0])
    rollout.close()


class Given(ds.Simulator):
    """Asserts in kernels that a method with an adjoint calls, and in that adjoint."""

    def __init__(self):
        self.x = ds.State(ds.real, init=1.0)
        self.k = ds.Param(np.array(2.0))
        self.limits = ds.Constant(np.full(2, 1e6))
        self.work = ds.Workspace(ds.real)

    @ti.kernel
    def double(self, t: ti.i32):
        for _ in range(1):
            assert self.work[None] < self.limits[0], "forward"
            self.work[None] += self.k[None] * self.x[t]

    @ti.kernel
    def put(self, t: ti.i32):
        for _ in range(1):
            self.x[t + 1] = self.work[None]

    def solve(self, t):
        for _ in ds.repeat(3):
            self.double(t)
        self.put(t)

    @ti.kernel
    def back(self, t: ti.i32):
        for _ in range(1):
            g = self.x.grad[t + 1]
            assert g < self.limits[1], f"{g} back"
            self.x.grad[t] += 3.0 * self.k[None] * g
            self.k.grad[None] += 3.0 * self.x[t] * g

    @ds.adjoint_of(solve)
    def solve_back(self, t):
        self.back(t)

    def step(self, t):
        self.solve(t)

    @ti.kernel
    def pay(self, t: ti.i32):
        for _ in range(1):
            self.cost[None] += self.x[t]

    def terminal_cost(self, t):
        self.pay(t)


@pytest.mark.parametrize("mode", ["step", "fused"])
def test_methods_with_adjoints(runtime, mode):
    simulator = Given()
    rollout = ds.Rollout(simulator, steps=2, mode=mode)
    cost, gradients = rollout.value_and_grad(["k", "x"])
    assert (cost, gradients["k"], gradients["x"]) == (36.0, 36.0, 36.0)
    simulator.limits.set([11.0, 1e6])
    with pytest.raises(
        ds.StateError, match=r"work\[None\] = 12.0, self.limits\[0\] = 11.0 at step 1; forward"
    ):
        rollout.value()
    simulator.limits.set([1e6, 2.0])
    assert rollout.value() == 36.0
    with pytest.raises(ds.StateError, match=r"got g = 6.0, self.limits\[1\] = 2.0 at step 0; 6.0 back"):
        rollout.value_and_grad()
    rollout.close()


@ti.func
def square(a):
    assert a < 4.0, "large"
    return a * a


@ds.adjoint_of(square)
@ti.func
def square_back(a, result, g):
    assert g < 1e6
    return 2.0 * a * g


class Function(ds.Simulator):
    def __init__(self):
        self.x = ds.State(ds.real, init=1.5)

    @ti.kernel
    def move(self, t: ti.i32):
        for _ in range(1):
            self.x[t + 1] = square(self.x[t])

    def step(self, t):
        self.move(t)


def test_nobody_looks_in_the_adjoint_of_a_function(runtime):
    with pytest.raises(ds.TraceError, match=r"assert must stand in a kernel or .* \[ADJOINT\]"):
        ds.plan(Function(), steps=1)


class Long(ds.Simulator):
    """Loops whose iterations are computed eight at a time, with asserts in them."""

    def __init__(self):
        self.x = ds.State(ds.real, 71, init=np.sin(np.arange(71.0) ** 2), keep=True)
        self.highest = ds.Constant(np.full(2, 1e6))

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(1, 70):
            near = self.x[t, i - 1] + self.x[t, i + 1]
            assert self.x[t, i] < self.highest[0], f"after {self.x[t, i - 1]:.6f}"
            assert near < 1e6 and near < self.highest[1]  # noqa: PT018
            self.x[t + 1, i] = 0.25 * near + 0.5 * self.x[t, i]

    def step(self, t):
        self.move(t)


def test_loops_that_are_done_several_iterations_at_once(runtime):
    simulator = Long()
    rollout = ds.Rollout(simulator, steps=3, mode="fused")
    rollout._engine._verified = 2
    stage = next(stage for stage in rollout._engine.lowered.step if stage.name == "Long.move")
    assert len(in_lanes(stage).body.ops) == 2  # groups, and the iterations that are left
    x = [simulator.x.numpy()]
    for _ in range(3):
        x.append(x[-1].copy())
        x[-1][1:-1] = 0.25 * (x[-2][:-2] + x[-2][2:]) + 0.5 * x[-2][1:-1]
    np.testing.assert_allclose(rollout.trajectory(simulator.x), x, rtol=1e-13)
    simulator.highest.set([np.sort(x[0][1:-1])[-2:].mean(), 1e6])
    at = int(np.argmax(x[0][1:-1])) + 1
    with pytest.raises(ds.StateError, match=rf"at step 0; after {x[0][at - 1]:.6f}"):
        rollout.trajectory(simulator.x)
    near = x[0][:-2] + x[0][2:]
    simulator.highest.set([1e6, np.sort(near)[-2:].mean()])
    with pytest.raises(ds.StateError, match=rf"got near = {near.max():.9f}.* at step 0; change"):
        rollout.trajectory(simulator.x)
    rollout.close()
