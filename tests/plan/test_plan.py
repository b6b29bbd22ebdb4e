"""Plans: what is chosen under which budget, before anything is allocated."""

import resource
import time
import warnings

import numpy as np
import pytest
import taichi as ti

import diffsim as ds
from diffsim.engine.checkpoints import Segments, run_backward
from diffsim.errors import ConfigError
from diffsim.kernels.mass_spring import MassSpring
from diffsim.plan import Schedule, parse_bytes, recomputation


@pytest.fixture(scope="module")
def robot(runtime):
    return MassSpring(1)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        *[
            (1000, 1000),
            ("64KiB", 65536),
            ("1.5 GB", 1_500_000_000),
            ("2mib", 2 << 20),
            ("10", 10),
            ("7B", 7),
        ],
        *[
            ("1e9", 10**9),
            ("2e+3KB", 2_000_000),
            (1e9, 10**9),
            (2.0, 2),
            (np.int32(5), 5),
            (np.float32(64.0), 64),
            (np.array(1e6), 10**6),
        ],
    ],
)
def test_sizes(text, size):
    found = parse_bytes(text)
    assert found == size
    assert type(found) is int


@pytest.mark.parametrize(
    "text",
    [
        *["", "much", "-1GiB", "0", 0, -5, 1.5, None, True, "1 XB", "inf", "nan", "1e9999GiB"],
        *[float("nan"), float("inf"), -1e9, np.float64("nan"), np.float32("inf"), np.array([1e9]), np.True_],
    ],
)
def test_bad_sizes(text):
    with pytest.raises(ConfigError, match="memory must be"):
        parse_bytes(text)


def test_a_million_steps_are_planned_at_once(robot):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    plan = ds.plan(robot, steps=1_000_000, memory="64MiB")
    seconds = time.perf_counter() - start
    assert plan.total_bytes <= 64 << 20
    assert plan.segments * plan.window >= 1_000_000
    assert plan.recomputation <= 2.0
    assert seconds < 30  # a hang would be minutes; the benchmark has the figure
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB: nothing was allocated


def test_everything_is_stored_where_it_fits(robot):
    plan = ds.plan(robot, steps=682)
    assert (plan.segments, plan.checkpoints, plan.recomputation) == (1, 0, 1.0)
    assert plan.window == 682
    assert plan.mode == "fused"


@pytest.mark.parametrize("share", [1.0, 1.5, 3.0, 20.0, 200.0])
def test_plans_keep_to_the_budget(robot, share):
    smallest = ds.plan(robot, steps=500).smallest
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ds.PlanWarning)  # the smallest holds one step
        plan = ds.plan(robot, steps=500, memory=int(share * smallest))
    assert plan.total_bytes <= plan.budget
    assert plan.recomputation >= 1.0


def test_a_larger_budget_is_never_worse(robot):
    smallest = ds.plan(robot, steps=5000).smallest
    factors = [
        ds.plan(robot, steps=5000, memory=int(smallest * s)).recomputation for s in (1.2, 2, 10, 100, 1000)
    ]
    assert factors == sorted(factors, reverse=True)


def test_worlds_multiply_memory(robot):
    one, many = ds.plan(robot, steps=100), ds.plan(robot, steps=100, worlds=10)
    assert many.bytes["states"] == 10 * one.bytes["states"]


class Recorder:
    """An executor that notes what it is asked to do, and that each segment is run on its own States."""

    together = False

    def __init__(self):
        self.at, self.kept, self.log = 0, {}, []

    def forward(self, t0, n, last):
        assert self.at == t0 or t0 == 0
        self.at, self.window = t0, (t0, n)
        self.log.append(("forward", t0))

    def backward(self, t0, n, last):
        assert self.window == (t0, n)
        self.log.append(("backward", t0))

    def shift(self, t0, n):
        assert self.at == t0
        self.at += n

    def save(self, slot):
        self.kept[slot] = self.at

    def restore(self, slot):
        self.at = self.kept[slot]


