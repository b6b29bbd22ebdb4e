"""Writing to places in memory: stores and sums, and who may be written when."""

from __future__ import annotations

import ast
import dataclasses

from diffsim.compiler.ir import NEWEST, Block, Buffer, Const, Operand, Value, is_float
from diffsim.compiler.reading.context import Context
from diffsim.compiler.reading.ending import end_world
from diffsim.compiler.reading.quoting import indexed
from diffsim.compiler.reading.values import Abstract, FieldPlace, Matrix, Record, Sequence, entries_of

__all__ = ["accumulate", "check_writable", "fitted", "store", "write_any"]


def store(ctx: Context, place: FieldPlace, value: Abstract, node: ast.AST) -> None:
    """Overwrite a place.

    Raises:
        TraceError: The place may not be written, or the value's shape does not fit.
    """
    if place.buffer.kind == "cost" and ctx.phase == "terminal_cost" and not ctx.loops:
        ctx.buffers.cost_stores.append(ctx.at(node))  # the only sum of a run, which `program` makes sure of
        accumulate(ctx, place, value, node)
        return
    check_writable(ctx, place, node, adds=False)
    if place.buffer.kind == "done":
        end_world(ctx, place.buffer, value, node)
        return
    if place.time == 1 and ctx.frame.source.allows(node, "PARTIAL"):
        ctx.buffers.acknowledged.add(place.buffer)
    ctx.builder.where = ctx.at(node)
    _warn_of_bases(ctx, place, value, node)
    for ref, entry in zip(place.refs, fitted(ctx, place, value, node), strict=True):
        ctx.builder.store(ref, entry)


def _warn_of_bases(ctx: Context, place: FieldPlace, value: Abstract, node: ast.AST) -> None:
    if isinstance(value, Value | Const | Matrix) and not ctx.bases.isdisjoint(entries_of(value)):
        ctx.warn(
            node,
            "singular vectors and eigenvectors should stay in the kernel that computes them, got them stored "
            f"in {place.buffer.label}: another kernel cannot tell their gradient where values are equal; "
            "store what is made of them, as U @ f(S) @ V.transpose(), or use ds.math.polar3",
            "REPEATED",
        )


def accumulate(ctx: Context, place: FieldPlace, value: Abstract, node: ast.AST, sign: int = 1) -> None:
    """Add a value to a place, or subtract it.

    Raises:
        TraceError: The place may not be written, or the value's shape does not fit.
    """
    check_writable(ctx, place, node, adds=True)
    ctx.builder.where = ctx.at(node)
    for ref, entry in zip(place.refs, fitted(ctx, place, value, node), strict=True):
        amount = entry if sign > 0 else ctx.builder.op("neg", entry)
        ctx.builder.accumulate(ref, amount)


def write_any(
    ctx: Context, place: FieldPlace, position: Operand, value: Abstract, node: ast.AST, sign: int = 0
) -> None:
    """Write a number to the component of a place that an index chooses while the kernel runs.

    Args:
        ctx: The state of lowering.
        place: The vector or matrix in memory.
        position: The component.
        value: The number.
        node: Where this stands.
        sign: 0 stores, 1 adds, -1 subtracts.
    """
    for k, component in enumerate(place.components):
        one = dataclasses.replace(place, shape=(), components=(component,))
        then = Block()
        with ctx.builder.inside(then):
            if sign:
                accumulate(ctx, one, value, node, sign)
            else:
                store(ctx, one, value, node)
        ctx.builder.branch(ctx.builder.op("eq", position, ctx.builder.const(k)), then, Block())


