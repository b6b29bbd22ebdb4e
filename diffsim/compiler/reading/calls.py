"""Calls in kernels: scalar functions, vector methods and constructors, casts, Taichi functions to inline."""

from __future__ import annotations

import ast
import builtins
import math
from collections.abc import Callable, Iterator
from functools import partial, reduce
from typing import Any

import numpy as np

from diffsim import _taichi
from diffsim.compiler.reading import algebra, hints, iterables, matrices, names
from diffsim.compiler.reading.captured import recallable
from diffsim.compiler.reading.compound import Closure, call_closure
from diffsim.compiler.reading.constructors import (
    Evaluate,
    arguments_of,
    assembled,
    cast,
    construct,
    dtype_argument,
    filled,
    vector,
)
from diffsim.compiler.reading.context import Context
from diffsim.compiler.reading.derivative import derivative_call
from diffsim.compiler.reading.draws import DRAWS, refuse_foreign
from diffsim.compiler.reading.foreign import SPARSE_FUNCTIONS, names_a_node, sparse_call
from diffsim.compiler.reading.methods import UNBOUND, method_call, unbound
from diffsim.compiler.reading.plain import inlined, reads_fields
from diffsim.compiler.reading.records import construct_record
from diffsim.compiler.reading.sparse import activate, is_active
from diffsim.compiler.reading.values import Abstract, Matrix, Object, Sequence, TimeIndex
from diffsim.language import intrinsics
from diffsim.language.derivatives import Derivative
from diffsim.language.fields import Field
from diffsim.language.snapshot import MISSING
from diffsim.language.types import ElementType
from diffsim.math import precision

__all__ = ["FUNCTIONS", "evaluate_call"]

ti = _taichi.ti

_NAMES = (
    "sin cos asin acos tanh exp log sqrt rsqrt floor ceil round abs pow atan2 max min select "
    "isnan isinf popcnt"
).split()
FUNCTIONS: dict[int, tuple[str, int]] = {}
_ARITY = {"pow": 2, "atan2": 2, "max": 2, "min": 2, "select": 3}
for _name in _NAMES:
    for _module in (ti, ti.math):
        if hasattr(_module, _name):
            FUNCTIONS[id(getattr(_module, _name))] = (_name, _ARITY.get(_name, 1))
for _name in ("abs", "max", "min", "pow"):
    FUNCTIONS[id(getattr(builtins, _name))] = (_name, _ARITY.get(_name, 1))
for _name in ("sin", "cos", "asin", "acos", "tanh", "exp", "log", "sqrt", "floor", "ceil", "pow", "atan2"):
    FUNCTIONS[id(getattr(math, _name))] = (_name, _ARITY.get(_name, 1))
for _name in ("sin", "cos", "tanh", "exp", "log", "sqrt", "floor", "ceil", "abs"):
    FUNCTIONS[id(getattr(np, _name))] = (_name, 1)


def evaluate_call(ctx: Context, node: ast.Call, evaluate: Evaluate) -> Abstract:
    """Return what a call means.

    Raises:
        TraceError: The function is not one that kernels can differentiate.
    """
    if isinstance(node.func, ast.Attribute):
        method = method_call(ctx, node, evaluate)
        if method is not None:
            return method
    function = evaluate(ctx, node.func)
    if not isinstance(function, Object):
        ctx.error(node, f"{ctx.text(node.func)} must be a function", rule="FUNCTION")
    obj = function.value
    if isinstance(obj, Closure):
        return call_closure(ctx, node, obj, evaluate)
    special = _SPECIAL.get(_key(obj))
    if special is not None:
        _check_count(ctx, node, special)
        return special(ctx, node, evaluate)
    if isinstance(obj, Derivative):
        return derivative_call(ctx, node, evaluate, obj)
    if _taichi.struct_members(obj):
        return construct_record(ctx, node, obj, evaluate)
    if isinstance(obj, ElementType) or _taichi.is_vector_type(obj):
        return construct(ctx, node, obj, evaluate)
    dtype = (
        _taichi.dtype_name(obj)
        if not callable(obj) or isinstance(obj, type) or _taichi.is_scalar_type(obj)
        else None
    )
    if dtype is not None:
        _check_count(ctx, node, _cast_call)
        value = evaluate(ctx, node.args[0])
        if isinstance(value, Object) and isinstance(value.value, str):  # float("inf")
            return _python_call(ctx, node, evaluate, obj)
        return cast(ctx, node, value, dtype)
    if id(obj) in algebra.DECOMPOSITIONS:
        return algebra.decomposition(ctx, node, evaluate, id(obj))
    if id(obj) in names.NAMES:
        return names.NAMES[id(obj)](ctx, node, evaluate)
    if id(obj) in FUNCTIONS:
        return _scalar_function(ctx, node, evaluate, *FUNCTIONS[id(obj)])
    taichi = _taichi.taichi_function(obj)
    if taichi is not None and not _taichi.is_real_function(obj):
        return _inline(ctx, node, evaluate, *taichi)
    return _python_call(ctx, node, evaluate, obj)


