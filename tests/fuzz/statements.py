"""Random statements of kernels: locals that are carried through loops, branches, jumps, scatters, calls."""

from __future__ import annotations

from collections.abc import Callable

from fuzz.expressions import Expressions, Scope

__all__ = ["Statements"]


class Statements(Expressions):
    """Write statements line by line."""

    def __init__(self, seed: int, size: int) -> None:
        super().__init__(seed, size)
        self.lines: list[str] = []
        self.indent = 0
        self.count = 0
        self.open_scalar = ""  # what the present stage may add to
        self.open_vector = ""
        self.loops_left: list[bool] = []  # of the loops around: may it be left by a jump?
        self.sabotage: Callable[[Scope], list[str]] | None = None  # writes one statement that breaks a rule

    def line(self, text: str) -> None:
        self.lines.append("    " * self.indent + text)

    def name(self, prefix: str) -> str:
        self.count += 1
        return f"{prefix}{self.count}"

    def statements(self, scope: Scope, count: int, loops: int) -> None:
        for _ in range(count):
            self.statement(scope, loops)

    def statement(self, scope: Scope, loops: int) -> None:
        inside = scope.indices and (self.open_scalar or self.open_vector)
        if self.sabotage is not None and inside and self.rng.random() < 0.25:
            broken, self.sabotage = self.sabotage, None
            for text in broken(scope):
                self.line(text)
        self.left -= 1
        if self.left < 0 and scope.reals:
            name = self.pick(*scope.reals)
            self.line(f"{name} = 0.5 * {name} + ti.sin({self.leaf(scope)[0]} * {name})")
            return
        kind = self.rng.random()
        if kind < 0.14 or not scope.reals:
            name = self.name("s")
            self.line(f"{name} = {self.sized(scope, 2, 3)}")
            scope.reals.append(name)
        elif kind < 0.2:
            name = self.name("q")
            self.line(f"{name} = {self.sized_vector(scope, 2, 3)}")
            scope.vecs.append(name)
        elif kind < 0.25:
            self.whole(scope)
        elif kind < 0.31 and not scope.static:
            self.matrices(scope)
        elif kind < 0.38:
            self.overwrite(scope)
        elif kind < 0.42:
            self.atomic(scope)
        elif kind < 0.48 and scope.vecs:
            self.overwrite_vector(scope)
        elif kind < 0.58 and (self.open_scalar or self.open_vector):
            self.scatter(scope)
        elif kind < 0.68 and loops < 4:
            self.branch(scope, loops)
        elif kind < 0.9 and loops < 3:
            self.loop(scope, loops)
        elif kind < 0.93 and scope.indices:
            self.neighbour(scope)
        elif self.helpers and scope.timed:
            self.call(scope)
        else:
            self.overwrite(scope)

    # ---- assignments ----

    def overwrite(self, scope: Scope) -> None:
        name = self.pick(*scope.reals)
        small = self.sized(scope, 2, 3)
        kind = self.rng.randrange(6)
        if kind == 0:
            self.line(f"{name} = {self.bounded(small)}")
        elif kind == 1:
            self.line(f"{name} {self.pick('+=', '-=')} 0.2 * {self.bounded(small)}")
        elif kind == 2:
            self.line(f"{name} *= {self.bounded(small)}")
        elif kind == 3 and len(scope.reals) > 1:
            other = self.pick(*scope.reals)
            if other != name:
                self.line(f"{name}, {other} = {other}, 0.5 * {name} + 0.3 * {self.bounded(small)}")
                return
            self.line(f"{name} = 0.5 * {name} + 0.5 * {small}")
        elif kind == 4:
            self.line(f"{name} /= 1.5 + ti.sin({small})")
        else:
            self.line(f"{name} = 0.6 * {name} + 0.4 * {small}")

    def whole(self, scope: Scope) -> None:
        """Make an integer, or change one, and keep it small."""
        if scope.ints and self.rng.random() < 0.6:
            name = self.pick(*scope.ints)
            text = self.integer(scope)
            self.line(self.pick(f"{name} = ({text} + {name}) % 5 - 1", f"{name} = ({text}) // 2"))
            return
        name = self.name("k")
        self.line(f"{name} = {self.pick(self.integer(scope), f'({self.integer(scope)}) // 2')}")
        scope.ints.append(name)

    def atomic(self, scope: Scope) -> None:
        """Change a local variable by an atomic, with or without its value."""
        name, small = self.pick(*scope.reals), self.sized(scope, 1, 3)
        form = f"ti.atomic_{self.pick('max', 'min', 'add', 'sub')}({name}, 0.3 * {small})"
        if self.rng.random() < 0.4:
            before = self.name("s")
            self.line(f"{before} = {form}")
            scope.reals.append(before)
        else:
            self.line(form)

    def overwrite_vector(self, scope: Scope) -> None:
        name = self.pick(*scope.vecs)
        kind = self.rng.randrange(6)
        k = self.rng.randrange(self.d)
        if kind == 0:
            self.line(f"{name} = 0.5 * {name} + 0.5 * {self.sized_vector(scope, 2, 3)}")
        elif kind == 1:
            self.line(f"{name} += 0.2 * {self.sized_vector(scope, 2, 1)}")
        elif kind == 2:
            self.line(f"{name}[{k}] = {self.sized(scope, 2, 3)}")
        elif kind == 3 and scope.indices:
            self.line(f"{name}[{self.pick(*scope.indices)} % {self.d}] += 0.2 * {self.sized(scope, 2, 1)}")
        elif kind == 4 and scope.ints:
            index = f"ti.max(0, ti.min({self.d - 1}, {self.pick(*scope.ints)}))"
            self.line(f"{name}[{index}] = 0.7 * {name}[{k}] + 0.2 * {self.sized(scope, 1, 3)}")
        else:
            self.line(f"{name}.{'xyz'[k]} {self.pick('+=', '-=')} 0.2 * {self.sized(scope, 2, 1)}")

    def matrices(self, scope: Scope) -> None:
        """Make a matrix, change one, or take one apart."""
        d, regular, kind = self.d, self.regular(scope), self.rng.randrange(9)
        name = self.name("A")
        if kind < 2:
            self.line(f"{name} = {self.matrix(scope, 1)}")
        elif kind == 2 and scope.mats:
            old = self.pick(*scope.mats)
            entry = f"{old}[{self.rng.randrange(d)}, {self.rng.randrange(d)}]"
            change = f"{self.pick('+=', '=', '*=')} {self.bounded(self.leaf(scope)[0])}"
            self.line(self.pick(f"{entry} {change}", f"{old} = 0.5 * {old} + 0.3 * {self.matrix(scope, 1)}"))
            return
        elif kind == 3:
            other = self.name("A")
            function = self.pick(f"ds.math.polar{d}", f"ds.math.polar{d}", "ti.polar_decompose", "ds.math.qr")
            self.line(f"{name}, {other} = {function}({regular})")
            scope.mats.append(other)
        elif kind == 4:
            u, v = self.name("U"), self.name("V")
            self.line(f"{u}, {name}, {v} = {self.pick(f'ds.math.svd{d}', 'ti.svd')}({regular})")
            f = self.pick("ti.sin({})", "ti.sqrt({})", "{} @ {}").replace("{}", name)
            self.line(f"{name} = {u} @ ({f}) @ {v}.transpose()")
        elif kind == 5:
            values, q = self.name("e"), self.name("Q")
            self.line(f"{values}, {q} = ds.math.eigh{d}({regular})")
            rows = [["0.0"] * d for _ in range(d)]
            for k in range(d):
                rows[k][k] = f"ti.sin({values}[{k}])"
            text = ", ".join(f"[{', '.join(row)}]" for row in rows)
            self.line(f"{name} = {q} @ ti.Matrix([{text}]) @ {q}.transpose()")
        elif kind == 6:
            self.line(f"{name} = {regular}")
            self.line(f"{name} = ds.math.cholesky({name} @ {name}.transpose())")
        elif kind == 7:
            solve = self.pick("ti.solve", "ds.math.solve")
            self.line(f"{name} = {solve}({regular}, {self.leaf_vector(scope)})")
            scope.vecs.append(name)
            return
        else:
            a, b = self.leaf_vector(scope), self.leaf_vector(scope)
            self.line(f"{name} = ti.sin({a}).outer_product({b})")
        scope.mats.append(name)

    def leaf_vector(self, scope: Scope) -> str:
        return self.sized_vector(scope, 0, 3)

    def scatter(self, scope: Scope) -> None:
        i = self.index(scope)
        sign = self.pick("+=", "+=", "-=")
        if self.open_vector and (not self.open_scalar or self.rng.random() < 0.4):
            if self.rng.random() < 0.5:
                k = self.rng.randrange(self.d)
                if scope.indices and self.rng.random() < 0.2:
                    k = f"{self.pick(*scope.indices)} % {self.d}"
                self.line(f"self.{self.open_vector}[t, {i}][{k}] {sign} 0.3 * {self.sized(scope, 2, 2)}")
            else:
                self.line(f"self.{self.open_vector}[t, {i}] {sign} 0.3 * {self.sized_vector(scope, 2, 2)}")
        elif self.rng.random() < 0.2:
            self.line(f"ti.atomic_add(self.{self.open_scalar}[t, {i}], 0.3 * {self.sized(scope, 2, 2)})")
        else:
            self.line(f"self.{self.open_scalar}[t, {i}] {sign} 0.3 * {self.sized(scope, 2, 2)}")

    # ---- branches and loops ----

    def neighbour(self, scope: Scope) -> None:
        """Read a neighbour where there is one, by a condition that the analysis must understand."""
        i = self.pick(*scope.indices)
        field = f"self.{self.pick(*self.scalars)}[t, " if scope.timed else "self.p["
        name = self.pick(*scope.reals)
        condition, index = self.pick(
            (f"{i} > 0", f"{i} - 1"),
            (f"{i} < {self.n - 1}", f"{i} + 1"),
            (f"{i} + 1 < {self.n} and {self.condition(scope)}", f"{i} + 1"),
            (f"not ({i} < 1)", f"{i} - 1"),
            (f"0 < {i} < {self.n}", f"{i} - 1"),
        )
        self.line(f"if {condition}:")
        self.line(f"    {name} = 0.6 * {name} + 0.4 * {self.bounded(f'{field}{index}] * {name}')}")
        if self.rng.random() < 0.4:
            self.line("else:")
            self.line(f"    {name} *= {self.bounded(self.leaf(scope)[0])}")

    def branch(self, scope: Scope, loops: int) -> None:
        self.line(f"if {self.condition(scope)}:")
        self.body(scope, self.rng.randint(1, 2), loops + 1)
        self.jump(scope)
        if self.rng.random() < 0.3:
            self.line(f"elif {self.condition(scope)}:")
            self.body(scope, 1, loops + 1)
            self.jump(scope)
        if self.rng.random() < 0.6:
            self.line("else:")
            self.body(scope, self.rng.randint(1, 2), loops + 1)
            self.jump(scope)

    def jump(self, scope: Scope) -> None:
        """Leave the loop around a branch, or go on with its next iteration."""
        if self.loops_left and self.loops_left[-1] and self.rng.random() < 0.25:
            self.line(f"    {self.pick('break', 'continue')}")

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
        elif kind < 0.4:
            self.rounds(scope, j, loops)
            return
        else:
            bounds = [str(self.rng.randint(1, self.n)), f"0, {self.n}", f"1, {self.n}"]
            bounds += [f"{self.n} - 1, -1, -1"]
            if scope.indices:
                i = self.pick(*scope.indices)
                bounds += [f"{i}, -1, -1", f"{i}, {self.n}, 2", f"{self.n} - 1, {i}, -2"]
                bounds += [i, f"{i} + 1", f"{i}, {self.n}", f"ti.max({i} - 1, 0), ti.min({i} + 2, {self.n})"]
                bounds += [f"self.counts[{i}]", f"self.counts[{i}], {self.n}"] * (not scope.static)
                bounds += [f"ds.at_most({self.bounded_index(scope)}, {self.n})"] * 2
            if scope.timed:
                bounds.append("t % 3")
            self.line(f"for {j} in range({self.pick(*bounds)}):")
        if self.rng.random() < 0.2 and scope.reals:
            self.indent += 1
            self.line(f"if {self.condition(scope.inside(j))}:")
            self.line(f"    {self.pick('break', 'continue')}")
            self.indent -= 1
        self.body(scope.inside(j), self.rng.randint(1, 3), loops + 1, True)

    def rounds(self, scope: Scope, j: str, loops: int) -> None:
        """Write a `while` that a counter ends, at the latest."""
        count, going = self.name("c"), self.condition(scope)
        going = self.pick(f"{count} < {self.n} and {going}", f"({going}) and {count} < {self.n - 1}")
        self.line(f"{count} = 0")
        self.line(f"while {self.pick(going, f'ds.at_most({going}, {self.n})')}:")
        self.line(f"    {j} = {count}")
        self.line(f"    {count} += 1")
        self.body(scope.inside(j), self.rng.randint(1, 3), loops + 1, True)

    def body(self, scope: Scope, count: int, loops: int, is_loop: bool = False) -> None:
        self.indent += 1
        if is_loop:
            self.loops_left.append(True)
        self.statements(scope if is_loop else scope.inside(), count, loops)
        if is_loop:
            self.loops_left.pop()
        self.indent -= 1

    # ---- calls ----

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
        elif helper.startswith("pair"):
            other = self.name("s")
            self.line(f"{name}, {other} = {helper}({a}, {b})")
            scope.reals.append(other)
        elif helper.startswith("turn"):
            name = self.name("q")
            self.line(f"{name} = {helper}({self.leaf_vector(scope)}, {b})")
            scope.vecs.append(name)
            return
        else:
            self.line(f"{name} = {helper}({a}, {b})")
        scope.reals.append(name)
