"""Random simulators as source text (Taichi reads kernels from files), each made from a seed."""

from __future__ import annotations

from collections.abc import Sequence

from fuzz.expressions import Scope
from fuzz.versions import Versions

__all__ = ["STEPS", "Writer"]

STEPS = 5

CUBE = """
@ti.func
def {name}(a, b):
    return {c} * ti.sin(a) * b


@ds.adjoint_of({name})
@ti.func
def {name}_adjoint(a, b, y, y_adj):
    return {c} * ti.cos(a) * b * y_adj, {c} * ti.sin(a) * y_adj

"""
PAIR = """
@ti.func
def {name}(a, b):
    return {c} * a * b, ti.sin(a)


@ds.adjoint_of({name})
@ti.func
def {name}_adjoint(a, b, y, z, y_adj, z_adj):
    a_adj = {c} * b * y_adj
    a_adj += ti.cos(a) * z_adj
    return a_adj, {c} * a * y_adj

"""
GIVEN = """
@ti.kernel
def given(self, t: ti.i32):
    for i in range({n}):
        self.h[t, i] = {c} * ti.sin(self.x[t, i]) * self.p[i]
    for i in range({n}):
        self.h[t, self.ids[i]] += self.w[i, {k}] * self.y[t, i]


@ds.adjoint_of(given)
@ti.kernel
def given_adjoint(self, t: ti.i32):
    for i in range({n}):
        g = self.h.grad[t, self.ids[i]]
        self.w.grad[i, {k}] += g * self.y[t, i]
        self.y.grad[t, i] += g * self.w[i, {k}]
    for i in range({n}):
        g = self.h.grad[t, i] * {c}
        self.x.grad[t, i] += g * ti.cos(self.x[t, i]) * self.p[i]
        self.p.grad[i] += g * ti.sin(self.x[t, i])

"""


