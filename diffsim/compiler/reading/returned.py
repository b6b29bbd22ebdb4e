"""What kernels return, and other kernels of the same step take: it is kept in a hidden Scratch in between."""

from __future__ import annotations

from math import prod
from typing import Any

from diffsim import _taichi
from diffsim.compiler.ir import is_float
from diffsim.compiler.reading.context import Context
from diffsim.compiler.reading.values import (
    POISON,
    Abstract,
    FieldPlace,
    Matrix,
    Record,
    entries_of,
    like,
)
from diffsim.language.adjoints import given_adjoint
from diffsim.language.results import Result
from diffsim.language.trace import KernelCall
from diffsim.language.types import ElementType

__all__ = ["keep_result", "taken"]


def keep_result(ctx: Context, call: KernelCall, value: Abstract) -> None:
    """Store what a kernel returns, where another kernel takes it.

    Raises:
        TraceError: It is no number, vector or matrix.
    """
    node = ctx.frame.source.node
    if call.result is None or not call.result.used:
        return
    value = ctx.runtime(value, node)
    _check_derived(ctx, call, "return", [e.dtype for e in entries_of(value)])
    if isinstance(value, Record):
        ctx.error(
            node,
            f"kernel {call.name} must return a number or a vector to others, got a struct; return a part",
            rule="SHAPE",
        )
    entries = entries_of(value)
    shape = value.shape if isinstance(value, Matrix) else ()
    whole = not any(is_float(e.dtype) for e in entries)
    type_ = ElementType(f"result{list(shape)}", shape, integer=whole)
    buffer = ctx.buffers.add_hidden(type_, (), f"result of {call.name}")
    place = FieldPlace(buffer, (), 0, shape, tuple(range(prod(shape))))
    ctx.builder.where = ctx.at(node)
    for ref, entry in zip(place.refs, entries, strict=True):
        ctx.builder.store(ref, entry)
    ctx.buffers.results[id(call.result)] = place


def _check_derived(ctx: Context, call: KernelCall, verb: str, dtypes: list[str]) -> None:
    """Refuse a result that gradients flow through where a user's own adjoint would have to know of it.

    Raises:
        TraceError: The kernel has such an adjoint.
    """
    if given_adjoint(call.function) is not None and any(map(is_float, dtypes)):
        ctx.error(
            ctx.frame.source.node,
            f"kernel {call.name} must not {verb} a value that is passed on in step, since it has an adjoint "
            "of its own, which cannot know of it; let a Scratch hold the value",
            rule="ADJOINT",
        )


def taken(ctx: Context, call: KernelCall, name: str, annotation: Any, argument: Result) -> Abstract:
    """Return what another kernel returned, as the type that an argument is annotated with.

    Raises:
        TraceError: It has another shape, or is no integer where one is wanted.
    """
    node = ctx.frame.source.node
    place = ctx.buffers.results.get(id(argument))
    if place is None:  # the other kernel was refused
        return POISON
    _check_derived(ctx, call, "take", [place.buffer.dtype])
    loaded = [ctx.builder.load(ref) for ref in place.refs]
    value: Abstract = Matrix(tuple(loaded), place.shape) if place.shape else loaded[0]
    kind: Any = annotation
    wanted: tuple[int, ...] = ()
    if _taichi.is_vector_type(annotation):
        wanted = (annotation.n,) if annotation.ndim == 1 else (annotation.n, annotation.m)
        kind = annotation.dtype
    named = kind in (int, float) or _taichi.is_scalar_type(kind)
    if (named or _taichi.is_vector_type(annotation)) and wanted != place.shape:
        ctx.error(
            node,
            f"argument {name} of {call.name} must have shape {wanted or '()'}, as it is annotated, got "
            f"{argument!r}, of shape {place.shape or '()'}; annotate it as what it gets",
            rule="SHAPE",
        )
    dtype = _taichi.dtype_name(kind) if named else None
    if dtype is not None and not is_float(dtype) and is_float(place.buffer.dtype):
        ctx.error(
            node,
            f"argument {name} of {call.name} must be an integer, since it is annotated as {dtype}, got "
            f"{argument!r}, a float, whose gradient would end there; annotate it as float",
            rule="SHAPE",
        )
    if dtype is None or (is_float(dtype) and is_float(place.buffer.dtype)):
        return value
    return like(value, [ctx.builder.cast(e, dtype) for e in entries_of(value)])
