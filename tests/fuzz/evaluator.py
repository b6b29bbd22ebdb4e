"""A second reading of printed kernels: numbers of exact types, with bounds of what rounding may change.

It shares nothing with the translation to machine code but the words of Python. Integers wrap as their types
do. A float carries how far another order of additions, fused products and another library of functions may
take it; what then hangs on the last bits (a comparison of equals, the floor of a whole number) raises
`Unsure`, and what overflows is not compared.
"""

from __future__ import annotations

import ast
import math
import operator
import struct
from typing import Any, NamedTuple

__all__ = ["Number", "Reading", "Unsure", "wrapped"]

_ORDER = ("u1", "i8", "u8", "i16", "u16", "i32", "u32", "i64", "u64", "f32", "f64")
_UNIT = {"f64": 2.0**-52, "f32": 2.0**-23}
_TINY = {"f64": 1e-300, "f32": 1e-36}
_HUGE = {"f64": 1e300, "f32": 1e37}
_COMPARE = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_MATHS = {
    "sqrt": math.sqrt,
    "rsqrt": lambda a: 1.0 / math.sqrt(a),
    "sin": math.sin,
    "cos": math.cos,
    "tan": math.tan,
    "tanh": math.tanh,
    "exp": math.exp,
    "log": math.log,
    "asin": math.asin,
    "acos": math.acos,
    "abs": abs,
}
_STEPS = {
    "floor": math.floor,
    "ceil": math.ceil,
    "round": lambda a: math.copysign(math.floor(abs(a) + 0.5), a),
}


class Unsure(Exception):
    """What comes next hangs on how a number was rounded."""


class Number(NamedTuple):
    """A scalar.

    Attributes:
        dtype: Its type.
        value: An integer, or a float.
        error: How far a float may be off; infinite where nothing is known, -1 where it is not finite.
    """

    dtype: str
    value: Any
    error: float = 0.0

    @property
    def finite(self) -> bool:
        """Whether it is a finite number, and certainly so."""
        return not isinstance(self.value, float) or (0 <= self.error < math.inf and math.isfinite(self.value))


def wrapped(value: int, dtype: str) -> int:
    """Return an integer as its type holds it."""
    if dtype == "u1":
        return int(bool(value))
    bits = int(dtype[1:])
    low = -(1 << (bits - 1)) if dtype[0] == "i" else 0
    return (value - low) % (1 << bits) + low


def promoted(*kinds: str) -> str:
    """Return the type of arithmetic on numbers."""
    largest = max(kinds, key=_ORDER.index)
    return "i32" if largest == "u1" else largest


def _rounded(value: float, dtype: str) -> float:
    if dtype == "f64" or not math.isfinite(value):
        return value
    try:
        return float(struct.unpack("f", struct.pack("f", value))[0])
    except OverflowError:
        return math.copysign(math.inf, value)


