"""Calls in kernels: scalar functions, vector methods and constructors, casts, Taichi functions to inline."""

from __future__ import annotations

import ast
import builtins
import math
from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np

from diffsim import _taichi
from diffsim.analysis import matrices
from diffsim.analysis.context import Context
from diffsim.analysis.values import Abstract, Matrix, Object, Sequence, TimeIndex, entries_of
from diffsim.ir import Const, Operand, Value
from diffsim.types import ElementType

__all__ = ["FUNCTIONS", "evaluate_call"]

ti = _taichi.ti
Evaluate = Callable[[Context, ast.expr], Abstract]

_NAMES = (
    "sin cos asin acos tanh exp log sqrt rsqrt floor ceil abs pow atan2 max min select raw_div"
).split()
FUNCTIONS: dict[int, tuple[str, int]] = {}
_ARITY = {"pow": 2, "atan2": 2, "max": 2, "min": 2, "select": 3, "raw_div": 2}
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

_REFUSED = {
    "random": "kernels must not draw random numbers (the backward pass would draw others); draw them with NumPy and pass "
    "them in as ds.Constant or ds.Control",
    "randn": "kernels must not draw random numbers (the backward pass would draw others); draw them with NumPy and pass "
    "them in as ds.Constant or ds.Control",
    "round": "round has no gradient; use ti.floor(x + 0.5) where a cut gradient is meant",
    "print": "print must stay out of kernels; read values with rollout.trajectory(field)",
    "atomic_max": "atomic max has no right adjoint; reduce in a loop with an if over a new array",
    "atomic_min": "atomic min has no right adjoint; reduce in a loop with an if over a new array",
    "atomic_mul": "atomic mul has no right adjoint; store the factors and multiply them in a loop",
    "sync": "kernels must not synchronise; the library orders the kernels of a step",
}


def evaluate_call(ctx: Context, node: ast.Call, evaluate: Evaluate) -> Abstract:
    """Return what a call means.

    Raises:
        TraceError: The function is not one that kernels can differentiate.
    """
    if isinstance(node.func, ast.Attribute):
        method = _method_call(ctx, node, evaluate)
        if method is not None:
            return method
    function = evaluate(ctx, node.func)
    if not isinstance(function, Object):
        ctx.error(node, f"{ctx.text(node.func)} must be a function")
    obj = function.value
    special = _SPECIAL.get(_key(obj))
    if special is not None:
        return special(ctx, node, evaluate)
    if isinstance(obj, ElementType) or _is_vector_type(obj):
        return _construct(ctx, node, obj, evaluate)
    dtype = _taichi.dtype_name(obj) if not callable(obj) or obj in (int, float) or _is_dtype(obj) else None
    if dtype is not None:
        return _cast(ctx, node, evaluate(ctx, node.args[0]), dtype)
    if id(obj) in FUNCTIONS:
        return _scalar_function(ctx, node, evaluate, *FUNCTIONS[id(obj)])
    taichi = _taichi.taichi_function(obj)
    if taichi is not None and not _taichi.is_real_function(obj):
        return _inline(ctx, node, evaluate, *taichi)
    return _python_call(ctx, node, evaluate, obj)


def _key(obj: Any) -> int:
    return id(getattr(obj, "__func__", obj))


def _is_dtype(obj: Any) -> bool:
    return type(obj).__name__ == "DataTypeCxx" or type(obj).__module__.startswith("taichi._lib")


def _is_vector_type(obj: Any) -> bool:
    return isinstance(obj, ti.lang.matrix.MatrixType)


def _arguments(ctx: Context, node: ast.Call, evaluate: Evaluate) -> list[Abstract]:
    arguments: list[Abstract] = []
    for argument in node.args:
        if isinstance(argument, ast.Starred):
            from diffsim.analysis.expressions import unpacked

            arguments += unpacked(ctx, evaluate(ctx, argument.value), argument)
        else:
            arguments.append(evaluate(ctx, argument))
    return arguments


# -- methods of vectors ---------------------------------------------------------------------------------------------


