"""Checkpoints on the device, in the host's memory and on the disk: the same gradients, within each budget."""

import contextlib
import errno
import itertools
import os
import random
import signal
import threading
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import taichi as ti

import diffsim as ds
from diffsim.engine.checkpoints import Segments, run_backward
from diffsim.engine.launch import Launcher
from diffsim.engine.tiers import HostTier
from diffsim.errors import ConfigError, StateError
from diffsim.plan.schedule import Schedule, count_forward, estimate_forward, operations

T, W = 23, 3  # eight segments, the first of two steps
KINDS = ("multistage", "mixed", "two-level")


class Chain(ds.Simulator):
    """Coupled pendulums whose positions look two steps back, pushed by a control."""

    def __init__(self):
        self.x = ds.State(ds.vec2, 4, init=np.linspace(-1.0, 1.0, 8).reshape(4, 2), history=2)
        self.mean = ds.State(ds.real)
        self.force = ds.Scratch(ds.vec2, 4)
        self.stiffness = ds.Param(np.linspace(0.5, 2.0, 4))
        self.push = ds.Control(ds.real, 4)

    @ti.kernel
    def forces(self, t: ti.i32):
        for i in range(4):
            self.force[t, i] += self.push[t, i] - self.stiffness[i] * ti.sin(self.x[t, i])
            self.force[t, (i + 1) % 4] += 0.3 * self.x[t, i]

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(4):
            self.x[t + 1, i] = 1.9 * self.x[t, i] - 0.9 * self.x[t - 1, i] + 0.01 * self.force[t, i]

    @ti.kernel
    def average(self, t: ti.i32):
        for _ in range(1):
            self.mean[t + 1] = 0.9 * self.mean[t] + self.x[t, 0][0] * self.x[t, 3][1]

    @ti.kernel
    def effort(self, t: ti.i32):
        for i in range(4):
            self.cost[None] += 0.1 * self.force[t, i].dot(self.force[t, i])

    @ti.kernel
    def outcome(self, t: ti.i32):
        for i in range(4):
            self.cost[None] += self.mean[t] * self.x[t, i].dot(self.x[t - 1, i])

    def step(self, t):
        self.forces(t)
        self.move(t)
        self.average(t)

    def running_cost(self, t):
        self.effort(t)

    def terminal_cost(self, t):
        self.outcome(t)


@pytest.fixture(scope="module")
def chain(runtime):
    return Chain()


def gradients(rollout):
    push = np.random.default_rng(3).normal(size=(T, 4))
    rollout.sim.push.set(push)
    return rollout.value_and_grad(["stiffness", "push", "x", "mean"])


@pytest.fixture(scope="module")
def expected(chain):
    """Value and gradients with everything stored, by mode and worlds."""
    return {
        (mode, worlds): gradients(ds.Rollout(chain, T, worlds=worlds, mode=mode))
        for mode, worlds in (("fused", 1), ("step", 1), ("fused", 3))
    }


@pytest.fixture(scope="module")
def spilled(chain, tmp_path_factory):
    """A rollout that keeps whole windows in files, its folder, and a list whose last item is its progress."""
    folder, hook = tmp_path_factory.mktemp("spill"), []
    rollout = ds.Rollout(
        chain,
        T,
        memory=tight(chain, "mixed"),
        mode="fused",
        window=W,
        schedule="mixed",
        spill=folder,
        progress=lambda *call: [watch(*call) for watch in hook[-1:]],
    )
    return rollout, folder, hook


@contextlib.contextmanager
def hooked(hook, watch):
    hook.append(watch)
    try:
        yield
    finally:
        hook.pop()


def assert_equal(found, wanted, shared=()):
    np.testing.assert_array_equal(found[0], wanted[0])
    assert found[1].keys() == wanted[1].keys()
    for key, gradient in wanted[1].items():
        if key in shared:
            np.testing.assert_allclose(found[1][key], gradient, rtol=1e-13, err_msg=key)
        else:
            np.testing.assert_array_equal(found[1][key], gradient, err_msg=key)


def tight(chain, schedule, room=0, **options):
    """The memory of a window, of so many checkpoints beside it, and of what States need on their way out."""
    plan = ds.plan(chain, T, window=W, schedule=schedule, **options)
    kept, staging = plan.bytes["checkpoints"], 0
    if not ds.runtime.info().on_cpu:
        one = ds.plan(chain, T, window=W, schedule="multistage", **options)
        staging = one.bytes["checkpoints"] // one.tiers["device"]
    return plan.total_bytes - kept + room * kept // plan.tiers["device"] + staging


