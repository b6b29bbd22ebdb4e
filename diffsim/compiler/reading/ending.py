"""Lowering `self.done`: kernels say that a world ends, and ask whether it has.

In memory is, for each world, the number of the first step that it does not run, or one beyond any horizon.
Whoever says in step `t` that the world ends writes `t + 1`, however often that is said, and again when the
step is recomputed: nothing of it has to be kept.
"""

from __future__ import annotations

import ast

from diffsim.compiler.ir import Block, Buffer, Const, Operand, Ref, Value, is_float
from diffsim.compiler.reading.context import Context
from diffsim.compiler.reading.values import Abstract

__all__ = ["end_world", "has_ended"]


def end_world(ctx: Context, buffer: Buffer, value: Abstract, node: ast.AST) -> None:
    """Lower `self.done[None] = value`: the world ends with this step where the value is true.

    Raises:
        TraceError: The value is not a condition or never true, or the run is over anyway.
    """
    if ctx.phase == "terminal_cost":
        ctx.error(
            node,
            f"self.done must be set in step, running_cost or reset, got {ctx.text(node)} in terminal_cost, "
            "which runs when all steps are over; leave it out",
            rule="DONE",
        )
    cond = ctx.runtime(value, node)
    if not isinstance(cond, Value | Const) or is_float(cond.dtype):
        ctx.error(
            node,
            f"self.done must be set to True or to a condition, got {ctx.text(node)}; compare numbers, as in "
            "self.done[None] = height < 0.0",
            rule="DONE",
        )
    cond = ctx.builder.truth(cond)
    if isinstance(cond, Const) and not cond.value:
        ctx.error(
            node,
            f"self.done must only be set to True, got {ctx.text(node)}; a world that has ended does not go "
            "on, and none has at the start: leave it out",
            rule="DONE",
        )
    builder, reset = ctx.builder, ctx.phase == "reset"
    builder.where = ctx.at(node)
    moment = "before its first step" if reset else "with this step"
    ctx.note(node, f"the world ends {moment}{_where(ctx, cond)}")
    first = builder.const(0) if reset else builder.op("add", ctx.t, builder.const(1))
    if isinstance(cond, Const):
        builder.store(Ref(buffer, ()), first)
        return
    then = Block()
    with builder.inside(then):
        builder.store(Ref(buffer, ()), first)
    builder.branch(cond, then, Block())


def _where(ctx: Context, cond: Operand) -> str:
    if isinstance(cond, Value):
        return " where the condition holds"
    return " where this is reached" if ctx.depth else ""


def has_ended(ctx: Context, buffer: Buffer, node: ast.AST) -> Operand:
    """Lower a read of `self.done[None]`: whether the world ends with this step, or has ended."""
    builder = ctx.builder
    builder.where = ctx.at(node)
    after = builder.op("add", ctx.t, builder.const(1))
    return builder.op("le", builder.load(Ref(buffer, ())), after)
