"""Sampling of grid fields: exact where the field is linear, right at borders, right in its gradients."""

# No `from __future__ import annotations` here: Taichi reads kernel annotations as objects, not as text.
from typing import Any

import numpy as np
import pytest
import taichi as ti
from simulator_checks import assert_gradient

import diffsim as ds
from diffsim.kernels.common.interpolation import bracket, sample

POINTS = 40
CASES = [((6,), False), ((4, 5, 6), False), ((5, 7), True), ((1, 6), False)]


class Probe(ds.Simulator):
    """Read a number field without time and a vector field with time at many places."""

    def __init__(self, shape: tuple[int, ...], periodic: bool) -> None:
        dims = len(shape)
        self.shape, self.periodic = shape, periodic
        self.numbers = ds.Param(ds.real, shape)
        self.vectors = ds.State(ds.vec2, shape)
        self.place = ds.Param(ds.vec(dims), POINTS)
        self.number = ds.State(ds.real, POINTS)
        self.vector = ds.State(ds.vec2, POINTS)
        self.limits = ds.State(ds.vec2, POINTS)

    @ti.kernel
    def look(self, t: ti.i32):
        for i in range(POINTS):
            self.number[t + 1, i] = sample(self.numbers, None, self.place[i], periodic=self.periodic)
            self.vector[t + 1, i] = sample(self.vectors, t, self.place[i], 0.25, self.periodic)
            least, greatest = bracket(self.numbers, None, self.place[i], periodic=self.periodic)
            self.limits[t + 1, i] = ti.Vector([least, greatest])

    @ti.kernel
    def total(self, t: ti.i32):
        for i in range(POINTS):
            both = self.vector[t, i]
            self.cost[None] += (self.number[t, i] + self.limits[t, i][1]) ** 2 + both[0] * both[1]

    def step(self, t: Any) -> None:
        self.look(t)

    def terminal_cost(self, t: Any) -> None:
        self.total(t)


@pytest.fixture(scope="module", params=CASES, ids=str)
def rollout(request: pytest.FixtureRequest, runtime: Any) -> ds.Rollout:
    return ds.Rollout(Probe(*request.param), steps=1)


def see(rollout: ds.Rollout) -> dict[str, Any]:
    sim: Any = rollout.sim
    fields = {"number": sim.number, "vector": sim.vector, "limits": sim.limits}
    return {key: values[-1] for key, values in rollout.trajectories(fields, every=1).items()}


def places(sim: Any, outside: float = 0.0) -> Any:
    return np.random.default_rng(3).uniform(
        0.5 - outside, np.array(sim.shape) - 0.5 + outside, (POINTS, len(sim.shape))
    )


def centres(sim: Any) -> Any:
    """Return the places of the grid's points, with the coordinate as last axis."""
    return np.stack(np.meshgrid(*(np.arange(n) + 0.5 for n in sim.shape), indexing="ij"), axis=-1)


def test_linear_fields_are_exact(rollout: ds.Rollout) -> None:
    sim: Any = rollout.sim
    slope = np.arange(1.0, len(sim.shape) + 1.0)
    x = places(sim)
    sim.numbers.set(2.0 + centres(sim) @ slope)
    sim.place.set(x)
    seen = see(rollout)
    np.testing.assert_allclose(seen["number"], 2.0 + x @ slope, rtol=1e-13)
    assert (seen["limits"][:, 0] <= seen["number"] + 1e-12).all()
    assert (seen["limits"][:, 1] >= seen["number"] - 1e-12).all()


def test_beyond_the_border(rollout: ds.Rollout) -> None:
    """A clamped grid goes on as it ends, a periodic one begins anew."""
    sim: Any = rollout.sim
    x = places(sim, outside=9.0)
    low, n = 0.5, np.array(sim.shape)
    inside = np.mod(x - low, n) + low if sim.periodic else np.clip(x, low, n - 0.5)
    sim.numbers.set(np.random.default_rng(4).normal(size=sim.shape))
    sim.place.set(x)
    beyond = see(rollout)["number"]
    sim.place.set(inside)
    np.testing.assert_allclose(beyond, see(rollout)["number"], rtol=0, atol=1e-12)


def test_second_order_in_the_spacing(runtime: Any) -> None:
    """The error of a smooth field falls with the square of the spacing."""
    errors = []
    for n in (8, 16, 32):
        sim = Probe((n, n), True)
        sim.numbers.set(np.sin(2 * np.pi * centres(sim) / n).sum(axis=-1))
        x = np.random.default_rng(5).uniform(0.0, 1.0, (POINTS, 2))
        sim.place.set(n * x)
        rollout = ds.Rollout(sim, steps=1)
        errors.append(np.abs(see(rollout)["number"] - np.sin(2 * np.pi * x).sum(axis=-1)).max())
        rollout.close()
    order = -np.polyfit(np.log([8, 16, 32]), np.log(errors), 1)[0]
    assert order == pytest.approx(2.0, abs=0.3)


def test_gradient(rollout: ds.Rollout) -> None:
    sim: Any = rollout.sim
    rng = np.random.default_rng(7)
    sim.numbers.set(rng.normal(size=sim.shape))
    sim.vectors.set(rng.normal(size=(*sim.shape, 2)))
    sim.place.set(places(sim, outside=1.0))
    assert_gradient(rollout, wrt=[sim.numbers, sim.vectors, sim.place])