# ---- the gradient does not depend on where checkpoints lie ----


@pytest.mark.cpu
@pytest.mark.parametrize(
    ("tier", "mode"),
    [
        ("device", "fused"),
        ("host", "fused"),
        ("disk", "fused"),
        ("all three", "fused"),
        ("all three", "step"),
    ],
)
@pytest.mark.parametrize("schedule", KINDS)
def test_same_bits(chain, expected, tmp_path, schedule, tier, mode):
    host, spill, memory, calls = 0, None, "1GiB", []
    if tier != "device":
        room = 1 if tier == "all three" else 0
        memory = tight(chain, schedule, room, mode=mode)
        host = "1MiB" if tier == "host" else 0
        spill = tmp_path if tier != "host" else None
        if tier == "all three":
            one = ds.plan(chain, T, memory=memory, window=W, schedule=schedule, spill=tmp_path)
            host = 2 * one.tier_bytes["disk"] // one.tiers["disk"]
    rollout = ds.Rollout(
        chain,
        T,
        memory=memory,
        mode=mode,
        window=W,
        schedule=schedule,
        host_memory=host,
        spill=spill,
        progress=lambda *call: calls.append(call),
    )
    used = [name for name, count in rollout.plan.tiers.items() if count]
    assert used == (["device", "host", "disk"] if tier == "all three" else [tier])
    assert rollout.plan.schedule.kind == schedule
    assert_equal(gradients(rollout), expected[mode, 1])
    assert_counted(calls, rollout.plan)
    assert_equal(gradients(rollout), expected[mode, 1])  # what the first one left does no harm
    assert not any(tmp_path.iterdir())


@pytest.mark.cpu
@pytest.mark.parametrize("schedule", KINDS)
def test_same_bits_with_many_worlds(chain, expected, tmp_path, schedule):
    memory = tight(chain, schedule, worlds=3)
    rollout = ds.Rollout(
        chain, T, worlds=3, memory=memory, mode="fused", window=W, schedule=schedule, spill=tmp_path
    )
    # worlds share a Param: with another order of worlds and segments its sum is rounded otherwise
    assert_equal(gradients(rollout), expected["fused", 3], shared=("stiffness",))


@pytest.mark.cpu
@pytest.mark.parametrize("schedule", KINDS)
def test_same_bits_through_staging_fields(chain, expected, schedule):
    """What a GPU does: States are copied to fields of their size, and these to the host."""
    memory = tight(chain, schedule)
    rollout = ds.Rollout(
        chain, T, memory=memory, mode="fused", window=W, schedule=schedule, host_memory="1MiB"
    )
    rollout._inputs.upload()
    rollout._engine.storage.on_cpu = False
    assert_equal(gradients(rollout), expected["fused", 1])


@pytest.mark.cpu
@pytest.mark.parametrize("what", ["save", "keep"])
def test_a_lost_checkpoint_is_seen(chain, expected, monkeypatch, what):
    """The comparisons above would notice a tier that keeps nothing."""
    schedule = "mixed" if what == "keep" else "multistage"
    rollout = ds.Rollout(
        chain, T, memory=tight(chain, schedule), mode="fused", window=W, schedule=schedule, host_memory="1MiB"
    )
    faithful = getattr(HostTier, what)

    def forgetful(self, slot):
        faithful(self, slot)
        for array in self._slots[slot]:
            array[...] = 0.5

    monkeypatch.setattr(HostTier, what, forgetful)
    found = gradients(rollout)
    assert found[0] == expected["fused", 1][0]  # the cost was complete before
    assert np.max(np.abs(found[1]["push"] - expected["fused", 1][1]["push"])) > 1e-3


@pytest.mark.cpu
@pytest.mark.parametrize("tier", ["device", "host"])
def test_same_bits_with_few_whole_windows(chain, expected, tier):
    """With fewer places than windows some of them hold the States before a segment."""
    memory, host = tight(chain, "mixed", 2), 0
    if tier == "host":
        one = ds.plan(chain, T, memory=tight(chain, "mixed"), window=W, schedule="mixed", host_memory="1MiB")
        memory, host = tight(chain, "mixed"), 2 * one.tier_bytes["host"] // one.tiers["host"]
    rollout = ds.Rollout(chain, T, memory=memory, mode="fused", window=W, schedule="mixed", host_memory=host)
    assert rollout.plan.tiers[tier] == rollout.plan.checkpoints == 2
    assert {op.what for op in operations(rollout.plan.schedule)} >= {"keep", "load", "save", "restore"}
    assert_equal(gradients(rollout), expected["fused", 1])


