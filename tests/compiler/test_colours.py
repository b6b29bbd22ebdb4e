"""Loops side by side that read places of another colour than they write, as red-black sweeps do."""

import numpy as np
import pytest
import taichi as ti

import diffsim as ds
from diffsim.errors import GradientError

RNG = np.random.default_rng(4)


class RedBlack(ds.Simulator):
    """A sweep whose iterations read places of the other colour only, where the grid is even."""

    def __init__(self, n):
        self.n = n
        self.p = ds.State(ds.real, n, n, init=RNG.normal(size=(n, n)))
        self.a = ds.Param(np.array(0.24))

    @ti.kernel
    def round(self, colour: ti.template()):
        for i, j in self.p:
            if (i + j) % 2 == colour:
                beside = self.p[(i + 1) % self.n, j] + ti.sin(self.p[(i - 1 + self.n) % self.n, j])
                self.p[i, j] = self.a[None] * (beside + self.p[i, (j + 1) % self.n])

    @ti.kernel
    def inside(self, colour: ti.i32):
        for i, j in ti.ndrange((1, self.n - 1), (1, self.n - 1)):
            if (i + j + 1) & 1 != colour and i > 0:
                self.p[i, j] = self.a[None] * (self.p[i + 1, j] * self.p[i - 1, j] + self.p[i, j - 1])

    def step(self, t):
        for colour in range(2):
            self.round(colour)
            self.inside(colour)

    @ti.kernel
    def pay(self):
        for i, j in self.p:
            self.cost[None] += (i + 1.0) * self.p[i, j] ** 2

    def terminal_cost(self, t):
        self.pay()


def test_colours_tell_places_apart(runtime):
    sim = RedBlack(6)
    rollout = ds.Rollout(sim, steps=3)
    p = sim.p.numpy()
    for _ in range(3):
        for colour in range(2):
            for i, j in np.ndindex(6, 6):
                if (i + j) % 2 == colour:
                    p[i, j] = 0.24 * (p[(i + 1) % 6, j] + np.sin(p[i - 1, j]) + p[i, (j + 1) % 6])
            for i, j in np.ndindex(4, 4):
                if (i + j) % 2 == colour:
                    p[i + 1, j + 1] = 0.24 * (p[i + 2, j + 1] * p[i, j + 1] + p[i + 1, j])
    np.testing.assert_allclose(rollout.value(), ((np.arange(6) + 1)[:, None] * p**2).sum(), rtol=1e-13)
    assert rollout.check_grad(["a", "p"]).passed
    with pytest.raises(GradientError, match="run side by side"):  # around an odd grid, colours meet
        ds.plan(RedBlack(7), steps=3)
