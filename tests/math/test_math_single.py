"""ds.math in single precision, against NumPy in double: matrices, repeated values, singular points."""

import numpy as np
import pytest
import taichi as ti
from decompositions import COUNT, INVARIANT, NAMES, REFERENCE, Decompositions, filled, matrices, referred

import diffsim as ds


@pytest.fixture(scope="module")
def precision() -> int:
    return 32


@pytest.fixture(scope="module")
def rollout(runtime):
    made = ds.Rollout(Decompositions(3), 1, mode="step")
    yield made
    made.close()


def compared(rollout, A, names, tolerance):
    rollout.sim.A.set(A)
    gradient = rollout.value_and_grad(["A"])[1]["A"]
    f = np.array(rollout.trajectory(rollout.sim.f)[-1])
    assert np.isfinite(gradient).all()
    for name in names:
        k = NAMES.index(name)
        value, slopes = referred(A[k], rollout.sim.w.numpy().astype(float), name)
        np.testing.assert_allclose(f[k], value, atol=3e-6 * max(1.0, np.max(np.abs(value))), err_msg=name)
        size = max(1.0, np.max(np.abs(slopes)))
        np.testing.assert_allclose(gradient[k], slopes, atol=tolerance * size, err_msg=name)


def test_ordinary_matrices(rollout):
    compared(rollout, filled(rollout), REFERENCE, 2e-5)


@pytest.mark.parametrize(
    "spread", [[1.0, 1.0, 1.0], [1.5, 1.5, 0.4], [1.5, 1.5 + 1e-6, 0.4], [1.2, 0.9, 0.0]]
)
def test_invariant_functions_at_repeated_and_vanishing_values(rollout, spread):
    A = filled(rollout)
    for name in INVARIANT:
        A[NAMES.index(name)] = matrices(3, spread, seed=2, same="eigen" in name)
    compared(rollout, A, INVARIANT, 2e-3)  # values are taken apart by the root of the rounding error, 3e-4


def test_products_at_zero_and_at_tiny_matrices(rollout):
    A = filled(rollout)
    A[NAMES.index("product")] = 0.0
    A[NAMES.index("rotation")] = matrices(3, [1e-12, 0.7e-12, 0.4e-12], seed=2)
    A[NAMES.index("eigen sum")] = 0.0
    rollout.sim.A.set(A)
    gradient = rollout.value_and_grad(["A"])[1]["A"]
    w = np.tile(rollout.sim.w.numpy(), (COUNT, 1, 1))
    np.testing.assert_allclose(gradient[NAMES.index("product")], w, atol=1e-5)
    np.testing.assert_allclose(gradient[NAMES.index("eigen sum")], 0.0, atol=1e-15)
    assert np.isfinite(gradient).all()


class Points(ds.Simulator):
    """Scalar functions at their singular points."""

    def __init__(self):
        self.x = ds.Param(ds.real, 8)
        self.v = ds.Param(ds.vec3)

    @ti.kernel
    def go(self, t: ti.i32):
        for i in range(1):
            self.cost[None] += ds.math.sqrt(self.x[0]) + ds.math.asin(self.x[1]) + ds.math.acos(self.x[2])
            self.cost[None] += ds.math.safe_div(1.0, self.x[3]) + ds.math.atan2(self.x[4], 0.0)
            self.cost[None] += ds.math.pow(self.x[5], 0.5) + ds.math.max(self.x[6], 0.0)
            self.cost[None] += ds.math.norm(self.v[None]) + ds.math.normalized(self.v[None])[0]
            self.cost[None] += ti.select(self.x[7] > 0.0, ti.log(self.x[7]), self.x[7])

    def step(self, t):
        self.go(t)


def test_scalar_functions_at_singular_points(runtime):
    simulator = Points()
    rollout = ds.Rollout(simulator, 1)
    simulator.x.set(np.array([0.0, 1.0, -1.0, 0.0, 0.0, 0.0, 0.0, 0.0]))
    _, grads = rollout.value_and_grad(["x", "v"])
    np.testing.assert_array_equal(grads["x"], [0, 0, 0, 0, 0, 0, 0.5, 1])
    np.testing.assert_array_equal(grads["v"], np.zeros(3))
    rollout.close()
