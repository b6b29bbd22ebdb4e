"""Lowering `assert`: it is looked at while the kernel runs, and told of with the numbers in it."""

from __future__ import annotations

import ast
import string
from collections.abc import Callable, Iterator
from typing import Any

from diffsim.compiler.checks.alarms import Assertion, Slot
from diffsim.compiler.ir import Assert, Const, Operand, Value
from diffsim.compiler.reading.context import Context
from diffsim.compiler.reading.expressions import evaluate
from diffsim.compiler.reading.values import Abstract, Matrix, Object, TimeIndex
from diffsim.errors import TraceError

__all__ = ["lower_assert"]

Branch = Callable[[Context, Value, Callable[[], None], Callable[[], None]], Any]
_CONVERSIONS: dict[Any, Callable[[Any], str]] = {"s": str, "r": repr, "a": ascii}
_LONGEST = 200  # characters of a condition in messages


def lower_assert(ctx: Context, node: ast.Assert, branch: Branch) -> None:
    """Lower `assert condition, message`.

    The numbers in it are read again where it fails, and there alone: a kernel whose asserts hold does nothing
    but compare.

    Args:
        ctx: The state of lowering.
        node: The statement.
        branch: Lowers the two sides of a branch.

    Raises:
        TraceError: The condition is not one, or nobody would look at it here.
    """
    if not ctx.checked:
        ctx.error(
            node,
            "assert must stand in a kernel or in a function itself, got one in the adjoint of a function, "
            "where nobody would look at it; move it to the function",
            rule="ADJOINT",
        )
    _check(ctx, node, list(_parts(node.test)), branch)


def _parts(test: ast.expr) -> Iterator[ast.expr]:
    """Yield what must hold one after the other: each part of `a and b`."""
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And):
        for part in test.values:
            yield from _parts(part)
    else:
        yield test


def _check(ctx: Context, node: ast.Assert, parts: list[ast.expr], branch: Branch) -> None:
    part, rest = parts[0], parts[1:]

    def go_on() -> None:
        if rest:
            _check(ctx, node, rest, branch)

    test = evaluate(ctx, part)
    if isinstance(test, Object):
        holds: Operand = Const(bool(test.value), "u1")
    else:
        holds = ctx.builder.truth(ctx.number(test, part))
    if isinstance(holds, Value):
        branch(ctx, holds, go_on, lambda: _fail(ctx, node, part))
    elif holds.value:
        go_on()
    else:
        _fail(ctx, node, part)


def _fail(ctx: Context, node: ast.Assert, part: ast.expr) -> None:
    """Lower what is done where a part of a condition does not hold."""
    numbers: list[Operand] = []
    got: list[str | Slot] = []
    for operand in {ast.unparse(o): o for o in _operands(part)}.values():
        text = _told(ctx, operand, evaluate(ctx, operand), numbers)
        got += [", " if got else "", f"{ast.unparse(operand)} = ", *text]
    message = _message(ctx, node.msg, numbers)
    condition = ast.unparse(node.test)
    if len(condition) > _LONGEST:
        condition = condition[: _LONGEST - 3] + "..."
    said = Assertion(tuple(got) or ("False",), tuple(message))
    ctx.builder.append(Assert(Value("u1"), "assert", tuple(numbers), ctx.at(node), (condition, said)))


def _operands(test: ast.expr) -> Iterator[ast.expr]:
    """Yield what the value of a condition that does not hold comes from, as far as it was computed."""
    if isinstance(test, ast.BoolOp):
        for part in test.values if isinstance(test.op, ast.Or) else test.values[:1]:
            yield from _operands(part)
    elif isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        inner = test.operand
        first = inner.values[0] if isinstance(inner, ast.BoolOp) and isinstance(inner.op, ast.Or) else inner
        every = inner.values if isinstance(inner, ast.BoolOp) and isinstance(inner.op, ast.And) else [first]
        for part in every:
            yield from _operands(part)
    elif isinstance(test, ast.Compare):
        yield from (o for o in [test.left, *test.comparators] if not _is_literal(o))
    elif isinstance(test, ast.Call) and (compared := _comparison_in(test)) is not None:
        yield from _operands(compared)
    elif not _is_literal(test):
        yield test


def _comparison_in(call: ast.Call) -> ast.Compare | None:
    """Return the comparison in `(a < b).all()` or `all(a < b)`."""
    inside = [*call.args, *([call.func.value] if isinstance(call.func, ast.Attribute) else [])]
    return next((node for node in inside if isinstance(node, ast.Compare)), None)


def _is_literal(node: ast.expr) -> bool:
    return isinstance(node.operand if isinstance(node, ast.UnaryOp) else node, ast.Constant)


def _told(
    ctx: Context, node: ast.expr, value: Abstract, numbers: list[Operand], form: str = "", how: Any = None
) -> list[str | Slot]:
    """Return how a value stands in a message; numbers that are known only later are added to `numbers`."""
    if isinstance(value, Object):
        text = value.value if how is None else _CONVERSIONS[how](value.value)
        return [format(text, form)]
    if isinstance(value, TimeIndex):
        value = ctx.runtime(value, node)
    if isinstance(value, Value | Const):
        numbers.append(value)
        return [Slot((value.dtype,), (), form)]
    if isinstance(value, Matrix):
        numbers += value.entries
        return [Slot(tuple(e.dtype for e in value.entries), value.shape, form)]
    return [ast.unparse(node)]


def _message(ctx: Context, node: ast.expr | None, numbers: list[Operand]) -> list[str | Slot]:
    if node is None:
        return []
    known = len(numbers)
    try:
        if isinstance(node, ast.JoinedStr):
            return _joined(ctx, node, numbers)
        call = node if isinstance(node, ast.Call) else None
        if call is not None and isinstance(call.func, ast.Attribute) and call.func.attr == "format":
            base = evaluate(ctx, call.func.value)
            if isinstance(base, Object) and isinstance(base.value, str):
                return _formatted(ctx, base.value, call, numbers)
        return _told(ctx, node, evaluate(ctx, node), numbers)
    except (
        TraceError,
        ValueError,
        LookupError,
    ):  # a message that no kernel can make is told as it is written
        del numbers[known:]
        return [ast.unparse(node)]


def _joined(ctx: Context, node: ast.JoinedStr, numbers: list[Operand]) -> list[str | Slot]:
    """Read an f-string."""
    found: list[str | Slot] = []
    for part in node.values:
        if isinstance(part, ast.FormattedValue):
            form = part.format_spec
            text = "".join(str(v.value) for v in form.values) if isinstance(form, ast.JoinedStr) else ""  # type: ignore[attr-defined]
            how = chr(part.conversion) if part.conversion > 0 else None
            found += _told(ctx, part.value, evaluate(ctx, part.value), numbers, text, how)
        elif isinstance(part, ast.Constant):
            found.append(str(part.value))
    return found


def _formatted(ctx: Context, text: str, call: ast.Call, numbers: list[Operand]) -> list[str | Slot]:
    """Read `"... {} ...".format(...)`."""
    named = {k.arg: k.value for k in call.keywords}
    found: list[str | Slot] = []
    count = 0
    for literal, name, form, how in string.Formatter().parse(text):
        found.append(literal)
        if name is None:
            continue
        count += not name
        position = int(name) if name.isdigit() else count - 1
        node = named[name] if name and not name.isdigit() else call.args[position]
        found += _told(ctx, node, evaluate(ctx, node), numbers, form or "", how)
    return found
