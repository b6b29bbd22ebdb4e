"""Tables A12, A14-A16, A18, A20-A22, H and I of the traps: what happens around kernels.

These do not apply: kernels recorded on a tape, nested tapes, Tape(loss=None), losses of another shape or
type, validation and debug modes, forward mode inside a tape and the reverse, grad_replaced (A19), ndarrays
(A20), clear_gradients: a rollout owns its launches and its adjoints, and there is no tape.
"""

import threading

import numpy as np
import pytest
import taichi as ti
from traps.harness import names

import diffsim as ds
from diffsim.errors import ConfigError, DiffsimError, GradientError, StateError, TraceError

SCALE = 2.0


class Chain(ds.Simulator):
    """A short recurrence with what the rows need: a factor from Python, an index field, a divisor."""

    def __init__(self, n=3):
        self.n, self.dt, self.scale = n, 0.1, 1.5
        self.x = ds.State(ds.real, n, init=np.linspace(0.3, 0.9, n))
        self.k = ds.Param(np.linspace(0.5, 1.5, n))
        self.u = ds.Control(ds.real, n, init=0.2)
        self.ids = ds.Constant(np.arange(n))

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(self.n):
            self.x[t + 1, i] = (
                self.x[t, i] + self.dt * ti.sin(self.k[i] * self.x[t, i]) * self.scale + self.u[t, i]
            )

    @ti.kernel
    def total(self, t: ti.i32):
        for i in range(self.n):
            self.cost[None] += self.x[t, i] ** 2

    def step(self, t):
        self.move(t)

    def terminal_cost(self, t):
        self.total(t)


@pytest.fixture(scope="module")
def chain(runtime):
    simulator = Chain()
    rollout = ds.Rollout(simulator, steps=4)
    yield simulator, rollout
    rollout.close()


def results(rollout):
    cost, grads = rollout.value_and_grad(["k", "x", "u"])
    return [cost, *(grads[key] for key in ("k", "x", "u"))]


def same(a, b):
    for one, other in zip(a, b, strict=True):
        np.testing.assert_array_equal(one, other)


def test_A20_gradients_do_not_accumulate(chain):
    simulator, rollout = chain
    first = results(rollout)
    same(results(rollout), first)
    rollout.value()
    rollout.trajectory(simulator.x)
    same(results(rollout), first)


def test_H_several_rollouts_in_turn(chain):
    simulator, rollout = chain
    first = results(rollout)
    for steps in (1, 4, 7):
        other = ds.Rollout(simulator, steps=steps)
        simulator.u.set(np.full((steps, 3), 0.2))
        if steps == 4:
            np.testing.assert_allclose(results(other)[1], first[1], rtol=1e-12)
        assert results(other)[0] > 0.0
        other.close()
    simulator.u.set(np.full((4, 3), 0.2))
    same(results(rollout), first)


def test_A15_given_arrays_are_copied(chain):
    simulator, rollout = chain
    first = results(rollout)
    given = simulator.k.numpy()
    simulator.k.set(given)
    given[:] = 7.0
    same(results(rollout), first)
    got = simulator.k.numpy()
    got[:] = 9.0
    same(results(rollout), first)
    first[1][:] = 0.0  # what was handed out is the caller's


def test_A21_gradient_of_an_old_run_stays(chain):
    simulator, rollout = chain
    values = simulator.k.numpy()
    _, before = rollout.value_and_grad("k")
    kept = before["k"].copy()
    simulator.k.set(values * 1.1)
    _, after = rollout.value_and_grad("k")
    simulator.k.set(values)
    np.testing.assert_array_equal(before["k"], kept)
    assert np.all(after["k"] != kept)


def test_A16_changed_attribute(runtime):
    simulator = Chain()
    rollout = ds.Rollout(simulator, steps=2)
    rollout.value()
    simulator.scale = 5.0
    with pytest.raises((StateError, GradientError), match="scale"):
        rollout.value_and_grad()
    simulator.scale = 1.5
    rollout.value_and_grad()
    rollout.close()


class Scaled(Chain):
    """A kernel that reads a global of this module."""

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(self.n):
            self.x[t + 1, i] = SCALE * self.x[t, i] * self.k[i]


