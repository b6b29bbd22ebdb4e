"""Small simulators that tests of the modes share: each uses all that a mode has to get right."""

import numpy as np
import taichi as ti

import diffsim as ds


class Chain(ds.Simulator):
    """A chain of points with memory: two past steps, a Scratch summed into, time as a number, controls.

    Args:
        n: Points.
        per_world: Whether stiffness, pull, masses and the start are each world's own; damping is shared.
    """

    def __init__(self, n=5, per_world=False):
        rng = np.random.default_rng(7)
        self.n = n
        self.x = ds.State(ds.vec2, n, init=rng.normal(size=(n, 2)), history=2, per_world=per_world)
        self.force = ds.Scratch(ds.vec2, n)
        self.k = ds.Param(rng.uniform(0.5, 1.0, size=n), per_world=per_world)
        self.damping = ds.Param(np.array([0.3, 0.1]))
        self.u = ds.Control(ds.real, 2, per_world=per_world)
        self.mass = ds.Constant(rng.uniform(1.0, 2.0, size=n), per_world=per_world)
        self.next = ds.Constant((np.arange(n) + 1) % n)

    @ti.kernel
    def pull(self, t: ti.i32):
        for i in range(self.n):
            f = self.k[i] * (self.x[t, self.next[i]] - self.x[t, i]) + self.u[t, i % 2]
            self.force[t, i] += f
            self.force[t, self.next[i]] -= f * ti.cos(0.3 * t)

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(self.n):
            drag = self.damping[i % 2] * (self.x[t, i] - self.x[t - 1, i])
            push = 0.05 * self.force[t, i] / self.mass[i]
            self.x[t + 1, i] = 2 * self.x[t, i] - self.x[t - 1, i] + push - drag

    def step(self, t):
        self.pull(t)
        self.move(t)

    @ti.kernel
    def along(self, t: ti.i32):
        for i in range(self.n):
            self.cost[None] += 0.01 * t * self.x[t, i].norm_sqr() + self.u[t, 0] ** 2

    def running_cost(self, t):
        self.along(t)

    @ti.kernel
    def at_end(self, t: ti.i32):
        for i in range(self.n):
            self.cost[None] += self.x[t, i][0] ** 3

    def terminal_cost(self, t):
        self.at_end(t)


KEYS = ["k", "damping", "u", "x"]


def assert_near(found, want, tolerance=1e-12):
    """Compare (cost, gradients) with (cost, gradients), each on its own scale."""
    np.testing.assert_allclose(found[0], want[0], rtol=tolerance)
    assert found[1].keys() == want[1].keys()
    for key, gradient in want[1].items():
        np.testing.assert_allclose(
            found[1][key], gradient, rtol=0, atol=tolerance * np.max(np.abs(gradient)), err_msg=key
        )
