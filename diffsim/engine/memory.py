"""What a rollout needs memory for."""

from __future__ import annotations

from diffsim.compiler.codegen.layout import Layout
from diffsim.compiler.ir import Buffer
from diffsim.compiler.program.lowered import LoweredProgram

__all__ = ["needed"]


def needed(lowered: LoweredProgram, layout: Layout) -> list[Buffer]:
    """Return all buffers that a rollout needs, but for tapes and the sums of lanes.

    Args:
        lowered: The program.
        layout: The sizes of everything in memory.
    """
    fields = [*lowered.buffers.by_field.values(), *lowered.initial.values()]
    buffers = fields + [b.adjoint for b in fields if b.adjoint is not None and b.kind != "cost"]
    buffers += [b.adjoint for b in lowered.costs if layout.taped and b.adjoint is not None]
    buffers += lowered.carried.values()
    buffers += lowered.kept.values() if layout.checkpoints else []
    buffers += lowered.whole.values() if layout.windows else []
    buffers += lowered.alarms.buffers
    return buffers + (list(lowered.cost_parts.values()) if layout.parts > 1 else [])
