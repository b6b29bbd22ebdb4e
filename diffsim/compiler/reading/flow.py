"""Writing `break`, `continue` and `return` as branches, so that loops have one way through.

What follows a branch that ends with a jump becomes its other side; a loop that is left early gets a flag that
lets its remaining iterations pass without effect (and kernels leave it). A `return` inside a loop leaves it
with its value in a variable, which the statement behind the loop returns. Positions stay those of the
user's text.
"""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator
from typing import TypeVar

__all__ = ["LEFT", "RESULT", "has_return", "structured"]

LEFT = "_left_"  # how the flags of loops that were left are called
RESULT = "_result_"  # how the values are called that loops are left with
_RETURNED = "_returned_"  # how the numbers are called of the `return` that a loop was left by

Body = list[ast.stmt]
Node = TypeVar("Node", bound=ast.AST)


def structured(body: Body) -> Body:
    """Return statements in which no loop is left by a jump, or goes on by `continue`.

    A `while` becomes one whose body is an `if` of its flag, with what to do where its condition does not hold
    on the other side.
    """
    return _statements(body, itertools.count())


def has_return(statement: ast.stmt) -> bool:
    """Tell whether a statement holds a `return`."""
    return any(isinstance(node, ast.Return) for node in ast.walk(statement))


def _statements(body: Body, numbers: Iterator[int]) -> Body:
    return [new for statement in body for new in _statement(statement, numbers)]


def _statement(statement: ast.stmt, numbers: Iterator[int]) -> Body:
    if isinstance(statement, ast.If):
        then, orelse = _statements(statement.body, numbers), _statements(statement.orelse, numbers)
        return [_at(statement, ast.If(statement.test, then, orelse))]
    if isinstance(statement, ast.For | ast.While):
        return _loop(statement, numbers)
    return [statement]


def _loop(loop: ast.For | ast.While, numbers: Iterator[int]) -> Body:
    body = _statements(loop.body, numbers)
    returns = _Returns(f"{_RETURNED}{next(numbers)}", numbers)
    body = returns.block(body)
    jumps = [node for node in body for node in _jumps(node)]
    breaks = isinstance(loop, ast.While) or any(isinstance(jump, ast.Break) for jump in jumps)
    flag = f"{LEFT}{next(numbers)}" if breaks else None
    if jumps:
        body = _without_jumps(body, flag)
    if flag is None:
        return [_again(loop, body)]
    going = ast.Compare(ast.Name(flag, ast.Load()), [ast.Eq()], [ast.Constant(0)])
    over = [_assigned(loop, flag, ast.Constant(1))] if isinstance(loop, ast.While) else []
    guarded = _again(loop, [_at(loop, ast.If(_at(loop, going), body, over))])
    return [*returns.before(loop), _assigned(loop, flag, ast.Constant(0)), guarded, *returns.behind(loop)]


def _again(loop: ast.For | ast.While, body: Body) -> ast.stmt:
    """Return a loop with another body."""
    if isinstance(loop, ast.While):
        return _at(loop, ast.While(loop.test, body, loop.orelse))
    return _at(loop, ast.For(loop.target, loop.iter, body, loop.orelse))


