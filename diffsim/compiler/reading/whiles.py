"""Lowering `while`: a loop of as many iterations as it can take, left when its condition does not hold."""

from __future__ import annotations

import ast

from diffsim.compiler.ir import Rounds, Value
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