def _check_count(ctx: Context, node: ast.Call, form: Callable[..., Abstract]) -> None:
    none = (_ignored, _loop_config, _print, sparse_call, algebra.working_epsilon, *DRAWS.values())
    wanted = 0 if form in none else 2 if form is _at_most else 1
    if len(node.args) + len(node.keywords) < wanted:
        ctx.error(node, f"{ctx.text(node)} must get {wanted} argument(s), got {len(node.args)}", rule="SHAPE")


def _key(obj: Any) -> int:
    return id(getattr(obj, "__func__", obj))


# ---- functions ----


def _scalar_function(ctx: Context, node: ast.Call, evaluate: Evaluate, fn: str, arity: int) -> Abstract:
    if fn in ("floor", "ceil", "round") and len(node.args) + len(node.keywords) > 1:
        return names.round_to(ctx, node, evaluate, fn)
    arguments = arguments_of(ctx, node, evaluate)
    if node.keywords:
        ctx.error(node, f"{ctx.text(node)} must get its arguments by position", rule="SHAPE")
    if fn in ("max", "min") and len(arguments) == 1:
        arguments = ctx.unpacked(arguments[0], node)
    if len(arguments) != arity and not (fn in ("max", "min") and len(arguments) > 2):
        ctx.error(node, f"{ctx.text(node)} must get {arity} argument(s), got {len(arguments)}", rule="SHAPE")
    if all(isinstance(a, Object) and isinstance(a.value, int | float) for a in arguments):
        known = _python_value(fn, [a.value for a in arguments])  # type: ignore[union-attr]
        if known is not None:
            return Object(known)
    operands = [ctx.runtime(a, node) for a in arguments]
    try:
        if fn in ("max", "min"):
            return reduce(lambda a, b: matrices.elementwise(ctx.builder, fn, a, b), operands)
        return matrices.elementwise(ctx.builder, fn, *operands)
    except ValueError as error:
        ctx.error(node, f"{ctx.text(node)} must get arguments that fit: {error}", rule="SHAPE")


def _python_value(fn: str, values: list[Any]) -> Any:
    table: dict[str, Any] = {
        "abs": abs,
        "max": max,
        "min": min,
        "pow": pow,
        "select": lambda c, a, b: a if c else b,
    }
    table.update(
        {n: getattr(math, n) for n in ("sin", "cos", "asin", "acos", "tanh", "exp", "log", "sqrt", "atan2")}
    )
    try:
        return table[fn](*values) if fn in table else None
    except (ValueError, ArithmeticError):
        return None


def _inline(
    ctx: Context, node: ast.Call, evaluate: Evaluate, function: Callable[..., Any], owner: Any
) -> Abstract:
    arguments = arguments_of(ctx, node, evaluate)
    keywords = {k.arg: evaluate(ctx, k.value) for k in node.keywords if k.arg}
    aliases = {
        i: ctx.frame.variables[a.id]
        for i, a in enumerate(node.args)
        if isinstance(a, ast.Name) and a.id in ctx.frame.variables
    }
    return ctx.call(ctx, node, function, owner, arguments, keywords, aliases)


