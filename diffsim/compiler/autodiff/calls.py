"""Calls of functions with given adjoints in code that is differentiated again: they stay calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from diffsim.compiler.autodiff.renaming import renamed
from diffsim.compiler.builder import Builder
from diffsim.compiler.ir import Block, Call, Let, Operand, Value

__all__ = ["call_again"]

Names = dict[Value, Operand]


def call_again(
    b: Builder, op: Call, values: Names, apart: dict[Value, Operand], rebuild: Callable[[Names], None]
) -> None:
    """Build the same call on other operands.

    A `replay` among its results has two values: what it is, and what the adjoint takes in its place. The
    adjoint is part of the step here, and both are needed: the new call has the second as further results.

    Args:
        b: Where it goes.
        op: The call.
        values: What operands are called; its results are added.
        apart: What the adjoint takes in place of a result is added here.
        rebuild: Builds the body's operations again, and adds what they are called to the names it gets.
    """
    body = Block()
    args, params = [renamed(values, a) for a in op.args], [Value(p.dtype) for p in op.params]
    lets = (inner for inner in op.body.ops if isinstance(inner, Let))
    replays = {let.result: let.args[1] for let in lets if let.fn == "replay"}
    extra = [(k, replays[y]) for k, y in enumerate(op.body.yields) if isinstance(y, Value) and y in replays]
    with b.inside(body, loop=True):
        names: Names = {**values, **dict(zip(op.params, params, strict=True))}
        rebuild(names)
        body.yields = [renamed(names, y) for y in op.body.yields]
        body.yields += [b.cast(renamed(names, other), op.results[k].dtype) for k, other in extra]
    results = [Value(y.dtype) for y in body.yields]
    adjoint = _Adjoint(op, [k for k, _ in extra])
    b.append(Call(op.name, args, params, body, results, adjoint, op.where, op.primitive))
    values.update(zip(op.results, results, strict=False))
    for (k, _), result in zip(extra, results[len(op.results) :], strict=True):
        apart[op.results[k]] = result


class _Adjoint:
    """The adjoint of a call that has further results."""

    def __init__(self, op: Call, extra: list[int]) -> None:
        self.op, self.extra = op, extra

    def __call__(
        self,
        b: Builder,
        args: Sequence[Operand],
        results: Sequence[Operand],
        incoming: Sequence[Operand | None],
    ) -> Sequence[Operand | None]:
        count = len(self.op.results)
        outcome, back = list(results[:count]), list(incoming[:count])
        for j, k in enumerate(self.extra, count):
            outcome[k] = results[j]
            known, more = back[k], incoming[j]
            back[k] = more if known is None else known if more is None else b.op("add", known, more)
        return self.op.adjoint(b, args, outcome, back)
