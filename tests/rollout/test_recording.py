"""Trajectories that are written while a rollout runs are those that are kept in memory."""

import tracemalloc

import numpy as np
import pytest
import taichi as ti

import diffsim as ds
from diffsim.errors import ConfigError
from diffsim.rollout import growing

N, STEPS = 2000, 150


class Swarm(ds.Simulator):
    """Particles that turn, with all kinds of fields, and a scene with what is derived."""

    def __init__(self, n=N):
        self.n, self.dt = n, 0.01
        self.x = ds.State(ds.vec2, n, init=np.random.default_rng(0).normal(size=(n, 2)), unit="m")
        self.turned = ds.Scratch(ds.real, n)
        self.push = ds.Control(ds.vec2, every=4)
        self.rate = ds.Param(1.0, per_world=True)
        self.size = ds.Constant(np.full(n, 0.1))

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(self.n):
            x = self.x[t, i]
            self.turned[t, i] = self.rate[None] * (x[0] + ti.cast(t, ti.f64))
            self.x[t + 1, i] = x + self.dt * (self.rate[None] * ti.Vector([-x[1], x[0]]) + self.push[t])

    @ti.kernel
    def far(self, t: ti.i32):
        for i in range(self.n):
            self.cost[None] += self.x[t, i][0]

    def step(self, t):
        self.move(t)

    def terminal_cost(self, t):
        self.far(t)

    def doubled(self, x, steps):
        return 2.0 * x + 1e-3 * steps[..., None, None]

    def scene(self):
        derived = ds.scene.Derived
        return [
            ds.scene.Points(self.x, radius=self.size, values=self.turned),
            ds.scene.Points(derived(self.doubled, self.x, "t", unit="m")),
            ds.scene.Curves(derived(lambda turned: turned[..., :3], self.turned)),
            ds.scene.Curves(self.push),
            ds.scene.Curves(self.rate),
        ]


@pytest.fixture(scope="module", params=[1, 3])
def rollout(runtime, request):
    sim = Swarm()
    with ds.Rollout(sim, STEPS, worlds=request.param, window=40) as made:
        sim.push.set(np.random.default_rng(1).normal(size=sim.push.numpy().shape))
        if made.worlds > 1:
            sim.rate.set(np.linspace(0.5, 1.5, made.worlds))
        yield made


@pytest.mark.parametrize("ending", [".h5", ".zarr"])
def test_a_growing_file_holds_what_memory_would(rollout, tmp_path, ending, monkeypatch):
    monkeypatch.setattr(growing, "_BLOCK", 100_000)  # two frames, of which things are derived, at a time
    for what, every in [(None, 40), (["push"], 1), ("turned", 50), (None, 1000)]:
        path = tmp_path / f"run{ending}"
        found = rollout.trajectory(what, every, to=path)
        kept = rollout.trajectory([what] if what == "turned" else what, every)
        assert repr(found) == repr(kept)
        assert [p.name for p in tmp_path.iterdir()] == [path.name]
        for name in kept:
            assert np.array_equal(found[name], kept[name])
            assert found[name].label.to_plain() == kept[name].label.to_plain()
            assert np.array_equal(found[name].times, kept[name].times)
        assert {k: v.tolist() for k, v in found.stills.items()} == {
            k: v.tolist() for k, v in kept.stills.items()
        }
        assert (found.scene is None) == (what is not None)
        if what is None:
            derived = {"x", "turned", "push", "doubled", "derived", *["rate"] * (rollout.worlds > 1)}
            assert derived == set(found)


@pytest.mark.cpu  # of a GPU a whole window is copied
def test_memory_stays_small(rollout, tmp_path):
    """What is copied at a time, and not what the run leaves."""
    rollout.trajectory("push", to=tmp_path / "run.h5")  # imports
    whole = rollout.worlds * (STEPS + 1) * N * 16
    tracemalloc.start()
    rollout.trajectory(["x"], to=tmp_path / "run.h5")
    streamed = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    kept = rollout.trajectory(["x"])
    assert tracemalloc.get_traced_memory()[1] > whole
    tracemalloc.stop()
    assert kept["x"].nbytes == whole
    assert streamed < 4e6 < whole


def test_what_ends_a_run_leaves_no_file(rollout, tmp_path):
    engine, path = rollout._engine, tmp_path / "run.h5"

    def stop(done, total, phase):
        if done >= 80:
            raise KeyboardInterrupt

    for ending in (".h5", ".zarr")[: rollout.worlds]:
        engine.progress = stop
        with pytest.raises(KeyboardInterrupt):
            rollout.trajectory(every=9, to=path.with_suffix(ending))
        engine.progress = None
        assert list(tmp_path.iterdir()) == []
    kept = rollout.trajectory("x", 10, to=path)["x"]
    engine.progress = stop
    with pytest.raises(KeyboardInterrupt):
        rollout.trajectory(every=9, to=path)
    engine.progress = None
    assert np.array_equal(ds.Trajectory.load(path)["x"], kept)


def test_files_that_cannot_grow_are_refused_before_anything_runs(rollout, tmp_path):
    stamp = rollout._engine.stamp
    for path, message in [
        (
            "run.npz",
            r"to must end in \.h5, \.hdf5 or \.zarr, got 'run\.npz', which is written whole; save the",
        ),
        ("run.csv", r"to must end in \.h5, \.hdf5 or \.zarr, got 'run\.csv'; choose \.h5"),
        ("missing/run.h5", "to must be in a folder that can be written to, got .*: there is no such folder"),
    ]:
        with pytest.raises(ConfigError, match=message):
            rollout.trajectory(to=tmp_path / path)
    with pytest.raises(ConfigError, match="every must be a positive integer"):
        rollout.trajectory(every=0, to=tmp_path / "run.h5")
    with pytest.raises(ConfigError, match="trajectory must be of a State, Scratch or Control"):
        rollout.trajectory("y", to=tmp_path / "run.h5")
    assert (rollout._engine.stamp, list(tmp_path.iterdir())) == (stamp, [])


def test_a_rollout_draws_itself_as_its_file_does(rollout, tmp_path):
    rollout.animate(tmp_path / "now.gif", every=50)
    figure = rollout.plot([rollout.sim.push], tmp_path / "push.png")
    assert [axes.get_ylabel() for axes in figure.axes] == ["push"]
    assert len(figure.axes[0].lines) == 2 * rollout.worlds
    assert (tmp_path / "push.png").stat().st_size > 1000
    rollout.trajectory(None, every=50).save(tmp_path / "run.npz")
    ds.Trajectory.load(tmp_path / "run.npz").animate(tmp_path / "later.gif")
    assert (tmp_path / "now.gif").read_bytes() == (tmp_path / "later.gif").read_bytes()
