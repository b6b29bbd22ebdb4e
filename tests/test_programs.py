"""Random small simulators: values against plain Python, gradients against differences and each other.

Each program is drawn as source text with the constructs on which autodiff goes wrong: locals carried through
inner loops, statements after loops, branches, scatters, functions with loops, vectors. `DIFFSIM_FUZZ=200`
draws that many more programs than the few of the suite.
"""

import importlib.util
import math
import os
import sys
import textwrap

import numpy as np
import pytest
from hypothesis import Phase, given, seed, settings
from hypothesis import strategies as st

import diffsim as ds

N, STEPS = 4, 3

HEAD = """
import numpy as np
import taichi as ti
import diffsim as ds

N = {n}


@ti.func
def bend(a, b):
    s = 0.1 * b
    for q in range(3):
        s = ti.sin(s + 0.5 * a) + 0.1 * q * b
    return s


@ti.func
def turn(v, a):
    return ti.Vector([v[0] * ti.cos(a) - v[1] * ti.sin(a), v[0] * ti.sin(a) + v[1] * ti.cos(a)])


class Program(ds.Simulator):
    def __init__(self):
        rng = np.random.default_rng({seed})
        self.x = ds.State(ds.real, N, init=rng.normal(size=N))
        self.v = ds.State(ds.vec2, N, init=rng.normal(size=(N, 2)))
        self.p = ds.Param(rng.normal(size=N))
        self.m = ds.Param(rng.normal(size=(N, N)) * 0.5)
        self.a = ds.Scratch(ds.real, N)
        self.b = ds.Scratch(ds.vec2, N)
        self.j = ds.Constant(rng.integers(0, N, size=N))
        self.count = ds.Constant(rng.integers(0, 4, size=N))

    @ti.kernel
    def first(self, t: ti.i32):
{first}

    @ti.kernel
    def second(self, t: ti.i32):
{second}

    def step(self, t):
        self.first(t)
        self.second(t)

    @ti.kernel
    def running(self, t: ti.i32):
        for i in range(N):
            self.cost[None] += 0.1 * self.a[t, i] * self.x[t + 1, i]

    def running_cost(self, t):
        self.running(t)

    @ti.kernel
    def ending(self, t: ti.i32):
        for i in range(N):
            self.cost[None] += self.x[t, i] * self.p[i] + self.v[t, i].dot(self.v[t, i])

    def terminal_cost(self, t):
        self.ending(t)
"""

SCALARS = [
    "s",
    "w[0]",
    "w[1]",
    "self.x[t, i]",
    "self.p[i]",
    "self.m[i, k]",
    "self.x[t, self.j[i]]",
    "0.7",
    "self.v[t, k].x",
]


@st.composite
def expressions(draw, depth=2):
    """Draw a bounded, smooth expression of the names in scope."""
    if depth == 0:
        return draw(st.sampled_from(SCALARS))
    a, b = draw(expressions(depth=depth - 1)), draw(expressions(depth=depth - 1))
    form = draw(
        st.sampled_from(
            [
                "ti.sin({a})",
                "ti.tanh({a} + {b})",
                "ti.exp(-({a}) * ({a}))",
                "({a} + 0.5 * {b})",
                "({a} - {b})",
                "ti.sin({a}) * ti.cos({b})",
                "ti.sqrt(1.0 + ({a}) ** 2)",
                "ti.log(2.0 + ti.cos({a}))",
                "ti.atan2({a}, 2.0 + ti.sin({b}))",
                "({a}) / (1.5 + ti.sin({b}))",
                "(({a}) if self.p[i] > 0.0 else ti.sin({b}))",
                "ti.select(self.m[i, k] > 0.0, {a}, ti.cos({b}))",
                "ti.max(ti.sin({a}), 2.0 + {b} * {b})",
                "bend(ti.sin({a}), ti.cos({b}))",
            ]
        )
    )
    return form.format(a=a, b=b)


def bounded(text):
    return f"ti.sin({text})"


