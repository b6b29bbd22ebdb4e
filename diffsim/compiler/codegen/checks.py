"""Printing the kernels that look for numbers that are not finite, where the host cannot look itself."""

from __future__ import annotations

from diffsim.compiler.codegen.layout import Layout
from diffsim.compiler.codegen.writer import KernelText, KernelWriter
from diffsim.compiler.ir import Buffer, Const

__all__ = ["check_kernel", "zero_kernel"]


def zero_kernel(name: str, layout: Layout, buffer: Buffer) -> KernelText:
    """Print a kernel without arguments that zeroes a buffer of one number per world and place.

    Args:
        name: What to call the kernel.
        layout: The axes of the buffers.
        buffer: What to zero.
    """
    w = KernelWriter(name, (), layout, "f64")
    axes = [("w", layout.worlds), *((w.fresh("e"), length) for length in buffer.shape)]
    names, lengths = (", ".join(str(axis[k]) for axis in axes) for k in (0, 1))
    with w.inside(f"for {names} in ti.ndrange({lengths}):"):
        w.line(f"{w.at(buffer, 0, [axis for axis, _ in axes])} = {w.zero_of(buffer)}")
    return w.finish()


def check_kernel(name: str, layout: Layout, places: list[Buffer], found: Buffer) -> KernelText:
    """Print `check(n)`: whether any number is NaN (1 or 0), and the largest size of the others.

    Args:
        name: What to call the kernel.
        layout: The axes of the buffers.
        places: States, whose slots `n .. n + history - 1` are looked at (where they have any), or carried
            adjoints.
        found: Where the two numbers go.
    """
    w = KernelWriter(f"check_{name}", ("n",), layout, "f64")
    with w.inside("for z in range(1):"):
        for component in range(2):
            w.line(f"{w.at(found, component, [])} = {w.constant(Const(0.0, 'f64'))}")
    for buffer in places:
        space = [(w.fresh("e"), length) for length in buffer.shape]
        slots = [("z", layout.history)] if buffer.kind != "derived" else []
        world = [("w", layout.worlds)]
        axes = [*slots, *space, *world] if layout.world_last else [*world, *slots, *space]
        names, lengths = (", ".join(str(axis[k]) for axis in axes) for k in (0, 1))
        first = ["n + z" if buffer.kind == "state" else "z"] if slots else []
        with w.inside(f"for {names} in ti.ndrange({lengths}):"):
            for component in range(buffer.components):
                number = w.fresh()
                place = w.at(buffer, component, ["w", *first, *(name for name, _ in space)])
                w.line(f"{number} = ti.cast({place}, ti.f64)")
                # compares bits: under fast-math a compiler may take `x != x` for false
                bits = f"(ti.bit_cast({number}, ti.u64) >> 32) & ti.cast(0x7fffffff, ti.u64)"
                with w.inside(f"if ({bits}) > ti.cast(0x7ff00000, ti.u64):"):
                    w.line(f"{w.at(found, 0, [])} = {w.constant(Const(1.0, 'f64'))}")
                w.line(f"ti.atomic_max({w.at(found, 1, [])}, ti.abs({number}))")
    w.line("pass")
    return w.finish()
