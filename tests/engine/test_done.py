"""Worlds that end before the horizon: value and gradient are those of rollouts of their own lengths."""

import numpy as np
import pytest
import taichi as ti

import diffsim as ds
from diffsim.compiler.codegen import fused
from diffsim.errors import GradientError, StateError, TraceError

STEPS, WORLDS = 9, 4
ENDS = [  # with windows of 4 and 3: at their edges, inside them, before any step, never
    [4, 5, 9, 2],
    [0, 8, 3, 12],
    [1, 1, 7, 6],
    [9, 12, 10, 9],
    [3, 0, 1, 2],
]
LAYOUTS = [
    ("fused", None),
    ("fused", 4),
    ("fused", 1),
    ("step", 3),
    ("chunk", 4),
]


class Timed(ds.Simulator):
    """A chain with memory of two steps, whose worlds end when they are told to."""

    def __init__(self, worlds=WORLDS):
        self.worlds = worlds
        self.x = ds.State(ds.real, 2, init=[1.0, -0.5], history=2)
        self.y = ds.State(ds.real, per_world=True)
        self.f = ds.Scratch(ds.real, 2)
        self.a = ds.Param(np.array(0.9))
        self.c = ds.Param(np.array(0.3), per_world=True)
        self.u = ds.Control(ds.real)
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
            self.f[t, i] = self.u[t] * (i + 1)
            self.x[t + 1, i] = self.a[None] * self.x[t, i] - self.c[None] * self.x[t - 1, i] + self.f[t, i]

    @ti.kernel
    def stop(self, t: ti.i32):
        for _ in range(3):  # several iterations may say the same
            if t + 1 >= self.end[None]:
                self.done[None] = True

    @ti.kernel
    def add(self, t: ti.i32):
        self.y[t + 1] = self.y[t] + ti.sin(self.x[t + 1, 0])

    def step(self, t):
        self.move(t)
        self.stop(t)
        self.add(t)  # runs in the last step too

    @ti.kernel
    def pay(self, t: ti.i32):
        for i in range(2):
            self.cost[None] += (t + 1) * self.x[t + 1, i] ** 2
        if self.done[None]:
            self.cost[None] += 3.0 * self.y[t + 1]

    def running_cost(self, t):
        self.pay(t)

    @ti.kernel
    def close(self, t: ti.i32):
        self.cost[None] += t * self.x[t, 0] + 2.0 * self.x[t - 1, 1] + self.y[t] ** 2
        if self.done[None]:
            self.cost[None] += self.a[None]

    def terminal_cost(self, t):
        self.close(t)


def follow(a, c, u, x0, y0, end, steps=STEPS):
    """Return the cost, the States and the forces of one world in NumPy, in complex numbers where given."""
    x, y, cost = [x0, x0], [y0], 0.0 * a
    last = min(end, steps)
    for t in range(last):
        f = u[t] * np.array([1.0, 2.0])
        x.append(a * x[-1] - c * x[-2] + f)
        y.append(y[-1] + np.sin(x[-1][0]))
        cost = cost + (t + 1) * np.sum(x[-1] ** 2) + (3.0 * y[-1] if t + 1 >= end else 0.0)
    cost = cost + last * x[-1][0] + 2.0 * x[-2][1] + y[-1] ** 2 + (a if end <= steps else 0.0)
    return cost, np.array(x[1:]), np.array(y)


def slopes(values, end, steps=STEPS):
    """Differentiate `follow` by each of its arguments, exactly to rounding (complex steps)."""
    found = {}
    for key, value in values.items():
        value = np.asarray(value, dtype=float)
        found[key] = np.zeros(value.shape)
        for index in np.ndindex(value.shape):
            moved = value.astype(complex)
            moved[index] += 1e-30j
            cost, _, _ = follow(**{**values, key: moved if moved.shape else moved[()]}, end=end, steps=steps)
            found[key][index] = cost.imag / 1e-30
    return found


