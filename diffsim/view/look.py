"""Looking at a trajectory in one call: curves, a film, a window."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from diffsim.view.scene import Scene
    from diffsim.view.trajectory import Trajectory

__all__ = ["animate", "plot", "show", "still"]


def plot(trajectory: Trajectory, path: str | os.PathLike[str] | None = None) -> Figure:
    """Plot signals over time."""
    raise NotImplementedError


def show(trajectory: Trajectory) -> Any:
    """Show a trajectory: in a notebook inline, else in a window."""
    raise NotImplementedError


def animate(
    trajectory: Trajectory,
    path: str | os.PathLike[str] | None = None,
    *,
    scene: Scene | None = None,
    fps: float | None = None,
    title: str | None = None,
    caption: str = "",
) -> Any:
    """Film a trajectory."""
    from diffsim.view.film import film_gif
    from diffsim.view.paint.films import films_of

    film = films_of([trajectory], scene, fps=fps, captions=[caption])[0]
    film_gif(path, film, trajectory.title if title is None else title)


def still(
    trajectory: Trajectory,
    path: str | os.PathLike[str],
    *,
    scene: Scene | None = None,
    title: str | None = None,
    caption: str = "",
) -> None:
    """Draw a strip of stills."""
    from diffsim.view.film import compare_png
    from diffsim.view.paint.films import films_of

    film = films_of([trajectory], scene, captions=[caption])[0]
    compare_png(path, [film], trajectory.title if title is None else title)
