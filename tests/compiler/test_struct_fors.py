"""Loops over declared fields visit the cells of the field, as `ti.ndrange` of its shape does."""

import re

import numpy as np
import pytest
import taichi as ti

import diffsim as ds
from diffsim.compiler.program.program import lower_program
from diffsim.language.trace import trace
from diffsim.plan.fingerprint import lines


@ti.func
def first(field, weights):
    total = 0.0
    for k in field:
        total += weights[k].x
    return total


@ti.func
def first_of_four(field, weights):
    total = 0.0
    for k in range(4):
        total += weights[k].x
    return total


class Springs(ds.Part):
    def __init__(self):
        self.rest = ds.Param(ds.vec2, 4, init=1.0)


class Kinds(ds.Simulator):
    """Has a field of each kind."""

    inner = staticmethod(first)

    def __init__(self):
        self.x = ds.State(ds.vec2, 3, 4, init=np.arange(24.0).reshape(3, 4, 2))
        self.mass = ds.Scratch(ds.real, 3, 4)
        self.table = ds.Constant(np.arange(24.0).reshape(2, 3, 4))
        self.push = ds.Control(ds.mat2, 4)
        self.springs = Springs()
        self.scale = ds.Param(1.5)
        self.scratch = ds.Workspace(ds.real, 4)

    def step(self, t):
        self.spread(t)
        self.add(t)


class Over(Kinds):
    @ti.kernel
    def spread(self, t: ti.i32):
        for cell in ti.grouped(self.mass):
            self.mass[t, cell] += self.x[t, cell].sum() * cell[1]
        for i, j in self.x:
            self.x[t + 1, i, j] = self.scale[None] * self.x[t, i, j] + self.mass[t, i, j]

    @ti.kernel
    def add(self, t: ti.i32):
        for k in self.springs.rest:
            self.cost[None] += self.springs.rest[k].sum() * self.inner(self.scratch, self.springs.rest)
        ti.loop_config(serialize=True)
        for a, b, c in self.table:
            self.cost[None] += self.table[a, b, c] * self.x[t + 1, b, c].x
        for k in self.push:  # its steps are no axis of it
            for cell in ti.grouped(self.mass):
                self.cost[None] += self.push[t, k][0, 1] * self.mass[t, cell]
        for at in ti.grouped(self.scale):  # a number is one cell
            self.cost[None] += self.scale[at]


class Along(Kinds):
    inner = staticmethod(first_of_four)

    @ti.kernel
    def spread(self, t: ti.i32):
        for cell in ti.grouped(ti.ndrange(3, 4)):
            self.mass[t, cell] += self.x[t, cell].sum() * cell[1]
        for i, j in ti.ndrange(3, 4):
            self.x[t + 1, i, j] = self.scale[None] * self.x[t, i, j] + self.mass[t, i, j]

    @ti.kernel
    def add(self, t: ti.i32):
        for k in range(4):
            self.cost[None] += self.springs.rest[k].sum() * self.inner(self.scratch, self.springs.rest)
        ti.loop_config(serialize=True)
        for a, b, c in ti.ndrange(2, 3, 4):
            self.cost[None] += self.table[a, b, c] * self.x[t + 1, b, c].x
        for k in range(4):
            for cell in ti.grouped(ti.ndrange(3, 4)):
                self.cost[None] += self.push[t, k][0, 1] * self.mass[t, cell]
        self.cost[None] += self.scale[None]


def test_the_program_is_that_of_the_ranges():
    """Operation by operation, and with the same loops in parallel."""
    texts = []
    for kind in (Over, Along):
        stages = lower_program(trace(kind()), "f64", 3).step
        texts.append([line for stage in stages for line in lines(stage.body, {stage.t: 0})])
    assert texts[0] == texts[1]
    assert sum(line.startswith("for") and " True " in line for line in texts[0]) == 6


@ti.data_oriented
class Slips:
    """Loops whose names do not fit what they run over."""

    @ti.kernel
    def few(self, t: ti.i32):
        for i in self.mass:
            self.cost[None] += self.mass[t, i]

    @ti.kernel
    def many(self, t: ti.i32):
        for i, c in self.springs.rest:
            self.cost[None] += self.springs.rest[i][c]

    @ti.kernel
    def timed(self, t: ti.i32):
        for s, k in self.push:
            self.cost[None] += self.push[s, k].sum()

    @ti.kernel
    def grouped(self, t: ti.i32):
        for i, j in ti.grouped(self.mass):
            self.cost[None] += self.mass[t, i, j]

    @ti.kernel
    def number(self, t: ti.i32):
        for i in self.scale:
            self.cost[None] += self.scale[i]

    @ti.kernel
    def ranges(self, t: ti.i32):
        for i, j in ti.ndrange(3, 4, 5):
            self.cost[None] += self.mass[t, i, j]

    @ti.kernel
    def static(self, t: ti.i32):
        for i, j in ti.static(ti.ndrange(3, 4, 5)):
            self.cost[None] += self.mass[t, i, j]


class Slipped(Kinds, Slips):
    def __init__(self, name):
        super().__init__()
        self.name = name

    def step(self, t):
        getattr(self, self.name)(t)


REFUSED = {
    "few": "one name for each axis, got `for i in self.mass`, 1 for 2; write `for i, j in self.mass`, or "
    "`for I in ti.grouped(self.mass)` for a vector of all indices [CONTROL-FLOW]",
    "many": "got `for i, c in self.springs.rest`, 2 for 1; write `for i in self.springs.rest`",
    "timed": "got `for s, k in self.push`, 2 for 1",
    "grouped": "must have one name, for the vector of all indices, got `for i, j in ti.grouped(self.mass)`; "
    "write `for I in ti.grouped(self.mass)`, or leave out ti.grouped: `for i, j in self.mass`",
    "number": "a field that has axes, got `for i in self.scale`, of one without; write self.scale[None]",
    "ranges": "got `for i, j in ti.ndrange(3, 4, 5)`, 2 for 3; write `for i, j, k in ti.ndrange(3, 4, 5)`",
    "static": "as many names as each item has parts, 3, got `for i, j in ...`; name each [SHAPE]",
}


@pytest.mark.parametrize("name", REFUSED)
def test_names_that_do_not_fit_are_refused(name):
    with pytest.raises(ds.TraceError, match=re.escape(REFUSED[name])):
        lower_program(trace(Slipped(name)), "f64", 1)
