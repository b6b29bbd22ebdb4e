"""The command line: `diffsim` and `python -m diffsim`."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; `diffsim.cli.app` and its packages are imported only now.

    Args:
        arguments: The words after `diffsim`; None for the process's own.

    Returns:
        The exit status: 0 done, 1 it went wrong, 2 the input is not allowed, 130 stopped by Ctrl-C.
    """
    from diffsim import _interrupt

    with _interrupt.at_once():
        from diffsim.cli.app import main as run
    return run(arguments)
