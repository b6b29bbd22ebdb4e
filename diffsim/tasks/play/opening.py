"""From a task or a run to a window: what `diffsim play` does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from diffsim.errors import ConfigError
from diffsim.tasks.play.films import films_of
from diffsim.tasks.play.player import Player
from diffsim.tasks.play.session import Session
from diffsim.tasks.play.window import open_window, require_display
from diffsim.tasks.runs.folder import RunFolder
from diffsim.tasks.runs.problem import Problem
from diffsim.tasks.runs.settings import Settings

if TYPE_CHECKING:
    from diffsim.tasks.runs.state import Snapshot

__all__ = ["play", "play_run"]


def play(
    settings: Settings,
    snapshot: Snapshot | None = None,
    say: Callable[[str], object] | None = None,
    shot: Callable[[int], str | None] | None = None,
) -> None:
    """Open a window with a task's parameters on sliders.

    Args:
        settings: What to run.
        snapshot: Where a run has got to: its best parameters are what is begun with.
        say: Told what takes its time before the window is there.
        shot: As of `open_window`.

    Raises:
        ConfigError: There is no display; nothing was compiled then.
        DiffsimError: The rollout can't be compiled.
    """
    require_display()
    if say is not None:
        say("compiling ...")
    with Problem(settings, snapshot) as problem:
        task, rollout = problem.task, problem.rollout
        if snapshot is not None:
            problem.use(snapshot.best)
        session = Session(rollout, task.wrt(rollout.sim))
        player = Player(session, films_of(task, rollout), task.title())
        open_window(player, f"diffsim play {settings.task}", shot)


def play_run(
    path: Path,
    say: Callable[[str], object] | None = None,
    shot: Callable[[int], str | None] | None = None,
) -> None:
    """Open a window with the best parameters of a run on sliders; the run stays as it is.

    Args:
        path: The run folder.
        say: As of `play`.
        shot: As of `open_window`.

    Raises:
        ConfigError: There is no display, or the folder holds no run that has begun.
    """
    require_display()
    with RunFolder(path) as folder:
        settings, snapshot = folder.settings, folder.load()
    if snapshot is None:
        raise ConfigError(f"run must have begun before it is played with, got {path} at its start")
    play(settings, snapshot, say, shot)
