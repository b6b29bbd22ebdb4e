"""Table G, f32: rows of the other tables in 32 bits, against differences of plain Python in 64 bits."""

import numpy as np
import pytest
from traps import test_carried, test_loops, test_matrices, test_vectors
from traps.harness import STEPS, N, gradients_of, load, plain_values, program

import diffsim as ds

NAMES = """
A3-value-before-loop A4-exp-in-an-accumulating-loop A4-clamped-torque-in-a-time-loop A6-carried-100-trips
A7-conditional-carry A8-loop-in-both-branches A5-normalised-recurrence A5-force-accumulated-and-divided
A10-load-and-store E-inverse-3d
""".split()
ROWS = [
    one
    for one in [*test_loops.ROWS, *test_carried.ROWS, *test_vectors.ROWS, *test_matrices.ROWS]
    if one.name in NAMES
]
KEYS = ["w", "a", "b", "v", "q", "m"]


@pytest.fixture(scope="module")
def precision():
    return 32


@pytest.fixture(scope="module")
def measured(runtime, tmp_path_factory):
    text = program(ROWS, test_loops.HELPERS)
    simulator = load(text, tmp_path_factory.mktemp("single")).Program()
    rollout = ds.Rollout(simulator, steps=STEPS, mode="fused")
    yield simulator, gradients_of(rollout, simulator, ROWS, KEYS)
    rollout.close()


@pytest.mark.compilers
@pytest.mark.parametrize("one", ROWS, ids=lambda one: f"G-f32-{one.name}")
def test_row_in_32_bits(measured, one):
    simulator, gradients = measured
    k, rng = ROWS.index(one), np.random.default_rng(0)
    weights = simulator.weights.numpy()[k]
    for key in KEYS:
        direction = rng.normal(size=gradients[k][key].shape)
        ends = [
            plain_values(one, simulator, k, test_loops.HELPERS, {key: sign * 1e-5 * direction})
            for sign in (1, -1)
        ]
        difference = float(np.sum(weights * (ends[0] - ends[1]))) / 2e-5
        parts = gradients[k][key] * direction
        assert gradients[k][key].shape[0] == N
        scale = float(np.sqrt(np.sum(parts**2))) + abs(difference) + 1e-4
        assert abs(float(np.sum(parts)) - difference) < 1e-3 * scale, key