def _python_call(ctx: Context, node: ast.Call, evaluate: Evaluate, obj: Any) -> Abstract:
    """Call a Python function now, where all its arguments are known now."""
    name = getattr(obj, "__name__", ctx.text(node.func)).lstrip("_")
    refuse_foreign(ctx, node, obj, name)
    arguments = arguments_of(ctx, node, evaluate)
    keywords = {k.arg: evaluate(ctx, k.value) for k in node.keywords if k.arg}
    known = [*arguments, *keywords.values()]
    own = callable(obj) and not _taichi.kernel_function(obj)
    if own and all(isinstance(a, Object) for a in known):
        if names_a_node(obj):
            return Object(obj(*(a.value for a in arguments)))  # type: ignore[union-attr]
        if not str(getattr(obj, "__module__", "")).startswith("taichi"):
            try:
                positional = [a.value for a in arguments]  # type: ignore[union-attr]
                return _called(ctx, node, obj, positional, {k: v.value for k, v in keywords.items()})  # type: ignore[union-attr]
            except Exception as error:  # noqa: BLE001  (it is the user's function: it may raise anything)
                result = inlined(ctx, node, obj, arguments, keywords) if reads_fields(error) else None
                if result is not None:
                    return result
                ctx.error(
                    node,
                    f"{ctx.text(node)} must run when the kernel compiles, "
                    f"got {type(error).__name__}: {error}",
                    rule="PYTHON",
                )
    result = inlined(ctx, node, obj, arguments, keywords) if own else None
    if result is not None:
        return result
    if any(isinstance(a, TimeIndex) for a in known) or callable(obj):
        ctx.error(node, hints.unknown_function(ctx, node, obj), rule="FUNCTION")
    ctx.error(node, f"{ctx.text(node.func)} must be a function, got {type(obj).__name__}", rule="FUNCTION")


def _called(
    ctx: Context, node: ast.Call, function: Any, arguments: list[Any], keywords: dict[str, Any]
) -> Object:
    """Call a function of the user's; where what it returns may change, it is called again before each run."""
    value = function(*arguments, **keywords)
    if recallable(function) and not isinstance(value, Iterator):
        given = ("call", *map(id, arguments), *((name, id(v)) for name, v in keywords.items()))
        again = partial(_call_again, arguments, keywords)  # holds the arguments, whose ids stay theirs
        ctx.capture(node, function, given, ctx.text(node), value, again)
    return Object(value)


def _call_again(arguments: list[Any], keywords: dict[str, Any], function: Any) -> Any:
    try:
        return function(*arguments, **keywords)
    except Exception:  # noqa: BLE001  (it is the user's function: whatever it raises now, it did not then)
        return MISSING


# ---- Taichi's own forms ----


def _static(ctx: Context, node: ast.Call, evaluate: Evaluate) -> Abstract:
    values = arguments_of(ctx, node, evaluate)
    return values[0] if len(values) == 1 else Sequence(tuple(values))


def _cast_call(ctx: Context, node: ast.Call, evaluate: Evaluate) -> Abstract:
    return cast(ctx, node, evaluate(ctx, node.args[0]), dtype_argument(ctx, node, evaluate, 1))


def _tan(ctx: Context, node: ast.Call, evaluate: Evaluate) -> Abstract:
    x = ctx.runtime(evaluate(ctx, node.args[0]), node)
    sine, cosine = (matrices.elementwise(ctx.builder, fn, x) for fn in ("sin", "cos"))
    return matrices.elementwise(ctx.builder, "div", sine, cosine)


def _ignored(ctx: Context, node: ast.Call, evaluate: Evaluate) -> Abstract:
    return Object(None)


def _loop_config(ctx: Context, node: ast.Call, evaluate: Evaluate) -> Abstract:
    for keyword in node.keywords:
        if keyword.arg == "serialize":
            value = evaluate(ctx, keyword.value)
            ctx.serial = isinstance(value, Object) and bool(value.value) and ctx.loops == 0
    return Object(None)


