"""Printing the kernels that keep whole windows in fields, and those that stage States for the host."""

from __future__ import annotations

from collections.abc import Mapping

from diffsim.compiler.codegen.layout import Layout
from diffsim.compiler.codegen.moves import nested, over, space_of
from diffsim.compiler.codegen.writer import KernelText, KernelWriter
from diffsim.compiler.ir import Buffer
from diffsim.compiler.program.lowered import LoweredProgram

__all__ = ["staging_kernels", "window_kernels"]

_Places = Mapping[Buffer, tuple[Buffer, tuple[str, ...]]]


def window_kernels(lowered: LoweredProgram, layout: Layout, real: str, on_cpu: bool) -> dict[str, KernelText]:
    """Print `keep` and `load`: all values of the window go to place `n`, and come back.

    Such a place also holds the States at the beginning of a window: `save`, `restore`. All are `(n, last)`.
    """
    kept = {buffer: (whole, ("n", "w", "z")) for buffer, whole in lowered.whole.items()}
    states = {state: kept[state] for state in lowered.states}
    slots = {buffer: layout.slots if buffer.kind == "state" else layout.window + 1 for buffer in kept}
    first = dict.fromkeys(states, layout.history)
    return {
        "keep": _copies("keep", kept, slots, False, layout, real, on_cpu),
        "load": _copies("load", kept, slots, True, layout, real, on_cpu),
        "save": _copies("save", states, first, False, layout, real, on_cpu),
        "restore": _copies("restore", states, first, True, layout, real, on_cpu),
    }


def staging_kernels(
    staged: Mapping[Buffer, Buffer], layout: Layout, real: str, on_cpu: bool
) -> dict[str, KernelText]:
    """Print `unload` and `reload`, `(n, last)`: the first States of the window go to fields, and back."""
    places = {state: (buffer, ("w", "z")) for state, buffer in staged.items()}
    slots = dict.fromkeys(places, layout.history)
    return {
        "unload": _copies("unload", places, slots, False, layout, real, on_cpu),
        "reload": _copies("reload", places, slots, True, layout, real, on_cpu),
    }


def _copies(
    name: str,
    places: _Places,
    slots: Mapping[Buffer, int],
    back: bool,
    layout: Layout,
    real: str,
    on_cpu: bool,
) -> KernelText:
    w = KernelWriter(name, ("n", "last"), layout, real)
    w.lanes = layout.block
    for buffer, (other, leading) in places.items():
        space = space_of(w, buffer)
        names = [name for name, _ in space]
        axes = [("z", slots[buffer]), ("w", layout.worlds), *nested(buffer, space)]
        inner = axes[1:] if on_cpu else []  # loops of their own, so that the last one vectorises
        with over(w, axes[: len(axes) - len(inner)], on_cpu):
            depth = w.indent
            for axis, n in inner:
                w.line(f"for {axis} in range({n}):")
                w.indent += 1
            for c in range(buffer.components):
                there = w.at(other, c, [*leading, *names])
                here = w.at(buffer, c, ["w", "z", *names])
                w.line(f"{here} = {there}" if back else f"{there} = {here}")
            w.indent = depth
    w.line("pass")
    return w.finish()
