"""Telling which kernel is being compiled, and of how many."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from diffsim.compiler.codegen.writer import KernelText

__all__ = ["announce", "begin", "spare", "watching"]

Watch = Callable[[int, int, str], object]


class _Count:
    """The kernels that one watcher has heard of.

    Attributes:
        known: Texts printed, or compiled though they were printed before somebody watched.
        begun: How many of them were compiled, the one at work included.
    """

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.known: dict[int, KernelText] = {}
        self.begun = 0


_counts: list[_Count] = []  # of the blocks of `watching` that are open, the innermost last


@contextmanager
def watching(watch: Watch) -> Iterator[None]:
    """Make a context in which somebody is told of each kernel before it is compiled.

    A mode's kernels are printed before the first of them is compiled. Those that only move memory take
    milliseconds, may never be launched, and are not counted.

    Args:
        watch: Called as `watch(number, known, name)`: the how manieth kernel it is, how many are known of so
            far, and what it is made from.
    """
    _counts.append(_Count(watch))
    try:
        yield
    finally:
        _counts.pop()


def announce(text: KernelText) -> None:
    """Count a kernel that was printed."""
    if _counts and text.origins:
        _counts[-1].known[id(text)] = text


def begin(text: KernelText) -> None:
    """Tell that a kernel is about to be compiled."""
    if _counts and text.origins:
        count = _counts[-1]
        count.known[id(text)] = text
        count.begun += 1
        count.watch(count.begun, len(count.known), _called(text))


def spare(text: KernelText) -> None:
    """Take back a kernel that need not be compiled: the memory that was borrowed came with it."""
    if _counts:
        _counts[-1].known.pop(id(text), None)


def _called(text: KernelText) -> str:
    """Name what a text is made from: the simulator whose steps it runs, or one kernel of the user's."""
    kernels = list(dict.fromkeys(origin.partition(" (")[0] for origin in text.origins))
    if text.program:
        return f"{text.name} pass of {text.program}"
    name = kernels[0] if len(kernels) == 1 else f"{kernels[0]} and {len(kernels) - 1} more"
    return f"{name}, adjoint" if "_adj" in text.name else name
