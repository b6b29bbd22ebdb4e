"""The command line's options, made from dataclasses: those of all tasks and those of the task named."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from diffsim.errors import ConfigError
from diffsim.options import OptionInfo, Options, flag_of, option, options_of, unknown_name
from diffsim.tasks.registry import load_task, task_names
from diffsim.tasks.targets import is_target

if TYPE_CHECKING:
    from diffsim.tasks.task import Task

__all__ = ["TASK", "CheckOptions", "ResumeOptions", "SurveyOptions", "TaskCommand", "flags_of"]

TASK = "diffsim.tasks.task"  # where a command's context keeps the task that was named


@dataclasses.dataclass(frozen=True)
class SurveyOptions(Options):
    """What goes with --all."""

    jobs: int | None = option(None, "tasks side by side, with --all [2]", minimum=1, maximum=256)


@dataclasses.dataclass(frozen=True)
class ResumeOptions(Options):
    """What only `resume` takes."""

    iterations: int | None = option(
        None, "go on until so many are done in all [as many as before]", minimum=1, maximum=2**31 - 2
    )


@dataclasses.dataclass(frozen=True)
class CheckOptions(Options):
    """What only `check` takes."""

    directions: int = option(5, "random directions to compare along", minimum=1)
    components: int = option(0, "components to compare one by one, drawn at random", minimum=0)
    compiler: str = option("auto", "what compiles kernels", choices=("auto", "native", "taichi", "forge"))


class _Value(click.ParamType):
    """The value of an `option()`: checked by its own rule, with its own message."""

    def __init__(self, info: OptionInfo) -> None:
        self.info, self.name = info, info.metavar

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return self.info.parse(value, flag_of(self.info.name)) if isinstance(value, str) else value


def flags_of(cls: type[Options], only: Sequence[str] | None = None, **defaults: Any) -> list[click.Parameter]:
    """Make command-line options; those left out have the value None.

    Args:
        cls: The options.
        only: Names of those to make; None for all.
        defaults: What `--help` shows as default where it is not the option's own.
    """
    made: list[click.Parameter] = []
    for info in options_of(cls):
        if only is not None and info.name not in only:
            continue
        default = defaults.get(info.name, info.default)
        text = info.help
        if default is not None and default is not dataclasses.MISSING:
            text += f" [{str(default).lower() if info.kind is bool else default}]"
        if info.kind is bool:
            names = [info.name, f"{flag_of(info.name)}/{flag_of('no_' + info.name)}"]
            made.append(click.Option(names, default=None, help=text))
        else:
            names, many = [info.name, flag_of(info.name)], info.rule.repeated
            made.append(
                click.Option(
                    names,
                    type=_Value(info),
                    metavar=info.metavar,
                    help=text,
                    multiple=many,
                    callback=_given if many else None,
                )
            )
    return made


def _given(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    """Return None for an option that may be repeated and was left out."""
    return value or None


class TaskCommand(click.Command):
    """A command whose first argument is a task; it also takes the options of that task.

    Where it has a flag `--all`, that may stand in place of the task.

    Args:
        shared: Makes the options that all tasks have, with the defaults of the given task.
        small: Whether the task's own options default to its small sizes.
    """

    def __init__(
        self,
        *args: Any,
        shared: Callable[[type[Task] | None], list[click.Parameter]],
        small: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._shared, self._small = shared, small

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Find the task first, since its options belong to the command.

        Raises:
            ConfigError: No task is named, or one beside `--all`.
        """
        name = self._find(ctx, args)
        everything = "--all" in args and any("--all" in param.opts for param in self.params)
        if everything and name is not None:
            raise ConfigError(f"NAME must be left out with --all, got {name}; leave out one of them")
        if everything:
            ctx.meta.pop(TASK, None)
        elif name is not None:
            ctx.meta[TASK] = load_task(name)
        elif not any(word in ctx.help_option_names for word in args):
            raise ConfigError(_no_task(args))
        return super().parse_args(ctx, args)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the options of the task that was named, and those that all tasks have.

        Raises:
            ConfigError: The task has an option of a name that all tasks have.
        """
        task: type[Task] | None = ctx.meta.get(TASK)
        sizes = dict(task.smoke) if task and self._small else {}
        own = flags_of(task.Config, **sizes) if task else []
        shared = [*self._shared(task), *super().get_params(ctx)]
        taken = {param.name for param in shared}
        for param in own:
            if task and param.name in taken:
                raise ConfigError(
                    f"task {task.name} must not have an option {param.name}, which all tasks have; rename it"
                )
        return [*own, *shared]

    def _find(self, ctx: click.Context, args: list[str]) -> str | None:
        """Find the task among the words; its own options are known only then."""
        own = self._own(ctx, args)
        if own is not None:
            return own
        known, found = task_names(), None
        for word in args:
            if word not in known:
                continue
            ctx.meta[TASK] = load_task(word)
            try:
                values, _, _ = self.make_parser(ctx).parse_args(list(args))
            except click.UsageError:
                found = found or word  # told properly when the words are parsed in earnest
            else:
                if values.get("name") == word:
                    return word
        ctx.meta.pop(TASK, None)
        return found

    def _own(self, ctx: click.Context, args: list[str]) -> str | None:
        """Find a class of the user's among the words: it has a colon, and is no option's value."""
        from diffsim.tasks.own import OwnTask

        ctx.meta.pop(TASK, None)
        taking = [
            p for p in [*self.get_params(ctx), *flags_of(OwnTask.Config)] if isinstance(p, click.Option)
        ]
        with_value = {word for p in taking if not p.is_flag for word in p.opts}
        for before, word in zip(["", *args], args, strict=False):
            if is_target(word) and not word.startswith("-") and before not in with_value:
                return word
        return None


def _no_task(args: list[str]) -> str:
    """Say that no task was named, with the word that was probably meant for one."""
    words = [word for word in args if not word.startswith("-")]
    after_option = {
        args[k + 1] for k in range(len(args) - 1) if args[k].startswith("-") and "=" not in args[k]
    }
    given = next((word for word in words if word not in after_option), words[0] if words else None)
    if given is None:
        return (
            f"NAME must be one of {', '.join(task_names())}, or a class of yours as file.py:Sim, "
            "got nothing; diffsim list shows the tasks"
        )
    return unknown_name("NAME", given, task_names(), "an installed task", "diffsim list shows the tasks")
