"""Loops over the active cells of a State: those of which time, `t` or `t + 1`, a loop goes over.

Cells are active where something was written, and a State has cells at `t` and others at `t + 1`, where
Scratches of its layout lie too. A loop that reads fields of that layout at one of them goes over the cells
there: elsewhere it would read zeros alone. One that reads at both goes over those at `t + 1` where all cells
of `t` are among them. Any other goes over the newest: those of `x[t]` until a kernel has written the State.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from diffsim.compiler.ir import NEWEST, Block, If, Load, Ref, accesses_in, blocks_of
from diffsim.language.layouts import Layout

__all__ = ["resolve_activity"]


def resolve_activity(block: Block, written: Collection[object], kept: Collection[Layout]) -> None:
    """Give a time to the reads of activity that have none, in place.

    Args:
        block: Of a kernel.
        written: The States that kernels before it have written.
        kept: The layouts of which all cells that are active at `t` are so at `t + 1`.
    """
    for place, op in enumerate(block.ops):
        if isinstance(op, Load) and op.ref.buffer.kind == "activity" and op.ref.time == NEWEST:
            bodies = [other.then for other in block.ops[place:] if isinstance(other, If)]
            times = _read_at(bodies[0], op.ref) if bodies else set()
            if len(times) == 1 and NEWEST not in times:
                time = times.pop()
            elif op.ref.buffer.field in written or (times and op.ref.buffer.source in kept):
                time = 1
            else:
                time = 0
            op.ref = replace(op.ref, time=time)
        for inner in blocks_of(op):
            resolve_activity(inner, written, kept)


def _read_at(body: Block, cell: Ref) -> set[int | None]:
    """Return the times at which a body reads fields of a layout: at the cell itself, else anywhere."""
    reads = [
        op.ref
        for op in accesses_in(body)
        if isinstance(op, Load) and getattr(op.ref.buffer.source, "layout", None) is cell.buffer.source
    ]
    own = [ref for ref in reads if ref.indices[: len(cell.indices)] == cell.indices]
    return {ref.time if ref.buffer.kind == "state" else 1 for ref in own or reads}
