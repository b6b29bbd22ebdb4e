"""Random texts in the words of printed kernels: all types, operators and functions, loops and branches."""

from __future__ import annotations

import random

__all__ = ["LENGTH", "REALS", "WHOLES", "Text"]

LENGTH = 8  # of each array
REALS = ("f64", "f32")
WHOLES = ("i32", "i64", "u32", "u64")
SMALL = ("i8", "u8", "i16", "u16")
_MATHS = (
    "sqrt",
    "rsqrt",
    "sin",
    "cos",
    "tan",
    "tanh",
    "exp",
    "log",
    "asin",
    "acos",
    "floor",
    "ceil",
    "round",
    "abs",
)
_FITS = {
    "i8": 100,
    "u8": 200,
    "i16": 30000,
    "u16": 60000,
    "i32": 10**6,
    "u32": 10**6,
    "i64": 10**9,
    "u64": 10**9,
}


class Text:
    """One random text.

    Args:
        seed: Decides what is written.
        plain: Only what Taichi compiles and defines: no small integers, no literal that is not finite.
        row: The first index of all places.
    """

    def __init__(self, seed: int, plain: bool = False, row: int = 0) -> None:
        self.rng = random.Random(seed)
        self.plain, self.row = plain, row
        self.kinds = REALS + WHOLES + (() if plain else SMALL)
        self.lines: list[str] = []
        self.indent = 1
        self.count = 0
        self.names: list[tuple[str, str]] = []  # reals and wholes that may be read, with their types
        self.fixed: set[str] = set()  # which may not be assigned
        self.long = self.rng.random() < 0.15  # one long loop, which may be vectorised

    # ---- the whole ----

    def body(self) -> list[str]:
        """Write the statements, indented once."""
        for _ in range(self.rng.randint(2, 5)):
            self.statement(0)
        for name, kind in self.rng.sample(self.names, min(3, len(self.names))):
            self.line(f"o_{kind}[{self.row}, {self.rng.randrange(LENGTH)}] = {name}")
        return self.lines

    def source(self) -> str:
        """Write a kernel of its own."""
        return "\n".join(["def kernel(n: ti.i32, t: ti.i32):", *self.body()]) + "\n"

    def line(self, text: str) -> None:
        self.lines.append("    " * self.indent + text)

    def name(self, prefix: str) -> str:
        self.count += 1
        return f"{prefix}{self.row}_{self.count}"

    def pick(self, *options: str) -> str:
        return self.rng.choice(options)

    # ---- statements ----

    def statement(self, depth: int) -> None:
        kind, known = self.rng.random(), [n for n in self.names if n[0] not in self.fixed]
        if kind < 0.3 or not known:
            name, (text, dtype) = self.name("v"), self.any(3)
            self.line(f"{name} = {text}")
            self.names.append((name, dtype))
        elif kind < 0.45:
            name, dtype = self.rng.choice(known)
            text = self.of(dtype, 3)
            self.line(self.pick(f"{name} = {text}", f"{name} {self.pick('+=', '-=', '*=')} {text}"))
        elif kind < 0.6:
            dtype = self.pick(*self.kinds)
            place, text = self.place("o", dtype), self.of(dtype, 3)
            self.line(self.pick(f"{place} = {text}", f"{place} += {text}", f"{place} = {place} + {text}"))
        elif kind < 0.66:
            dtype = self.pick(*(WHOLES if self.plain else self.kinds))
            text = (
                f"ti.atomic_{self.pick('max', 'min', 'add')}({self.place('o', dtype)}, {self.of(dtype, 2)})"
            )
            if self.rng.random() < 0.5:
                name = self.name("v")
                self.names.append((name, dtype))
                text = f"{name} = {text}"
            self.line(text)
        elif kind < 0.8 and depth < 3:
            self.line(f"if {self.pick('', '', 'not ')}({self.condition(2)}):")
            self.inside(depth + 1)
            if self.rng.random() < 0.5:
                self.line("else:")
                self.inside(depth + 1)
        elif depth < 3:
            self.loop(depth)
        else:
            self.line("pass")

    def inside(self, depth: int) -> None:
        """Write a block; what it names ends with it."""
        outside = list(self.names)
        self.indent += 1
        for _ in range(self.rng.randint(1, 2)):
            self.statement(depth)
        self.indent -= 1
        self.names = outside

    def loop(self, depth: int) -> None:
        i, j = self.name("i"), self.name("j")
        outside = list(self.names)
        few = f"ti.max(0, ti.min({self.of('i32', 1)}, 3))"
        if self.long and depth == 0:
            self.long = False
            head, made = f"for {i} in range({LENGTH * 4}):", [i]
        elif self.rng.random() < 0.25:
            head = f"for {i}, {j} in ti.ndrange({self.rng.randint(1, 2)}, ({self.rng.randint(0, 1)}, {few})):"
            made = [i, j]
        else:
            bounds = ["4", "n", "1, n", f"({-self.rng.randint(1, 2)}), 2", few, f"{few}, 4", "3, 1"]
            head, made = f"for {i} in range({self.pick(*bounds)}):", [i]
        self.line(head)
        self.names += [(name, "i32") for name in made]
        self.fixed.update(made)
        self.inside(depth + 1)
        self.names = outside

    # ---- expressions ----

    def place(self, prefix: str, dtype: str) -> str:
        """Write an element of an array."""
        index = self.pick(
            str(self.rng.randrange(LENGTH)), "", "", f"{LENGTH - 1} - t", f"(n * 3 + t) % {LENGTH}", "n - 1"
        )
        if not index:
            whole = [name for name, kind in self.names if kind == "i32"]
            base = self.rng.choice(whole) if whole else "t"
            index = self.pick(
                f"({base} + {self.rng.randint(-9, 9)}) % {LENGTH}",
                f"ti.max(0, ti.min({LENGTH - 1}, {base}))",
                f"{base} & {LENGTH - 1}",
            )
        return f"{prefix}_{dtype}[{self.row}, {index}]"

    def any(self, depth: int) -> tuple[str, str]:
        """Write an expression of a random type."""
        dtype = self.pick(*REALS, *self.kinds)
        return self.of(dtype, depth), dtype

    def of(self, dtype: str, depth: int) -> str:
        """Write an expression of a type."""
        known = [name for name, kind in self.names if kind == dtype]
        if depth <= 0 or self.rng.random() < 0.1:
            places = [self.place("a", dtype), self.place("a", dtype), self.literal(dtype)]
            return self.pick(*places, *known, *known, *known)
        return self.real(dtype, depth - 1) if dtype[0] == "f" else self.whole(dtype, depth - 1)

    def literal(self, dtype: str) -> str:
        if dtype[0] == "f":
            special = [] if self.plain else ["ti.math.nan", "ti.math.inf", "(-ti.math.inf)"]
            value = round(self.rng.uniform(-3, 3), 2)
            text = self.pick(*[f"({value})" if value < 0 else str(value)] * 20, *special)
            return text if dtype == "f64" else f"ti.cast({text}, ti.{dtype})"
        if dtype == "i32":
            large = (
                [] if self.plain else ["2147483647", "1103515245"]
            )  # Taichi refuses what overflows at once
            return self.pick("0", "1", "7", "(-1)", "(-3)", *large)
        if dtype in WHOLES and self.rng.random() < 0.5:
            large = {"u32": 4_000_000_000, "i64": 5_000_000_000, "u64": 10_000_000_000_000_000_000}[dtype]
            return f"ti.{dtype}({large})"
        return f"ti.cast({self.pick('0', '1', '3', '100')}, ti.{dtype})"

    def lower(self, dtype: str) -> str:
        """Return a type that arithmetic with `dtype` turns into it."""
        if self.rng.random() < 0.7 or self.plain:
            return dtype
        order = ("i8", "u8", "i16", "u16", "i32", "u32", "i64", "u64", "f32", "f64")
        return self.pick(*order[: order.index(dtype) + 1])

    def pair(self, dtype: str, depth: int) -> tuple[str, str]:
        """Write two expressions whose common type it is."""
        a, b = self.of(dtype, depth), self.of(self.lower(dtype), depth)
        return (a, b) if self.rng.random() < 0.5 else (b, a)

    def real(self, dtype: str, depth: int) -> str:
        kind = self.rng.randrange(12)
        if kind < 5:
            a, b = self.pair(dtype, depth)
            return f"({a} {self.pick('+', '-', '*', '+', '-', '*', '/', '//', '%')} {b})"
        if kind == 5:
            return f"ti.{self.pick(*_MATHS)}({self.of(dtype, depth)})"
        if kind == 6:
            a, b = self.of(dtype, depth), self.of(dtype, depth)
            return self.pick(f"ti.atan2({a}, {b})", f"(ti.abs({a}) ** {b})", f"({a} ** {self.exponent()})")
        if kind == 7:
            a, b = self.pair(dtype, depth)
            return f"ti.{self.pick('min', 'max')}({a}, {b})"
        if kind == 8:
            a, b = self.pair(dtype, depth)
            return f"ti.select({self.condition(depth)}, {a}, {b})"
        if kind == 9:
            return f"ti.cast({self.any(depth)[0]}, ti.{dtype})"
        if kind == 10:
            a = self.of(dtype, depth)
            return self.pick(f"(-{a})", f"ti.min({a}, {self.of(dtype, 0)}, {self.of(dtype, 0)})")
        if dtype == "f64" and not self.plain:
            return f"({self.of('i32', depth)} / {self.of('i32', depth)})"
        return f"ti.sin({self.of(dtype, depth)})"

    def exponent(self) -> str:
        return self.pick("0", "1", "2", "3", "5", "(-1)", "(-2)")

    def whole(self, dtype: str, depth: int) -> str:
        kind, small = self.rng.randrange(14), dtype in SMALL
        if kind < 3:
            a, b = self.pair(dtype, depth)
            return f"({a} {self.pick('+', '-', '*')} {b})"
        if kind < 5:
            return f"({self.of(dtype, depth)} {self.pick('//', '%')} {self.divisor(dtype, depth)})"
        if kind == 5:
            a, b = self.pair(dtype, depth)
            return f"({a} {self.pick('&', '|', '^')} {b})"
        if kind == 6:
            count = self.pick("3", f"({self.of('i32', depth)} & 7)")
            return f"({self.of(dtype, depth)} {self.pick('<<', '>>')} ti.cast({count}, ti.{dtype}))"
        if kind == 7:
            a, b = self.pair(dtype, depth)
            return f"ti.{self.pick('min', 'max')}({a}, {b})"
        if kind == 8:
            a, b = self.pair(dtype, depth)
            return f"ti.select({self.condition(depth)}, {a}, {b})"
        if kind == 9:
            source = self.pick(*self.kinds)
            if source[0] == "f":
                low = 0 if dtype[0] == "u" else -_FITS[dtype]
                text = f"ti.max({float(low)}, ti.min({self.of(source, depth)}, {float(_FITS[dtype])}))"
                return f"ti.cast({text}, ti.{dtype})"
            return f"ti.cast({self.of(source, depth)}, ti.{dtype})"
        if kind == 10:
            return f"(-{self.of(dtype, depth)})"
        if kind == 11 and dtype in ("i32", "i64"):
            return self.pick(
                f"({self.of(dtype, depth)} ** ({self.of(dtype, 0)} & 7))", f"({self.of(dtype, depth)} ** 3)"
            )
        if kind == 12 and not small and dtype[0] == "i":
            return f"ti.abs({self.of(dtype, depth)})"
        if kind == 13 and dtype == "i32":
            source = self.pick("i32", *(() if self.plain else WHOLES + SMALL))
            return f"ti.math.popcnt({self.of(source, depth)})"
        a, b = self.pair(dtype, depth)
        return f"({a} + {b})"

    def divisor(self, dtype: str, depth: int) -> str:
        """Write what is neither zero nor, where that would overflow, -1."""
        positive = f"ti.max({self.of(dtype, depth)}, {'1' if dtype == 'i32' else f'ti.cast(1, ti.{dtype})'})"
        if dtype[0] == "u":
            return positive
        return self.pick(
            positive, f"((-{positive}) - 1)", f"ti.cast({self.pick('3', '7', '(-3)', '(-2)')}, ti.{dtype})"
        )

    def condition(self, depth: int) -> str:
        kind = self.rng.randrange(8)
        if kind == 0 and depth > 0:
            return f"({self.condition(depth - 1)} {self.pick('&', '|', '^')} {self.condition(depth - 1)})"
        if kind == 1:
            return f"({self.condition(0)} == 0)"
        if kind == 2 and not self.plain:
            return f"ti.math.{self.pick('isnan', 'isinf')}({self.of(self.pick(*REALS), depth)})"
        a, b = self.pair(self.pick(*self.kinds), depth)
        return f"({a} {self.pick('<', '<=', '>', '>=', '==', '!=')} {b})"
