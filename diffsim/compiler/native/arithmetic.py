"""Arithmetic as Taichi defines it: promotions, integer division, conversions, functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce

from diffsim.compiler.builder import promote
from diffsim.compiler.ir import is_float
from diffsim.compiler.native.assembly import FLAGS, SUMS, Assembly
from diffsim.compiler.native.functions import function
from diffsim.compiler.native.functions.philox import philox
from diffsim.compiler.native.values import LLVM, SIZE, Number, kind_of, literal, suffix_of

__all__ = ["Arithmetic", "Unsupported"]

_FLOAT = {"+": "fadd", "-": "fsub", "*": "fmul", "/": "fdiv"}
_INTEGER = {"+": "add", "-": "sub", "*": "mul", "&": "and", "|": "or", "^": "xor", "<<": "shl"}
_ORDERED = {"<": "olt", "<=": "ole", ">": "ogt", ">=": "oge", "==": "oeq", "!=": "une"}
_WHOLE = {"<": "lt", "<=": "le", ">": "gt", ">=": "ge", "==": "eq", "!=": "ne"}
_INTRINSICS = {
    "sqrt": "sqrt",
    "floor": "floor",
    "ceil": "ceil",
    "round": "round",
    "abs": "fabs",
    "pow": "pow",
}
# What processors do for several numbers at once. LLVM knows identities between the others that hold for one
# number alone: of several, it takes `sin(x) / cos(x)` for a tangent of long doubles.
_IN_REGISTERS = ("sqrt", "floor", "ceil", "round", "abs")
_LIBRARY = ("asin", "acos", "atan2")
_VECTORS = {"f32": (8,), "f64": (4,)}  # that loops may be turned into
_MOST_FACTORS = 64  # exponents up to which a power is made of products here


class Unsupported(Exception):
    """The text has something that is not translated; its argument says what."""


class Arithmetic:
    """Append operations on numbers: on one each, or on one for each of several worlds.

    Args:
        code: Where to.
        real: The type of float literals, and of a quotient of integers.

    Attributes:
        active: Which of several worlds take part; None for all.
    """

    def __init__(self, code: Assembly, real: str) -> None:
        self.code, self.real = code, real
        self.active: Number | None = None
        self.looped = 0  # loops around over what may be done several at once

    # ---- one number for each of several worlds ----

    def wide(self, a: Number, width: int) -> Number:
        """Return a number for each of several worlds."""
        if a.width == width:
            return a
        kind = kind_of(a.dtype, width)
        if a.constant:
            return Number(a.dtype, f"<{', '.join([f'{a.kind} {a.text}'] * width)}>", width)
        first = self.code.result(
            a.dtype, f"insertelement {kind} poison, {LLVM[a.dtype]} {a.text}, i64 0", width
        )
        zeros = f"<{width} x i32> zeroinitializer"
        return self.code.result(a.dtype, f"shufflevector {kind} {first.text}, {kind} poison, {zeros}", width)

    def alike(self, *numbers: Number) -> tuple[Number, ...]:
        """Return as many of each number as there are of the widest."""
        width = max(a.width for a in numbers)
        return tuple(self.wide(a, width) for a in numbers)

    def lane(self, a: Number, k: int | str) -> Number:
        """Return the number of one world."""
        if a.width == 1:
            return a
        return self.code.result(a.dtype, f"extractelement {a.kind} {a.text}, i64 {k}")

    def each(self, compute: Callable[..., Number], *numbers: Number) -> Number:
        """Compute the number of each world by itself."""
        numbers = self.alike(*numbers)
        width = numbers[0].width
        if width == 1:
            return compute(*numbers)
        found = [compute(*(self.lane(a, k) for a in numbers)) for k in range(width)]
        kind, text = kind_of(found[0].dtype, width), "poison"
        for k, one in enumerate(found):
            text = self.code.result(
                one.dtype, f"insertelement {kind} {text}, {one.kind} {one.text}, i64 {k}"
            ).text
        return Number(found[0].dtype, text, width)

    def within(self, mask: Number | None, a: Number) -> Number:
        """Return a condition where a mask holds, else false; what is undefined elsewhere does not count."""
        if mask is None:
            return a
        a, mask = self.alike(a, mask)
        return self.code.result(
            "u1", f"select {mask.kind} {mask.text}, {a.kind} {a.text}, {a.kind} zeroinitializer", a.width
        )

    def kept(self, a: Number, instead: float) -> Number:
        """Return a number where worlds take part, and a harmless one elsewhere."""
        if self.active is None or a.width == 1:
            return a
        return self.select(self.active, a, literal(a.dtype, instead))

    def any(self, mask: Number) -> Number:
        """Tell whether a condition holds for any world."""
        if mask.width == 1:
            return mask
        self.code.declare(f"i1 @llvm.vector.reduce.or.v{mask.width}i1({mask.kind})")
        return self.code.result(
            "u1", f"call i1 @llvm.vector.reduce.or.v{mask.width}i1({mask.kind} {mask.text})"
        )

    def total(self, a: Number) -> Number:
        """Add up the numbers of all worlds, always in the same order; those that take no part count zero."""
        a = self.kept(a, 0)
        lanes = [self.lane(a, k) for k in range(a.width)]
        while len(lanes) > 1:
            half, left = len(lanes) // 2, lanes[len(lanes) // 2 * 2 :]
            pairs = zip(lanes[:half], lanes[half : 2 * half], strict=True)
            lanes = [self.binary("+", x, y) for x, y in pairs] + left
        return lanes[0]

    # ---- conversions ----

    def cast(self, a: Number, dtype: str) -> Number:
        """Convert to another type; to a condition by comparing with zero."""
        old = a.dtype
        if old == dtype:
            return a
        if dtype == "u1":
            return self.compare("!=", a, literal(old, 0))
        if a.constant and a.width == 1 and not is_float(old) and old != "u1":
            return literal(dtype, int(a.text))
        if SIZE[old] == SIZE[dtype] and not is_float(old) and not is_float(dtype) and old != "u1":
            return Number(dtype, a.text, a.width)
        if is_float(old) and not is_float(dtype):
            return self._whole(a, dtype)
        kind = kind_of(dtype, a.width)
        return self.code.result(dtype, f"{_conversion(old, dtype)} {a.kind} {a.text} to {kind}", a.width)

    def _whole(self, a: Number, dtype: str) -> Number:
        """Convert a float to an integer, rounded toward zero.

        What does not fit, or is NaN, becomes some number, always the same: LLVM would let each use of it see
        another, and a check of an index then says nothing of the index. Narrow and unsigned types wrap.
        """
        wide = "i64" if dtype in ("u32", "u64", "i64") else "i32"
        made = self._rounded("fptosi", a, wide)
        if dtype != "u64":
            return self.cast(made, dtype)
        small = self.compare("<", a, literal(a.dtype, 2.0**63))
        return self.select(small, made._replace(dtype=dtype), self._rounded("fptoui", a, dtype))

    def _rounded(self, conversion: str, a: Number, dtype: str) -> Number:
        kind = kind_of(dtype, a.width)
        made = self.code.result(dtype, f"{conversion} {a.kind} {a.text} to {kind}", a.width)
        return self.code.result(dtype, f"freeze {kind} {made.text}", a.width)

    def bits(self, a: Number, dtype: str) -> Number:
        """Take the bits of a number for one of another type."""
        return self.code.result(dtype, f"bitcast {a.kind} {a.text} to {kind_of(dtype, a.width)}", a.width)

    def common(self, numbers: Sequence[Number]) -> list[Number]:
        """Promote numbers to one type, and to one for each world where any of them is."""
        dtype = reduce(promote, (a.dtype for a in numbers))
        return list(self.alike(*(self.cast(a, dtype) for a in numbers)))

    # ---- operators ----

    def binary(self, op: str, a: Number, b: Number) -> Number:
        """Apply an operator of Python's with a result of the operands' common type."""
        if op in ("&", "|", "^") and a.dtype == b.dtype == "u1":
            return self._plain(_INTEGER[op], *self.alike(a, b))
        if op == "**":
            return self.power(a, b)
        dtype = promote(a.dtype, b.dtype)
        if op == "/" and not is_float(dtype):
            dtype = self.real
        a, b = self.common([self.cast(a, dtype), self.cast(b, dtype)])
        if is_float(dtype):
            return self._float(op, a, b)
        if op in ("//", "%"):
            return self._whole_division(op, a, b)
        if op in ("<<", ">>"):  # the machine counts modulo the bits of a number, and LLVM not at all beyond
            b = self._plain("and", b, literal(dtype, 8 * SIZE[dtype] - 1))
        if op == ">>":
            return self._plain("ashr" if dtype[0] == "i" else "lshr", a, b)
        if op not in _INTEGER:
            raise Unsupported(f"{op} of {dtype}")
        return self._plain(_INTEGER[op], a, b)

    def carried(self, a: Number, b: Number) -> Number:
        """Add to what a loop carries, whose parts may be added up in any order."""
        dtype = promote(a.dtype, b.dtype)
        if not is_float(dtype):
            return self.binary("+", a, b)
        return self._plain(f"fadd {SUMS}", self.cast(a, dtype), self.cast(b, dtype))

    def exact(self, op: str, a: Number, b: Number) -> Number:
        """Apply an operator to integers whose result is known to fit."""
        return self._plain(f"{_INTEGER[op]} nsw", a, b)

    def _plain(self, instruction: str, a: Number, b: Number) -> Number:
        a, b = self.alike(a, b)
        return self.code.result(a.dtype, f"{instruction} {a.kind} {a.text}, {b.text}", a.width)

    def _float(self, op: str, a: Number, b: Number) -> Number:
        if op in _FLOAT:
            return self._plain(f"{_FLOAT[op]} {FLAGS}", a, b)
        if op not in ("//", "%"):
            raise Unsupported(f"{op} of {a.dtype}")
        whole = self.function("floor", self._plain(f"fdiv {FLAGS}", a, b))
        if op == "//":
            return whole
        return self._float("-", a, self._float("*", b, whole))

    def _whole_division(self, op: str, a: Number, b: Number) -> Number:
        """Divide integers as Python does: the quotient is rounded down, the remainder has b's sign."""
        b = b if b.constant else self.kept(b, 1)  # a division by zero ends the process
        if a.dtype[0] == "u":
            return self._plain("udiv" if op == "//" else "urem", a, b)
        zero = literal(a.dtype, 0)
        rest = self._plain("srem", a, b)
        unlike = self.compare("<", self._plain("xor", rest, b), zero)
        off = self.binary("&", unlike, self.compare("!=", rest, zero))
        if op == "%":
            return self.select(off, self._plain("add", rest, b), rest)
        quotient = self._plain("sdiv", a, b)
        return self.select(off, self._plain("sub", quotient, literal(a.dtype, 1)), quotient)

    def compare(self, op: str, a: Number, b: Number) -> Number:
        """Compare numbers; with NaN all is false but `!=`."""
        a, b = self.common([a, b])
        dtype = a.dtype
        if is_float(dtype):
            return self.code.result("u1", f"fcmp {_ORDERED[op]} {a.kind} {a.text}, {b.text}", a.width)
        sign = "" if op in ("==", "!=") else "s" if dtype[0] == "i" else "u"
        return self.code.result("u1", f"icmp {sign}{_WHOLE[op]} {a.kind} {a.text}, {b.text}", a.width)

    def negative(self, a: Number) -> Number:
        """Return -a."""
        if is_float(a.dtype):
            return self.code.result(a.dtype, f"fneg {FLAGS} {a.kind} {a.text}", a.width)
        a = self.cast(a, promote(a.dtype, "i8"))
        return self._plain("sub", literal(a.dtype, 0), a)

    def select(self, condition: Number, a: Number, b: Number) -> Number:
        """Return a where the condition holds, else b."""
        width = max(condition.width, a.width, b.width)
        a, b = self.wide(a, width), self.wide(b, width)
        text = f"select {condition.kind} {condition.text}, {a.kind} {a.text}, {b.kind} {b.text}"
        return self.code.result(a.dtype, text, width)

    def extreme(self, name: str, a: Number, b: Number) -> Number:
        """Return the larger (`max`) or the smaller number (`min`) of one type; NaN where one is."""
        a, b = self.alike(a, b)
        if is_float(a.dtype):
            return self.code.call(a.dtype, f"llvm.{name}imum.{suffix_of(a.dtype, a.width)}", a, b)
        return self.select(self.compare({"min": "<", "max": ">"}[name], a, b), a, b)

    # ---- functions ----

    def function(self, name: str, *args: Number) -> Number:
        """Apply a function of reals by its name in Taichi; `abs` of integers too."""
        a, *_ = args = tuple(self.common(args))
        if not is_float(a.dtype):
            if name == "abs":
                return self.select(self.compare("<", a, literal(a.dtype, 0)), self.negative(a), a)
            args = tuple(self.cast(b, self.real) for b in args)
        dtype = args[0].dtype
        if name == "rsqrt":
            return self._float("/", literal(dtype, 1.0), self.function("sqrt", *args))
        made = function(name, dtype, args[0].width, _VECTORS[dtype] if self.looped else ())
        if made is not None:
            self.code.include(made)
            return self.code.call(dtype, made.symbol, *args, flags=False)
        if name in _INTRINSICS:
            full = f"llvm.{_INTRINSICS[name]}"
            if name in _IN_REGISTERS:
                return self.code.call(dtype, f"{full}.{suffix_of(dtype, args[0].width)}", *args)
            return self.each(lambda *one: self.code.call(dtype, f"{full}.{dtype}", *one), *args)
        if name in _LIBRARY:
            full = name + ("f" if dtype == "f32" else "")
            return self.each(lambda *one: self.code.call(dtype, full, *one, outside=True), *args)
        raise Unsupported(name)

    def isnan(self, a: Number) -> Number:
        """Tell whether a number is NaN."""
        return self.code.result("u1", f"fcmp uno {a.kind} {a.text}, {a.text}", a.width)

    def isinf(self, a: Number) -> Number:
        """Tell whether a number is infinite."""
        size = self.code.call(a.dtype, f"llvm.fabs.{suffix_of(a.dtype, a.width)}", a, flags=False)
        infinity = self.wide(literal(a.dtype, float("inf")), a.width)
        return self.code.result("u1", f"fcmp oeq {a.kind} {size.text}, {infinity.text}", a.width)

    def popcnt(self, a: Number) -> Number:
        """Count the bits of an integer that are set."""
        name = f"llvm.ctpop.{suffix_of(a.dtype, a.width)}"
        return self.cast(self.code.call(a.dtype, name, a, flags=False), "i32")

    def philox(self, half: int, *words: Number) -> Number:
        """Return random bits of counters and a key: two words of the four that are made."""
        words = self.alike(*(self.cast(a, "u32") for a in words))
        symbol, text = philox(half, words[0].width)
        self.code.definitions[symbol] = text
        return self.code.call("u64", symbol, *words, flags=False)

    def power(self, a: Number, b: Number) -> Number:
        """Raise a number to a power."""
        if not is_float(b.dtype) and b.constant and abs(int(b.text)) <= _MOST_FACTORS:
            exponent = int(b.text)
            if exponent < 0:
                a = a if is_float(a.dtype) else self.cast(a, self.real)
                return self._float("/", literal(a.dtype, 1.0), self._product(a, -exponent))
            return self._product(a, exponent)
        dtype = promote(a.dtype, b.dtype)
        a, b = self.cast(a, dtype), self.cast(b, dtype)
        if is_float(dtype):
            return self.function("pow", a, b)
        kind = LLVM[dtype]
        self.code.definitions[f"ds.pow.{kind}"] = _WHOLE_POWER.format(kind=kind)
        return self.each(lambda *one: self.code.call(dtype, f"ds.pow.{kind}", *one, flags=False), a, b)

    def _product(self, a: Number, count: int) -> Number:
        """Multiply `count` factors by squaring."""
        found: Number | None = None
        while count:
            if count % 2:
                found = a if found is None else self.binary("*", found, a)
            count //= 2
            if count:
                a = self.binary("*", a, a)
        return literal(a.dtype, 1) if found is None else found


