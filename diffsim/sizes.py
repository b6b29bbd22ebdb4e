"""Sizes of memory as people write and read them."""

from __future__ import annotations

import math
import re

from diffsim.errors import ConfigError
from diffsim.options import plain_number

__all__ = ["parse_bytes", "show_bytes"]

_UNITS = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 1 << 10,
    "mib": 1 << 20,
    "gib": 1 << 30,
    "tib": 1 << 40,
}


def show_bytes(size: int) -> str:
    """Return a size for people: `163.0 MiB`."""
    for unit, factor in (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} B"


def parse_bytes(memory: float | str, name: str = "memory", least: int = 1) -> int:
    """Return a number of bytes from `268435456`, `1e9`, `"256MiB"` or `"1.5 GB"`.

    Args:
        memory: What was given.
        name: What messages call it.
        least: The smallest number allowed.

    Raises:
        ConfigError: It is neither, or too small.
    """
    memory, size = plain_number(memory), float("nan")
    if (isinstance(memory, int) and not isinstance(memory, bool)) or (
        isinstance(memory, float) and memory.is_integer()
    ):
        size = int(memory)
    elif isinstance(memory, str):
        match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+(?:[eE]\+?[0-9]+)?)\s*([a-zA-Z]*)\s*", memory)
        if match and match[2].lower() in _UNITS:
            size = float(match[1]) * _UNITS[match[2].lower()]
    if not math.isfinite(size) or size < least:
        raise ConfigError(
            f"{name} must be a number of bytes or a size like '512MiB', "
            f"got {memory!r}; use '1GiB' where unsure"
        )
    return int(size)
