"""Several worlds in one register of the processor: each as if it ran alone, whatever its branches do."""

import dataclasses

import numpy as np
import pytest
import taichi as ti

import diffsim as ds
from diffsim.compiler.native.translate import ONE_BY_ONE, translate
from diffsim.engine import launch
from diffsim.engine.native import Unsupported, places_of
from diffsim.errors import StateError
from diffsim.plan.modes import block_of

pytestmark = pytest.mark.native

WORLDS = 13  # a block of eight, and one with room to spare
STEPS = 24


class Divergent(ds.Simulator):
    """Branches, loops and places that depend on what a world computes; some worlds end early."""

    def __init__(self):
        self.x = ds.State(ds.vec2, 3, init=0.1 * np.arange(6.0).reshape(3, 2))
        self.n = ds.State(ds.real, 2)
        self.k = ds.Param(np.array([1.0, 2.0, 3.0]))
        self.p = ds.Param(1.0 + 0.1 * np.arange(3), per_world=True)
        self.u = ds.Control(ds.real, 2)
        self.h = ds.Scratch(ds.real, 3)
        self.order = ds.Constant(np.array([2, 0, 1]))

    @ti.kernel
    def pull(self, t: ti.i32):
        for i in range(3):
            a = self.x[t, i]
            f = -self.k[i] * a * self.p[i]
            m = ti.cast(ti.floor(ti.abs(a[0]) * 10.0), ti.i32) % 4
            s = 0.0
            for j in range(ds.at_most(m, 4)):
                s += ti.sin(a[1] * (j + 1)) * self.p[j % 3]
                if s > 0.3:
                    s = s * 0.5 + self.k[m % 3] * 0.01
            if a[0] > 0.2:
                f[0] += s
                if a[1] > 0.3:
                    f[1] += ti.tanh(s)
                else:
                    f[1] -= self.u[t, 0]
            else:
                f[1] += self.u[t, 1] * self.k[2 - m % 3]
            self.h[t, self.order[(i + m) % 3]] += f[0]
            self.x[t + 1, i] = a + 0.05 * f

    @ti.kernel
    def count(self, t: ti.i32):
        for i in range(2):
            self.n[t + 1, i] = self.n[t, i] + ti.cast(self.h[t, i] > 0.0, float)

    @ti.kernel
    def end(self, t: ti.i32):
        if self.x[t + 1, 0][1] + self.x[t + 1, 2][0] < 0.25:
            self.done[None] = True

    def step(self, t):
        self.pull(t)
        self.count(t)
        self.end(t)

    @ti.kernel
    def size(self, t: ti.i32):
        for i in range(3):
            self.cost[None] += self.x[t, i].norm_sqr() * (1.0 + 0.1 * self.n[t, 0])

    def running_cost(self, t):
        self.size(t)

    def terminal_cost(self, t):
        self.size(t)


KEYS = ["k", "p", "u", "x"]
HORIZON = {"steps": STEPS, "mode": "fused"}


@pytest.fixture(scope="module")
def values():
    return 0.5 + 1.5 * np.random.default_rng(3).random((WORLDS, 3))


@pytest.fixture(scope="module")
def alone(runtime, values):
    """Cost, gradient, steps and trajectory of each world by itself."""
    sim, found = Divergent(), []
    rollout = ds.Rollout(sim, **HORIZON)
    for one in values:
        sim.p.set(one)
        cost, gradient = rollout.value_and_grad(KEYS)
        found.append((cost, gradient, rollout.lengths, rollout.trajectory(sim.x)))
    rollout.close()
    return found


def together(values, **options):
    sim = Divergent()
    sim.p.set(values)
    return sim, ds.Rollout(sim, worlds=len(values), **HORIZON, **options)


def modules(rollout):
    """Return the names and the machine texts of the kernels that ran."""
    engine = rollout._engine
    for executor in engine._executors.values():
        for text in (launcher.text for launcher in executor._launchers if launcher._launch is not None):
            places = {name: place for name, (place, _) in places_of(text, engine.storage.spec).items()}
            yield (
                text.name,
                translate(text.source, text.real, places, "f", lanes=text.lanes, worlds=text.worlds),
            )