def draw(sim, seed, worlds):
    """Set every value of the simulator at random; return them world by world."""
    rng = np.random.default_rng(seed)
    a, c = rng.uniform(0.5, 1.0), rng.uniform(0.0, 0.5, worlds)
    u, x0, y0 = rng.normal(size=STEPS), rng.normal(size=2), rng.normal(size=worlds)
    sim.a.set(a), sim.c.set(c), sim.u.set(u), sim.x.set(x0), sim.y.set(y0)
    return [{"a": a, "c": c[w], "u": u, "x0": x0, "y0": y0[w]} for w in range(worlds)]


def check_world_by_world(rollout, ends, values):
    """Compare costs, lengths, trajectories and gradients with NumPy."""
    sim, worlds = rollout.sim, len(ends)
    sim.end.set(np.array(ends) if worlds > 1 else ends[0])
    cost, grads = rollout.value_and_grad(["a", "c", "u", "x", "y"])
    lengths = [min(e, STEPS) for e in ends]
    np.testing.assert_array_equal(rollout.lengths, lengths if worlds > 1 else lengths[0])
    paths = rollout.trajectories({"x": sim.x, "y": sim.y, "f": sim.f})
    paths = {key: path.reshape(path.shape[0], worlds, -1) for key, path in paths.items()}
    wanted = [slopes(value, end) for value, end in zip(values, ends, strict=True)]
    for w, (value, end, length) in enumerate(zip(values, ends, lengths, strict=True)):
        want, x, y = follow(**value, end=end)
        np.testing.assert_allclose(np.atleast_1d(cost)[w], want, rtol=1e-12)
        for t in range(STEPS + 1):
            np.testing.assert_allclose(paths["x"][t, w], x[min(t, length)], rtol=1e-12, atol=1e-14)
            np.testing.assert_allclose(paths["y"][t, w], y[min(t, length)], rtol=1e-12, atol=1e-14)
        np.testing.assert_array_equal(paths["f"][length:, w], 0.0)
        np.testing.assert_allclose(paths["f"][:length, w, 1], 2.0 * value["u"][:length])
        np.testing.assert_allclose(grads["c"].reshape(worlds)[w], wanted[w]["c"], rtol=1e-11, atol=1e-13)
        np.testing.assert_allclose(grads["y"].reshape(worlds)[w], wanted[w]["y0"], rtol=1e-11, atol=1e-13)
    for key, own in (("a", "a"), ("u", "u"), ("x", "x0")):
        total = sum(want[own] for want in wanted)
        np.testing.assert_allclose(grads[key], total, rtol=1e-11, atol=1e-12)
    np.testing.assert_array_equal(grads["u"][max(lengths) :], 0.0)


@pytest.fixture(scope="module", params=["fused", "step"])
def timed(request, runtime):
    return ds.Rollout(Timed(), STEPS, worlds=WORLDS, mode=request.param, window=4)


@pytest.mark.parametrize(("mode", "window"), LAYOUTS)
def test_each_world_is_a_rollout_of_its_own_length(runtime, mode, window):
    rollout = ds.Rollout(Timed(), STEPS, worlds=WORLDS, mode=mode, window=window)
    for seed, ends in enumerate(ENDS):
        check_world_by_world(rollout, ends, draw(rollout.sim, seed, WORLDS))
    assert rollout.plan.mode == mode


@pytest.mark.compilers
@pytest.mark.parametrize("mode", ["fused", "step"])
def test_one_world(runtime, mode):
    rollout = ds.Rollout(Timed(1), STEPS, mode=mode, window=4)
    with pytest.raises(StateError, match="lengths must be read after a run"):
        _ = rollout.lengths
    for end in (0, 3, 4, 20):
        check_world_by_world(rollout, [end], draw(rollout.sim, end, 1))
    assert isinstance(rollout.lengths, int)


