"""Fronts against closed forms, what is kept, and the dense program against the sparse one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from simulator_checks import assert_gradient

import diffsim as ds
from diffsim.errors import ConfigError
from diffsim.kernels.front import Front, FrontConfig

Array = NDArray[np.float64]


def last(sim: Front, steps: int) -> Array:
    """Return the density after so many steps."""
    rollout = ds.Rollout(sim, steps=steps, mode="fused")
    found: Array = np.asarray(rollout.trajectory(sim.u, every=steps))[-1]
    rollout.close()
    return found


# ---- closed forms ----


def wave(x: Array, edge: float) -> Array:
    """Return the profile of the sharp travelling wave whose edge is at a place."""
    return np.asarray(1.0 - np.exp(np.minimum(0.0, x - edge) / math.sqrt(2.0)))


def test_a_front_travels_as_it_should(runtime: Any) -> None:
    """The sharp wave of D = r = 1 has the speed 1 / sqrt(2); errors fall with the square of the spacing."""
    time, begin, errors = 6.0, 6.0, []
    for h in (0.5, 0.25, 0.125):
        n = round(20.0 / h)
        steps = math.ceil(time / FrontConfig(shape=(n,), spacing=h).time_step)
        config = FrontConfig(shape=(n,), spacing=h, dt=time / steps)
        x = h * (np.arange(n) + 0.5)
        u = last(Front(config, first=wave(x, begin)), steps)
        errors.append(h * np.abs(u - wave(x, begin + time / math.sqrt(2.0))).sum())
        assert u.min() >= 0.0
        assert u.max() <= 1.0
    assert errors[-1] < 0.02
    assert np.log2(errors[0] / errors[-1]) / 2.0 == pytest.approx(2.0, abs=0.3), errors


def barenblatt(config: FrontConfig, time: float) -> Array:
    """Return what spreads without growing from a point in the middle: a paraboloid that flattens."""
    dim = len(config.shape)
    axes = [config.spacing * (np.arange(n) + 0.5 - 0.5 * n) for n in config.shape]
    square = np.sum(np.square(np.meshgrid(*axes, indexing="ij")), axis=0)
    inner = 0.9 - square / (4.0 * (dim + 2)) * time ** (-2.0 / (dim + 2))
    return np.asarray(time ** (-dim / (dim + 2)) * np.maximum(0.0, inner))


@pytest.mark.parametrize(("shape", "h", "off"), [((48, 48), 0.25, 0.003), ((22, 22, 22), 0.5, 0.012)])
def test_what_does_not_grow_flattens_as_barenblatt_says(
    runtime: Any, shape: tuple[int, ...], h: float, off: float
) -> None:
    """Time runs at D / 2 of his; nothing is lost."""
    config = FrontConfig(shape=shape, spacing=h, rate=0.0)
    steps = round(4.0 / config.time_step)
    first = barenblatt(config, 1.0)
    u = last(Front(config, first=first, layout=ds.sparse()), steps)
    exact = barenblatt(config, 1.0 + 0.5 * steps * config.time_step)
    assert np.abs(u - exact).sum() < off * exact.sum()
    assert u.sum() == pytest.approx(first.sum(), rel=1e-13)
