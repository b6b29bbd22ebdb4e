"""States with a past: before the first step it is what the first step begins with."""

from typing import Any

import numpy as np
import pytest
import taichi as ti
from simulator_checks import assert_gradient

import diffsim as ds

N, STEPS = 6, 8


class Swinging(ds.Simulator):
    """Second order in time, from an initial value or from what `reset` makes of a Param."""

    def __init__(self, begins: bool) -> None:
        self.n, self.begins = N, begins
        self.h = ds.Param(np.linspace(0.2, 1.0, N))
        self.x = ds.State(ds.real, N, init=np.linspace(0.2, 1.0, N) ** 2, history=2)

    @ti.kernel
    def begin(self):
        for i in range(self.n):
            self.x[0, i] = self.h[i] ** 2

    def reset(self) -> None:
        if self.begins:
            self.begin()

    @ti.kernel
    def swing(self, t: ti.i32):
        for i in range(self.n):
            self.x[t + 1, i] = 2.0 * self.x[t, i] - self.x[t - 1, i] - 0.1 * ti.sin(self.x[t, i])

    def step(self, t: Any) -> None:
        self.swing(t)

    @ti.kernel
    def measure(self, t: ti.i32):
        for i in range(self.n):
            self.cost[None] += self.x[t, i] ** 2

    def terminal_cost(self, t: Any) -> None:
        self.measure(t)


@pytest.mark.parametrize("mode", ["step", "fused", "chunk"])
def test_reset_gives_the_past_too(runtime: Any, mode: str) -> None:
    x = [np.linspace(0.2, 1.0, N) ** 2] * 2
    for _ in range(STEPS):
        x.append(2.0 * x[-1] - x[-2] - 0.1 * np.sin(x[-1]))
    plain = ds.Rollout(Swinging(begins=False), steps=STEPS, mode=mode)
    written = ds.Rollout(Swinging(begins=True), steps=STEPS, mode=mode, window=3)
    for rollout in (plain, written):
        np.testing.assert_allclose(rollout.trajectory(rollout.sim.x), x[1:], rtol=1e-13)
    by_value = plain.value_and_grad(wrt=[plain.sim.x])[1]["x"]
    by_height = written.value_and_grad(wrt=[written.sim.h])[1]["h"]
    np.testing.assert_allclose(by_height, by_value * 2.0 * np.linspace(0.2, 1.0, N), rtol=1e-12)
    assert_gradient(written, [written.sim.h])
