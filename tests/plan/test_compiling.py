"""What compiling is expected to take, from the forms that are printed; and that nobody waits for minutes."""

import dataclasses

import pytest
import taichi as ti

import diffsim as ds
from diffsim.plan.compiling import Size
from diffsim.plan.costs import Costs
from diffsim.plan.modes import PATIENCE


class Sweeps(ds.Simulator):
    """Sweeps between two fields, or through a chain of them, and a sum over a local recurrence.

    Args:
        count: How many sweeps.
        chain: Each between fields of its own.
        terms: Of the recurrence, unrolled.
    """

    def __init__(self, count=4, chain=False, terms=2, n=64):
        self.count, self.terms, self.n = count, terms, n
        self.u = ds.State(ds.real, n, init=0.1)
        self.k = ds.Param(0.3)
        self.fields = [ds.Scratch(ds.real, n) for _ in range(count + 1)] if chain else []
        self.a = ds.Scratch(ds.real, n)

    @ti.kernel
    def begin(self, t: ti.i32):
        for i in range(self.n):
            y = self.u[t, i]
            for _ in ti.static(range(self.terms)):
                y = ti.sin(self.k[None] * y)
            self.a[t, i] = y

    @ti.kernel
    def sweep(self, t: ti.i32, k: ti.template()):
        for i in range(1, self.n - 1):
            if ti.static(len(self.fields) > 0):
                self.fields[k + 1][t, i] = 0.5 * (self.fields[k][t, i - 1] + self.a[t, i + 1])
            else:
                self.u[t + 1, i] += 0.5 * (self.a[t, i - 1] + self.a[t, i + 1])

    def step(self, t):
        self.begin(t)
        for k in range(self.count):
            self.sweep(t, k if self.fields else 0)

    @ti.kernel
    def end(self, t: ti.i32):
        for i in range(self.n):
            self.cost[None] += self.u[t, i] ** 2

    def terminal_cost(self, t):
        self.end(t)


def costs(simulator, **request):
    return {c.mode: c.compile_seconds for c in ds.plan(simulator, 16, **request).candidates}


@pytest.mark.compilers
def test_longer_texts_take_longer(runtime):
    few, many = costs(Sweeps(4, chain=True)), costs(Sweeps(16, chain=True))
    assert all(many[mode] > 1.5 * few[mode] for mode in many)
    one, long = costs(Sweeps(1, terms=2)), costs(Sweeps(1, terms=200))
    assert all(long[mode] > one[mode] for mode in long)


def test_kernels_that_do_the_same_are_compiled_once(runtime):
    one, four, chain = (costs(Sweeps(*args)) for args in ((1,), (4,), (4, True)))
    assert four["step"] == one["step"] < chain["step"]
    assert four["fused"] > one["fused"]


def test_sizes_add_up():
    one = Size(1, 2, 3, 4, 5)
    assert (one + one) == one.times(2) == Size(2, 4, 6, 8, 10)
    assert dataclasses.astuple(sum([one, one], Size())) == (2, 4, 6, 8, 10)


SECONDS = [
    # what modes take to compile, the mode that is chosen, words of the reason
    ({"step": 5, "chunk": 20, "fused": 10}, "fused", "faster in one launch"),
    (
        {"step": 5, "chunk": 20, "fused": 3 * PATIENCE},
        "chunk",
        "fused would compile for about 3.08 min, longer",
    ),
    ({"step": 5, "chunk": 2 * PATIENCE, "fused": 3 * PATIENCE}, "step", "fused would compile for"),
    ({"step": 2, "chunk": PATIENCE, "fused": PATIENCE}, "step", "fused would compile for"),
    ({"step": 2e3, "chunk": 3e3, "fused": 4e3}, "step", "every mode compiles for more than a minute"),
]


@pytest.mark.parametrize(("seconds", "mode", "reason"), SECONDS)
def test_nobody_waits_for_minutes(runtime, monkeypatch, seconds, mode, reason):
    run = {"step": 1e3, "chunk": 1e2, "fused": 1.0}  # whatever is won
    monkeypatch.setattr(Costs, "compile_seconds", lambda self, mode, chunk=0: seconds[mode])
    monkeypatch.setattr(Costs, "run_seconds", lambda self, mode, chunk=0: run[mode])
    monkeypatch.setattr(Costs, "check_seconds", seconds["step"])
    simulator = Sweeps()
    plan = ds.plan(simulator, 16)
    assert (plan.mode, reason in plan.reason) == (mode, True), plan.reason
    slow = seconds["step"] > PATIENCE
    assert ("Sweeps." in plan.remedy and "sooner" in str(plan)) is slow
    asked = ds.plan(simulator, 16, mode="fused")  # who asks gets it, and is told
    assert asked.mode == "fused"
    assert bool(asked.remedy) is (seconds["fused"] + seconds["step"] > PATIENCE)
