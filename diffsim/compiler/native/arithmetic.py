"""Arithmetic as Taichi defines it: promotions, integer division, conversions, functions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from diffsim.compiler.builder import promote
from diffsim.compiler.ir import is_float
from diffsim.compiler.native.assembly import FLAGS, SUMS, Assembly
from diffsim.compiler.native.values import LLVM, SIZE, Number, literal

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
    "sin": "sin",
    "cos": "cos",
    "exp": "exp",
    "log": "log",
}
_LIBRARY = ("tan", "tanh", "asin", "acos", "atan2")
_MOST_FACTORS = 64  # exponents up to which a power is made of products here


class Unsupported(Exception):
    """The text has something that is not translated; its argument says what."""


class Arithmetic:
    """Append operations on numbers.

    Args:
        code: Where to.
        real: The type of float literals, and of a quotient of integers.
    """

    def __init__(self, code: Assembly, real: str) -> None:
        self.code, self.real = code, real

    # ---- conversions ----

    def cast(self, a: Number, dtype: str) -> Number:
        """Convert to another type; to a condition by comparing with zero."""
        old = a.dtype
        if old == dtype:
            return a
        if dtype == "u1":
            return self.compare("!=", a, literal(old, 0))
        if a.constant and not is_float(old) and old != "u1":
            return literal(dtype, int(a.text))
        if SIZE[old] == SIZE[dtype] and not is_float(old) and not is_float(dtype) and old != "u1":
            return Number(dtype, a.text)
        if is_float(old) and not is_float(dtype):
            return self._whole(a, dtype)
        return self.code.result(dtype, f"{_conversion(old, dtype)} {LLVM[old]} {a.text} to {LLVM[dtype]}")

    def _whole(self, a: Number, dtype: str) -> Number:
        """Convert a float to an integer, rounded toward zero.

        What does not fit, or is NaN, becomes some number, always the same: LLVM would let each use of it see
        another, and a check of an index then says nothing of the index. Narrow and unsigned types wrap.
        """
        wide = "i64" if dtype in ("u32", "u64", "i64") else "i32"
        made = self.code.result(wide, f"fptosi {LLVM[a.dtype]} {a.text} to {LLVM[wide]}")
        made = self.code.result(wide, f"freeze {LLVM[wide]} {made.text}")
        if dtype != "u64":
            return self.cast(made, dtype)
        large = self.code.result(dtype, f"fptoui {LLVM[a.dtype]} {a.text} to i64")
        large = self.code.result(dtype, f"freeze i64 {large.text}")
        return self.select(self.compare("<", a, literal(a.dtype, 2.0**63)), Number(dtype, made.text), large)

    def bits(self, a: Number, dtype: str) -> Number:
        """Take the bits of a number for one of another type."""
        return self.code.result(dtype, f"bitcast {LLVM[a.dtype]} {a.text} to {LLVM[dtype]}")

    def common(self, numbers: Sequence[Number]) -> list[Number]:
        """Promote numbers to one type."""
        dtype = reduce(promote, (a.dtype for a in numbers))
        return [self.cast(a, dtype) for a in numbers]

    # ---- operators ----

    def binary(self, op: str, a: Number, b: Number) -> Number:
        """Apply an operator of Python's with a result of the operands' common type."""
        if op in ("&", "|", "^") and a.dtype == b.dtype == "u1":
            return self.code.result("u1", f"{_INTEGER[op]} i1 {a.text}, {b.text}")
        if op == "**":
            return self.power(a, b)
        dtype = promote(a.dtype, b.dtype)
        if op == "/" and not is_float(dtype):
            dtype = self.real
        a, b = self.cast(a, dtype), self.cast(b, dtype)
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

    def _plain(self, instruction: str, a: Number, b: Number) -> Number:
        return self.code.result(a.dtype, f"{instruction} {LLVM[a.dtype]} {a.text}, {b.text}")

    def _float(self, op: str, a: Number, b: Number) -> Number:
        if op in _FLOAT:
            return self._plain(f"{_FLOAT[op]} {SUMS if op in '+-' else FLAGS}", a, b)
        if op not in ("//", "%"):
            raise Unsupported(f"{op} of {a.dtype}")
        whole = self.function("floor", self._plain(f"fdiv {FLAGS}", a, b))
        if op == "//":
            return whole
        return self._float("-", a, self._float("*", b, whole))

    def _whole_division(self, op: str, a: Number, b: Number) -> Number:
        """Divide integers as Python does: the quotient is rounded down, the remainder has b's sign."""
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
            return self.code.result("u1", f"fcmp {_ORDERED[op]} {LLVM[dtype]} {a.text}, {b.text}")
        sign = "" if op in ("==", "!=") else "s" if dtype[0] == "i" else "u"
        return self.code.result("u1", f"icmp {sign}{_WHOLE[op]} {LLVM[dtype]} {a.text}, {b.text}")

    def negative(self, a: Number) -> Number:
        """Return -a."""
        if is_float(a.dtype):
            return self.code.result(a.dtype, f"fneg {FLAGS} {LLVM[a.dtype]} {a.text}")
        a = self.cast(a, promote(a.dtype, "i8"))
        return self._plain("sub", literal(a.dtype, 0), a)

    def select(self, condition: Number, a: Number, b: Number) -> Number:
        """Return a where the condition holds, else b."""
        kind = LLVM[a.dtype]
        return self.code.result(a.dtype, f"select i1 {condition.text}, {kind} {a.text}, {kind} {b.text}")

    def extreme(self, name: str, a: Number, b: Number) -> Number:
        """Return the larger (`max`) or the smaller number (`min`) of one type; NaN where one is."""
        if is_float(a.dtype):
            return self.code.call(a.dtype, f"llvm.{name}imum.{a.dtype}", a, b)
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
        if name in _INTRINSICS:
            return self.code.call(dtype, f"llvm.{_INTRINSICS[name]}.{dtype}", *args)
        if name in _LIBRARY:
            return self.code.call(dtype, name + ("f" if dtype == "f32" else ""), *args, outside=True)
        raise Unsupported(name)

    def isnan(self, a: Number) -> Number:
        """Tell whether a number is NaN."""
        return self.code.result("u1", f"fcmp uno {LLVM[a.dtype]} {a.text}, {a.text}")

    def isinf(self, a: Number) -> Number:
        """Tell whether a number is infinite."""
        size = self.code.call(a.dtype, f"llvm.fabs.{a.dtype}", a, flags=False)
        return self.code.result(
            "u1", f"fcmp oeq {LLVM[a.dtype]} {size.text}, {literal(a.dtype, float('inf')).text}"
        )

    def popcnt(self, a: Number) -> Number:
        """Count the bits of an integer that are set."""
        kind = LLVM[a.dtype]
        return self.cast(self.code.call(a.dtype, f"llvm.ctpop.{kind}", a, flags=False), "i32")

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
        return self.code.call(dtype, f"ds.pow.{kind}", a, b, flags=False)

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
