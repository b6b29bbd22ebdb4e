"""Controls taken at other steps than the present one: late, early, held, at steps that are computed."""

import re

import numpy as np
import pytest
import taichi as ti
from simulator_checks import assert_gradient

import diffsim as ds
from diffsim.errors import ConfigError, StateError, TraceError

STEPS, LATE, HELD, DT = 11, 3, 4, 0.1
RNG = np.random.default_rng(4)
U, PUSH, GUST = RNG.normal(size=STEPS), RNG.normal(size=(STEPS, 2, 2)), RNG.normal(size=3)
TAU = 1.7


class Delays(ds.Simulator):
    """Each way to take a Control at another step, in each phase."""

    def __init__(self, per_world=False):
        self.x = ds.State(ds.vec2)
        self.u = ds.Control(ds.real, init=U, per_world=per_world)
        self.push = ds.Control(ds.vec2, 2, init=PUSH)
        self.gust = ds.Control(ds.real, init=GUST, every=HELD)
        self.tau = ds.Param(np.array(TAU), per_world=per_world)

    @ti.kernel
    def begin(self):
        self.x[0] = 0.3 * self.push[0, 1] + ti.Vector([self.u[STEPS - 1], 0.0])

    def reset(self):
        self.begin()

    @ti.func
    def delayed(self, s):
        """Linear interpolation at a time that is learned."""
        k = ti.cast(ti.floor(s), ti.i32)
        f = s - k
        a, b = 0.0, 0.0
        if k >= 0:
            a = self.u[k]
        if k + 1 >= 0:
            b = self.u[k + 1]
        return (1.0 - f) * a + f * b

    @ti.kernel
    def move(self, t: ti.i32):
        force = self.delayed(t - self.tau[None]) + self.u[t // 5] + self.gust[t]
        if t >= LATE:
            force += self.u[t - LATE] * self.u[t]
        n = ti.min(t + 1, STEPS - 1)
        for i in range(2):
            force += self.push[n, i][0] * self.push[STEPS - 1 - t, 1 - i].y
        v = self.x[t][1] + DT * (force - self.x[t][1] ** 3)
        self.x[t + 1] = ti.Vector([self.x[t][0] + DT * v, v])

    def step(self, t):
        self.move(t)

    @ti.kernel
    def effort(self, t: ti.i32):
        self.cost[None] += 0.01 * (self.u[t] - self.u[ti.max(t - 1, 0)]) ** 2

    def running_cost(self, t):
        self.effort(t)

    @ti.kernel
    def end(self, t: ti.i32):
        self.cost[None] += (self.x[t][0] - 1.0) ** 2 + self.u[t - 1] * self.gust[t - 1]
        for k in range(STEPS):
            self.cost[None] += 0.1 * self.u[k] ** 2 * ti.sin(self.push[k, 0][1])

    def terminal_cost(self, t):
        self.end(t)


def reference(u=U, push=PUSH, gust=GUST, tau=TAU):
    """The same in Python."""

    def at(k):
        return u[k] if k >= 0 else 0.0

    x, v = 0.3 * push[0, 1] + [u[-1], 0.0]
    cost = 0.0
    for t in range(STEPS):
        k = int(np.floor(t - tau))
        force = (1 - (t - tau - k)) * at(k) + (t - tau - k) * at(k + 1) + u[t // 5] + gust[t // HELD]
        force += u[t - LATE] * u[t] if t >= LATE else 0.0
        n = min(t + 1, STEPS - 1)
        force += sum(push[n, i, 0] * push[STEPS - 1 - t, 1 - i, 1] for i in range(2))
        v = v + DT * (force - v**3)
        x = x + DT * v
        cost += 0.01 * (u[t] - u[max(t - 1, 0)]) ** 2
    return cost + (x - 1.0) ** 2 + u[-1] * gust[-1] + 0.1 * np.sum(u**2 * np.sin(push[:, 0, 1]))


def slopes(**values):
    """Central differences of the reference."""
    found = {}
    for key, value in values.items():
        value = np.asarray(value, float)
        found[key] = np.zeros(value.shape)
        for index in np.ndindex(value.shape):
            h = np.zeros(value.shape)
            h[index] = 1e-6
            low, high = (reference(**{**values, key: value + sign * h}) for sign in (-1, 1))
            found[key][index] = (high - low) / 2e-6
    return found


WANT = slopes(u=U, push=PUSH, gust=GUST, tau=TAU)


def agrees(cost, grads):
    assert abs(cost - reference()) < 1e-12
    assert grads.keys() == WANT.keys()
    for key, want in WANT.items():
        np.testing.assert_allclose(grads[key], want, rtol=0, atol=2e-8, err_msg=key)


@pytest.mark.parametrize(
    "options", [{"mode": "step"}, {"mode": "chunk", "chunk": 3}, {"mode": "fused", "window": 4}], ids=str
)
def test_every_way_against_plain_python(runtime, options):
    with ds.Rollout(Delays(), steps=STEPS, **options) as rollout:
        agrees(*rollout.value_and_grad())


def test_differences_and_forward_mode(runtime):
    assert_gradient(ds.Rollout(Delays(), steps=STEPS, window=5), tolerance=1e-5)


@pytest.mark.compilers
def test_by_each_compiler(runtime):
    with ds.Rollout(Delays(), steps=STEPS, mode="fused") as rollout:
        agrees(*rollout.value_and_grad())


@pytest.mark.layouts
@pytest.mark.parametrize("mode", ["fused", "step"])
def test_worlds(runtime, mode, layout):
    """Worlds with delays of their own; what they share gets the sum."""
    if (mode, layout) == ("step", "device"):
        pytest.skip("one mode is enough there")
    taus, us = np.array([TAU, 0.4, 2.9]), np.stack([U, 2.0 * U, U[::-1]])
    sim = Delays(per_world=True)
    with ds.Rollout(sim, steps=STEPS, worlds=3, mode=mode, window=6) as rollout:
        sim.tau.set(taus)
        sim.u.set(us)
        cost, grads = rollout.value_and_grad()
        gusts = rollout.trajectory(sim.gust)
    each = [slopes(u=u, push=PUSH, gust=GUST, tau=tau) for u, tau in zip(us, taus, strict=True)]
    for w in range(3):
        assert abs(cost[w] - reference(us[w], PUSH, GUST, taus[w])) < 1e-12
        for key in ("u", "tau"):
            np.testing.assert_allclose(grads[key][w], each[w][key], rtol=0, atol=3e-8)
    for key in ("push", "gust"):
        np.testing.assert_allclose(grads[key], sum(e[key] for e in each), rtol=0, atol=1e-7)
    np.testing.assert_array_equal(gusts, np.repeat(np.repeat(GUST, HELD)[:STEPS, None], 3, axis=1))


def test_a_held_control_can_be_optimised(runtime):
    sim = Delays()
    assert "every 4 steps" in repr(sim.gust)
    with ds.Rollout(sim, steps=STEPS) as rollout:
        before = rollout.value()
        assert ds.minimize(rollout, wrt=sim.gust, iterations=20).best_cost < before
    assert sim.gust.numpy().shape == (3,)
    sim.gust.set(np.zeros(STEPS))
    with (
        ds.Rollout(sim, steps=STEPS) as rollout,
        pytest.raises(ConfigError, match=r"Control gust must have shape \(3,\) in this rollout, got \(11,\)"),
    ):
        rollout.value()
    with pytest.raises(ConfigError, match=r"must have shape \(ceil\(steps / 4\),\), got \(3, 2\)"):
        sim.gust.set(np.zeros((3, 2)))
    for bad in (0, -2, 1.5, True, "5"):
        with pytest.raises(ConfigError, match="Control every must be a positive number of steps"):
            ds.Control(ds.real, every=bad)


class Taken(ds.Simulator):
    """One line of a kernel, in a phase."""

    def __init__(self, phase, n=0, every=1):
        self.phase, self.n = phase, n
        self.x, self.u = ds.State(ds.real, init=0.5), ds.Control(ds.real, every=every)
        self.k = ds.Param(np.array(7.0))

    @ti.kernel
    def move(self, t: ti.i32):
        self.x[t + 1] = self.x[t]
        if ti.static(self.phase == "late"):
            self.x[t + 1] += self.u[t - 2]
        if ti.static(self.phase == "early"):
            self.x[t + 1] += self.u[t + 1]
        if ti.static(self.phase == "some"):
            if self.x[t] > 0.0:
                self.x[t + 1] += self.u[t - 2]
        if ti.static(self.phase == "never"):
            self.x[t + 1] += self.u[t + 5]
        if ti.static(self.phase == "learned"):
            self.x[t + 1] += self.u[ti.cast(self.k[None], ti.i32)]
        if ti.static(self.phase == "float"):
            self.x[t + 1] += self.u[self.k[None]]

    def step(self, t):
        self.move(t)

    @ti.kernel
    def end(self, t: ti.i32):
        self.cost[None] += self.x[t]
        if ti.static(self.phase == "terminal"):
            self.cost[None] += self.u[t]

    def terminal_cost(self, t):
        self.end(t)

    @ti.kernel
    def begin(self):
        self.x[0] = self.u[self.n]

    def reset(self):
        if self.phase == "reset":
            self.begin()


@pytest.mark.parametrize(
    ("phase", "said"),
    [
        ("late", "got -2 .. 2; put the access in an `if`, or keep the step inside with ti.max and ti.min"),
        ("early", "got 1 .. 5; put"),
        ("never", "got 5 .. 9; put"),
        ("terminal", "got 5; put"),
        ("reset", "got 5; put"),
    ],
)
def test_a_step_that_is_outside_for_certain_is_refused(runtime, phase, said):
    with pytest.raises(TraceError) as caught:
        ds.plan(Taken(phase, n=5), steps=5)
    rule = "the step that Control u is taken at must lie in 0 .. 4, "
    assert rule + said in str(caught.value)
    assert "[INDEX]" in str(caught.value)


@pytest.mark.parametrize(("phase", "every", "number"), [("some", 1, -2), ("learned", 3, 7)])
def test_a_step_outside_is_told_after_the_run(runtime, phase, every, number):
    with ds.Rollout(Taken(phase, every=every), steps=5, worlds=2, mode="fused") as rollout:
        text = f"the step that Control u is taken at must lie in 0 .. 4, got {number} at step 0 of world 0;"
        for run in (rollout.value, rollout.value_and_grad):
            with pytest.raises(StateError, match=re.escape(text)):
                run()


def test_a_step_is_an_integer(runtime):
    with pytest.raises(TraceError, match="indices must be integers, got a float"):
        ds.plan(Taken("float"), steps=5)


def test_what_lies_inside_is_not_looked_at(runtime):
    """Steps that are known to be inside cost nothing: the present one, and those behind an `if`."""
    explained = str(ds.Rollout(Delays(), steps=STEPS).explain())
    looked_at = [line for line in explained.splitlines() if "looked at while it runs" in line]
    assert len(looked_at) == 2  # the two of the delay that is learned, which nobody knows a bound of
