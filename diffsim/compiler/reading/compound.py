"""Expressions with names of their own: comprehensions, lambdas, `(y := x)`, and formatted text."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from diffsim.compiler.ir import Accumulate, Block, Store, walk
from diffsim.compiler.reading.constructors import Evaluate, arguments_of
from diffsim.compiler.reading.context import Context, Frame
from diffsim.compiler.reading.values import Abstract, Object, Sequence, Variable

__all__ = [
    "Closure",
    "call_closure",
    "closure",
    "comprehension",
    "formatted",
    "known_dict",
    "refuse_inside",
    "refuse_writes",
    "walrus",
]


# ---- comprehensions ----


def comprehension(ctx: Context, node: ast.ListComp | ast.GeneratorExp, evaluate: Evaluate) -> Abstract:
    """Evaluate `[f(x) for x in items if known]`, written out item by item.

    Raises:
        TraceError: What it runs over, or a condition of it, is not known when the kernel compiles.
    """
    variables = ctx.frame.variables
    targets = [n.id for g in node.generators for n in ast.walk(g.target) if isinstance(n, ast.Name)]
    saved = {name: variables[name] for name in targets if name in variables}
    try:
        return Sequence(tuple(_items(ctx, node, node.generators, evaluate)))
    finally:
        for name in targets:
            variables.pop(name, None)
        variables.update(saved)


def _items(
    ctx: Context,
    node: ast.ListComp | ast.GeneratorExp,
    generators: list[ast.comprehension],
    evaluate: Evaluate,
) -> Iterator[Abstract]:
    if not generators:
        yield evaluate(ctx, node.elt)
        return
    generator, rest = generators[0], generators[1:]
    for item in ctx.unrolled(ctx.unpacked(evaluate(ctx, generator.iter), generator.iter)):
        _bind(ctx, node, generator.target, item)
        tests = [evaluate(ctx, test) for test in generator.ifs]
        if not all(isinstance(test, Object) for test in tests):
            ctx.error(
                node,
                "conditions of a comprehension must be known when the kernel compiles, got another one in "
                f"{ctx.text(node)}; use a loop with an `if`",
                rule="PYTHON",
            )
        if all(test.value for test in tests):  # type: ignore[union-attr]
            yield from _items(ctx, node, rest, evaluate)


def _bind(ctx: Context, node: ast.AST, target: ast.expr, item: Abstract) -> None:
    if isinstance(target, ast.Name):
        ctx.frame.variables[target.id] = Variable(item)
        return
    if not isinstance(target, ast.Tuple | ast.List):
        ctx.error(node, f"a comprehension must bind names, got {ctx.text(target)}; use names of its own")
    parts = ctx.unpacked(item, node)
    if len(parts) != len(target.elts):
        ctx.error(
            node,
            f"{ctx.text(target)} must have as many names as values, got {len(parts)}; name each",
            rule="SHAPE",
        )
    for element, part in zip(target.elts, parts, strict=True):
        _bind(ctx, node, element, part)


def known_dict(ctx: Context, node: ast.Dict, evaluate: Evaluate) -> Abstract:
    """Evaluate `{"key": value}` of what is known when the kernel compiles.

    Raises:
        TraceError: Something in it is not.
    """
    found = {}
    for key, value in zip(node.keys, node.values, strict=True):
        pair = [evaluate(ctx, part) for part in (key, value) if part is not None]
        known = [item.value for item in pair if isinstance(item, Object)]
        if len(known) != 2:
            ctx.error(
                node,
                f"a dict in a kernel must be known when the kernel compiles, got {ctx.text(node)}; use "
                "names, or a @ti.dataclass",
                rule="PYTHON",
            )
        found[known[0]] = known[1]
    return Object(found)


# ---- lambdas ----


@dataclass(frozen=True, eq=False)
class Closure:
    """A lambda that a kernel makes: its text, and the function whose names it sees when it is called."""

    node: ast.Lambda
    frame: Frame

    __name__ = "<lambda>"


def closure(ctx: Context, node: ast.Lambda) -> Abstract:
    """Evaluate `lambda x: ...`.

    Raises:
        TraceError: It takes anything but plain parameters.
    """
    given = node.args
    if given.vararg or given.kwarg or given.defaults or given.kwonlyargs or given.posonlyargs:
        ctx.error(
            node,
            f"a lambda in a kernel must have plain parameters, got {ctx.text(node)}; write it as a @ti.func",
        )
    return Object(Closure(node, ctx.frame))


def call_closure(ctx: Context, node: ast.Call, function: Closure, evaluate: Evaluate) -> Abstract:
    """Evaluate a call of a lambda that a kernel made.

    Raises:
        TraceError: It gets other arguments than it takes.
    """
    names = [a.arg for a in function.node.args.args]
    arguments = arguments_of(ctx, node, evaluate)
    if len(names) != len(arguments) or node.keywords:
        ctx.error(
            node,
            f"{ctx.text(node)} must get the argument(s) {', '.join(names)} by position, got {len(arguments)}",
            rule="SHAPE",
        )
    variables = function.frame.variables
    saved = {name: variables[name] for name in names if name in variables}
    variables.update((name, Variable(value)) for name, value in zip(names, arguments, strict=True))
    ctx.frames.append(dataclasses.replace(function.frame, call=node))
    try:
        return evaluate(ctx, function.node.body)
    finally:
        ctx.frames.pop()
        for name in names:
            variables.pop(name, None)
        variables.update(saved)


# ---- values with a name ----


def walrus(ctx: Context, node: ast.NamedExpr, evaluate: Evaluate) -> Abstract:
    """Evaluate `(name := value)`: assign, as a statement of its own would, and return the value."""
    statement = ast.copy_location(ast.Assign([node.target], node.value), node)
    ctx.run(ctx, [statement])
    return evaluate(ctx, ast.copy_location(ast.Name(node.target.id, ast.Load()), node))


def refuse_inside(ctx: Context, *parts: ast.expr) -> None:
    """Refuse `:=` where it may not be reached: behind `and` or `or`, on a side of a ternary.

    Raises:
        TraceError: There is one.
    """
    for part in parts:
        for inner in ast.walk(part):
            if isinstance(inner, ast.NamedExpr):
                ctx.error(
                    inner,
                    f"`:=` must stand where it is always reached, got {ctx.text(inner)} behind a condition; "
                    "assign it in a line before",
                    rule="NAME",
                )


def refuse_writes(ctx: Context, part: ast.expr, block: Block) -> None:
    """Refuse a write to memory by what may not be reached: Python would pass it over, plain Taichi does it.

    Raises:
        TraceError: There is one.
    """
    for op in walk(block):
        if isinstance(op, Store | Accumulate):
            ctx.error(
                part,
                f"what writes {op.ref.buffer.label} must stand where it is always reached, got "
                f"{ctx.text(part)} behind a condition, which Taichi runs in any case and Python does not; "
                "call it in a line before, or write an `if`",
            )


_CONVERSIONS: dict[int, Callable[[Any], str]] = {ord("s"): str, ord("r"): repr, ord("a"): ascii}


def formatted(ctx: Context, node: ast.JoinedStr, evaluate: Evaluate) -> Abstract:
    """Evaluate an f-string of what is known when the kernel compiles.

    Raises:
        TraceError: Something in it is not.
    """
    text = ""
    for part in node.values:
        if isinstance(part, ast.Constant):
            text += str(part.value)
            continue
        assert isinstance(part, ast.FormattedValue)  # noqa: S101  (there is no other kind)
        value = evaluate(ctx, part.value)
        spec = (
            formatted(ctx, part.format_spec, evaluate)
            if isinstance(part.format_spec, ast.JoinedStr)
            else None
        )
        if not isinstance(value, Object):
            ctx.error(
                node,
                f"an f-string must be made of what is known when the kernel compiles, got "
                f"{ctx.text(part.value)} in one; an assert tells numbers that kernels compute",
                rule="PYTHON",
            )
        convert = _CONVERSIONS.get(part.conversion)
        shown = value.value if convert is None else convert(value.value)
        text += format(shown, spec.value if isinstance(spec, Object) else "")
    return Object(text)
