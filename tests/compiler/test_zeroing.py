"""Adjoints are not zeroed for nothing: sums that come first are stores, zeros that nobody reads go."""

import numpy as np
import pytest
import taichi as ti

import diffsim as ds
from diffsim.compiler.checks.touching import accesses_of, joined
from diffsim.compiler.codegen import fused, zeroing
from diffsim.compiler.ir import Accumulate, Const, Store, walk
from diffsim.compiler.program.clearing import stored_boxes
from tests.interpreted import random_stage, run, same, slots, two_buffers


def programs(count):
    """Yield stages on two buffers, and each buffer and time that they work on."""
    for seed in range(count):
        buffers = two_buffers()
        stages = [random_stage(3 * seed + k, buffers) for k in range(2)]
        yield from ((stages, (buffer, time, 0)) for buffer in buffers for time in (0, 1))


def run_all(stages, memory):
    for stage in stages:
        memory = run(stage, memory)
    return memory


def zeros(stages, key, boxes, inside):
    """Return memory for stages, with zeros at a key but for boxes of something else."""
    memory = slots(stages)
    for (buffer, _, _), array in memory.items():
        if buffer.name == "order":
            array[:] = 1 + np.arange(array.size) % (array.size - 2)
    memory[key][:] = 0.0
    for box in boxes:
        memory[key][tuple(slice(low, high) for low, high in box)] = inside
    return memory


def test_what_is_stored_first_needs_no_zero():
    found = 0
    for stages, key in programs(60):
        box = stored_boxes(*key[:2], stages).get(0)
        if box is not None:
            found += 1
            want = run_all(stages, zeros(stages, key, [box], 0.0))
            same(run_all(stages, zeros(stages, key, [box], np.nan)), want)
    assert found > 4


def test_sums_that_come_first_are_stores_and_zeros_that_nobody_reads_are_left_out():
    first = dropped = 0
    for stages, key in programs(60):
        changes = {}
        touches = accesses_of(stages).get(key, [])
        boxes = zeroing._store_first(touches, changes)
        first += any(new is not None for new in changes.values())
        kept = dict(changes)
        zeroing._drop_zeros(touches, None, changes)
        gone = [a.region for a in touches if id(a.op) in changes and id(a.op) not in kept]
        dropped += bool(gone)
        if not changes:
            continue
        want = run_all(stages, zeros(stages, key, boxes, 0.0))
        new = [zeroing.dataclasses.replace(s, body=zeroing._changed(s.body, changes)) for s in stages]
        have = run_all(new, zeros(stages, key, boxes, np.nan))
        for box in gone:  # what is left there is for nobody
            place = tuple(slice(low, high) for low, high in box)
            have[key][place] = want[key][place]
        same(have, want)
    assert first > 4
    assert dropped > 4


@pytest.mark.parametrize(
    ("boxes", "want"),
    [
        ([((0, 2), (0, 5)), ((2, 3), (0, 5))], [((0, 3), (0, 5))]),
        ([((0, 2), (0, 5)), ((3, 4), (0, 5))], [((0, 2), (0, 5)), ((3, 4), (0, 5))]),
        ([((0, 2), (0, 5)), ((1, 4), (0, 5)), ((0, 4), (5, 6))], [((0, 4), (0, 6))]),
        ([((0, 4), (0, 6)), ((1, 2), (1, 3))], [((0, 4), (0, 6))]),
        ([(), ()], [()]),
    ],
)
def test_boxes_join(boxes, want):
    assert sorted(joined(boxes)) == sorted(want)