class _Returns:
    """The `return` statements of a loop: each leaves it with a number, and its value in a variable.

    Args:
        name: The variable of the number.
        numbers: Gives numbers that no other variable has.
    """

    def __init__(self, name: str, numbers: Iterator[int]) -> None:
        self.name, self.numbers = name, numbers
        self.found: list[tuple[ast.Return, ast.expr | None]] = []
        self.kept: list[str] = []

    def block(self, body: Body) -> Body:
        """Return statements that leave the loop instead."""
        return [new for statement in body for new in self._statement(statement)]

    def before(self, loop: ast.stmt) -> Body:
        """Return what stands before the loop."""
        unset = [
            ast.AnnAssign(ast.Name(name, ast.Store()), ast.Constant(None), None, 1) for name in self.kept
        ]
        number = [_assigned(loop, self.name, ast.Constant(0))] if self.found else []
        return [*number, *(_at(loop, declared) for declared in unset)]

    def behind(self, loop: ast.stmt) -> Body:
        """Return what stands behind the loop: it returns what the loop was left with."""
        statements: Body = []
        for k, (where, value) in enumerate(self.found, 1):
            met = ast.Compare(ast.Name(self.name, ast.Load()), [ast.Eq()], [ast.Constant(k)])
            end = _at(where, ast.Return(value))
            statements.append(_at(where, ast.If(_at(where, met), [end], [])))
        return statements

    def _statement(self, statement: ast.stmt) -> Body:
        if isinstance(statement, ast.If):
            return [
                _at(statement, ast.If(statement.test, *map(self.block, (statement.body, statement.orelse))))
            ]
        if not isinstance(statement, ast.Return):
            return [statement]
        kept, value = self._kept(statement, statement.value)
        self.found.append((statement, value))
        number = _assigned(statement, self.name, ast.Constant(len(self.found)))
        return [*kept, number, _at(statement, ast.Break())]

    def _kept(self, where: ast.Return, value: ast.expr | None) -> tuple[Body, ast.expr | None]:
        """Return statements that keep a value, and what it is called then."""
        if value is None or _known(value):
            inner = (node for node in ast.walk(value or where) if isinstance(node, ast.Name))
            self.kept += [name.id for name in inner if name.id not in self.kept]
            return [], value
        if isinstance(value, ast.Tuple):
            pairs = [self._kept(where, element) for element in value.elts]
            names = [name for _, name in pairs if name is not None]
            return [s for kept, _ in pairs for s in kept], _at(where, ast.Tuple(names, ast.Load()))
        name = f"{RESULT}{next(self.numbers)}"
        self.kept.append(name)
        return [_assigned(where, name, value)], _at(where, ast.Name(name, ast.Load()))


def _known(value: ast.expr) -> bool:
    """Tell whether a value is a literal, or in a variable of an inner loop already."""
    if isinstance(value, ast.Tuple):
        return all(map(_known, value.elts))
    return isinstance(value, ast.Constant) or (isinstance(value, ast.Name) and value.id.startswith(RESULT))


def _jumps(statement: ast.stmt) -> Iterator[ast.stmt]:
    """Yield the jumps that belong to the loop around a statement."""
    if isinstance(statement, ast.Break | ast.Continue):
        yield statement
    elif isinstance(statement, ast.If):
        for inner in [*statement.body, *statement.orelse]:
            yield from _jumps(inner)


def _without_jumps(body: Body, flag: str | None) -> Body:
    kept: Body = []
    for k, statement in enumerate(body):
        if isinstance(statement, ast.Continue):
            return kept or [_at(statement, ast.Pass())]
        if isinstance(statement, ast.Break):
            return [*kept, _assigned(statement, flag or "", ast.Constant(1))]
        if isinstance(statement, ast.If) and any(_jumps(statement)):
            sides = [
                _without_jumps(side if _ends(side) else [*side, *body[k + 1 :]], flag)
                for side in (statement.body, statement.orelse)
            ]
            then = sides[0] or [_at(statement, ast.Pass())]
            return [*kept, _at(statement, ast.If(statement.test, then, sides[1]))]
        kept.append(statement)
    return kept


def _ends(body: Body) -> bool:
    """Tell whether statements always end with a jump."""
    if not body:
        return False
    last = body[-1]
    if isinstance(last, ast.If):
        return _ends(last.body) and _ends(last.orelse)
    return isinstance(last, ast.Break | ast.Continue | ast.Return)


def _assigned(where: ast.stmt, name: str, value: ast.expr) -> ast.stmt:
    target = _at(where, ast.Name(name, ast.Store()))
    return _at(where, ast.Assign([target], _at(where, value) if isinstance(value, ast.Constant) else value))


def _at(where: ast.AST, node: Node) -> Node:
    return ast.fix_missing_locations(ast.copy_location(node, where))
