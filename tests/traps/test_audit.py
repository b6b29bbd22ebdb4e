"""An audit names the family of each silent fault of Taichi's reverse mode, and clears what is right."""

import random
import textwrap
from pathlib import Path

import numpy as np
import pytest
import sweeps
import taichi as ti
from traps.harness import load

import diffsim as ds
from diffsim.compiler.autodiff import rules

N = 5
MARKED = {  # what stands in the line that is told
    "A3": "p = self.x",
    "A3_in_a_function": "for k in range(N)",
    "A4": "ti.max",
    "A9": "ti.atomic_max",
    "A10": "v[j]",
    "A11": "= 0.5",
    "A12": "ti.atomic_add",
}


@ti.func
def scaled(p, w, j):
    s = 0.0
    for k in range(N):
        s += p * p * w[j, k]
    return s


class Rows(ds.Simulator):
    """A kernel for each row of the catalogue that Taichi compiles, by the name of the row."""

    def __init__(self):
        rng = np.random.default_rng(7)
        self.x = ds.State(ds.real, N, init=rng.normal(size=N))
        self.w = ds.Param(rng.uniform(0.4, 1.6, size=(N, N)))
        self.f = ds.Scratch(ds.real, N)
        self.chain, self.middle = ds.Scratch(ds.real, 2, 5, N), ds.Scratch(ds.real, 2, 5, N)
        self.line = ds.Scratch(ds.real, 6, N)
        self.count, self.slots = ds.Scratch(ds.i32), ds.Scratch(ds.real, 2 * N)

    @ti.kernel
    def right(self, t: ti.i32):
        for i in range(N):
            for j in range(N):
                self.f[t, i] += ti.exp(ti.max(self.w[i, j] * self.x[t, j], 0.1))

    @ti.kernel
    def begin(self, t: ti.i32):
        for b, i in ti.ndrange(2, N):
            self.chain[t, b, 0, i] = self.x[t, i] * self.w[b, i]

    @ti.kernel
    def A1(self, t: ti.i32):
        for b in range(2):
            for k in range(4):
                for i in range(N):
                    self.middle[t, b, k, i] = ti.sin(self.chain[t, b, k, i])
                for i in range(N):
                    self.chain[t, b, k + 1, i] = self.middle[t, b, k, (i + 1) % N] * self.w[b, i]

    @ti.kernel
    def A2(self, t: ti.i32):
        ti.loop_config(serialize=True)
        for k in range(5):
            for i in range(N):
                self.line[t, k + 1, i] = ti.sin(self.line[t, k, i]) + self.x[t, i]

    @ti.kernel
    def A3(self, t: ti.i32):
        for i in range(N):
            p = self.x[t, i] * 2.0
            for j in range(N):
                self.f[t, i] += p * p * self.w[i, j]

    @ti.kernel
    def A3_in_a_function(self, t: ti.i32):
        for i in range(N):
            self.f[t, i] += scaled(self.x[t, i] * 2.0, self.w, i)

    @ti.kernel
    def A4(self, t: ti.i32):
        for i in range(N):
            s = 0.0
            for j in range(N):
                s += ti.max(self.w[i, j] * self.x[t, j], 0.1)
            self.f[t, i] += s * s

    @ti.kernel
    def A6(self, t: ti.i32):
        for i in range(N):
            s = self.x[t, i]
            for _ in range(60):
                s += ti.sin(s) / 60
            self.f[t, i] += s * s

    @ti.kernel
    def A7(self, t: ti.i32):
        for i in range(N):
            a, s, u = 0.0, 0.0, 0.0
            for j in range(N):
                if self.w[i, j] > 0.8:
                    a = self.x[t, j] * self.w[i, j]
                if self.w[i, j] > 1.2:
                    u += a
                if self.w[i, j] < 1.2:
                    s += a * self.x[t, j]
            self.f[t, i] += s + u

    @ti.kernel
    def A8(self, t: ti.i32):
        for i in range(N):
            if self.w[i, 0] > 0.7:
                s = 0.0
                for j in range(N):
                    s += self.w[i, j] * self.x[t, j]
                self.f[t, i] += s * s

    @ti.kernel
    def A9(self, t: ti.i32):
        for i in range(N):
            ti.atomic_max(self.f[t, 0], self.x[t, i] * self.w[i, i])

    @ti.kernel
    def A10(self, t: ti.i32):
        for i in range(N):
            v = ti.Vector([self.x[t, i], self.w[i, 0], self.w[i, 1]])
            s = 0.0
            for j in range(3):
                s += v[j] * v[j] * self.w[i, j]
            self.f[t, i] += s

    @ti.kernel
    def A11(self, t: ti.i32):
        for i in range(N):
            self.f[t, i] = 0.5
            for j in range(N):
                self.f[t, i] += self.w[i, j] * self.x[t, j]

    @ti.kernel
    def A12(self, t: ti.i32):
        for i in range(N):
            k = ti.atomic_add(self.count[t], 1)
            self.slots[t, k] = self.x[t, i] * self.x[t, i] * self.w[i, k % N]

    @ti.kernel
    def counts(self, t: ti.i32):
        for i in range(N):
            self.count[t] += 1

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(N):
            self.x[t + 1, i] = self.x[t, i] + 0.001 * (self.f[t, i] + self.slots[t, i] + self.line[t, 5, i])

    def step(self, t):
        self.right(t)
        self.begin(t)
        self.A1(t), self.A2(t), self.A3(t), self.A3_in_a_function(t), self.A4(t), self.A6(t)
        self.A7(t), self.A8(t), self.A9(t), self.A10(t), self.A11(t), self.A12(t), self.counts(t)
        self.move(t)

    @ti.kernel
    def total(self, t: ti.i32):
        for i in range(N):
            self.cost[None] += self.x[t, i] ** 2

    def terminal_cost(self, t):
        self.total(t)