class Sheet(ds.Simulator):
    """A damped wave on a torus, large enough for NumPy to move its States."""

    def __init__(self):
        heights = np.random.default_rng(0).normal(size=(48, 48))
        self.u = ds.State(ds.real, (48, 48), init=heights, history=2)
        self.lift = ds.Scratch(ds.real, (48, 48))
        self.speed = ds.Param(0.3)

    @ti.kernel
    def bend(self, t: ti.i32):
        for i, j in ti.ndrange(48, 48):
            around = self.u[t, (i + 1) % 48, j] + self.u[t, i, (j + 1) % 48]
            self.lift[t, i, j] += ti.sin(around - 2.0 * self.u[t, i, j])

    @ti.kernel
    def move(self, t: ti.i32):
        for i, j in ti.ndrange(48, 48):
            drift = 1.9 * self.u[t, i, j] - 0.9 * self.u[t - 1, i, j]
            self.u[t + 1, i, j] = drift + self.speed[None] * self.lift[t, i, j]

    @ti.kernel
    def energy(self, t: ti.i32):
        for i, j in ti.ndrange(48, 48):
            self.cost[None] += self.u[t, i, j] ** 2

    def step(self, t):
        self.bend(t)
        self.move(t)

    def terminal_cost(self, t):
        self.energy(t)


@pytest.mark.cpu
def test_same_bits_where_numpy_moves(runtime):
    sheet, found = Sheet(), []
    for options in ({}, {"window": 1}, {"window": 3}, {"window": 3, "schedule": "mixed"}):
        rollout = ds.Rollout(sheet, 11, mode="fused", **options)
        found.append(rollout.value_and_grad(["speed", "u"]))
        assert not isinstance(rollout._engine.executor._moves["shift"], Launcher)
    for other in found[1:]:
        assert_equal(other, found[0])


# ---- budgets ----


@pytest.mark.cpu
def test_fields_take_what_the_plan_says(chain):
    forced = {"window": W, "schedule": "multistage"}, {"worlds": 3, "window": W, "schedule": "mixed"}
    for options in (*forced, {}):  # without a window there is room for other horizons, which counts too
        rollout = ds.Rollout(chain, T, mode="fused", **options)
        rollout.value_and_grad()
        storage = rollout._engine.storage
        fields = [f for b in list(storage._specs) for f in storage.memory(b)]
        assert abs(sum(f.nbytes for f in fields) - rollout.plan.total_bytes) <= 64, options


def test_host_arrays_and_files_keep_to_their_budgets(chain, tmp_path):
    memory = tight(chain, "multistage")
    one = ds.plan(chain, T, memory=memory, window=W, schedule="multistage", host_memory="1MiB")
    size = one.tier_bytes["host"] // one.tiers["host"]
    taken = {"host": 0, "disk": 0, "folders": set()}

    def look(done, total, phase):
        tiers = rollout._engine._tiers
        taken["host"] = max(taken["host"], tiers("host").bytes)
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        taken["disk"] = max(taken["disk"], sum(path.stat().st_size for path in files))
        taken["folders"] |= set(tmp_path.iterdir())

    rollout = ds.Rollout(
        chain,
        T,
        memory=memory,
        mode="fused",
        window=W,
        schedule="multistage",
        host_memory=2 * size + 1,
        spill=tmp_path,
        disk_memory=3 * size + 1,
        progress=look,
    )
    assert rollout.plan.tiers == {"device": 0, "host": 2, "disk": 3}
    assert rollout.plan.tier_bytes == {"host": 2 * size, "disk": 3 * size}
    rollout.value_and_grad()
    assert (taken["host"], taken["disk"]) == (2 * size, 3 * size)
    assert len(taken["folders"]) == 1
    assert not any(tmp_path.iterdir())
    rollout.close()


def test_least_recomputation(chain, tmp_path):
    """More memory of any kind is never worse, and whole windows elsewhere make recomputation needless."""
    memory = ds.plan(chain, 500).smallest + (8 << 10)
    alone = ds.plan(chain, 500, memory=memory)
    beside = ds.plan(chain, 500, memory=memory, host_memory="16MiB")
    spilled = ds.plan(chain, 500, memory=memory, spill=tmp_path)
    assert alone.recomputation > 1.0
    assert beside.recomputation == spilled.recomputation == 1.0
    assert beside.tiers["host"] > 0
    assert spilled.tiers["disk"] > 0
    for schedule in KINDS:
        plan = ds.plan(chain, 500, memory=memory, schedule=schedule)
        assert plan.schedule.kind == schedule
        assert plan.total_bytes <= memory
        assert 1.02 * plan.recomputation >= alone.recomputation


