"""What a rollout takes and says beside its numbers: keys, 0-d arrays, `with`, reprs; when it was closed."""

import numpy as np
import pytest
import taichi as ti

import diffsim as ds
from diffsim.errors import ConfigError, StateError, TraceError

STEPS, DT = 6, 0.1


class Motor(ds.Part):
    """Something with fields of its own."""

    def __init__(self):
        self.gain = ds.Param(np.array(0.5))
        self.said = ds.Scratch(ds.real)

    @ti.kernel
    def say(self, t: ti.i32):
        for _ in range(1):
            self.said[t] = 2.0 * t

    def __call__(self, t):
        self.say(t)


class Mass(ds.Simulator):
    """A mass on a spring, pushed by a motor; its past is a State of its own."""

    def __init__(self, per_world=False):
        self.x = ds.State(ds.vec2, 2, init=[[1.0, 0.5], [-0.5, 0.2]], per_world=per_world)
        self.v = ds.State(ds.real, per_world=per_world)
        self.k = ds.Param(0.7)
        self.u = ds.Control(ds.real, 2)
        self.bound = ds.Constant(np.array([np.inf, -np.inf]))
        self.motor = Motor()

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(2):
            push = self.motor.gain[None] * self.v[t] + self.u[t, i]
            self.x[t + 1, i] = ti.min(self.x[t, i] + DT * (push - self.k[None] * self.x[t, i]), self.bound[0])

    @ti.kernel
    def turn(self, t: ti.i32):
        for _ in range(1):
            self.v[t + 1] = self.v[t] + DT * self.x[t, 0].sum()

    def step(self, t):
        self.motor(t)
        self.move(t)
        self.turn(t)

    @ti.kernel
    def miss(self, t: ti.i32):
        for i in range(2):
            self.cost[None] += self.x[t, i].norm_sqr() + self.v[t] ** 2

    def terminal_cost(self, t):
        self.miss(t)


@pytest.fixture(scope="module")
def rollout(runtime):
    return ds.Rollout(Mass(), steps=STEPS, mode="step")


@pytest.fixture
def fresh(rollout):
    """The rollout with the values it was made with, before any run."""
    sim = rollout.sim
    sim.x.set([[1.0, 0.5], [-0.5, 0.2]]), sim.v.set(0.0), sim.u.set(0.0), sim.bound.set([np.inf, -np.inf])
    rollout._ending.__init__(rollout._engine, rollout._inputs)
    return rollout


# ---- going on from the end ----


def test_a_run_in_two_parts_is_one_long_run(fresh):
    sim = fresh.sim
    u = np.random.default_rng(2).normal(size=(2 * STEPS, 2))
    with ds.Rollout(Mass(), steps=2 * STEPS, mode="step") as long:
        long.sim.u.set(u)
        cost, want = long.value(), {key: long.trajectory(key) for key in ("x", "v")}
    sim.u.set(u[:STEPS])
    fresh.value()
    for key, values in fresh.final().items():
        np.testing.assert_array_equal(values, want[key][STEPS])
        getattr(sim, key).set(values)
    sim.u.set(u[STEPS:])
    assert fresh.value() == cost
    np.testing.assert_array_equal(fresh.final("x"), want["x"][-1])
    np.testing.assert_array_equal(fresh.final(sim.v), want["v"][-1])
    assert fresh.final("x").shape == (2, 2)
    assert isinstance(fresh.final("v"), np.ndarray)  # one number too
    assert fresh.final("v").shape == ()


@pytest.mark.layouts
@pytest.mark.parametrize("window", [None, 2])
def test_worlds_go_on_where_they_ended(runtime, window):
    sim, starts = Mass(per_world=True), np.random.default_rng(3).normal(size=(3, 2, 2))
    sim.x.set(starts)
    with (
        ds.Rollout(sim, STEPS, worlds=3, mode="step", window=window) as three,
        ds.Rollout(Mass(), STEPS, mode="step") as one,
    ):
        three.value_and_grad()  # in windows: the last segment is no longer in memory
        final = three.final()
        assert {key: values.shape for key, values in final.items()} == {"x": (3, 2, 2), "v": (3,)}
        for key, values in final.items():
            getattr(sim, key).set(values)  # which changes nothing of what `final` tells of the last run
        np.testing.assert_array_equal(three.final("x"), final["x"])
        for w in range(3):
            one.sim.x.set(starts[w])
            np.testing.assert_allclose(final["x"][w], one.trajectory("x")[-1], rtol=1e-14)
        with pytest.raises(ConfigError, match=r"shape \(2, 2\), got \(3, 2, 2\); declare it with per_world"):
            one.sim.x.set(final["x"])
        np.testing.assert_array_equal(three.trajectory("x")[0], final["x"])


