"""What kernels and steps may not do: each refused with file, line and remedy, before anything is compiled."""

import pathlib

import pytest
import taichi as ti

import diffsim as ds
from diffsim.errors import ConfigError, GradientError, TraceError

OUTSIDE = ds.Param([1.0, 2.0, 3.0])


class Base(ds.Simulator):
    """One State, one Scratch, one of each other kind; `bad` is what a test is about."""

    def __init__(self):
        self.x = ds.State(ds.real, 3)
        self.v = ds.State(ds.vec2, 3)
        self.f = ds.Scratch(ds.real, 3)
        self.k = ds.Param([1.0, 2.0, 3.0])
        self.u = ds.Control(ds.real, 3)
        self.ids = ds.Constant([0, 1, 2])
        self.table = {"a": 1.0}

    @ti.kernel
    def good(self, t: ti.i32):
        for i in range(3):
            self.x[t + 1, i] = self.x[t, i]

    def step(self, t):
        self.good(t)
        self.bad(t)


def refused(simulator, kind, words):
    with pytest.raises(kind, match=words) as caught:
        ds.plan(simulator, steps=5)
    return str(caught.value)


@ti.func
def early(x):
    if x > 0:
        return x
    return -x


@ti.real_func
def opaque(x: ti.f64) -> ti.f64:
    return x


class While(Base):
    @ti.kernel
    def bad(self, t: ti.i32):
        for i in range(3):
            s = 0.0
            while s < 1.0:
                s += 0.1
            self.f[t, i] = s


class Break(Base):
    @ti.kernel
    def bad(self, t: ti.i32):
        for i in range(3):
            for j in range(3):
                if self.x[t, j] > 0:
                    break
                self.f[t, i] += 1.0


class Return(Base):
    @ti.kernel
    def bad(self, t: ti.i32):
        for i in range(3):
            self.f[t, i] = early(self.x[t, i])


class RealFunction(Base):
    @ti.kernel
    def bad(self, t: ti.i32):
        for i in range(3):
            self.f[t, i] = opaque(self.x[t, i])


class Random(Base):
    @ti.kernel
    def bad(self, t: ti.i32):
        for i in range(3):
            self.f[t, i] = ti.random()


class Print(Base):
    @ti.kernel
    def bad(self, t: ti.i32):
        for i in range(3):
            print(self.x[t, i])


class AtomicMax(Base):
    @ti.kernel
    def bad(self, t: ti.i32):
        for i in range(3):
            ti.atomic_max(self.f[t, 0], self.x[t, i])


class WritesNow(Base):
    @ti.kernel
    def bad(self, t: ti.i32):
        for i in range(3):
            self.x[t, i] = 1.0


class WritesParam(Base):
    @ti.kernel
    def bad(self, t: ti.i32):
        for i in range(3):
            self.k[i] = self.x[t, i]


class WritesCost(Base):
    @ti.kernel
    def bad(self, t: ti.i32):
        self.cost[None] = self.x[t, 0]


class TooOld(Base):
    @ti.kernel
    def bad(self, t: ti.i32):
        for i in range(3):
            self.f[t, i] = self.x[t - 1, i]


class OtherTime(Base):
    @ti.kernel
    def bad(self, t: ti.i32):
        for i in range(3):
            self.f[t, i] = self.x[t * 2, i]


class ScratchLater(Base):
    @ti.kernel
    def bad(self, t: ti.i32):
        for i in range(3):
            self.f[t + 1, i] = self.x[t, i]


class WrongRank(Base):
    @ti.kernel
    def bad(self, t: ti.i32):
        for i in range(3):
            self.f[t, i] = self.x[t]


class FloatIndex(Base):
    @ti.kernel
    def bad(self, t: ti.i32):
        for i in range(3):
            self.f[t, i] = self.x[t, i * 0.5]


class OutOfRange(Base):
    @ti.kernel
    def bad(self, t: ti.i32):
        for i in range(3):
            self.f[t, i] = self.x[t, i + 1]


class WrongShape(Base):
    @ti.kernel
    def bad(self, t: ti.i32):
        for i in range(3):
            self.f[t, i] = self.v[t, i]