def test_what_a_larger_budget_would_buy(chain):
    plan = ds.plan(chain, 5000, memory=ds.plan(chain, 5000).smallest + (8 << 10))
    assert plan.larger[0][0] in (2 * plan.budget, plan.larger[-1][0])
    assert plan.larger[-1][1] == 1.0
    for memory, factor in plan.larger:
        assert ds.plan(chain, 5000, memory=memory).recomputation == pytest.approx(factor)
    assert ds.plan(chain, 5000, memory=plan.larger[-1][0] - 8).recomputation > 1.0
    assert "nothing is recomputed" in str(plan)
    assert not ds.plan(chain, 5000).larger


def test_the_text_names_tiers_and_fields(chain, tmp_path):
    memory = tight(chain, "mixed", 1)
    plan = ds.plan(chain, T, memory=memory, window=W, schedule="mixed", host_memory="2KiB", spill=tmp_path)
    text = str(plan)
    for word in ("device + ", "host", "disk", "by field", "force", "push", "stiffness"):
        assert word in text
    assert sum(plan.fields.values()) <= plan.total_bytes


# ---- refusals ----


def figure(error):
    return int(str(error.value).split(" bytes")[0].split()[-1])


@pytest.mark.cpu  # on a GPU a checkpoint elsewhere needs fields of its size on its way there
def test_impossible_budgets_come_with_the_smallest_that_works(chain, tmp_path):
    with pytest.raises(ConfigError, match="memory must hold at least one step and one checkpoint") as error:
        ds.plan(chain, T, memory=1000)
    smallest = figure(error)
    with pytest.warns(ds.PlanWarning):
        assert ds.plan(chain, T, memory=smallest).smallest == smallest
    with pytest.raises(ConfigError, match="host_memory='1GiB', or spill='folder'"):
        ds.plan(chain, T, memory=smallest - 1)
    with pytest.warns(ds.PlanWarning):
        assert ds.plan(chain, T, memory=smallest - 1, spill=tmp_path).tiers["device"] == 0
    with pytest.raises(ConfigError, match="host_memory of 10 is too small"):
        ds.plan(chain, T, memory=smallest - 1, host_memory=10)
    with pytest.raises(ConfigError, match="at least one step, ") as error:
        ds.plan(chain, T, memory=1000, host_memory="1MiB")
    assert figure(error) < smallest
    with pytest.raises(ConfigError, match="3 steps and one more window of values") as error:
        ds.plan(chain, T, memory=smallest, window=W, schedule="mixed")
    assert ds.plan(chain, T, memory=figure(error), window=W, schedule="mixed").tiers["device"] == 1


@pytest.mark.parametrize("schedule", ["auto", "two-level", "mixed"])
@pytest.mark.parametrize("steps", [1, 2, 65, 500])
@pytest.mark.parametrize("window", [None, 1, 7])
def test_the_smallest_budget_works_and_no_smaller_one_does(chain, steps, schedule, window):
    """Also where `mixed` would have more segments than it plans for, unless all of them are kept."""
    for options in ({}, {"chunk": 4}, {"host_memory": 10}, {"host_memory": "4KiB"}, {"host_memory": "1MiB"}):
        options = {"window": window, "schedule": schedule, **options}
        with pytest.raises(ConfigError, match="memory must hold at least") as error:
            ds.plan(chain, steps, memory=1, **options)
        smallest = figure(error)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ds.PlanWarning)
            found = ds.plan(chain, steps, memory=smallest, **options)
        assert found.smallest == smallest >= found.total_bytes
        with pytest.raises(ConfigError, match="memory must hold at least") as error:
            ds.plan(chain, steps, memory=smallest - 1, **options)
        assert figure(error) == smallest


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"schedule": "revolve"},
            "schedule must be one of auto, multistage, mixed, two-level, got 'revolve'",
        ),
        ({"host_memory": "lots"}, "host_memory must be a number of bytes .* got 'lots'"),
        ({"host_memory": -1}, "host_memory must be a number of bytes"),
        ({"disk_memory": True}, "disk_memory must be a number of bytes"),
        ({"spill": 3}, "spill must be a folder or None, got 3"),
        (
            {"spill": "/no/such/folder"},
            "spill must be a folder that can be written to, got '/no/such/folder'",
        ),
        ({"window": 0}, "window must be a positive integer or None, got 0"),
        ({"chunk": 2.0}, "chunk must be a positive integer or None, got 2.0"),
        ({"chunk": 2, "mode": "fused"}, "chunk must be None in mode 'fused', got 2"),
        ({"iterations": 0}, "iterations must be a positive integer of 31 bits, got 0"),
        ({"iterations": 10**400}, "iterations must be a positive integer of 31 bits"),
        ({"mode": np.array(["step", "fused"])}, "mode must be one of auto, step, chunk, fused"),
        ({"spill": ""}, "spill must be a folder or None, got ''"),
        ({"spill": "a\0b"}, "spill must be a folder or None"),
    ],
)
def test_refused_arguments(chain, options, message):
    with pytest.raises(ConfigError, match=message):
        ds.plan(chain, T, **options)
    with pytest.raises(ConfigError, match=message):
        ds.Rollout(chain, T, **options)