class Layers(ds.Simulator):
    """Sweeps that each store a layer, a Scratch that is added to, and a State whose rim nobody stores."""

    def __init__(self):
        rng = np.random.default_rng(1)
        self.u = ds.State(ds.real, 5, 9, init=rng.normal(size=(5, 9)), history=2, keep=False)
        self.layer = ds.Scratch(ds.real, 4, 9)
        self.swept = ds.Scratch(ds.real, 4, 9)
        self.total = ds.Scratch(ds.vec2, 9)
        self.even = ds.Scratch(ds.real, 9)  # stored as a whole, and read more than once
        self.k = ds.Param(np.array(0.3))

    @ti.kernel
    def first(self, t: ti.i32):
        for j in range(9):
            self.layer[t, 0, j] = self.u[t, 2, j]
            self.even[t, j] = ti.cos(self.u[t, 1, j])

    @ti.kernel
    def following(self, t: ti.i32, k: ti.template()):
        for j in range(9):
            self.layer[t, k + 1, j] = ti.sin(self.layer[t, k, j]) + self.u[t - 1, k, j]

    @ti.kernel
    def sweep(self, t: ti.i32):
        for _ in range(1):
            for k in range(3):
                for j in range(1, 8):
                    around = self.swept[t, k, j - 1] + self.swept[t, k, j + 1]
                    self.swept[t, k + 1, j] = 0.5 * around + self.layer[t, k, j] * self.k[None]

    @ti.kernel
    def add(self, t: ti.i32):
        for i, j in ti.ndrange(4, 9):
            self.total[t, j] += ti.Vector([self.swept[t, i, j], self.layer[t, i, j]])

    @ti.kernel
    def move(self, t: ti.i32):
        for i, j in ti.ndrange((1, 4), (1, 8)):
            near = self.u[t, i - 1, j] + self.u[t, i + 1, j] + self.u[t, i, j + 1] - self.u[t - 1, i, j]
            self.u[t + 1, i, j] = self.even[t, j] * near + self.total[t, j][0] * self.total[t, j][1]

    def step(self, t):
        self.first(t)
        for k in range(3):
            self.following(t, k)
        self.sweep(t)
        self.add(t)
        self.move(t)

    @ti.kernel
    def pay(self, t: ti.i32):
        for i, j in ti.ndrange(5, 9):
            self.cost[None] += self.u[t, i, j] ** 2

    def terminal_cost(self, t):
        self.pay(t)


@pytest.fixture(scope="module")
def layers(runtime):
    return Layers()


def result(simulator, **options):
    rollout = ds.Rollout(simulator, steps=5, **options)
    found = [rollout.value_and_grad([simulator.u, simulator.k]) for _ in range(2)]
    np.testing.assert_equal(found[1], found[0])  # the second run finds what the first one left
    rollout.close()
    return found[0]


@pytest.mark.cpu
def test_gradients_are_those_of_mode_step_window_by_window(layers, monkeypatch):
    made = []
    lean = zeroing.lean_step
    monkeypatch.setattr(fused, "lean_step", lambda stages: made.append(lean(stages)) or made[-1])
    cost, want = result(layers, mode="step")
    value, gradients = result(layers, mode="fused", window=2, worlds=2)
    np.testing.assert_allclose(value, cost, rtol=1e-13)
    for key, gradient in want.items():
        np.testing.assert_allclose(gradients[key] / 2, gradient, rtol=1e-11, atol=1e-13)  # summed over worlds
    clears, run = made[0]
    writes = [op for s in run for op in walk(s.body) if isinstance(op, Store | Accumulate)]
    swept = [op for op in writes if op.ref.buffer.source is layers.swept]
    assert isinstance(swept[0], Store)  # a sum, of which every place gets one before anything else does
    assert not any(isinstance(op.value, Const) for op in swept)  # no zeros
    stored = {id(clearing.buffer.source): clearing.stored for clearing in clears}
    assert stored[id(layers.swept)] == {0: ((0, 4), (0, 9))}
    assert stored[id(layers.total)] == {}
    assert stored[id(layers.u)] == {0: ((1, 4), (1, 8))}


@pytest.mark.cpu
def test_kernels_that_store_layer_by_layer_store_all_of_it(layers):
    from diffsim.compiler.program.program import lower_program
    from diffsim.language.trace import trace

    lowered = lower_program(trace(layers), "f64", 4)
    boxes = {
        name: stored_boxes(lowered.buffers.by_field[id(getattr(layers, name))], 0, lowered.step)
        for name in ("layer", "swept", "total")
    }
    assert boxes == {"layer": {0: ((0, 4), (0, 9))}, "swept": {0: ((1, 4), (1, 8))}, "total": {}}
    assert layers.layer not in [clearing.buffer.source for clearing in lowered.clear]
