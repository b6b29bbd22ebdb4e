"""tanh of f32, written as arithmetic for Taichi's compiler: its errors there, and where it is used."""

import numpy as np
import pytest
import taichi as ti

import diffsim as ds
from diffsim.compiler.codegen.fused import fused_forward
from diffsim.compiler.codegen.layout import Layout
from diffsim.compiler.program.program import lower_program
from diffsim.language.trace import trace

N = 1 << 16


class Squashed(ds.Simulator):
    """The state, squashed; with a cost whose gradient is the derivative."""

    def __init__(self, values: np.ndarray) -> None:
        self.x = ds.State(ds.real, values.size, init=values)
        self.shift = ds.Constant(np.zeros_like(values))

    @ti.kernel
    def squash(self, t: ti.i32):
        for i in range(N):
            self.x[t + 1, i] = ti.tanh(self.x[t, i] - self.shift[i])

    @ti.kernel
    def add(self, t: ti.i32):
        for i in range(N):
            self.cost[None] += self.x[t, i]

    def step(self, t):
        self.squash(t)

    def terminal_cost(self, t):
        self.add(t)


@pytest.fixture(scope="module")
def precision() -> int:
    return 32


@pytest.fixture(scope="module")
def numbers() -> np.ndarray:
    """Normal numbers of f32 of all sizes, most of them where tanh is neither x nor 1."""
    every = np.arange(0x00800000, 0x7F800000, 4 * 16273, dtype=np.int64).astype(np.uint32).view(np.float32)
    near = np.random.default_rng(5).uniform(0, 10, N // 2 - every.size).astype(np.float32)
    half = np.concatenate([every, near])
    return np.concatenate([half, -half])


@pytest.fixture(scope="module", params=["step", "fused"])
def squashed(runtime, numbers, request):
    sim = Squashed(numbers)
    made = ds.Rollout(sim, steps=1, mode=request.param)
    yield sim, made
    made.close()


def test_the_error_is_within_the_bound(squashed, numbers):
    from benchmarks.functions import ulps

    sim, rollout = squashed
    got = rollout.trajectory(sim.x)[1]
    error = ulps(got, np.tanh(numbers.astype(np.longdouble)))
    worst = int(np.argmax(error))
    assert error[worst] <= 0.55, numbers[worst]
    assert np.abs(got).max() == 1
    _, grads = rollout.value_and_grad([sim.x])
    np.testing.assert_allclose(grads["x"], 1 - got.astype(np.float64) ** 2, atol=1.2e-7)


def test_special_values_are_those_of_c(squashed, numbers):
    sim, rollout = squashed
    given, shift = numbers.copy(), np.zeros_like(numbers)
    for first in (0, N - 8):
        given[first : first + 8] = [np.inf, -np.inf, np.inf, -np.inf, 0.0, -0.0, 3e38, -3e38]
        shift[first : first + 2] = [np.inf, -np.inf]
    sim.x.set(given)
    sim.shift.set(shift)
    got = rollout.trajectory(sim.x)[1]
    sim.x.set(numbers)
    sim.shift.set(np.zeros_like(numbers))
    want = np.array([np.nan, np.nan, 1.0, -1.0, 0.0, -0.0, 1.0, -1.0])
    for first in (0, N - 8):
        np.testing.assert_array_equal(got[first : first + 8], want)
        np.testing.assert_array_equal(np.signbit(got[first + 2 : first + 8]), np.signbit(want[2:]))


@pytest.mark.parametrize(
    ("real", "world_last", "native", "written"),
    [
        ("f32", False, False, True),
        ("f32", False, True, False),  # for a compiler that has its own
        ("f32", True, False, False),  # for GPUs
        ("f64", False, False, False),
    ],
)
def test_where_it_is_written_as_arithmetic(real, world_last, native, written):
    lowered = lower_program(trace(Squashed(np.zeros(N))), real, 1)
    layout = Layout(1, 1, 1, 1, lowered.history, 1, world_last)
    text = fused_forward(lowered, layout, real, native).source
    assert ("ti.tanh" in text) is not written
    assert ("ti.f64(9.25)" in text) is written