def _method_call(ctx: Context, node: ast.Call, evaluate: Evaluate) -> Abstract | None:
    """Evaluate `v.norm()` and the like; None where the base is not a vector."""
    assert isinstance(node.func, ast.Attribute)  # noqa: S101  (the caller checked)
    base = evaluate(ctx, node.func.value)
    if isinstance(base, Object) and isinstance(base.value, ti.Matrix):
        base = ctx.runtime(base, node)
    name = node.func.attr
    if isinstance(base, Value | Const) and name == "cast":
        return _cast(ctx, node, base, _dtype_argument(ctx, node, evaluate, 0))
    if not isinstance(base, Matrix):
        return None
    if name == "cast":
        return _cast(ctx, node, base, _dtype_argument(ctx, node, evaluate, 0))
    method = matrices.METHODS.get(name)
    if method is None:
        ctx.error(node, f"vectors have no method {name!r} that can be differentiated; known are {', '.join(sorted(matrices.METHODS))}")
    arguments = [ctx.runtime(a, node) for a in _arguments(ctx, node, evaluate)]
    arguments += [ctx.runtime(evaluate(ctx, k.value), node) for k in node.keywords]
    try:
        return method(ctx.builder, base, *arguments)
    except (ValueError, TypeError) as error:
        ctx.error(node, f"{ctx.text(node)} must get arguments that fit: {error}")


# -- constructors and casts -----------------------------------------------------------------------------------------


def _construct(ctx: Context, node: ast.Call, obj: Any, evaluate: Evaluate) -> Abstract:
    """Evaluate `ds.vec2(x, y)`, `ti.math.vec3(v, 1.0)`, `ti.types.matrix(2, 2, ti.f32)(...)`."""
    if isinstance(obj, ElementType):
        shape, dtype = obj.shape, ctx.builder.real
    else:
        shape = (obj.n,) if obj.ndim == 1 else (obj.n, obj.m)
        dtype = _taichi.dtype_name(obj.dtype) or ctx.builder.real
    entries: list[Operand] = []
    for argument in _arguments(ctx, node, evaluate):
        entries += entries_of(ctx.runtime(argument, node))
    size = math.prod(shape)
    if len(entries) == 1:
        entries *= size
    if len(entries) != size:
        ctx.error(node, f"{ctx.text(node)} must get {size} components, got {len(entries)}")
    scalars = tuple(ctx.builder.cast(e, dtype) for e in entries)
    return Matrix(scalars, shape) if shape else scalars[0]


def _vector(ctx: Context, node: ast.Call, evaluate: Evaluate) -> Abstract:
    """Evaluate `ti.Vector([...], dt)` and `ti.Matrix([[...], ...], dt)`."""
    value = ctx.runtime(evaluate(ctx, node.args[0]), node)
    if not isinstance(value, Matrix):
        ctx.error(node, f"{ctx.text(node)} must get a list of numbers or of rows")
    if len(node.args) > 1 or node.keywords:
        return _cast(ctx, node, value, _dtype_argument(ctx, node, evaluate, 1))
    common = reduce(_promoted, (e.dtype for e in value.entries))
    return Matrix(tuple(ctx.builder.cast(e, common) for e in value.entries), value.shape)


def _promoted(a: str, b: str) -> str:
    from diffsim.analysis.builder import promote

    return a if a == b else promote(a, b)


def _filled(fill: Callable[[int, int], float]) -> Callable[[Context, ast.Call, Evaluate], Abstract]:
    def make(ctx: Context, node: ast.Call, evaluate: Evaluate) -> Abstract:
        arguments = [a.value if isinstance(a, Object) else None for a in _arguments(ctx, node, evaluate)]
        dtype = _taichi.dtype_name(arguments[0]) if arguments else None
        dims = [n for n in arguments[1:] if isinstance(n, int)]
        if dtype is None or not dims or len(dims) != len(arguments) - 1:
            ctx.error(node, f"{ctx.text(node)} must get a type and sizes known when the kernel compiles")
        identity = isinstance(node.func, ast.Attribute) and node.func.attr == "identity"
        shape = (dims[0], dims[0]) if identity else tuple(dims)
        columns = shape[1] if len(shape) == 2 else 1
        entries = [fill(i, j) for i in range(shape[0]) for j in range(columns)]
        return Matrix(tuple(ctx.builder.cast(ctx.builder.const(float(x)), dtype) for x in entries), shape)

    return make


def _assemble(by_rows: bool) -> Callable[[Context, ast.Call, Evaluate], Abstract]:
    def make(ctx: Context, node: ast.Call, evaluate: Evaluate) -> Abstract:
        value = ctx.runtime(evaluate(ctx, node.args[0]), node)
        if not isinstance(value, Matrix) or len(value.shape) != 2:
            ctx.error(node, f"{ctx.text(node)} must get a list of vectors")
        return value if by_rows else matrices.transpose(ctx.builder, value)

    return make


