"""What tracing and kernels read may not change in silence: a run says what did; what is legal stays legal."""

import copy
import pickle
import threading

import numpy as np
import pytest
import taichi as ti
from fuzz import changes
from fuzz.changes import Mill, Plain, Settings, Slotted

import diffsim as ds


class Growth(ds.Simulator):
    """`x[t + 1] = k x[t]`, with a cost of 10 x and so many times x again."""

    def __init__(self, k=2.0):
        self.x = ds.State(ds.real, init=1.0)
        self.k = ds.Param(k)
        self.times = 1

    @ti.kernel
    def grow(self, t: ti.i32):
        for _ in range(1):
            self.x[t + 1] = self.k[None] * self.x[t]

    def step(self, t):
        self.grow(t)

    @ti.kernel
    def pay(self, t: ti.i32, n: ti.i32):
        for _ in range(1):
            self.cost[None] += n * self.x[t]

    def terminal_cost(self, t):
        for _ in range(self.times):
            self.pay(t, 1)


def rolled(sim, steps=1):
    return ds.Rollout(sim, steps=steps, mode="step")


@pytest.fixture(scope="module")
def growth(runtime):
    sim = Growth()
    return sim, rolled(sim)


@pytest.fixture(scope="module")
def mill(runtime):
    sim = Mill()
    return sim, rolled(sim, 2)


# ---- assignment over a field ----


def test_a_rollout_keeps_what_it_was_made_for(growth):
    _, rollout = growth
    for name, value in {"steps": 5, "worlds": 2, "sim": None, "closed": True, "memory": "2GiB"}.items():
        with pytest.raises(ds.StateError, match=f"Rollout must .*{name}.*; make a new Rollout"):
            setattr(rollout, name, value)
    rollout.seed = 3
    assert rollout.seed == 3
    rollout.seed = 0


@pytest.mark.parametrize("value", [3.0, np.array([1.0, 2.0]), [1.0], None])
def test_a_field_is_not_assigned_over(growth, value):
    sim, _ = growth
    for owner, name in [(sim, "k"), (Mill(), "k"), (Slotted(Mill()), "level"), (Mill().parts[0], "gain")]:
        held = getattr(owner, name)
        kind = type(owner).__name__
        with pytest.raises(ds.StateError, match=rf"{kind}.{name} must stay the Param .*by {name}.set\(...\)"):
            setattr(owner, name, value)
        assert getattr(owner, name) is held
    with pytest.raises(ds.StateError, match=r"Mill.f must stay the Scratch .*it gets values by kernels"):
        Mill().f = value


class Steeper(Growth):
    """Declares the fields of its base anew."""

    def __init__(self):
        super().__init__()
        self.k = ds.Param(3.0)
        self.k = ds.Param(5.0)
        del self.x
        self.x = ds.State(ds.real, init=2.0)
        self.times = 3.0
        self.times = 2  # no field: nobody minds


def test_a_field_may_be_declared_anew_before_there_is_a_rollout(runtime):
    rollout = rolled(Steeper())
    assert rollout.value_and_grad() == (20.0, {"k": 4.0})


def test_the_programs_of_the_issue(growth):
    """They went on with what had been: 2 in place of 6, 10 and 14."""
    sim, rollout = growth
    x = sim.x
    assert rollout.value() == 2.0
    changed = {
        r"Growth.k must stay the Param .* another Param": (sim, "k", ds.Param(6.0), 6.0),
        r"Growth.x must stay the State .* another State": (sim, "x", ds.State(ds.real, init=5.0), 10.0),
        r"Growth.terminal_cost must make .* \(Growth.times is 7, not 1\)": (sim, "times", 7, 14.0),
    }
    for words, (owner, name, value, right) in changed.items():
        undo = changes.attribute(owner, name, value)
        for run in (rollout.value, rollout.value_and_grad, lambda: rollout.trajectory(x)):
            with pytest.raises(ds.StateError, match=words):
                run()
        assert rolled(sim).value() == right
        undo()
        assert rollout.value() == 2.0
    sim.k.set(4.0)
    assert rollout.value_and_grad() == (4.0, {"k": 1.0})
    sim.k.set(2.0)


# ---- everything that is read ----

