"""Numbers as Taichi has them: every operator and conversion, of values in memory and of literals."""

import math
import re

import numpy as np
import pytest
from fuzz import machine
from fuzz.machine import by_taichi, run

from diffsim.compiler.builder import promote
from diffsim.compiler.native import arithmetic, values
from diffsim.compiler.native.arithmetic import Arithmetic
from diffsim.compiler.native.values import Number

pytestmark = pytest.mark.native

NAN, INF = math.nan, math.inf
LOW, HIGH = -(2**31), 2**31 - 1

# An expression, the type of its value, and the value. `{-7:i32}` is a number in memory, and once a literal.
COMMON = [
    # division rounds down, and the remainder has the divisor's sign
    ("{-7:i32} // {2:i32}", "i32", -4),
    ("{7:i32} // {-2:i32}", "i32", -4),
    ("{-7:i32} // {-2:i32}", "i32", 3),
    ("{6:i32} // {-3:i32}", "i32", -2),
    ("{-7:i32} % {2:i32}", "i32", 1),
    ("{7:i32} % {-2:i32}", "i32", -1),
    ("{-6:i32} % {3:i32}", "i32", 0),
    ("{-7:i64} // {2:i32}", "i64", -4),
    ("{4000000000:u32} // {3:u32}", "u32", 1333333333),
    ("{4000000000:u32} % {7:u32}", "u32", 4000000000 % 7),
    ("{-7.5:f64} // {2.0:f64}", "f64", -4.0),
    ("{-7.5:f64} % {2.0:f64}", "f64", 0.5),
    # integers wrap
    (f"{{{HIGH}:i32}} + {{1:i32}}", "i32", LOW),
    (f"({{{HIGH}:i32}} + {{1:i32}}) // {{3:i32}}", "i32", LOW // 3),
    ("({7:i32} * {1103515245:i32} + {12345:i32}) // {3:i32}", "i32", -288438511),
    ("({1500000000:i32} * 2) // 2", "i32", -647483648),
    (f"-{{{LOW}:i32}}", "i32", LOW),
    (f"ti.abs({{{LOW}:i32}})", "i32", LOW),
    ("{1:u32} - {2:u32}", "u32", 2**32 - 1),
    # promotions
    ("{-1:i32} * {3:u32}", "u32", 2**32 - 3),
    ("{-1:i32} * {4294967295:u32}", "u32", 1),
    ("ti.cast({-1:i32} < {1:u32}, ti.i32)", "i32", 0),
    ("ti.cast({-1:i32} < {1:i64}, ti.i32)", "i32", 1),
    ("{-1:i32} * {4294967295:i64}", "i64", -4294967295),
    ("{3:i32} / {2:i32}", "f64", 1.5),
    ("{1:i32} / {3.0:f32}", "f32", np.float32(1) / np.float32(3)),
    ("{16777217:i32} * {1.0:f32}", "f32", 16777216.0),
    ("{0.1:f32} + {0.2:f64}", "f64", float(np.float32(0.1)) + 0.2),
    # bits
    ("{-8:i32} >> {1:i32}", "i32", -4),
    ("{4294967288:u32} >> {1:u32}", "u32", 2147483644),
    ("{1:i32} << {31:i32}", "i32", LOW),
    ("{12:i32} & {10:i32}", "i32", 8),
    ("{12:i32} | {-5:i32}", "i32", -1),
    ("{12:i32} ^ {10:i32}", "i32", 6),
    ("ti.math.popcnt({-1:i32})", "i32", 32),
    ("ti.math.popcnt({40:i32})", "i32", 2),
    ("ti.bit_cast({1.0:f32}, ti.i32)", "i32", 0x3F800000),
    # conversions
    ("ti.cast({-3.7:f64}, ti.i32)", "i32", -3),
    ("ti.cast({3.7:f32}, ti.i64)", "i64", 3),
    ("ti.cast({-1:i32}, ti.u32)", "u32", 2**32 - 1),
    ("ti.cast(ti.cast({-3:i32}, ti.u32), ti.f64)", "f64", 4294967293.0),
    ("ti.cast({4294967295:u32}, ti.i32)", "i32", -1),
    ("ti.cast({-1:i32}, ti.i64)", "i64", -1),
    ("ti.cast({4294967295:u32}, ti.f64)", "f64", 4294967295.0),
    ("ti.cast({5000000000:i64}, ti.i32)", "i32", 705032704),
    ("ti.cast({300:i32}, ti.u8)", "i32", 44),
    ("ti.cast(ti.cast({300:i32}, ti.u8), ti.i64)", "i64", 44),
    ("ti.cast({0.1:f64}, ti.f32)", "f32", np.float32(0.1)),
    # powers
    ("{-2.0:f64} ** 3", "f64", -8.0),
    ("{-2.0:f64} ** (-2)", "f64", 0.25),
    ("{2.0:f64} ** {0.5:f64}", "f64", math.sqrt(2.0)),
    ("{-3:i32} ** 3", "i32", -27),
    ("{3:i32} ** {13:i32}", "i32", 3**13),
    ("{7:i64} ** 0", "i64", 1),
    # the rest
    ("ti.max({-1:i32}, {1:u32})", "u32", 2**32 - 1),
    ("ti.min({-1:i32}, {1:i32})", "i32", -1),
    ("ti.max({-1.5:f64}, {2:i32}, {0.5:f64})", "f64", 2.0),
    ("ti.select({1:i32} > {0:i32}, {1.5:f64}, {2:i32})", "f64", 1.5),
    ("ti.floor({-1.5:f64})", "f64", -2.0),
    ("ti.ceil({-1.5:f64})", "f64", -1.0),
    ("ti.round({-1.6:f64})", "f64", -2.0),
    ("ti.rsqrt({4.0:f64})", "f64", 0.5),
    ("ti.atan2({1.0:f64}, {-1.0:f64})", "f64", math.atan2(1.0, -1.0)),
    ("ti.sqrt({4:i32})", "f64", 2.0),
    ("-{2.5:f32}", "f32", -2.5),
]
# What Taichi leaves open, refuses, or gets wrong with the fast math that it is run with; narrow integers
OURS = [
    ("{1:i32} << {33:i32}", "i32", 2),
    ("{-8:i64} >> {65:i64}", "i64", -4),
    ("{200:u8} + {100:u8}", "u8", 44),
    ("{100:i8} + {100:i8}", "i8", -56),
    ("{200:u8} + {-1:i8}", "u8", 199),
    ("{-1:i16} // {2:u8}", "i16", -1),
    ("{-1:i8} * {3:u16}", "u16", 65533),
    ("ti.math.popcnt({-1:i8})", "i32", 8),
    ("ti.math.popcnt({-1:i64})", "i32", 64),
    ("ti.cast({-1.0:f64}, ti.u32)", "u32", 2**32 - 1),
    ("ti.cast({300.0:f64}, ti.u8)", "u8", 44),
    ("ti.cast({1e19:f64}, ti.u64)", "u64", 10**19),
    ("ti.cast({0.5:f64}, ti.u1)", "u8", 1),
    ("ti.cast({nan:f64}, ti.u1)", "u8", 1),
    ("{200:u8} ** 2", "u8", 64),
    ("ti.abs({200:u8})", "u8", 200),
    ("ti.max({nan:f64}, {1.0:f64})", "f64", NAN),
    ("ti.max({1.0:f64}, {nan:f64})", "f64", NAN),
    ("ti.min({nan:f32}, {1.0:f32})", "f32", NAN),
    ("ti.min({1.0:f64}, {nan:f64}, {2.0:f64})", "f64", NAN),
    ("ti.max({-inf:f64}, {inf:f64})", "f64", INF),
    ("ti.cast(ti.math.isnan({nan:f64}), ti.i32)", "i32", 1),
    ("ti.cast(ti.math.isnan({inf:f64} - {inf:f64}), ti.i32)", "i32", 1),
    ("ti.cast(ti.math.isinf({-inf:f32}), ti.i32)", "i32", 1),
    ("ti.cast(ti.math.isinf({nan:f32}), ti.i32)", "i32", 0),
    ("ti.cast({nan:f64} == {nan:f64}, ti.i32)", "i32", 0),
    ("ti.cast({nan:f64} != {nan:f64}, ti.i32)", "i32", 1),
    ("ti.cast({nan:f64} <= {1.0:f64}, ti.i32)", "i32", 0),
    ("{nan:f64} * 0.0", "f64", NAN),
    ("{inf:f64} - {inf:f64}", "f64", NAN),
    ("{0.0:f64} / {0.0:f64}", "f64", NAN),
    ("{1e-300:f64} * 1e300 * 1e300", "f64", 1e300),
    ("{0.0:f64} * 1e300 * 1e300", "f64", 0.0),
    ("{1e-30:f32} * ti.cast(1e30, ti.f32) * ti.cast(1e30, ti.f32)", "f32", 1e30),
    ("{1e300:f64} * 1e300 * 1e-300", "f64", INF),
    ("{3e-4:f64} / 1e300 / 1e300", "f64", 0.0),
]
TOKEN = re.compile(r"\{(-?[\w.-]+):(\w+)\}")


def literal(number, kind):
    if number.lstrip("-") in ("nan", "inf"):
        text = f"ti.math.{number.lstrip('-')}"
        text = f"(-{text})" if number[0] == "-" else text
    elif kind[0] != "f" and not LOW < int(number) <= HIGH:
        return f"ti.{kind}({number})"
    else:
        text = f"({number})" if number[0] == "-" else number
    return f"ti.cast({text}, ti.{kind})"


def written(rows, literals):
    """Return a text that stores the value of each row, its arrays, and where each value is."""
    inputs, outputs, lines, places = {}, {}, [], []
    for expression, kind, _ in rows:

        def given(found):
            number, own = found.groups()
            if literals:
                return literal(number, own)
            numbers = inputs.setdefault(own, [])
            numbers.append(float(number) if own[0] == "f" else int(number))
            return f"a_{own}[0, {len(numbers) - 1}]"

        text = TOKEN.sub(given, expression)
        outputs[kind] = outputs.get(kind, 0) + 1
        places.append((kind, outputs[kind] - 1))
        lines.append(f"    o_{kind}[0, {outputs[kind] - 1}] = {text}")
    dtype = machine.NUMPY
    arrays = {f"a_{k}": np.array([v], dtype[k]) for k, v in inputs.items()}
    arrays |= {f"o_{k}": np.zeros((1, n), dtype[k]) for k, n in outputs.items()}
    return "def kernel(n: ti.i32, t: ti.i32):\n" + "\n".join(lines) + "\n", arrays, places


def wrong(rows, left, places):
    """List the rows whose value is not what it must be."""
    found = []
    for (expression, kind, wanted), (_, k) in zip(rows, places, strict=True):
        got = left[f"o_{kind}"][0, k].item()
        near = 1e-15 if kind == "f64" else 1e-7 if kind == "f32" else 0
        if got != pytest.approx(wanted, rel=near, abs=0, nan_ok=True):
            found.append(f"{expression} is {got!r}, not {wanted!r}")
    return found


def values_of(rows, literals, level=1):
    source, arrays, places = written(rows, literals)
    return wrong(rows, run(source, arrays, level=level), places)


@pytest.mark.parametrize("level", [0, 2])
@pytest.mark.parametrize("literals", [False, True], ids=["memory", "literals"])
def test_values(literals, level):
    assert not values_of(COMMON + OURS, literals, level)


@pytest.mark.cpu
def test_values_are_taichis(runtime):
    source, arrays, places = written(COMMON, literals=False)
    assert not wrong(COMMON, by_taichi(f"{source}", arrays), places)


def unwrapped(dtype, value):
    whole = dtype[0] in "iu" and dtype != "u1"
    return Number(dtype, str(int(value))) if whole else values.literal(dtype, value)


def toward_zero(self, op, a, b):
    return self._plain({"//": "sdiv", "%": "srem"}[op] if a.dtype[0] == "i" else "udiv", a, b)


def signed(a, b):
    """Promote two types that are as wide to the signed one."""
    common = promote(a, b)
    return "i" + common[1:] if {a[0], b[0]} == {"i", "u"} and a[1:] == b[1:] else common


def first_kept(self, name, a, b):
    first = self.code.result("u1", f"fcmp u{'gt' if name == 'max' else 'lt'} double {a.text}, {b.text}")
    return self.select(first, a, b)


def not_wrapping(self, instruction, a, b):
    kind = values.LLVM[a.dtype]
    flag = " nsw" if instruction in ("add", "sub", "mul") and a.dtype[0] == "i" else ""
    return self.code.result(a.dtype, f"{instruction}{flag} {kind} {a.text}, {b.text}")


FAULTS = {
    "rounding of //": (Arithmetic, "_whole_division", toward_zero, "//", "memory"),
    "promotion": (arithmetic, "promote", signed, r":u8\} \+ |:i32\} \* .*:u32|< .*:u32", "memory"),
    "NaN in min and max": (Arithmetic, "extreme", first_kept, r"ti.m(ax|in)\(", "memory"),
    "literals that do not wrap": (arithmetic, "literal", unwrapped, r"300:i32\}, ti.u8", "literals"),
    "overflow as undefined": (Arithmetic, "_plain", not_wrapping, r"\) // 2", "memory"),
    "products in another order": (arithmetic, "FLAGS", "reassoc nsz contract", r"\* 1e300", "memory"),
    "fast math": (arithmetic, "FLAGS", "fast", "nan|inf", "memory"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(monkeypatch, fault):
    owner, name, change, where, how = FAULTS[fault]
    monkeypatch.setattr(owner, name, change)
    rows = [row for row in COMMON + OURS if re.search(where, row[0])]
    if fault == "NaN in min and max":
        rows = [row for row in rows if row[1] == "f64"]
    assert rows
    assert values_of(rows, how == "literals", level=2)
