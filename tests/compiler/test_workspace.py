"""Methods with an adjoint of their own: solvers that overwrite a Workspace, in all modes, windows, worlds."""

import numpy as np
import pytest
import taichi as ti

import diffsim as ds
from diffsim.errors import ConfigError, GradientError, TraceError

N, ROUNDS = 6, 100


@ti.func
def cube(x):
    return x * x * x


class Diffusion(ds.Part):
    """Solve `(1 + L(c)) y = b` by Jacobi's iteration; `(L(c) y)_i` adds up `c_ij (y_i - y_j)` over j."""

    enough = 1e-15

    def __init__(self, conductivity):
        self.c = conductivity
        self.b = ds.Workspace(ds.real, N)
        self.y = ds.Workspace(ds.real, N)
        self.z = ds.Workspace(ds.real, N)
        self.rounds = ds.Workspace(ds.real)
        self.done = ds.Workspace(ds.real)

    @ti.kernel
    def sweep(self):
        for i in range(N):
            total, weight = self.b[i], 1.0
            if i > 0:
                total += self.c[i - 1] * self.y[i - 1]
                weight += self.c[i - 1]
            if i < N - 1:
                total += self.c[i] * self.y[i + 1]
                weight += self.c[i]
            self.z[i] = total / weight

    @ti.kernel
    def look(self):
        for _ in range(1):
            worst = 0.0
            largest = 0.0
            for i in range(N):
                worst = ti.max(worst, abs(self.z[i] - self.y[i]))
                largest = ti.max(largest, abs(self.z[i]))
            self.rounds[None] += 1.0
            if worst <= self.enough * largest:
                self.done[None] = 1.0

    @ti.kernel
    def advance(self):
        for i in range(N):
            self.y[i] = self.z[i]

    def iterate(self):
        for _ in ds.repeat(ROUNDS, until=self.done):
            self.sweep()
            self.look()
            self.advance()


class Heated(ds.Simulator):
    """Heat that spreads implicitly, with a source that depends on it."""

    fault = 1.0
    per_world = False

    def __init__(self):
        rng = np.random.default_rng(0)
        self.x = ds.State(ds.real, N, init=rng.normal(size=N), per_world=self.per_world)
        self.w = ds.Param(rng.uniform(0.5, 1.0, size=N))
        self.c = ds.Param(rng.uniform(0.1, 0.4, size=N - 1))
        self.f = ds.Scratch(ds.real, N)
        self.used = ds.Scratch(ds.real)
        self.solver = Diffusion(self.c)

    @ti.kernel
    def heat(self, t: ti.i32):
        for i in range(N):
            self.f[t, i] = self.x[t, i] + 0.3 * self.w[i] * ti.sin(self.x[t, i])

    @ti.kernel
    def load(self, t: ti.i32):
        for i in range(N):
            self.solver.b[i] = self.f[t, i]

    @ti.kernel
    def store(self, t: ti.i32):
        for i in range(N):
            self.x[t + 1, i] = self.solver.z[i]
        for _ in range(1):
            self.used[t] = self.solver.rounds[None]

    def spread(self, t):
        self.load(t)
        self.solver.iterate()
        self.store(t)

    @ti.kernel
    def load_adjoint(self, t: ti.i32):
        for i in range(N):
            self.solver.b[i] = self.x.grad[t + 1, i]

    @ti.kernel
    def add_adjoint(self, t: ti.i32):
        for i in range(N):
            self.f.grad[t, i] += self.fault * self.solver.z[i]
        for i in range(N - 1):
            bend = self.x[t + 1, i] - self.x[t + 1, i + 1]
            self.c.grad[i] -= bend * (self.solver.z[i] - self.solver.z[i + 1])

    @ds.adjoint_of(spread)
    def spread_adjoint(self, t):
        self.load_adjoint(t)
        self.solver.iterate()
        self.add_adjoint(t)

    def step(self, t):
        self.heat(t)
        self.spread(t)

    @ti.kernel
    def warmth(self, t: ti.i32):
        for i in range(N):
            self.cost[None] += (i + 1.0) * self.x[t, i] ** 2

    def running_cost(self, t):
        self.warmth(t)

    def terminal_cost(self, t):
        self.warmth(t)


