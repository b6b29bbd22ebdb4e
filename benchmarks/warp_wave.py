"""The wave equation in NVIDIA Warp: all steps in memory, a launch for each, `wp.Tape`, a graph."""

# No `from __future__ import annotations` here: Warp reads kernel annotations as objects, not as text.
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.warp_program import Both, make_module, program, start_warp
from benchmarks.wave_problem import KEPT, SPEED


def _kernels(wp: Any, module: Any, real: Any, n: int) -> tuple[Any, Any]:
    """Write the kernels of a step and of the cost."""
    kept, speed, share = real(KEPT), real(SPEED), real(1.0 / n**2)

    @wp.kernel(module=module)
    def advance(u: wp.array3d(dtype=real), t: int):
        i, j = wp.tid()
        i += 1
        j += 1
        here = u[t, i, j]
        around = u[t, i - 1, j] + u[t, i + 1, j] + u[t, i, j - 1] + u[t, i, j + 1]
        old = u[wp.max(t - 1, 0), i, j]
        u[t + 1, i, j] = here + kept * (here - old) + speed * (around - real(4.0) * here)

    @wp.kernel(module=module)
    def miss(u: wp.array3d(dtype=real), target: wp.array2d(dtype=real), t: int, cost: wp.array(dtype=real)):
        i, j = wp.tid()
        away = u[t, i, j] - target[i, j]
        wp.atomic_add(cost, 0, share * away * away)

    return advance, miss


def make_program(
    initial: NDArray[Any], target: NDArray[Any], steps: int, device: str = "cpu", cache: bool = True
) -> tuple[Callable[[], float], Both]:
    """Return functions for the cost, and for the cost with its gradient by the initial height.

    Args:
        initial: Height of the membrane at first (n, n), zero at its rim; its type is the precision.
        target: What it is to be at last (n, n).
        steps: Time steps.
        device: `cpu` or `cuda`.
        cache: Take compiled kernels from Warp's cache on disk.
    """
    wp = start_warp(device, cache)
    real, n = wp.float64 if initial.dtype == np.float64 else wp.float32, len(initial)
    module = make_module(wp, "wave", real, n)
    advance, miss = _kernels(wp, module, real, n)
    start = wp.array(initial, dtype=real, device=device, requires_grad=True)
    goal = wp.array(target, dtype=real, device=device)
    u = wp.zeros((steps + 1, n, n), dtype=real, device=device, requires_grad=True)
    cost = wp.zeros(1, dtype=real, device=device, requires_grad=True)
    first = u[0]

    def forward() -> None:
        cost.zero_()
        wp.copy(first, start)
        for t in range(steps):
            wp.launch(advance, (n - 2, n - 2), inputs=[u, t], device=device)
        wp.launch(miss, (n, n), inputs=[u, goal, steps], outputs=[cost], device=device)

    return program(forward, cost, {"u": start}, device)
