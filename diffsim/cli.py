"""The command line: `diffsim list | train | resume | render | plan | explain | check`.

Whatever a user gets wrong ends in one line on standard error and exit status 2. Taichi and Matplotlib are
imported only by the commands that need them.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from diffsim.commands import TaskCommand, flag_of, flags_of
from diffsim.errors import ConfigError, DiffsimError
from diffsim.options import Options, option, options_of
from diffsim.registry import load_task, simulator_names, simulator_target, task_names

if TYPE_CHECKING:
    from diffsim.runs import Outcome, Settings
    from diffsim.task import Task

__all__ = ["main"]

_SMOKE = {"steps": 32, "iterations": 2}  # at most: enough to see that everything works


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: The words after `diffsim`; None for the process's own.

    Returns:
        The exit status: 0 done, 1 it went wrong, 2 the input is not allowed, 130 stopped by Ctrl-C.
    """
    try:
        status = _cli.main(args=arguments, prog_name="diffsim", standalone_mode=False)
        sys.stdout.flush()
        return int(status or 0)
    except click.UsageError as error:
        return _refuse(_usage_message(error), 2)
    except click.ClickException as error:
        return _refuse(error.format_message(), 1)
    except ConfigError as error:
        return _refuse(str(error), 2)
    except DiffsimError as error:
        return _refuse(str(error), 1)
    except (click.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _refuse(message: str, status: int) -> int:
    """Write one line on standard error."""
    sys.stderr.write(f"error: {' '.join(message.split())}\n")
    return status


def _usage_message(error: click.UsageError) -> str:
    """Say in one line what is wrong with the words given, and where to look."""
    path = error.ctx.command_path if error.ctx else "diffsim"
    return f"{error.format_message().rstrip('.')}; see {path} --help"


# -------------------------------------------------------------------------------------------- commands


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
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
_MEASURE = click.Option(["--measure"], is_flag=True, help="compile every mode and time it on a few steps")
_QUIET = click.Option(["--quiet"], is_flag=True, help="show nothing but errors")


def _settings(name: str, given: dict[str, Any]) -> tuple[Settings, Task]:
    """Resolve the settings of a run from the command line.

    Args:
        name: The task.
        given: All options by name; None where left out.
    """
    from diffsim.runs import OptimizerOptions, RunOptions, Settings, resolve_optimizer

    kind = load_task(name)
    values = {key: value for key, value in given.items() if value is not None}
    run: dict[str, Any] = {"steps": kind.steps, "iterations": kind.iterations}
    if values.pop("smoke", False):
        run = {key: min(value, _SMOKE[key]) for key, value in run.items()}

    def pick(cls: type[Options]) -> dict[str, Any]:
        return {info.name: values[info.name] for info in options_of(cls) if info.name in values}

    chosen = RunOptions.read(run | pick(RunOptions), flag_of)
    optimizer = resolve_optimizer(kind, pick(OptimizerOptions))
    config = kind.Config.read(pick(kind.Config), flag_of)
    task = kind(config)
    return Settings(name, chosen, optimizer, config.plain(), task.data()), task


def _train(name: str, out: str | None, quiet: bool, **given: Any) -> int:
    """Train NAME and leave a folder with its configuration, history, parameters and pictures.

    Ctrl-C stops it after the iteration it is in; `diffsim resume` goes on.
    """
    from diffsim.progress import make_progress
    from diffsim.runs import check_new, free_folder, train

    path = Path(out) if out is not None else free_folder(name)
    if out is not None and not out.strip():
        raise ConfigError(f"--out must name a folder, got {out!r}; write for example runs/x")
    check_new(path)
    settings, _ = _settings(name, given)
    progress = make_progress(quiet)
    return _report(train(settings, path, progress), progress)


def _resume(folder: str, quiet: bool) -> int:
    """Go on with a run that was stopped, as if it had not been."""
    from diffsim.progress import make_progress
    from diffsim.runs import resume

    progress = make_progress(quiet)
    return _report(resume(Path(folder), progress), progress)


def _render(folder: str, quiet: bool) -> int:
    """Draw the pictures of a run anew."""
    from diffsim.progress import make_progress
    from diffsim.runs import render

    progress = make_progress(quiet)
    outcome = render(Path(folder), progress)
    progress.say(f"pictures are in {outcome.path}")
    return 0


def _report(outcome: Outcome, progress: Any) -> int:
    """Say how a run ended; return the exit status."""
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
    if outcome.status != "complete":
        progress.say(f"compiled in {compiled:.2f} s, ran in {ran:.2f} s ({format_rate(rate)})")
    progress.say(f"results are in {outcome.path}")
    return 0


def _plan(name: str, measure: bool, **given: Any) -> int:
    """Show how a rollout of NAME would run under a memory budget, without running it.

    With --measure every mode is compiled and timed on a few steps.
    """
    from diffsim.planning import plan

    settings, task = _settings(name, given)
    simulator = _start(settings, task)
    if measure:
        return _measure_modes(simulator, settings)
    click.echo(str(plan(simulator, **settings.run.planned())))
    return 0


def _measure_modes(simulator: Any, settings: Settings) -> int:
    """Show what each mode costs."""
    from diffsim.comparison import compare_modes
    from diffsim.rollout import Rollout

    rollout = Rollout(simulator, **settings.run.planned())
    table = compare_modes(rollout)
    click.echo(str(table))
    rollout.close()
    return 0


def _explain(name: str, **given: Any) -> int:
    """Say what was made of each kernel of NAME: rewrites, tapes, guards, and why; nothing is compiled."""
    from diffsim.planning import explanation

    settings, task = _settings(name, given)
    simulator = _start(settings, task)
    click.echo(str(explanation(simulator, steps=settings.run.steps)))
    return 0


@dataclasses.dataclass(frozen=True)
class _CheckOptions(Options):
    """What only `check` takes."""

    directions: int = option(5, "random directions to compare along", minimum=1)
    components: int = option(0, "components to compare one by one, drawn at random", minimum=0)


def _check(name: str, directions: int | None, components: int | None, **given: Any) -> int:
    """Compare the gradients of NAME with finite differences and more; exit status 1 if they differ."""
    from diffsim.rollout import Rollout

    given["precision"] = given["precision"] or 64
    given["steps"] = given["steps"] or load_task(name).check_steps
    settings, task = _settings(name, given)
    simulator = _start(settings, task)
    rollout = Rollout(simulator, **settings.run.planned())
    report = rollout.check_grad(task.wrt(simulator), directions or 5, components=components or 0)
    click.echo(str(report))
    rollout.close()
    return 0 if report.passed else 1


def _start(settings: Settings, task: Task) -> Any:
    """Start the runtime and build the simulator."""
    from diffsim import runtime

    run = settings.run
    runtime.init(arch=run.arch, precision=run.precision, seed=run.seed, threads=run.threads, guard=run.guard)
    return task.build()


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
_TRAIN_ONLY: list[click.Parameter] = [
    click.Option(["--out"], metavar="FOLDER", help="run folder to make [runs/NAME]"),
    click.Option(["--smoke"], is_flag=True, help="few steps and iterations, to see that all works"),
    _QUIET,
]


def _train_options(task: type[Task] | None) -> list[click.Parameter]:
    from diffsim.runs.settings import OptimizerOptions, RunOptions

    suited = dict(task.optimizer) if task else {}
    chosen = {"optimizer": suited.pop("name", None), **suited}
    return [_NAME, *flags_of(RunOptions, **_own_defaults(task)), *flags_of(OptimizerOptions, **chosen)]


def _plan_options(task: type[Task] | None) -> list[click.Parameter]:
    from diffsim.runs.settings import RunOptions

    return [_NAME, *flags_of(RunOptions, (*_SHARED, "iterations"), **_own_defaults(task)), _MEASURE]


def _explain_options(task: type[Task] | None) -> list[click.Parameter]:
    from diffsim.runs.settings import RunOptions

    return [_NAME, *flags_of(RunOptions, _SHARED, **_own_defaults(task))]


def _check_options(task: type[Task] | None) -> list[click.Parameter]:
    from diffsim.runs.settings import RunOptions

    steps = task.check_steps if task else None
    return [_NAME, *flags_of(RunOptions, _SHARED, steps=steps, precision=64), *flags_of(_CheckOptions)]


def _own_defaults(task: type[Task] | None) -> dict[str, Any]:
    return {"steps": task.steps, "iterations": task.iterations} if task else {}


def _add(name: str, function: Any, params: list[click.Parameter], shared: Any = None) -> None:
    """Put a command on the command line; its help is the function's docstring."""
    text = (function.__doc__ or "").strip()
    common = {
        "callback": function,
        "params": params,
        "help": text,
        "short_help": text.splitlines()[0].rstrip("."),
    }
    _cli.add_command(TaskCommand(name, shared=shared, **common) if shared else click.Command(name, **common))


_add("train", _train, _TRAIN_ONLY, _train_options)
_add("resume", _resume, [_FOLDER, _QUIET])
_add("render", _render, [_FOLDER, _QUIET])
_add("plan", _plan, [], _plan_options)
_add("explain", _explain, [], _explain_options)
_add("check", _check, [], _check_options)