class Writer(Versions):
    """Write one random simulator.

    Attributes:
        kernels: How many kernels it has.
        worlds: It is meant for several worlds: `x` and `p` have values for each.
    """

    def __init__(self, seed: int, size: int = 6) -> None:
        super().__init__(seed, size)
        self.worlds = self.rng.random() < 0.15
        self.kernels = 0
        self.counted = ["h"]  # what the running cost adds up in any case

    # ---- functions ----

    def helper(self, kind: str) -> None:
        name = self.name(kind)
        scope = Scope(["a", "b"], [], [], static=True)
        if kind in ("cube", "pair") and (kind == "cube" or self.rng.random() < 0.4):
            text = CUBE if kind == "cube" else PAIR
            for line in text.format(name=name, c=round(self.rng.uniform(-1, 1), 2)).splitlines():
                self.line(line)
            self.helpers.append(name)
            return
        if kind == "self.":
            name = self.name("method")
            scope = Scope(["a"], [], ["i"])
        self.line("@ti.func")
        parameters = {"nudge": "a: ti.template(), b", "self.": "self, t, i, a", "turn": "q, a"}
        self.line(f"def {name}({parameters.get(kind, 'a, b')}):")
        self.indent += 1
        if kind == "nudge":
            self.short_loop(["a", "b"], "a", 0.4, ["return"])
            self.maybe_return(scope, "")
        elif kind == "self.":
            self.statements(scope, self.rng.randint(1, 3), 1)
            self.returns(scope, 1)
        elif kind == "turn":
            self.line("q[0] = 0.5 * q[1] + ti.sin(a)")
            self.line("if a > q[1]:")
            self.line(f"    return {self.pick('q * ti.cos(a)', 'ti.sin(q)', '0.5 * q')}")
            self.line("return q - 0.3 * a * q.normalized(0.5)")
        else:
            values = ", ".join(self.sized(scope, 1, 3) for _ in range(2 if kind == "pair" else 1))
            self.short_loop(["a", "b"], "a", 0.5, [f"return {values}"] * 2)
            self.returns(scope, 2 if kind == "pair" else 1)
        self.indent -= 1
        self.line("")
        self.helpers.append(f"self.{name}" if kind == "self." else name)

    def short_loop(self, reals: list[str], name: str, part: float, leaving: Sequence[str] = ()) -> None:
        j = self.name("j")
        self.line(f"for {j} in range({self.rng.randint(1, 3)}):")
        self.indent += 1
        inner = Scope(reals, [], [j], static=True)
        self.line(f"{name} = 0.5 * {name} + {part} * {self.bounded(self.scalar(inner, 2)[0])}")
        if self.rng.random() < 0.3:
            self.line(f"if {self.condition(inner)}:")
            self.line(f"    {self.pick('break', 'continue', *leaving)}")
            self.line(f"{name} *= 0.9")
        self.indent -= 1

    def returns(self, scope: Scope, count: int) -> None:
        """Write returns, some of them early."""

        def values() -> str:
            return "return " + ", ".join(self.sized(scope, 1, 3) for _ in range(count))

        for _ in range(self.rng.choice([0, 0, 1, 2])):
            self.line(f"if {self.condition(scope)}:")
            if self.rng.random() < 0.4:
                self.line(f"    if {self.condition(scope)}:")
                self.line(f"        {values()}")
                self.line(f"    {scope.reals[0]} = 0.5 * {scope.reals[0]} - 0.1")
            else:
                self.line(f"    {values()}")
                if self.rng.random() < 0.4:
                    self.line(f"elif {self.condition(scope)}:")
                    self.line(f"    {values()}")
            self.line(f"{scope.reals[-1]} = 0.8 * {scope.reals[-1]} + 0.1")
        self.line(values())

    def maybe_return(self, scope: Scope, value: str) -> None:
        if self.rng.random() < 0.4:
            self.line(f"if {self.condition(scope)}:")
            self.line(f"    a *= {self.bounded('b')}")
            self.line("else:")
            self.line("    a += 0.1 * b")

    # ---- kernels ----

    def kernel(self, head: str) -> None:
        self.line("@ti.kernel")
        self.line(f"def {head}:")
        self.kernels += 1
        self.indent += 1

    def end(self, levels: int = 1) -> None:
        self.indent -= levels
        self.line("")

    def stage(self, number: int) -> None:
        """Write a kernel that adds to a Scratch of reals, one of vectors, or both."""
        self.open_scalar = f"f{number}" if self.rng.random() < 0.8 else ""
        self.open_vector = f"g{number}" if self.rng.random() < 0.5 or not self.open_scalar else ""
        self.kernel(f"stage{number}(self, t: ti.i32)")
        if self.open_scalar and self.rng.random() < 0.4:
            i = self.name("i")
            self.line(f"for {i} in range({self.n}):")
            self.line(f"    self.{self.open_scalar}[t, {i}] = {self.sized(Scope([], [], [i]), 1, 2)}")
        reals: list[str] = []
        if self.rng.random() < 0.2:
            reals = [self.top_local()]
        for _ in range(self.rng.choice([1, 1, 1, 2])):
            self.top_loop(reals)
        if self.open_scalar and self.rng.random() < 0.25:
            self.recurrence()
        self.end()
        self.scalars += [self.open_scalar] if self.open_scalar else []
        self.vectors += [self.open_vector] if self.open_vector else []
        self.open_scalar = self.open_vector = ""

    def top_local(self) -> str:
        """Write a number outside of loops, and maybe a loop that adds to it."""
        name, i = self.name("s"), self.name("i")
        self.line(f"{name} = {self.pick('0.3', '0.2 * self.p[0]', 'ti.sin(self.x[t, 1])')}")
        if self.rng.random() < 0.7:
            self.line(f"for {i} in range({self.n}):")
            self.line(f"    {name} += 0.2 * {self.sized(Scope([], [], [i]), 1, 2)}")
        return name

    def top_loop(self, reals: list[str]) -> None:
        i = self.name("i")
        kind = self.rng.random()
        if kind < 0.2:
            k = self.name("i")
            self.line(f"for {i}, {k} in ti.ndrange({self.n}, {self.rng.randint(1, 3)}):")
            scope = Scope([], [], [i, k])
        elif kind < 0.3:
            self.line(f"for {i} in self.p:")
            scope = Scope([], [], [i])
        else:
            if kind > 0.9:
                self.line("ti.loop_config(serialize=True)")
            self.line(f"for {i} in range({self.n}):")
            scope = Scope([], [], [i])
        self.indent += 1
        if self.rng.random() < 0.15:
            self.line(f"if {self.condition(scope)}:")
            self.line(f"    {self.pick('continue', 'continue', 'break')}")
        for name in reals:  # of the whole kernel: read only, as iterations run side by side
            copy = self.name("s")
            self.line(f"{copy} = 0.5 * {name}")
            scope.reals.append(copy)
        self.statements(scope, self.rng.randint(2, 4), 0)
        self.scatter(scope)
        self.indent -= 1

    def recurrence(self) -> None:
        """Write a loop in order, whose iterations read what those before wrote."""
        i, field = self.name("i"), self.open_scalar
        scope = Scope([], [], [i])
        self.line("ti.loop_config(serialize=True)")
        if self.rng.random() < 0.5:
            self.line(f"for {i} in range({self.n}):")
            self.line(f"    self.{field}[t, {i}] += {self.sized(scope, 1, 2)}")
            self.line(f"    if {i} > 0:")
            self.line(f"        self.{field}[t, {i}] += 0.5 * ti.sin(self.{field}[t, {i} - 1])")
        else:
            self.line(f"for {i} in range(1, {self.n}):")
            self.line(f"    self.{field}[t, {i}] += {self.sized(scope, 1, 2)} * self.{field}[t, {i} - 1]")

    def move(self) -> None:
        self.kernel("move(self, t: ti.i32)")
        self.line(f"for i in range({self.n}):")
        self.indent += 1
        scope = Scope([], [], ["i"])
        self.left += 2
        self.statements(scope, self.rng.randint(1, 2), 0)
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
            k = self.rng.randrange(self.d)
            self.line(f"self.v[t + 1, i][{k}] += 0.2 * {self.sized(scope, 2, 2)}")
        outer = f"({self.sized_vector(scope, 1, 2)}).outer_product({self.sized_vector(scope, 1, 2)})"
        self.line(f"self.m[t + 1, i] = 0.8 * self.m[t, i] + 0.1 * {outer}")
        self.end(2)

    def reset(self) -> None:
        """Write a `reset` that sets some of the initial values from others, Params and a Scratch."""
        scope = Scope([], [], ["i"], timed=False, controls=False)
        self.kernel("start(self)")
        self.line(f"for i in range({self.n}):")
        self.indent += 1
        self.line(f"self.y[0, i] {self.pick('=', '+=')} self.x[0, i] * ti.sin({self.leaf(scope)[0]})")
        entries = ", ".join(self.leaf(scope)[0] for _ in range(self.d))
        self.line(f"self.v[0, self.ids[i]] += 0.3 * ti.Vector([{entries}])")
        self.end(2)
        for name, text in (
            ("gather", "self.f0[0, self.ids[i]] += 0.2 * self.x[0, i] * self.p[i]"),
            ("hand_out", "self.y[0, i] += ti.sin(self.f0[0, i])"),
        ):
            self.kernel(f"{name}(self)")
            self.line(f"for i in range({self.n}):")
            self.line(f"    {text}")
            self.end(1)
        self.line("def reset(self):")
        for name in ("start", "gather", "hand_out"):
            self.line(f"    self.{name}()")
        self.line("")

    def cost(self, phase: str, scope: Scope) -> None:
        helpers, self.helpers = self.helpers, [h for h in self.helpers if not h.startswith("self.")]
        self.kernel(f"{phase}(self, t: ti.i32)")
        if phase == "terminal" and self.rng.random() < 0.5:
            self.line(f"for i in range({self.n}):")
            self.line(f"    self.f0[t, self.ids[i]] += {self.sized(scope, 1, 2)}")
            self.scalars.append("f0")
        self.line(f"for i in range({self.n}):")
        self.indent += 1
        self.statements(scope, self.rng.randint(0, 2), 1)
        if phase == "running":
            for field in self.counted:
                self.line(f"self.cost[None] += 0.1 * self.{field}[t, i]")
        self.line(f"self.cost[None] += {self.sized(scope, 2, 9)} + self.x[t, i] ** 2 * self.y[t, i]")
        self.line("self.cost[None] += ti.sin(self.v[t, i].sum() + self.m[t, i].sum())")
        now = "t, i" if phase == "running" else self.pick("t, i", "i")
        self.line(f"self.cost[None] += 0.5 * ti.sin(self.z[{now}] + self.q[{now}].sum())")
        self.end(2)
        self.line(f"def {phase}_cost(self, t):")
        self.line(f"    self.{phase}(t)")
        self.line("")
        self.helpers = helpers

    # ---- the program ----

    def declarations(self, stages: int) -> list[str]:
        n, d, each = self.n, self.d, ", per_world=True" if self.worlds else ""
        spread = [1.5, 3.0, 4.5][:d]
        fields = [
            f"rng = np.random.default_rng({self.rng.randrange(1000)})",
            f"self.x = ds.State(ds.real, {n}, init=rng.normal(size={n}), history={self.history}{each})",
            f"self.y = ds.State(ds.real, {n}, init=rng.normal(size={n}))",
            f"self.v = ds.State(ds.vec{d}, {n}, init=rng.normal(size=({n}, {d})))",
            f"self.z = ds.State(ds.real, {n}, init=rng.normal(size={n}))",
            f"self.q = ds.State(ds.vec{d}, {n}, init=rng.normal(size=({n}, {d})))",
            f"self.m = ds.State(ds.mat{d}, {n}, init=0.5 * rng.normal(size=({n}, {d}, {d})))",
            f"self.p = ds.Param(rng.normal(size={n}){each})",
            f"self.w = ds.Param(rng.normal(size=({n}, {n})))",
            f"self.u = ds.Control(ds.real, {n}, init=rng.normal(size=({STEPS}, {n})))",
            f"self.c = ds.Constant(rng.normal(size={n}))",
            f"self.ids = ds.Constant(rng.integers(0, {n}, size={n}))",
            f"self.perm = ds.Constant(rng.permutation({n}))",
            f"self.counts = ds.Constant(rng.integers(0, {n}, size={n}))",
            f"self.eye = ti.Matrix(np.eye({d}).tolist())",
            f"self.spread = ti.Matrix(np.diag({spread}).tolist())",
            f"self.h = ds.Scratch(ds.real, {n})",
        ]
        fields += [f"self.f{k} = ds.Scratch(ds.real, {n})" for k in range(stages)]
        return fields + [f"self.g{k} = ds.Scratch(ds.vec{d}, {n})" for k in range(stages)]

    def program(self) -> str:
        """Write the whole module."""
        r = self.rng
        self.lines += ["import numpy as np", "import taichi as ti", "import diffsim as ds", ""]
        for kind in r.sample(["calm", "nudge", "calm", "pair", "cube", "turn"], r.randint(0, 3)):
            self.helper(kind)
        stages = r.randint(1, 2)
        self.lines += ["", "class Program(ds.Simulator):"]
        self.indent = 1
        self.line("def __init__(self):")
        for text in self.declarations(stages):
            self.line(f"    {text}")
        self.line("")
        if r.random() < 0.4:
            self.helper("self.")
        given = r.random() < 0.15
        if given:
            k, c = r.randrange(self.n), round(r.uniform(-1, 1), 2)
            for line in GIVEN.format(n=self.n, k=k, c=c).splitlines():
                self.line(line)
            self.kernels += 1
            self.scalars.append("h")
        for k in range(stages):
            self.stage(k)
        calls = ["given"] * given + [f"stage{k}" for k in range(stages)]
        for k in range(r.choice([0, 1, 1, 2])):
            if any(f[0] == "f" for f in self.scalars):
                calls.append(self.in_place(k))
                self.kernels += 1
        self.drift()
        self.move()
        calls.insert(r.randint(0, len(calls)), "drift")
        self.line("def step(self, t):")
        self.lines += [f"        self.{call}(t)" for call in calls]
        self.line("    self.move(t)")
        self.line("")
        self.cost("running", Scope([], [], ["i"]))
        del self.scalars[2:], self.vectors[1:]
        if r.random() < 0.5:
            self.reset()
        self.cost("terminal", Scope([], [], ["i"], controls=False))
        return "\n".join(self.lines) + "\n"