@st.composite
def bodies(draw, depth=2):
    """Draw statements that change the locals `s` and `w`; `k` is an index in scope."""
    lines = []
    for _ in range(draw(st.integers(1, 2))):
        kind = draw(
            st.sampled_from(
                ["s", "s", "w", "component", "if", "loop", "loop", "static"] if depth else ["s", "w"]
            )
        )
        value = bounded(draw(expressions(depth=1)))
        if kind == "s":
            lines.append(
                draw(
                    st.sampled_from(["s = 0.9 * s + {v}", "s += {v}", "s *= 1.0 + 0.1 * {v}", "s = {v}"])
                ).format(v=value)
            )
        elif kind == "w":
            lines.append(
                draw(
                    st.sampled_from(
                        [
                            "w = turn(w, {v})",
                            "w = 0.8 * w + ti.Vector([{v}, s])",
                            "w += {v} * w.normalized(0.5)",
                        ]
                    )
                ).format(v=value)
            )
        elif kind == "component":
            lines.append(f"w[{draw(st.integers(0, 1))}] = {value}")
        elif kind == "if":
            cond = draw(st.sampled_from(["self.p[i] > 0.0", "k > 1", "i % 2 == 0 and self.m[k, i] < 0.2"]))
            lines.append(f"if {cond}:")
            lines += indented(draw(bodies(depth=depth - 1)))
            if draw(st.booleans()):
                lines.append("else:")
                lines += indented(draw(bodies(depth=depth - 1)))
        else:
            span = draw(st.sampled_from(["3", "i", "self.count[i]", "1, N", "N"])) if kind == "loop" else "2"
            name = f"k{depth}"
            lines.append(f"for {name} in {'ti.static(range(2))' if kind == 'static' else f'range({span})'}:")
            inner = [
                text.replace("k]", f"{name}]").replace("[k,", f"[{name},").replace("k >", f"{name} >")
                for text in draw(bodies(depth=depth - 1))
            ]
            lines += indented(inner)
    return lines


def indented(lines):
    return ["    " + line for line in lines]


@st.composite
def programs(draw):
    """Draw a whole simulator as text."""
    first = ["for i in range(N):", "    k = N - 1 - i", "    s = self.x[t, i]", "    w = self.v[t, i] * 0.5"]
    first += indented(draw(bodies()))
    first += indented(
        draw(
            st.sampled_from(
                [
                    ["self.a[t, self.j[i]] += s", "self.b[t, i] += w"],
                    ["self.a[t, i] = s", "self.b[t, self.j[i]] -= w"],
                ]
            )
        )
    )
    second = ["total = 0.0"] if draw(st.booleans()) else []
    if second:
        second += ["for i in range(N):", "    total += self.a[t, i] * self.p[i]"]
    second += ["for i in range(N):", "    k = i // 2", "    s = 0.1 + self.a[t, i]", "    w = self.b[t, i]"]
    second += indented(draw(bodies()))
    whole = " + 0.01 * total" if second[0].startswith("total") else ""
    second += indented(
        [
            f"self.x[t + 1, i] = self.x[t, i] + 0.1 * s{whole}",
            "self.v[t + 1, i] = 0.9 * self.v[t, i] + 0.1 * w",
        ]
    )
    return {
        "first": textwrap.indent("\n".join(first), " " * 8),
        "second": textwrap.indent("\n".join(second), " " * 8),
        "seed": draw(st.integers(0, 1000)),
        "n": N,
    }


def load(source, folder, name):
    path = folder / f"{name}.py"
    path.write_text(source)
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Program


# ---- the same program in plain Python ----


class Vector:
    """A vector of floats that behaves as Taichi's do in these programs."""

    def __init__(self, entries):
        self.entries = [float(e) for e in entries]

    def __getitem__(self, k):
        return self.entries[k]

    def __setitem__(self, k, value):
        self.entries[k] = value

    x = property(lambda self: self.entries[0])
    y = property(lambda self: self.entries[1])

    def _with(self, other, f):
        theirs = other.entries if isinstance(other, Vector) else [other] * len(self.entries)
        return Vector([f(a, b) for a, b in zip(self.entries, theirs, strict=True)])

    def __add__(self, other):
        return self._with(other, lambda a, b: a + b)

    def __sub__(self, other):
        return self._with(other, lambda a, b: a - b)

    def __mul__(self, other):
        return self._with(other, lambda a, b: a * b)

    __rmul__ = __mul__

    def dot(self, other):
        return sum(a * b for a, b in zip(self.entries, other.entries, strict=True))

    def normalized(self, eps):
        return self * (1.0 / (math.sqrt(self.dot(self)) + eps))


class Array:
    """A field of floats or vectors in plain Python, indexed as kernels do."""

    def __init__(self, values, vector):
        self.values, self.vector = np.array(values, dtype=float), vector

    def __getitem__(self, index):
        found = self.values[index]
        return Vector(found) if self.vector else float(found)

    def __setitem__(self, index, value):
        self.values[index] = value.entries if isinstance(value, Vector) else value


