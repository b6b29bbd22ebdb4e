"""Reading on in a statement that was refused, so that all that is wrong in a kernel is told at once."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Iterator

from diffsim import _taichi
from diffsim.compiler.ir import Value
from diffsim.compiler.reading import writes
from diffsim.compiler.reading.atomics import ATOMICS
from diffsim.compiler.reading.context import Context
from diffsim.compiler.reading.expressions import evaluate, known_object, place_of
from diffsim.compiler.reading.values import POISON, Abstract, Variable
from diffsim.errors import GradientError, TraceError
from diffsim.language.fields import Field
from diffsim.language.intrinsics import at_most

__all__ = ["UNFORESEEN", "read_on"]

# What a form that no rule foresaw ends in: an error of the user's kernel all the same, with its place.
UNFORESEEN = (
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    RecursionError,
)
# where some parts may never be evaluated, or mean nothing by themselves
_WHOLE = (ast.IfExp, ast.BoolOp, ast.Lambda, ast.ListComp, ast.GeneratorExp, ast.SetComp, ast.DictComp)


def read_on(ctx: Context, statement: ast.stmt) -> None:
    """Look at the parts of a refused statement that reading has not come to, each once.

    What is found is added to `ctx.found`; what cannot be told from what was refused already is not.
    """
    if id(statement) in ctx.looked_at:
        return
    ctx.looked_at.add(id(statement))
    if isinstance(statement, ast.For):
        _gather(ctx, *_bounds(ctx, statement.iter))
        _body(ctx, statement.body, statement)
    elif isinstance(statement, ast.While):
        bounded = isinstance(statement.test, ast.Call) and known_object(ctx, statement.test.func) is at_most
        _gather(ctx, *(statement.test.args if bounded else [statement.test]))  # type: ignore[attr-defined]
        _body(ctx, statement.body, None)
    elif isinstance(statement, ast.If):
        _gather(ctx, statement.test)
        if not any(_is_static(ctx, node) for node in ast.walk(statement.test)):
            _body(ctx, statement.body, None)
            _body(ctx, statement.orelse, None)
    elif isinstance(statement, ast.With | ast.Try):
        _body(ctx, statement.body, None)
    elif isinstance(statement, ast.Assign):
        _gather(ctx, statement.value)
        for target in statement.targets:
            _target(ctx, target, statement, adds=False)
    elif isinstance(statement, ast.AugAssign):
        _gather(ctx, statement.value)
        _target(ctx, statement.target, statement, adds=isinstance(statement.op, ast.Add | ast.Sub))
    elif isinstance(statement, ast.AnnAssign | ast.Expr | ast.Return) and statement.value is not None:
        _gather(ctx, statement.value)


def _bounds(ctx: Context, iterable: ast.expr) -> list[ast.expr]:
    """Return what the bounds of a loop are made of: `range` itself means nothing outside its `for`."""
    forms = (range, zip, enumerate, _taichi.ti.ndrange, _taichi.ti.grouped, _taichi.ti.static)
    if isinstance(iterable, ast.Call) and any(known_object(ctx, iterable.func) is form for form in forms):
        return [part for argument in iterable.args for part in _bounds(ctx, argument)]
    return [iterable]


def _is_static(ctx: Context, node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and known_object(ctx, node.func) is _taichi.ti.static


def _body(ctx: Context, body: list[ast.stmt], loop: ast.For | None) -> None:
    """Read statements whose loop or branch was refused."""
    if not body or id(body[0]) in ctx.read:
        return
    with ctx.deeper(), ctx.scope():
        ctx.loops += loop is not None
        ctx.frame.loops += loop is not None
        if loop is not None:
            names = [node.id for node in ast.walk(loop.target) if isinstance(node, ast.Name)]
            ctx.frame.variables |= {name: Variable(_index(ctx, loop)) for name in names}
        try:
            with _looking(ctx):
                ctx.run(ctx, body)
        finally:
            ctx.loops -= loop is not None
            ctx.frame.loops -= loop is not None


def _index(ctx: Context, loop: ast.For) -> Abstract:
    """Return what a name that a refused loop binds stands for: an index, where it cannot be a vector."""
    over = known_object(ctx, loop.iter)
    one_axis = isinstance(over, Field) and len(over.shape) == 1
    is_range = isinstance(loop.iter, ast.Call) and known_object(ctx, loop.iter.func) is range
    return Value("i32") if one_axis or is_range or isinstance(loop.target, ast.Tuple) else POISON


def _gather(ctx: Context, *nodes: ast.expr) -> None:
    """Evaluate expressions, and what those that are refused are made of, each by itself."""
    for node in nodes:
        if id(node) in ctx.looked_at or isinstance(node, _WHOLE):
            continue
        ctx.looked_at.add(id(node))
        if isinstance(node, ast.Starred):
            _gather(ctx, node.value)
            continue
        found = len(ctx.found)
        refused = True
        with _looking(ctx):
            evaluate(ctx, node)
            refused = len(ctx.found) > found
        if refused:
            _gather(ctx, *_parts(ctx, node))


def _parts(ctx: Context, node: ast.expr) -> Iterator[ast.expr]:
    if not isinstance(node, ast.Call):
        yield from (child for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr))
        return
    if isinstance(node.func, ast.Attribute):
        yield node.func.value
    # what an atomic adds to is a place, not a value
    yield from node.args[id(known_object(ctx, node.func)) in ATOMICS :]
    yield from (keyword.value for keyword in node.keywords)


def _target(ctx: Context, target: ast.expr, statement: ast.stmt, adds: bool) -> None:
    """Check a place that is written; the value is not known."""
    if isinstance(target, ast.Tuple | ast.List):
        for element in target.elts:
            _target(ctx, element, statement, adds)
        return
    if not isinstance(target, ast.Subscript | ast.Attribute):
        return
    with _looking(ctx):
        place = place_of(ctx, target)
        if place is not None:
            writes.check_writable(ctx, place, statement, adds)
        return
    _gather(ctx, *_parts(ctx, target))


@contextlib.contextmanager
def _looking(ctx: Context) -> Iterator[None]:
    """Keep what is found wrong while active, and go on."""
    try:
        yield
    except (TraceError, GradientError) as error:
        ctx.found += error.diagnostics
    except UNFORESEEN:
        return
