"""The command `play`: of a task, or of a run folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from diffsim.cli.commands import TaskCommand
from diffsim.cli.resolve import resolve
from diffsim.cli.words import QUIET, explain_options
from diffsim.tasks.registry import task_names

__all__ = ["PLAY"]

_RUN = "diffsim.run"  # where a command's context notes that a run folder was named
_NAME = click.Argument(["name"], metavar="NAME|FOLDER")


class _PlayCommand(TaskCommand):
    """A command whose first argument is a task, with its options, or the folder of a run, without any."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        words = [word for word in args if not word.startswith("-")]
        first = words[0] if words else ""
        ctx.meta[_RUN] = first not in task_names() and os.path.isdir(first)
        return click.Command.parse_args(self, ctx, args) if ctx.meta[_RUN] else super().parse_args(ctx, args)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        if ctx.meta.get(_RUN):
            return [_NAME, QUIET, self.get_help_option(ctx)]  # type: ignore[list-item]
        return super().get_params(ctx)


def _options(task: Any) -> list[click.Parameter]:
    return [_NAME, *explain_options(task)[1:]]


def _play(name: str, quiet: bool, **given: Any) -> int:
    """Open a window: drag a parameter and watch the rollout and its gradient change.

    Numbers and small arrays have a slider for each element; large arrays have one along their gradient, to
    the right of which the cost falls. Of a run folder the best parameters are what is begun with. It needs a
    display; nothing is written.
    """
    from diffsim.progress import make_progress
    from diffsim.tasks.play.opening import play, play_run

    say = make_progress(quiet).say
    if given:
        settings, _ = resolve(name, given)
        play(settings, say=say)
    else:
        play_run(Path(name), say)
    return 0


PLAY = _PlayCommand(
    "play",
    shared=_options,
    callback=_play,
    params=[QUIET],
    help=(_play.__doc__ or "").strip(),
    short_help="Open a window: drag a parameter and watch the rollout and its gradient change",
)
