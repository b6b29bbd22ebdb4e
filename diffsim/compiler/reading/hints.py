"""What to write instead, where a kernel uses a name, an index or a function that it cannot."""

from __future__ import annotations

import ast
import builtins
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from diffsim import _taichi
from diffsim.compiler.reading.context import Context
from diffsim.compiler.reading.quoting import indexed
from diffsim.compiler.reading.values import Abstract, Matrix, Object, Record, TimeIndex
from diffsim.language.fields import Field
from diffsim.options import near_miss

__all__ = ["count_remedy", "no_part", "time_remedy", "undefined", "unknown_function"]

_NUMPY = {  # what kernels have instead
    "dot": "a.dot(b)",
    "cross": "a.cross(b)",
    "norm": "v.norm()",
    "sum": "v.sum()",
    "array": "ti.Vector([...])",
    "asarray": "ti.Vector([...])",
    "sign": "ti.math.sign(x)",
    "outer": "a.outer_product(b)",
}
_DECLARE = "declare fields in __init__, as ds.State, ds.Scratch, ds.Param or ds.Constant"
_TAICHI = {  # by a part of where the function is and what it is called
    "taichi.ad.": "rollout.value_and_grad() runs all adjoints: a kernel says what happens, forward alone",
    "FieldsBuilder.": _DECLARE,
    "deactivate_all": "do it in Python before a run; a declared Scratch begins each step empty",
    "rescale_index": "compute it with // and *",
    "snode.": "declare fields in __init__, sparse ones with layout=ds.sparse(...)",
    "Field.fill": "declare the field as ds.Scratch or ds.State, whose fill() kernels know",
    ".to_numpy": "call rollout.trajectory(field) for what a run computed",
    ".from_numpy": "give values before the run, by field.set(...)",
    "impl.field": _DECLARE,
}
_BUILTINS = {"divmod": "a // b and a % b", "round": "ti.round(x)"}


def undefined(ctx: Context, name: str) -> str:
    """Say that a name stands for nothing, and what was probably meant."""
    text = f"{name} must be defined before it is used"
    owner = ctx.frame.owner
    assigned = {
        node.id
        for node in ast.walk(ctx.frame.source.node)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    if name in assigned:
        return (
            f"{text}, got one that a loop or branch assigns, which ends with it; give it a value before, "
            f"as in {name} = 0.0"
        )
    if owner is not None and hasattr(owner, name):
        return f"{text}, got one that is an attribute; write self.{name}"
    known = [*ctx.frame.variables, *ctx.frame.source.function.__globals__]
    meant = near_miss(name, [other for other in known if not other.startswith("_")])
    return f"{text}, got none; " + (
        f"did you mean {meant}?" if meant else "assign it, or write self. before it"
    )


def no_part(ctx: Context, node: ast.Attribute, base: Abstract) -> str:
    """Say that a value has no such component, method or part."""
    has = "a number"
    if isinstance(base, Matrix):
        kind = "vector" if len(base.shape) == 1 else "matrix"
        has = f"a {kind} of shape {base.shape}"
    elif isinstance(base, Record):
        has = f"a struct of {', '.join(base.names)}"
    return f"{ctx.text(node)} must be a component or a method, got .{node.attr} of {has}; correct the name"


def time_remedy(ctx: Context, node: ast.Subscript, declared: Field, index: Abstract, rest: int) -> str:
    """Say how a State or Scratch is indexed, where its first index is neither the time nor of its axes.

    Args:
        ctx: The state of lowering.
        node: The subscript.
        declared: The field.
        index: The first index.
        rest: How many further ones there are.
    """
    text, axes = ast.unparse(node.value), len(declared.shape)
    if ctx.in_reset:
        return f"write {indexed(text, axes, '0')}"
    if rest != axes or (declared.kind == "scratch" and not axes):
        return f"write {indexed(text, axes, 't')}"
    if isinstance(index, Object) and isinstance(index.value, int):
        return f"{index.value} is a number, and steps are not read by number: pass t on from step"
    return "other steps are not readable, since the library decides where time lives"


def count_remedy(node: ast.Subscript, declared: Any, timed: bool, first: Abstract | None) -> str:
    """Say how a field is indexed that got too many indices or too few."""
    text, given = ast.unparse(node.value), node.slice
    parts = given.elts if isinstance(given, ast.Tuple) else [given]
    lacks_time = timed and first is not None and not isinstance(first, TimeIndex)  # of a Control: any number
    if lacks_time and len(parts) == len(declared.shape):
        return f"write {text}[{', '.join(map(ast.unparse, [ast.Name('t'), *parts]))}]"
    wanted = indexed(text, len(declared.shape), ast.unparse(parts[0]) if timed else "")
    if isinstance(first, TimeIndex) and not timed:
        return f"it has no time axis: write {wanted}, or declare a ds.Control, one value in each step"
    count = len(parts) - timed if isinstance(given, ast.Tuple) else 0
    kind = getattr(declared, "type", None)
    if kind is not None and count == len(declared.shape) + len(kind.shape) > len(declared.shape):
        return f"components stand by themselves: write {wanted}[{', '.join('01'[: len(kind.shape)])}]"
    return f"write {wanted}"


def unknown_function(ctx: Context, node: ast.Call, obj: Callable[..., Any]) -> str:
    """Say that a function cannot be differentiated, and what to write instead."""
    text = ctx.text(node.func)
    name = getattr(obj, "__name__", "")
    module = str(getattr(obj, "__module__", "") or "")
    if _taichi.kernel_function(obj) is not None or type(obj).__name__ == "BoundKernel":
        return f"kernels must not call kernels, got {ctx.text(node)}; make it a @ti.func, or call it in step"
    must = f"{text} must be a function that kernels can differentiate, got "
    if module.startswith("numpy") or isinstance(obj, np.ufunc):
        instead = _NUMPY.get(name)
        return (
            f"{must}one of NumPy; write {instead}"
            if instead
            else (f"{must}one of NumPy; write it as a @ti.func, with ti.math and operators")
        )
    if module.startswith("taichi"):
        for part, remedy in _TAICHI.items():
            if part in f"{module}.{type(getattr(obj, '__self__', None)).__name__}.{name}":
                return f"{must}{ctx.text(node)}; {remedy}"
        return f"{must}one of Taichi's that has no derivative here; write it as a @ti.func of known functions"
    if isinstance(getattr(obj, "__self__", None), list):
        return (
            f"{must}a method of a list, which is fixed when the kernel compiles; use ti.Vector or a Scratch"
        )
    if getattr(builtins, name, None) is obj:
        return f"{must}one of Python's own; write " + _BUILTINS.get(name, "it as a @ti.func, with operators")
    if inspect.isfunction(obj) or inspect.ismethod(obj):
        what = "one behind a decorator" if hasattr(obj, "__wrapped__") else f"one of {module.split('.')[0]}"
        return f"{must}{what}, whose text is not read; write it as a @ti.func"
    return f"{must}one that diffsim does not know; write it as a @ti.func of known functions"
