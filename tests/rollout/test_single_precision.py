"""The same programs in 32 bits: modes agree to rounding, and the check passes with its wider tolerance."""

import numpy as np
import pytest
import taichi as ti

import diffsim as ds
from diffsim.kernels.mass_spring import MassSpring


@pytest.fixture(scope="module")
def precision():
    return 32


@pytest.fixture(scope="module")
def robot(runtime):
    return MassSpring(1)


@pytest.mark.parametrize("steps", [60, 682])
def test_fused_against_step(robot, steps):
    cost, grads = ds.Rollout(robot, steps=steps, mode="fused").value_and_grad([robot.policy])
    want, reference = ds.Rollout(robot, steps=steps, mode="step").value_and_grad([robot.policy])
    assert cost == pytest.approx(want, rel=1e-5)
    for key, gradient in reference.items():
        assert gradient.dtype == np.float32
        scale = np.max(np.abs(gradient))
        np.testing.assert_allclose(grads[key], gradient, rtol=0, atol=1e-4 * scale, err_msg=key)


@pytest.mark.cpu
def test_windows_are_bit_equal(robot):
    cost, grads = ds.Rollout(robot, steps=60, window=13).value_and_grad([robot.policy])
    want, reference = ds.Rollout(robot, steps=60).value_and_grad([robot.policy])
    assert cost == want
    for key, gradient in reference.items():
        np.testing.assert_array_equal(grads[key], gradient, err_msg=key)


def test_check_grad_has_a_wider_tolerance(robot):
    report = ds.Rollout(robot, steps=30).check_grad([robot.policy], directions=2)
    assert report.tolerance == 2e-2
    assert report.passed, str(report)


class Steep(ds.Simulator):
    """x' = a x."""

    def __init__(self):
        self.x = ds.State(ds.real, 3, init=[1.0, 2.0, 3.0])
        self.a = ds.Param([1.0])

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(3):
            self.x[t + 1, i] = self.a[0] * self.x[t, i]

    @ti.kernel
    def last(self, t: ti.i32):
        for i in range(3):
            self.cost[None] += self.x[t, i]

    def step(self, t):
        self.move(t)

    def terminal_cost(self, t):
        self.last(t)


def test_gradient_health(runtime):
    rollout = ds.Rollout(Steep(), steps=30)
    rollout.sim.a.set(1e-3)
    health = rollout.health()
    norms = health.adjoint_norms[-10:]  # their squares would leave the range of 32 bits
    np.testing.assert_allclose(norms, np.sqrt(3.0) * 1e-3 ** np.arange(9.0, -1.0, -1.0), rtol=1e-5)
    assert health.epsilon == np.finfo(np.float32).eps
    assert health.vanishes
    rollout.sim.a.set(4.0)
    assert rollout.health().horizon == 11  # 23 bits, two of them lost in each step
    rollout.sim.a.set(-1.0)
    rollout.sim.x.set([1.0, np.inf, 1.0])
    with pytest.raises(ds.StateError, match=r"the initial value of State x must be finite .* index \[1\]"):
        rollout.value_and_grad(debug="nan")
