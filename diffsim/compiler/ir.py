"""The intermediate form of a kernel: scalars in single assignment, with loops and branches that yield values.

A user's kernel is lowered to this form (`analysis`), differentiated in it (`autodiff`) and printed as a
Taichi kernel from it (`codegen`). Vectors and matrices are gone here: each component is a scalar of its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Union

from diffsim.compiler.buffer import Buffer

__all__ = [
    "NEWEST",
    "Accumulate",
    "Assert",
    "Block",
    "Buffer",
    "Call",
    "Const",
    "For",
    "Group",
    "If",
    "Let",
    "Load",
    "Location",
    "Loop",
    "Memory",
    "Op",
    "Operand",
    "Ref",
    "Rounds",
    "Stage",
    "Store",
    "Value",
    "accesses_in",
    "in_groups",
    "is_float",
    "passes_gradients",
]

NEWEST = 1 << 20  # the time of an access that names none, until the program as a whole tells which it is

_ids = itertools.count()


def is_float(dtype: str) -> bool:
    """Tell whether a scalar of this type can carry a gradient."""
    return dtype in ("f32", "f64")


@dataclass(frozen=True)
class Location:
    """A place in the user's source: what an error message points at."""

    file: str
    line: int
    column: int
    function: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column} in {self.function}"


class Value:
    """The result of one operation, assigned once."""

    __slots__ = ("dtype", "id")

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype
        self.id = next(_ids)

    def __repr__(self) -> str:
        return f"%{self.id}:{self.dtype}"


@dataclass(frozen=True)
class Const:
    """A number known when the kernel is compiled."""

    value: int | float | bool
    dtype: str

    def __eq__(self, other: object) -> bool:  # 0.0 and -0.0, and NaN, are told apart
        return isinstance(other, Const) and (repr(self.value), self.dtype) == (repr(other.value), other.dtype)

    def __hash__(self) -> int:
        return hash((repr(self.value), self.dtype))


Operand = Union[Value, Const]


@dataclass(frozen=True)
class Ref:
    """One scalar in memory: a component of an element of a buffer, at a time relative to the step's `t`.

    A Control has all its steps in memory, and no such time: its first index is the step.
    """

    buffer: Buffer
    indices: tuple[Operand, ...]
    component: int = 0
    time: int | None = None


@dataclass(eq=False)
class Let:
    """Compute `result = fn(*args)`, with no effect besides."""

    result: Value
    fn: str
    args: tuple[Operand, ...]
    where: Location | None = None


@dataclass(eq=False)
class Assert(Let):
    """Tell of a rule of the user's that does not hold where this is reached; `args` are the numbers it tells.

    Attributes:
        said: What the message is made of.
    """

    said: Any = None


@dataclass(eq=False)
class Rounds(Let):
    """Tell of a `while` that goes on, in iteration `args[0]`, after as many as `args[1]` at most.

    Attributes:
        named: The user named that number.
    """

    named: bool = False


@dataclass(eq=False)
class Load:
    """Read `result` from memory.

    Attributes:
        claim: Leave 1 there in the same moment, so that one of several iterations alone finds another number.
        kept: Where the adjoint finds what was read, since the place is written later.
        changed: An atomic reads it, to go on from there: one may begin with the zeros of `x[t + 1]`.
    """

    result: Value
    ref: Ref
    where: Location | None = None
    claim: bool = False
    kept: Ref | None = None
    changed: bool = False


@dataclass(eq=False)
class Store:
    """Overwrite memory with a value."""

    ref: Ref
    value: Operand
    where: Location | None = None


@dataclass(eq=False)
class Accumulate:
    """Add a value to memory."""

    ref: Ref
    value: Operand
    where: Location | None = None


@dataclass(eq=False)
class Block:
    """Operations in order, and the values handed to the operation that owns the block."""

    ops: list[Op] = field(default_factory=list)
    yields: list[Operand] = field(default_factory=list)


@dataclass(eq=False)
class For:
    """Run the body for `index` in `start .. stop - 1`, carrying values from iteration to iteration.

    Attributes:
        params: What the body calls the carried values; they begin as `inits`.
        results: What the carried values are called after the loop.
        parallel: The iterations are independent by declaration (the outermost loops of a kernel).
        descending: The iterations run from `stop - 1` down to `start`.
        independent: No iteration touches what another one writes; that was proven for the printed form.
        left: The carried value that is not zero once the remaining iterations have no effect, so that they
            need not be run; None, or no longer among the `params`, where all are.
    """

    index: Value
    start: Operand
    stop: Operand
    body: Block
    inits: list[Operand] = field(default_factory=list)
    params: list[Value] = field(default_factory=list)
    results: list[Value] = field(default_factory=list)
    parallel: bool = False
    descending: bool = False
    where: Location | None = None
    independent: bool = False
    left: Value | None = None

    @property
    def early(self) -> int | None:
        """The position of the carried value that tells that the loop may be left; None for no such."""
        return None if self.left is None or self.left not in self.params else self.params.index(self.left)