def _conversion(old: str, new: str) -> str:
    """Return the instruction that converts a number, of a float to a float."""
    if is_float(old) and is_float(new):
        return "fpext" if new == "f64" else "fptrunc"
    if is_float(new):
        return "sitofp" if old[0] == "i" else "uitofp"
    if SIZE[old] > SIZE[new] and old != "u1":
        return "trunc"
    return "zext" if old[0] == "u" else "sext"


# as Taichi's: exponents below zero count as zero
_WHOLE_POWER = """define internal {kind} @ds.pow.{kind}({kind} %base, {kind} %exponent) #2 {{
entry:
  %any = icmp sgt {kind} %exponent, 0
  br i1 %any, label %more, label %end
more:
  %b = phi {kind} [ %base, %entry ], [ %squared, %more ]
  %n = phi {kind} [ %exponent, %entry ], [ %half, %more ]
  %so_far = phi {kind} [ 1, %entry ], [ %next, %more ]
  %odd = trunc {kind} %n to i1
  %with = mul {kind} %so_far, %b
  %next = select i1 %odd, {kind} %with, {kind} %so_far
  %squared = mul {kind} %b, %b
  %half = lshr {kind} %n, 1
  %again = icmp ne {kind} %half, 0
  br i1 %again, label %more, label %end
end:
  %found = phi {kind} [ 1, %entry ], [ %next, %more ]
  ret {kind} %found
}}
"""
