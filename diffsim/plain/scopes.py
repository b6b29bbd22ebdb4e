"""Which variables a kernel has where: names that a loop or a branch brings in end with it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

__all__ = ["Scopes"]

Side = TypeVar("Side")


class Scopes:
    """The names that are variables at a place, from the outermost block on.

    Args:
        names: The parameters.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._known = [set(names)]

    def declare(self, name: str) -> bool:
        """Note that a name is assigned; tell whether it was a variable before."""
        if any(name in known for known in self._known):
            return True
        self._known[-1].add(name)
        return False

    def bind(self, *names: str) -> None:
        """Note names that a loop binds, or that stand for Python objects."""
        self._known[-1].update(names)

    @contextlib.contextmanager
    def inner(self) -> Iterator[None]:
        """Make the context of a block whose names end with it."""
        self._known.append(set())
        try:
            yield
        finally:
            self._known.pop()

    def sides(self, first: Callable[[], Side], second: Callable[[], Side]) -> tuple[Side, Side]:
        """Do what two sides are, of which one is taken: names of both go on behind them."""
        before = set(self._known[-1])
        one = first()
        after, self._known[-1] = self._known[-1], set(before)
        other = second()
        self._known[-1] &= after
        return one, other
