"""Pages that the library tells itself: the command line, the tasks with their options, the simulators."""

from __future__ import annotations

import importlib
import inspect
import textwrap
from collections.abc import Iterable
from typing import Any

import click

from diffsim.cli.app import _cli
from diffsim.errors import ConfigError
from diffsim.options import flag_of, options_of
from diffsim.tasks.registry import load_task, simulator_names, simulator_target, task_names

__all__ = ["command_line", "simulators", "tasks"]


def command_line() -> str:
    """Return the page of the commands, from their own help."""
    context = click.Context(_cli, info_name="diffsim")
    parts = [
        "# The command line\n",
        "`diffsim COMMAND --help` says the same. Commands that take a NAME take that of a task "
        "([all of them](tasks.md)), or a class of your own as `my_sim.py:MySim`; the options of that task "
        "come on top.\n",
    ]
    for name, command in _cli.commands.items():
        inner = click.Context(command, info_name=name, parent=context)
        usage = " ".join(command.collect_usage_pieces(inner))
        parts += [f"## diffsim {name} {{ #{name} }}\n", f"```text\ndiffsim {name} {usage}\n```\n"]
        parts += [inspect.cleandoc(command.help or "").replace("\b", "") + "\n"]
        parts += [_options(command.get_params(inner), inner)]
    return "\n".join(parts)


def _options(params: Iterable[click.Parameter], context: click.Context) -> str:
    records = [p.get_help_record(context) for p in params if isinstance(p, click.Option)]
    return _table(("option", ""), [(f"`{r[0]}`", r[1]) for r in records if r and "--help" not in r[0]])


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [" | ".join(heads), " | ".join("---" for _ in heads)]
    lines += [" | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) for row in rows]
    return "\n".join(f"| {line} |" for line in lines) + "\n" if len(lines) > 2 else ""


def tasks() -> str:
    """Return the page of the tasks that come with diffsim."""
    parts = [
        "# Tasks\n",
        "`diffsim train NAME` trains one of these, `diffsim check NAME` checks its gradient, "
        "`diffsim explain NAME` tells what was made of its kernels. Pictures are in "
        "[the gallery](../gallery.md).\n",
        _table(("task", ""), [(f"[{name}](#{name})", _task(name).summary) for name in task_names()]),
    ]
    for name in task_names():
        kind = _task(name)
        steps = getattr(kind, "steps", None)
        told = f"{steps:,} steps, " if isinstance(steps, int) else ""
        rule = dict(kind.optimizer)
        rule_name = rule.pop("name")
        parts += [
            f"## {name} {{ #{name} }}\n",
            _prose(kind).partition("**Args**")[0],
            f"{told}{kind.iterations:,} iterations of {rule_name}"
            + "".join(f", {key} {value}" for key, value in rule.items())
            + f". The cost: {kind.cost_label.removeprefix('cost: ')}.\n",
            _table(("option", "", "default"), _own(kind.Config)),
        ]
    return "\n".join(parts)


def _task(name: str) -> Any:
    try:
        return load_task(name)
    except ConfigError as error:
        raise SystemExit(f"the site must know every task: {error}") from error


def _own(options: Any) -> list[tuple[str, ...]]:
    return [(f"`{flag_of(info.name)}`", info.help, f"{info.default}") for info in options_of(options)]


def simulators() -> str:
    """Return the page of the simulators that come with diffsim."""
    parts = [
        "# Simulators\n",
        "What comes with diffsim, to import and to build on: `from diffsim.kernels.wave import Wave`. "
        "Each is read by the same rules as yours; their sources are in `kernels/`.\n",
    ]
    for name in simulator_names():
        module, _, attribute = simulator_target(name).partition(":")
        kind = getattr(importlib.import_module(module), attribute)
        signature = str(inspect.signature(kind)).replace(" -> None", "").replace("'", "")
        parts += [
            f"## {name} {{ #{name} }}\n",
            f"```text\n{module}.{attribute}{signature}\n```\n",
            _prose(kind),
        ]
        for key, value in vars(importlib.import_module(module)).items():
            if key.endswith("Config") and inspect.isclass(value) and value.__module__.startswith(module):
                parts += [f"`{key}`:\n", _prose(value)]
    return "\n".join(parts)


def _prose(thing: Any) -> str:
    """Return a docstring, whose sections are lists."""
    lines, text = inspect.cleandoc(thing.__doc__ or "").split("\n"), []
    inside = False
    for line in lines:
        if line in ("Args:", "Attributes:", "Raises:", "Returns:"):
            inside = True
            text += ["", f"**{line[:-1]}**", ""]
        elif inside and line.startswith("    ") and not line.startswith("     "):
            name, colon, rest = line.strip().partition(": ")
            text.append(f"- `{name}`: {rest}" if colon else f"- {line.strip()}")
        elif inside and line.strip():
            text.append("  " + line.strip())
        else:
            inside = inside and not line
            text.append(line)
    return textwrap.dedent("\n".join(text)) + "\n"
