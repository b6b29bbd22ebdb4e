"""Finding slopes that may be infinite where nothing comes back to them, and taking them as nothing there.

In `ti.select(x > 0, ti.log(x), 0.0)` at `x = 0` the side of the logarithm is not taken: what comes back to it
is exactly 0, and `0 * (1 / x)` is not a number. Such zeros come from the sides that a select, `min`, `max` or
`if` does not take. Only slopes in front of one of those are masked, and only those that may be infinite; a
factor that happens to be 0, as in `sqrt(x) * sqrt(x)` at 0, is no such zero, and the gradient there stays not
a number.
"""

from __future__ import annotations

from diffsim.compiler.autodiff.activity import free_values
from diffsim.compiler.builder import Builder
from diffsim.compiler.ir import Block, Call, Const, For, If, Let, Op, Operand, Value, is_float, walk

__all__ = ["all_zero", "hazards", "masked", "nothing_there"]

_SINGULAR = frozenset("div sqrt rsqrt log pow asin acos exp tan".split())
_FLAT_SLOPE = frozenset("add sub neg abs select min max atan2 stop replay".split())


def masked(b: Builder, fn: str, g: Operand, share: Operand, smooth: bool = False) -> Operand:
    """Return the share of an adjoint, and 0 where the adjoint `g` that it is a multiple of is 0.

    Args:
        b: Where operations go.
        fn: What the share is of.
        g: The adjoint.
        share: Its multiple.
        smooth: The share is differentiated again; see `nothing_there`.
    """
    if fn in _FLAT_SLOPE or fn.startswith("cast_"):
        return share
    nothing = b.op("eq", g, b.const(0.0, g.dtype))
    return nothing_there(b, nothing, share, smooth)


def nothing_there(b: Builder, nothing: Operand, share: Operand, smooth: bool) -> Operand:
    """Return a share, and 0 where a condition says that nothing comes back.

    Where the share is differentiated again, a finite one stays: it is 0 as well, but its derivative need not
    be, as that of the force of a spring at rest.
    """
    if smooth:
        nothing = b.op("and", nothing, b.op("isnan", share))
    return b.op("select", nothing, b.const(0.0, share.dtype), share)


def all_zero(b: Builder, adjoints: list[Operand]) -> Operand:
    """Return the condition that all adjoints of a call's results are 0."""
    zero: Operand = b.const(True)
    for g in adjoints:
        zero = b.op("and", zero, b.op("eq", g, b.const(0.0, g.dtype)))
    return zero


def hazards(block: Block) -> set[Value]:
    """Return the results whose operations have slopes to be masked.

    These are the ones that a select, `min` or `max` chooses from, that an `if` uses from outside, or that
    such a value is computed from, as far as they may have infinite slopes.
    """
    ops = list(walk(block))
    chosen = _chosen(ops)
    if not chosen:
        return set()
    _upstream(ops, chosen)
    singular = _downstream(ops)
    found: set[Value] = set()
    for op in ops:
        if isinstance(op, Call):
            found |= chosen.intersection(op.results)
        elif isinstance(op, Let) and op.result in chosen and is_float(op.result.dtype):
            if _is_singular(op) or any(a in singular for a in op.args if isinstance(a, Value)):
                found.add(op.result)
    return found


def _is_singular(op: Let) -> bool:
    if op.fn == "div":
        return not isinstance(op.args[1], Const) or op.args[1].value == 0
    if op.fn == "powi":
        return isinstance(op.args[1], Const) and op.args[1].value < 0
    return op.fn in _SINGULAR


def _chosen(ops: list[Op]) -> set[Value]:
    """Return the values that something chooses from, or that only one way through uses."""
    found: set[Value] = set()
    for op in ops:
        if isinstance(op, If):
            found.update(free_values(op))
        elif isinstance(op, Let) and op.fn in ("select", "min", "max"):
            sides = op.args[1:] if op.fn == "select" else op.args
            found.update(a for a in sides if isinstance(a, Value))
    return {v for v in found if is_float(v.dtype)}


def _flows(op: Op) -> list[tuple[Value, list[Operand]]]:
    """Return pairs of a value and the operands that it is made of."""
    if isinstance(op, Let):
        return [(op.result, list(op.args))]
    if isinstance(op, For):
        ends = zip(op.params, op.results, op.inits, op.body.yields, strict=True)
        return [pair for p, r, i, y in ends for pair in ((p, [i, y]), (r, [i, y]))]
    if isinstance(op, If):
        return [(r, [a, b]) for r, a, b in zip(op.results, op.then.yields, op.orelse.yields, strict=True)]
    if isinstance(op, Call):
        return [(r, list(op.args)) for r in op.results]
    return []


def _upstream(ops: list[Op], values: set[Value]) -> None:
    """Add what the values are computed from."""
    sources = {value: made_of for op in ops for value, made_of in _flows(op)}
    queue = list(values)
    while queue:
        for source in sources.get(queue.pop(), ()):
            if isinstance(source, Value) and source not in values and is_float(source.dtype):
                values.add(source)
                queue.append(source)


def _downstream(ops: list[Op]) -> set[Value]:
    """Return the values that may be infinite: results of singular operations, and what is made of them."""
    uses: dict[Value, list[Value]] = {}
    queue: list[Value] = []
    for op in ops:
        for value, made_of in _flows(op):
            for source in made_of:
                if isinstance(source, Value):
                    uses.setdefault(source, []).append(value)
        if isinstance(op, Call):
            queue += op.results
        elif isinstance(op, Let) and _is_singular(op):
            queue.append(op.result)
    found = set(queue)
    while queue:
        for value in uses.get(queue.pop(), ()):
            if value not in found:
                found.add(value)
                queue.append(value)
    return found
