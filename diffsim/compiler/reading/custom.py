"""Calls of functions whose adjoint the user wrote: a region of the program, and what builds its adjoint."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from diffsim.compiler.builder import Builder
from diffsim.compiler.checks.diagnostics import raise_all
from diffsim.compiler.ir import Accumulate, Block, Call, Const, Let, Load, Operand, Store, Value, walk
from diffsim.compiler.reading.context import Context, Frame
from diffsim.compiler.reading.source import Source, read_source
from diffsim.compiler.reading.values import (
    Abstract,
    Matrix,
    Object,
    Poisoned,
    Record,
    Variable,
    entries_of,
    like,
)
from diffsim.compiler.reading.values import Sequence as Items
from diffsim.language.adjoints import is_primitive

__all__ = ["call_with_adjoint", "scalars_of", "with_scalars"]

Lower = Callable[[Context, Frame], Abstract]
Function = tuple[Source, Any, dict[str, bool]]  # source, bound object, parameters and which are templates


def call_with_adjoint(
    ctx: Context,
    node: ast.Call,
    function: Function,
    adjoint: Callable[..., Any],
    arguments: list[Abstract],
    lower: Lower,
) -> Abstract:
    """Lower a call of a function with an adjoint of its own and return its value.

    Args:
        ctx: The state of lowering.
        node: The call.
        function: What is called.
        adjoint: The Python function of its adjoint.
        arguments: One per parameter.
        lower: Lowers a function's body in a frame.

    Raises:
        TraceError: The function touches fields, or its adjoint does not fit it.
    """
    source, owner, names = function
    templates = list(names.values())
    given = [
        value if template else _settled(ctx, value, node)
        for value, template in zip(arguments, templates, strict=True)
    ]
    args = [e for value in given for e in scalars_of(value)]
    inside = with_scalars(given, [Value(a.dtype) for a in args])
    params = [e for value in inside for e in scalars_of(value) if isinstance(e, Value)]
    body = Block()
    with ctx.builder.inside(body, loop=True), ctx.undifferentiated():
        frame = Frame(source, owner, dict(zip(names, map(_variable, inside), strict=True)))
        value = lower(ctx, frame)
        value = _settled(ctx, value, node)
        body.yields = list(scalars_of(value))
    if any(isinstance(op, Load | Store | Accumulate) for op in walk(body)):
        ctx.error(
            node,
            f"{source.node.name} must compute from its arguments only, since it has an adjoint of its own, "
            "got an access to a field; pass what it reads",
            rule="ADJOINT",
        )
    results = [Value(y.dtype) for y in body.yields]
    rule = _Adjoint(ctx, node, adjoint, owner, given, templates, value, lower)
    primitive = is_primitive(adjoint)
    ctx.builder.append(Call(source.node.name, args, params, body, results, rule, ctx.at(node), primitive))
    made_of = {op.result: op.fn for op in walk(body) if isinstance(op, Let)}
    if "replay" in made_of.values():  # singular values or eigenvalues; what comes with them are bases
        pairs = zip(results, body.yields, strict=True)
        ctx.bases.update(r for r, y in pairs if isinstance(y, Value) and made_of.get(y) != "replay")
    return with_scalars([value], results)[0]


class _Adjoint:
    """Builds the adjoints of the arguments of one call, by lowering the function that the user gave."""

    def __init__(
        self,
        ctx: Context,
        node: ast.Call,
        adjoint: Callable[..., Any],
        owner: Any,
        arguments: list[Abstract],
        templates: list[bool],
        result: Abstract,
        lower: Lower,
    ) -> None:
        self.ctx = dataclasses.replace(ctx, frames=list(ctx.frames), found=[], given=True, checked=False)
        self.node, self.adjoint, self.owner, self.lower = node, adjoint, owner, lower
        self.arguments, self.templates, self.result = arguments, templates, result

    def __call__(
        self,
        builder: Builder,
        args: Sequence[Operand],
        results: Sequence[Operand],
        incoming: Sequence[Operand | None],
    ) -> list[Operand | None]:
        """Return the adjoint of each scalar argument, None for those of templates."""
        ctx = dataclasses.replace(self.ctx, builder=builder)
        arguments = with_scalars(self.arguments, list(args))
        outcome = _parts(with_scalars([self.result], list(results))[0])
        filled = [builder.const(0.0) if g is None else g for g in incoming]
        back = _parts(with_scalars([self.result], filled)[0])
        source = read_source(self.adjoint)
        names = [a.arg for a in source.node.args.args]
        values = [*arguments, *outcome, *back]
        if len(names) != len(values):
            wanted = f"the {len(arguments)} argument(s), the {len(outcome)} result(s) and as many adjoints"
            self._refuse(f"must take {wanted} of {ctx.text(self.node.func)}, got {len(names)} parameters")
        frame = Frame(source, self.owner, dict(zip(names, map(_variable, values), strict=True)))
        try:
            shares = _parts(self.lower(ctx, frame))
        except Poisoned:
            raise_all(ctx.found)
            raise
        return self._spread(ctx, arguments, shares)

    def _spread(
        self, ctx: Context, arguments: list[Abstract], shares: list[Abstract]
    ) -> list[Operand | None]:
        """Fit what the adjoint returns to the scalars of the arguments."""
        wanted = self.templates.count(False)
        if len(shares) != wanted:
            self._refuse(f"must return {wanted} adjoint(s), got {len(shares)}")
        remaining = iter(shares)
        spread: list[Operand | None] = []
        for argument, template in zip(arguments, self.templates, strict=True):
            scalars = list(scalars_of(argument))
            if template:
                spread += [None] * len(scalars)
                continue
            share = list(entries_of(ctx.runtime(next(remaining), self.node)))
            if len(share) != len(scalars):
                self._refuse(
                    f"must return adjoints of the shapes of the arguments, got {len(share)} components"
                )
            spread += share
        return spread

    def _refuse(self, message: str) -> None:
        self.ctx.error(self.node, f"{self.adjoint.__name__} {message}", rule="ADJOINT")


def _settled(ctx: Context, value: Abstract, node: ast.AST) -> Abstract:
    """Turn numbers into scalars; leave other Python objects as they are."""
    if isinstance(value, Items) or (isinstance(value, Object) and isinstance(value.value, tuple)):
        return Items(tuple(_settled(ctx, item, node) for item in ctx.unpacked(value, node)))
    if isinstance(value, Object) and not isinstance(value.value, int | float):
        return value
    return ctx.runtime(value, node)


def scalars_of(value: Abstract) -> Iterator[Operand]:
    """Yield the scalars that a value, or a tuple of values, is made of."""
    if isinstance(value, Items):
        for item in value.items:
            yield from scalars_of(item)
    elif isinstance(value, Value | Const | Matrix | Record):
        yield from entries_of(value)


def with_scalars(values: Sequence[Abstract], scalars: Sequence[Operand]) -> list[Abstract]:
    """Return values of the same shapes made of other scalars, taken in order."""
    rest = iter(scalars)

    def new(value: Abstract) -> Abstract:
        if isinstance(value, Items):
            return Items(tuple(new(item) for item in value.items))
        if isinstance(value, Value | Const | Matrix | Record):
            return like(value, [next(rest) for _ in entries_of(value)])
        return value

    return [new(value) for value in values]


def _parts(value: Abstract) -> list[Abstract]:
    if isinstance(value, Object) and isinstance(value.value, tuple):
        return [Object(item) for item in value.value]
    return list(value.items) if isinstance(value, Items) else [value]


def _variable(value: Abstract) -> Variable:
    if isinstance(value, Value | Const | Matrix | Record):
        return Variable(value, tuple(e.dtype for e in entries_of(value)))
    return Variable(value)
