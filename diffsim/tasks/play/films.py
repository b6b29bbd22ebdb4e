"""What a window of play shows of a rollout: its gradient beside the motion, and the task's own film."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from diffsim.tasks.task import Recording, Task

if TYPE_CHECKING:
    from diffsim.rollout import Rollout
    from diffsim.view import Film

__all__ = ["films_of"]


def films_of(task: Task, rollout: Rollout) -> dict[str, Callable[[], Film]]:
    """Return the views that there are, by name: each runs the rollout as it is and returns a film.

    Args:
        task: Whose own film is one of them, where it has one.
        rollout: What runs.
    """

    def gradient() -> Film:
        from diffsim.view.paint import films_of as filmed

        return filmed([task.gradient(rollout)])[0]

    def own() -> Film:
        [film] = task.films([Recording(Path("now.gif"), "", task.record(rollout))])
        return film

    views = {"gradient": gradient}
    kind = type(task)
    if kind.films is not Task.films or (kind.record is Task.record and kind.animate is Task.animate):
        views["motion"] = own
    return views
