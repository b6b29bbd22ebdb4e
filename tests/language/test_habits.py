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
        (lambda self, t: self.f.fill(0), r"Scratch f .* got .fill .* zero at the start of each step"),
        (lambda self, t: self.x.fill(0), r"State x .* got .fill .* store the number .* at t \+ 1"),
        (lambda self, t: self.k.fill(0), r"Param k .* got .fill .* call .set\(...\) before"),
        (lambda self, t: self.w.fill(0), r"Workspace w .* zero where its method begins"),
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


def test_fill_in_a_kernel(runtime):
    class Filling(Base):
        @ti.kernel
        def good(self, t: ti.i32):
            self.f.fill(0)
            for i in range(3):
                self.x[t + 1, i] = self.x[t, i] * self.slipp

    with pytest.raises(TraceError) as caught:
        ds.plan(Filling(), steps=2)
    first, second = caught.value.diagnostics
    assert (
        "Scratch f must be used as declared fields are, got .fill of Taichi's own; it is zero"
        in first.message
    )
    assert "self must have an attribute 'slipp', got none; did you mean slip?" in second.message
