"""How many iterations loops take that record values, for the memory that they record them in."""

from __future__ import annotations

import math
from collections.abc import Collection

from diffsim.compiler.checks.alarms import Alarms, shortened
from diffsim.compiler.checks.ranges import Ranges
from diffsim.compiler.ir import Block, For, If, Load, Op, Operand, Stage, blocks_of, walk
from diffsim.language.intrinsics import MOST_ROUNDS

__all__ = ["bounded_lengths"]


def bounded_lengths(stage: Stage, recording: Collection[int], steps: int, alarms: Alarms) -> dict[int, int]:
    """Return the largest number of iterations of the loops that record, by the identity of each.

    A loop whose length depends on computed numbers gets room for `MOST_ROUNDS`; it ends there, as the loop
    does that reads what it recorded, and longer ones are an alarm. A loop that names a maximum has that.

    Args:
        stage: The adjoint of a kernel, whose loops are changed.
        recording: The identities of its loops that record.
        steps: The horizon, for bounds of what depends on `t`.
        alarms: Where alarms are added.
    """
    lengths = _Lengths(stage, recording, Ranges(stage.body, stage.t, steps), alarms)
    lengths.block(stage.body)
    for loop in (op for op in walk(stage.body) if isinstance(op, For)):
        read = (
            op.ref.buffer for op in loop.body.ops if isinstance(op, Load) and op.ref.buffer.kind == "tape"
        )
        for before, behind in (lengths.ends[id(t.source)] for t in read if id(t.source) in lengths.ends):
            loop.stop = behind if loop.stop == before else loop.stop
    return lengths.found


class _Lengths:
    """The lengths of recording loops, and where those end that were unbounded: before and now."""

    def __init__(self, stage: Stage, recording: Collection[int], ranges: Ranges, alarms: Alarms) -> None:
        self.stage, self.recording, self.ranges, self.alarms = stage, recording, ranges, alarms
        self.found: dict[int, int] = {}
        self.ends: dict[int, tuple[Operand, Operand]] = {}

    def block(self, block: Block) -> None:
        """Look at the loops of a block, in place."""
        ops: list[Op] = []
        for op in block.ops:
            if isinstance(op, For) and id(op) in self.recording:
                ops += self._recording(op)
            if isinstance(op, If):
                for holds, side in ((True, op.then), (False, op.orelse)):
                    with self.ranges.assuming(op.cond, holds):
                        self.block(side)
            else:
                for inner in blocks_of(op):
                    self.block(inner)
            ops.append(op)
        block.ops = ops

    def _recording(self, loop: For) -> list[Op]:
        """Note the length of a loop; return what belongs before it."""
        length = self.ranges.trips(loop)
        if math.isfinite(length):
            self.found[id(loop)] = int(length)
            return []
        self.found[id(loop)] = MOST_ROUNDS
        before, old = shortened(self.stage, loop, MOST_ROUNDS, self.ranges, self.alarms), loop.stop
        ops, loop.stop = before
        self.ends[id(loop)] = old, loop.stop
        return ops
