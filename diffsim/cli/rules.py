"""`diffsim explain RACE`: what is to be known of a rule, beside `diffsim explain NAME` of a task."""

from __future__ import annotations

import difflib

import click

from diffsim.cli.commands import TaskCommand
from diffsim.compiler.checks.diagnostics import RULES
from diffsim.compiler.checks.rulebook import section_of
from diffsim.errors import ConfigError
from diffsim.tasks.registry import task_names

__all__ = ["ExplainCommand"]


class ExplainCommand(TaskCommand):
    """A command whose first argument is a task or the code of a rule."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Tell of a rule where one is named; it takes no options.

        Raises:
            ConfigError: What looks like a rule is none, or is not alone.
        """
        rule = _rule(args)
        if rule is None:
            return super().parse_args(ctx, args)
        if len(args) > 1:
            raise ConfigError(
                f"a rule must be explained alone, got {' '.join(args)}; write diffsim explain {rule}"
            )
        click.echo(section_of(rule))
        return ctx.exit()

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Say which rules there are."""
        with formatter.section("Rules"):
            formatter.write_text(", ".join(RULES))


def _rule(args: list[str]) -> str | None:
    """Return the rule that the first word names, in whatever case; tasks go first."""
    first = args[0] if args else ""
    if first in task_names():
        return None
    if first.upper() in RULES:
        return first.upper()
    if len(args) != 1 or not first.isupper() or first.startswith("-"):
        return None
    close = difflib.get_close_matches(first, RULES, 1)
    raise ConfigError(
        f"NAME must be a task or a rule, got {first!r}; "
        + (f"did you mean {close[0]}?" if close else "diffsim explain --help lists the rules")
    )