def test_a_window_of_one_step_is_warned_of(chain):
    smallest = ds.plan(chain, T).smallest
    with pytest.warns(
        ds.PlanWarning, match=r"window of one step only: .* \d\.\d+ forward steps .* would make"
    ):
        ds.plan(chain, T, memory=smallest)
    ds.plan(chain, T, window=1)  # who asks for it knows


# ---- the disk ----


def test_a_full_disk_is_a_clear_error(spilled, expected, monkeypatch):
    rollout, folder, _ = spilled
    written = itertools.count()

    def failing(*arguments):
        if next(written) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return open(*arguments)

    monkeypatch.setattr("diffsim.engine.tiers.open", failing, raising=False)
    with pytest.raises(StateError, match=r"No space left on device.*; free some space"):
        gradients(rollout)
    assert not any(folder.iterdir())
    monkeypatch.undo()
    assert_equal(gradients(rollout), expected["fused", 1])


def test_a_disk_with_no_room_is_not_planned_with(chain, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=100))
    with pytest.raises(ConfigError, match="disk_memory of 100 is too small"):
        ds.plan(chain, T, memory=tight(chain, "multistage"), window=W, spill=tmp_path)


def test_a_file_that_somebody_cut_is_an_error(spilled):
    rollout, folder, hook = spilled

    def cut(done, total, phase):
        for path in folder.glob("*/checkpoint-*"):
            os.truncate(path, 4)

    with pytest.raises(StateError, match=r"too short.*; leave the files of a running"), hooked(hook, cut):
        gradients(rollout)
    assert not any(folder.iterdir())


# ---- between segments ----


def assert_counted(calls, plan):
    """Every call has the same total, and the last one reaches it."""
    total = round(T * (1 + plan.recomputation))
    assert {call[1] for call in calls} == {total}
    assert calls[-1][0] == total
    assert all(a[0] < b[0] for a, b in itertools.pairwise(calls))
    phases = [phase for phase, _ in itertools.groupby(call[2] for call in calls)]
    assert phases == ["forward", "backward"]


def test_progress_of_a_value(spilled):
    rollout, _, hook = spilled
    calls = []
    with hooked(hook, lambda *call: calls.append(call)):
        rollout.value()
    assert [call[0] for call in calls] == [2, *range(5, T + 1, 3)]
    assert {call[1:] for call in calls} == {(T, "forward")}


@pytest.mark.cpu
@pytest.mark.skipif(threading.current_thread() is not threading.main_thread(), reason="no signals elsewhere")
@pytest.mark.parametrize("after", [1, 4, 9, 14])
def test_ctrl_c_comes_between_segments(spilled, expected, after):
    rollout, folder, hook = spilled
    calls = []

    def press(done, total, phase):
        calls.append(done)
        if len(calls) == after:
            signal.raise_signal(signal.SIGINT)  # as if it came in the middle of the next segment

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), hooked(hook, press):
        gradients(rollout)
    assert len(calls) == after
    assert signal.getsignal(signal.SIGINT) is before
    assert not any(folder.iterdir())
    assert_equal(gradients(rollout), expected["fused", 1])


