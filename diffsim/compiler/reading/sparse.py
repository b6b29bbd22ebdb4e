"""Fields with a sparse layout in kernels: loops over their active cells, and `ti.is_active`.

Whether a cell is active is read from a buffer of its layout that has no memory (kind `activity`): a loop over
a sparse field is the loop over all its cells whose body is in an `if`. What follows sees an ordinary loop;
at the end of lowering it becomes one over the list of active blocks (`program/sparse`).
"""

from __future__ import annotations

import ast
from typing import Any, NoReturn

from diffsim.compiler.ir import NEWEST, Buffer, Operand, Ref
from diffsim.compiler.reading.constructors import Evaluate, arguments_of
from diffsim.compiler.reading.context import Context
from diffsim.compiler.reading.foreign import sparse_call
from diffsim.compiler.reading.values import Abstract, Matrix, Object, Sequence, TimeIndex, Variable
from diffsim.language.fields import Field, State

__all__ = ["ACTIVE", "activate", "active_at", "guarded_body", "is_active", "refuse_in_reset"]

ACTIVE = "(active)"  # a name that no kernel can use


def active_at(ctx: Context, field: Field, indices: list[Operand], time: int | None, node: ast.AST) -> Operand:
    """Return whether a cell of a field is active, as a condition.

    Args:
        ctx: The kernel.
        field: With a sparse layout.
        indices: The cell.
        time: As the kernel names it; None where it names none.
        node: The statement.
    """
    layout = field.sparse
    assert layout is not None  # noqa: S101  (the callers ask for fields that have one)
    buffer = ctx.buffers.activity(layout, field)
    carried = ctx.buffers.carries(layout)
    if field.kind == "constant":
        when = None
    elif isinstance(field, State):
        still = ctx.in_reset or ctx.phase == "terminal_cost"
        when = time if time is not None else 0 if still else NEWEST
    else:
        when = 1 if carried else 0
    ctx.builder.where = ctx.at(node)
    active = ctx.builder.load(Ref(buffer, tuple(indices), 0, when))
    if ctx.frame.source.allows(node, "ACTIVITY"):
        ctx.buffers.known_to_jump.add(active)
    return ctx.builder.truth(active)


def guarded_body(ctx: Context, node: ast.For, over: Field | Buffer, indices: list[Operand]) -> list[ast.stmt]:
    """Return the body of a loop over all cells of a field for those that are active alone.

    Args:
        ctx: The kernel.
        node: The loop.
        over: The declared field; of a Taichi field made by hand, what tells which cells are active.
        indices: The cell.
    """
    if isinstance(over, Field):
        refuse_in_reset(ctx, node, over)
        active = active_at(ctx, over, indices, None, node.iter)
    else:
        ctx.builder.where = ctx.at(node.iter)
        active = ctx.builder.truth(ctx.builder.load(Ref(over, tuple(indices), 0, None)))
    ctx.frame.variables[ACTIVE] = Variable(active)
    test = ast.copy_location(ast.Name(ACTIVE, ast.Load()), node.iter)
    return [ast.copy_location(ast.If(test, node.body, []), node)]


def refuse_in_reset(ctx: Context, node: ast.AST, field: Field) -> None:
    """Refuse a Scratch with a sparse layout before the first step.

    Raises:
        TraceError: It is used in `reset`.
    """
    if ctx.in_reset and field.kind == "scratch":
        ctx.error(
            node,
            f"{field.label} must not be used in reset, since its layout is sparse, got {ctx.text(node)}; "
            "store into the State itself, or use a Scratch without that layout",
            rule="SPARSE",
        )


def is_active(ctx: Context, node: ast.Call, evaluate: Evaluate) -> Abstract:
    """Evaluate `ti.is_active(self.mass, cell)` of a declared field.

    Raises:
        TraceError: The cell does not fit the field, or it is a Taichi field made by hand.
    """
    given = arguments_of(ctx, node, evaluate)
    field = given[0].value if given and isinstance(given[0], Object) else None
    if not isinstance(field, Field):
        return sparse_call(ctx, node, evaluate)
    if len(given) != 2:
        _refuse(ctx, node, field)
    time, cell = _cell(ctx, node, field, given[1])
    if field.sparse is None:
        return Object(True)
    return active_at(ctx, field, cell, time, node)


def activate(ctx: Context, node: ast.Call, evaluate: Evaluate) -> Abstract:
    """Lower `ti.activate(self.mass, cell)` of a declared field: nothing is added to the cell.

    Of a State it means the cell at `t + 1`.

    Raises:
        TraceError: The cell does not fit the field, or steps do not write it, or it was made by hand.
    """
    given = arguments_of(ctx, node, evaluate)
    field = given[0].value if given and isinstance(given[0], Object) else None
    if not isinstance(field, Field) or field.kind not in ("state", "scratch"):
        return sparse_call(ctx, node, evaluate)
    if len(given) != 2:
        _refuse(ctx, node, field)
    time, cell = _cell(ctx, node, field, given[1])
    refuse_in_reset(ctx, node, field)
    if time is None:
        time = 1 if field.kind == "state" and not ctx.in_reset else 0
    if time != int(field.kind == "state" and not ctx.in_reset) or ctx.phase == "terminal_cost":
        _refuse(ctx, node, field)
    buffer = ctx.buffers.by_field[id(field)]
    ctx.builder.where = ctx.at(node)
    ctx.builder.accumulate(Ref(buffer, tuple(cell), 0, time), ctx.builder.const(0, buffer.dtype))
    return Object(None)


def _cell(ctx: Context, node: ast.Call, field: Field, given: Any) -> tuple[int | None, list[Operand]]:
    items: list[Any] = [given]
    if isinstance(given, Matrix):
        items = list(given.entries)
    elif isinstance(given, Sequence):
        items = list(given.items)
    elif isinstance(given, Object) and isinstance(given.value, tuple | list):
        items = [Object(x) for x in given.value]
    flat: list[Any] = []
    for item in items:
        flat += item.entries if isinstance(item, Matrix) else [item]
    time = None
    if flat and isinstance(flat[0], TimeIndex):
        time = flat.pop(0).offset
    if len(flat) != len(field.shape):
        _refuse(ctx, node, field)
    return time, [ctx.integer(item, node) for item in flat]


def _refuse(ctx: Context, node: ast.Call, field: Field) -> NoReturn:
    ctx.error(
        node,
        f"{ctx.text(node.func)} must get a field and one of its cells, {len(field.shape)} integers, got "
        f"{ctx.text(node)}; write {ctx.text(node.func)}({ctx.text(node.args[0])}, cell)",
        rule="INDEX",
    )
