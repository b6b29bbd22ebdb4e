"""The command line: `diffsim list | train | resume | render | plan | explain | check`.

Whatever a user gets wrong ends in one line on standard error and exit status 2. Taichi and Matplotlib are
imported only by the commands that need them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from diffsim.cli.commands import CheckOptions, ResumeOptions, SurveyOptions, TaskCommand, flags_of
from diffsim.cli.refusals import by_its_flag, usage_message
from diffsim.cli.resolve import resolve, start
from diffsim.errors import ConfigError, DiffsimError
from diffsim.tasks.registry import load_task, simulator_names, simulator_target, task_names

if TYPE_CHECKING:
    from diffsim.cli.survey import Work
    from diffsim.tasks.runs import Outcome, Settings
    from diffsim.tasks.task import Task

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: The words after `diffsim`; None for the process's own.

    Returns:
        The exit status: 0 done, 1 it went wrong, 2 the input is not allowed, 130 stopped by Ctrl-C.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        status = _cli.main(args=words, prog_name="diffsim", standalone_mode=False)
        sys.stdout.flush()
        return int(status or 0)
    except click.UsageError as error:
        return _refuse(usage_message(error, words, _cli.commands), 2)
    except click.ClickException as error:
        return _refuse(error.format_message(), 1)
    except ConfigError as error:
        return _refuse(by_its_flag(str(error), words), 2)
    except DiffsimError as error:
        return _refuse(str(error), 1)
    except MemoryError as error:
        return _refuse(f"sizes must fit into memory, got: {str(error) or 'no room'}; choose smaller ones", 1)
    except (_Stopped, click.Abort, KeyboardInterrupt) as stop:
        ended = "\n" if sys.stderr.isatty() else ""  # the terminal has ^C on the line
        sys.stderr.write(f"{ended}stopped{'; ' if str(stop) else ''}{stop}\n")
        return 130
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _refuse(message: str, status: int) -> int:
    """Write one line on standard error."""
    sys.stderr.write(f"error: {' '.join(message.split())}\n")
    return status


# -------------------------------------------------------------------------------------------- commands


class _Stopped(Exception):
    """Ctrl-C, with what to say of it: click would write an empty line and forget the text."""


class _Commands(click.Group):
    """The commands, with Ctrl-C for `main` to tell of."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise _Stopped(str(error)) from error


