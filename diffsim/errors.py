"""The errors that diffsim raises: one base class, one kind per cause."""

from __future__ import annotations

from typing import Any

__all__ = ["ConfigError", "DiffsimError", "GradientError", "StateError", "TraceError"]


class DiffsimError(Exception):
    """Base of every error that diffsim raises on purpose."""


class ConfigError(DiffsimError, ValueError):
    """Say that an argument, option or file holds a value that is not allowed."""


class TraceError(DiffsimError):
    """Say that a step or a kernel cannot be turned into a program, with its file and line."""


class GradientError(DiffsimError):
    """Say that a gradient cannot be computed rightly, or was found to be wrong.

    Attributes:
        report: The gradient check that failed, where there is one.
    """

    def __init__(self, message: str, report: Any = None) -> None:
        super().__init__(message)
        self.report = report


class StateError(DiffsimError, RuntimeError):
    """Say that a call came in the wrong order, or that a simulation left the finite numbers."""
