"""Naming what changed since a simulator was traced: for messages alone, so that it may miss things."""

from __future__ import annotations

import functools
import operator
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from diffsim.language.fields import Field
from diffsim.language.simulator import Part, Simulator, attributes_of, holders
from diffsim.language.snapshot import MISSING, freeze, shown

__all__ = ["Changes"]

_MOST = 64  # items of a list, and functions, that are looked at
_SCALARS = (bool, int, float, str, np.generic, type(None))

Read = Callable[[], Any]


class Changes:
    """What attributes, globals and closure variables were, as far as a simulator's methods name them.

    Args:
        simulator: The simulator, as it was traced.
    """

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self._then: dict[tuple[int, str], tuple[Any, str, Read, Any, str]] = {}
        for owner, label, name, read in _readable(simulator):
            value = _read(read)
            self._then[id(owner), name] = owner, label, read, _frozen(value), shown(value)

    def told(self) -> list[str]:
        """List what is another value now, as `Robot.feet is 3, not 2`."""
        found = []
        for _, label, read, frozen, text in self._then.values():
            value = _read(read)
            if _frozen(value) != frozen:
                now = shown(value)
                found.append(f"{label} is {now}, not {text}" if now != text else f"{label} is another one")
        for owner, label, name, _ in _readable(self._simulator):
            if (id(owner), name) not in self._then and isinstance(owner, Part):
                found.append(f"{label} is new")
        return found


def _readable(simulator: Simulator) -> Iterator[tuple[Any, str, str, Read]]:
    """Yield what can be told by name: who has it, what to call it, its name, and what reads it."""
    functions: dict[int, types.FunctionType] = {}
    for owner, _ in holders(simulator):
        if isinstance(owner, list | tuple | dict):
            continue
        for name, value in attributes_of(owner).items():
            if not name.startswith("_"):
                yield _attribute(owner, name)
            if isinstance(value, types.FunctionType):
                functions.setdefault(id(value), value)
            elif not isinstance(value, Field | Part | types.ModuleType | type | np.ndarray):
                yield from (_attribute(value, inner) for inner in getattr(value, "__dict__", ()))
        for base in type(owner).__mro__:
            if base not in (object, Part, Simulator):
                for function in map(_function, vars(base).values()):
                    if function is not None:
                        functions.setdefault(id(function), function)
    queue = list(functions.values())
    for function in queue[: 4 * _MOST]:
        space, code = function.__globals__, function.__code__
        for name in code.co_names:
            if name in space and not isinstance(space[name], type | types.ModuleType):
                yield space, name, name, functools.partial(operator.getitem, space, name)
                called = _function(space[name])
                if called is not None and id(called) not in functions:
                    functions[id(called)] = called
                    queue.append(called)
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            if name != "__class__":
                yield cell, name, name, functools.partial(getattr, cell, "cell_contents")


def _attribute(owner: Any, name: str) -> tuple[Any, str, str, Read]:
    return owner, f"{type(owner).__name__}.{name}", name, functools.partial(getattr, owner, name)


def _function(attribute: Any) -> types.FunctionType | None:
    if isinstance(attribute, property):
        attribute = attribute.fget
    return attribute if isinstance(attribute, types.FunctionType) else None


def _read(read: Read) -> Any:
    try:
        return read()
    except (LookupError, AttributeError, ValueError):
        return MISSING


def _frozen(value: Any) -> Any:
    """Freeze what is small; of the rest, its identity."""
    small = isinstance(value, _SCALARS) or (isinstance(value, np.ndarray) and value.size <= _MOST**2)
    if isinstance(value, list | tuple | dict) and len(value) <= _MOST:
        items = [*value.values()] if isinstance(value, dict) else value
        small = all(isinstance(item, (*_SCALARS, Field)) for item in items)
    return freeze(value) if small else value if value is MISSING else _Same(value)


class _Same:
    """An object that equals itself alone."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self._value is other._value

    __hash__ = None  # type: ignore[assignment]
