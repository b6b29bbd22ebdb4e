"""Matter on sparse grids and on ground that is not flat: the dense program's numbers, and known answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import diffsim as ds
from diffsim.errors import ConfigError
from diffsim.kernels.common.mpm import MPM
from diffsim.kernels.common.particles import lattice, liquid
from diffsim.kernels.common.terrain import Terrain
from diffsim.kernels.elastic import Elastic, ElasticConfig, block, hills
from diffsim.kernels.elastic.pictures import active_blocks
from diffsim.kernels.liquid import Liquid, LiquidConfig, Scene

COARSE = ElasticConfig(cell=1.0 / 16.0, dt=2.0e-3)


def thrown(layout=None, steps=24, **how):
    """Throw a small block in space into the corner of its room: walls, ground, blocks left and entered."""
    setup = replace(block(COARSE, 3, side=0.15), room=((0.0,) * 3, (0.5, 0.45, 0.55)))
    sim = Elastic(setup, layout=layout)
    sim.throw.set([[3.0, 2.0, -4.0]])
    rollout = ds.Rollout(sim, steps, **how)
    return sim, rollout, rollout.value_and_grad(wrt=[sim.throw, sim.x, sim.F])


@pytest.mark.usefixtures("runtime")
def test_a_body_in_space_is_the_same_on_a_sparse_grid():
    _, _, (cost, grads) = thrown()
    for layout, how in (
        (ds.sparse(block=4), {}),
        (ds.sparse(block=2, levels=3), {"window": 5}),
        (ds.sparse(block=8, levels=1), {"mode": "step", "window": 10}),
    ):
        _, rollout, (other, found) = thrown(layout, **how)
        assert other == pytest.approx(cost, rel=1e-12)
        for key, gradient in grads.items():
            np.testing.assert_allclose(found[key], gradient, rtol=1e-10, atol=1e-12 * np.abs(gradient).max())
        [counts] = rollout.occupancy().values()
        if layout.block == 2:
            assert counts.max() > counts.min()  # blocks come and go


@pytest.mark.usefixtures("runtime")
def test_water_in_space_is_the_same_on_a_sparse_grid_and_in_any_room():
    c = LiquidConfig(cells=16, width=0.32, height=0.24, depth=0.2, dt=1e-3)
    low = c.room[0]
    x = lattice(low, low + np.array([0.06, 0.04, 0.06]), c.spacing)
    water = liquid(x, c.spacing**3, bulk=c.bulk, density=c.density)
    rooms = [c, c, LiquidConfig(cells=512, width=10.24, height=10.24, depth=10.24, dt=1e-3)]
    found = []
    for config, layout in zip(rooms, (None, ds.sparse(block=4), ds.sparse(block=4)), strict=True):
        sim = Liquid(config, Scene(water, np.full(len(x), 0.98)), layout=layout)
        cost, grads = ds.Rollout(sim, steps=6).value_and_grad(wrt=[sim.v, sim.mpm.J])
        found.append((cost * config.width, grads["v"] * config.width, grads["mpm.J"] * config.width))
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            np.testing.assert_allclose(two, one, rtol=1e-9, atol=1e-12 * np.abs(one).max())


@pytest.mark.usefixtures("runtime")
def test_level_ground_is_the_floor():
    def fall(terrain):
        setup = replace(block(COARSE, 2), terrain=terrain)
        sim = Elastic(setup)
        sim.throw.set([[1.0, -3.0]])
        return ds.Rollout(sim, steps=40).value_and_grad()

    floor, ground = fall(None), fall(Terrain(0.0, [0.0], [1.0]))
    assert ground[0] == pytest.approx(floor[0], rel=1e-12)
    np.testing.assert_allclose(ground[1]["throw"], floor[1]["throw"], rtol=1e-9)


@pytest.mark.usefixtures("runtime")
def test_bodies_slide_on_slopes_and_their_gradient_is_right():
    slope = Terrain(0.1, [0.08], [1.0], [0.5])
    sim = Elastic(replace(block(COARSE, 2), terrain=slope))
    sim.throw.set([[0.5, -2.0]])
    rollout = ds.Rollout(sim, steps=30)
    lowest = (rollout.trajectory(sim.x) - np.array(sim.origin))[-1]
    assert np.all(lowest[:, 1] > slope.at(lowest[:, :1]) - COARSE.cell)  # nothing falls through
    report = rollout.check_grad(directions=2)
    assert report.passed, report


def test_heights_and_normals_of_terrain_are_those_of_its_waves():
    terrain = Terrain(1.0, (0.2, 0.1), ((0.5, 0.1), (-0.3, 0.7)), (0.3, 1.0))
    x = np.random.default_rng(0).uniform(-3.0, 3.0, (5, 2))
    expected = 1.0 + sum(
        a * np.sin(2.0 * np.pi * (x @ np.array(k)) + p)
        for a, k, p in zip((0.2, 0.1), ((0.5, 0.1), (-0.3, 0.7)), (0.3, 1.0), strict=True)
    )
    np.testing.assert_allclose(terrain.at(x), expected, rtol=1e-14)
    way = np.array([0.4, -1.2, 0.7])
    np.testing.assert_allclose(terrain.moved(way).at(x + way[:2]), expected + 0.7, rtol=1e-13)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((0.0, [1.0, 2.0], [1.0]), r"a height, a way and a phase each, got shapes \(2,\), \(1, 1\)"),
        ((np.nan, [1.0], [1.0]), "must be made of finite numbers"),
    ],
)
def test_terrain_refuses_what_is_none(arguments, words):
    with pytest.raises(ConfigError, match=words):
        Terrain(*arguments)


def test_terrain_of_another_dimension_is_refused(runtime):
    wide = Terrain(0.0, [0.1], [[1.0, 0.5]])
    flat = block(COARSE, 2)
    with pytest.raises(ConfigError, match=r"must have 1 number\(s\) each in 2 dimensions, got 2"):
        MPM(flat.particles.moved((0.2, 0.2)), (32, 32), 1.0 / 16.0, 2e-3, (0.0, -9.8), terrain=wide)
    with pytest.raises(ConfigError, match=r"must have 1 number\(s\) each"):
        Elastic(replace(flat, terrain=wide))
    with pytest.raises(ConfigError, match=r"must have 2 number\(s\) each in 3 dimensions, got 1"):
        Elastic(replace(block(COARSE, 3), terrain=Terrain(0.0, [0.1], [1.0])))


def test_the_blocks_in_pictures_are_those_that_are_active(runtime):
    _, rollout, _ = thrown(ds.sparse(block=2), steps=8)
    x = rollout.trajectory("x")[:-1]
    shown = active_blocks(x, COARSE.cell, 2)
    [counts] = rollout.occupancy().values()
    np.testing.assert_array_equal(shown, counts)


def test_hills_are_too_large_for_a_dense_grid(runtime):
    sim = Elastic(hills(), layout=ds.sparse(block=4, capacity=64))
    assert min(sim.mpm.grid) >= 504
    [room] = ds.plan(sim, steps=10).rooms
    assert room.dense > 3 << 30
    assert room.bytes < 1 << 20