class IntegerCutsGradient(Base):
    @ti.kernel
    def bad(self, t: ti.i32):
        for i in range(3):
            s = 0
            for j in range(3):
                s += self.x[t, j]
            self.f[t, i] = s


class InPlace(Base):
    @ti.kernel
    def bad(self, t: ti.i32):
        for i in range(3):
            self.f[t, i] = self.x[t, i]
        for i in range(3):
            self.f[t, i] = self.f[t, i] * self.f[t, i]


class OverwritesNeighbour(Base):
    @ti.kernel
    def bad(self, t: ti.i32):
        for i in range(2):
            self.f[t, i] = self.x[t, i]
        for i in range(2):
            self.f[t, i + 1] += self.f[t, i]


class ReadsTooEarly(Base):
    @ti.kernel
    def bad(self, t: ti.i32):
        for i in range(3):
            self.f[t, i] = self.v[t + 1, i][0]

    @ti.kernel
    def late(self, t: ti.i32):
        for i in range(3):
            self.v[t + 1, i] = ti.Vector([1.0, 2.0])

    def step(self, t):
        super().step(t)
        self.late(t)


class UnknownName(Base):
    @ti.kernel
    def bad(self, t: ti.i32):
        for i in range(3):
            self.f[t, i] = undefined_name  # noqa: F821


class PythonDict(Base):
    @ti.kernel
    def bad(self, t: ti.i32):
        for i in range(3):
            self.f[t, i] = self.table[i]


class ForeignField(Base):
    @ti.kernel
    def bad(self, t: ti.i32):
        for i in range(3):
            self.f[t, i] = OUTSIDE[i]


class StructFor(Base):
    @ti.kernel
    def bad(self, t: ti.i32):
        for i in self.x:
            self.f[t, i] = 1.0


class UnboundedCarry(Base):
    @ti.kernel
    def bad(self, t: ti.i32):
        for i in range(3):
            s = self.x[t, i]
            for _ in range(ti.cast(self.x[t, i], ti.i32)):
                s = ti.sin(s)
            self.f[t, i] = s


class ShadowedName(Base):
    @ti.kernel
    def bad(self, t: ti.i32):
        for i in range(3):
            k = 0.5
            for k in range(3):
                self.f[t, i] += k * self.x[t, i]


class ResetInPlace(Base):
    @ti.kernel
    def bad(self, t: ti.i32):
        for i in range(3):
            self.f[t, i] = self.x[t, i]

    @ti.kernel
    def square(self):
        for i in range(3):
            self.x[0, i] = self.x[0, i] ** 2

    def reset(self):
        self.square()


class NotAFunction(Base):
    @ti.kernel
    def bad(self, t: ti.i32):
        for i in range(3):
            self.f[t, i] = sum_of_python(self.x[t, i])


def sum_of_python(x):
    return x


