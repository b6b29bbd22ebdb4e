"""The contract of an optimizer: a frozen configuration that starts runs."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from diffsim.errors import ConfigError
from diffsim.optim.memory import Memory

if TYPE_CHECKING:
    from diffsim.optim.run import OptimizerRun
    from diffsim.rollout import Rollout

__all__ = ["Optimizer", "StepInfo", "check_flag", "check_positive", "check_share", "clipped", "store"]


@dataclass(frozen=True)
class StepInfo:
    """Tell what one iteration found before it changed the parameters.

    Attributes:
        cost: The cost, a float; with several worlds an array (worlds,).
        grad_norm: The Euclidean length of the gradient, before it is normalised or clipped.
    """

    cost: float | NDArray[np.float64]
    grad_norm: float


class Optimizer(ABC):
    """A rule by which gradients change parameters; a frozen dataclass of its hyperparameters.

    It holds no state: `start` makes a run that does. A rule of your own is a subclass that tells `numbers`,
    and a subclass of `Memory` whose `change` reads them::

        @ti.data_oriented
        class SignMemory(Memory):
            @ti.func
            def change(self, place, g, numbers):
                return -numbers[0] * ti.math.sign(g)

        @dataclass(frozen=True)
        class SignDescent(Optimizer):
            lr: float
            memory = SignMemory

            def numbers(self, iteration):
                return (self.lr,)

    Attributes:
        memory: The kind of memory that its runs have.
    """

    memory: ClassVar[type[Memory]] = Memory

    def slots(self) -> tuple[str, ...]:
        """Name what the rule keeps for every parameter, slot 1 first."""
        return ()

    @abstractmethod
    def numbers(self, iteration: int) -> tuple[float, ...]:
        """Return the hyperparameters that `change` sees, at most four.

        Args:
            iteration: The iteration's number, from 0.
        """

    def scale(self, norm: float) -> float:
        """Return the factor that the gradient is multiplied by before the rule sees it.

        Args:
            norm: The gradient's length.
        """
        return 1.0

    def start(self, rollout: Rollout, wrt: Any = None) -> OptimizerRun:
        """Start optimising at the parameters' present values.

        Args:
            rollout: What is to be minimised; with several worlds, the sum of their costs.
            wrt: What may change, as `Rollout.value_and_grad` takes it; None for every Param and Control.

        Returns:
            A run that owns the optimizer's state on the device.

        Raises:
            ConfigError: `wrt` names nothing, or something that can't be optimised.
            StateError: The rollout was closed.
        """
        from diffsim.optim.run import OptimizerRun

        return OptimizerRun(self, rollout, wrt)


def clipped(norm: float, clip_norm: float | None) -> float:
    """Return the factor that shortens a vector of length `norm` to at most `clip_norm`."""
    return 1.0 if clip_norm is None or norm <= clip_norm else clip_norm / norm


def _number(value: object) -> float:
    """Return a real number as a float, NaN where it is not one."""
    if isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            return math.inf
    return math.nan


def check_positive(name: str, value: object, remedy: str) -> float:
    """Return a hyperparameter as a float that is finite and above 0.

    Raises:
        ConfigError: It is not.
    """
    number = _number(value)
    if not 0.0 < number < math.inf:
        raise ConfigError(f"{name} must be a finite number above 0, got {value!r}; {remedy}")
    return number


def check_share(name: str, value: object, remedy: str) -> float:
    """Return a hyperparameter as a float of at least 0 and below 1.

    Raises:
        ConfigError: It is not.
    """
    number = _number(value)
    if not 0.0 <= number < 1.0:
        raise ConfigError(f"{name} must be a number from 0 up to, not including, 1, got {value!r}; {remedy}")
    return number


def check_flag(name: str, value: object) -> bool:
    """Return a hyperparameter that is True or False.

    Raises:
        ConfigError: It is not.
    """
    if not isinstance(value, (bool, np.bool_)):
        raise ConfigError(f"{name} must be True or False, got {value!r}; pass a bool")
    return bool(value)


def store(owner: object, **values: object) -> None:
    """Set fields of a frozen dataclass while it is made."""
    for name, value in values.items():
        object.__setattr__(owner, name, value)
