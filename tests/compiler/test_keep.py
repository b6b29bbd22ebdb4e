"""Elements that a step does not store: handed on where a State says so, zero else, and told of."""

import numpy as np
import pytest
import taichi as ti

import diffsim as ds
from diffsim.compiler.ir import Store, walk
from diffsim.compiler.program.program import lower_program
from diffsim.language.trace import trace

N, STEPS = 4, 7
FIXED = np.array([1, 0, 1, 0])
RNG = np.random.default_rng(3)
START = {
    "x": RNG.normal(size=(N, 2)),
    "u": RNG.normal(size=(5, 6)),
    "s": RNG.normal(size=N),
    "m": RNG.normal(size=(N, 2)),
}


class Kept(ds.Simulator):
    """States that are stored in part, each in another way."""

    def __init__(self):
        self.x = ds.State(ds.vec2, N, init=START["x"], keep=True)  # in a branch
        self.u = ds.State(ds.real, 5, 6, init=START["u"], keep=True, history=2)  # the inside of a grid
        self.s = ds.State(ds.real, N, init=START["s"], keep=True)  # sums, on what is there
        self.m = ds.State(
            ds.vec2, N, init=START["m"], keep=True
        )  # one component, in a loop of computed length
        self.fixed = ds.Constant(FIXED)
        self.count = ds.Constant(np.array(2.5))
        self.k = ds.Param(np.array(0.7), per_world=True)
        self.last = ds.Constant(np.array(1e9), per_world=True)

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(N):
            if self.fixed[i] == 0:
                self.x[t + 1, i] = ti.sin(self.x[t, i]) * self.k[None]

    @ti.kernel
    def wave(self, t: ti.i32):
        for i, j in ti.ndrange((1, 4), (1, 5)):
            near = self.u[t, i - 1, j] + self.u[t, i, j + 1]
            self.u[t + 1, i, j] = 0.4 * self.k[None] * near * self.u[t, i, j] - 0.1 * self.u[t - 1, i, j]

    @ti.kernel
    def add(self, t: ti.i32):
        for i in range(2):
            # x[t + 1] was stored in part; what is read here is all there
            self.s[t + 1, i] += self.k[None] * self.x[t + 1, i][0] * self.x[t + 1, i + 2][1]
            self.s[t + 1, i] -= 0.1 * self.s[t, i + 1]

    @ti.kernel
    def low(self, t: ti.i32):
        for i in range(ds.at_most(ti.cast(self.count[None], ti.i32), N)):
            self.m[t + 1, i][1] = self.k[None] * self.m[t, i][0] * self.m[t, i][1]

    @ti.kernel
    def end(self, t: ti.i32):
        for _ in range(1):
            self.done[None] = t + 1.0 >= self.last[None]

    def step(self, t):
        self.move(t)
        self.wave(t)
        self.add(t)
        self.low(t)
        self.end(t)

    @ti.kernel
    def pay(self, t: ti.i32):
        for i in range(N):
            self.cost[None] += self.x[t, i].norm_sqr() + self.s[t, i] ** 2 + self.m[t, i].norm_sqr()
        for i, j in ti.ndrange(5, 6):
            self.cost[None] += self.u[t, i, j] ** 2

    def running_cost(self, t):
        self.pay(t)

    def terminal_cost(self, t):
        self.pay(t)


def reference(k, steps=STEPS):
    """Run the same in NumPy, in place; return the cost and the States of each step."""
    x, u, s, m = (START[name].copy() for name in "xusm")
    before, cost, seen = u.copy(), 0.0, []
    for t in range(steps + 1):
        cost += sum(np.sum(a**2) for a in (x, u, s, m))
        seen.append([a.copy() for a in (x, u, s, m)])
        if t == steps:
            return cost, seen
        x = np.where(FIXED[:, None] == 0, k * np.sin(x), x)
        new = u.copy()
        new[1:4, 1:5] = 0.4 * k * (u[0:3, 1:5] + u[1:4, 2:6]) * u[1:4, 1:5] - 0.1 * before[1:4, 1:5]
        before, u = u, new
        s[:2] = s[:2] + k * x[:2, 0] * x[2:, 1] - 0.1 * s[1:3]
        m[:2, 1] *= k * m[:2, 0]
    raise AssertionError


