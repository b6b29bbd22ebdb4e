"""Translating the expressions of a kernel's text, and the places in memory that it names."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from diffsim.compiler.native.arithmetic import Arithmetic, Unsupported
from diffsim.compiler.native.assembly import Assembly
from diffsim.compiler.native.values import LLVM, SIZE, Number, literal

__all__ = ["OPERATORS", "Expressions", "Place", "called"]

OPERATORS: dict[type[ast.operator], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.Pow: "**",
    ast.BitAnd: "&",
    ast.BitOr: "|",
    ast.BitXor: "^",
    ast.LShift: "<<",
    ast.RShift: ">>",
}
_AFFINE: dict[type[ast.operator], str] = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul"}
_COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
}


@dataclass(frozen=True)
class Place:
    """An array that a kernel names.

    Attributes:
        dtype: The type of its elements.
        strides: How many elements apart neighbours along each axis are.
        length: Elements from the first to the last one.
        shared: Another name may stand for the same memory.
    """

    dtype: str
    strides: tuple[int, ...]
    length: int
    shared: bool = False


class Expressions:
    """The translation of expressions, of assignments to names, and of memory.

    Args:
        real: The type of float literals.
        places: The arrays that the text names.

    Attributes:
        code: What was translated so far.
    """

    def __init__(self, real: str, places: Mapping[str, Place]) -> None:
        self.code = Assembly()
        self._do = Arithmetic(self.code, real)
        self._real, self._places = real, places
        self._names: dict[str, tuple[str, str]] = {}  # the type of each name, and its variable
        self._expression: dict[type[ast.expr], Callable[..., Number]] = {
            ast.Constant: self._constant,
            ast.Name: self._name,
            ast.Subscript: self._load,
            ast.BinOp: self._binary,
            ast.UnaryOp: self._unary,
            ast.Compare: self._compare,
            ast.Call: self._function,
            ast.Attribute: self._attribute,
        }

    # ---- names ----

    def _set(self, name: str, value: Number) -> None:
        """Assign to a name, whose first value decides its type."""
        if name not in self._names:
            self._names[name] = value.dtype, self.code.variable(LLVM[value.dtype])
        dtype, variable = self._names[name]
        value = self._do.cast(value, dtype)
        self.code.line(f"store {LLVM[dtype]} {value.text}, ptr {variable}")

    def _get(self, name: str) -> Number:
        if name not in self._names:
            raise Unsupported(f"the name {name}")
        dtype, variable = self._names[name]
        return self.code.result(dtype, f"load {LLVM[dtype]}, ptr {variable}")

    # ---- places ----

    def _address(self, node: ast.Subscript) -> tuple[Place, str]:
        """Translate the indices of a place; return it and the register of the address."""
        name, items = self._named(node)
        place = self._places.get(name)
        if place is None:
            raise Unsupported(f"the place {name}")
        if len(items) != len(place.strides):
            raise Unsupported(f"{len(items)} indices of {name}")
        fixed, moving = 0, ""
        for item, stride in zip(items, place.strides, strict=True):
            index = self._index(item)
            if index.constant:
                fixed += int(index.text) * stride
            else:
                moving = self._offset(moving, index, stride)
        return place, self._pointer(name, place.dtype, fixed, moving)

    def _index(self, node: ast.expr) -> Number:
        """Translate an index to 64 bits.

        Sums and products are taken in 64 bits, where they do not overflow: so LLVM sees how far places are
        apart, which it could not where numbers of 32 bits wrap.
        """
        index, wide = self._widened(node)
        return index if wide else self._do.cast(self._do.cast(index, "i32"), "i64")

    def _widened(self, node: ast.expr) -> tuple[Number, bool]:
        """Translate a part of an index; tell whether it is a number of 32 bits, given in 64."""
        if not (isinstance(node, ast.BinOp) and type(node.op) in _AFFINE):
            value = self._value(node)
            return (self._do.cast(value, "i64"), True) if value.dtype == "i32" else (value, False)
        (a, wide), (b, other) = self._widened(node.left), self._widened(node.right)
        if wide and other:
            return self.code.result("i64", f"{_AFFINE[type(node.op)]} nsw i64 {a.text}, {b.text}"), True
        a, b = (self._do.cast(x, "i32") if w else x for x, w in ((a, wide), (b, other)))
        return self._do.binary(OPERATORS[type(node.op)], a, b), False

    def _named(self, node: ast.Subscript) -> tuple[str, list[ast.expr]]:
        """Return the name of a place and its indices; of a field of vectors, that of the component."""
        items = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if isinstance(node.value, ast.Name):
            none = len(items) == 1 and isinstance(items[0], ast.Constant) and items[0].value is None
            return node.value.id, [] if none else items
        if not isinstance(node.value, ast.Subscript):
            raise Unsupported(ast.unparse(node))
        name, indices = self._named(node.value)
        component = ".".join(str(ast.literal_eval(item)) for item in items)
        return f"{name}.{component}", indices

    def _offset(self, before: str, index: Number, stride: int) -> str:
        """Add an index, in elements, to an offset."""
        offset = index
        if stride != 1:
            offset = self.code.result("i64", f"mul nsw i64 {offset.text}, {stride}")
        return self.code.result("i64", f"add nsw i64 {before}, {offset.text}").text if before else offset.text

    def _pointer(self, name: str, dtype: str, fixed: int, moving: str) -> str:
        address = f"%{name}"
        for offset in (moving, str(fixed) if fixed else ""):
            if offset:
                step = f"getelementptr inbounds {_stored(dtype)}, ptr {address}, i64 {offset}"
                address = self.code.result("u64", step).text
        return address

    def _store(self, place: Place, address: str, value: Number) -> None:
        text = self._do.cast(value, place.dtype).text
        if place.dtype == "u1":
            text = self.code.result("u8", f"zext i1 {text} to i8").text
        self.code.line(f"store {_stored(place.dtype)} {text}, ptr {address}, align {SIZE[place.dtype]}")

    def _read(self, place: Place, address: str) -> Number:
        kind = _stored(place.dtype)
        loaded = self.code.result(place.dtype, f"load {kind}, ptr {address}, align {SIZE[place.dtype]}")
        return self.code.result("u1", f"trunc i8 {loaded.text} to i1") if place.dtype == "u1" else loaded

    # ---- expressions ----

    def _value(self, node: ast.expr) -> Number:
        translate = self._expression.get(type(node))
        if translate is None:
            raise Unsupported(ast.unparse(node))
        return translate(node)

    def _constant(self, node: ast.Constant) -> Number:
        value = node.value
        if isinstance(value, bool):
            return literal("u1", value)
        if isinstance(value, int | float):
            return literal(self._real if isinstance(value, float) else "i32", value)
        raise Unsupported(repr(value))

    def _attribute(self, node: ast.Attribute) -> Number:
        if node.attr in ("nan", "inf"):
            return literal(self._real, getattr(math, node.attr))
        raise Unsupported(ast.unparse(node))

    def _name(self, node: ast.Name) -> Number:
        return self._get(node.id)

    def _load(self, node: ast.Subscript) -> Number:
        return self._read(*self._address(node))

    def _binary(self, node: ast.BinOp) -> Number:
        a, b = self._value(node.left), self._value(node.right)
        return self._do.binary(OPERATORS[type(node.op)], a, b)

    def _unary(self, node: ast.UnaryOp) -> Number:
        a = self._value(node.operand)
        if isinstance(node.op, ast.USub):
            if a.constant and a.dtype == "i32":
                return literal("i32", -int(a.text))
            return self._do.negative(a)
        if isinstance(node.op, ast.Not):
            return self._do.compare("==", a, literal(a.dtype, 0))
        raise Unsupported(ast.unparse(node))

    def _compare(self, node: ast.Compare) -> Number:
        if len(node.ops) != 1:
            raise Unsupported(ast.unparse(node))
        a, b = self._value(node.left), self._value(node.comparators[0])
        return self._do.compare(_COMPARISONS[type(node.ops[0])], a, b)

    def _function(self, node: ast.Call) -> Number:
        name, do = called(node), self._do
        if name in ("cast", "bit_cast") and isinstance(node.args[1], ast.Attribute):
            return getattr(do, "bits" if name == "bit_cast" else name)(
                self._value(node.args[0]), node.args[1].attr
            )
        if name in SIZE:
            return self._typed(node.args[0], name)
        if name.startswith("atomic_"):
            return self._atomic(name.removeprefix("atomic_"), node)
        args = [self._value(a) for a in node.args]
        if name in ("min", "max"):
            found, *others = do.common(args)
            for other in others:
                found = do.extreme(name, found, other)
            return found
        if name == "select":
            a, b = args[1:] if args[1].dtype == args[2].dtype else do.common(args[1:])
            return do.select(do.cast(args[0], "u1"), a, b)
        if name in ("isnan", "isinf", "popcnt"):
            return getattr(do, name)(*args)
        return do.function(name, *args)

    def _typed(self, node: ast.expr, dtype: str) -> Number:
        """Translate a literal that is given with its type: it may be too large for 32 bits."""
        if isinstance(node, ast.Constant) and isinstance(node.value, int):
            return literal(dtype, node.value)
        return self._do.cast(self._value(node), dtype)

    def _atomic(self, name: str, node: ast.Call) -> Number:
        """Change a place and return what was there; threads do not meet there."""
        if not isinstance(node.args[0], ast.Subscript) or name not in ("add", "min", "max"):
            raise Unsupported(ast.unparse(node))
        value = self._value(node.args[1])
        place, address = self._address(node.args[0])
        before = self._read(place, address)
        value = self._do.cast(value, place.dtype)
        after = (
            self._do.binary("+", before, value) if name == "add" else self._do.extreme(name, before, value)
        )
        self._store(place, address, after)
        return before


def called(node: ast.Call) -> str:
    """Return the name of a function without its module."""
    function = node.func
    return function.attr if isinstance(function, ast.Attribute) else ast.unparse(function)


def _stored(dtype: str) -> str:
    """Return LLVM's type of a number in memory, where a condition takes a byte."""
    return "i8" if dtype == "u1" else LLVM[dtype]
