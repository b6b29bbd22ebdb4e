"""What must be zeroed, or kept, before kernels run: memory that they add to, or do not store as a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from diffsim.compiler.builder import Builder
from diffsim.compiler.checks.touching import Access, Box, Key, accesses_of, joined, may_follow, volume
from diffsim.compiler.ir import (
    Accumulate,
    Block,
    Buffer,
    Const,
    For,
    Load,
    Op,
    Operand,
    Ref,
    Stage,
    Store,
    Value,
    is_float,
    walk,
)
from diffsim.compiler.program.copying import over_box
from diffsim.compiler.program.lowered import Clearing, LoweredProgram
from diffsim.compiler.program.nests import active_nest
from diffsim.compiler.reading.buffers import Buffers

__all__ = ["box_of", "clear_stage", "clear_workspaces", "keep_stage", "plan_clearing", "stored_boxes"]

Accesses = dict[Key, list[Access]]
Filler = Callable[[Builder, "tuple[Value, ...]", int], Operand]

_MOST = 100_000  # pairs of accesses that are compared


def plan_clearing(lowered: LoweredProgram) -> None:
    """Find out what is zeroed before each step, before other stages, and before their adjoints."""
    step = accesses_of(lowered.step)
    whole, terminal = accesses_of(lowered.step + lowered.running), accesses_of(lowered.terminal)
    begin = accesses_of(lowered.begin)
    for buffer in lowered.buffers.by_field.values():
        if buffer.kind == "derived" and not buffer.source.hidden and _clearing(buffer, 0, begin):
            lowered.begin.insert(0, clear_stage(Clearing(buffer, None), lowered.buffers.real))
        if buffer.place is not None or (buffer.kind == "state" and buffer.hidden):
            continue  # blocks are zeroed as they become active
        kept = buffer.source.keep if buffer.kind == "state" else False
        if buffer.kind == "state" and not kept and buffer not in lowered.buffers.handed_on:
            lowered.clear += _clearing(buffer, 1, step)
        if buffer.kind != "scratch" or buffer.hidden:
            continue
        needed = _clearing(buffer, 0, whole)
        used = any(buffer is other for other, _, _ in terminal)
        at_end = _clearing(buffer, 0, terminal) if used else []
        lowered.clear += needed
        lowered.clear_terminal += at_end
        # sums of the terminal cost leave their adjoint behind, which the last step must not see
        if buffer.adjoint is not None and (needed or at_end):
            lowered.clear_adjoint.append(Clearing(buffer.adjoint, 0))


def clear_workspaces(stages: list[Stage], buffers: Buffers) -> list[Stage]:
    """Return what zeroes the Workspaces that stages use, before these run.

    Args:
        stages: All stages of a method with an adjoint of its own, or of that adjoint.
        buffers: The program's memory.
    """
    used = dict.fromkeys(op.ref.buffer for s in stages for op in _memory(s.body.ops))
    flags = dict.fromkeys(s.loop.until for s in stages if s.loop is not None and s.loop.until is not None)
    accesses = accesses_of(stages)
    found = [Clearing(flag, None) for flag in flags]  # loops look at them before anybody stores anything
    for buffer in used:
        if buffer.kind == "workspace" and buffer not in flags and _clearing(buffer, 0, accesses):
            found.append(Clearing(buffer, None))  # as a whole: four loops around the rim take long to compile
    return [_clear_workspace(clearing, buffers) for clearing in found]


def _clear_workspace(clearing: Clearing, buffers: Buffers) -> Stage:
    """Return the stage that zeroes a Workspace; of a sparse one, the cells that are active."""
    workspace, layout = clearing.buffer, clearing.buffer.source.sparse
    if layout is None:
        return clear_stage(clearing, buffers.real)
    b = Builder(buffers.real)
    time = 1 if buffers.carries(layout) else 0
    cell, body = active_nest(b, buffers.activity(layout, workspace.source), time)
    with b.inside(body):
        for component in range(workspace.components):
            b.store(Ref(workspace, cell, component), b.const(0, workspace.dtype))
    return Stage(f"clear {workspace.name}", Value("i32"), b.block)


def _clearing(buffer: Buffer, time: int, accesses: Accesses) -> list[Clearing]:
    stored = _stored(buffer, time, accesses)
    whole = tuple((0, n) for n in buffer.shape)
    if all(stored.get(c) == whole for c in range(buffer.components)):
        return []
    return [Clearing(buffer, time, stored)]


def clear_stage(clearing: Clearing, real: str) -> Stage:
    """Return a stage that zeroes a buffer at one time, except where it will be stored."""
    zero = Const(0.0 if is_float(clearing.buffer.dtype) else 0, clearing.buffer.dtype)
    return _filling(f"clear {clearing.buffer.name}", clearing, real, lambda b, indices, component: zero)


def keep_stage(clearing: Clearing, real: str) -> Stage:
    """Return a stage that hands a State on to the next step, except where it will be stored."""

    def value(b: Builder, indices: tuple[Value, ...], component: int) -> Operand:
        return b.load(Ref(clearing.buffer, indices, component, (clearing.time or 0) - 1))

    return _filling(f"keep {clearing.buffer.source.key}", clearing, real, value)


def _filling(name: str, clearing: Clearing, real: str, value: Filler) -> Stage:
    """Return a stage that stores a value in each element, except where kernels will."""
    b, buffer = Builder(real), clearing.buffer
    together: dict[Box | None, list[int]] = {}
    for c in range(buffer.components):
        together.setdefault(clearing.stored.get(c), []).append(c)
    for inside, components in together.items():
        for box in _around(inside, buffer.shape):
            _fill(b, clearing, box, components, value)
    return Stage(name, Value("i32"), b.block)


def _around(inside: Box | None, shape: tuple[int, ...]) -> Iterator[Box]:
    """Yield boxes that fill a shape outside of a box."""
    if inside is None:
        yield tuple((0, n) for n in shape)
        return
    for axis, (low, high) in enumerate(inside):
        before, behind = inside[:axis], tuple((0, n) for n in shape[axis + 1 :])
        for part in ((0, low), (high, shape[axis])):
            if part[0] < part[1]:
                yield (*before, part, *behind)


def _fill(b: Builder, clearing: Clearing, box: Box, components: list[int], value: Filler) -> None:
    def fill(indices: tuple[Value, ...]) -> None:
        for c in components:
            b.store(Ref(clearing.buffer, indices, c, clearing.time), value(b, indices, c))

    over_box(b, box, fill, clearing.buffer.nesting)


def stored_boxes(buffer: Buffer, time: int, stages: list[Stage]) -> dict[int, Box]:
    """Return, by component, where stages certainly store a buffer at a time before anything touches it.

    Args:
        buffer: The buffer.
        time: Relative to the step.
        stages: In the order in which they run.
    """
    return _stored(buffer, time, accesses_of(stages))


def _stored(buffer: Buffer, time: int, accesses: Accesses) -> dict[int, Box]:
    found: dict[int, Box] = {}
    for component in range(buffer.components):
        touches = accesses.get((buffer, time, component), [])
        others = [access for access in touches if not isinstance(access.op, Store)]
        stores = [access for access in touches if isinstance(access.op, Store) and access.box is not None]
        if len(stores) * len(others) > _MOST:
            continue
        boxes = [s.box for s in stores if s.box is not None and not any(may_follow(o, s) for o in others)]
        if boxes:
            found[component] = max(joined(boxes), key=volume)
    return found


def box_of(ref: Ref, buffer: Buffer, loops: list[For]) -> Box | None:
    """Return the box that a store fills while its loops run; None where that is not plain to see."""
    by_index = {loop.index: loop for loop in loops}
    running = [i for i in ref.indices if isinstance(i, Value)]
    if len(set(running)) != len(running) or any(i not in by_index for i in running):
        return None
    box = []
    for index, n in zip(ref.indices, buffer.shape, strict=True):
        if isinstance(index, Value):
            low, high = int(by_index[index].start.value), int(by_index[index].stop.value)  # type: ignore[union-attr]
        else:
            low, high = int(index.value), int(index.value) + 1
        if not 0 <= low < high <= n:
            return None
        box.append((low, high))
    return tuple(box)


def _memory(ops: Iterable[Op]) -> Iterator[Load | Store | Accumulate]:
    return (op for op in walk(Block(list(ops))) if isinstance(op, Load | Store | Accumulate))
