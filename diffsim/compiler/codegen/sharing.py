"""Sums that the threads of a device share: each lane adds to a copy of its own, in an order that is fixed.

Atomics of all threads on one address take turns, and come in another order each time. Where iterations of a
parallel nest add to the same place of a shared Param's adjoint, or of the cost, those that may meet are dealt
out to lanes, every so many to one. A lane visits its own one after the other and adds to its own copy, and
the copies are summed behind the pass, in the order of the lanes. What adds to fields of a step (scatters
through indices, sums over neighbours) stays atomic.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from diffsim.compiler.codegen.ending import as_the_world_sees
from diffsim.compiler.codegen.layout import Layout
from diffsim.compiler.codegen.printer import Lane, Slot, slot_of
from diffsim.compiler.codegen.stages import tapes_of
from diffsim.compiler.codegen.writer import KernelWriter
from diffsim.compiler.ir import Accumulate, Block, Buffer, Const, For, If, Load, Op, Stage, Store, Value, walk

__all__ = ["Axis", "Deal", "Sums", "deal", "dealt_nest", "exclusive", "sums_in", "tape_bytes"]


@dataclass(frozen=True)
class Axis:
    """A loop of a nest, or the worlds.

    Attributes:
        name: What its index is called.
        low, high: The bounds.
    """

    name: str
    low: int
    high: int

    @property
    def trips(self) -> int:
        """Count the iterations."""
        return max(0, self.high - self.low)


@dataclass(frozen=True)
class Sums:
    """What the iterations of a nest add to that others may add to as well.

    Attributes:
        shared: Adjoints of what worlds share.
        cost: The cost is among it.
        own: Loops whose indices tell all places of those adjoints apart.
        slots: The places.
    """

    shared: frozenset[Buffer] = frozenset()
    cost: bool = False
    own: frozenset[Value] = frozenset()
    slots: frozenset[Slot] = frozenset()


def sums_in(body: Block, indices: Sequence[Value], layout: Layout) -> Sums:
    """Return the shared sums of a nest.

    Args:
        body: The innermost body.
        indices: Of its loops.
        layout: The axes of the buffers.
    """
    adds = [op.ref for op in walk(body) if isinstance(op, Accumulate)]
    cost = [ref for ref in adds if ref.buffer.kind == "cost"]
    alone = exclusive(body, indices, layout)
    shared = [r for r in adds if layout.is_shared(r.buffer) and not (indices and slot_of(r) in alone)]
    own = frozenset(i for i in indices if all(i in ref.indices for ref in shared))
    places: dict[Slot, set[tuple[int, ...]]] = {}
    for ref in shared:  # an index at another axis of the same field may name what its neighbour's does
        at = tuple(ref.indices.index(i) for i in indices if i in own)
        places.setdefault(slot_of(ref), set()).add(at)
    if any(len(found) > 1 for found in places.values()):
        own = frozenset()
    slots = frozenset(slot_of(ref) for ref in [*shared, *cost])
    return Sums(frozenset(ref.buffer for ref in shared), bool(cost), own if shared else frozenset(), slots)


@dataclass(frozen=True)
class Deal:
    """How the iterations of a nest come to threads.

    Attributes:
        apart: Axes of which each index has threads of its own.
        rest: Axes whose indices are dealt out to lanes.
        lanes: How many there are; as many as iterations where each has its own.
        axes: Those of the nest, by their indices.
    """

    apart: tuple[Axis, ...]
    rest: tuple[Axis, ...]
    lanes: int
    axes: Mapping[Value, Axis]

    @property
    def rounds(self) -> int:
        """Count the iterations that are dealt out."""
        return math.prod(axis.trips for axis in self.rest)

    @property
    def threads(self) -> int:
        """Count the threads."""
        return math.prod(axis.trips for axis in self.apart) * self.lanes


def deal(
    axes: Mapping[Value, Axis],
    world: tuple[Axis, ...],
    sums: Sums,
    layout: Layout,
    recorded: int = 0,
    wanted: bool = False,
) -> Deal:
    """Deal the iterations of a nest out.

    Args:
        axes: Its loops.
        world: That of worlds, where there are several.
        sums: What they share.
        layout: How many lanes there may be.
        recorded: Bytes that a thread records.
        wanted: As many lanes as would do, not as many as there may be.
    """
    every = (*axes.values(), *world)
    if sums.shared:
        apart = tuple(axis for index, axis in axes.items() if index in sums.own)
        rest, most = tuple(axis for axis in every if axis not in apart), layout.lanes
    elif sums.cost and axes:
        apart, rest, most = world, tuple(axes.values()), layout.parts
    else:
        apart, rest, most = every, (), 1
    rounds = math.prod(axis.trips for axis in rest)
    found = Deal(apart, rest, rounds if wanted else max(1, min(rounds, most)), axes)
    if recorded * found.threads > layout.tape_bytes:
        fitting = max(1, layout.tape_bytes // recorded)
        return Deal((), every, fitting if wanted or not sums.shared else min(fitting, most), axes)
    return found


@contextmanager
def _dealt(
    w: KernelWriter, made: Deal, sums: Sums, lane: Lane, registers: Mapping[Op, str]
) -> Iterator[Lane]:
    """Print the parallel loop of a nest and, in it, that over the iterations of a lane; yield the lane.

    Args:
        w: Where to print.
        made: How iterations are dealt out.
        sums: What they share.
        lane: The places of the step.
        registers: Where a lane sums what it adds to one place, if it has several iterations.
    """
    depth = w.indent
    if made.lanes < made.rounds:
        group = w.fresh("g")
        axes = [*made.apart, Axis(group, 0, made.lanes)]
        _head(w, axes)
        turn, number = w.fresh("k"), w.fresh("r")
        for op, register in registers.items():
            assert isinstance(op, Accumulate)  # noqa: S101  (they are those that add)
            w.line(f"{register} = {w.constant(Const(0.0, op.ref.buffer.dtype))}")
        w.line(f"for {turn} in range(({made.rounds + made.lanes - 1} - {group}) // {made.lanes}):")
        w.indent += 1
        w.line(f"{number} = {group} + {turn} * {made.lanes}")
        for axis in reversed(made.rest):
            if axis is made.rest[0]:
                w.line(f"{axis.name} = {number} + {axis.low}")
            else:
                w.line(f"{axis.name} = {number} % {axis.trips} + {axis.low}")
                w.line(f"{number} = {number} // {axis.trips}")
    else:
        axes = [*made.apart, *made.rest]
        _head(w, axes)
        group = _flat(made.rest)
    flat = f"({_flat(made.apart)}) * {made.lanes} + {group}" if made.apart else group
    world = "w" if w.layout.worlds > 1 else "0"
    copy, part = (group if sums.shared else "0"), (group if sums.cost and not sums.shared else "0")
    inner = replace(lane, world=world, lane=flat, group=copy, part=part)
    inside = w.indent
    yield inner
    w.indent = inside - 1
    for op, register in registers.items():
        assert isinstance(op, Accumulate)  # noqa: S101  (they are those that add)
        place = w.place(op.ref, inner)
        w.line(f"{place} = {place} + {register}")
    w.indent = depth


def dealt_nest(w: KernelWriter, stage: Stage, body: Block, axes: dict[Value, Axis], lane: Lane) -> None:
    """Print a nest for the threads of a GPU, whose sums come in an order that is fixed.

    Args:
        w: Where to print.
        stage: Whose nest it is.
        body: Its innermost body.
        axes: Its loops, none for what is done in order in each world.
        lane: The places of its step.
    """
    layout = w.layout
    sums = sums_in(body, list(axes), layout)
    if sums.cost and not sums.shared:
        body = _redirected(body, w.parts)
        sums = replace(sums, slots=frozenset((w.parts.get(b, b), t, c) for b, t, c in sums.slots))
    world = (Axis("w", 0, layout.worlds),) if layout.worlds > 1 else ()
    made = deal(axes, world, sums, layout, tape_bytes(stage))
    w.need_tapes(stage, made.threads)
    alone = exclusive(body, list(axes), layout) | sums.slots
    inner = Lane(lane.t, lane.slot, lane.scratch, exclusive=alone, atomic=True)
    registers = _registers(w, stage, body, made, sums) if made.lanes < made.rounds else {}
    with _dealt(w, made, sums, inner, registers) as inner:
        with as_the_world_sees(w, stage, inner) as inner:
            for op in body.ops:
                if op in registers:
                    assert isinstance(op, Accumulate)  # noqa: S101  (they are those that add)
                    w.line(f"{registers[op]} = {registers[op]} + {w.text(op.value, inner)}")
                else:
                    w.op(op, inner)
        w.line("pass")


def _registers(w: KernelWriter, stage: Stage, body: Block, made: Deal, sums: Sums) -> dict[Op, str]:
    """Return names for the sums of a lane that all go to one place, which it then adds to once."""
    touched = Counter(slot_of(o.ref) for o in walk(body) if isinstance(o, Load | Store | Accumulate))
    fixed = {index for index, axis in made.axes.items() if axis in made.apart}
    if stage.ended is None:  # else each world has a time of its own at its end
        fixed.add(stage.t)
    several = any(axis.name == "w" for axis in made.rest)
    return {
        op: w.fresh("a")
        for op in body.ops
        if isinstance(op, Accumulate)
        and slot_of(op.ref) in sums.slots
        and touched[slot_of(op.ref)] == 1
        and not (several and "world" in w.layout.axes(op.ref.buffer))
        and all(isinstance(i, Const) or i in fixed for i in op.ref.indices)
    }


def exclusive(body: Block, indices: Sequence[Value], layout: Layout) -> frozenset[Slot]:
    """Return the places that each iteration has to itself: all accesses use the loop's own indices."""
    found: dict[Slot, set[tuple[int, ...] | None]] = {}
    for op in walk(body):
        if isinstance(op, Load | Store | Accumulate):
            own = layout.worlds == 1 or "world" in layout.axes(op.ref.buffer)
            axes = tuple(op.ref.indices.index(i) for i in indices if i in op.ref.indices)
            found.setdefault(slot_of(op.ref), set()).add(axes if own and len(axes) == len(indices) else None)
    return frozenset(slot for slot, axes in found.items() if len(axes) == 1 and None not in axes)


