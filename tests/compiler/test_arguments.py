"""What numbers become that a step passes to kernels: the values that Taichi makes of them."""

import numpy as np
import pytest
import taichi as ti

import diffsim as ds
from diffsim.errors import TraceError


class Taking(ds.Simulator):
    """One kernel with an argument of each kind."""

    def __init__(self, *args):
        self.x, self.p, self.args = ds.State(ds.real, 6, keep=False), ds.Param(2.0), args

    @ti.kernel
    def take(  # diffsim: allow PRECISION
        self, t: ti.i32, a: ti.f32, b: float, c: ti.f64, n: ti.i32, m: ti.i64, v: ti.types.vector(2, ti.f32)
    ):
        self.x[t + 1, 0] = self.p[None] * a
        self.x[t + 1, 1] = a * a + b // 2
        self.x[t + 1, 2] = b
        self.x[t + 1, 3] = c
        self.x[t + 1, 4] = n / 3 + m
        self.x[t + 1, 5] = v[1] * a

    @ti.kernel
    def last(self, t: ti.i32):
        self.cost[None] += self.x[t, 0]

    def step(self, t):
        self.take(t, *self.args)

    def terminal_cost(self, t):
        self.last(t)


class Warned(Taking):
    @ti.kernel
    def take(self, t: ti.i32, a: ti.f32, b: ti.f32, v: ti.types.vector(2, ti.f32)):
        self.x[t + 1, 0] = self.p[None] * a * b * v[0]


@ti.kernel
def in_taichi(
    out: ti.types.ndarray(),
    a: ti.f32,
    b: float,
    c: ti.f64,
    n: ti.i32,
    m: ti.i64,
    v: ti.types.vector(2, ti.f32),
):
    out[0] = 2.0 * a
    out[1] = a * a + b // 2
    out[2] = b
    out[3] = c
    out[4] = n / 3 + m
    out[5] = v[1] * a


def test_arguments_are_what_taichi_makes_of_them(runtime):
    args = (0.1, 3, 0.1, 5, 2**40, [0.1, 0.2])
    sim, expected = Taking(*args), np.zeros(6)
    in_taichi(expected, *args[:-1], ti.Vector(args[-1]))
    rollout = ds.Rollout(sim, steps=1)
    np.testing.assert_array_equal(rollout.trajectory(sim.x)[1], expected)
    cost, grads = rollout.value_and_grad()
    rollout.close()
    assert cost == 2.0 * np.float32(0.1)
    assert grads["p"] == np.float32(0.1)  # not 0.1, with 64 bits


def test_rounding_is_told(runtime):
    with pytest.warns(
        ds.GradientWarning, match=r"argument [av] of Warned.take should .* f64, got 0.1"
    ) as told:
        ds.plan(Warned(0.1, 0.5, [0.5, 0.1]), steps=1)
    assert [str(w.message).count("[PRECISION]") for w in told] == [1, 1]
    ds.plan(Warned(0.25, np.float32(0.1), np.array([0.5, 2.0])), steps=1)  # f32 holds them all


@pytest.mark.parametrize(
    ("place", "argument", "words"),
    [
        (3, 1.5, "argument n of Taking.take must be an integer, since it is annotated as i32, got 1.5"),
        (0, "a", "argument a of Taking.take must be a number, .* got 'a'"),
        (0, ds.Param(1.0), r"argument a .* must be a number, .* read the field in the kernel"),
        (5, [0.1], r"argument v of Taking.take must have shape \(2,\), as it is annotated, got \[0.1\]"),
        (3, 2**40, "integers must fit 32 bits"),
    ],
)
def test_arguments_that_do_not_fit(runtime, place, argument, words):
    args = [0.1, 3, 0.1, 5, 7, [0.1, 0.2]]
    args[place] = argument
    with pytest.raises(TraceError, match=words):
        ds.plan(Taking(*args), steps=1)


def test_arguments_are_counted(runtime):
    with pytest.raises(TraceError, match=r"its 7 argument\(s\), got 2; call it as take\(t, a, b") as caught:
        ds.plan(Taking(0.1), steps=1)
    assert "test_arguments.py" in str(caught.value)
