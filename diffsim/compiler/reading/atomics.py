"""Taichi's atomic functions in kernels: on fields in order of the loops, and on local variables.

What an atomic returns, and which number a largest one comes from, depend on the order of a loop's iterations.
So that it is always the same, and the way back can go the other way round, such loops run in order.
"""

from __future__ import annotations

import ast
from collections.abc import Callable

from diffsim import _taichi
from diffsim.compiler.ir import Operand, Ref, is_float
from diffsim.compiler.reading import matrices
from diffsim.compiler.reading.constructors import Evaluate
from diffsim.compiler.reading.context import Context
from diffsim.compiler.reading.values import Abstract, FieldPlace, Matrix, entries_of, like
from diffsim.compiler.reading.writes import check_writable, fitted

__all__ = ["ATOMICS", "BITS", "atomic_call", "change"]

ti = _taichi.ti
ATOMICS: dict[int, str] = {
    id(getattr(ti, f"atomic_{name}")): fn
    for name, fn in {
        "add": "add",
        "sub": "sub",
        "mul": "mul",
        "max": "max",
        "min": "min",
        "and": "bit_and",
        "or": "bit_or",
        "xor": "bit_xor",
    }.items()
    if hasattr(ti, f"atomic_{name}")
}
BITS: dict[type[ast.operator], str] = {ast.BitAnd: "bit_and", ast.BitOr: "bit_or", ast.BitXor: "bit_xor"}
Chosen = tuple[FieldPlace, "Operand | None"]  # a place, and the index of its component if that is computed
Finders = tuple[  # of places, and of places with a computed component
    Callable[[Context, ast.expr], "FieldPlace | None"],
    Callable[[Context, ast.expr], "tuple[FieldPlace, Operand] | None"],
]


def atomic_call(ctx: Context, node: ast.Call, evaluate: Evaluate, finders: Finders, fn: str) -> Abstract:
    """Change a local variable or a place in memory, and return what was there before.

    Raises:
        TraceError: The target is neither, or it cannot take in what it is changed by.
    """
    if len(node.args) != 2:
        ctx.error(node, f"{ctx.text(node)} must get a target and a number", rule="SHAPE")
    target = node.args[0]
    variable = ctx.frame.variables.get(target.id) if isinstance(target, ast.Name) else None
    if variable is None or variable.dtypes is None:
        found = None if isinstance(target, ast.Name) else _found(ctx, target, finders)
        if found is None:
            ctx.error(
                node,
                f"{ctx.text(node.func)} must change an element of a field or a local variable, got "
                f"{ctx.text(target)}; name one",
                rule="ATOMIC",
            )
        return change(ctx, found, fn, evaluate(ctx, node.args[1]), node)
    old = variable.current
    try:
        new = matrices.elementwise(ctx.builder, fn, old, ctx.runtime(evaluate(ctx, node.args[1]), node))
        entries = list(zip(entries_of(new), variable.dtypes, strict=True))
    except ValueError as error:
        ctx.error(node, f"{ctx.text(node)} must get arguments that fit: {error}", rule="SHAPE")
    if any(is_float(e.dtype) and not is_float(dtype) for e, dtype in entries):
        ctx.error(
            node,
            f"an integer variable must not take in a float, got {ctx.text(node)}, which would cut the value "
            "and its gradient; start it with a float (0.0)",
            rule="NAME",
        )
    variable.current = like(old, [ctx.builder.cast(e, dtype) for e, dtype in entries])
    return old


def _found(ctx: Context, target: ast.expr, finders: Finders) -> Chosen | None:
    place = finders[0](ctx, target)
    return finders[1](ctx, target) if place is None else (place, None)


def change(ctx: Context, target: Chosen, fn: str, value: Abstract, node: ast.AST) -> Abstract:
    """Change a place in memory and return what was there, in a loop that runs in order.

    Args:
        ctx: The state of lowering.
        target: The place, and the index of its component where that is computed.
        fn: What makes the new number of the old one and the value.
        value: The value.
        node: Where this stands.

    Raises:
        TraceError: The place may not be written, or it cannot take in the value.
    """
    place, position = target
    check_writable(ctx, place, node, adds=False)
    buffer, b = place.buffer, ctx.builder
    if buffer.kind == "done":
        ctx.error(
            node,
            f"self.done must be set, got {ctx.text(node)}; write self.done[None] = True, or |= a condition",
            rule="DONE",
        )
    if fn in BITS.values() and is_float(buffer.dtype):
        ctx.error(
            node,
            f"bits must be those of integers, got {ctx.text(node)} on {buffer.label}, which holds real "
            "numbers; declare it with ds.i32",
            rule="SHAPE",
        )
    if place.time == 1:
        ctx.buffers.acknowledged.add(buffer)
    b.where = ctx.at(node)
    if position is not None:
        ctx.number(value, node)  # it is for one component
    values = fitted(ctx, place, value, node)
    old: list[Operand] = []
    chosen: Operand = b.const(0, buffer.dtype)
    for k, (component, amount) in enumerate(zip(place.components, values, strict=True)):
        ref = Ref(buffer, place.indices, component, place.time)
        before = b.load(ref, changed=True)
        after = b.op(fn, before, b.cast(amount, buffer.dtype))
        if position is not None:
            hit = b.op("eq", position, b.const(k))
            after, chosen = b.op("select", hit, after, before), b.op("select", hit, before, chosen)
        b.store(ref, after)
        old.append(before)
    ctx.changed.append(place.indices)
    if position is not None:
        return chosen
    return Matrix(tuple(old), place.shape) if place.shape else old[0]
