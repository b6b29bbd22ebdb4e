"""Lowering `while`: a loop of as many iterations as it can take, left when its condition does not hold."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from diffsim.compiler.ir import Const, Rounds, Value
from diffsim.compiler.reading.context import Context
from diffsim.compiler.reading.expressions import evaluate, known_object
from diffsim.compiler.reading.loops import carry_loop
from diffsim.compiler.reading.values import Object
from diffsim.language.intrinsics import MOST_ROUNDS, at_most

__all__ = ["Again", "lower_again", "lower_while"]


class Again(ast.stmt):
    """What a `while` does first in each iteration: it looks whether it is one too many.

    Attributes:
        index: The number of iterations before.
        most: How many there may be.
        named: The user named that number.
    """

    index: Value
    most: int
    named: bool


def lower_while(ctx: Context, node: ast.While) -> None:
    """Lower a `while` whose body was made an `if` of its flag; see `flow.structured`.

    Raises:
        TraceError: It has an `else`, or its maximum is not known.
    """
    if node.orelse:
        ctx.error(
            node, "kernels must not use while-else; move the else part behind the loop", rule="CONTROL-FLOW"
        )
    [guard] = node.body
    assert isinstance(guard, ast.If)  # noqa: S101  (`structured` made it)
    test, most, named = _bounded(ctx, node.test)
    if not named:
        most = min([most, *_counted(ctx, test, guard.body)])
    ctx.note(node, f"while is a loop of up to {most} iterations, left when its condition does not hold")
    again = ast.copy_location(Again(), node)
    again.most, again.named = most, named
    goes_on = ast.copy_location(ast.If(test, [again, *guard.body], guard.orelse), node)
    body: list[ast.stmt] = [ast.copy_location(ast.If(guard.test, [goes_on], []), node)]

    def lower_body(index: Value) -> None:
        again.index = index
        ctx.run(ctx, body)

    ctx.serial = False
    ctx.loops += 1
    ctx.frame.loops += 1
    try:
        carry_loop(ctx, node, ctx.builder.const(0), ctx.builder.const(most + 1), lower_body, False)
    finally:
        ctx.loops -= 1
        ctx.frame.loops -= 1


def lower_again(ctx: Context, node: Again) -> None:
    """Raise an alarm where a `while` goes on for longer than it may."""
    b = ctx.builder
    count = b.op("add", node.index, b.const(1))
    b.append(Rounds(Value("i32"), "at_most", (count, b.const(node.most)), ctx.at(node), node.named))


def _counted(ctx: Context, test: ast.expr, body: list[ast.stmt]) -> Iterator[int]:
    """Yield how often a body can run that raises counters, from known numbers, which the condition bounds."""
    for part in test.values if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And) else [test]:
        if not isinstance(part, ast.Compare) or len(part.ops) != 1 or not isinstance(part.left, ast.Name):
            continue
        start, step = _known(ctx, part.left), _raised(part.left.id, body)
        stop = _known(ctx, part.comparators[0])
        if start is None or step is None or stop is None:
            continue
        if isinstance(part.ops[0], ast.Lt | ast.LtE):
            reach = stop - start + isinstance(part.ops[0], ast.LtE)
            yield max(1, -(-reach // step))


def _known(ctx: Context, node: ast.expr) -> int | None:
    """Return an integer that is known where the loop begins."""
    if isinstance(node, ast.Name) and node.id in ctx.frame.variables:
        value = ctx.frame.variables[node.id].current
    else:
        value = Object(known_object(ctx, node)) if not isinstance(node, ast.Constant) else Object(node.value)
    number = value.value if isinstance(value, Const | Object) else None
    return number if isinstance(number, int) and not isinstance(number, bool) else None


def _raised(name: str, body: list[ast.stmt]) -> int | None:
    """Return what each iteration adds to a counter, where it does nothing else to it."""
    steps = [
        s.value.value
        for s in body
        if isinstance(s, ast.AugAssign)
        and isinstance(s.op, ast.Add)
        and isinstance(s.target, ast.Name)
        and s.target.id == name
        and isinstance(s.value, ast.Constant)
        and isinstance(s.value.value, int)
        and s.value.value > 0
    ]
    nodes = [node for statement in body for node in ast.walk(statement)]
    stores = [n for n in nodes if isinstance(n, ast.Name) and n.id == name and isinstance(n.ctx, ast.Store)]
    passed = [
        a
        for n in nodes
        if isinstance(n, ast.Call)
        for a in n.args
        if isinstance(a, ast.Name) and a.id == name
    ]
    return steps[0] if len(steps) == len(stores) == 1 and not passed else None


def _bounded(ctx: Context, test: ast.expr) -> tuple[ast.expr, int, bool]:
    """Return the condition of a `while`, the most iterations it can take, and whether the user named them."""
    if not isinstance(test, ast.Call) or known_object(ctx, test.func) is not at_most:
        return test, MOST_ROUNDS, False
    if len(test.args) != 2 or test.keywords:
        ctx.error(
            test,
            f"{ctx.text(test)} must get a condition and a maximum; write `while ds.at_most(condition, 64):`",
            rule="SHAPE",
        )
    most = evaluate(ctx, test.args[1])
    number = most.value if isinstance(most, Object) else None
    if not isinstance(number, int) or number < 1:
        ctx.error(
            test,
            f"{ctx.text(test)} must get a positive maximum that is known when the kernel compiles",
            rule="UNBOUNDED",
        )
    return test.args[0], int(number), True