class Taichi:
    """The functions of `ti` that the programs use, in plain Python."""

    sin, cos, tanh, exp, sqrt, log, atan2 = (
        math.sin,
        math.cos,
        math.tanh,
        math.exp,
        math.sqrt,
        math.log,
        math.atan2,
    )
    i32, max = int, max
    Vector = Vector

    @staticmethod
    def select(c, a, b):
        return a if c else b

    @staticmethod
    def static(x):
        return x

    @staticmethod
    def kernel(f):
        return f

    func = kernel


class Stub:
    """What the program's text sees as `ds`."""

    class Simulator:
        pass

    real, vec2 = "real", "vec2"

    @staticmethod
    def State(kind, n, init):
        values = np.zeros((STEPS + 1, *np.shape(init)))
        values[0] = init
        return Array(values, kind == "vec2")

    @staticmethod
    def Scratch(kind, n):
        return Array(np.zeros((STEPS, n, 2) if kind == "vec2" else (STEPS, n)), kind == "vec2")

    @staticmethod
    def Param(values):
        return Array(values, False)

    @staticmethod
    def Constant(values):
        return [int(v) for v in values]


def plain_python(source):
    """Run the program's text as ordinary Python; return the cost and the path of x."""
    text = source.replace("import taichi as ti", "").replace("import diffsim as ds", "")
    scope = {"ti": Taichi, "ds": Stub}
    exec(compile(text, "<plain>", "exec"), scope)
    program = scope["Program"]()
    program.cost = Array(np.zeros(1), False)
    program.cost.values = {None: 0.0}
    for t in range(STEPS):
        program.step(t)
        program.running_cost(t)
    program.terminal_cost(STEPS)
    return program.cost.values[None], program.x.values


def slope(rollout, leaf, gradient, direction, h):
    values = leaf.numpy()
    costs = []
    for sign in (1, -1):
        leaf.set(values + sign * h * direction)
        costs.append(rollout.value())
    leaf.set(values)
    return float(np.sum(gradient * direction)), (costs[0] - costs[1]) / (2 * h)


def check(source, folder, name):
    simulator = load(source, folder, name)()
    keys = ["p", "m", "x", "v"]
    step = ds.Rollout(simulator, steps=STEPS, mode="step")
    fused = ds.Rollout(simulator, steps=STEPS, mode="fused", window=2)
    cost, grads = step.value_and_grad(keys)
    want, path = plain_python(source)
    assert cost == pytest.approx(want, rel=1e-11, abs=1e-12)
    np.testing.assert_allclose(step.trajectory(simulator.x), path, rtol=1e-10, atol=1e-12)
    other, fused_grads = fused.value_and_grad(keys)
    assert fused.plan.mode == "fused", fused.plan.reason
    assert other == pytest.approx(cost, rel=1e-12, abs=1e-13)
    rng = np.random.default_rng(0)
    for key in keys:
        scale = np.max(np.abs(grads[key])) + 1e-6
        assert np.max(np.abs(fused_grads[key] - grads[key])) <= 1e-10 * scale, key
        leaf = fused.leaves([key])[0]
        direction = rng.normal(size=grads[key].shape)
        pairs = [slope(fused, leaf, grads[key], direction, h) for h in (1e-5, 1e-6)]
        errors = [abs(a - d) / (abs(a) + abs(d) + 1e-3 * scale) for a, d in pairs]
        assert min(errors) < 1e-6, f"{key}: {pairs}"
    step.close(), fused.close()


COUNT = 5
counter = iter(range(10**9))


@given(program=programs())
@settings(max_examples=COUNT, phases=[Phase.generate])  # shrinking would compile for minutes
@seed(1)
def test_random_programs(runtime, tmp_path_factory, program):
    source = HEAD.format(**program)
    try:
        check(source, tmp_path_factory.getbasetemp(), f"program_{os.getpid()}_{next(counter)}")
    except AssertionError:
        sys.stderr.write(source)
        raise


@pytest.mark.skipif("DIFFSIM_FUZZ" not in os.environ, reason="set DIFFSIM_FUZZ to a number of programs")
@given(program=programs())
@settings(max_examples=int(os.environ.get("DIFFSIM_FUZZ", "1")), derandomize=False, phases=[Phase.generate])
def test_many_random_programs(runtime, tmp_path_factory, program):
    check(HEAD.format(**program), tmp_path_factory.getbasetemp(), f"program_{os.getpid()}_{next(counter)}")