def _dtype_argument(ctx: Context, node: ast.Call, evaluate: Evaluate, position: int) -> str:
    given: list[ast.expr] = [k.value for k in node.keywords if k.arg in ("dt", "dtype")] or node.args[position : position + 1]
    value = evaluate(ctx, given[0]) if given else None
    dtype = _taichi.dtype_name(value.value) if isinstance(value, Object) else None
    if dtype is None:
        ctx.error(node, f"{ctx.text(node)} must name a scalar type, as in ti.cast(x, ti.f32)")
    return dtype


def _cast(ctx: Context, node: ast.Call, value: Abstract, dtype: str) -> Abstract:
    if isinstance(value, Object) and isinstance(value.value, int | float):
        return Object(float(value.value) if dtype.startswith("f") else int(value.value))
    value = ctx.runtime(value, node)
    if isinstance(value, Matrix):
        return Matrix(tuple(ctx.builder.cast(e, dtype) for e in value.entries), value.shape)
    return ctx.builder.cast(ctx.number(value, node), dtype)


# -- functions ------------------------------------------------------------------------------------------------------


def _scalar_function(ctx: Context, node: ast.Call, evaluate: Evaluate, fn: str, arity: int) -> Abstract:
    arguments = _arguments(ctx, node, evaluate)
    if node.keywords:
        ctx.error(node, f"{ctx.text(node)} must get its arguments by position")
    if fn in ("max", "min") and len(arguments) == 1:
        from diffsim.analysis.expressions import unpacked

        arguments = unpacked(ctx, arguments[0], node)
    if len(arguments) != arity and not (fn in ("max", "min") and len(arguments) > 2):
        ctx.error(node, f"{ctx.text(node)} must get {arity} argument(s), got {len(arguments)}")
    if all(isinstance(a, Object) and isinstance(a.value, int | float) for a in arguments):
        known = _python_value(fn, [a.value for a in arguments])  # type: ignore[union-attr]
        if known is not None:
            return Object(known)
    operands = [ctx.runtime(a, node) for a in arguments]
    try:
        if fn in ("max", "min"):
            return reduce(lambda a, b: matrices.elementwise(ctx.builder, fn, a, b), operands)
        return matrices.elementwise(ctx.builder, "div" if fn == "raw_div" else fn, *operands)
    except ValueError as error:
        ctx.error(node, f"{ctx.text(node)} must get arguments that fit: {error}")


def _python_value(fn: str, values: list[Any]) -> Any:
    table: dict[str, Any] = {"abs": abs, "max": max, "min": min, "pow": pow, "select": lambda c, a, b: a if c else b}
    table.update({n: getattr(math, n) for n in ("sin", "cos", "asin", "acos", "tanh", "exp", "log", "sqrt", "atan2")})
    try:
        return table[fn](*values) if fn in table else None
    except (ValueError, ArithmeticError):
        return None


def _inline(ctx: Context, node: ast.Call, evaluate: Evaluate, function: Callable[..., Any], owner: Any) -> Abstract:
    arguments = _arguments(ctx, node, evaluate)
    keywords = {k.arg: evaluate(ctx, k.value) for k in node.keywords if k.arg}
    aliases = {
        i: ctx.frame.variables[a.id]
        for i, a in enumerate(node.args)
        if isinstance(a, ast.Name) and a.id in ctx.frame.variables
    }
    assert ctx.call is not None  # noqa: S101  (set by lower)
    return ctx.call(ctx, node, function, owner, arguments, keywords, aliases)


def _python_call(ctx: Context, node: ast.Call, evaluate: Evaluate, obj: Any) -> Abstract:
    """Call a Python function now, where all its arguments are known now."""
    name = getattr(obj, "__name__", ctx.text(node.func)).lstrip("_")
    if name in _REFUSED:
        ctx.error(node, _REFUSED[name])
    arguments = _arguments(ctx, node, evaluate)
    keywords = {k.arg: evaluate(ctx, k.value) for k in node.keywords if k.arg}
    known = [*arguments, *keywords.values()]
    if callable(obj) and not _taichi.kernel_function(obj) and all(isinstance(a, Object) for a in known):
        if not str(getattr(obj, "__module__", "")).startswith("taichi"):
            try:
                return Object(obj(*[a.value for a in arguments], **{k: v.value for k, v in keywords.items()}))  # type: ignore[union-attr]
            except Exception as error:
                ctx.error(node, f"{ctx.text(node)} must run when the kernel compiles, got {type(error).__name__}: {error}")
    if any(isinstance(a, TimeIndex) for a in known) or callable(obj):
        ctx.error(node, f"{ctx.text(node.func)} must be a function that kernels can differentiate, got one that diffsim does "
                  "not know; write it as a @ti.func of known functions")
    ctx.error(node, f"{ctx.text(node.func)} must be a function, got {type(obj).__name__}")


