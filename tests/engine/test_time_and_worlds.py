"""The gradient does not depend on how time and worlds are laid out: random programs under random plans.

Each example draws the structure of a step, a horizon, the number of worlds, a mode, a window or a budget, a
schedule and its tiers. The cost and its derivative along a direction are compared with NumPy, where the
derivative is exact: a complex step (Squire and Trapp 1998) has no difference to round. A plan is also
compared with one that stores everything: to the last bit where one thread runs in the same mode.

A few examples are tried by default; ``DIFFSIM_FUZZ=200 pytest tests/engine/test_time_and_worlds.py`` tries
that many others.
"""

import os
import warnings
from dataclasses import dataclass

import numpy as np
import pytest
import taichi as ti
from hypothesis import given, settings
from hypothesis import strategies as st
from sweeps import full

import diffsim as ds
from diffsim.compiler.codegen.layout import Layout
from diffsim.engine.engine import Engine

FUZZ = int(os.environ.get("DIFFSIM_FUZZ", "0"))
N = 3
MODES = ("step", "chunk", "fused")


@dataclass(frozen=True)
class Structure:
    """What a step is made of."""

    history: int
    scatter: bool
    inner: int  # iterations of a loop that carries a value; 0 for none
    control: bool
    reset: bool
    running: bool
    ends: bool


@dataclass(frozen=True)
class Time:
    """How time and worlds are laid out."""

    steps: int
    worlds: int
    mode: str
    window: int | None
    chunk: int | None
    share: float  # of the memory that stores everything
    schedule: str
    host: bool
    disk: bool


class Drawn(ds.Simulator):
    """Coupled oscillators with all that a structure asks for."""

    def __init__(self, s: Structure, worlds: int, seed: int):
        rng = np.random.default_rng(seed)
        self.s, self.inner = s, s.inner
        self.x = ds.State(ds.real, N, init=rng.normal(size=N), history=s.history)
        self.v = ds.State(ds.real, N, init=rng.normal(size=N))
        self.f = ds.Scratch(ds.real, N)
        self.p = ds.Param(ds.real, N, per_world=True)
        self.k = ds.Param(np.array(0.4))
        self.next = ds.Constant(rng.permutation(N))
        self.last = ds.Constant(np.array(5), per_world=True)
        self.p.set(rng.normal(size=(worlds, N)))
        self.last.set(rng.integers(1, 40, size=worlds))
        if s.control:
            self.u = ds.Control(ds.real, N)

    @ti.kernel
    def begin(self):
        for i in range(N):
            self.v[0, i] = self.k[None] * self.p[i]

    @ti.kernel
    def push(self, t: ti.i32):
        for i in range(N):
            force = self.p[i] * ti.sin(self.x[t, i])
            if ti.static(self.s.scatter):
                self.f[t, self.next[i]] += force
            else:
                self.f[t, i] += force
            self.f[t, i] += -self.k[None] * self.x[t, i]

    @ti.kernel
    def relax(self, t: ti.i32):
        for i in range(N):
            y = self.x[t, i]
            for _ in range(self.inner):
                y -= 0.1 * self.k[None] * ti.sin(y)
            self.f[t, i] += y

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(N):
            f = self.f[t, i]
            if ti.static(self.s.control):
                f += self.u[t, i]
            self.v[t + 1, i] = 0.9 * self.v[t, i] + 0.1 * f
            new = self.x[t, i] + 0.1 * self.v[t, i]
            if ti.static(self.s.history == 2):
                new += 0.2 * (self.x[t, i] - self.x[t - 1, i])
            self.x[t + 1, i] = new

    @ti.kernel
    def stop(self, t: ti.i32):
        if t + 1 >= self.last[None]:
            self.done[None] = True

    @ti.kernel
    def pay(self, t: ti.i32):
        for i in range(N):
            self.cost[None] += 0.01 * self.f[t, i] * self.x[t, i]

    @ti.kernel
    def miss(self, t: ti.i32):
        for i in range(N):
            self.cost[None] += (self.x[t, i] - 0.1 * i) ** 2 + self.v[t, i] ** 2

    def reset(self):
        if self.s.reset:
            self.begin()

    def step(self, t):
        self.push(t)
        if self.inner:
            self.relax(t)
        self.move(t)
        if self.s.ends:
            self.stop(t)

    def running_cost(self, t):
        if self.s.running:
            self.pay(t)

    def terminal_cost(self, t):
        self.miss(t)


