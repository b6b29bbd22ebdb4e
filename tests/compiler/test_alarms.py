"""What leaves its range while kernels run: an error with its place, no crash, no silent number."""

import pathlib

import numpy as np
import pytest
import taichi as ti

import diffsim as ds
from diffsim.errors import StateError, TraceError

N = 5


class Base(ds.Simulator):
    """Kernels that index by what the State holds."""

    def __init__(self, x=(0.1, 1.2, 2.3, 3.4, 4.5), ids=(0, 1, 2, 3, 4)):
        self.x = ds.State(ds.real, N, init=x)
        self.w = ds.Param(np.linspace(0.5, 1.5, N), per_world=False)
        self.rate = ds.Param([0.0], per_world=True)
        self.ids = ds.Constant(list(ids))
        self.f = ds.Scratch(ds.real, N)

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(N):
            self.x[t + 1, i] = self.x[t, i] + self.rate[0]

    def step(self, t):
        self.act(t)
        self.total(t)
        self.move(t)

    @ti.kernel
    def total(self, t: ti.i32):
        for i in range(N):
            self.cost[None] += self.f[t, i] ** 2


class Gather(Base):
    @ti.kernel
    def act(self, t: ti.i32):
        for i in range(N):
            self.f[t, i] = self.w[ti.cast(ds.stop_gradient(self.x[t, i]), ti.i32)] * self.x[t, i]


class Scatter(Base):
    @ti.kernel
    def act(self, t: ti.i32):
        for i in range(N):
            self.f[t, ti.cast(ti.floor(self.x[t, i]), ti.i32)] += self.w[i] * self.x[t, i]


