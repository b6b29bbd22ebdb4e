"""Translating the text of a kernel to a module of LLVM's textual form."""

from __future__ import annotations

import ast
import copy
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from diffsim.compiler.native.arithmetic import Unsupported
from diffsim.compiler.native.assembly import Assembly
from diffsim.compiler.native.dispatch import Piece, function, of_tasks, used_places
from diffsim.compiler.native.expressions import OPERATORS, called
from diffsim.compiler.native.jam import ITERATIONS, jammed, renamed
from diffsim.compiler.native.memory import Place
from diffsim.compiler.native.modes import entered
from diffsim.compiler.native.scopes import scoped
from diffsim.compiler.native.sums import COPIES, PART, PARTS
from diffsim.compiler.native.tasks import FIRST, LAST, Task, split
from diffsim.compiler.native.values import Number, literal
from diffsim.compiler.native.worlds import Worlds, added_to, left_early

__all__ = ["ONE_BY_ONE", "Place", "Unsupported", "translate"]

ONE_BY_ONE = "one world after the other"  # what a module says that could not be for several at once


def translate(
    source: str,
    real: str,
    places: Mapping[str, Place],
    symbol: str,
    shared: bool = False,
    lanes: int = 1,
    worlds: int = 1,
    triple: str = "",
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
        lanes: How many worlds a register holds: loops over worlds run so many at once.
        worlds: How many there are.
        triple: The system, as LLVM calls it, where numbers below the normal range are to be zero.

    Raises:
        Unsupported: The text has something that is not translated.
    """
    [kernel] = ast.parse(source).body
    if not isinstance(kernel, ast.FunctionDef):
        raise Unsupported(type(kernel).__name__)
    arguments = [a.arg for a in kernel.args.args]
    tasks = split(kernel, places, lanes) if shared else [Task(kernel.body)]
    try:
        pieces = _pieces(tasks, _Kind(real, lanes, worlds, itertools.count()), arguments, places)
    except Unsupported as reason:
        if lanes == 1:
            raise
        pieces = _pieces(tasks, _Kind(real, 1, worlds, itertools.count()), arguments, places)
        pieces[0][0].code.line(f"; {ONE_BY_ONE}: {reason}")
    return _module(symbol, arguments, list(places), tasks, pieces, triple)


_KEPT = '@llvm.compiler.used = appending global [{count} x ptr] [{names}], section "llvm.metadata"'


class _Kind(NamedTuple):
    """What decides, beside the statements, what they are translated to."""

    real: str
    lanes: int
    worlds: int
    notes: Iterator[int]


def _pieces(
    tasks: Sequence[Task], kind: _Kind, arguments: Sequence[str], places: Mapping[str, Place]
) -> list[tuple[Piece, Piece | None]]:
    pieces = []
    for k, task in enumerate(tasks):
        run = _piece(f"body{k}", kind, arguments, task, places)
        gather = _gather(f"gather{k}", kind, arguments, task, places) if task.privates else None
        pieces.append((run, gather))
    return pieces


def _piece(
    name: str, kind: _Kind, arguments: Sequence[str], task: Task, places: Mapping[str, Place]
) -> Piece:
    """Translate a task."""
    numbers = [*arguments, FIRST, LAST] if task.items else arguments
    known = {**places, **{private.name: private.place for private in task.privates}}
    return _translated(name, kind, numbers, task.body, known, bool(task.items))


def _gather(
    name: str, kind: _Kind, arguments: Sequence[str], task: Task, places: Mapping[str, Place]
) -> Piece:
    """Translate what adds up the private sums of a task."""
    known = dict(places)
    for private in task.privates:
        moving = tuple(s for s in private.place.strides if s)
        known[private.name] = Place(private.place.dtype, (private.length, *moving), private.length)
    return _translated(name, kind, [*arguments, PART, PARTS, COPIES], task.gather, known, False)


def _translated(
    name: str,
    kind: _Kind,
    numbers: Sequence[str],
    statements: Sequence[ast.stmt],
    places: Mapping[str, Place],
    shared: bool,
) -> Piece:
    body = _Body(kind, places, shared)
    for number in numbers:
        body.argument(number)
    named = scoped(numbers, copy.deepcopy(list(statements)))  # what tries again finds them as they were
    body.statements(named)
    return Piece(name, numbers, used_places(statements, places), body.code)


def _module(
    symbol: str,
    arguments: Sequence[str],
    places: Sequence[str],
    tasks: Sequence[Task],
    pieces: Sequence[tuple[Piece, Piece | None]],
    triple: str,
) -> str:
    """Return the functions of the tasks, and one that calls them with what the table holds."""
    inner = f"{symbol}.run"
    every = [piece for pair in pieces for piece in pair if piece is not None]
    definitions = {name: text for piece in every for name, text in piece.code.definitions.items()}
    kept = dict.fromkeys(f"ptr @{name}" for piece in every for name in piece.code.kept)
    declarations = dict.fromkeys(line for piece in every for line in piece.code.declarations)
    if any(task.items for task in tasks):
        declarations |= dict.fromkeys(["declare i32 @llvm.umin.i32(i32, i32)"])
    return "\n".join(
        [
            *(line for piece in every for line in function(piece)),
            *of_tasks(inner, arguments, places, tasks, pieces),
            *entered(symbol, inner, len(arguments), triple),
            *definitions.values(),
            *declarations,
            *(line for piece in every for line in piece.code.metadata),
            *([_KEPT.format(count=len(kept), names=", ".join(kept))] if kept else []),
            'attributes #0 = { nounwind "no-trapping-math"="true" }',
            "attributes #1 = { nounwind willreturn memory(none) }",
            'attributes #2 = { nounwind willreturn memory(none) "no-trapping-math"="true" }',
            'attributes #3 = { noinline nounwind "no-trapping-math"="true" }',
            "",
        ]
    )


class _Body(Worlds):
    """The translation of one kernel."""

    def __init__(self, kind: _Kind, places: Mapping[str, Place], met: bool) -> None:
        super().__init__(Assembly(kind.notes), kind.real, places, met, kind.lanes, kind.worlds)
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
        added = added_to(target, node.value)
        if isinstance(target, ast.Name):
            value = (
                self._value(node.value)
                if added is None
                else self._do.carried(self._name(target), self._value(added))
            )
            self._set(target.id, value)
        elif not isinstance(target, ast.Subscript):
            raise Unsupported(ast.unparse(node))
        elif added is not None and self._shared(target):
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
        leave, body = left_early(node.body)
        if kind == "range" and isinstance(node.target, ast.Name) and _once(call.args):
            self._set(node.target.id, self._do.cast(self._value(call.args[0]), "i32"))
            self.statements(body)
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
        loops = list(zip(names, pairs, strict=True))
        if self._counts_worlds(names[0], call.args[0] if kind == "ndrange" else call, node.body):
            self._together(names[0], pairs[0], node.body, lambda: self._nest(loops[1:], body, leave))
            return
        self._nest(loops, body, leave)

    def _range(self, node: ast.expr) -> tuple[Number, Number]:
        if isinstance(node, ast.Tuple):
            low, high = (self._do.cast(self._value(a), "i32") for a in node.elts)
            return low, high
        return literal("i32", 0), self._do.cast(self._value(node), "i32")

    def _nest(
        self,
        loops: Sequence[tuple[str, tuple[Number, Number]]],
        body: Sequence[ast.stmt],
        leave: ast.expr | None = None,
    ) -> None:
        if not loops:
            self.statements(body)
            return
        (name, (start, stop)), *inner = loops
        looped = name[:1] in ("i", "p")  # an index of the user's, not the time or a world
        self._do.looped += looped
        self._repeat(name, start, stop, lambda: self._nest(inner, body, leave), None if inner else leave)
        self._do.looped -= looped

    def _repeat(
        self, name: str, start: Number, stop: Number, inside: Callable[[], None], leave: ast.expr | None
    ) -> None:
        """Translate a loop of one name."""
        if max(start.width, stop.width) > 1:
            self._some(name, start, stop, inside, leave)
            return
        code, k = self.code, self.code.number()
        outer, memory = self._memory.group, self._memory
        if name.startswith("p"):  # so the text calls it where iterations are independent
            memory.group = code.group()
        self._set(name, start)
        enters = self._do.compare("<", start, stop)
        code.line(f"br i1 {enters.text}, label %B{k}, label %E{k}")
        code.label(f"B{k}")
        self._leave(leave, k)
        inside()
        following = self._do.exact("+", self._get(name), literal("i32", 1))  # at most `stop`
        self._set(name, following)
        again = self._do.compare("<", following, stop)
        told = code.parallel(memory.group) if memory.group != outer else ""
        memory.group = outer
        code.line(f"br i1 {again.text}, label %B{k}, label %E{k}{told}")
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


def _once(bounds: Sequence[ast.expr]) -> bool:
    """Tell whether a range is `range(k, k + 1)`."""
    if len(bounds) != 2:
        return False
    start, stop = bounds
    if not isinstance(stop, ast.BinOp):
        return False
    one = isinstance(stop.right, ast.Constant) and stop.right.value == 1
    return one and isinstance(stop.op, ast.Add) and ast.dump(stop.left) == ast.dump(start)
