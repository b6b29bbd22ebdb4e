"""Smoke in open air: dense against sparse, against the closed box, and its gradients."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import diffsim as ds
from diffsim.errors import ConfigError, StateError
from diffsim.kernels.smoke import Smoke, SmokeConfig, picture

N, TILE, STEPS = 40, 8, 5
WRT = ["u", "v", "density"]
Array = NDArray[np.float64]


def make(layout: Any = None, advection: str = "semi-lagrangian") -> Smoke:
    """Make a puff that flies from one corner into tiles that are closed at first; along y it is at rest."""
    config = SmokeConfig(n=N, tile=TILE, sweeps=12, dt=0.05, buoyancy=2.0, advection=advection)
    rng = np.random.default_rng(0)
    density, u, v = np.zeros((N, N)), np.zeros((N + 1, N)), np.zeros((N, N + 1))
    density[1:8, 1:8] = rng.uniform(0.5, 1.0, (7, 7))
    u[1:12, :10] = 0.7 + 0.4 * rng.normal(size=(11, 10))
    target = picture(config, "disc", area=0.05, center=(0.4, 0.2), edge=0.2)
    return Smoke(config, (u, v), density, target, layout)


def outcome(sim: Smoke, **options: Any) -> tuple[Array, float, dict[str, Array], ds.Rollout]:
    rollout = ds.Rollout(sim, steps=STEPS, **options)
    cost, grads = rollout.value_and_grad(WRT)
    return np.asarray(rollout.trajectory(sim.density)), cost, grads, rollout


@pytest.fixture(scope="module")
def dense(runtime: Any) -> tuple[Array, float, dict[str, Array], ds.Rollout]:
    return outcome(make(), mode="step")


def test_gradients_against_differences(dense: Any) -> None:
    report = dense[3].check_grad(WRT, 2)
    assert report.error < 1e-6, str(report)


def test_a_sparse_grid_makes_the_same_numbers(dense: Any) -> None:
    """While tiles open, in windows of two steps, in two worlds; gradients in all cells of the box."""
    frames, cost, grads, _ = dense
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sim = make(ds.sparse(block=TILE))
        other, value, found, rollout = outcome(sim, mode="step", window=2, worlds=2)
    np.testing.assert_allclose(value, [cost, cost], rtol=1e-12)
    for world in range(2):
        np.testing.assert_allclose(other[:, world], frames, rtol=0, atol=1e-13)
    for key, gradient in grads.items():
        scale = np.abs(gradient).max()
        assert scale > 0.0
        whole = found[key].dense(gradient.shape)
        np.testing.assert_allclose(whole, 2.0 * gradient, rtol=0, atol=1e-11 * scale)
    count = np.asarray(rollout.occupancy()["blocks of density"])
    assert count.min() < count.max() < 25
    rollout.close()


def test_many_sweeps_project(runtime: Any) -> None:
    """No divergence in open tiles, nothing in closed ones; what is taken is orthogonal to what is left."""
    like = make()
    sim = Smoke(
        SmokeConfig(n=N, tile=TILE, sweeps=1200, dt=0.05, advection="semi-lagrangian"),
        (like.u.numpy(), like.v.numpy()),
        like.density.numpy(),
    )
    rollout = ds.Rollout(sim, steps=1, mode="step")
    found = rollout.trajectories({"u": sim.u_free, "v": sim.v_free})
    u, v = found["u"][0], found["v"][0]
    divergence = np.diff(u, axis=0) + np.diff(v, axis=1)
    side = 2 * TILE  # the smoke is in the first tile
    assert np.abs(divergence[:side, :side]).max() < 1e-11 * np.abs(u).max()
    assert np.abs(divergence[side:]).max() > 0.01  # air gives way at the border of what is open
    assert max(np.abs(u[side + 1 :]).max(), np.abs(u[:, side:]).max(), np.abs(v[:, side + 1 :]).max()) == 0.0
    begin = [sim.u.numpy().copy(), sim.v.numpy().copy()]
    begin[0][0], begin[1][:, 0] = 0.0, 0.0
    taken = [(begin[0] - u)[: side + 1, :side], (begin[1] - v)[:side, : side + 1]]
    left = [u[: side + 1, :side], v[:side, : side + 1]]
    assert abs(sum(np.sum(a * b) for a, b in zip(taken, left, strict=True))) < 1e-11
    sim.u.set(np.full((N + 1, N), 400.0))
    with pytest.raises(StateError, match="smoke must not cross a tile"):
        rollout.value()
    rollout.close()


def test_what_tiles_refuse() -> None:
    with pytest.raises(ConfigError, match=r"layout must have blocks as large as the tiles, 8 cells"):
        Smoke(SmokeConfig(n=N, tile=8), layout=ds.sparse(block=4))
    with pytest.raises(ConfigError, match=r"layout must be ds.sparse\(...\) or None, got 'sparse'"):
        Smoke(SmokeConfig(n=N, tile=8), layout="sparse")
