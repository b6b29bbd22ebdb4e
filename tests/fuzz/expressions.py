"""Random expressions of kernels, kept small in value: each comes with a bound on its size."""

from __future__ import annotations

import random
from typing import Any

__all__ = ["Expressions", "Scope"]


class Scope:
    """What an expression may name: local numbers, vectors, matrices, integers; loop indices 0 .. n - 1."""

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
        self.mats: list[str] = []
        self.ints: list[str] = []
        self.static, self.timed, self.controls = static, timed and not static, controls and not static

    def inside(self, *indices: str) -> Scope:
        inner = Scope(
            list(self.reals), list(self.vecs), [*self.indices, *indices],
            static=self.static, timed=self.timed, controls=self.controls,
        )  # fmt: skip
        inner.mats, inner.ints = list(self.mats), list(self.ints)
        return inner


class Expressions:
    """Write expressions; what may be large is put through a bounded function."""

    def __init__(self, seed: int, size: int) -> None:
        self.rng = random.Random(seed)
        self.left = size  # statements that may still have statements of their own, or long expressions
        self.n = self.rng.randint(3, 5)
        self.d = self.rng.choice([2, 2, 2, 3])
        self.history = self.rng.choice([1, 1, 2])
        self.scalars = ["x", "y"]  # readable fields of reals, at t
        self.vectors = ["v"]
        self.helpers: list[str] = []

    def pick(self, *choices: Any) -> Any:
        return self.rng.choice(choices)

    # ---- integers ----

    def index(self, scope: Scope) -> str:
        """Write an integer that lies in 0 .. n - 1."""
        options = [*scope.indices] * 3 + [str(self.rng.randrange(self.n))]
        base = self.pick(*options)
        if self.rng.random() < 0.1:
            return self.bounded_index(scope)
        return self.pick(base, base, f"({base} + {self.rng.randint(1, 3)}) % {self.n}", f"self.ids[{base}]")

    def bounded_index(self, scope: Scope) -> str:
        """Write an index that the analysis must prove to lie inside, or look at while the kernel runs."""
        n, whole = self.n, self.integer(scope)
        real = self.leaf(scope)[0]
        return self.pick(
            f"({whole}) % {n}",
            f"ti.max(0, ti.min({n - 1}, {whole}))",
            f"ti.min(abs({whole}), {n - 1})",
            f"ti.max(0, ti.min({n - 1}, ti.cast(ds.stop_gradient(2.0 * {real}), ti.i32)))",
            f"ti.cast(ds.stop_gradient({0.5 * n:.1f} + {0.49 * n:.2f} * ti.sin({real})), ti.i32)",
            f"int(ti.floor(ds.stop_gradient({0.5 * n:.1f} + {0.49 * n:.2f} * ti.cos({real}))))",
        )

    def integer(self, scope: Scope) -> str:
        """Write a small integer of either sign."""
        names = [*scope.indices, *scope.ints] or ["2"]
        a, b, k = self.pick(*names), self.pick(*names), self.rng.randint(2, 5)
        forms = [a, f"{a} - {k}", f"{a} + {b}", f"{k} * {a} - {b}", f"({a} - {k}) // 2", f"({b} - {k}) % 3"]
        forms += [f"-{a}", f"({a} ^ {b})", f"({a} & 1)", f"({a} | {k})", f"ti.max({a}, {b} - 1)"]
        forms += [f"abs({a} - {b})", f"({k} if {a} > {b} else {a})", f"ti.select({a} == {b}, 1, {a})"]
        if not scope.static:
            forms.append(f"self.counts[{self.pick(*scope.indices, '0')}] - {a}")
        return self.pick(*forms)

    # ---- numbers ----

    def leaf(self, scope: Scope) -> tuple[str, float]:
        kind = self.rng.random()
        if scope.reals and kind < 0.45:
            return self.pick(*scope.reals), 3.0
        if scope.vecs and kind < 0.55:
            return f"{self.pick(*scope.vecs)}[{self.rng.randrange(self.d)}]", 3.0
        if kind < 0.58:
            return f"{self.rng.uniform(-2, 2):.3f}", 2.0
        if (scope.indices or scope.ints) and kind < 0.62:
            return f"0.2 * {self.pick(*scope.indices, *scope.ints)}", 2.0
        if scope.static:
            return self.pick(*scope.reals), 3.0
        if scope.mats and kind < 0.7:
            i, j = self.rng.randrange(self.d), self.rng.randrange(self.d)
            return f"{self.pick(*scope.mats)}[{i}, {j}]", 3.0
        i = self.index(scope) if kind < 0.95 else self.pick(*scope.indices, "0")
        choices = [f"self.p[{i}]", f"self.w[{i}, {self.pick(*scope.indices, '0')}]", f"self.c[{i}]"]
        if scope.timed:
            choices += [f"self.{f}[t, {i}]" for f in self.scalars] * 2
            choices += [f"self.{f}[t, {i}][{self.rng.randrange(self.d)}]" for f in self.vectors]
            choices += [f"self.m[t, {i}][{self.rng.randrange(self.d)}, {self.rng.randrange(self.d)}]"]
            choices += [f"self.u[t, {i}]", "0.1 * t"] if scope.controls else []
            if self.history == 2 and scope.timed:
                choices.append(f"self.x[t - 1, {i}]")
        return self.pick(*choices), 4.0

    def scalar(self, scope: Scope, depth: int) -> tuple[str, float]:
        """Write a number."""
        if depth <= 0:
            return self.leaf(scope)
        kind = self.rng.randrange(26)
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
            return f"ti.log(1.0 + {a} * {a})" if a.isidentifier() else f"ti.log(2.0 + ti.sin({a}))", 4.0
        if kind == 12:
            return self.pick(f"ti.sqrt(1.5 + ti.cos({a}))", f"ti.rsqrt(1.5 + ti.sin({a}))"), 2.0
        if kind == 14:
            return self.pick(f"abs({a})", f"ti.abs({a})"), size
        if kind in (13, 15, 16):
            return self.chosen(scope, depth, kind, a, size)
        if kind == 17:
            b = self.bounded(self.scalar(scope, depth - 1)[0])
            power = self.pick(
                f"ti.pow(1.5 + 0.5 * ti.sin({a}), {b})",
                f"ti.tanh({a}) ** {self.pick(0, 1, 2, 3)}",
                f"(1.6 + ti.cos({a})) ** {self.pick(-2, -1, 0.5, 1.5, 2.0)}",
                f"{self.pick(2, 1.5)} ** {b}",
                f"ds.math.pow(1.5 + 0.5 * ti.sin({a}), {b})",
            )
            return power, 4.0
        if kind == 18:
            b, _ = self.scalar(scope, depth - 1)
            return f"{self.pick('ti', 'ds.math')}.atan2({a}, 1.5 + ti.sin({b}))", 1.6
        if kind == 19:
            b, _ = self.scalar(scope, depth - 1)
            return f"({a} / (1.5 + ti.sin({b})))", 2 * size
        if kind == 20:
            inner = f"0.8 * ti.sin({a})"
            return self.pick(
                f"ti.asin({inner})", f"ti.acos({inner})", f"({inner}) * ({self.condition(scope)})",
                f"ds.math.asin({inner})", f"ds.math.acos({inner})", f"ti.tan({inner})",
            ), 3.2  # fmt: skip
        if kind == 21:
            return self.stepped(scope, a, size)
        if kind == 22:
            return self.guarded(scope, depth, a, size)
        if scope.static:
            return f"(-{a})", size
        return self.from_vector(scope, depth)

    def chosen(self, scope: Scope, depth: int, kind: int, a: str, size: float) -> tuple[str, float]:
        b, other = self.scalar(scope, depth - 1)
        size = max(size, other)
        if kind == 13:
            names = ["ti.max", "ti.min", "max", "min", "ds.math.max", "ds.math.min"]
            return f"{self.pick(*names)}({a}, {b})", size
        if kind == 15:
            return f"ti.select({self.condition(scope)}, {a}, {b})", size
        return f"({a} if {self.condition(scope)} else {b})", size

    def stepped(self, scope: Scope, a: str, size: float) -> tuple[str, float]:
        """Write what jumps, or has no slope."""
        return self.pick(
            (f"ti.{self.pick('floor', 'ceil', 'round')}(3.0 * ti.sin({a}))", 3.0),
            (f"({a}) % 1.7", 1.7),
            (f"(({a}) // 0.8)", 2 * size + 1),
            (f"({a}) * ti.cast(ds.stop_gradient(2.0 * ti.sin({a})), ti.i32)", 2 * size),
            (f"ti.math.fract({a})", 1.0),
            (f"ti.math.sign({a}) * {a}", size),
            (f"ds.math.step(0.3, {a})", 1.0),
        )

    def guarded(self, scope: Scope, depth: int, a: str, size: float) -> tuple[str, float]:
        """Write one of the functions whose slopes are defined everywhere."""
        b, other = self.scalar(scope, depth - 1)
        return self.pick(
            (f"ds.math.safe_div({a}, 1.5 + ti.sin({b}))", 2 * size),
            (f"ds.math.sqrt(1.2 + ti.sin({a}))", 2.0),
            (f"ds.math.clamp({a}, -0.7, {self.pick('0.9', f'1.0 + 0.1 * ti.sin({b})')})", 1.5),
            (f"ds.math.smooth_max({a}, {b}, 0.4)", max(size, other) + 0.1),
            (f"ds.math.smooth_min({a}, {b}, 0.7)", max(size, other) + 0.2),
            (f"ds.math.smooth_clamp({a}, -0.8, 0.9, 0.3)", 1.5),
            (f"ds.math.smooth_step(-1.0, 1.5, {a})", 1.0),
            (f"ti.math.mix({a}, {b}, 0.3)", max(size, other)),
            (f"ti.math.smoothstep(-1.0, 1.5, {a})", 1.0),
        )

    def from_vector(self, scope: Scope, depth: int) -> tuple[str, float]:
        a, size = self.vector(scope, depth - 1)
        b, _ = self.vector(scope, depth - 1)
        kind = self.rng.randrange(10)
        if kind == 0:
            return f"({a}).norm({self.pick('1e-2', '0.5', 'eps=0.1')})", 2 * size + 1
        if kind == 1:
            return f"ti.sin(({a}).dot({b}))", 1.0
        if kind == 2:
            return f"({a}).{self.pick('sum()', 'max()', 'min()')}", self.d * size
        if kind == 3:
            return f"ti.tanh(({a}).norm_sqr())", 1.0
        if kind == 4 and self.d == 2:
            return f"ti.cos(({a}).cross({b}))", 1.0
        if kind == 5 and scope.indices and scope.vecs:
            return f"{self.pick(*scope.vecs)}[{self.pick(*scope.indices)} % {self.d}]", 3.0
        if kind == 6:
            return f"ds.math.norm({a}, 0.04)", 2 * size + 1
        if kind == 7 and not scope.static:
            matrix = self.matrix(scope, depth - 1)
            return f"ti.sin(({matrix}).{self.pick('trace', 'determinant', 'sum', 'norm_sqr')}())", 1.0
        m = f"({a}).outer_product({b})"
        return f"ti.sin({self.pick(f'{m}.trace()', f'({m} + self.eye).determinant()')})", 1.0

    # ---- vectors and matrices ----

    def vector(self, scope: Scope, depth: int) -> tuple[str, float]:
        """Write a vector."""
        kind = self.rng.randrange(13)
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
        if kind == 9 and not scope.static:
            return f"ti.sin({self.matrix(scope, 1)} @ ({a}))", 1.0
        if kind == 10:
            b, other = self.vector(scope, depth - 1)
            return f"ti.select({self.condition(scope)}, {a}, {b})", max(size, other)
        if kind == 11 and not scope.static:
            return f"ds.math.solve({self.regular(scope)}, ti.sin({a}))", 2.0
        b, other = self.vector(scope, depth - 1)
        return f"({a} / (2.0 + ti.sin({b})))", size

    def matrix(self, scope: Scope, depth: int) -> str:
        """Write a matrix."""
        choices = [*scope.mats]
        choices += [f"self.m[t, {self.index(scope)}]"] if scope.timed else ["self.eye", "self.spread"]
        base = self.pick(*choices)
        if depth <= 0 or self.rng.random() < 0.3:
            return self.pick(base, f"{base}.transpose()")
        other = self.pick(*choices)
        return self.pick(
            f"({base} @ {other})",
            f"(0.5 * {base} + {other}.transpose())",
            f"({self.bounded(self.leaf(scope)[0])} * {base})",
            f"ti.sin({base})",
            f"{self.regular(scope)}.inverse()",
            f"ds.math.inverse({self.regular(scope)})",
        )

    def regular(self, scope: Scope) -> str:
        """Write a matrix that is well conditioned and has singular values apart."""
        return f"(0.3 * ti.sin({self.matrix(scope, 0)}) + self.spread)"

    # ---- conditions and bounds ----

    def condition(self, scope: Scope) -> str:
        a, b = self.leaf(scope)[0], self.leaf(scope)[0]
        if all(part.lstrip("-")[0].isdigit() for part in (a, b)):
            a = self.pick(*scope.reals, *(["self.p[0]"] * (not scope.static)))
        plain = f"{a} {self.pick('<', '>', '<=', '>=')} {b}"
        kind = self.rng.random()
        if scope.indices and kind < 0.4:
            index = self.pick(*scope.indices, *scope.ints)
            plain = self.pick(
                f"{index} % 2 == 0", f"{index} > 1", f"{index} != 1 and {plain}", f"{index} == 0 or {plain}"
            )
        elif kind < 0.46:
            plain = f"ds.stop_gradient({a}) > {b}"
        elif kind < 0.52:
            plain = f"-1.5 < {a} <= 0.8"
        return f"({plain})" if self.rng.random() < 0.8 else f"(not ({plain}))"

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