class Divide(Base):
    @ti.kernel
    def act(self, t: ti.i32):
        for i in range(N):
            whole = ti.cast(ds.stop_gradient(self.x[t, i]), ti.i32)
            self.f[t, i] = self.w[i] * (7 // (whole + 1) + 7 % (whole + 1)) * self.x[t, i]


class AtMost(Base):
    @ti.kernel
    def act(self, t: ti.i32):
        for i in range(N):
            s = self.x[t, i]
            for _ in range(ds.at_most(ti.cast(ds.stop_gradient(self.x[t, i]), ti.i32), 4)):
                s = ti.sin(s) * self.w[i]
            self.f[t, i] = s


def line_of(text):
    source = pathlib.Path(__file__).read_text().splitlines()
    return next(k for k, line in enumerate(source, 1) if text in line)


class Shift(Base):
    @ti.kernel
    def act(self, t: ti.i32):
        for i in range(N):
            whole = ti.cast(ds.stop_gradient(self.x[t, i]), ti.i32)
            self.f[t, i] = self.w[i] * (1 << whole) * self.x[t, i]


CASES = [
    (Gather, r"indices of Param w must lie in 0 .. 4, got 5 at step 1", "self.w[ti.cast(ds.stop"),
    (Scatter, r"indices of Scratch f must lie in 0 .. 4, got 5 at step 1", "self.f[t, ti.cast(ti.floor"),
    (Divide, r"integers must be divided by numbers other than 0, got 0 at step 7", "(7 // (whole"),
    (Shift, r"counts of a shift must lie in 0 .. 31, got -1 at step 7", "(1 << whole"),
    (AtMost, r"at_most must get a number up to 4, got 5 at step 1", "range(ds.at_most"),
]


@pytest.mark.parametrize("mode", ["fused", "step"])
@pytest.mark.parametrize(("kind", "words", "text"), CASES)
def test_alarms(runtime, kind, words, text, mode):
    sim = kind()
    rollout = ds.Rollout(sim, steps=12, mode=mode)
    sim.rate.set([-0.3] if kind in (Divide, Shift) else [0.6])
    if kind in (Divide, Shift):
        sim.x.set([4.0, 4.0, 4.0, 4.0, 0.95])
    for run in (rollout.value, rollout.value_and_grad, lambda: rollout.trajectory(sim.x)):
        with pytest.raises(StateError, match=words) as caught:
            run()
        assert f"test_alarms.py:{line_of(text)}:" in str(caught.value)
    sim.rate.set([0.0])  # the next good run is not troubled by an old alarm
    assert rollout.check_grad(wrt=[sim.w]).passed
    rollout.close()


def test_the_world_is_named(runtime):
    sim = Gather()
    rollout = ds.Rollout(sim, steps=3, worlds=4)
    sim.rate.set(np.array([[0.0], [-0.01], [0.7], [0.0]]))
    with pytest.raises(StateError, match="got 5 at step 1 of world 2"):
        rollout.value()
    rollout.close()


def test_far_outside_and_not_a_number(runtime):
    """Indices that would reach the memory of others, or end the process."""
    for kind in (Gather, Scatter):
        sim = kind()
        rollout = ds.Rollout(sim, steps=2)
        for bad in (1e9, -1e9, 1e300, np.nan, np.inf):
            sim.x.set([0.0, 1.0, 2.0, 3.0, 4.0])
            sim.x.host_values()[2] = bad  # `set` refuses NaN, kernels do not
            with pytest.raises(StateError, match=r"must lie in 0 \.\. 4"):
                rollout.value_and_grad()
        rollout.close()


class Proven(Base):
    """Indices that are shown to stay inside need no alarm."""

    @ti.kernel
    def act(self, t: ti.i32):
        for i in range(N):
            a = self.x[t, self.ids[i]] + self.x[t, (i + 3) % N] + self.x[t, ti.min(i + 1, N - 1)]
            if i > 0 and i + 1 < N:
                a += self.x[t, i - 1] * self.x[t, i + 1]
            if i == 0 or i >= N - 1:
                a *= 2.0
            else:
                a -= self.x[t, i - 1]
            if not (i < 2):
                a += self.x[t, i - 2]
            whole = ti.max(0, ti.min(N - 1, ti.cast(ds.stop_gradient(self.x[t, i]), ti.i32)))
            for k in range(ti.max(i - 1, 0), ti.min(i + 2, N)):
                a += self.w[k] * self.x[t, whole]
            self.f[t, i] = a / (1 + whole % 3)


def test_what_is_proven_costs_nothing(runtime):
    rollout = ds.Rollout(Proven(), steps=2)
    assert rollout._engine.lowered.alarms.all == []
    assert rollout.check_grad().passed
    rollout.close()


class Huge(Base):
    @ti.kernel
    def act(self, t: ti.i32):
        for i in range(N):
            for k in ti.static(range(10_000_000)):
                self.f[t, i] += k * self.x[t, i]


def test_unrolling_has_an_end(runtime):
    with pytest.raises(TraceError, match=r"must not unroll to more than .* operations.*TOO-LARGE\]"):
        ds.plan(Huge(), steps=2)


class LocalVector(Base):
    """Indices into vectors, local ones and those of a field, that are computed."""

    @ti.kernel
    def act(self, t: ti.i32):
        for i in range(N):
            whole = ti.cast(ds.stop_gradient(self.x[t, i]), ti.i32)
            v = ti.Vector([self.w[0], self.w[1], self.w[2], self.w[3], self.w[4]])
            self.f[t, i] = v[whole] * self.x[t, i]


class LocalStore(Base):
    @ti.kernel
    def act(self, t: ti.i32):
        for i in range(N):
            v = ti.Vector([self.w[0], self.w[1], self.w[2], self.w[3], self.w[4]])
            v[ti.cast(ds.stop_gradient(self.x[t, i]), ti.i32)] = self.x[t, i]
            self.f[t, i] = v.norm_sqr()


@pytest.mark.parametrize("kind", [LocalVector, LocalStore])
def test_local_vectors(runtime, kind):
    sim = kind()
    rollout = ds.Rollout(sim, steps=2)
    assert rollout.check_grad().passed
    sim.rate.set([0.6])
    with pytest.raises(StateError, match=r"indices of a local vector must lie in 0 \.\. 4, got 5 at step 1"):
        rollout.value_and_grad()
    rollout.close()
