"""Looking at a trajectory in one call: curves, a film, a window."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from diffsim.view.trajectory import Trajectory

__all__ = ["animate", "plot", "show"]


def plot(trajectory: Trajectory, path: str | os.PathLike[str] | None = None) -> Figure:
    """Plot signals over time."""
    raise NotImplementedError


def show(trajectory: Trajectory) -> Any:
    """Show a trajectory: in a notebook inline, else in a window."""
    raise NotImplementedError


def animate(trajectory: Trajectory, path: str | os.PathLike[str] | None = None) -> Any:
    """Film a trajectory."""
    raise NotImplementedError
