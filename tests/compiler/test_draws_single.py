"""Random numbers in single precision: the first bits of those in double, in registers of worlds."""

import numpy as np
import pytest
import taichi as ti

import diffsim as ds

STEPS, WORLDS, N = 4, 17, 5


@pytest.fixture(scope="module")
def precision():
    return 32


class Walk(ds.Simulator):
    """Random walks, some of which jump."""

    def __init__(self):
        self.x, self.p = ds.State(ds.real, N), ds.Param(np.array(0.5))
        self.u, self.z = ds.Scratch(ds.real, N), ds.Scratch(ds.real, N)

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(N):
            self.u[t, i], self.z[t, i] = ds.random(t, i, stream=1), ds.randn(t, i, stream=1)
            x = self.x[t, i] + self.p[None] * self.z[t, i]
            if self.u[t, i] < 0.3:
                x *= self.u[t, i]
            self.x[t + 1, i] = x

    def step(self, t):
        self.move(t)

    @ti.kernel
    def end(self, t: ti.i32):
        for i in range(N):
            self.cost[None] += self.x[t, i] ** 2

    def terminal_cost(self, t):
        self.end(t)


def test_the_first_bits(runtime):
    """In worlds whose last register is not full; and the check, which is in double, meets the same noise."""
    sim = Walk()
    t, w, i = np.ogrid[:STEPS, :WORLDS, :N]
    u, z = (draw(t, i, stream=1, world=w) for draw in (ds.random, ds.randn))
    with ds.Rollout(sim, steps=STEPS, worlds=WORLDS, mode="fused") as rollout:
        frames = rollout.trajectories([sim.u, sim.z])
        np.testing.assert_array_equal(frames["u"], np.floor(u * 2**24) / 2**24)
        np.testing.assert_allclose(frames["z"], z, rtol=1e-4, atol=1e-5)
        cost, grads = rollout.value_and_grad()
    x = np.zeros((WORLDS, N))
    for k in range(STEPS):
        x = (x + 0.5 * z[k]) * np.where(u[k] < 0.3, u[k], 1.0)
    np.testing.assert_allclose(cost, np.sum(x**2, axis=1), rtol=1e-4)
    np.testing.assert_allclose(grads["p"], 4.0 * np.sum(x**2), rtol=1e-4)  # it is quadratic in p
    with ds.Rollout(sim, steps=STEPS) as rollout:
        assert rollout.check_grad(directions=2).passed
