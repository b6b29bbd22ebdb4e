"""Steps written as plain Python, or as for Taichi's own fields: what is told, with line and remedy."""

import pathlib

import pytest
import taichi as ti

import diffsim as ds
from diffsim.errors import TraceError


class Base(ds.Simulator):
    """A field of each kind; `step` calls one kernel and what a test is about."""

    def __init__(self, slip=None):
        self.x, self.f, self.w = ds.State(ds.real, 3), ds.Scratch(ds.real, 3), ds.Workspace(ds.real, 3)
        self.k, self.u, self.slip = ds.Param(2.0), ds.Control(ds.real), slip

    @ti.kernel
    def good(self, t: ti.i32):
        for i in range(3):
            self.x[t + 1, i] = self.x[t, i]

    def plain(self, t):
        for i in range(3):
            self.x[t + 1, i] = 1.0

    def iterating(self, t):
        for _ in self.f:
            pass

    def adding(self, t):
        self.cost[None] += 1.0

    def step(self, t):
        self.good(t)
        if self.slip is not None:
            self.slip(self, t)


PLAIN = "must be a kernel, since elements of {} are {} there, got a plain Python method; put @ti.kernel"


@pytest.mark.parametrize(
    ("method", "line", "element", "verb"),
    [
        ("plain", "self.x[t + 1, i] = 1.0", "State x", "written"),
        ("iterating", "for _ in self.f:", "Scratch f", "read"),
        ("adding", "self.cost[None] += 1.0", "Cost cost", "read"),
    ],
)
def test_methods_that_are_no_kernels(runtime, method, line, element, verb):
    with pytest.raises(TraceError) as caught:
        ds.plan(Base(lambda self, t: getattr(self, method)(t)), steps=2)
    text = pathlib.Path(__file__).read_text().splitlines()
    place = next(k for k, source in enumerate(text, 1) if line in source)
    assert f"test_habits.py:{place} in {method}: {method} {PLAIN.format(element, verb)}" in str(caught.value)


@pytest.mark.parametrize(
    ("slip", "words"),
    [
        (lambda self, t: self.k.fill(0), r"Param k .* in a step, got fill\(0\); call .set\(...\) before"),
        (lambda self, t: self.w.fill(0), r"Workspace w .* zero where such a method begins"),
        (
            lambda self, t: self.good.grad(t),
            r"kernel good .* got .grad .*; rollout.value_and_grad\(\) runs all",
        ),
        (lambda self, t: self.x.grad, r"State x .* got .grad of Taichi's own; rollout.value_and_grad\(\)"),
        (lambda self, t: ti.field(ti.f32, 3), r"a Taichi field made or placed .* declared in __init__"),
        (lambda self, t: ti.root.dense(ti.i, 3), r"a Taichi field made or placed .* declared in __init__"),
        (lambda self, t: self.x.snode, r"got .snode of Taichi's own; a field declared with"),
        (lambda self, t: self.u.from_numpy(0), r"got .from_numpy .* call .set\(...\)"),
        (lambda self, t: self.x.to_numpy(), r"got .to_numpy .* rollout.trajectory"),
        (lambda self, t: float(self.k), r"got TypeError.* fields have values only in kernels"),
        (lambda self, t: 2.0 * self.k, r"got TypeError.* fields have values only in kernels"),
        (lambda self, t: 1 / 0, r"got ZeroDivisionError"),
        (lambda self, t: self.good(0.1 * t), r"t must only be passed on to kernels"),
    ],
)
def test_slips_in_steps(runtime, slip, words):
    with pytest.raises(TraceError, match=words) as caught:
        ds.plan(Base(slip), steps=2)
    assert f"test_habits.py:{slip.__code__.co_firstlineno} in <lambda>" in str(caught.value)


def test_fields_are_not_set_in_steps(runtime):
    words = r"Base.step must not set fields, got Param k set: it is run once when it is traced"
    with pytest.raises(TraceError, match=words):
        ds.plan(Base(lambda self, t: self.k.set(3.0)), steps=2)


def test_elements_in_step_itself(runtime):
    class Reading(Base):
        def step(self, t):
            self.good(t)
            self.x[t + 1, 0] = self.k[None]

    class NoTime(Base):
        def step(self):
            self.good(0)

    with pytest.raises(TraceError, match=r"Param k must be read in kernels, got Reading.step"):
        ds.plan(Reading(), steps=2)
    with pytest.raises(TraceError, match=r"NoTime.step must be defined with \(self, t\), got \(self\)"):
        ds.plan(NoTime(), steps=2)


def test_taichis_own_ways_in_a_step(runtime):
    loss, hand = ti.field(ti.f64, (), needs_grad=True), ti.field(ti.f64, 3)

    def taped(self, t):
        with ti.ad.Tape(loss):
            self.good(t)

    for slip, words in (
        (taped, r"got ti.ad.Tape or clear_all_gradients; rollout.value_and_grad\(\) runs all adjoints"),
        (lambda self, t: hand.fill(1.0), r"got fill\(\) of a Taichi field; declare it as ds.Scratch"),
        (lambda self, t: hand.to_numpy(), r"got to_numpy\(\) of a Taichi field; call .numpy\(\) outside"),
    ):
        with pytest.raises(TraceError, match=words):
            ds.plan(Base(slip), steps=2)
    assert ti.field(ti.f32, 3).shape == (3,)  # as ever, once the step is traced
