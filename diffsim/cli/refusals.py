"""What the command line says of input that is not allowed, in one line."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import click

from diffsim.options import flag_of

__all__ = ["by_its_flag", "usage_message"]


def usage_message(error: click.UsageError, words: Sequence[str], commands: Collection[str]) -> str:
    """Say what is wrong with the words given, and where to look.

    Args:
        error: What was found wrong.
        words: The words given.
        commands: The commands that there are.
    """
    message = error.format_message().rstrip(".").replace(". Did you mean", "; did you mean")
    if message.startswith("No such command") and "did you mean" not in message:
        message += f"; the commands are {', '.join(commands)}"
    command = next((f" {word}" for word in words[:1] if word in commands), "")
    path = error.ctx.command_path if error.ctx and error.ctx.parent else f"diffsim{command}"
    return f"{message}; see {path} --help"


def by_its_flag(message: str, words: Sequence[str]) -> str:
    """Name an argument of the library, which a message begins with, as the option that was given.

    Args:
        message: `memory must be ...`.
        words: The words given.
    """
    name, space, rest = message.partition(" ")
    flag = flag_of(name)
    given = any(word == flag or word.startswith(f"{flag}=") for word in words)
    return f"{flag}{space}{rest}" if given else message
