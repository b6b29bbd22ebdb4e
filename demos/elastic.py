"""Throw a soft block, and teach soft bodies to crawl and to walk: `diffsim train elastic`, ..."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from diffsim.tasks import Options, Recording, Task, option

if TYPE_CHECKING:
    from diffsim.kernels.elastic import Elastic, ElasticConfig, Scene
    from diffsim.rollout import Rollout
    from diffsim.view import Film

__all__ = ["ElasticCrawlerTask", "ElasticHillsTask", "ElasticTask", "ElasticWalkerTask"]

_FRAMES = 50  # of an animation, about
_PACE = 0.0576  # [s/m] a time step over a cell's size: sound crosses 0.4 cells in a step


class _SoftBody(Task):
    """What the tasks of soft bodies share: the recording and the choice of a film."""

    check_steps = 6
    # Mode step is nearly as fast as fused here, and Taichi compiles it in seconds instead of minutes.
    taichi_options: ClassVar[Mapping[str, Any]] = {"mode": "step"}

    @abstractmethod
    def scene(self, constants: ElasticConfig) -> Scene:
        """Make the body and its room."""

    def constants(self) -> ElasticConfig:
        """Make the simulator's configuration: finer cells take shorter steps."""
        from diffsim.kernels.elastic import ElasticConfig

        cell = 1.0 / self.config.cells
        return ElasticConfig(cell=cell, dt=_PACE * cell)

    def build(self) -> Elastic:
        from diffsim.kernels.elastic import Elastic

        return Elastic(self.scene(self.constants()))

    def wrt(self, simulator: Any) -> list[Any]:
        return [simulator.policy]

    def record(self, rollout: Rollout) -> dict[str, NDArray[Any]]:
        sim: Any = rollout.sim
        every = max(1, round(rollout.steps / _FRAMES))
        fields = {"x": sim.x, **({"command": sim.mpm.actuation} if sim.has_muscles else {})}
        found = rollout.trajectories(fields, every=every)
        end = rollout.trajectory(sim.x, every=rollout.steps)[-1]
        if rollout.worlds > 1:  # they share what is optimised and differ in nothing
            found, end = {key: array[:, 0] for key, array in found.items()}, end[0]
        share, origin = sim.share.numpy(), np.array(sim.origin)
        if "command" in found:  # the last State has no step after it, and so no command
            shown = np.arange(len(found["x"])).clip(max=len(found["command"]) - 1)
            found["command"] = found["command"][shown]
        return {
            **found,
            "x": (found["x"] - origin).astype(np.float32),
            "center": np.einsum("p,fpd->fd", share, found["x"]) - origin,
            "length": np.array(sim.setup.room[1][0] - sim.setup.room[0][0]),
            "end": share @ end - origin,
            "muscle": sim.mpm.particles.muscle,
            "times": every * sim.dt * np.arange(len(found["x"])),
        }

    def metrics(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, float]:
        way = float(arrays["end"][0] - arrays["center"][0, 0])
        return {"distance travelled [m]": way, "distance travelled [domain]": way / float(arrays["length"])}

    def films(self, recordings: Sequence[Recording]) -> list[Film]:
        from diffsim.demos.elastic_pictures import film

        constants = self.constants()
        return [film(recording.arrays, self.scene(constants), constants.cell) for recording in recordings]


class ElasticTask(_SoftBody):
    """A soft block is thrown so that, after a bounce, its centre is on a target at a given time.

    Optimised is the velocity that it is thrown with; the gradient goes through flight, bounce and sliding.
    The first guess is drawn at random: the cost is the squared distance [m^2] of the centre to the target at
    the last step.

    Args:
        config: The options.
        data: Unused.
    """

    name = "elastic"
    summary = "a soft block is thrown at a target, by way of a bounce"
    steps = 500
    iterations = 30
    optimizer: ClassVar[Mapping[str, Any]] = {"name": "sgd", "lr": 1.5, "momentum": 0.5}
    cost_label = "squared distance to the target [m²]"
    smoke: ClassVar[Mapping[str, Any]] = {"steps": 8, "iterations": 2, "cells": 16}

    @dataclass(frozen=True)
    class Config(Options):
        """The options of the task."""

        cells: int = option(48, "cells per metre", minimum=12)
        dim: int = option(2, "dimension of space", choices=(2, 3))

    def title(self) -> str:
        return "a block thrown at a target"

    def scene(self, constants: ElasticConfig) -> Scene:
        from diffsim.kernels.elastic import block

        return block(constants, self.config.dim)

    def build(self) -> Elastic:
        from diffsim import runtime

        simulator = super().build()
        guess = np.zeros(self.config.dim)
        guess[0], guess[-1] = 0.9, 1.2  # [m/s] forward and up
        rng = np.random.default_rng(runtime.seed())
        simulator.throw.set(guess[None] + rng.normal(0.0, 0.3, size=(1, self.config.dim)))
        return simulator

    def wrt(self, simulator: Any) -> list[Any]:
        return [simulator.throw]

    def metrics(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, float]:
        scene = self.scene(self.constants())
        miss = float(np.linalg.norm(arrays["end"] - np.array(scene.goal)))
        return {"distance to the target [domain]": miss / (scene.room[1][0] - scene.room[0][0])}


