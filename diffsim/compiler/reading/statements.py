"""Lowering a kernel's statements one by one; branches yield the variables that they change."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Callable
from typing import Any

from diffsim import _taichi
from diffsim.compiler.ir import Block, Const, If, Value
from diffsim.compiler.reading.assertions import lower_assert
from diffsim.compiler.reading.assignments import lower_annotated, lower_assignment, lower_augmented
from diffsim.compiler.reading.context import Context, restore
from diffsim.compiler.reading.expressions import evaluate, join, known_object
from diffsim.compiler.reading.flow import has_return
from diffsim.compiler.reading.further import UNFORESEEN, read_on
from diffsim.compiler.reading.loops import MOST, lower_for, too_large
from diffsim.compiler.reading.values import (
    Abstract,
    Matrix,
    Object,
    Poisoned,
    Record,
    Sequence,
    Unset,
    Variable,
    completed,
    entries_of,
    like,
    same_shape,
)
from diffsim.compiler.reading.whiles import Again, lower_again, lower_while
from diffsim.errors import Diagnostic, DiffsimError, GradientError, TraceError
from diffsim.language.fields import Field

__all__ = ["Returned", "run"]


class Returned(Exception):
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
    for k, statement in enumerate(statements):
        ctx.read.add(id(statement))
        try:
            if isinstance(statement, ast.If) and has_return(statement):
                _returning_if(ctx, statement, statements[k + 1 :])
                return
            _lower(ctx, statement)
        except (TraceError, GradientError) as error:  # go on, to tell of everything at once
            known = bool(error.diagnostics) or isinstance(error, Poisoned)
            if not known or any(d.rule == "TOO-LARGE" for d in error.diagnostics):
                raise
            ctx.found += error.diagnostics
            _pass_over(ctx, statement)
        except UNFORESEEN as error:
            if isinstance(error, DiffsimError):
                raise
            message = f"a statement must be one that kernels can compute, got {type(error).__name__}: {error}"
            ctx.found.append(Diagnostic("SYNTAX", str(ctx.at(statement)), message))
            _pass_over(ctx, statement)


def _pass_over(ctx: Context, statement: ast.stmt) -> None:
    with contextlib.suppress(Returned):
        read_on(ctx, statement)
    ctx.poison(statement)


def _lower(ctx: Context, statement: ast.stmt) -> None:
    handler = _HANDLERS.get(type(statement))
    if handler is None:
        name = type(statement).__name__.lower()
        rule = "CONTROL-FLOW" if isinstance(statement, ast.Break | ast.Continue) else "SYNTAX"
        taped = isinstance(statement, ast.With) and "Tape" in ast.unparse(statement.items[0])
        remedy = "rollout.value_and_grad() runs all adjoints" if taped else "move it out of the kernel"
        ctx.error(statement, f"kernels must not use `{name}`; {remedy}", rule=rule)
    if ctx.builder.count > MOST:
        too_large(ctx, statement)
    ctx.builder.where = ctx.at(statement)
    handler(ctx, statement)


def _expression(ctx: Context, node: ast.Expr) -> None:
    if isinstance(node.value, ast.Constant):
        return
    call, ti = node.value, _taichi.ti
    if isinstance(call, ast.Call) and len(call.args) == 2:
        function = known_object(ctx, call.func)
        is_sum = function is ti.atomic_add or function is ti.atomic_sub
        if is_sum and not isinstance(call.args[0], ast.Name):
            op = ast.Add() if function is ti.atomic_add else ast.Sub()
            same = ast.AugAssign(call.args[0], op, call.args[1])  # type: ignore[arg-type]
            lower_augmented(ctx, ast.copy_location(same, node))
            return
    if _fill(ctx, node):
        return
    evaluate(ctx, node.value)


def _fill(ctx: Context, node: ast.Expr) -> bool:
    """Lower `field.fill(value)` and `v.fill(value)` of a local vector; tell whether it is one of them."""
    call = node.value
    is_fill = isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "fill"
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute) or not is_fill:
        return False
    place, base = call.func.value, evaluate(ctx, call.func.value)
    fills_field = isinstance(base, Object) and isinstance(base.value, Field)
    if len(call.args) != 1 or call.keywords or not (fills_field or isinstance(base, Matrix)):
        return False
    if isinstance(base, Object):
        axes = len(base.value.shape)
        names = [ast.Name(f"_axis{k}_", ast.Load()) for k in range(axes)]
        index = ast.Tuple(list(names), ast.Load()) if axes > 1 else names[0] if axes else ast.Constant(None)
        target = ast.Subscript(place, index, ast.Store())
        body: ast.stmt = ast.Assign([target], call.args[0])
        if axes:
            over = ast.Tuple([ast.Name(n.id, ast.Store()) for n in names], ast.Store())
            body = ast.For(over if axes > 1 else over.elts[0], place, [body], [])
    else:
        body = ast.Assign([place], call.args[0])
    for part in ast.walk(body):
        if not hasattr(part, "lineno"):
            ast.copy_location(part, node)
    ctx.run(ctx, [body])
    return True


# ---- branches ----


def _if(ctx: Context, node: ast.If) -> None:
    cond = _condition(ctx, node)
    if isinstance(cond, bool):
        run(ctx, node.body if cond else node.orelse)
        return
    _branch(ctx, cond, lambda: run(ctx, node.body), lambda: run(ctx, node.orelse))


def _condition(ctx: Context, node: ast.If) -> bool | Value:
    """Evaluate the test of an `if`: a Python bool where it is known when the kernel compiles."""
    test = evaluate(ctx, node.test)
    if isinstance(test, Object):
        return bool(test.value)
    cond = ctx.builder.truth(ctx.number(test, node.test))
    return bool(cond.value) if isinstance(cond, Const) else cond


def _branch(
    ctx: Context, cond: Value, run_then: Callable[[], None], run_else: Callable[[], None]
) -> tuple[Block, Block]:
    """Lower the two sides of a branch; what they make of outer variables becomes its results."""
    variables = ctx.variables()
    before = [v.current for v in variables]
    then, orelse = Block(), Block()
    _run_scoped(ctx, run_then, then)
    after_then = [v.current for v in variables]
    restore(variables, before)
    _run_scoped(ctx, run_else, orelse)
    after_else = [v.current for v in variables]
    merged: list[tuple[Variable, Abstract, int]] = []
    for variable, a, b, old in zip(variables, after_then, after_else, before, strict=True):
        if a is old and b is old:
            continue
        a, b = completed(a, b), completed(b, a)
        entries = list(zip(entries_of(a), entries_of(b), strict=True))
        then.yields += [p for p, _ in entries]
        orelse.yields += [q for _, q in entries]
        merged.append((variable, a, len(entries)))
    results = ctx.builder.branch(cond, then, orelse)
    for variable, kind, count in merged:
        part, results = results[:count], results[count:]
        variable.current = like(kind, part)
    return then, orelse


def _run_scoped(ctx: Context, lower_side: Callable[[], None], block: Block) -> None:
    """Lower one side into a block; names that it introduces end with it."""
    with ctx.deeper(), ctx.scope(), ctx.builder.inside(block):
        lower_side()


def _returning_if(ctx: Context, node: ast.If, rest: list[ast.stmt]) -> None:
    """Lower an `if` with a `return` in it together with what follows: each side then runs to an end.

    Raises:
        Returned: Always, with a value that is chosen while the kernel runs.
    """
    sides = [side if _always_returns(side) else [*side, *rest] for side in (node.body, node.orelse)]
    cond = _condition(ctx, node)
    if isinstance(cond, bool):
        run(ctx, sides[0] if cond else sides[1])
        return
    returned: list[Abstract] = []

    def side(statements: list[ast.stmt]) -> Callable[[], None]:
        def lower_side() -> None:
            try:
                run(ctx, statements)
                returned.append(Object(None))
            except Returned as end:
                returned.append(_settled(ctx, end.value, node))

        return lower_side

    found = len(ctx.found)
    then, orelse = _branch(ctx, cond, side(sides[0]), side(sides[1]))
    if len(ctx.found) > found:
        raise Poisoned
    raise Returned(_joined(ctx, node, then, returned[0], orelse, returned[1]))


def _always_returns(body: list[ast.stmt]) -> bool:
    last = body[-1] if body else None
    if isinstance(last, ast.If):
        return _always_returns(last.body) and _always_returns(last.orelse)
    return isinstance(last, ast.Return)


def _settled(ctx: Context, value: Abstract, node: ast.If) -> Abstract:
    """Turn what a side returns into scalars while its block is open."""
    if _is_none(value) or isinstance(value, Unset):
        return value
    if isinstance(value, Sequence) or (isinstance(value, Object) and isinstance(value.value, tuple)):
        return Sequence(tuple(_settled(ctx, item, node) for item in ctx.unpacked(value, node)))
    return ctx.runtime(value, node)


def _is_none(value: Abstract) -> bool:
    return isinstance(value, Object) and value.value is None


def _joined(ctx: Context, node: ast.If, then: Block, a: Abstract, orelse: Block, b: Abstract) -> Abstract:
    """Let the branch whose blocks were just lowered yield what its two sides return."""
    if _is_none(a) and _is_none(b):
        return a
    a, b = completed(a, b), completed(b, a)
    if isinstance(a, Sequence) and isinstance(b, Sequence) and len(a.items) == len(b.items):
        pairs = zip(a.items, b.items, strict=True)
        return Sequence(tuple(_joined(ctx, node, then, p, orelse, q) for p, q in pairs))
    name = ctx.frame.source.node.name
    if (
        _is_none(a)
        or _is_none(b)
        or isinstance(a, Sequence)
        or isinstance(b, Sequence)
        or not same_shape(a, b)
    ):
        ctx.error(
            node, f"{name} must return values of one shape on every way through; add a return", rule="SHAPE"
        )
    branch = ctx.builder.block.ops[-1]
    assert isinstance(branch, If)  # noqa: S101  (it was appended last)
    start = len(branch.results)
    join(ctx, then, entries_of(a), orelse, entries_of(b))
    branch.results += [Value(y.dtype) for y in then.yields[start:]]
    return like(a, branch.results[start:])


# ---- the rest ----


def _return(ctx: Context, node: ast.Return) -> None:
    if len(ctx.frames) == 1 and node.value is not None and not ctx.returns:
        ctx.error(
            node,
            "a kernel that returns a value must name its type, as in `def total(self, t: ti.i32) -> float:`, "
            f"got {ctx.text(node)}; or add to self.cost, or write a field",
            rule="CONTROL-FLOW",
        )
    value = Object(None) if node.value is None else evaluate(ctx, node.value)
    raise Returned(Sequence(value.items) if isinstance(value, Record) and value.kind is Sequence else value)


def _ignore(ctx: Context, node: ast.stmt) -> None:
    """Pass over statements that have no effect on values."""


_HANDLERS: dict[type[ast.stmt], Callable[[Context, Any], None]] = {
    ast.Assign: lower_assignment,
    ast.AnnAssign: lower_annotated,
    ast.AugAssign: lower_augmented,
    ast.Expr: _expression,
    ast.If: _if,
    ast.For: lower_for,
    ast.While: lower_while,
    Again: lower_again,
    ast.Return: _return,
    ast.Pass: _ignore,
    ast.Assert: lambda ctx, node: lower_assert(ctx, node, _branch),
}