def run_by_hand(s: Structure, steps: int, values: dict, world: int, order, last: int):
    """Run one world in NumPy, in complex numbers where they are given; return its cost."""
    own = values["p"][world] if values["p"].ndim > 1 else values["p"]
    k, x, v = values["k"], values["x"], values["v"]
    v = k * own if s.reset else v
    past, cost = x, 0.0
    for t in range(min(steps, last) if s.ends else steps):
        f = -k * x
        force = own * np.sin(x)
        f = f + (np.array([force[np.flatnonzero(order == i)[0]] for i in range(N)]) if s.scatter else force)
        if s.inner:
            y = x
            for _ in range(s.inner):
                y = y - 0.1 * k * np.sin(y)
            f = f + y
        cost = cost + (0.01 * np.sum(f * x) if s.running else 0.0)
        new = x + 0.1 * v + (0.2 * (x - past) if s.history == 2 else 0.0)
        v = 0.9 * v + 0.1 * (f + (values["u"][t] if s.control else 0.0))
        past, x = x, new
    return cost + np.sum((x - 0.1 * np.arange(N)) ** 2) + np.sum(v**2)


structures = st.builds(
    Structure,
    history=st.sampled_from([1, 2]),
    scatter=st.booleans(),
    inner=st.sampled_from([0, 0, 3]),
    control=st.booleans(),
    reset=st.booleans(),
    running=st.booleans(),
    ends=st.booleans(),
)
layouts = st.builds(
    Time,
    steps=st.one_of(st.integers(1, 12), st.integers(1, 300)),
    worlds=st.integers(1, 7),
    mode=st.sampled_from(MODES),
    window=st.one_of(st.none(), st.integers(1, 40)),
    chunk=st.one_of(st.none(), st.integers(1, 5)),
    share=st.sampled_from([2.0, 0.7, 0.3]),
    schedule=st.sampled_from(["auto", "multistage", "mixed", "two-level"]),
    host=st.booleans(),
    disk=st.booleans(),
)


def options_of(simulator, layout: Time, directory) -> dict:
    """Return the planning arguments of a layout."""
    stored = ds.plan(simulator, steps=layout.steps, worlds=layout.worlds, mode=layout.mode)
    options = {"window": layout.window, "schedule": layout.schedule, "mode": layout.mode}
    if layout.mode == "chunk":
        options["chunk"] = layout.chunk
    if layout.host:
        options["host_memory"] = "1MiB"
    if layout.disk:
        options["spill"] = directory
    if layout.window is None:
        options["memory"] = max(stored.smallest, int(layout.share * stored.total_bytes))
    return options


def check(structure: Structure, layout: Time, directory, seed: int) -> None:
    simulator = Drawn(structure, layout.worlds, seed)
    rng = np.random.default_rng(seed + 1)
    if structure.control:
        simulator.u.set(0.1 * rng.normal(size=(layout.steps, N)))
    wrt = [simulator.p, simulator.k, simulator.x, simulator.v] + ([simulator.u] if structure.control else [])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ds.PlanWarning)  # windows of one step are drawn on purpose
        options = options_of(simulator, layout, directory)
        rollout = ds.Rollout(simulator, steps=layout.steps, worlds=layout.worlds, **options)
    cost, grads = rollout.value_and_grad(wrt)
    told = f"{structure}\n{layout}\n{rollout.plan}"
    rollout.close()
    compare_with_numpy(simulator, structure, layout, cost, grads, rng, told)
    whole = ds.Rollout(
        simulator, steps=layout.steps, worlds=layout.worlds, mode=layout.mode, chunk=options.get("chunk")
    )
    want, reference = whole.value_and_grad(wrt)
    whole.close()
    np.testing.assert_array_equal(cost, want, err_msg=told)
    for key in reference:
        if layout.worlds == 1 or key == "p":
            np.testing.assert_array_equal(grads[key], reference[key], err_msg=f"{key}\n{told}")
        else:  # what worlds share is summed window by window
            np.testing.assert_allclose(grads[key], reference[key], 1e-11, 1e-13, err_msg=f"{key}\n{told}")