class ElasticHillsTask(Task):
    """A soft ball in space is thrown over hills to a target, hundreds of cells away, by way of a bounce.

    The grid has 510 cells along each axis: dense it would take 3.5 GiB in each step. Its layout is sparse,
    so that only the blocks around the ball are there. Optimised is the velocity that it is thrown with, the
    cost is the squared distance [m^2] of its centre to the target at the last step.

    Args:
        config: The options.
        data: Unused.
    """

    name = "elastic_hills"
    summary = "a soft ball is thrown over hills, on a sparse grid"
    steps = 1500
    iterations = 15
    check_steps = 4
    optimizer: ClassVar[Mapping[str, Any]] = {"name": "adam", "lr": 0.15}
    cost_label = "squared distance to the target [m²]"
    smoke: ClassVar[Mapping[str, Any]] = {"steps": 6, "iterations": 2, "cells": 24}
    taichi_options: ClassVar[Mapping[str, Any]] = {"mode": "step"}

    @dataclass(frozen=True)
    class Config(Options):
        """The options of the task."""

        cells: int = option(48, "cells per metre", minimum=20)

    def build(self) -> Elastic:
        import diffsim as ds
        from diffsim.kernels.elastic import Elastic, ElasticConfig, hills

        cell = 1.0 / self.config.cells
        constants = ElasticConfig(cell=cell, dt=0.048 * cell, young=100.0)
        simulator = Elastic(hills(constants), layout=ds.sparse(block=4, capacity=128))
        rng = np.random.default_rng(ds.runtime.seed())
        simulator.throw.set(np.array([[4.5, 0.2, 3.0]]) + rng.normal(0.0, 0.2, size=(1, 3)))
        return simulator

    def wrt(self, simulator: Any) -> list[Any]:
        return [simulator.throw]

    def metrics(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, float]:
        simulator = self.build()
        ball = arrays["x"][-1].mean(axis=0)
        return {"distance to the target [m]": float(np.linalg.norm(ball - np.array(simulator.goal)))}

    def title(self) -> str:
        return "a soft ball over hills"


class ElasticCrawlerTask(_SoftBody):
    """A soft body in the plane learns to crawl on two legs of two muscles; the cost is minus its way [m].

    Optimised is how much of each of four sine waves each muscle is told, and a bias; they begin at random.

    Args:
        config: The options.
        data: Unused.
    """

    name = "elastic_crawler"
    summary = "a soft body with four muscles learns to crawl"
    steps = 800
    iterations = 100
    optimizer: ClassVar[Mapping[str, Any]] = {"name": "adam", "lr": 0.05}
    cost_label = "cost: −way of the centre [m]"
    smoke: ClassVar[Mapping[str, Any]] = {"steps": 8, "iterations": 2, "cells": 20}

    @dataclass(frozen=True)
    class Config(Options):
        """The options of the task."""

        cells: int = option(48, "cells per metre", minimum=20)

    def title(self) -> str:
        return "a soft body learns to crawl"

    def scene(self, constants: ElasticConfig) -> Scene:
        from diffsim.kernels.elastic import crawler

        return crawler(constants)


class ElasticWalkerTask(_SoftBody):
    """A soft body in space learns to walk on four legs of two muscles each; the cost is minus its way [m].

    Optimised is how much of each of four sine waves each muscle is told, and a bias; they begin at random.

    Args:
        config: The options.
        data: Unused.
    """

    name = "elastic_walker"
    summary = "a soft four-legged body in space learns to walk"
    steps = 400
    iterations = 40
    check_steps = 3
    optimizer: ClassVar[Mapping[str, Any]] = {"name": "adam", "lr": 0.05}
    cost_label = "cost: −way of the centre [m]"
    smoke: ClassVar[Mapping[str, Any]] = {"steps": 4, "iterations": 2, "cells": 12}

    @dataclass(frozen=True)
    class Config(Options):
        """The options of the task."""

        cells: int = option(24, "cells per metre", minimum=12)

    def title(self) -> str:
        return "a soft body learns to walk"

    def scene(self, constants: ElasticConfig) -> Scene:
        from diffsim.kernels.elastic import walker

        return walker(constants)
