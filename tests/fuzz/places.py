"""Random simulators that change their fields in place, as Taichi programs do: no time in subscripts.

Places stand among the local variables that statements of `fuzz.statements` change, so they are overwritten in
branches, in loops that are left early, and by whatever else changes a number.
"""

from __future__ import annotations

import re

from fuzz.expressions import Scope
from fuzz.programs import STEPS, Writer

__all__ = ["Places"]

TIMED = re.compile(r"self\.([xyvmhzq]|[fgk]\d)\[(?:t|0), ")


class Places(Writer):
    """Write one random simulator whose kernels read and write places again and again.

    Attributes:
        integers: Whether it has integer fields.
        whiles: Whether it has `while` loops.
    """

    def __init__(self, seed: int, size: int = 6, integers: bool = True, whiles: bool = True) -> None:
        super().__init__(seed, size)
        self.history = 1
        self.integers, self.whiles = integers, whiles
        self.serial = False  # does the present loop run in order?

    # ---- what a loop may touch ----

    def stage(self, number: int) -> None:
        """Write a kernel of loops one behind the other, each with places of its own."""
        self.kernel(f"stage{number}(self, t: ti.i32)")
        for _ in range(self.rng.choice([1, 2, 2, 3])):
            self.pick(self.own, self.own, self.in_order, self.inner, self.divide, self.single)()
        self.fields([])
        self.end()

    def move(self) -> None:
        """Write a kernel that ends a step: every State changes where it lies."""
        self.kernel("move(self, t: ti.i32)")
        self.own(["x", "y", "v"])
        self.line(f"for i in range({self.n}):")
        for name in "xy":  # or what grows in loops becomes chaotic
            self.line(f"    self.{name}[i] = 3.0 * ti.tanh(self.{name}[i] / 3.0)")
        outer = f"self.{self.pick('v', 'g0')}[i].outer_product(self.v[i])"
        self.line(f"for i in {self.pick('self.m', f'range({self.n})')}:")
        self.line(f"    self.m[i] = 0.8 * self.m[i] + 0.1 * ti.sin({outer})")
        self.end()

    def fields(self, written: list[str]) -> None:
        """Let expressions read, at any index, what a loop does not write."""
        self.scalars = [f for f in ("x", "y", "f0", "f1") if f not in written] or ["h"]
        self.vectors = [f for f in ("v", "g0") if f not in written] or ["g1"]

    def own(self, written: list[str] | None = None) -> None:
        """Write a parallel loop whose iterations change their own elements, and add to any of one field."""
        r = self.rng
        chosen = written or r.sample(["x", "y", "f0", "f1", "v", "g0"], r.randint(1, 3))
        self.open_scalar = self.open_vector = ""
        if r.random() < 0.4:
            self.open_scalar = self.pick(*[f for f in ("f0", "f1", "h") if f not in chosen])
        self.fields([*chosen, self.open_scalar])
        i = self.name("i")
        head = self.pick(f"range({self.n})", f"self.{self.pick(*chosen)}", f"range({self.n})")
        self.line(f"for {i} in {head}:")
        scope = self.scope(chosen, [i], [i])
        if self.integers and r.random() < 0.4:
            scope.ints.append(f"self.k0[{i}]")
        self.loop_body(scope)

    def in_order(self) -> None:
        """Write a loop in order, whose iterations read what those before them wrote."""
        self.open_scalar = self.open_vector = ""
        self.serial = True
        i, n = self.name("i"), self.n
        self.line("ti.loop_config(serialize=True)")
        kind = self.rng.randrange(4)
        chosen = self.rng.sample(["x", "y", "f0", "f1", "v", "g0"], self.rng.randint(1, 3))
        if kind == 0:
            self.line(f"for {i} in range(1, {n}):")
            others = [f"{i} - 1", "0"]
        elif kind == 1:
            self.line(f"for {i} in range({n - 1}):")
            others = [f"{i} + 1", f"({i} + 2) % {n}"]
        elif kind == 2:
            q = self.name("q")
            self.line(f"for {q} in range({n}):")
            self.line(f"    {i} = {n} - 1 - {q}")
            others = [f"self.parent[{i}]", f"({i} + 1) % {n}"]
        else:
            self.line(f"for {i} in range({n}):")
            others = [f"self.ids[{i}]", f"self.parent[{i}]", f"({i} + 1) % {n}"]
        self.fields([])
        scope = self.scope(chosen, [i, self.pick(*others)], [i])
        if self.integers and self.rng.random() < 0.4:
            self.counted_slot(scope, i)
        self.loop_body(scope)
        self.serial = False

    def inner(self) -> None:
        """Write loops in order inside of a loop of one."""
        self.open_scalar = self.open_vector = ""
        chosen = self.rng.sample(["x", "y", "f0", "v"], 2)
        i = self.name("i")
        self.line(f"for {self.name('one')} in range(1):")
        self.indent += 1
        self.fields([])
        for _ in range(self.rng.randint(1, 2)):
            self.line(f"for {i} in range({self.n}):")
            self.loop_body(self.scope(chosen, [i, f"({i} + 1) % {self.n}"], [i]))
        self.indent -= 1

    def divide(self) -> None:
        """Write what grids do: sums, a division in place where there is something, a clamp."""
        i, f, d = self.name("i"), self.pick("f0", "f1", "h"), self.pick("x", "y")
        n = self.n
        if self.rng.random() < 0.5:
            self.line(f"for {i} in range({n}):")
            self.line(f"    self.{f}[{i}] = {self.pick('0.0', '0', '0.1')}")
        self.line(f"for {i} in range({n}):")
        self.line(f"    self.{f}[self.ids[{i}]] += self.{d}[{i}] * self.p[{i}]")
        self.line(f"    self.h[self.ids[{i}]] += 0.5" if f != "h" else "    pass")
        self.line(f"for {i} in {self.pick(f'range({n})', f'self.{f}')}:")
        self.line(f"    if self.{f}[{i}] > {self.pick('0', '-0.5', '0.3')}:")
        self.line(f"        self.{f}[{i}] /= 1.2 + {'self.h' if f != 'h' else 'self.c'}[{i}] ** 2")
        self.line(f"    self.{f}[{i}] -= 0.1 * self.p[{i}]")
        self.line(f"    if {i} < 2 and self.{f}[{i}] < 0:")
        self.line(f"        self.{f}[{i}] = {self.pick('0', '0.0', f'-self.{f}[{i}]')}")
        self.line(f"    self.{d}[{i}] += 0.2 * ti.sin(self.{f}[{i}])")

    def single(self) -> None:
        """Write statements that stand in no loop."""
        a, b = self.rng.sample(range(self.n), 2)
        name = self.pick("x", "y", "f0")
        self.line(f"self.{name}[{a}] {self.pick('=', '+=', '*=')} ti.sin(self.{name}[{b}] + self.p[{a}])")
        if self.rng.random() < 0.5:
            self.line(f"self.{name}[{b}] = 0.5 * self.{name}[{a}]")

    def scope(self, chosen: list[str], at: list[str], indices: list[str]) -> Scope:
        places = [f"self.{f}[{k}]" for f in chosen for k in at]
        scope = Scope([p for p in places if p[5] in "xyf"], [p for p in places if p[5] in "vg"], indices)
        return scope

    def loop_body(self, scope: Scope) -> None:
        self.indent += 1
        if self.rng.random() < 0.12:
            self.line(f"if {self.condition(scope)}:")
            self.line("    continue")
        if not scope.reals:
            scope.reals.append(self.name("s"))
            self.line(f"{scope.reals[0]} = 0.3 * self.p[{scope.indices[0]}]")
        self.left = max(self.left, 2)
        self.statements(scope, self.rng.randint(2, 4), 0)
        for name in scope.vecs:
            if name.startswith("self."):
                self.overwrite_vector(scope)
        self.overwrite(scope)
        if self.open_scalar:
            self.scatter(scope)
        if self.rng.random() < 0.3:
            self.clamp(scope)
        self.indent -= 1

    def clamp(self, scope: Scope) -> None:
        name = self.pick(*scope.reals)
        low, high = self.pick(("-0.6", "0.7"), ("-0.2 * self.p[0]", "1.1"))
        if self.rng.random() < 0.5:
            self.line(f"{name} = ti.max(ti.min({name}, {high}), {low})")
            return
        self.line(f"if {name} < {low}:")
        self.line(f"    {name} = {self.pick(low, f'{low} + 0.1 * {name}')}")
        self.line(f"elif {name} > {high}:")
        self.line(f"    {name} *= 0.5")

    def counted_slot(self, scope: Scope, i: str) -> None:
        """Take a slot of a list by an atomic, as cell lists do."""
        slot = self.name("k")
        self.line(f"    {slot} = ti.atomic_add(self.k0[self.ids[{i}]], 1)")
        self.line(f"    self.k1[{slot} % {self.n}] = {i}")
        scope.ints += [f"self.k1[{i}]", slot]

    # ---- statements that take no places ----

    def atomic(self, scope: Scope) -> None:
        name = self.pick(*scope.reals)
        if name.startswith("self."):
            self.line(f"ti.atomic_{self.pick('add', 'sub')}({name}, 0.3 * {self.sized(scope, 1, 3)})")
            return
        plain = scope.inside()
        plain.reals = [r for r in scope.reals if not r.startswith("self.")]
        super().atomic(plain)

    def call(self, scope: Scope) -> None:
        """Call what takes no place, and reads none that another iteration writes."""
        barred = ("nudge",) if self.serial else ("nudge", "self.")
        kept, self.helpers = self.helpers, [h for h in self.helpers if not h.startswith(barred)]
        if self.helpers:
            super().call(scope)
        else:
            self.overwrite(scope)
        self.helpers = kept

    def loop(self, scope: Scope, loops: int) -> None:
        if not self.whiles or self.rng.random() < 0.7:
            super().loop(scope, loops)
            return
        k, most = self.name("k"), self.rng.randint(1, self.n - 1)
        self.line(f"{k} = 0")
        self.line(f"while {k} < {most} and {self.condition(scope)}:")
        self.line(f"    {k} += 1")
        self.body(scope.inside(k), self.rng.randint(1, 2), loops + 1, True)

    # ---- the program ----

    def declarations(self, stages: int) -> list[str]:
        n = self.n
        fields = [text for text in super().declarations(2) if text]
        fields.append(
            f"self.parent = ds.Constant(np.array({[0, *(self.rng.randrange(i) for i in range(1, n))]}))"
        )
        if self.integers:
            fields += [f"self.k{k} = ds.Scratch(ti.i32, {n})" for k in range(2)]
        return fields

    def cost(self, phase: str, scope: Scope) -> None:
        self.scalars, self.vectors = ["x", "y"], ["v"]
        super().cost(phase, scope)

    def at_another_time(self, found: re.Match[str]) -> str:
        """Return a Control at a step, most often the present one."""
        times = [f"ti.min(t + 1, {STEPS - 1})", "ti.max(t - 2, 0)", f"(3 * t + 1) % {STEPS}", "t", "t"]
        return f"self.u[{self.pick(*times)}, "

    def program(self) -> str:
        """Write the whole module, with no time in subscripts of States and Scratches where that is clear."""
        kernels = re.split(r"(?=    @ti\.kernel\n)", super().program())
        for k, text in enumerate(kernels):
            if "def running(" in text:  # what it reads is behind the step
                text = re.sub(r"self\.([xyvmzq])\[t, ", r"self.\1[t + 1, ", text)
            if "def given" in text:  # an adjoint names times
                continue
            text = re.sub(r"self\.u\[t, ", self.at_another_time, text)
            kernels[k] = TIMED.sub(r"self.\1[", text)
        head = "class Program(ds.Simulator):\n"
        return "".join(kernels).replace(head, f"{head}    in_place = True\n\n")
