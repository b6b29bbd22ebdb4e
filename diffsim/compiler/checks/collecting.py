"""Listing what the stages of a step read and write, place by place, in the order in which they run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from diffsim.compiler.checks.extents import of_indices
from diffsim.compiler.checks.ranges import Interval, Ranges, Times
from diffsim.compiler.checks.residues import Facts, Residues
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

__all__ = ["Access", "Collector", "Index", "runs_once"]


@dataclass(frozen=True)
class Index:
    """An index as `sign * base + offset`; the base is a loop index, another value, or None for a number.

    Where it is a multiple of a value and a number, `strided` has that value, the factor and the number.
    """

    base: Value | None
    offset: int
    low: float
    high: float
    exact: bool = False
    sign: int = 1
    strided: tuple[Value, int, int] | None = None


@dataclass(frozen=True)
class Access:
    """One read or write of a place, where it stands, and in which loops.

    Attributes:
        op: The operation.
        order: Its position in the text of the step.
        nest: The number of its stage, and of the loop in there; -1 for what stands beside loops.
        top: The position of the operation of the stage's body that it is, or is in.
        loops: The loops around it, the outermost first.
        during: Bounds of the index of each of them where this happens.
        trips: How often each of them runs at most.
        stops: What each of them ends at.
        indices: The place.
        where: The position in the user's file.
        shared: A parallel loop whose iterations all store here, each a value of its own.
        given: It is of an adjoint that the user wrote.
        residues: What is known of the colours of the place.
    """

    op: Load | Store | Accumulate
    order: int
    nest: tuple[int, int]
    top: int
    loops: tuple[For, ...]
    during: tuple[Interval, ...]
    trips: tuple[float, ...]
    stops: tuple[Index, ...]
    indices: tuple[Index, ...]
    where: Location | None
    shared: For | None = None
    given: bool = False
    residues: Residues = field(default_factory=dict)

    @property
    def write(self) -> bool:
        """Tell whether the place is changed."""
        return not isinstance(self.op, Load)


def _is_value(buffer: Buffer) -> bool:
    return buffer.kind in ("state", "scratch", "derived") and not buffer.is_adjoint


def _span(low: float, high: float) -> str:
    return f"{low:g}" if low == high else f"{low:g} .. {high:g}"


def _runs(loop: For) -> bool:
    """Tell whether a loop has an iteration for certain."""
    start, stop = loop.start, loop.stop
    return isinstance(start, Const) and isinstance(stop, Const) and stop.value > start.value


def runs_once(loop: For) -> bool:
    """Tell whether a loop has one iteration at most."""
    start, stop = loop.start, loop.stop
    return isinstance(start, Const) and isinstance(stop, Const) and stop.value - start.value <= 1


class Collector:
    """Lists the accesses of stages in order."""

    def __init__(self) -> None:
        self.places: dict[tuple[Buffer, int | None, int], list[Access]] = defaultdict(list)
        self.found: list[Diagnostic] = []
        self._follows: dict[Value, frozenset[int]] = {}  # the parallel loops whose index a value follows
        self._lookups = Lookups()
        self._order = 0
        self._branches = 0
        self._reads = False
        self._top = self._steps = 0
        self._facts = Facts({})

    def stage(self, number: int, stage: Stage, times: Times, reads: bool = False) -> None:
        """List the accesses of a stage; or only what it reads of States and Scratches."""
        self._reads, self._steps = reads, times.steps
        may_skip = stage.loop is not None and stage.loop.until is not None
        ranges = Ranges(stage.body, stage.t, replace(times, certain=False) if may_skip else times)
        lets: dict[Value, Let] = {}
        self._facts = Facts(lets)
        for top, op in enumerate(stage.body.ops):
            # statements outside loops are one nest: they run in order
            nest = (number, top if isinstance(op, For) else -1)
            self._top = top
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
            if op.parallel and not runs_once(op):
                self._follows[op.index] = frozenset([id(op)])
            self._block(op.body, nest, (*loops, op), ranges, lets)
        elif isinstance(op, If):
            self._branches += 1
            for block, holds in ((op.then, True), (op.orelse, False)):
                self._facts.enter(op.cond, holds)
                with ranges.assuming(op.cond, holds):
                    self._block(block, nest, loops, ranges, lets)
                self._facts.leave()
            self._facts.note(op)
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
        always_here = not self._branches and all(map(_runs, loops))
        for index, (operand, n, name, is_step) in zip(indices, of_indices(ref, self._steps), strict=True):
            low, high = ranges.of(operand)
            if low > high:
                return  # what is known contradicts itself: no run comes here
            always = low >= n or high < 0
            # t, a loop index, or a number from a Constant takes its largest and smallest value for certain
            sometimes = index.exact and always_here and (low < 0 or high >= n)
            if always or sometimes:
                message = f"{name} must lie in 0 .. {n - 1}, got {_span(low, high)}" + (
                    "; put the access in an `if`, or keep the step inside with ti.max and ti.min"
                    if is_step
                    else f" on an axis of length {n}; change the loop's range, or put the access in an `if`"
                )
                self.found.append(Diagnostic("INDEX", str(where), message))
        if ref.buffer.kind in ("state", "scratch", "derived", "done", "workspace"):
            shared = self._shared(op, loops)
            if isinstance(op, Store):
                self._check_scatter(op, indices, loops)
            access = Access(
                op,
                self._order,
                nest,
                self._top,
                loops,
                tuple(ranges.of(loop.index) for loop in loops),
                tuple(ranges.trips(loop) for loop in loops),
                tuple(_index(loop.stop, ranges, lets) for loop in loops),
                indices,
                where,
                shared,
                self._reads,
                self._facts.residues(ref.indices),
            )
            self.places[ref.buffer, ref.time, ref.component].append(access)


def _index(operand: Operand, ranges: Ranges, lets: dict[Value, Let]) -> Index:
    low, high = ranges.of(operand)
    if isinstance(operand, Const):
        return Index(None, int(operand.value), low, high)
    base, sign, offset = _walked(operand, lets, ("add", "sub"))
    value, factor, number = _walked(operand, lets, ("add", "sub", "mul"))
    strided = (value, factor, number) if abs(factor) > 1 else None
    return Index(base, offset, low, high, base in ranges.exact, sign, strided)


def _walked(operand: Value, lets: dict[Value, Let], through: tuple[str, ...]) -> tuple[Value, int, int]:
    """Return a value, a factor and a number that make up an integer, through these operations."""
    offset, factor = 0, 1
    while operand in lets and lets[operand].fn in through:
        let = lets[operand]
        a, b = let.args
        if isinstance(b, Const) and isinstance(a, Value):
            known, operand, first = int(b.value), a, True
        elif isinstance(a, Const) and isinstance(b, Value):
            known, operand, first = int(a.value), b, False
        else:
            break
        if let.fn == "mul":
            factor *= known
        elif let.fn == "add" or not first:
            offset += factor * known
            factor = factor if let.fn == "add" else -factor
        else:
            offset -= factor * known
    return operand, factor, offset
