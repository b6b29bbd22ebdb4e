"""The options and arguments of each command, with the defaults of the task that was named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from diffsim.cli.commands import CheckOptions, SurveyOptions, flags_of

if TYPE_CHECKING:
    from diffsim.tasks.task import Task

__all__ = [
    "ADJOINTS",
    "EVERY",
    "FOLDER",
    "LIVE",
    "NO_PICTURES",
    "QUIET",
    "TRAIN",
    "audit_options",
    "bench_options",
    "check_options",
    "explain_options",
    "plan_options",
    "train_options",
]

_NAME = click.Argument(["name"], metavar="NAME")
_NAME_OR_ALL = click.Argument(["name"], metavar="NAME", required=False)
_MEASURE = click.Option(["--measure"], is_flag=True, help="compile every mode and time it on a few steps")
LIVE = click.Option(
    ["--live"], is_flag=True, help="show the run in a browser on this machine while it trains"
)
ADJOINTS = click.Option(
    ["--adjoints"],
    is_flag=True,
    help="draw d cost / d x beside the motion, as adjoints.gif alone",
)
QUIET = click.Option(["--quiet"], is_flag=True, help="show nothing but errors")
NO_PICTURES = click.Option(
    ["--no-pictures", "no_pictures"], is_flag=True, help="draw nothing; diffsim render FOLDER does later"
)
_SHARED = (
    *(
        "steps",
        "seed",
        "worlds",
        "memory",
        "host_memory",
        "spill",
        "disk_memory",
        "schedule",
        "mode",
        "chunk",
    ),
    *("arch", "precision", "threads", "guard"),
)
FOLDER = click.Argument(["folder"], metavar="FOLDER")


EVERY: list[click.Parameter] = [
    click.Option(
        ["--all", "all_tasks"], is_flag=True, expose_value=False, help="every task that is installed"
    ),
    *flags_of(SurveyOptions),
]
TRAIN: list[click.Parameter] = [
    *EVERY,
    click.Option(["--out"], metavar="FOLDER", help="run folder to make [runs/NAME]"),
    click.Option(["--smoke"], is_flag=True, help="few steps and iterations, to see that all works"),
    NO_PICTURES,
    LIVE,
    QUIET,
]


def train_options(task: type[Task] | None) -> list[click.Parameter]:
    """Make those of `train`."""
    from diffsim.tasks.runs.settings import OptimizerOptions, RunOptions

    suited = dict(task.optimizer) if task else {}
    chosen = {"optimizer": suited.pop("name", None), **suited}
    run = flags_of(RunOptions, **_defaults(task))
    return [_NAME_OR_ALL, *run, *flags_of(OptimizerOptions, **chosen)]


def bench_options(task: type[Task] | None) -> list[click.Parameter]:
    """Make those of `bench`."""
    from diffsim.tasks.runs.settings import RunOptions

    return [_NAME, *flags_of(RunOptions, (*_SHARED, "iterations"), **_defaults(task))]


def plan_options(task: type[Task] | None) -> list[click.Parameter]:
    """Make those of `plan`."""
    return [*bench_options(task), _MEASURE]


def explain_options(task: type[Task] | None) -> list[click.Parameter]:
    """Make those of `explain`."""
    from diffsim.tasks.runs.settings import RunOptions

    return [_NAME, *flags_of(RunOptions, _SHARED, **_defaults(task))]


def check_options(task: type[Task] | None) -> list[click.Parameter]:
    """Make those of `check`."""
    from diffsim.tasks.runs.settings import RunOptions

    steps = task.check_steps if task else None
    suited = (task.suited() if task else {}) | {"steps": steps, "precision": 64}
    return [_NAME_OR_ALL, *flags_of(RunOptions, _SHARED, **suited), *flags_of(CheckOptions)]


def audit_options(task: type[Task] | None) -> list[click.Parameter]:
    """Make those of `audit`."""
    from diffsim.tasks.runs.settings import RunOptions

    steps = task.check_steps if task else None
    suited = (task.suited() if task else {}) | {"steps": steps, "precision": 64}
    return [_NAME, *flags_of(RunOptions, _SHARED, **suited)]


def _defaults(task: type[Task] | None) -> dict[str, Any]:
    return {**task.sizes(), **task.suited()} if task else {}
