"""What kernels and steps may not do: each refused with file, line and remedy, before anything is compiled."""

import ast
import pathlib

import pytest
import taichi as ti

import diffsim as ds
from diffsim.compiler.reading.quoting import quoted
from diffsim.compiler.reading.values import TimeIndex, Variable
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
    for k in range(3):
        if x > k:
            return x
    return ti.Vector([x, x])


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
            else:
                s = 2.0
            self.f[t, i] = s


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


class AtomicOfNothing(Base):
    @ti.kernel
    def bad(self, t: ti.i32):
        for i in range(3):
            ti.atomic_max(self.f[t, 0] + 1.0, self.x[t, i])


class SharedPlace(Base):
    @ti.kernel
    def bad(self, t: ti.i32):
        for i in range(3):
            self.f[t, 0] = 2.0 * self.x[t, i]


class ReadsOthersWrites(Base):
    @ti.kernel
    def bad(self, t: ti.i32):
        for i in range(2):
            self.f[t, i + 1] = self.f[t, i] + self.x[t, i]


class SharedByArray(Base):
    def __init__(self):
        super().__init__()
        self.to = ds.Constant([[0, 2], [1, 0], [0, 1]])

    @ti.kernel
    def bad(self, t: ti.i32):
        for i in range(3):
            self.f[t, self.to[i, 1]] = self.x[t, i]
        for i in range(3):
            self.v[t + 1, self.to[i, 0]] = ti.Vector([self.x[t, i], 0.0])


class GradOutside(Base):
    @ti.kernel
    def bad(self, t: ti.i32):
        for i in range(3):
            self.f[t, i] = self.x.grad[t, i]


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


class ShadowedName(Base):
    @ti.kernel
    def bad(self, t: ti.i32):
        for i in range(3):
            k = 0.5
            for k in range(3):
                self.f[t, i] += k * self.x[t, i]


class NotAFunction(Base):
    @ti.kernel
    def bad(self, t: ti.i32):
        for i in range(3):
            self.f[t, i] = plain_python(self.x[t, i])


def plain_python(x):
    with open(x) as file:
        return file