@pytest.mark.cpu
def test_an_error_of_progress_ends_the_run(spilled, expected):
    rollout, folder, hook = spilled
    calls = []

    def stop(done, total, phase):
        calls.append(done)
        if len(calls) == 11:
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"), hooked(hook, stop):
        gradients(rollout)
    assert not any(folder.iterdir())
    assert_equal(gradients(rollout), expected["fused", 1])


@pytest.mark.cpu
def test_the_folder_is_where_it_was_named(chain, tmp_path, monkeypatch):
    """Also where the working directory changes before the first checkpoint is written."""
    monkeypatch.chdir(tmp_path)
    rollout = ds.Rollout(chain, T, memory=tight(chain, "multistage"), window=W, mode="step", spill="kept")
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    gradients(rollout)
    rollout.close()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["kept", "other"]


@pytest.mark.cpu
@pytest.mark.parametrize("what", ["value", "value_and_grad", "close"])
def test_progress_may_not_run_the_rollout(spilled, expected, what):
    """A run in the middle of another one would overwrite its window, and the gradient be wrong."""
    rollout, folder, hook = spilled

    def again(done, total, phase):
        getattr(rollout, what)()

    with pytest.raises(StateError, match="the rollout must be left alone while it runs"), hooked(hook, again):
        gradients(rollout)
    assert not any(folder.iterdir())
    assert_equal(gradients(rollout), expected["fused", 1])


def test_progress_must_be_a_function(chain):
    with pytest.raises(ConfigError, match="progress must be a function or None, got 5"):
        ds.Rollout(chain, T, progress=5)


# ---- schedules ----


class Replay:
    """An executor and its tiers in one: checks that each thing is done with the right values in place."""

    together = False

    def __init__(self):
        self.at, self.filled, self.kept, self.log = 0, None, {}, []

    def __call__(self, tier):
        return SimpleNamespace(
            **{what: lambda slot, w=what: getattr(self, w)((tier, slot)) for what in Replay.WHAT}
        )

    WHAT = ("save", "restore", "keep", "load")

    def forward(self, t0, n, last):
        assert self.at == t0 or t0 == 0
        self.at, self.filled = t0, t0
        self.log.append(("forward", t0, n))

    def shift(self, t0, n):
        assert self.at == t0 == self.filled
        self.at, self.filled = t0 + n, None

    def backward(self, t0, n, last):
        assert self.filled == t0
        self.log.append(("backward", t0, n))

    def save(self, place):
        self.kept[place] = ("States", self.at)

    def restore(self, place):
        what, self.at = self.kept[place]
        assert what == "States"
        self.filled = None

    def keep(self, place):
        self.kept[place] = ("window", self.filled)

    def load(self, place):
        what, self.filled = self.kept[place]
        assert what == "window"
        self.at = self.filled


def random_schedules(count):
    draw = random.Random(5)
    while count:
        steps = draw.randint(2, 90)
        window = draw.randint(1, steps - 1)
        segments = -(-steps // window)
        kind = draw.choice(KINDS)
        places = [draw.randint(0, segments // 2) for _ in range(3)]
        period = draw.randint(1, segments) if kind == "two-level" else 0
        schedule = Schedule(kind, segments, *places, period)
        if schedule.total < 1 or (period and schedule.binomial < 0) or (kind == "mixed" and segments > 24):
            continue
        count -= 1
        yield schedule, steps, window


def test_any_schedule_visits_every_segment_once_backward():
    for schedule, steps, window in random_schedules(200):
        replay, segments = Replay(), Segments(steps, window)
        ends = []
        run_backward(replay, segments, schedule, replay, lambda r=replay, e=ends: e.append(len(r.log)))
        starts = [segments.span(k)[0] for k in range(segments.count)]
        assert [t for what, t, _ in replay.log if what == "backward"] == starts[::-1]
        first = [t for what, t, _ in replay.log[: ends[0]] if what == "forward"]
        assert first == starts
        run = sum(n for what, _, n in replay.log if what == "forward")
        assert run == count_forward(schedule, steps, window), schedule
        assert run == estimate_forward(schedule, steps, window), schedule
        used = {tier: {s for t, s in replay.kept if t == tier} for tier in schedule.places}
        for tier, slots in used.items():
            assert slots <= set(range(schedule.places[tier]))


def test_the_slow_tier_is_used_least():
    schedule = Schedule("multistage", 60, device=4, host=4, disk=4)
    traffic = dict.fromkeys(schedule.places, 0)
    for op in operations(schedule):
        if op.tier:
            traffic[op.tier] += 1
    assert traffic["disk"] < traffic["host"]
    assert traffic["disk"] < traffic["device"]
