"""Calls of plain Python functions, methods and lambdas with values that change: their text is inlined.

What they compute from is then what a Taichi function would: numbers and vectors by value, fields by name. A
function whose arguments are all known when the kernel compiles is called then, as Taichi does.
"""

from __future__ import annotations

import ast
import functools
import inspect
import types
from typing import Any

from diffsim.compiler.reading.context import Context
from diffsim.compiler.reading.source import read_source
from diffsim.compiler.reading.values import Abstract, Matrix, Object, Record
from diffsim.errors import StateError, TraceError
from diffsim.language.fields import Field

__all__ = ["inlined", "reads_fields"]

_LIBRARIES = ("taichi", "taichi_forge", "numpy", "scipy", "torch", "jax")
_BY_NAME = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def inlined(
    ctx: Context, node: ast.Call, obj: Any, arguments: list[Abstract], keywords: dict[str, Abstract]
) -> Abstract | None:
    """Evaluate a call of a function of the user's; None where it is not one written in Python.

    Raises:
        TraceError: The function does what a kernel cannot.
    """
    while isinstance(obj, functools.partial):
        arguments = [*map(Object, obj.args), *arguments]
        keywords = {**{name: Object(value) for name, value in obj.keywords.items()}, **keywords}
        obj = obj.func
    owner, function = getattr(obj, "__self__", None), getattr(obj, "__func__", obj)
    if not isinstance(function, types.FunctionType) or hasattr(function, "__wrapped__"):
        return None
    if str(function.__module__).split(".")[0] in _LIBRARIES:
        return None
    _check(ctx, node, function)
    _check_parameters_stay(
        ctx, node, function, [*([] if owner is None else [Object(owner)]), *arguments], keywords
    )
    return ctx.call(ctx, node, function, owner, arguments, keywords, {})


def _check(ctx: Context, node: ast.Call, function: types.FunctionType) -> None:
    """Refuse what means one thing in Python and another one where arguments are values."""
    parameters = inspect.signature(function).parameters
    if any(p.kind in _BY_NAME for p in parameters.values()):
        ctx.error(
            node,
            f"{ctx.text(node.func)} must have plain parameters to be inlined, got one with * or **; write "
            "them one by one",
            rule="FUNCTION",
        )
    if function.__code__.co_flags & (
        inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
    ):
        ctx.error(
            node,
            f"{ctx.text(node.func)} must return a value to be inlined, got a generator; return a tuple, or a "
            "range",
            rule="FUNCTION",
        )


def _check_parameters_stay(
    ctx: Context,
    node: ast.Call,
    function: types.FunctionType,
    given: list[Abstract],
    keywords: dict[str, Abstract],
) -> None:
    """Refuse a function that assigns to components of what it is given: a copy here, and not so in Python."""
    try:
        source = read_source(function)
    except TraceError as error:
        ctx.error(node, str(error), rule="FUNCTION")
    values = {**dict(zip(inspect.signature(function).parameters, given, strict=False)), **keywords}
    copies = {name for name, value in values.items() if isinstance(value, Matrix | Record)}
    for target in (t for statement in ast.walk(source.node) for t in _targets(statement)):
        root = target
        while isinstance(root, ast.Subscript | ast.Attribute):
            root = root.value
        if root is not target and isinstance(root, ast.Name) and root.id in copies:
            ctx.error(
                node,
                f"{ctx.text(node.func)} must not change its arguments, got {ast.unparse(target)} assigned in "
                "it, which Python would let its caller see; return the new value, or put @ti.func before it, "
                "which gets a copy",
                rule="FUNCTION",
            )


def _targets(statement: ast.AST) -> list[ast.expr]:
    if isinstance(statement, ast.Assign):
        found = list(statement.targets)
    elif isinstance(statement, ast.AugAssign | ast.AnnAssign):
        found = [statement.target]
    else:
        return []
    return [e for t in found for e in (t.elts if isinstance(t, ast.Tuple | ast.List) else [t])]


def reads_fields(error: BaseException) -> bool:
    """Tell whether an error says that plain Python read or wrote an element of a declared field."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    codes = (Field.__getitem__.__code__, Field.__setitem__.__code__)
    return isinstance(error, StateError) and trace is not None and trace.tb_frame.f_code in codes