def test_the_end_is_that_of_the_last_run(fresh):
    sim = fresh.sim
    with pytest.raises(StateError, match="final must be read after a run, got none yet; call value"):
        fresh.final()
    path = fresh.trajectory("x")
    sim.x.set(3.0)
    np.testing.assert_array_equal(fresh.final("x"), path[-1])  # still in memory, whatever was set
    fresh.value()
    fresh.check_grad(directions=1, forward=False, modes=False)  # runs, but is none of the user's
    np.testing.assert_array_equal(fresh.final("x"), fresh.trajectory("x")[-1])
    with pytest.raises(ConfigError, match="final must be of a State of Mass, got 'k'; it has x, v"):
        fresh.final("k")


RUNS = {
    "value": lambda r: r.value(),
    "value_and_grad": lambda r: r.value_and_grad(),
    "watched": lambda r: r.value_and_grad(debug="nan"),
    "evaluate": lambda r: r.evaluate(),
    "trajectory": lambda r: r.trajectory("v"),
}


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_whatever_runs_leaves_its_own_end(fresh, run):
    """Also where the end of an earlier run was asked for, and other values were set since."""
    fresh.value()
    earlier = fresh.final("x")
    fresh.sim.v.set(1.0)
    fresh.sim.bound.set(1e9)  # who watches for NaN takes infinities for one
    run(fresh)
    end = fresh.final("x")
    assert not np.array_equal(end, earlier)
    np.testing.assert_array_equal(end, fresh.trajectory("x")[-1])


def test_a_run_that_failed_has_no_end(runtime):
    stops = []

    def stop(done, total, phase):
        if stops:
            raise InterruptedError

    with ds.Rollout(Mass(), STEPS, mode="step", window=2, progress=stop) as rollout:
        rollout.value()
        rollout.final()
        stops.append(True)
        with pytest.raises(InterruptedError):
            rollout.value()
        with pytest.raises(StateError, match="after a run, got one that failed; call value"):
            rollout.final()


@pytest.mark.layouts
@pytest.mark.parametrize("read", [lambda rollout: rollout.close(), lambda rollout: rollout.sim.k.numpy()])
def test_values_come_home_while_another_rollout_is_traced(runtime, layout, read):
    """As where the garbage collector closes a rollout, or `step` reads what an optimizer has changed."""
    assert runtime.device_layout == (layout == "device")  # beside tests without the mark, too
    old, waiting = ds.Rollout(Mass(), STEPS, mode="step"), []

    class Reading(Mass):
        def step(self, t):
            while waiting:
                read(waiting.pop())
            super().step(t)

    with ds.Rollout(Reading(), STEPS, mode="step") as rollout, old:
        cost = rollout.value()
        ds.minimize(old, "k", ds.optim.SGD(lr=0.1, normalize=True), iterations=2)
        waiting.append(old)
        assert rollout.value() == cost
        assert not waiting
        np.testing.assert_allclose(abs(old.sim.k.numpy() - 0.7), 0.2, rtol=1e-12)


def test_an_end_that_is_gone_is_not_made_up(runtime):
    sim = Mass()
    with ds.Rollout(sim, STEPS, mode="step", window=2) as rollout:
        rollout.value_and_grad()
        sim.k.set(0.9)
        with pytest.raises(StateError, match="before values change, got another k since the run"):
            rollout.final()
        rollout.value_and_grad()
        leaves = rollout.leaves("k")
        rollout.touch(leaves)  # so do optimisers
        with pytest.raises(StateError, match="got another k since the run"):
            rollout.final()
        rollout.value()
        np.testing.assert_array_equal(rollout.final("x"), rollout.trajectory("x")[-1])


def test_fields_made_by_hand_may_have_changed(runtime):
    class Pushed(Mass):
        def __init__(self):
            super().__init__()
            self.wind = ti.field(ti.f64, shape=())

        @ti.kernel
        def turn(self, t: ti.i32):
            for _ in range(1):
                self.v[t + 1] = self.v[t] + self.wind[None]

    with ds.Rollout(Pushed(), STEPS, mode="step", window=2) as rollout:
        rollout.value_and_grad()
        rollout.sim.wind[None] = 2.0
        with pytest.raises(StateError, match=r"got a gradient in several segments, .* call value"):
            rollout.final()
        rollout.value()
        assert rollout.final("v") == 2.0 * STEPS


def test_the_past_begins_anew(runtime):
    """What `final` says of States with history: the restart has its new initial value for its past."""

    class Wave(ds.Simulator):
        def __init__(self):
            self.x = ds.State(ds.real, init=1.0, history=2)

        @ti.kernel
        def move(self, t: ti.i32):
            for _ in range(1):
                self.x[t + 1] = 1.5 * self.x[t] - 0.75 * self.x[t - 1]

        def step(self, t):
            self.move(t)

    with ds.Rollout(Wave(), 3, mode="step") as rollout:
        path = [1.0, 1.0]
        for _ in range(3):
            path.append(1.5 * path[-1] - 0.75 * path[-2])
        rollout.value()
        assert rollout.final("x") == path[-1]
        rollout.sim.x.set(rollout.final("x"))
        assert rollout.trajectory("x")[1] == 0.75 * path[-1]


