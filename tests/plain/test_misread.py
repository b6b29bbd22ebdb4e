"""`check_grad` against plain Python: faults in reading kernels, which all other modes share, are found."""

import ast
import re

import numpy as np
import pytest
import taichi as ti

import diffsim as ds
from diffsim.compiler.reading import loops, operators, places

SHAPE = (9, 8)


class Spots(ds.Simulator):
    """Heat on active cells, which cool a little even where they are cold."""

    def __init__(self, layout=None):
        first = np.zeros(SHAPE)
        first[2:4, 3] = [0.5, 0.8]
        self.u = ds.State(ds.real, *SHAPE, layout=layout, init=first)
        self.v = ds.State(ds.vec2, 3, init=np.arange(6.0).reshape(3, 2))
        self.rate = ds.Param([0.1, 0.3])
        self.f = ds.Scratch(ds.real, *SHAPE, layout=layout)

    @ti.kernel
    def spread(self, t: ti.i32):
        for i, j in self.u:  # diffsim: allow ACTIVITY
            self.f[t, i, j] += self.rate[0] * self.u[t, i, j] - 0.01 * self.rate[1]

    @ti.kernel
    def move(self, t: ti.i32):
        for i, j in ti.ndrange(*SHAPE):
            self.u[t + 1, i, j] = self.u[t, i, j] + self.f[t, i, j]
        for k in range(3):
            self.v[t + 1, k] = self.v[t, (k + 1) % 3] - self.rate[1] * self.v[t, k]

    @ti.kernel
    def total(self, t: ti.i32):
        for i, j in ti.ndrange(*SHAPE):
            self.cost[None] += self.u[t, i, j] ** 2
        for k in range(3):
            self.cost[None] += self.v[t, k].norm_sqr()

    def step(self, t):
        self.spread(t)
        self.move(t)

    def running_cost(self, t):
        self.total(t)


def report(**options):
    with ds.Rollout(Spots(ds.sparse(block=2)), steps=4, mode="step") as rollout:
        return rollout.check_grad(directions=1, forward=False, python=30.0, **options)


def test_right_kernels_are_confirmed(runtime):
    found = report()
    assert found.passed
    assert found.python_error < 1e-13
    assert "values as in plain Python to" in str(found)
    assert found.python == "all 4 steps, and the cost"


def test_too_little_time_is_told(runtime):
    with ds.Rollout(Spots(), steps=4, mode="step") as rollout:
        found = rollout.check_grad(directions=1, forward=False, python=1e-9)
        assert "not checked: values against plain Python, whose first step takes longer than 1e-09 s" in str(
            found
        )
        assert found.passed
        assert rollout.check_grad(directions=1, forward=False, python=0).python_error is None
        with pytest.raises(ds.ConfigError, match="python must be a number of seconds, got -1"):
            rollout.check_grad(python=-1)


def visits_all(ctx, node, over, indices):
    return node.body


def shifted(ctx, node, evaluate, right=places._index_list):
    indices = right(ctx, node, evaluate)
    if ctx.text(node) != "self.v[t, (k + 1) % 3]":
        return indices
    one, three = ctx.builder.const(1), ctx.builder.const(3)
    return [*indices[:-1], ctx.builder.op("mod", ctx.builder.op("add", indices[-1], one), three)]


FAULTS = {
    "a loop that visits inactive cells": (
        loops,
        "guarded_body",
        visits_all,
        r"f\[\d+, \d+\] of step 0 is",
    ),
    "an operator": (operators.BINARY, "Sub", None, r"[fv]\["),
    "an index": (places, "_index_list", shifted, r"v\[\d, \d\] at t = 1 is"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(runtime, monkeypatch, fault):
    owner, name, wrong, place = FAULTS[fault]
    if wrong is None:
        monkeypatch.setitem(operators.BINARY, ast.Sub, operators.BINARY[ast.Add])
    else:
        monkeypatch.setattr(owner, name, wrong)
    others = report()
    assert others.verdict == "misread"
    assert not others.passed
    assert "not those of plain Python" in others.sentence
    assert re.search(place, others.misread), others.misread
    assert "in plain Python" in others.misread
