"""What kernels took from Python when they were compiled, and whether it still is what it was.

Each thing is kept with what holds it and how to read it there, so that a chain (`self.config.dt`) can be
followed again when an object on the way is replaced: another object with the same values is as good. What is
not only looked into, but used (a number, a tuple that a loop runs over, a function), counts by its contents.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from diffsim import _taichi
from diffsim.language.fields import Field
from diffsim.language.snapshot import MISSING, Thing, freeze, shown

__all__ = ["Captured", "Captures", "recallable"]

_LIBRARIES = {
    "taichi",
    "taichi_forge",
    "numpy",
    "math",
    "builtins",
    "diffsim",
    "diffsim.math",
    "diffsim.control",
}
_DEPTH = 20  # objects within objects that are followed

Read = Callable[[Any], Any]


@dataclass(frozen=True)
class Captured:
    """A Python value that kernels saw.

    Attributes:
        owner: What holds it: an object, a namespace, a container; holding it keeps its id its own.
        label: What to call it in messages.
        value: What it was.
        text: How it read, as a container may be another since.
        read: Returns what it is now, given its owner.
        frozen: What it was, frozen; None where it was only looked into.
    """

    owner: Any
    label: str
    value: Any
    text: str
    read: Read
    frozen: Any

    def now(self, owner: Any) -> Any:
        """Return what such an owner holds now, MISSING where it holds none."""
        try:
            return self.read(owner)
        except (LookupError, AttributeError, ValueError, TypeError):
            return MISSING


class Captures:
    """All that the kernels of a program took from Python."""

    def __init__(self) -> None:
        self._found: dict[tuple[int, Any, bool], Captured] = {}
        self._within: dict[int, list[Captured]] = {}
        self._stands_for: dict[int, tuple[int, Any]] = {}

    def __iter__(self) -> Iterator[Captured]:
        return iter(self._found.values())

    def __len__(self) -> int:
        return len(self._found)

    def add(self, owner: Any, name: Any, label: str, value: Any, read: Read, looked_into: bool) -> None:
        """Note a value.

        Args:
            owner: What holds it.
            name: Under which name or index.
            label: What to call it in messages.
            value: What it is.
            read: Returns what an owner holds.
            looked_into: What is taken is one of its attributes or items, which is noted by itself.
        """
        if _is_library(owner) or _is_library(value):
            return
        # some owners make a tuple anew at each reading; entries of Taichi's matrices are not noted one by one
        looked_into = looked_into and not (isinstance(value, tuple) or _taichi.is_a(value, "Matrix"))
        first = self._stands_for.get(id(owner), (id(owner), None))[0]
        known = self._found.get((first, name, looked_into))
        if known is not None:
            if looked_into and known.value is not value:  # a property that makes another one each time
                first = self._stands_for.get(id(known.value), (id(known.value), None))[0]
                self._stands_for[id(value)] = first, value
            return
        frozen = None if looked_into else freeze(value)
        captured = Captured(owner, label, value, shown(value), read, frozen)
        self._found[first, name, looked_into] = captured
        self._within.setdefault(first, []).append(captured)

    def changed(self) -> tuple[Captured, Any] | None:
        """Return something that is not what it was, and what it is; None where all is."""
        for captured in self._found.values():
            now = captured.now(captured.owner)
            if now is captured.value and (captured.frozen is None or type(now) in _FIXED):
                continue  # which is the rule
            different = self._difference(captured, now, 0)
            if different is not None:
                return different
        return None

    def _difference(self, then: Captured, now: Any, depth: int) -> tuple[Captured, Any] | None:
        if then.frozen is not None:
            same = now is then.value and (type(now) in _FIXED or type(then.frozen) is Thing)
            return None if same or freeze(now) == then.frozen else (then, now)
        if now is then.value:
            return None
        inside = self._within.get(id(then.value), [])
        ends = isinstance(then.value, Field) or _taichi.is_a(then.value, "Field")
        if ends or now is MISSING or not inside or depth > _DEPTH:
            return then, now
        for captured in inside:
            different = self._difference(captured, captured.now(now), depth + 1)
            if different is not None:
                return (then, now) if isinstance(now, list | dict | np.ndarray) else different
        return None


_FIXED = frozenset({int, bool, float, str, type(None)})


def _is_library(obj: Any) -> bool:
    """Tell whether an object is a module that no program changes."""
    return isinstance(obj, types.ModuleType) and (
        obj.__name__ in _LIBRARIES or obj.__name__.startswith(("taichi.", "taichi_forge.", "numpy."))
    )


_LOOKS = (getattr, hasattr, vars, dir)


def recallable(function: Any) -> bool:
    """Tell whether what a function returns may change though its arguments do not.

    It is written in Python, a method of something that changes, or looks into its argument.
    """
    if any(function is looks for looks in _LOOKS):
        return True
    if isinstance(function, types.BuiltinMethodType):
        return not isinstance(function.__self__, types.ModuleType | type | type(None))
    module = str(getattr(function, "__module__", "")).split(".")[0]
    return not isinstance(function, type) and module not in ("numpy", "math", "builtins")
