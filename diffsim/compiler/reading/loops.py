"""Lowering loops: over ranges and fields, whose bodies may change outer variables, and static ones."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Callable, Iterator
from typing import NoReturn

import numpy as np

from diffsim import _taichi
from diffsim.compiler.ir import Block, Buffer, For, Operand, Value
from diffsim.compiler.reading.axes import Axis, bounds_of, check_names, index_of, span_of
from diffsim.compiler.reading.constructors import arguments_of
from diffsim.compiler.reading.context import Context, restore
from diffsim.compiler.reading.expressions import evaluate, known_object
from diffsim.compiler.reading.flow import LEFT
from diffsim.compiler.reading.foreign import foreign_cells
from diffsim.compiler.reading.sparse import guarded_body
from diffsim.compiler.reading.unrolling import Span, spelled_out
from diffsim.compiler.reading.values import (
    Abstract,
    Matrix,
    Object,
    Ranges,
    Sequence,
    Variable,
    completed,
    entries_of,
    like,
)
from diffsim.language.fields import Field

__all__ = ["MOST", "carry_loop", "lower_for", "too_large"]

MOST = 50_000  # operations of one kernel; beyond them compiling does not come to an end in practice


def lower_for(ctx: Context, node: ast.For) -> None:
    """Lower a loop, whatever it runs over.

    Raises:
        TraceError: It has an `else`, or runs over something that kernels cannot.
    """
    if node.orelse:
        ctx.error(
            node, "kernels must not use for-else; move the else part behind the loop", rule="CONTROL-FLOW"
        )
    if _flag_of(node) is not None:
        ctx.note(node, "break is a flag, by which the loop is left")
    kind, call = _loop_kind(ctx, node.iter)
    if kind == "static":
        _static_for(ctx, node, call)
    elif kind == "range":
        _range_for(ctx, node, [tuple(evaluate(ctx, a) for a in call.args)], False)  # type: ignore[union-attr]
    elif kind in ("ndrange", "grouped"):
        _range_for(ctx, node, _axes(ctx, call), kind == "grouped")  # type: ignore[arg-type]
    else:
        _field_for(ctx, node)


def _loop_kind(ctx: Context, node: ast.expr) -> tuple[str, ast.Call | None]:
    if not isinstance(node, ast.Call):
        return "field", None
    obj = known_object(ctx, node.func)
    ti = _taichi.ti
    if obj is ti.static:
        return "static", node
    if obj is range:
        return "range", node
    if obj is ti.ndrange:
        return "ndrange", node
    if obj is ti.grouped and isinstance(node.args[0], ast.Call):
        inner, call = _loop_kind(ctx, node.args[0])
        if inner == "ndrange":
            return "grouped", call
        if inner == "static":
            ctx.error(
                node, "ti.grouped must stand inside ti.static, as in ti.static(ti.grouped(ti.ndrange(...)))"
            )
    if obj in (zip, enumerate, list):
        return "static", ast.copy_location(ast.Call(node.func, [node], []), node)
    return "field", None


def _static_for(ctx: Context, node: ast.For, call: ast.Call | None) -> None:
    assert call is not None  # noqa: S101  (a static loop is written as a call)
    if isinstance(call.args[0], ast.Call) and call.args[0] is node.iter:
        iterable = evaluate(ctx, node.iter)
    else:
        iterable = evaluate(ctx, call.args[0])
    ctx.frame.loops += 1
    items = list(_static_items(ctx, iterable, node))
    ctx.note(node, f"the loop is unrolled, {len(items)} times")
    try:
        for item in ctx.unrolled(items):
            with ctx.scope():
                _bind(ctx, node.target, item, node)
                ctx.run(ctx, node.body)
    finally:
        ctx.frame.loops -= 1


def _static_items(ctx: Context, iterable: Abstract, node: ast.For) -> Iterator[Abstract]:
    grouped = isinstance(iterable, Object) and isinstance(iterable.value, list)
    if isinstance(iterable, Object) and isinstance(iterable.value, range) and len(iterable.value) > MOST:
        too_large(ctx, node)
    for item in ctx.unpacked(iterable, node.iter):
        if (
            grouped
            and isinstance(item, Object)
            and isinstance(item.value, tuple)
            and isinstance(node.target, ast.Name)
        ):
            yield ctx.runtime(Sequence(tuple(Object(k) for k in item.value)), node)
        else:
            yield item


def too_large(ctx: Context, node: ast.AST) -> NoReturn:
    """Refuse a kernel that unrolls to more than can be compiled."""
    ctx.error(
        node,
        f"a kernel must not unroll to more than {MOST} operations, got more at this statement; loop with "
        "range instead of ti.static",
        rule="TOO-LARGE",
    )


def _bind(ctx: Context, target: ast.expr, item: Abstract, node: ast.stmt) -> None:
    if isinstance(target, ast.Name):
        if target.id in ctx.frame.variables:
            if target.id == "_":
                return
            ctx.error(
                node,
                f"the name of a loop must be new, got {target.id}, which is in use; use another name",
                rule="NAME",
            )
        ctx.frame.variables[target.id] = Variable(item)
    elif isinstance(target, ast.Tuple):
        parts = ctx.unpacked(item, node)
        if len(parts) != len(target.elts):
            ctx.error(
                node,
                f"a loop must have as many names as each item has parts, {len(parts)}, got "
                f"`for {ctx.text(target).strip('()')} in ...`; name each",
                rule="SHAPE",
            )
        for element, part in zip(target.elts, parts, strict=True):
            _bind(ctx, element, part, node)
    else:
        ctx.error(node, f"loop targets must be names, got {ctx.text(target)}")


def _axes(ctx: Context, call: ast.Call) -> list[tuple[Abstract, ...]]:
    axes: list[tuple[Abstract, ...]] = []
    for value in arguments_of(ctx, call, evaluate):
        if isinstance(value, Object) and isinstance(value.value, tuple | list):
            axes.append(tuple(Object(x) for x in value.value))
        else:
            axes.append(value.items if isinstance(value, Sequence) else (value,))
    return axes


def _field_for(ctx: Context, node: ast.For) -> None:
    value = evaluate(ctx, node.iter)
    ti = _taichi.ti
    over = value.value if isinstance(value, Object) else None
    grouped = isinstance(node.iter, ast.Call) and known_object(ctx, node.iter.func) is ti.grouped
    looped = node.iter.args[0] if grouped else node.iter  # type: ignore[attr-defined]
    if isinstance(over, Field):
        guard = over if over.sparse else None
        _range_for(ctx, node, [(Object(n),) for n in over.shape], grouped, guard)
        return
    if _taichi.is_a(over, "Field", "SNode"):
        shape, active = foreign_cells(ctx, node, ctx.text(looped), over)
        _range_for(ctx, node, [(Object(n),) for n in shape], grouped, active)
        return
    if isinstance(over, np.ndarray):
        _range_for(ctx, node, [(Object(n),) for n in over.shape], grouped)
        return
    if isinstance(value, Ranges):
        _range_for(ctx, node, list(value.axes), grouped)
        return
    bounds = _python_ranges(over)
    if bounds is not None:
        _note_call(ctx, node)
        _range_for(ctx, node, [tuple(map(Object, axis)) for axis in bounds], grouped)
        return
    remedy = "; unroll it, as in ti.static(...)" if isinstance(over, tuple | list | range) else ""
    ctx.error(
        node,
        f"a loop must run over range, ti.ndrange, ti.static or a Param, got {ctx.text(node.iter)}"
        f"{_kind(value)}{remedy}",
        rule="CONTROL-FLOW",
    )


def _python_ranges(over: object) -> list[tuple[int, ...]] | None:
    """Return the axes of a `range` or `ti.ndrange` that was made in Python: by a method, or before."""
    if isinstance(over, range):
        return [(over.start, over.stop, over.step) if over.step != 1 else (over.start, over.stop)]
    bounds = _taichi.ndrange_bounds(over)
    return None if bounds is None else list(bounds)


def _note_call(ctx: Context, node: ast.For) -> None:
    """Note that a method that returned a range is not called again in each step."""
    call = node.iter
    while isinstance(call, ast.Call) and known_object(ctx, call.func) is _taichi.ti.grouped and call.args:
        call = call.args[0]
    if isinstance(call, ast.Call) and known_object(ctx, call.func) not in (None, range):
        ctx.note(node, f"{ctx.text(call)} is called once, now")


def _kind(value: Abstract) -> str:
    """Tell what a Taichi object is that no loop can run over, and what to do."""
    if isinstance(value, Object) and _taichi.is_a(value.value, "Ndarray"):
        return ", a ti.ndarray; declare it as ds.Constant(...)"
    return ""


def _range_for(
    ctx: Context,
    node: ast.For,
    axes: list[tuple[Abstract, ...]],
    grouped: bool,
    over: Field | Buffer | None = None,
) -> None:
    """Lower a loop over one or more integer ranges; of a sparse field, over the cells that are active."""
    bounds = [bounds_of(ctx, axis, node) for axis in axes]
    spans = [span_of(axis) for axis in bounds]
    parallel = ctx.depth == 0 and ctx.loops == 0 and not ctx.serial
    ctx.serial = False
    ctx.loops += 1
    ctx.frame.loops += 1
    try:
        if over or not (spelled_out(ctx, node, spans) and _spell_out(ctx, node, spans, grouped)):
            _nest(ctx, node, bounds, [], grouped, parallel, over)
    finally:
        ctx.loops -= 1
        ctx.frame.loops -= 1


def _spell_out(ctx: Context, node: ast.For, spans: list[Span | None], grouped: bool) -> bool:
    """Unroll a loop whose index runs over a local vector or matrix; tell whether it can be."""
    axes = [[first + k * step for k in range(count)] for first, count, step in filter(None, spans)]
    every = list(itertools.product(*axes))
    note = f"the loop is unrolled, {len(every)} times: its index runs over a local vector or matrix"
    with ctx.tried() as trial:
        ctx.note(node, note)
        for indices in every:
            with ctx.scope():
                _bind_indices(ctx, node, [ctx.builder.const(k) for k in indices], grouped)
                ctx.run(ctx, node.body)
    return trial.held


def _nest(
    ctx: Context,
    node: ast.For,
    bounds: list[Axis],
    indices: list[Operand],
    grouped: bool,
    parallel: bool,
    over: Field | Buffer | None = None,
) -> None:
    if not bounds:
        _bind_indices(ctx, node, indices, grouped)
        if parallel:
            ctx.changed = []
        ctx.run(ctx, node.body if over is None else guarded_body(ctx, node, over, indices))
        if parallel:
            _keep_order(ctx, node, indices)
        return
    axis, rest = bounds[0], bounds[1:]
    start, stop, step = axis

    def body(index: Value) -> None:
        own = index if step is None else index_of(ctx, axis, index)
        _nest(ctx, node, rest, [*indices, own], grouped, parallel, over)

    carry_loop(ctx, node, start if step is None else ctx.builder.const(0), stop, body, parallel)


def _keep_order(ctx: Context, node: ast.For, indices: list[Operand]) -> None:
    """Let iterations run in order where atomics change places that several of them may mean."""
    ctx.ordered = any(not set(indices) <= set(place) for place in ctx.changed)
    if ctx.ordered:
        ctx.note(node, "atomics change what iterations share, so that they run in order")


def _bind_indices(ctx: Context, node: ast.For, indices: list[Operand], grouped: bool) -> None:
    check_names(ctx, node, len(indices), grouped)
    item: Abstract
    if grouped:
        item = Matrix(tuple(indices), (len(indices),))
    elif len(indices) == 1:
        item = indices[0]
    else:
        item = Sequence(tuple(indices))
    _bind(ctx, node.target, item, node)


def carry_loop(
    ctx: Context,
    node: ast.For | ast.While,
    start: Operand,
    stop: Operand,
    lower_body: Callable[[Value], None],
    parallel: bool,
) -> None:
    """Lower a loop whose body may change variables from outside: those become carried values.

    Which ones is found by trying: the body is lowered with a guess, and again with what it turned out to
    change.
    """
    variables = ctx.variables()
    before = [v.current for v in variables]
    names = {id(v): n for n, v in ctx.frame.variables.items()}
    stored = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    guess = {k for k, v in enumerate(variables) if v.dtypes is not None and names.get(id(v)) in stored}
    choices = ctx.choices
    while True:
        ctx.choices = choices  # those of an attempt that is thrown away do not count
        loop = _attempt(ctx, node, start, stop, lower_body, variables, guess)
        after = [v.current for v in variables]
        changed = {k for k in range(len(variables)) if k not in guess and after[k] is not before[k]}
        if not changed:
            break
        before = [completed(a, b) for a, b in zip(before, after, strict=True)]
        restore(variables, before)
        guess |= changed
    loop.parallel = parallel and not ctx.ordered
    loop.where = ctx.at(node)
    results = ctx.builder.loop(loop)
    restore(variables, before)
    for k in sorted(guess):
        count = len(variables[k].dtypes or ())
        part, results = results[:count], results[count:]
        variables[k].current = like(before[k], part)


def _attempt(
    ctx: Context,
    node: ast.For | ast.While,
    start: Operand,
    stop: Operand,
    lower_body: Callable[[Value], None],
    variables: list[Variable],
    carried: set[int],
) -> For:
    loop = For(Value("i32"), start, stop, Block())
    flag = ctx.frame.variables.get(_flag_of(node) or "")
    for k in sorted(carried):
        current = variables[k].current
        loop.inits += entries_of(current)
        params = [Value(e.dtype) for e in entries_of(current)]
        loop.params += params
        variables[k].current = like(current, params)
        if variables[k] is flag:
            [loop.left] = params
    with ctx.deeper(), ctx.scope(), ctx.builder.inside(loop.body, loop=True):
        lower_body(loop.index)
    for k in sorted(carried):
        loop.body.yields += entries_of(variables[k].current)
    return loop


def _flag_of(node: ast.For | ast.While) -> str | None:
    """Return the name of the flag that tells that a loop was left; None for one that runs to its end."""
    first = node.body[0]
    if isinstance(first, ast.If) and isinstance(first.test, ast.Compare):
        name = first.test.left
        return name.id if isinstance(name, ast.Name) and name.id.startswith(LEFT) else None
    return None
