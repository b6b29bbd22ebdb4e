"""The command line: `diffsim list | new | train | resume | render | report | compare | play | ...`.

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

from diffsim.cli import auditing, graph
from diffsim.cli.commands import ResumeOptions, TaskCommand, flags_of
from diffsim.cli.looking import COMPARE, REPORT, SERVE, compare, report, serve, watching
from diffsim.cli.playing import PLAY
from diffsim.cli.project import NEW, new
from diffsim.cli.refusals import by_its_flag, usage_message
from diffsim.cli.resolve import resolve, start
from diffsim.cli.rules import ExplainCommand
from diffsim.cli.words import (
    ADJOINTS,
    EVERY,
    FOLDER,
    LIVE,
    NO_PICTURES,
    QUIET,
    TRAIN,
    audit_options,
    bench_options,
    check_options,
    explain_options,
    plan_options,
    train_options,
)
from diffsim.errors import ConfigError, DiffsimError
from diffsim.tasks.registry import load_task, simulator_names, simulator_target, task_names
from diffsim.tasks.targets import called

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


def _train(
    name: str | None,
    out: str | None,
    quiet: bool,
    jobs: int | None,
    no_pictures: bool,
    live: bool,
    **given: Any,
) -> int:
    """Train NAME and leave a folder with its configuration, history, parameters and pictures.

    Ctrl-C stops it after the iteration it is in; `diffsim resume` goes on. With --all every task is trained,
    each in a folder of its own inside that of --out.
    """
    from diffsim.progress import make_progress
    from diffsim.tasks.runs import check_new, free_folder, train

    if out is not None and not out.strip():
        raise ConfigError(f"--out must name a folder, got {out!r}; write for example runs/x")
    if name is None and live:
        raise ConfigError("--live must come with one task, got --all; name a task")
    if name is None:
        return _train_all(out, quiet, jobs, given | {"no_pictures": no_pictures})
    _check_jobs(jobs)
    path = Path(out) if out is not None else free_folder(called(name))
    check_new(path)
    settings, _ = resolve(name, given)
    progress = make_progress(quiet)
    watcher = watching(progress) if live else None
    return _report(train(settings, path, progress, not no_pictures, watcher), progress)


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


def _resume(folder: str, quiet: bool, iterations: int | None, no_pictures: bool, live: bool) -> int:
    """Go on with a run that was stopped, as if it had not been.

    With --iterations N it goes on until there are N iterations in all, also when it was finished: on one
    thread with the numbers that training N at once would have had.
    """
    from diffsim.progress import make_progress
    from diffsim.tasks.runs import resume

    progress = make_progress(quiet)
    watcher = watching(progress) if live else None
    return _report(resume(Path(folder), progress, iterations, not no_pictures, watcher), progress)


def _render(folder: str, quiet: bool, adjoints: bool) -> int:
    """Draw the pictures of a run anew.

    With --adjoints draw adjoints.gif instead: how the cost depends on what moves, at each moment. Arrows show
    the way in which pushing a point lowers the cost, colours of a grid are the derivative itself.
    """
    from diffsim.progress import make_progress
    from diffsim.tasks.runs import render

    progress = make_progress(quiet)
    outcome = render(Path(folder), progress, adjoints)
    progress.say(f"pictures are in {outcome.path}")
    return 0


def _report(outcome: Outcome, progress: Any) -> int:
    """Say how a run ended; return the exit status."""
    from diffsim.cli.survey import metric_lines
    from diffsim.files import in_shell
    from diffsim.progress import format_rate

    if outcome.status == "stopped":
        progress.say(f"stopped after {outcome.iterations} of {outcome.total} iterations")
        progress.say(f"go on with: diffsim resume {in_shell(outcome.path)}")
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


def _bench(name: str, **given: Any) -> int:
    """Compile NAME in every mode, time each on a few steps and print a table; the same as plan --measure."""
    return _plan(name, True, **given)


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
    """Explain a rule, as RACE, or what was made of each kernel of NAME: rewrites, tapes, guards, and why.

    With the code of a rule, as `diffsim explain RACE`, it says what that asks for, and shows an example. Of
    NAME nothing is compiled.
    """
    from diffsim.plan.planning import explanation

    kind = load_task(name)
    if given["steps"] is None and "steps" not in kind.sizes():
        given["steps"] = kind.check_steps
    settings, task = resolve(name, given)
    simulator = start(settings, task)
    click.echo(str(explanation(simulator, steps=settings.run.steps)))
    return 0


def _check(name: str | None, jobs: int | None, quiet: bool = False, **given: Any) -> int:
    """Compare the gradients of NAME with finite differences and more; exit status 1 if they differ.

    A task is checked in its small size (that of `diffsim train NAME --smoke`) unless its options say
    otherwise. With --all every task is checked, and one table printed. On another backend, or with another
    compiler, than is usual on a CPU, cost and gradients are compared with those that it computes.
    """
    from diffsim.cli import checking

    if name is None:
        requests = [(one, dict(given)) for one in task_names()]
        return _survey(checking.check_task, requests, checking.columns(given), jobs, quiet)
    _check_jobs(jobs)
    text, passed = checking.checked(name, given)
    click.echo(text)
    return 0 if passed else 1


def _add(
    name: str,
    function: Any,
    params: list[click.Parameter],
    shared: Any = None,
    kind: type[TaskCommand] = TaskCommand,
    small: bool = False,
) -> None:
    """Put a command on the command line; its help is the function's docstring."""
    text = (function.__doc__ or "").strip()
    common = {
        "callback": function,
        "params": params,
        "help": text,
        "short_help": text.splitlines()[0].rstrip("."),
    }
    made = kind(name, shared=shared, small=small, **common) if shared else click.Command(name, **common)
    _cli.add_command(made)


_add("new", new, NEW)
_add("train", _train, TRAIN, train_options)
_add("resume", _resume, [FOLDER, *flags_of(ResumeOptions), NO_PICTURES, LIVE, QUIET])
_add("render", _render, [FOLDER, ADJOINTS, QUIET])
_add("report", report, REPORT)
_add("compare", compare, COMPARE)
_add("serve", serve, SERVE)
_add("plan", _plan, [], plan_options)
_add("bench", _bench, [], bench_options)
_add("explain", _explain, [], explain_options, ExplainCommand)
_add("graph", graph.command, [], graph.graph_options)
_add("check", _check, EVERY, check_options, small=True)
_add("audit", auditing.audit, [], audit_options, small=True)
_cli.add_command(PLAY)