# -- Taichi's own forms ---------------------------------------------------------------------------------------------


def _static(ctx: Context, node: ast.Call, evaluate: Evaluate) -> Abstract:
    values = _arguments(ctx, node, evaluate)
    return values[0] if len(values) == 1 else Sequence(tuple(values))


def _cast_call(ctx: Context, node: ast.Call, evaluate: Evaluate) -> Abstract:
    return _cast(ctx, node, evaluate(ctx, node.args[0]), _dtype_argument(ctx, node, evaluate, 1))


def _tan(ctx: Context, node: ast.Call, evaluate: Evaluate) -> Abstract:
    x = ctx.runtime(evaluate(ctx, node.args[0]), node)
    b = ctx.builder
    return matrices.elementwise(b, "div", matrices.elementwise(b, "sin", x), matrices.elementwise(b, "cos", x))


def _ignored(ctx: Context, node: ast.Call, evaluate: Evaluate) -> Abstract:
    return Object(None)


def _length(ctx: Context, node: ast.Call, evaluate: Evaluate) -> Abstract:
    value = evaluate(ctx, node.args[0])
    if isinstance(value, Sequence):
        return Object(len(value.items))
    if isinstance(value, Matrix):
        return Object(value.shape[0])
    return Object(len(value.value)) if isinstance(value, Object) else _python_call(ctx, node, evaluate, len)


def _range(ctx: Context, node: ast.Call, evaluate: Evaluate) -> Abstract:
    bounds = [a.value if isinstance(a, Object) else None for a in _arguments(ctx, node, evaluate)]
    if None in bounds:
        ctx.error(node, f"{ctx.text(node)} must have bounds known when the kernel compiles here")
    return Object(range(*bounds))


def _zip(ctx: Context, node: ast.Call, evaluate: Evaluate) -> Abstract:
    from diffsim.analysis.expressions import unpacked

    columns = [unpacked(ctx, a, node) for a in _arguments(ctx, node, evaluate)]
    return Sequence(tuple(Sequence(row) for row in zip(*columns, strict=False)))


def _enumerate(ctx: Context, node: ast.Call, evaluate: Evaluate) -> Abstract:
    from diffsim.analysis.expressions import unpacked

    items = unpacked(ctx, _arguments(ctx, node, evaluate)[0], node)
    return Sequence(tuple(Sequence((Object(k), item)) for k, item in enumerate(items)))


def _ndrange(ctx: Context, node: ast.Call, evaluate: Evaluate) -> Abstract:
    ranges = []
    for argument in _arguments(ctx, node, evaluate):
        if isinstance(argument, Sequence) and all(isinstance(i, Object) for i in argument.items):
            ranges.append(range(*[i.value for i in argument.items]))  # type: ignore[union-attr]
        elif isinstance(argument, Object):
            ranges.append(range(*argument.value) if isinstance(argument.value, tuple) else range(argument.value))
        else:
            ctx.error(node, f"{ctx.text(node)} must have bounds known when the kernel compiles here")
    import itertools

    return Object(list(itertools.product(*ranges)))


_SPECIAL: dict[int, Callable[[Context, ast.Call, Evaluate], Abstract]] = {
    id(ti.static): _static,
    id(ti.cast): _cast_call,
    id(ti.tan): _tan,
    id(math.tan): _tan,
    id(ti.Vector): _vector,
    id(ti.Matrix): _vector,
    id(ti.loop_config): _ignored,
    id(ti.block_local): _ignored,
    id(ti.static_print): _ignored,
    id(len): _length,
    id(range): _range,
    id(zip): _zip,
    id(enumerate): _enumerate,
    id(ti.ndrange): _ndrange,
    id(ti.grouped): _static,
}
for _owner in (ti.Vector, ti.Matrix):
    for _name, _fill in (
        ("zero", lambda i, j: 0.0),
        ("one", lambda i, j: 1.0),
        ("identity", lambda i, j: float(i == j)),
    ):
        if hasattr(_owner, _name):
            _SPECIAL[_key(getattr(_owner, _name))] = _filled(_fill)
    for _name, _rows in (("rows", True), ("cols", False)):
        if hasattr(_owner, _name):
            _SPECIAL[_key(getattr(_owner, _name))] = _assemble(_rows)
