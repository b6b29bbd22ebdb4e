"""Random bits as functions that kernels in Taichi's text call; machine code has its own."""

from __future__ import annotations

from typing import Any

from diffsim import _taichi
from diffsim.language.philox import ADDED, FACTORS, ROUNDS

__all__ = ["FUNCTIONS"]

ti = _taichi.ti
_FIRST, _SECOND = FACTORS
_ADDED_FIRST, _ADDED_SECOND = ADDED


def _function(half: int) -> Any:
    """Make the function of four counters and two words of a key that returns two of four words as one."""

    @ti.func
    def philox(a, b, c, d, k, m):  # type: ignore[no-untyped-def]
        for _ in range(ROUNDS):
            one = ti.cast(a, ti.u64) * ti.u64(_FIRST)
            two = ti.cast(c, ti.u64) * ti.u64(_SECOND)
            a = ti.cast(two >> 32, ti.u32) ^ b ^ k
            b = ti.cast(two, ti.u32)
            c = ti.cast(one >> 32, ti.u32) ^ d ^ m
            d = ti.cast(one, ti.u32)
            k += ti.u32(_ADDED_FIRST)
            m += ti.u32(_ADDED_SECOND)
        if ti.static(half == 1):
            a, b = c, d
        return (ti.cast(a, ti.u64) << 32) | ti.cast(b, ti.u64)

    return philox


FUNCTIONS: dict[str, Any] = {"philox0": _function(0), "philox1": _function(1)}
