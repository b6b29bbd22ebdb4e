"""Translating the text of a kernel to a module of LLVM's textual form."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence

from diffsim.compiler.native.arithmetic import Unsupported
from diffsim.compiler.native.assembly import Assembly
from diffsim.compiler.native.expressions import OPERATORS, Expressions, Place, called
from diffsim.compiler.native.values import SIZE, Number, literal

__all__ = ["Place", "Unsupported", "translate"]


def translate(source: str, real: str, places: Mapping[str, Place], symbol: str) -> str:
    """Return a module of LLVM's textual form with one function: `void symbol(i32 ..., ptr table)`.

    The table holds the addresses of the places, in their order. No two places overlap but shared ones,
    whatever the time that their indices say: a scope for each place of a State in time would be wrong, since
    `x[t + 1]` of one step is `x[t]` of the next.

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


class _Body(Expressions):
    """The translation of one kernel."""

    def __init__(self, real: str, places: Mapping[str, Place]) -> None:
        super().__init__(real, places)
        self._statement: dict[type[ast.stmt], Callable[..., None]] = {
            ast.Assign: self._assign,
            ast.AugAssign: self._add,
            ast.For: self._for,
            ast.If: self._if,
            ast.Expr: self._call,
            ast.Pass: lambda node: None,
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

    def _add(self, node: ast.AugAssign) -> None:
        op = OPERATORS[type(node.op)]
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
        if called(node.value) != "loop_config":  # which is about threads
            self._function(node.value)

    # ---- loops and branches ----

    def _for(self, node: ast.For) -> None:
        if not isinstance(node.iter, ast.Call):
            raise Unsupported(ast.unparse(node.iter))
        call, kind = node.iter, called(node.iter)
        if kind == "range" and isinstance(node.target, ast.Name) and _once(call.args):
            self._set(node.target.id, self._do.cast(self._value(call.args[0]), "i32"))
            self.statements(node.body)
            return
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
        following = code.result("i32", f"add nsw i32 {self._get(name).text}, 1")  # at most `stop`
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


def _once(bounds: Sequence[ast.expr]) -> bool:
    """Tell whether a range is `range(k, k + 1)`."""
    if len(bounds) != 2:
        return False
    start, stop = bounds
    if not isinstance(stop, ast.BinOp):
        return False
    one = isinstance(stop.right, ast.Constant) and stop.right.value == 1
    return one and isinstance(stop.op, ast.Add) and ast.dump(stop.left) == ast.dump(start)
