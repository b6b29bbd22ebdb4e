"""What a step may be made of: parts, lists of parts, Python loops, plain kernels, inheritance, aliases."""

import subprocess
import sys

import numpy as np
import pytest
import taichi as ti

import diffsim as ds


@ti.data_oriented
class PlainPart:
    """Not a ds.Part: a class as Taichi programs have it, with a field and a kernel of its own."""

    def __init__(self, target):
        self.target = target
        self.gain = ds.Param(0.25)

    @ti.kernel
    def pull(self, t: ti.i32):
        for i in range(self.target.shape[0]):
            self.target[t, i] += self.gain[None] * (i + 1)


class Damper(ds.Part):
    """A part with a Param and a ti.func."""

    def __init__(self, source, target, c):
        self.source, self.target = source, target
        self.c = ds.Param(c)

    @ti.func
    def law(self, v):
        return -self.c[None] * v

    @ti.kernel
    def damp(self, t: ti.i32, times: ti.i32):
        for i in range(self.source.shape[0]):
            self.target[t, i] += times * self.law(self.source[t, i])

    def __call__(self, t):
        self.damp(t, times=2)


class Base(ds.Simulator):
    """The pieces, put together by subclasses."""

    def __init__(self, n=3):
        self.n = n
        self.v = ds.State(ds.real, n, init=np.arange(1.0, n + 1))
        self.f = ds.Scratch(ds.real, n)
        self.levels = ds.Scratch(ds.real, 5, n)
        self.dampers = [Damper(self.v, self.f, 0.1), Damper(self.v, self.f, 0.2)]
        self.plain = PlainPart(self.f)
        self.settings = {"dt": 0.5}

    @ti.kernel
    def start(self, t: ti.i32):
        for i in range(self.n):
            self.levels[t, 0, i] = self.f[t, i]

    @ti.kernel
    def relax(self, t: ti.i32, k: ti.i32):
        for i in range(self.n):
            self.levels[t, k + 1, i] = 0.5 * (self.levels[t, k, i] + self.levels[t, k, (i + 1) % self.n])

    @ti.kernel
    def move(self, t: ti.i32):
        levels, dt = ti.static(self.levels, self.settings["dt"])
        for i in range(self.n):
            self.v[t + 1, i] = self.v[t, i] + dt * levels[t, 4, i]

    def step(self, t):
        for damper in self.dampers:
            damper(t)
        self.plain.pull(t)
        self.start(t)
        for k in range(4):
            self.relax(t, k)
        self.move(t)

    @ti.kernel
    def square(self, t: ti.i32):
        for i in range(self.n):
            self.cost[None] += self.v[t, i] ** 2

    def terminal_cost(self, t):
        self.square(t)


@ti.data_oriented
class Louder(Base):
    """Inherits everything, overrides one kernel, and wears a decorator that is not needed."""

    @ti.kernel
    def square(self, t: ti.i32):
        for i in range(self.n):
            self.cost[None] += 10.0 * self.v[t, i] ** 2


def by_hand(v, steps, gain=0.25, c=(0.1, 0.2)):
    for _ in range(steps):
        level = -2.0 * (c[0] + c[1]) * v + gain * np.arange(1, len(v) + 1)
        for _ in range(4):
            level = 0.5 * (level + np.roll(level, -1))
        v = v + 0.5 * level
    return v


def test_a_step_of_many_pieces(runtime):
    sim = Base()
    rollout = ds.Rollout(sim, steps=3)
    assert rollout.value() == pytest.approx(np.sum(by_hand(np.array([1.0, 2.0, 3.0]), 3) ** 2), rel=1e-12)
    cost, grads = rollout.value_and_grad()
    assert set(grads) == {"dampers.0.c", "dampers.1.c", "plain.gain"}
    assert rollout.check_grad().passed
    h = 1e-6
    up = np.sum(by_hand(np.array([1.0, 2.0, 3.0]), 3, gain=0.25 + h) ** 2)
    down = np.sum(by_hand(np.array([1.0, 2.0, 3.0]), 3, gain=0.25 - h) ** 2)
    assert grads["plain.gain"] == pytest.approx((up - down) / (2 * h), rel=1e-8)
    part = rollout.value_and_grad(wrt=sim.dampers[1])[1]
    assert set(part) == {"dampers.1.c"}
    assert ds.Rollout(Louder(), steps=3, mode="step").value() == pytest.approx(10 * cost, rel=1e-12)


class Kept(ds.Simulator):
    """A State that nobody writes keeps its value; one that is written in part is zero elsewhere."""

    def __init__(self):
        self.still = ds.State(ds.real, 2, init=[3.0, 4.0])
        self.some = ds.State(ds.real, 3, init=[1.0, 1.0, 1.0], keep=False)

    @ti.kernel
    def one(self, t: ti.i32):
        for i in range(1):
            self.some[t + 1, i + 1] = self.some[t, 1] + self.still[t, 0]

    def step(self, t):
        self.one(t)


@pytest.mark.parametrize("options", [{"mode": "step"}, {"mode": "fused"}, {"mode": "fused", "window": 2}])
def test_states_that_are_not_written(runtime, options):
    sim = Kept()
    rollout = ds.Rollout(sim, steps=4, **options)
    found = rollout.trajectories({"still": sim.still, "some": sim.some})
    np.testing.assert_array_equal(found["still"], [[3.0, 4.0]] * 5)
    np.testing.assert_array_equal(found["some"], [[1, 1, 1], [0, 4, 0], [0, 7, 0], [0, 10, 0], [0, 13, 0]])


MISUSE = """
import diffsim as ds
import taichi as ti
{program}
"""


@pytest.mark.cpu
@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("ds.runtime.info()", "StateError: the runtime must be started first"),
        (
            "ti.init(arch=ti.cpu, log_level=ti.ERROR); ds.runtime.info()",
            "StateError: the runtime must be started by diffsim",
        ),
        (
            "ds.init(arch='cpu'); ti.init(arch=ti.cpu, log_level=ti.ERROR); ds.runtime.info()",
            "StateError: the runtime must stay as",
        ),
    ],
)
def test_runtime_misuse(tmp_path, program, words):
    path = tmp_path / "misuse.py"
    path.write_text(MISUSE.format(program=program))
    run = subprocess.run([sys.executable, path], capture_output=True, text=True, timeout=120)
    assert run.returncode == 1
    assert words in run.stderr


@pytest.mark.cpu
def test_a_lost_runtime_is_noticed(tmp_path):
    path = tmp_path / "lost.py"
    path.write_text(
        MISUSE.format(program="")
        + """
class S(ds.Simulator):
    def __init__(self):
        self.x = ds.State(ds.real, 2)
    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(2):
            self.x[t + 1, i] = self.x[t, i]
    def step(self, t):
        self.move(t)
ds.init(arch="cpu")
rollout = ds.Rollout(S(), steps=2, mode="step")
rollout.value()
ti.init(arch=ti.cpu, log_level=ti.ERROR)
rollout.value()
"""
    )
    run = subprocess.run([sys.executable, path], capture_output=True, text=True, timeout=120)
    assert run.returncode == 1  # an error, not a crash
    assert "StateError: the rollout must live on the running Taichi program" in run.stderr
