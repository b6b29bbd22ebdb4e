"""Loops over ranges that Python makes: by a method that returns `ti.ndrange(...)`, or in an attribute."""

import numpy as np
import pytest
import taichi as ti

import diffsim as ds
from diffsim.errors import StateError, TraceError


class Cells(ds.Simulator):
    """Marks in a grid what each loop visits."""

    def __init__(self, n=3):
        self.n, self.x, self.k = n, ds.State(ds.real, 4, 5), ds.Param(1.0)
        self.corner = ti.ndrange(2, 2)

    def inner(self):
        return ti.ndrange((1, self.n), 4)

    def rows(self, first):
        return range(first, self.n)

    def listed(self):
        return [0, 2]

    @ti.kernel
    def visit(self, t: ti.i32):
        for i, j in self.inner():
            self.x[t + 1, i, j] += self.k[None]
        for cell in ti.grouped(self.inner()):
            self.x[t + 1, cell] += 10.0 * self.k[None]
        for i in self.rows(1):
            for _, j in self.corner:
                self.x[t + 1, i, j] += 100.0

    @ti.kernel
    def total(self, t: ti.i32):
        for i, j in ti.ndrange(4, 5):
            self.cost[None] += self.x[t, i, j]

    def step(self, t):
        self.visit(t)

    def terminal_cost(self, t):
        self.total(t)


class Listed(Cells):
    @ti.kernel
    def visit(self, t: ti.i32):
        for i in self.listed():
            self.x[t + 1, i, 0] = 1.0


def test_ranges_from_python(runtime):
    sim = Cells()
    rollout = ds.Rollout(sim, steps=1)
    expected = np.zeros((4, 5))
    expected[1:3, :4] += 11.0
    expected[1:3, :2] += 200.0  # the inner loop runs over two rows of two columns
    np.testing.assert_array_equal(rollout.trajectory(sim.x)[1], expected)
    assert rollout.value_and_grad()[1]["k"] == 88.0
    sim.n = 4
    with pytest.raises(StateError, match=r"must stay as kernels saw it"):
        rollout.value()
    rollout.close()


def test_lists_from_python_are_named(runtime):
    with pytest.raises(TraceError, match=r"got self.listed\(\); unroll it, as in ti.static\(...\)"):
        ds.plan(Listed(), steps=1)
