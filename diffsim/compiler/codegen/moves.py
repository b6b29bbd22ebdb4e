"""Printing the kernels that move whole States and gradients: between slots, to and from checkpoints."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from diffsim.compiler.codegen.ending import begin_running, own_steps
from diffsim.compiler.codegen.layout import Layout
from diffsim.compiler.codegen.stages import adjoint_of, parameter_adjoints, passing_adjoints
from diffsim.compiler.codegen.writer import KernelText, KernelWriter
from diffsim.compiler.ir import Buffer, Const
from diffsim.compiler.program.lowered import LoweredProgram

__all__ = ["move_kernels", "nested", "over", "reduce_kernel", "space_of"]

_PARTS = 128  # copies that a thread of a GPU sums one by one
_SERIAL_WORK = 4096  # plain copies below which waking the thread pool costs more
Place = tuple[Buffer, list[str]]


@contextmanager
def over(w: KernelWriter, axes: Sequence[tuple[str, int]], on_cpu: bool) -> Iterator[None]:
    """Print one parallel loop over several axes, given as names and lengths.

    Args:
        w: Prints.
        axes: Names and lengths.
        on_cpu: Short loops are serial there. On a GPU what tells threads apart goes last, as in memory.
    """
    if not on_cpu:
        axes = sorted(axes, key=lambda axis: axis[0] in ("w", "g"))
    if on_cpu and math.prod(n for _, n in axes) <= _SERIAL_WORK:
        w.line("ti.loop_config(serialize=True)")
    names = ", ".join(name for name, _ in axes)
    ranges = ", ".join(str(n) for _, n in axes)
    with w.inside(
        f"for {names} in ti.ndrange({ranges}):" if len(axes) > 1 else f"for {names} in range({ranges}):"
    ):
        yield


def space_of(w: KernelWriter, buffer: Buffer) -> list[tuple[str, int]]:
    """Return fresh names for the spatial axes of a buffer, with their lengths."""
    return [(w.fresh("e"), n) for n in buffer.shape]


def nested(buffer: Buffer, space: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
    """Return the spatial axes of a buffer in the order of loops that go through memory as it lies."""
    return [space[axis] for axis in buffer.nesting]


def _zero(w: KernelWriter, buffer: Buffer, leading: list[tuple[str, int]], on_cpu: bool) -> None:
    space = space_of(w, buffer)
    indices = [name for name, _ in leading + space]
    with over(w, (leading + nested(buffer, space)) or [("z", 1)], on_cpu):
        for c in range(buffer.components):
            w.line(f"{w.at(buffer, c, indices)} = {w.constant(Const(0.0, buffer.dtype))}")


def _copy_history(
    w: KernelWriter,
    state: Buffer,
    source: Place,
    target: Place,
    on_cpu: bool,
    condition: str | None = None,
    ended: Buffer | None = None,
) -> None:
    """Print copies of the slots `z` of a State, in ascending order, since they may overlap.

    Where it is noted when worlds end, `m` is what the world itself ran of the `n` steps.
    """
    space = space_of(w, state)
    names = [name for name, _ in space]
    with over(w, [("w", w.layout.worlds), *nested(state, space)], on_cpu):
        depth = w.indent
        own_steps(w, ended, "w")
        w.line(f"for z in range({w.layout.history}):")
        w.indent += 1
        if condition:
            w.line(f"if {condition}:")
            w.indent += 1
        for c in range(state.components):
            left = w.at(target[0], c, [*target[1], *names])
            w.line(f"{left} = {w.at(source[0], c, [*source[1], *names])}")
        w.indent = depth


def move_kernels(lowered: LoweredProgram, layout: Layout, real: str, on_cpu: bool) -> dict[str, KernelText]:
    """Print `shift`, `zero_cost`, `save`, `restore`, `zero_parameters`, `seed`, `carry`, all `(n, last)`.

    Where worlds end by themselves, `shift` and `seed` are `(n, last, t0)`, and there is `stay(n, last)`: the
    States of worlds that have all ended stay as they are from step `last` of a window on.
    """
    ended = lowered.ended
    own = "n" if ended is None else "m"

    def kernel(name: str, body: Callable[[KernelWriter], None]) -> KernelText:
        timed = ("t0",) if ended is not None and name in ("shift", "seed") else ()
        w = KernelWriter(name, ("n", "last", *timed), layout, real)
        w.lanes = layout.block
        body(w)
        w.line("pass")
        return w.finish()

    def copies(
        source: Callable[[Buffer], Place], target: Callable[[Buffer], Place], until: Buffer | None = None
    ) -> Callable[[KernelWriter], None]:
        def body(w: KernelWriter) -> None:
            for state in lowered.states:
                _copy_history(w, state, source(state), target(state), on_cpu, ended=until)

        return body

    def zero_parameters(w: KernelWriter) -> None:
        copies = layout.lanes if layout.world_last else layout.sums
        sizes = {"world": ("w", layout.worlds), "group": ("g", copies), "slot": ("z", layout.slots)}
        for buffer in parameter_adjoints(lowered):
            sizes["time"] = ("z", layout.times(buffer))
            _zero(w, buffer, [sizes[axis] for axis in layout.axes(buffer)], on_cpu)
        for buffer in passing_adjoints(lowered):
            _zero(w, buffer, [sizes[axis] for axis in layout.axes(buffer)], on_cpu)

    def seed(w: KernelWriter) -> None:
        for state in lowered.passing:
            adjoint = adjoint_of(state)
            _zero(w, adjoint, [("w", layout.worlds), ("z", layout.ring)], on_cpu)
            end = adjoint, ["w", layout.ring_of(f"{own} + z")]
            _copy_history(w, state, (lowered.carried[state], ["w", "z"]), end, on_cpu, "last == 0", ended)

    def start(state: Buffer) -> Place:
        return state, ["w", "z"]

    def kept(state: Buffer) -> Place:
        return lowered.kept[state], ["n", "w", "z"]

    moves = {
        "shift": kernel("shift", copies(lambda s: (s, ["w", f"{own} + z"]), start, ended)),
        "zero_cost": kernel("zero_cost", lambda w: _start(w, lowered, on_cpu)),
    }
    if layout.parts > 1:
        moves["fold"] = kernel("fold", lambda w: _fold(w, lowered))
    if ended is not None:
        moves["stay"] = kernel("stay", lambda w: _stay(w, lowered, on_cpu))
    if not lowered.backward:
        return moves
    return moves | {
        "save": kernel("save", copies(start, kept)),
        "restore": kernel("restore", copies(kept, start)),
        "zero_parameters": kernel("zero_parameters", zero_parameters),
        "seed": kernel("seed", seed),
        "carry": kernel("carry", lambda w: _carry(w, lowered, on_cpu)),
    }


def _carry(w: KernelWriter, lowered: LoweredProgram, on_cpu: bool) -> None:
    """Print what hands the adjoints of States to the segment before."""
    for state in lowered.passing:
        ends = (adjoint_of(state), ["w", "z"]), (lowered.carried[state], ["w", "z"])
        _copy_history(w, state, *ends, on_cpu)


def _start(w: KernelWriter, lowered: LoweredProgram, on_cpu: bool) -> None:
    """Print what comes before a run: costs are zero, and no world has ended."""
    worlds = [("w", w.layout.worlds)]
    for cost in lowered.costs:
        _zero(w, cost, worlds, on_cpu)
    if w.layout.parts > 1:
        for part in lowered.cost_parts.values():
            _zero(w, part, [("q", w.layout.parts), *worlds], on_cpu)
    if lowered.ended is not None:
        with over(w, worlds, on_cpu):
            begin_running(w, lowered.ended, "w")


def _fold(w: KernelWriter, lowered: LoweredProgram) -> None:
    """Print what adds up the copies of costs that lanes of a GPU have added to, in two rounds."""
    for cost, part in lowered.cost_parts.items():
        rows = min(_PARTS, w.layout.parts)
        if w.layout.parts > rows:
            with over(w, [("q", rows), ("w", w.layout.worlds)], on_cpu=False):
                _sum_copies(w, partial(_part_at, w, part), "q", rows, str(w.layout.parts))
        with over(w, [("w", w.layout.worlds)], on_cpu=False):
            total = w.fresh("s")
            w.line(f"{total} = {w.at(cost, 0, ['w'])}")
            with w.inside(f"for q in range({rows}):"):
                w.line(f"{total} += {w.at(part, 0, ['q', 'w'])}")
            w.line(f"{w.at(cost, 0, ['w'])} = {total}")


def _part_at(w: KernelWriter, part: Buffer, copy: str) -> str:
    return w.at(part, 0, [copy, "w"])


def _copy_at(w: KernelWriter, source: Buffer, component: int, indices: Sequence[str], copy: str) -> str:
    return w.at(source, component, [copy, *indices])


def _sum_copies(w: KernelWriter, at: Callable[[str], str], first: str, apart: int, count: str) -> None:
    """Print the sum of the copies that are so far apart, into the first of them."""
    total, turn = w.fresh("s"), w.fresh("k")
    w.line(f"{total} = {at(first)}")
    with w.inside(f"for {turn} in range(1, ({count} + {apart - 1} - {first}) // {apart}):"):
        w.line(f"{total} += {at(f'{first} + {turn} * {apart}')}")
    w.line(f"{at(first)} = {total}")


def _stay(w: KernelWriter, lowered: LoweredProgram, on_cpu: bool) -> None:
    """Print what steps do that no world runs: States are handed on, Scratches are zero."""
    history, worlds = w.layout.history, ("w", w.layout.worlds)
    for buffer in lowered.buffers.by_field.values():
        if buffer.kind not in ("state", "scratch"):
            continue
        space = space_of(w, buffer)
        names = [name for name, _ in space]
        with over(w, [worlds, *space], on_cpu), w.inside("for z in range(last, n):"):
            for c in range(buffer.components):
                if buffer.kind == "state":
                    left, right = (w.at(buffer, c, ["w", f"z + {k}", *names]) for k in (history, history - 1))
                    w.line(f"{left} = {right}")
                else:
                    place = ["w", "z"] if "slot" in w.layout.axes(buffer) else ["w"]
                    w.line(f"{w.at(buffer, c, [*place, *names])} = {w.zero_of(buffer)}")


def reduce_kernel(layout: Layout, real: str, targets: dict[Buffer, Buffer], on_cpu: bool) -> KernelText:
    """Print `reduce()`: sums of the lanes' gradients of shared Params, each in the order of the lanes.

    On a GPU it is `reduce(copies)`, for as many as were used, and there are two rounds, whose order is fixed
    too: first each of so many threads sums copies that are so far apart.
    """
    w = KernelWriter("reduce", () if on_cpu else ("copies",), layout, real)
    used = str(layout.sums) if on_cpu else f"ti.min(copies, {_PARTS})"
    for source, target in targets.items():
        time = [("z", layout.times(source))] if "time" in layout.axes(source) else []
        axes = time + space_of(w, source)
        indices = [name for name, _ in axes]
        if not on_cpu and layout.sums > _PARTS:
            with over(w, [*axes, ("g", _PARTS)], on_cpu):
                for c in range(source.components):
                    _sum_copies(w, partial(_copy_at, w, source, c, indices), "g", _PARTS, "copies")
        with over(w, axes or [("z", 1)], on_cpu):
            for c in range(source.components):
                total = w.fresh("s")
                w.line(f"{total} = {w.constant(Const(0.0, source.dtype))}")
                with w.inside(f"for g in range({used}):"):
                    w.line(f"{total} += {w.at(source, c, ['g', *indices])}")
                w.line(f"{w.at(target, c, indices)} = {total}")
    w.line("pass")
    return w.finish()
