"""Adjoints step by step, against the derivative of what is left to run, in every mode, window and layout."""

import numpy as np
import pytest
import taichi as ti

import diffsim as ds
from diffsim.engine import record
from diffsim.errors import ConfigError, StateError

STEPS, WORLDS = 9, 3
ENDS = [[4, 12, 2], [0, 9, 7], [12, 12, 12]]  # inside of windows, at their edges, before any step, never
PLANS = [("fused", None, 4), ("fused", 4, 1), ("fused", 1, 2), ("step", 4, 1), ("chunk", 4, 3)]


ANY = {"x": 4, "y": 3, "k": 3}  # axes of all States of real numbers


class Walk(ds.Simulator):
    """A State with a past, one that is changed in place, one that no step writes, a Control, and an end."""

    def __init__(self):
        self.x = ds.State(ds.vec2, 2, history=2, per_world=True)
        self.y = ds.State(ds.real, 2, per_world=True)  # written without the time
        self.k = ds.State(ds.real, 2)  # no step writes it
        self.n = ds.State(ds.i32)
        self.f = ds.Scratch(ds.vec2, 2)
        self.a = ds.Param(np.array(0.8))
        self.u = ds.Control(ds.real, per_world=True, every=2)
        self.end = ds.Constant(np.array(5.0), per_world=True)

    @ti.kernel
    def begin(self):
        if self.end[None] <= 0:
            self.done[None] = True

    def reset(self):
        self.begin()

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(2):
            self.f[t, i] = self.k[i] * ti.sin(self.x[t, i].yx) + self.u[t]
            self.x[t + 1, i] = self.a[None] * self.x[t, i] - 0.3 * self.x[t - 1, i] * self.y[i] + self.f[t, i]
        for _ in range(1):
            if t + 1 >= self.end[None]:
                self.done[None] = True

    @ti.kernel
    def turn(self, t: ti.i32):
        for i in range(2):
            self.y[i] += 0.1 * self.x[t + 1, i].x * self.y[i]

    def step(self, t):
        self.move(t)
        self.turn(t)

    @ti.kernel
    def pay(self, t: ti.i32):
        for i in range(2):
            self.cost[None] += (t + 1) * self.x[t + 1, i].x ** 2 + self.k[i] * self.y[t, i]

    def running_cost(self, t):
        self.pay(t)

    @ti.kernel
    def close(self, t: ti.i32):
        self.cost[None] += t * self.x[t, 0].y * self.x[t - 1, 1].x + self.y[t, 1] ** 2 + self.k[1] ** 3

    def terminal_cost(self, t):
        self.close(t)


