"""Stages that copy whole fields: first values into States, States from step to step, what a step keeps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from diffsim.compiler.builder import Builder
from diffsim.compiler.ir import Block, Buffer, Const, For, Operand, Ref, Stage, Value
from diffsim.compiler.program.nests import active_nest

__all__ = ["copy_active", "copy_stage", "fill_stage", "over_box", "over_elements"]


def fill_stage(name: str, source: tuple[Buffer, int | None], target: Buffer, past: Iterable[int]) -> Stage:
    """Return the stage that copies a buffer, at its time, to a State at time 0 and some steps before it."""
    stages = [copy_stage(name, *source, target, -k, target.dtype) for k in past]
    for other in stages[1:]:
        stages[0].body.ops += other.body.ops
    return stages[0]


def copy_stage(
    name: str, source: Buffer, source_time: int | None, target: Buffer, target_time: int | None, real: str
) -> Stage:
    """Return the stage that copies a buffer at one time to another one."""
    b = Builder(real)

    def copy(indices: tuple[Operand, ...]) -> None:
        for c in range(target.components):
            value = b.load(Ref(source, indices, c, source_time))
            b.store(Ref(target, indices, c, target_time), value)

    over_elements(b, target.shape, copy, target.nesting)
    return Stage(name, Value("i32"), b.block)


def copy_active(name: str, target: Buffer, activity: Buffer, real: str) -> Stage:
    """Return the stage that hands the active cells of a sparse State on to the next step."""
    b = Builder(real)
    cell, body = active_nest(b, activity, 0)
    with b.inside(body):
        for c in range(target.components):
            b.store(Ref(target, cell, c, 1), b.load(Ref(target, cell, c, 0)))
    return Stage(name, Value("i32"), b.block)


def over_elements(
    b: Builder,
    shape: tuple[int, ...],
    body: Callable[[tuple[Value, ...]], None],
    nesting: Sequence[int] | None = None,
) -> None:
    """Build parallel loops over all elements of a shape; see `over_box`."""
    over_box(b, [(0, n) for n in shape], body, nesting)


def over_box(
    b: Builder,
    box: Sequence[tuple[int, int]],
    body: Callable[[tuple[Value, ...]], None],
    nesting: Sequence[int] | None = None,
) -> None:
    """Build parallel loops over a box of elements.

    Args:
        b: Builds.
        box: The first index and the one behind the last, along each axis.
        body: Builds what is done with an element, by its indices.
        nesting: The axes from the outermost loop on: `Buffer.nesting` goes through memory as it lies. None
            for their order, in which sums have the same bits however memory lies.
    """
    found: dict[int, Value] = {}

    def nest(axes: Sequence[int]) -> None:
        if not axes:
            body(tuple(found[axis] for axis in range(len(box))))
            return
        low, high = box[axes[0]]
        loop = For(Value("i32"), Const(low, "i32"), Const(high, "i32"), Block(), parallel=True)
        found[axes[0]] = loop.index
        with b.inside(loop.body, loop=True):
            nest(axes[1:])
        b.loop(loop)

    nest(range(len(box)) if nesting is None else nesting)