def test_a_rollout_that_did_not_skip_would_be_seen(runtime, monkeypatch):
    monkeypatch.setattr(fused, "own_steps", lambda w, ended, world: "n")
    rollout = ds.Rollout(Timed(), STEPS, worlds=WORLDS, mode="fused")
    rollout._engine._verified = 2  # which would see it too
    with pytest.raises(AssertionError):
        check_world_by_world(rollout, ENDS[0], draw(rollout.sim, 0, WORLDS))


def test_differences_and_forward_mode_agree(timed):
    draw(timed.sim, 1, WORLDS)
    timed.sim.end.set(ENDS[0])
    timed.value()
    report = timed.check_grad(["a", "c", "u", "x", "y"], directions=2)
    assert report.passed, report
    assert report.verdict == "right"
    np.testing.assert_array_equal(timed.lengths, ENDS[0])  # not of what the check ran


def test_health_is_that_of_the_steps_that_ran(timed):
    draw(timed.sim, 2, WORLDS)
    timed.sim.end.set([9, 9, 9, 9])
    timed.health()
    timed.sim.end.set(ENDS[0])
    norms = timed.health().adjoint_norms
    for world, end in enumerate(ENDS[0]):
        assert np.all(norms[world, : end + 1] > 0.0)
        np.testing.assert_array_equal(norms[world, end + 1 :], 0.0)


def test_debugging_nan_gives_the_same(timed):
    draw(timed.sim, 3, WORLDS)
    for ends in ENDS:
        timed.sim.end.set(ends)
        cost, grads = timed.value_and_grad()
        again, same = timed.value_and_grad(debug="nan")
        np.testing.assert_allclose(again, cost, rtol=1e-14)
        for key, grad in grads.items():
            np.testing.assert_allclose(same[key], grad, rtol=1e-12, atol=1e-14)


class Drop(ds.Simulator):
    """A ball that falls until it lies below the ground; what happens after that would end the run."""

    def __init__(self, height):
        self.dt = 0.1
        self.x = ds.State(ds.vec2, init=[0.0, 1.0], per_world=True)
        self.v = ds.State(ds.vec2, init=[2.0, 0.0])
        self.root = ds.State(ds.real)
        self.g = ds.Param(np.array(9.81))
        self.table = ds.Constant(np.arange(height + 1.0))

    @ti.kernel
    def fall(self, t: ti.i32):
        for d in ti.static(range(2)):
            self.v[t + 1][d] = self.v[t][d] - self.dt * self.g[None] * d
            self.x[t + 1][d] = self.x[t][d] + self.dt * self.v[t + 1][d]
        low = ti.cast(10.0 * self.x[t][1], ti.i32)  # diffsim: allow CUT
        self.root[t + 1] = ti.sqrt(self.x[t][1]) * self.table[low]
        self.done[None] |= self.x[t + 1][1] < 0.0

    def step(self, t):
        self.fall(t)

    @ti.kernel
    def where(self, t: ti.i32):
        self.cost[None] += self.x[t][0] + self.x[t][1] + ti.sqrt(self.x[t - 0][0])

    def terminal_cost(self, t):
        self.where(t)


@pytest.fixture(scope="module")
def drop(runtime):
    rollout = ds.Rollout(Drop(20), 30, worlds=3)
    rollout.sim.x.set([[0.0, 1.0], [0.0, 0.4], [0.0, 1.9]])
    return rollout


def landing(height, g=9.81, dt=0.1):
    """Return after how many steps a ball is below the ground: x[n] = height - g dt^2 n (n + 1) / 2."""
    n = 0
    while height - g * dt**2 * n * (n + 1) / 2 >= 0.0:
        n += 1
    return n