def test_A16_changed_global(runtime, monkeypatch):
    rollout = ds.Rollout(Scaled(), steps=2)
    rollout.value()
    monkeypatch.setitem(globals(), "SCALE", 5.0)
    with pytest.raises((StateError, GradientError), match="SCALE"):
        rollout.value_and_grad("k")
    monkeypatch.undo()
    rollout.value_and_grad("k")
    rollout.close()


# ---- Python scope ----


class PythonRead(Chain):
    def step(self, t):
        self.factor = self.k[0] * 3.0
        self.move(t)


class PythonWrite(Chain):
    def step(self, t):
        self.k[0] = 2.0
        self.move(t)


PYTHON = {
    "A14-field-read-in-python": (PythonRead, "k"),
    "A14-field-written-in-python": (PythonWrite, "k"),
}


@pytest.mark.parametrize("name", names(PYTHON))
def test_python_scope(runtime, name):
    simulator, words = PYTHON[name]
    with pytest.raises(DiffsimError, match=words):
        ds.Rollout(simulator(), steps=2)


# ---- indices and divisors that only a run knows ----


class Placed(Chain):
    """Has places as floats, so that nothing is known of them before a run."""

    def __init__(self):
        super().__init__()
        self.place = ds.Constant([1.0, 1.0, 1.0])


class Gathered(Placed):
    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(self.n):
            self.x[t + 1, i] = self.x[t, ti.cast(self.place[i], ti.i32)] * self.k[i]


class Scattered(Placed):
    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(self.n):
            self.x[t + 1, int(self.place[i])] += self.x[t, i] * self.k[i]


class Divided(Placed):
    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(self.n):
            self.x[t + 1, i] = self.x[t, i] * self.k[i] + 6 // int(self.place[i])


class Remainder(Placed):
    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(self.n):
            self.x[t + 1, i] = self.x[t, i] * self.k[i] + 7 % int(self.place[i])


class Bounded(Placed):
    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(self.n):
            s = self.x[t, i]
            for _ in range(ds.at_most(int(self.place[i]), 4)):
                s = ti.sin(s) * self.k[i]
            self.x[t + 1, i] = s


class LocalIndex(Placed):
    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(self.n):
            v = ti.Vector([self.k[0], self.k[1]])
            self.x[t + 1, i] = self.x[t, i] * v[int(self.place[i])]


RANGES = {  # simulator, places, a word of the message
    "A18-gather": (Gathered, [0, 3, 1], "x"),
    "A18-gather-negative": (Gathered, [0, -1, 1], "x"),
    "A18-scatter": (Scattered, [2, 1, 1000000], "x"),
    "A18-division-by-zero": (Divided, [1, 0, 2], "zero|divi"),
    "A18-remainder-by-zero": (Remainder, [1, 0, 2], "zero|divi"),
    "A18-more-trips-than-promised": (Bounded, [1, 5, 2], "at_most"),
    "A18-local-vector": (LocalIndex, [0, 1, 2], "v"),
}


@pytest.mark.parametrize("mode", ["step", "fused"])
@pytest.mark.parametrize("name", names(RANGES))
def test_range(runtime, name, mode):
    kind, places, words = RANGES[name]
    simulator = kind()
    rollout = ds.Rollout(simulator, steps=3, mode=mode)
    cost, grads = rollout.value_and_grad("k")
    simulator.place.set(np.array(places, dtype=float))
    for run in (rollout.value, lambda: rollout.value_and_grad("k")):
        with pytest.raises(StateError, match=words) as caught:
            run()
        assert "test_rollouts.py:" in str(caught.value)
    simulator.place.set([1.0, 1.0, 1.0])  # and goes on
    again, same_grads = rollout.value_and_grad("k")
    assert again == cost
    np.testing.assert_array_equal(same_grads["k"], grads["k"])
    rollout.close()


def test_A12_changed_index_field(runtime):
    """Integers are checked when they are set, in the range for which a rollout was made."""
    simulator = Chain()
    simulator.ids.set([2, 1, 0])
    rollout = ds.Rollout(Permuted(simulator.ids), steps=2, mode="step")
    rollout.value()
    simulator.ids.set([2, 1, 3])
    with pytest.raises(ConfigError, match="ids must stay within"):
        rollout.value()
    rollout.close()


class Permuted(Chain):
    def __init__(self, ids):
        super().__init__()
        self.ids = ids

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(self.n):
            self.x[t + 1, i] = self.x[t, self.ids[i]] * self.k[i]


# ---- numbers that are not finite ----


