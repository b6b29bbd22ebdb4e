"""Lowering a kernel's statements one by one; branches yield the variables that they change."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

from diffsim import _taichi
from diffsim.analysis.assignments import lower_annotated, lower_assignment, lower_augmented
from diffsim.analysis.context import Context, restore
from diffsim.analysis.expressions import evaluate, known_object
from diffsim.analysis.loops import lower_for
from diffsim.analysis.values import Abstract, Object, Variable, entries_of, like
from diffsim.ir import Block, Const

__all__ = ["Returned", "run"]


class Returned(Exception):
    """Carry the value of a `return` out of the body of an inlined function."""

    def __init__(self, value: Abstract) -> None:
        super().__init__()
        self.value = value


def run(ctx: Context, statements: list[ast.stmt]) -> None:
    """Lower statements in order.

    Raises:
        Returned: A `return` was reached.
        TraceError: A statement is not one that kernels can be differentiated with.
    """
    for statement in statements:
        handler = _HANDLERS.get(type(statement))
        if handler is None:
            ctx.error(
                statement, f"kernels must not use `{type(statement).__name__.lower()}`; {_remedy(statement)}"
            )
        handler(ctx, statement)


def _remedy(statement: ast.stmt) -> str:
    if isinstance(statement, ast.While):
        return "use `for _ in range(n)` with an `if` around the body"
    if isinstance(statement, ast.Break | ast.Continue):
        return "put the rest of the body in an `if`"
    return "move it out of the kernel"


def _expression(ctx: Context, node: ast.Expr) -> None:
    if isinstance(node.value, ast.Constant):
        return
    call, ti = node.value, _taichi.ti
    if isinstance(call, ast.Call) and len(call.args) == 2:
        function = known_object(ctx, call.func)
        if function is ti.atomic_add or function is ti.atomic_sub:
            op = ast.Add() if function is ti.atomic_add else ast.Sub()
            same = ast.AugAssign(call.args[0], op, call.args[1])  # type: ignore[arg-type]
            lower_augmented(ctx, ast.copy_location(same, node))
            return
    evaluate(ctx, node.value)


# ---- branches ----


def _if(ctx: Context, node: ast.If) -> None:
    test = evaluate(ctx, node.test)
    if isinstance(test, Object):
        run(ctx, node.body if test.value else node.orelse)
        return
    cond = ctx.builder.truth(ctx.number(test, node.test))
    if isinstance(cond, Const):
        run(ctx, node.body if cond.value else node.orelse)
        return
    variables = ctx.variables()
    before = [v.current for v in variables]
    then, orelse = Block(), Block()
    _run_scoped(ctx, node.body, then)
    after_then = [v.current for v in variables]
    restore(variables, before)
    _run_scoped(ctx, node.orelse, orelse)
    after_else = [v.current for v in variables]
    merged: list[tuple[Variable, int]] = []
    for variable, a, b, old in zip(variables, after_then, after_else, before, strict=True):
        if a is old and b is old:
            continue
        entries = list(zip(entries_of(a), entries_of(b), strict=True))
        then.yields += [p for p, _ in entries]
        orelse.yields += [q for _, q in entries]
        merged.append((variable, len(entries)))
    results = ctx.builder.branch(cond, then, orelse)
    for variable, count in merged:
        part, results = results[:count], results[count:]
        variable.current = like(variable.current, part)


def _run_scoped(ctx: Context, statements: list[ast.stmt], block: Block) -> None:
    """Lower statements into a block; names that they introduce end with it."""
    ctx.depth += 1
    try:
        with ctx.scope(), ctx.builder.inside(block):
            run(ctx, statements)
    finally:
        ctx.depth -= 1


# ---- the rest ----


def _return(ctx: Context, node: ast.Return) -> None:
    if ctx.depth:
        ctx.error(
            node,
            f"{ctx.frame.source.node.name} must not return from inside a loop "
            "or branch; assign and return at its end",
        )
    if len(ctx.frames) == 1 and node.value is not None:
        ctx.error(node, "kernels must not return values; add to self.cost or write a field")
    raise Returned(Object(None) if node.value is None else evaluate(ctx, node.value))


def _ignore(ctx: Context, node: ast.stmt) -> None:
    """Pass over statements that have no effect on values."""


_HANDLERS: dict[type[ast.stmt], Callable[[Context, Any], None]] = {
    ast.Assign: lower_assignment,
    ast.AnnAssign: lower_annotated,
    ast.AugAssign: lower_augmented,
    ast.Expr: _expression,
    ast.If: _if,
    ast.For: lower_for,
    ast.Return: _return,
    ast.Pass: _ignore,
    ast.Assert: _ignore,
}
