"""`diffsim graph`: a program as a picture, or as text that others draw."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from diffsim.cli.resolve import resolve, start
from diffsim.cli.words import explain_options
from diffsim.errors import ConfigError
from diffsim.tasks.registry import load_task

if TYPE_CHECKING:
    from diffsim.tasks.task import Task

__all__ = ["command", "graph_options"]

_OWN = [
    click.Option(
        ["--kernel"], metavar="K", help="the operations of this kernel: its name, or its number in a step"
    ),
    click.Option(
        ["--time", "time"], is_flag=True, help="the horizon: segments, checkpoints, what is run again"
    ),
    click.Option(
        ["--health"], is_flag=True, help="run one gradient, and colour fields by the size of their adjoints"
    ),
    click.Option(["--out"], metavar="FILE", help="write .svg, .png, .dot, .mmd or .html [print Mermaid]"),
]


def graph_options(task: type[Task] | None) -> list[click.Parameter]:
    """Make those of `graph`."""
    return [*explain_options(task), *_OWN]


def _graph(name: str, kernel: str | None, time: bool, health: bool, out: str | None, **given: Any) -> int:
    """Draw the step of NAME, one kernel of it, or its horizon.

    Without --out it is written as Mermaid, which many sites draw. Nothing is run, except with --health.
    """
    from diffsim.rollout import Rollout
    from diffsim.view.graph import check_target

    if sum((kernel is not None, time, health)) > 1:
        raise ConfigError(
            "--kernel, --time and --health must come one at a time, got several; leave out the others"
        )
    target = check_target(out, "--out") if out is not None else None
    kind = load_task(name)
    if given["steps"] is None and "steps" not in kind.sizes() and not time:
        given["steps"] = kind.check_steps
    settings, task = resolve(name, given)
    with Rollout(start(settings, task), **settings.run.planned()) as rollout:
        if health:
            task.prepare(rollout)
        drawn = rollout.graph("time" if time else "step", kernel=kernel, health=health)
    if target is None:
        click.echo(drawn.mermaid(), nl=False)
    else:
        click.echo(f"the graph is in {drawn.save(target)}")
    return 0


command = _graph  # its docstring is the help
