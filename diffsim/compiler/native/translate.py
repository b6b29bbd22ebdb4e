"""Translating the text of a kernel to a module of LLVM's textual form."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence

from diffsim.compiler.native.arithmetic import Unsupported
from diffsim.compiler.native.assembly import Assembly
from diffsim.compiler.native.expressions import OPERATORS, called
from diffsim.compiler.native.jam import ITERATIONS, jammed, renamed
from diffsim.compiler.native.memory import Place
from diffsim.compiler.native.scopes import scoped
from diffsim.compiler.native.values import SIZE, Number, literal
from diffsim.compiler.native.worlds import Worlds, added_to

__all__ = ["ONE_BY_ONE", "Place", "Unsupported", "translate"]

ONE_BY_ONE = "one world after the other"  # what a module says that could not be for several at once


def translate(
    source: str, real: str, places: Mapping[str, Place], symbol: str, lanes: int = 1, worlds: int = 1
) -> str:
    """Return a module of LLVM's textual form with one function: `void symbol(i32 ..., ptr table)`.

    The table holds the addresses of the places, in their order. No two places overlap but shared ones,
    whatever the time that their indices say: a scope for each place of a State in time would be wrong, since
    `x[t + 1]` of one step is `x[t]` of the next.

    Args:
        source: The text of a kernel whose arguments are 32-bit integers.
        real: The type of its float literals.
        places: The arrays that it names.
        symbol: What to call the function.
        lanes: How many worlds a register holds: loops over worlds run so many at once.
        worlds: How many there are.

    Raises:
        Unsupported: The text has something that is not translated.
    """
    [function] = ast.parse(source).body
    if not isinstance(function, ast.FunctionDef):
        raise Unsupported(type(function).__name__)
    arguments = [a.arg for a in function.args.args]
    statements = scoped(arguments, function.body)
    try:
        code = _code(statements, real, places, arguments, lanes, worlds)
    except Unsupported as reason:
        if lanes == 1:
            raise
        code = _code(statements, real, places, arguments, 1, worlds)
        code.line(f"; {ONE_BY_ONE}: {reason}")
    return _module(symbol, arguments, places, code)


def _code(
    statements: Sequence[ast.stmt],
    real: str,
    places: Mapping[str, Place],
    arguments: Sequence[str],
    lanes: int,
    worlds: int,
) -> Assembly:
    body = _Body(real, places, lanes, worlds)
    for name in arguments:
        body.argument(name)
    body.statements(statements)
    return body.code


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


class _Body(Worlds):
    """The translation of one kernel."""

    def __init__(self, real: str, places: Mapping[str, Place], lanes: int, worlds: int) -> None:
        super().__init__(real, places, lanes, worlds)
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
        if isinstance(target, ast.Name):
            self._set(target.id, self._value(node.value))
        elif not isinstance(target, ast.Subscript):
            raise Unsupported(ast.unparse(node))
        elif (added := added_to(target, node.value)) is not None and self._shared(target):
            self._add_together(target, added)
        else:
            value = self._value(node.value)
            self._memory.write(self._spot(target), value)

    def _add(self, node: ast.AugAssign) -> None:
        op, target = OPERATORS[type(node.op)], node.target
        if isinstance(target, ast.Subscript) and op == "+" and self._shared(target):
            self._add_together(target, node.value)
            return
        value = self._value(node.value)
        if isinstance(target, ast.Name):
            self._set(target.id, self._do.binary(op, self._name(target), value))
            return
        if not isinstance(target, ast.Subscript):
            raise Unsupported(ast.unparse(node))
        spot = self._spot(target)
        self._memory.write(spot, self._do.binary(op, self._memory.read(spot), value))

    def _call(self, node: ast.Expr) -> None:
        """Translate a call for its effect."""
        if not isinstance(node.value, ast.Call):
            raise Unsupported(ast.unparse(node))
        if called(node.value) != "loop_config":  # which is about threads
            self._function(node.value)

    # ---- loops and branches ----

    def _for(self, node: ast.For) -> None:
        found = jammed(node, self._names) if self._lane else None
        if found is not None:
            loops, names = found
            self._varying |= {renamed(n, k) for n in names & self._varying for k in range(ITERATIONS)}
            for loop in loops:
                self._loop(loop)
            return
        self._loop(node)

    def _loop(self, node: ast.For) -> None:
        if not isinstance(node.iter, ast.Call):
            raise Unsupported(ast.unparse(node.iter))
        call, kind = node.iter, called(node.iter)
        if kind == "range":
            bounds = [self._do.cast(self._value(a), "i32") for a in call.args]
            pairs = [(bounds[0], bounds[1]) if len(bounds) == 2 else (literal("i32", 0), bounds[0])]
        elif kind == "ndrange":
            pairs = [self._range(a) for a in call.args]
        else:
            raise Unsupported(kind)
        targets = node.target.elts if isinstance(node.target, ast.Tuple) else [node.target]
        names = [t.id for t in targets if isinstance(t, ast.Name)]
        loops = list(zip(names, pairs, strict=True))
        if self._counts_worlds(names[0], call.args[0] if kind == "ndrange" else call, node.body):
            self._together(names[0], pairs[0], node.body, lambda: self._nest(loops[1:], node.body))
            return
        self._nest(loops, node.body)

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
        if max(start.width, stop.width) > 1:
            self._some(name, start, stop, lambda: self._nest(inner, body))
            return
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
        if condition.width > 1:
            self._branch(condition, node)
            return
        code.line(f"br i1 {condition.text}, label %T{k}, label %F{k}")
        for mark, part in (("T", node.body), ("F", node.orelse)):
            code.label(f"{mark}{k}")
            self.statements(part)
            code.line(f"br label %J{k}")
        code.label(f"J{k}")