@pytest.fixture(scope="module")
def report(runtime):
    with ds.Rollout(Rows(), steps=2) as rollout:
        return rollout.audit()


def test_each_row_is_named_with_its_line(report):
    lines = Path(__file__).read_text().splitlines()
    for kernel in report.kernels:
        name = kernel.name.partition(".")[2]
        family = name.partition("_")[0]
        if family[1:].isdigit():
            assert (kernel.verdict, kernel.family) == ("died" if family == "A6" else "wrong", family), kernel
            file, _, line = kernel.line.rpartition(":")
            assert file.endswith("test_audit.py")
            if name in MARKED:
                assert MARKED[name] in lines[int(line) - 1], (name, line)
        else:
            assert kernel.verdict == ("not differentiable" if name == "counts" else "right"), kernel
    assert {kernel.name for kernel in report.wrong} == {
        f"Rows.{name}" for name in vars(Rows) if name[0] == "A"
    }


def test_ours_are_right_on_all(report):
    assert report.passed
    assert not report.ours_wrong
    assert all(kernel.ours is None or kernel.ours < 1e-6 for kernel in report.kernels)


def test_report_tells_why(report):
    text = str(report)
    assert "a value computed before a loop and read in it" in text
    assert text.endswith("; ours agree with differences on all")
    assert f"wrong on {len(report.wrong)} of {len(report.kernels)} kernel(s)" in text
    assert "A3" in report._repr_html_()


class Sines(ds.Simulator):
    def __init__(self):
        self.x = ds.State(ds.real, N, init=np.linspace(-1.0, 1.0, N))

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(N):
            self.x[t + 1, i] = self.x[t, i] + 0.1 * ti.sin(self.x[t, i])

    def step(self, t):
        self.move(t)


def test_fault_in_our_adjoint_is_seen(runtime, monkeypatch):
    wrong = rules._unary(lambda b, x, r, g: b.op("mul", g, x))  # not the cosine
    monkeypatch.setitem(rules._RULES, "sin", wrong)
    with ds.Rollout(Sines(), steps=2) as rollout:
        report = rollout.audit()
    assert [kernel.name for kernel in report.ours_wrong] == ["Sines.move"]
    assert not report.passed
    assert "OURS DISAGREE with differences on Sines.move" in str(report)
    assert not report.wrong


def test_memory_that_is_not_finite_is_not_held_against_ours(runtime):
    simulator = Sines()
    simulator.x.set(np.full(N, np.inf))
    with ds.Rollout(simulator, steps=2) as rollout:
        report = rollout.audit()
    assert {kernel.detail for kernel in report.kernels} == {"State x is not finite where it begins"}
    assert report.passed
    assert report.sentence.endswith("none of ours could be compared with differences")


# ---- what is right is cleared ----


