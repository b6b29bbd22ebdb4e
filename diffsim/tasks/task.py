"""The contract of a task: a simulator, what to optimise in it, and how to look at the result."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from diffsim import runtime
from diffsim.errors import ConfigError
from diffsim.options import Options, option

if TYPE_CHECKING:
    from diffsim.language.simulator import Simulator
    from diffsim.rollout import Rollout
    from diffsim.view import Film
    from diffsim.view.trajectory import Trajectory

__all__ = ["Options", "Recording", "Task", "option"]


_GRADIENT_FRAMES = 60  # of a film of adjoints, about


@dataclass(frozen=True, eq=False)
class Recording:
    """One motion to be drawn.

    Attributes:
        path: The film to write: .gif, .mp4 or .webm.
        caption: A few words to show in the picture.
        arrays: What `Task.record` returned, a `ds.Trajectory` unless the task overrides it.
        progress: Called with the frames drawn and those of the picture; None for nobody.
    """

    path: Path
    caption: str
    arrays: Mapping[str, NDArray[Any]]
    progress: Callable[[int, int], object] | None = None


class Task(ABC):
    """A thing to optimise, by name: `diffsim train NAME` does the rest.

    A subclass gives the class attributes, a frozen dataclass `Config` of its own options, and the methods::

        class GliderTask(Task):
            name = "glider"
            summary = "a glider learns to land"
            steps, iterations = 500, 80
            optimizer = {"name": "adam", "lr": 1e-2}

            @dataclass(frozen=True)
            class Config(Options):
                wind: float = option(0.0, "side wind [m/s]", minimum=0.0)

            def build(self): return Glider(wind=self.config.wind)
            def metrics(self, arrays): return {"height at the end [m]": float(arrays["x"][-1, 1])}

    Pictures follow from the simulator's `scene`, or from what its States are; a task that has better ones
    overrides `record` and `films`.

    A task must be cheap to import (`diffsim list` imports all of them): import the simulator inside `build`.

    Args:
        config: The task's options; None for the defaults.
        data: What `data()` of an equal task returned, when a run is resumed; None to read it anew.

    Attributes:
        name: What the command line calls it; the name of its entry point.
        summary: One line for `diffsim list`.
        steps: Time steps of a rollout, unless told otherwise.
        iterations: Optimizer iterations, unless told otherwise.
        check_steps: Time steps of a gradient check, unless told otherwise.
        run_options: Further options of `diffsim train` by name with the values that suit the task: `worlds`,
            `memory`, `precision`, ...
        taichi_options: Such options besides where Taichi is what compiles, in minutes for some.
        smoke: Options that make a run so small that it takes seconds, for `--smoke`: `steps`, `iterations`
            and options of its own. `diffsim check` takes its own options from here too.
        optimizer: The optimizer's name (`sgd`, `adam`) under `name`, and its arguments.
        cost_label: What the cost is, with its unit, for the axis of a picture.
    """

    @dataclass(frozen=True)
    class Config(Options):
        """The options of a task that has none."""

    name: ClassVar[str]
    summary: ClassVar[str]
    steps: ClassVar[int]
    iterations: ClassVar[int] = 100
    check_steps: ClassVar[int] = 64
    run_options: ClassVar[Mapping[str, Any]] = {}
    taichi_options: ClassVar[Mapping[str, Any]] = {}
    smoke: ClassVar[Mapping[str, Any]] = {}
    optimizer: ClassVar[Mapping[str, Any]] = {"name": "adam", "lr": 1e-2}
    cost_label: ClassVar[str] = "cost"

    def __init__(self, config: Options | None = None, data: Mapping[str, Any] | None = None) -> None:
        self.config: Any = config if config is not None else self.Config()

    @classmethod
    def suited(cls) -> dict[str, Any]:
        """Return the further options of `diffsim train` with the values that suit the task here."""
        return {**cls.run_options, **({} if runtime.would_be_native() else cls.taichi_options)}

    @classmethod
    def sizes(cls) -> dict[str, int]:
        """Return the steps and iterations of a run; what the task leaves to who runs it is missing."""
        return {key: getattr(cls, key) for key in ("steps", "iterations") if hasattr(cls, key)}

    def data(self) -> dict[str, Any]:
        """Return what the options point to outside the run folder (a user's file), as TOML can hold it.

        It is written into `config.toml` and handed back to the constructor by `resume`, so that a run goes on
        when the file was moved or changed.
        """
        return {}

    def title(self) -> str:
        """Say in a few words what is optimised, for the heading of a picture."""
        return self.name

    @abstractmethod
    def build(self) -> Simulator:
        """Make the simulator; the runtime has been started."""

    def wrt(self, simulator: Simulator) -> list[Any] | None:
        """Say what to optimise, as `Rollout.value_and_grad` takes it; None for every Param and Control."""
        return None

    def prepare(self, rollout: Rollout) -> None:
        """Set what depends on how many worlds there are: `per_world` values. Called once, before any run."""
        return

    def record(self, rollout: Rollout) -> Mapping[str, NDArray[Any]]:
        """Run the rollout with the parameters it has and return what `animate` and `metrics` need, by name.

        Without an override it is `trajectory(rollout)`, which `films` draws by the simulator's scene.
        """
        found: Any = self.trajectory(rollout)
        return found  # type: ignore[no-any-return]

    def trajectory(self, rollout: Rollout) -> Trajectory:
        """Run the rollout with the parameters it has and return its motion, for reports and other programs.

        Returns:
            All States and what `Simulator.scene` shows, of one world, in about 120 frames.
        """
        from diffsim.rollout.shown import stride_of

        every = stride_of(rollout.steps)
        found: Trajectory = rollout.trajectory(None, every=every).world(self.world(rollout))
        return found

    def gradient(self, rollout: Rollout) -> Trajectory:
        """Run the rollout and its gradient with the parameters it has; return d cost / d x beside the motion.

        Returns:
            All States and what `Simulator.scene` shows, with adjoints in its scene, in about 60 frames; of
            several worlds the one that is looked at, or where that has no gradient the one with the largest.
        """
        from diffsim.rollout.shown import stride_of
        from diffsim.view.adjoints import norms, with_adjoints

        every = stride_of(rollout.steps, _GRADIENT_FRAMES)
        motion, adjoints = rollout.trajectory(None, every=every), rollout.adjoints(None, every)
        if rollout.worlds > 1:
            world = self.world(rollout)
            most = [np.nan_to_num(norms(adjoint)).max(axis=0) for adjoint in adjoints.values()]
            if most and not np.max(most, axis=0)[world]:  # one whose cost counts for nothing
                world = int(np.argmax(np.max(most, axis=0)))
            motion = motion.world(world)
            adjoints = {name: adjoint[:, world] for name, adjoint in adjoints.items()}
        return with_adjoints(motion, adjoints)

    def world(self, rollout: Rollout) -> int:
        """Say which of several worlds is looked at; called after a run of them."""
        return 0

    def films(self, recordings: Sequence[Recording]) -> list[Film]:
        """Draw each recording; they come together so that they can share one scale.

        Without an override they must be trajectories, and are drawn by the simulator's scene.

        Raises:
            ConfigError: `record` returns something else, so that `films` or `animate` must be overridden.
        """
        from diffsim.view import films_of
        from diffsim.view.trajectory import Trajectory

        motions: list[Any] = [recording.arrays for recording in recordings]
        if not all(isinstance(motion, Trajectory) for motion in motions):
            raise ConfigError(
                f"{type(self).__name__} must draw what its record returns, got no films; define films or "
                "animate, or let record return a ds.Trajectory"
            )
        return films_of(motions)

    def target_film(self, recordings: Sequence[Recording]) -> Film | None:
        """Draw what was aimed at, as a further row beside the films; None where these show it."""
        return None

    def metrics(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, float]:
        """Compute figures of merit of a recording: a name with its unit, as `head at x [m]`, and a number.

        The first one is shown beside the cost now and then while the task is trained.
        """
        return {}

    def animate(self, recordings: Sequence[Recording]) -> None:
        """Write one film for each recording, of the kind that its path ends in."""
        from diffsim.view import film_file

        for recording, film in zip(recordings, self.films(recordings), strict=True):
            captioned = dataclasses.replace(film, caption=recording.caption)
            film_file(recording.path, captioned, self.title(), progress=recording.progress)

    def compare(self, recordings: Sequence[Recording], path: Path) -> None:
        """Write one picture that shows all recordings, and the target, at a glance.

        A task without films gets none, unless it overrides this.
        """
        from diffsim.view import compare_png

        if type(self).films is Task.films and type(self).animate is not Task.animate:
            return
        films = [
            dataclasses.replace(film, caption=recording.caption)
            for recording, film in zip(recordings, self.films(recordings), strict=True)
        ]
        target = self.target_film(recordings)
        compare_png(path, films if target is None else [*films, target], self.title())
