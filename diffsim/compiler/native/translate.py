"""Translating the text of a kernel: statements and expressions."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from diffsim.compiler.native.arithmetic import Arithmetic, Unsupported
from diffsim.compiler.native.assembly import Assembly
from diffsim.compiler.native.values import LLVM, SIZE, Number, literal

__all__ = ["Place", "Unsupported", "translate"]

_OPERATORS: dict[type[ast.operator], str] = {
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


def translate(source: str, real: str, places: Mapping[str, Place], symbol: str) -> str:
    """Return a module of LLVM's textual form with one function: `void symbol(i32 ..., ptr table)`.

    The table holds the addresses of the places, in their order. No two places overlap but shared ones, whatever
    the time that their indices say: a scope for each place of a State in time would be wrong, since `x[t + 1]` of
    one step is `x[t]` of the next.

    Args:
        source: The text of a kernel whose arguments are 32-bit integers.
        real: The type of its float literals.
        places: The arrays that it names.
        symbol: What to call the function.

    Raises:
        Unsupported: The text has something that is not translated.
    """
    [function] = ast.parse(source).body
    if not isinstance(function, ast.FunctionDef):
        raise Unsupported(type(function).__name__)
    body = _Body(real, places)
    arguments = [a.arg for a in function.args.args]
    for name in arguments:
        body.argument(name)
    body.statements(function.body)
    return _module(symbol, arguments, places, body.code)


def _module(symbol: str, arguments: Sequence[str], places: Mapping[str, Place], code: Assembly) -> str:
    """Return the function, and one that calls it with what the table holds."""
    given = [f"i32 %{name}" for name in arguments]
    pointers = [f"ptr {_facts(place)} %{name}" for name, place in places.items()]
    loads = []
    for k, name in enumerate(places):
        loads += [f"  %a{k} = getelementptr ptr, ptr %table, i64 {k}", f"  %{name} = load ptr, ptr %a{k}"]
    passed = ", ".join([*given, *(f"ptr %{name}" for name in places)])
    return "\n".join(
        [
            f"define internal void @body({', '.join([*given, *pointers])}) #3 {{",
            "entry:",
            *code.variables,
            *code.lines,
            "  ret void",
            "}",
            f"define void @{symbol}({', '.join([*given, 'ptr noalias readonly %table'])}) #0 {{",
            *loads,
            f"  call void @body({passed})",
            "  ret void",
            "}",
            *code.definitions.values(),
            *code.declarations,
            'attributes #0 = { nounwind "no-trapping-math"="true" }',
            "attributes #1 = { nounwind willreturn memory(none) }",
            'attributes #2 = { nounwind willreturn memory(none) "no-trapping-math"="true" }',
            'attributes #3 = { noinline nounwind "no-trapping-math"="true" }',
            "",
        ]
    )


def _facts(place: Place) -> str:
    """Return what LLVM may rely on of a place."""
    if place.shared:
        return ""
    return f"noalias align {SIZE[place.dtype]} dereferenceable({max(1, place.length) * SIZE[place.dtype]})"


class _Body:
    """The translation of one kernel."""

    def __init__(self, real: str, places: Mapping[str, Place]) -> None:
        self.code = Assembly()
        self._do = Arithmetic(self.code, real)
        self._real, self._places = real, places
        self._names: dict[str, tuple[str, str]] = {}  # the type of each name, and its variable
        self._statement: dict[type[ast.stmt], Callable[..., None]] = {
            ast.Assign: self._assign,
            ast.AugAssign: self._add,
            ast.For: self._for,
            ast.If: self._if,
            ast.Expr: self._call,
            ast.Pass: lambda node: None,
        }
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

    def argument(self, name: str) -> None:
        """Make an argument of the function known."""
        self._set(name, Number("i32", f"%{name}"))

    # ---- statements ----

    def statements(self, nodes: Sequence[ast.stmt]) -> None:
        """Translate statements in order."""
        for node in nodes:
            translate = self._statement.get(type(node))
            if translate is None:
                raise Unsupported(type(node).__name__)
            translate(node)

    def _set(self, name: str, value: Number) -> None:
        """Assign to a name, whose first value decides its type."""
        if name not in self._names:
            self._names[name] = value.dtype, self.code.variable(LLVM[value.dtype])
        dtype, variable = self._names[name]
        value = self._do.cast(value, dtype)
        self.code.line(f"store {LLVM[dtype]} {value.text}, ptr {variable}")

    def _assign(self, node: ast.Assign) -> None:
        [target] = node.targets
        value = self._value(node.value)
        if isinstance(target, ast.Name):
            self._set(target.id, value)
        elif isinstance(target, ast.Subscript):
            place, address = self._address(target)
            self._store(place, address, value)
        else:
            raise Unsupported(ast.unparse(node))

    def _store(self, place: Place, address: str, value: Number) -> None:
        text = self._do.cast(value, place.dtype).text
        if place.dtype == "u1":
            text = self.code.result("u8", f"zext i1 {text} to i8").text
        self.code.line(f"store {_stored(place.dtype)} {text}, ptr {address}, align {SIZE[place.dtype]}")

    def _read(self, place: Place, address: str) -> Number:
        kind = _stored(place.dtype)
        loaded = self.code.result(place.dtype, f"load {kind}, ptr {address}, align {SIZE[place.dtype]}")
        return self.code.result("u1", f"trunc i8 {loaded.text} to i1") if place.dtype == "u1" else loaded

    def _add(self, node: ast.AugAssign) -> None:
        op = _OPERATORS[type(node.op)]
        value = self._value(node.value)
        if isinstance(node.target, ast.Name):
            self._set(node.target.id, self._do.binary(op, self._name(node.target), value))
            return
        if not isinstance(node.target, ast.Subscript):
            raise Unsupported(ast.unparse(node))
        place, address = self._address(node.target)
        self._store(place, address, self._do.binary(op, self._read(place, address), value))

    def _call(self, node: ast.Expr) -> None:
        """Translate a call for its effect."""
        if not isinstance(node.value, ast.Call):
            raise Unsupported(ast.unparse(node))
        if _called(node.value) != "loop_config":  # which is about threads
            self._function(node.value)

    # ---- loops and branches ----

    def _for(self, node: ast.For) -> None:
        if not isinstance(node.iter, ast.Call):
            raise Unsupported(ast.unparse(node.iter))
        call, kind = node.iter, _called(node.iter)
        if kind == "range":
            bounds = [self._do.cast(self._value(a), "i32") for a in call.args]
            pairs = [(bounds[0], bounds[1]) if len(bounds) == 2 else (literal("i32", 0), bounds[0])]
        elif kind == "ndrange":
            pairs = [self._range(a) for a in call.args]
        else:
            raise Unsupported(kind)
        targets = node.target.elts if isinstance(node.target, ast.Tuple) else [node.target]
        names = [t.id for t in targets if isinstance(t, ast.Name)]
        self._nest(list(zip(names, pairs, strict=True)), node.body)

    def _range(self, node: ast.expr) -> tuple[Number, Number]:
        if isinstance(node, ast.Tuple):
            low, high = (self._do.cast(self._value(a), "i32") for a in node.elts)
            return low, high
        return literal("i32", 0), self._do.cast(self._value(node), "i32")

    def _nest(self, loops: Sequence[tuple[str, tuple[Number, Number]]], body: Sequence[ast.stmt]) -> None:
        if not loops:
            self.statements(body)
            return
        (name, (start, stop)), *inner = loops
        code, k = self.code, self.code.number()
        self._set(name, start)
        enters = self._do.compare("<", start, stop)
        code.line(f"br i1 {enters.text}, label %B{k}, label %E{k}")
        code.label(f"B{k}")
        self._nest(inner, body)
        following = self._do.binary("+", self._get(name), literal("i32", 1))
        self._set(name, following)
        again = self._do.compare("<", following, stop)
        code.line(f"br i1 {again.text}, label %B{k}, label %E{k}")
        code.label(f"E{k}")

    def _if(self, node: ast.If) -> None:
        code, k = self.code, self.code.number()
        condition = self._do.cast(self._value(node.test), "u1")
        code.line(f"br i1 {condition.text}, label %T{k}, label %F{k}")
        for mark, part in (("T", node.body), ("F", node.orelse)):
            code.label(f"{mark}{k}")
            self.statements(part)
            code.line(f"br label %J{k}")
        code.label(f"J{k}")

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
            index = self._do.cast(self._value(item), "i32")
            if index.constant:
                fixed += int(index.text) * stride
            else:
                moving = self._offset(moving, index, stride)
        return place, self._pointer(name, place.dtype, fixed, moving)

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
        offset = self._do.cast(index, "i64")
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

    def _get(self, name: str) -> Number:
        if name not in self._names:
            raise Unsupported(f"the name {name}")
        dtype, variable = self._names[name]
        return self.code.result(dtype, f"load {LLVM[dtype]}, ptr {variable}")

    def _name(self, node: ast.Name) -> Number:
        return self._get(node.id)

    def _load(self, node: ast.Subscript) -> Number:
        return self._read(*self._address(node))

    def _binary(self, node: ast.BinOp) -> Number:
        a, b = self._value(node.left), self._value(node.right)
        return self._do.binary(_OPERATORS[type(node.op)], a, b)

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
        name, do = _called(node), self._do
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


def _called(node: ast.Call) -> str:
    """Return the name of a function without its module."""
    function = node.func
    return function.attr if isinstance(function, ast.Attribute) else ast.unparse(function)


def _stored(dtype: str) -> str:
    """Return LLVM's type of a number in memory, where a condition takes a byte."""
    return "i8" if dtype == "u1" else LLVM[dtype]
