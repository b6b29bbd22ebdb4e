"""Arguments of kernels: numbers become the scalars that the kernel's annotations name, as in Taichi."""

from __future__ import annotations

import inspect
from typing import Any

from diffsim import _taichi
from diffsim.compiler.ir import Const, is_float
from diffsim.compiler.reading.context import Context
from diffsim.compiler.reading.returned import taken
from diffsim.compiler.reading.values import POISON, Abstract, Matrix, Object, TimeIndex, entries_of
from diffsim.errors import Diagnostic, TraceError
from diffsim.language.fields import Field
from diffsim.language.results import Result
from diffsim.language.trace import KernelCall, Time
from diffsim.options import plain_number

__all__ = ["bound_arguments"]


def bound_arguments(ctx: Context, call: KernelCall) -> dict[str, Abstract]:
    """Return what each parameter of a kernel stands for, `self` included.

    What does not fit is added to `ctx.found`, and its parameter stands for nothing known.
    """
    names = [a.arg for a in ctx.frame.source.node.args.args]
    own = [] if call.owner is None else [call.owner]
    wanted = names[len(own) :]
    found: dict[str, Abstract] = {name: Object(owner) for name, owner in zip(names, own, strict=False)}
    found |= dict.fromkeys(wanted, POISON)
    if len(wanted) != len(call.args):
        message = (
            f"kernel {call.name} must be called with its {len(wanted)} argument(s), got {len(call.args)}; "
            f"call it as {call.function.__name__}({', '.join(wanted)})"
        )
        ctx.found.append(Diagnostic("SHAPE", str(ctx.at(ctx.frame.source.node)), message))
        return found  # which of them is which is not known
    parameters = inspect.signature(call.function).parameters
    for name, argument in zip(wanted, call.args, strict=True):
        try:
            found[name] = _bound(ctx, call, name, parameters[name].annotation, argument)
        except TraceError as error:
            ctx.found += error.diagnostics
    return found


def _bound(ctx: Context, call: KernelCall, name: str, annotation: Any, argument: Any) -> Abstract:
    if isinstance(argument, Time):
        return TimeIndex(argument.offset)
    if isinstance(argument, Result):
        return taken(ctx, call, name, annotation, argument)
    argument = plain_number(argument)
    if _taichi.is_vector_type(annotation):
        return _vector(ctx, call, name, annotation, argument)
    dtype = _scalar_type(ctx, annotation)
    return Object(_taichi.at_home(argument)) if dtype is None else _scalar(ctx, call, name, dtype, argument)


def _scalar_type(ctx: Context, annotation: Any) -> str | None:
    """Return the scalar type that an annotation names; None for templates, structs, arrays and no name."""
    if annotation is float:
        return ctx.builder.real
    if annotation is int or _taichi.is_scalar_type(annotation):
        return _taichi.dtype_name(annotation)
    return None


def _scalar(ctx: Context, call: KernelCall, name: str, dtype: str, argument: Any) -> Abstract:
    """Convert a number; it stays known in Python where its type is the one that literals have."""
    whole = not is_float(dtype)
    if not isinstance(argument, (bool | int) if whole else (bool | int | float)):
        ctx.error(
            ctx.frame.source.node,
            f"argument {name} of {call.name} must be {'an integer' if whole else 'a number'}, since it is "
            f"annotated as {dtype}, got {_named(argument)}; {_remedy(argument)}",
            rule="SHAPE",
        )
    if dtype in ("i32", ctx.builder.real):
        ctx.runtime(Object(argument), ctx.frame.source.node)  # an integer that i32 cannot hold is refused
        return Object(float(argument) if not whole else int(argument))
    const = ctx.builder.const(float(argument) if not whole else int(argument), dtype)
    _warn_of_rounding(ctx, call, name, [argument], [const])
    return const


def _vector(ctx: Context, call: KernelCall, name: str, annotation: Any, argument: Any) -> Abstract:
    node = ctx.frame.source.node
    value = ctx.runtime(Object(argument), node)
    shape = (annotation.n,) if annotation.ndim == 1 else (annotation.n, annotation.m)
    if not isinstance(value, Matrix) or value.shape != shape:
        ctx.error(
            node,
            f"argument {name} of {call.name} must have shape {shape}, as it is annotated, "
            f"got {_named(argument)}; pass ti.Vector or a list of so many numbers",
            rule="SHAPE",
        )
    dtype = _scalar_type(ctx, annotation.dtype) or ctx.builder.real
    given = [e.value for e in entries_of(value) if isinstance(e, Const)]
    consts = [ctx.builder.const(float(x) if is_float(dtype) else int(x), dtype) for x in given]
    _warn_of_rounding(ctx, call, name, given, consts)
    return Matrix(tuple(consts), shape)


def _warn_of_rounding(
    ctx: Context, call: KernelCall, name: str, given: list[Any], consts: list[Const]
) -> None:
    real = ctx.builder.real
    rounded = next((x for x, c in zip(given, consts, strict=True) if c.value != x), None)
    if rounded is not None and real == "f64":
        ctx.warn(
            ctx.frame.source.node,
            f"argument {name} of {call.name} should have the working precision, {real}, got {rounded!r}, "
            f"which its annotation rounds to {consts[0].dtype}, as in Taichi; annotate it as float, or as a "
            f"type of {real}",
            "PRECISION",
        )


def _named(argument: Any) -> str:
    text = repr(argument)
    return text if len(text) <= 60 else f"a {type(argument).__name__}"


def _remedy(argument: Any) -> str:
    if isinstance(argument, Field):
        return "read the field in the kernel, by self or by an argument annotated as ti.template()"
    return "pass a number, or annotate it as what it is"