@pytest.mark.parametrize(
    "options",
    [{}, {"window": 5}, {"window": 4, "host_memory": "1MiB", "schedule": "multistage"}],
    ids=["whole", "windows", "tiers"],
)
@pytest.mark.parametrize("worlds", [WORLDS, 8])
def test_each_world_is_as_alone(runtime, alone, values, worlds, options):
    sim, rollout = together(values[:worlds], **options)
    costs, gradients = rollout.value_and_grad(KEYS)
    assert rollout.plan.layout.block == 8
    assert not rollout._engine.fallback
    steps = [n for _, _, n, _ in alone[:worlds]]
    assert len(set(map(int, np.ravel(steps)))) > 2  # worlds end at steps of their own
    np.testing.assert_array_equal(rollout.lengths, np.ravel(steps))
    np.testing.assert_allclose(costs, [cost for cost, _, _, _ in alone[:worlds]], rtol=1e-12)
    for key in KEYS:
        parts = np.array([gradient[key] for _, gradient, _, _ in alone[:worlds]])
        wanted = parts.reshape(gradients[key].shape) if key == "p" else parts.sum(axis=0)
        np.testing.assert_allclose(gradients[key], wanted, rtol=1e-11, atol=1e-12 * np.max(np.abs(parts)))
    frames = rollout.trajectory(sim.x)
    for k in range(worlds):
        np.testing.assert_allclose(frames[:, k], alone[k][3], rtol=1e-12, atol=1e-14)
    rollout.close()


def test_each_kernel_runs_several_worlds_at_once(runtime, values):
    _, rollout = together(values, window=5)
    rollout.value_and_grad(KEYS)
    texts = dict(modules(rollout))
    assert {"gradient", "shift", "save"} <= set(texts)
    for name in ("gradient", "shift", "save"):
        assert ONE_BY_ONE not in texts[name], name
        assert "<8 x double>" in texts[name], name
    rollout.close()


class Plain(ds.Simulator):
    """One step of one number, which may leave its table or the finite numbers."""

    def __init__(self):
        self.x = ds.State(ds.real)
        self.p = ds.Param(ds.real, per_world=True)
        self.k = ds.Param(np.array(0.5))
        self.table = ds.Param(np.array([1.0, 2.0, 4.0]))

    @ti.kernel
    def go(self, t: ti.i32):
        y = self.table[ti.cast(self.p[None], ti.i32)] * self.k[None]
        whole = 7 // ti.cast(4.0 * self.p[None] + 0.5, ti.i32)
        self.x[t + 1] = self.x[t] + y + ti.sqrt(self.p[None]) + whole

    def step(self, t):
        self.go(t)

    @ti.kernel
    def pay(self, t: ti.i32):
        self.cost[None] += self.x[t] ** 2

    def terminal_cost(self, t):
        self.pay(t)


PLACES = np.arange(13) % 3 + 0.25


@pytest.fixture(scope="module")
def plain(runtime):
    sim = Plain()
    sim.p.set(PLACES)
    rollout = ds.Rollout(sim, steps=4, worlds=13, mode="fused", window=2)
    yield rollout
    rollout.close()


