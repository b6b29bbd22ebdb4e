"""Fronts against closed forms, what is kept, and the dense program against the sparse one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from simulator_checks import assert_gradient
from sweeps import FULL

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
    """The sharp wave of D = r = 1 has the speed 1 / sqrt(2). Its kink costs a part of the second order."""
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
    assert np.log2(errors[0] / errors[-1]) / 2.0 > 1.6, errors


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


# ---- gradients, and the dense program against the sparse one ----

CONFIG = FrontConfig(shape=(26, 21), spacing=0.5, plots=3, least=1e-3)
STEPS = 24


def colonies(layout: Any = None, config: FrontConfig = CONFIG) -> Front:
    """Return two colonies, one of them at the rim, and a third that bait wipes out."""
    rng = np.random.default_rng(0)
    effort = rng.uniform(0.1, 0.4, (3, 3))
    effort[2, 0] = 4.0
    worth = rng.uniform(0.5, 1.5, config.shape)
    return Front(
        config,
        seeds=[[4.1, 4.0], [0.4, 8.8], [11.0, 1.6]],
        radius=[1.3, 1.2, 1.1],
        height=[0.9, 0.8, 0.5],
        worth=worth,
        rate=rng.uniform(0.3, 1.0, (3, 3)),
        effort=effort,
        price=0.3,
        layout=layout,
    )


def wanted(sim: Front) -> list[Any]:
    return [sim.seeds, sim.height, sim.rate, sim.effort, sim.diffusion]


def outcome(sim: Front, **options: Any) -> tuple[Any, dict[str, Array]]:
    """Return the cost and its gradients; with worlds, each has seeds of its own."""
    rollout = ds.Rollout(sim, steps=STEPS, **options)
    if rollout.worlds > 1:
        shift = np.linspace(0.0, 1.5, rollout.worlds)[:, None, None]
        sim.seeds.set(np.array([[4.1, 4.0], [0.4, 8.8], [11.0, 1.6]]) + shift * np.array([0.7, -0.4]))
    try:
        return rollout.value_and_grad(wanted(sim))
    finally:
        rollout.close()


def assert_alike(one: tuple[Any, dict[str, Array]], two: tuple[Any, dict[str, Array]]) -> None:
    np.testing.assert_allclose(one[0], two[0], rtol=1e-12)
    for key, gradient in one[1].items():
        scale = np.abs(gradient).max()
        assert scale > 0.0, key
        np.testing.assert_allclose(two[1][key], gradient, rtol=0, atol=1e-11 * scale, err_msg=key)


def test_gradients_agree_with_differences(runtime: Any) -> None:
    sim = colonies(ds.sparse())
    assert_gradient(ds.Rollout(sim, steps=STEPS, mode="fused"), wanted(sim))


def test_sparse_is_dense(runtime: Any) -> None:
    """In all modes, in windows between checkpoints, and in worlds that differ."""
    dense = outcome(colonies(), mode="fused")
    ways: list[dict[str, Any]] = [{"mode": "fused", "window": 7}, {"mode": "step"}]
    for options in [*ways, *([{"mode": "chunk", "window": 12}] if FULL else [])]:
        assert_alike(dense, outcome(colonies(ds.sparse(block=4)), **options))
    several = outcome(colonies(), mode="fused", worlds=3)
    assert np.ptp(several[0]) > 0.1
    assert_alike(several, outcome(colonies(ds.sparse(block=2)), mode="fused", worlds=3, window=11))


def test_blocks_follow_the_population(runtime: Any) -> None:
    """Active is what holds something: blocks come with the front, and go where bait leaves nothing."""
    sim = colonies(ds.sparse(block=4))
    rollout = ds.Rollout(sim, steps=STEPS, mode="fused")
    u = np.zeros((STEPS + 1, 28, 24))
    u[:, :26, :21] = rollout.trajectory(sim.u, every=1)
    held = (u.reshape(-1, 7, 4, 6, 4) != 0.0).any(axis=(2, 4))
    active = np.asarray(rollout.occupancy()["blocks of u"])
    np.testing.assert_array_equal(active, held.sum(axis=(1, 2)))
    assert (held[1:] & ~held[:-1]).any(axis=(1, 2)).sum() > 2
    assert (held[:-1] & ~held[1:]).any()
    assert held[0, 5, 0]
    assert not held[-1, 5:, 0].any()


def test_nothing_jumps_where_a_block_becomes_active(runtime: Any) -> None:
    """A seed is moved to just before and just behind the place from which another block is reached."""
    sim = colonies(ds.sparse(block=4))
    rollout = ds.Rollout(sim, steps=STEPS, mode="fused")
    places = sim.seeds.numpy()

    def at(x: float) -> tuple[int, float, float]:
        moved = places.copy()
        moved[0, 0] = x
        sim.seeds.set(moved)
        cost, grads = rollout.value_and_grad([sim.seeds])
        return int(np.asarray(rollout.occupancy()["blocks of u"]).sum()), cost, grads["seeds"][0, 0]

    low, high = 4.1, 5.4
    first = at(low)[0]
    assert at(high)[0] != first
    while high - low > 2e-6:
        middle = 0.5 * (low + high)
        low, high = (middle, high) if at(middle)[0] == first else (low, middle)
    (fewer, before, left), (more, after, right) = at(low), at(high)
    assert fewer != more
    assert left == pytest.approx(right, rel=1e-4)
    assert (after - before) / (high - low) == pytest.approx(left, rel=1e-4)


def test_a_front_in_space(runtime: Any) -> None:
    """The same kernels in three dimensions, in a domain that has no room elsewhere; some cells count."""
    found = []
    for cells, layout in ((24, None), (512, ds.sparse(block=4))):
        shift = (cells - 24) // 2
        sim = Front(
            FrontConfig(shape=(cells,) * 3, spacing=0.5),
            seeds=[0.5 * shift + np.array([6.0, 6.2, 5.7])],
            radius=1.6,
            worth=ds.Cells(shift + np.array([[12, 12, 11], [9, 11, 12]]), [2.0, 1.0]),
            layout=layout,
        )
        rollout = ds.Rollout(sim, steps=4, mode="fused")
        found.append(rollout.value_and_grad([sim.rate, sim.seeds]))
    assert_alike(*found)


# ---- arguments ----


def test_what_is_wrong_is_said() -> None:
    with pytest.raises(ConfigError, match=r"FrontConfig.dt must be at most 1 / .* = 0\.0588235 .* got 0\.1;"):
        FrontConfig(dt=0.1)
    with pytest.raises(ConfigError, match=r"FrontConfig.shape must have one to three axes"):
        FrontConfig(shape=(4, 4, 4, 4))
    with pytest.raises(ConfigError, match="Front must get seeds or a first density, got both"):
        Front(seeds=[[1.0, 1.0]], first=np.zeros((128, 128)))
    with pytest.raises(ConfigError, match=r"Front seeds must be of shape \(m, 2\), got \(2,\)"):
        Front(seeds=[1.0, 1.0])
    with pytest.raises(ConfigError, match=r"Front height must be from 0 to 1, got 1\.5"):
        Front(height=1.5)
    with pytest.raises(ConfigError, match=r"Front radius must be positive, got 0\.0"):
        Front(radius=0.0)
    with pytest.raises(ConfigError, match=r"Front rate must be stable, got 9: dt is 0\.0470588"):
        Front(rate=9.0)
