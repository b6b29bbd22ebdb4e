"""Gradients of functions in kernels, `ds.grad(f)(...)`: the function is read, and its derivative built."""

from __future__ import annotations

import ast
import inspect
from typing import NoReturn

import numpy as np

from diffsim import _taichi
from diffsim.compiler.autodiff.inner import derivatives
from diffsim.compiler.ir import Accumulate, Block, Const, Load, Operand, Stage, Store, Value, is_float, walk
from diffsim.compiler.reading.constructors import Evaluate, arguments_of
from diffsim.compiler.reading.context import Context
from diffsim.compiler.reading.custom import scalars_of, with_scalars
from diffsim.compiler.reading.values import Abstract, Matrix, Object, Record, Sequence
from diffsim.errors import GradientError
from diffsim.language.derivatives import Derivative
from diffsim.options import plain_number

__all__ = ["derivative_call"]


def derivative_call(ctx: Context, node: ast.Call, evaluate: Evaluate, derivative: Derivative) -> Abstract:
    """Return the gradient of a function at the arguments of a call.

    Raises:
        TraceError: The function returns no number, writes fields, or cannot be differentiated so.
    """
    arguments = arguments_of(ctx, node, evaluate)
    keywords = {k.arg: evaluate(ctx, k.value) for k in node.keywords if k.arg}
    where = ctx.builder.where
    try:
        return _gradient(ctx, node, derivative, _positional(ctx, node, derivative, arguments, keywords))
    finally:
        ctx.builder.where = where


def _positional(
    ctx: Context,
    node: ast.Call,
    derivative: Derivative,
    arguments: list[Abstract],
    keywords: dict[str, Abstract],
) -> list[Abstract]:
    """Return all arguments by position, defaults included."""
    inner = derivative.function
    while isinstance(inner, Derivative):
        inner = inner.function
    known = _taichi.taichi_function(inner)
    assert known is not None  # noqa: S101  (`grad` takes nothing else)
    function, owner = known
    own = [] if owner is None else [Object(owner)]
    try:
        bound = inspect.signature(function).bind(*own, *arguments, **keywords)
    except TypeError as error:
        ctx.error(node, f"{ctx.text(node)} must get the arguments of its function: {error}", rule="SHAPE")
    given: dict[str, Abstract] = bound.arguments
    values = []
    for name, parameter in inspect.signature(function).parameters.items():
        values.append(given[name] if name in given else Object(_taichi.at_home(parameter.default)))
    return values[len(own) :]


def _gradient(ctx: Context, node: ast.Call, derivative: Derivative, arguments: list[Abstract]) -> Abstract:
    chosen = _chosen(ctx, node, derivative, arguments)
    values = [_settled(ctx, a, node) if k in chosen else a for k, a in enumerate(arguments)]
    given = [e for k in chosen for e in scalars_of(values[k])]
    inputs = [Value(e.dtype) for e in given]
    inside = list(values)
    for k, value in zip(chosen, with_scalars([values[k] for k in chosen], inputs), strict=True):
        inside[k] = value
    body = Block()
    with ctx.builder.inside(body, loop=True):
        body.yields = [_number(ctx, node, derivative, _called(ctx, node, derivative.function, inside))]
    _check(ctx, node, derivative, body)
    try:
        found = derivatives(ctx.builder, Stage("", ctx.t, body, ctx.at(node)), inputs, given)
    except GradientError as error:
        ctx.error(node, f"{ctx.text(node.func)} must be differentiable: {error}", rule="FUNCTION")
    results = with_scalars([values[k] for k in chosen], found)
    if len(results) == 1 and (derivative.single or derivative.argnums is None):
        return results[0]
    return Sequence(tuple(results))


def _called(ctx: Context, node: ast.Call, function: object, arguments: list[Abstract]) -> Abstract:
    if isinstance(function, Derivative):
        return _gradient(ctx, node, function, arguments)
    known = _taichi.taichi_function(function)
    assert known is not None  # noqa: S101  (`grad` takes nothing else)
    return ctx.call(ctx, node, *known, arguments, {}, {})


def _chosen(ctx: Context, node: ast.Call, derivative: Derivative, arguments: list[Abstract]) -> list[int]:
    """Return the arguments to differentiate by."""
    floats = [k for k, a in enumerate(arguments) if _is_made_of_floats(a)]
    if derivative.argnums is None:
        if not floats:
            _refuse(ctx, node, "must get a number or a vector of floats to differentiate by, got none")
        return floats
    for k in derivative.argnums:
        if k >= len(arguments):
            got = f"got argnums {k} of {len(arguments)} argument(s), which are counted from 0"
            _refuse(ctx, node, f"must differentiate by an argument of the function, {got}")
        if k not in floats:
            _refuse(ctx, node, f"must differentiate by floats, got argument {k} (argnums), which is not")
    return list(derivative.argnums)


def _is_made_of_floats(value: Abstract) -> bool:
    if isinstance(value, Object):
        number = plain_number(value.value)
        if isinstance(number, np.ndarray) or _taichi.is_a(number, "Matrix"):
            array = np.asarray(number.to_numpy() if _taichi.is_a(number, "Matrix") else number)
            return array.dtype.kind == "f"
        return isinstance(number, float)
    if isinstance(value, Sequence):
        return bool(value.items) and all(map(_is_made_of_floats, value.items))
    if isinstance(value, Value | Const | Matrix | Record):
        return all(is_float(e.dtype) for e in scalars_of(value))
    return False


def _settled(ctx: Context, value: Abstract, node: ast.AST) -> Abstract:
    return value if isinstance(value, Sequence) else ctx.runtime(value, node)


def _number(ctx: Context, node: ast.Call, derivative: Derivative, value: Abstract) -> Operand:
    if isinstance(value, Object) and value.value is None:
        _refuse(ctx, node, "must be that of a function that returns a number, got one that returns nothing")
    scalar = value if isinstance(value, Sequence) else ctx.runtime(value, node)
    if not isinstance(scalar, Value | Const):
        remedy = "return one of its components, or their sum"
        if isinstance(derivative.function, Derivative):
            remedy = "call the inner ds.grad in a function that returns one component"
        _refuse(ctx, node, f"must be that of one number, got a function that returns several; {remedy}")
    return scalar if is_float(scalar.dtype) else ctx.builder.cast(scalar, ctx.builder.real)


def _check(ctx: Context, node: ast.Call, derivative: Derivative, body: Block) -> None:
    """Refuse functions that do more than compute a number."""
    for op in walk(body):
        if isinstance(op, Store | Accumulate) or (isinstance(op, Load) and op.claim):
            _refuse(
                ctx,
                node,
                f"must be that of a function that writes no field, got a write to {op.ref.buffer.label}; let "
                "the kernel write what the function returns",
            )


def _refuse(ctx: Context, node: ast.Call, message: str) -> NoReturn:
    ctx.error(node, f"{ctx.text(node.func)} {message}", rule="ENERGY")
