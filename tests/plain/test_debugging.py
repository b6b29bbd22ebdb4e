"""Mode `python` as a place to look into: breakpoints, `print`, errors at the user's lines."""

import io
import pdb
import traceback
import warnings

import numpy as np
import pytest
import taichi as ti

import diffsim as ds

HERE = __file__


@ti.func
def pull(x, stiffness):
    force = -stiffness * x  # a line to stop at
    return force


class Spring(ds.Simulator):
    """A weight on a spring, and a few ways to go wrong."""

    def __init__(self, wrong=""):
        self.wrong, self.seen = wrong, []
        self.x = ds.State(ds.real, 3, init=[1.0, 2.0, 3.0])
        self.v = ds.State(ds.vec2, 3)
        self.stiffness = ds.Param(4.0)

    @ti.kernel
    def swing(self, t: ti.i32):
        for i in range(3):
            force = pull(self.x[t, i], self.stiffness[None])
            print("force", i, force)
            if ti.static(self.wrong == "index"):
                force += self.x[t, i + 1]
            if ti.static(self.wrong == "assert"):
                assert self.x[t, i] < 2.5, f"too far at {i}"
            speed = self.v[t, i]
            speed[0] += 0.1 * force
            self.v[t + 1, i] = speed
            self.v[t + 1, i][1] = 7.0
            self.x[t + 1, i] = self.x[t, i] + 0.1 * speed[0]

    @ti.kernel
    def race(self, t: ti.i32):
        for i in range(3):
            self.x[t + 1, 0] = self.x[t + 1, i] + 1.0

    def step(self, t):
        self.seen.append(t)
        self.swing(t)
        if self.wrong == "race":
            self.race(t)

    @ti.kernel
    def far(self, t: ti.i32):
        for i in range(3):
            self.cost[None] += self.x[t, i]

    def terminal_cost(self, t):
        self.far(t)


def line_of(text):
    with open(HERE) as lines:
        return next(k for k, line in enumerate(lines, 1) if text in line)


def test_prints_and_counts(runtime, capsys):
    sim = Spring()
    rollout = ds.Rollout(sim, steps=2, mode="python")
    assert rollout.value() == pytest.approx(6.0 * (1.0 - 0.04 - 0.04 - 0.0384))
    assert capsys.readouterr().out.splitlines()[:3] == ["force 0 -4.0", "force 1 -8.0", "force 2 -12.0"]
    assert all(type(t) is int for t in sim.seen)
    np.testing.assert_allclose(rollout.final("v")[:, 1], 7.0)
    assert rollout.trajectory("x", every=2).shape == (2, 3)
    capsys.readouterr()
    assert "thousand times slower" in str(rollout.plan)
    assert repr(rollout) == "<Rollout of Spring: 2 steps, python>"
    assert isinstance(rollout, ds.Rollout)


def test_a_debugger_stops_at_the_users_line_and_sees_fields(runtime, capsys):
    commands = io.StringIO("c\np x, stiffness\nup\np i, t, self.x[t, 1], self.v[t, i]\np self.x.shape\nc\n")
    told = io.StringIO()
    debugger = pdb.Pdb(stdin=commands, stdout=told, nosigint=True)
    debugger.use_rawinput = False
    assert debugger.set_break(HERE, line_of("a line to stop at"), temporary=True) is None
    rollout = ds.Rollout(Spring(), steps=1, mode="python")
    debugger.runcall(rollout.value)
    capsys.readouterr()
    text = told.getvalue()
    assert f"test_debugging.py({line_of('a line to stop at')})pull()" in text
    assert "force = -stiffness * x" in text
    assert "swing()" in text
    assert "(np.float64(1.0), np.float64(4.0))" in text or "(1.0, 4.0)" in text
    assert "(3,)" in text
    assert "Vec([0., 0.])" in text


def test_errors_stand_at_the_users_lines(runtime, capsys):
    with pytest.raises(
        ds.errors.StateError, match=r"of State x must lie in 0 \.\. 2, got 3 at step 0"
    ) as caught:
        ds.Rollout(Spring("index"), steps=2, mode="python").value()
    lines = [f.lineno for f in traceback.extract_tb(caught.tb) if f.filename == HERE]
    assert line_of("force += self.x[t, i + 1]") in lines
    place = rf"test_debugging.py:{line_of('assert self.x[t, i] < 2.5')}: .* at step 0: too far at 2"
    with pytest.raises(ds.errors.StateError, match=place):
        ds.Rollout(Spring("assert"), steps=2, mode="python").value()
    capsys.readouterr()


def test_what_is_refused_elsewhere_runs(runtime, capsys):
    sim = Spring("race")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ds.DiffsimError):
            ds.Rollout(sim, steps=1, mode="step")
    rollout = ds.Rollout(sim, steps=1, mode="python")
    rollout.value()
    x = np.array([1.0, 2.0, 3.0]) * 0.96
    assert rollout.final("x")[0] == pytest.approx(x[2] + 1.0)
    capsys.readouterr()


def test_what_it_has_not(runtime, capsys):
    rollout = ds.Rollout(Spring(), steps=1, mode="python")
    with pytest.raises(ds.ConfigError, match="a gradient must be asked of a rollout in another mode"):
        rollout.value_and_grad()
    with pytest.raises(ds.ConfigError, match="got mode 'python'"):
        rollout.check_grad()
    with pytest.raises(ds.ConfigError, match="got mode 'python'"):
        ds.minimize(rollout, wrt=["stiffness"], iterations=1)
    with pytest.raises(ds.ConfigError, match="compiled to have a plan"):
        ds.plan(Spring(), steps=1, mode="python")
    with pytest.raises(ds.ConfigError, match="window must be None"):
        ds.Rollout(Spring(), steps=1, mode="python", window=1)
    with pytest.raises(ds.ConfigError, match="memory must hold all cells"):
        ds.Rollout(Spring(), steps=1, mode="python", memory=8)
    with pytest.raises(ds.errors.StateError, match="final must be read after a run"):
        rollout.final()
    with pytest.raises(ds.TraceError, match=r"must be a ds\.Simulator"):
        ds.Rollout(3, steps=1, mode="python")
    capsys.readouterr()


def test_a_run_can_be_ended(runtime, capsys):
    def progress(done, total, phase):
        if done == 2:
            raise KeyboardInterrupt

    rollout = ds.Rollout(Spring(), steps=5, mode="python", progress=progress)
    with pytest.raises(KeyboardInterrupt):
        rollout.value()
    with pytest.raises(ds.errors.StateError, match="none that was whole"):
        rollout.final()
    with pytest.raises(ds.errors.StateError, match="must be called from step"):
        rollout.sim.swing(0)
    with pytest.raises(ds.errors.StateError, match="must be read inside a kernel"):
        rollout.sim.x[0, 0]
    capsys.readouterr()
