"""The forms that stages take before they are printed: what is moved, peeled, split, or done in lanes.

What a text says, and how long it takes to compile, is known from them without printing it.
"""

from __future__ import annotations

from diffsim.compiler.autodiff import expanded
from diffsim.compiler.codegen.distribution import distributed
from diffsim.compiler.codegen.lanes import in_lanes
from diffsim.compiler.codegen.layout import Layout
from diffsim.compiler.codegen.motion import hoisted
from diffsim.compiler.codegen.peeling import peeled
from diffsim.compiler.codegen.places import marked
from diffsim.compiler.codegen.tanh import inlined
from diffsim.compiler.ir import Stage

__all__ = ["ready", "serial", "worlds_beside"]


def worlds_beside(layout: Layout) -> bool:
    """Tell whether neighbours in memory are worlds, not elements."""
    return layout.world_last or layout.block > 1


def ready(stage: Stage, layout: Layout, native: bool) -> Stage:
    """Return a stage without calls and, where the text's compiler lacks them, without slow functions.

    Args:
        stage: What will be printed.
        layout: The axes of the buffers.
        native: As of `KernelWriter`.
    """
    plain = expanded(stage)
    inline = not native and not layout.world_last  # GPUs have tanh, and few units for f64
    return inlined(plain) if inline else plain


def serial(stage: Stage, layout: Layout, native: bool, once: bool = False) -> Stage:
    """Return a stage as mode `fused` prints it, with serial loops.

    Args:
        stage: What will be printed.
        layout: The axes of the buffers.
        native: As of `KernelWriter`.
        once: It runs once only, before the first step.
    """
    made = hoisted(ready(stage, layout, native), outermost=True)
    # Where worlds are innermost, each has a thread of its own; and a solver that repeats many kernels
    # takes longer to compile in lanes, and as long to run.
    if worlds_beside(layout) or once:
        return made
    made = distributed(peeled(made))
    if native:
        return marked(made)
    return in_lanes(made) if stage.loop is None else made
