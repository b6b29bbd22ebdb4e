"""The stages that keep a layout's tables: setting and clearing them, giving slots to marked blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from diffsim.compiler.builder import Builder
from diffsim.compiler.checks.alarms import Alarm, Alarms, raised
from diffsim.compiler.ir import Block, Buffer, Const, For, Load, Operand, Ref, Stage, Store, Value, is_float
from diffsim.compiler.program.topology import RUN, Topology, Version

__all__ = ["MARK", "closing", "opening", "over_range", "slots_stage", "when", "zero_first", "zero_stage"]

MARK = -1  # in a table: the block was written to, and has no slot yet


@contextmanager
def over_range(b: Builder, start: int, stop: int, parallel: bool = False) -> Iterator[Value]:
    """Build a loop; yield its index."""
    loop = For(Value("i32"), Const(start, "i32"), Const(stop, "i32"), Block(), parallel=parallel)
    with b.inside(loop.body, loop=True):
        yield loop.index
    b.loop(loop)


@contextmanager
def when(b: Builder, cond: Operand) -> Iterator[None]:
    """Build what runs where a condition holds."""
    then = Block()
    with b.inside(then):
        yield
    b.branch(cond, then, Block())


def each_active(b: Builder, version: Version, body: Callable[[Value, Operand], None]) -> None:
    """Build a loop over active blocks: `body(slot, block)`."""
    last = version.topology.capacity + 1
    with over_range(b, 1, last, parallel=True) as slot, when(b, b.op("le", slot, fresh(b, version.count))):
        body(slot, fresh(b, version.listed(slot)))


def fresh(b: Builder, ref: Ref) -> Operand:
    """Read memory, whatever was read or stored there before."""
    result = Value(ref.buffer.dtype)
    b.append(Load(result, ref))
    return result


def put(b: Builder, ref: Ref, value: Operand) -> None:
    """Store, and forget what was known of that memory."""
    b.append(Store(ref, value))


def _entries(b: Builder, versions: Iterable[Version], filled: bool) -> None:
    """Set the table of each of these versions, or clear it, at its active blocks."""
    for version in versions:

        def entry(slot: Value, block: Operand, table: Buffer = version.table) -> None:
            put(b, Ref(table, (block,)), slot if filled else b.const(0))

        each_active(b, version, entry)


def opening(
    topology: Topology, now: Sequence[Version], new: Version | None, note: Ref | None, real: str
) -> Stage:
    """Return what stands before the kernels of a step: tables tell what is active at `t`.

    Its adjoint, which runs last, leaves them empty.

    Args:
        topology: The layout.
        now: The blocks that are there before the step.
        new: Those that the step will find; None where it adds to what is there, or adds nothing.
        note: Where to note how many there are to begin with.
        real: The working precision.
    """
    b, name = Builder(real), f"open {topology.name}"
    _entries(b, now, filled=True)
    if new is not None:
        put(b, new.count, b.const(0))
    if note is not None:
        put(b, note, b.const(0) if new is not None else fresh(b, now[0].count))
    stage = Stage(name, Value("i32"), b.block)
    every = [*now, *([new] if new is not None else [])]

    def back() -> Stage:
        b = Builder(real)
        _entries(b, every, filled=False)
        for version in now:
            _zero_unused(b, topology, version)
        return Stage(name, Value("i32"), b.block)

    stage.adjoint = back
    return stage


def _zero_unused(b: Builder, topology: Topology, version: Version) -> None:
    """Zero what reads of inactive cells have left in the adjoints of slot 0, which nobody must count."""
    for buffer in topology.fields:
        if buffer.kind == "state" and buffer.adjoint is not None:
            _zero_cells(b, buffer.adjoint, b.const(0), version.time)


def closing(topology: Topology, every: Sequence[Version], real: str) -> Stage:
    """Return what stands behind the kernels of a step: tables are empty again, but not on the way back."""
    b, name = Builder(real), f"close {topology.name}"
    _entries(b, every, filled=False)
    for table in topology.peaks:
        peak = Ref(table, ())
        for version in every:
            put(b, peak, b.op("max", fresh(b, peak), fresh(b, version.count)))
    stage = Stage(name, Value("i32"), b.block)

    def back() -> Stage:
        b = Builder(real)
        _entries(b, every, filled=True)
        return Stage(name, Value("i32"), b.block)

    stage.adjoint = back
    return stage


def slots_stage(version: Version, upto: Ref, alarms: Alarms, real: str) -> Stage:
    """Return the stage that gives slots to marked blocks, in the order of the table.

    Args:
        version: Whose blocks.
        upto: Where to note how many are active then.
        alarms: Where an alarm is added, for more blocks than there is room for.
        real: The working precision.
    """
    b, t, topology = Builder(real), Value("i32"), version.topology
    found = _search(b, version, len(topology.flags), None, fresh(b, version.count))
    room = b.const(topology.capacity)
    count = b.op("min", found, room)
    put(b, version.count, count)
    put(b, upto, count)
    rule = f"active {topology.name} ({topology.layout!r}) must be at most {topology.capacity}, got"
    remedy = "raise its capacity, as in `layout.capacity = ...`, which counts from the next run on"
    alarm = Alarm(topology.first, rule, remedy, grows=topology.layout)
    for op in raised(b.op("gt", found, room), found, alarm, alarms, t):
        b.append(op)
    return Stage(f"give slots to {topology.name}", t, b.block)


def _search(b: Builder, version: Version, level: int, run: Value | None, count: Operand) -> Operand:
    """Build the search of a table, or of a part of it, for marks; return how many blocks are active then.

    Args:
        b: Where to build.
        version: Whose blocks.
        level: Of the table: 0 for the one of blocks.
        run: Which run of its entries; None for all.
        count: How many are active before.
    """
    topology = version.topology
    table = version.table if level == 0 else topology.flags[level - 1]
    length = table.shape[0] if run is None else RUN
    loop = For(Value("i32"), Const(0, "i32"), Const(length, "i32"), Block(), [count], [Value("i32")])
    with b.inside(loop.body, loop=True):
        entry: Operand = loop.index
        if run is not None:
            entry = b.op("add", b.op("mul", run, b.const(RUN)), entry)
        ref = Ref(table, (entry,))
        marked = b.op("lt", fresh(b, ref), b.const(0))
        then = Block()
        with b.inside(then):
            if level == 0:
                then.yields = [_given_slot(b, version, ref, entry, loop.params[0])]
            else:
                put(b, ref, b.const(0))
                assert isinstance(entry, Value)  # noqa: S101  (it is a loop's index, or made of one)
                then.yields = [_search(b, version, level - 1, entry, loop.params[0])]
        loop.body.yields = list(b.branch(marked, then, Block(yields=[loop.params[0]])))
    return b.loop(loop)[0]


def _given_slot(b: Builder, version: Version, ref: Ref, block: Operand, count: Operand) -> Operand:
    """Build what gives a marked block the next slot, where there is one; return how many are asked for."""
    slot = b.op("add", count, b.const(1))
    fits = b.op("le", slot, b.const(version.topology.capacity))
    put(b, ref, b.op("select", fits, slot, b.const(0)))
    with when(b, fits):
        put(b, version.listed(slot), block)
    return slot


def zero_first(version: Version, fields: Sequence[Buffer], real: str) -> Stage:
    """Return the stage that zeroes slot 0, where reads of what is not active go.

    Its adjoint zeroes what such reads leave there.
    """
    b = Builder(real)
    for buffer in fields:
        _zero_cells(b, buffer, b.const(0), _time(version, buffer))
    return Stage(f"zero slot 0 of {version.topology.name}", Value("i32"), b.block)


def zero_stage(version: Version, fields: Sequence[Buffer], before: Ref, real: str) -> Stage:
    """Return the stage that zeroes the cells of blocks that are new.

    Its adjoint zeroes the adjoints of these cells, behind those of all kernels that use them.

    Args:
        version: Whose blocks.
        fields: The pools.
        before: How many blocks there were.
        real: The working precision.
    """
    b = Builder(real)
    with over_range(b, 1, version.topology.capacity + 1, parallel=True) as slot:
        new = b.op("le", slot, fresh(b, version.count))
        new = b.op("and", new, b.op("gt", slot, fresh(b, before)))
        with when(b, new):
            for buffer in fields:
                _zero_cells(b, buffer, slot, _time(version, buffer))
    return Stage(f"zero new blocks of {version.topology.name}", Value("i32"), b.block)


def _time(version: Version, buffer: Buffer) -> int | None:
    return None if buffer.kind == "workspace" else version.time if buffer.kind == "state" else 0


def _zero_cells(b: Builder, pool: Buffer, slot: Operand, time: int | None) -> None:
    zero = b.const(0.0, pool.dtype) if is_float(pool.dtype) else b.const(0, pool.dtype)

    def nest(indices: tuple[Operand, ...]) -> None:
        if len(indices) == len(pool.shape):
            for component in range(pool.components):
                put(b, Ref(pool, indices, component, time), zero)
            return
        with over_range(b, 0, pool.shape[len(indices)]) as index:
            nest((*indices, index))

    nest((slot,))
