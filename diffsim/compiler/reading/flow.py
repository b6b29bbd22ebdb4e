"""Writing `break` and `continue` as branches, so that loops have one way through.

What follows a branch that ends with a jump becomes its other side; a loop that breaks gets a flag that lets
its remaining iterations pass without effect. Positions stay those of the user's text.
"""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator
from typing import TypeVar

__all__ = ["LEFT", "has_return", "structured"]

LEFT = "_left_"  # how the flags of loops that were left are called

Body = list[ast.stmt]
Node = TypeVar("Node", bound=ast.AST)


def structured(body: Body) -> Body:
    """Return statements in which no loop is left by `break` or goes on by `continue`."""
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
    if not isinstance(statement, ast.For):
        return [statement]
    body = _statements(statement.body, numbers)
    jumps = [node for node in body for node in _jumps(node)]
    if not jumps:
        return [_at(statement, ast.For(statement.target, statement.iter, body, statement.orelse))]
    breaks = any(isinstance(jump, ast.Break) for jump in jumps)
    flag = f"{LEFT}{next(numbers)}" if breaks else None
    body = _without_jumps(body, flag)
    if flag is None:
        return [_at(statement, ast.For(statement.target, statement.iter, body, statement.orelse))]
    going = ast.Compare(ast.Name(flag, ast.Load()), [ast.Eq()], [ast.Constant(0)])
    body = [_at(statement, ast.If(_at(statement, going), body, []))]
    loop = _at(statement, ast.For(statement.target, statement.iter, body, statement.orelse))
    return [_flagged(statement, flag, 0), loop]


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
            return [*kept, _flagged(statement, flag or "", 1)]
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


def _flagged(where: ast.stmt, flag: str, value: int) -> ast.stmt:
    target = _at(where, ast.Name(flag, ast.Store()))
    return _at(where, ast.Assign([target], _at(where, ast.Constant(value))))


def _at(where: ast.AST, node: Node) -> Node:
    return ast.fix_missing_locations(ast.copy_location(node, where))