def _at_most(ctx: Context, node: ast.Call, evaluate: Evaluate) -> Abstract:
    number, maximum = arguments_of(ctx, node, evaluate)
    if not isinstance(maximum, Object) or not isinstance(maximum.value, int) or maximum.value < 1:
        ctx.error(
            node,
            f"{ctx.text(node)} must get a positive maximum that is known when the kernel compiles",
            rule="UNBOUNDED",
        )
    operand = ctx.number(number, node)
    if operand.dtype == "u1":
        ctx.error(
            node,
            f"ds.at_most must get a number, or be the whole test of a while, got {ctx.text(node)}; write "
            "`while ds.at_most(condition, 64):`",
            rule="UNBOUNDED",
        )
    ctx.builder.where = ctx.at(node)
    return ctx.builder.op("at_most", operand, ctx.builder.const(maximum.value))


def _stop_gradient(ctx: Context, node: ast.Call, evaluate: Evaluate) -> Abstract:
    return matrices.elementwise(ctx.builder, "stop", ctx.runtime(evaluate(ctx, node.args[0]), node))


def _print(ctx: Context, node: ast.Call, evaluate: Evaluate) -> Abstract:
    ctx.warn(
        node,
        f"print must stay out of kernels, got {ctx.text(node)}, which is passed over; read values with "
        "rollout.trajectory(field)",
        "PRINT",
    )
    return Object(None)


def _quantifier(name: str) -> Callable[[Context, ast.Call, Evaluate], Abstract]:
    def quantify(ctx: Context, node: ast.Call, evaluate: Evaluate) -> Abstract:
        value = ctx.runtime(evaluate(ctx, node.args[0]), node)
        return matrices.METHODS[name](ctx.builder, value) if isinstance(value, Matrix) else value

    return quantify


def _length(ctx: Context, node: ast.Call, evaluate: Evaluate) -> Abstract:
    value = evaluate(ctx, node.args[0])
    if isinstance(value, Sequence):
        return Object(len(value.items))
    if isinstance(value, Matrix):
        return Object(value.shape[0])
    if isinstance(value, Object) and isinstance(value.value, Field):
        return Object(value.value.shape[0])
    return Object(len(value.value)) if isinstance(value, Object) else _python_call(ctx, node, evaluate, len)


_SPECIAL: dict[int, Callable[[Context, ast.Call, Evaluate], Abstract]] = {
    id(ti.static): _static,
    id(ti.cast): _cast_call,
    id(ti.tan): _tan,
    id(math.tan): _tan,
    id(ti.Vector): vector,
    id(ti.Matrix): vector,
    id(ti.loop_config): _loop_config,
    **{id(function): sparse_call for function in SPARSE_FUNCTIONS},
    id(ti.is_active): is_active,
    id(ti.activate): activate,
    id(ti.block_local): _ignored,
    id(len): _length,
    id(any): _quantifier("any"),
    id(all): _quantifier("all"),
    id(print): _print,
    id(range): iterables.range_items,
    id(zip): iterables.zip_items,
    id(enumerate): iterables.enumerate_items,
    id(ti.ndrange): iterables.ndrange_items,
    id(ti.grouped): _static,
    id(intrinsics.at_most): _at_most,
    id(precision.epsilon): algebra.working_epsilon,
    id(precision.replayed): algebra.replayed,
    id(intrinsics.stop_gradient): _stop_gradient,
    **DRAWS,
}
for _owner in (ti.Vector, ti.Matrix):
    for _name, _fill in (
        ("zero", lambda i, j: 0.0),
        ("one", lambda i, j: 1.0),
        ("identity", lambda i, j: float(i == j)),
    ):
        if hasattr(_owner, _name):
            _SPECIAL[_key(getattr(_owner, _name))] = filled(_fill)
    for _key_of, _name in UNBOUND.items():
        _SPECIAL[_key_of] = unbound(_name)
    for _name, _rows in (("rows", True), ("cols", False)):
        if hasattr(_owner, _name):
            _SPECIAL[_key(getattr(_owner, _name))] = assembled(_rows)