def rest(t, x, past, y, k, a, u, end):
    """Return what the cost gets from step t on, and the States at its end, in NumPy."""
    cost, last = 0.0 * a, min(end, STEPS)
    for s in range(t, last):
        f = k[:, None] * np.sin(x[:, ::-1]) + u[s // 2]
        past, x = x, a * x - 0.3 * past * y[:, None] + f
        cost = cost + np.sum((s + 1) * x[:, 0] ** 2 + k * y)
        y = y + 0.1 * x[:, 0] * y
    return cost + last * x[0, 1] * past[1, 0] + y[1] ** 2 + k[1] ** 3


def slope(values, key, t, end):
    """Differentiate by one argument, exactly to rounding (complex steps)."""
    found = np.zeros(np.shape(values[key]))
    for index in np.ndindex(found.shape):
        moved = np.array(values[key], dtype=complex)
        moved[index] += 1e-30j
        found[index] = rest(t, **{**values, key: moved}, end=end).imag / 1e-30
    return found


@pytest.mark.parametrize(("mode", "window", "every"), PLANS)
def test_adjoints_are_slopes_of_what_is_left_to_run(runtime, mode, window, every):
    rollout = ds.Rollout(Walk(), STEPS, worlds=WORLDS, mode=mode, window=window)
    check(rollout, ENDS, every)
    assert rollout.plan.mode == mode


@pytest.mark.layouts  # on a device's memory the compiler is Taichi
def test_adjoints_of_few_worlds(runtime):
    check(ds.Rollout(Walk(), STEPS, worlds=2, window=4, mode="fused"), [[5, 12]], 2)


def test_adjoints_of_one_world(runtime):
    check(ds.Rollout(Walk(), STEPS, window=4, mode="fused"), [[5], [12]], 2)


def check(rollout, cases, every):
    sim, worlds = rollout.sim, rollout.worlds
    for seed, ends in enumerate(cases):
        rng = np.random.default_rng(seed)
        k, u = rng.normal(size=2), rng.normal(size=(worlds, (STEPS + 1) // 2))
        sim.k.set(k), sim.u.set(u if worlds > 1 else u[0])
        sim.x.set(rng.normal(size=(worlds, 2, 2))[0 if worlds == 1 else ...])
        sim.y.set(rng.normal(size=(worlds, 2))[0 if worlds == 1 else ...])
        sim.end.set(np.array(ends) if worlds > 1 else ends[0])
        path = {name: many(a, worlds) for name, a in rollout.trajectories([sim.x, sim.y]).items()}
        found = rollout.adjoints(["x", sim.y, "k", "u"], every)
        assert list(found) == ["x", "y", "k", "u"]
        compare({name: many(a, worlds) for name, a in found.items()}, path, k, u, ends, every)
        if rollout.plan.window != 4:  # one more backward pass to compile
            norms = rollout.adjoint_norms()
            total = sum(np.sum(many(found[n], worlds) ** 2, axis=tuple(range(2, a))) for n, a in ANY.items())
            np.testing.assert_allclose(many(norms, worlds)[::every] ** 2, total, rtol=1e-12)
        _, grads = rollout.value_and_grad(["y", "k"])
        np.testing.assert_array_equal(found["y"][0], grads["y"].reshape(found["y"][0].shape))
        total = many(found["k"], worlds)[0].sum(axis=0)
        np.testing.assert_allclose(total, grads["k"], rtol=1e-12)


def many(array, worlds):
    return array if worlds > 1 else array[:, None]


def compare(found, path, k, u, ends, every):
    frames = range(0, STEPS + 1, every)
    assert found["x"].shape == (len(frames), len(ends), 2, 2)
    assert found["k"].shape == (len(frames), len(ends), 2)
    assert found["u"].shape[:2] == (len(range(0, STEPS, every)), len(ends))
    for w, end in enumerate(ends):
        for f, step in enumerate(frames):
            t = min(step, end)  # behind its end a world is as it was then
            values = {
                "x": path["x"][t, w], "past": path["x"][max(t - 1, 0), w], "y": path["y"][t, w], "k": k,
                "a": 0.8, "u": u[w],
            }  # fmt: skip
            for name in "xyk":
                want = slope(values, name, t, end)
                np.testing.assert_allclose(found[name][f, w], want, rtol=1e-11, atol=1e-12)
        start = {**values, "x": path["x"][0, w], "past": path["x"][0, w], "y": path["y"][0, w]}
        want = slope(start, "u", 0, end)[np.arange(0, STEPS, every) // 2]
        np.testing.assert_allclose(found["u"][:, w], want, rtol=1e-11, atol=1e-12)


class Pull(ds.Simulator):
    """x' = A x - b x^3, and the cost w x at the end; some of it is of no use to adjoints."""

    def __init__(self):
        self.x = ds.State(ds.real, 3, init=[1.0, -0.5, 0.2], unit="m / s")
        self.n = ds.State(ds.i32)
        self.f = ds.Scratch(ds.real, 3)
        self.a, self.b = ds.Param(np.eye(3)), ds.Param(np.array(0.0))
        self.u = ds.Control(ds.real, 3)
        self.w = ds.Constant(np.array([1.0, 2.0, -1.0]))

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(3):
            for j in ti.static(range(3)):
                self.f[t, i] += self.a[i, j] * self.x[t, j]
        for i in range(3):
            self.x[t + 1, i] = self.f[t, i] - self.b[None] * self.x[t, i] ** 3 + self.u[t, i]

    def step(self, t):
        self.move(t)

    @ti.kernel
    def last(self, t: ti.i32):
        for i in range(3):
            self.cost[None] += self.w[i] * self.x[t, i]

    def terminal_cost(self, t):
        self.last(t)


@pytest.fixture(scope="module")
def pull(runtime):
    return ds.Rollout(Pull(), 12, window=5)


def test_adjoints_of_a_linear_system_are_powers_of_its_matrix(pull):
    sim = pull.sim
    a = np.random.default_rng(1).normal(size=(3, 3))
    sim.a.set(a), sim.b.set(0.0)
    want = np.stack([np.linalg.matrix_power(a.T, 12 - t) @ [1.0, 2.0, -1.0] for t in range(13)])
    found = pull.adjoints(sim.x)
    np.testing.assert_allclose(found, want, rtol=1e-10)
    assert (found.name, found.unit, found.time_unit) == ("d cost / d x", "1/(m / s)", "step")
    np.testing.assert_array_equal(found.times, np.arange(13))
    assert list(pull.adjoints(every=50)) == ["x"]
    np.testing.assert_allclose(pull.adjoints(every=50)["x"], want[:1], rtol=1e-10)
    np.testing.assert_allclose(pull.adjoints({"push": sim.u}, 5)["push"], want[1::5], rtol=1e-10)


def test_adjoints_are_differences_of_rollouts_that_begin_there(pull):
    sim = pull.sim
    sim.a.set(np.eye(3) + 0.1), sim.b.set(0.2)
    path, found = pull.trajectory(sim.x), pull.adjoints(sim.x)
    other = Pull()
    other.a.set(sim.a.numpy()), other.b.set(0.2)
    for t in (3, 8):
        with ds.Rollout(other, 12 - t) as left:
            for i, move in enumerate(1e-6 * np.eye(3)):
                ends = []
                for sign in (1.0, -1.0):
                    other.x.set(path[t] + sign * move)
                    ends.append(left.value())
                assert (ends[0] - ends[1]) / 2e-6 == pytest.approx(found[t, i], rel=1e-8)


def test_places_too_few_would_be_seen(runtime, monkeypatch):
    monkeypatch.setattr(record, "places_for", lambda layout, every: 2)
    with pytest.raises(AssertionError):
        check(ds.Rollout(Walk(), STEPS, worlds=WORLDS, mode="fused", window=4), ENDS, 1)


def test_what_has_no_adjoint_is_refused(pull, runtime):
    sim = pull.sim
    for what, message in [
        (sim.f, "got Scratch f; add a Control of zeros"),
        (sim.n, "got State n, which holds integers"),
        (sim.a, "got Param a, which has no value for each step; ask value_and_grad"),
        ("speed", "got 'speed'; it has x, u"),
        ([], "got none; leave them out"),
        (3, "got 3; it has x, u"),
    ]:
        with pytest.raises(ConfigError, match=message):
            pull.adjoints(what)
    for every in (0, 1.5, True, "8"):
        with pytest.raises(ConfigError, match="every must be a positive integer"):
            pull.adjoints(sim.x, every)
    with (
        ds.Rollout(Pull(), 4, worlds=2) as two,
        pytest.raises(ConfigError, match="Control that each world has for itself, got Control u, which 2"),
    ):
        two.adjoints("u")
    with pytest.raises(StateError, match="must be open"):
        two.adjoints("x")


def test_frames_that_do_not_fit_are_refused_with_what_does(pull, monkeypatch):
    monkeypatch.setattr("diffsim.rollout.adjoints._memory_of_machine", lambda: 400)
    with pytest.raises(ConfigError, match=r"all of them on the host fit in 200 B, got 1, .* use every=2, or"):
        pull.adjoints("x")
    assert pull.adjoints("x", 2).shape == (7, 3)
    monkeypatch.setattr("diffsim.rollout.adjoints._memory_of_machine", lambda: 40)
    with pytest.raises(ConfigError, match="for which they take 312 B; name fewer fields"):
        pull.adjoints("x")