class Planted(Heated):
    """The same with a fault in the adjoint."""

    fault = 1.02


class Unrolled(Heated):
    """The same iteration without an adjoint of its own: rounds keep their values, and are differentiated."""

    def __init__(self):
        super().__init__()
        self.y = ds.Scratch(ds.real, 64, N)

    @ti.kernel
    def rounds(self, t: ti.i32):
        for _ in range(1):
            for k in range(63):
                for i in range(N):
                    total, weight = self.f[t, i], 1.0
                    if i > 0:
                        total += self.c[i - 1] * self.y[t, k, i - 1]
                        weight += self.c[i - 1]
                    if i < N - 1:
                        total += self.c[i] * self.y[t, k, i + 1]
                        weight += self.c[i]
                    self.y[t, k + 1, i] = total / weight

    @ti.kernel
    def keep(self, t: ti.i32):
        for i in range(N):
            self.x[t + 1, i] = self.y[t, 63, i]

    def spread(self, t):  # overridden: a plain method again
        self.rounds(t)
        self.keep(t)


def gradients_of(sim, **options):
    rollout = ds.Rollout(sim, **{"steps": 5, **options})
    found = rollout.value_and_grad(wrt=[sim.x, sim.w, sim.c])
    rollout.close()
    return found


def assert_same(one, other, rtol=1e-11):
    np.testing.assert_allclose(one[0], other[0], rtol=rtol)
    for key, gradient in one[1].items():
        np.testing.assert_allclose(gradient, other[1][key], rtol=rtol, atol=1e-13, err_msg=key)


@pytest.fixture(scope="module")
def reference(runtime):
    return gradients_of(Heated(), mode="step")


def test_the_solver_solves(runtime):
    """Steps against NumPy's direct solution; the iteration stops before its limit, in each step by itself."""
    sim = Heated()
    rollout = ds.Rollout(sim, steps=3)
    frames = rollout.trajectories({"x": sim.x, "used": sim.used})
    c, w, x = sim.c.numpy(), sim.w.numpy(), sim.x.numpy()
    matrix = np.eye(N) + np.diag(np.r_[c, 0] + np.r_[0, c]) - np.diag(c, 1) - np.diag(c, -1)
    for k in range(3):
        x = np.linalg.solve(matrix, x + 0.3 * w * np.sin(x))
        np.testing.assert_allclose(frames["x"][k + 1], x, rtol=1e-13)
    assert np.all((frames["used"] > 10) & (frames["used"] < ROUNDS))
    rollout.close()


def test_gradients_against_differences(runtime):
    sim = Heated()
    rollout = ds.Rollout(sim, steps=5)
    report = rollout.check_grad(wrt=[sim.x, sim.w, sim.c], tolerance=1e-7)
    assert report.passed, report
    assert any("Heated.spread has an adjoint of its own" in note for note in report.notes)
    story = str(rollout.explain())
    assert "it belongs to Heated.spread, whose adjoint was given with adjoint_of as a whole" in story
    assert "it is run 100 times, until Workspace solver.done is set" in story
    rollout.close()


def test_a_fault_in_an_adjoint_is_found(runtime):
    sim = Planted()
    rollout = ds.Rollout(sim, steps=2)
    assert rollout.check_grad(wrt=[sim.x], modes=False).verdict == "wrong"
    rollout.close()


def test_the_adjoint_equals_that_of_the_unrolled_iteration(reference):
    assert_same(gradients_of(Unrolled(), mode="fused"), reference, rtol=1e-10)


def test_modes_and_windows_agree(reference):
    for options in ({"mode": "fused"}, {"mode": "fused", "window": 2}, {"mode": "step", "window": 2}):
        assert_same(gradients_of(Heated(), **options), reference)


