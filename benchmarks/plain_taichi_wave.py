"""The yardstick of `wave`: the wave equation in plain Taichi, as one writes it without diffsim.

All steps are in memory, a step is one launch, and `ti.ad.Tape` gives the gradient. It uses nothing of
diffsim.
"""

# No `from __future__ import annotations` here: Taichi reads kernel annotations as objects, not as text.
from typing import Any

import numpy as np
import taichi as ti
from numpy.typing import NDArray

from benchmarks.plain_taichi import PlainTaichi
from benchmarks.wave_problem import KEPT, SPEED


@ti.data_oriented
class PlainWave(PlainTaichi):
    """The program: fields, kernels, and the loop over time under a tape.

    Args:
        initial: The initial height (n, n); its type is the precision.
        target: What the height shall be in the end.
        steps: Time steps.
    """

    def __init__(self, initial: NDArray[Any], target: NDArray[Any], steps: int) -> None:
        self.n, self.steps = len(initial), steps
        self.share = 1.0 / self.n**2
        real = ti.f64 if initial.dtype == np.float64 else ti.f32
        self.u = ti.field(real, shape=(steps + 1, self.n, self.n), needs_grad=True)
        self.initial = ti.field(real, shape=(self.n, self.n), needs_grad=True)
        self.target = ti.field(real, shape=(self.n, self.n))
        self.loss = ti.field(real, shape=(), needs_grad=True)
        self.initial.from_numpy(initial)
        self.target.from_numpy(target)

    @ti.kernel
    def begin(self):
        """Put the initial height in place."""
        for i, j in self.initial:
            self.u[0, i, j] = self.initial[i, j]

    @ti.kernel
    def move(self, t: ti.i32, before: ti.i32):
        """Compute u[t + 1]; `before` is t - 1, and 0 in the first step."""
        for i, j in ti.ndrange((1, self.n - 1), (1, self.n - 1)):
            here = self.u[t, i, j]
            around = self.u[t, i - 1, j] + self.u[t, i + 1, j] + self.u[t, i, j - 1] + self.u[t, i, j + 1]
            self.u[t + 1, i, j] = here + KEPT * (here - self.u[before, i, j]) + SPEED * (around - 4.0 * here)

    @ti.kernel
    def misfit(self):
        """Compare with the target."""
        for i, j in self.target:
            self.loss[None] += self.share * (self.u[self.steps, i, j] - self.target[i, j]) ** 2

    def forward(self) -> None:
        """Run all steps and the cost."""
        self.begin()
        for t in range(self.steps):
            self.move(t, max(t - 1, 0))
        self.misfit()

    def gradients(self) -> dict[str, NDArray[Any]]:
        """Copy the adjoints of the initial height."""
        return {"u": self.initial.grad.to_numpy()}
