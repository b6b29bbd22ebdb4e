"""What loops run over: integers from a start to a stop, up or down, by any step."""

from __future__ import annotations

import ast

from diffsim import _taichi
from diffsim.compiler.ir import Const, Operand, Value, is_float
from diffsim.compiler.reading.context import Context
from diffsim.compiler.reading.expressions import known_object
from diffsim.compiler.reading.unrolling import Span
from diffsim.compiler.reading.values import Abstract

__all__ = ["Axis", "bounds_of", "check_names", "index_of", "span_of"]

# Of one axis of a loop: the first index, the one behind the last, and None; or the first index, how many
# there are, and by how much they differ.
Axis = tuple[Operand, Operand, Operand | None]


def check_names(ctx: Context, node: ast.For, axes: int, grouped: bool) -> None:
    """Look whether a loop names its indices as Taichi lets it: one name for each axis, or `ti.grouped`.

    Args:
        ctx: The kernel.
        node: The loop.
        axes: How many axes it runs over.
        grouped: It is a loop over `ti.grouped(...)`, whose one name is a vector of all indices.

    Raises:
        TraceError: It has other names.
    """
    names = len(node.target.elts) if isinstance(node.target, ast.Tuple | ast.List) else 1
    if names == axes and not (grouped and isinstance(node.target, ast.Tuple | ast.List)):
        return
    over = ctx.text(node.iter)
    head = f"for {ctx.text(node.target).strip('()')} in {over}"
    if grouped:
        if isinstance(node.target, ast.Name):
            return
        inner = ctx.text(node.iter.args[0]) if isinstance(node.iter, ast.Call) and node.iter.args else over
        ctx.error(
            node,
            f"a loop over ti.grouped must have one name, for the vector of all indices, got `{head}`; write "
            f"`for I in {over}`, or leave out ti.grouped: `for {', '.join('ijklmnop'[:axes])} in {inner}`",
            rule="CONTROL-FLOW",
        )
    if not axes:
        ctx.error(
            node,
            f"a loop must run over a field that has axes, got `{head}`, of one without; write "
            f"{over}[None], without a loop",
            rule="CONTROL-FLOW",
        )
    plain = ", ".join("ijklmnop"[:axes])
    ctx.error(
        node,
        f"a loop must have one name for each axis, got `{head}`, {names} for {axes}; write "
        f"`for {plain} in {over}`, or `for I in ti.grouped({over})` for a vector of all indices",
        rule="CONTROL-FLOW",
    )


def bounds_of(ctx: Context, axis: tuple[Abstract, ...], node: ast.For) -> Axis:
    """Return an axis of a loop from its stop, its start and stop, or these and its step.

    Raises:
        TraceError: One of them is no integer, or the step is 0.
    """
    numbers = [ctx.number(value, node.iter) for value in axis]
    for number in numbers:
        if is_float(number.dtype):
            ctx.error(
                node,
                f"bounds of a loop must be integers, got a float in {ctx.text(node.iter)}; "
                "use ti.cast(..., ti.i32)",
                rule="CONTROL-FLOW",
            )
    numbers = [ctx.builder.cast(number, "i32") for number in numbers]
    if len(numbers) == 1:
        return ctx.builder.const(0), numbers[0], None
    if len(numbers) == 2:
        return numbers[0], numbers[1], None
    is_range = isinstance(node.iter, ast.Call) and known_object(ctx, node.iter.func) is not _taichi.ti.ndrange
    if len(numbers) == 3 and (is_range or not isinstance(node.iter, ast.Call)):
        return _stepped(ctx, node, *numbers)
    ctx.error(
        node,
        f"a loop must have a stop, a start and a stop, or these and a step, got {ctx.text(node.iter)}; "
        "use range",
        rule="CONTROL-FLOW",
    )


def _stepped(ctx: Context, node: ast.For, start: Operand, stop: Operand, step: Operand) -> Axis:
    """Return a loop that counts the iterations of one that takes larger steps, or goes down."""
    b = ctx.builder
    b.where = ctx.at(node)
    if isinstance(step, Const) and step.value == 0:
        ctx.error(
            node, f"the step of a loop must not be 0, got {ctx.text(node.iter)}; use 1", rule="CONTROL-FLOW"
        )
    way = b.op("sub", stop, start)
    if isinstance(step, Const):
        way, size = (way, step) if step.value > 0 else (b.op("sub", start, stop), b.op("neg", step))
    else:
        up = b.op("gt", step, b.const(0))
        way, size = b.op("select", up, way, b.op("sub", start, stop)), b.op("abs", step)
    if isinstance(size, Const) and size.value == 1:
        return start, way, step
    count = b.op("floordiv", b.op("add", way, b.op("sub", size, b.const(1))), size)
    return start, count, step


def index_of(ctx: Context, axis: Axis, count: Value) -> Operand:
    """Return the index of an iteration from how many there were before it; see `_stepped`."""
    start, _, step = axis
    b = ctx.builder
    if isinstance(step, Const) and step.value == -1:
        return b.op("sub", start, count)
    return b.op("add", start, b.op("mul", count, step or b.const(1)))


def span_of(axis: Axis) -> Span | None:
    """Return what an axis runs over, where that is known now."""
    start, stop, step = axis
    if not isinstance(start, Const) or not isinstance(stop, Const) or not isinstance(step, Const | None):
        return None
    first, last = int(start.value), int(stop.value)
    return (first, max(0, last - first), 1) if step is None else (first, max(0, last), int(step.value))
