"""What is zeroed before kernels run: all that they add to, nothing that they store anyway."""

import numpy as np
import pytest
import taichi as ti

import diffsim as ds
from diffsim.compiler.ir import Store, walk
from diffsim.compiler.program.clearing import clear_stage, stored_boxes
from diffsim.compiler.program.lowered import Clearing
from diffsim.compiler.program.program import lower_program
from diffsim.language.trace import trace


class Membrane(ds.Simulator):
    """Kernels that store the inside and one row, add, store here and there."""

    def __init__(self):
        self.u = ds.State(ds.vec2, 6, 5, keep=False)
        self.summed = ds.State(ds.real, 6)
        self.perhaps = ds.State(ds.real, 6, keep=False)
        self.added = ds.Scratch(ds.real, 6)
        self.order = ds.Constant(np.arange(6))
        self.by_order = ds.State(ds.real, 6)

    @ti.kernel
    def rim(self, t: ti.i32):
        for j in range(5):
            self.u[t + 1, 0, j][0] = 1.0

    @ti.kernel
    def inside(self, t: ti.i32):
        for i, j in ti.ndrange((1, 5), (2, 4)):
            self.u[t + 1, i, j] = 0.5 * self.u[t, i, j]

    @ti.kernel
    def others(self, t: ti.i32):
        for i in range(6):
            self.added[t, 0] += self.u[t, i, 0][0]
            self.summed[t + 1, i] += 1.0
            if i > 2:
                self.perhaps[t + 1, i] = 2.0
            self.by_order[t + 1, self.order[i]] = 3.0

    def step(self, t):
        self.rim(t)
        self.inside(t)
        self.others(t)

    @ti.kernel
    def pay(self, t: ti.i32):
        for i, j in ti.ndrange(6, 5):
            self.cost[None] += self.u[t, i, j].sum()

    def terminal_cost(self, t):
        self.pay(t)


@pytest.fixture(scope="module")
def membrane(runtime):
    return Membrane()


@pytest.fixture(scope="module")
def lowered(membrane):
    return lower_program(trace(membrane), "f64", 4)


def test_boxes(membrane, lowered):
    def boxes(key, time):
        return stored_boxes(lowered.buffers.by_field[id(getattr(membrane, key))], time, lowered.step)

    assert boxes("u", 1) == {0: ((1, 5), (2, 4)), 1: ((1, 5), (2, 4))}  # the larger one of component 0
    assert boxes("summed", 1) == {}
    assert boxes("perhaps", 1) == {}
    assert boxes("by_order", 1) == {}
    assert boxes("added", 0) == {}


@pytest.mark.parametrize(
    "box", [((1, 5), (2, 4)), ((0, 6), (0, 5)), ((0, 1), (0, 5)), ((5, 6), (4, 5)), None]
)
def test_what_is_outside_of_a_box_is_zeroed_once(membrane, lowered, box):
    buffer = lowered.buffers.by_field[id(membrane.u)]
    stage = clear_stage(Clearing(buffer, 1, {0: box} if box else {}), "f64")
    count = np.zeros((6, 5, 2), dtype=int)
    for places in _places(stage.body, {}):
        count[places] += 1
    want = np.ones_like(count)
    if box:
        want[box[0][0] : box[0][1], box[1][0] : box[1][1], 0] = 0
    np.testing.assert_array_equal(count, want)
    assert all(op.value.value == 0.0 for op in walk(stage.body) if isinstance(op, Store))


def _places(block, indices):
    """Yield the places that a stage stores, by running its loops."""
    for op in block.ops:
        if isinstance(op, Store):
            yield (*(indices[i] for i in op.ref.indices), op.ref.component)
            continue
        for k in range(op.start.value, op.stop.value):
            yield from _places(op.body, {**indices, op.index: k})


@pytest.mark.parametrize("mode", ["fused", "step"])
def test_values_outside_are_zero_and_old_ones_do_not_stay(membrane, mode):
    membrane.u.set(np.ones((6, 5, 2)))
    rollout = ds.Rollout(membrane, steps=4, mode=mode, window=2)
    for _ in range(2):  # the second run finds the first one's values in memory
        u = rollout.trajectory(membrane.u)
    want = np.zeros((6, 5, 2))
    want[1:5, 2:4] = 0.5**4
    want[0, :, 0] = 1.0
    np.testing.assert_array_equal(u[-1], want)
    rollout.close()


class Relay(ds.Simulator):
    """A Scratch that is stored as a whole, so that no step zeroes it or its adjoint."""

    def __init__(self):
        self.x = ds.State(ds.real, 3, init=[0.5, 0.6, 0.7])
        self.k = ds.Param(np.array(1.0))
        self.f = ds.Scratch(ds.real, 3)

    @ti.kernel
    def push(self, t: ti.i32):
        for i in range(3):
            self.f[t, i] = ti.sqrt(self.k[None] * self.x[t, i])

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(3):
            self.x[t + 1, i] = self.f[t, i] * self.x[t, i] + ti.sqrt(self.k[None]) + 0.1

    def step(self, t):
        self.push(t)
        self.move(t)

    @ti.kernel
    def pay(self, t: ti.i32):
        for i in range(3):
            self.cost[None] += self.x[t, i] ** 2

    def terminal_cost(self, t):
        self.pay(t)


@pytest.mark.parametrize("mode", ["fused", "step"])
def test_what_a_broken_off_gradient_leaves_is_not_added_to_the_next(runtime, mode):
    simulator = Relay()
    rollout = ds.Rollout(simulator, steps=3, mode=mode)
    before = rollout.value_and_grad([simulator.k, simulator.x])
    simulator.k.set(0.0)
    with pytest.raises(ds.GradientError, match=r"Relay\.move"):
        rollout.value_and_grad(debug="nan")  # ends between two kernels of a step
    simulator.k.set(1.0)
    after = rollout.value_and_grad([simulator.k, simulator.x])
    np.testing.assert_equal(after, before)
    rollout.close()
