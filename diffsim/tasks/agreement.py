"""A task on one backend beside the same on the CPU: whether cost and gradients agree to rounding."""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diffsim import _backends
from diffsim.engine.trust import furthest, gradient_key, rounding
from diffsim.rollout import Rollout

if TYPE_CHECKING:
    from diffsim.tasks.runs import Settings

__all__ = ["Agreement", "compare_backends", "is_reference"]

# of the largest number of each array; what rounding was seen to do, where that is more, counts as equal too
_TOLERANCE = {32: 1e-4, 64: 1e-9}

Results = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Agreement:
    """How far cost and gradients of a backend are from those of the CPU.

    Attributes:
        backend: What was compared: the backend, the compiler and the mode.
        reference: The same of what it was compared with.
        steps: Time steps of the rollout.
        cost: The distance of the cost, relative to it.
        gradient: The largest distance of a gradient, on the scale of its field.
        rounding: What rounding does to the reference: how far it moves where first values are off in their
            last bit, or from f64.
        beyond: The name of what differs by more than rounding; empty where nothing does.
        error: By how much.
    """

    backend: str
    reference: str
    steps: int
    cost: float
    gradient: float
    rounding: float
    beyond: str
    error: float

    @property
    def passed(self) -> bool:
        """Tell whether all agrees to rounding."""
        return not self.beyond

    @property
    def sentence(self) -> str:
        """Say it in one line."""
        if self.passed:
            return (
                f"{self.backend} agrees with {self.reference} to rounding: cost {self.cost:.1e}, "
                f"gradients {self.gradient:.1e}"
            )
        return (
            f"{self.beyond} must be on {self.backend} what it is on {self.reference}, got a difference of "
            f"{self.error:.1e} where rounding makes {self.rounding:.1e}; use the latter, and report the task"
        )


def is_reference(arch: str, compiler: str) -> bool:
    """Tell whether a backend is what others are compared with: the CPU, with its usual compiler.

    Nothing is started.

    Args:
        arch: As `init` takes it.
        compiler: As `init` takes it.

    Raises:
        ConfigError: They are not there.
    """
    return _backends.would_be(arch, compiler) == _backends.would_be("cpu", "auto")


def compare_backends(settings: Settings, compiler: str = "auto") -> Agreement:
    """Compute cost and gradients of a task on the backend of its settings, then on the CPU, and compare.

    Both have the same precision. How far the reference itself moves when first values and parameters are off
    in their last bit, and how far it is from itself in f64, tells rounding from a fault.

    Args:
        settings: The run.
        compiler: What makes machine code of its kernels, as `init` takes it.

    Raises:
        ConfigError: The backend or the compiler is not there.
        DiffsimError: The task can't be built, or its rollout failed.
    """
    with _opened(settings, settings.run.arch, compiler) as (rollout, run):
        backend, found = _named(rollout), run()
    with _opened(settings, "cpu", "auto") as (rollout, run):
        reference, wanted = _named(rollout), run()
        lowered, storage = rollout._engine.lowered, rollout._engine.storage
        known = [*lowered.initial.values(), *lowered.buffers.by_field.values()]
        moved = [b for b in dict.fromkeys(known) if b.kind in ("param", "control")]
        noise = rounding(storage, moved, run, wanted)
    if settings.run.precision == 32:
        double = dataclasses.replace(settings, run=dataclasses.replace(settings.run, precision=64))
        with _opened(double, "cpu", "auto") as (_, run):
            noise = {key: max(noise[key], _apart(wanted[key], exact)) for key, exact in run().items()}
    allowed = _TOLERANCE[settings.run.precision]
    error, beyond = furthest(found, wanted, noise)
    own = {key: furthest({key: found[key]}, {key: want})[0] for key, want in wanted.items()}
    moves = (noise[key] / (float(np.max(np.abs(want))) or 1.0) for key, want in wanted.items())
    return Agreement(
        backend,
        reference,
        settings.run.steps,
        own["the cost"],
        max((one for key, one in own.items() if key != "the cost"), default=0.0),
        max(moves),
        beyond if error > allowed else "",
        error,
    )


@contextmanager
def _opened(settings: Settings, arch: str, compiler: str) -> Iterator[tuple[Rollout, Callable[[], Results]]]:
    """Start a backend, make the task's rollout there, and what computes its cost and gradients."""
    gc.collect()  # what hangs in circles of the task before would hold fields of its backend
    dataclasses.replace(settings.run, arch=arch).start(compiler, reset=True)
    task = settings.open_task()
    simulator = task.build()
    rollout = Rollout(simulator, **settings.run.planned())
    try:
        task.prepare(rollout)
        wrt = task.wrt(simulator)

        def run() -> Results:
            cost, gradients = rollout.value_and_grad(wrt)
            return {"the cost": np.array(cost)} | {gradient_key(k): g for k, g in gradients.items()}

        yield rollout, run
    finally:
        rollout.close()


def _apart(one: NDArray[Any], other: NDArray[Any]) -> float:
    return float(np.max(np.abs(one - other), initial=0.0))


def _named(rollout: Rollout) -> str:
    """Name what runs a rollout: `vulkan`, `x64 with forge`."""
    info = rollout._info
    return info.arch if not info.on_cpu or info.native else f"{info.arch} with {info.compiler}"