@click.group(
    cls=_Commands, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(package_name="diffsim", message="%(package)s %(version)s")
@click.pass_context
def _cli(ctx: click.Context) -> None:
    """Train controllers by gradient descent through differentiable simulators."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


@_cli.command("list")
def _list() -> None:
    """List the tasks and simulators that are installed."""
    rows = {name: _summary(name) for name in task_names()}
    click.echo(_table("tasks (diffsim train NAME --help shows the options of one)", rows))
    click.echo(_table("simulators (to import)", {name: simulator_target(name) for name in simulator_names()}))


def _summary(name: str) -> str:
    """Describe a task, also one that can't be imported."""
    try:
        return load_task(name).summary
    except ConfigError as error:
        return f"[{error}]"


def _table(title: str, rows: dict[str, str]) -> str:
    width = max(map(len, rows), default=0)
    lines = [f"  {name:{width}}  {text}" for name, text in rows.items()]
    return "\n".join([f"{title}:", *(lines or ["  none"])])


_NAME = click.Argument(["name"], metavar="NAME")
_NAME_OR_ALL = click.Argument(["name"], metavar="NAME", required=False)
_MEASURE = click.Option(["--measure"], is_flag=True, help="compile every mode and time it on a few steps")
_QUIET = click.Option(["--quiet"], is_flag=True, help="show nothing but errors")
_NO_PICTURES = click.Option(
    ["--no-pictures", "no_pictures"], is_flag=True, help="draw nothing; diffsim render FOLDER does later"
)


def _train(
    name: str | None, out: str | None, quiet: bool, jobs: int | None, no_pictures: bool, **given: Any
) -> int:
    """Train NAME and leave a folder with its configuration, history, parameters and pictures.

    Ctrl-C stops it after the iteration it is in; `diffsim resume` goes on. With --all every task is trained,
    each in a folder of its own inside that of --out.
    """
    from diffsim.progress import make_progress
    from diffsim.tasks.runs import check_new, free_folder, train

    if out is not None and not out.strip():
        raise ConfigError(f"--out must name a folder, got {out!r}; write for example runs/x")
    if name is None:
        return _train_all(out, quiet, jobs, given | {"no_pictures": no_pictures})
    _check_jobs(jobs)
    path = Path(out) if out is not None else free_folder(name)
    check_new(path)
    settings, _ = resolve(name, given)
    progress = make_progress(quiet)
    return _report(train(settings, path, progress, draw=not no_pictures), progress)


def _check_jobs(jobs: int | None) -> None:
    """Refuse what is of no use for one task."""
    if jobs is not None:
        raise ConfigError(f"--jobs must come with --all, got {jobs} and one task; leave it out")


def _train_all(out: str | None, quiet: bool, jobs: int | None, given: dict[str, Any]) -> int:
    """Train all tasks and print one table."""
    from diffsim.cli.survey import train_task
    from diffsim.tasks.runs import check_new, free_folder

    folder = Path(out) if out is not None else free_folder("all")
    check_new(folder)
    requests = [(name, given | {"out": str(folder / name)}) for name in task_names()]
    status = _survey(train_task, requests, ("iterations", "first cost", "best cost"), jobs, quiet)
    if not quiet:
        click.echo(f"results are in {folder}")
    return status


def _survey(
    work: Work,
    requests: list[tuple[str, dict[str, Any]]],
    columns: Sequence[str],
    jobs: int | None,
    quiet: bool,
) -> int:
    """Print a row for each task as soon as it is known; the exit status is 1 if one did not pass."""
    from diffsim.cli.survey import survey

    width = max(len(name) for name, _ in requests)
    status = 0

    def line(name: str, cells: Sequence[str], outcome: str, seconds: str) -> str:
        padded = [f"{cell:>{max(10, len(head))}}" for cell, head in zip(cells, columns, strict=True)]
        return f"{name:{width}}  {'  '.join(padded)}  {seconds:>8}  {outcome}"

    if not quiet:
        click.echo(line("task", columns, "outcome", "seconds"))
    for row in survey(work, requests, jobs or min(2, os.cpu_count() or 1)):
        outcome = {True: "passed", False: "FAILED", None: "skipped"}[row.passed]
        status = 1 if row.passed is False else status
        if quiet and row.passed is not False:
            continue
        cells = row.cells or ("",) * len(columns)
        click.echo(line(row.name, cells, outcome, f"{row.seconds:.1f}"))
        for note in row.notes:
            click.echo(f"{'':{width}}  {note}")
    return status


def _resume(folder: str, quiet: bool, iterations: int | None, no_pictures: bool) -> int:
    """Go on with a run that was stopped, as if it had not been.

    With --iterations N it goes on until there are N iterations in all, also when it was finished: on one
    thread with the numbers that training N at once would have had.
    """
    from diffsim.progress import make_progress
    from diffsim.tasks.runs import resume

    progress = make_progress(quiet)
    return _report(resume(Path(folder), progress, iterations, draw=not no_pictures), progress)


def _render(folder: str, quiet: bool) -> int:
    """Draw the pictures of a run anew."""
    from diffsim.progress import make_progress
    from diffsim.tasks.runs import render

    progress = make_progress(quiet)
    outcome = render(Path(folder), progress)
    progress.say(f"pictures are in {outcome.path}")
    return 0


def _report(outcome: Outcome, progress: Any) -> int:
    """Say how a run ended; return the exit status."""
    from diffsim.cli.survey import metric_lines
    from diffsim.progress import format_rate

    if outcome.status == "stopped":
        progress.say(f"stopped after {outcome.iterations} of {outcome.total} iterations")
        progress.say(f"go on with: diffsim resume {outcome.path}")
        return 130
    if outcome.status == "complete":
        progress.say(f"nothing to do: all {outcome.total} iterations were done before")
    if outcome.best is not None:
        iteration, cost = outcome.best
        progress.say(f"best cost {cost:.6g} in iteration {iteration} of {outcome.iterations}")
    compiled, ran = outcome.timings["compile"], outcome.timings["run"]
    rate = outcome.iterations / ran if ran > 0 else 0.0
    for text in metric_lines(outcome.metrics):
        progress.say(text)
    if outcome.status != "complete":
        progress.say(f"compiled in {compiled:.2f} s, ran in {ran:.2f} s ({format_rate(rate)})")
    progress.say(f"results are in {outcome.path}")
    return 0


def _plan(name: str, measure: bool, **given: Any) -> int:
    """Show how a rollout of NAME would run under a memory budget, without running it.

    With --measure every mode is compiled and timed on a few steps.
    """
    from diffsim.plan.planning import plan

    settings, task = resolve(name, given)
    simulator = start(settings, task)
    if measure:
        return _measure_modes(simulator, settings, task)
    click.echo(str(plan(simulator, **settings.run.planned())))
    return 0


def _measure_modes(simulator: Any, settings: Settings, task: Task) -> int:
    """Show what each mode costs."""
    from diffsim.rollout import Rollout
    from diffsim.tasks.comparison import compare_modes

    rollout = Rollout(simulator, **settings.run.planned())
    task.prepare(rollout)
    table = compare_modes(rollout)
    click.echo(str(table))
    rollout.close()
    return 0


def _explain(name: str, **given: Any) -> int:
    """Say what was made of each kernel of NAME: rewrites, tapes, guards, and why; nothing is compiled."""
    from diffsim.plan.planning import explanation

    settings, task = resolve(name, given)
    simulator = start(settings, task)
    click.echo(str(explanation(simulator, steps=settings.run.steps)))
    return 0


def _check(name: str | None, jobs: int | None, quiet: bool = False, **given: Any) -> int:
    """Compare the gradients of NAME with finite differences and more; exit status 1 if they differ.

    A task is checked in its small size (that of `diffsim train NAME --smoke`) unless its options say
    otherwise. With --all every task is checked, and one table printed.
    """
    from diffsim.cli.survey import check_task, gradient_report

    given["precision"] = given["precision"] or 64
    if name is None:
        requests = [(one, dict(given)) for one in task_names()]
        columns = ("steps", "difference", "forward", "modes", "verdict")
        return _survey(check_task, requests, columns, jobs, quiet)
    _check_jobs(jobs)
    report, _ = gradient_report(name, given)
    click.echo(str(report))
    return 0 if report.passed else 1


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
_FOLDER = click.Argument(["folder"], metavar="FOLDER")


_ALL: list[click.Parameter] = [
    click.Option(
        ["--all", "all_tasks"], is_flag=True, expose_value=False, help="every task that is installed"
    ),
    *flags_of(SurveyOptions),
]
_TRAIN_ONLY: list[click.Parameter] = [
    *_ALL,
    click.Option(["--out"], metavar="FOLDER", help="run folder to make [runs/NAME]"),
    click.Option(["--smoke"], is_flag=True, help="few steps and iterations, to see that all works"),
    _NO_PICTURES,
    _QUIET,
]


def _train_options(task: type[Task] | None) -> list[click.Parameter]:
    from diffsim.tasks.runs.settings import OptimizerOptions, RunOptions

    suited = dict(task.optimizer) if task else {}
    chosen = {"optimizer": suited.pop("name", None), **suited}
    run = flags_of(RunOptions, **_own_defaults(task))
    return [_NAME_OR_ALL, *run, *flags_of(OptimizerOptions, **chosen)]


def _plan_options(task: type[Task] | None) -> list[click.Parameter]:
    from diffsim.tasks.runs.settings import RunOptions

    return [_NAME, *flags_of(RunOptions, (*_SHARED, "iterations"), **_own_defaults(task)), _MEASURE]


def _explain_options(task: type[Task] | None) -> list[click.Parameter]:
    from diffsim.tasks.runs.settings import RunOptions

    return [_NAME, *flags_of(RunOptions, _SHARED, **_own_defaults(task))]


def _check_options(task: type[Task] | None) -> list[click.Parameter]:
    from diffsim.tasks.runs.settings import RunOptions

    steps = task.check_steps if task else None
    suited = (task.suited() if task else {}) | {"steps": steps, "precision": 64}
    return [_NAME_OR_ALL, *flags_of(RunOptions, _SHARED, **suited), *flags_of(CheckOptions)]


def _own_defaults(task: type[Task] | None) -> dict[str, Any]:
    return {"steps": task.steps, "iterations": task.iterations, **task.suited()} if task else {}


def _add(
    name: str, function: Any, params: list[click.Parameter], shared: Any = None, small: bool = False
) -> None:
    """Put a command on the command line; its help is the function's docstring."""
    text = (function.__doc__ or "").strip()
    common = {
        "callback": function,
        "params": params,
        "help": text,
        "short_help": text.splitlines()[0].rstrip("."),
    }
    made = (
        TaskCommand(name, shared=shared, small=small, **common) if shared else click.Command(name, **common)
    )
    _cli.add_command(made)


_add("train", _train, _TRAIN_ONLY, _train_options)
_add("resume", _resume, [_FOLDER, *flags_of(ResumeOptions), _NO_PICTURES, _QUIET])
_add("render", _render, [_FOLDER, _QUIET])
_add("plan", _plan, [], _plan_options)
_add("explain", _explain, [], _explain_options)
_add("check", _check, _ALL, _check_options, small=True)
