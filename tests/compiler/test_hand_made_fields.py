"""Taichi fields that users made by hand: read as they are, and never otherwise than Taichi would."""

import gc
import re
import warnings

import numpy as np
import pytest
import taichi as ti

import diffsim as ds

SIX = ti.types.struct(a=ti.f64, b=ti.types.vector(2, ti.f64))


class Fields:
    """One field of each kind, filled."""

    def __init__(self):
        self.pointer, self.bitmasked, self.dynamic = (ti.field(ti.f64) for _ in range(3))
        self.block = ti.root.pointer(ti.i, 4)
        self.block.dense(ti.i, 4).place(self.pointer)
        self.mask = ti.root.bitmasked(ti.ij, (4, 3))
        self.mask.place(self.bitmasked)
        ti.root.dynamic(ti.i, 16, chunk_size=4).place(self.dynamic)
        self.odd, self.column = ti.field(ti.f64), ti.field(ti.f64)
        ti.root.dense(ti.i, 3).dense(ti.i, 5).place(self.odd)  # 15 cells: no power of two
        ti.root.dense(ti.j, 3).place(self.column)
        self.plain = ti.field(ti.f64, shape=(3, 5))
        self.shifted = ti.field(ti.f64, shape=5, offset=-2)
        self.vectors = ti.Vector.field(2, ti.f64, shape=3)
        self.structs = SIX.field(shape=3)
        self.masked_structs = SIX.field()
        ti.root.bitmasked(ti.i, 8).place(self.masked_structs)
        self.array = ti.ndarray(ti.f64, 3)
        self.trained = ti.field(ti.f64, shape=3, needs_grad=True)
        for i in (5, 6):
            self.pointer[i] = 10.0 * i
        for i in range(3):
            self.bitmasked[i, 1] = i + 1.0
            self.column[i] = self.array[i] = i + 0.5
            self.vectors[i] = [i, -2.0 * i]
            self.structs[i] = SIX(a=i, b=[i, 7.0])
        for i in range(15):
            self.odd[i] = i
            self.plain[i // 5, i % 5] = i


@pytest.fixture(scope="module")
def fields(runtime, arch):
    gc.collect()
    with warnings.catch_warnings():  # kernels of tests that are done may hold fields
        warnings.filterwarnings("ignore", "Taichi fields must be made after", RuntimeWarning)
        ds.init(arch=arch, precision=64, threads=1, reset=True)  # sparse fields are among the first ones
    return Fields()


class Reads(ds.Simulator):
    """Adds up a few cells of each field that can be read."""

    def __init__(self, fields):
        self.x = ds.State(ds.real, init=2.0)
        self.f = fields

    @ti.kernel
    def move(self, t: ti.i32):
        for _ in range(1):
            self.x[t + 1] = 0.5 * self.x[t]

    @ti.kernel
    def add(self, t: ti.i32):
        for i in range(16):  # cells that are not active are zero
            self.cost[None] += self.f.pointer[i] * self.x[t + 1]
        for i in range(4):
            self.cost[None] += self.f.bitmasked[i, 1]
        for i in self.f.odd:
            self.cost[None] += self.f.odd[i] * 1000.0
        for i, j in self.f.plain:
            self.cost[None] += (1.0 + j) * self.f.plain[i, j] * 1e6
        for index in ti.grouped(self.f.column):
            self.cost[None] += self.f.column[index[0]] * 1e9
        for i in self.f.vectors:
            self.cost[None] += (self.f.vectors[i].y + self.f.structs.b[i][1]) * 1e11
        for i in self.f.structs:
            self.cost[None] += self.f.structs.a[i] * 1e13

    def step(self, t):
        self.move(t)
        self.add(t)


@pytest.mark.parametrize("mode", ["step", "fused"])
def test_values_are_those_of_the_field_as_it_is(fields, mode):
    """Cells are read at each run, not once; an inactive one is zero, and none beyond the shape is visited."""
    rollout = ds.Rollout(Reads(fields), steps=1, mode=mode)
    plain = sum((1.0 + k % 5) * k for k in range(15))
    rest = 6.0 + 105e3 + plain * 1e6 + 4.5e9 + (-6.0 + 21.0) * 1e11 + 3e13
    cost, gradients = rollout.value_and_grad("x")
    assert cost == pytest.approx(110.0 + rest, rel=1e-15)
    assert gradients["x"] == pytest.approx(55.0, rel=1e-12)
    fields.pointer[9] = 4.0
    assert rollout.value() == pytest.approx(114.0 + rest, rel=1e-15)
    fields.block.deactivate_all()
    fields.pointer[5], fields.pointer[6] = 50.0, 60.0
    rollout.close()


@ti.data_oriented
class Kernels:
    """Kernels that would be read otherwise than Taichi reads them."""

    @ti.kernel
    def array(self, t: ti.i32):
        for i in self.f.array:
            self.cost[None] += 1.0

    @ti.kernel
    def shifted(self, t: ti.i32):
        for i in self.f.shifted:
            self.cost[None] += 1.0

    @ti.kernel
    def unplaced(self, t: ti.i32):
        for i in self.f.unplaced:
            self.cost[None] += 1.0

    @ti.kernel
    def shifted_read(self, t: ti.i32):
        for i in range(4):
            self.cost[None] += self.f.shifted[i]

    @ti.kernel
    def trained_read(self, t: ti.i32):
        for i in range(3):
            self.cost[None] += self.f.trained[i]

    @ti.kernel
    def adjoint_read(self, t: ti.i32):
        for i in range(3):
            self.cost[None] += self.f.trained.grad[i]

    @ti.kernel
    def struct_written(self, t: ti.i32):
        for i in range(3):
            self.f.structs[i] = self.f.structs[0]

    @ti.kernel
    def part_written(self, t: ti.i32):
        for i in range(3):
            self.f.structs[i].b += self.f.structs[0].b

    @ti.kernel
    def whole_struct_read(self, t: ti.i32):
        for i in range(3):
            self.cost[None] += self.f.structs[i]

    @ti.kernel
    def unplaced_read(self, t: ti.i32):
        for i in range(3):
            self.cost[None] += self.f.unplaced[i]

    @ti.kernel
    def array_read(self, t: ti.i32):
        for i in range(3):
            self.cost[None] += self.f.array[i]

    @ti.kernel
    def activate(self, t: ti.i32):
        for i in range(4):
            ti.activate(self.f.mask, [i, 0])

    @ti.kernel
    def written(self, t: ti.i32):
        for i in range(3):
            self.f.column[i] = self.x[t]

    @ti.kernel
    def added(self, t: ti.i32):
        for i in range(3):
            self.f.plain[i, 0] += self.x[t]


class Refused(ds.Simulator, Kernels):
    def __init__(self, fields, name):
        self.x, self.f, self.name = ds.State(ds.real), fields, name

    @ti.kernel
    def move(self, t: ti.i32):
        for _ in range(1):
            self.x[t + 1] = self.x[t]

    def step(self, t):
        self.move(t)
        getattr(self, self.name)(t)


REFUSED = {
    "array": "got self.f.array, a ti.ndarray; declare it as ds.Constant(...)",
    "shifted": "indices of self.f.shifted must begin at 0, got a Taichi field with offset=(-2,); copy",
    "shifted_read": "indices of self.f.shifted must begin at 0",
    "trained_read": "self.f.trained must be a declared field .* declare it as ds.Param(...)",
    "adjoint_read": "self.f.trained.grad must be a declared field to have a gradient",
    "struct_written": "must go into declared fields, got an element of a Taichi field of structs",
    "part_written": "must go into a declared field, .* [READ-ONLY]",
    "whole_struct_read": "the shape of its target, a number, got a struct of a, b in self.cost[None] += self",
    "array_read": "got a Python ScalarNdarray; declare it as ds.Constant(...)",
    "activate": "kernels must not change which cells of a Taichi field are active, got ti.activate(self",
    "written": "must go into a declared field, .* declare it as ds.State or ds.Scratch [READ-ONLY]",
    "added": "must go into a declared field, .* [READ-ONLY]",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_differ_is_refused(fields, name):
    words = re.escape(REFUSED[name]).replace(r"\.\*", ".*")
    with pytest.raises(ds.TraceError, match=words) as caught:
        ds.plan(Refused(fields, name), steps=1)
    assert "test_hand_made_fields.py:" in str(caught.value)


@pytest.mark.parametrize("name", ["unplaced", "unplaced_read"])
def test_a_field_without_a_place_is_named(fields, name):
    fields.unplaced = ti.field(ti.f64)
    try:
        with pytest.raises(ds.TraceError, match="unplaced must have its place before a rollout is made"):
            ds.plan(Refused(fields, name), steps=1)
    finally:
        ti.root.dense(ti.i, 3).place(fields.unplaced)  # nothing can run before


class Asked(ds.Simulator):
    """A kernel takes numbers from Python that come from fields and arrays: they are what it compiled."""

    def __init__(self, fields):
        self.x, self.f, self.weights = ds.State(ds.real, init=1.0), fields, np.arange(40.0)

    def gain(self, index):
        return self.f.column[index]

    @ti.kernel
    def move(self, t: ti.i32):
        for _ in range(1):
            self.x[t + 1] = self.gain(2) * self.x[t] + self.f.array[1] + np.sum(self.weights)

    def step(self, t):
        self.move(t)


@pytest.mark.parametrize("what", ["column", "array", "weights"])
def test_what_python_computed_for_a_kernel_may_not_change(fields, what):
    simulator = Asked(fields)
    rollout = ds.Rollout(simulator, steps=1)
    assert rollout.trajectory(simulator.x)[1] == 2.5 + 1.5 + 780.0
    container, index = (
        (simulator.weights, 3) if what == "weights" else (getattr(fields, what), 1 + (what == "column"))
    )
    old = container[index]
    container[index] = 9.0
    with pytest.raises(ds.StateError, match=r"must stay as kernels saw it .* make a new Rollout"):
        rollout.trajectory(simulator.x)
    container[index] = old
    assert rollout.trajectory(simulator.x)[1] == 2.5 + 1.5 + 780.0
    rollout.close()


class Assigns(Asked):
    def step(self, t):
        self.f.column[0] = 3.0
        self.move(t)


class AssignsVectors(Asked):
    def step(self, t):
        self.move(t)
        self.f.vectors[0] = [3.0, 1.0]


@pytest.mark.parametrize("kind", [Assigns, AssignsVectors])
def test_a_field_is_not_assigned_by_a_step_that_is_traced_once(fields, kind):
    with pytest.raises(ds.TraceError, match="an assignment to an element of a Taichi field, which would"):
        ds.plan(kind(fields), steps=1)
    fields.column[0] = 0.5  # elsewhere it is
    assert fields.column[0] == 0.5