class Few(Heated):
    """So few rounds that mode `chunk`, which writes them all out, compiles soon."""

    def spread(self, t):
        self.load(t)
        for _ in ds.repeat(3, until=self.solver.done):
            self.solver.sweep()
            self.solver.look()
            self.solver.advance()
        self.store(t)

    @ds.adjoint_of(spread)
    def spread_adjoint(self, t):
        self.load_adjoint(t)
        for _ in ds.repeat(3, until=self.solver.done):
            self.solver.sweep()
            self.solver.look()
            self.solver.advance()
        self.add_adjoint(t)


def test_mode_chunk_agrees(runtime):
    one, other = (gradients_of(Few(), steps=4, mode=mode) for mode in ("chunk", "step"))
    assert_same(one, other)
    assert one[0] != pytest.approx(gradients_of(Heated(), steps=4, mode="step")[0], rel=1e-6)


def test_checkpoints_give_the_same_bits(runtime):
    sim = Heated()
    stored, replayed = gradients_of(sim, mode="fused"), gradients_of(sim, mode="fused", window=1)
    assert stored[0] == replayed[0]
    for key, gradient in stored[1].items():
        np.testing.assert_array_equal(gradient, replayed[1][key])


class Worlds(Heated):
    per_world = True


@pytest.mark.parametrize("mode", ["fused", "step"])
def test_worlds_stop_by_themselves(runtime, mode):
    """Each world is what it is alone, though others need more rounds."""
    starts = np.stack([np.zeros(N), np.ones(N), np.random.default_rng(3).normal(size=N)])
    sim = Worlds()
    sim.x.set(starts)
    rollout = ds.Rollout(sim, steps=3, worlds=3, mode=mode)
    cost, gradients = rollout.value_and_grad(wrt=[sim.x, sim.c])
    rounds = rollout.trajectory(sim.used)
    rollout.close()
    assert rounds[0, 0] < rounds[0, 2]
    total = np.zeros(N - 1)
    alone = Heated()
    rollout = ds.Rollout(alone, steps=3, mode=mode)
    for k, start in enumerate(starts):
        alone.x.set(start)
        one, mine = rollout.value_and_grad(wrt=[alone.x, alone.c])
        np.testing.assert_allclose(cost[k], one, rtol=1e-12)
        np.testing.assert_allclose(gradients["x"][k], mine["x"], rtol=1e-11, atol=1e-14)
        total += mine["c"]
    rollout.close()
    np.testing.assert_allclose(gradients["c"], total, rtol=1e-11)


class Remembering(Heated):
    """A Workspace that is added to: it must begin at zero in each step and in each adjoint."""

    @ti.kernel
    def load(self, t: ti.i32):
        for i in range(N):
            self.solver.b[i] += 0.5 * self.f[t, i]
        for i in range(N):
            self.solver.b[i] += 0.5 * self.f[t, i]

    @ti.kernel
    def load_adjoint(self, t: ti.i32):
        for i in range(N):
            self.solver.b[i] += self.x.grad[t + 1, i]

    def spread(self, t):
        self.load(t)
        self.solver.iterate()
        self.store(t)

    @ds.adjoint_of(spread)
    def spread_adjoint(self, t):
        self.load_adjoint(t)
        self.solver.iterate()
        self.add_adjoint(t)


def test_a_workspace_begins_at_zero(reference):
    assert_same(gradients_of(Remembering(), mode="fused"), reference)


class Twice(Heated):
    """What the method overwrites was written before: the adjoint of that must be cleared."""

    @ti.kernel
    def early(self, t: ti.i32):
        for i in range(N):
            self.x[t + 1, i] = 5.0 * self.w[i]

    def step(self, t):
        self.heat(t)
        self.early(t)
        self.spread(t)


def test_what_is_overwritten_is_cleared(reference):
    assert_same(gradients_of(Twice(), mode="fused"), reference)


class Ending(Worlds):
    @ti.kernel
    def finish(self, t: ti.i32):
        for _ in range(1):
            if self.x[t + 1, 0] > 2.2:
                self.done[None] = True

    def step(self, t):
        super().step(t)
        self.finish(t)


