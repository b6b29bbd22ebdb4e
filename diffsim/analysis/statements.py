"""Lowering a kernel's statements: assignments, loops that carry values, branches that yield them."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from typing import Any

from diffsim import _taichi
from diffsim.analysis import places
from diffsim.analysis.context import Context
from diffsim.analysis.expressions import binary, chosen_component, evaluate, known_object, place_of, unpacked
from diffsim.analysis.values import Abstract, Matrix, Object, Sequence, Variable, entries_of, like
from diffsim.fields import Field
from diffsim.ir import Block, Const, For, Operand, Value, is_float

__all__ = ["Returned", "run"]


class Returned(Exception):  # noqa: N818  (a signal, not an error)
    """Carry the value of a `return` out of the body of an inlined function."""

    def __init__(self, value: Abstract) -> None:
        super().__init__()
        self.value = value


def run(ctx: Context, statements: list[ast.stmt]) -> None:
    """Lower statements in order.

    Raises:
        Returned: A `return` was reached.
        TraceError: A statement is not one that kernels can be differentiated with.
    """
    for statement in statements:
        handler = _HANDLERS.get(type(statement))
        if handler is None:
            ctx.error(statement, f"kernels must not use `{type(statement).__name__.lower()}`; {_remedy(statement)}")
        handler(ctx, statement)


def _remedy(statement: ast.stmt) -> str:
    if isinstance(statement, ast.While):
        return "use `for _ in range(n)` with an `if` around the body"
    if isinstance(statement, ast.Break | ast.Continue):
        return "put the rest of the body in an `if`"
    return "move it out of the kernel"


# -- assignments ----------------------------------------------------------------------------------------------------


def _assign(ctx: Context, node: ast.Assign) -> None:
    value = evaluate(ctx, node.value)
    is_static = _is_static(ctx, node.value)
    for target in node.targets:
        assign(ctx, target, value, node, is_static)


def _is_static(ctx: Context, node: ast.expr) -> bool:
    """Tell whether a value is written as `ti.static(...)`, which binds the name to a Python object."""
    return isinstance(node, ast.Call) and known_object(ctx, node.func) is _taichi.ti.static


def assign(ctx: Context, target: ast.expr, value: Abstract, node: ast.stmt, is_static: bool = False) -> None:
    """Assign a value to a name, a tuple of targets, or a place."""
    if isinstance(target, ast.Tuple | ast.List):
        items = unpacked(ctx, value, node)
        if len(items) != len(target.elts):
            ctx.error(node, f"{ctx.text(target)} must have as many names as values, got {len(items)} values")
        for element, item in zip(target.elts, items, strict=True):
            assign(ctx, element, item, node, is_static)
        return
    if isinstance(target, ast.Name):
        _assign_name(ctx, target.id, value, node, is_static)
        return
    place = place_of(ctx, target)
    if place is not None:
        places.store(ctx, place, value, node)
        return
    chosen = chosen_component(ctx, target)
    if chosen is not None:
        places.write_any(ctx, *chosen, value, node)
        return
    _assign_component(ctx, target, value, node)


def _assign_name(ctx: Context, name: str, value: Abstract, node: ast.stmt, is_static: bool) -> None:
    variables = ctx.frame.variables
    known = variables.get(name)
    if known is not None and known.dtypes is not None:
        known.current = _converted(ctx, known, value, node)
        return
    if known is not None and ctx.depth and not is_static:
        ctx.error(node, f"{name} must not be assigned in a loop or branch, got a name bound outside to a Python object or to "
                  "an argument; use another name")
    number = isinstance(value, Object) and isinstance(value.value, bool | int | float)
    if is_static or (isinstance(value, Object) and not number) or not isinstance(value, Object | Value | Const | Matrix):
        variables[name] = Variable(value)
        return
    operand = ctx.runtime(value, node)
    if any(e.dtype == "u1" for e in entries_of(operand)) and number:
        operand = like(operand, [ctx.builder.cast(e, "i32") for e in entries_of(operand)])
    variables[name] = Variable(operand, tuple(e.dtype for e in entries_of(operand)))


def _converted(ctx: Context, variable: Variable, value: Abstract, node: ast.stmt) -> Abstract:
    """Convert a value to the type of a variable, which its first assignment fixed."""
    operand = ctx.runtime(value, node)
    old, dtypes = variable.current, variable.dtypes
    assert dtypes is not None  # noqa: S101  (the caller checked)
    entries = entries_of(operand)
    if len(entries) == 1 and isinstance(old, Matrix):
        entries *= len(dtypes)
    if len(entries) != len(dtypes):
        ctx.error(node, f"a variable must keep its shape, got {ctx.text(node)}; use another name")
    for entry, dtype in zip(entries, dtypes, strict=True):
        if is_float(entry.dtype) and not is_float(dtype):
            ctx.error(node, f"an integer variable must not be assigned a float, got {ctx.text(node)}, which would cut the value "
                      "and its gradient; start it with a float (0.0), or cast with ti.cast(..., ti.i32)")
    return like(old, [ctx.builder.cast(e, d) for e, d in zip(entries, dtypes, strict=True)])


def _assign_component(ctx: Context, target: ast.expr, value: Abstract, node: ast.stmt) -> None:
    """Assign to `v[i]`, `m[i, j]` or `v.x` of a local vector."""
    if not isinstance(target, ast.Subscript | ast.Attribute) or not isinstance(target.value, ast.Name):
        ctx.error(node, f"{ctx.text(target)} must be a name, a field element or a component of a local vector")
    variable = ctx.frame.variables.get(target.value.id)
    if variable is None or not isinstance(variable.current, Matrix) or variable.dtypes is None:
        ctx.error(node, f"{ctx.text(target)} must be a field element or a component of a local vector; kernels cannot set "
                  "attributes or captured values")
    old = variable.current
    entries = list(old.entries)
    given = ctx.runtime(value, node)
    if isinstance(target, ast.Attribute):
        picked = places.components_of(old.shape, target.attr)
        if picked is None:
            ctx.error(node, f"{ctx.text(target)} must be a component")
        positions: list[Any] = list(picked)
    else:
        index = evaluate(ctx, target.slice)
        _, positions = places.pick(ctx, target, old.shape, Object(int(index.value)) if isinstance(index, Const) else index)
    if len(positions) == 1 and not isinstance(positions[0], int):
        new = ctx.number(given, node)
        for k, entry in enumerate(entries):
            hit = ctx.builder.op("eq", positions[0], ctx.builder.const(k))
            entries[k] = ctx.builder.op("select", hit, ctx.builder.cast(new, entry.dtype), entry)
    else:
        parts = entries_of(given)
        parts = parts * len(positions) if len(parts) == 1 else parts
        for position, part in zip(positions, parts, strict=True):
            entries[position] = part
    variable.current = _converted(ctx, variable, Matrix(tuple(entries), old.shape), node)


def _ann_assign(ctx: Context, node: ast.AnnAssign) -> None:
    if node.value is None:
        ctx.error(node, "a declaration must have a value")
    value = evaluate(ctx, node.value)
    kind = evaluate(ctx, node.annotation)
    dtype = _taichi.dtype_name(kind.value) if isinstance(kind, Object) else None
    if dtype is not None:
        operand = ctx.runtime(value, node)
        value = like(operand, [ctx.builder.cast(e, dtype) for e in entries_of(operand)])
    assign(ctx, node.target, value, node)


def _aug_assign(ctx: Context, node: ast.AugAssign) -> None:
    place = place_of(ctx, node.target)
    value = evaluate(ctx, node.value)
    if place is not None and isinstance(node.op, ast.Add | ast.Sub):
        places.accumulate(ctx, place, value, node, sign=1 if isinstance(node.op, ast.Add) else -1)
        return
    chosen = chosen_component(ctx, node.target) if place is None else None
    if chosen is not None and isinstance(node.op, ast.Add | ast.Sub):
        places.write_any(ctx, *chosen, value, node, sign=1 if isinstance(node.op, ast.Add) else -1)
        return
    if place is not None:
        old = places.load(ctx, place, node)
        places.store(ctx, place, binary(ctx, node, node.op, old, value), node)
        return
    old = evaluate(ctx, node.target)
    assign(ctx, node.target, binary(ctx, node, node.op, old, value), node)


def _expression(ctx: Context, node: ast.Expr) -> None:
    if isinstance(node.value, ast.Constant):
        return
    call, ti = node.value, _taichi.ti
    if isinstance(call, ast.Call) and len(call.args) == 2:
        function = known_object(ctx, call.func)
        if function is ti.atomic_add or function is ti.atomic_sub:
            op = ast.Add() if function is ti.atomic_add else ast.Sub()
            _aug_assign(ctx, ast.copy_location(ast.AugAssign(call.args[0], op, call.args[1]), node))  # type: ignore[arg-type]
            return
    evaluate(ctx, node.value)


# -- branches -------------------------------------------------------------------------------------------------------


def _if(ctx: Context, node: ast.If) -> None:
    test = evaluate(ctx, node.test)
    if isinstance(test, Object):
        run(ctx, node.body if test.value else node.orelse)
        return
    cond = ctx.builder.truth(ctx.number(test, node.test))
    if isinstance(cond, Const):
        run(ctx, node.body if cond.value else node.orelse)
        return
    variables = ctx.variables()
    before = [v.current for v in variables]
    then, orelse = Block(), Block()
    _run_scoped(ctx, node.body, then)
    after_then = [v.current for v in variables]
    _restore(variables, before)
    _run_scoped(ctx, node.orelse, orelse)
    after_else = [v.current for v in variables]
    merged: list[tuple[Variable, int]] = []
    for variable, a, b, old in zip(variables, after_then, after_else, before, strict=True):
        if a is old and b is old:
            continue
        entries = list(zip(entries_of(a), entries_of(b), strict=True))
        then.yields += [p for p, _ in entries]
        orelse.yields += [q for _, q in entries]
        merged.append((variable, len(entries)))
    results = ctx.builder.branch(cond, then, orelse)
    for variable, count in merged:
        part, results = results[:count], results[count:]
        variable.current = like(variable.current, part)


def _restore(variables: list[Variable], values: list[Abstract]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.current = value


def _run_scoped(ctx: Context, statements: list[ast.stmt], block: Block, loop: bool = False) -> None:
    """Lower statements into a block; names that they introduce end with it."""
    names = set(ctx.frame.variables)
    ctx.depth += 1
    try:
        with ctx.builder.inside(block, loop):
            run(ctx, statements)
    finally:
        ctx.depth -= 1
    for name in set(ctx.frame.variables) - names:
        del ctx.frame.variables[name]


# -- loops ----------------------------------------------------------------------------------------------------------


def _for(ctx: Context, node: ast.For) -> None:
    if node.orelse:
        ctx.error(node, "kernels must not use for-else; move the else part behind the loop")
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
            ctx.error(node, "ti.grouped must stand inside ti.static, as in ti.static(ti.grouped(ti.ndrange(...)))")
    if obj in (zip, enumerate, list):
        return "static", ast.copy_location(ast.Call(node.func, [node], []), node)
    return "field", None


def _static_for(ctx: Context, node: ast.For, call: ast.Call | None) -> None:
    assert call is not None  # noqa: S101  (a static loop is written as a call)
    if isinstance(call.args[0], ast.Call) and call.args[0] is node.iter:
        iterable = evaluate(ctx, node.iter)
    else:
        iterable = evaluate(ctx, call.args[0])
    for item in _static_items(ctx, iterable, node):
        names = set(ctx.frame.variables)
        _bind(ctx, node.target, item, node)
        run(ctx, node.body)
        for name in set(ctx.frame.variables) - names:
            del ctx.frame.variables[name]


def _static_items(ctx: Context, iterable: Abstract, node: ast.For) -> Iterator[Abstract]:
    grouped = isinstance(iterable, Object) and isinstance(iterable.value, list)
    for item in unpacked(ctx, iterable, node.iter):
        if grouped and isinstance(item, Object) and isinstance(item.value, tuple) and isinstance(node.target, ast.Name):
            yield ctx.runtime(Sequence(tuple(Object(k) for k in item.value)), node)
        else:
            yield item


def _bind(ctx: Context, target: ast.expr, item: Abstract, node: ast.stmt) -> None:
    if isinstance(target, ast.Name):
        ctx.frame.variables[target.id] = Variable(item)
    elif isinstance(target, ast.Tuple):
        for element, part in zip(target.elts, unpacked(ctx, item, node), strict=True):
            _bind(ctx, element, part, node)
    else:
        ctx.error(node, f"loop targets must be names, got {ctx.text(target)}")


def _axes(ctx: Context, call: ast.Call) -> list[tuple[Abstract, ...]]:
    axes: list[tuple[Abstract, ...]] = []
    for argument in call.args:
        value = evaluate(ctx, argument)
        if isinstance(value, Object) and isinstance(value.value, tuple | list):
            axes.append(tuple(Object(x) for x in value.value))
        else:
            axes.append(value.items if isinstance(value, Sequence) else (value,))
    return axes


def _field_for(ctx: Context, node: ast.For) -> None:
    value = evaluate(ctx, node.iter)
    ti = _taichi.ti
    if isinstance(value, Object) and isinstance(value.value, Field | ti.Field):
        declared = value.value
        if isinstance(declared, Field) and declared.kind in ("state", "scratch", "control"):
            ctx.error(node, f"a loop must name its range, got `for ... in {ctx.text(node.iter)}`, a field with a time axis; "
                      f"use ti.ndrange{tuple(declared.shape)}")
        _range_for(ctx, node, [(Object(n),) for n in declared.shape], False)
        return
    ctx.error(node, f"a loop must run over range, ti.ndrange, ti.static or a Param, got {ctx.text(node.iter)}")


def _range_for(ctx: Context, node: ast.For, axes: list[tuple[Abstract, ...]], grouped: bool) -> None:
    """Lower a loop over one or more integer ranges."""
    bounds = [_bounds(ctx, axis, node) for axis in axes]
    parallel = ctx.depth == 0 and ctx.loops == 0
    ctx.loops += 1
    try:
        _nest(ctx, node, bounds, [], grouped, parallel)
    finally:
        ctx.loops -= 1


def _bounds(ctx: Context, axis: tuple[Abstract, ...], node: ast.For) -> tuple[Operand, Operand]:
    numbers = [ctx.number(value, node.iter) for value in axis]
    for number in numbers:
        if is_float(number.dtype):
            ctx.error(node, f"bounds of a loop must be integers, got a float in {ctx.text(node.iter)}; use ti.cast(..., ti.i32)")
    if len(numbers) == 1:
        return ctx.builder.const(0), numbers[0]
    if len(numbers) == 2:
        return numbers[0], numbers[1]
    ctx.error(node, f"a loop must have a stop, or a start and a stop, got {ctx.text(node.iter)}; compute the index for other steps")


def _nest(
    ctx: Context, node: ast.For, bounds: list[tuple[Operand, Operand]], indices: list[Value], grouped: bool, parallel: bool
) -> None:
    if not bounds:
        _bind_indices(ctx, node, indices, grouped)
        run(ctx, node.body)
        return
    (start, stop), rest = bounds[0], bounds[1:]

    def body(index: Value) -> None:
        _nest(ctx, node, rest, [*indices, index], grouped, parallel)

    carry_loop(ctx, node, start, stop, body, parallel)


def _bind_indices(ctx: Context, node: ast.For, indices: list[Value], grouped: bool) -> None:
    item: Abstract
    if grouped:
        item = Matrix(tuple(indices), (len(indices),))
    elif len(indices) == 1:
        item = indices[0]
    else:
        if not isinstance(node.target, ast.Tuple):
            item = Matrix(tuple(indices), (len(indices),))
        else:
            item = Sequence(tuple(indices))
    _bind(ctx, node.target, item, node)


def carry_loop(
    ctx: Context, node: ast.For, start: Operand, stop: Operand, lower_body: Callable[[Value], None], parallel: bool
) -> None:
    """Lower a loop whose body may change variables from outside: those become carried values.

    Which ones is found by trying: the body is lowered with a guess, and again with what it turned out to change.
    """
    variables = ctx.variables()
    before = [v.current for v in variables]
    names = {id(v): n for n, v in ctx.frame.variables.items()}
    stored = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    guess = {k for k, v in enumerate(variables) if v.dtypes is not None and names.get(id(v)) in stored}
    while True:
        loop = _attempt(ctx, node, start, stop, lower_body, variables, guess)
        after = [v.current for v in variables]
        changed = {k for k in range(len(variables)) if k not in guess and after[k] is not before[k]}
        if not changed:
            break
        _restore(variables, before)
        guess |= changed
    loop.parallel = parallel
    loop.where = ctx.at(node)
    results = ctx.builder.loop(loop)
    _restore(variables, before)
    for k in sorted(guess):
        count = len(variables[k].dtypes or ())
        part, results = results[:count], results[count:]
        variables[k].current = like(before[k], part)


def _attempt(
    ctx: Context,
    node: ast.For,
    start: Operand,
    stop: Operand,
    lower_body: Callable[[Value], None],
    variables: list[Variable],
    carried: set[int],
) -> For:
    loop = For(Value("i32"), start, stop, Block())
    for k in sorted(carried):
        current = variables[k].current
        loop.inits += entries_of(current)
        params = [Value(e.dtype) for e in entries_of(current)]
        loop.params += params
        variables[k].current = like(current, params)
    names = set(ctx.frame.variables)
    ctx.depth += 1
    with ctx.builder.inside(loop.body, loop=True):
        lower_body(loop.index)
    ctx.depth -= 1
    for name in set(ctx.frame.variables) - names:
        del ctx.frame.variables[name]
    for k in sorted(carried):
        loop.body.yields += entries_of(variables[k].current)
    return loop


# -- the rest -------------------------------------------------------------------------------------------------------


def _return(ctx: Context, node: ast.Return) -> None:
    if ctx.depth:
        ctx.error(node, f"{ctx.frame.source.node.name} must not return from inside a loop or branch; assign and return at its end")
    if len(ctx.frames) == 1 and node.value is not None:
        ctx.error(node, "kernels must not return values; add to self.cost or write a field")
    raise Returned(Object(None) if node.value is None else evaluate(ctx, node.value))


def _ignore(ctx: Context, node: ast.stmt) -> None:
    """Pass over statements that have no effect on values."""


_HANDLERS: dict[type[ast.stmt], Callable[[Context, Any], None]] = {
    ast.Assign: _assign,
    ast.AnnAssign: _ann_assign,
    ast.AugAssign: _aug_assign,
    ast.Expr: _expression,
    ast.If: _if,
    ast.For: _for,
    ast.Return: _return,
    ast.Pass: _ignore,
    ast.Assert: _ignore,
}