@pytest.mark.parametrize(("mode", "window"), [("step", 3), ("chunk", 7), ("fused", 2)])
def test_what_is_not_stored_is_handed_on_and_so_is_its_gradient(runtime, mode, window):
    simulator = Kept()
    rollout = ds.Rollout(simulator, steps=STEPS, worlds=2, mode=mode, window=window)
    rollout._engine._verified = 2  # what is computed is compared with NumPy below
    wrt = ["k", *"xusm"]
    k = np.array([0.7, 0.8])
    for ends in ([1e9, 1e9], [1e9, 4.0]):
        simulator.last.set(ends)
        simulator.k.set(k)
        lengths = [STEPS, min(STEPS, int(ends[1]))]
        cost, gradients = rollout.value_and_grad(wrt)
        np.testing.assert_allclose(
            cost, [reference(q, n)[0] for q, n in zip(k, lengths, strict=True)], rtol=1e-12
        )
        slopes = [
            (reference(q + 1e-6, n)[0] - reference(q - 1e-6, n)[0]) / 2e-6
            for q, n in zip(k, lengths, strict=True)
        ]
        np.testing.assert_allclose(gradients["k"], slopes, rtol=1e-7)
        for name in "xusm":  # shared by the worlds: a sum over them
            direction = RNG.normal(size=START[name].shape)
            ends_of = []
            for sign in (1.0, -1.0):
                START[name] += sign * 1e-6 * direction
                ends_of.append(sum(reference(q, n)[0] for q, n in zip(k, lengths, strict=True)))
                START[name] -= sign * 1e-6 * direction
            slope = (ends_of[0] - ends_of[1]) / 2e-6
            assert np.sum(gradients[name] * direction) == pytest.approx(slope, rel=1e-6), name
    seen = reference(0.7)[1]
    for position, name in enumerate("xusm"):
        got = rollout.trajectory(getattr(simulator, name))
        np.testing.assert_allclose(got[:, 0], [step[position] for step in seen], rtol=1e-13)
    if mode == "step":  # by forward mode too
        report = rollout.check_grad(wrt, directions=1, modes=False)
        assert report.passed, report
    rollout.close()


def test_only_what_may_be_left_out_is_copied(runtime):
    lowered = lower_program(trace(Kept()), "f64", 2)
    keeping = {stage.name: stage for stage in lowered.step if stage.name.startswith("keep ")}
    assert list(keeping) == ["keep x", "keep u", "keep s", "keep m"]
    assert [c.buffer.name for c in lowered.clear if c.buffer.kind == "state"] == []
    count = np.zeros((5, 6), int)

    def run(block, at):
        for op in block.ops:
            if isinstance(op, Store):
                count[tuple(at[i] for i in op.ref.indices)] += 1
            for k in range(op.start.value, op.stop.value) if hasattr(op, "body") else ():
                run(op.body, {**at, op.index: k})

    run(keeping["keep u"].body, {})
    want = np.ones((5, 6), int)
    want[1:4, 1:5] = 0
    np.testing.assert_array_equal(count, want)
    stores = [op for op in walk(keeping["keep m"].body) if isinstance(op, Store)]
    assert sorted({op.ref.component for op in stores}) == [0, 1]


# ---- the warning ----


class Part(ds.Simulator):
    """One State and a kernel that stores it in some way."""

    keep = None

    def __init__(self):
        self.x = ds.State(ds.real, N, N, keep=self.keep)
        self.v = ds.State(ds.vec2, N)
        self.fixed = ds.Constant(FIXED)
        self.order = ds.Constant(np.array([2, 0, 3, 1]))
        self.few = ds.Constant(np.array([2, 0, 2, 1]))
        self.free = ds.Constant(np.zeros(N))

    @ti.kernel
    def hold(self, t: ti.i32):
        for i in range(N):
            self.v[t + 1, i] = self.v[t, i]

    def step(self, t):
        self.move(t)
        self.hold(t)


class Branch(Part):
    @ti.kernel
    def move(self, t: ti.i32):
        for i, j in ti.ndrange(N, N):
            if self.fixed[i] == 0:
                self.x[t + 1, i, j] = 1.0


class BranchOnValues(Part):
    @ti.kernel
    def move(self, t: ti.i32):
        for i, j in ti.ndrange(N, N):
            if self.free[i] == 0.0:  # so it is now, but values can be set
                self.x[t + 1, i, j] = 1.0


class Inside(Part):
    @ti.kernel
    def move(self, t: ti.i32):
        for i, j in ti.ndrange((1, N - 1), (1, N - 1)):
            self.x[t + 1, i, j] = self.x[t, i - 1, j]


class Conditions(Part):
    """All but one, by conditions on indices."""

    @ti.kernel
    def move(self, t: ti.i32):
        for i, j in ti.ndrange(N, N):
            if i > 0 and j > 0:
                self.x[t + 1, i, j] = 1.0
            elif i + j != 2 or j == 2:
                self.x[t + 1, i, j] = 2.0


