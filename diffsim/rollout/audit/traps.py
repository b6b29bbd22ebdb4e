"""What a kernel has in it that Taichi's reverse mode is known to get wrong, found in its syntax tree.

The families are those of a catalogue of 1500 kernels that were differentiated by Taichi 1.7.4. All but A2,
A9,
A11 and A12 come from loops that are no perfect nests: a loop whose body is more than one loop, with a local
    that loops inside it read or change.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeGuard

__all__ = ["FAMILIES", "OPERATIONS", "Suspect", "called_name", "is_loop", "loops_below", "suspects"]

FAMILIES = {
    "A1": "loops side by side in a loop keep their order on the way back",
    "A2": "a recurrence along an outermost loop, which is never reversed",
    "A3": "a value computed before a loop and read in it: one iteration alone reaches it",
    "A4": "max, min, exp, tanh or rsqrt in a loop that carries locals: all get the last iteration's values",
    "A5": "vectors in a loop that carries locals",
    "A6": "the stack of a local that a loop changes has 32 places, and nobody looks whether they do",
    "A7": "a carried local that is assigned under a condition",
    "A8": "a loop under an `if` that also declares its local",
    "A9": "an atomic maximum, minimum or product on a field is differentiated as a sum",
    "A10": "a running index into a local vector",
    "A11": "a constant stored beside a loop: the store is not differentiated, and done again on the way back",
    "A12": "what has no gradient is changed, and changed again on the way back",
    "A13": "a field on the way has no gradient",
    "B": "a place is written over after it was read",
}
OPERATIONS = {"max", "min", "exp", "tanh", "rsqrt", "clamp", "smoothstep", "norm_inv"}
_ATOMICS = {"atomic_max", "atomic_min", "atomic_mul"}


@dataclass(frozen=True)
class Suspect:
    """A place that may be to blame.

    Attributes:
        family: A key of `FAMILIES`.
        node: The statement or expression.
        function: The Python function that it is in; None for the kernel itself.
    """

    family: str
    node: ast.AST
    function: Any = None


def suspects(
    function: ast.FunctionDef, inlined: Callable[[ast.Call], tuple[ast.FunctionDef, Any] | None]
) -> list[Suspect]:
    """Return what a kernel has that may be to blame, the surest first.

    Args:
        function: Its definition.
        inlined: Returns the definition of a Taichi function that is called, and the Python function; None for
            what is none.
    """
    found = [*_in(function, 0)]
    seen = {function.name}
    for call in [node for node in ast.walk(function) if isinstance(node, ast.Call)]:
        inner = inlined(call)
        if inner is not None and inner[0].name not in seen:
            definition, whose = inner
            seen.add(definition.name)
            more = [*_in(definition, 1), *_arguments(definition)]
            found += [Suspect(s.family, s.node, whose) for s in more]
    order = ["A9", "A2", "A1", "A10", "A8", "A7", "A4", "A3", "A11", "A6", "A5"]
    return sorted(found, key=lambda suspect: order.index(suspect.family))


def _in(function: ast.FunctionDef, depth: int) -> Iterator[Suspect]:
    """Yield what one definition has; `depth` loops are around it."""
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and called_name(node) in _ATOMICS:
            if isinstance(node.args[0], ast.Subscript):
                yield Suspect("A9", node)
    if depth == 0:
        yield from _recurrences(function)
    yield from _Nests(function).within(function.body, depth, conditional=False)


def _recurrences(function: ast.FunctionDef) -> Iterator[Suspect]:
    """Yield stores along an outermost loop at other indices than loads of the same field."""
    for loop in function.body:
        if not is_loop(loop):
            continue
        names = _targets(loop)
        stores = [n for n in ast.walk(loop) if isinstance(n, ast.Subscript) and isinstance(n.ctx, ast.Store)]
        loads = [n for n in ast.walk(loop) if isinstance(n, ast.Subscript) and isinstance(n.ctx, ast.Load)]
        for store in stores:
            field, at = ast.unparse(store.value), _along(store, names)
            others = [load for load in loads if ast.unparse(load.value) == field]
            if at and any(_along(load, names) not in (at, ()) for load in others):
                yield Suspect("A2", store)


def _along(node: ast.Subscript, names: set[str]) -> tuple[str, ...]:
    """Return the indices of an access that name a loop's index."""
    indices = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    return tuple(ast.unparse(i) for i in indices if names & _names_in(i))