def test_a_ball_that_lands(drop):
    heights = np.array([1.0, 0.4, 1.9])
    steps = np.array([landing(h) for h in heights])
    cost, grads = drop.value_and_grad(["g", "x", "v"])
    np.testing.assert_array_equal(drop.lengths, steps)
    fallen = 0.01 * steps * (steps + 1) / 2
    np.testing.assert_allclose(cost, 0.2 * steps + heights - 9.81 * fallen + np.sqrt(0.2 * steps), rtol=1e-12)
    np.testing.assert_allclose(grads["g"], -np.sum(fallen), rtol=1e-12)
    np.testing.assert_allclose(grads["x"][:, 1], 1.0, rtol=1e-12)
    slope = 1.0 + 0.5 / np.sqrt(0.2 * steps)
    np.testing.assert_allclose(grads["v"], [np.sum(0.1 * steps * slope), np.sum(0.1 * steps)], rtol=1e-12)


def test_what_would_happen_later_does_no_harm(drop):
    """Below the ground the square root is NaN and the index is outside: neither is ever computed."""
    path = drop.trajectory(drop.sim.root)
    assert np.all(np.isfinite(path))
    for debug in (None, "nan"):
        drop.value_and_grad(debug=debug)


def test_what_happens_before_is_told(drop):
    try:
        drop.sim.x.set([[0.0, 1.0], [0.0, 0.4], [0.0, 2.9]])
        with pytest.raises(StateError, match=r"must lie in 0 .. 20, got 29 at step 0 of world 2"):
            drop.value()
    finally:
        drop.sim.x.set([[0.0, 1.0], [0.0, 0.4], [0.0, 1.9]])


def test_the_first_bad_adjoint_is_found_where_a_world_ended(drop):
    """The slope of the terminal cost's root is infinite in world 1, which has ended when it is called."""
    try:
        drop.sim.v.set([0.0, 0.0])
        with pytest.raises(GradientError, match=r"adjoint of State x.* at index \[0\] of world 0") as caught:
            drop.value_and_grad(debug="nan")
        assert f"after step {landing(1.0) - 1}: kernel Drop.where" in str(caught.value)
    finally:
        drop.sim.v.set([2.0, 0.0])


class Ways(ds.Simulator):
    """A counter, and kernels that end it, each in its own way."""

    def __init__(self, *kernels, reset=(), running=(), terminal=()):
        self.kernels = kernels
        self.after = {"reset": reset, "running_cost": running, "terminal_cost": terminal}
        self.x = ds.State(ds.real, 3)
        self.seen = ds.State(ds.real)
        self.p = ds.Param(np.array(1.0))

    @ti.kernel
    def count(self, t: ti.i32):
        for i in range(3):
            self.x[t + 1, i] = self.x[t, i] + self.p[None]

    @ti.kernel
    def one(self, t: ti.i32):
        if self.x[t + 1, 0] > 2.5:
            self.done[None] = 1

    @ti.kernel
    def condition(self, t: ti.i32):
        self.done[None] = self.x[t + 1, 0] > 2.5

    @ti.kernel
    def either(self, t: ti.i32):
        for i in range(3):
            self.done[None] |= self.x[t + 1, i] > 2.5

    @ti.kernel
    def number(self, t: ti.i32):
        self.done[None] = t // 2

    @ti.kernel
    def always(self, t: ti.i32):
        self.done[None] = True

    @ti.kernel
    def at_once(self):
        self.done[None] = self.p[None] > 0.0

    @ti.kernel
    def never(self, t: ti.i32):
        self.done[None] = False

    @ti.kernel
    def real(self, t: ti.i32):
        self.done[None] = self.x[t, 0]

    @ti.kernel
    def plus(self, t: ti.i32):
        self.done[None] += 1

    @ti.kernel
    def both(self, t: ti.i32):
        self.done[None] &= True

    @ti.kernel
    def indexed(self, t: ti.i32):
        self.done[t] = True

    @ti.kernel
    def ask(self, t: ti.i32):
        self.seen[t + 1] = self.seen[t] + ti.cast(self.done[None], float)

    @ti.kernel
    def pay(self, t: ti.i32):
        self.cost[None] += self.x[t, 0]

    def reset(self):
        for name in self.after["reset"]:
            getattr(self, name)()

    def step(self, t):
        self.count(t)
        for name in self.kernels:
            getattr(self, name)(t)

    def running_cost(self, t):
        for name in self.after["running_cost"]:
            getattr(self, name)(t)

    def terminal_cost(self, t):
        self.pay(t)
        for name in self.after["terminal_cost"]:
            getattr(self, name)(t)


