"""The gradient of a run on film: arrows that point where pushing lowers the cost."""

import numpy as np
import pytest
import taichi as ti
from PIL import Image

import diffsim as ds
from diffsim.cli.resolve import resolve
from diffsim.errors import ConfigError
from diffsim.progress import Progress
from diffsim.tasks import runs
from diffsim.tasks.task import Task

PURPLE = np.array([0xA0, 0x2C, 0x82])


class Throw(ds.Simulator):
    """Two points drift; the first one should end further to the right."""

    def __init__(self):
        self.x = ds.State(ds.vec2, 2, init=[[0.0, 0.0], [0.5, 1.0]], unit="m")
        self.v = ds.Param(np.array([0.02, 0.01]), per_world=True)

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(2):
            self.x[t + 1, i] = self.x[t, i] + ti.math.vec2(self.v[0], self.v[1])

    def step(self, t):
        self.move(t)

    @ti.kernel
    def miss(self, t: ti.i32):
        for _ in range(1):
            self.cost[None] += (self.x[t, 0].x - 2.0) ** 2 * ti.select(self.v[0] > 5.0, 0.0, 1.0)

    def terminal_cost(self, t):
        self.miss(t)


class Counter(ds.Simulator):
    """No State of real numbers."""

    def __init__(self):
        self.n = ds.State(ds.i32)
        self.a = ds.Param(np.array(1.0))

    @ti.kernel
    def move(self, t: ti.i32):
        for _ in range(1):
            self.n[t + 1] = self.n[t] + 1
            self.cost[None] += self.a[None] ** 2

    def step(self, t):
        self.move(t)


def trained(kind, path, **given):
    given = {"steps": 6, "iterations": 2, "guard": False, "precision": 64, "threads": 1, **given}
    settings, _ = resolve(f"{__file__}:{kind}", given)
    runs.train(settings, path, Progress(), draw=False)


def test_the_film_has_arrows_downhill(runtime, tmp_path):
    path = tmp_path / "ein Läufer"
    trained("Throw", path)
    before = {file.name for file in path.iterdir()}
    runs.render(path, Progress(), adjoints=True)
    assert {file.name for file in path.iterdir()} - before == {"adjoints.gif"}
    with Image.open(path / "adjoints.gif") as film:
        assert film.n_frames == 7
        film.seek(6)
        last = np.asarray(film.convert("RGB")).astype(int)
    purple = np.argwhere(np.abs(last - PURPLE).max(axis=2) < 12)
    columns = purple[purple[:, 0] > 0.25 * len(last)][:, 1]  # below the legend
    tall = np.bincount(columns, minlength=last.shape[1])
    head = np.flatnonzero(tall >= 4)  # the shaft is thinner
    assert 4 <= len(head) == np.ptp(head) + 1 < 20  # one arrow: of the point that counts alone
    assert tall[head[0]] > tall[head[-1]] + 2  # its tip is on the right


def test_the_world_on_film_has_a_gradient(runtime):
    class Look(Task):
        name, summary, steps = "look", "looks at the last world", 6

        def build(self):
            return Throw()

        def world(self, rollout):
            return 2

    with ds.Rollout(Throw(), 6, worlds=3) as rollout:
        rollout.sim.v.set([[0.1, 0.0], [0.2, 0.0], [0.3, 0.0]])
        seen = Look().gradient(rollout)
        np.testing.assert_allclose(np.diff(seen["x"][:, 0, 0]), 0.3)
        rollout.sim.v.set([[0.1, 0.0], [0.2, 0.0], [9.0, 0.0]])  # whose cost counts for nothing
        seen = Look().gradient(rollout)
        np.testing.assert_allclose(np.diff(seen["x"][:, 0, 0]), 0.1)  # the largest


def test_without_a_state_of_real_numbers_there_is_nothing_to_film(runtime, tmp_path):
    trained("Counter", tmp_path / "run")
    with pytest.raises(ConfigError, match="Counter must have a State of real numbers to show its gradient"):
        runs.render(tmp_path / "run", Progress(), adjoints=True)
    assert not list((tmp_path / "run").glob("*.gif"))
