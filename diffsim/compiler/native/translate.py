"""Translating the text of a kernel to a module of LLVM's textual form."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence

from diffsim.compiler.native.arithmetic import Unsupported
from diffsim.compiler.native.assembly import Assembly
from diffsim.compiler.native.dispatch import Piece, function, of_tasks, used_places
from diffsim.compiler.native.expressions import OPERATORS, Expressions, Place, called
from diffsim.compiler.native.tasks import COPIES, FIRST, LAST, PART, PARTS, Task, split
from diffsim.compiler.native.values import Number, literal

__all__ = ["Place", "Unsupported", "translate"]


def translate(
    source: str, real: str, places: Mapping[str, Place], symbol: str, shared: bool = False
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
        shared: Loops are done by several threads: behind the places comes the address of a team.

    Raises:
        Unsupported: The text has something that is not translated.
    """
    [kernel] = ast.parse(source).body
    if not isinstance(kernel, ast.FunctionDef):
        raise Unsupported(type(kernel).__name__)
    arguments = [a.arg for a in kernel.args.args]
    tasks = split(kernel, places) if shared else [Task(kernel.body)]
    pieces = []
    for k, task in enumerate(tasks):
        run = _piece(f"body{k}", real, arguments, task, places)
        pieces.append((run, _gather(f"gather{k}", real, arguments, task, places) if task.privates else None))
    return _module(symbol, arguments, list(places), tasks, pieces)


def _piece(
    name: str, real: str, arguments: Sequence[str], task: Task, places: Mapping[str, Place]
) -> Piece:
    """Translate a task."""
    numbers = [*arguments, FIRST, LAST] if task.items else arguments
    known = {**places, **{private.name: private.place for private in task.privates}}
    return _translated(name, real, numbers, task.body, known, bool(task.items))


def _gather(
    name: str, real: str, arguments: Sequence[str], task: Task, places: Mapping[str, Place]
) -> Piece:
    """Translate what adds up the private sums of a task."""
    known = dict(places)
    for private in task.privates:
        moving = tuple(s for s in private.place.strides if s)
        known[private.name] = Place(private.place.dtype, (private.length, *moving), private.length)
    return _translated(name, real, [*arguments, PART, PARTS, COPIES], task.gather, known, False)


def _translated(
    name: str,
    real: str,
    numbers: Sequence[str],
    statements: Sequence[ast.stmt],
    places: Mapping[str, Place],
    shared: bool,
) -> Piece:
    body = _Body(real, places, shared)
    for number in numbers:
        body.argument(number)
    body.statements(statements)
    return Piece(name, numbers, used_places(statements, places), body.code)


def _module(
    symbol: str,
    arguments: Sequence[str],
    places: Sequence[str],
    tasks: Sequence[Task],
    pieces: Sequence[tuple[Piece, Piece | None]],
) -> str:
    """Return the functions of the tasks, and one that calls them with what the table holds."""
    every = [piece for pair in pieces for piece in pair if piece is not None]
    definitions = {name: text for piece in every for name, text in piece.code.definitions.items()}
    declarations = dict.fromkeys(line for piece in every for line in piece.code.declarations)
    if any(task.items for task in tasks):
        declarations |= dict.fromkeys(["declare i32 @llvm.umin.i32(i32, i32)"])
    return "\n".join(
        [
            *(line for piece in every for line in function(piece)),
            *of_tasks(symbol, arguments, places, tasks, pieces),
            *definitions.values(),
            *declarations,
            'attributes #0 = { nounwind "no-trapping-math"="true" }',
            "attributes #1 = { nounwind willreturn memory(none) }",
            'attributes #2 = { nounwind willreturn memory(none) "no-trapping-math"="true" }',
            'attributes #3 = { noinline nounwind "no-trapping-math"="true" }',
            "",
        ]
    )


class _Body(Expressions):
    """The translation of one kernel."""

    def __init__(self, real: str, places: Mapping[str, Place], shared: bool) -> None:
        super().__init__(real, places, shared)
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