@pytest.mark.parametrize(
    ("simulator", "kind", "words"),
    [
        (While, TraceError, "must not use `while`; use `for"),
        (Break, TraceError, "must not use `break`"),
        (Return, TraceError, "must not return from inside a loop or branch"),
        (RealFunction, TraceError, "must be a function that kernels can differentiate"),
        (Random, TraceError, "must not draw random numbers"),
        (Print, TraceError, "print must stay out of kernels"),
        (AtomicMax, TraceError, "atomic max has no right adjoint"),
        (WritesNow, TraceError, r"State x must be written at t \+ 1"),
        (WritesParam, TraceError, "Param k must not be written by kernels"),
        (WritesCost, TraceError, r"the cost must be added to"),
        (TooOld, TraceError, r"must not be read before t.*history=2"),
        (OtherTime, TraceError, r"first index of State x must be t, t \+ 1 or t - 1"),
        (ScratchLater, TraceError, "Scratch f must be indexed at t"),
        (WrongRank, TraceError, r"must be indexed with 1 index\(es\) after t"),
        (FloatIndex, TraceError, "indices must be integers"),
        (OutOfRange, TraceError, r"indices of State x must lie in 0 .. 2, got 1 .. 3"),
        (WrongShape, TraceError, "must have the shape of its target"),
        (IntegerCutsGradient, TraceError, "an integer variable must not be assigned a float"),
        (InPlace, GradientError, "Scratch f .* must not be written after it was read"),
        (OverwritesNeighbour, GradientError, "Scratch f .* must not be written after it was read"),
        (ReadsTooEarly, TraceError, r"State v \[t \+ 1, ...\] must be written before it is read"),
        (UnknownName, TraceError, "undefined_name must be defined"),
        (PythonDict, TraceError, r"self.table must be a field to be indexed"),
        (ForeignField, TraceError, "must be a field of the simulator"),
        (StructFor, TraceError, "a loop must name its range"),
        (UnboundedCarry, GradientError, "must have a bound that is known"),
        (ShadowedName, TraceError, "the name of a loop must be new, got k"),
        (ResetInPlace, GradientError, "State x .* must not be written after it was read"),
        (NotAFunction, TraceError, "write it as a @ti.func"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_refused_kernels(runtime, simulator, kind, words):
    message = refused(simulator(), kind, words)
    assert "test_diagnostics.py:" in message  # the place in the user's file
    line = int(message.split("test_diagnostics.py:")[1].split(":")[0])
    source = pathlib.Path(__file__).read_text().splitlines()
    start = next(k for k, text in enumerate(source) if text.startswith(f"class {simulator.__name__}(")) + 1
    inlined = simulator is Return
    assert inlined or start < line <= start + 16, message


class Steps(Base):
    """Steps that cannot be traced."""

    def __init__(self, step):
        super().__init__()
        self.how = step

    def step(self, t):
        self.good(t)
        self.how(self, t)


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (
            lambda self, t: self.good(t) if t > 3 else None,
            "t must only be passed on to kernels .* got compared",
        ),
        (lambda self, t: self.good(t) if t % 2 else None, "got computed with"),
        (lambda self, t: range(t), "got turned into a number"),
        (lambda self, t: [] if t else [1], "got branched on"),
        (lambda self, t: self.good(t + 0.5), "added to something that is not an integer"),
        (lambda self, t: self.good(), r"must be called with its 1 argument\(s\), got 0"),
        (lambda self, t: self.missing(t), "must run as plain Python when it is traced, got AttributeError"),
        (lambda self, t: 1 / 0, "got ZeroDivisionError"),
    ],
)
def test_steps_that_cannot_be_traced(runtime, step, words):
    with pytest.raises(TraceError, match=words):
        ds.plan(Steps(step), steps=5)


def test_step_is_needed(runtime):
    class Without(ds.Simulator):
        pass

    class Empty(ds.Simulator):
        def step(self, t):
            pass

    with pytest.raises(TraceError, match="must define step"):
        ds.plan(Without(), steps=1)
    with pytest.raises(TraceError, match="must call at least one kernel"):
        ds.plan(Empty(), steps=1)


@pytest.mark.parametrize(
    ("declare", "words"),
    [
        (lambda: ds.State(ti.f32, 3), "State type must be an element type"),
        (lambda: ds.State(ds.real, 0), "shape must be positive integers"),
        (lambda: ds.State(ds.real, 2.0), "shape must be positive integers"),
        (lambda: ds.State(ds.real, 3, init=[1.0, 2.0]), r"must have shape \(3,\), got \(2,\)"),
        (lambda: ds.State(ds.real, 3, history=0), "history must be a positive integer"),
        (lambda: ds.Param("text"), "Param must be declared with numbers"),
        (lambda: ds.Param([]), "at least one element"),
        (lambda: ds.Param([1.0], 3), "Param type must be an element type"),
        (lambda: ds.Constant([1, 2]).set([0.5, 1]), "must hold 32-bit integers"),
        (
            lambda: ds.control.MLP(ds.Param([1.0]), ds.Scratch(ds.real, 2)),
            "MLP inputs must be a field of one axis",
        ),
        (
            lambda: ds.control.MLP(ds.State(ds.real, 2), ds.Scratch(ds.real, 2), hidden=(0,)),
            "MLP hidden must be",
        ),
        (lambda: ds.control.Sinusoids(ds.Scratch(ds.real, 4), count=5), "must fit outputs of 4"),
    ],
)
def test_bad_declarations(declare, words):
    with pytest.raises(ConfigError, match=words):
        declare()
