"""What the gradient of every simulator is held to: differences, checkpoints, modes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import diffsim as ds
from diffsim.language.simulator import Simulator


def assert_gradient(
    rollout: ds.Rollout, wrt: Any = None, directions: int = 3, tolerance: float = 1e-6
) -> None:
    """Compare with central differences along random directions, with forward mode and with mode `step`.

    Also asks for a gradient that is there: a check of zero against zero would pass.
    """
    _, grads = rollout.value_and_grad(wrt=wrt)
    for key, gradient in grads.items():
        assert np.abs(gradient).max() > 0.0, f"{key} has no gradient at all"
    report = rollout.check_grad(wrt, directions)
    assert report.passed or (report.verdict in ("right", "kink") and report.error <= tolerance), str(report)
    assert report.error <= tolerance, str(report)


def assert_same_when_checkpointed(
    make: Callable[[], Simulator], steps: int, wrt: Any = None, window: int | None = None
) -> None:
    """Compare a rollout in windows between checkpoints with one that stores everything, bit for bit."""
    whole = _outcome(make(), steps, wrt, window=steps, mode="fused")
    parts = _outcome(make(), steps, wrt, window=window or max(1, steps // 4), mode="fused")
    assert parts[0] == whole[0]
    for key, gradient in whole[1].items():
        assert np.abs(gradient).max() > 0.0, f"{key} has no gradient at all"
        np.testing.assert_array_equal(parts[1][key], gradient, err_msg=key)


def assert_modes_agree(
    make: Callable[[], Simulator], steps: int, wrt: Any = None, tolerance: float = 1e-9
) -> None:
    """Compare the modes `fused` and `chunk` with `step`, relative to the largest component."""
    cost, grads = _outcome(make(), steps, wrt, mode="step")
    for mode in ("fused", "chunk"):
        other_cost, other = _outcome(make(), steps, wrt, mode=mode)
        np.testing.assert_allclose(other_cost, cost, rtol=tolerance, err_msg=mode)
        for key, gradient in grads.items():
            scale = np.abs(gradient).max()
            assert scale > 0.0, f"{key} has no gradient at all"
            np.testing.assert_allclose(
                other[key], gradient, rtol=0, atol=tolerance * scale, err_msg=f"{mode} {key}"
            )


def assert_fused_is_step(sim: Simulator, wrt: Any, rtol: float, steps: int = 3) -> None:
    """Compare mode `fused` with `step`, number by number, and with central differences.

    Args:
        sim: The simulator; both modes run this one.
        wrt: One of its fields.
        rtol: How far each component of the gradient may be off; of the cost, a tenth of it.
        steps: Time steps.
    """
    found = {}
    for mode in ("step", "fused"):
        rollout = ds.Rollout(sim, steps=steps, mode=mode)
        found[mode] = rollout.value_and_grad([wrt])
        if mode == "fused":
            report = rollout.check_grad([wrt], components=6)
            assert report.passed, report
        rollout.close()
    (want, gradients), (cost, fused) = found["step"], found["fused"]
    np.testing.assert_allclose(cost, want, rtol=0.1 * rtol)
    assert fused.keys() == gradients.keys()
    for key, gradient in gradients.items():
        np.testing.assert_allclose(fused[key], gradient, rtol=rtol, atol=1e-14, err_msg=key)


def differences(
    function: Callable[[dict[str, Any]], float], values: dict[str, Any], size: float = 1e-5
) -> dict[str, Any]:
    """Return the gradient of a function of arrays by key, by central differences.

    Args:
        function: Takes arrays like `values`.
        values: Where.
        size: Of the step.
    """
    found = {key: np.zeros_like(value) for key, value in values.items()}
    for key, value in values.items():
        for place in np.ndindex(value.shape):
            ends = []
            for shift in (size, -size):
                moved = value.copy()
                moved[place] += shift
                ends.append(function(values | {key: moved}))
            found[key][place] = (ends[0] - ends[1]) / (2.0 * size)
    return found


def _outcome(sim: Simulator, steps: int, wrt: Any, **options: Any) -> tuple[Any, dict[str, Any]]:
    """Return cost and gradients by key; `wrt` may be a function of the simulator."""
    rollout = ds.Rollout(sim, steps=steps, **options)
    try:
        return rollout.value_and_grad(wrt=wrt(sim) if callable(wrt) else wrt)
    finally:
        rollout.close()
