"""The global data access rule: no value may be overwritten after a kernel of the step read it.

Adjoints are computed from the values that memory holds when the backward pass comes by. A place that was read
and then written holds another value by then, and the gradient would be silently wrong.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from diffsim.compiler.checks.diagnostics import raise_all
from diffsim.compiler.checks.findings import Finding, told
from diffsim.compiler.checks.ranges import Interval, Ranges
from diffsim.compiler.checks.scatter import Lookups
from diffsim.compiler.ir import (
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
    Stage,
    Store,
    Value,
    blocks_of,
    operands_of,
    results_of,
)
from diffsim.errors import Diagnostic

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
    """One read or write of a place, where it stands, and in which loops.

    `during` bounds the index of each loop where this happens; `shared` is a parallel loop whose iterations
    all store here, each a value of its own.
    """

    write: bool
    order: int
    nest: tuple[int, int]
    loops: tuple[For, ...]
    during: tuple[Interval, ...]
    indices: tuple[Index, ...]
    where: Location | None
    shared: For | None = None


def check_access(stages: list[Stage], steps: int, given: bool = False) -> None:
    """Refuse programs that overwrite what they read, or read a State at `t + 1` that nothing wrote yet.

    A Workspace may be overwritten, but not by one iteration of a parallel loop while another one reads it.

    Args:
        stages: The stages of one step in order, running costs last; or those of an adjoint.
        steps: The horizon, for bounds of indices that depend on `t`.
        given: They are an adjoint that the user wrote: only Workspaces are looked at.

    Raises:
        GradientError: A place is written after it was read.
        TraceError: `x[t + 1]` is read before any kernel wrote it, or an index lies outside its field.
    """
    collector = _Collector()
    for number, stage in enumerate(stages):
        collector.stage(number, stage, steps)
        if not given:
            for k, later in enumerate(_given_adjoint(stages, number), 1):
                collector.stage(number + k * len(stages), later, steps, reads=True)
    found: list[Finding] = []
    for (buffer, time, component), accesses in collector.places.items():
        if given and buffer.kind != "workspace":
            continue
        if buffer.kind == "state" and time == 1:
            found += _read_ahead(buffer, component, accesses)
        found += _faults(buffer, time, component, accesses)
    raise_all([*collector.found, *told(found)])


def _given_adjoint(stages: list[Stage], number: int) -> list[Stage]:
    """Return the adjoint that a user wrote of a stage, or of a group that ends with it.

    It runs when later stages have run, and must find what it reads as it was when this one was through.
    """
    stage = stages[number]
    if stage.adjoint is not None:
        return [stage.adjoint()]
    last = number + 1 == len(stages) or stages[number + 1].group is not stage.group
    return stage.group.adjoint() if stage.group is not None and last else []


def _faults(buffer: Buffer, time: int | None, component: int, accesses: list[Access]) -> Iterator[Finding]:
    # a write without a place is the library's own, of what no kernel writes
    writes = [(a, a.where) for a in accesses if a.write and a.where is not None]
    reads = [a for a in accesses if not a.write]
    for write, where in writes:
        if write.shared is not None:
            yield Finding("RACE", buffer, time, component, where, shared=True)
    judge = _race_within if buffer.kind == "workspace" else _conflict
    for write, where in writes:
        for read in reads:
            rule = judge(read, write)
            if rule is not None:
                yield Finding(rule, buffer, time, component, where, read.where)
                break  # one reader is enough to tell


def _is_value(buffer: Buffer) -> bool:
    return buffer.kind in ("state", "scratch") and not buffer.is_adjoint


def _read_ahead(buffer: Buffer, component: int, accesses: list[Access]) -> Iterator[Finding]:
    first = min(accesses, key=lambda a: a.order)
    if not first.write and first.where is not None:
        yield Finding("READ-AHEAD", buffer, 1, component, first.where)


def _conflict(read: Access, write: Access) -> str | None:
    """Name the rule that is broken where the write may come after the read and hit the same place."""
    if any(_apart(r, w) for r, w in zip(read.indices, write.indices, strict=True)):
        return None
    if read.nest != write.nest:
        return "OVERWRITE" if write.order > read.order else None
    spans = zip(read.during, write.during, strict=False)
    for (loop, other), (reading, writing) in zip(
        zip(read.loops, write.loops, strict=False), spans, strict=False
    ):
        if loop is not other:
            break
        if not loop.parallel and writing[1] < reading[0]:
            return None
        shifts = {
            w.offset - r.offset
            for r, w in zip(read.indices, write.indices, strict=True)
            if r.base is loop.index and w.base is loop.index
        }
        if not shifts:
            if _runs_once(loop):
                continue
            return "RACE" if loop.parallel and write.order < read.order else "OVERWRITE"
        if shifts == {0}:
            continue
        if len(shifts) > 1:
            return None
        if shifts.pop() < 0:
            return "OVERWRITE"
        return "RACE" if loop.parallel else None
    return "OVERWRITE" if write.order > read.order else None


def _race_within(read: Access, write: Access) -> str | None:
    """Name the rule that is broken where an iteration of a parallel loop may write what another reads."""
    if read.nest != write.nest or any(_apart(r, w) for r, w in zip(read.indices, write.indices, strict=True)):
        return None
    for loop, other in zip(read.loops, write.loops, strict=False):
        if loop is not other or not loop.parallel:
            return None
        shifts = {
            w.offset - r.offset
            for r, w in zip(read.indices, write.indices, strict=True)
            if r.base is loop.index and w.base is loop.index
        }
        if len(shifts) > 1:
            return None
        if shifts != {0} and not _runs_once(loop):
            return "RACE"
    return None


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
        self.found: list[Diagnostic] = []
        self._follows: dict[Value, frozenset[int]] = {}  # the parallel loops whose index a value follows
        self._lookups = Lookups()
        self._order = 0
        self._branches = 0
        self._reads = False

    def stage(self, number: int, stage: Stage, steps: int, reads: bool = False) -> None:
        """List the accesses of a stage; or only what it reads of States and Scratches."""
        self._reads = reads
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
        elif isinstance(op, Load | Store | Accumulate):
            if isinstance(op, Load):
                self._lookups.note(op)
            self._access(op, nest, loops, ranges, lets)
        elif isinstance(op, For):
            if not ranges.trips(op):
                return  # an empty loop reads and writes nothing
            if op.parallel and not _runs_once(op):
                self._follows[op.index] = frozenset([id(op)])
            self._block(op.body, nest, (*loops, op), ranges, lets)
        elif isinstance(op, If):
            self._branches += 1
            with ranges.assuming(op.cond, True):
                self._block(op.then, nest, loops, ranges, lets)
            with ranges.assuming(op.cond, False):
                self._block(op.orelse, nest, loops, ranges, lets)
            self._branches -= 1
        sources = [*operands_of(op), *(y for block in blocks_of(op) for y in block.yields)]
        for result in results_of(op):
            self._follows[result] = self._union(sources)

    def _union(self, operands: Iterable[Operand]) -> frozenset[int]:
        return frozenset().union(
            *(self._follows.get(o, frozenset()) for o in operands if isinstance(o, Value))
        )

    def _shared(self, op: Load | Store | Accumulate, loops: tuple[For, ...]) -> For | None:
        """Return the parallel loop whose iterations all store at one place, each a value of its own."""
        if not isinstance(op, Store) or self._branches:
            return None
        place, value = self._union(op.ref.indices), self._union([op.value])
        return next((loop for loop in loops if id(loop) in value - place), None)

    def _check_scatter(self, op: Store, indices: tuple[Index, ...], loops: tuple[For, ...]) -> None:
        """Refuse index arrays that send two iterations of a parallel loop to one place."""
        for loop in loops:
            if self._branches or id(loop) not in self._union([op.value]):
                continue
            following = [i.base for i in indices if i.base is not None and id(loop) in self._union([i.base])]
            found = self._lookups.repeated(following, loop)
            if found is not None:
                message = (
                    f"{op.ref.buffer.label} must be stored by one iteration of a kernel's outermost loop at "
                    f"each place, got {found[0]}, which names {found[1]} twice; use distinct indices, or add "
                    "with +="
                )
                self.found.append(Diagnostic("RACE", str(op.where), message))

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
        op: Load | Store | Accumulate,
        nest: tuple[int, int],
        loops: tuple[For, ...],
        ranges: Ranges,
        lets: dict[Value, Let],
    ) -> None:
        if self._reads and not (isinstance(op, Load) and _is_value(op.ref.buffer)):
            return
        self._order += 1
        ref, where = op.ref, op.where
        indices = tuple(_index(i, ranges, lets) for i in ref.indices)
        for operand, index, n in zip(ref.indices, indices, ref.buffer.shape, strict=True):
            low, high = ranges.of(operand)
            if low > high:
                return  # what is known contradicts itself: no run comes here
            always = low >= n or high < 0
            # a loop index, or a number from a Constant, takes its largest and smallest value for certain
            sometimes = index.exact and not self._branches and (low < 0 or high >= n)
            if always or sometimes:
                message = (
                    f"indices of {ref.buffer.label} must lie in 0 .. {n - 1}, got "
                    f"{_span(low, high)} on an axis of length {n}; change the loop's "
                    "range, or put the access in an `if`"
                )
                self.found.append(Diagnostic("INDEX", str(where), message))
        if ref.buffer.kind in ("state", "scratch", "done", "workspace"):
            shared = self._shared(op, loops)
            if isinstance(op, Store):
                self._check_scatter(op, indices, loops)
            during = tuple(ranges.of(loop.index) for loop in loops)
            access = Access(
                not isinstance(op, Load), self._order, nest, loops, during, indices, where, shared
            )
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
