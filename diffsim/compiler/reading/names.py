"""Small functions of Taichi, `math`, NumPy and Python in kernels, made of those that have a derivative."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np

from diffsim import _taichi
from diffsim.compiler.builder import Builder
from diffsim.compiler.ir import Operand, is_float
from diffsim.compiler.reading import algebra, matrices
from diffsim.compiler.reading.constructors import Evaluate, arguments_of, cast, named_arguments, named_dtype
from diffsim.compiler.reading.context import Context
from diffsim.compiler.reading.operators import binary
from diffsim.compiler.reading.values import Abstract, Matrix, Object, entries_of, like

__all__ = ["NAMES", "round_to"]

ti = _taichi.ti
Form = Callable[[Context, ast.Call, Evaluate], Abstract]
_LN2, _LN10 = math.log(2.0), math.log(10.0)


# ---- vectors and matrices ----


def _filled_like(number: int) -> Form:
    """Return what evaluates `ti.zero(x)` or `ti.one(x)`: a number in the shape and type of `x`."""

    def make(ctx: Context, node: ast.Call, evaluate: Evaluate) -> Abstract:
        x = ctx.runtime(evaluate(ctx, node.args[0]), node)
        return like(x, [ctx.builder.cast(ctx.builder.const(number), e.dtype) for e in entries_of(x)])

    return make


def _diagonal(ctx: Context, node: ast.Call, evaluate: Evaluate) -> Abstract:
    """Evaluate `ti.Matrix.diag(dim, val)`."""
    given = named_arguments(ctx, node, evaluate, ("dim", "val"))
    n = _size(ctx, node, given["dim"])
    value = ctx.number(given["val"], node)
    zero = ctx.builder.cast(ctx.builder.const(0), value.dtype)
    return Matrix(tuple(value if i == j else zero for i in range(n) for j in range(n)), (n, n))


def _unit(ctx: Context, node: ast.Call, evaluate: Evaluate) -> Abstract:
    """Evaluate `ti.Vector.unit(n, i, dt)`, of integers where no type is named, as Taichi has it."""
    given = named_arguments(ctx, node, evaluate, ("n", "i"), ("dt",))
    n, dtype = _size(ctx, node, given["n"]), "i32"
    if "dt" in given:
        dtype = named_dtype(ctx, node, given["dt"])
    at = given["i"]
    if not isinstance(at, Object) or not isinstance(at.value, int) or not 0 <= at.value < n:
        ctx.error(
            node,
            f"{ctx.text(node)} must name a component from 0 to {n - 1}, known when the kernel compiles; for "
            "others write ti.Vector([...]) of conditions",
            rule="INDEX",
        )
    b = ctx.builder
    return Matrix(tuple(b.cast(b.const(int(k == at.value)), dtype) for k in range(n)), (n,))


def _size(ctx: Context, node: ast.Call, value: Abstract) -> int:
    if isinstance(value, Object) and isinstance(value.value, int | np.integer) and value.value > 0:
        return int(value.value)
    ctx.error(node, f"{ctx.text(node)} must get a size known when the kernel compiles", rule="SHAPE")


# ---- scalar functions ----


def _arithmetic(count: int, make: Callable[..., Abstract]) -> Form:
    """Return what evaluates a function of `count` numbers or vectors, made of `make(apply, *arguments)`."""

    def evaluated(ctx: Context, node: ast.Call, evaluate: Evaluate) -> Abstract:
        arguments = arguments_of(ctx, node, evaluate)
        if len(arguments) != count or node.keywords:
            ctx.error(
                node, f"{ctx.text(node)} must get {count} argument(s), by position, got others", rule="SHAPE"
            )

        def apply(fn: str, *args: Any) -> Abstract:
            operands = [ctx.builder.const(a) if isinstance(a, int | float) else a for a in args]
            return matrices.elementwise(ctx.builder, fn, *operands)

        try:
            return make(apply, *(ctx.runtime(a, node) for a in arguments))
        except ValueError as error:
            ctx.error(node, f"{ctx.text(node)} must get arguments that fit: {error}", rule="SHAPE")

    return evaluated


def _hypot(ctx: Context, node: ast.Call, evaluate: Evaluate) -> Abstract:
    """Evaluate `math.hypot(x, y, ...)`, whose slope at the origin is 0, as that of a norm is."""
    numbers = [ctx.number(a, node) for a in arguments_of(ctx, node, evaluate)]
    return algebra.METHODS["norm"](ctx, node, Matrix(tuple(numbers), (len(numbers),)))


def _sinh(apply: Any, x: Any) -> Any:
    return apply("mul", apply("tanh", x), _cosh(apply, x))


def _cosh(apply: Any, x: Any) -> Any:
    return apply("mul", apply("add", apply("exp", x), apply("exp", apply("neg", x))), 0.5)


def round_to(ctx: Context, node: ast.Call, evaluate: Evaluate, fn: str) -> Abstract:
    """Evaluate `ti.floor(x, dtype)` and the like: rounded, and of that type where one is named."""
    given = named_arguments(ctx, node, evaluate, ("x",), ("dtype",))
    rounded = matrices.elementwise(ctx.builder, fn, ctx.runtime(given["x"], node))
    chosen = given.get("dtype", Object(None))
    if isinstance(chosen, Object) and chosen.value is None:
        return rounded
    return cast(ctx, node, rounded, named_dtype(ctx, node, chosen))


def _log1p(apply: Any, x: Any) -> Any:
    y = apply("add", x, 1.0)  # what rounding took from x is added again, to first order
    return apply("sub", apply("log", y), apply("div", apply("sub", apply("sub", y, 1.0), x), y))


# ---- integers ----


def _truncated(ctx: Context, a: Operand, b: Operand) -> Operand:
    """Return a quotient rounded towards zero, as C has it."""
    of = ctx.builder.op
    if is_float(a.dtype) or is_float(b.dtype):
        quotient = of("div", a, b)
        below = of("lt", quotient, ctx.builder.const(0.0))
        return of("select", below, of("ceil", quotient), of("floor", quotient))
    zero, floor = ctx.builder.const(0), of("floordiv", a, b)
    rest = of("ne", of("sub", a, of("mul", floor, b)), zero)
    opposite = of("bit_xor", of("lt", a, zero), of("lt", b, zero))
    return of("select", of("and", rest, opposite), of("add", floor, ctx.builder.const(1)), floor)


def _raw(remainder: bool) -> Form:
    """Return what evaluates `ti.raw_div` or `ti.raw_mod`, which round towards zero."""

    def make(ctx: Context, node: ast.Call, evaluate: Evaluate) -> Abstract:
        x, y = _two(ctx, node, evaluate)
        try:
            pairs = matrices.paired(x, y)
        except ValueError as error:
            ctx.error(node, f"{ctx.text(node)} must get arguments that fit: {error}", rule="SHAPE")

        def one(a: Operand, b: Operand) -> Operand:
            if not remainder:
                real = is_float(a.dtype) or is_float(b.dtype)
                return ctx.builder.op("div", a, b) if real else _truncated(ctx, a, b)
            return ctx.builder.op("sub", a, ctx.builder.op("mul", b, _truncated(ctx, a, b)))

        return like(x if isinstance(x, Matrix) else y, [one(a, b) for a, b in pairs])

    return make


def _two(ctx: Context, node: ast.Call, evaluate: Evaluate) -> tuple[Abstract, Abstract]:
    arguments = [ctx.runtime(a, node) for a in arguments_of(ctx, node, evaluate)]
    if len(arguments) != 2:
        ctx.error(node, f"{ctx.text(node)} must get 2 arguments, got {len(arguments)}", rule="SHAPE")
    return arguments[0], arguments[1]


def _logical_shift(ctx: Context, node: ast.Call, evaluate: Evaluate) -> Abstract:
    """Evaluate `ti.bit_shr(x, n)`, which fills with zeros."""
    x, n = _two(ctx, node, evaluate)
    b: Builder = ctx.builder

    def one(a: Operand, k: Operand) -> Operand:
        if is_float(a.dtype) or is_float(k.dtype):
            ctx.error(node, f"{ctx.text(node)} must get integers, got a float", rule="SHAPE")
        return b.cast(b.op("shr", b.cast(a, "u" + a.dtype[1:]), b.cast(k, "u" + a.dtype[1:])), a.dtype)

    return like(x, [one(a, k) for a, k in matrices.paired(x, n)])


def _bit_cast(ctx: Context, node: ast.Call, evaluate: Evaluate) -> Abstract:
    given = named_arguments(ctx, node, evaluate, ("x", "dtype"))
    x, dtype = ctx.runtime(given["x"], node), named_dtype(ctx, node, given["dtype"])
    if any(e.dtype[1:] != dtype[1:] or is_float(e.dtype) != is_float(dtype) for e in entries_of(x)):
        ctx.error(
            node,
            f"{ctx.text(node)} must turn integers into integers of the same size, got bits of a number that "
            "gradients flow through; compute with the number itself, or look a table up (ds.Constant)",
            rule="FUNCTION",
        )
    return like(x, [ctx.builder.cast(e, dtype) for e in entries_of(x)])


# ---- Python's own, and hints to Taichi's compiler ----


def _sum(ctx: Context, node: ast.Call, evaluate: Evaluate) -> Abstract:
    """Evaluate `sum(...)` of a list, a tuple or a vector; of a matrix, its rows."""
    given = named_arguments(ctx, node, evaluate, ("items",), ("start",))
    items = ctx.unpacked(given["items"], node)
    if "start" in given or not items:
        items.insert(0, given.get("start", Object(0)))
    return reduce(lambda a, b: binary(ctx, node, ast.Add(), a, b), items)


def _truth(ctx: Context, node: ast.Call, evaluate: Evaluate) -> Abstract:
    value = evaluate(ctx, node.args[0])
    return (
        Object(bool(value.value)) if isinstance(value, Object) else ctx.builder.truth(ctx.number(value, node))
    )


def _static_assert(ctx: Context, node: ast.Call, evaluate: Evaluate) -> Abstract:
    given = named_arguments(ctx, node, evaluate, ("cond",), ("msg",))
    test, said = given["cond"], given.get("msg")
    if not isinstance(test, Object):
        ctx.error(
            node,
            f"{ctx.text(node)} must be known when the kernel compiles, got a number that it computes; write "
            "assert",
            rule="PYTHON",
        )
    if not test.value:
        told = f" ({said.value})" if isinstance(said, Object) and said.value is not None else ""
        ctx.error(node, f"{ctx.text(node)} must hold, got False{told}; correct what it says", rule="PYTHON")
    return Object(None)


def _static_print(ctx: Context, node: ast.Call, evaluate: Evaluate) -> Abstract:
    """Keep what `ti.static_print(...)` prints with what `Rollout.explain` tells of the kernel."""
    known = [evaluate(ctx, argument) for argument in node.args]
    told = [
        str(v.value) if isinstance(v, Object) else ctx.text(a) for v, a in zip(known, node.args, strict=True)
    ]
    ctx.note(node, f"static_print: {' '.join(told)}")
    return Object(None)


def _nothing(ctx: Context, node: ast.Call, evaluate: Evaluate) -> Abstract:
    return Object(None)


def _first(ctx: Context, node: ast.Call, evaluate: Evaluate) -> Abstract:
    return evaluate(ctx, node.args[0])


def _instead(remedy: str, rule: str = "FUNCTION") -> Form:
    """Return what refuses a function, and says what there is instead."""

    def refuse(ctx: Context, node: ast.Call, evaluate: Evaluate) -> Abstract:
        ctx.error(
            node,
            f"{ctx.text(node.func)} must stay out of kernels that are differentiated, got {ctx.text(node)}; "
            + remedy,
            rule=rule,
        )

    return refuse


def _scaled(by: float) -> Form:
    return _arithmetic(1, lambda apply, x: apply("mul", x, by))


def _composed(count: int, *fns: str) -> Form:
    """Return what evaluates a function that is another one, or one of the result of another one."""
    return _arithmetic(
        count, lambda apply, *x: reduce(lambda y, fn: apply(fn, y), fns[1:], apply(fns[0], *x))
    )


def _divided_log(by: float) -> Form:
    return _arithmetic(1, lambda apply, x: apply("div", apply("log", x), by))


_COMMON: dict[str, Form] = {  # what `math` and NumPy both have
    "hypot": _hypot,
    "sinh": _arithmetic(1, _sinh),
    "cosh": _arithmetic(1, _cosh),
    "fabs": _composed(1, "abs"),
    "log2": _divided_log(_LN2),
    "log10": _divided_log(_LN10),
    "log1p": _arithmetic(1, _log1p),
    "degrees": _scaled(180.0 / math.pi),
    "radians": _scaled(math.pi / 180.0),
    "isnan": _composed(1, "isnan"),
    "isinf": _composed(1, "isinf"),
    "trunc": _arithmetic(
        1, lambda apply, x: apply("select", apply("lt", x, 0.0), apply("ceil", x), apply("floor", x))
    ),
}
_NUMPY: dict[str, Form] = {
    **_COMMON,
    "arcsin": _composed(1, "asin"),
    "arccos": _composed(1, "acos"),
    "arctan": _arithmetic(1, lambda apply, x: apply("atan2", x, 1.0)),
    "arctan2": _composed(2, "atan2"),
    "maximum": _composed(2, "max"),
    "minimum": _composed(2, "min"),
    "power": _composed(2, "pow"),
    "square": _arithmetic(1, lambda apply, x: apply("mul", x, x)),
    "where": _composed(3, "select"),
    "clip": _arithmetic(3, lambda apply, x, low, high: apply("min", apply("max", x, low), high)),
}
_BITS = "bits have no derivative; compute with numbers, or look a table up (ds.Constant)"
_TAICHI: dict[str, Form] = {
    "zero": _filled_like(0),
    "one": _filled_like(1),
    "raw_div": _raw(remainder=False),
    "raw_mod": _raw(remainder=True),
    "bit_shr": _logical_shift,
    "bit_cast": _bit_cast,
    "static_assert": _static_assert,
    "static_print": _static_print,
    "assume_in_range": _first,
    "cache_read_only": _nothing,
    "no_activate": _nothing,
    "stop_grad": _instead("write ds.stop_gradient(...) around the values that are read"),
    "frexp": _instead(_BITS),
    "global_thread_idx": _instead("which thread runs an iteration is the library's to choose: use its index"),
    "sync": _instead("the library orders the kernels of a step: leave the line out"),
}


def _clz(ctx: Context, node: ast.Call, evaluate: Evaluate) -> Abstract:
    """Evaluate `ti.math.clz(x)`: the zeros before the first one of 32 bits."""
    b = ctx.builder
    x = b.cast(ctx.number(evaluate(ctx, node.args[0]), node), "u32")
    for k in (1, 2, 4, 8, 16):
        x = b.op("bit_or", x, b.op("shr", x, b.const(k, "u32")))
    return b.op("sub", b.const(32), b.op("popcnt", x))


def _made_type(ctx: Context, node: ast.Call, evaluate: Evaluate) -> Abstract:
    """Evaluate `ti.types.vector(3, float)`."""
    known = [a.value if isinstance(a, Object) else None for a in arguments_of(ctx, node, evaluate)]
    named = {k.arg: evaluate(ctx, k.value) for k in node.keywords if k.arg}
    known_named = {name: v.value for name, v in named.items() if isinstance(v, Object)}
    try:
        return Object(getattr(ti.types, ast.unparse(node.func).split(".")[-1])(*known, **known_named))
    except (TypeError, ValueError) as error:
        ctx.error(node, f"{ctx.text(node)} must be a type, got {error}", rule="SHAPE")


NAMES: dict[int, Form] = {
    **{id(getattr(math, name)): form for name, form in _COMMON.items()},
    **{id(getattr(np, name)): form for name, form in _NUMPY.items()},
    **{id(getattr(ti, name)): form for name, form in _TAICHI.items() if hasattr(ti, name)},
    id(math.atan): _NUMPY["arctan"],
    id(math.dist): _instead("write (a - b).norm()"),
    id(math.fmod): _raw(remainder=True),
    id(ti.math.clz): _clz,
    id(ti.types.vector): _made_type,
    id(ti.types.matrix): _made_type,
    id(sum): _sum,
    id(bool): _truth,
}
for _owner in (ti.Vector, ti.Matrix):
    for _name, _form in (("diag", _diagonal), ("unit", _unit)):
        if hasattr(_owner, _name):
            NAMES[id(getattr(_owner, _name))] = _form