@dataclass(eq=False)
class If:
    """Run one of two blocks; `results` are what the taken block yields."""

    cond: Operand
    then: Block
    orelse: Block
    results: list[Value] = field(default_factory=list)


@dataclass(eq=False)
class Call:
    """Compute `results` from `args` by a body without memory, whose adjoint is given instead of derived.

    Attributes:
        name: What the user calls the function.
        params: What the body calls the arguments.
        body: Yields as many values as there are results.
        adjoint: Builds, from (builder, arguments, results, adjoints of the results), the adjoint of each
            argument, None where there is none.
        primitive: Forward mode takes the derivative from the adjoint, not from the body.
    """

    name: str
    args: list[Operand]
    params: list[Value]
    body: Block
    results: list[Value]
    adjoint: Callable[..., Sequence[Operand | None]]
    where: Location | None = None
    primitive: bool = False


Memory = Union[Load, Store, Accumulate]
Op = Union[Let, Load, Store, Accumulate, For, If, Call]


@dataclass(frozen=True, eq=False)
class Group:
    """Stages that follow one another, whose adjoint the user wrote for all of them together.

    Attributes:
        name: What the user calls the method that is made of them.
        adjoint: Makes the stages of that adjoint, in the order in which they run.
    """

    name: str
    adjoint: Callable[[], list[Stage]]


@dataclass(frozen=True, eq=False)
class Loop:
    """Stages of a group that follow one another and are run again and again.

    Attributes:
        count: How often, at most.
        until: Where it is not zero, the other stages and iterations are skipped; None for never.
    """

    count: int
    until: Buffer | None = None


@dataclass(eq=False)
class Stage:
    """One kernel call of a step: a block in terms of the time `t`.

    Attributes:
        name: What the user calls the kernel, with the path of its owner.
        t: The global step index, as a value.
        body: The operations.
        where: The kernel's definition.
        notes: How the kernel was read: what was inlined, unrolled or restructured.
        adjoint: Makes the stage of the adjoint that the user wrote for this kernel, where there is one.
        ended: Where it is noted when each world ends, if that matters to the stage.
        runs: Which worlds it is then for: `running`, `ended`, or `end` for all of them, each at its own end.
        group: What it belongs to, or the adjoint of what it belongs to, where the user wrote one for several
            kernels.
        loop: The loop that it is in.
        call: The call of a user's kernel that it is, or is the derived adjoint of; None for all else.
    """

    name: str
    t: Value
    body: Block
    where: Location | None = None
    adjoint: Callable[[], Stage] | None = None
    notes: tuple[str, ...] = ()
    ended: Buffer | None = None
    runs: str = ""
    group: Group | None = None
    loop: Loop | None = None
    call: Any = None


def blocks_of(op: Op) -> tuple[Block, ...]:
    """Return the blocks that an operation owns."""
    if isinstance(op, For | Call):
        return (op.body,)
    if isinstance(op, If):
        return (op.then, op.orelse)
    return ()


def operands_of(op: Op) -> Iterator[Operand]:
    """Yield what an operation itself reads, not counting what its blocks read."""
    if isinstance(op, Let):
        yield from op.args
    elif isinstance(op, Load):
        yield from op.ref.indices
    elif isinstance(op, Store | Accumulate):
        yield from op.ref.indices
        yield op.value
    elif isinstance(op, For):
        yield op.start
        yield op.stop
        yield from op.inits
    elif isinstance(op, Call):
        yield from op.args
    else:
        yield op.cond


def results_of(op: Op) -> list[Value]:
    """Return the values that an operation defines in its block."""
    if isinstance(op, Let | Load):
        return [op.result]
    if isinstance(op, For | If | Call):
        return op.results
    return []


def passes_gradients(stage: Stage) -> bool:
    """Tell whether a stage writes what gradients flow through: integers, for example, have none."""
    writes = (op.ref.buffer for op in accesses_in(stage.body) if not isinstance(op, Load))
    return any(buffer.adjoint is not None or buffer.kind == "cost" for buffer in writes)


def walk(block: Block) -> Iterator[Op]:
    """Yield every operation of a block and of the blocks inside it, in order."""
    for op in block.ops:
        yield op
        for inner in blocks_of(op):
            yield from walk(inner)


def accesses_in(block: Block) -> Iterator[Memory]:
    """Yield what reads or writes memory in a block and in those inside it, in order."""
    return (op for op in walk(block) if isinstance(op, Load | Store | Accumulate))


def in_groups(stages: Sequence[Stage]) -> Iterator[tuple[Group | None, list[Stage]]]:
    """Yield stages group by group, in order; those between groups come together, with None."""
    for group, members in itertools.groupby(stages, key=lambda stage: stage.group):
        yield group, list(members)
