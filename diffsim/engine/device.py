"""How fields lie in a GPU's memory, and how they are zeroed there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from diffsim import _taichi
from diffsim.errors import StateError
from diffsim.sizes import show_bytes

if TYPE_CHECKING:
    from diffsim.engine.arena import Spec

__all__ = ["apart", "require_room", "zeroing"]


def require_room(specs: Sequence[Spec]) -> None:
    """Refuse what is larger than a buffer of the device may be, before anything is allocated.

    Raises:
        StateError: One is.
    """
    most = _taichi.largest_buffer()
    for spec in specs:
        if most and spec.bytes > most:
            raise StateError(
                f"{spec.name} must fit into one buffer of the Vulkan device, {show_bytes(most)}, got "
                f"{show_bytes(spec.bytes)}; choose a shorter window= or fewer worlds, or arch='cpu'"
            )


def apart(specs: Sequence[Spec]) -> list[list[Spec]]:
    """Return what may share a tree of fields.

    On Vulkan numbers of 8 bytes and of 4 in one tree overlap, and a tree has no more room than a buffer.
    """
    most = _taichi.largest_buffer()
    parts: list[list[Spec]] = []
    for size in sorted({spec.itemsize for spec in specs}):
        room = -1
        for spec in (spec for spec in specs if spec.itemsize == size):
            if room < 0 or (most and spec.bytes > room):
                parts.append([])
                room = most
            parts[-1].append(spec)
            room = max(0, room - spec.bytes)
    return parts


def zeroing(fields: Sequence[Any]) -> Callable[..., Any]:
    """Make a kernel that zeroes fields; its argument means nothing."""
    lines = []
    for k, field in enumerate(fields):
        names = [f"i{axis}" for axis in range(len(field.shape))]
        at, lengths = ", ".join(names) or "i0", ", ".join(map(str, field.shape)) or "1"
        head = f"for {at} in {'ti.ndrange' if len(names) > 1 else 'range'}({lengths}):"
        lines.append(f"    {head}\n        f{k}[{at if names else 'None'}] = 0")
    source = "def zero(n: ti.i32):\n" + "\n".join(lines) + "\n"
    return _taichi.build_kernel(source, "zero", {f"f{k}": field for k, field in enumerate(fields)})