class Keeps(ds.Simulator):
    """What the adjoint of `sweep` reads is written over by kernels behind it, and kept there."""

    def __init__(self):
        self.x = ds.State(ds.real, N, init=np.linspace(-1.0, 2.0, N))
        self.y = ds.State(ds.real, N, init=np.linspace(1.0, 2.0, N))
        self.p = ds.Param(0.3)

    @ti.kernel
    def grow(self, t: ti.i32, f: ti.f64):
        for i in range(N):
            self.y[i] = self.y[i] * 0.9 + f * self.x[i]

    @ti.kernel
    def sweep(self, t: ti.i32):
        ti.loop_config(serialize=True)
        for i in range(1, N - 1):
            self.x[i] = 0.5 * (self.x[i - 1] + self.x[i + 1]) + self.p[None] * self.y[i]

    def step(self, t):
        self.grow(t, 0.5)
        for _ in range(3):
            self.sweep(t)
        self.grow(t, 0.25)

    @ti.kernel
    def total(self, t: ti.i32):
        for i in range(N):
            self.cost[None] += self.x[i] * self.y[i]

    def terminal_cost(self, t):
        self.total(t)


def test_what_later_kernels_keep_is_there_for_ours(runtime):
    report = ds.Rollout(Keeps(), steps=4).audit()
    assert [kernel.ours_right for kernel in report.kernels] == [True] * 4, str(report)


NESTS = 40 if sweeps.FULL else 4
BINARY = (
    "ti.max({}, {})",
    "ti.min({}, {})",
    "({} * {})",
    "({} + {})",
    "({} - {})",
    "ti.atan2({}, 2.0 + {} ** 2)",
)
UNARY = ("ti.sin({})", "ti.tanh({})", "ti.exp(0.3 * ti.sin({}))", "ti.rsqrt(1.0 + {} ** 2)", "ti.abs({})")
HEAD = """
import numpy as np
import taichi as ti
import diffsim as ds

N = 4


class Nests(ds.Simulator):
    def __init__(self):
        rng = np.random.default_rng(3)
        self.x = ds.State(ds.real, N, init=rng.normal(size=N))
        self.w, self.v = ds.Param(rng.normal(size=(N, N))), ds.Param(ds.vec2, N, init=rng.normal(size=(N, 2)))
        self.f, self.g = ds.Scratch(ds.real, N), ds.Scratch(ds.vec2, N)
"""


def expression(rng, names, depth=3):
    """Write a random expression of some names."""
    if depth == 0 or rng.random() < 0.2:
        return rng.choice(names)
    if rng.random() < 0.5:
        return rng.choice(UNARY).format(expression(rng, names, depth - 1))
    return rng.choice(BINARY).format(expression(rng, names, depth - 1), expression(rng, names, depth - 1))


def nest(number):
    """Write a kernel that is a perfect nest: loops in loops, and all else in the innermost body."""
    rng = random.Random(number)
    names = ["self.x[t, i]", "self.w[i, j]", "self.v[j][0]", "self.v[i][1]", "self.x[t, (i + j) % N]"]
    body = []
    for k in range(rng.randint(1, 3)):
        body.append(f"a{k} = {expression(rng, names)}")
        names += [f"a{k}"] * 2
    body += [f"if {expression(rng, names, 1)} > 0.1:", f"    a0 = {expression(rng, names, 2)}"]
    body += ["for c in ti.static(range(2)):", f"    a0 += 0.5 * self.v[i][c] * {expression(rng, names, 1)}"]
    body += [f"self.f[t, (i + {rng.randrange(4)} * j) % N] += {expression(rng, names)}"]
    body += [f"self.g[t, j] += ti.Vector([a0, {expression(rng, names, 2)}])"]
    loops = rng.choice([["b in range(2)", "i in range(N)", "j in range(N)"], ["i, j in ti.ndrange(N, N)"]])
    lines = [f"{4 * k * ' '}for {loop}:" for k, loop in enumerate(loops)]
    lines += [4 * len(loops) * " " + line for line in body]
    return f"\n    @ti.kernel\n    def nest{number}(self, t: ti.i32):\n" + textwrap.indent(
        "\n".join(lines), " " * 8
    )


def test_perfect_nests_are_cleared(runtime, tmp_path):
    calls = "; ".join(f"self.nest{k}(t)" for k in range(NESTS))
    text = HEAD + "\n".join(map(nest, range(NESTS))) + f"\n\n    def step(self, t):\n        {calls}\n"
    with ds.Rollout(load(text, tmp_path).Nests(), steps=1) as rollout:
        report = rollout.audit()
    assert [k.verdict for k in report.kernels] == ["right"] * NESTS, str(report)
    assert report.passed
    assert report.sentence.startswith(f"Taichi's reverse mode is right on {NESTS} of {NESTS} kernel(s)")
