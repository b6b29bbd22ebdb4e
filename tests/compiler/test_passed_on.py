"""What step passes to kernels: arrays, fields, what other kernels return; and fields filled with a number."""

import numpy as np
import pytest
import taichi as ti

import diffsim as ds
from diffsim.errors import StateError, TraceError

N, STEPS = 4, 3


class Passing(ds.Simulator):
    """x[t + 1] = x + k m b / (1 + m^2) + f, with m the mean of x, b an array, and f filled and added to."""

    def __init__(self):
        self.x = ds.State(ds.real, N, init=np.linspace(0.2, 1.1, N))
        self.f, self.grid = ds.Scratch(ds.real, N), ds.Scratch(ds.vec2, N, 2)
        self.k, self.rows = ds.Param(0.7), ds.Param(np.arange(1.0, 9.0).reshape(N, 2) / 8)
        self.pairs = ds.Constant(np.array([[0, 1, 1], [1, 2, 3], [2, 3, 1], [3, 0, 0]]))
        self.table = np.array([0.3, -0.2, 0.5, 0.1])
        self.low = np.array([[1, 0], [2, 1], [3, 2], [0, 3]], dtype=np.int32)

    @ti.kernel
    def mean(self, t: ti.i32) -> float:
        total = 0.0
        for i in range(N):
            total += self.x[t, i] / N
        return total

    @ti.kernel
    def first(self, t: ti.i32) -> ti.types.vector(2, ti.f64):
        return ti.Vector([self.x[t, 0], 2.0 * self.x[t, 1]])

    @ti.kernel
    def drift(
        self, t: ti.i32, m: float, b: ti.types.ndarray(), low: ti.template(), v: ti.types.vector(2, float)
    ):
        for i in range(N):
            near = b[low[i, 0]] * v[0] + b[low[i][1]] * v[1]
            self.f[t, i] += self.k[None] * m * near / (1.0 + m * m)

    @ti.kernel
    def scatter(self, t: ti.i32):
        self.grid.fill(0.25)
        for i in range(N):
            tri, row = self.pairs[i], self.rows[i]
            self.grid[t, tri[0], 0] += row * self.x[t, tri[1]]
            self.grid[t, tri.z, 1] += ti.Vector([row.y, self.table[tri[2]]])

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(N):
            self.x[t + 1, i] = self.x[t, i] + self.f[t, i] + (self.grid[t, i, 0] - self.grid[t, i, 1]).sum()

    def step(self, t):
        self.f.fill(9.0)
        self.f.fill(0.5)
        self.scatter(t)
        self.drift(t, self.mean(t), self.table, self.low, self.first(t))
        self.move(t)

    @ti.kernel
    def measure(self, t: ti.i32, m: float):
        for i in range(N):
            self.cost[None] += (self.x[t, i] - m) ** 2 * (i + 1)

    def terminal_cost(self, t):
        self.measure(t, self.mean(t))


def by_hand(sim, k):
    x, rows, pairs = sim.x.numpy(), sim.rows.numpy(), sim.pairs.numpy()
    for _ in range(STEPS):
        m, v, grid = x.mean(), (x[0], 2.0 * x[1]), np.full((N, 2, 2), 0.25)
        near = sim.table[sim.low[:, 0]] * v[0] + sim.table[sim.low[:, 1]] * v[1]
        for i, (a, b, c) in enumerate(pairs):
            grid[a, 0] += rows[i] * x[b]
            grid[c, 1] += [rows[i, 1], sim.table[c]]
        x = x + 0.5 + k * m * near / (1 + m * m) + (grid[:, 0] - grid[:, 1]).sum(1)
    return np.sum((x - x.mean()) ** 2 * np.arange(1, N + 1))


