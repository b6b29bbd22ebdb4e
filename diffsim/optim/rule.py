"""What an optimizer is to its runs: a rule, hyperparameters that were checked, what an iteration found."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from diffsim.errors import ConfigError
from diffsim.optim.memory import Memory
from diffsim.options import plain_number

__all__ = ["Rule", "StepInfo", "check_flag", "check_positive", "check_share", "clipped", "store"]


@dataclass(frozen=True)
class StepInfo:
    """Tell what one iteration found before it changed the parameters.

    Attributes:
        cost: The cost, a float; with several worlds an array (worlds,).
        grad_norm: The Euclidean length of the gradient, before it is normalised or clipped.
    """

    cost: float | NDArray[np.float64]
    grad_norm: float


class Rule(ABC):
    """How gradients change parameters: what `Optimizer` says without `start`.

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
            iteration: The iteration's number, from 0; from 0 again where `OptimizerRun.halve` went back.
        """

    def scale(self, norm: float) -> float:
        """Return the factor that the gradient is multiplied by before the rule sees it.

        Args:
            norm: The gradient's length.
        """
        return 1.0


def clipped(norm: float, clip_norm: float | None) -> float:
    """Return the factor that shortens a vector of length `norm` to at most `clip_norm`."""
    return 1.0 if clip_norm is None or norm <= clip_norm else clip_norm / norm


def _number(value: object) -> float:
    """Return a real number as a float, NaN where it is not one."""
    value = plain_number(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
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
    value = plain_number(value)
    if not isinstance(value, bool):
        raise ConfigError(f"{name} must be True or False, got {value!r}; pass a bool")
    return value


def store(owner: object, **values: object) -> None:
    """Set fields of a frozen dataclass while it is made."""
    for name, value in values.items():
        object.__setattr__(owner, name, value)
