"""Looking at a trajectory in one call: curves, a film, a strip of stills, a window."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from diffsim.errors import ConfigError, StateError
from diffsim.extras import in_notebook
from diffsim.files import replacing, require_writable
from diffsim.options import plain_number
from diffsim.view.clip import Clip, clip_of
from diffsim.view.film import Film, compare_png, film_file, frame_drawer
from diffsim.view.paint.films import films_of
from diffsim.view.plots import plotted
from diffsim.view.window import Player, has_display, play
from diffsim.view.writer import check_film_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from diffsim.view.scene import Scene
    from diffsim.view.trajectory import Trajectory

__all__ = ["animate", "check_plot_path", "plot", "require_screen", "show", "still"]

_PLOTS = (".png", ".svg", ".pdf")


def plot(
    trajectory: Trajectory,
    path: str | os.PathLike[str] | None = None,
    names: Sequence[str] | None = None,
    *,
    title: str | None = None,
) -> Figure:
    """Plot signals over time: a panel for each, at most a dozen curves in one, worlds as thin lines.

    More than a dozen numbers along one axis, as a rod's temperature, are an image: time to the right.

    Args:
        trajectory: What is plotted.
        path: The picture to write: .png, .svg or .pdf; None for none.
        names: Which of its arrays; None for all.
        title: Heading; None for what the trajectory is of.

    Returns:
        The figure, which notebooks show.

    Raises:
        ConfigError: The path ends in something else or its folder can't be written to, a name is not known,
            or there is no finite number.
        OSError: The file can't be written.
    """
    if path is not None:
        check_plot_path(path)
    figure = plotted(trajectory, names, trajectory.title if title is None else title)
    if path is not None:
        with replacing(path) as temporary:
            figure.savefig(temporary, format=Path(path).suffix[1:].lower())
    return figure


def animate(
    trajectory: Trajectory,
    path: str | os.PathLike[str] | None = None,
    *,
    scene: Scene | None = None,
    fps: float | None = None,
    title: str | None = None,
    caption: str = "",
    progress: Callable[[int, int], object] | None = None,
) -> Clip | None:
    """Film a trajectory by its scene, or by what its arrays suggest.

    Args:
        trajectory: What is drawn; of several worlds the first six, side by side.
        path: The film to write: .gif, .mp4 or .webm (extra `video`); None for one that a notebook plays.
        scene: How it is drawn; None for its own, or `default_scene`.
        fps: Frames per second; None for real time where times are in seconds, within 2 to 12 s, else 20.
        title: Heading; None for what the trajectory is of.
        caption: A few words for all of it.
        progress: Called after each frame with the frames drawn and those of the film; None for nobody.

    Returns:
        For `path=None` a `Clip`, which notebooks play inline.

    Raises:
        ConfigError: The path ends in something else or its folder can't be written to, there is no frame,
            nothing is finite, or arrays do not fit the scene.
        MissingExtraError: A video is asked for, and what encodes it is not installed.
        OSError: The file can't be written.
    """
    if path is not None:
        check_film_path(path)
    film, heading = _film(trajectory, scene, fps, title, caption)
    if path is None:
        return clip_of(film, heading)
    film_file(path, film, heading, progress=progress)
    return None


def still(
    trajectory: Trajectory,
    path: str | os.PathLike[str],
    *,
    frames: int | Sequence[int] | None = None,
    scene: Scene | None = None,
    title: str | None = None,
    caption: str = "",
) -> None:
    """Draw frames of a trajectory side by side.

    Args:
        trajectory: What is drawn.
        path: The PNG to write.
        frames: How many, spread evenly, or which; None for four.
        scene: How it is drawn; None for its own, or `default_scene`.
        title: Heading; None for what the trajectory is of.
        caption: A few words for all of it.

    Raises:
        ConfigError: As for `animate`, or a frame is not there.
        OSError: The file can't be written.
    """
    import dataclasses

    _check_picture(path, (".png",))
    film, heading = _film(trajectory, scene, None, title, caption)
    frames = plain_number(frames)
    if isinstance(frames, float):
        raise ConfigError(f"frames must be how many, or which, got {frames}; write a whole number")
    if isinstance(frames, int):
        last = len(film.labels) - 1
        frames = sorted({round(k) for k in np.linspace(0, last, max(1, frames))})
    compare_png(path, [dataclasses.replace(film, stills=frames)], heading)


def show(
    trajectory: Trajectory,
    *,
    scene: Scene | None = None,
    fps: float | None = None,
    title: str | None = None,
    window: Callable[[Player, str], bool] | None = None,
) -> Clip | None:
    """Show a trajectory: in a notebook as a film in the page, else in a window at its own pace.

    In the window the space bar pauses, the arrows step, and home begins anew.

    Args:
        trajectory: What is drawn.
        scene: How it is drawn; None for its own, or `default_scene`.
        fps: Frames per second; None as for `animate`.
        title: Heading; None for what the trajectory is of.
        window: Plays frames in a window until it is closed, and tells whether it could; None for one of
            Matplotlib's.

    Returns:
        In a notebook a `Clip`, else None after the window was closed.

    Raises:
        StateError: There is no display, or nothing that opens windows.
        ConfigError: As for `animate`.
    """
    require_screen()
    film, heading = _film(trajectory, scene, fps, title, "")
    if in_notebook():
        return clip_of(film, heading)
    player = Player(len(film.labels), frame_drawer(film, heading), film.fps)
    if not any(way(player, heading) for way in (window, play) if way is not None):
        raise StateError(
            "show must have something that opens windows, got none; install PySide6 or tkinter, or write a "
            'file with animate("motion.gif")'
        )
    return None


def require_screen() -> None:
    """Refuse to show anything where nobody can see it.

    Raises:
        StateError: There is neither a notebook nor a display.
    """
    if not in_notebook() and not has_display():
        raise StateError(
            "show must run in a notebook or where there is a display, got neither; write a file with "
            'animate("motion.gif")'
        )


def check_plot_path(path: str | os.PathLike[str]) -> None:
    """Make sure that a plot can be written, before what it shows is recorded.

    Raises:
        ConfigError: The path ends in none of .png, .svg and .pdf, or its folder can't be written to.
    """
    _check_picture(path, _PLOTS)


def _film(
    trajectory: Trajectory, scene: Scene | None, fps: float | None, title: str | None, caption: str
) -> tuple[Film, str]:
    """Return the film of a trajectory and its heading."""
    film = films_of([trajectory], scene, fps=fps, captions=[caption])[0]
    return film, trajectory.title if title is None else title


def _check_picture(path: str | os.PathLike[str], endings: Sequence[str]) -> None:
    if Path(path).suffix.lower() not in endings:
        raise ConfigError(
            f"path must end in {' or '.join(endings)}, got {os.fspath(path)!r}; the ending tells what to "
            "write"
        )
    require_writable(path)
