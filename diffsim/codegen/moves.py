"""Printing the kernels that move whole States and gradients: between slots, to and from checkpoints."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from diffsim.analysis.program import LoweredProgram
from diffsim.codegen.layout import Layout
from diffsim.codegen.stages import parameter_adjoints
from diffsim.codegen.writer import KernelText, KernelWriter
from diffsim.ir import Buffer, Const

__all__ = ["move_kernels", "reduce_kernel"]

_SERIAL_WORK = 4096  # plain copies below which waking the thread pool costs more
Place = tuple[Buffer, list[str]]


@contextmanager
def _over(w: KernelWriter, axes: Sequence[tuple[str, int]], on_cpu: bool) -> Iterator[None]:
    """Print one parallel loop over several axes, given as names and lengths."""
    if on_cpu and math.prod(n for _, n in axes) <= _SERIAL_WORK:
        w.line("ti.loop_config(serialize=True)")
    names = ", ".join(name for name, _ in axes)
    ranges = ", ".join(str(n) for _, n in axes)
    with w.inside(
        f"for {names} in ti.ndrange({ranges}):" if len(axes) > 1 else f"for {names} in range({ranges}):"
    ):
        yield


def _space(w: KernelWriter, buffer: Buffer) -> list[tuple[str, int]]:
    return [(w.fresh("e"), n) for n in buffer.shape]


def _zero(w: KernelWriter, buffer: Buffer, leading: list[tuple[str, int]], on_cpu: bool) -> None:
    space = _space(w, buffer)
    indices = [name for name, _ in leading + space]
    with _over(w, (leading + space) or [("z", 1)], on_cpu):
        for c in range(buffer.components):
            w.line(f"{w.at(buffer, c, indices)} = {w.constant(Const(0.0, buffer.dtype))}")


def _copy_history(
    w: KernelWriter, state: Buffer, source: Place, target: Place, on_cpu: bool, condition: str | None = None
) -> None:
    """Print copies of the slots `z` of a State, in ascending order, since they may overlap."""
    space = _space(w, state)
    names = [name for name, _ in space]
    with _over(w, [("w", w.layout.worlds), *space], on_cpu), w.inside(f"for z in range({w.layout.history}):"):
        depth = w.indent
        if condition:
            w.line(f"if {condition}:")
            w.indent += 1
        for c in range(state.components):
            left = w.at(target[0], c, [*target[1], *names])
            w.line(f"{left} = {w.at(source[0], c, [*source[1], *names])}")
        w.indent = depth


def move_kernels(lowered: LoweredProgram, layout: Layout, real: str, on_cpu: bool) -> dict[str, KernelText]:
    """Print `shift`, `zero_cost`, `save`, `restore`, `zero_parameters`, `seed`, `carry`, all `(n, last)`."""

    def kernel(name: str, body: Callable[[KernelWriter], None]) -> KernelText:
        w = KernelWriter(name, ("n", "last"), layout, real)
        body(w)
        w.line("pass")
        return w.finish()

    def copies(
        source: Callable[[Buffer], Place], target: Callable[[Buffer], Place]
    ) -> Callable[[KernelWriter], None]:
        def body(w: KernelWriter) -> None:
            for state in lowered.states:
                _copy_history(w, state, source(state), target(state), on_cpu)

        return body

    def zero_cost(w: KernelWriter) -> None:
        for cost in lowered.costs:
            _zero(w, cost, [("w", layout.worlds)], on_cpu)

    def zero_parameters(w: KernelWriter) -> None:
        sizes = {"world": ("w", layout.worlds), "group": ("g", layout.groups), "time": ("z", layout.steps)}
        for buffer in parameter_adjoints(lowered):
            _zero(w, buffer, [sizes[axis] for axis in layout.axes(buffer)], on_cpu)

    def seed(w: KernelWriter) -> None:
        for state in lowered.states:
            adjoint = _adjoint(state)
            _zero(w, adjoint, [("w", layout.worlds), ("z", layout.slots)], on_cpu)
            _copy_history(
                w, state, (lowered.carried[state], ["w", "z"]), (adjoint, ["w", "n + z"]), on_cpu, "last == 0"
            )

    def start(state: Buffer) -> Place:
        return state, ["w", "z"]

    def kept(state: Buffer) -> Place:
        return lowered.kept[state], ["n", "w", "z"]

    moves = {
        "shift": kernel("shift", copies(lambda s: (s, ["w", "n + z"]), start)),
        "zero_cost": kernel("zero_cost", zero_cost),
    }
    if any(state.adjoint is None for state in lowered.states):  # a program that only runs forward
        return moves
    return moves | {
        "save": kernel("save", copies(start, kept)),
        "restore": kernel("restore", copies(kept, start)),
        "zero_parameters": kernel("zero_parameters", zero_parameters),
        "seed": kernel("seed", seed),
        "carry": kernel(
            "carry", copies(lambda s: (_adjoint(s), ["w", "z"]), lambda s: (lowered.carried[s], ["w", "z"]))
        ),
    }


def _adjoint(state: Buffer) -> Buffer:
    assert state.adjoint is not None  # noqa: S101  (States are differentiable)
    return state.adjoint


def reduce_kernel(layout: Layout, real: str, targets: dict[Buffer, Buffer], on_cpu: bool) -> KernelText:
    """Print `reduce()`: sums of the lanes' gradients of shared Params, each in the order of the lanes."""
    w = KernelWriter("reduce", (), layout, real)
    for source, target in targets.items():
        time = [("z", layout.steps)] if "time" in layout.axes(source) else []
        axes = time + _space(w, source)
        indices = [name for name, _ in axes]
        with _over(w, axes or [("z", 1)], on_cpu):
            for c in range(source.components):
                total = w.fresh("s")
                w.line(f"{total} = {w.constant(Const(0.0, source.dtype))}")
                with w.inside(f"for g in range({layout.groups}):"):
                    w.line(f"{total} += {w.at(source, c, ['g', *indices])}")
                w.line(f"{w.at(target, c, indices)} = {total}")
    w.line("pass")
    return w.finish()
