"""Saying of innermost loops whether several iterations can be done by one instruction, and why not."""

from __future__ import annotations

from collections.abc import Iterator

from diffsim.compiler.autodiff import expanded
from diffsim.compiler.checks.indices import Indices, defined_in
from diffsim.compiler.codegen.distribution import distributed
from diffsim.compiler.codegen.motion import hoisted
from diffsim.compiler.codegen.peeling import peeled
from diffsim.compiler.codegen.places import Memory, is_straight, marked
from diffsim.compiler.ir import Const, For, Let, Load, Operand, Stage, Value, operands_of, walk

__all__ = ["vector_notes"]

_SHORT = 16  # iterations below which nothing is won
_CALLED = ("tan", "asin", "acos", "atan2", "pow")  # of a library, number by number


def vector_notes(stage: Stage, adjoint: Stage) -> list[str]:
    """Return a note for each innermost loop of a kernel and its adjoint, as mode `fused` prints them.

    Args:
        stage: The kernel.
        adjoint: Its adjoint, empty where there is none of its own.
    """
    notes: dict[str, int] = {}
    for name, part in (("", stage), (" of the adjoint", adjoint)):
        made = marked(distributed(peeled(hoisted(expanded(part), outermost=True))))
        indices = Indices(made.body)
        for loop in _innermost(made):
            place = f"line {loop.where.line}" if loop.where is not None else "the library"
            why = _obstacle(loop, indices)
            text = f"cannot be vectorised: {why}" if why else "can be vectorised"
            note = f"{place}: the innermost loop{name} {text}"
            notes[note] = notes.get(note, 0) + 1
    return [note + (f" ({count} loops)" if count > 1 else "") for note, count in notes.items()]


def _innermost(stage: Stage) -> Iterator[For]:
    for op in walk(stage.body):
        if isinstance(op, For) and not any(isinstance(inner, For) for inner in walk(op.body)):
            yield op


def _obstacle(loop: For, indices: Indices) -> str:
    """Return what keeps iterations of a loop from being done together; nothing where they are."""
    if not isinstance(loop.start, Const) or not isinstance(loop.stop, Const):
        return "how often it runs is computed"
    trips = int(loop.stop.value) - int(loop.start.value)
    if trips < _SHORT:
        return f"it has {max(0, trips)} iteration(s) only"
    if not is_straight(loop.body):
        return "it has a branch that its index alone does not decide"
    called = next((op.fn for op in loop.body.ops if isinstance(op, Let) and op.fn in _CALLED), None)
    if called is not None:
        return f"it calls {called}, for one number at a time"
    if not _sums_only(loop):
        return "an iteration needs what the one before has computed"
    inside = defined_in(loop)
    memory = [op for op in loop.body.ops if isinstance(op, Memory)]
    for op in memory:
        bases = [indices.affine(i)[0] for i in op.ref.indices]
        found = [base for base in bases if base is not loop.index and base in inside]
        verb = "reads" if isinstance(op, Load) else "writes"
        if found:
            return f"it {verb} {op.ref.buffer.label} at places that data decides"
        if loop.index in bases[:-1]:
            return f"it {verb} {op.ref.buffer.label} at places that are not beside each other"
        if loop.index not in bases and not isinstance(op, Load):
            return f"each iteration writes {op.ref.buffer.label} at the same place"
    return "" if loop.independent else "an iteration meets what another one writes"


def _sums_only(loop: For) -> bool:
    """Tell whether what a loop carries are sums, of which it uses no part."""
    lets = {op.result: op for op in loop.body.ops if isinstance(op, Let)}
    uses: dict[Operand, int] = {}
    for operand in [*(o for op in loop.body.ops for o in operands_of(op)), *loop.body.yields]:
        uses[operand] = uses.get(operand, 0) + 1
    for param, end in zip(loop.params, loop.body.yields, strict=True):
        let = lets.get(end) if isinstance(end, Value) else None
        if let is None or let.fn != "add" or param not in let.args or uses[param] != 1 or uses[end] != 1:
            return False
    return True
