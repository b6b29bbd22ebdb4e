"""Several worlds in one register of the processor: each as if it ran alone, whatever its branches do."""

import numpy as np
import pytest
import taichi as ti

import diffsim as ds
from diffsim.compiler.native.translate import ONE_BY_ONE, translate
from diffsim.engine.native import places_of

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
            yield text.name, translate(text.source, text.real, places, "f", text.lanes, text.worlds)


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