@pytest.mark.parametrize(
    ("sim", "length"),
    [
        (Ways("one"), 3),
        (Ways("condition", "ask"), 3),
        (Ways("either"), 3),
        (Ways("number"), 3),
        (Ways("always"), 1),
        (Ways(reset=["at_once"]), 0),
        (Ways(running=["condition"]), 3),
    ],
    ids=lambda value: "-".join(value.kernels) if isinstance(value, Ways) else "",
)
def test_ways_to_end(runtime, sim, length):
    rollout = ds.Rollout(sim, 6, mode="step", window=2)
    cost, grads = rollout.value_and_grad()
    assert (cost, grads["p"], rollout.lengths) == (length, length, length)
    np.testing.assert_array_equal(rollout.trajectory(sim.x)[:, 1], np.minimum(np.arange(7), length))
    if "ask" in sim.kernels:
        np.testing.assert_array_equal(rollout.trajectory(sim.seen), [0, 0, 0, 1, 1, 1, 1])
    assert f"the world ends {'before its first step' if length == 0 else 'with this step'}" in str(
        rollout.explain()
    )


@pytest.mark.parametrize(
    ("sim", "message"),
    [
        (Ways("never"), "self.done must only be set to True"),
        (Ways("real"), "must be set to True or to a condition"),
        (Ways("plus"), r"must be set, got self.done\[None\] \+= 1"),
        (Ways("both"), r"must be set, got self.done\[None\] &= True"),
        (Ways(terminal=["always"]), "when all steps are over"),
    ],
    ids=["never", "real", "plus", "both", "terminal"],
)
def test_what_cannot_be_said(runtime, sim, message):
    with pytest.raises(TraceError, match=message) as caught:
        ds.plan(sim, 6)
    assert [d.rule for d in caught.value.diagnostics] == ["DONE"]


def test_an_index_is_refused(runtime):
    with pytest.raises(TraceError, match="indexed with None") as caught:
        ds.plan(Ways("indexed"), 6)
    assert caught.value.diagnostics[0].rule == "INDEX"


def test_setting_it_after_it_was_read_is_refused(runtime):
    with pytest.raises(GradientError, match=r"self.done must not be set after it was read") as caught:
        ds.plan(Ways("ask", "one"), 6)
    assert caught.value.diagnostics[0].rule == "OVERWRITE"


def test_programs_without_it_pay_nothing(runtime):
    class Plain(Ways):
        """No kernel ends it."""

    plain, ending = (ds.Rollout(sim, 6, worlds=2) for sim in (Plain(), Ways("one")))
    text, other = (rollout._engine.executor._kernel("forward").text.source for rollout in (plain, ending))
    assert "done" not in text
    assert "f_done_0" in other
    assert plain._engine.lowered.ended is None
    assert ending.plan.total_bytes - plain.plan.total_bytes == 4 * 2
    plain.value()
    np.testing.assert_array_equal(plain.lengths, [6, 6])


@pytest.mark.cpu  # asking a GPU for the ends of its worlds costs more than it saves
def test_steps_that_nobody_runs_are_not_launched(runtime):
    rollout = ds.Rollout(Ways("one"), 12, mode="step", window=5)
    executor = rollout._engine.executor
    seen = []
    executor.watch = None
    launch = executor._run
    executor._run = lambda group, t, s: (seen.append((group, t)), launch(group, t, s))
    rollout.value_and_grad()
    forward = [t for group, t in seen if group == "step"]
    assert max(t for group, t in seen if group == "step_adj") == 2
    assert forward.count(11) == 0
