"""Translating the expressions of a kernel's text, and the places in memory that it names."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

from diffsim.compiler.ir import is_float
from diffsim.compiler.native.arithmetic import Arithmetic, Unsupported
from diffsim.compiler.native.assembly import Assembly
from diffsim.compiler.native.memory import Memory, Place, Row, Spot, lanes_of
from diffsim.compiler.native.values import LLVM, SIZE, Number, kind_of, literal

__all__ = ["FIRST", "OPERATORS", "Expressions", "called"]

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
_AFFINE = (ast.Add, ast.Sub, ast.Mult)
_COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
}


FIRST = "first world"  # of a register; no name of a text


class _Variable(NamedTuple):
    """What a name stands for.

    Attributes:
        dtype: The type of its numbers.
        width: How many: one for each world where it varies.
        address: The register of its address.
        mask: What it is declared under: only a branch inside that leaves some worlds out.
    """

    dtype: str
    width: int
    address: str
    mask: Number | None


class Expressions:
    """The translation of expressions, of assignments to names, and of memory.

    Args:
        code: What is translated goes there.
        real: The type of float literals.
        places: The arrays that the text names.
        shared: Several threads run it at the same time.
    """

    def __init__(self, code: Assembly, real: str, places: Mapping[str, Place], shared: bool = False) -> None:
        self.code = code
        self._do = Arithmetic(self.code, real)
        self._real, self._places = real, places
        self._memory = Memory(self._do)
        self._names: dict[str, _Variable] = {}
        self._lane = ""  # counts worlds, in a loop over them
        self._varying: set[str] = set()
        self._met = shared
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
        """Assign to a name, whose first value decides its type; in a branch for some worlds, to theirs."""
        if name not in self._names:
            width = self._width if name in self._varying else value.width
            kind = kind_of(value.dtype, width)
            self._names[name] = _Variable(value.dtype, width, self.code.variable(kind), self._memory.mask)
        variable = self._names[name]
        mask = self._memory.mask
        some = mask is not None and mask is not variable.mask
        if value.width > variable.width or (some and variable.width == 1):
            raise Unsupported(f"a number for each world in {name}")
        value = self._do.wide(self._do.cast(value, variable.dtype), variable.width)
        if mask is not None and some:
            value = self._do.select(mask, value, self._get(name))
        self.code.line(f"store {value.kind} {value.text}, ptr {variable.address}")

    def _get(self, name: str) -> Number:
        if name not in self._names:
            raise Unsupported(f"the name {name}")
        variable = self._names[name]
        kind = kind_of(variable.dtype, variable.width)
        return self.code.result(variable.dtype, f"load {kind}, ptr {variable.address}", variable.width)

    # ---- places ----

    @property
    def _width(self) -> int:
        return self._memory.width

    def _spot(self, node: ast.Subscript) -> Spot:
        """Translate the indices of a place; return where it is."""
        name, items = self._named(node)
        place = self._places.get(name)
        if place is None:
            raise Unsupported(f"the place {name}")
        if len(items) != len(place.strides):
            raise Unsupported(f"{len(items)} indices of {name}")
        indices: list[Number | Row] = []
        for axis, item in enumerate(items):
            row = self._row(item) if axis == place.axis else None
            indices.append(self._index(item) if row is None else row)
        return self._memory.spot(name, place, indices)

    def _row(self, node: ast.expr) -> Row | None:
        """Translate an index that counts the worlds of a register, or returns None where it is none.

        Such are `w`, `w % 8`, and either behind `something * 8 +`.
        """
        match node:
            case ast.BinOp(ast.BinOp(_, ast.Mult(), ast.Constant(int(n))) as first, ast.Add(), right):
                inner = self._row(right) if n % self._width == 0 else None
                if inner is None or any(self._varies(name) for name in ast.walk(first)):
                    return None
                start = self._do.binary("+", self._do.cast(self._value(first), "i32"), inner.start)
                return Row(start, inner.shared)
            case ast.BinOp(ast.Name(name), ast.Mod(), ast.Constant(int(n))) if n == self._width:
                return Row(literal("i32", 0), True) if name == self._lane else None
            case ast.Name(name) if name == self._lane:
                return Row(self._get(FIRST))
        return None

    def _varies(self, node: ast.AST) -> bool:
        return isinstance(node, ast.Name) and node.id in self._varying

    def _index(self, node: ast.expr) -> Number:
        """Translate an index to 64 bits.

        Sums and products are taken in 64 bits, where they do not overflow: so LLVM sees how far places are
        apart, which it could not where numbers of 32 bits wrap.
        """
        index, wide = self._widened(node)
        return index if wide else self._do.cast(self._do.cast(index, "i32"), "i64")

    def _widened(self, node: ast.expr) -> tuple[Number, bool]:
        """Translate a part of an index; tell whether it is a number of 32 bits, given in 64."""
        if not (isinstance(node, ast.BinOp) and isinstance(node.op, _AFFINE)):
            value = self._value(node)
            return (self._do.cast(value, "i64"), True) if value.dtype == "i32" else (value, False)
        (a, wide), (b, other) = self._widened(node.left), self._widened(node.right)
        if wide and other:
            return self._do.exact(OPERATORS[type(node.op)], a, b), True
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
        if node.id == self._lane:
            return self._do.binary("+", self._get(FIRST), lanes_of("i32", self._width))
        return self._get(node.id)

    def _load(self, node: ast.Subscript) -> Number:
        return self._memory.read(self._spot(node))

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
            convert = do.bits if name == "bit_cast" else do.cast
            return convert(self._value(node.args[0]), node.args[1].attr)
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
            a, b = do.common(args[1:])
            return do.select(do.cast(args[0], "u1"), a, b)
        if name in ("isnan", "isinf", "popcnt"):
            return getattr(do, name)(*args)
        if name.startswith("philox"):
            return do.philox(int(name[-1]), *args)
        return do.function(name, *args)

    def _typed(self, node: ast.expr, dtype: str) -> Number:
        """Translate a literal that is given with its type: it may need more than 32 bits."""
        try:
            return literal(dtype, ast.literal_eval(node))
        except ValueError:
            return self._do.cast(self._value(node), dtype)

    def _atomic(self, name: str, node: ast.Call) -> Number:
        """Change a place and return what was there."""
        if not isinstance(node.args[0], ast.Subscript) or name not in ("add", "min", "max"):
            raise Unsupported(ast.unparse(node))
        value = self._value(node.args[1])
        spot = self._spot(node.args[0])
        value = self._do.cast(value, spot.place.dtype)
        if self._met and spot.width == 1:  # worlds in a register have places of their own
            return self._at_once(name, spot, value)
        before = self._memory.read(spot)
        after = (
            self._do.binary("+", before, value) if name == "add" else self._do.extreme(name, before, value)
        )
        self._memory.write(spot, after)
        return before

    def _at_once(self, name: str, spot: Spot, value: Number) -> Number:
        """Change a place where other threads may do so at the same time."""
        place = spot.place
        if place.dtype == "u1":
            raise Unsupported(f"atomic_{name} of a condition")
        kind = "f" if is_float(place.dtype) else "u" if place.dtype[0] == "u" and name != "add" else ""
        change = f"atomicrmw {kind}{name} ptr {spot.address}, {LLVM[place.dtype]} {value.text} seq_cst"
        return self.code.result(place.dtype, f"{change}, align {SIZE[place.dtype]}")


def called(node: ast.Call) -> str:
    """Return the name of a function without its module."""
    function = node.func
    return function.attr if isinstance(function, ast.Attribute) else ast.unparse(function)