def tape_bytes(stage: Stage) -> int:
    """Return what one thread records."""
    return sum(8 * b.shape[0] for b in tapes_of(stage))


def _head(w: KernelWriter, axes: Sequence[Axis]) -> None:
    """Print one parallel loop over axes, and indent what follows."""
    axes = sorted(axes, key=lambda axis: axis.name == "w")  # as memory lies
    names = ", ".join(axis.name for axis in axes)
    if len(axes) > 1:
        ranges = ", ".join(f"({axis.low}, {axis.high})" for axis in axes)
        w.line(f"for {names} in ti.ndrange({ranges}):")
    else:
        w.line(f"for {names} in range({axes[0].low}, {axes[0].high}):")
    w.indent += 1


def _flat(axes: Sequence[Axis]) -> str:
    """Return the number of an iteration among those of axes."""
    flat = "0"
    for axis in axes:
        own = f"{axis.name} - {axis.low}" if axis.low else axis.name
        flat = own if flat == "0" else f"({flat}) * {axis.trips} + {own}"
    return flat


def _redirected(block: Block, targets: Mapping[Buffer, Buffer]) -> Block:
    """Return a block that adds to other buffers."""
    ops: list[Op] = []
    for op in block.ops:
        if isinstance(op, Accumulate) and op.ref.buffer in targets:
            op = replace(op, ref=replace(op.ref, buffer=targets[op.ref.buffer]))
        elif isinstance(op, For):
            op = replace(op, body=_redirected(op.body, targets))
        elif isinstance(op, If):
            op = replace(op, then=_redirected(op.then, targets), orelse=_redirected(op.orelse, targets))
        ops.append(op)
    return Block(ops, list(block.yields))