@pytest.mark.compilers
def test_arrays_results_and_fills(runtime):
    sim = Passing()
    found = {}
    for mode in ("step", "chunk", "fused"):
        rollout = ds.Rollout(sim, steps=STEPS, mode=mode, window=STEPS if mode == "chunk" else 2)
        found[mode] = rollout.value_and_grad()
        assert found[mode][0] == pytest.approx(by_hand(sim, 0.7), rel=1e-12)
        if mode == "fused":
            report = rollout.check_grad(directions=2)
            assert report.passed, report
            kept = sim.table.copy()
            sim.table[1] += 1.0
            with pytest.raises(
                StateError, match="must make the calls that it made when the rollout was made"
            ):
                rollout.value()
            sim.table[:] = kept
            rollout.value()
        rollout.close()
    for mode in ("step", "chunk"):
        for key, gradient in found["fused"][1].items():
            np.testing.assert_allclose(found[mode][1][key], gradient, rtol=1e-12)
    h = 1e-6
    slope = (by_hand(sim, 0.7 + h) - by_hand(sim, 0.7 - h)) / (2 * h)
    assert found["fused"][1]["k"] == pytest.approx(slope, rel=1e-7)


class Misused(Passing):
    def __init__(self, misuse):
        super().__init__()
        self.misuse = misuse

    @ti.kernel
    def whole(self, t: ti.i32) -> ti.i32:
        return ti.cast(self.x[t, 0] > 0.0, ti.i32)

    @ti.kernel
    def takes(self, t: ti.i32, n: ti.i32):
        for i in range(n):
            self.f[t, i] += 1.0

    @ti.kernel
    def move2(self, t: ti.i32, m: float):
        self.f[t, 0] += m

    @ti.kernel
    def writes(self, t: ti.i32, b: ti.types.ndarray()):
        for i in range(N):
            b[i] = 1.0

    @ti.kernel
    def untyped(self, t: ti.i32):
        return self.x[t, 0]

    @ti.kernel
    def derived(self, t: ti.i32, m: float) -> float:
        self.f[t, 0] += m
        return m

    @ds.adjoint_of(derived)
    @ti.kernel
    def derived_adjoint(self, t: ti.i32, m: float):
        self.k.grad[None] += m * self.f.grad[t, 0]

    def step(self, t):
        self.misuse(self, t)
        self.move(t)

    def reset(self):
        pass


@pytest.mark.parametrize(
    ("misuse", "told"),
    [
        (
            lambda self, t: self.mean(t) > 0.0,
            "what kernel Misused.mean returns must only be passed on .* compared",
        ),
        (
            lambda self, t: 2.0 * self.mean(t),
            "returns must only be passed on to kernels, got it computed with",
        ),
        (lambda self, t: self.takes(t, self.mean(t)), "argument n of Misused.takes must be an integer"),
        (lambda self, t: self.takes(t, self.first(t)), r"argument n of Misused.takes must have shape \(\)"),
        (lambda self, t: self.derived(t, self.mean(t)), "derived must not take a value that is passed on"),
        (
            lambda self, t: self.move2(t, self.derived(t, 1.0)),
            "derived must not return a value that is passed",
        ),
        (lambda self, t: self.writes(t, self.table), "Constant b must not be written by kernels"),
        (lambda self, t: self.untyped(t), "a kernel that returns a value must name its type"),
        (lambda self, t: self.x.fill("a"), "State x must be filled with a number, got 'a'; pass one"),
    ],
)
def test_misuse_of_what_is_passed_on(runtime, misuse, told):
    with pytest.raises((TraceError, ds.errors.ConfigError), match=told):
        ds.plan(Misused(misuse), steps=2)


def test_an_integer_result_bounds_a_loop(runtime):
    sim = Misused(lambda self, t: self.takes(t, self.whole(t)))
    rollout = ds.Rollout(sim, steps=1)
    assert rollout.trajectory(sim.f)[0].tolist() == [1.0, 0.0, 0.0, 0.0]
    rollout.close()
    sim.k.fill(2.0)
    assert sim.k.numpy() == 2.0
    with pytest.raises(StateError, match="Scratch f must be filled inside a kernel"):
        sim.f.fill(0.0)