READ = {
    "count": r"step must make .* got Mill.add\(t, 2\) .*\(Mill.count is 3, not 2\); make a new Rollout",
    "price": r"running_cost must make .* 3 kernel calls in place of 1 \(Mill.price is 3, not 1\)",
    "order in place": r"\(Mill.order is \[1, 3, 3\], not \[1, 3\]\)",
    "limits": r"Mill.limits is array\(\[0.75, 2. \]\), not array",
    "more of settings": r"Settings.more is 3, not 1",
    "law": "Mill.law is the function thrice, not the function twice",
    "part's list in place": r"Push.turns is \[1, 3\], not \[1\]",
    "closure": "count is 3, not 1",
    "global in place": r"EXTRA is \[1, 2, 3\], not \[1, 2\]",
    "flag removed": "must trace as it did .* no attribute 'flag'",
    "step": r"Mill.step must make .* got Mill.move\(t\) in place of Push.push\(t, 1\) as call 2",
    "kernel": r"got Mill.push\(t, 1\) in place of Mill.pay\(t, 1\)",
    "settings": "Settings.dt must stay as kernels saw it .*0.25.* got 0.75",
    "item of limits": r"self.limits\[1\] must stay .*\(2.0\), got 0.75",
    "item of a global in kernels": r"WEIGHTS of blend must stay .*\[0.5, 0.25\].* got \[0.5, 0.75\]",
    "pair in kernels": r"Mill.pair must stay .*Pair\(a=1.5, b=2\)",
    "note": "Mill.note must stay .*'unread'.* got '0.75'; make a new Rollout$",
    "function in kernels": "Mill.factor must stay",
    "hidden": r"Mill.hidden must|getattr\(self, 'hidden'\) must stay .*2.0.* got 0.75",
    "Taichi's field": "Mill.outside must stay",
    "matrix in place": "Mill.matrix must stay",
    "field added": "Mill must have the fields .* got extra as well, a Param",
    "field removed": "Mill.c must stay the Constant .* got none",
    "part appended": "got parts.2.gain as well, a Param",
    "plain's field by a number": "Mill.plain.level must stay the Param .* got 0.75; .* call its set",
    "slot's field": "Mill.named.slotted.level must stay the Param",
    "scratch": "Mill.f must stay the Scratch .* another Scratch; make a new Rollout$",
}


def test_what_changed_is_named(mill):
    sim, rollout = mill
    start = rollout.value()
    made = {name: make for name, make, _ in changes.every(sim, sim.parts[0], 3, 0.75)}
    for name, words in READ.items():
        undo = made[name]()
        with pytest.raises(ds.StateError, match=words):
            rollout.value()
        undo()
    assert rollout.value() == start


# ---- tracing again ----


class Odd(Growth):
    """Does something that differs from trace to trace."""

    def __init__(self, what):
        super().__init__()
        self.what, self.rng, self.calls, self.traces = what, np.random.default_rng(0), 0, []

    def step(self, t):
        self.grow(t)
        self.traces.append(t)
        self.calls += 1
        if self.what == "random":
            self.pay(t, int(self.rng.integers(1000)))
        elif self.what == "count":
            self.pay(t, self.calls)
        elif self.what == "set":
            self.k.set(1.0)


def test_what_comes_out_otherwise_each_time_is_refused(runtime):
    for what, words in {
        "random": r"Odd.step must make the same calls each time .* got Odd.pay\(t, \d+\) in place of Odd.pay",
        "count": r"Odd.step must make the same calls .* got Odd.pay\(t, 2\) in place of Odd.pay\(t, 1\)",
        "set": r"Odd.step must not set fields, got Param k set",
    }.items():
        with pytest.raises(ds.TraceError, match=words):
            rolled(Odd(what))


def test_tracing_again_leaves_no_trace(runtime):
    sim = Odd("nothing")
    rollout = rolled(sim)
    assert rollout.value() == rollout.value() == 2.0
    assert (sim.calls, len(sim.traces)) == (1, 1)
    sim.what = "set"
    with pytest.raises(ds.StateError, match=r"got Param k set.*what is 'set', not 'nothing'"):
        rollout.value()


class Fresh(Growth):
    """Makes kernels, closures, objects and parts anew each time it is traced."""

    def __init__(self):
        super().__init__()
        self.f, self.rate = ds.Scratch(ds.real), 2.0

    def step(self, t):
        x, rate, matrix = self.x, self.rate, ti.Matrix([[self.rate, 0.0], [0.0, 1.0]])

        @ti.kernel
        def carry(t: ti.i32, m: ti.template()):
            for _ in range(1):
                x[t + 1] = rate * m[0, 0] * x[t]

        carry(t, matrix)
        Carrier(self.f, {"n": [1, rate]}, Settings(rate)).carry(t)


class Carrier(ds.Part):
    def __init__(self, f, table, settings):
        self.f, self.table, self.settings = f, table, settings

    @ti.kernel
    def carry(self, t: ti.i32):
        for _ in range(1):
            self.f[t] += self.table["n"][1] * self.settings.dt


def test_what_is_made_anew_and_alike_is_the_same(runtime):
    sim = Fresh()
    rollout = rolled(sim)
    assert rollout.value() == rollout.value() == 4.0
    sim.rate = 3.0
    with pytest.raises(ds.StateError, match=r"Fresh.step must make .*Fresh.rate is 3.0, not 2.0"):
        rollout.value()
    assert rolled(sim).value() == 9.0