class Reading:
    """Run the text of a kernel.

    Args:
        real: The type of float literals.
        arrays: The places: the type of each, and its numbers by their indices.

    Attributes:
        special: It met a number that is not finite.
    """

    def __init__(self, real: str, arrays: dict[str, tuple[str, dict[tuple[int, ...], Number]]]) -> None:
        self.real, self.arrays = real, arrays
        self.names: dict[str, Number] = {}
        self.special = False

    def run(self, source: str, **arguments: int) -> None:
        """Run a text with its arguments."""
        [function] = ast.parse(source).body
        assert isinstance(function, ast.FunctionDef)
        self.names = {name: Number("i32", value) for name, value in arguments.items()}
        self.block(function.body)

    # ---- statements ----

    def block(self, nodes: list[ast.stmt]) -> None:
        for node in nodes:
            getattr(self, f"_{type(node).__name__.lower()}")(node)

    def _pass(self, node: ast.Pass) -> None:
        pass

    def _expr(self, node: ast.Expr) -> None:
        self.value(node.value)

    def _assign(self, node: ast.Assign) -> None:
        [target] = node.targets
        self.put(target, self.value(node.value))

    def _augassign(self, node: ast.AugAssign) -> None:
        value = self.value(node.value)
        self.put(node.target, self.binary(node.op, self.value(node.target), value))

    def put(self, target: ast.expr, value: Number) -> None:
        if isinstance(target, ast.Name):
            old = self.names.get(target.id)
            self.names[target.id] = value if old is None else self.cast(value, old.dtype)
            return
        assert isinstance(target, ast.Subscript)
        dtype, numbers, key = self.place(target)
        numbers[key] = self.cast(value, dtype)

    def _if(self, node: ast.If) -> None:
        self.block(node.body if self.truth(self.value(node.test)) else node.orelse)

    def _for(self, node: ast.For) -> None:
        call = node.iter
        assert isinstance(call, ast.Call)
        targets = node.target.elts if isinstance(node.target, ast.Tuple) else [node.target]
        if ast.unparse(call.func) == "range":
            spans = [self.span(call.args)]
        else:
            spans = [self.span(a.elts if isinstance(a, ast.Tuple) else [a]) for a in call.args]
        self._nest([t.id for t in targets if isinstance(t, ast.Name)], spans, node.body)

    def _nest(self, names: list[str], spans: list[range], body: list[ast.stmt]) -> None:
        if not names:
            self.block(body)
            return
        for k in spans[0]:
            self.names[names[0]] = Number("i32", k)
            self._nest(names[1:], spans[1:], body)

    def span(self, args: list[ast.expr]) -> range:
        return range(*(self.cast(self.value(a), "i32").value for a in args))

    # ---- places ----

    def place(self, node: ast.Subscript) -> tuple[str, dict[tuple[int, ...], Number], tuple[int, ...]]:
        items = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        assert isinstance(node.value, ast.Name)
        dtype, numbers = self.arrays[node.value.id]
        key = tuple(self.cast(self.value(item), "i32").value for item in items)
        assert key in numbers, f"{ast.unparse(node)} is {node.value.id}{list(key)}"
        return dtype, numbers, key

    # ---- expressions ----

    def value(self, node: ast.expr) -> Number:
        found = self._value(node)
        self.special |= not found.finite
        return found

    def _value(self, node: ast.expr) -> Number:
        if isinstance(node, ast.Constant):
            if isinstance(node.value, float):
                return Number(self.real, _rounded(node.value, self.real))
            return Number("i32", node.value)
        if isinstance(node, ast.Attribute):
            return Number(self.real, getattr(math, node.attr))
        if isinstance(node, ast.Name):
            return self.names[node.id]
        if isinstance(node, ast.Subscript):
            _, numbers, key = self.place(node)
            return numbers[key]
        if isinstance(node, ast.BinOp):
            return self.binary(node.op, self.value(node.left), self.value(node.right))
        if isinstance(node, ast.Compare):
            return self.compare(node.ops[0], self.value(node.left), self.value(node.comparators[0]))
        if isinstance(node, ast.UnaryOp):
            a = self.value(node.operand)
            if isinstance(node.op, ast.Not):
                return Number("u1", int(not self.truth(a)))
            dtype = promoted(a.dtype, "i8")
            return a._replace(value=-a.value) if dtype[0] == "f" else Number(dtype, wrapped(-a.value, dtype))
        assert isinstance(node, ast.Call)
        return self.call(ast.unparse(node.func).rpartition(".")[2], node.args)

    def truth(self, a: Number) -> bool:
        zero = Number(a.dtype, 0.0 if a.dtype[0] == "f" else 0)
        return bool(self.compare(ast.NotEq(), a, zero).value)

    def cast(self, a: Number, dtype: str) -> Number:
        if a.dtype == dtype:
            return a
        if dtype == "u1":
            return Number("u1", int(self.truth(a)))
        if dtype[0] != "f" and a.dtype[0] != "f":
            return Number(dtype, wrapped(a.value, dtype))
        if dtype[0] != "f":
            if not a.finite or math.floor(a.value - a.error) != math.floor(a.value + a.error):
                raise Unsure
            whole = int(a.value)
            if wrapped(whole, dtype) != whole or math.isinf(a.error):
                raise Unsure  # of a float that does not fit, processors make what they like
            return Number(dtype, whole)
        if not a.finite:
            return Number(dtype, a.value, a.error)
        value = _rounded(float(a.value), dtype)
        return self.settled(dtype, value, a.error + _UNIT[dtype] * abs(value), [a])

    def settled(self, dtype: str, value: float, error: float, args: list[Number]) -> Number:
        """Return a float that was computed."""
        value = _rounded(value, dtype)
        if all(a.finite for a in args):
            known = abs(value) + error < _HUGE[dtype]
            return Number(dtype, value, error if known else math.inf)
        if any(a.dtype[0] == "f" and math.isinf(a.error) for a in args):
            return Number(dtype, value, math.inf)
        if not math.isfinite(value):
            return Number(dtype, math.nan, -1.0)
        vague = any(a.error < 0 for a in args)
        return Number(dtype, value, math.inf if vague else error)

    def binary(self, op: ast.operator, a: Number, b: Number) -> Number:
        if isinstance(op, ast.Pow):
            return self.power(a, b)
        dtype = (
            "u1" if isinstance(op, ast.BitAnd | ast.BitOr | ast.BitXor) and a.dtype == b.dtype == "u1" else ""
        )
        dtype = dtype or promoted(a.dtype, b.dtype)
        if isinstance(op, ast.Div) and dtype[0] != "f":
            dtype = self.real
        a, b = self.cast(a, dtype), self.cast(b, dtype)
        if dtype[0] == "f":
            return self.real_binary(op, a, b)
        x, y = a.value, b.value
        found = {
            ast.Add: lambda: x + y,
            ast.Sub: lambda: x - y,
            ast.Mult: lambda: x * y,
            ast.FloorDiv: lambda: x // y,
            ast.Mod: lambda: x % y,
            ast.BitAnd: lambda: x & y,
            ast.BitOr: lambda: x | y,
            ast.BitXor: lambda: x ^ y,
            ast.LShift: lambda: x << (y % int(dtype[1:])),
            ast.RShift: lambda: x >> (y % int(dtype[1:])),
        }[type(op)]()
        return Number(dtype, wrapped(found, dtype))

    def real_binary(self, op: ast.operator, a: Number, b: Number) -> Number:
        dtype, (x, y), unit = a.dtype, (a.value, b.value), 4 * _UNIT[a.dtype]
        ea, eb = max(a.error, 0.0), max(b.error, 0.0)
        if isinstance(op, ast.Add | ast.Sub):
            value = x + y if isinstance(op, ast.Add) else x - y
            if not a.finite and not b.finite:  # x - (x - y) may be taken for y
                return Number(dtype, math.nan, math.inf)
            return self.settled(dtype, value, ea + eb + unit * (abs(x) + abs(y)), [a, b])
        if isinstance(op, ast.Mult):
            error = abs(x) * eb + abs(y) * ea + ea * eb + unit * abs(x * y) + _TINY[dtype]
            return self.settled(dtype, x * y, error if math.isfinite(x * y) else 0.0, [a, b])
        if isinstance(op, ast.Div):
            if y == 0.0 and a.finite and b.finite and eb == 0.0:  # a sign of zero says nothing
                return Number(dtype, math.nan, -1.0)
            if abs(y) <= eb or y == 0.0 or b.error < 0:
                return Number(dtype, math.nan, math.inf)
            value = x / y
            error = (ea + abs(value) * eb) / (abs(y) - eb) + unit * abs(value) + _TINY[dtype]
            return self.settled(dtype, value, error if math.isfinite(value) else 0.0, [a, b])
        whole = self.call_reals("floor", [self.real_binary(ast.Div(), a, b)])
        if isinstance(op, ast.FloorDiv):
            return whole
        return self.real_binary(ast.Sub(), a, self.real_binary(ast.Mult(), b, whole))

    def power(self, a: Number, b: Number) -> Number:
        if b.dtype[0] != "f" and a.dtype[0] == "f":  # the generator writes literals only
            found = Number(a.dtype, 1.0)
            for _ in range(abs(b.value)):
                found = self.real_binary(ast.Mult(), found, a)
            return self.real_binary(ast.Div(), Number(a.dtype, 1.0), found) if b.value < 0 else found
        dtype = promoted(a.dtype, b.dtype)
        if dtype[0] != "f":
            if b.value < 0:
                return self.power(self.cast(a, self.real), b)
            return Number(dtype, wrapped(self.cast(a, dtype).value ** b.value, dtype))
        return self.call_reals("pow", [self.cast(a, dtype), self.cast(b, dtype)])

    def compare(self, op: ast.cmpop, a: Number, b: Number) -> Number:
        dtype = promoted(a.dtype, b.dtype)
        a, b = self.cast(a, dtype), self.cast(b, dtype)
        if dtype[0] == "f":
            if a.error < 0 or b.error < 0 or math.isinf(a.error + b.error):
                raise Unsure
            if a.finite and b.finite and 0 < a.error + b.error >= abs(a.value - b.value):
                raise Unsure
        return Number("u1", int(_COMPARE[type(op)](a.value, b.value)))

    # ---- functions ----

    def call(self, name: str, nodes: list[ast.expr]) -> Number:
        if name == "cast":
            assert isinstance(nodes[1], ast.Attribute)
            return self.cast(self.value(nodes[0]), nodes[1].attr)
        if name in _ORDER:
            literal = nodes[0]
            if isinstance(literal, ast.Constant) and isinstance(literal.value, int):
                return Number(name, wrapped(literal.value, name))
            return self.cast(self.value(literal), name)
        if name.startswith("atomic_"):
            return self.atomic(name.removeprefix("atomic_"), nodes)
        args = [self.value(node) for node in nodes]
        if name == "select":
            a, b = args[1:]
            dtype = a.dtype if a.dtype == b.dtype else promoted(a.dtype, b.dtype)
            return self.cast(a if self.truth(args[0]) else b, dtype)
        if name in ("min", "max"):
            dtype = promoted(*(a.dtype for a in args)) if len({a.dtype for a in args}) > 1 else args[0].dtype
            return self.extreme(name, [self.cast(a, dtype) for a in args])
        if name in ("isnan", "isinf"):
            if args[0].error < 0 or math.isinf(args[0].error):
                raise Unsure
            return Number("u1", int(getattr(math, name)(args[0].value)))
        if name == "popcnt":
            bits = int(args[0].dtype[1:])
            return Number("i32", (args[0].value % (1 << bits)).bit_count())
        dtype = promoted(*(a.dtype for a in args))
        if dtype[0] != "f" and name == "abs":
            return Number(dtype, wrapped(abs(args[0].value), dtype))
        dtype = dtype if dtype[0] == "f" else self.real
        return self.call_reals(name, [self.cast(a, dtype) for a in args])

    def extreme(self, name: str, args: list[Number]) -> Number:
        """Return the largest or the smallest; NaN where one is."""
        if args[0].dtype[0] != "f":
            return max(args) if name == "max" else min(args)
        found = args[0]
        for other in args[1:]:
            pair = [found, other]
            if any(a.error < 0 or math.isinf(a.error) for a in pair):
                found = Number(found.dtype, math.nan, math.inf)
            elif any(math.isnan(a.value) for a in pair):
                found = Number(found.dtype, math.nan)
            else:
                pick = max if name == "max" else min
                best = pick(pair, key=lambda a: a.value)
                found = best._replace(error=max(a.error for a in pair)) if best.finite else best
        return found

    def call_reals(self, name: str, args: list[Number]) -> Number:
        a, dtype = args[0], args[0].dtype
        if not all(b.finite for b in args):
            return Number(dtype, math.nan, math.inf)
        if name in _STEPS:
            near = {_STEPS[name](a.value + s * a.error) for s in (-1, 0, 1)}
            if len(near) > 1:
                raise Unsure
            return Number(dtype, float(near.pop()))
        function = {"pow": math.pow, "atan2": math.atan2}.get(name) or _MATHS[name]
        try:
            value = float(function(*(b.value for b in args)))
            around = [
                float(function(*(b.value + s * b.error if k == j else b.value for j, b in enumerate(args))))
                for k in range(len(args))
                for s in (-1, 1)
            ]
        except (ValueError, OverflowError, ZeroDivisionError):
            return Number(dtype, math.nan, math.inf)
        spread = 2 * len(args) * max(abs(v - value) for v in around)
        return self.settled(dtype, value, spread + 8 * _UNIT[dtype] * abs(value) + _TINY[dtype], args)

    def atomic(self, name: str, nodes: list[ast.expr]) -> Number:
        assert isinstance(nodes[0], ast.Subscript)
        value = self.value(nodes[1])
        dtype, numbers, key = self.place(nodes[0])
        before, value = numbers[key], self.cast(value, dtype)
        after = (
            self.binary(ast.Add(), before, value) if name == "add" else self.extreme(name, [before, value])
        )
        numbers[key] = self.cast(after, dtype)
        return before
