"""Writing the text of a function in LLVM's language, for scalars and for vectors alike.

No operation carries a flag that lets the compiler change it: what is compensated stays so. Products and sums
that may be contracted are written as `fmuladd`, which is one instruction where the processor has one.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["LAYOUT", "Layout", "Text", "Val", "type_of"]

_FLOATS = ("f32", "f64")
_TYPES = {"f32": "float", "f64": "double", "i64": "i64", "i1": "i1"}


@dataclass(frozen=True)
class Layout:
    """How a float is stored.

    Attributes:
        digits: Bits of the fraction that are stored.
        bias: Of the exponent.
    """

    digits: int
    bias: int

    @property
    def one(self) -> int:
        """The bits of 1."""
        return self.power(0)

    def power(self, exponent: int) -> int:
        """Return the bits of a power of two."""
        return (self.bias + exponent) << self.digits


LAYOUT = Layout(52, 1023)  # of f64


@dataclass(frozen=True)
class Val:
    """The result of an instruction, or an argument: its name, and the kind of its elements."""

    name: str
    kind: str


Operand = Val | float | int


def type_of(kind: str, width: int) -> str:
    """Return the type of a scalar, or of a vector of more than one."""
    return _TYPES[kind] if width == 1 else f"<{width} x {_TYPES[kind]}>"


def _suffix(kind: str, width: int) -> str:
    return kind if width == 1 else f"v{width}{kind}"


class Text:
    """The lines of one function.

    Args:
        kind: Of the argument and the result, `f32` or `f64`.
        width: Elements of a vector; 1 for a scalar.
    """

    def __init__(self, kind: str, width: int) -> None:
        self.kind, self.width = kind, width
        self.x = Val("%x", kind)
        self.lines: list[str] = []
        self.declares: dict[str, None] = {}
        self._count = 0

    # ---- operands ----

    def type(self, kind: str) -> str:
        """Return the type of values of a kind."""
        return type_of(kind, self.width)

    def constant(self, value: float, kind: str) -> str:
        """Return a literal, the same in every element."""
        if kind == "f32":
            value = struct.unpack("<f", struct.pack("<f", value))[0]
        if kind in _FLOATS:
            one = f"0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016X}"
        else:
            one = str(int(value))
        if self.width == 1:
            return one
        return f"<{', '.join([f'{_TYPES[kind]} {one}'] * self.width)}>"

    def text(self, operand: Operand, kind: str) -> str:
        """Return what an operand is called."""
        return operand.name if isinstance(operand, Val) else self.constant(operand, kind)

    def define(self, right: str, kind: str) -> Val:
        """Append an instruction with a result."""
        self._count += 1
        value = Val(f"%v{self._count}", kind)
        self.lines.append(f"  {value.name} = {right}")
        return value

    def binary(self, instruction: str, a: Operand, b: Operand) -> Val:
        """Append an instruction of two operands of one type."""
        kind = _kind(a, b)
        return self.define(
            f"{instruction} {self.type(kind)} {self.text(a, kind)}, {self.text(b, kind)}", kind
        )

    # ---- floats ----

    def add(self, a: Operand, b: Operand) -> Val:
        """Append a + b."""
        return self.binary("fadd", a, b)

    def sub(self, a: Operand, b: Operand) -> Val:
        """Append a - b."""
        return self.binary("fsub", a, b)

    def mul(self, a: Operand, b: Operand) -> Val:
        """Append a * b."""
        return self.binary("fmul", a, b)

    def div(self, a: Operand, b: Operand) -> Val:
        """Append a / b."""
        return self.binary("fdiv", a, b)

    def mad(self, a: Operand, b: Operand, c: Operand) -> Val:
        """Append a * b + c, rounded once or twice."""
        return self.call("llvm.fmuladd", a, b, c)

    def call(self, name: str, *args: Operand) -> Val:
        """Append a call of an intrinsic function of floats."""
        kind = _kind(*args)
        full, one = f"{name}.{_suffix(kind, self.width)}", self.type(kind)
        self.declares[f"declare {one} @{full}({', '.join([one] * len(args))})"] = None
        return self.define(
            f"call {one} @{full}({', '.join(f'{one} {self.text(a, kind)}' for a in args)})", kind
        )

    def polynomial(self, x: Val, coefficients: Sequence[float]) -> Val:
        """Append a polynomial, constant first, in pairs, so that few operations wait for others (Estrin)."""
        terms: list[Operand] = list(coefficients)
        power = x
        while len(terms) > 1:
            paired: list[Operand] = [
                self.mad(terms[k + 1], power, terms[k]) for k in range(0, len(terms) - 1, 2)
            ]
            terms = paired + terms[len(terms) & ~1 :]
            if len(terms) > 1:
                power = self.mul(power, power)
        assert isinstance(terms[0], Val)  # noqa: S101  (no polynomial here is a constant)
        return terms[0]

    # ---- comparisons, bits, conversions ----

    def compare(self, how: str, a: Val, b: Operand) -> Val:
        """Append a comparison of floats (`olt`, ...) or integers (`ult`, ...)."""
        instruction = "fcmp" if a.kind in _FLOATS else "icmp"
        right = f"{instruction} {how} {self.type(a.kind)} {a.name}, {self.text(b, a.kind)}"
        return self.define(right, "i1")

    def select(self, condition: Val, a: Operand, b: Operand, kind: str = "") -> Val:
        """Append the choice of a where the condition holds, of b elsewhere."""
        kind = kind or _kind(a, b)
        one = self.type(kind)
        both = f"{one} {self.text(a, kind)}, {one} {self.text(b, kind)}"
        return self.define(f"select {self.type('i1')} {condition.name}, {both}", kind)

    def bits(self, a: Val) -> Val:
        """Append the bits of a number of f64 as an integer."""
        return self.convert("bitcast", a, "i64")

    def number(self, a: Val) -> Val:
        """Append the number of f64 that has these bits."""
        return self.convert("bitcast", a, "f64")

    def widened(self, a: Val) -> Val:
        """Append a number in f64, where it is not."""
        return self.convert("fpext", a, "f64") if a.kind == "f32" else a

    def at_most(self, a: Val, limit: float) -> Val:
        """Append the smaller of two; what is no number stays none."""
        return self.select(self.compare("ogt", a, limit), limit, a)

    def at_least(self, a: Val, limit: float) -> Val:
        """Append the larger of two; what is no number stays none."""
        return self.select(self.compare("olt", a, limit), limit, a)

    def convert(self, instruction: str, a: Val, kind: str) -> Val:
        """Append a conversion to another kind."""
        return self.define(f"{instruction} {self.type(a.kind)} {a.name} to {self.type(kind)}", kind)

    # ---- the whole ----

    def replaced(self, value: Val, condition: Val, symbol: str) -> Val:
        """Append a branch that takes another function's result for x in the lanes where a condition holds."""
        one, some = self.type(self.kind), condition.name
        if self.width > 1:
            name, lanes = f"llvm.vector.reduce.or.v{self.width}i1", self.type("i1")
            self.declares[f"declare i1 @{name}({lanes})"] = None
            some = self.define(f"call i1 @{name}({lanes} {some})", "i1").name
        self.lines += ["  br label %near", "near:", f"  br i1 {some}, label %far, label %end", "far:"]
        other = self.define(f"call {one} @{symbol}({one} %x)", self.kind)
        mixed = self.select(condition, other, value)
        self.lines += ["  br label %end", "end:"]
        return self.define(f"phi {one} [ {value.name}, %near ], [ {mixed.name}, %far ]", self.kind)

    def one_by_one(self, name: str) -> Val:
        """Append a call of an intrinsic function for each lane of x."""
        one, all_lanes = type_of(self.kind, 1), self.type(self.kind)
        full = f"{name}.{self.kind}"
        self.declares[f"declare {one} @{full}({one})"] = None
        if self.width == 1:
            return self.define(f"call {one} @{full}({one} %x)", self.kind)
        result = Val("poison", self.kind)
        for lane in range(self.width):
            x = self.define(f"extractelement {all_lanes} %x, i32 {lane}", self.kind)
            y = self.define(f"call {one} @{full}({one} {x.name})", self.kind)
            right = f"insertelement {all_lanes} {result.name}, {one} {y.name}, i32 {lane}"
            result = self.define(right, self.kind)
        return result

    def function(self, symbol: str, result: Val, attributes: str, arguments: Sequence[str] = ("%x",)) -> str:
        """Return the definition of the function that these lines make."""
        one = self.type(self.kind)
        given = ", ".join(f"{one} {name}" for name in arguments)
        head = f"define internal {one} @{symbol}({given}) {attributes} {{"
        return "\n".join([head, *self.lines, f"  ret {one} {result.name}", "}", ""])


def _kind(*operands: Operand) -> str:
    return next(a.kind for a in operands if isinstance(a, Val))