class Solving(Growth):
    """A method with an adjoint of its own and a loop, whose count is read in Python."""

    def __init__(self):
        super().__init__()
        self.b, self.w = ds.Scratch(ds.real), ds.Workspace(ds.real)
        self.rounds, self.back = 3, 1

    @ti.kernel
    def load(self, t: ti.i32):
        for _ in range(1):
            self.w[None] = self.x[t]

    @ti.kernel
    def more(self):
        for _ in range(1):
            self.w[None] += 1.0

    @ti.kernel
    def store(self, t: ti.i32):
        for _ in range(1):
            self.b[t] = self.w[None]

    @ti.kernel
    def pull(self, t: ti.i32, n: ti.i32):
        for _ in range(1):
            self.x.grad[t] += n * self.b.grad[t]

    def solve(self, t):
        self.load(t)
        for _ in ds.repeat(self.rounds):
            self.more()
        self.store(t)

    @ds.adjoint_of(solve)
    def solve_adjoint(self, t):
        self.pull(t, self.back)

    def step(self, t):
        self.solve(t)
        self.grow(t)


def test_loops_and_adjoints_of_methods(runtime):
    sim = Solving()
    rollout = rolled(sim)
    rollout.value()
    for name, words in {
        "rounds": "another ds.repeat",
        "back": r"got Solving.pull\(t, 2\) in place of",
    }.items():
        undo = changes.attribute(sim, name, 2)
        with pytest.raises(ds.StateError, match=rf"{words}.*\(Solving.{name} is 2, not \d\)"):
            rollout.value()
        undo()
    rollout.value()


def test_other_threads_launch_while_one_traces(runtime):
    """Tracing replaces the call of Taichi's kernels, for all threads; only its own thread's are recorded."""
    counter = ti.field(ti.i32, shape=())

    @ti.kernel
    def count():
        counter[None] += 1

    class Interrupted(Growth):
        def step(self, t):
            self.grow(t)
            thread = threading.Thread(target=count)
            thread.start()
            thread.join()

    count()
    assert rolled(Interrupted()).value() == 2.0
    assert counter[None] == 4  # by hand, at both traces when the rollout is made, and before the run


# ---- simulators that share, copies, objects of all kinds ----


class Pairing(Growth):
    """Two States, whose names another simulator exchanges."""

    def __init__(self, first=None, second=None, k=None):
        super().__init__()
        self.x = first or ds.State(ds.real, init=1.0)
        self.y = second or ds.State(ds.real, init=3.0)
        self.k = k or self.k

    @ti.kernel
    def pay(self, t: ti.i32, n: ti.i32):
        for _ in range(1):
            self.cost[None] += self.x[t] + 10.0 * self.y[t]


def test_simulators_that_share_fields(runtime):
    one = Pairing()
    first = rolled(one)
    other = Pairing(one.y, one.x, one.k)
    second = rolled(other)
    for _ in range(2):
        assert second.value() == 3.0 * 2.0 + 10.0
        assert first.value_and_grad(wrt=["x", "y", "k"]) == (32.0, {"x": 2.0, "y": 10.0, "k": 1.0})
        assert second.value_and_grad(wrt=["x", "y", "k"]) == (16.0, {"x": 2.0, "y": 10.0, "k": 3.0})
    one.k.set(5.0)
    assert (first.value(), second.value()) == (35.0, 25.0)


class Fed(Growth):
    """Has a part, which may be another simulator's too."""

    def __init__(self, part=None):
        super().__init__()
        self.f = ds.Scratch(ds.real)
        self.part = part or Plain(self)

    def step(self, t):
        self.grow(t)
        self.part.shove(t)

    @ti.kernel
    def pay(self, t: ti.i32, n: ti.i32):
        for _ in range(1):
            self.cost[None] += self.x[t] + self.part.f[t - 1]

    def running_cost(self, t):
        self.pay(t + 1, 1)

    def terminal_cost(self, t):
        pass


def test_a_part_of_two_simulators(runtime):
    one = Fed()
    two = Fed(one.part)
    first, second = rolled(one), rolled(two)
    for _ in range(2):
        for rollout in (first, second):
            assert rollout.value_and_grad() == (2.05, {"k": 1.0, "part.level": 0.5})
    one.part.level.set(0.2)
    assert (first.value(), second.value()) == (2.1, 2.1)


@pytest.mark.parametrize("made", [copy.deepcopy, lambda sim: pickle.loads(pickle.dumps(sim))])
def test_copies_are_simulators_of_their_own(runtime, made):
    sim = Growth()
    rollout = rolled(sim)
    ds.minimize(rollout, wrt=[sim.k], optimizer=ds.optim.SGD(lr=0.5), iterations=2)  # leaves k on the device
    other = made(sim)
    assert (sim.k.numpy(), other.k.numpy()) == (1.0, 1.0)
    other.k.set(7.0)
    assert (rollout.value(), rolled(other).value()) == (1.0, 7.0)


def test_fields_in_slots_are_found(mill):
    gradients = mill[1].value_and_grad()[1]
    assert gradients["named.slotted.level"] == pytest.approx(2.0 * gradients["plain.level"] / 0.5)
    assert gradients["named.drawn.level"] == pytest.approx(-gradients["plain.level"] / 0.5)
