"""A task that another package might offer, for tests: quick, without Taichi, slow or failing on demand.

The live half of a run is exchanged for one in NumPy, so that tests of folders, signals and the command line
take milliseconds an iteration.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np

import diffsim.tasks.runs.problem as problems
from diffsim.errors import ConfigError, StateError
from diffsim.tasks import Options, Recording, Task, option
from diffsim.tasks.runs import Settings, Snapshot
from diffsim.view.adjoints import with_adjoints
from diffsim.view.trajectory import Trajectory


class FakeTask(Task):
    name = "fake"
    summary = "a task for tests"
    steps = 10
    iterations = 20
    optimizer: ClassVar[Mapping[str, Any]] = {"name": "sgd", "lr": 0.05, "momentum": 0.5}

    @dataclass(frozen=True)
    class Config(Options):
        delay: float = option(0.0, "length of an iteration [s]", minimum=0)
        fail_at: int = option(-1, "the iteration that fails")
        shape: str = option("round", "what it looks like", choices=("round", "square"))
        bent: bool = option(False, "whether it is bent")
        file: str | None = option(None, "a file to read")

    def __init__(self, config: Options | None = None, data: Mapping[str, Any] | None = None) -> None:
        super().__init__(config, data)
        self.text = "" if data is None else str(data["text"])
        if data is None and self.config.file is not None:
            try:
                self.text = Path(self.config.file).read_text()
            except OSError as error:
                raise ConfigError(
                    f"{self.config.file}: file must exist, got {error.strerror}; write it"
                ) from None

    def data(self) -> dict[str, Any]:
        return {"text": self.text}

    def build(self) -> Any:
        raise NotImplementedError

    def record(self, rollout: Any) -> dict[str, Any]:
        return {}

    def animate(self, recordings: Sequence[Recording]) -> None:
        for recording in recordings:
            if recording.progress is not None:
                recording.progress(1, 1)
            recording.path.write_text(recording.caption)


class ClashTask(FakeTask):
    name = "fake_clash"

    @dataclass(frozen=True)
    class Config(Options):
        steps: int = option(1, "a name that all tasks have")


class FakeProblem:
    """Gradient descent with momentum on a bowl, with noise drawn anew in each iteration."""

    arch = "cpu"
    warning: str | None = None

    def __init__(self, settings: Settings) -> None:
        self.task = settings.open_task()
        self.optimizer = problems.make_optimizer(settings.optimizer)
        self.backend = {"arch": "x64", "precision": 64, "threads": 1}
        self.plan = {"mode": "step", "chunk": 0, "text": "plan"}
        self.seed = settings.run.seed
        self.size = settings.run.steps
        self.rollout = SimpleNamespace(close=lambda: None)

    def begin(self, snapshot: Snapshot | None, told: Any = None) -> None:
        if told is not None:
            told(1, 2, "Bowl.slide")
        self.p = np.random.default_rng(self.seed).normal(size=self.size)
        self.m = np.zeros(self.size)
        self.k, self.lowest, self.kept = 0, np.inf, self.p
        if snapshot is not None:
            state = snapshot.optimizer
            self.p, self.m, self.kept = state["p"].copy(), state["m"].copy(), state["kept"].copy()
            self.k, self.lowest = int(state["k"]), float(state["lowest"])

    def step(self) -> tuple[float, float]:
        config: Any = self.task.config
        if self.k == config.fail_at:
            raise StateError("cost must be finite, got nan; the first step at which x is not finite is 3")
        time.sleep(config.delay)
        noise = np.random.default_rng([self.seed, self.k]).normal(size=self.size)
        cost, grad = float(np.square(self.p).sum()), 2 * self.p + 0.1 * noise
        if cost < self.lowest:
            self.lowest, self.kept = cost, self.p.copy()
        self.m = getattr(self.optimizer, "momentum", 0.0) * self.m + grad
        self.p = self.p - self.optimizer.lr * self.m
        self.k += 1
        return cost, float(np.linalg.norm(grad))

    def params(self) -> dict[str, Any]:
        return {"policy.w0": self.p.copy()}

    def best(self) -> dict[str, Any]:
        return {"policy.w0": self.kept.copy()}

    def state(self) -> dict[str, Any]:
        return {
            "p": self.p.copy(),
            "m": self.m.copy(),
            "kept": self.kept.copy(),
            "k": np.array(self.k),
            "lowest": np.array(self.lowest),
        }

    def record(self, path: Path, caption: str, params: Any) -> Recording:
        return Recording(path, caption, {"p": params["policy.w0"]})

    def figures(self, arrays: Mapping[str, Any] | None = None) -> dict[str, float]:
        p = self.p if arrays is None else arrays["p"]
        return {"squared length [m]": float(np.square(p).sum())}

    def use(self, params: Any) -> None:
        self.p = params["policy.w0"].copy()

    def motion(self) -> Trajectory:
        swing = np.cos(np.arange(4))[:, None] * self.p  # "x" moves as the parameters say
        return Trajectory({"x": swing}, 0.1 * np.arange(4), units={"x": "m"}, title="Bowl")

    def gradient(self) -> Trajectory:
        motion = self.motion()
        return with_adjoints(motion, {"x": motion["x"]})

    def health(self) -> Any:
        return SimpleNamespace(adjoint_norms=np.array([1.0, np.nan, 4.0]), __str__=None)

    def described(self) -> dict[str, dict[str, Any]]:
        return {"policy.w0": {"kind": "Param", "unit": "N", "bounds": None}}

    def graphs(self) -> dict[str, str]:
        return {"one step": "<svg xmlns='http://www.w3.org/2000/svg'/>"}

    compile_seconds = 0.0

    def __enter__(self) -> FakeProblem:
        return self

    def __exit__(self, *_: object) -> None:
        return


_real = problems.Problem
problems.Problem = lambda settings, *rest: (  # type: ignore[assignment,misc]
    FakeProblem(settings) if settings.task == "fake" else _real(settings, *rest)
)