# ---- names and numbers ----


def test_fields_are_named_by_their_keys(fresh):
    sim = fresh.sim
    np.testing.assert_array_equal(fresh.trajectory("motor.said"), 2.0 * np.arange(STEPS))
    found = fresh.trajectories(["x", sim.motor.said], every=np.array(2))
    assert list(found) == ["x", "motor.said"]
    np.testing.assert_array_equal(found["x"], fresh.trajectory(sim.x, every=2))
    assert fresh.trajectories({"path": "x", "v": sim.v})["path"].shape == (STEPS + 1, 2, 2)
    assert list(fresh.trajectories("x")) == list(fresh.trajectories(sim.x)) == ["x"]
    wrong = {"y": "'y'", "motor.gain": "'motor.gain'", sim.k: "<Param k: ds.real, 0.7>", 3: "3"}
    for bad, said in wrong.items():
        with pytest.raises(ConfigError, match=f"or Control of Mass, got {said}; it has x, v, u"):
            fresh.trajectory(bad)
    assert list(fresh.value_and_grad("motor")[1]) == ["motor.gain"]
    assert list(fresh.value_and_grad({"k": 1, "x": 2}.keys())[1]) == ["k", "x"]


def test_numbers_may_be_arrays_without_axes(runtime):
    five = np.array(5)
    sim = Mass()
    options = {"worlds": np.int64(2), "memory": np.array(1 << 20), "window": np.array(5)}
    with ds.Rollout(sim, five, mode="step", **options) as r:
        assert (r.steps, r.worlds, type(r.steps), type(r.worlds)) == (5, 2, int, int)
        assert r.trajectory("x", every=np.array(5)).shape == (2, 2, 2, 2)
        sim.k.set(np.array(0.5))
        assert sim.k.numpy() == 0.5
        assert r.check_grad("k", directions=np.array(1), seed=five, components=np.array(0)).passed
        result = ds.minimize(r, "k", ds.optim.SGD(lr=np.array(1e-3)), iterations=np.array(1))
        assert result.costs.shape == (1, 2)
    assert ds.plan(sim, five).steps == 5
    assert ds.State(ds.real, np.array(3), history=np.array(2)).shape == (3,)
    for bad in (np.array(2.5), np.array(True), np.array([5]), np.float64(5.0)):
        with pytest.raises(ConfigError, match="steps must be a positive integer"):
            ds.Rollout(sim, bad)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((Mass, 3), TraceError, "simulator must be a ds.Simulator, got type; inherit"),
        ((None, 3), TraceError, "simulator must be a ds.Simulator, got NoneType"),
        ((3, Mass()), ConfigError, "steps must be a positive integer of 31 bits, got <Mass: State x, v"),
        ((Mass(), "5"), ConfigError, "steps must be a positive integer of 31 bits, got '5'"),
        ((Mass(), 3, None), ConfigError, "worlds must be a positive integer of 31 bits, got None"),
        ((Mass(), 3, 1, None), ConfigError, "memory must be a number of bytes"),
        (
            (Mass(), 3, 1, "1GiB", 5),
            ConfigError,
            "mode must be one of auto, step, chunk, fused, tape, python, got 5",
        ),
    ],
)
def test_wrong_types_are_told(runtime, arguments, error, words):
    with pytest.raises(error, match=words):
        ds.Rollout(*arguments)


# ---- reprs ----


def test_reprs_are_short_and_tell(fresh):
    sim = fresh.sim
    assert repr(sim) == (
        "<Mass: State x, v; Param k, motor.gain; Control u; Constant bound; Scratch motor.said>"
    )
    assert repr(sim.motor) == "<Motor: Param gain; Scratch said>"
    assert repr(sim.x) == "<State x: ds.vec2[2], -0.5 .. 1>"
    assert repr(sim.bound) == "<Constant bound: ds.real[2], -inf .. inf>"
    assert repr(sim.motor.said) == "<Scratch motor.said: ds.real>"
    assert repr(sim.cost) == "<Cost cost: ds.real>"
    assert repr(ds.Param(ds.real, 2, per_world=True)) == "<Param: ds.real[2], per world, 0>"
    assert repr(fresh) == "<Rollout of Mass: 6 steps, step>"
    leaves = fresh.leaves("k")
    assert repr(leaves[0]) == "<Leaf k: ()>"
    fresh.touch(leaves)
    assert repr(sim.k) == "<Param k: ds.real>"  # a look fetches nothing
    many = Motor()
    many.more = [ds.Param(0.0) for _ in range(9)]
    assert (
        repr(many) == "<Motor: Param gain, more.0, more.1, more.2, more.3, more.4 and 4 more; Scratch said>"
    )


