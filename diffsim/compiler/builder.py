"""Building the intermediate form: constants folded, repeated work shared, types as Taichi promotes them."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from diffsim.compiler.ir import (
    Accumulate,
    Block,
    Const,
    For,
    If,
    Let,
    Load,
    Location,
    Op,
    Operand,
    Ref,
    Store,
    Value,
    is_float,
)

__all__ = ["COMPARISONS", "Builder", "common_type", "promote"]

COMPARISONS = ("lt", "le", "gt", "ge", "eq", "ne")
_READ_ONLY = ("param", "control", "constant", "external", "key")
BITWISE = ("bit_and", "bit_or", "bit_xor", "shl", "shr")
_RESULTS = {"isnan": "u1", "isinf": "u1", "popcnt": "i32", "philox0": "u64", "philox1": "u64"}
_SMALL = ("i8", "u8", "i16", "u16")
_RANK = {
    "u1": 0,
    "i8": 1,
    "u8": 2,
    "i16": 3,
    "u16": 4,
    "i32": 5,
    "u32": 6,
    "i64": 7,
    "u64": 8,
    "f32": 9,
    "f64": 10,
}

_FOLD: dict[str, Callable[..., Any]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "floordiv": lambda a, b: a // b,
    "mod": lambda a, b: a % b,
    "pow": lambda a, b: a**b,
    "neg": lambda a: -a,
    "min": min,
    "max": max,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "and": lambda a, b: bool(a) and bool(b),
    "or": lambda a, b: bool(a) or bool(b),
    "not": lambda a: not a,
    "bit_and": lambda a, b: a & b,
    "bit_or": lambda a, b: a | b,
    "bit_xor": lambda a, b: a ^ b,
    "shl": lambda a, b: a << b,
    "shr": lambda a, b: a >> b,
    "abs": abs,
}


def promote(a: str, b: str) -> str:
    """Return the type of arithmetic on two scalar types: the larger; two booleans make an integer."""
    larger = a if _RANK[a] >= _RANK[b] else b
    return "i32" if larger == "u1" else larger


def common_type(a: str, b: str) -> str:
    """Return the type that holds values of two scalar types; unlike `promote`, two booleans stay booleans."""
    return a if a == b else promote(a, b)


class Builder:
    """Append operations to nested blocks.

    Args:
        real: The type of float literals, `f32` or `f64`.
    """

    def __init__(self, real: str) -> None:
        self.real = real
        self.where: Location | None = None
        self.count = 0
        self._blocks: list[Block] = [Block()]
        self._pure: list[dict[Any, Value]] = [{}]
        self._loads: list[dict[Ref, Operand]] = [{}]
        self._barriers = [0]

    @property
    def block(self) -> Block:
        """The block that operations are appended to."""
        return self._blocks[-1]

    @contextlib.contextmanager
    def inside(self, block: Block, loop: bool = False) -> Iterator[Block]:
        """Append to `block` while active; in a loop, only what no step writes is still known from outside."""
        self._blocks.append(block)
        self._pure.append({})
        self._loads.append({})
        self._barriers.append(len(self._loads) - 1 if loop else self._barriers[-1])
        try:
            yield block
        finally:
            self._blocks.pop()
            self._pure.pop()
            self._loads.pop()
            self._barriers.pop()

    def append(self, op: Op) -> None:
        """Append an operation as it is."""
        self.block.ops.append(op)
        self.count += 1

    # ---- values ----

    def const(self, value: Any, dtype: str | None = None) -> Const:
        """Return a literal: integers are i32, floats are of the working precision, unless told otherwise."""
        if dtype is None:
            dtype = "u1" if isinstance(value, bool) else "i32" if isinstance(value, int) else self.real
        if is_float(dtype):
            return Const(float(value) if dtype == self.real else _held(float(value), dtype), dtype)
        return Const(bool(value) if dtype == "u1" else _held(int(value), dtype), dtype)

    def cast(self, a: Operand, dtype: str) -> Operand:
        """Convert to another scalar type."""
        if a.dtype == dtype:
            return a
        if dtype == "u1":  # Taichi's own cast of a float to a condition ends the process
            return self.truth(a)
        if isinstance(a, Const) and _finite(a.value):
            return self.const(a.value if is_float(dtype) else int(a.value), dtype)
        return self._let(f"cast_{dtype}", (a,), dtype)

    def op(self, fn: str, *args: Operand) -> Operand:
        """Apply a scalar function, with Taichi's promotions.

        Raises:
            ValueError: A float is given to what works on bits.
        """
        if fn in BITWISE and any(is_float(a.dtype) for a in args):
            raise ValueError("bits are those of integers, got a float")
        if fn in ("and", "or", "not"):
            return self._simplified(fn, tuple(self.truth(a) for a in args), "u1")
        if fn in COMPARISONS:
            common = promote(args[0].dtype, args[1].dtype)
            return self._simplified(fn, tuple(self.cast(a, common) for a in args), "u1")
        if fn == "select":
            return self._select(*args)
        if fn in _RESULTS:
            return self._simplified(fn, args, _RESULTS[fn])
        common = args[0].dtype
        for a in args[1:] if fn not in ("shl", "shr") or common == "u1" else ():  # shifts keep the type
            common = promote(common, a.dtype)
        wide = "i32" if common in _SMALL else "i64" if fn == "pow" and common in ("u32", "u64") else None
        if wide is not None and fn not in _REAL_ONLY:  # some of Taichi's operations on these end the process
            return self.cast(self.op(fn, *(self.cast(a, wide) for a in args)), common)
        if fn == "pow":
            return self._pow(args[0], args[1], common)
        if fn in _REAL_ONLY and not is_float(common):
            common = self.real
        if common == "u1" and fn not in ("bit_and", "bit_or", "bit_xor"):
            common = "i32"
        return self._simplified(fn, tuple(self.cast(a, common) for a in args), common)

    def truth(self, a: Operand) -> Operand:
        """Turn a number into a condition, true where it is not zero."""
        if a.dtype == "u1":
            return a
        return self.op("ne", a, self.const(0, a.dtype))

    def _pow(self, base: Operand, exponent: Operand, common: str) -> Operand:
        if isinstance(exponent, Const) and not is_float(exponent.dtype):
            if exponent.value < 0 and not is_float(base.dtype):
                base = self.cast(base, self.real)
            if exponent.value == 0:
                return self.const(1, base.dtype)
            if exponent.value == 1:
                return base
            return self._simplified("powi", (base, exponent), base.dtype)
        return self._simplified("pow", (self.cast(base, common), self.cast(exponent, common)), common)

    def _select(self, cond: Operand, a: Operand, b: Operand) -> Operand:
        common = common_type(a.dtype, b.dtype)
        cond, a, b = self.truth(cond), self.cast(a, common), self.cast(b, common)
        if isinstance(cond, Const):
            return a if cond.value else b
        if a == b:
            return a
        return self._let("select", (cond, a, b), common)

    def _simplified(self, fn: str, args: tuple[Operand, ...], dtype: str) -> Operand:
        if fn in _FOLD and all(isinstance(a, Const) for a in args):
            folded = _fold(fn, [a.value for a in args])  # type: ignore[union-attr]
            if folded is not None:
                return self.const(folded, dtype)
        same = _identity(fn, args)
        return self._let(fn, args, dtype) if same is None else same

    def _let(self, fn: str, args: tuple[Operand, ...], dtype: str) -> Value:
        key = (fn, args, dtype)
        for known in reversed(self._pure):
            if key in known:
                return known[key]
        result = Value(dtype)
        self.append(Let(result, fn, args, self.where))
        self._pure[-1][key] = result
        return result

    # ---- memory ----

    def load(self, ref: Ref, changed: bool = False) -> Operand:
        """Read memory; what was read or stored at the same place before in this block is used again."""
        first = 0 if ref.buffer.kind in _READ_ONLY else self._barriers[-1]
        for known in reversed(self._loads[first:]):
            if ref in known:
                return known[ref]
        result = Value(ref.buffer.dtype)
        self.append(Load(result, ref, self.where, changed=changed))
        self._loads[-1][ref] = result
        return result

    def store(self, ref: Ref, value: Operand) -> None:
        """Overwrite memory."""
        value = self.cast(value, ref.buffer.dtype)
        self.append(Store(ref, value, self.where))
        self.forget(ref)
        self._loads[-1][ref] = value

    def accumulate(self, ref: Ref, value: Operand) -> None:
        """Add to memory."""
        self.append(Accumulate(ref, self.cast(value, ref.buffer.dtype), self.where))
        self.forget(ref)

    def forget(self, ref: Ref) -> None:
        """Drop what is known of memory that a write at `ref` may have changed."""
        for known in self._loads:
            for other in [r for r in known if r.buffer is ref.buffer and r.time == ref.time]:
                if not _distinct(other, ref):
                    del known[other]

    # ---- control ----

    def branch(self, cond: Operand, then: Block, orelse: Block) -> list[Value]:
        """Append an `If` whose blocks yield as many values each, and return its results."""
        results = [Value(value.dtype) for value in then.yields]
        self.append(If(cond, then, orelse, results))
        return results

    def loop(self, op: For) -> list[Value]:
        """Append a loop and return its results; its `results` are made to fit its parameters."""
        op.results = [Value(param.dtype) for param in op.params]
        self.append(op)
        return op.results


_REAL_ONLY = (
    "div",
    "sqrt",
    "rsqrt",
    "sin",
    "cos",
    "tan",
    "asin",
    "acos",
    "atan2",
    "tanh",
    "exp",
    "log",
    "floor",
    "ceil",
    "round",
)


def _held(value: Any, dtype: str) -> Any:
    """Return what a scalar type makes of a number: floats are rounded, integers wrap."""
    if is_float(dtype):
        with np.errstate(over="ignore"):
            return float(np.float32(value) if dtype == "f32" else value)
    bits = int(dtype[1:])
    low = -(1 << (bits - 1)) if dtype[0] == "i" else 0
    return (value - low) % (1 << bits) + low


def _finite(value: Any) -> bool:
    return isinstance(value, bool | int) or math.isfinite(value)


def _fold(fn: str, values: list[Any]) -> Any:
    try:
        folded = _FOLD[fn](*values)
    except (ArithmeticError, ValueError):
        return None
    return None if isinstance(folded, complex) else folded


def _identity(fn: str, args: tuple[Operand, ...]) -> Operand | None:
    """Return the operand that an operation leaves unchanged, where it does whatever the other value is."""
    if len(args) != 2:
        return None
    a, b = args
    if fn in ("mul", "div") and isinstance(b, Const) and b.value == 1:
        return a
    if fn == "mul" and isinstance(a, Const) and a.value == 1:
        return b
    if fn in ("add", "sub") and isinstance(b, Const) and b.value == 0:
        return a
    if fn == "add" and isinstance(a, Const) and a.value == 0:
        return b
    if fn in ("and", "or"):
        for one, other in ((a, b), (b, a)):
            if isinstance(one, Const):
                return other if bool(one.value) == (fn == "and") else one
    return None


def _distinct(a: Ref, b: Ref) -> bool:
    """Tell whether two places in a buffer certainly differ: another component or another literal index."""
    if a.component != b.component:
        return True
    return any(
        isinstance(i, Const) and isinstance(j, Const) and i != j
        for i, j in zip(a.indices, b.indices, strict=True)
    )
