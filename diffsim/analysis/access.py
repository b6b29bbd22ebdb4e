"""The global data access rule: no value may be overwritten after a kernel of the step read it.

Adjoints are computed from the values that memory holds when the backward pass comes by. A place that was read
and then written holds another value by then, and the gradient would be silently wrong.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from diffsim.analysis.ranges import Ranges
from diffsim.errors import GradientError, TraceError
from diffsim.ir import (
    Accumulate,
    Block,
    Buffer,
    Const,
    For,
    If,
    Let,
    Load,
    Location,
    Op,
    Operand,
    Ref,
    Stage,
    Store,
    Value,
)

__all__ = ["check_access"]


@dataclass(frozen=True)
class Index:
    """An index as `base + offset`; the base is a loop index, another value, or None for a number."""

    base: Value | None
    offset: int
    low: float
    high: float
    exact: bool = False


@dataclass(frozen=True)
class Access:
    """One read or write of a place, where it stands, and in which loops."""

    write: bool
    order: int
    nest: tuple[int, int]
    loops: tuple[For, ...]
    indices: tuple[Index, ...]
    where: Location | None


def check_access(stages: list[Stage], steps: int) -> None:
    """Refuse programs that overwrite what they read, or read a State at `t + 1` that nothing wrote yet.

    Args:
        stages: The stages of one step in order, running costs last.
        steps: The horizon, for bounds of indices that depend on `t`.

    Raises:
        GradientError: A place is written after it was read.
        TraceError: `x[t + 1]` is read before any kernel wrote it, or an index lies outside its field.
    """
    collector = _Collector()
    for number, stage in enumerate(stages):
        collector.stage(number, stage, steps)
    for (buffer, time, _), accesses in collector.places.items():
        if buffer.kind == "state" and time == 1:
            _check_written_first(buffer, accesses)
        for read in (a for a in accesses if not a.write):
            for write in (a for a in accesses if a.write):
                if _may_overwrite(read, write):
                    _refuse(buffer, time, read, write)


def _refuse(buffer: Buffer, time: int | None, read: Access, write: Access) -> None:
    label = buffer.source.label
    shift = f"t{time:+d}".replace("+0", "") if time else "t"
    raise GradientError(
        f"{write.where}: {label} [{shift}, ...] must not be written after it was read (at {read.where}), "
        "which would make its gradient wrong; write the new value to another field (a Scratch), or to an "
        "element that nobody reads before"
    )


def _check_written_first(buffer: Buffer, accesses: list[Access]) -> None:
    first = min(accesses, key=lambda a: a.order)
    if not first.write:
        raise TraceError(
            f"{first.where}: {buffer.source.label} [t + 1, ...] must be written before it is read, got a "
            "read first; call the kernel that writes it earlier in step, or read [t, ...]"
        )


def _may_overwrite(read: Access, write: Access) -> bool:
    """Tell whether the write may come after the read and hit the same place."""
    if any(_apart(r, w) for r, w in zip(read.indices, write.indices, strict=True)):
        return False
    if read.nest != write.nest:
        return write.order > read.order
    for loop, other in zip(read.loops, write.loops, strict=False):
        if loop is not other:
            break
        shifts = {
            w.offset - r.offset
            for r, w in zip(read.indices, write.indices, strict=True)
            if r.base is loop.index and w.base is loop.index
        }
        if not shifts:
            if _runs_once(loop):
                continue
            return True
        if shifts == {0}:
            continue
        if len(shifts) > 1:
            return False
        forward = shifts.pop() > 0
        return loop.parallel or not forward
    return write.order > read.order


def _span(low: float, high: float) -> str:
    return f"{low:g}" if low == high else f"{low:g} .. {high:g}"


def _runs_once(loop: For) -> bool:
    start, stop = loop.start, loop.stop
    return isinstance(start, Const) and isinstance(stop, Const) and stop.value - start.value <= 1


def _apart(a: Index, b: Index) -> bool:
    if a.base is None and b.base is None:
        return a.offset != b.offset
    return a.high < b.low or b.high < a.low


class _Collector:
    """Lists the accesses of stages in order."""

    def __init__(self) -> None:
        self.places: dict[tuple[Buffer, int | None, int], list[Access]] = defaultdict(list)
        self._order = 0
        self._branches = 0

    def stage(self, number: int, stage: Stage, steps: int) -> None:
        ranges = Ranges(stage.body, stage.t, steps)
        lets: dict[Value, Let] = {}
        for top, op in enumerate(stage.body.ops):
            # statements outside loops are one nest: they run in order
            nest = (number, top if isinstance(op, For) else -1)
            self._op(op, nest, (), ranges, lets)

    def _op(
        self, op: Op, nest: tuple[int, int], loops: tuple[For, ...], ranges: Ranges, lets: dict[Value, Let]
    ) -> None:
        if isinstance(op, Let):
            lets[op.result] = op
        elif isinstance(op, Load):
            self._access(op.ref, False, op.where, nest, loops, ranges, lets)
        elif isinstance(op, Store | Accumulate):
            self._access(op.ref, True, op.where, nest, loops, ranges, lets)
        elif isinstance(op, For):
            self._block(op.body, nest, (*loops, op), ranges, lets)
        elif isinstance(op, If):
            self._branches += 1
            self._block(op.then, nest, loops, ranges, lets)
            self._block(op.orelse, nest, loops, ranges, lets)
            self._branches -= 1

    def _block(
        self,
        block: Block,
        nest: tuple[int, int],
        loops: tuple[For, ...],
        ranges: Ranges,
        lets: dict[Value, Let],
    ) -> None:
        for op in block.ops:
            self._op(op, nest, loops, ranges, lets)

    def _access(
        self,
        ref: Ref,
        write: bool,
        where: Location | None,
        nest: tuple[int, int],
        loops: tuple[For, ...],
        ranges: Ranges,
        lets: dict[Value, Let],
    ) -> None:
        self._order += 1
        indices = tuple(_index(i, ranges, lets) for i in ref.indices)
        for operand, index, n in zip(ref.indices, indices, ref.buffer.shape, strict=True):
            low, high = ranges.of(operand)
            always = low >= n or high < 0
            # a loop index, or a number from a Constant, takes its largest and smallest value for certain
            sometimes = index.exact and not self._branches and (low < 0 or high >= n)
            if always or sometimes:
                raise TraceError(
                    f"{where}: indices of {ref.buffer.label} must lie in 0 .. {n - 1}, got "
                    f"{_span(low, high)} on an axis of length {n}; change the loop's "
                    "range, or put the access in an `if`"
                )
        if ref.buffer.kind in ("state", "scratch"):
            access = Access(write, self._order, nest, loops, indices, where)
            self.places[ref.buffer, ref.time, ref.component].append(access)


def _index(operand: Operand, ranges: Ranges, lets: dict[Value, Let]) -> Index:
    low, high = ranges.of(operand)
    if isinstance(operand, Const):
        return Index(None, int(operand.value), low, high)
    offset = 0
    while operand in lets and lets[operand].fn in ("add", "sub"):
        let = lets[operand]
        a, b = let.args
        if isinstance(b, Const) and isinstance(a, Value):
            offset += int(b.value) if let.fn == "add" else -int(b.value)
            operand = a
        elif isinstance(a, Const) and isinstance(b, Value) and let.fn == "add":
            offset += int(a.value)
            operand = b
        else:
            break
    assert isinstance(operand, Value)  # noqa: S101  (the loop only walks values)
    return Index(operand, offset, low, high, operand in ranges.exact)
