"""Loops over the active cells of a layout: how they are found among others, and built anew over blocks."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from diffsim.compiler.builder import Builder
from diffsim.compiler.ir import Block, Buffer, Const, For, If, Let, Load, Op, Ref, Value

__all__ = ["Nest", "active_nest", "nest_of"]


@dataclass(frozen=True)
class Nest:
    """A loop over all cells whose body runs for those that are active.

    Attributes:
        activity: What is read to know it.
        time: Of that read.
        loops: The loops, from the outermost to the innermost.
        branch: What is in them: the body, in a branch.
    """

    activity: Buffer
    time: int | None
    loops: tuple[For, ...]
    branch: If

    @property
    def cell(self) -> tuple[Value, ...]:
        """Return the indices of the loops."""
        return tuple(loop.index for loop in self.loops)


def nest_of(op: Op) -> Nest | None:
    """Return the loop over active cells that an operation is; None for any other."""
    loops: list[For] = []
    while isinstance(op, For):
        if not isinstance(op.start, Const) or op.start.value != 0 or not isinstance(op.stop, Const):
            return None
        if loops and not _handed_on(loops[-1], op):
            return None
        loops.append(op)
        ops = op.body.ops
        if len(ops) == 1:
            op = ops[0]
            continue
        return _innermost(tuple(loops), ops)
    return None


def _handed_on(outer: For, inner: For) -> bool:
    """Tell whether two loops carry the same values, one inside of the other."""
    return inner.inits == list(outer.params) and outer.body.yields == list(inner.results)


def _innermost(loops: tuple[For, ...], ops: list[Op]) -> Nest | None:
    read, branch = ops[0], ops[-1]
    if not isinstance(read, Load) or read.ref.buffer.kind != "activity" or not isinstance(branch, If):
        return None
    truth = all(isinstance(op, Let) and op.fn == "ne" and op.args[0] is read.result for op in ops[1:-1])
    nest = Nest(read.ref.buffer, read.ref.time, loops, branch)
    last = loops[-1]
    same = branch.orelse.yields == list(last.params) and last.body.yields == list(branch.results)
    own = read.ref.indices == nest.cell
    lengths = tuple(_length(loop) for loop in loops) == read.ref.buffer.shape
    return nest if truth and same and own and lengths and not branch.orelse.ops else None


def _length(loop: For) -> int:
    assert isinstance(loop.stop, Const)  # noqa: S101  (nest_of looked)
    return int(loop.stop.value)


def active_nest(b: Builder, activity: Buffer, time: int | None) -> tuple[tuple[Value, ...], Block]:
    """Append a loop over the active cells of a layout; return the cell and the block of its body, to fill.

    Args:
        b: Where to append.
        activity: Of the layout.
        time: Of its blocks.
    """
    loops = [
        For(Value("i32"), Const(0, "i32"), Const(n, "i32"), Block(), parallel=True) for n in activity.shape
    ]
    for outer, inner in itertools.pairwise(loops):
        outer.body.ops.append(inner)
    cell = tuple(loop.index for loop in loops)
    active, cond, body = Value("i32"), Value("u1"), Block()
    read = Load(active, Ref(activity, cell, 0, time))
    loops[-1].body.ops += [read, Let(cond, "ne", (active, Const(0, "i32"))), If(cond, body, Block())]
    b.append(loops[0])
    return cell, body