def test_worlds_that_end_early(runtime):
    starts = np.random.default_rng(1).normal(size=(3, N)) + 2.0
    found = []
    for mode in ("fused", "step"):
        sim = Ending()
        sim.x.set(starts)
        rollout = ds.Rollout(sim, steps=6, worlds=3, mode=mode, window=2)
        found.append(rollout.value_and_grad(wrt=[sim.x, sim.c]))
        assert len(set(rollout.lengths)) > 1
        rollout.close()
    assert_same(*found)


# ---- what is refused ----


class Touched(Heated):
    @ti.kernel
    def heat(self, t: ti.i32):
        for i in range(N):
            self.f[t, i] = self.x[t, i] + self.solver.z[i]


class Racing(Heated):
    @ti.kernel
    def load(self, t: ti.i32):
        for i in range(1, N):
            self.solver.b[i] = self.solver.b[i - 1] + self.f[t, i]

    def spread(self, t):
        self.load(t)
        self.store(t)

    @ds.adjoint_of(spread)
    def spread_adjoint(self, t):
        self.add_adjoint(t)


class RacingAdjoint(Racing):
    def spread(self, t):
        self.store(t)

    @ds.adjoint_of(spread)
    def spread_adjoint(self, t):
        self.load(t)


class Chosen(Heated):
    @ti.kernel
    def store(self, t: ti.i32):
        for i in range(N):
            if self.solver.z[i] > 0.0:
                self.x[t + 1, i] = self.solver.z[i]

    def spread(self, t):
        self.load(t)
        self.store(t)

    @ds.adjoint_of(spread)
    def spread_adjoint(self, t):
        self.add_adjoint(t)


class Outside(Heated):
    def step(self, t):
        for _ in ds.repeat(3):
            self.heat(t)


class Nested(Heated):
    def spread(self, t):
        for _ in ds.repeat(3):
            for _ in ds.repeat(3):
                self.store(t)

    @ds.adjoint_of(spread)
    def spread_adjoint(self, t):
        self.add_adjoint(t)


class Empty(Heated):
    def spread(self, t):
        self.store(t)

    @ds.adjoint_of(spread)
    def spread_adjoint(self, t):
        pass


@pytest.mark.parametrize(
    ("kind", "error", "words"),
    [
        (
            Touched,
            TraceError,
            r"Workspace solver.z must be used only by kernels that a method .*WORKSPACE\]",
        ),
        (Racing, GradientError, r"Workspace solver.b must not be written by one iteration .*RACE\]"),
        (RacingAdjoint, GradientError, r"Workspace solver.b must not be written by one iteration .*RACE\]"),
        (
            Chosen,
            GradientError,
            r"Chosen.spread must store fields at places that do not depend on a Workspace",
        ),
        (Outside, TraceError, r"repeat must stand in a method with an adjoint of its own .* another place"),
        (Nested, TraceError, r"got a repeat in a repeat"),
        (Empty, TraceError, r"Empty.spread_adjoint must call at least one kernel, got none"),
    ],
)
def test_what_is_refused(runtime, kind, error, words):
    with pytest.raises(error, match=words):
        ds.plan(kind(), steps=2)


def test_arguments_are_checked(runtime):
    with pytest.raises(ConfigError, match=r"repeat count must be an integer from 1 to 100000, got 0"):
        list(ds.repeat(0))
    with pytest.raises(
        ConfigError, match=r"repeat until must be a Workspace of one number, got <Workspace: ds.real\[4\]>"
    ):
        list(ds.repeat(3, until=ds.Workspace(ds.real, 4)))
    with pytest.raises(ConfigError, match=r"Workspace shape must be positive integers"):
        ds.Workspace(ds.real, 0)
    sim = Heated()
    rollout = ds.Rollout(sim, steps=1)
    with pytest.raises(ConfigError, match=r"trajectory must be of a State, Scratch or Control"):
        rollout.trajectory(sim.solver.z)
    rollout.close()


def test_what_adjoint_of_takes():
    def loose(t):
        pass

    with pytest.raises(ConfigError, match=r"or pass a method of a Part"):
        ds.adjoint_of(loose)
    with pytest.raises(ConfigError, match=r"the adjoint of iterate must be a method like it"):
        ds.adjoint_of(Diffusion.iterate)(cube)