def fitted(ctx: Context, place: FieldPlace, value: Abstract, node: ast.AST) -> tuple[Operand, ...]:
    """Return the numbers that go to each component of a place.

    Raises:
        TraceError: The value's shape does not fit, or it is a float that an integer place would cut.
    """
    value = ctx.runtime(value, node)
    if isinstance(value, Value | Const):
        return (_uncut(ctx, place, value, node),) * len(place.components)
    if (
        isinstance(value, Matrix)
        and len(value.entries) == len(place.components)
        and _same(value.shape, place.shape)
    ):
        return tuple(_uncut(ctx, place, entry, node) for entry in value.entries)
    shape: tuple[int, ...] | str = value.shape if isinstance(value, Matrix) else ()
    if isinstance(value, Record):
        shape = "a tuple" if value.kind is Sequence else f"a struct of {', '.join(value.names)}"
    ctx.error(
        node,
        f"the value must have the shape of its target, {place.shape or 'a number'}, got "
        f"{shape or 'a number'} in {ctx.text(node)}; take a component, or declare the field with that shape",
        rule="SHAPE",
    )


def _uncut(ctx: Context, place: FieldPlace, value: Operand, node: ast.AST) -> Operand:
    """Return a number, unless it is a float that goes to a place for integers."""
    buffer = place.buffer
    if is_float(value.dtype) and not is_float(buffer.dtype) and buffer.kind != "done":
        ctx.error(
            node,
            f"{buffer.label} must take in integers, got a float in {ctx.text(node)}, whose value and "
            "gradient would be cut; write ti.cast(..., ti.i32) around the number, or declare the field "
            "with ds.real",
            rule="INTEGER",
        )
    return value


def _same(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    return tuple(n for n in a if n != 1) == tuple(n for n in b if n != 1)


def check_writable(ctx: Context, place: FieldPlace, node: ast.AST, adds: bool) -> None:
    """Check who may write a place when, by storing or by adding.

    Raises:
        TraceError: This kernel may not.
    """
    _check_owner(ctx, place, node)
    if place.buffer.kind == "cost" and not adds:
        ctx.error(
            node,
            f"the cost must be added to, or be stored once, in terminal_cost and outside of loops, got "
            f"{ctx.text(node)}; write self.cost[None] += ...",
            rule="COST",
        )
    if place.buffer.kind == "done" and adds:
        ctx.error(
            node,
            f"self.done must be set, got {ctx.text(node)}; write self.done[None] = True, or |= a condition",
            rule="DONE",
        )


def _check_owner(ctx: Context, place: FieldPlace, node: ast.AST) -> None:
    buffer = place.buffer
    if ctx.in_adjoint:
        _check_adjoint(ctx, buffer, node)
        return
    if buffer.kind == "external":
        ctx.error(
            node,
            f"{ctx.text(node)} must go into a declared field, got a field allocated by hand, which carries "
            "no gradient; declare it as ds.State or ds.Scratch",
            rule="READ-ONLY",
        )
    label = buffer.source.label
    if buffer.kind in ("param", "control", "constant"):
        ctx.error(
            node,
            f"{label} must not be written by kernels, got {ctx.text(node)}; declare a State or Scratch",
            rule="READ-ONLY",
        )
    if buffer.kind == "state" and ctx.phase in ("step", "running_cost") and place.time not in (1, NEWEST):
        ctx.error(
            node,
            f"{label} must be written at t + 1 in a step, got {ctx.text(node)}, a store to what the step "
            f"began with; write {_at(place, 't + 1')}, or {_at(place, '')} to change it in place",
            rule="WRITE-TIME",
        )
    if buffer.kind == "state" and ctx.phase in ("running_cost", "terminal_cost"):
        ctx.error(
            node,
            f"{label} must not be written in {ctx.phase}, got {ctx.text(node)}; move the kernel to step",
            rule="WRITE-TIME",
        )


def _at(place: FieldPlace, time: str) -> str:
    return indexed(f"self.{place.buffer.source.key}", len(place.buffer.shape), time)


def _check_adjoint(ctx: Context, buffer: Buffer, node: ast.AST) -> None:
    if buffer.kind == "workspace":
        return
    if not buffer.is_adjoint or buffer.kind == "cost":
        ctx.error(
            node,
            f"an adjoint of one's own must only write adjoints (field.grad[...]), got {ctx.text(node)}; the "
            "kernel itself computes the values",
            rule="ADJOINT",
        )
