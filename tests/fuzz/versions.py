"""Random kernels that write over what was read: in place, in sweeps, along trees, without the time."""

from __future__ import annotations

from fuzz.expressions import Scope
from fuzz.statements import Statements

__all__ = ["Versions"]


class Versions(Statements):
    """Write kernels that change fields in place."""

    def in_place(self, number: int) -> str:
        """Write a kernel that changes Scratches which kernels before it wrote, and return its name."""
        name = f"in_place{number}"
        self.line("@ti.kernel")
        self.line(f"def {name}(self, t: ti.i32):")
        self.indent += 1
        fields = [f for f in self.scalars if f[0] in "fh"]
        for _ in range(self.rng.randint(1, 2)):
            field = self.pick(*fields)
            self.pick(self.chain, self.sweep, self.sweep, self.tree)(f"self.{field}", field)
        self.indent -= 1
        self.line("")
        return name

    def drift(self) -> None:
        """Write a kernel as plain Taichi has it: the States `z` and `q` in place, without the time."""
        self.line("@ti.kernel")
        self.line("def drift(self, t: ti.i32):")
        self.indent += 1
        i = self.name("i")
        self.line(self.pick(f"for {i} in self.z:", f"for {i} in range({self.n}):"))
        scope = Scope([], [], [i])
        self.indent += 1
        k = self.rng.randrange(self.d)
        deeper = "    " * (self.indent + 1)
        for _ in range(self.rng.randint(1, 3)):
            small = self.bounded(self.sized(scope, 1, 3))
            self.line(
                self.pick(
                    f"self.z[{i}] += 0.2 * {small} * self.q[{i}][{k}]",
                    f"self.z[{i}] = 0.5 * self.z[{i}] + {small} * ti.sin(self.z[{i}])",
                    f"self.q[{i}] *= {small}",
                    f"self.q[{i}][{k}] -= 0.3 * {small} * self.z[{i}]",
                    f"if self.z[{i}] > {small}:\n{deeper}self.z[{i}] *= 0.7 + 0.1 * {small}",
                )
            )
        self.line(f"self.z[{i}] = ti.sin(self.z[{i}]) + 0.1 * self.q[{i}].norm_sqr()")
        self.line(f"self.q[{i}] = ti.sin(self.q[{i}] + 0.3 * self.z[{i}])")
        self.indent -= 1
        if self.rng.random() < 0.6:
            self.sweep("self.z", "", timed="")
        self.indent -= 1
        self.line("")

    # ---- one loop nest each ----

    def chain(self, place: str, field: str) -> None:
        """Change each element by itself, as iterations that run side by side may."""
        i = self.name("i")
        self.line(f"for {i} in range({self.n}):")
        others, self.scalars = self.scalars, [f for f in self.scalars if f != field]
        self.indent += 1
        scope = Scope([], [], [i])
        for _ in range(self.rng.randint(2, 4)):
            self.change(scope, f"{place}[t, {i}]", f"{place}[t, {i}]")
        self.indent -= 1
        self.scalars = others

    def sweep(self, place: str, field: str, timed: str = "t, ") -> None:
        """Change elements one after the other, each from others of the same field."""
        i, n = self.name("i"), self.n
        self.line("ti.loop_config(serialize=True)")
        levels = 1
        if self.rng.random() < 0.5:
            self.line(f"for {self.name('k')} in range({self.rng.randint(1, 3)}):")
            self.indent += 1
            levels += 1
        self.line(f"for {i} in range({self.pick(str(n), f'1, {n}')}):")
        self.indent += 1
        scope = Scope([], [], [i])
        indices = [i, f"({i} + 1) % {n}", f"{n - 1} - {i}", f"self.ids[{i}]", f"self.perm[{i}]"]
        if self.rng.random() < 0.3:
            j = self.name("j")
            self.line(f"for {j} in range({self.pick(i, f'{i} + 1', '2')}):")
            self.indent += 1
            levels += 1
            indices += [j, j]
            scope = scope.inside(j)
        for _ in range(self.rng.randint(1, 3)):
            target, other = self.pick(*indices), self.pick(*indices)
            self.change(scope, f"{place}[{timed}{target}]", f"{place}[{timed}{other}]")
        self.indent -= levels

    def tree(self, place: str, field: str) -> None:
        """Go from parents to children, or back; a parent's number is smaller than its child's."""
        i = self.name("i")
        p = self.name("k")
        self.line("ti.loop_config(serialize=True)")
        self.line(f"for {i} in range({self.n}):")
        self.indent += 1
        child = i
        if self.rng.random() < 0.5:
            child = self.name("k")
            self.line(f"{child} = {self.n - 1} - {i}")
        self.line(f"{p} = ti.min(self.ids[{child}], {child} - 1)")
        self.line(f"if {p} >= 0:")
        self.indent += 1
        scope = Scope([], [], [i])
        pair = [f"{place}[t, {child}]", f"{place}[t, {p}]"]
        self.rng.shuffle(pair)
        self.change(scope, *pair)
        self.indent -= 2

    def change(self, scope: Scope, target: str, other: str) -> None:
        """Write over a place what it was, and another one."""
        small = self.bounded(self.sized(scope, 1, 3))
        kind = self.rng.randrange(7)
        if kind == 0:
            self.line(f"{target} = 0.5 * {target} + 0.4 * ti.sin({other} * {small})")
        elif kind == 1:
            self.line(f"{target} *= {small} + 0.2 * ti.cos({other})")
        elif kind == 2:
            self.line(f"if {other} > {small}:")
            self.line(f"    {target} = {small} * {self.bounded(other)}")
        elif kind == 3:
            self.line(f"{target} {self.pick('+=', '-=')} 0.3 * {self.bounded(other)} * {small}")
        elif kind == 4:
            name = self.name("s")
            self.line(f"{name} = {target} * {self.bounded(other)}")
            self.line(f"{target} = 0.5 * {name} + 0.3 * {small}")
            scope.reals.append(name)
        elif kind == 5:
            self.line(f"if {target} < {small} and {other} > -0.5:")
            self.line(f"    {target} += 0.4 * {other} * {small}")
            self.line(f"elif {target} > 0.8:")
            self.line(f"    {target} = 0.8")
        else:
            self.line(f"{target} = {self.bounded(f'{target} + {other}')}")
