"""Lowering a recorded kernel call to a stage: arguments are bound, functions inlined, statements run."""

from __future__ import annotations

import ast
import contextlib
import inspect
from collections.abc import Callable
from typing import Any

from diffsim import _taichi
from diffsim.compiler.builder import Builder
from diffsim.compiler.checks.diagnostics import raise_all
from diffsim.compiler.ir import Const, Stage, Value
from diffsim.compiler.reading.arguments import bound_arguments
from diffsim.compiler.reading.buffers import Buffers
from diffsim.compiler.reading.context import Context, Frame
from diffsim.compiler.reading.custom import call_with_adjoint
from diffsim.compiler.reading.returned import keep_result
from diffsim.compiler.reading.source import read_source
from diffsim.compiler.reading.statements import Returned, run
from diffsim.compiler.reading.values import (
    Abstract,
    Matrix,
    Object,
    Poisoned,
    Record,
    Variable,
    entries_of,
)
from diffsim.errors import TraceError
from diffsim.language.adjoints import given_adjoint, is_surrogate
from diffsim.language.trace import KernelCall

__all__ = ["lower"]

_MAX_DEPTH = 40


def lower(call: KernelCall, phase: str, buffers: Buffers) -> Stage:
    """Turn a recorded kernel call into a stage.

    Args:
        call: What the trace recorded.
        phase: `reset`, `step`, `running_cost` or `terminal_cost`; `adjoint` for an adjoint that a user wrote,
            `reset adjoint` where that is of a kernel in `reset`.
        buffers: The program's memory.

    Raises:
        TraceError: The kernel uses something that cannot be lowered; the message has all of it by position.
    """
    source = read_source(call.function)
    builder = Builder(buffers.real)
    t = Value("i32")
    site = buffers.sites.name(call, phase)
    ctx = Context(builder, buffers, _inline, run, phase, t, grouped=call.group is not None, site=site)
    ctx.returns = call.result is not None
    frame = Frame(source, call.owner)
    ctx.frames.append(frame)
    frame.variables = {name: Variable(value) for name, value in bound_arguments(ctx, call).items()}
    where = source.at(source.node)
    with contextlib.suppress(Poisoned):
        try:
            run(ctx, source.node.body)
        except Returned as returned:
            keep_result(ctx, call, returned.value)
    raise_all(ctx.found)
    adjoint = _adjoint_of(call.function, buffers, "kernel")
    if adjoint is None:
        return Stage(call.name, t, builder.block, where, notes=tuple(ctx.notes), call=call)
    back, when = KernelCall(adjoint, call.owner, call.args), "reset adjoint" if ctx.in_reset else "adjoint"
    return Stage(call.name, t, builder.block, where, lambda: lower(back, when, buffers), tuple(ctx.notes))


def _inline(
    ctx: Context,
    node: ast.Call,
    function: Callable[..., Any],
    owner: Any,
    arguments: list[Abstract],
    keywords: dict[str, Abstract],
    aliases: dict[int, Variable],
) -> Abstract:
    """Lower the body of a Taichi function at its call and return its value."""
    if len(ctx.frames) > _MAX_DEPTH:
        ctx.error(
            node,
            f"functions must not call each other more than {_MAX_DEPTH} deep, got {ctx.text(node.func)}",
            rule="FUNCTION",
        )
    try:
        source = read_source(function)
    except TraceError as error:
        ctx.error(node, str(error), rule="FUNCTION")
    if owner is not None:
        arguments = [Object(owner), *arguments]
        aliases = {i + 1: v for i, v in aliases.items()}
    signature = inspect.signature(function)
    try:
        bound = signature.bind(*arguments, **keywords)
    except TypeError as error:
        ctx.error(node, f"{ctx.text(node)} must get the arguments of its definition: {error}", rule="SHAPE")
    for name, parameter in signature.parameters.items():
        if name not in bound.arguments:
            bound.arguments[name] = Object(_taichi.at_home(parameter.default))
    adjoint = _adjoint_of(function, ctx.buffers, "func")
    if adjoint is not None:
        values = [bound.arguments[name] for name in signature.parameters]
        templates = {n: _by_reference(p.annotation) for n, p in signature.parameters.items()}
        return call_with_adjoint(ctx, node, (source, owner, templates), adjoint, values, _body)
    ctx.note(node, f"{source.node.name} is inlined")
    frame = Frame(source, owner, call=node)
    for position, (name, parameter) in enumerate(signature.parameters.items()):
        value = bound.arguments[name]
        if _by_reference(parameter.annotation) and position in aliases:
            frame.variables[name] = aliases[position]
        else:
            frame.variables[name] = _copied(ctx, node, value, _by_reference(parameter.annotation))
    return _body(ctx, frame)


def _adjoint_of(function: Callable[..., Any], buffers: Buffers, kind: str) -> Callable[..., Any] | None:
    """Return the adjoint that a user gave and that counts here."""
    adjoint = given_adjoint(function)
    if adjoint is not None and is_surrogate(adjoint):
        buffers.surrogates[function.__name__] = kind
        return None if buffers.bare else adjoint
    return adjoint


def _body(ctx: Context, frame: Frame) -> Abstract:
    """Lower a function's body in a frame of its own and return its value."""
    ctx.frames.append(frame)
    depth, ctx.depth = ctx.depth, 0
    found = len(ctx.found)
    try:
        run(ctx, frame.source.node.body)
    except Returned as returned:
        return returned.value
    finally:
        ctx.frames.pop()
        ctx.depth = depth
        if len(ctx.found) > found:
            raise Poisoned  # the caller cannot know the value; what is wrong is told already
    return Object(None)


def _by_reference(annotation: Any) -> bool:
    return (
        type(annotation).__name__.lower() in ("template", "template_type")
        or _taichi.at_home(annotation) is _taichi.ti.template
    )


def _copied(ctx: Context, node: ast.AST, value: Abstract, template: bool) -> Variable:
    """Bind an argument as a variable with a type of its own; templates stay Python objects."""
    if isinstance(value, Object) and isinstance(value.value, int | float) and not template:
        value = ctx.runtime(value, node)
    if isinstance(value, Value | Const | Matrix | Record):
        return Variable(value, tuple(e.dtype for e in entries_of(value)))
    return Variable(value)
