"""Tapes of a derivative that is part of a step: they become Scratches, since they are differentiated too."""

from __future__ import annotations

import math
from dataclasses import replace

from diffsim.compiler.builder import Builder
from diffsim.compiler.checks.diagnostics import raise_all
from diffsim.compiler.checks.ranges import Ranges, Times
from diffsim.compiler.ir import (
    Block,
    Buffer,
    For,
    Let,
    Load,
    Op,
    Operand,
    Ref,
    Stage,
    Store,
    Value,
    blocks_of,
    is_float,
)
from diffsim.compiler.reading.buffers import Buffers
from diffsim.errors import Diagnostic
from diffsim.language.types import i32, real

__all__ = ["record_tapes"]

Loops = tuple[For, ...]


def record_tapes(stage: Stage, buffers: Buffers, times: Times) -> None:
    """Let a stage record in Scratches, in place, what it records on tapes.

    A tape holds what one loop carries, and is written anew in each iteration of the loops around it. A
    Scratch has a place for each of those: an axis for each loop.

    Args:
        stage: What has tapes.
        buffers: The program's memory.
        times: The steps that it runs for, for bounds that depend on `t`.

    Raises:
        GradientError: The number of iterations of a loop is unbounded.
    """
    recorder = _Recorder(stage, buffers, times)
    recorder.find(stage.body, ())
    raise_all(recorder.found)
    if recorder.scratches:
        recorder.replace(stage.body, ())


class _Recorder:
    def __init__(self, stage: Stage, buffers: Buffers, times: Times) -> None:
        self.stage, self.buffers = stage, buffers
        self.ranges = Ranges(stage.body, stage.t, times)
        self.scratches: dict[Buffer, Buffer] = {}
        self.found: list[Diagnostic] = []

    def find(self, block: Block, loops: Loops) -> None:
        """Make a Scratch for each tape."""
        for op in block.ops:
            if isinstance(op, Store) and op.ref.buffer.kind == "tape":
                self._declare(op.ref.buffer, loops)
            for inner in blocks_of(op):
                self.find(inner, (*loops, op) if isinstance(op, For) else loops)

    def _declare(self, tape: Buffer, loops: Loops) -> None:
        lengths = [self.ranges.trips(loop) for loop in loops]
        for loop, length in zip(loops, lengths, strict=True):
            if not math.isfinite(length):
                message = (
                    "a loop that carries values, and those around it, must have bounds that are known before "
                    "they run where they are differentiated in a step, got one that depends on computed "
                    "numbers; name a maximum, as in `for k in range(ds.at_most(n, 64))`"
                )
                self.found.append(Diagnostic("UNBOUNDED", str(loop.where or self.stage.where), message))
                return
        key, shape = f"{self.stage.name} {len(self.scratches)}", [max(1, int(length)) for length in lengths]
        type_ = real if is_float(tape.dtype) else i32
        self.scratches[tape] = self.buffers.add_hidden(type_, shape, key)

    def replace(self, block: Block, loops: Loops) -> None:
        """Let operations touch Scratches in place of tapes."""
        ops: list[Op] = []
        for op in block.ops:
            for inner in blocks_of(op):
                self.replace(inner, (*loops, op) if isinstance(op, For) else loops)
            if isinstance(op, Load | Store) and op.ref.buffer in self.scratches:
                ops += self._moved(op, loops)
            else:
                ops.append(op)
        block.ops = ops

    def _moved(self, op: Load | Store, loops: Loops) -> list[Op]:
        b = Builder(self.buffers.real)
        around: list[Operand] = [b.op("sub", loop.index, loop.start) for loop in loops[:-1]]
        scratch = self.scratches[op.ref.buffer]
        ref = Ref(scratch, (*around, *op.ref.indices), 0, 0)
        if isinstance(op, Store):
            value = b.cast(op.value, scratch.dtype)
            return [*b.block.ops, replace(op, ref=ref, value=value)]
        dtype = op.result.dtype
        if dtype == scratch.dtype:
            return [*b.block.ops, replace(op, ref=ref)]
        loaded = Value(scratch.dtype)
        cast = Builder(self.buffers.real)
        cast.cast(loaded, dtype)
        [last] = cast.block.ops
        assert isinstance(last, Let)  # noqa: S101  (a cast, or a comparison with 0)
        return [*b.block.ops, replace(op, result=loaded, ref=ref), replace(last, result=op.result)]