class GuardedRoot(Chain):
    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(self.n):
            self.x[t + 1, i] = ti.select(self.k[i] > 0.0, ti.sqrt(self.k[i]), 0.0) * self.x[t, i]


class Root(Chain):
    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(self.n):
            self.x[t + 1, i] = ti.sqrt(self.k[i]) * self.x[t, i] + 1.0


class NormAtZero(Chain):
    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(self.n):
            d = ti.Vector([self.k[i] - 1.0, 0.0])
            self.x[t + 1, i] = self.x[t, i] + d.norm()


@pytest.mark.parametrize("low", [0.0, -1.0])
def test_A22_what_a_select_leaves_out_has_no_gradient(runtime, low):
    simulator = GuardedRoot()
    rollout = ds.Rollout(simulator, steps=2, mode="step")
    simulator.k.set([1.0, low, 2.0])
    x = simulator.x.numpy()
    cost, grads = rollout.value_and_grad("k")
    assert cost == pytest.approx(np.sum((np.array([1.0, 0.0, 2.0]) * x) ** 2))
    np.testing.assert_allclose(grads["k"], [2.0 * x[0] ** 2, 0.0, 4.0 * x[2] ** 2], rtol=1e-13)
    rollout.close()


def test_A22_infinite_slope_is_an_error(runtime):
    simulator = Root()
    rollout = ds.Rollout(simulator, steps=2, mode="step")
    simulator.k.set([1.0, 0.0, 2.0])
    assert np.isfinite(rollout.value())
    with pytest.raises(GradientError, match=r"k must be finite, got (inf|nan) at index \[1\]"):
        rollout.value_and_grad("k")
    simulator.k.set([1.0, -1.0, 2.0])
    with pytest.raises(StateError, match="finite"):
        rollout.value_and_grad("k")
    rollout.close()


def test_A22_norm_at_zero_has_slope_zero(runtime):
    simulator = NormAtZero()
    simulator.k.set([2.0, 1.0, 0.5])
    rollout = ds.Rollout(simulator, steps=2, mode="step")
    x = simulator.x.numpy() + np.array([2.0, 0.0, 1.0])
    _, grads = rollout.value_and_grad("k")
    np.testing.assert_allclose(grads["k"], 4.0 * x * [1.0, 0.0, -1.0], rtol=1e-13)
    rollout.close()


# ---- errors and lifetimes ----


def test_H_goes_on_after_an_error(chain):
    simulator, rollout = chain
    first = results(rollout)
    values = simulator.k.numpy()
    simulator.k.set(np.full(3, np.inf))
    with pytest.raises(StateError, match="finite"):
        rollout.value_and_grad()
    with pytest.raises(ConfigError):
        rollout.value_and_grad("ids")
    with pytest.raises(TraceError):
        ds.Rollout(Broken(), steps=2)
    simulator.k.set(values)
    same(results(rollout), first)


class Broken(Chain):
    def step(self, t):
        raise RuntimeError("on purpose")


def test_H_an_exception_of_the_user_keeps_its_words(runtime):
    with pytest.raises(TraceError, match="on purpose"):
        ds.Rollout(Broken(), steps=2)


def test_H_short_lived_simulators(runtime):
    found = set()
    for k in range(6):
        simulator = Chain()
        simulator.scale = 1.0 + k
        rollout = ds.Rollout(simulator, steps=2, mode="step")
        found.add(rollout.value())
        rollout.close()
    assert len(found) == 6  # no stale kernel


def test_H_two_threads_under_their_own_lock(chain):
    _, rollout = chain
    first, lock, found, errors = results(rollout), threading.Lock(), [], []

    def work():
        try:
            for _ in range(5):
                with lock:
                    found.append(results(rollout))
        except Exception as error:  # noqa: BLE001  (a thread's error would be lost)
            errors.append(error)

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=60)
    assert not errors
    assert len(found) == 10
    for one in found:
        same(one, first)


def test_H_second_init(runtime, threads):
    simulator = Chain()
    rollout = ds.Rollout(simulator, steps=2, mode="step")
    with pytest.raises(StateError, match="live rollout"):
        ds.init(arch="cpu", precision=64, seed=1, threads=threads)
    before = rollout.value()
    rollout.close()
    with pytest.raises(StateError, match="closed"):
        rollout.value()
    again = ds.Rollout(simulator, steps=2, mode="step")
    assert again.value() == before
    again.close()