def compare_with_numpy(simulator, structure, layout, cost, grads, rng, told) -> None:
    at = {key: np.array(getattr(simulator, key).numpy(), dtype=complex) for key in grads}
    order = simulator.next.numpy()
    last = np.broadcast_to(simulator.last.numpy(), layout.worlds)

    def costs(values):
        runs = range(layout.worlds)
        return np.array([run_by_hand(structure, layout.steps, values, w, order, last[w]) for w in runs])

    np.testing.assert_allclose(np.atleast_1d(cost), costs(at).real, rtol=1e-9, atol=1e-12, err_msg=told)
    for _ in range(2):
        direction = {key: rng.normal(size=value.shape) for key, value in at.items()}
        bent = costs({key: at[key] + 1e-30j * direction[key] for key in at}).imag / 1e-30
        slope = sum(float(np.sum(grads[key] * direction[key])) for key in grads)
        size = sum(float(np.sum(np.abs(grads[key] * direction[key]))) for key in grads)
        assert abs(slope - bent.sum()) <= 1e-9 * max(size, 1e-6), told


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("spilled")


@settings(max_examples=FUZZ or 8)
@given(structure=structures, layout=layouts, seed=st.integers(0, 2**16))
def test_gradients_do_not_depend_on_the_plan(runtime, directory, structure, layout, seed):
    check(structure, layout, directory, seed)
    assert not any(directory.iterdir())  # nothing is left behind


@pytest.mark.parametrize("compiler", ["taichi"], indirect=True)
def test_nor_do_those_of_taichis_kernels(runtime, directory):
    structure = Structure(2, True, 3, True, True, True, True)
    check(structure, Time(20, 2, "fused", 6, None, 2.0, "auto", False, False), directory, 5)


@full
@pytest.mark.parametrize("compiler", ["taichi"], indirect=True)
@settings(max_examples=FUZZ or 8)
@given(structure=structures, layout=layouts, seed=st.integers(0, 2**16))
def test_nor_do_random_ones_of_taichis_kernels(runtime, directory, structure, layout, seed):
    check(structure, layout, directory, seed)


def test_a_planted_fault_is_seen(runtime, directory, monkeypatch):
    structure = Structure(2, True, 0, False, False, True, False)
    layout = Time(20, 2, "fused", 6, None, 2.0, "auto", False, False)
    check(structure, layout, directory, 5)
    monkeypatch.setattr(Layout, "ring_of", lambda self, slot: f"({slot}) % {self.history}")  # one too short
    monkeypatch.setattr(Engine, "_verify", lambda self, gradients: None)  # which would find it first
    with pytest.raises(AssertionError):
        check(structure, layout, directory, 5)


class DoublePendulum(ds.Simulator):
    """Two links whose accelerations are solved for: chains of divisions that a compiler could regroup."""

    def __init__(self):
        self.angles = ds.State(ds.vec2, init=[1.2, -0.4])
        self.speeds = ds.State(ds.vec2)
        self.masses, self.torque = ds.Param(np.array([1.0, 0.7])), ds.Control(ds.vec2)

    @ti.kernel
    def swing(self, t: ti.i32):
        m, n = self.masses[0], self.masses[1]
        a, v = self.angles[t], self.speeds[t]
        c, s = ti.cos(a[0] - a[1]), ti.sin(a[0] - a[1])
        inertia = ti.Matrix([[m + n, n * c], [n * c, n]])
        force = ti.Vector([-n * s * v[1] ** 2 - (m + n) * 9.8 * ti.sin(a[0]), n * s * v[0] ** 2])
        force[1] -= n * 9.8 * ti.sin(a[1])
        self.speeds[t + 1] = v + 0.01 * ti.solve(inertia, force + self.torque[t])
        self.angles[t + 1] = a + 0.01 * self.speeds[t + 1]

    def step(self, t):
        self.swing(t)

    @ti.kernel
    def miss(self, t: ti.i32):
        self.cost[None] += self.angles[t].norm_sqr()

    def running_cost(self, t):
        self.miss(t)


@pytest.mark.compilers
@pytest.mark.cpu
def test_windows_of_a_chaotic_system_have_the_same_bits(runtime):
    sim = DoublePendulum()
    sim.torque.set(0.01 * np.random.default_rng(0).normal(size=(300, 2)))
    found = []
    for window in (300, 37, 1):
        with ds.Rollout(sim, 300, mode="fused", window=window) as rollout:
            found.append(rollout.value_and_grad())
    for cost, gradients in found[1:]:
        assert cost == found[0][0]
        for key, gradient in gradients.items():
            np.testing.assert_array_equal(gradient, found[0][1][key], err_msg=key)
