"""Loops that do several iterations at once: what is done together, what is not, and that nothing changes."""

import numpy as np
import pytest
import taichi as ti

import diffsim as ds
from diffsim.compiler.codegen import forms, lanes

N, STEPS = 37, 3  # four groups of eight or nine of four, and a rest


@pytest.fixture(scope="module")
def compiler():
    """Taichi's, for which loops are printed so."""
    return "taichi"


class Smooth(ds.Simulator):
    """A stencil that is not linear, a sum over a row, and a store behind a load of the same place."""

    def __init__(self):
        rng = np.random.default_rng(3)
        self.u = ds.State(ds.real, (5, N), init=rng.normal(size=(5, N)), history=2, keep=False)
        self.weight = ds.Param(rng.uniform(0.1, 0.3, size=(5, N)))
        self.total = ds.Scratch(ds.real, 5)

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(5):
            for j in range(1, N - 1):
                left, right = self.u[t, i, j - 1], self.u[t, i, j + 1]
                here = self.u[t, i, j]
                self.u[t + 1, i, j] = (
                    here + self.weight[i, j] * (left * right - here) - 0.1 * self.u[t - 1, i, j]
                )

    @ti.kernel
    def sum_up(self, t: ti.i32):
        for i in range(5):
            for j in range(1, N):
                self.total[t, i] += self.u[t, i, j - 1] + self.u[t, i, j] * ti.sin(self.u[t + 1, i, j])

    def step(self, t):
        self.move(t)
        self.sum_up(t)

    @ti.kernel
    def cost_of_sums(self, t: ti.i32):
        for i in range(5):
            self.cost[None] += self.total[t, i] ** 2

    def running_cost(self, t):
        self.cost_of_sums(t)


def by_hand(u0, weight):
    """Run the same in NumPy; return the cost."""
    past, u, cost = u0.copy(), u0.copy(), 0.0
    for _ in range(STEPS):
        new = np.zeros_like(u)
        left, here, right = u[:, :-2], u[:, 1:-1], u[:, 2:]
        new[:, 1:-1] = here + weight[:, 1:-1] * (left * right - here) - 0.1 * past[:, 1:-1]
        cost += np.sum(np.sum(u[:, :-1] + (u * np.sin(new))[:, 1:], axis=1) ** 2)
        past, u = u, new
    return cost


@pytest.fixture(scope="module")
def smooth(runtime):
    return Smooth()


def result(simulator, **options):
    rollout = ds.Rollout(simulator, steps=STEPS, mode="fused", **options)
    found = rollout.value_and_grad([simulator.u, simulator.weight])
    rollout.close()
    return found


@pytest.mark.parametrize("worlds", [1, 3])
def test_values_and_gradients_are_the_same(smooth, monkeypatch, worlds):
    cost, grads = result(smooth, worlds=worlds)
    monkeypatch.setattr(forms, "in_lanes", lambda stage: stage)
    plain, want = result(smooth, worlds=worlds)
    np.testing.assert_allclose(cost, plain, rtol=1e-12)
    np.testing.assert_allclose(
        np.atleast_1d(cost)[0], by_hand(smooth.u.numpy(), smooth.weight.numpy()), rtol=1e-12
    )
    for key in want:
        np.testing.assert_allclose(grads[key], want[key], rtol=1e-10, atol=1e-12)


def test_the_gradient_is_right(smooth):
    rollout = ds.Rollout(smooth, steps=STEPS, mode="fused")
    report = rollout.check_grad([smooth.u, smooth.weight], components=12)
    assert report.passed, report
    rollout.close()


@pytest.mark.cpu
def test_loops_are_split(smooth, monkeypatch):
    made = []

    def noted(stage):
        made.append((stage.name.rsplit(".")[-1], lanes.in_lanes(stage)))
        return made[-1][1]

    monkeypatch.setattr(forms, "in_lanes", noted)
    result(smooth)
    texts = {}
    for name, stage in made:  # the forward pass is printed first
        texts.setdefault(name, loops_of(stage.body))
    assert (0, 35 // 4) in texts["move"]  # four numbers of 64 bits
    assert (1 + 32, 36) in texts["move"]
    assert (0, 36 // 4) in texts["sum_up"]
    assert texts["cost_of_sums"] == [(0, 5)]  # too short to split


def loops_of(block):
    """Return the bounds of all loops."""
    from diffsim.compiler.ir import For, walk

    return [(op.start.value, op.stop.value) for op in walk(block) if isinstance(op, For)]


def loop_with(build):
    """Return a loop over 66 elements whose body `build` makes of its index."""
    from diffsim.compiler.builder import Builder
    from diffsim.compiler.ir import Block, Const, For, Stage, Value

    b = Builder("f64")
    loop = For(Value("i32"), Const(0, "i32"), Const(66, "i32"), Block())
    with b.inside(loop.body, loop=True):
        build(b, loop.index)
    b.loop(loop)
    return Stage("test", Value("i32"), b.block)


def count(stage):
    return len(loops_of(lanes.in_lanes(stage).body))


@pytest.mark.parametrize(
    ("name", "split"),
    [("neighbours", True), ("carried through memory", False), ("scattered", False), ("shared", False)],
)
def test_only_independent_iterations_are_done_together(name, split):
    from diffsim.compiler.ir import Buffer, Const, Ref

    x, y = (Buffer(n, "scratch", "f64", (70,)) for n in "xy")
    order = Buffer("order", "constant", "i32", (70,))

    def build(b, i):
        after = b.op("add", i, Const(1, "i32"))
        left, right = b.load(Ref(x, (i,), 0, 0)), b.load(Ref(x, (after,), 0, 0))
        value = b.op("mul", left, right)
        if name == "neighbours":
            b.store(Ref(y, (i,), 0, 0), value)
        elif name == "carried through memory":  # the next iteration reads what this one stores
            b.store(Ref(x, (after,), 0, 0), value)
        elif name == "scattered":  # two iterations may meet at one place, and its sum must not lose one
            b.accumulate(Ref(y, (b.load(Ref(order, (i,), 0, None)),), 0, 0), value)
        else:
            b.accumulate(Ref(y, (Const(3, "i32"),), 0, 0), value)
            b.store(Ref(y, (Const(4, "i32"),), 0, 0), left)

    assert count(loop_with(build)) == (2 if split else 1)  # groups of four, and the rest


def test_a_planted_fault_is_seen(smooth, monkeypatch):
    class Wrong(lanes._Lanes):
        def _sum(self, op, param, own):
            self.lanes, kept = self.lanes - 2, self.lanes
            try:
                return super()._sum(op, param, own)
            finally:
                self.lanes = kept

    want, _ = result(smooth)
    monkeypatch.setattr(lanes, "_Lanes", Wrong)
    with pytest.warns(UserWarning, match="gave other results"):
        cost, _ = result(smooth)
    assert cost == pytest.approx(want, rel=1e-9)  # found out, and run in mode `step`


@pytest.mark.cpu
def test_every_window_computes_the_same_bits(smooth):
    cost, grads = result(smooth)
    for window in (1, 2):
        other, found = result(smooth, window=window)
        assert other == cost
        for key in grads:
            np.testing.assert_array_equal(found[key], grads[key])