class _Nests:
    """Look for loops that are no perfect nests.

    Args:
        function: The definition that they are in.
    """

    def __init__(self, function: ast.FunctionDef) -> None:
        self._locals = {name for node in ast.walk(function) for name in _assigned(node)}

    def within(self, body: list[ast.stmt], depth: int, conditional: bool) -> Iterator[Suspect]:
        """Yield what statements of one level have.

        Args:
            body: The statements.
            depth: How many loops are around them.
            conditional: They stand under an `if`.
        """
        loops = [s for s in body if is_loop(s)]
        if depth:
            yield from _siblings(loops)
            for loop in loops:
                yield from self._inner(loop, body, conditional)
        for statement in body:
            if isinstance(statement, ast.For | ast.While):
                runs = is_loop(statement)
                yield from self.within(statement.body, depth + runs, conditional and not runs)
            elif isinstance(statement, ast.If):
                for part in (statement.body, statement.orelse):
                    yield from self.within(part, depth, conditional=True)

    def _inner(self, loop: ast.stmt, body: list[ast.stmt], conditional: bool) -> Iterator[Suspect]:
        """Yield what a loop inside another one has; `body` is what it stands in."""
        outside = {name: s for s in body[: body.index(loop)] for name in _assigned(s)}
        inside = _assigned_within(loop)
        carried, hoisted = set(outside) & inside, (set(outside) & _names_in(loop)) - inside
        others = [s for s in body if s is not loop]
        if conditional and carried:
            yield Suspect("A8", loop)
        for node in ast.walk(loop):
            if isinstance(node, ast.If) and _assigns_under(node, carried):
                yield Suspect("A7", node)
            if isinstance(node, ast.Subscript) and self._is_running(node):
                yield Suspect("A10", node)
            if isinstance(node, ast.Call) and called_name(node) in OPERATIONS:
                if carried or hoisted or not all(map(is_loop, others)):
                    yield Suspect("A4", node)
        yield from (Suspect("A3", outside[name]) for name in sorted(hoisted))
        yield from (Suspect("A11", s) for s in others if _stores_plainly(s))
        if carried:
            yield Suspect("A6", loop)
            yield Suspect("A5", loop)

    def _is_running(self, node: ast.Subscript) -> bool:
        """Tell whether a local is indexed by something that is computed."""
        local = isinstance(node.value, ast.Name) and node.value.id in self._locals
        return local and not isinstance(node.slice, ast.Constant)


def _siblings(loops: list[ast.stmt]) -> Iterator[Suspect]:
    """Yield loops that read what a loop before them has written."""
    written: set[str] = set()
    for loop in loops:
        accesses = [n for n in ast.walk(loop) if _is_access(n)]
        if written & {ast.unparse(n.value) for n in accesses if isinstance(n.ctx, ast.Load)}:
            yield Suspect("A1", loop)
        written |= {ast.unparse(n.value) for n in accesses if isinstance(n.ctx, ast.Store)}


def _is_access(node: ast.AST) -> TypeGuard[ast.Subscript]:
    return isinstance(node, ast.Subscript) and isinstance(node.value, ast.Attribute)


def _assigns_under(branch: ast.If, carried: set[str]) -> bool:
    """Tell whether a branch assigns a carried local, rather than adding to it."""
    return any(isinstance(s, ast.Assign) and _assigned(s) & carried for s in ast.walk(branch))


def _stores_plainly(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Subscript)


def _arguments(function: ast.FunctionDef) -> Iterator[Suspect]:
    """Yield arguments of a function that its loops read: they are values computed before."""
    names = {a.arg for a in function.args.args} - {"self"}
    for loop in [s for s in ast.walk(function) if is_loop(s)]:
        if names & _names_in(loop):
            yield Suspect("A3", loop)


def loops_below(loop: ast.AST) -> list[ast.AST]:
    """Return the loops inside a loop."""
    return [n for n in ast.walk(loop) if n is not loop and is_loop(n)]


def is_loop(node: ast.AST) -> bool:
    """Tell whether a statement is a loop that runs, and is not unrolled."""
    if isinstance(node, ast.While):
        return True
    return isinstance(node, ast.For) and not (
        isinstance(node.iter, ast.Call) and called_name(node.iter) == "static"
    )


def called_name(call: ast.Call) -> str:
    """Return the last part of the name of what is called."""
    if isinstance(call.func, ast.Attribute):
        return call.func.attr
    return call.func.id if isinstance(call.func, ast.Name) else ""


def _targets(loop: ast.AST) -> set[str]:
    return _names_in(loop.target) if isinstance(loop, ast.For) else set()


def _names_in(node: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}


def _assigned(statement: ast.AST) -> set[str]:
    """Return the locals that a statement itself assigns, or that its branches do."""
    if isinstance(statement, ast.Assign):
        return {
            n.id for t in statement.targets for n in ast.walk(t) if isinstance(n, ast.Name) and _stores(n)
        }
    if isinstance(statement, ast.AugAssign | ast.AnnAssign):
        return {statement.target.id} if isinstance(statement.target, ast.Name) else set()
    if isinstance(statement, ast.If):
        return {name for s in [*statement.body, *statement.orelse] for name in _assigned(s)}
    return set()


def _stores(name: ast.Name) -> bool:
    return isinstance(name.ctx, ast.Store)


def _assigned_within(loop: ast.AST) -> set[str]:
    found = {name for s in ast.walk(loop) for name in _assigned(s)}
    calls = [n for n in ast.walk(loop) if isinstance(n, ast.Call) and called_name(n).startswith("atomic_")]
    return found | {c.args[0].id for c in calls if c.args and isinstance(c.args[0], ast.Name)}
