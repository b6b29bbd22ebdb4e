"""Small random simulators: every mode gives the same gradient, and it is that of the values.

Each example is a program as source text (Taichi reads kernels from files), made from a seed. The same text is
also run by plain Python with a stand-in for Taichi, since finite differences cannot see a wrong value.

Four programs are tried by default; ``DIFFSIM_FUZZ=2000 pytest tests/test_random_programs.py`` tries others,
from the seed in ``DIFFSIM_FUZZ_SEED`` on (0 where left out), and fails with a list of seeds.
"""

from __future__ import annotations

import ast
import importlib.util
import itertools
import math
import os
import random
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import diffsim as ds

FUZZ = int(os.environ.get("DIFFSIM_FUZZ", "0"))
FIRST = int(os.environ.get("DIFFSIM_FUZZ_SEED", "0"))
STEPS = 5
WINDOW = 2


# ---- writing programs ----


class Writer:
    """Write one random simulator.

    Expressions are kept small in value: each comes with a bound on its size, and what may be large is put
    through a bounded function.
    """

    def __init__(self, seed: int, size: int = 6) -> None:
        self.rng = random.Random(seed)
        self.left = size  # statements that may still have statements of their own, or long expressions
        self.n = self.rng.randint(3, 5)
        self.d = self.rng.choice([2, 2, 2, 3])
        self.history = self.rng.choice([1, 1, 2])
        self.lines: list[str] = []
        self.indent = 0
        self.count = 0
        self.scalars = ["x", "y"]  # readable fields of reals, at t
        self.vectors = ["v"]
        self.matrices = ["m"]
        self.open_scalar = ""  # what the present stage may add to
        self.open_vector = ""
        self.helpers: list[str] = []

    # -- text --

    def line(self, text: str) -> None:
        self.lines.append("    " * self.indent + text)

    def name(self, prefix: str) -> str:
        self.count += 1
        return f"{prefix}{self.count}"

    def pick(self, *choices: Any) -> Any:
        return self.rng.choice(choices)

    # -- expressions: text of a scalar or vector, and a bound on its size --

    def index(self, scope: Scope) -> str:
        options = [*scope.indices] * 3 + [str(self.rng.randrange(self.n))]
        base = self.pick(*options)
        return self.pick(base, base, f"({base} + {self.rng.randint(1, 3)}) % {self.n}", f"self.ids[{base}]")

    def leaf(self, scope: Scope) -> tuple[str, float]:
        kind = self.rng.random()
        if scope.reals and kind < 0.45:
            return self.pick(*scope.reals), 3.0
        if scope.vecs and kind < 0.55:
            return f"{self.pick(*scope.vecs)}[{self.rng.randrange(self.d)}]", 3.0
        if kind < 0.58:
            return f"{self.rng.uniform(-2, 2):.3f}", 2.0
        if scope.indices and kind < 0.61:
            return f"0.2 * {self.pick(*scope.indices)}", 1.0
        if scope.static:
            return self.pick(*scope.reals), 3.0
        i = self.index(scope)
        choices = [f"self.p[{i}]", f"self.w[{i}, {self.index(scope)}]", f"self.c[{i}]"]
        if scope.timed:
            choices += [f"self.{f}[t, {i}]" for f in self.scalars] * 2
            choices += [f"self.{f}[t, {i}][{self.rng.randrange(self.d)}]" for f in self.vectors]
            choices += [f"self.m[t, {i}][{self.rng.randrange(self.d)}, {self.rng.randrange(self.d)}]"]
            choices += [f"self.u[t, {i}]", "0.1 * t"] if scope.controls else []
            if self.history == 2 and scope.timed:
                choices.append(f"self.x[t - 1, {i}]")
        return self.pick(*choices), 4.0

    def scalar(self, scope: Scope, depth: int) -> tuple[str, float]:
        """Write a scalar expression."""
        if depth <= 0:
            return self.leaf(scope)
        kind = self.rng.randrange(22)
        a, size = self.scalar(scope, depth - 1)
        if kind < 4:
            b, other = self.scalar(scope, depth - 1)
            return f"({a} {self.pick('+', '-')} {b})", size + other
        if kind < 7:
            b, other = self.scalar(scope, depth - 1)
            if size * other > 12:
                a = f"ti.sin({a})"
                size = 1.0
            return f"({a} * {b})", size * other
        if kind < 10:
            return self.bounded(a), 1.0
        if kind == 10:
            return f"ti.exp({self.small(a, size)})", 4.0
        if kind == 11:
            return f"ti.log(1.0 + {a} * {a})" if self.atom(a) else f"ti.log(2.0 + ti.sin({a}))", 4.0
        if kind == 12:
            return self.pick(f"ti.sqrt(1.5 + ti.cos({a}))", f"ti.rsqrt(1.5 + ti.sin({a}))"), 2.0
        if kind == 13:
            b, other = self.scalar(scope, depth - 1)
            return f"{self.pick('ti.max', 'ti.min', 'max', 'min')}({a}, {b})", max(size, other)
        if kind == 14:
            return self.pick(f"abs({a})", f"ti.abs({a})"), size
        if kind == 15:
            b, other = self.scalar(scope, depth - 1)
            return f"ti.select({self.condition(scope)}, {a}, {b})", max(size, other)
        if kind == 16:
            b, other = self.scalar(scope, depth - 1)
            return f"({a} if {self.condition(scope)} else {b})", max(size, other)
        if kind == 17:
            b, _ = self.scalar(scope, depth - 1)
            power = self.pick(
                f"ti.pow(1.5 + 0.5 * ti.sin({a}), {self.bounded(b)})",
                f"ti.tanh({a}) ** {self.pick(0, 1, 2, 3)}",
                f"(1.6 + ti.cos({a})) ** {self.pick(-2, -1, 0.5, 1.5, 2.0)}",
                f"{self.pick(2, 1.5)} ** {self.bounded(b)}",
            )
            return power, 4.0
        if kind == 18:
            b, _ = self.scalar(scope, depth - 1)
            return f"ti.atan2({a}, 1.5 + ti.sin({b}))", 1.6
        if kind == 19:
            b, _ = self.scalar(scope, depth - 1)
            return f"({a} / (1.5 + ti.sin({b})))", 2 * size
        if kind == 20:
            inner = f"0.8 * ti.sin({a})"
            return self.pick(
                f"ti.asin({inner})", f"ti.acos({inner})", f"({inner}) * ({self.condition(scope)})"
            ), 3.2
        if scope.static:
            return f"(-{a})", size
        return self.from_vector(scope, depth)

    def from_vector(self, scope: Scope, depth: int) -> tuple[str, float]:
        a, size = self.vector(scope, depth - 1)
        b, _ = self.vector(scope, depth - 1)
        kind = self.rng.randrange(7)
        if kind == 0:
            return f"({a}).norm({self.pick('1e-2', '0.5', 'eps=0.1')})", 2 * size + 1
        if kind == 1:
            return f"ti.sin(({a}).dot({b}))", 1.0
        if kind == 2:
            return f"({a}).sum()", self.d * size
        if kind == 3:
            return f"ti.tanh(({a}).norm_sqr())", 1.0
        if kind == 4 and self.d == 2:
            return f"ti.cos(({a}).cross({b}))", 1.0
        if kind == 5 and scope.indices:
            name = self.pick(*scope.vecs) if scope.vecs else ""
            if name:
                return f"{name}[{self.pick(*scope.indices)} % {self.d}]", 3.0
        m = f"({a}).outer_product({b})"
        return f"ti.sin({self.pick(f'{m}.trace()', f'({m} + self.eye).determinant()')})", 1.0

    def vector(self, scope: Scope, depth: int) -> tuple[str, float]:
        """Write a vector expression."""
        kind = self.rng.randrange(12)
        if depth <= 0 or kind < 3:
            if scope.vecs and self.rng.random() < 0.5:
                return self.pick(*scope.vecs), 3.0
            if scope.timed and self.rng.random() < 0.7:
                return f"self.{self.pick(*self.vectors)}[t, {self.index(scope)}]", 4.0
            parts = [self.scalar(scope, max(0, depth - 1)) for _ in range(self.d)]
            return f"ti.Vector([{', '.join(p for p, _ in parts)}])", max(s for _, s in parts)
        a, size = self.vector(scope, depth - 1)
        if kind < 5:
            b, other = self.vector(scope, depth - 1)
            return f"({a} {self.pick('+', '-')} {b})", size + other
        if kind == 5:
            b, other = self.scalar(scope, depth - 1)
            b, other = (self.bounded(b), 1.0) if size * other > 12 else (b, other)
            return self.pick(f"({a} * {b})", f"({b} * {a})"), size * other
        if kind == 6:
            return f"{self.pick('ti.sin', 'ti.cos', 'ti.tanh')}({a})", 1.0
        if kind == 7:
            return f"({a}).normalized({self.pick('0.3', '0.7')})", 1.0
        if kind == 8:
            b, other = self.vector(scope, depth - 1)
            if self.d == 3:
                return f"ti.tanh(({a}).cross({b}))", 1.0
            return f"ti.max({a}, {b})", max(size, other)
        if kind == 9:
            if not scope.timed:
                return f"(-{a})", size
            matrix = f"self.m[t, {self.index(scope)}]"
            matrix = self.pick(
                matrix,
                f"{matrix}.transpose()",
                f"({matrix} @ {matrix})",
                f"({matrix} + 4.0 * self.eye).inverse()",
            )
            return f"ti.sin({matrix} @ ({a}))", 1.0
        if kind == 10:
            b, other = self.vector(scope, depth - 1)
            return f"ti.select({self.condition(scope)}, {a}, {b})", max(size, other)
        b, other = self.vector(scope, depth - 1)
        return f"({a} / (2.0 + ti.sin({b})))", size

    def condition(self, scope: Scope) -> str:
        a, _ = self.leaf(scope)
        b, _ = self.leaf(scope)
        plain = f"{a} {self.pick('<', '>', '<=', '>=')} {b}"
        if scope.indices and self.rng.random() < 0.4:
            index = self.pick(*scope.indices)
            plain = self.pick(
                f"{index} % 2 == 0", f"{index} > 1", f"{index} != 1 and {plain}", f"{index} == 0 or {plain}"
            )
        return f"({plain})" if self.rng.random() < 0.8 else f"(not ({plain}))"

    @staticmethod
    def atom(text: str) -> bool:
        return text.isidentifier()

    def bounded(self, text: str) -> str:
        return f"{self.pick('ti.sin', 'ti.cos', 'ti.tanh')}({text})"

    def small(self, text: str, size: float) -> str:
        return text if size <= 1.0 else f"ti.sin({text})"

    def sized(self, scope: Scope, depth: int, limit: float) -> str:
        text, size = self.scalar(scope, depth)
        return text if size <= limit else self.bounded(text)

    def sized_vector(self, scope: Scope, depth: int, limit: float) -> str:
        text, size = self.vector(scope, depth)
        return text if size <= limit else f"{self.pick('ti.sin', 'ti.tanh')}({text})"

    # -- statements --

    def statements(self, scope: Scope, count: int, loops: int) -> None:
        for _ in range(count):
            self.statement(scope, loops)

    def statement(self, scope: Scope, loops: int) -> None:
        self.left -= 1
        if self.left < 0 and scope.reals:
            name = self.pick(*scope.reals)
            self.line(f"{name} = 0.5 * {name} + ti.sin({self.leaf(scope)[0]} * {name})")
            return
        kind = self.rng.random()
        if kind < 0.16 or not scope.reals:
            name = self.name("s")
            self.line(f"{name} = {self.sized(scope, 2, 3)}")
            scope.reals.append(name)
        elif kind < 0.24:
            name = self.name("q")
            self.line(f"{name} = {self.sized_vector(scope, 2, 3)}")
            scope.vecs.append(name)
        elif kind < 0.36:
            self.overwrite(scope)
        elif kind < 0.44 and scope.vecs:
            self.overwrite_vector(scope)
        elif kind < 0.56 and (self.open_scalar or self.open_vector):
            self.scatter(scope)
        elif kind < 0.66 and loops < 4:
            self.branch(scope, loops)
        elif kind < 0.9 and loops < 3:
            self.loop(scope, loops)
        elif self.helpers and scope.timed:
            self.call(scope)
        else:
            self.overwrite(scope)

    def overwrite(self, scope: Scope) -> None:
        name = self.pick(*scope.reals)
        small = self.sized(scope, 2, 3)
        kind = self.rng.randrange(5)
        if kind == 0:
            self.line(f"{name} = {self.bounded(small)}")
        elif kind == 1:
            self.line(f"{name} += 0.2 * {self.bounded(small)}")
        elif kind == 2:
            self.line(f"{name} *= {self.bounded(small)}")
        elif kind == 3 and len(scope.reals) > 1:
            other = self.pick(*scope.reals)
            if other != name:
                self.line(f"{name}, {other} = {other}, 0.5 * {name} + 0.3 * {self.bounded(small)}")
                return
            self.line(f"{name} = 0.5 * {name} + 0.5 * {small}")
        else:
            self.line(f"{name} = 0.6 * {name} + 0.4 * {small}")

    def overwrite_vector(self, scope: Scope) -> None:
        name = self.pick(*scope.vecs)
        kind = self.rng.randrange(5)
        k = self.rng.randrange(self.d)
        if kind == 0:
            self.line(f"{name} = 0.5 * {name} + 0.5 * {self.sized_vector(scope, 2, 3)}")
        elif kind == 1:
            self.line(f"{name} += 0.2 * {self.sized_vector(scope, 2, 1)}")
        elif kind == 2:
            self.line(f"{name}[{k}] = {self.sized(scope, 2, 3)}")
        elif kind == 3 and scope.indices:
            self.line(f"{name}[{self.pick(*scope.indices)} % {self.d}] += 0.2 * {self.sized(scope, 2, 1)}")
        else:
            self.line(f"{name}.{'xyz'[k]} {self.pick('+=', '-=')} 0.2 * {self.sized(scope, 2, 1)}")

    def scatter(self, scope: Scope) -> None:
        i = self.index(scope)
        sign = self.pick("+=", "+=", "-=")
        if self.open_vector and (not self.open_scalar or self.rng.random() < 0.4):
            if self.rng.random() < 0.5:
                k = self.rng.randrange(self.d)
                self.line(f"self.{self.open_vector}[t, {i}][{k}] {sign} 0.3 * {self.sized(scope, 2, 2)}")
            else:
                self.line(f"self.{self.open_vector}[t, {i}] {sign} 0.3 * {self.sized_vector(scope, 2, 2)}")
        elif self.rng.random() < 0.2:
            self.line(f"ti.atomic_add(self.{self.open_scalar}[t, {i}], 0.3 * {self.sized(scope, 2, 2)})")
        else:
            self.line(f"self.{self.open_scalar}[t, {i}] {sign} 0.3 * {self.sized(scope, 2, 2)}")

    def branch(self, scope: Scope, loops: int) -> None:
        self.line(f"if {self.condition(scope)}:")
        self.body(scope, self.rng.randint(1, 2), loops + 1)
        if self.rng.random() < 0.3:
            self.line(f"elif {self.condition(scope)}:")
            self.body(scope, 1, loops + 1)
        if self.rng.random() < 0.6:
            self.line("else:")
            self.body(scope, self.rng.randint(1, 2), loops + 1)

    def loop(self, scope: Scope, loops: int) -> None:
        j = self.name("j")
        kind = self.rng.random()
        if kind < 0.15:
            self.line(f"for {j} in ti.static(range({self.rng.randint(1, 3)})):")
        elif kind < 0.25:
            k = self.name("k")
            self.line(f"for {j}, {k} in ti.ndrange({self.rng.randint(1, 2)}, {self.rng.randint(1, 3)}):")
            self.body(scope.inside(j, k), self.rng.randint(1, 3), loops + 1, True)
            return
        else:
            bounds = [str(self.rng.randint(1, self.n)), f"0, {self.n}", f"1, {self.n}"]
            if scope.indices:
                i = self.pick(*scope.indices)
                bounds += [
                    i,
                    f"{i} + 1",
                    f"{i}, {self.n}",
                    f"self.counts[{i}]",
                    f"self.counts[{i}], {self.n}",
                ]
            if scope.timed:
                bounds.append("t % 3")
            self.line(f"for {j} in range({self.pick(*bounds)}):")
        self.body(scope.inside(j), self.rng.randint(1, 3), loops + 1, True)

    def body(self, scope: Scope, count: int, loops: int, fresh: bool = False) -> None:
        self.indent += 1
        self.statements(scope if fresh else scope.inside(), count, loops)
        self.indent -= 1

    def call(self, scope: Scope) -> None:
        helper = self.pick(*self.helpers)
        a, b = self.sized(scope, 1, 3), self.sized(scope, 1, 3)
        name = self.name("s")
        if helper.startswith("self."):
            self.line(f"{name} = {helper}(t, {self.pick(*scope.indices) if scope.indices else 0}, {a})")
        elif helper.startswith("nudge"):
            target = self.pick(*scope.reals)
            self.line(f"{helper}({target}, {b})")
            return
        else:
            self.line(f"{name} = {helper}({a}, {b})")
        scope.reals.append(name)

    # -- the program --

    def helper(self, kind: str) -> None:
        name = self.name(kind)
        if kind == "nudge":
            self.line("@ti.func")
            self.line(f"def {name}(a: ti.template(), b):")
            scope = Scope(["b"], [], [], static=True, timed=False, controls=False)
            self.indent += 1
            j = self.name("j")
            self.line(f"for {j} in range({self.rng.randint(1, 3)}):")
            self.indent += 1
            inner = Scope(["a", "b"], [], [j], static=True)
            self.line(f"a = 0.5 * a + 0.4 * {self.bounded(self.scalar(inner, 2)[0])}")
            self.indent -= 2
        elif kind == "self.":
            name = self.name("method")
            self.line("@ti.func")
            self.line(f"def {name}(self, t, i, a):")
            scope = Scope(["a"], [], ["i"])
            self.indent += 1
            self.statements(scope, self.rng.randint(1, 3), 1)
            self.line(f"return {self.sized(scope, 2, 3)}")
            self.indent -= 1
            name = f"self.{name}"
        else:
            self.line("@ti.func")
            self.line(f"def {name}(a, b):")
            scope = Scope(["a", "b"], [], [], static=True, timed=False, controls=False)
            self.indent += 1
            j = self.name("j")
            self.line(f"for {j} in range({self.rng.randint(1, 3)}):")
            self.indent += 1
            inner = Scope(["a", "b"], [], [j], static=True, timed=False, controls=False)
            self.line(f"a = 0.5 * a + 0.5 * {self.bounded(self.scalar(inner, 2)[0])}")
            self.indent -= 1
            self.line(f"return {self.sized(scope, 2, 3)}")
            self.indent -= 1
        self.line("")
        self.helpers.append(name)

    def stage(self, number: int) -> None:
        """Write a kernel that adds to a Scratch of reals, one of vectors, or both."""
        self.open_scalar = f"f{number}" if self.rng.random() < 0.8 else ""
        self.open_vector = f"g{number}" if self.rng.random() < 0.5 or not self.open_scalar else ""
        self.line("@ti.kernel")
        self.line(f"def stage{number}(self, t: ti.i32):")
        self.indent += 1
        if self.open_scalar and self.rng.random() < 0.4:
            i = self.name("i")
            self.line(f"for {i} in range({self.n}):")
            self.line(f"    self.{self.open_scalar}[t, {i}] = {self.sized(Scope([], [], [i]), 1, 2)}")
        for _ in range(self.rng.choice([1, 1, 1, 2])):
            self.top_loop()
        self.indent -= 1
        self.line("")
        if self.open_scalar:
            self.scalars.append(self.open_scalar)
        if self.open_vector:
            self.vectors.append(self.open_vector)
        self.open_scalar = self.open_vector = ""

    def top_loop(self) -> None:
        i = self.name("i")
        if self.rng.random() < 0.2:
            k = self.name("i")
            self.line(f"for {i}, {k} in ti.ndrange({self.n}, {self.rng.randint(1, 3)}):")
            scope = Scope([], [], [i, k])
        else:
            self.line(f"for {i} in range({self.n}):")
            scope = Scope([], [], [i])
        self.indent += 1
        self.statements(scope, self.rng.randint(2, 4), 0)
        self.scatter(scope)
        self.indent -= 1

    def move(self) -> None:
        self.line("@ti.kernel")
        self.line("def move(self, t: ti.i32):")
        self.indent += 1
        self.line(f"for i in range({self.n}):")
        self.indent += 1
        scope = Scope([], [], ["i"])
        self.left += 2
        self.statements(scope, self.rng.randint(1, 2), 0)
        d = self.d
        self.line(f"self.x[t + 1, i] = 0.5 * self.x[t, i] + ti.sin({self.scalar(scope, 2)[0]})")
        if self.rng.random() < 0.5:
            factor = self.sized(scope, 2, 3)
            self.line(f"self.y[t + 1, self.perm[i]] = 0.7 * self.y[t, i] + 0.3 * self.x[t + 1, i] * {factor}")
        else:
            self.line(f"if {self.condition(scope)}:")
            self.line(f"    self.y[t + 1, i] += {self.sized(scope, 2, 2)}")
            self.line(f"self.y[t + 1, self.ids[i]] += 0.3 * {self.sized(scope, 2, 3)}")
        self.line(f"self.v[t + 1, i] = 0.5 * self.v[t, i] + ti.tanh({self.vector(scope, 2)[0]})")
        if self.rng.random() < 0.5:
            k = self.rng.randrange(d)
            self.line(f"self.v[t + 1, i][{k}] += 0.2 * {self.sized(scope, 2, 2)}")
        outer = f"({self.sized_vector(scope, 1, 2)}).outer_product({self.sized_vector(scope, 1, 2)})"
        self.line(f"self.m[t + 1, i] = 0.8 * self.m[t, i] + 0.1 * {outer}")
        self.indent -= 2
        self.line("")

    def program(self) -> str:
        """Write the whole module."""
        r = self.rng
        self.line("import numpy as np")
        self.line("import taichi as ti")
        self.line("import diffsim as ds")
        self.line("")
        for kind in r.sample(["calm", "nudge", "calm"], r.randint(0, 2)):
            self.helper(kind)
        stages = r.randint(1, 2)
        self.line("")
        self.line("class Program(ds.Simulator):")
        self.indent = 1
        self.line("def __init__(self):")
        n, d = self.n, self.d
        declarations = [
            f"rng = np.random.default_rng({r.randrange(1000)})",
            f"self.x = ds.State(ds.real, {n}, init=rng.normal(size={n}), history={self.history})",
            f"self.y = ds.State(ds.real, {n}, init=rng.normal(size={n}))",
            f"self.v = ds.State(ds.vec{d}, {n}, init=rng.normal(size=({n}, {d})))",
            f"self.m = ds.State(ds.mat{d}, {n}, init=0.5 * rng.normal(size=({n}, {d}, {d})))",
            f"self.p = ds.Param(rng.normal(size={n}))",
            f"self.w = ds.Param(rng.normal(size=({n}, {n})))",
            f"self.u = ds.Control(ds.real, {n}, init=rng.normal(size=({STEPS}, {n})))",
            f"self.c = ds.Constant(rng.normal(size={n}))",
            f"self.ids = ds.Constant(rng.integers(0, {n}, size={n}))",
            f"self.perm = ds.Constant(rng.permutation({n}))",
            f"self.counts = ds.Constant(rng.integers(0, {n}, size={n}))",
            f"self.eye = ti.Matrix(np.eye({d}).tolist())",
        ]
        declarations += [f"self.f{k} = ds.Scratch(ds.real, {n})" for k in range(stages)]
        declarations += [f"self.g{k} = ds.Scratch(ds.vec{d}, {n})" for k in range(stages)]
        self.indent = 2
        for text in declarations:
            self.line(text)
        self.indent = 1
        self.line("")
        if r.random() < 0.4:
            self.helper("self.")
        for k in range(stages):
            self.stage(k)
        self.move()
        self.line("def step(self, t):")
        for k in range(stages):
            self.line(f"    self.stage{k}(t)")
        self.line("    self.move(t)")
        self.line("")
        self.cost("running", Scope([], [], ["i"]))
        del self.scalars[2:], self.vectors[1:]
        if r.random() < 0.5:
            self.reset()
        self.cost("terminal", Scope([], [], ["i"], controls=False))
        return "\n".join(self.lines) + "\n"

    def reset(self) -> None:
        """Write a `reset` that sets some of the initial values from others and Params."""
        scope = Scope([], [], ["i"], timed=False, controls=False)
        self.line("@ti.kernel")
        self.line("def start(self):")
        self.indent += 1
        self.line(f"for i in range({self.n}):")
        self.indent += 1
        self.line(f"self.y[0, i] {self.pick('=', '+=')} self.x[0, i] * ti.sin({self.leaf(scope)[0]})")
        entries = ", ".join(self.leaf(scope)[0] for _ in range(self.d))
        self.line(f"self.v[0, self.ids[i]] += 0.3 * ti.Vector([{entries}])")
        self.indent -= 2
        self.line("")
        self.line("def reset(self):")
        self.line("    self.start()")
        self.line("")

    def cost(self, phase: str, scope: Scope) -> None:
        helpers, self.helpers = self.helpers, [h for h in self.helpers if not h.startswith("self.")]
        self.line("@ti.kernel")
        self.line(f"def {phase}(self, t: ti.i32):")
        self.indent += 1
        if phase == "terminal" and self.rng.random() < 0.5:
            self.line(f"for i in range({self.n}):")
            self.line(f"    self.f0[t, self.ids[i]] += {self.sized(scope, 1, 2)}")
            self.scalars.append("f0")
        self.line(f"for i in range({self.n}):")
        self.indent += 1
        self.statements(scope, self.rng.randint(0, 2), 1)
        self.line(f"self.cost[None] += {self.sized(scope, 2, 9)} + self.x[t, i] ** 2 * self.y[t, i]")
        self.line("self.cost[None] += ti.sin(self.v[t, i].sum() + self.m[t, i].sum())")
        self.indent -= 2
        self.line("")
        self.line(f"def {phase}_cost(self, t):")
        self.line(f"    self.{phase}(t)")
        self.line("")
        self.helpers = helpers


