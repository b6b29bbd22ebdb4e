"""Taichi's atomic functions in kernels: sums into fields, and any of them on local variables."""

from __future__ import annotations

import ast

from diffsim import _taichi
from diffsim.compiler.ir import is_float
from diffsim.compiler.reading import matrices
from diffsim.compiler.reading.constructors import Evaluate
from diffsim.compiler.reading.context import Context
from diffsim.compiler.reading.values import Abstract, entries_of, like

__all__ = ["ATOMICS", "atomic_call"]

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


def atomic_call(ctx: Context, node: ast.Call, evaluate: Evaluate, fn: str) -> Abstract:
    """Change a local variable and return the value that it had before, as Taichi's atomics do.

    Raises:
        TraceError: The target is a field: only sums whose result is not used have a right adjoint.
    """
    if len(node.args) != 2:
        ctx.error(node, f"{ctx.text(node)} must get a target and a number", rule="SHAPE")
    target = node.args[0]
    variable = ctx.frame.variables.get(target.id) if isinstance(target, ast.Name) else None
    if variable is None or variable.dtypes is None:
        reason = (
            "must not have its result used, since iterations run in any order; compute the number in "
            "a kernel of its own"
            if fn in ("add", "sub")
            else "has no right adjoint on a field; reduce in a loop over a local variable, or with an `if`"
        )
        ctx.error(node, f"{ctx.text(node.func)} {reason}", rule="ATOMIC")
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