@pytest.mark.parametrize(
    ("steps", "window", "checkpoints"), [(10, 10, 0), (10, 3, 4), (10, 3, 1), (23, 2, 3), (7, 1, 2)]
)
def test_schedules_visit_every_segment_once_backward(steps, window, checkpoints):
    executor, done = Recorder(), []
    segments = Segments(steps, window)
    schedule = Schedule("multistage", segments.count, device=checkpoints)
    run_backward(executor, segments, schedule, lambda _: executor, lambda: done.append(len(executor.log)))
    starts = [segments.span(k)[0] for k in range(segments.count)]
    assert [t for kind, t in executor.log if kind == "backward"] == starts[::-1]
    assert executor.log[: done[0]] == [("forward", t) for t in starts]
    lengths = {segments.span(k)[0]: segments.span(k)[1] for k in range(segments.count)}
    total = sum(lengths[t] for kind, t in executor.log if kind == "forward")
    assert total / steps == pytest.approx(recomputation(steps, window, checkpoints))
    assert len(executor.kept) <= checkpoints


class Ramp(ds.Simulator):
    """Adds its control up; what a network makes of a clock is its control's weight."""

    def __init__(self):
        self.x = ds.State(ds.vec2, 1)
        self.clock = ds.Scratch(ds.real, 5)
        self.gain = ds.Scratch(ds.vec2, 2)
        self.waves = ds.control.Sinusoids(self.clock, count=4, omega=2.0, dt=0.1, offset=1)
        self.policy = ds.control.MLP(self.clock, self.gain, hidden=(3,), gains=(2.0, 1.0), seed=7)

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(1):
            self.x[t + 1, i] = self.x[t, i] + self.gain[t, 0] - 0.5 * self.gain[t, 1]

    def step(self, t):
        self.waves(t)
        self.policy(t)
        self.move(t)


def test_controllers_against_numpy(runtime):
    sim = Ramp()
    found = ds.Rollout(sim, steps=6, mode="step").trajectories(
        {"clock": sim.clock, "gain": sim.gain, "x": sim.x}
    )
    w0, b0, w1, b1 = (getattr(sim.policy, name).numpy() for name in ("w0", "b0", "w1", "b1"))
    assert (w0.shape, b0.shape, w1.shape, b1.shape) == ((5, 3), (3,), (3, 4), (4,))
    x = np.zeros(2)
    for t in range(6):
        clock = np.concatenate([[0.0], np.sin(2.0 * t * 0.1 + 2 * np.pi * np.arange(4) / 4)])
        gain = np.tanh(np.tanh(clock @ w0 + b0) @ w1 + b1).reshape(2, 2)
        np.testing.assert_allclose(found["clock"][t], clock, atol=1e-14)
        np.testing.assert_allclose(found["gain"][t], gain, atol=1e-13)
        x = x + gain[0] - 0.5 * gain[1]
    np.testing.assert_allclose(found["x"][6, 0], x, atol=1e-13)


def test_initial_weights(runtime):
    scratch = ds.Scratch(ds.real, 400), ds.Scratch(ds.real, 300)
    one = ds.control.MLP(*scratch, hidden=(500,), gains=(2.0, 3.0), seed=1)
    same = ds.control.MLP(*scratch, hidden=(500,), gains=(2.0, 3.0), seed=1)
    other = ds.control.MLP(*scratch, hidden=(500,), gains=(2.0, 3.0), seed=2)
    np.testing.assert_array_equal(one.w0.numpy(), same.w0.numpy())
    assert np.any(one.w0.numpy() != other.w0.numpy())
    assert np.std(one.w0.numpy()) == pytest.approx(2.0 * np.sqrt(2.0 / 900), rel=0.01)
    assert np.std(one.w1.numpy()) == pytest.approx(3.0 * np.sqrt(2.0 / 800), rel=0.01)
    assert not np.any(one.b0.numpy())