def expected():
    """Cost, and its gradient with respect to p, k and the table."""
    table, row = np.array([1.0, 2.0, 4.0]), PLACES.astype(int)
    x = 4 * (0.5 * table[row] + np.sqrt(PLACES) + 7 // (4 * PLACES).astype(int))
    by_table = np.bincount(row, weights=2 * x * 4 * 0.5)
    return x**2, {"p": 2 * x * 4 * 0.5 / np.sqrt(PLACES), "k": sum(2 * x * 4 * table[row]), "table": by_table}


def is_right(costs, gradients):
    wanted = expected()
    np.testing.assert_allclose(costs, wanted[0], rtol=1e-13)
    for key, value in wanted[1].items():
        np.testing.assert_allclose(gradients[key], value, rtol=1e-13)


def test_what_worlds_share_is_read_and_added_to_where_each_says(plain):
    is_right(*plain.value_and_grad(["p", "k", "table"]))
    assert plain.plan.layout.block == 8
    assert "13 in 1 lane(s), 8 at once in a register" in str(plain.plan)
    assert ONE_BY_ONE not in dict(modules(plain))["gradient"]


def test_gradients_agree_with_differences_and_forward_mode(plain):
    assert plain.check_grad().passed
    costs, gradients = plain.value_and_grad(["p", "k", "table"], debug="nan")
    is_right(costs, gradients)


@pytest.mark.parametrize("world", [3, 12])
def test_an_index_outside_is_told_of_its_world(plain, world):
    values = PLACES.copy()
    values[world] = 7.25
    sim = plain._program.simulator
    sim.p.set(values)
    try:
        with pytest.raises(StateError, match=rf"got 7 at step 0 of world {world};"):
            plain.value_and_grad()
    finally:
        sim.p.set(PLACES)
    is_right(*plain.value_and_grad(["p", "k", "table"]))


@pytest.mark.parametrize("world", [0, 12])
def test_a_world_that_is_not_finite_is_told_and_spoils_no_other(plain, world):
    values = PLACES.copy()
    values[world] = -0.75
    sim = plain._program.simulator
    sim.p.set(values)
    try:
        with pytest.raises(StateError, match=rf"State x is first not finite at step 1 \(index \[{world}\]\)"):
            plain.value_and_grad()
    finally:
        sim.p.set(PLACES)
    is_right(*plain.value_and_grad(["p", "k", "table"]))


def test_taichi_compiles_for_the_same_memory(plain, monkeypatch):
    """What machine code does not do, Taichi does, in fields with the same blocks."""

    def refuses(*args):
        raise Unsupported("a test")

    monkeypatch.setattr(launch, "bind", refuses)
    with ds.Rollout(plain._program.simulator, steps=4, worlds=13, mode="fused", window=3) as rollout:
        is_right(*rollout.value_and_grad(["p", "k", "table"]))
        frames = rollout.trajectory(plain._program.simulator.x)
    np.testing.assert_allclose(frames[-1] ** 2, expected()[0], rtol=1e-13)


def test_optimisers_see_the_worlds_that_are_there(plain):
    sim = plain._program.simulator
    try:
        result = ds.minimize(plain, wrt=[sim.p], optimizer=ds.optim.SGD(lr=1e-4), iterations=1)
        moved = PLACES - 1e-4 * expected()[1]["p"]
        np.testing.assert_allclose(result.last["p"], moved, rtol=1e-12)
        norm = np.linalg.norm(expected()[1]["p"])
        np.testing.assert_allclose(result.grad_norms[0], norm, rtol=1e-12)
    finally:
        sim.p.set(PLACES)


@pytest.mark.parametrize(
    ("bits", "worlds", "block"),
    [(32, 1, 1), (32, 3, 1), (32, 4, 4), (32, 6, 8), (32, 256, 8), (64, 4, 4), (64, 9, 1), (64, 13, 8)],
)
def test_blocks_are_as_wide_as_pays(runtime, bits, worlds, block):
    info = dataclasses.replace(ds.runtime.info(), precision=bits)
    assert block_of(info, worlds, "fused") == block_of(info, worlds, "auto") == block
    assert block_of(info, worlds, "step") == 1
    assert block_of(dataclasses.replace(info, compiler="taichi"), worlds, "fused") == 1


def test_other_modes_run_the_same_memory(plain):
    engine = plain._engine
    engine._executor("chunk", 2)
    for mode in ("chunk", "fused"):
        assert engine._compare(mode, gradients=True)[0] < 1e-13, mode
    is_right(*plain.value_and_grad(["p", "k", "table"]))
