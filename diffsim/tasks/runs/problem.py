"""A task made ready to run: the runtime, the simulator, its rollout and the optimizer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsim import _backends
from diffsim.errors import ConfigError
from diffsim.tasks.runs.settings import Settings, make_optimizer
from diffsim.tasks.runs.state import Arrays, Snapshot
from diffsim.tasks.task import Recording
from diffsim.view.trajectory import Trajectory

__all__ = ["Problem"]


class Problem:
    """The live half of a run: everything that holds Taichi fields.

    Args:
        settings: What to run. The runtime is started by it.
        snapshot: What to go on from: the mode that it ran in is kept.

    Attributes:
        task: The task.
        rollout: Its rollout.
        arch: The backend that came up: `cpu`, `cuda` or `vulkan`.
        backend: Backend, precision and threads, for the manifest.
        watch: Called between the segments of a rollout that has several, as `Progress.within` is.
        warning: What looks bad about the gradient that `begin` computed, in one line, or None.

    Raises:
        ConfigError: A setting is not allowed, or the backend is not there.
        TraceError: The simulator's step can't be traced.
    """

    def __init__(self, settings: Settings, snapshot: Snapshot | None = None) -> None:
        from diffsim.rollout import Rollout

        run = settings.run
        self.task = settings.open_task()
        self._optimizer = make_optimizer(settings.optimizer)
        info = run.start()
        self.arch = info.arch if info.arch in _backends.GPUS else "cpu"
        self.backend = {"arch": info.arch, "precision": info.precision, "threads": info.threads}
        simulator = self.task.build()
        self._wrt = self.task.wrt(simulator)
        self.watch: Callable[[int, int, str], object] | None = None
        self.rollout = Rollout(simulator, **(run.planned() | _launched(snapshot)), progress=self._between)
        self.task.prepare(self.rollout)
        self.warning: str | None = None
        self._run: Any = None

    @property
    def plan(self) -> dict[str, Any]:
        """Say how the rollout runs, for the manifest and the report."""
        plan = self.rollout.plan
        facts = {
            "mode": plan.mode,
            "why": plan.reason,
            "steps": plan.steps,
            "worlds": plan.worlds,
            "segments": plan.segments,
            "window": plan.window,
            "checkpoints": plan.checkpoints,
            "forward steps per step of the gradient": round(float(plan.recomputation), 3),
        }
        memory = {name: int(size) for name, size in plan.bytes.items()}
        return {"mode": plan.mode, "chunk": plan.chunk, "text": str(plan), "memory": memory, "facts": facts}

    def _between(self, done: int, total: int, phase: str) -> None:
        if self.watch is not None:
            self.watch(done, total, phase)

    def begin(self, snapshot: Snapshot | None, told: Callable[[int, int, str], object] | None = None) -> None:
        """Compile, and go to where the snapshot was taken; None for the start.

        Args:
            snapshot: Where to go to.
            told: Called before each kernel is compiled, as `Progress.compiling` is.

        Raises:
            DiffsimError: The rollout can't be compiled, or left the finite numbers.
        """
        from diffsim.engine import compiles

        self._run = self._optimizer.start(self.rollout, self._wrt)
        state = self._run.state() if snapshot is None else snapshot.optimizer
        with compiles.watching(told) if told is not None else nullcontext():
            info = self._run.step()  # compiles all that an iteration needs; taken back below
        self.warning = self.rollout.gradient_warning(info.cost, self._wrt)
        self._run.load(state)

    def step(self) -> tuple[Any, float]:
        """Do one iteration; return the cost before it, and the gradient's length.

        Raises:
            DiffsimError: The rollout left the finite numbers.
        """
        info = self._run.step()
        return info.cost, float(info.grad_norm)

    @property
    def lowest(self) -> float:
        """Return the cost of the best parameters, summed over worlds."""
        return float(np.sum(self._run.best_cost))

    def params(self) -> Arrays:
        """Copy the parameters that are optimised."""
        return dict(self._run.last())

    def best(self) -> Arrays:
        """Copy the parameters of the lowest cost so far; each world's own where all of them are."""
        return dict(self._run.best())

    def state(self) -> Arrays:
        """Copy all that the optimizer needs to go on as if it had not been stopped."""
        return dict(self._run.state())

    def use(self, params: Arrays) -> None:
        """Set parameters, which the rollout keeps."""
        for leaf in self.rollout.leaves(self._wrt):
            leaf.set(params[leaf.key])

    def record(self, path: Path, caption: str, params: Arrays) -> Recording:
        """Run the rollout with other parameters, which it keeps.

        Args:
            path: The picture that will be drawn.
            caption: A few words to show in it.
            params: The parameters by key.
        """
        self.use(params)
        return Recording(path, caption, self.task.record(self.rollout))

    def motion(self) -> Trajectory:
        """Run the rollout with the parameters as they are, and return what there is to see."""
        return self.task.trajectory(self.rollout)

    def gradient(self) -> Trajectory:
        """Return what there is to see of the gradient along the motion, with the parameters as they are."""
        return self.task.gradient(self.rollout)

    def health(self) -> Any:
        """Measure how the gradient fares with the parameters as they are; see `Rollout.health`."""
        return self.rollout.health(self._wrt)

    def described(self) -> dict[str, dict[str, Any]]:
        """Say of each parameter what kind it is, its unit and its bounds, by key."""
        found = {}
        for leaf in self.rollout.leaves(self._wrt):
            field = leaf.field
            bounds = getattr(field, "bounds", None)
            found[leaf.key] = {"kind": type(field).__name__, "unit": field.unit, "bounds": bounds}
        return found

    def graphs(self) -> dict[str, str]:
        """Draw the step and the horizon: SVG texts by caption; what is too large to be drawn is left out."""
        found = {}
        for what, caption in (
            ("step", "one step: kernels and fields"),
            ("time", "the horizon: segments and checkpoints"),
        ):
            with suppress(ConfigError):
                found[caption] = self.rollout.graph(what).inline_svg(title=False)
        return found

    def figures(self, arrays: Mapping[str, NDArray[Any]] | None = None) -> dict[str, float]:
        """Compute the figures of merit of a recording; None for one with the parameters as they are."""
        recorded = self.task.record(self.rollout) if arrays is None else arrays
        return {name: float(value) for name, value in self.task.metrics(recorded).items()}

    @property
    def compile_seconds(self) -> float:
        """Seconds spent on compiling kernels so far."""
        return self.rollout.compile_seconds

    def close(self) -> None:
        """Free the rollout's memory."""
        self.rollout.close()

    def __enter__(self) -> Problem:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _launched(snapshot: Snapshot | None) -> dict[str, Any]:
    """Return the planning arguments that force the mode that a run was in when it stopped."""
    if snapshot is None or not snapshot.mode:
        return {}
    return {"mode": snapshot.mode, "chunk": snapshot.chunk or None}