class Scope:
    """What an expression may name."""

    def __init__(
        self,
        reals: list[str],
        vecs: list[str],
        indices: list[str],
        *,
        static: bool = False,
        timed: bool = True,
        controls: bool = True,
    ) -> None:
        self.reals, self.vecs, self.indices = reals, vecs, indices
        self.static, self.timed, self.controls = static, timed and not static, controls and not static

    def inside(self, *indices: str) -> Scope:
        return Scope(
            list(self.reals), list(self.vecs), [*self.indices, *indices],
            static=self.static, timed=self.timed, controls=self.controls,
        )  # fmt: skip


# ---- running them in plain Python ----


class Small(np.ndarray):
    """A vector or matrix with the methods of Taichi's."""

    def norm_sqr(self) -> float:
        return float(np.sum(np.asarray(self) ** 2))

    def norm(self, eps: float = 0.0) -> float:
        return math.sqrt(self.norm_sqr() + eps)

    def normalized(self, eps: float = 0.0) -> Small:
        return self / (self.norm() + eps)

    def dot(self, other: Any) -> float:  # type: ignore[override]
        return float(np.sum(np.asarray(self) * np.asarray(other)))

    def cross(self, other: Any) -> Any:
        a, b = np.asarray(self), np.asarray(other)
        return a[0] * b[1] - a[1] * b[0] if len(a) == 2 else small(np.cross(a, b))

    def outer_product(self, other: Any) -> Small:
        return small(np.outer(self, other))

    def determinant(self) -> float:
        return float(np.linalg.det(self))

    def inverse(self) -> Small:
        return small(np.linalg.inv(self))

    def __getattr__(self, name: str) -> Any:
        if name in ("x", "y", "z"):
            return self["xyz".index(name)]
        raise AttributeError(name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("x", "y", "z"):
            self["xyz".index(name)] = value
        else:
            super().__setattr__(name, value)


def small(values: Any) -> Any:
    array = np.array(values, dtype=np.float64)
    return array.view(Small) if array.ndim else float(array)


class Table:
    """A field in plain Python: time first where it has one, with `shift` times before the first."""

    def __init__(self, values: Any, shift: int = 0) -> None:
        self.values, self.shift = values, shift

    def _at(self, index: Any) -> Any:
        if index is None:
            return ()
        items = index if isinstance(index, tuple) else (index,)
        assert all(i >= 0 for i in items[1:])
        return (items[0] + self.shift, *items[1:])

    def __getitem__(self, index: Any) -> Any:
        found = self.values[self._at(index)]
        if np.ndim(found):
            return found.view(Small)
        return int(found) if self.values.dtype.kind == "i" else float(found)

    def __setitem__(self, index: Any, value: Any) -> None:
        self.values[self._at(index)] = value


def plain_taichi() -> types.ModuleType:
    """Return a module that stands in for Taichi."""
    ti = types.ModuleType("taichi")

    def unary(f: Any) -> Any:
        return lambda x: small(f(np.asarray(x)))

    for name, f in {"asin": np.arcsin, "acos": np.arccos}.items():
        setattr(ti, name, unary(f))
    for name in ("sin", "cos", "tanh", "exp", "log", "sqrt", "abs"):
        setattr(ti, name, unary(getattr(np, name)))
    for name, g in {"max": np.maximum, "min": np.minimum, "pow": np.power, "atan2": np.arctan2}.items():
        setattr(ti, name, lambda a, b, g=g: small(g(np.asarray(a, float), b)))
    members: dict[str, Any] = {
        "rsqrt": lambda x: 1.0 / math.sqrt(x),
        "select": lambda c, a, b: a if c else b,
        "kernel": lambda f: f,
        "func": lambda f: f,
        "static": lambda x: x,
        "template": lambda: None,
        "i32": int,
        "Vector": small,
        "Matrix": small,
        "ndrange": lambda *ns: itertools.product(*(range(n) for n in ns)),
    }
    for name, member in members.items():
        setattr(ti, name, member)
    return ti


class _Plain(ast.NodeTransformer):
    """Make assignments copy, as Taichi's do, and functions that take a variable by reference give it back."""

    def __init__(self, by_reference: set[str]) -> None:
        self.by_reference = by_reference

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        self.generic_visit(node)
        node.value = ast.Call(ast.Name("_copy", ast.Load()), [node.value], [])
        return node

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        call = node.value
        if (
            isinstance(call, ast.Call)
            and isinstance(call.func, ast.Attribute)
            and call.func.attr == "atomic_add"
        ):
            target = ast.parse(ast.unparse(call.args[0])).body[0].value  # type: ignore[attr-defined]
            target.ctx = ast.Store()
            return ast.AugAssign(target, ast.Add(), call.args[1])
        if (
            isinstance(call, ast.Call)
            and isinstance(call.func, ast.Name)
            and call.func.id in self.by_reference
        ):
            assert isinstance(call.args[0], ast.Name)
            return ast.Assign([ast.Name(call.args[0].id, ast.Store())], call)
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.generic_visit(node)
        if node.name in self.by_reference:
            node.body.append(ast.Return(ast.Name("a", ast.Load())))
        return node


def copied(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(copied(v) for v in value)
    return value.copy() if isinstance(value, np.ndarray) else value


def plain_trajectories(source: str, sim: Any) -> tuple[float, dict[str, Any]]:
    """Run a program's text in Python on the values of a simulator: the cost and the States over time."""
    ti = plain_taichi()
    references = {
        n.name
        for n in ast.walk(ast.parse(source))
        if isinstance(n, ast.FunctionDef) and n.name.startswith("nudge")
    }
    tree = ast.fix_missing_locations(_Plain(references).visit(ast.parse(source)))
    tree.body = [n for n in tree.body if not isinstance(n, ast.Import)]
    scope: dict[str, Any] = {
        "ti": ti,
        "np": np,
        "ds": types.SimpleNamespace(Simulator=object),
        "_copy": copied,
    }
    exec(compile(tree, "<plain>", "exec"), scope)
    twin = scope["Program"].__new__(scope["Program"])
    twin.eye = small(np.eye(sim.v.element_shape[-1]))
    twin.cost = Table(np.zeros(()))
    states = {}
    for name, field in vars(sim).items():
        if isinstance(field, ds.State):
            shift = field.history - 1
            values = np.zeros((STEPS + 1 + shift, *field.element_shape))
            values[: shift + 1] = field.numpy()
            setattr(twin, name, Table(values, shift))
            states[name] = values[shift:]
        elif isinstance(field, ds.Scratch):
            setattr(twin, name, Table(np.zeros((STEPS + 1, *field.element_shape))))
        elif isinstance(field, ds.Param | ds.Control | ds.Constant):
            setattr(twin, name, Table(field.numpy()))
    if hasattr(twin, "reset"):
        twin.reset()
    for t in range(STEPS):
        twin.step(t)
        twin.running_cost(t)
    twin.terminal_cost(STEPS)
    return float(twin.cost.values), states


# ---- the checks ----


def load(source: str, folder: Path, seed: int) -> Any:
    path = folder / f"program_{seed}.py"
    path.write_text(source)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
        return module.Program()
    finally:
        del sys.modules[path.stem]


def relative(a: Any, b: Any) -> float:
    a, b = np.asarray(a), np.asarray(b)
    scale = max(np.max(np.abs(a)), np.max(np.abs(b)), 1e-300)
    return float(np.max(np.abs(a - b)) / scale)


def slopes(rollout: ds.Rollout, direction: dict[str, Any]) -> list[float]:
    """Differentiate the cost along a direction by central differences of fourth order, at several steps."""
    fields = {leaf.key: leaf for leaf in rollout.leaves(list(direction))}
    start = {key: leaf.numpy() for key, leaf in fields.items()}

    def cost(h: float) -> float:
        for key, leaf in fields.items():
            leaf.set(start[key] + h * direction[key])
        return rollout.value()

    found = []
    for h in (1e-3, 1e-4, 1e-5, 1e-6):
        found.append((8 * (cost(h) - cost(-h)) - (cost(2 * h) - cost(-2 * h))) / (12 * h))
    for key, leaf in fields.items():
        leaf.set(start[key])
    return found


def check(seed: int, folder: Path, size: int = 6, windows: bool = True) -> None:
    """Hold a random program to everything that must be true of it."""
    source = Writer(seed, size).program()
    sim = load(source, folder, seed)
    wrt = ["x", "y", "v", "m", "p", "w", "u"]
    fused = ds.Rollout(sim, steps=STEPS, mode="fused")
    cost, gradients = fused.value_and_grad(wrt)
    assert fused.plan.mode == "fused", fused.plan.reason

    plain, states = plain_trajectories(source, sim)
    assert relative(cost, plain) < 1e-10, f"value {cost} against {plain} in plain Python"
    for key in states:
        assert relative(fused.trajectory(getattr(sim, key)), states[key]) < 1e-10, f"trajectory of {key}"

    step = ds.Rollout(sim, steps=STEPS, mode="step")
    other, stepped = step.value_and_grad(wrt)
    assert relative(cost, other) < 1e-10, "fused and step give different costs"
    scale = max(np.max(np.abs(g)) for g in gradients.values())
    for key in wrt:
        assert np.max(np.abs(gradients[key] - stepped[key])) <= 1e-10 * scale, (
            f"fused and step differ in {key}"
        )

    if windows:
        check_windows(sim, wrt, seed, (cost, gradients), (other, stepped))
    check_slopes(fused, gradients, seed)
    for rollout in (fused, step):
        rollout.close()


def check_windows(sim: Any, wrt: list[str], seed: int, fused: Any, step: Any) -> None:
    """Compare a run cut into windows with one that keeps everything in memory: they are equal bit for bit."""
    fuse = seed % 4 == 0  # more to compile than step by step
    windowed = ds.Rollout(sim, steps=STEPS, mode="fused" if fuse else "step", window=WINDOW)
    again, pieces = windowed.value_and_grad(wrt)
    stored = fused if fuse else step
    assert again == stored[0], "windows change the cost"
    for key in wrt:
        assert np.array_equal(pieces[key], stored[1][key]), f"windows change the gradient of {key}"
    windowed.close()


def check_slopes(rollout: ds.Rollout, gradients: dict[str, Any], seed: int) -> None:
    """Compare gradients with finite differences along two random directions."""
    scale = max(np.max(np.abs(g)) for g in gradients.values())
    rng = np.random.default_rng(seed)
    for _ in range(2):
        direction = {key: rng.normal(size=g.shape) for key, g in gradients.items()}
        slope = sum(np.sum(g * direction[key]) for key, g in gradients.items())
        differences = slopes(rollout, direction)
        size = max(abs(slope), 1e-3 * scale)
        errors = [abs(d - slope) / size for d in differences]
        if min(errors) >= 1e-6:
            spread = min(abs(a - b) / size for a, b in itertools.pairwise(differences))
            kink = spread > 1e-5  # then there is nothing to compare with
            assert kink, f"gradient {slope}, differences {differences}"


@pytest.mark.skipif(FUZZ > 0, reason="test_many_random_programs runs")
@settings(max_examples=4, phases=[Phase.generate])
@given(seed=st.integers(0, 2**31))
def test_random_programs(runtime: Any, tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    check(seed, tmp_path_factory.mktemp("programs"))


@pytest.mark.skipif(FUZZ == 0, reason="DIFFSIM_FUZZ says how many")
def test_many_random_programs(runtime: Any, tmp_path: Path) -> None:
    failed = {}
    for seed in range(FIRST, FIRST + FUZZ):
        try:
            check(seed, tmp_path, size=12 if seed % 8 == 0 else 6, windows=seed % 4 == 0)
        except Exception as error:  # noqa: BLE001  (every seed is tried, whatever goes wrong with one)
            failed[seed] = f"{type(error).__name__}: {str(error)[:200]}"
    assert not failed