@pytest.mark.parametrize(
    ("simulator", "kind", "words"),
    [
        (While, TraceError, r"must not use while-else; move .* \[CONTROL-FLOW\]"),
        (Return, TraceError, r"must return values of one shape on every way through; .* \[SHAPE\]"),
        (RealFunction, TraceError, "must be a function that kernels can differentiate"),
        (
            Random,
            TraceError,
            r"must not draw by ti.random, .*; write ds.random\(t, i\), which draws the same",
        ),
        (AtomicOfNothing, TraceError, r"ti.atomic_max must change an element of a field.*ATOMIC\]"),
        (SharedPlace, GradientError, r"Scratch f .* every iteration storing a value of its own.*RACE\]"),
        (ReadsOthersWrites, GradientError, r"Scratch f .* read by another.*iterations run side.*RACE\]"),
        (
            SharedByArray,
            GradientError,
            r"State v must be stored by one .* Constant to, which names 0 twice.*RACE",
        ),
        (GradOutside, TraceError, r"must stay in adjoints of one's own.*ADJOINT\]"),
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
        (OverwritesNeighbour, GradientError, r"Scratch f .* and read by another .*RACE\]"),
        (
            ReadsTooEarly,
            TraceError,
            r"State v \[t \+ 1, ...\] \(component 0\) must be written before",
        ),
        (UnknownName, TraceError, "undefined_name must be defined"),
        (PythonDict, TraceError, r"self.table must be a field to be indexed"),
        (ForeignField, TraceError, "must be a field of the simulator"),
        (ShadowedName, TraceError, "the name of a loop must be new, got k"),
        (NotAFunction, TraceError, "kernels must not use `with`; move it"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_refused_kernels(runtime, simulator, kind, words):
    message = refused(simulator(), kind, words)
    assert "test_diagnostics.py:" in message  # the place in the user's file
    line = int(message.split("test_diagnostics.py:")[1].split(":")[0])
    source = pathlib.Path(__file__).read_text().splitlines()
    start = next(k for k, text in enumerate(source) if text.startswith(f"class {simulator.__name__}(")) + 1
    inlined = simulator in (Return, NotAFunction)
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


class ManyFaults(Base):
    """Eight faults in two kernels; what only follows from one of them is not told."""

    @ti.kernel
    def bad(self, t: ti.i32):
        for i in range(3):
            q = self.x[t, i] + undefined_name  # noqa: F821
            z = q * 2.0
            self.x[t, i] = z
            self.x[t, i] = 3.0
            if self.x[t, i] > 0.0:
                self.k[i] = 2.0
            for k in range(2):
                self.f[t, i] += self.x[t + 2, k]

    @ti.kernel
    def worse(self, t: ti.i32):
        for i in range(3):
            self.f[t, i, 0] = ti.random()
        self.cost[None] = 1.0

    def step(self, t):
        super().step(t)
        self.worse(t)


def test_all_faults_are_told_at_once(runtime):
    with pytest.raises(TraceError) as caught:
        ds.plan(ManyFaults(), steps=5)
    rules = [d.rule for d in caught.value.diagnostics]
    assert rules == [
        "NAME",
        "WRITE-TIME",
        "WRITE-TIME",
        "READ-ONLY",
        "TIME-INDEX",
        "RANDOM",
        "INDEX",
        "COST",
    ]
    lines = str(caught.value).splitlines()
    assert lines[0] == "kernels must follow the rules, got 8 faults (diffsim explain RULE tells more):"
    places = [
        (int(d.where.split(":")[1]), int(d.where.split(":")[2].split()[0])) for d in caught.value.diagnostics
    ]
    assert [line for line, _ in places] == sorted(line for line, _ in places)
    text = pathlib.Path(__file__).read_text().splitlines()
    assert "undefined_name" in text[places[0][0] - 1][places[0][1] - 1 :]
    assert all(str(d) == line for d, line in zip(caught.value.diagnostics, lines[1:], strict=True))


class Everywhere(Base):
    """A fault in each place behind another one, in a kernel that is called with t + 1."""

    def step(self, t):
        self.good(t)
        self.bad(t + 1, 0.5)

    @ti.kernel
    def bad(self, s: ti.i32, n: ti.i32):
        for i in self.x:
            self.k[i] = 1.0
        if missing_name > 0.0:  # noqa: F821
            self.x[s - 1, 0] = 1.0
        else:
            self.f[s - 1, 0] = ti.random()
        while self.x[2] > n:
            self.cost[None] = 1.0
            break
        self.x[s - 1, 0] = self.k[0, 0] + ti.max(self.x[s + 1, 0], self.u[0])
        self.f[s - 1, 1], self.ids[0] = opaque(self.x[s - 1, 0]), 3
        if ti.static(self.missing):
            self.k[0] = 1.0  # may be left out


def test_reading_goes_on_behind_each_fault(runtime):
    with pytest.raises(TraceError) as caught:
        ds.plan(Everywhere(), steps=5)
    assert [d.rule for d in caught.value.diagnostics] == [
        "SHAPE",
        "READ-ONLY",
        "NAME",
        "WRITE-TIME",
        "RANDOM",
        "COST",
        "INDEX",
        "TIME-INDEX",
        "INDEX",
        "WRITE-TIME",
        "FUNCTION",
        "READ-ONLY",
        "PYTHON",
    ]
    told = str(caught.value)
    assert "got self.x[t, 0] = 1.0 (s is the step's t + 1)" in told
    assert "got self.x[t + 2, 0] (s is the step's t + 1)" in told


def test_time_is_quoted_as_the_step_passes_it():
    names = {name: Variable(TimeIndex(k)) for name, k in (("t", 1), ("now", 0), ("old", -1))}
    quotes = {
        "self.x[t, i]": "self.x[t + 1, i] (t is the step's t + 1)",
        "self.x[now + 1, i] = old * 2": "self.x[t + 1, i] = (t - 1) * 2 "
        "(now is the step's t, old is the step's t - 1)",
        "t = self.other": "t = self.other",
    }
    for source, quote in quotes.items():
        assert quoted(ast.parse(source).body[0], names) == quote


def test_accesses_are_told_at_once(runtime):
    class Two(Base):
        velocity = True

        def without_velocity(self):
            self.velocity = False
            return self

        @ti.kernel
        def bad(self, t: ti.i32):
            for i in range(3):
                self.f[t, i] = self.x[t, i]
            for i in range(3):
                if ti.static(self.velocity):
                    self.v[t + 1, i] = self.v[t + 1, (i + 1) % 3]
                else:
                    self.x[t + 1, 0] = self.x[t, i] + self.f[t, i]

    with pytest.raises(TraceError) as caught:
        ds.plan(Two(), steps=5)
    assert {d.rule for d in caught.value.diagnostics} == {"RACE", "READ-AHEAD"}
    with pytest.raises(GradientError) as caught:
        ds.plan(Two().without_velocity(), steps=5)
    assert [d.rule for d in caught.value.diagnostics] == ["RACE"]


class ByComponent(Base):
    """One fault for each component of a matrix, in three forms: on one line, on three, and of two of four."""

    def __init__(self):
        super().__init__()
        self.m = ds.Scratch(ds.mat2, 3)

    @ti.kernel
    def bad(self, t: ti.i32):
        for i in range(3):
            self.m[t, i] = ti.Matrix([[self.x[t, i], 1.0], [2.0, 3.0]])
            self.v[t + 1, i] = ti.Vector([self.x[t, i], 1.0])
        for i in range(3):
            m = self.m[t, (i + 1) % 3]
            self.m[t, i] = ti.Matrix([[m[0, 0] * self.m[t, i][0, 0], m[0, 1]], [m[1, 0], m[1, 1]]])
            self.v[t + 1, i][0] = 2.0 * self.v[t + 1, i][0] * self.v[t + 1, (i + 1) % 3][0]
            self.v[t + 1, i][1] = 2.0 * self.v[t + 1, i][1] * self.v[t + 1, (i + 1) % 3][1]
        for i in range(3):
            self.m[t, i][0, 1] *= self.m[t, (i + 1) % 3][0, 1]


def test_components_are_told_of_together(runtime):
    with pytest.raises(GradientError) as caught:
        ds.plan(ByComponent(), steps=5)
    told = [str(d).split(" in bad: ")[1].split(" must ")[0] for d in caught.value.diagnostics]
    lines = pathlib.Path(__file__).read_text().splitlines()
    first = next(k for k, line in enumerate(lines, 1) if "self.v[t + 1, i][0] = 2.0" in line)
    assert told == [
        "Scratch m [t, ...] (all components)",
        f"State v [t + 1, ...] (all components, lines {first} and {first + 1})",
        "Scratch m [t, ...] (component [0, 1])",
    ]


class Unrolled(Base):
    """The same index is wrong in each round of an unrolled loop."""

    @ti.kernel
    def bad(self, t: ti.i32):
        for d in ti.static(range(6)):
            self.f[t, 3 + d] = 1.0


class UnrolledRange(Base):
    @ti.kernel
    def bad(self, t: ti.i32):
        for i in range(3):
            for d in ti.static(range(6)):
                self.f[t, i] += self.x[t, i + 3 + d]


@pytest.mark.parametrize(
    ("simulator", "words"),
    [
        (Unrolled, r"index must lie in 0 .. 2, got 3 in .* \(and 5 more such\) .*INDEX\]"),
        (
            UnrolledRange,
            r"indices of State x must lie in 0 .. 2, got 3 .. 5 .* \(and 5 more such\) .*INDEX\]",
        ),
    ],
)
def test_rounds_of_an_unrolled_loop_are_told_of_together(runtime, simulator, words):
    with pytest.raises(TraceError, match=words) as caught:
        ds.plan(simulator(), steps=5)
    assert len(caught.value.diagnostics) == 1


class Warned(Base):
    """A cast that cuts a gradient."""

    @ti.kernel
    def bad(self, t: ti.i32):
        for i in range(3):
            self.f[t, i] = ti.cast(3.0 * self.x[t, i], ti.i32) * self.k[i]


class Printing(Base):
    @ti.kernel
    def bad(self, t: ti.i32):
        for i in range(3):
            print(self.x[t, i])


class Allowed(Base):
    @ti.kernel
    def bad(self, t: ti.i32):
        for i in range(3):
            whole = ti.cast(3.0 * self.x[t, i], ti.i32)  # diffsim: allow CUT
            print(whole)  # diffsim: allow print
            self.f[t, i] = whole * self.k[i] + ti.cast(ds.stop_gradient(self.x[t, i]), ti.i32)


class AllowedKernel(Base):
    @ti.kernel
    def bad(self, t: ti.i32):  # diffsim: allow CUT, PRINT
        for i in range(3):
            self.f[t, i] = ti.cast(3.0 * self.x[t, i], ti.i32) * self.k[i]
            print(self.x[t, i])


class FractionalPart(Base):
    """As in the particle-in-cell methods: the whole part indexes, the rest is computed with."""

    @ti.kernel
    def bad(self, t: ti.i32):
        for i in range(3):
            base = ti.cast(3.0 * self.x[t, i] - 0.5, ti.i32)
            fx = 3.0 * self.x[t, i] - ti.cast(base, ti.f64)
            offset = (base + 1) * 0.25 - self.x[t, i]
            self.f[t, base % 3] += fx * offset * self.k[i]
            if base > 1:
                self.f[t, i] += self.x[t, i]


@pytest.mark.parametrize(
    ("simulator", "words"),
    [
        (Warned, r"lose its gradient in a cast.*CUT\]"),
        (Printing, r"print must stay out of kernels.*PRINT\]"),
    ],
)
def test_what_may_be_meant_is_warned_of(runtime, simulator, words):
    with pytest.warns(ds.GradientWarning, match=words) as caught:
        ds.Rollout(simulator(), steps=2).close()
    assert len(caught) == 1


@pytest.mark.parametrize("simulator", [Allowed, AllowedKernel, FractionalPart])
def test_what_is_acknowledged_is_not_warned_of(runtime, simulator):
    ds.Rollout(simulator(), steps=2).close()  # warnings are errors in the tests


class Captures(Base):
    """Takes numbers from everywhere in Python."""

    def __init__(self, closed):
        super().__init__()
        self.scale, self.list, self.closed = 2.0, [1.0, 2.0], closed

    @ti.kernel
    def bad(self, t: ti.i32):
        for i in range(3):
            self.f[t, i] = self.scale * GRAVITY * TABLE["a"] * self.list[1] * self.closed.value * self.x[t, i]


class Box:
    value = 1.0


GRAVITY = 9.8
TABLE = {"a": 1.0}


def test_captured_values_must_stay(runtime, monkeypatch):
    sim = Captures(Box())
    rollout = ds.Rollout(sim, steps=2)
    rollout.value()
    changes = [
        (lambda m: m.setattr(sim, "scale", 3.0), "Captures.scale must stay .*2.0.*got 3.0"),
        (lambda m: m.setitem(globals(), "GRAVITY", 1.6), "GRAVITY of bad must stay .*9.8.*got 1.6"),
        (lambda m: m.setitem(TABLE, "a", 4.0), r"TABLE\['a'\] must stay"),
        (lambda m: m.delitem(TABLE, "a"), r"TABLE\['a'\] must stay .*got None"),
        (lambda m: m.setattr(sim, "list", [1.0, 7.0]), "Captures.list must stay"),
        (lambda m: m.setattr(sim.closed, "value", 7.0), "Box.value must stay"),
    ]
    for change, words in changes:
        with monkeypatch.context() as patch:
            change(patch)
            with pytest.raises(ds.StateError, match=words):
                rollout.value()
        rollout.value()
    rollout.close()


class Permuted(Base):
    @ti.kernel
    def bad(self, t: ti.i32):
        for i in range(3):
            self.f[t, self.ids[i]] = 2.0 * self.x[t, i]


def test_index_arrays_must_stay_distinct(runtime):
    sim = Permuted()
    rollout = ds.Rollout(sim, steps=2)
    sim.ids.set([2, 0, 1])
    rollout.value()
    sim.ids.set([2, 0, 2])
    with pytest.raises(ConfigError, match=r"Constant ids must hold distinct numbers.*got 2 twice"):
        rollout.value()
    rollout.close()
