"""What a simulator says that there is to see of it, recorded with its states."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import taichi as ti
from scene_checks import assert_drawable

import diffsim as ds
from diffsim.errors import ConfigError, StateError
from diffsim.kernels.elastic import Elastic, block
from diffsim.kernels.lattice_boltzmann import LatticeBoltzmann
from diffsim.language.trace import trace
from diffsim.rollout.seen import scene_of
from diffsim.view.named import names_in


class Pendulums(ds.Simulator):
    """Two pendulums, which differ in length from world to world."""

    def __init__(self) -> None:
        self.dt = 0.1
        self.angle = ds.State(ds.real, 2, init=[0.5, 1.0], unit="rad")
        self.speed = ds.State(ds.real, 2, unit="rad/s")
        self.pull = ds.Scratch(ds.real, 2)
        self.length = ds.Constant(ds.real, 2, init=1.0, per_world=True, unit="m")
        self.described: Any = lambda: ds.scene.Points(self.ends(), values=self.pull)

    @ti.kernel
    def swing(self, t: ti.i32):
        for i in range(2):
            self.pull[t, i] = -ti.sin(self.angle[t, i]) / self.length[i]
            self.speed[t + 1, i] = self.speed[t, i] + self.dt * self.pull[t, i]
            self.angle[t + 1, i] = self.angle[t, i] + self.dt * self.speed[t + 1, i]

    def step(self, t: Any) -> None:
        self.swing(t)

    def tips(self, angle: Any, length: Any) -> Any:
        return length[..., None] * np.stack([np.sin(angle), -np.cos(angle)], axis=-1)

    def ends(self) -> ds.scene.Derived:
        return ds.scene.Derived(self.tips, self.angle, self.length, unit="m")

    def scene(self) -> Any:
        return self.described()


@pytest.fixture(scope="module")
def rollout(runtime: Any) -> Any:
    simulator = Pendulums()
    simulator.length.set([[1.0, 2.0], [3.0, 4.0]])
    made = ds.Rollout(simulator, steps=6, worlds=2)
    yield made
    made.close()


def test_what_is_derived_is_a_signal_like_others(rollout: Any, tmp_path: Path) -> None:
    sim = rollout.sim

    def steps(t: Any) -> Any:
        return 0.5 * t[..., None]

    see = ds.scene
    sim.described = lambda: [
        see.Points(sim.ends(), values=sim.pull),
        see.Lines(sim.ends(), [[0, 1]], label="rod"),
        see.Curves(sim.length),
        see.Curves(see.Derived(steps, "t")),
    ]
    seen = rollout.trajectory(None, every=2)
    assert seen.names == ("angle", "speed", "pull", "length", "tips", "tips_2", "steps")
    assert [seen.units[name] for name in ("tips", "length", "steps")] == ["m", "m", ""]
    assert seen.shapes["tips"] == (4, 2, 2, 2)
    assert (seen["tips"].components, seen["pull"].components) == ((2,), ())
    length = np.array([[1.0, 2.0], [3.0, 4.0]])
    np.testing.assert_allclose(np.linalg.norm(seen["tips"], axis=-1), np.broadcast_to(length, (4, 2, 2)))
    np.testing.assert_array_equal(seen["length"][-1], length)
    np.testing.assert_array_equal(seen["steps"][:, 1, 0], [0.0, 1.0, 2.0, 3.0])
    np.testing.assert_array_equal(seen["tips"].times, seen["angle"].times)
    assert_drawable(seen.world(1), tmp_path)
    np.testing.assert_array_equal(seen.world(1)["length"][0], [3.0, 4.0])


def test_what_is_derived_ends_with_the_first_of_its_fields(rollout: Any) -> None:
    sim = rollout.sim
    sim.described = lambda: ds.scene.Curves(ds.scene.Derived(np.add, sim.angle, sim.pull))
    seen = rollout.trajectory()
    assert (len(seen["angle"]), len(seen["add"])) == (7, 6)
    np.testing.assert_array_equal(seen["add"], seen["angle"][:6] + np.asarray(seen["pull"]))


def test_a_scene_of_fields_names_what_was_recorded_of_them(rollout: Any) -> None:
    sim, see = rollout.sim, ds.scene
    parts = [
        see.Lines("angle", [[0, 1]]),
        see.Curves(sim.angle),
        see.Curves(sim.length),
        see.Curves(sim.pull),
    ]
    scene = ds.Trajectory(rollout.trajectory([sim.angle]), scene=parts).scene
    assert scene is not None
    assert names_in(scene) == ["angle", "scene.0.pairs", "scene.2.values", "pull"]
    with pytest.raises(ConfigError, match="must name an array of the trajectory, got 'pull'"):
        rollout.trajectory(sim.angle).animate(scene=see.Curves(sim.pull))


@pytest.mark.parametrize(
    ("described", "message"),
    [
        (
            lambda sim: ds.scene.Points("nothing"),
            "must name fields of Pendulums, got 'nothing'",
        ),
        (lambda sim: ds.scene.Points(None), "Points.positions must be a field"),
        (lambda sim: ds.scene.Points(ds.scene.Derived(abs, [1.0])), "Derived must be of fields, got"),
        (lambda sim: ds.scene.Points(ds.scene.Derived(np.max, sim.angle)), "must return numbers of shape"),
        (lambda sim: ds.scene.Derived(None, sim.angle), "Derived must get a function"),
        (lambda sim: ds.scene.Derived(abs), "Derived must get a function, fields"),
        (lambda sim: 3, "a scene must consist of parts"),
        (lambda sim: None, r"Pendulums\.scene must return parts, got None; end it with return"),
    ],
)
def test_a_scene_that_fits_nothing_is_refused(rollout: Any, described: Any, message: str) -> None:
    rollout.sim.described = lambda: described(rollout.sim)
    with pytest.raises(ConfigError, match=message):
        rollout.trajectory()


def test_what_cannot_be_drawn_is_refused_before_anything_runs(
    rollout: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[str] = []
    monkeypatch.setattr(type(rollout), "trajectory", lambda self, *args, **options: runs.append("run"))
    monkeypatch.setattr("diffsim.view.look.has_display", lambda: False)
    for draw in (
        lambda: rollout.animate(tmp_path / "a.txt"),
        lambda: rollout.animate(tmp_path / "none" / "a.gif"),
        lambda: rollout.plot("angle", tmp_path / "a.gif"),
        lambda: rollout.show(),
        lambda: rollout.animate(every=0),
        lambda: rollout.plot(every=0),
        lambda: rollout.show(every=0),
    ):
        with pytest.raises((ConfigError, StateError), match=r"must (end in|be a (file|positive)|run in)"):
            draw()
    assert runs == []


def test_scenes_that_no_task_draws_fit_their_simulators(runtime: Any) -> None:
    fluid, thrown = scene_of(trace(LatticeBoltzmann())), scene_of(trace(Elastic(block(dim=3))))
    assert fluid.scene is not None
    assert names_in(fluid.scene) == ["speed", "solid"]
    assert fluid.derived["speed"].function(np.array([[[3.0, 4.0]]])) == 5.0
    assert thrown.scene is not None
    assert thrown.scene.camera is not None
    assert thrown.scene.camera.up == (0.0, 0.0, 1.0)