class Component(Part):
    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(N):
            self.v[t + 1, i][0] = 1.0

    def step(self, t):
        self.move(t)


class Length(Part):
    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(N):
            for j in range(ti.cast(self.free[i], ti.i32)):
                self.x[t + 1, i, j] = 1.0


class Repeats(Part):
    @ti.kernel
    def move(self, t: ti.i32):
        for i, j in ti.ndrange(N, N):
            self.x[t + 1, self.few[i], j] = 1.0


class Left(Part):
    """A loop that is left early."""

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(N):
            for j in range(N):
                if self.free[j] > 0.0:
                    break
                self.x[t + 1, i, j] = 1.0


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (Branch, "State x should be stored as a whole at t \\+ 1, .* got 16 of 16 element"),
        (BranchOnValues, "got 16 of 16 element"),
        (Inside, "got 12 of 16 element.* \\[t \\+ 1, 0, 0\\] the first, which are zero then; declare"),
        (Conditions, "got 1 of 16 element.* \\[t \\+ 1, 2, 0\\] the first"),
        (Component, "State v .* got 4 of 4 element.*, \\[t \\+ 1, 0\\]\\[1\\] the first"),
        (Length, "got 16 of 16 element"),
        (Repeats, "got 16 of 16 element"),
        (Left, "got 16 of 16 element"),
    ],
)
def test_a_state_stored_in_part_is_told_of(runtime, kind, told):
    with pytest.warns(ds.GradientWarning, match=told + r".*PARTIAL\]") as caught:
        ds.plan(kind(), steps=2)
    assert len(caught) == 1
    assert "test_keep.py:" in str(caught[0].message)


class Acknowledged(Part):
    @ti.kernel
    def move(self, t: ti.i32):
        for i, j in ti.ndrange(N, N):
            if self.fixed[i] == 0:
                self.x[t + 1, i, j] = 1.0  # diffsim: allow PARTIAL


class KeepFalse(Branch):
    keep = False


class KeepTrue(Branch):
    keep = True


class Together(Part):
    """Every element is stored: the inside, by both sides of what depends on values, the rim, the corners."""

    @ti.kernel
    def move(self, t: ti.i32):
        for i, j in ti.ndrange((1, N - 1), (1, N - 1)):
            if self.x[t, i, j] > 0.0:
                self.x[t + 1, i, j] = 1.0
            elif self.free[i] > 0.0:
                self.x[t + 1, i, j] = 2.0
            else:
                self.x[t + 1, i, j] = 3.0
        for k in range(1, N - 1):
            self.x[t + 1, 0, k] = 1.0
            self.x[t + 1, N - 1, N - 1 - k] = 1.0
        for k in range(2 * (N - 2)):
            if k % 2 == 0:
                self.x[t + 1, k // 2 + 1, 0] = 1.0
            else:
                self.x[t + 1, k // 2 + 1, N - 1] = 2.0
        for i, j in ti.static(ti.ndrange(2, 2)):
            self.x[t + 1, i * (N - 1), j * (N - 1)] = 4.0


class Triangles(Part):
    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(N):
            for j in range(i + 1):
                self.x[t + 1, i, j] = 1.0
            for j in range(N):
                if j > i:
                    self.x[t + 1, i, j] = 2.0


class Order(Part):
    """A permutation; and a sum, which begins at zero by its nature."""

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(N):
            for j in range(N):
                self.x[t + 1, self.order[i], (j + 3) % N] = 1.0
            if i > 1:
                self.v[t + 1, i] += 1.0

    def step(self, t):
        self.move(t)


@pytest.mark.parametrize("kind", [Acknowledged, KeepFalse, KeepTrue, Together, Triangles, Order])
def test_what_is_stored_or_said_is_not(runtime, kind):
    ds.plan(kind(), steps=2)  # a warning would be an error


def test_a_permutation_must_stay_one(runtime):
    simulator = Order()
    rollout = ds.Rollout(simulator, steps=2)
    simulator.order.set([0, 1, 2, 3])
    assert rollout.trajectory(simulator.x)[-1].sum() == 16.0
    simulator.order.set([0, 1, 2, 2])
    with pytest.raises(ds.ConfigError, match="must hold distinct numbers"):
        rollout.trajectory(simulator.x)
    rollout.close()


@pytest.mark.parametrize("keep", [1, "yes", np.zeros(2)])
def test_keep_must_be_a_truth(keep):
    with pytest.raises(ds.ConfigError, match="State keep must be True, False or None"):
        ds.State(ds.real, 2, keep=keep)
