"""What `explain` says of innermost loops: which can be vectorised, and why others cannot."""

import numpy as np
import pytest
import taichi as ti

import diffsim as ds
from diffsim.compiler.explain import explain
from diffsim.compiler.program.program import lower_program
from diffsim.language.trace import trace
from diffsim.plan.planning import adjoint_stages

N = 40


class Loops(ds.Simulator):
    """One kernel for each kind of loop."""

    def __init__(self):
        self.x = ds.State(ds.real, N, init=np.linspace(0.1, 0.9, N))
        self.flat = ds.Scratch(ds.real, N)
        self.table = ds.Scratch(ds.real, N, 3)
        self.order = ds.Constant(np.arange(N)[::-1].copy())
        self.k = ds.Param(np.array(0.3))

    @ti.kernel
    def stencil(self, t: ti.i32):
        for i in range(N):
            self.x[t + 1, i] = self.k[None] * self.x[t, (i + 1) % N] + 0.1 * self.x[t, i]

    @ti.kernel
    def gather(self, t: ti.i32):
        for i in range(N):
            self.flat[t, i] += self.x[t, self.order[i]]

    @ti.kernel
    def stride(self, t: ti.i32):
        for i in range(N):
            self.table[t, i, 1] += self.x[t, i]

    @ti.kernel
    def carry(self, t: ti.i32):
        for _ in range(1):
            far = 0.5
            for i in range(N):
                far = 0.5 * far * self.x[t, i]
                self.flat[t, i] += far

    @ti.kernel
    def branch(self, t: ti.i32):
        for i in range(N):
            if self.x[t, i] > 0.5:
                self.flat[t, i] += 1.0

    @ti.kernel
    def short(self, t: ti.i32):
        for i in range(3):
            self.flat[t, i] += self.x[t, i]

    @ti.kernel
    def call(self, t: ti.i32):
        for i in range(N):
            self.flat[t, i] += ti.atan2(self.x[t, i], 2.0)

    @ti.kernel
    def pay(self, t: ti.i32):
        for i in range(N):
            self.cost[None] += self.x[t, i] * self.flat[t, i]

    def step(self, t):
        for kernel in (
            self.gather,
            self.stride,
            self.carry,
            self.branch,
            self.short,
            self.call,
            self.stencil,
        ):
            kernel(t)

    def running_cost(self, t):
        self.pay(t)


@pytest.fixture(scope="module")
def stories(runtime):
    lowered = lower_program(trace(Loops()), "f64", 4)
    found = explain(lowered, adjoint_stages(lowered, "f64", 4, ""))
    return {story.name.rsplit(".")[-1]: story.notes for story in found.kernels}


@pytest.mark.parametrize(
    ("kernel", "forward", "backward"),
    [
        ("stencil", "can be vectorised", "can be vectorised (2 loops)"),
        ("pay", "can be vectorised", "can be vectorised"),
        ("gather", "cannot be vectorised: it reads State x at", "cannot be vectorised: it writes State x at"),
        (
            "stride",
            "cannot be vectorised: it writes Scratch table at places that are not beside",
            "not beside",
        ),
        ("carry", "cannot be vectorised: an iteration needs what the one before has computed", "needs"),
        ("branch", "cannot be vectorised: it has a branch that its index alone does not decide", None),
        ("short", "cannot be vectorised: it has 3 iteration(s) only", "3 iteration(s) only"),
        ("call", "cannot be vectorised: it calls atan2, for one number at a time", "can be vectorised"),
    ],
)
def test_loops_and_reasons(stories, kernel, forward, backward):
    notes = [note for note in stories[kernel] if "innermost loop" in note]
    [mine] = [note for note in notes if "the innermost loop can" in note]
    assert forward in mine
    assert mine.startswith("line ")
    theirs = [note for note in notes if "of the adjoint" in note]
    assert len(theirs) == (backward is not None)
    assert all(backward in note for note in theirs)