def test_reprs_of_what_could_not_be_made():
    for made in (ds.Rollout, ds.Param, ds.State, ds.Scratch):
        assert f"<{made.__name__} that could not be" in repr(made.__new__(made))
    assert repr(Mass.__new__(Mass)) == "<Mass>"


# ---- after the end ----


@pytest.fixture(scope="module")
def closed(runtime):
    with ds.Rollout(Mass(), steps=STEPS, worlds=2, mode="step") as rollout:
        rollout.value_and_grad()
        leaf = rollout.leaves("k")[0]
        spent = rollout.compile_seconds
    return rollout, leaf, spent


USES = {
    "value": lambda r, leaf: r.value(),
    "gradient": lambda r, leaf: r.value_and_grad(),
    "debug": lambda r, leaf: r.value_and_grad(debug="nan"),
    "evaluate": lambda r, leaf: r.evaluate(),
    "trajectory": lambda r, leaf: r.trajectory("x"),
    "trajectories": lambda r, leaf: r.trajectories(["x"]),
    "final": lambda r, leaf: r.final(),
    "check": lambda r, leaf: r.check_grad(),
    "health": lambda r, leaf: r.health(),
    "warning": lambda r, leaf: r.gradient_warning(0.0),
    "leaves": lambda r, leaf: r.leaves(),
    "touch": lambda r, leaf: r.touch([leaf]),
    "with": lambda r, leaf: r.__enter__(),
}


@pytest.mark.parametrize("use", USES)
def test_a_closed_rollout_says_so(closed, use):
    rollout, leaf, _ = closed
    with pytest.raises(StateError, match="the rollout must be open, got a closed one; make a new Rollout"):
        USES[use](rollout, leaf)


def test_what_a_closed_rollout_still_tells(closed):
    rollout, leaf, spent = closed
    assert rollout.closed
    assert repr(rollout) == "<Rollout of Mass: 6 steps, 2 worlds, closed>"
    assert "mode" in str(rollout.plan)
    assert rollout.compile_seconds == spent > 0.0
    assert "Mass.move" in str(rollout.explain())
    np.testing.assert_array_equal(rollout.lengths, [STEPS, STEPS])
    rollout.close()
    assert leaf.numpy() == 0.7
    for read in (lambda: leaf.values, lambda: leaf.grads, leaf.gradient):
        with pytest.raises(StateError, match="the rollout of k must be open"):
            read()
    with pytest.raises(StateError, match="closed"):
        ds.minimize(rollout, iterations=1)


def test_a_rollout_is_closed_when_its_block_fails(runtime):
    with pytest.raises(ZeroDivisionError), ds.Rollout(Mass(), 2, mode="step") as rollout:
        _ = 1 / 0
    assert rollout.closed


class Grown(ds.Simulator):
    """Growth by Params in a list, at a rate and over a length that are attributes."""

    def __init__(self, rate, length):
        self.rate, self.length = rate, length
        self.x = ds.State(ds.real, 2, init=1.0)
        self.factors = [ds.Param(np.array([2.0, 3.0])), ds.Param(np.array([4.0, 5.0]))]

    @ti.kernel
    def grow(self, t: ti.i32):
        for i in range(self.length):
            self.x[t + 1, i] = self.x[t, i] + self.rate * self.factors[1][i]

    def step(self, t):
        self.grow(t)

    @ti.kernel
    def measure(self, t: ti.i32):
        for i in range(self.length):
            self.cost[None] += self.x[t, i]

    def terminal_cost(self, t):
        self.measure(t)


@pytest.mark.parametrize("kind", [float, np.float32, np.array])
def test_kernels_take_numbers_of_numpy(runtime, kind):
    """And do not take a list of small Params, which NumPy can read now, for a matrix."""
    sim = Grown(kind(0.5), np.array(2))
    with ds.Rollout(sim, 2, mode="step") as rollout:
        cost, grads = rollout.value_and_grad()
        assert cost == 2.0 + 0.5 * 2 * (4.0 + 5.0)
        np.testing.assert_array_equal(grads["factors.1"], [1.0, 1.0])
        sim.factors[1].set([6.0, 7.0])  # no value that kernels saw
        assert rollout.value() == 2.0 + 0.5 * 2 * (6.0 + 7.0)
        sim.rate = kind(0.25)
        with pytest.raises(StateError, match=r"Grown.rate must stay as kernels saw it .*\(0.5\), got .*0.25"):
            rollout.value()
