"""Literals of another precision than the program's."""

import numpy as np
import pytest
import taichi as ti

import diffsim as ds


class Tenth(ds.Simulator):
    def __init__(self):
        self.x = ds.State(ds.real, 2, init=[1e9, -2e9])

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(2):
            wide = ti.cast(self.x[t, i], ti.f64)
            self.x[t + 1, i] = wide * ti.f64(0.1) - wide * ti.f64(-0.25) - 0.35 * wide + 1.0

    def step(self, t):
        self.move(t)

    @ti.kernel
    def total(self, t: ti.i32):
        for i in range(2):
            self.cost[None] += self.x[t, i]

    def terminal_cost(self, t):
        self.total(t)


@pytest.fixture(scope="module")
def precision():
    return 32


@pytest.mark.parametrize("mode", ["step", "fused"])
def test_literals_keep_their_digits_where_a_program_of_f32_computes_in_f64(runtime, mode):
    sim = Tenth()
    rollout = ds.Rollout(sim, steps=1, mode=mode)
    got = rollout.trajectory(sim.x)[1]
    rollout.close()
    # with the digits of f32, 0.1 and 0.35 would leave 8.45 and -13.9; 2e9 rounds at 2e-7 in f64
    np.testing.assert_allclose(got, [1.0, 1.0], atol=1e-6)
