"""What must be zeroed, or kept, before kernels run: memory that they add to, or do not store as a whole."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator

from diffsim.compiler.builder import Builder
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
from diffsim.compiler.program.lowered import Box, Clearing, LoweredProgram

__all__ = ["box_of", "clear_stage", "clear_workspaces", "keep_stage", "plan_clearing", "stored_boxes"]

Filler = Callable[[Builder, "tuple[Value, ...]", int], Operand]


def plan_clearing(lowered: LoweredProgram) -> None:
    """Find out what is zeroed before each step, before the terminal cost, and before their adjoints."""
    for buffer in lowered.buffers.by_field.values():
        if buffer.kind == "state" and not buffer.source.keep:  # what is kept is never zero
            lowered.clear += _clearing(buffer, 1, lowered.step)
        if buffer.kind != "scratch":
            continue
        needed = _clearing(buffer, 0, lowered.step + lowered.running)
        used = any(buffer is op.ref.buffer for s in lowered.terminal for op in _memory(s.body.ops))
        at_end = _clearing(buffer, 0, lowered.terminal) if used else []
        lowered.clear += needed
        lowered.clear_terminal += at_end
        # sums of the terminal cost leave their adjoint behind, which the last step must not see
        if buffer.adjoint is not None and (needed or at_end):
            lowered.clear_adjoint.append(Clearing(buffer.adjoint, 0))


def clear_workspaces(stages: list[Stage], real: str) -> list[Stage]:
    """Return what zeroes the Workspaces that stages use, before these run.

    Args:
        stages: All stages of a method with an adjoint of its own, or of that adjoint.
        real: The working precision, `f32` or `f64`.
    """
    used = dict.fromkeys(op.ref.buffer for s in stages for op in _memory(s.body.ops))
    flags = dict.fromkeys(s.loop.until for s in stages if s.loop is not None and s.loop.until is not None)
    found = [Clearing(flag, None) for flag in flags]  # loops look at them before anybody stores anything
    for buffer in used:
        if buffer.kind == "workspace" and buffer not in flags and _clearing(buffer, 0, stages):
            found.append(Clearing(buffer, None))  # as a whole: four loops around the rim take long to compile
    return [clear_stage(clearing, real) for clearing in found]


def _clearing(buffer: Buffer, time: int, stages: list[Stage]) -> list[Clearing]:
    stored = stored_boxes(buffer, time, stages)
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
    def nest(indices: tuple[Value, ...]) -> None:
        if len(indices) == len(box):
            for c in components:
                b.store(Ref(clearing.buffer, indices, c, clearing.time), value(b, indices, c))
            return
        low, high = box[len(indices)]
        loop = For(Value("i32"), Const(low, "i32"), Const(high, "i32"), Block(), parallel=True)
        with b.inside(loop.body, loop=True):
            nest((*indices, loop.index))
        b.loop(loop)

    nest(())


def stored_boxes(buffer: Buffer, time: int, stages: list[Stage]) -> dict[int, Box]:
    """Return, by component, where stages certainly store a buffer at a time before anything touches it.

    Args:
        buffer: The buffer.
        time: Relative to the step.
        stages: In the order in which they run.
    """
    found: dict[int, Box] = {}
    touched: set[int] = set()
    for stage in stages:
        certain = stage.loop is None or stage.loop.until is None  # else a loop may end before it
        for op in stage.body.ops:
            if certain:
                _take(found, _stores(op, buffer, time, []), touched)
            touched |= _read(op, buffer, time)
    return found


def _take(found: dict[int, Box], new: dict[int, Box], touched: set[int]) -> None:
    """Keep the larger box of each component."""
    for component, box in new.items():
        old = found.get(component)
        if component not in touched and (old is None or _volume(box) > _volume(old)):
            found[component] = box


def _volume(box: Box) -> int:
    return math.prod(high - low for low, high in box)


def _stores(op: Op, buffer: Buffer, time: int, loops: list[For]) -> dict[int, Box]:
    """Return where an operation stores, whatever happens, what it has not touched before."""
    if isinstance(op, Store) and op.ref.buffer is buffer and (op.ref.time or 0) == time:
        box = box_of(op.ref, buffer, loops)
        return {} if box is None else {op.ref.component: box}
    if not isinstance(op, For) or not _certain(op):
        return {}
    found: dict[int, Box] = {}
    touched: set[int] = set()
    for inner in op.body.ops:
        _take(found, _stores(inner, buffer, time, [*loops, op]), touched)
        touched |= _read(inner, buffer, time)
    return found


def _certain(op: For) -> bool:
    return isinstance(op.start, Const) and isinstance(op.stop, Const) and op.stop.value > op.start.value


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


def _read(op: Op, buffer: Buffer, time: int) -> set[int]:
    """Return the components that an operation reads or adds to."""
    refs = (inner.ref for inner in _memory([op]) if not isinstance(inner, Store))
    return {ref.component for ref in refs if ref.buffer is buffer and (ref.time or 0) == time}


def _memory(ops: Iterable[Op]) -> Iterator[Load | Store | Accumulate]:
    return (op for op in walk(Block(list(ops))) if isinstance(op, Load | Store | Accumulate))
