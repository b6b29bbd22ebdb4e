"""The errors that diffsim raises: one base class, one kind per cause."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = [
    "CapacityError",
    "ConfigError",
    "Diagnostic",
    "DiffsimError",
    "GradientError",
    "GradientNotFiniteError",
    "GradientWarning",
    "MissingExtraError",
    "NotFiniteError",
    "PlanWarning",
    "StateError",
    "StateNotFiniteError",
    "TraceError",
]


@dataclass(frozen=True)
class Diagnostic:
    """One finding about a kernel.

    Attributes:
        rule: Its code, such as `OVERWRITE`; `diffsim explain OVERWRITE` tells what it asks for.
        where: `file:line:column in function`.
        message: What must hold, what was found, and what to do.
    """

    rule: str
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message} [{self.rule}]"

    @property
    def alone(self) -> str:
        """Return it as text that ends with where to read more: what a finding reads by itself."""
        return f"{self} (diffsim explain {self.rule})"


class DiffsimError(Exception):
    """Base of every error that diffsim raises on purpose."""


class ConfigError(DiffsimError, ValueError):
    """Say that an argument, option or file holds a value that is not allowed."""


class MissingExtraError(ConfigError):
    """Say that an optional package is not installed, and which extra brings it."""


class TraceError(DiffsimError):
    """Say that a step or a kernel cannot be turned into a program, with its file and line.

    Attributes:
        diagnostics: The findings behind it, where it comes from reading kernels.
    """

    diagnostics: tuple[Diagnostic, ...] = ()


class GradientError(DiffsimError):
    """Say that a gradient cannot be computed rightly, or was found to be wrong.

    Attributes:
        report: The gradient check that failed, where there is one.
        diagnostics: The findings behind it, where it comes from reading kernels.
    """

    diagnostics: tuple[Diagnostic, ...] = ()

    def __init__(self, message: str, report: Any = None) -> None:
        super().__init__(message)
        self.report = report


class GradientWarning(UserWarning):
    """Say that a gradient is probably not what was meant: a cut that nobody acknowledged, for example."""


class PlanWarning(UserWarning):
    """Say that a plan keeps to its budget at a price: a window of one step, for example."""


class StateError(DiffsimError, RuntimeError):
    """Say that a call came in the wrong order, or that a simulation left the finite numbers."""


class NotFiniteError(DiffsimError):
    """Say that a cost, a State or a gradient left the finite numbers: the run may be well elsewhere."""


class CapacityError(StateError):
    """Say that a sparse layout has no room for the blocks that a run activates.

    Attributes:
        layout: The layout; its `capacity` counts from the next run on.
        needed: How many blocks were active when it was noticed.
    """

    def __init__(self, message: str, layout: Any = None, needed: int = 0) -> None:
        super().__init__(message)
        self.layout, self.needed = layout, needed


class StateNotFiniteError(StateError, NotFiniteError):
    """Say that a simulation or its cost left the finite numbers."""


class GradientNotFiniteError(GradientError, NotFiniteError):
    """Say that a gradient, or an adjoint on its way, left the finite numbers."""
