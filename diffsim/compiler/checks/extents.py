"""How far the indices of a place go, and how messages call them."""

from __future__ import annotations

from collections.abc import Iterator

from diffsim.compiler.ir import Buffer, Operand, Ref

__all__ = ["of_indices"]


def of_indices(ref: Ref, steps: int) -> Iterator[tuple[Operand, int, str, bool]]:
    """Yield each index with the length that it must stay below, its name, and whether it is a step.

    Args:
        ref: The place; of a Control the first index is a step.
        steps: The horizon.
    """
    buffer: Buffer = ref.buffer
    is_control = buffer.kind == "control"
    lengths = (steps, *buffer.shape) if is_control else buffer.shape
    for axis, (index, length) in enumerate(zip(ref.indices, lengths, strict=True)):
        is_step = is_control and axis == 0
        name = f"the step that {buffer.label} is taken at" if is_step else f"indices of {buffer.label}"
        yield index, length, name, is_step
