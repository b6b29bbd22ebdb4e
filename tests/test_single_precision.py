"""The same programs in 32 bits: modes agree to rounding, and the check passes with its wider tolerance."""

import numpy as np
import pytest

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
