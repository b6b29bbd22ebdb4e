"""Numbers of the machine, alone or several in one register: their types, and what LLVM calls them."""

from __future__ import annotations

import math
import struct
from typing import NamedTuple

from diffsim.compiler.ir import is_float

__all__ = ["LLVM", "SIZE", "Number", "kind_of", "literal", "suffix_of"]

SIZE = {
    "u1": 1,
    "i8": 1,
    "u8": 1,
    "i16": 2,
    "u16": 2,
    "i32": 4,
    "u32": 4,
    "i64": 8,
    "u64": 8,
    "f32": 4,
    "f64": 8,
}
LLVM = {
    "u1": "i1",
    "i8": "i8",
    "u8": "i8",
    "i16": "i16",
    "u16": "i16",
    "i32": "i32",
    "u32": "i32",
    "i64": "i64",
    "u64": "i64",
    "f32": "float",
    "f64": "double",
}


class Number(NamedTuple):
    """A number that code computes, or one for each of several worlds.

    Attributes:
        dtype: Its type.
        text: What LLVM calls it: a register or a literal.
        width: How many there are of it, in one register.
    """

    dtype: str
    text: str
    width: int = 1

    @property
    def kind(self) -> str:
        """Return LLVM's type of it."""
        return kind_of(self.dtype, self.width)

    @property
    def constant(self) -> bool:
        """Tell whether it is a literal."""
        return not self.text.startswith("%")


def kind_of(dtype: str, width: int = 1) -> str:
    """Return LLVM's type of so many numbers."""
    return LLVM[dtype] if width == 1 else f"<{width} x {LLVM[dtype]}>"


def suffix_of(dtype: str, width: int = 1) -> str:
    """Return how LLVM ends the name of an intrinsic of such numbers."""
    one = dtype if is_float(dtype) else LLVM[dtype]
    return one if width == 1 else f"v{width}{one}"


def literal(dtype: str, value: float) -> Number:
    """Return a number known when code is made; an integer as its type holds it."""
    if is_float(dtype):
        if dtype == "f32" and math.isfinite(value):
            try:
                value = struct.unpack("f", struct.pack("f", value))[0]
            except OverflowError:
                value = math.copysign(math.inf, value)
        return Number(dtype, f"0x{int.from_bytes(struct.pack('>d', value), 'big'):016X}")
    if dtype == "u1":
        return Number(dtype, "true" if value else "false")
    bits = 8 * SIZE[dtype]
    low = -(1 << (bits - 1)) if dtype[0] == "i" else 0
    return Number(dtype, str((int(value) - low) % (1 << bits) + low))
